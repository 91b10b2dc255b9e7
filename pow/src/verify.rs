//! The verifier (section 7).
//!
//! The stages run in the reference's order, and the first that fails ends it:
//!
//! ```text
//! decode -> shape -> pattern -> leaves -> roots -> parameters -> values -> difficulty -> rank penalty
//! ```
//!
//! Nothing is allocated or computed on the word of a proof before a stage has bounded it: a proof costs time
//! and memory in proportion to its own bytes until its roots are found to be right, and a few megabytes after
//! that.
//!
//! # Limitations
//!
//! The reference tolerates surplus siblings and leaves that are not in ascending order. So does this
//! verifier, and it says so in [`Verified::deviations`]; [`verify_canonical`] refuses them. What the
//! reference does with leaves that no listed row needs is not known; here they are a deviation too.
//! Mixture-of-experts proofs are refused.

use ruint::aliases::U256;

use crate::certificate::{CertificateVersion, SeedRule};
use crate::commitment::{LEAF_LEN, Leaf, OpeningError, leaf_count, leaves_of_rows, recompute_root};
use crate::config::MiningConfiguration;
use crate::difficulty::{PENALTY_RANK_MIN, Target, jackpot_number};
use crate::header::Header;
use crate::keys::{NoiseSeeds, job_key};
use crate::noise::Noise;
use crate::opening::MatrixOpening;
use crate::parameters::{ParameterError, check_configuration, check_tile};
use crate::pattern::{PatternError, PeriodicPattern};
use crate::proof::{DecodeError, Encoding, PlainProof};
use crate::transcript::{Transcript, tile_transcript};
use crate::{Digest, Side};

/// What a proof is checked against (sections 6 and 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The header that the proof is for.
    pub header: Header,
    /// The unscaled target, for example a pool's; `None` takes the one in the header (section 6.3).
    pub target: Option<Target>,
    /// The certificate version that the block needs; it decides the seed rule (section 12).
    pub certificate: CertificateVersion,
    /// Whether the rank-penalty rule is in force (section 6.2).
    pub rank_penalty: bool,
}

impl Job {
    /// The unscaled target that decides (section 6.3).
    pub fn effective_target(&self) -> Target {
        self.target.unwrap_or_else(|| self.header.nbits().target())
    }
}

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
    /// The proof is valid, and not written in the canonical form ([`verify_canonical`] only).
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

/// A proof that was found to be valid, with what was found on the way (section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The configuration that the proof was made with.
    pub config: MiningConfiguration,
    /// Rows of A.
    pub m: u32,
    /// Rows of B^T.
    pub n: u32,
    /// First row of the tile in A.
    pub row_base: u64,
    /// First row of the tile in B^T.
    pub col_base: u64,
    /// The job key.
    pub job_key: Digest,
    /// The seeds of the noise.
    pub seeds: NoiseSeeds,
    /// The sixteen words.
    pub transcript: Transcript,
    /// The jackpot.
    pub jackpot: Digest,
    /// The bound that it meets: the penalised one where that rule is in force.
    pub bound: U256,
    /// Differences from the canonical form; empty for a proof of ours.
    pub deviations: Vec<Deviation>,
}

impl Verified {
    /// The jackpot as the number that is compared (section 5).
    pub fn jackpot_number(&self) -> U256 {
        jackpot_number(&self.jackpot)
    }

    /// Whether the proof also meets `target`, such as the block's when a share was checked (section 6.3).
    pub fn meets(&self, target: Target, rank_penalty: bool) -> bool {
        (!rank_penalty || self.config.rank >= PENALTY_RANK_MIN)
            && self.jackpot_number() <= target.bound(&self.config, rank_penalty)
    }
}

/// What a stage that passed has found; given to the observer of [`verify_staged`] (section 7).
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

/// Checks a proof against a job (section 7).
///
/// # Errors
///
/// The first stage that refuses, as a [`Rejection`].
pub fn verify(job: &Job, proof: &PlainProof) -> Result<Verified, Rejection> {
    verify_staged(job, proof, &mut |_| {})
}

