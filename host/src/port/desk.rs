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

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use self::chair::{Chair, LINGER};
use self::guest::{Guest, Waiting};
pub use self::guest::{Peer, Reply};
use super::lines::Line;
use super::wire::{Dialect, FromPort, SeatId, Sitter, ToPort};
use super::{pool, rpc};
use crate::miner::frame::{FromProvider, PROOF_BYTES_MAX, Receipt, ToProvider};
use crate::text::foreign;
use crate::work::miner_rpc::{self, Asked, LINE_BYTES_MAX};
use crate::work::stratum::from_miner::{self, Credentials, Request, Share};
use crate::work::stratum::{Encoding, to_miner};

/// Connections at a time.
pub const GUESTS_MAX: usize = 64;
/// Seats at a time, those without a connection included.
const SEATS_MAX: usize = 128;
/// How long somebody may say nothing before he makes room for somebody else.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a question for a job waits for the first.
pub const FIRST_JOB: Duration = Duration::from_secs(600);
/// Bytes of proofs, of all seats, that may be with the supervisor.
const PROOF_BYTES_JUDGING_MAX: usize = 8 << 20;

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

    fn rpc_line(&mut self, id: GuestId, line: &str, now: Instant) {
        let request = match miner_rpc::read(line) {
            Ok(request) => request,
            Err(answer) => {
                if let Some(guest) = self.guests.get_mut(&id) {
                    guest.was_senseless(now);
                }
                return self.send(id, answer);
            }
        };
        let miner_rpc::Request { id: question, what } = request;
        let Some(guest) = self.guests.get(&id) else { return };
        if guest.peer.guarded {
            let why = "this address asks for a password, which the miner RPC has no word for";
            self.send(id, rpc::no_job(&question, why));
            return self.send_away(id, now);
        }
        let Some(seat) = guest.seat.or_else(|| self.sit_down(id, &what, now)) else {
            return self.send(id, rpc::no_job(&question, "too many programs are here already"));
        };
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        chair.heard(what == Asked::Job, now);
        match what {
            Asked::Job => {
                if let Some(guest) = self.guests.get_mut(&id) {
                    guest.parked.push((question, now + FIRST_JOB));
                }
                self.give_out(id);
            }
            Asked::Proof(submitted) => {
                let proof = submitted.proof;
                if proof.len() > PROOF_BYTES_MAX {
                    return self.send(id, rpc::too_large(&question, &about_proof(&proof)));
                }
                let job = chair.job_of(&submitted.header, submitted.target).unwrap_or(0);
                self.take_proof(id, Waiting { seat, job, proof, reply: Reply::Rpc(question) });
            }
        }
    }

    fn pool_line(&mut self, id: GuestId, line: &str, now: Instant) {
        let from_miner::FromMiner { id: question, what } = match from_miner::read(line) {
            Ok(request) => request,
            Err(err) => return self.senseless(id, &err.to_string(), now),
        };
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if let Some(chair) = guest.seat.and_then(|seat| self.chairs.get_mut(&seat)) {
            chair.heard(false, now);
        }
        match what {
            Request::Subscribe(agent) => {
                guest.agent = agent;
                self.send(id, to_miner::accept(&question));
            }
            Request::Authorize(login) => self.log_in(id, &question, &login, now),
            Request::Submit(share) => self.share(id, question, &share),
            Request::Ping => self.send(id, to_miner::answer(&question, "pong")),
            Request::Malformed(why) => {
                guest.was_senseless(now);
                self.send(id, to_miner::refuse(&question, pool::WRONG, &why));
            }
            Request::Other(method) => {
                let why = format!("unknown method {method}");
                self.send(id, to_miner::refuse(&question, pool::UNKNOWN, &why));
            }
        }
    }

    fn log_in(&mut self, id: GuestId, question: &str, login: &Credentials, now: Instant) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        // Hashes are compared in a time that says nothing of where they differ.
        if guest.peer.guarded && self.password != Some(blake3::hash(login.password.as_bytes())) {
            guest.was_senseless(now);
            let why = "Not authorized: the password of this port is wanted";
            self.send(id, to_miner::refuse(question, pool::STRANGER, why));
            return self.send_away(id, now);
        }
        if guest.seat.is_some() {
            return self.send(id, to_miner::accept(question));
        }
        // Who is paid is the host's business: of `wallet.worker` the name of the machine alone is looked at.
        let worker = match login.wallet.split_once(['.', '/']) {
            Some((_, rig)) if login.worker.is_empty() => rig,
            _ => &login.worker,
        };
        let agent = if login.agent.is_empty() { guest.agent.clone() } else { foreign(&login.agent) };
        let wanted = login.wants.as_deref().map(|word| Encoding::from_word(word).unwrap_or(Encoding::Plain));
        guest.encoding = wanted.unwrap_or(Encoding::Plain);
        let sitter = Sitter {
            dialect: Dialect::Pool,
            worker: foreign(worker),
            agent,
            address: guest.peer.address.clone(),
            pid: guest.peer.pid,
        };
        if self.take_seat(id, &sitter, now).is_none() {
            return self
                .send(id, to_miner::refuse(question, pool::WRONG, "too many programs are here already"));
        }
        self.send(id, to_miner::acknowledge(question, wanted.map(Encoding::word)));
    }

    fn share(&mut self, id: GuestId, question: String, share: &Share) {
        let Some(guest) = self.guests.get(&id) else { return };
        let Some(seat) = guest.seat else {
            return self.send(id, to_miner::refuse(&question, pool::STRANGER, "Not authorized"));
        };
        let encoding = match share.encoding.as_deref() {
            Some("gzip") => Encoding::Gzip,
            _ => guest.encoding,
        };
        let proof = match encoding.decode(&share.proof, PROOF_BYTES_MAX) {
            Ok(proof) => proof,
            Err(err) => {
                let about =
                    shape_of_text(&share.proof).map(|shape| format!(" ({shape})")).unwrap_or_default();
                let why = format!("Invalid proof: {err}{about}");
                return self.send(id, to_miner::refuse(&question, pool::WRONG, &why));
            }
        };
        let job = pool::job_number(&share.job_id);
        self.take_proof(id, Waiting { seat, job, proof, reply: Reply::Pool(question) });
    }

    // Proofs.

    fn take_proof(&mut self, id: GuestId, waiting: Waiting) {
        if let Some(why) = self.chairs.get(&waiting.seat).and_then(|chair| chair.bar.clone()) {
            return self.answer(id, &waiting.reply, Receipt::Refused, &format!("needs-update: {why}"));
        }
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.waiting = Some(waiting);
            self.hand_in(id);
        }
    }

    /// Hands in the proof that waits, if there is room for it.
    fn hand_in(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(waiting) = guest.waiting.take() else { return };
        let Some(chair) = self.chairs.get_mut(&waiting.seat) else { return };
        // One for no job is not looked at: it counts, and its bytes need not travel.
        let bytes = if waiting.job == 0 { 0 } else { waiting.proof.len() };
        let fits = self.judging == 0 || self.judging + bytes <= PROOF_BYTES_JUDGING_MAX;
        if !(fits && chair.has_room(bytes)) {
            guest.waiting = Some(waiting);
            return;
        }
        let Waiting { seat, job, mut proof, reply } = waiting;
        proof.truncate(bytes);
        self.judging += bytes;
        let sequence = chair.hands_in(id, reply, bytes);
        self.tell(FromPort::Said(seat, FromProvider::Submit { sequence, job, proof }));
    }

    fn judged(&mut self, seat: SeatId, sequence: u64, receipt: Receipt, reason: &str, now: Instant) {
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        let Some((guest, reply, bytes)) = chair.judged(sequence) else { return };
        self.judging -= bytes;
        self.answer(guest, &reply, receipt, reason);
        // Whoever waits longest for room is not known: those who come after the one that was just served have their turn.
        let others = self.guests.range(guest + 1..).chain(self.guests.range(..=guest));
        let waits: Vec<GuestId> =
            others.filter(|(_, guest)| guest.waiting.is_some()).map(|(id, _)| *id).collect();
        waits.into_iter().for_each(|id| self.serve(id, now));
    }

    fn answer(&mut self, id: GuestId, reply: &Reply, receipt: Receipt, reason: &str) {
        let line = match reply {
            Reply::Rpc(question) => rpc::verdict(question, receipt, reason),
            Reply::Pool(question) => pool::verdict(question, receipt, reason),
        };
        self.send(id, line);
    }

    // Seats and jobs.

    /// The seat of a connection whose first request is `what`.
    fn sit_down(&mut self, id: GuestId, what: &Asked, now: Instant) -> Option<SeatId> {
        let peer = self.guests.get(&id)?.peer.clone();
        let own = |chair: &Chair| {
            chair.dialect == Dialect::GatewayRpc
                && if peer.unix {
                    chair.pid == peer.pid && chair.address == peer.address
                } else {
                    chair.address == peer.address
                }
        };
        let mut own: Vec<(&SeatId, &Chair)> = self.chairs.iter().filter(|(_, chair)| own(chair)).collect();
        let found = match what {
            _ if peer.pid.is_some() => own.first(),
            // Whoever polls is a program of its own; whoever only hands in belongs to one of those who poll.
            Asked::Job => own.iter().find(|(_, chair)| chair.guests == 0),
            Asked::Proof(submitted) => {
                let knows = |chair: &Chair| chair.job_of(&submitted.header, submitted.target).is_some();
                own.sort_by_key(|(_, chair)| (knows(chair), chair.heard));
                own.last()
            }
        };
        if let Some(seat) = found.map(|(seat, _)| **seat) {
            self.join(id, seat);
            return Some(seat);
        }
        let Peer { address, pid, .. } = peer;
        let sitter = Sitter {
            dialect: Dialect::GatewayRpc,
            worker: String::new(),
            agent: String::new(),
            address,
            pid,
        };
        self.take_seat(id, &sitter, now)
    }

    fn take_seat(&mut self, id: GuestId, sitter: &Sitter, now: Instant) -> Option<SeatId> {
        if self.chairs.len() >= SEATS_MAX {
            return None;
        }
        self.last_seat += 1;
        let seat = self.last_seat;
        self.chairs.insert(seat, Chair::new(sitter.dialect, sitter.pid, sitter.address.clone(), now));
        let text = serde_json::to_string(sitter).expect("texts and numbers become JSON");
        self.tell(FromPort::Sat(seat, text));
        self.join(id, seat);
        Some(seat)
    }

    fn join(&mut self, id: GuestId, seat: SeatId) {
        let (Some(guest), Some(chair)) = (self.guests.get_mut(&id), self.chairs.get_mut(&seat)) else {
            return;
        };
        guest.seat = Some(seat);
        chair.guests += 1;
        chair.empty_since = None;
    }

    fn each_of(&self, seat: SeatId) -> Vec<GuestId> {
        self.guests.iter().filter(|(_, guest)| guest.seat == Some(seat)).map(|(id, _)| *id).collect()
    }

    /// Gives the seat's job to a connection: in answer to its questions, or unasked where that is the language's way.
    fn give_out(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(seat) = guest.seat else { return };
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        let mut lines = Vec::new();
        match (chair.dialect, &chair.bar, chair.job()) {
            (Dialect::GatewayRpc, Some(why), _) => {
                lines.extend(guest.parked.drain(..).map(|(question, _)| rpc::no_job(&question, why)));
            }
            (_, None, None) | (Dialect::Pool, Some(_), _) => return,
            (Dialect::GatewayRpc, None, Some(job)) => {
                let answer = |(question, _): (Value, Instant)| {
                    miner_rpc::mining_info(&question, &job.header, &job.target, job.certificate_version)
                };
                lines.extend(guest.parked.drain(..).map(answer));
            }
            (Dialect::Pool, None, Some(_)) if guest.unsent > 0 => {
                guest.behind = true;
                return;
            }
            (Dialect::Pool, None, Some(job)) => {
                let news = guest.target.replace(job.target) != Some(job.target);
                lines.extend(pool::job(job, news));
            }
        }
        let took = if lines.is_empty() || chair.bar.is_some() { None } else { chair.took() };
        lines.into_iter().for_each(|line| self.send(id, line));
        if let Some(job) = took {
            self.tell(FromPort::Said(seat, FromProvider::Took(job)));
        }
    }

    fn bar(&mut self, seat: SeatId, why: &str) {
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        chair.bar = Some(why.to_owned());
        let dialect = chair.dialect;
        for id in self.each_of(seat) {
            match dialect {
                Dialect::GatewayRpc => self.give_out(id),
                Dialect::Pool => self.send(id, pool::message(why)),
            }
        }
    }

    fn tell_stats(&mut self, seat: SeatId, now: Instant, unix: u64) {
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        let quiet = now.saturating_duration_since(chair.heard).as_secs();
        let stats = serde_json::json!({
            "connections": chair.guests,
            "requests": chair.requests,
            "polls_10s": chair.polls(now),
            "last_request_at": unix.saturating_sub(quiet),
        });
        self.tell(FromPort::Said(seat, FromProvider::Stats(stats.to_string())));
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

fn about_proof(proof: &[u8]) -> String {
    let shape = rpc::shape(proof).map(|shape| format!(": {shape}")).unwrap_or_default();
    format!("a proof of {} bytes, where {PROOF_BYTES_MAX} are taken{shape}", proof.len())
}

fn shape_of_text(text: &str) -> Option<String> {
    use base64::Engine as _;
    let start = text.get(..56)?;
    rpc::shape(&base64::engine::general_purpose::STANDARD.decode(start).ok()?)
}

#[cfg(test)]
mod tests;
