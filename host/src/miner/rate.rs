//! The numbers: hashrate by window, and what the proofs say about it.
//!
//! Plain arithmetic on what was counted and on a monotonic clock that the caller reads, so that a wall clock set
//! back changes nothing here. A hash is one int8 multiply-accumulate of the noisy GEMM.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Hashrate windows that are shown, in seconds.
pub const WINDOWS: [u64; 3] = [10, 60, 900];

const SECONDS: usize = 900;

/// Hashes per second over the last 10 s, 60 s and 15 min. Fixed memory: one number per second of the longest window.
#[derive(Debug)]
pub struct Hashrate {
    /// Hashes done in each whole second, a ring indexed by the second's number.
    ring: Box<[u64; SECONDS]>,
    since: Option<Instant>,
    /// Number of the second that is being counted now.
    second: u64,
    current: u64,
    total: u64,
}

impl Default for Hashrate {
    fn default() -> Self {
        Self { ring: Box::new([0; SECONDS]), since: None, second: 0, current: 0, total: 0 }
    }
}

impl Hashrate {
    /// Starts the windows, unless they have started: from here on time counts, hashes or no hashes.
    pub fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Adds hashes that were done up to `now`.
    pub fn add(&mut self, hashes: u64, now: Instant) {
        self.begin(now);
        self.advance(now);
        self.current = self.current.saturating_add(hashes);
        self.total = self.total.saturating_add(hashes);
    }

    /// All hashes so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How long the windows have run.
    pub fn elapsed(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Hashes per second over the last whole `window` seconds, or nothing until that much time has been seen.
    ///
    /// # Panics
    ///
    /// Where `window` is zero or longer than the longest of [`WINDOWS`].
    pub fn over(&mut self, window: u64, now: Instant) -> Option<f64> {
        assert!((1..=SECONDS as u64).contains(&window), "no such window");
        self.since?;
        self.advance(now);
        if self.second < window {
            return None;
        }
        let sum: u128 = (self.second - window..self.second)
            .map(|second| u128::from(self.ring[(second % SECONDS as u64) as usize]))
            .sum();
        Some(sum as f64 / window as f64)
    }

    fn advance(&mut self, now: Instant) {
        let second = self.elapsed(now).as_secs();
        if second <= self.second {
            return;
        }
        self.ring[(self.second % SECONDS as u64) as usize] = self.current;
        self.current = 0;
        // Seconds in which nothing was reported; more of them than the ring is long wipe it once.
        let first = (self.second + 1).max(second.saturating_sub(SECONDS as u64));
        for quiet in first..second {
            self.ring[(quiet % SECONDS as u64) as usize] = 0;
        }
        self.second = second;
    }
}

/// Work that proofs bear out, beside the hashes that a provider claims.
///
/// A proof at target `T` is found once in `2^256 / T` hashes on average, so each proof that was taken stands for
/// that many. At one target the number of proofs is a Poisson count, which gives the band. Where targets differ, the
/// sum of weights `w` is as certain as a count of `(Σw)² / Σw²` proofs: a hundred easy proofs from before the difficulty
/// rose say next to nothing beside one hard one.
#[derive(Debug, Clone, Default)]
pub struct ProvenWork {
    proofs: u64,
    hashes: f64,
    squares: f64,
}

impl ProvenWork {
    /// Adds a proof that stands for `hashes` expected hashes.
    pub fn add(&mut self, hashes: f64) {
        self.proofs += 1;
        self.hashes += hashes;
        self.squares += hashes * hashes;
    }

    /// Takes back a proof that stood for `hashes`, because its block left the chain.
    pub fn take_back(&mut self, hashes: f64) {
        self.proofs = self.proofs.saturating_sub(1);
        self.hashes = (self.hashes - hashes).max(0.0);
        self.squares = (self.squares - hashes * hashes).max(0.0);
    }

    /// How many proofs of one target would be as telling.
    fn telling(&self) -> f64 {
        if self.squares > 0.0 { self.hashes * self.hashes / self.squares } else { 0.0 }
    }

    /// Proofs added.
    pub fn proofs(&self) -> u64 {
        self.proofs
    }

    /// Expected hashes that the proofs stand for.
    pub fn hashes(&self) -> f64 {
        self.hashes
    }

    /// The rate that the proofs bear out over `elapsed`, judged beside `raw` claimed hashes in the same time.
    ///
    /// `hashes_per_proof` is the expectation at today's target and is used while there is no proof yet.
    pub fn judge(&self, raw: u64, elapsed: Duration, hashes_per_proof: Option<f64>) -> Option<AcceptedRate> {
        let seconds = elapsed.as_secs_f64();
        let telling = self.telling();
        let each = if telling > 0.0 { self.hashes / telling } else { hashes_per_proof? };
        if seconds < 1.0 || each <= 0.0 || !each.is_finite() {
            return None;
        }
        let (low, high) = poisson_band(telling);
        let expected = raw as f64 / each;
        let verdict = if expected < 3.0 && telling < 3.0 {
            Verdict::TooEarly
        } else if expected > high {
            Verdict::ClaimsMore
        } else if expected < low {
            Verdict::ClaimsLess
        } else {
            Verdict::BornOut
        };
        Some(AcceptedRate {
            hashrate: self.hashes / seconds,
            low: low * each / seconds,
            high: high * each / seconds,
            claimed: raw as f64 / seconds,
            proofs: self.proofs,
            proofs_expected: if telling > 0.0 { expected / telling * self.proofs as f64 } else { expected },
            verdict,
        })
    }
}

/// What the proofs say of the provider's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Too few proofs are due to tell.
    TooEarly,
    /// The claimed rate lies within the band.
    BornOut,
    /// The proofs are too few for the claim.
    ClaimsMore,
    /// The proofs are too many for the claim.
    ClaimsLess,
}

