//! What a miner probably did wrong when its proof is refused (section 15).
//!
//! "Hash A mismatch" says where a proof broke and not why. Most proofs that break were made by a miner that
//! is right in all but one point, so this module makes the well-known mistakes on purpose, one at a time, and
//! looks whether the proof fits then. It takes up to a fraction of a second, and is for people and not for
//! the path of a share.

use crate::certificate::SeedRule;
use crate::commitment::{Hashing, LEAF_LEN, Leaf, leaf_count, recompute_root_in};
use crate::config::MiningConfiguration;
use crate::difficulty::{CompactTarget, jackpot_number};
use crate::header::Header;
use crate::keys::{NoiseSeeds, job_key};
use crate::noise::Noise;
use crate::opening::MatrixOpening;
use crate::parameters::check_configuration;
use crate::pattern::PeriodicPattern;
use crate::proof::{DecodeError, PlainProof};
use crate::transcript::{Transcript, tile_slices};
use crate::verify::{Job, Opened, Rejection};
use crate::{Digest, Side, U256};

/// A likely cause, and whether it was tried (section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnosis {
    /// What probably went wrong.
    pub mistake: Mistake,
    /// Whether the proof fits once the mistake is assumed. Otherwise it is the mistake that usually looks
    /// like this.
    pub confirmed: bool,
}

/// A mistake that makes a proof invalid (section 15 and some more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// The bytes are compressed (11).
    #[error("the bytes are compressed ({0}): decompress them, or agree on compression with the pool")]
    Compressed(
        /// The format's name.
        &'static str,
    ),
    /// The bytes were cut or have something after them.
    #[error(
        "bytes were lost or added on the way: compare the length with 177 + 1040·leaves + 32·siblings + 8·(h+w)"
    )]
    WrongLength,
    /// Leaves are written without their length (9.1).
    #[error("each leaf is written with its length, 1024, as eight bytes before it")]
    LeafLength,
    /// The number of leaves is not that of the padded matrix.
    #[error(
        "`total_leaves` is the matrix's bytes over 1024, rounded up: ⌈m·k/1024⌉ for A and ⌈n·k/1024⌉ for B^T"
    )]
    TreeSize,
    /// Rows are not those of one canonical tile (8).
    #[error(
        "list the tile's absolute rows, ascending: base + offsets, with a base where the pattern may start"
    )]
    Rows,
    /// Leaves are missing.
    #[error("open every leaf that a listed row lies in, ⌊row·k/1024⌋ to ⌊((row+1)·k-1)/1024⌋")]
    MissingLeaves,
    /// The header's hashes are in display order (6).
    #[error("the header was serialised with {0} in display order; the 76 bytes hold it reversed")]
    DisplayOrder(
        /// Which of the hashes.
        &'static str,
    ),
    /// The header has another time.
    #[error("the proof is for a header whose timestamp is {0}: a miner must not change the time of its job")]
    Timestamp(
        /// The time that fits, in seconds since 1970.
        u32,
    ),
    /// The share target was written into the header.
    #[error("the proof is for a header whose nbits is the share target {0}; the header keeps the block's")]
    ShareTargetInHeader(
        /// The nbits that fits.
        CompactTarget,
    ),
    /// Rows and columns are exchanged in the configuration.
    #[error("the rows' and the columns' patterns are exchanged in the configuration")]
    PatternsExchanged,
    /// The roots are of plain BLAKE3.
    #[error("the roots are hashed without a key; the tree is keyed with the job key")]
    NoKey,
    /// Both roots are of another job key (6, 8).
    #[error(
        "neither root fits: the job key is another one. Compare the 76 header bytes and the 52 configuration \
         bytes (k, rank, patterns normalised to start at 0) with the miner's"
    )]
    OtherJobKey,
    /// Opened leaves carry the noise (5).
    #[error("the opened leaves of {0} carry the noise; leaves and roots are of the raw matrices")]
    NoiseInLeaves(
        /// Which matrix.
        Side,
    ),
    /// One matrix's leaves, siblings or root are wrong.
    #[error(
        "the other matrix's root fits, so header and configuration are right: a leaf, a sibling or the root of {0} is \
         wrong. Both the tree and the leaves are of the raw matrix, padded to 1024 bytes"
    )]
    Opening(
        /// Which matrix.
        Side,
    ),
    /// B was committed as k × n (4).
    #[error(
        "the root of A fits, so header and configuration are right: B^T is committed as n rows of k entries, not \
         as the k rows of B, and padded to 1024 bytes"
    )]
    NotTransposed,
    /// The shape is not allowed.
    #[error("the miner's shape breaks a rule of the network: choose other m, n, k, rank or patterns")]
    Shape,
    /// Entries are out of range.
    #[error("entries of A and B are -64 to 64; the noise is added to them and never committed")]
    Range,
    /// The other seed rule was used (7).
    #[error("the noise has {found} seeds; this certificate version has {wanted} ones")]
    SeedRule {
        /// The rule that fits.
        found: SeedRule,
        /// The rule of the certificate version.
        wanted: SeedRule,
    },
    /// Salting with a padded length (6).
    #[error("the roots are salted with the padded length; the salt binds m and n, the numbers of rows")]
    SaltedWithPaddedLength,
    /// The wrong key for the jackpot (1).
    #[error("the jackpot is keyed with {0}; its key is the seed of A")]
    JackpotKey(
        /// The key that fits.
        &'static str,
    ),
    /// The jackpot is read from the wrong end (2).
    #[error("the jackpot is read most significant byte first; it is a little-endian number")]
    BigEndian,
    /// Sums are reset after each slice (3).
    #[error("the sums are reset after each slice; they run on, and the running sums are folded")]
    SumsReset,
    /// No noise in the product.
    #[error("the product is of the raw matrices; it is of the matrices with their noise")]
    NoNoise,
    /// The rank-penalty rule is ignored (10).
    #[error(
        "the plain bound is met and the rank-penalised one is not: under this rule T·h·w·⌊k/r⌋·128 counts"
    )]
    PlainBound,
    /// The rank is too low for the rule in force.
    #[error("since the rank-penalty rule the rank must be at least 128, and 128 is the best choice")]
    RankTooLow,
    /// The proof meets the header's target and not the given one.
    #[error("the proof meets the target in the header, and not the harder one that was given")]
    HeaderTarget,
    /// The jackpot does not fit, for a reason that was not found.
    #[error(
        "the roots fit, so what comes after them differs: seeds (salted for version 3 only), noise, the order of \
         slices and words, the key of the jackpot (the seed of A), or the scaling of the target"
    )]
    Transcript,
}