/// As [`verify`], and the proof must be in the canonical form that a miner emits (sections 8 and 9).
///
/// # Errors
///
/// As [`verify`], and [`Rejection::NotCanonical`].
pub fn verify_canonical(job: &Job, bytes: &[u8]) -> Result<Verified, Rejection> {
    let verified = verify_bytes(job, bytes)?;
    match verified.deviations.first() {
        None => Ok(verified),
        Some(&deviation) => Err(Rejection::NotCanonical(deviation)),
    }
}

/// Reads a proof and checks it (section 7).
///
/// # Errors
///
/// As [`verify`], and [`Rejection::Decode`].
pub fn verify_bytes(job: &Job, bytes: &[u8]) -> Result<Verified, Rejection> {
    verify_bytes_staged(job, bytes, &mut |_| {})
}

/// As [`verify_bytes`], and `observer` hears of every stage as it passes (section 7).
///
/// # Errors
///
/// As [`verify_bytes`].
pub fn verify_bytes_staged(
    job: &Job,
    bytes: &[u8],
    observer: &mut dyn FnMut(Passed),
) -> Result<Verified, Rejection> {
    let (proof, encoding) = PlainProof::decode(bytes)?;
    observer(Passed::Decode { bytes: bytes.len(), encoding });
    let mut verified = verify_staged(job, &proof, observer)?;
    if encoding == Encoding::LegacyV1 {
        verified.deviations.insert(0, Deviation::LegacyEncoding);
    }
    Ok(verified)
}

/// As [`verify`], and `observer` hears of every stage as it passes (section 7).
///
/// # Errors
///
/// As [`verify`].
pub fn verify_staged(
    job: &Job,
    proof: &PlainProof,
    observer: &mut dyn FnMut(Passed),
) -> Result<Verified, Rejection> {
    let opened = Opened::of(&job.header, proof, observer)?;
    let seeds = opened.seeds(job.certificate.seed_rule());
    let (a, bt) = opened.noised(&seeds);
    let transcript = opened.transcript(&a, &bt);
    let jackpot = transcript.jackpot(&seeds.a);

    let config = &opened.config;
    let target = job.effective_target();
    let number = jackpot_number(&jackpot);
    let mut bound = target.plain_bound(config);
    if number > bound {
        return Err(Rejection::Difficulty { jackpot: number, bound });
    }
    observer(Passed::Difficulty { jackpot: number, bound });

    if job.rank_penalty {
        if config.rank < PENALTY_RANK_MIN {
            return Err(Rejection::RankTooLow { rank: config.rank });
        }
        bound = target.bound(config, true);
        if number > bound {
            return Err(Rejection::RankPenalty { jackpot: number, bound });
        }
    }
    observer(Passed::RankPenalty { bound: job.rank_penalty.then_some(bound) });

    Ok(Verified {
        config: opened.config,
        m: opened.m,
        n: opened.n,
        row_base: opened.row_base,
        col_base: opened.col_base,
        job_key: opened.job_key,
        seeds,
        transcript,
        jackpot,
        bound,
        deviations: opened.deviations,
    })
}

/// A proof whose roots, shape and values are right: everything up to the noise (rules 2 to 23).
pub(crate) struct Opened<'a> {
    proof: &'a PlainProof,
    pub(crate) config: MiningConfiguration,
    pub(crate) job_key: Digest,
    pub(crate) m: u32,
    pub(crate) n: u32,
    row_base: u64,
    col_base: u64,
    /// The columns that take part of the tile's rows of A, one row after the other.
    pub(crate) a: Vec<i8>,
    /// The same of B^T.
    pub(crate) bt: Vec<i8>,
    deviations: Vec<Deviation>,
}

