//! What a target means in work and time (section 6.4).
//!
//! One *hash* is one multiply-accumulate, as pools count it. The numbers here are for people; nothing is
//! decided by them, so they are floating-point.

use crate::U256;
use crate::config::MiningConfiguration;
use crate::difficulty::Target;

/// How a pool turns its difficulty number into a target (section 6.4).
///
/// The first two differ by a factor of 65535/65536. Mine with the target that the pool sends, never with one worked
/// out from its difficulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolConvention {
    /// `T = ⌊0xFFFF·2^208 / D⌋`: HeroMiners, LuckyPool.
    Bitcoin,
    /// `T = ⌊2^224 / D⌋ - 1`: Kryptex.
    PowerOfTwo,
    /// `T = ⌊(2^256 - 1) / ⌈D·10^6⌉⌉`: MoneroOcean, whose unit is a million multiply-accumulates.
    Millions,
}

impl PoolConvention {
    /// The target of a difficulty; `None` for 0, which no share could have (section 6.4).
    pub fn target(self, difficulty: u64) -> Option<Target> {
        self.target_of_fraction(difficulty, 0)
    }

    /// The target of the difficulty `digits / 10^places`, so `1.22` is `(122, 2)`; `None` for 0, and where the target
    /// does not fit 256 bits (section 6.4). At most nine places.
    pub fn target_of_fraction(self, digits: u64, places: u32) -> Option<Target> {
        let scale = U256::from(10_u64.checked_pow(places.min(9))?);
        let digits = U256::from(digits);
        let scaled = |number: U256| number.checked_mul(scale)?.checked_div(digits);
        Some(Target(match self {
            Self::Bitcoin => scaled(U256::from(0xffff_u64) << 208_usize)?,
            Self::PowerOfTwo => scaled(U256::from(1_u64) << 224_usize)?.checked_sub(U256::from(1_u64))?,
            Self::Millions => {
                let hashes = (digits * U256::from(1_000_000_u64)).div_ceil(scale);
                U256::MAX.checked_div(hashes)?
            }
        }))
    }

    /// The difficulty of a target; infinite for a target of zero in the first convention (section 6.4).
    pub fn difficulty(self, target: Target) -> f64 {
        match self {
            Self::Bitcoin => 65535.0 * 2f64.powi(208) / to_f64(target.0),
            Self::PowerOfTwo => 2f64.powi(224) / (to_f64(target.0) + 1.0),
            Self::Millions => 2f64.powi(256) / to_f64(target.0) / 1e6,
        }
    }
}

/// The chance that one attempt meets the bound: `(bound + 1) / 2^256` (section 6.4).
pub fn success_probability(config: &MiningConfiguration, target: Target, rank_penalty: bool) -> f64 {
    (to_f64(target.bound(config, rank_penalty)) + 1.0) / 2f64.powi(256)
}

/// Hashes to be computed on average until an attempt meets the bound.
///
/// The same for every tile shape; twice as many for every doubling of the rank above 128 under the
/// rank-penalty rule. It is never less than one attempt's worth.
pub fn expected_hashes(config: &MiningConfiguration, target: Target, rank_penalty: bool) -> f64 {
    config.hashes_per_attempt() as f64 / success_probability(config, target, rank_penalty)
}

/// `2^256 / T`: hashes on average for a target, whatever the tile, with a rank of at most 128 (section 6.4).
///
/// Infinite for a target of zero.
pub fn expected_hashes_of_target(target: Target) -> f64 {
    2f64.powi(256) / to_f64(target.0)
}

/// The target that takes `hashes` hashes on average: `2^256 / hashes`, rounded to the easier side, and the easiest
/// target for less than one hash or for what is no number (section 6.4).
///
/// ```
/// use pearl_pow::shares::{expected_hashes_of_target, target_of_expected_hashes};
///
/// let target = target_of_expected_hashes(1e15);
/// assert!((expected_hashes_of_target(target) / 1e15 - 1.0).abs() < 1e-12);
/// ```
pub fn target_of_expected_hashes(hashes: f64) -> Target {
    let number = 2f64.powi(256) / hashes;
    // What is at or above 2^256, or not a number, does not fit.
    U256::try_from(number.ceil()).map_or(Target::MAX, Target)
}

/// Seconds that some hashes take at `hashrate` hashes per second; infinite at a rate of 0 (section 6.4).
pub fn expected_seconds(hashes: f64, hashrate: f64) -> f64 {
    hashes / hashrate
}

/// The nearest floating-point number, or one next to it.
fn to_f64(number: U256) -> f64 {
    number.as_limbs().iter().rev().fold(0.0, |sum, &limb| sum * 2f64.powi(64) + limb as f64)
}
