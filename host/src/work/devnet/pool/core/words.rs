//! What goes into the rules of a pool and comes out of them: settings, work, acts, verdicts, events, the ledger's rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pearl_pow::{Header, Target};
use serde::Serialize;

/// A share's work at first: three seconds of a slow processor. A fast one's ten first shares say how much harder to go.
const FIRST_WORK: f64 = (1_u64 << 28) as f64;

/// How the pool behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between two shares of a session to aim at.
    pub interval: Duration,
    /// The same difficulty for everybody, instead.
    pub difficulty: Option<f64>,
    /// Work of a share of a session whose speed is not known yet, in multiply-accumulates.
    pub first_work: f64,
    /// Jobs of a session that are good, the newest included.
    pub keeps: usize,
    /// Shares of one session that may be in the verifier: more than a miner has in flight that frees a slow line at once.
    pub verifying: usize,
    /// Whether logins as an object are taken.
    pub object: bool,
    /// Whether logins as an array are taken.
    pub array: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3),
            difficulty: None,
            first_work: FIRST_WORK,
            keeps: 16,
            verifying: 64,
            object: true,
            array: true,
        }
    }
}

/// What the network wants mined.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The header.
    pub header: Header,
    /// The certificate version.
    pub certificate_version: u32,
    /// Height of the block in the making.
    pub height: Option<u64>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Send a line to a session.
    Send {
        /// The session.
        session: u64,
        /// Without its newline.
        line: String,
    },
    /// Verify a share and tell `Core::verified`.
    Verify(Box<Candidate>),
    /// The sessions do so many multiply-accumulates a second together, as far as is known.
    Rate(f64),
    /// Something happened.
    Tell(PoolEvent),
}

/// A share to be verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The session.
    pub session: u64,
    /// The id to answer under, as JSON text.
    pub id: String,
    /// The job.
    pub job: Job,
    /// The proof's bytes.
    pub proof: Vec<u8>,
    /// When it came.
    pub at: Instant,
}

/// A job of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// What the network wants.
    pub task: Task,
    /// What a share must meet.
    pub target: Target,
    /// When it was given out.
    pub issued: Instant,
    /// Shares of it that were credited.
    pub credited: u32,
}

/// What a verifier found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// A share; and whether it is a block, too.
    Valid {
        /// Whether it meets the network's target.
        block: bool,
    },
    /// A good proof above the share's target.
    TooWeak,
    /// No good proof.
    Invalid,
}

/// What became of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Credited.
    Accepted,
    /// Its job is over.
    Stale,
    /// It came before.
    Duplicate,
    /// Above the target.
    LowDifficulty,
    /// No good proof.
    Invalid,
    /// Not understood.
    Malformed,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PoolEvent {
    /// A worker logged in.
    Login {
        /// Its name.
        worker: String,
        /// Its program.
        agent: String,
    },
    /// A share has its fate.
    Share {
        /// Whose.
        worker: String,
        /// Its fate.
        fate: Fate,
        /// Multiply-accumulates that it stands for.
        work: f64,
        /// Why, where it was not credited.
        reason: Option<String>,
    },
    /// The network has a new job.
    Work {
        /// Height of the block in the making.
        height: Option<u64>,
        /// Its compact target.
        nbits: String,
    },
    /// A share became a block.
    Block {
        /// Its height.
        height: u64,
        /// Its hash as explorers print it.
        hash: String,
        /// Whose share it was.
        worker: String,
    },
    /// Something worth a line.
    Note {
        /// The line.
        text: String,
    },
}

/// A worker's row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Shares by fate.
    pub shares: BTreeMap<Fate, u64>,
    /// Multiply-accumulates of the credited ones: the sum of W.
    pub credited: f64,
    /// Blocks.
    pub blocks: u64,
}
