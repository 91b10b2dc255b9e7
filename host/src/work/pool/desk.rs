//! What the client of pools makes of what it sees: whom it talks to, what is mined, where each share is.
//!
//! The desk does no I/O and reads no clock. It holds the [`Life`] of the pools and the [`Conversation`]s that stand, is
//! told what happened and when, and answers with [`Action`]s in the order in which they are to be done:
//!
//! ```text
//! connected, line, written, closed, found, time --> Desk --> connect, send, close, tell, save, record
//!
//! connections:  main (is mined for) | probe (a better pool, looked at) | draining (waits for replies only)
//! ```
//!
//! A share is kept on disk as sent *before* its line is given to the connection, and the book is saved *before* the
//! share's file goes: so a process that is killed at any moment counts each share once, and sends none twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::book::Book;
use super::conversation::{Conversation, Said};
use super::ledger::{Dropped, Latencies, Ledger, Outcome};
use super::life::{Life, Step};
use super::numbers::Numbers;
use super::offer::Offer;
use super::pace::{Cadence, Limiter};
use super::settings::Pool;
use super::wire::{Closed, Times};
use crate::work::stratum::to_pool::Dialect;
use crate::work::{Condition, KeptProof, Origin, ProofId, ProofState, WorkEvent, WorkJob};

mod lines;
mod shares;
mod view;

pub use view::{PoolRow, PoolStatus, ShareTarget};

/// Time without a pool after which work is withdrawn: heat for nothing.
const PAUSE_AFTER: Duration = Duration::from_secs(60);
/// Between two jobs of one tip that are passed on: a pool that floods us costs the miners nothing.
const JOB_EVERY: Duration = Duration::from_millis(50);
/// How long an old connection may wait for its last replies.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long proofs of an earlier process wait for their pool to offer their job again.
const EARLIER_MAX: Duration = Duration::from_secs(600);
/// Rejected shares that are recorded.
pub const REJECTED_MAX: usize = 20;

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Make a connection to a pool.
    Connect {
        /// The connection's number from now on.
        connection: u64,
        /// Which pool.
        pool: usize,
    },
    /// Send a line.
    Send {
        /// On which connection.
        connection: u64,
        /// The line, without its newline.
        line: String,
        /// What to say when it is written.
        tag: Option<u64>,
    },
    /// Close a connection, or stop making it.
    Close {
        /// Which one.
        connection: u64,
    },
    /// Tell the session.
    Tell(WorkEvent),
    /// Write the book to disk.
    Save,
    /// Write a record of a rejected share.
    Record(Box<Rejected>),
}

/// A rejected share, with what is known of it (pool protocol section 7.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// The pool's address.
    pub pool: Arc<str>,
    /// The share's name.
    pub id: ProofId,
    /// The job.
    pub offer: Arc<Offer>,
    /// The outcome.
    pub outcome: Outcome,
    /// The pool's words.
    pub reply: String,
    /// The proof's bytes.
    pub proof: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Main,
    Probe,
    Draining { until: Instant },
}

#[derive(Debug)]
struct Connection {
    pool: usize,
    role: Role,
    conversation: Conversation,
    times: Option<Times>,
}

/// What is known of one pool.
#[derive(Debug)]
struct Seat {
    settings: Pool,
    /// The form of authorize that worked.
    locked: Option<Dialect>,
    next: Dialect,
    tried: BTreeMap<&'static str, (String, bool)>,
    redetected: bool,
    cadence: Cadence,
    limiter: Limiter,
    ledger: Ledger,
    latencies: Latencies,
    times: Option<Times>,
    /// When it was last said why a share is not sent.
    said_not_sent: Option<Instant>,
}

/// The state of the client.
#[derive(Debug)]
pub struct Desk {
    seats: Vec<Seat>,
    life: Life,
    connections: BTreeMap<u64, Connection>,
    numbers: Numbers,
    next_connection: u64,
    book: Book,
    /// Work of the shares that are under way.
    weights: BTreeMap<ProofId, f64>,
    earlier: Vec<KeptProof>,
    earlier_until: Instant,
    idle_since: Option<Instant>,
    withdrawn: bool,
    pending: Option<WorkJob>,
    told: Option<(Instant, [u8; 32])>,
    actions: VecDeque<Action>,
    began: Instant,
    requests: u64,
    reconnects: u64,
    said_barred: BTreeMap<usize, String>,
}

