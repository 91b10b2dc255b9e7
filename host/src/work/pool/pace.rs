//! How fast a pool's jobs come, and how fast shares may go (pool protocol sections 6.2 and 8.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The shortest silence that is waited for.
const PATIENCE_MIN: Duration = Duration::from_secs(180);
/// The longest.
const PATIENCE_MAX: Duration = Duration::from_secs(30 * 60);
/// While the pool's own cadence is not known. Where jobs come with blocks, one gap in fifty is longer.
const PATIENCE_UNKNOWN: Duration = Duration::from_secs(600);
/// Gaps that a cadence is made of.
const GAPS_MAX: usize = 31;
/// Gaps before it is believed.
const GAPS_MIN: usize = 4;

/// The gaps between a pool's jobs, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct Cadence {
    gaps: VecDeque<Duration>,
    last: Option<Instant>,
}

impl Cadence {
    /// A job came.
    pub fn job(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            if self.gaps.len() == GAPS_MAX {
                self.gaps.pop_front();
            }
            self.gaps.push_back(now.saturating_duration_since(last));
        }
    }

    /// The connection ended: the gap to the next job says nothing.
    pub fn interrupted(&mut self) {
        self.last = None;
    }

    /// How long this pool may be silent: eight times the median gap, between three and thirty minutes.
    pub fn patience(&self) -> Duration {
        if self.gaps.len() < GAPS_MIN {
            return PATIENCE_UNKNOWN;
        }
        let mut sorted: Vec<Duration> = self.gaps.iter().copied().collect();
        sorted.sort();
        (sorted[sorted.len() / 2] * 8).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }
}

/// Shares a second.
const PER_SECOND: f64 = 2.0;
/// Shares a minute.
const PER_MINUTE: usize = 60;
/// Shares at once.
const BURST: f64 = 10.0;

/// Lets shares pass at no more than 2 a second (ten of them at once) and 60 in any minute.
#[derive(Clone, Debug)]
pub struct Limiter {
    quick: f64,
    at: Instant,
    /// When the last sixty passed.
    passed: VecDeque<Instant>,
}

impl Limiter {
    /// Nothing has passed yet.
    pub fn new(now: Instant) -> Self {
        Self { quick: BURST, at: now, passed: VecDeque::new() }
    }

    /// Whether one more may pass now.
    pub fn pass(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.quick = (self.quick + seconds * PER_SECOND).min(BURST);
        if self.passed.len() == PER_MINUTE {
            let minute = now.saturating_duration_since(self.passed[0]) >= Duration::from_secs(60);
            if !minute {
                return false;
            }
        }
        if self.quick < 1.0 {
            return false;
        }
        self.quick -= 1.0;
        if self.passed.len() == PER_MINUTE {
            self.passed.pop_front();
        }
        self.passed.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn patience_follows_the_pools_own_cadence_within_three_and_thirty_minutes() {
        let mut now = Instant::now();
        let mut cadence = Cadence::default();
        let mut jobs = |cadence: &mut Cadence, gap: u64| {
            for _ in 0..40 {
                now += SECOND * u32::try_from(gap).unwrap();
                cadence.job(now);
            }
            cadence.patience().as_secs()
        };
        assert_eq!(
            cadence.patience().as_secs(),
            600,
            "a fixed three minutes would drop a healthy connection"
        );
        assert_eq!(jobs(&mut cadence, 20), 180);
        assert_eq!(jobs(&mut cadence, 105), 840);
        assert_eq!(jobs(&mut cadence, 900), 1800);
    }

    #[test]
    fn a_gap_over_a_reconnect_says_nothing() {
        let (mut cadence, now) = (Cadence::default(), Instant::now());
        for second in 0..6 {
            cadence.job(now + SECOND * second * 1000);
            cadence.interrupted();
        }
        assert_eq!(cadence.patience(), PATIENCE_UNKNOWN);
    }

    #[test]
    fn ten_shares_pass_at_once_then_two_a_second_and_sixty_in_any_minute() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        assert_eq!((0..20).filter(|_| limiter.pass(start)).count(), 10);
        let mut passed = vec![start; 10];
        for tenth in 1..=3000 {
            let now = start + SECOND * tenth / 10;
            if limiter.pass(now) {
                passed.push(now);
            }
        }
        assert!(passed.windows(61).all(|some| some[60] - some[0] >= SECOND * 60));
        assert!(passed.windows(14).all(|some| some[13] - some[0] >= SECOND), "ten and two a second");
        assert!((295..=310).contains(&passed.len()), "{}", passed.len());
    }
}
