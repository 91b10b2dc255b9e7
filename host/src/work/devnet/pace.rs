//! How hard the devnet's next block is.
//!
//! Little is known of the machine at first: it may do 10^8 or 10^12 hashes a second. The pace starts with what the miners
//! expect of themselves, or with the easiest target where they do not say. It multiplies the work of a block by at most `STEP` each time, and makes the job easier when none
//! is found for long. From there on it follows the rate measured over the last `WINDOW` blocks.
//!
//! Work is counted in expected hashes for one block, `2^256 / target` (protocol section 6.4).

use std::collections::VecDeque;
use std::time::Duration;

/// What the network aims at between two blocks, by default.
pub const SPACING: Duration = Duration::from_secs(5);

/// The easiest compact target: 2^25 hashes for a block. The penalised bound of the largest legal tile multiplies a
/// target by 2^24 (protocol sections 6.2 and 7), which still fits 256 bits.
pub const EASIEST: u32 = 0x1e00_8000;

/// The hardest that the pace goes: 2^72 hashes, some 30 years of the fastest machine.
const WORK_MAX: f64 = (1_u128 << 72) as f64;

/// Blocks that the rate is measured over.
const WINDOW: usize = 12;

/// The most that the work of a block changes from one job to the next.
const STEP: f64 = 4.0;

/// The same for the first blocks after an expectation, of which one alone says little.
const CAUTIOUS_STEP: f64 = 1.5;
const CAUTIOUS_BLOCKS: u32 = 2;

/// Without a block for this many times the aim, the job is made easier by [`STEP`].
const PATIENCE: u32 = 4;

/// The longest interval that counts: a machine that slept was not slow.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The retarget rule. A plain function of what it was told; it reads no clock.
#[derive(Clone, Debug)]
pub struct Pace {
    spacing: Duration,
    /// Work and seconds of the last blocks.
    window: VecDeque<(f64, f64)>,
    /// Work of the job on offer.
    work: f64,
    /// Blocks' worth of attempts that passed with earlier, harder jobs at this height, per hash per second.
    spent: f64,
    /// Seconds that passed with them.
    passed: f64,
    /// Blocks whose luck must not throw an expectation off by itself.
    cautious: u32,
}

impl Pace {
    /// A pace that knows nothing and aims at `spacing` between two blocks.
    pub fn new(spacing: Duration) -> Self {
        Self {
            spacing,
            window: VecDeque::new(),
            work: work_of(EASIEST),
            spent: 0.0,
            passed: 0.0,
            cautious: 0,
        }
    }

    /// The compact target of the job on offer.
    pub fn nbits(&self) -> u32 {
        compact(self.work)
    }

    /// When the job on offer should be made easier, counted from when it was issued.
    pub fn patience(&self) -> Option<Duration> {
        (self.work > work_of(EASIEST)).then_some(self.spacing * PATIENCE)
    }

    /// No block came for `elapsed` since the job was issued: makes the next one easier.
    pub fn ease(&mut self, elapsed: Duration) {
        self.spend(elapsed);
        self.set_work(self.work / STEP);
    }

    /// A block came `elapsed` after its job was issued. Returns the block's effective work and its whole interval,
    /// which are what [`Self::replay`] takes.
    pub fn block(&mut self, elapsed: Duration) -> (f64, Duration) {
        self.spend(elapsed);
        // With one job, the work is the job's. With several, it is what a single job of equal odds would have had.
        let work = self.passed / self.spent;
        let interval = Duration::from_secs_f64(self.passed);
        self.record(work, interval);
        let (work_sum, seconds) =
            self.window.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let wanted = work_sum / seconds * self.spacing.as_secs_f64();
        let step = if self.cautious > 0 { CAUTIOUS_STEP } else { STEP };
        self.cautious = self.cautious.saturating_sub(1);
        self.set_work(wanted.clamp(self.work / step, self.work * step));
        (work, interval)
    }

