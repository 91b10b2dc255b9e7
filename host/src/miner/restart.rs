//! When a provider process that ended is started again, and when no more.
//!
//! A plain function of what happened and of `now`, which the caller hands in. It spawns nothing and waits for
//! nothing.

use std::time::{Duration, Instant};

/// Back-off for a provider process that keeps ending.
///
/// The first restart waits as long as it is told, each further one twice as long as the one before, up to
/// [`RestartPolicy::LONGEST`] times the first. A process that lived for [`RestartPolicy::HEALTHY_AFTER`] wipes the slate.
#[derive(Debug, Clone)]
pub struct RestartPolicy {
    first_wait: Duration,
    failures_max: u32,
    failures: u32,
    started: Option<Instant>,
}

/// What to do about a provider process that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it again at this moment.
    RestartAt(Instant),
    /// It failed this many times without a healthy stretch in between: give up.
    GiveUp {
        /// Failures in a row.
        failures: u32,
    },
}

impl RestartPolicy {
    /// Wait before the first restart, unless configured otherwise.
    pub const FIRST_WAIT: Duration = Duration::from_secs(1);
    /// The longest wait before a restart, in first waits.
    pub const LONGEST: u32 = 60;
    /// How long a process has to live to count as healthy.
    pub const HEALTHY_AFTER: Duration = Duration::from_secs(600);
    /// Failures in a row after which [`Next::GiveUp`] is answered.
    pub const FAILURES_MAX: u32 = 10;

    /// A policy that waits `first_wait` before the first restart, and gives up at the `failures_max`-th failure in a row.
    pub fn new(first_wait: Duration, failures_max: u32) -> Self {
        Self { first_wait, failures_max: failures_max.max(1), failures: 0, started: None }
    }

    /// The provider process was started.
    pub fn started(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The provider process ended without having been asked to.
    pub fn ended(&mut self, now: Instant) -> Next {
        let lived = self.started.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if lived >= Self::HEALTHY_AFTER {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures >= self.failures_max {
            return Next::GiveUp { failures: self.failures };
        }
        let doublings = (self.failures - 1).min(16);
        let longest = self.first_wait.saturating_mul(Self::LONGEST);
        Next::RestartAt(now + self.first_wait.saturating_mul(1 << doublings).min(longest))
    }

    /// Waits `first_wait` before the first restart from here on.
    pub fn set_first_wait(&mut self, first_wait: Duration) {
        self.first_wait = first_wait;
    }

    /// A person has asked for it: it starts with a clean slate.
    pub fn forgive(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row, and the number at which the session gives up.
    pub fn in_a_row(&self) -> (u32, u32) {
        (self.failures, self.failures_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_waits_longer_after_each_crash_and_then_gives_up() {
        let now = Instant::now();
        let mut policy = RestartPolicy::new(RestartPolicy::FIRST_WAIT, 4);
        for seconds in [1, 2, 4] {
            policy.started(now);
            assert_eq!(policy.ended(now), Next::RestartAt(now + Duration::from_secs(seconds)));
        }
        policy.started(now);
        assert_eq!(policy.ended(now), Next::GiveUp { failures: 4 });
    }

    #[test]
    fn ten_minutes_of_health_start_the_count_afresh() {
        let now = Instant::now();
        let mut policy = RestartPolicy::new(RestartPolicy::FIRST_WAIT, 3);
        policy.started(now);
        policy.ended(now);
        policy.started(now);
        let later = now + RestartPolicy::HEALTHY_AFTER;
        assert_eq!(policy.ended(later), Next::RestartAt(later + RestartPolicy::FIRST_WAIT));
        policy.started(later);
        let soon = later + RestartPolicy::HEALTHY_AFTER - Duration::from_secs(1);
        assert_eq!(policy.ended(soon), Next::RestartAt(soon + Duration::from_secs(2)));
    }

    #[test]
    fn the_wait_never_exceeds_sixty_times_the_first() {
        let now = Instant::now();
        for (first, longest) in [(RestartPolicy::FIRST_WAIT, 60_000), (Duration::from_millis(10), 600)] {
            let mut policy = RestartPolicy::new(first, u32::MAX);
            let waits = (0..100).map(|_| {
                let Next::RestartAt(at) = policy.ended(now) else { panic!("gave up") };
                at - now
            });
            assert_eq!(waits.max(), Some(Duration::from_millis(longest)));
        }
    }
}
