//! What a probing child and its parent say to each other: one JSON value in each packet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use crate::plugins::file_identity::Identity;

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
    /// The engines that it is asked about, one after the other, until it supports one; none where it serves none.
    pub engines: Vec<String>,
    pub model: String,
    /// Whether it is asked about each device of the machine by itself as well.
    pub each_device: bool,
}

/// What a child is told about the plugin in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
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
    /// What that process printed to its standard output (first) or error.
    Printed { first: bool, text: String, bytes_left_out: u64 },
    /// There is nothing to make such a process with; the system's error.
    Lack(i32),
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
        failure: Failure,
        after: Duration,
    },
    /// The answer for one device by itself, by its number among the machine's.
    OfDevice {
        unit: usize,
        answer: Result<Answer, Failure>,
    },
    Done {
        changes: Vec<Change>,
        threads: u32,
    },
}

/// Something that a plugin left behind. Codes alone: whoever shows them finds the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Exhausted,
    Signals,
    Umask,
    Folder,
    Environment,
    Locale,
    Priority,
    Processors,
    Rounding,
    Limits,
    Alarm,
    ClosedDescriptors,
    ReplacedDescriptors,
    LeftDescriptors(usize),
    Output,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub supported: bool,
    pub reason: Option<String>,
    pub estimated_hashrate: Option<f64>,
}
