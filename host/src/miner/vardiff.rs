//! How hard a share is for a miner: the target that the host puts into a miner's job.
//!
//! It is chosen from the estimate of the miner's rate at first and steered to about one share in [`SPACING`], so that
//! a rate is known within minutes whatever the network asks for. It is never harder than what pays, or paying proofs
//! would be lost; and shares come no faster than [`SHARES_PER_SECOND_MAX`], except where what pays is itself that easy.
//!
//! The rate is taken from verified shares alone, never from a claim: `shares / exposure`, with the exposure in seconds
//! per hash of work, both halved now and then so that what is long ago counts less. A claim only serves as a first
//! guess, and a guess counts for a quarter of a share.
//!
//! Plain functions of what they were told and of `now`; nobody is talked to. Whoever owns the job asks
//! [`Vardiff::wants_change`] now and then and offers the job anew where the answer is yes.

use std::time::{Duration, Instant};

use pearl_pow::Target;
use pearl_pow::shares::{expected_hashes_of_target, target_of_expected_hashes};

/// What is aimed at between two shares.
pub const SPACING: Duration = Duration::from_secs(20);

/// The most shares a second that the steering lets come.
pub const SHARES_PER_SECOND_MAX: f64 = 2.0;

/// The easiest share: `2^25` hashes. The bound of the largest legal tile multiplies a target by `2^24` (protocol sections
/// 6.2 and 7), and the product still fits 256 bits.
pub const WORK_MIN: f64 = (1_u64 << 25) as f64;

/// The hardest share: no machine finds one in a life, and the target still has bits to work with.
const WORK_MAX: f64 = (1_u128 << 100) as f64;

/// The rate that is assumed where nobody estimated one, in hashes per second: between a processor's and a card's.
const RATE_UNKNOWN: f64 = 1e11;

/// Shares that a guess counts for.
const GUESS: f64 = 0.25;

/// From so many shares on the guess is forgotten.
const KNOWN: f64 = 4.0;

/// From so many shares on the older half counts less.
const MEMORY: f64 = 16.0;

/// The job in work is offered anew where its share is so many times too hard or too easy.
const TOLERANCE: f64 = 2.0;

/// The most that the work of a share grows or shrinks at once.
const STEP: f64 = 64.0;

/// The steering of one miner's share target. It reads no clock.
#[derive(Debug, Clone)]
pub struct Vardiff {
    /// Seconds between two shares to aim at.
    spacing: f64,
    /// Hashes per second that were guessed before any share.
    guess: f64,
    /// Hashes for a share, as it was last chosen.
    work: f64,
    /// Shares, and seconds per hash of work, with the older ones counted less.
    shares: f64,
    exposure: f64,
    /// Work of the target in force, and since when it is counted.
    in_force: Option<(f64, Instant)>,
}

impl Vardiff {
    /// A steering that starts with an estimate in hashes per second, if there is one.
    pub fn new(estimate: Option<f64>) -> Self {
        Self::spaced(estimate, SPACING)
    }

    /// The same with another time between two shares.
    pub fn spaced(estimate: Option<f64>, spacing: Duration) -> Self {
        let spacing = spacing.as_secs_f64().max(1.0 / SHARES_PER_SECOND_MAX);
        let guess = estimate.filter(|rate| rate.is_finite() && *rate >= 1.0).unwrap_or(RATE_UNKNOWN);
        let mut vardiff = Self { spacing, guess, work: 0.0, shares: 0.0, exposure: 0.0, in_force: None };
        vardiff.work = vardiff.fitting();
        vardiff
    }

    /// The target for a job that pays at `paying` (an unscaled little-endian number, protocol section 6.3): the share's,
    /// or the paying one where that is easier. Chosen anew with each call.
    pub fn target(&mut self, paying: &[u8; 32], now: Instant) -> [u8; 32] {
        self.pass(now);
        self.work = self.fitting().clamp(self.work / STEP, self.work * STEP);
        let paying = Target::from_le_bytes(*paying);
        target_of_expected_hashes(self.work).max(paying).to_le_bytes()
    }

    /// The miner works at `target` from `now` on: it took the job.
    pub fn in_force(&mut self, target: &[u8; 32], now: Instant) {
        self.pass(now);
        self.in_force = work_of(target).map(|work| (work, now));
    }

    /// Nothing can be found from `now` on. Such time is not counted.
    pub fn nothing_in_force(&mut self, now: Instant) {
        self.pass(now);
        self.in_force = None;
    }

    /// A share of the miner passed the verifier.
    pub fn share(&mut self, now: Instant) {
        self.pass(now);
        self.shares += 1.0;
    }

    /// Whether the job in work should be offered anew with another target: its shares come far too fast or too slowly.
    ///
    /// Where what pays is easier than the share would be, the target would not change, and the answer is no.
    pub fn wants_change(&mut self, paying: &[u8; 32], now: Instant) -> bool {
        self.pass(now);
        let Some((in_force, _)) = self.in_force else { return false };
        let Some(paying) = work_of(paying) else { return false };
        let wanted = self.fitting().min(paying);
        !(in_force / TOLERANCE..=in_force * TOLERANCE).contains(&wanted)
    }

    /// Hashes per second that the shares show, or the guess before there are enough.
    pub fn rate(&self) -> f64 {
        if self.shares >= KNOWN {
            self.shares / self.exposure.max(f64::MIN_POSITIVE)
        } else {
            (self.shares + GUESS) / (self.exposure + GUESS / self.guess)
        }
    }

    /// Hashes for a share that fit the rate.
    fn fitting(&self) -> f64 {
        (self.rate() * self.spacing).clamp(WORK_MIN, WORK_MAX)
    }