    /// Takes up where an earlier process stopped: one earlier block, with the compact target it was found for.
    pub fn replay(&mut self, nbits: u32, interval: Duration) {
        let work = work_of(nbits);
        self.record(work, interval);
        let (work_sum, seconds) =
            self.window.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let wanted = work_sum / seconds * self.spacing.as_secs_f64();
        self.set_work(wanted.clamp(work / STEP, work * STEP));
    }

    /// The miners expect to do `rate` hashes a second together: what was measured before counts only if it fits that.
    pub fn expect(&mut self, rate: f64) {
        let wanted = rate * self.spacing.as_secs_f64();
        let fits = (wanted / STEP..=wanted * STEP).contains(&self.work);
        if wanted.is_finite() && wanted > 0.0 && (self.window.is_empty() || !fits) {
            self.window.clear();
            self.set_work(wanted);
            self.cautious = CAUTIOUS_BLOCKS;
        }
    }

    fn spend(&mut self, elapsed: Duration) {
        let seconds = elapsed.min(INTERVAL_MAX).as_secs_f64().max(1e-3);
        self.spent += seconds / self.work;
        self.passed += seconds;
    }

    fn record(&mut self, work: f64, interval: Duration) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back((work, interval.min(INTERVAL_MAX).as_secs_f64().max(1e-3)));
        (self.spent, self.passed) = (0.0, 0.0);
    }

    fn set_work(&mut self, work: f64) {
        self.work = work.clamp(work_of(EASIEST), WORK_MAX);
    }
}

/// Expected hashes for one block at a compact target.
pub fn work_of(nbits: u32) -> f64 {
    let exponent = i32::from((nbits >> 24) as u8);
    let mantissa = f64::from(nbits & 0x007f_ffff);
    2.0_f64.powi(256 - 8 * (exponent - 3)) / mantissa
}

/// The compact target nearest below the one that takes `work` hashes, in the canonical form (the highest mantissa
/// byte is never zero and never carries the sign bit).
pub fn compact(work: f64) -> u32 {
    let mut exponent = 3;
    // The target's size in bytes: the mantissa must stay below 2^23.
    while 2.0_f64.powi(256 - 8 * (exponent - 3)) / work >= f64::from(1 << 23) {
        exponent += 1;
    }
    let mantissa = (2.0_f64.powi(256 - 8 * (exponent - 3)) / work) as u32;
    (exponent as u32) << 24 | mantissa
}