impl<'a> Opened<'a> {
    pub(crate) fn of(
        header: &Header,
        proof: &'a PlainProof,
        observer: &mut dyn FnMut(Passed),
    ) -> Result<Self, Rejection> {
        let (m, n) = (fits("m", proof.m)?, fits("n", proof.n)?);
        let k = fits("k", proof.k)?;
        let rank = fits("noise_rank", proof.noise_rank)?;
        for (side, opening, rows) in [(Side::A, &proof.a, m), (Side::BT, &proof.bt, n)] {
            check_shape(side, opening, rows, k)?;
        }
        observer(Passed::Shape { m, n, k, rank });

        let pattern = |side, opening: &MatrixOpening| {
            PeriodicPattern::from_rows(&opening.row_indices).map_err(|err| Rejection::Pattern { side, err })
        };
        let (rows, row_base) = pattern(Side::A, &proof.a)?;
        let (cols, col_base) = pattern(Side::BT, &proof.bt)?;
        let config = MiningConfiguration::dense(k, rank, rows, cols);
        observer(Passed::Pattern { config, row_base, col_base });

        let mut deviations = Vec::new();
        let a_leaves = Leaves::of(Side::A, &proof.a, &config, &mut deviations)?;
        let bt_leaves = Leaves::of(Side::BT, &proof.bt, &config, &mut deviations)?;
        observer(Passed::Leaves { a: a_leaves.0.len(), bt: bt_leaves.0.len() });

        let job_key = job_key(header, &config);
        for (side, opening, leaves) in [(Side::A, &proof.a, &a_leaves), (Side::BT, &proof.bt, &bt_leaves)] {
            let recomputed = recompute_root(&job_key, opening.total_leaves, &leaves.0, &opening.siblings)
                .map_err(|err| Rejection::Opening { side, err })?;
            if recomputed.root != opening.root {
                let (computed, transmitted) = (recomputed.root, opening.root);
                return Err(Rejection::Root { side, computed, transmitted });
            }
            if recomputed.surplus_siblings > 0 {
                deviations.push(Deviation::SurplusSiblings { side, count: recomputed.surplus_siblings });
            }
            observer(Passed::Root { side, root: opening.root, job_key });
        }

        check_configuration(&config)?;
        check_tile(Side::A, u64::from(m), row_base + u64::from(rows.max_offset()))?;
        check_tile(Side::BT, u64::from(n), col_base + u64::from(cols.max_offset()))?;
        observer(Passed::Parameters);

        let a = a_leaves.strip(Side::A, &proof.a.row_indices, &config)?;
        let bt = bt_leaves.strip(Side::BT, &proof.bt.row_indices, &config)?;
        observer(Passed::Values { entries: a.len() + bt.len() });
        Ok(Self { proof, config, job_key, m, n, row_base, col_base, a, bt, deviations })
    }

    pub(crate) fn seeds(&self, rule: SeedRule) -> NoiseSeeds {
        self.seeds_bound_to(rule, self.m, self.n)
    }

    /// The seeds with other numbers than m and n in the salted roots.
    pub(crate) fn seeds_bound_to(&self, rule: SeedRule, m: u32, n: u32) -> NoiseSeeds {
        NoiseSeeds::derive(rule, &self.job_key, (&self.proof.a.root, m), (&self.proof.bt.root, n))
    }

    /// The strips of both matrices with their noise.
    pub(crate) fn noised(&self, seeds: &NoiseSeeds) -> (Vec<i8>, Vec<i8>) {
        let (rank, length) = (self.config.rank, self.config.dot_product_length());
        let a = Noise::new(Side::A, &seeds.a, rank, length);
        let bt = Noise::new(Side::BT, &seeds.b, rank, length);
        (
            add_noise(&self.a, &a, &self.proof.a.row_indices),
            add_noise(&self.bt, &bt, &self.proof.bt.row_indices),
        )
    }

    pub(crate) fn transcript(&self, a: &[i8], bt: &[i8]) -> Transcript {
        tile_transcript(a, bt, self.config.dot_product_length() as usize, usize::from(self.config.rank))
    }
}

/// Rule 2.
fn fits<T: TryFrom<u64> + Limit>(field: &'static str, value: u64) -> Result<T, Rejection> {
    T::try_from(value).map_err(|_| Rejection::TooWide { field, value, limit: T::LIMIT })
}

trait Limit {
    const LIMIT: u64;
}

impl Limit for u32 {
    const LIMIT: u64 = Self::MAX as u64;
}

impl Limit for u16 {
    const LIMIT: u64 = Self::MAX as u64;
}