impl Mistake {
    /// A name that programs can rely on; it never changes (section 15).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Compressed(_) => "compressed",
            Self::WrongLength => "wrong-length",
            Self::LeafLength => "leaf-length",
            Self::TreeSize => "tree-size",
            Self::Rows => "rows",
            Self::MissingLeaves => "missing-leaves",
            Self::DisplayOrder(_) => "display-order",
            Self::Timestamp(_) => "timestamp",
            Self::ShareTargetInHeader(_) => "share-target-in-header",
            Self::PatternsExchanged => "patterns-exchanged",
            Self::NoKey => "no-key",
            Self::OtherJobKey => "other-job-key",
            Self::NoiseInLeaves(_) => "noise-in-leaves",
            Self::Opening(_) => "opening",
            Self::NotTransposed => "not-transposed",
            Self::Shape => "shape",
            Self::Range => "range",
            Self::SeedRule { .. } => "seed-rule",
            Self::SaltedWithPaddedLength => "salted-with-padded-length",
            Self::JackpotKey(_) => "jackpot-key",
            Self::BigEndian => "big-endian",
            Self::SumsReset => "sums-reset",
            Self::NoNoise => "no-noise",
            Self::PlainBound => "plain-bound",
            Self::RankTooLow => "rank-too-low",
            Self::HeaderTarget => "header-target",
            Self::Transcript => "transcript",
        }
    }

    /// The mistake's number in section 15, if it is listed there.
    pub const fn section_15(&self) -> Option<u8> {
        Some(match self {
            Self::JackpotKey(_) => 1,
            Self::BigEndian => 2,
            Self::SumsReset => 3,
            Self::NotTransposed => 4,
            Self::NoiseInLeaves(_) => 5,
            Self::DisplayOrder(_) | Self::SaltedWithPaddedLength => 6,
            Self::SeedRule { .. } => 7,
            Self::Rows => 8,
            Self::PlainBound => 10,
            Self::Compressed(_) => 11,
            _ => return None,
        })
    }
}

