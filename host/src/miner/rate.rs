//! The numbers: hashrate by window, and the rate that proofs stand for.
//!
//! Plain arithmetic on what was counted and on a monotonic clock that the caller reads, so that a wall clock set
//! back changes nothing here. A hash is one int8 multiply-accumulate of the noisy GEMM.

use std::time::{Duration, Instant};

use super::luck::VerifiedRate;
use super::poisson;

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

    /// Hashes per second on average since the windows began; nothing before there is a second and a hash of it.
    pub fn so_far(&self, now: Instant) -> Option<f64> {
        let seconds = self.elapsed(now).as_secs_f64();
        (seconds >= 1.0 && self.total > 0).then(|| self.total as f64 / seconds)
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

/// Work that proofs stand for, each for its own: 2^256 / target hashes on average.
///
/// At one target the number of proofs is a Poisson count, which gives the band. Where targets differ, the sum of weights
/// `w` is as certain as a count of `(Σw)² / Σw²` proofs: a hundred easy proofs from before the difficulty rose say next to
/// nothing beside one hard one.
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

    /// Proofs added.
    pub fn proofs(&self) -> u64 {
        self.proofs
    }

    /// Expected hashes that the proofs stand for.
    pub fn hashes(&self) -> f64 {
        self.hashes
    }

    /// The rate that the proofs show over `seconds`; none without a proof, or for less than a second.
    pub fn rate(&self, seconds: f64) -> Option<VerifiedRate> {
        if seconds < 1.0 || self.squares <= 0.0 {
            return None;
        }
        let telling = self.hashes * self.hashes / self.squares;
        let each = self.hashes / telling;
        let (low, high) = poisson::band(telling.round().max(1.0) as u64);
        let per_second = |count: f64| count * each / seconds;
        Some(VerifiedRate { hashrate: self.hashes / seconds, low: per_second(low), high: per_second(high) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_window_is_full_there_is_an_average_so_far() {
        let (mut rate, begun) = (Hashrate::default(), Instant::now());
        assert_eq!(rate.so_far(begun), None);
        rate.begin(begun);
        rate.add(3_000, begun + Duration::from_millis(500));
        assert_eq!(rate.so_far(begun + Duration::from_millis(900)), None, "less than a second says nothing");
        assert_eq!(rate.so_far(begun + Duration::from_secs(3)), Some(1_000.0));
        assert_eq!(rate.over(10, begun + Duration::from_secs(3)), None);
    }

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
    fn a_rate_has_a_band_as_wide_as_its_telling_proofs_are_few() {
        let mut work = ProvenWork::default();
        assert!(work.rate(60.0).is_none());
        for _ in 0..100 {
            work.add(1000.0);
        }
        assert!(work.rate(0.5).is_none());
        let rate = work.rate(100.0).unwrap();
        assert!((rate.hashrate - 1000.0).abs() < 1e-6 && rate.low > 800.0 && rate.high < 1250.0, "{rate:?}");
        // One hard proof beside easy ones: nearly all that is known rests on it.
        work.add(1e8);
        let rate = work.rate(100.0).unwrap();
        assert!(rate.high > 4.0 * rate.hashrate, "{rate:?}");
        work.take_back(1e8);
        assert_eq!(work.proofs(), 100);
        assert!(work.rate(100.0).unwrap().high < 1250.0);
    }
}
