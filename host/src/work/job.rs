//! Jobs, and proofs on their way from the host to the chain.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::proofs;

/// One unit of work, as a source gives it out.
///
/// Two jobs are the same work when their [`JobKey`]s are equal; a source emits a job once and again only after
/// another one came between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkJob {
    /// The 76 header bytes, opaque but for `nbits` (protocol section 1).
    pub header: [u8; 76],
    /// The unscaled target, a little-endian number (protocol section 6.3).
    pub target: [u8; 32],
    /// The certificate version that a block from this job needs: any number, also one that nobody here speaks.
    pub certificate_version: u32,
    /// Whether the rank-penalised bound applies (protocol section 6.2). True wherever it is not known to be off: a
    /// proof that meets the penalised bound meets the plain one too.
    pub rank_penalty: bool,
    /// Height of the block in the making, where the source says.
    pub height: Option<u64>,
    /// When the source first saw it.
    pub received: Instant,
    /// Where a pool's job came from; `None` for every other source. It travels with the job and its proofs, and means
    /// nothing to anybody but the source.
    pub origin: Option<Origin>,
    /// Whether proofs of earlier jobs of the same origin are still worth handing over: a pool refreshed its job and
    /// the chain's tip is the same. `false` everywhere else: every earlier job is over.
    pub keeps_earlier: bool,
}

/// Where a pool's job came from: which connection, and what the pool calls it there.
///
/// A pool's job lives and dies with the connection that issued it (pool protocol 8.4), so a proof carries this along
/// and is sent nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The pool's address, as it is configured.
    pub pool: Arc<str>,
    /// Number of the connection in this process, from 1; 0 for one of an earlier process.
    pub connection: u64,
    /// Number of the job in this process, from 1; 0 for one of an earlier process.
    pub serial: u64,
    /// The pool's name for the job: the JSON token exactly as it came, because it is echoed byte for byte.
    pub job_id: Arc<str>,
}

/// What makes two jobs the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobKey {
    header: [u8; 76],
    target: [u8; 32],
    certificate_version: u32,
    rank_penalty: bool,
    /// A pool's job under a new name is another job: what is found for it must name it.
    serial: u64,
}

impl WorkJob {
    /// The job's identity: everything that a proof for it depends on.
    pub fn key(&self) -> JobKey {
        JobKey {
            header: self.header,
            target: self.target,
            certificate_version: self.certificate_version,
            rank_penalty: self.rank_penalty,
            serial: self.origin.as_ref().map_or(0, |origin| origin.serial),
        }
    }

    /// The job as the verifier takes it.
    ///
    /// # Errors
    ///
    /// The certificate version is none that this build can verify.
    pub fn to_pow(&self) -> Result<pearl_pow::Job, pearl_pow::UnsupportedCertificate> {
        Ok(pearl_pow::Job {
            header: pearl_pow::Header::from_bytes(self.header),
            target: Some(pearl_pow::Target::from_le_bytes(self.target)),
            certificate: self.certificate_version.try_into()?,
            rank_penalty: self.rank_penalty,
        })
    }

    /// Whether less than a block is asked for: the target is easier than the one in the header.
    pub fn is_for_shares(&self) -> bool {
        let of_block = pearl_pow::Header::from_bytes(self.header).nbits().target();
        pearl_pow::Target::from_le_bytes(self.target) > of_block
    }

    /// How long ago the source first saw the job.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.received)
    }

    /// The hash of the block this job builds on, in the header's own byte order (protocol section 1).
    pub fn prev_block(&self) -> [u8; 32] {
        self.header[4..36].try_into().expect("32 bytes of 76")
    }
}

/// Names one found proof for as long as its file lives, across restarts of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProofId(pub(super) String);

impl ProofId {
    /// The name of a proof. The same proof for the same job always has the same.
    pub fn of(found: &FoundProof) -> Self {
        proofs::name(found)
    }
}

impl fmt::Display for ProofId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a proof is on its way from the host to the chain.
///
/// ```text
/// Kept -> HandedOver -> InBlock -> Confirmed
///   |         |    \---> Credited (by a pool)
///   |         |    \        \----> Stale (its block left the main chain)
///   |         |     \--> Untraced (nobody can be asked)
///   +---------+--------> Stale | NotSent | Rejected
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofState {
    /// On disk, and to be handed over as soon as the source can be reached.
    Kept,
    /// The source's peer answered that it took it, for the `attempt`th time (from 1). It says nothing about validity.
    HandedOver {
        /// How often it was handed over so far.
        attempt: u32,
    },
    /// It became a block of the main chain.
    InBlock {
        /// The block's hash as explorers print it.
        hash: String,
        /// The block's height.
        height: u64,
    },
    /// Its block is deep enough that nothing will undo it. Final.
    Confirmed {
        /// The block's hash as explorers print it.
        hash: String,
        /// The block's height.
        height: u64,
        /// Blocks of the main chain from this one on, itself included.
        confirmations: u64,
    },
    /// A pool says that it took the share. Final, unless the pool says something else afterwards.
    Credited,
    /// Its job went out of date before it could become a block. Final.
    Stale {
        /// What is known of why.
        reason: String,
    },
    /// The host kept it back, though its job was good. Final.
    NotSent {
        /// Why.
        reason: String,
    },
    /// Refused by the peer. Final.
    Rejected {
        /// The peer's words, bounded and free of control characters.
        reason: String,
    },
    /// Handed over, its job is over, and nobody can be asked what became of it. Final.
    Untraced {
        /// Why nobody can be asked, and what would change that.
        reason: String,
    },
}

impl ProofState {
    /// Whether nothing more will be said about the proof. Its file is gone by then.
    ///
    /// [`Self::InBlock`] is not final, but the file is gone there too: the network has it.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Kept | Self::HandedOver { .. } | Self::InBlock { .. } => false,
            Self::Credited
            | Self::Confirmed { .. }
            | Self::Stale { .. }
            | Self::NotSent { .. }
            | Self::Rejected { .. }
            | Self::Untraced { .. } => true,
        }
    }

    /// One word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::HandedOver { .. } => "handed-over",
            Self::InBlock { .. } => "in-block",
            Self::Confirmed { .. } => "confirmed",
            Self::Credited => "credited",
            Self::Stale { .. } => "stale",
            Self::NotSent { .. } => "not-sent",
            Self::Rejected { .. } => "rejected",
            Self::Untraced { .. } => "untraced",
        }
    }
}

/// A verified proof on its way to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProof {
    /// The job it was found for, exactly as it was given out.
    pub job: WorkJob,
    /// The plain proof's bytes (protocol section 9.1).
    pub proof: Vec<u8>,
    /// When it was found.
    pub found: SystemTime,
    /// Whether it meets the target in its header's nbits, too, so that a pool may make a block of it. False where nobody
    /// looked, as for proofs that an earlier process left.
    pub block: bool,
}
