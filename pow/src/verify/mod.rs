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

mod opened;
mod rejection;
mod stage;

use ruint::aliases::U256;

use crate::Digest;
use crate::certificate::CertificateVersion;
use crate::config::MiningConfiguration;
use crate::difficulty::{PENALTY_RANK_MIN, Target, jackpot_number};
use crate::header::Header;
use crate::keys::NoiseSeeds;
use crate::proof::{Encoding, PlainProof};
use crate::transcript::Transcript;

pub(crate) use self::opened::Opened;
pub use self::rejection::{Deviation, Rejection};
pub use self::stage::{Passed, Stage};

/// Bytes that a dense certificate shows of its proof (section 12.1).
pub const PUBLIC_DATA_LEN: usize = 164;

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

    /// The 164 bytes that a dense certificate for `proof` shows of it, and that the block's header commits to
    /// (section 12.1). `proof` is the one that was checked.
    pub fn public_data(&self, proof: &PlainProof) -> [u8; PUBLIC_DATA_LEN] {
        let mut bytes = [0; PUBLIC_DATA_LEN];
        // Both bases are rows of matrices whose heights fit 32 bits: the verifier has bounded them.
        let low = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
        let numbers = [self.m, self.n, low(self.row_base), low(self.col_base)].map(u32::to_le_bytes);
        let parts: [&[u8]; 5] =
            [&self.config.to_bytes(), &proof.a.root, &proof.bt.root, &self.jackpot, numbers.as_flattened()];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    /// Whether the proof also meets `target`, such as the block's when a share was checked (section 6.3).
    pub fn meets(&self, target: Target, rank_penalty: bool) -> bool {
        (!rank_penalty || self.config.rank >= PENALTY_RANK_MIN)
            && self.jackpot_number() <= target.bound(&self.config, rank_penalty)
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
