//! Keeps a thread to its share of a processor.

use std::time::{Duration, Instant};

/// The most time that may be saved up while there is nothing to do.
const SAVED: Duration = Duration::from_millis(50);

/// One thread's account: it may use `percent` of the time that passes.
#[derive(Debug)]
pub(crate) struct Throttle {
    percent: u32,
    /// When the account was opened, and the thread's processor time then.
    since: (Instant, Duration),
}

impl Throttle {
    /// Opens an account; at 100 per cent it never asks for a pause.
    pub(crate) fn new(percent: u32, now: Instant, used: Duration) -> Self {
        Self { percent, since: (now, used) }
    }

    /// How long to sleep at `now`, with `used` processor time used in all by this thread.
    pub(crate) fn pause(&mut self, now: Instant, used: Duration) -> Duration {
        if self.percent >= 100 {
            return Duration::ZERO;
        }
        let worked = used.saturating_sub(self.since.1);
        let due = worked * 100 / self.percent;
        let passed = now.saturating_duration_since(self.since.0);
        if due >= passed {
            return due - passed;
        }
        // Idle time is not carried over, or a pause between jobs would be made up for with a burst.
        if passed - due > SAVED {
            self.since.0 += passed - due - SAVED;
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works in steps of a millisecond for `seconds`, sleeping as told and a bit longer, and returns the share used.
    fn share(percent: u32, step: Duration, oversleep: Duration, seconds: u64) -> f64 {
        let start = Instant::now();
        let (mut now, mut used) = (start, Duration::ZERO);
        let mut throttle = Throttle::new(percent, start, used);
        while now < start + Duration::from_secs(seconds) {
            now += step;
            used += step;
            let pause = throttle.pause(now, used);
            if pause > Duration::ZERO {
                now += pause + oversleep;
            }
        }
        used.as_secs_f64() / (now - start).as_secs_f64()
    }

    #[test]
    fn the_share_is_exact_within_a_second_whatever_the_steps_and_the_clock() {
        for percent in [1, 10, 37, 50, 85, 99] {
            for (step, oversleep) in [(700, 0), (700, 900), (3000, 100)] {
                let share = share(percent, Duration::from_micros(step), Duration::from_micros(oversleep), 1);
                // One step at the end may or may not have been paid for.
                assert!(
                    (share * 100.0 - f64::from(percent)).abs() < 1.0,
                    "{percent} per cent became {share}"
                );
            }
        }
    }

    #[test]
    fn a_hundred_per_cent_never_pauses() {
        assert!(share(100, Duration::from_millis(1), Duration::ZERO, 1) > 0.999);
    }

    #[test]
    fn time_without_work_is_not_made_up_for() {
        let start = Instant::now();
        let mut throttle = Throttle::new(50, start, Duration::ZERO);
        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.pause(later, Duration::ZERO), Duration::ZERO);
        // After 100 ms of work, at most what was saved up is free.
        let pause = throttle.pause(later + Duration::from_millis(100), Duration::from_millis(100));
        assert!(pause >= Duration::from_millis(50), "{pause:?}");
    }
}
