//! What of the time in which a miner did nothing is not held against it.
//!
//! A provider that stands back for other programs may have to wait for a processor for minutes, and so may the host, which
//! then has not read yet what the provider said long ago. Neither is a stall.

use std::time::{Duration, Instant};

use crate::sandbox::{Starved, Waits};

/// Between two looks, as a rule, and a little more. What is beyond it the host itself has waited.
const LOOKS: Duration = Duration::from_secs(2);

/// The excuse of one miner.
#[derive(Debug, Default)]
pub struct Excuse {
    starved: Starved,
    excused: Duration,
    looked: Option<Instant>,
}

impl Excuse {
    /// A look at `now`, about once a second; answers what is excused since a limit drew near. `waits` is asked only while it
    /// `is_near`, for what the threads of the miner's process have waited for a processor.
    pub fn look(&mut self, is_near: bool, now: Instant, waits: impl FnOnce() -> Option<Waits>) -> Duration {
        let since = self.looked.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if !is_near {
            *self = Self { looked: Some(now), ..Self::default() };
            return Duration::ZERO;
        }
        self.looked = Some(now);
        let waited = self.starved.seen(waits(), now);
        self.excused += waited.max(since.saturating_sub(LOOKS));
        self.excused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_waits_or_the_host_is_excused_from_when_a_limit_is_near() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let waited = |seconds: u64| Some(Waits::from([(1, seconds * 1_000_000_000)]));
        let mut excuse = Excuse::default();
        let secs = Duration::from_secs;
        assert_eq!(excuse.look(false, at(0), || panic!("nobody looks")), secs(0));
        assert_eq!(excuse.look(false, at(100), || panic!("nobody looks")), secs(0), "and nothing was near");
        assert_eq!(excuse.look(true, at(101), || waited(90)), secs(0), "what was before is past");
        assert_eq!(excuse.look(true, at(102), || waited(91)), secs(1));
        assert_eq!(excuse.look(true, at(103), || waited(91)), secs(1), "it slept");
        assert_eq!(excuse.look(true, at(163), || None), secs(1 + 58), "the host itself did not run");
        assert_eq!(excuse.look(true, at(173), || waited(101)), secs(59 + 10), "each second counts once");
        assert_eq!(excuse.look(false, at(174), || None), secs(0), "it went on");
    }

    #[test]
    fn a_host_that_did_not_run_at_all_until_the_limit_was_over_has_not_looked() {
        let start = Instant::now();
        let mut excuse = Excuse::default();
        excuse.look(false, start, || None);
        let minute = Duration::from_secs(60);
        assert_eq!(excuse.look(true, start + minute, || None), minute - LOOKS);
    }
}