impl Desk {
    /// A client of `pools`, in the order of preference, that has done nothing yet.
    pub fn new(pools: Vec<Pool>, book: Book, seed: u64, now: Instant) -> Self {
        let life = Life::new(pools.len(), seed, now);
        let seats = pools
            .into_iter()
            .map(|settings| Seat {
                locked: settings.dialect,
                next: settings.dialect.unwrap_or(settings.profile.dialect),
                tried: BTreeMap::new(),
                redetected: false,
                cadence: Cadence::default(),
                limiter: Limiter::new(now),
                ledger: Ledger::default(),
                latencies: Latencies::default(),
                times: None,
                said_not_sent: None,
                settings,
            })
            .collect();
        let mut desk = Self {
            seats,
            life,
            connections: BTreeMap::new(),
            numbers: Numbers::default(),
            next_connection: 1,
            book,
            weights: BTreeMap::new(),
            earlier: Vec::new(),
            earlier_until: now + EARLIER_MAX,
            idle_since: Some(now),
            withdrawn: false,
            pending: None,
            told: None,
            actions: VecDeque::new(),
            began: now,
            requests: 0,
            reconnects: 0,
            said_barred: BTreeMap::new(),
        };
        for seat in 0..desk.seats.len() {
            let text = format!("pool {}: {}", seat + 1, desk.seats[seat].settings.pays());
            desk.note(text);
        }
        desk
    }

    /// Everything that is to be done now, oldest first.
    pub fn actions(&mut self, now: Instant) -> Vec<Action> {
        self.tick(now);
        if let Some(job) = &self.pending {
            let tip = job.prev_block();
            let due = self
                .told
                .is_none_or(|(at, told)| told != tip || now.saturating_duration_since(at) >= JOB_EVERY);
            if due && let Some(job) = self.pending.take() {
                self.told = Some((now, tip));
                self.withdrawn = false;
                self.actions.push_back(Action::Tell(WorkEvent::Job(job)));
            }
        }
        self.actions.drain(..).collect()
    }

    /// When [`Self::actions`] should be called again if nothing happens before.
    pub fn deadline(&self, now: Instant) -> Instant {
        // Conversations have many small times: a second is fine enough for all of them.
        let mut at = now + Duration::from_secs(1);
        if let Some(life) = self.life.deadline(now) {
            at = at.min(life);
        }
        if self.pending.is_some()
            && let Some((told, _)) = self.told
        {
            at = at.min(told + JOB_EVERY);
        }
        at.max(now + Duration::from_millis(1))
    }

