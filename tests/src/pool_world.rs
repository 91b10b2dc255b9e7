//! A client of pools, pools and the lines between them, played on a clock of the test's own: hours in seconds, and the same
//! hours again for the same seed.
//!
//! The client is the real [`Desk`], a pool the reference pool's real rules ([`Core`]); what is played are sockets, time,
//! the network that moves on, a miner, and the verifier's verdict. A [`Weather`] says what goes wrong on the way, and may be
//! changed at any moment.
//!
//! ```text
//! miner --share--> Desk --line--> [bandwidth, latency, jitter, loss] --> Core --reply--> [the same] --> Desk
//!                    ^                                                     ^
//!                    +---------------- one clock, one queue ---------------+
//! ```
//!
//! Every share is followed by its number: [`World::judge`] compares, share by share, what the client says of it with what
//! its pool said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::Header;
use pearlbed::config::PoolUrl;
use pearlbed::work::devnet::pool::core::{Act, Candidate, Checked, Core, Settings, Task};
use pearlbed::work::pool::book::Book;
use pearlbed::work::pool::desk::{Action, Desk};
use pearlbed::work::pool::ledger::Ledger;
use pearlbed::work::pool::wire::{Closed, Times};
use pearlbed::work::{FoundProof, KeptProof, Pool, ProofId, ProofState, WorkEvent, WorkJob};
use serde_json::Value;

mod judge;
mod weather;

pub use judge::Outcomes;
use judge::Share;
pub use weather::{Dice, Weather};

/// Who is paid.
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// One pool.
#[derive(Debug)]
struct Side {
    core: Core,
    weather: Weather,
    closed: bool,
    hole: bool,
    /// Whether a closing time and a hole are planned already.
    planned: (bool, bool),
}

/// One connection.
#[derive(Debug)]
struct Link {
    pool: usize,
    /// When the way up has carried what it was given.
    up_free: Instant,
    /// When the last line up, and down, arrives.
    arrives: [Instant; 2],
    open: bool,
    /// Jobs that the pool issued on it, as JSON text.
    issued: BTreeSet<String>,
    /// Which share a request carries.
    asked: BTreeMap<u64, u64>,
}

#[derive(Debug)]
enum Event {
    Connected(u64),
    Refused(u64),
    Written(u64, u64),
    ToPool(u64, String),
    ToClient(u64, String),
    /// The client learns that the connection is gone.
    Gone(u64),
    /// The pool learns it.
    Left(u64),
    Verified(usize, Box<Candidate>, String),
    Share,
    Tip,
    Refresh,
    Close(usize),
    Open(usize),
    Hole(usize),
    Fair(usize),
}

/// Client, pools, miner and time.
#[derive(Debug)]
pub struct World {
    /// The time.
    pub now: Instant,
    /// Connections that the client wanted.
    pub connects: u64,
    /// Lines for the log.
    pub notes: Vec<String>,
    /// Pauses of mining.
    pub pauses: u32,
    /// Time without any job to work on.
    pub idle: Duration,
    desk: Desk,
    dice: Dice,
    sides: Vec<Side>,
    links: BTreeMap<u64, Link>,
    queue: BTreeMap<(Instant, u64), Event>,
    order: u64,
    work: Option<WorkJob>,
    before: Option<WorkJob>,
    share_every: Option<Duration>,
    proof_bytes: usize,
    numbers: BTreeMap<ProofId, u64>,
    shares: BTreeMap<u64, Share>,
    tip: u32,
    time: u32,
    wrong: Vec<String>,
}

impl World {
    /// A client of as many pools as there are weathers, in this order of preference; its miner finds a share every
    /// `share_every` on average, of `proof_bytes`.
    pub fn new(seed: u64, weathers: Vec<Weather>, share_every: Duration, proof_bytes: usize) -> Self {
        let now = Instant::now();
        let pools = (1..=weathers.len())
            .map(|number| {
                let url = PoolUrl::parse(&format!("stratum+tcp://pool{number}.example:3333"));
                Pool::new(url.expect("it is written right"), WALLET, "rig1")
            })
            .collect();
        let sides = weathers.into_iter().map(|weather| {
            let settings = Settings { difficulty: Some(1.0), ..Settings::default() };
            Side { core: Core::new(settings), weather, closed: false, hole: false, planned: (false, false) }
        });
        let mut world = Self {
            now,
            connects: 0,
            notes: Vec::new(),
            pauses: 0,
            idle: Duration::ZERO,
            desk: Desk::new(pools, Book::default(), seed, now),
            dice: Dice::new(seed),
            sides: sides.collect(),
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            work: None,
            before: None,
            share_every: Some(share_every),
            proof_bytes: proof_bytes.max(8),
            numbers: BTreeMap::new(),
            shares: BTreeMap::new(),
            tip: 0,
            time: 0,
            wrong: Vec::new(),
        };
        world.after(share_every, Event::Share);
        world.happen(Event::Tip);
        world
    }