/// Looks for the mistake behind a refusal of `bytes` (section 15).
///
/// `None` where the refusal says all there is, such as [`Rejection::NotCanonical`].
pub fn diagnose(job: &Job, bytes: &[u8], rejection: &Rejection) -> Option<Diagnosis> {
    let likely = |mistake| Some(Diagnosis { mistake, confirmed: false });
    let certain = |mistake| Some(Diagnosis { mistake, confirmed: true });
    let proof = match rejection {
        Rejection::Decode(err) => return diagnose_bytes(bytes, err),
        _ => PlainProof::decode(bytes).ok()?.0,
    };
    match rejection {
        Rejection::TreeSize { .. } => likely(Mistake::TreeSize),
        Rejection::Pattern { .. } | Rejection::RowOutside { .. } => likely(Mistake::Rows),
        Rejection::LeafMissing { .. } => likely(Mistake::MissingLeaves),
        Rejection::Opening { side, .. } => likely(Mistake::Opening(*side)),
        Rejection::Root { side, .. } => Some(diagnose_root(job, &proof, *side)),
        Rejection::Parameters(_) | Rejection::TooWide { .. } => likely(Mistake::Shape),
        Rejection::ValueRange { .. } => likely(Mistake::Range),
        Rejection::Difficulty { bound, .. } => Some(diagnose_difficulty(job, &proof, *bound)),
        Rejection::RankPenalty { .. } => certain(Mistake::PlainBound),
        Rejection::RankTooLow { .. } => certain(Mistake::RankTooLow),
        Rejection::Decode(_) | Rejection::NotCanonical(_) => None,
    }
}

fn diagnose_bytes(bytes: &[u8], err: &DecodeError) -> Option<Diagnosis> {
    let mistake = match (bytes, err) {
        ([0x1f, 0x8b, ..], _) => Mistake::Compressed("gzip"),
        ([0x28, 0xb5, 0x2f, 0xfd, ..], _) => Mistake::Compressed("zstd"),
        (_, DecodeError::LeafLength { .. }) => Mistake::LeafLength,
        (_, DecodeError::Truncated { .. } | DecodeError::TooLong { .. } | DecodeError::Surplus { .. }) => {
            Mistake::WrongLength
        }
        _ => return None,
    };
    Some(Diagnosis { mistake, confirmed: matches!(mistake, Mistake::Compressed(_)) })
}

/// Seconds around the header's time that are tried.
const TIMESTAMPS: u32 = 900;

