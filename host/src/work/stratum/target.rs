//! Targets as pools send and check them (pool protocol section 6).
//!
//! The client mines with the target that the pool transmits, rounded down to what a compact value can express, because
//! pools verify with a compact value. It never computes a target from a difficulty; the reverse is for display only.

use pearl_pow::{CompactTarget, Target, U256};

/// Targets from here on are too easy for the tile that most kernels use, 8 × 16 × 4096: every tile would win.
const TOO_EASY_BITS: usize = 237;

/// The target that pools really check: the largest compact value that is not above `target` (section 6.2).
pub fn rounded(target: Target) -> Target {
    CompactTarget::from_target(target).target()
}

/// Whether the target is so easy that the bound of the usual tile does not fit 256 bits (section 6.2).
pub fn is_too_easy(target: Target) -> bool {
    target.0.bit_len() > TOO_EASY_BITS
}

/// `⌊2^256 / T⌋`: multiply-accumulates that a share stands for at rank 128 (section 6.3). The largest number for a
/// target of 0 or 1.
pub fn work(target: Target) -> U256 {
    let Some(quotient) = U256::MAX.checked_div(target.0) else { return U256::MAX };
    // 2^256 = quotient · T + remainder + 1.
    let remainder = U256::MAX % target.0;
    if remainder + U256::from(1_u64) == target.0 {
        quotient.saturating_add(U256::from(1_u64))
    } else {
        quotient
    }
}

/// The same as a floating-point number, for sums and sentences.
pub fn work_f64(target: Target) -> f64 {
    pearl_pow::shares::expected_hashes_of_target(target)
}

/// The difficulty to show for a target: `0xFFFF · 2^208 / T` (section 6.1). Labels lie, targets do not.
pub fn shown_difficulty(target: Target) -> f64 {
    pearl_pow::shares::PoolConvention::Bitcoin.difficulty(target)
}

/// A difficulty with at most four digits after the point, such as `2097152`, `1.22`.
pub fn difficulty_text(difficulty: f64) -> String {
    if !difficulty.is_finite() {
        return "n/a".to_owned();
    }
    if difficulty >= 1000.0 {
        return format!("{difficulty:.0}");
    }
    let text = format!("{difficulty:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