/// Rules 3 to 5.
fn check_shape(side: Side, opening: &MatrixOpening, rows: u32, k: u32) -> Result<(), Rejection> {
    let (rows, columns) = (u64::from(rows), u64::from(k));
    let (declared, implied) = (opening.total_leaves, leaf_count(rows * columns));
    if declared != implied {
        return Err(Rejection::TreeSize { side, declared, rows, columns, implied });
    }
    match opening.row_indices.iter().find(|&&row| row >= rows) {
        Some(&row) => Err(Rejection::RowOutside { side, row, rows }),
        None => Ok(()),
    }
}

/// The opened leaves of one matrix, ascending by index.
struct Leaves<'a>(Vec<(u64, &'a Leaf)>);

impl<'a> Leaves<'a> {
    /// Sorts the leaves and checks that they cover the part of the listed rows that takes part (rule 7).
    fn of(
        side: Side,
        opening: &'a MatrixOpening,
        config: &MiningConfiguration,
        deviations: &mut Vec<Deviation>,
    ) -> Result<Self, Rejection> {
        let (leaves, indices) = (opening.leaves.len(), opening.leaf_indices.len());
        if leaves != indices {
            return Err(Rejection::Opening { side, err: OpeningError::CountMismatch { leaves, indices } });
        }
        let mut leaves: Vec<(u64, &Leaf)> =
            opening.leaf_indices.iter().copied().zip(&opening.leaves).collect();
        if !leaves.is_sorted_by_key(|&(index, _)| index) {
            deviations.push(Deviation::LeafOrder { side });
            leaves.sort_by_key(|&(index, _)| index);
        }

        let columns = u64::from(config.common_dim);
        let length = u64::from(config.dot_product_length());
        for &row in &opening.row_indices {
            let start = row * columns;
            for leaf in start / LEAF_LEN as u64..leaf_count(start + length) {
                if leaves.binary_search_by_key(&leaf, |&(index, _)| index).is_err() {
                    return Err(Rejection::LeafMissing { side, row, leaf });
                }
            }
        }
        // Compared one by one: a hostile `k` makes the list on the right much longer than the proof.
        if !leaves.iter().map(|&(index, _)| index).eq(leaves_of_rows(&opening.row_indices, columns)) {
            deviations.push(Deviation::LeafSet { side });
        }
        Ok(Self(leaves))
    }

    /// The columns that take part of the listed rows, one row after the other (rule 23).
    fn strip(&self, side: Side, rows: &[u64], config: &MiningConfiguration) -> Result<Vec<i8>, Rejection> {
        let length = config.dot_product_length() as usize;
        let mut strip = Vec::with_capacity(rows.len() * length);
        for &row in rows {
            let mut position = row * u64::from(config.common_dim);
            let end = strip.len() + length;
            while strip.len() < end {
                let (leaf, offset) = (position / LEAF_LEN as u64, (position % LEAF_LEN as u64) as usize);
                let at = self.0.binary_search_by_key(&leaf, |&(index, _)| index).expect("rule 7 was checked");
                let taken = (LEAF_LEN - offset).min(end - strip.len());
                strip.extend(self.0[at].1[offset..offset + taken].iter().map(|&byte| byte as i8));
                position += taken as u64;
            }
            let entries = &strip[end - length..];
            if let Some(column) = entries.iter().position(|entry| !(-64..=64).contains(entry)) {
                let value = entries[column];
                return Err(Rejection::ValueRange { side, row, column: column as u64, value });
            }
        }
        Ok(strip)
    }
}

/// Adds the noise of `rows` to their strip; |entry| ≤ 64 and |noise| ≤ 63, so nothing overflows (section 4).
fn add_noise(strip: &[i8], noise: &Noise, rows: &[u64]) -> Vec<i8> {
    let mut strip = strip.to_vec();
    let length = noise.pairs().len();
    for (entries, &row) in strip.chunks_exact_mut(length).zip(rows) {
        // Rule 19 keeps rows below 2^24.
        for (entry, noise) in entries.iter_mut().zip(noise.row(row as u32)) {
            *entry += noise;
        }
    }
    strip
}
