//! The processor time and the memory of another process of ours.

use std::time::Duration;

/// Processor time that all threads of process `pid` have used; `None` where the system does not tell.
pub(super) fn of(pid: u32) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let pid = libc::pid_t::try_from(pid).ok()?;
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: both calls fill the value they are given a pointer to, and the second gets the first one's clock.
        let told = unsafe {
            libc::clock_getcpuclockid(pid, &raw mut clock) == 0
                && libc::clock_gettime(clock, &raw mut time) == 0
        };
        told.then(|| Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// Bytes of process `pid` that lie in memory; `None` where the system does not tell.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_clock_and_memory_and_one_that_is_gone_has_neither() {
        let own = std::process::id();
        let before = of(own).expect("our own clock");
        let mut spin = 0u64;
        while of(own).expect("our own clock") == before {
            spin = std::hint::black_box(spin + 1);
        }
        assert!(resident(own).expect("our own memory") > 100_000);
        let mut child = std::process::Command::new("true").spawn().expect("true starts");
        child.wait().expect("true ends");
        assert_eq!((of(child.id()), resident(child.id())), (None, None));
    }
}