fn diagnose_root(job: &Job, proof: &PlainProof, side: Side) -> Diagnosis {
    let certain = |mistake| Diagnosis { mistake, confirmed: true };
    let likely = |mistake| Diagnosis { mistake, confirmed: false };
    let pattern = |opening: &MatrixOpening| PeriodicPattern::from_rows(&opening.row_indices);
    let (Ok((rows, _)), Ok((cols, _))) = (pattern(&proof.a), pattern(&proof.bt)) else {
        return likely(Mistake::Rows);
    };
    let config = MiningConfiguration::dense(proof.k as u32, proof.noise_rank as u16, rows, cols);
    let key = job_key(&job.header, &config);

    // One matrix that fits vouches for the job key.
    let other = if side == Side::A { Side::BT } else { Side::A };
    if fits(Hashing::Keyed(&key), opening(proof, other)) {
        return if noise_was_committed(job, proof, &config, &key, side) {
            certain(Mistake::NoiseInLeaves(side))
        } else if side == Side::BT {
            likely(Mistake::NotTransposed)
        } else {
            likely(Mistake::Opening(side))
        };
    }

    let both = |hashing: Hashing<'_>| fits(hashing, &proof.a) && fits(hashing, &proof.bt);
    let with = |header: &Header, config: &MiningConfiguration| both(Hashing::Keyed(&job_key(header, config)));
    if both(Hashing::Plain) {
        return certain(Mistake::NoKey);
    }
    let (mut prev_block, mut merkle_root) = (job.header.prev_block(), job.header.merkle_root());
    let (right_prev_block, right_merkle_root) = (prev_block, merkle_root);
    prev_block.reverse();
    merkle_root.reverse();
    let header = |prev_block, merkle_root, timestamp, nbits| {
        Header::new(job.header.version(), prev_block, merkle_root, timestamp, nbits)
    };
    let (timestamp, nbits) = (job.header.timestamp(), job.header.nbits().0);
    for (which, prev_block, merkle_root) in [
        ("both hashes", prev_block, merkle_root),
        ("prev_block", prev_block, right_merkle_root),
        ("merkle_root", right_prev_block, merkle_root),
    ] {
        if with(&header(prev_block, merkle_root, timestamp, nbits), &config) {
            return certain(Mistake::DisplayOrder(which));
        }
    }
    let exchanged = MiningConfiguration { rows: config.cols, cols: config.rows, ..config };
    if with(&job.header, &exchanged) {
        return certain(Mistake::PatternsExchanged);
    }
    if let Some(target) = job.target {
        let nbits = CompactTarget::from_target(target);
        if with(&header(right_prev_block, right_merkle_root, timestamp, nbits.0), &config) {
            return certain(Mistake::ShareTargetInHeader(nbits));
        }
    }
    let times = timestamp.saturating_sub(TIMESTAMPS)..=timestamp.saturating_add(TIMESTAMPS);
    for time in times.filter(|&time| time != timestamp) {
        if with(&header(right_prev_block, right_merkle_root, time, nbits), &config) {
            return certain(Mistake::Timestamp(time));
        }
    }
    likely(Mistake::OtherJobKey)
}

fn opening(proof: &PlainProof, side: Side) -> &MatrixOpening {
    match side {
        Side::A => &proof.a,
        Side::BT => &proof.bt,
    }
}

fn sorted_leaves(opening: &MatrixOpening) -> Vec<(u64, &Leaf)> {
    let mut leaves: Vec<(u64, &Leaf)> = opening.leaf_indices.iter().copied().zip(&opening.leaves).collect();
    leaves.sort_by_key(|&(index, _)| index);
    leaves
}

/// Whether leaves and siblings lead to the transmitted root.
fn fits(hashing: Hashing<'_>, opening: &MatrixOpening) -> bool {
    recompute_root_in(hashing, opening.total_leaves, &sorted_leaves(opening), &opening.siblings)
        .is_ok_and(|recomputed| recomputed.root == opening.root)
}

/// Whether the leaves lead to the root once the noise is taken off, under either seed rule.
fn noise_was_committed(
    job: &Job,
    proof: &PlainProof,
    config: &MiningConfiguration,
    key: &Digest,
    side: Side,
) -> bool {
    if check_configuration(config).is_err() {
        return false;
    }
    let (m, n) = (proof.m as u32, proof.n as u32);
    let seeds = NoiseSeeds::derive(job.certificate.seed_rule(), key, (&proof.a.root, m), (&proof.bt.root, n));
    let (seed, rows) = match side {
        Side::A => (&seeds.a, m),
        Side::BT => (&seeds.b, n),
    };
    let noise = Noise::new(side, seed, config.rank, config.common_dim);
    let columns = u64::from(config.common_dim);
    let mut raw = opening(proof, side).clone();
    for (leaf, &index) in raw.leaves.iter_mut().zip(&raw.leaf_indices) {
        let first = index.saturating_mul(LEAF_LEN as u64);
        let last_row =
            (first.saturating_add(LEAF_LEN as u64 - 1) / columns).min(u64::from(rows).saturating_sub(1));
        for row in first / columns..=last_row {
            for (column, noise) in noise.row(row as u32).enumerate() {
                let at = (row * columns + column as u64).checked_sub(first);
                if let Some(byte) = at.and_then(|at| leaf.get_mut(usize::try_from(at).ok()?)) {
                    *byte = byte.wrapping_sub(noise as u8);
                }
            }
        }
    }
    fits(Hashing::Keyed(key), &raw)
}

