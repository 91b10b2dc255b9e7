//! The mining configuration: everything besides the header that the job key commits to (section 2.1).

use crate::pattern::{PatternError, PeriodicPattern};

/// The shape of the product and of its tiles (section 2.1).
///
/// The number of rows of the matrices, m and n, is not part of it. The fields may hold values that no
/// verifier accepts; [`crate::parameters`] has the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MiningConfiguration {
    /// `k`, the dimension that both matrices share.
    pub common_dim: u32,
    /// `r`, the rank of the noise and the width of one slice of the product.
    pub rank: u16,
    /// Which rows of A form a tile.
    pub rows: PeriodicPattern,
    /// Which columns of B, that is rows of B^T, form a tile.
    pub cols: PeriodicPattern,
    /// `e`, 0 for a dense product. This crate mines and verifies dense products only.
    pub experts: u16,
    /// Experts per token, 0 for a dense product.
    pub top_k: u16,
}

/// Why bytes are not a mining configuration (section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The input has another length.
    #[error("a mining configuration is {} bytes, this is {found}", MiningConfiguration::LEN)]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Only Int7 × Int7 → Int32 exists.
    #[error("mma_type {0} does not exist; 0 is Int7xInt7ToInt32")]
    MmaType(
        /// The number found.
        u16,
    ),
    /// A dense product has no experts to choose from.
    #[error("top_k is {0} although there are no experts")]
    TopKWithoutExperts(
        /// The number found.
        u16,
    ),
    /// The trailer is reserved.
    #[error("reserved byte {offset} is {value} and not zero")]
    Reserved {
        /// Offset within the 52 bytes.
        offset: usize,
        /// The byte found.
        value: u8,
    },
    /// A pattern is not one.
    #[error("the pattern of {side} is not valid")]
    Pattern {
        /// `rows` or `cols`.
        side: &'static str,
        /// What is wrong with it.
        #[source]
        err: PatternError,
    },
}

impl MiningConfiguration {
    /// Length of the serialised configuration in bytes (section 2.1).
    pub const LEN: usize = 52;

    /// A dense product (section 2.1).
    pub const fn dense(common_dim: u32, rank: u16, rows: PeriodicPattern, cols: PeriodicPattern) -> Self {
        Self { common_dim, rank, rows, cols, experts: 0, top_k: 0 }
    }

    /// Decodes the 52 bytes (section 2.1).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field that is not allowed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        let bytes: &[u8; Self::LEN] =
            bytes.try_into().map_err(|_| ConfigError::Length { found: bytes.len() })?;
        let u16_at = |offset: usize| u16::from_le_bytes([bytes[offset], bytes[offset + 1]]);
        let mma_type = u16_at(6);
        if mma_type != 0 {
            return Err(ConfigError::MmaType(mma_type));
        }
        let pattern = |side, offset: usize| {
            PeriodicPattern::from_bytes(&bytes[offset..offset + PeriodicPattern::LEN])
                .map_err(|err| ConfigError::Pattern { side, err })
        };
        let (rows, cols) = (pattern("rows", 8)?, pattern("cols", 14)?);
        let (experts, top_k) = (u16_at(20), u16_at(22));
        if experts == 0 && top_k != 0 {
            return Err(ConfigError::TopKWithoutExperts(top_k));
        }
        if let Some(offset) = (24..Self::LEN).find(|&offset| bytes[offset] != 0) {
            return Err(ConfigError::Reserved { offset, value: bytes[offset] });
        }
        let common_dim = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(Self { common_dim, rank: u16_at(4), rows, cols, experts, top_k })
    }

    /// The 52 bytes that enter the job key (section 2.1).
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.common_dim.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.rank.to_le_bytes());
        // Bytes 6 and 7 are mma_type, of which 0 is the only value.
        bytes[8..14].copy_from_slice(&self.rows.to_bytes());
        bytes[14..20].copy_from_slice(&self.cols.to_bytes());
        bytes[20..22].copy_from_slice(&self.experts.to_le_bytes());
        bytes[22..24].copy_from_slice(&self.top_k.to_le_bytes());
        bytes
    }

    /// ⌊k/r⌋, the number of full slices of the product; 0 if the rank is 0 (section 5).
    pub fn slices(&self) -> u32 {
        self.common_dim.checked_div(u32::from(self.rank)).unwrap_or(0)
    }

    /// `k - k mod r`: the columns that take part in the product; 0 if the rank is 0 (section 2.1).
    pub fn dot_product_length(&self) -> u32 {
        self.slices() * u32::from(self.rank)
    }

    /// `h·w`, the number of sums in one tile (section 2.2).
    pub fn tile_area(&self) -> u64 {
        u64::from(self.rows.size()) * u64::from(self.cols.size())
    }

    /// `F = h·w·(k - k mod r)`: the multiply-accumulates, and so the hashes, of one attempt (section 6.2).
    pub fn hashes_per_attempt(&self) -> u128 {
        u128::from(self.tile_area()) * u128::from(self.dot_product_length())
    }
}