/// Accepted-work rate with its 95 % band.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptedRate {
    /// Hashes per second that the proofs stand for.
    pub hashrate: f64,
    /// Lower end of the band, hashes per second.
    pub low: f64,
    /// Upper end of the band, hashes per second.
    pub high: f64,
    /// What the provider claims over the same time, hashes per second.
    pub claimed: f64,
    /// Proofs counted.
    pub proofs: u64,
    /// Proofs that the claim should have brought, at the targets of those that were counted.
    pub proofs_expected: f64,
    /// What follows.
    pub verdict: Verdict,
}

impl AcceptedRate {
    /// The verdict in words.
    pub fn words(&self) -> String {
        let AcceptedRate { proofs, proofs_expected: expected, .. } = self;
        match self.verdict {
            Verdict::TooEarly => format!("too early to tell: {proofs} proofs, {expected:.1} due"),
            Verdict::BornOut => format!("the proofs bear the claim out: {proofs} found, {expected:.1} due"),
            Verdict::ClaimsMore => {
                format!("claims more than its proofs bear out: {proofs} found, {expected:.1} due")
            }
            Verdict::ClaimsLess => format!("finds more than it claims: {proofs} found, {expected:.1} due"),
        }
    }
}

/// Bounds of the mean of a Poisson count, 95 % two-sided, by Byar's approximation (within 1 % of the exact bounds
/// from one proof upward; the exact value for none).
fn poisson_band(n: f64) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let low = if n <= 0.0 { 0.0 } else { n * (1.0 - 1.0 / (9.0 * n) - Z / (3.0 * n.sqrt())).powi(3) };
    let high = if n <= 0.0 {
        3.688_88
    } else {
        let m = n + 1.0;
        m * (1.0 - 1.0 / (9.0 * m) + Z / (3.0 * m.sqrt())).powi(3)
    };
    (low.max(0.0), high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_says_nothing_until_it_is_full() {
        let t0 = Instant::now();
        let mut rate = Hashrate::default();
        assert_eq!(rate.over(10, t0), None);
        rate.begin(t0);
        for second in 0..10 {
            assert_eq!(rate.over(10, t0 + Duration::from_secs(second)), None);
            rate.add(500, t0 + Duration::from_millis(second * 1000 + 500));
        }
        assert_eq!(rate.over(10, t0 + Duration::from_secs(10)), Some(500.0));
        assert_eq!(rate.over(60, t0 + Duration::from_secs(10)), None);
        assert_eq!(rate.total(), 5000);
    }

    #[test]
    fn silence_drags_the_rate_down_to_zero_and_no_further() {
        let t0 = Instant::now();
        let mut rate = Hashrate::default();
        rate.add(1000, t0);
        assert_eq!(rate.over(10, t0 + Duration::from_secs(10)), Some(100.0));
        assert_eq!(rate.over(10, t0 + Duration::from_secs(11)), Some(0.0));
        assert_eq!(rate.over(900, t0 + Duration::from_secs(900)), Some(1000.0 / 900.0));
        assert_eq!(rate.over(900, t0 + Duration::from_secs(9000)), Some(0.0));
    }

    #[test]
    fn the_band_is_close_to_the_exact_one() {
        // Garwood's exact bounds.
        for (count, low, high) in [
            (0.0, 0.0, 3.689),
            (1.0, 0.0253, 5.572),
            (5.0, 1.623, 11.668),
            (10.0, 4.795, 18.390),
            (100.0, 81.364, 121.627),
        ] {
            let (ours_low, ours_high) = poisson_band(count);
            assert!((ours_low - low).abs() <= 0.02 + 0.01 * low, "{count}: {ours_low} {low}");
            assert!((ours_high - high).abs() <= 0.02 + 0.01 * high, "{count}: {ours_high} {high}");
        }
    }

    #[test]
    fn a_claim_is_judged_by_its_proofs() {
        let minute = Duration::from_secs(60);
        let mut work = ProvenWork::default();
        assert_eq!(work.judge(1000, minute, None), None);
        assert_eq!(work.judge(1000, minute, Some(1000.0)).unwrap().verdict, Verdict::TooEarly);
        assert_eq!(work.judge(20_000, minute, Some(1000.0)).unwrap().verdict, Verdict::ClaimsMore);
        for _ in 0..20 {
            work.add(1000.0);
        }
        let judged = work.judge(20_000, minute, None).unwrap();
        assert_eq!(judged.verdict, Verdict::BornOut);
        assert!(judged.low < judged.hashrate && judged.hashrate < judged.high);
        assert_eq!(work.judge(200_000, minute, None).unwrap().verdict, Verdict::ClaimsMore);
        assert_eq!(work.judge(2_000, minute, None).unwrap().verdict, Verdict::ClaimsLess);
    }

    #[test]
    fn easy_proofs_say_little_once_the_difficulty_has_risen() {
        let mut work = ProvenWork::default();
        for _ in 0..8 {
            work.add(1e9);
        }
        work.add(100e9);
        // Twice the hashes that the proofs stand for is a common start: one hard proof was found, two were due.
        let judged = work.judge(216_000_000_000, Duration::from_secs(10), None).unwrap();
        assert_eq!(judged.verdict, Verdict::TooEarly);
        assert!(judged.high > 4.0 * judged.hashrate, "one telling proof makes a wide band");
        assert!((judged.proofs_expected - 18.0).abs() < 0.1, "{}", judged.proofs_expected);
        work.take_back(100e9);
        assert_eq!(
            work.judge(8_000_000_000, Duration::from_secs(10), None).unwrap().verdict,
            Verdict::BornOut
        );
    }
}
