//! Which mechanisms of confinement this kernel has, and what is lost where one is missing.

use serde::{Deserialize, Serialize};

use super::platform;

/// The mechanisms that the running kernel offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// The version of Landlock's interface; `None` where the kernel has none or it is switched off.
    pub landlock_abi: Option<u32>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_lack: Option<Lack>,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// A refused system call can be shown to the parent with its arguments.
    pub seccomp_notify: bool,
    /// Why system calls cannot be filtered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_lack: Option<Lack>,
    /// Privileges can be given up for good.
    pub no_new_privs: bool,
    /// A child can be made to die with its parent.
    pub parent_death_signal: bool,
}

/// Why the kernel's answer about a mechanism was no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The kernel was built without it, or is too old.
    Kernel,
    /// The kernel has it, and it was switched off when the system was started.
    SwitchedOff,
    /// Something around this process refuses it, such as a container's seccomp profile.
    Refused,
}

impl Lack {
    /// What the kernel's error means.
    pub fn of(err: &std::io::Error) -> Self {
        match err.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Self::SwitchedOff,
            Some(libc::EPERM | libc::EACCES) => Self::Refused,
            _ => Self::Kernel,
        }
    }

    /// Why there is no Landlock, as a phrase.
    pub const fn of_landlock(self) -> &'static str {
        match self {
            Self::Kernel => "this kernel has no Landlock",
            Self::SwitchedOff => "Landlock is switched off on this system",
            Self::Refused => "Landlock is refused to this process, as some containers do",
        }
    }

    /// Why there are no filters, as a phrase.
    pub const fn of_seccomp(self) -> &'static str {
        match self {
            Self::Refused => "seccomp is refused to this process, as some containers do",
            Self::Kernel | Self::SwitchedOff => "this kernel has no seccomp filters",
        }
    }

    /// What brings Landlock back.
    const fn landlock_fix(self) -> &'static str {
        match self {
            Self::Kernel => "use Linux 5.13 or newer, built with CONFIG_SECURITY_LANDLOCK",
            Self::SwitchedOff => "start the kernel with `lsm=landlock,…` before what it has there now",
            Self::Refused => {
                "allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self in the container's \
                 seccomp profile; the kernel is not the cause"
            }
        }
    }

    /// What brings filters back.
    const fn seccomp_fix(self) -> &'static str {
        match self {
            Self::Refused => {
                "allow the system call seccomp in the container's seccomp profile; the kernel is not the cause"
            }
            Self::Kernel | Self::SwitchedOff => {
                "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64"
            }
        }
    }
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
                fix: self.seccomp_lack.unwrap_or(Lack::Kernel).seccomp_fix(),
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
                consequence: "plugins can read every file that you can read, and look into your other programs",
                fix: self.landlock_lack.unwrap_or(Lack::Kernel).landlock_fix(),
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
    /// The child's number of the descriptor that shows its refused system calls, while it confines itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener: Option<i32>,
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
    fn why_a_mechanism_is_missing_decides_what_brings_it_back() {
        let lacking = |number| {
            let err = std::io::Error::from_raw_os_error(number);
            Support {
                landlock_abi: None,
                landlock_lack: Some(Lack::of(&err)),
                seccomp: false,
                seccomp_notify: false,
                seccomp_lack: Some(Lack::of(&err)),
                no_new_privs: true,
                parent_death_signal: true,
            }
        };
        let fixes = |number| {
            lacking(number).missing().iter().map(|missing| missing.fix).collect::<Vec<_>>().join("; ")
        };
        assert!(fixes(libc::ENOSYS).contains("CONFIG_SECURITY_LANDLOCK"), "{}", fixes(libc::ENOSYS));
        assert!(fixes(libc::EOPNOTSUPP).contains("lsm=landlock"), "{}", fixes(libc::EOPNOTSUPP));
        let refused = fixes(libc::EPERM);
        assert!(refused.matches("seccomp profile").count() == 2 && !refused.contains("newer"), "{refused}");
    }

    #[test]
    fn a_plugin_is_exposed_to_what_no_mechanism_keeps_from_it() {
        let full = Support {
            landlock_abi: Some(7),
            landlock_lack: None,
            seccomp: true,
            seccomp_notify: true,
            seccomp_lack: None,
            no_new_privs: true,
            parent_death_signal: true,
        };
        assert_eq!(full.exposure(), None);
        let named = Support { seccomp_notify: false, landlock_abi: Some(1), ..full.clone() };
        assert_eq!(named.exposure(), None, "what is kept from it and cannot be named is kept from it");
        let files = Support { landlock_abi: None, ..named };
        assert_eq!(
            files.exposure(),
            Some("plugins can read every file that you can read, and look into your other programs")
        );
        let calls = Support { seccomp: false, ..full };
        assert!(calls.exposure().is_some_and(|can| can.starts_with("plugins can use any system call")));
    }
}
