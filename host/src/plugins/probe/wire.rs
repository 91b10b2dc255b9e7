//! What a probing child and its parent say to each other: one JSON value in each packet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::look::Identity;
use super::super::reason::Reason;
use super::limits::{ANSWER_BYTES_MAX, cut};

/// The largest packet in either direction, in bytes.
pub const PACKET_BYTES_MAX: usize = 160 * 1024;

/// What a child is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub nonce: String,
    /// The path's bytes, which need not be UTF-8.
    pub path: Vec<u8>,
    pub identity: Identity,
    pub id: String,
    pub engine_id: String,
    pub model: String,
    /// Whether it is asked about each device of the machine by itself as well.
    pub each_device: bool,
}

/// What a child is told about the plugin in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// It gets only what others leave of the processor.
    Lower,
    /// Its time is up.
    CutOff,
}

/// What a child that starts a process for each plugin says: of itself, or what that process said.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// The process of the plugin in flight.
    Started(i32),
    /// What that process said, if it is something that can be said.
    Said(Message),
    /// It said something else.
    Rubbish,
    /// It has ended, by itself or not.
    Ended { status: Option<i32>, signal: Option<i32>, memory_peak_bytes: u64 },
}

/// What is said of the plugin in flight.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    pub nonce: String,
    pub event: Event,
}

/// How far it has come.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    Loaded {
        after: Duration,
    },
    Answered {
        answer: Answer,
        after: Duration,
    },
    Failed {
        reason: FailedReason,
        after: Duration,
    },
    /// The answer for one device by itself, by its number among the machine's.
    OfDevice {
        unit: usize,
        answer: Result<Answer, FailedReason>,
    },
    Done {
        changes: Vec<String>,
        threads: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub supported: bool,
    pub reason: Option<String>,
    pub estimated_hashrate: Option<f64>,
}

/// A [`Reason`] on its way: its code is one of ours only once it has been compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailedReason {
    code: String,
    reason: String,
    fix: String,
}

impl From<Reason> for FailedReason {
    fn from(reason: Reason) -> Self {
        Self { code: reason.code.into(), reason: reason.reason, fix: reason.fix }
    }
}

/// The codes that a child may give.
const CHILD_CODES: [&str; 15] = [
    "changed",
    "missing-library",
    "undefined-symbol",
    "load-failed",
    "other-layout",
    "declined",
    "broken-door",
    "two-tables",
    "panicked",
    "broken-table",
    "not-created",
    "other-id",
    "bad-answer",
    "detect-failed",
    "no-answer",
];

impl From<FailedReason> for Reason {
    fn from(told: FailedReason) -> Self {
        let code = CHILD_CODES.iter().find(|code| **code == told.code).copied().unwrap_or("no-answer");
        Reason::new(code, cut(&told.reason, ANSWER_BYTES_MAX), cut(&told.fix, ANSWER_BYTES_MAX))
    }
}
