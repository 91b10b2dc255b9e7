//! Which mechanisms of confinement this kernel has, and what is lost where one is missing.

use serde::{Deserialize, Serialize};

use super::platform;

/// The mechanisms that the running kernel offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// The version of Landlock's interface; `None` where the kernel has none or it is switched off.
    pub landlock_abi: Option<u32>,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// A refused system call can be shown to the parent with its arguments.
    pub seccomp_notify: bool,
    /// Privileges can be given up for good.
    pub no_new_privs: bool,
    /// A child can be made to die with its parent.
    pub parent_death_signal: bool,
}

/// A mechanism that is missing, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name, such as `Landlock`.
    pub mechanism: &'static str,
    /// What is not enforced or not known without it.
    pub consequence: &'static str,
    /// What brings it back.
    pub fix: &'static str,
}

/// Asks the kernel which mechanisms it has. Changes nothing.
pub fn support() -> Support {
    platform::support()
}

impl Support {
    /// What plugins can do here though nobody granted it; nothing where files, network and programs are kept from them.
    pub fn exposure(&self) -> Option<&'static str> {
        let lacking = |missing: &Missing| ["confinement", "seccomp", "Landlock"].contains(&missing.mechanism);
        self.missing().into_iter().find(lacking).map(|missing| missing.consequence)
    }

    /// What is missing here, most important first. Empty where everything is enforced.
    pub fn missing(&self) -> Vec<Missing> {
        if cfg!(not(target_os = "linux")) {
            return vec![Missing {
                mechanism: "confinement",
                consequence: "plugins can do what you can do",
                fix: "run pearlbed as a user of its own, or on Linux",
            }];
        }
        let mut missing = vec![];
        if !self.seccomp {
            missing.push(Missing {
                mechanism: "seccomp",
                consequence: "plugins can use any system call: network, programs and processes are not stopped",
                fix: "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64",
            });
        } else if !self.seccomp_notify {
            missing.push(Missing {
                mechanism: "seccomp user notification",
                consequence: "what a plugin tries is stopped but cannot be named, and no network can be granted",
                fix: "use Linux 5.5 or newer, and a container runtime that allows seccomp",
            });
        }
        match self.landlock_abi {
            None => missing.push(Missing {
                mechanism: "Landlock",
                consequence: "plugins can read every file that you can read",
                fix: "use Linux 5.13 or newer with Landlock enabled (kernel parameter `lsm=landlock,…`)",
            }),
            Some(abi) if abi < 6 => missing.push(Missing {
                mechanism: "Landlock, newest rules",
                consequence: "device control, abstract sockets or signals are held back by seccomp alone",
                fix: "use Linux 6.12 or newer",
            }),
            Some(_) => {}
        }
        if !self.no_new_privs {
            missing.push(Missing {
                mechanism: "no_new_privs",
                consequence: "a program that a plugin runs could gain privileges",
                fix: "use Linux 3.5 or newer",
            });
        }
        if !self.parent_death_signal {
            missing.push(Missing {
                mechanism: "parent-death signal",
                consequence: "a confined process notices the end of its parent only by its pipe",
                fix: "none on this system",
            });
        }
        missing
    }
}

/// What a child says of its confinement, after it has entered it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Landlock is in force.
    pub landlock: bool,
    /// The system call filter is in force.
    pub seccomp: bool,
    /// Refused system calls are shown to the parent.
    pub notify: bool,
    /// Privileges are given up.
    pub no_new_privs: bool,
    /// What could not be put in force, and why; one line each.
    pub failed: Vec<String>,
}

/// Whether this process runs with privileges that its user does not have, as a set-user-id program does.
pub fn is_privileged_for_another() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: the call reads one number that the kernel gave the process.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    #[cfg(not(target_os = "linux"))]
    // SAFETY: the call only asks.
    let secure = unsafe { libc::issetugid() } != 0;
    secure
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_exposed_to_what_no_mechanism_keeps_from_it() {
        let full = Support {
            landlock_abi: Some(7),
            seccomp: true,
            seccomp_notify: true,
            no_new_privs: true,
            parent_death_signal: true,
        };
        assert_eq!(full.exposure(), None);
        let named = Support { seccomp_notify: false, landlock_abi: Some(1), ..full.clone() };
        assert_eq!(named.exposure(), None, "what is kept from it and cannot be named is kept from it");
        let files = Support { landlock_abi: None, ..named };
        assert_eq!(files.exposure(), Some("plugins can read every file that you can read"));
        let calls = Support { seccomp: false, ..full };
        assert!(calls.exposure().is_some_and(|can| can.starts_with("plugins can use any system call")));
    }
}
