//! What the port process does: bytes of strangers and frames of the supervisor in, bytes and frames out.
//!
//! ```text
//! bytes --lines--> which dialect? --first request--> seat --Sat--> supervisor
//!                                 --getMiningInfo--> the seat's job, or it waits for one
//!                                 --proof----------> room? --Submit--> supervisor --Receipt--> the verdict as answer
//! ```
//!
//! Nothing here reads, writes or asks what time it is. Who sends too much, reads too little or hands in more than can be
//! judged is not read from for a while, himself alone; what waits is bounded for each connection, each seat and in all.
//! A program of the gateway's language is never disconnected, and asks for its first job as long as [`FIRST_JOB`].

mod chair;
mod guest;
mod proofs;
mod seats;
mod talk;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use self::chair::{Chair, LINGER};
use self::guest::Guest;
pub use self::guest::{Peer, Reply};
use super::lines::Line;
use super::wire::{Dialect, FromPort, SeatId, ToPort};
use super::{pool, rpc};
use crate::miner::frame::{FromProvider, ToProvider};
use crate::work::miner_rpc::{self, LINE_BYTES_MAX};
use crate::work::stratum::to_miner;

/// Connections at a time.
pub const GUESTS_MAX: usize = 64;
/// How long somebody may say nothing before he makes room for somebody else.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a question for a job waits for the first.
pub const FIRST_JOB: Duration = Duration::from_secs(600);

/// Number of a connection.
pub type GuestId = u64;

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Act {
    /// Send a line, without its newline.
    Send(GuestId, String),
    /// Close the connection once what waits is written.
    Close(GuestId),
    /// Tell the supervisor.
    Tell(FromPort),
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    password: Option<blake3::Hash>,
    guests: BTreeMap<GuestId, Guest>,
    chairs: BTreeMap<SeatId, Chair>,
    last_seat: SeatId,
    /// Bytes of proofs that are with the supervisor.
    judging: usize,
    acts: VecDeque<Act>,
}

impl Desk {
    /// A desk that lets in, through guarded doors, those who know the password with this hash.
    pub fn new(password: Option<blake3::Hash>) -> Self {
        Self {
            password,
            guests: BTreeMap::new(),
            chairs: BTreeMap::new(),
            last_seat: 0,
            judging: 0,
            acts: VecDeque::new(),
        }
    }

    /// The next thing that is to be done.
    pub fn act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Whether somebody new may come in.
    pub fn has_room(&self, now: Instant) -> bool {
        self.guests.len() < GUESTS_MAX || self.silent(now).is_some()
    }

    /// Who has been silent for longest, of those who may be sent away for it.
    fn silent(&self, now: Instant) -> Option<GuestId> {
        let silent = self.guests.iter().filter(|(_, guest)| {
            guest.speaks.is_none() && now.saturating_duration_since(guest.since) >= SILENCE
        });
        silent.min_by_key(|(_, guest)| guest.since).map(|(id, _)| *id)
    }

    /// Somebody has come in.
    pub fn opened(&mut self, id: GuestId, peer: Peer, now: Instant) {
        if self.guests.len() >= GUESTS_MAX
            && let Some(silent) = self.silent(now)
        {
            self.send_away(silent, now);
        }
        self.guests.insert(id, Guest::new(peer, now));
    }

    /// Whether a connection is to be read from.
    pub fn wants(&mut self, id: GuestId, now: Instant) -> bool {
        self.guests
            .get_mut(&id)
            .is_some_and(|guest| guest.is_ready(now) && guest.lines.kept() <= LINE_BYTES_MAX + (128 << 10))
    }

    /// Whether somebody is slowed down, so that it is worth looking again soon.
    pub fn holds_somebody_up(&mut self, now: Instant) -> bool {
        self.guests.values_mut().any(|guest| guest.is_slowed(now))
    }