    fn pass(&mut self, now: Instant) {
        if let Some((work, since)) = &mut self.in_force {
            let seconds = now.saturating_duration_since(*since).as_secs_f64();
            self.exposure += seconds / *work;
            *since = now.max(*since);
            // As time passes, and not as shares come: several may be verified at once, and none of their time is lost.
            if self.shares >= MEMORY && seconds > 0.0 {
                self.shares /= 2.0;
                self.exposure /= 2.0;
            }
        }
    }
}

/// Hashes for a share at `target` (an unscaled little-endian number), on average; none for a target that none meets.
pub fn work_of(target: &[u8; 32]) -> Option<f64> {
    let work = expected_hashes_of_target(Target::from_le_bytes(*target));
    work.is_finite().then_some(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: [u8; 32] = {
        let mut bytes = [0; 32];
        bytes[20] = 1;
        bytes
    };

    /// Shares in each minute of a miner that does `rate` hashes a second, with even waits, on a network whose blocks are
    /// out of reach, asked ten times a second; it takes a job a tenth of a second after it was offered.
    fn minutes(estimate: Option<f64>, rate: impl Fn(u64) -> f64, minutes: u64) -> Vec<u32> {
        let start = Instant::now();
        let mut vardiff = Vardiff::new(estimate);
        let mut counts = vec![0; usize::try_from(minutes).unwrap()];
        let mut offered = vardiff.target(&HARD, start);
        vardiff.in_force(&offered, start);
        let mut in_work = offered;
        let mut ahead = 1.0;
        for step in 1..=minutes * 600 {
            let now = start + Duration::from_millis(step * 100);
            ahead -= rate(step / 600) * 0.1 / work_of(&in_work).unwrap();
            while ahead <= 0.0 {
                ahead += 1.0;
                counts[usize::try_from((step - 1) / 600).unwrap()] += 1;
                vardiff.share(now);
            }
            if in_work != offered {
                vardiff.in_force(&offered, now);
                in_work = offered;
            }
            if vardiff.wants_change(&HARD, now) {
                offered = vardiff.target(&HARD, now);
            }
        }
        counts
    }

    #[test]
    fn a_right_estimate_brings_a_share_in_twenty_seconds_from_the_first() {
        for rate in [1e8, 1e11, 1e14] {
            let counts = minutes(Some(rate), |_| rate, 20);
            assert!(counts.iter().all(|count| (2..=4).contains(count)), "{rate}: {counts:?}");
        }
    }

    #[test]
    fn an_estimate_that_is_wrong_by_a_thousand_is_mended_within_two_minutes() {
        for rate in [1e8, 1e11, 1e14] {
            for factor in [1e-3, 1e3] {
                let counts = minutes(Some(rate * factor), |_| rate, 10);
                let early: u32 = counts[..2].iter().sum();
                assert!((2..=60).contains(&early), "{rate} × {factor}: {counts:?}");
                assert!(
                    counts[4..].iter().all(|count| (1..=8).contains(count)),
                    "{rate} × {factor}: {counts:?}"
                );
            }
        }
    }

    #[test]
    fn a_miner_of_any_speed_without_an_estimate_shows_a_rate_within_two_minutes() {
        for rate in [3e7, 1e9, 1e11, 1e13, 1e15] {
            let counts = minutes(None, |_| rate, 10);
            assert!(counts[..2].iter().sum::<u32>() >= 2, "{rate}: {counts:?}");
            assert!(counts[4..].iter().all(|count| (1..=8).contains(count)), "{rate}: {counts:?}");
        }
    }

    #[test]
    fn a_miner_that_becomes_ten_times_faster_or_slower_is_followed() {
        for factor in [10.0, 0.1] {
            let counts = minutes(Some(1e11), |minute| if minute < 10 { 1e11 } else { 1e11 * factor }, 30);
            assert!(counts[20..].iter().all(|count| (1..=8).contains(count)), "× {factor}: {counts:?}");
            // Never more than two a second, but for the first moments of a leap.
            assert!(counts.iter().all(|count| *count <= 60), "× {factor}: {counts:?}");
        }
    }

    #[test]
    fn a_share_is_never_harder_than_what_pays_nor_easier_than_a_tile_can_bear() {
        let now = Instant::now();
        let easy = target_of_expected_hashes(1e9).to_le_bytes();
        let mut vardiff = Vardiff::new(Some(1e14));
        assert_eq!(vardiff.target(&easy, now), easy);
        vardiff.in_force(&easy, now);
        // What pays comes too fast, and nothing can be done about that.
        for _ in 0..100 {
            vardiff.share(now + Duration::from_secs(1));
        }
        assert!(!vardiff.wants_change(&easy, now + Duration::from_secs(1)));
        for estimate in
            [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY), Some(1e-300), Some(1e300)]
        {
            let mut vardiff = Vardiff::new(estimate);
            let work = work_of(&vardiff.target(&HARD, now)).unwrap();
            assert!(work <= work_of(&HARD).unwrap() && work >= WORK_MIN * 0.999, "{estimate:?}: {work}");
        }
    }

    #[test]
    fn time_without_a_job_makes_no_share_easier() {
        let start = Instant::now();
        let mut vardiff = Vardiff::new(Some(1e10));
        let target = vardiff.target(&HARD, start);
        vardiff.in_force(&target, start);
        vardiff.nothing_in_force(start + Duration::from_secs(1));
        let later = start + Duration::from_secs(86_400);
        assert!(!vardiff.wants_change(&HARD, later));
        let again = work_of(&vardiff.target(&HARD, later)).unwrap();
        assert!(again > 0.8 * work_of(&target).unwrap());
    }

    #[test]
    fn a_target_that_nothing_meets_has_no_work() {
        assert_eq!(work_of(&[0; 32]), None);
        assert_eq!(work_of(&[0xff; 32]), Some(1.0));
    }
}
