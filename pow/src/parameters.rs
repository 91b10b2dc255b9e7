//! The rules for the shape of a product (section 7, rules 9 to 22).

use crate::Side;
use crate::config::MiningConfiguration;

/// The lowest rank that any proof may have (section 7, rule 9).
pub const RANK_MIN: u16 = 32;
/// The highest rank (section 7, rule 9).
pub const RANK_MAX: u16 = 1024;
/// The smallest common dimension (section 7, rule 13).
pub const COMMON_DIM_MIN: u32 = 1024;
/// The largest common dimension (section 7, rule 11).
pub const COMMON_DIM_MAX: u32 = 65536;
/// The smallest tile, h·w (section 7, rule 17).
pub const TILE_AREA_MIN: u64 = 32;
/// The largest tile, h·w (section 7, rule 17).
pub const TILE_AREA_MAX: u64 = 256;
/// The most rows that A or B^T may have (section 7, rule 19).
pub const ROWS_MAX: u64 = 1 << 24;
/// The most bytes that take part in one tile, (h+w)·(k - k mod r) (section 7, rule 20).
pub const TILE_BYTES_MAX: u64 = 1 << 22;

/// A rule of section 7 that a shape breaks, with the values that break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// Rule 9 (and with it rules 10 and 18).
    #[error("the rank {rank} is not a power of two")]
    RankNotPowerOfTwo {
        /// The rank.
        rank: u16,
    },
    /// Rule 9.
    #[error("the rank {rank} is not within {RANK_MIN} to {RANK_MAX}")]
    RankOutOfRange {
        /// The rank.
        rank: u16,
    },
    /// Rule 11.
    #[error("k = {k} is larger than {COMMON_DIM_MAX}")]
    CommonDimTooLarge {
        /// The common dimension.
        k: u32,
    },
    /// Rule 12.
    #[error("k = {k} is not a multiple of 64")]
    CommonDimNotMultipleOf64 {
        /// The common dimension.
        k: u32,
    },
    /// Rule 13.
    #[error("k = {k} is smaller than {COMMON_DIM_MIN}")]
    CommonDimTooSmall {
        /// The common dimension.
        k: u32,
    },
    /// Rule 14.
    #[error("k = {k} is less than 16 times the rank {rank}")]
    CommonDimBelow16Ranks {
        /// The common dimension.
        k: u32,
        /// The rank.
        rank: u16,
    },
    /// Rule 15.
    #[error("k = {k} is more than 4 times the square of the rank {rank}")]
    CommonDimAbove4RankSquared {
        /// The common dimension.
        k: u32,
        /// The rank.
        rank: u16,
    },
    /// Rule 16.
    #[error("the tile is {height} × {width}, and both must be even")]
    TileOdd {
        /// Rows of A in a tile.
        height: u32,
        /// Rows of B^T in a tile.
        width: u32,
    },
    /// Rule 17.
    #[error("the tile {height} × {width} has fewer than {TILE_AREA_MIN} sums")]
    TileTooSmall {
        /// Rows of A in a tile.
        height: u32,
        /// Rows of B^T in a tile.
        width: u32,
    },
    /// Rule 17.
    #[error("the tile {height} × {width} has more than {TILE_AREA_MAX} sums")]
    TileTooLarge {
        /// Rows of A in a tile.
        height: u32,
        /// Rows of B^T in a tile.
        width: u32,
    },
    /// Rule 19.
    #[error("{side} has {rows} rows, more than 2^24")]
    TooManyRows {
        /// Which matrix.
        side: Side,
        /// Its rows.
        rows: u64,
    },
    /// Rule 20.
    #[error("{bytes} bytes take part in a tile, more than 2^22")]
    TileBytesTooLarge {
        /// (h+w)·(k - k mod r).
        bytes: u64,
    },
    /// Rule 21.
    #[error("the tile reaches row {last} of {side}, which has {rows} rows")]
    TileOutside {
        /// Which matrix.
        side: Side,
        /// The tile's last row.
        last: u64,
        /// The matrix's rows.
        rows: u64,
    },
    /// Rule 22.
    #[error("the configuration has {experts} experts, and only dense products are supported")]
    NotDense {
        /// Experts in the configuration.
        experts: u16,
    },
}

impl ParameterError {
    /// The number of the broken rule in section 7.
    pub const fn rule(&self) -> u8 {
        match self {
            Self::RankNotPowerOfTwo { .. } | Self::RankOutOfRange { .. } => 9,
            Self::CommonDimTooLarge { .. } => 11,
            Self::CommonDimNotMultipleOf64 { .. } => 12,
            Self::CommonDimTooSmall { .. } => 13,
            Self::CommonDimBelow16Ranks { .. } => 14,
            Self::CommonDimAbove4RankSquared { .. } => 15,
            Self::TileOdd { .. } => 16,
            Self::TileTooSmall { .. } | Self::TileTooLarge { .. } => 17,
            Self::TooManyRows { .. } => 19,
            Self::TileBytesTooLarge { .. } => 20,
            Self::TileOutside { .. } => 21,
            Self::NotDense { .. } => 22,
        }
    }
}

/// Checks the rules that a configuration must obey by itself (section 7, rules 9 to 18, 20 and 22).
///
/// # Errors
///
/// The first rule that is broken.
pub fn check_configuration(config: &MiningConfiguration) -> Result<(), ParameterError> {
    let (k, rank) = (config.common_dim, config.rank);
    if !rank.is_power_of_two() {
        return Err(ParameterError::RankNotPowerOfTwo { rank });
    }
    if !(RANK_MIN..=RANK_MAX).contains(&rank) {
        return Err(ParameterError::RankOutOfRange { rank });
    }
    if k > COMMON_DIM_MAX {
        return Err(ParameterError::CommonDimTooLarge { k });
    }
    if !k.is_multiple_of(64) {
        return Err(ParameterError::CommonDimNotMultipleOf64 { k });
    }
    if k < COMMON_DIM_MIN {
        return Err(ParameterError::CommonDimTooSmall { k });
    }
    if k < 16 * u32::from(rank) {
        return Err(ParameterError::CommonDimBelow16Ranks { k, rank });
    }
    if k > 4 * u32::from(rank) * u32::from(rank) {
        return Err(ParameterError::CommonDimAbove4RankSquared { k, rank });
    }
    let (height, width) = (config.rows.size(), config.cols.size());
    if height % 2 != 0 || width % 2 != 0 {
        return Err(ParameterError::TileOdd { height, width });
    }
    if config.tile_area() < TILE_AREA_MIN {
        return Err(ParameterError::TileTooSmall { height, width });
    }
    if config.tile_area() > TILE_AREA_MAX {
        return Err(ParameterError::TileTooLarge { height, width });
    }
    let bytes = (u64::from(height) + u64::from(width)) * u64::from(config.dot_product_length());
    if bytes > TILE_BYTES_MAX {
        return Err(ParameterError::TileBytesTooLarge { bytes });
    }
    if config.experts != 0 {
        return Err(ParameterError::NotDense { experts: config.experts });
    }
    Ok(())
}

/// Checks the rules for one matrix and the tile opened in it (section 7, rules 19 and 21).
///
/// # Errors
///
/// The first rule that is broken.
pub fn check_tile(side: Side, rows: u64, last: u64) -> Result<(), ParameterError> {
    if rows > ROWS_MAX {
        return Err(ParameterError::TooManyRows { side, rows });
    }
    if last >= rows {
        return Err(ParameterError::TileOutside { side, last, rows });
    }
    Ok(())
}
