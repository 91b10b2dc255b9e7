//! A bounded number of events per second, so that whoever has much to say costs little.

use std::time::{Duration, Instant};

/// Lets a bounded number of events per second through and counts the others.
#[derive(Debug, Clone)]
pub struct Gate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
    held_back: u64,
}

impl Gate {
    /// A gate for `per_second` events, after a first burst of `burst`.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { per_second: f64::from(per_second), burst, tokens: burst, at: now, held_back: 0 }
    }

    /// Whether an event may pass at `now`.
    pub fn pass(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            true
        } else {
            self.held_back += 1;
            false
        }
    }

    /// How long until the next event may pass; zero where one may now.
    pub fn wait(&mut self, now: Instant) -> Duration {
        self.refill(now);
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0))
    }

    /// Events held back since this was asked last.
    pub fn take_held_back(&mut self) -> u64 {
        std::mem::take(&mut self.held_back)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_a_burst_through_and_then_its_rate_and_counts_the_rest() {
        let t0 = Instant::now();
        let mut gate = Gate::new(10, 5, t0);
        let passed = (0..100).filter(|_| gate.pass(t0)).count();
        assert_eq!((passed, gate.take_held_back()), (5, 95));
        assert!(gate.wait(t0) > Duration::from_millis(90));
        let later = t0 + Duration::from_millis(300);
        assert_eq!((0..100).filter(|_| gate.pass(later)).count(), 3);
    }
}