    /// Lets the time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.act();
        loop {
            self.plan();
            let next = self.queue.first_key_value().map_or(end, |((at, _), _)| *at);
            let next = next.min(self.desk.deadline(self.now)).min(end).max(self.now);
            if self.work.is_none() {
                self.idle += next - self.now;
            }
            self.now = next;
            while let Some(((at, _), _)) = self.queue.first_key_value()
                && *at <= self.now
                && let Some((_, event)) = self.queue.pop_first()
            {
                self.happen(event);
                self.act();
            }
            self.act();
            if self.now >= end {
                return;
            }
        }
    }

    /// From now on nothing goes wrong and nothing is found; what is under way arrives.
    pub fn calm(&mut self) {
        self.share_every = None;
        for pool in 0..self.sides.len() {
            self.weather(pool, Weather { latency: Duration::from_millis(20), ..Weather::default() });
            (self.sides[pool].closed, self.sides[pool].hole) = (false, false);
        }
        self.pass(Duration::from_secs(120));
    }

    /// Changes what goes wrong with a pool.
    pub fn weather(&mut self, pool: usize, weather: Weather) {
        self.sides[pool].weather = weather;
    }

    /// The pool that is mined for.
    pub fn current(&self) -> Option<usize> {
        self.desk.status(self.now).current
    }

    /// The client's ledger.
    pub fn ledger(&self) -> Ledger {
        self.desk.status(self.now).ledger
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.at(self.now + time, event);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    /// Draws the next closing time and the next hole of every pool.
    fn plan(&mut self) {
        for pool in 0..self.sides.len() {
            let (closes, holes) = (self.sides[pool].weather.maintenance, self.sides[pool].weather.hole);
            if let (Some((_, every)), false) = (closes, self.sides[pool].planned.0) {
                self.sides[pool].planned.0 = true;
                let wait = self.dice.wait(every);
                self.after(wait, Event::Close(pool));
            }
            if let (Some((_, every)), false) = (holes, self.sides[pool].planned.1) {
                self.sides[pool].planned.1 = true;
                let wait = self.dice.wait(every);
                self.after(wait, Event::Hole(pool));
            }
        }
    }

    fn way(&mut self, pool: usize) -> Duration {
        let weather = &self.sides[pool].weather;
        weather.latency + weather.jitter.mul_f64(self.dice.unit())
    }

    /// What the client wants done, until it wants nothing.
    fn act(&mut self) {
        for _ in 0..1000 {
            let actions = self.desk.actions(self.now);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action);
            }
        }
        self.wrong.push("the client never rests".to_owned());
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Connect { connection, pool } => {
                self.connects += 1;
                let link = Link {
                    pool,
                    up_free: self.now,
                    arrives: [self.now; 2],
                    open: false,
                    issued: BTreeSet::new(),
                    asked: BTreeMap::new(),
                };
                self.links.insert(connection, link);
                let way = self.way(pool) * 2;
                match (self.sides[pool].closed, self.sides[pool].hole) {
                    (_, true) => {}
                    (true, _) => self.after(way, Event::Refused(connection)),
                    _ => self.after(way, Event::Connected(connection)),
                }
            }
            Action::Send { connection, line, tag } => self.send(connection, line, tag),
            Action::Close { connection } => {
                if let Some(link) = self.links.get_mut(&connection) {
                    link.open = false;
                    let pool = link.pool;
                    let way = self.way(pool);
                    self.after(way, Event::Left(connection));
                }
            }
            Action::Tell(WorkEvent::Job(job)) => {
                self.before = self.work.take().filter(|_| job.keeps_earlier);
                self.work = Some(job);
            }
            Action::Tell(WorkEvent::NoJob { .. }) => {
                self.pauses += 1;
                (self.work, self.before) = (None, None);
            }
            Action::Tell(WorkEvent::Proof { id, state }) => {
                let Some(share) = self.numbers.get(&id).and_then(|number| self.shares.get_mut(number)) else {
                    return self.wrong.push(format!("{id} is nobody's"));
                };
                share.sent |= matches!(state, ProofState::HandedOver { .. });
                share.state = Some(state);
                let ledger = self.ledger();
                if !ledger.adds_up() {
                    self.wrong.push(format!("does not add up: {ledger:?}"));
                }
            }
            Action::Tell(WorkEvent::Note(note)) => self.notes.push(note),
            Action::Tell(WorkEvent::Condition(_)) | Action::Save | Action::Record(_) => {}
        }
    }

    fn send(&mut self, connection: u64, line: String, tag: Option<u64>) {
        let Some(pool) = self.links.get(&connection).map(|link| link.pool) else { return };
        let way = self.way(pool);
        let carries = self.sides[pool]
            .weather
            .bandwidth
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(line.len() as f64 / rate));
        let hole = self.sides[pool].hole;
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.up_free = link.up_free.max(self.now) + carries;
        let written = link.up_free;
        link.arrives[0] = link.arrives[0].max(written + way);
        let arrives = link.arrives[0];
        if hole {
            // The kernel takes some, and nobody confirms it.
            return;
        }
        if let Some(tag) = tag {
            self.at(written, Event::Written(connection, tag));
        }
        self.at(arrives, Event::ToPool(connection, line));
    }

    /// The pool's lines go out.
    fn flush(&mut self, pool: usize) {
        for act in self.sides[pool].core.acts() {
            match act {
                Act::Send { session, line } => self.answer(session, line),
                Act::Verify(candidate) => {
                    let worker = self.sides[pool].core.worker(candidate.session).unwrap_or_default();
                    let takes = Duration::from_millis(5).mul_f64(1.0 + 9.0 * self.dice.unit());
                    self.after(takes, Event::Verified(pool, candidate, worker));
                }
                Act::Tell(_) | Act::Rate(_) => {}
            }
        }
    }

    fn answer(&mut self, connection: u64, line: String) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        let pool = link.pool;
        let message: Value = serde_json::from_str(&line).expect("the pool speaks JSON");
        if message["method"] == "mining.notify" {
            link.issued.insert(message["params"]["job_id"].to_string());
        }
        let mut copies = 1;
        if let Some(number) = message["id"].as_u64().and_then(|id| link.asked.get(&id)) {
            if let Some(share) = self.shares.get_mut(number) {
                share.credited = Some(message["result"] == true);
            }
            let weather = self.sides[pool].weather.clone();
            copies =
                if self.dice.falls(weather.mute) { 0 } else { 1 + u32::from(self.dice.falls(weather.twice)) };
        }
        for _ in 0..copies {
            let way = self.way(pool);
            let Some(link) = self.links.get_mut(&connection) else { return };
            link.arrives[1] = link.arrives[1].max(self.now + way);
            let arrives = link.arrives[1];
            self.at(arrives, Event::ToClient(connection, line.clone()));
        }
    }

    /// The connection breaks: the pool forgets it now, the client learns it later.
    fn reset(&mut self, connection: u64) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        let (pool, was_open) = (link.pool, std::mem::replace(&mut link.open, false));
        self.sides[pool].core.close(connection);
        if was_open {
            let way = self.way(pool);
            self.after(way, Event::Gone(connection));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connected(connection) => {
                let Some(link) = self.links.get_mut(&connection) else { return };
                if self.sides[link.pool].closed || self.sides[link.pool].hole {
                    return self.after(Duration::from_millis(1), Event::Refused(connection));
                }
                link.open = true;
                let pool = link.pool;
                self.sides[pool].core.open(connection, self.now);
                let times = Times {
                    tcp: Duration::from_millis(1),
                    tls: None,
                    security: "plain, unauthenticated".to_owned(),
                    peer: "127.0.0.1:1".to_owned(),
                };
                self.desk.connected(connection, times, self.now);
            }
            Event::Refused(connection) => {
                self.links.remove(&connection);
                self.desk.closed(connection, Closed::Lost("connection refused".to_owned()), self.now);
            }
            Event::Written(connection, tag) => self.desk.written(connection, tag, self.now),
            Event::ToPool(connection, line) => self.heed(connection, &line),
            Event::ToClient(connection, line) => {
                let Some(link) = self.links.get(&connection) else { return };
                if link.open && !self.sides[link.pool].hole {
                    self.desk.line(connection, &line, self.now);
                }
            }
            Event::Gone(connection) => {
                self.links.remove(&connection);
                self.desk.closed(connection, Closed::Lost("connection reset".to_owned()), self.now);
            }
            Event::Left(connection) => {
                if let Some(link) = self.links.remove(&connection) {
                    self.sides[link.pool].core.close(connection);
                }
            }
            Event::Verified(pool, candidate, worker) => {
                self.sides[pool].core.verified(
                    &candidate,
                    &worker,
                    Checked::Valid { block: false },
                    self.now,
                );
                self.remember(&candidate, pool);
                self.flush(pool);
            }
            Event::Share => self.share(),
            Event::Tip => {
                self.tip += 1;
                self.give_work();
                let wait = self.dice.wait(Duration::from_secs(151));
                self.after(wait, Event::Tip);
                self.after(Duration::from_secs(20), Event::Refresh);
            }
            Event::Refresh => {
                self.time += 1;
                self.give_work();
            }
            Event::Close(pool) => {
                self.sides[pool].closed = true;
                let of_pool: Vec<u64> =
                    self.links.iter().filter(|(_, link)| link.pool == pool).map(|(at, _)| *at).collect();
                for connection in of_pool {
                    self.reset(connection);
                }
                let time = self.sides[pool].weather.maintenance.map_or(Duration::ZERO, |(time, _)| time);
                self.after(time, Event::Open(pool));
            }
            Event::Open(pool) => {
                self.sides[pool].closed = false;
                self.sides[pool].planned.0 = false;
            }
            Event::Hole(pool) => {
                self.sides[pool].hole = true;
                let time = self.sides[pool].weather.hole.map_or(Duration::ZERO, |(time, _)| time);
                self.after(time, Event::Fair(pool));
            }
            Event::Fair(pool) => {
                self.sides[pool].hole = false;
                self.sides[pool].planned.1 = false;
            }
        }
    }

    /// A share that was verified after its connection had gone is credited, and nobody is told.
    fn remember(&mut self, candidate: &Candidate, pool: usize) {
        if self.sides[pool].core.is_in(candidate.session) {
            return;
        }
        let number = number_of(&candidate.proof);
        let tip = |header: &Header| header.as_bytes()[4..36].to_vec();
        let current = tip(&self.task().header) == tip(&candidate.job.task.header);
        if let Some(share) = number.and_then(|number| self.shares.get_mut(&number)) {
            share.credited = Some(current);
        }
    }

    fn heed(&mut self, connection: u64, line: &str) {
        let Some(link) = self.links.get(&connection) else { return };
        let pool = link.pool;
        if !link.open || self.sides[pool].hole {
            return;
        }
        let message: Value = serde_json::from_str(line).expect("the client speaks JSON");
        let is_share = message["method"] == "mining.submit";
        let weather = self.sides[pool].weather.clone();
        if is_share {
            if self.dice.falls(weather.reset) {
                return self.reset(connection);
            }
            let proof = message["params"]["plain_proof"].as_str().and_then(|text| BASE64.decode(text).ok());
            let number = proof.as_deref().and_then(number_of);
            let Some(number) = number.filter(|number| self.shares.contains_key(number)) else {
                return self.wrong.push(format!("a share that nobody found: {line}"));
            };
            let Some(link) = self.links.get_mut(&connection) else { return };
            if !link.issued.contains(&message["params"]["job_id"].to_string()) {
                self.wrong.push(format!("share {number} names a job that was never issued there"));
            }
            link.asked.insert(message["id"].as_u64().unwrap_or_default(), number);
            if let Some(share) = self.shares.get_mut(&number) {
                share.arrived += 1;
            }
        }
        self.sides[pool].core.line(connection, line, self.now);
        self.flush(pool);
        if is_share && self.dice.falls(weather.reset_after) {
            self.reset(connection);
        }
    }

    fn share(&mut self) {
        let Some(every) = self.share_every else { return };
        let wait = self.dice.wait(every);
        self.after(wait, Event::Share);
        let late = self.before.is_some() && self.dice.falls(0.1);
        let job = if late { self.before.clone() } else { self.work.clone() };
        let Some(job) = job else { return };
        let number = self.shares.len() as u64 + 1;
        let mut proof = vec![0; self.proof_bytes];
        proof[..8].copy_from_slice(&number.to_le_bytes());
        let found = FoundProof { job, proof, found: SystemTime::UNIX_EPOCH, block: false };
        let id = ProofId::of(&found);
        self.numbers.insert(id.clone(), number);
        self.shares.insert(number, Share::default());
        self.desk.found(KeptProof { id, found, handed_over: false }, self.now);
    }

    fn task(&self) -> Task {
        let mut tip = [1; 32];
        tip[..4].copy_from_slice(&self.tip.to_le_bytes());
        Task {
            header: Header::new(0x2000_0000, tip, [2; 32], 1_790_000_000 + self.time, 0x1a00_ffff),
            certificate_version: 3,
            height: Some(120_000 + u64::from(self.tip)),
        }
    }

    fn give_work(&mut self) {
        let task = self.task();
        for pool in 0..self.sides.len() {
            self.sides[pool].core.work(task.clone(), self.now);
            self.flush(pool);
        }
    }
}

/// The number that a played proof begins with.
fn number_of(proof: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*proof.first_chunk()?))
}