    /// A connection stands.
    pub fn connected(&mut self, connection: u64, times: Times, now: Instant) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        self.seats[found.pool].times = Some(times.clone());
        found.times = Some(times);
        let mut out = Vec::new();
        found.conversation.connected(now, &mut self.numbers, &mut out);
        self.hear(connection, out, now);
    }

    /// A line came.
    pub fn line(&mut self, connection: u64, line: &str, now: Instant) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let mut out = Vec::new();
        found.conversation.line(line, now, &mut self.numbers, &mut out);
        self.hear(connection, out, now);
    }

    /// The line with this tag was written to its last byte.
    pub fn written(&mut self, connection: u64, tag: u64, now: Instant) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let mut out = Vec::new();
        found.conversation.written(tag, now, &mut self.numbers, &mut out);
        self.hear(connection, out, now);
    }

    /// A connection ended, or did not come about.
    pub fn closed(&mut self, connection: u64, why: Closed, now: Instant) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let mut out = Vec::new();
        match why {
            Closed::Lost(text) => found.conversation.closed(text, now, &mut out),
            Closed::Garbled(text) => found.conversation.garbled(text, &mut out),
            Closed::Untrusted(text) => found.conversation.hopeless(text, &mut out),
        }
        self.hear(connection, out, now);
    }

    /// The session ends. What waits stays on disk as long as its job may come back; what is in flight is unanswered.
    pub fn stop(&mut self, now: Instant) {
        let connections: Vec<u64> = self.connections.keys().copied().collect();
        for connection in connections {
            let mut out = Vec::new();
            if let Some(line) = self.connections.get_mut(&connection) {
                line.conversation.keep_queue();
                line.conversation.leave(&mut out);
            }
            self.hear(connection, out, now);
        }
    }

    /// What is left to be done after [`Self::stop`], without looking at the time.
    pub fn last_actions(&mut self) -> Vec<Action> {
        self.actions.drain(..).collect()
    }

    /// Requests sent, and connections made anew.
    pub fn counts(&self) -> (u64, u64) {
        (self.requests, self.reconnects)
    }

    /// Shares in flight on any connection.
    pub fn flying(&self) -> usize {
        self.connections.values().map(|line| line.conversation.flying()).sum()
    }

    fn tick(&mut self, now: Instant) {
        let connections: Vec<u64> = self.connections.keys().copied().collect();
        for connection in connections {
            let mut out = Vec::new();
            if let Some(line) = self.connections.get_mut(&connection) {
                let patience = self.seats[line.pool].cadence.patience();
                line.conversation.tick(now, patience, &mut self.numbers, &mut out);
            }
            self.hear(connection, out, now);
            let over = self.connections.get(&connection).is_some_and(|line| match line.role {
                Role::Draining { until } => now >= until || line.conversation.flying() == 0,
                _ => false,
            });
            if over {
                self.leave(connection, now);
            }
        }
        while let Some(step) = self.life.step(now) {
            self.take(step, now);
        }
        self.tick_earlier(now);
        let idle = self.idle_since.is_some_and(|since| now.saturating_duration_since(since) >= PAUSE_AFTER);
        if idle && !self.withdrawn {
            self.withdrawn = true;
            self.pending = None;
            let reason = "no pool takes shares: mining pauses until one does";
            self.actions.push_back(Action::Tell(WorkEvent::NoJob { reason: reason.to_owned() }));
        }
    }

    fn take(&mut self, step: Step, now: Instant) {
        match step {
            Step::Connect(pool) => self.connect(pool, Role::Main, now),
            Step::Probe(pool) => self.connect(pool, Role::Probe, now),
            Step::Abandon => {
                if let Some(connection) = self.with_role(Role::Main) {
                    self.leave(connection, now);
                }
            }
            Step::Switch => self.switch(now),
        }
    }

    /// What a conversation said.
    fn hear(&mut self, connection: u64, out: Vec<Said>, now: Instant) {
        let Some((pool, role)) = self.connections.get(&connection).map(|line| (line.pool, line.role)) else {
            return;
        };
        for said in out {
            match said {
                Said::Send { line, tag } => {
                    self.requests += 1;
                    self.actions.push_back(Action::Send { connection, line, tag });
                }
                Said::Authorized => self.authorized(connection, pool),
                Said::Job { offer, keeps_earlier } => {
                    self.job(connection, pool, role, &offer, keeps_earlier, now)
                }
                Said::Sent { proof, offer: _ } => {
                    let work = self.weight(&proof.id);
                    self.count(pool, |ledger| ledger.sent(work));
                    if proof.found.block {
                        self.count(pool, Ledger::block_candidate);
                        self.note(format!(
                            "share {} meets the network's own target, too: a block candidate, which the pool sees by itself",
                            proof.id
                        ));
                    }
                    self.tell_proof(proof.id, ProofState::HandedOver { attempt: 1 });
                }
                Said::Dropped { proof, why } => {
                    if why == Dropped::TooLarge {
                        self.note(shares::too_large(&proof));
                    }
                    self.dropped(pool, proof.id, why, now);
                }
                Said::Settled(settled) => self.settled(pool, *settled),
                Said::Corrected { share, was, is, verdict } => {
                    let work = share.offer.work();
                    self.count(pool, |ledger| ledger.corrected(was, is, work));
                    self.actions.push_back(Action::Save);
                    let text =
                        format!("the pool changed its mind on share {}: {}", share.id, verdict.words());
                    self.note(text);
                    self.tell_proof(share.id, shares::state_of(is, &verdict.words()));
                }
                Said::Note(text) => self.note(format!("{}: {text}", self.seats[pool].settings.address)),
                Said::Over(end) => {
                    self.connections.remove(&connection);
                    self.actions.push_back(Action::Close { connection });
                    self.ended(connection, pool, role, end, now);
                }
            }
        }
    }

    fn job(
        &mut self,
        connection: u64,
        pool: usize,
        role: Role,
        offer: &Arc<Offer>,
        keeps: bool,
        now: Instant,
    ) {
        self.seats[pool].cadence.job(now);
        match role {
            Role::Probe => self.life.probe_works(now),
            Role::Draining { .. } => {}
            Role::Main => {
                if self.life.working_since().is_none() {
                    self.life.works(now);
                    self.said_barred.clear();
                    let text = format!("mining for pool {}: {}", pool + 1, self.seats[pool].settings.address);
                    self.note(text);
                }
                self.idle_since = None;
                self.offer(connection, offer, keeps);
                self.adopt(connection, pool, offer, now);
            }
        }
    }

    fn offer(&mut self, connection: u64, offer: &Arc<Offer>, keeps: bool) {
        let Some(line) = self.connections.get(&connection) else { return };
        let keeps_earlier = keeps && self.pending.as_ref().is_none_or(|pending| pending.keeps_earlier);
        self.pending = Some(WorkJob {
            header: *offer.header.as_bytes(),
            target: offer.target.to_le_bytes(),
            certificate_version: offer.certificate_version,
            rank_penalty: true,
            height: offer.height,
            received: offer.received,
            origin: Some(Origin {
                pool: Arc::clone(&self.seats[line.pool].settings.address),
                connection,
                serial: offer.serial,
                job_id: Arc::clone(&offer.job_id),
            }),
            keeps_earlier,
        });
    }

    /// A line for the log.
    pub fn note(&mut self, text: String) {
        self.actions.push_back(Action::Tell(WorkEvent::Note(text)));
    }

    /// The book, to be written to disk.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// How the client is doing.
    pub fn condition(&self) -> Condition {
        let Some(since) = self.idle_since else { return Condition::Healthy };
        let current = self.life.current();
        let error = self
            .life
            .last_failure(current)
            .map(|(text, _)| format!("{}: {text}", self.seats[current].settings.address));
        Condition::NoPool { since, error, paused: self.withdrawn }
    }
}

#[cfg(test)]
mod tests;
