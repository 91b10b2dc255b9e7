//! Who a process is: its pid, and when it started.
//!
//! A pid alone names nobody, since the kernel hands it out again. Pid and start time together do, within one boot,
//! so nothing in pearlbed signals a process, or believes in one, by its pid alone.
//!
//! # Limitations
//!
//! The start time is counted from boot. After a reboot a process with the same pid and the same tick of start would
//! be taken for the recorded one; the boot's own id is compared where the platform has one.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A process, told apart from every other that has had its pid since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// When the process started, in the kernel's own units (clock ticks since boot on Linux).
    pub start_time: u64,
    /// The boot that `start_time` counts from, where the platform names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

impl ProcessIdentity {
    /// The calling process.
    pub fn own() -> Self {
        Self::of(std::process::id()).unwrap_or(Self { pid: std::process::id(), start_time: 0, boot_id: None })
    }

    /// The process that has `pid` now, or nothing where none has it or it has ended and waits to be reaped.
    pub fn of(pid: u32) -> Option<Self> {
        let start_time = platform::start_time(pid)?;
        Some(Self { pid, start_time, boot_id: platform::boot_id() })
    }

    /// When the system started, in seconds since 1970; nothing where it does not say.
    pub fn booted_unix() -> Option<u64> {
        platform::booted_unix()
    }

    /// When the process `pid` started, in seconds since 1970; nothing where the system does not say.
    pub fn started_unix(pid: u32) -> Option<u64> {
        platform::started_unix(pid)
    }

    /// Whether the process still runs.
    ///
    /// A container's manager may show one boot to some of its processes and another to a service with a `/proc` of its own, so
    /// where the two differ the process's own view decides.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| {
            now.start_time == self.start_time
                && (self.boot_id.is_none()
                    || now.boot_id.is_none()
                    || now.boot_id == self.boot_id
                    || platform::boot_id_seen_by(self.pid) == self.boot_id)
        })
    }

    /// Sends `signal`, unless the process has ended; answers whether it was sent.
    ///
    /// On Linux the process is held by a descriptor between the look and the signal, so that a pid which is handed
    /// out again in that moment is not hit.
    pub fn signal(&self, signal: rustix::process::Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) else {
            return false;
        };
        #[cfg(target_os = "linux")]
        if let Ok(held) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            return self.is_alive() && rustix::process::pidfd_send_signal(&held, signal).is_ok();
        }
        self.is_alive() && rustix::process::kill_process(pid, signal).is_ok()
    }

    /// Waits until the process has ended, for at most `limit`; answers whether it has.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

#[cfg(target_os = "linux")]
mod platform {
    /// Field 22 of `/proc/<pid>/stat`; the name in field 2 may hold spaces and parentheses, so fields are counted
    /// from its last closing one.
    pub fn start_time(pid: u32) -> Option<u64> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        parse(&String::from_utf8_lossy(&stat))
    }

    pub fn parse(stat: &str) -> Option<u64> {
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?;
        if matches!(state, "Z" | "X" | "x") {
            return None;
        }
        fields.nth(18)?.parse().ok()
    }

    pub fn started_unix(pid: u32) -> Option<u64> {
        // The kernel counts ticks of a hundredth of a second for programs, whatever its own are.
        let ticks = Some(rustix::param::clock_ticks_per_second()).filter(|ticks| *ticks > 0)?;
        Some(booted_unix()? + start_time(pid)? / ticks)
    }

    pub fn booted_unix() -> Option<u64> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
    }

    pub fn boot_id() -> Option<String> {
        boot_id_below("")
    }

    /// The boot as the process `pid` sees it, where this user may look.
    pub fn boot_id_seen_by(pid: u32) -> Option<String> {
        boot_id_below(&format!("/proc/{pid}/root"))
    }

    fn boot_id_below(root: &str) -> Option<String> {
        let id = std::fs::read_to_string(format!("{root}/proc/sys/kernel/random/boot_id")).ok()?;
        Some(id.trim().to_owned())
    }
}

#[cfg(target_vendor = "apple")]
mod platform {
    /// Microseconds of the process's start, from `proc_pidinfo`.
    pub fn start_time(pid: u32) -> Option<u64> {
        let mut info = std::mem::MaybeUninit::<libc::proc_bsdinfo>::zeroed();
        let size = i32::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
        // SAFETY: the buffer is a `proc_bsdinfo` and `size` is its size, as `PROC_PIDTBSDINFO` wants; it is zeroed,
        // and all zeroes are a valid value of its plain integer fields.
        let (written, info) = unsafe {
            let pid = i32::try_from(pid).ok()?;
            let written = libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, info.as_mut_ptr().cast(), size);
            (written, info.assume_init())
        };
        (written == size).then(|| info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec)
    }

    pub fn started_unix(pid: u32) -> Option<u64> {
        start_time(pid).map(|micros| micros / 1_000_000)
    }

    pub fn booted_unix() -> Option<u64> {
        None
    }

    pub fn boot_id() -> Option<String> {
        None
    }

    pub fn boot_id_seen_by(_: u32) -> Option<String> {
        None
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
mod platform {
    pub fn start_time(pid: u32) -> Option<u64> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        rustix::process::test_kill_process(pid).ok().map(|()| 0)
    }

    pub fn started_unix(_: u32) -> Option<u64> {
        None
    }

    pub fn booted_unix() -> Option<u64> {
        None
    }

    pub fn boot_id() -> Option<String> {
        None
    }

    pub fn boot_id_seen_by(_: u32) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_alive_and_another_start_time_is_somebody_else() {
        let me = ProcessIdentity::own();
        assert!(me.is_alive());
        assert!(!ProcessIdentity { start_time: me.start_time + 1, ..me.clone() }.is_alive());
        assert!(
            !ProcessIdentity { boot_id: Some("another boot".into()), ..me }.is_alive()
                || cfg!(not(target_os = "linux"))
        );
    }

    #[test]
    fn a_child_that_has_ended_is_gone_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        assert!(
            !ProcessIdentity { start_time: identity.start_time + 1, ..identity.clone() }
                .signal(rustix::process::Signal::KILL)
        );
        assert!(identity.is_alive());
        assert!(identity.signal(rustix::process::Signal::KILL));
        assert!(identity.wait_gone(Duration::from_secs(20)));
        child.wait().unwrap();
        assert!(!identity.signal(rustix::process::Signal::KILL));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_name_cannot_shift_the_fields() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(platform::parse(&format!("7 (a) b) {tail}")), Some(4242));
        assert_eq!(platform::parse(&format!("7 (x) {}", tail.replace('S', "Z"))), None);
        assert_eq!(platform::parse("7"), None);
    }
}
