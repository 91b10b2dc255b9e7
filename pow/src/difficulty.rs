//! Targets and the bound that a jackpot is compared with (section 6).
//!
//! A *target* is the network's or the pool's number for one multiply-accumulate. An attempt costs many of
//! them, so the jackpot is compared with the target times that cost, the *bound*. Since the rank-penalty rule
//! a higher rank no longer pays: its bound is scaled as if the rank were 128.

use ruint::aliases::U256;

use crate::Digest;
use crate::config::MiningConfiguration;

/// An unscaled 256-bit target (section 6).
///
/// Displays as 64 hexadecimal digits, most significant first, as pools send it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(pub U256);

/// The compact form of a target, as the header's `nbits` carries it (section 6.1).
///
/// ```
/// use pearl_pow::CompactTarget;
///
/// let target = CompactTarget(0x1d00_ffff).target();
/// assert_eq!(target.to_string(), format!("{:0<64}", "00000000ffff"));
/// assert_eq!(CompactTarget::from_target(target), CompactTarget(0x1d00_ffff));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CompactTarget(pub u32);

/// Why text is not a target (section 6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not 1 to 64 hexadecimal digits.
    #[error("a target is 1 to 64 hexadecimal digits, most significant first")]
    NotHex,
    /// Not eight hexadecimal digits.
    #[error("a compact target (nbits) is 8 hexadecimal digits, such as 1d00ffff")]
    NotCompact,
}

impl CompactTarget {
    /// The target that the compact form stands for; 0 for a negative or empty one, and shifts drop bits
    /// silently, as the reference does (section 6.1).
    pub fn target(self) -> Target {
        let exponent = self.0 >> 24;
        let mantissa = self.0 & 0x00ff_ffff;
        if mantissa & 0x0080_0000 != 0 || exponent == 0 {
            return Target(U256::ZERO);
        }
        Target(match exponent {
            0..=3 => U256::from(mantissa >> (8 * (3 - exponent))),
            4..=34 => U256::from(mantissa) << (8 * (exponent as usize - 3)),
            _ => U256::ZERO,
        })
    }

    /// The largest compact target that is not above `target` (section 6.1).
    pub fn from_target(target: Target) -> Self {
        let mut exponent = target.0.bit_len().div_ceil(8);
        let mut mantissa: u32 = if exponent <= 3 {
            target.0.to::<u32>() << (8 * (3 - exponent))
        } else {
            (target.0 >> (8 * (exponent - 3))).to::<u32>()
        };
        // The top bit of the mantissa is a sign.
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            exponent += 1;
        }
        Self((exponent as u32) << 24 | mantissa)
    }

    /// Reads eight hexadecimal digits, most significant first (section 6.1).
    ///
    /// # Errors
    ///
    /// [`TargetError::NotCompact`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, TargetError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        crate::hex::decode(digits).map(|bytes| Self(u32::from_be_bytes(bytes))).ok_or(TargetError::NotCompact)
    }
}

impl Target {
    /// The easiest target: every attempt meets it (section 6).
    pub const MAX: Self = Self(U256::MAX);

    /// Reads 1 to 64 hexadecimal digits, most significant first, with or without `0x` (section 11.1).
    ///
    /// # Errors
    ///
    /// [`TargetError::NotHex`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, TargetError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.is_empty() || digits.len() > 64 {
            return Err(TargetError::NotHex);
        }
        let padded = format!("{digits:0>64}");
        crate::hex::decode(&padded).map(Self::from_be_bytes).ok_or(TargetError::NotHex)
    }

    /// The number whose most significant byte comes first (section 6).
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// The number whose least significant byte comes first (section 6).
    pub fn from_le_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_le_bytes(bytes))
    }

    /// The 32 bytes, most significant first (section 6).
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The 32 bytes, least significant first (section 6).
    pub fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }

    /// `min(2^256 - 1, T·F)` with `F = h·w·(k - k mod r)`: what a jackpot was compared with before the
    /// rank-penalty rule (section 6.2).
    pub fn plain_bound(self, config: &MiningConfiguration) -> U256 {
        self.0.saturating_mul(U256::from(config.hashes_per_attempt()))
    }

    /// `min(2^256 - 1, T·P)` with `P = h·w·⌊k/r⌋·128`: what a jackpot is compared with under the rank-penalty
    /// rule (section 6.2).
    pub fn penalized_bound(self, config: &MiningConfiguration) -> U256 {
        self.0.saturating_mul(U256::from(penalized_factor(config)))
    }

    /// As [`penalized_bound`](Self::penalized_bound), but `None` when the product does not fit, so that a
    /// nonsensical target is noticed (section 6.2, the reference's helper for miners).
    pub fn checked_penalized_bound(self, config: &MiningConfiguration) -> Option<U256> {
        self.0.checked_mul(U256::from(penalized_factor(config)))
    }

    /// The bound that decides: the smaller of both under the rank-penalty rule, else the plain one.
    pub fn bound(self, config: &MiningConfiguration, rank_penalty: bool) -> U256 {
        let plain = self.plain_bound(config);
        if rank_penalty { plain.min(self.penalized_bound(config)) } else { plain }
    }
}

/// The lowest rank that the rank-penalty rule allows (section 6.2).
pub const PENALTY_RANK_MIN: u16 = 128;

/// `P = h·w·⌊k/r⌋·128`, the multiply-accumulates that an attempt is paid for under the rank-penalty rule
/// (section 6.2).
pub fn penalized_factor(config: &MiningConfiguration) -> u128 {
    u128::from(config.tile_area()) * u128::from(config.slices()) * u128::from(PENALTY_RANK_MIN)
}

/// A jackpot as the number that is compared: its 32 bytes, least significant first (section 5).
pub fn jackpot_number(jackpot: &Digest) -> U256 {
    U256::from_le_bytes(*jackpot)
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({self})")
    }
}

impl std::fmt::Display for CompactTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
