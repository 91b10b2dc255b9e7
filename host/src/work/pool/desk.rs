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
use super::conversation::{Conversation, End, Manner, Numbers, Said, Settled};
use super::ledger::{Dropped, Latencies, Ledger, Outcome, StaleCause};
use super::life::{Failure, Life, Step};
use super::offer::Offer;
use super::pace::{Cadence, Limiter};
use super::settings::Pool;
use crate::work::stratum::to_pool::{Dialect, Login};
use crate::work::{Condition, KeptProof, Origin, ProofId, ProofState, WorkEvent, WorkJob};

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

/// How long it took to connect, and how it is secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the first attempt to the connection.
    pub tcp: Duration,
    /// The TLS handshake, where there is one.
    pub tls: Option<Duration>,
    /// How it is secured, in words: "TLS 1.3", "plain, unauthenticated".
    pub security: String,
    /// The address that answered.
    pub peer: String,
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
                settings,
            })
            .collect();
        let mut desk = Self {
            seats,
            life,
            connections: BTreeMap::new(),
            numbers: Numbers { request: 0, serial: 0 },
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
            let Pool { address, login, .. } = &desk.seats[seat].settings;
            let text = format!("pool {}: {address} pays {}", seat + 1, who(login));
            desk.note(text);
        }
        desk
    }

    /// Takes up what an earlier process left.
    pub fn take_up(&mut self, kept: KeptProof) {
        let weight = weight_of(&kept);
        let seat = self.seat_of(kept.found.job.origin.as_ref());
        if !kept.handed_over {
            self.earlier.push(kept);
            return;
        }
        let reason = if self.book.is_settled(&kept.id) {
            "the pool answered it before pearlbed ended".to_owned()
        } else {
            self.seats[seat].ledger.lost_with_the_process(weight);
            let address = Arc::clone(&self.seats[seat].settings.address);
            self.book.of(&address).lost_with_the_process(weight);
            self.settle_in_book(&kept.id);
            "it was sent, and pearlbed ended before the pool answered".to_owned()
        };
        self.tell_proof(kept.id, ProofState::Untraced { reason });
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

    /// A verified share.
    pub fn found(&mut self, kept: KeptProof, now: Instant) {
        let origin = kept.found.job.origin.clone();
        let seat = self.seat_of(origin.as_ref());
        let line = origin.as_ref().and_then(|origin| self.connections.get(&origin.connection));
        let serial = origin.as_ref().map_or(0, |origin| origin.serial);
        let work = line
            .and_then(|line| line.conversation.offer_of(serial))
            .map_or_else(|| weight_of(&kept), |offer| offer.work());
        let verdict = match (&origin, line) {
            (None, _) => Err(Dropped::UnknownJob),
            (Some(_), None) => Err(Dropped::ConnectionEnded),
            (Some(_), Some(line)) if line.conversation.is_draining() => Err(Dropped::ConnectionEnded),
            (Some(_), Some(line)) => line.conversation.fitness(serial).map(|_| ()),
        };
        self.weights.insert(kept.id.clone(), work);
        self.count(seat, |ledger| ledger.found(work));
        let verdict = verdict
            .and_then(|()| if self.seats[seat].limiter.pass(now) { Ok(()) } else { Err(Dropped::TooMany) });
        match (verdict, origin) {
            (Ok(()), Some(origin)) => {
                let mut out = Vec::new();
                if let Some(line) = self.connections.get_mut(&origin.connection) {
                    line.conversation.submit(kept, now, &mut self.numbers, &mut out);
                }
                self.hear(origin.connection, out, now);
            }
            (Err(why), _) => self.dropped(seat, kept.id, why),
            (Ok(()), None) => self.dropped(seat, kept.id, Dropped::UnknownJob),
        }
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

    fn connect(&mut self, pool: usize, role: Role, now: Instant) {
        let connection = self.next_connection;
        self.next_connection += 1;
        self.reconnects += u64::from(connection > 1);
        let seat = &self.seats[pool];
        let settings = &seat.settings;
        let manner = Manner {
            login: settings.login.clone(),
            dialect: seat.locked.unwrap_or(seat.next),
            detecting: seat.locked.is_none(),
            signature: settings.profile.signature,
            wants: settings.wants,
            names_encoding: settings.profile.names_encoding,
            pings: settings.pings,
            certificate_version: settings.certificate_version,
        };
        let conversation = Conversation::new(manner, now);
        self.connections.insert(connection, Connection { pool, role, conversation, times: None });
        self.actions.push_back(Action::Connect { connection, pool });
    }

    /// The probe becomes the main connection; the old one may still hear its last replies.
    fn switch(&mut self, now: Instant) {
        let old = self.with_role(Role::Main);
        let Some(new) = self.with_role(Role::Probe) else { return };
        if let Some(line) = self.connections.get_mut(&new) {
            line.role = Role::Main;
            let text = format!("back on pool {}: {}", line.pool + 1, self.seats[line.pool].settings.address);
            // The new job first: every moment on the old one is lost.
            self.offer_of(new);
            self.note(text);
        }
        if let Some(old) = old {
            let mut out = Vec::new();
            if let Some(line) = self.connections.get_mut(&old) {
                line.role = Role::Draining { until: now + DRAIN_MAX };
                line.conversation.drain(&mut out);
            }
            self.hear(old, out, now);
        }
    }

    /// Offers the job that a connection has already.
    fn offer_of(&mut self, connection: u64) {
        let offer = self.connections.get(&connection).and_then(|line| line.conversation.offer().cloned());
        if let Some(offer) = offer {
            self.pending = None;
            self.offer(connection, &offer, false);
        }
    }

    fn with_role(&self, role: Role) -> Option<u64> {
        self.connections.iter().find(|(_, line)| line.role == role).map(|(connection, _)| *connection)
    }

    fn leave(&mut self, connection: u64, now: Instant) {
        let mut out = Vec::new();
        if let Some(line) = self.connections.get_mut(&connection) {
            line.conversation.leave(&mut out);
        }
        self.hear(connection, out, now);
        if self.connections.remove(&connection).is_some() {
            self.actions.push_back(Action::Close { connection });
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
                    self.tell_proof(proof.id, ProofState::HandedOver { attempt: 1 });
                }
                Said::Dropped { proof, why } => self.dropped(pool, proof.id, why),
                Said::Settled(settled) => self.settled(pool, *settled),
                Said::Corrected { share, was, is, verdict } => {
                    let work = share.offer.work();
                    self.count(pool, |ledger| ledger.corrected(was, is, work));
                    self.actions.push_back(Action::Save);
                    let text =
                        format!("the pool changed its mind on share {}: {}", share.id, verdict.words());
                    self.note(text);
                    self.tell_proof(share.id, state_of(is, &verdict.words()));
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

    fn authorized(&mut self, connection: u64, pool: usize) {
        let Some(line) = self.connections.get(&connection) else { return };
        let seat = &mut self.seats[pool];
        seat.locked = Some(line.conversation.dialect());
        seat.tried.clear();
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

    /// Proofs of an earlier process whose very job this is: the pool issued it on this connection, too.
    fn adopt(&mut self, connection: u64, pool: usize, offer: &Arc<Offer>, now: Instant) {
        let address = Arc::clone(&self.seats[pool].settings.address);
        let fits = |kept: &KeptProof| {
            let job = &kept.found.job;
            job.header == *offer.header.as_bytes()
                && job.target == offer.target.to_le_bytes()
                && job.certificate_version == offer.certificate_version
                && job.origin.as_ref().is_some_and(|o| o.job_id == offer.job_id && o.pool == address)
        };
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.earlier).into_iter().partition(fits);
        self.earlier = others;
        for mut kept in mine {
            kept.found.job.origin = Some(Origin {
                pool: Arc::clone(&address),
                connection,
                serial: offer.serial,
                job_id: Arc::clone(&offer.job_id),
            });
            self.found(kept, now);
        }
    }

    fn tick_earlier(&mut self, now: Instant) {
        if now < self.earlier_until {
            return;
        }
        for kept in std::mem::take(&mut self.earlier) {
            let seat = self.seat_of(kept.found.job.origin.as_ref());
            let work = weight_of(&kept);
            self.weights.insert(kept.id.clone(), work);
            self.count(seat, |ledger| ledger.found(work));
            self.dropped(seat, kept.id, Dropped::EarlierProcess);
        }
    }

    fn ended(&mut self, connection: u64, pool: usize, role: Role, end: End, now: Instant) {
        self.seats[pool].cadence.interrupted();
        let failure = match end {
            End::Failed(failure) => Some(failure),
            End::Form { text, silent } => self.another_form(pool, text, silent),
        };
        match (role, failure) {
            (Role::Draining { .. }, _) => {}
            (Role::Probe, failure) => {
                let failure =
                    failure.unwrap_or_else(|| Failure::Passing("wants another form of login".to_owned()));
                self.life.probe_failed(&failure, now);
            }
            (Role::Main, None) => self.life.try_again_at_once(now),
            (Role::Main, Some(failure)) => self.main_failed(connection, pool, &failure, now),
        }
    }

    fn main_failed(&mut self, connection: u64, pool: usize, failure: &Failure, now: Instant) {
        let worked = self.life.working_since().is_some();
        let text = format!("pool {}: {}: {}", pool + 1, self.seats[pool].settings.address, failure.text());
        // The same failure again and again is no news.
        if self.said_barred.get(&pool).is_none_or(|said| *said != text) {
            self.said_barred.insert(pool, text.clone());
            self.note(text);
        }
        self.pending = self
            .pending
            .take()
            .filter(|job| job.origin.as_ref().is_none_or(|origin| origin.connection != connection));
        if worked && self.life.promote_probe() {
            if let Some(probe) = self.with_role(Role::Probe)
                && let Some(line) = self.connections.get_mut(&probe)
            {
                line.role = Role::Main;
                self.offer_of(probe);
            }
            return;
        }
        if worked && let Some(probe) = self.with_role(Role::Probe) {
            self.leave(probe, now);
            self.life.probe_failed(&Failure::Passing("the backup failed first".to_owned()), now);
        }
        self.life.failed(failure, now);
        if worked || self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    /// A form of login was refused: the other one next, at once; or nothing is left to try.
    fn another_form(&mut self, pool: usize, text: String, silent: bool) -> Option<Failure> {
        let seat = &mut self.seats[pool];
        if let Some(locked) = seat.locked {
            // It understood the login and does not understand a share.
            if seat.settings.dialect.is_some() || std::mem::replace(&mut seat.redetected, true) {
                return Some(Failure::Hopeless(format!("does not understand our shares: {text}")));
            }
            seat.locked = None;
            seat.next = other(locked);
            return None;
        }
        seat.tried.insert(seat.next.word(), (text, silent));
        seat.next = other(seat.next);
        if seat.tried.len() < 2 {
            return None;
        }
        let tried = std::mem::take(&mut seat.tried);
        let words: Vec<String> = tried.iter().map(|(form, (text, _))| format!("as {form}: {text}")).collect();
        let words = words.join("; ");
        Some(if tried.values().all(|(_, silent)| *silent) {
            Failure::QuickClose(format!("does not answer a login ({words})"))
        } else {
            Failure::Hopeless(format!("understands neither form of login ({words})"))
        })
    }

    fn settled(&mut self, pool: usize, settled: Settled) {
        let Settled { share, proof, outcome, verdict, latency, overtaken } = settled;
        let work = self.weights.remove(&share.id).unwrap_or_else(|| share.offer.work());
        self.count(pool, |ledger| {
            ledger.settled(outcome, work);
            if outcome == Outcome::Stale {
                ledger.stale(if overtaken { StaleCause::Network } else { StaleCause::Pool });
            }
        });
        if let Some(latency) = latency {
            self.seats[pool].latencies.add(latency);
        }
        let words = verdict.as_ref().map_or_else(
            || "no reply within 30 s, or before the connection ended".to_owned(),
            crate::work::stratum::Verdict::words,
        );
        if matches!(
            outcome,
            Outcome::Invalid
                | Outcome::InvalidLate
                | Outcome::LowDifficulty
                | Outcome::Malformed
                | Outcome::Unexplained
        ) {
            self.actions.push_back(Action::Record(Box::new(Rejected {
                pool: Arc::clone(&self.seats[pool].settings.address),
                id: share.id.clone(),
                offer: Arc::clone(&share.offer),
                outcome,
                reply: words.clone(),
                proof,
            })));
        }
        self.settle_in_book(&share.id);
        self.tell_proof(share.id, state_of(outcome, &words));
    }

    fn dropped(&mut self, pool: usize, id: ProofId, why: Dropped) {
        let work = self.weight(&id);
        self.weights.remove(&id);
        self.count(pool, |ledger| ledger.dropped(why, work));
        self.settle_in_book(&id);
        self.tell_proof(id, ProofState::Stale { reason: why.reason().to_owned() });
    }

    fn settle_in_book(&mut self, id: &ProofId) {
        self.book.settled(id);
        self.actions.push_back(Action::Save);
    }

    /// Counts in the session's ledger and in the book, which outlives it.
    fn count(&mut self, pool: usize, change: impl Fn(&mut Ledger)) {
        let seat = &mut self.seats[pool];
        change(&mut seat.ledger);
        change(self.book.of(&seat.settings.address));
        debug_assert!(seat.ledger.adds_up(), "{:?}", seat.ledger);
    }

    fn weight(&self, id: &ProofId) -> f64 {
        self.weights.get(id).copied().unwrap_or_default()
    }

    /// The pool that an origin names, or the current one.
    fn seat_of(&self, origin: Option<&Origin>) -> usize {
        origin
            .and_then(|origin| self.seats.iter().position(|seat| seat.settings.address == origin.pool))
            .unwrap_or(self.life.current())
    }

    fn tell_proof(&mut self, id: ProofId, state: ProofState) {
        self.actions.push_back(Action::Tell(WorkEvent::Proof { id, state }));
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

/// Why a connection ended, as its shell saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It could not be made, or broke.
    Lost(String),
    /// What came is not the protocol.
    Garbled(String),
    /// The certificate is not trusted.
    Untrusted(String),
}

fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::Object => Dialect::Array,
        Dialect::Array => Dialect::Object,
    }
}

fn who(login: &Login) -> String {
    if login.worker.is_empty() {
        login.wallet.clone()
    } else {
        format!("{} (worker {})", login.wallet, login.worker)
    }
}

/// The work of a share whose job is not known any more.
fn weight_of(kept: &KeptProof) -> f64 {
    crate::work::stratum::target::work_f64(pearl_pow::Target::from_le_bytes(kept.found.job.target))
}

/// What the session is told of an outcome.
fn state_of(outcome: Outcome, words: &str) -> ProofState {
    let reason = words.to_owned();
    match outcome {
        Outcome::Accepted => ProofState::Credited,
        Outcome::Stale => ProofState::Stale { reason },
        Outcome::Unanswered | Outcome::Unclear => ProofState::Untraced { reason },
        Outcome::InvalidLate => ProofState::Rejected { reason: format!("invalid (late): {words}") },
        _ => ProofState::Rejected { reason },
    }
}

#[cfg(test)]
mod tests;