/// A mistake counts as confirmed where one attempt in more than this many would fit by chance.
const COINCIDENCE_BITS: usize = 7;

fn diagnose_difficulty(job: &Job, proof: &PlainProof, bound: U256) -> Diagnosis {
    let likely = |mistake| Diagnosis { mistake, confirmed: false };
    let Ok(opened) = Opened::of(&job.header, proof, &mut |_| {}) else {
        return likely(Mistake::Transcript);
    };
    let found = |mistake| Diagnosis { mistake, confirmed: bound.bit_len() <= 256 - COINCIDENCE_BITS };
    let hit = |jackpot: &Digest| jackpot_number(jackpot) <= bound;
    let play = |seeds: &NoiseSeeds| {
        let (a, bt) = opened.noised(seeds);
        opened.transcript(&a, &bt).jackpot(&seeds.a)
    };

    let wanted = job.certificate.seed_rule();
    let found_rule = match wanted {
        SeedRule::Legacy => SeedRule::Salted,
        SeedRule::Salted => SeedRule::Legacy,
    };
    if hit(&play(&opened.seeds(found_rule))) {
        return found(Mistake::SeedRule { found: found_rule, wanted });
    }
    if wanted == SeedRule::Salted {
        let padded = |rows: u32| {
            let bytes = leaf_count(u64::from(rows) * u64::from(opened.config.common_dim)) * LEAF_LEN as u64;
            bytes as u32
        };
        if hit(&play(&opened.seeds_bound_to(wanted, padded(opened.m), padded(opened.n)))) {
            return found(Mistake::SaltedWithPaddedLength);
        }
    }

    let seeds = opened.seeds(wanted);
    let (a, bt) = opened.noised(&seeds);
    let transcript = opened.transcript(&a, &bt);
    let jackpot = transcript.jackpot(&seeds.a);
    if job.target.is_some()
        && jackpot_number(&jackpot) <= job.header.nbits().target().plain_bound(&opened.config)
    {
        return Diagnosis { mistake: Mistake::HeaderTarget, confirmed: true };
    }
    for (name, key) in [("the job key", &opened.job_key), ("the seed of B", &seeds.b)] {
        if hit(&transcript.jackpot(key)) {
            return found(Mistake::JackpotKey(name));
        }
    }
    if U256::from_be_bytes(jackpot) <= bound {
        return found(Mistake::BigEndian);
    }
    if hit(&slice_products(&opened, &a, &bt).jackpot(&seeds.a)) {
        return found(Mistake::SumsReset);
    }
    if hit(&opened.transcript(&opened.a, &opened.bt).jackpot(&seeds.a)) {
        return found(Mistake::NoNoise);
    }
    likely(Mistake::Transcript)
}

/// The transcript of a miner that starts every slice from zero.
fn slice_products(opened: &Opened<'_>, a: &[i8], bt: &[i8]) -> Transcript {
    let (length, rank) = (opened.config.dot_product_length() as usize, usize::from(opened.config.rank));
    let mut transcript = Transcript::default();
    let mut before = vec![0; opened.config.tile_area() as usize];
    tile_slices(a, bt, length, rank, |_, sums| {
        transcript.fold(sums.iter().zip(&before).fold(0, |xor, (sum, before)| xor ^ (sum - before) as u32));
        before.copy_from_slice(sums);
    });
    transcript
}
