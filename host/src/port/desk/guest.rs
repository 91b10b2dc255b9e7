//! One connection, as the desk knows it: what came of it, what it waits for, and whether it is to be read from.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::miner::gate::Gate;
use crate::port::lines::Lines;
use crate::port::wire::{Dialect, SeatId};
use crate::work::miner_rpc::LINE_BYTES_MAX;
use crate::work::stratum::Encoding;

/// Lines a second that one connection is served, and the burst before that.
const LINES: (u32, u32) = (100, 400);
/// Lines that a senseless one counts for.
const RUBBISH: u32 = 20;
/// Bytes that may wait to be written to somebody who does not read, before he is not read from any more.
const UNSENT_MAX: usize = 64 << 10;
/// Questions for a job of one connection that may wait.
const PARKED_MAX: usize = 8;
/// Senseless lines after which somebody who has said nothing sensible is sent away.
const STRANGE_MAX: u32 = 16;

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Over a Unix socket.
    pub unix: bool,
    /// Through a door that asks for the password.
    pub guarded: bool,
    /// `unix`, or its address without the port.
    pub address: String,
    /// Its process, where the socket tells.
    pub pid: Option<u32>,
}

/// How a verdict is to be answered.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// To a request of the miner RPC, under its id.
    Rpc(Value),
    /// To a share of the pool dialect, under its id as JSON text.
    Pool(String),
}

/// How a proof says which job it is for.
#[derive(Clone, Copy, Debug)]
pub enum Named {
    /// By the number that the port gave it.
    Number(u64),
    /// By its header, and the target that was told with it.
    Header([u8; 76], f64),
}

/// A proof that waits: for room, or for the supervisor to say which jobs its program knows.
#[derive(Debug)]
pub struct Waiting {
    /// Whose.
    pub seat: SeatId,
    /// Its job.
    pub job: Named,
    /// Its bytes.
    pub proof: Vec<u8>,
    /// How to answer it.
    pub reply: Reply,
}

/// One connection.
#[derive(Debug)]
pub struct Guest {
    /// Where it comes from.
    pub peer: Peer,
    /// What has come and was not heeded yet.
    pub lines: Lines,
    /// Its language, once it has said something sensible.
    pub speaks: Option<Dialect>,
    /// Its seat.
    pub seat: Option<SeatId>,
    /// The program's name, where it gave one before it had a seat.
    pub agent: String,
    /// How its proofs travel.
    pub encoding: Encoding,
    /// Questions for a job, and until when they wait.
    pub parked: Vec<(Value, Instant)>,
    /// A proof that waits.
    pub waiting: Option<Waiting>,
    /// Bytes that wait to be written.
    pub unsent: usize,
    /// It was not told of the newest job, because it does not read.
    pub behind: bool,
    /// The target it was told last.
    pub target: Option<[u8; 32]>,
    /// Since when it is here.
    pub since: Instant,
    gate: Gate,
    strange: u32,
    slowed_at: Option<Instant>,
}

impl Guest {
    /// Somebody new.
    pub fn new(peer: Peer, now: Instant) -> Self {
        Self {
            peer,
            lines: Lines::new(LINE_BYTES_MAX),
            speaks: None,
            seat: None,
            agent: String::new(),
            encoding: Encoding::Plain,
            parked: Vec::new(),
            waiting: None,
            unsent: 0,
            behind: false,
            target: None,
            since: now,
            gate: Gate::new(LINES.0, LINES.1, now),
            strange: 0,
            slowed_at: None,
        }
    }

    /// Whether its next line may be heeded.
    pub fn is_ready(&mut self, now: Instant) -> bool {
        self.waiting.is_none()
            && self.unsent <= UNSENT_MAX
            && self.parked.len() < PARKED_MAX
            && self.gate.wait(now).is_zero()
    }

    /// Whether it is slowed down for having said too much.
    pub fn is_slowed(&mut self, now: Instant) -> bool {
        !self.gate.wait(now).is_zero()
    }

    /// Whether that is to be told: once a second at most.
    pub fn slowed_is_news(&mut self, now: Instant) -> bool {
        let due = self.slowed_at.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1));
        if due {
            self.slowed_at = Some(now);
        }
        due
    }

    /// A line was heeded.
    pub fn heeded(&mut self, now: Instant) {
        self.gate.pass(now);
    }

    /// It was senseless; answers whether this is to be borne no longer.
    pub fn was_senseless(&mut self, now: Instant) -> bool {
        for _ in 1..RUBBISH {
            self.gate.pass(now);
        }
        self.strange += 1;
        self.speaks.is_none() && self.strange >= STRANGE_MAX
    }
}