    /// Bytes came.
    pub fn bytes(&mut self, id: GuestId, bytes: &[u8], now: Instant) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.lines.feed(bytes);
            self.serve(id, now);
        }
    }

    /// So many bytes wait to be written to a connection.
    pub fn unsent(&mut self, id: GuestId, bytes: usize, now: Instant) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let was_full = guest.unsent > 0;
        guest.unsent = bytes;
        if bytes == 0 && was_full {
            if std::mem::take(&mut guest.behind) {
                self.give_out(id);
            }
            self.serve(id, now);
        }
    }

    /// A connection has ended.
    pub fn closed(&mut self, id: GuestId, now: Instant) {
        let Some(guest) = self.guests.remove(&id) else { return };
        let Some(seat) = guest.seat else { return };
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        chair.guests -= 1;
        if chair.guests > 0 {
            return;
        }
        chair.empty_since = Some(now);
        if chair.dialect == Dialect::Pool {
            self.clear_away(seat);
        }
    }

    /// The time is `now`.
    pub fn tick(&mut self, now: Instant) {
        let ids: Vec<GuestId> = self.guests.keys().copied().collect();
        for id in ids {
            if let Some(guest) = self.guests.get_mut(&id) {
                let (over, waits) = guest.parked.drain(..).partition(|(_, until)| *until <= now);
                guest.parked = waits;
                let over: Vec<(Value, Instant)> = over;
                for (question, _) in over {
                    self.send(id, rpc::no_job(&question, "no work yet: the work source has given none out"));
                }
            }
            self.serve(id, now);
        }
        let left = |chair: &Chair| {
            chair.empty_since.is_some_and(|since| now.saturating_duration_since(since) >= LINGER)
        };
        let gone: Vec<SeatId> =
            self.chairs.iter().filter(|(_, chair)| left(chair)).map(|(seat, _)| *seat).collect();
        gone.into_iter().for_each(|seat| self.clear_away(seat));
    }

    /// The supervisor says something. `unix` is the wall clock, in seconds.
    pub fn frame(&mut self, frame: ToPort, now: Instant, unix: u64) {
        match frame {
            ToPort::Hello { .. } | ToPort::Open(_) => {}
            ToPort::Close(seat) => self.dismiss(seat, now),
            ToPort::Bar(seat, why) => self.bar(seat, &why),
            ToPort::Earlier(seat, job) => {
                if let Some(chair) = self.chairs.get_mut(&seat) {
                    chair.put_earlier(job);
                }
            }
            ToPort::Seated(seat) => self.seated(seat, now),
            ToPort::Tell(seat, ToProvider::Job(job)) => {
                if let Some(chair) = self.chairs.get_mut(&seat) {
                    chair.put(job);
                    self.each_of(seat).into_iter().for_each(|id| self.give_out(id));
                }
            }
            ToPort::Tell(seat, ToProvider::Receipt { sequence, receipt, reason }) => {
                self.judged(seat, sequence, receipt, &reason, now);
            }
            ToPort::Tell(seat, ToProvider::AskStats) => self.tell_stats(seat, now, unix),
            ToPort::Tell(seat, ToProvider::Stop) => {
                self.tell(FromPort::Said(seat, FromProvider::Stopped(String::new())));
                self.dismiss(seat, now);
            }
            // What was given out last goes on being given out, as a gateway does; what comes of it is late.
            ToPort::Tell(_, ToProvider::Stale(_) | ToProvider::Hello { .. } | ToProvider::Start(_)) => {}
        }
    }

    // What connections say.

    /// Heeds what has come over a connection, as far as it may be.
    fn serve(&mut self, id: GuestId, now: Instant) {
        self.hand_in(id);
        loop {
            let Some(guest) = self.guests.get_mut(&id) else { return };
            if !guest.is_ready(now) {
                let slowed = guest.is_slowed(now) && guest.lines.kept() > 0;
                if let Some(seat) = guest.seat.filter(|_| slowed)
                    && guest.slowed_is_news(now)
                {
                    self.tell(FromPort::Throttled(seat));
                }
                return;
            }
            let Some(line) = guest.lines.take() else { return };
            guest.heeded(now);
            match line {
                Line::Text(line) if line.trim().is_empty() => {}
                Line::Text(line) => self.line(id, &line, now),
                Line::NotText => self.senseless(id, "a line that is not UTF-8", now),
                Line::TooLong(head) => {
                    let about = rpc::about_line(&head, LINE_BYTES_MAX);
                    self.senseless(id, &about, now);
                }
            }
        }
    }

    fn line(&mut self, id: GuestId, line: &str, now: Instant) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.speaks.is_none() {
            guest.speaks = dialect(line);
        }
        match guest.speaks {
            None => self.senseless(id, "not a request", now),
            Some(Dialect::GatewayRpc) => self.rpc_line(id, line, now),
            Some(Dialect::Pool) => self.pool_line(id, line, now),
        }
    }

    /// Answers what no program of either language says.
    fn senseless(&mut self, id: GuestId, why: &str, now: Instant) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let enough = guest.was_senseless(now);
        let answer = match guest.speaks {
            Some(Dialect::Pool) => to_miner::refuse("null", pool::WRONG, why),
            _ if why == "not a request" => miner_rpc::error(&Value::Null, -32700, "Parse error", Some(why)),
            _ => rpc::too_large(&Value::Null, why),
        };
        self.send(id, answer);
        if enough {
            self.send_away(id, now);
        }
    }

    // Ends.

    /// Ends the connections of a seat, and the seat.
    fn dismiss(&mut self, seat: SeatId, now: Instant) {
        for id in self.each_of(seat) {
            self.send_away(id, now);
        }
        self.clear_away(seat);
    }

    fn send_away(&mut self, id: GuestId, now: Instant) {
        self.acts.push_back(Act::Close(id));
        self.closed(id, now);
    }

    fn clear_away(&mut self, seat: SeatId) {
        if let Some(chair) = self.chairs.remove(&seat) {
            // What is judged after this is nobody's any more, and holds nobody up.
            self.judging -= chair.bytes();
            self.tell(FromPort::Left(seat));
        }
    }

    fn send(&mut self, id: GuestId, line: String) {
        if self.guests.contains_key(&id) {
            self.acts.push_back(Act::Send(id, line));
        }
    }

    fn tell(&mut self, frame: FromPort) {
        self.acts.push_back(Act::Tell(frame));
    }
}

/// The language of a line: the pool dialect's methods have a prefix of their own.
fn dialect(line: &str) -> Option<Dialect> {
    #[derive(Deserialize)]
    struct Method {
        method: Option<String>,
        jsonrpc: Option<Value>,
    }
    let Method { method, jsonrpc } = serde_json::from_str(line).ok()?;
    match method {
        Some(method) if method.starts_with("mining.") => Some(Dialect::Pool),
        Some(_) if jsonrpc.is_some() => Some(Dialect::GatewayRpc),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
