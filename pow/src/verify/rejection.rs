//! Why a proof is refused, and how an accepted one may differ from the canonical form.

use ruint::aliases::U256;

use super::Stage;
use crate::commitment::OpeningError;
use crate::difficulty::PENALTY_RANK_MIN;
use crate::parameters::ParameterError;
use crate::pattern::PatternError;
use crate::proof::DecodeError;
use crate::{Digest, Side};

/// Why a proof is refused: the stage, and the values that do not fit (section 7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The bytes are not a plain proof.
    #[error("the bytes are not a plain proof: {0}")]
    Decode(DecodeError),
    /// A dimension or the rank does not fit its integer (rule 2).
    #[error("{field} = {value} is larger than {limit}")]
    TooWide {
        /// `m`, `n`, `k` or `noise_rank`.
        field: &'static str,
        /// The value found.
        value: u64,
        /// The largest that fits.
        limit: u64,
    },
    /// The tree has another size than the matrix (rules 3 and 4).
    #[error(
        "the tree of {side} declares {declared} leaves, and {rows} rows of {columns} bytes make {implied}"
    )]
    TreeSize {
        /// Which matrix.
        side: Side,
        /// `total_leaves` of the proof.
        declared: u64,
        /// Rows of the matrix.
        rows: u64,
        /// Its columns, `k`.
        columns: u64,
        /// The leaves they make.
        implied: u64,
    },
    /// A row that the matrix does not have (rule 5).
    #[error("row {row} of {side} is listed, which has {rows} rows")]
    RowOutside {
        /// Which matrix.
        side: Side,
        /// The listed row.
        row: u64,
        /// Rows of the matrix.
        rows: u64,
    },
    /// The rows are not a tile of a canonical pattern (rule 6).
    #[error("the rows of {side} are not a tile: {err}")]
    Pattern {
        /// Which matrix.
        side: Side,
        /// What is wrong with them.
        err: PatternError,
    },
    /// A leaf is needed and not opened (rule 7).
    #[error("row {row} of {side} lies in leaf {leaf}, which is not opened")]
    LeafMissing {
        /// Which matrix.
        side: Side,
        /// The listed row.
        row: u64,
        /// The leaf's index.
        leaf: u64,
    },
    /// The leaves and siblings do not lead to any root (rules 7 and 8).
    #[error("the opening of {side} leads to no root: {err}")]
    Opening {
        /// Which matrix.
        side: Side,
        /// What is wrong with it.
        err: OpeningError,
    },
    /// The leaves and siblings lead to another root than the one transmitted (rule 8).
    #[error(
        "hash {} mismatch: the opening leads to {} and the proof says {}",
        if *side == Side::A { "A" } else { "B" },
        crate::hex::Hex(computed),
        crate::hex::Hex(transmitted)
    )]
    Root {
        /// Which matrix.
        side: Side,
        /// The root that leaves, siblings and job key lead to.
        computed: Digest,
        /// The root in the proof.
        transmitted: Digest,
    },
    /// A rule for the shape is broken (rules 9 to 22).
    #[error("{0} (rule {rule})", rule = .0.rule())]
    Parameters(ParameterError),
    /// An entry is outside of −64 to 64 (rule 23).
    #[error("the entry at row {row}, column {column} of {side} is {value}, outside of -64 to 64")]
    ValueRange {
        /// Which matrix.
        side: Side,
        /// The entry's row.
        row: u64,
        /// The entry's column.
        column: u64,
        /// The entry.
        value: i8,
    },
    /// The jackpot misses the plain bound (rule 24).
    #[error("the jackpot {jackpot:064x} is above the bound {bound:064x}")]
    Difficulty {
        /// The jackpot as a number.
        jackpot: U256,
        /// The plain bound.
        bound: U256,
    },
    /// The rank-penalty rule wants a rank of at least 128 (rule 27).
    #[error("the rank {rank} is below {PENALTY_RANK_MIN}, the lowest under the rank-penalty rule (rule 27)")]
    RankTooLow {
        /// The rank.
        rank: u16,
    },
    /// The jackpot meets the plain bound and misses the penalised one (rule 27).
    #[error("the jackpot {jackpot:064x} is above the rank-penalised bound {bound:064x} (rule 27)")]
    RankPenalty {
        /// The jackpot as a number.
        jackpot: U256,
        /// The penalised bound.
        bound: U256,
    },
    /// The proof is valid, and not written in the canonical form ([`verify_canonical`](super::verify_canonical) only).
    #[error("the proof is valid but not in canonical form: {0}")]
    NotCanonical(Deviation),
}

impl Rejection {
    /// The stage that refused; `None` for [`Rejection::NotCanonical`], which comes after all of them (section
    /// 7).
    pub const fn stage(&self) -> Option<Stage> {
        Some(match self {
            Self::Decode(_) => Stage::Decode,
            Self::TooWide { .. } | Self::TreeSize { .. } | Self::RowOutside { .. } => Stage::Shape,
            Self::Pattern { .. } => Stage::Pattern,
            Self::LeafMissing { .. } => Stage::Leaves,
            Self::Opening { side: Side::A, .. } | Self::Root { side: Side::A, .. } => Stage::RootA,
            Self::Opening { side: Side::BT, .. } | Self::Root { side: Side::BT, .. } => Stage::RootBT,
            Self::Parameters(_) => Stage::Parameters,
            Self::ValueRange { .. } => Stage::Values,
            Self::Difficulty { .. } => Stage::Difficulty,
            Self::RankTooLow { .. } | Self::RankPenalty { .. } => Stage::RankPenalty,
            Self::NotCanonical(_) => return None,
        })
    }
}

impl From<DecodeError> for Rejection {
    fn from(err: DecodeError) -> Self {
        Self::Decode(err)
    }
}

impl From<ParameterError> for Rejection {
    fn from(err: ParameterError) -> Self {
        Self::Parameters(err)
    }
}

/// How a valid proof differs from the canonical form (sections 8 and 9).
///
/// The reference tolerates the first three. Our own proofs never deviate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Deviation {
    /// The last tag byte is missing (the layout of certificate version 1).
    #[error("the trailing tag byte is missing (the layout of certificate version 1)")]
    LegacyEncoding,
    /// The leaves are not listed in ascending order.
    #[error("the leaves of {side} are not in ascending order")]
    LeafOrder {
        /// Which matrix.
        side: Side,
    },
    /// There are siblings that nothing needs.
    #[error("siblings of {side} that nothing needs: {count}")]
    SurplusSiblings {
        /// Which matrix.
        side: Side,
        /// How many.
        count: usize,
    },
    /// There are leaves that none of the listed rows lies in, or leaves of a row's unused end are left out.
    #[error("the opened leaves of {side} are not exactly those of the listed rows")]
    LeafSet {
        /// Which matrix.
        side: Side,
    },
}
