//! What follows from something that happened to a miner, for its session to do.
//!
//! A miner decides and sends over its own link; it writes no log, verifies nothing and tells nobody. What it wants done
//! comes back as a list of these, in order.

use std::path::PathBuf;
use std::sync::Arc;

use super::link::Place;
use crate::work::{ProofId, WorkJob};

/// A job of the session: numbered, and shared by all who work on it.
#[derive(Debug)]
pub struct Work {
    /// The session's number for it, counted from 1.
    pub number: u64,
    /// The job as its source gave it out; its target is the one that pays.
    pub job: WorkJob,
}

/// A proof to be judged.
#[derive(Debug)]
pub struct Candidate {
    /// Over which link it came.
    pub generation: u64,
    /// Its number there.
    pub sequence: u64,
    /// The job it is for.
    pub work: Arc<Work>,
    /// The target it was asked to meet: an unscaled little-endian number, easier than what pays or equal to it.
    pub target: [u8; 32],
    /// Its bytes.
    pub proof: Vec<u8>,
    /// Held until it is judged.
    pub place: Place,
}

/// What became of a [`Candidate`].
#[derive(Debug)]
pub struct Judged {
    /// Over which link it came.
    pub generation: u64,
    /// Its number there.
    pub sequence: u64,
    /// The job it is for.
    pub work: Arc<Work>,
    /// The target it was asked to meet.
    pub target: [u8; 32],
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict on one proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed, and is on its way to the work source.
    Passed {
        /// Its name from now on.
        id: ProofId,
        /// Why a crash would lose it, if it is not on disk.
        not_kept: Option<String>,
    },
    /// It passed at the target of this host's own; what pays is harder.
    Share,
    /// It passed and would pay, and enough proofs are kept for the same block: at most one can become it.
    Spare,
    /// It passed, and its job is over.
    Late,
    /// The verifier refused it.
    Refused {
        /// The failing stage.
        stage: String,
        /// What does not fit.
        why: String,
        /// Where it is kept for whoever wants to know more, if it is.
        kept: Option<PathBuf>,
    },
    /// It passed, and the work source does not take it.
    NotTaken(String),
    /// It could not be judged, for reasons of the host's.
    NotJudged(String),
}

/// What follows.
#[derive(Debug)]
pub enum Effect {
    /// A line for the log.
    Line(Level, Speaker, String),
    /// A warning for the log, and the last thing that went wrong.
    Trouble(String),
    /// A proof to be judged; the answer goes to `Miner::judged`.
    Judge(Candidate),
    /// It has taken the first job of its life.
    FirstJob,
    /// It has another process than before, or none.
    Moved,
    /// It is a program that the network left behind: why it is to be given no more work of this version.
    Behind(String),
    /// It cannot go on, and why: a phrase that follows the provider's name.
    GaveUp(String),
}

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something to look at.
    Warn,
    /// What happened.
    Info,
    /// Detail.
    Debug,
}

impl Level {
    /// Level of a provider's line, 1 (error) to 5 (trace).
    pub fn from_wire(level: u8) -> Self {
        match level {
            1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            _ => Self::Debug,
        }
    }

    /// How the log writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The supervisor.
    Supervisor,
    /// The provider, through its host.
    Provider,
    /// What the provider process printed.
    Output,
}

impl Speaker {
    /// How the log writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Provider => "provider",
            Self::Output => "output",
        }
    }
}
