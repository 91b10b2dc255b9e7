//! Waits between tries that fail: 1, 2, 5, 10, 30, 60, 60, … times a unit, each up to a fifth longer or shorter.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The steps, in units of [`Backoff::unit`].
const STEPS: [u32; 6] = [1, 2, 5, 10, 30, 60];

/// Counts failures and says how long to wait after each.
#[derive(Clone, Debug)]
pub struct Backoff {
    unit: Duration,
    failures: u32,
    // Clients of one gateway that restarted must not come back in step.
    jitter: RandomState,
}

impl Backoff {
    /// Nothing has failed yet. The first wait is about one `unit`.
    pub fn new(unit: Duration) -> Self {
        Self { unit, failures: 0, jitter: RandomState::new() }
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Another try failed. How long to wait before the next?
    pub fn failed(&mut self) -> Duration {
        let step = STEPS[(self.failures as usize).min(STEPS.len() - 1)];
        self.failures = self.failures.saturating_add(1);
        // 80 % to 120 %.
        let percent = 80 + u32::try_from(self.jitter.hash_one(self.failures) % 41).expect("below 41");
        self.unit * step * percent / 100
    }

    /// A try worked.
    pub fn worked(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_stay_there_until_something_works() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for step in STEPS.into_iter().chain([60; 100]) {
            let wait = backoff.failed().as_secs_f64() / f64::from(step);
            assert!((0.8..=1.2).contains(&wait), "{step}: {wait}");
        }
        backoff.worked();
        assert!(backoff.failed() <= Duration::from_millis(1200));
    }

    #[test]
    fn two_clients_do_not_wait_in_step() {
        let waits = |mut backoff: Backoff| -> Vec<_> { (0..20).map(|_| backoff.failed()).collect() };
        assert_ne!(waits(Backoff::new(Duration::from_secs(1))), waits(Backoff::new(Duration::from_secs(1))));
    }
}
