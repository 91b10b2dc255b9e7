//! The stages of verification, and what each one finds when it passes.

use ruint::aliases::U256;

use crate::config::MiningConfiguration;
use crate::proof::Encoding;
use crate::{Digest, Side};

/// The stages of verification, in order (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The bytes are a plain proof (rule 1).
    Decode,
    /// Integer widths and tree sizes (rules 2 to 5).
    Shape,
    /// Row indices form a pattern, and the tile starts at a base (rule 6).
    Pattern,
    /// The opened leaves cover the rows (rule 7).
    Leaves,
    /// The root of A under the job key (rule 8).
    RootA,
    /// The root of B^T under the job key (rule 8).
    RootBT,
    /// Rank, dimensions and tile (rules 9 to 22).
    Parameters,
    /// Entries are −64 to 64 (rule 23).
    Values,
    /// The jackpot against the plain bound (rule 24).
    Difficulty,
    /// The rank and the jackpot against the penalised bound (rule 27).
    RankPenalty,
}

impl Stage {
    /// All stages in order (section 7).
    pub const ALL: [Self; 10] = [
        Self::Decode,
        Self::Shape,
        Self::Pattern,
        Self::Leaves,
        Self::RootA,
        Self::RootBT,
        Self::Parameters,
        Self::Values,
        Self::Difficulty,
        Self::RankPenalty,
    ];

    /// The stage's name in reports, such as `hash_a` (section 7).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Shape => "shape",
            Self::Pattern => "pattern",
            Self::Leaves => "leaves",
            Self::RootA => "hash_a",
            Self::RootBT => "hash_b",
            Self::Parameters => "parameters",
            Self::Values => "values",
            Self::Difficulty => "difficulty",
            Self::RankPenalty => "rank_penalty",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a stage that passed has found; given to the observer of [`verify_staged`](super::verify_staged) (section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passed {
    /// The bytes were read.
    Decode {
        /// Their number.
        bytes: usize,
        /// Their layout.
        encoding: Encoding,
    },
    /// Widths and tree sizes are right.
    Shape {
        /// Rows of A.
        m: u32,
        /// Rows of B^T.
        n: u32,
        /// The common dimension.
        k: u32,
        /// The rank.
        rank: u16,
    },
    /// Both sides are tiles.
    Pattern {
        /// The configuration they imply.
        config: MiningConfiguration,
        /// First row of the tile in A.
        row_base: u64,
        /// First row of the tile in B^T.
        col_base: u64,
    },
    /// The leaves cover the rows.
    Leaves {
        /// Leaves opened of A.
        a: usize,
        /// Leaves opened of B^T.
        bt: usize,
    },
    /// A root is right.
    Root {
        /// Which matrix.
        side: Side,
        /// The root.
        root: Digest,
        /// The job key that leads to it.
        job_key: Digest,
    },
    /// The shape obeys the rules.
    Parameters,
    /// All entries that take part are in range.
    Values {
        /// Their number.
        entries: usize,
    },
    /// The jackpot meets the plain bound.
    Difficulty {
        /// The jackpot as a number.
        jackpot: U256,
        /// The plain bound.
        bound: U256,
    },
    /// The rank-penalty rule is obeyed, or not in force.
    RankPenalty {
        /// The penalised bound; `None` if the rule is not in force.
        bound: Option<U256>,
    },
}

impl Passed {
    /// The stage that passed (section 7).
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Decode { .. } => Stage::Decode,
            Self::Shape { .. } => Stage::Shape,
            Self::Pattern { .. } => Stage::Pattern,
            Self::Leaves { .. } => Stage::Leaves,
            Self::Root { side: Side::A, .. } => Stage::RootA,
            Self::Root { side: Side::BT, .. } => Stage::RootBT,
            Self::Parameters => Stage::Parameters,
            Self::Values { .. } => Stage::Values,
            Self::Difficulty { .. } => Stage::Difficulty,
            Self::RankPenalty { .. } => Stage::RankPenalty,
        }
    }
}