/// The 32 bytes, little-endian, of a compact target between 2^24 and 2^248 (protocol section 6.1).
pub fn target(nbits: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    let start = (nbits >> 24) as usize - 3;
    bytes[start..start + 3].copy_from_slice(&nbits.to_le_bytes()[..3]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks until the pace stays within a factor of three, for a machine that does `rate` hashes a second and needs
    /// `latency` on top of each block.
    fn settle(rate: f64, latency: f64, pace: &mut Pace) -> (usize, f64) {
        let mut spread = 0.37_f64;
        let mut total = 0.0;
        for block in 0..200 {
            // A fixed sequence that covers the exponential distribution evenly.
            spread = (spread + 0.618_033_988_75).fract();
            let mut seconds = -(1.0 - spread).ln() * work_of(pace.nbits()) / rate + latency;
            total += seconds;
            while let Some(patience) = pace.patience().filter(|patience| patience.as_secs_f64() < seconds) {
                let before = work_of(pace.nbits());
                pace.ease(patience);
                seconds = (seconds - patience.as_secs_f64()) * work_of(pace.nbits()) / before;
            }
            pace.block(Duration::from_secs_f64(seconds));
            let ratio = work_of(pace.nbits()) / rate / SPACING.as_secs_f64();
            if (0.33..3.0).contains(&ratio) {
                return (block + 1, total);
            }
        }
        panic!("never settled at {rate}");
    }

    #[test]
    fn a_machine_of_any_speed_is_met_within_a_minute() {
        for rate in [1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13] {
            let (blocks, seconds) = settle(rate, 0.05, &mut Pace::new(SPACING));
            assert!(blocks <= 16 && seconds < 60.0, "{rate}: {blocks} blocks, {seconds} s");
        }
    }

    #[test]
    fn a_machine_that_becomes_a_thousand_times_slower_is_met_again() {
        let mut pace = Pace::new(SPACING);
        settle(1e12, 0.01, &mut pace);
        let (blocks, seconds) = settle(1e9, 0.01, &mut pace);
        assert!(blocks <= 16, "{blocks} blocks, {seconds} s");
    }

    #[test]
    fn the_average_interval_is_near_the_aim_once_settled() {
        let rate = 3e9;
        let mut pace = Pace::new(SPACING);
        settle(rate, 0.0, &mut pace);
        let (mut spread, mut total) = (0.11_f64, 0.0);
        for _ in 0..400 {
            spread = (spread + 0.618_033_988_75).fract();
            let seconds = -(1.0 - spread).ln() * work_of(pace.nbits()) / rate;
            total += seconds;
            pace.block(Duration::from_secs_f64(seconds));
        }
        assert!((3.0..8.0).contains(&(total / 400.0)), "{}", total / 400.0);
    }

    #[test]
    fn the_first_job_fits_what_is_expected_and_a_wrong_expectation_is_mended() {
        for rate in [1e8, 1e10, 1e13] {
            let mut pace = Pace::new(SPACING);
            pace.expect(rate);
            let ratio = work_of(pace.nbits()) / (rate * 5.0);
            assert!((0.99..1.01).contains(&ratio), "{rate}: {ratio}");
            // Measured, and near: what was measured stays.
            pace.replay(compact(rate * 10.0), Duration::from_secs(5));
            let measured = pace.nbits();
            pace.expect(rate);
            assert_eq!(pace.nbits(), measured);
            for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
                pace.expect(nonsense);
                assert_eq!(pace.nbits(), measured);
            }
            let mut pace = Pace::new(SPACING);
            pace.expect(rate * 1e-3);
            let (blocks, seconds) = settle(rate, 0.05, &mut pace);
            assert!(blocks <= 16 && seconds < 60.0, "{rate}: {blocks} blocks, {seconds} s");
            // One lucky block in a tenth of the time does not make the next four times as hard.
            let mut pace = Pace::new(SPACING);
            pace.expect(rate);
            let before = work_of(pace.nbits());
            pace.block(SPACING / 10);
            assert!(work_of(pace.nbits()) < 2.0 * before, "{rate}");
            // A thousand times too hard: made easier five times, after twenty seconds each.
            let mut pace = Pace::new(SPACING);
            pace.expect(rate * 1e3);
            for _ in 0..5 {
                pace.ease(pace.patience().unwrap());
            }
            assert!(work_of(pace.nbits()) <= rate * 5.0, "{rate}");
        }
    }

    #[test]
    fn the_pace_never_leaves_its_range() {
        let mut pace = Pace::new(SPACING);
        for _ in 0..100 {
            pace.ease(Duration::from_secs(1000));
            assert_eq!(pace.nbits(), EASIEST);
        }
        for _ in 0..200 {
            pace.block(Duration::ZERO);
        }
        assert!(work_of(pace.nbits()) <= WORK_MAX * 1.001);
        pace.block(Duration::MAX);
    }

    #[test]
    fn compact_targets_are_canonical_and_at_most_a_hair_too_hard() {
        assert_eq!(compact(work_of(EASIEST)), EASIEST);
        for step in 0..2000 {
            let work = work_of(EASIEST) * 1.016_f64.powi(step);
            let nbits = compact(work);
            let mantissa = nbits & 0x00ff_ffff;
            assert!((0x8000..0x80_0000).contains(&mantissa), "{nbits:#x}");
            let ratio = work_of(nbits) / work;
            assert!((1.0..1.0001).contains(&ratio), "{nbits:#x} {ratio}");
        }
    }

    #[test]
    fn a_target_has_its_mantissa_at_the_exponents_place() {
        let bytes = target(EASIEST);
        assert_eq!(bytes[28], 0x80);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 1);
    }
}
