//! What the trial's process and its parent say to each other: one JSON value on a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plugins::{Failure, Identity};

/// What the child is to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The plugin's file.
    pub path: PathBuf,
    /// The file as it was looked at.
    pub identity: Identity,
    /// The provider's id.
    pub id: String,
    /// Settings of the provider's.
    pub extra: Map<String, Value>,
    /// What to try.
    pub trial: Trial,
}

/// One life of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Trial {
    /// Mines jobs of one certificate version.
    Mine {
        /// The version.
        certificate: u32,
        /// How long proofs are looked for, in milliseconds.
        prove_ms: u64,
        /// A version that the provider does not declare, to be offered; and everything else that is tried once only.
        undeclared: Option<u32>,
    },
    /// Starts it with settings that nobody knows.
    Settings,
    /// Loads it and does no more.
    Load,
}

/// How far the child has come: what it does next, and how long that may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// Loads the library and makes the provider.
    Make,
    /// Stops it though nothing is started.
    StopUnstarted,
    /// Starts it.
    Start,
    /// Offers the first job.
    Offer,
    /// Works, to see how fast.
    Warm,
    /// Looks for proofs.
    Prove,
    /// Asks for its numbers.
    Stats,
    /// Offers another job in place of the last.
    Switch,
    /// Withdraws the job and offers none.
    Withdraw,
    /// Offers a job of a version that is not declared.
    Undeclared,
    /// Stops it.
    Stop,
    /// Waits for what should be gone.
    Settle,
    /// Starts it again.
    Again,
    /// Stops it again, and ends it.
    End,
    /// Starts it with strange settings.
    Settings,
}

impl Step {
    /// How long the step may take before its process is ended, in milliseconds, beside what it waits for on purpose.
    pub const fn limit_ms(self) -> u64 {
        match self {
            Self::Make => 10_000,
            Self::Start | Self::Again | Self::Settings => 12_000,
            Self::StopUnstarted | Self::Stop | Self::End => 6_000,
            Self::Stats => 3_000,
            Self::Offer
            | Self::Warm
            | Self::Prove
            | Self::Switch
            | Self::Withdraw
            | Self::Undeclared
            | Self::Settle => 40_000,
        }
    }

    /// In words, as the end of "it crashed …".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Make => "while it was loaded",
            Self::StopUnstarted => "in `stop`, with nothing started",
            Self::Start => "in `start`",
            Self::Offer => "when it was offered a job",
            Self::Warm | Self::Prove => "while it mined",
            Self::Stats => "in `stats`",
            Self::Switch => "when its job was replaced",
            Self::Withdraw => "when its job was withdrawn",
            Self::Undeclared => "on a job of a certificate version that it does not declare",
            Self::Stop => "in `stop`",
            Self::Settle => "after `stop`",
            Self::Again => "when it was started again",
            Self::End => "when it was ended",
            Self::Settings => "on settings that it does not know",
        }
    }
}

/// What the child tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// It begins a step.
    Begins(Step),
    /// The library could not be loaded, or its provider not be made.
    NotMade(Failure),
    /// The manifest that the code answers.
    Manifest(String),
    /// What `is_running` told, and what is true.
    Running { told: bool, is: bool },
    /// What became of a call of `stop`.
    Stopped { step: Step, error: Option<String>, took_ms: u64 },
    /// What became of a call of `start`.
    Started { step: Step, error: Option<Refusal>, took_ms: u64 },
    /// A job was taken, so long after it was offered; `None` where it was not.
    Took { step: Step, after_ms: Option<u64> },
    /// Hashes per second, as the provider reports them.
    Rate(f64),
    /// The job under which proofs are looked for: header, target (both in hexadecimal).
    Job { id: u64, header: String, target: String, certificate: u32 },
    /// A proof was handed in, for a job that is current; its bytes in hexadecimal.
    Proof { job: u64, bytes: String },
    /// Proofs were handed in for a job that is no longer current, or that never was.
    Late { stale: u64, unknown: u64 },
    /// The time of looking for proofs under the last job is over: hashes that were reported in it, and the work that a proof takes.
    Proved { hashes: u64, work: f64, took_ms: u64, longest_silence_ms: u64, reports: u64 },
    /// What became of a call of `stats`.
    Stats { error: Option<String>, took_ms: u64 },
    /// Hashes that were reported while no job was current, so long after the last was withdrawn.
    Idle { hashes: u64, rate: f64 },
    /// Proofs that were handed in for a job of a version that is not declared.
    Undeclared { proofs: u64 },
    /// Threads before `start` and after `stop`.
    Threads { before: usize, after: usize, names: Vec<String> },
    /// References to the host that are held after `stop`.
    Held(usize),
    /// Whether it mined after it was started again.
    Again { took: bool, hashes: u64, proofs: u64 },
    /// What `start` said to strange settings.
    Settings { given: String, error: Option<Refusal>, running: bool },
    /// Lines that it logged, so long after the first; and some of them.
    Logged { lines: u64, most_a_second: u64, some: Vec<String> },
    /// All is done.
    Finished,
}

/// A refusal of `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// It said so, and did not panic or break the contract.
    pub in_order: bool,
    /// Its words.
    pub reason: String,
}
