//! The processor time and the memory of another process of ours, and standing still.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::identity::ProcessIdentity;
pub(super) use crate::sandbox::processor_time as of;

/// Bytes of process `pid` that lie in memory; `None` where the system does not tell.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// A process of ours that stands still, until this is dropped.
///
/// Whoever ends us kills it also while it stands: it was told to die with its parent.
#[derive(Debug)]
pub(super) struct Paused<'a> {
    process: Option<&'a ProcessIdentity>,
    processor: Option<Duration>,
}

impl<'a> Paused<'a> {
    /// How long to wait for its threads to stop. Each does at the latest when it leaves the kernel.
    const PATIENCE: Duration = Duration::from_millis(5);

    /// Stops the process, and waits until its clock stands still.
    pub(super) fn of(process: &'a ProcessIdentity) -> Self {
        let process_stopped = process.signal(Signal::STOP).then_some(process);
        let mut processor = of(process.pid);
        if process_stopped.is_some() {
            let begun = Instant::now();
            loop {
                // Long enough for a thread that still runs to show.
                std::thread::sleep(Duration::from_micros(20));
                let now = of(process.pid);
                if now == processor || begun.elapsed() > Self::PATIENCE {
                    processor = now;
                    break;
                }
                processor = now;
            }
        }
        Self { process: process_stopped, processor }
    }

    /// Processor time that the process had used when it came to a stand.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        self.processor
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.process {
            // One that is gone needs nothing more.
            let _ = process.signal(Signal::CONT);
        }
    }
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

    /// A child that never rests, and is gone with its test.
    struct Busy(std::process::Child);

    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.kill().expect("our child");
            self.0.wait().expect("our child");
        }
    }

    impl Busy {
        fn waits_until_it_has_used(&self, time: Duration) {
            while of(self.0.id()).expect("our child's clock") < time {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_paused_process_uses_no_time_and_goes_on_afterwards() {
        const WORK: Duration = Duration::from_millis(5);
        let shell = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        let busy = Busy(shell.expect("a shell starts"));
        busy.waits_until_it_has_used(WORK);
        let process = ProcessIdentity::of(busy.0.id()).expect("our child lives");
        let paused = Paused::of(&process);
        let stands = paused.processor_time().expect("our child's clock");
        std::thread::sleep(WORK * 10);
        // A thread that waited for a processor takes some microseconds of one to stop.
        let later = of(process.pid).expect("our child's clock");
        assert!(later < stands + WORK / 5, "{stands:?} became {later:?}");
        drop(paused);
        busy.waits_until_it_has_used(later + WORK);
        drop(busy);
        assert_eq!(Paused::of(&process).processor_time(), None);
    }
}
