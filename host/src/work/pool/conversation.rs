//! One connection to a pool: who we are, what it gives us to do, what it says of our shares (pool protocol sections 3, 4.5,
//! 7.3, 8.2).
//!
//! No I/O and no clock: lines, bytes written, the end of the stream and the time come in; lines to send, jobs, verdicts
//! and the end of the conversation come out, as [`Said`].
//!
//! ```text
//! Connecting --connected--> Authorizing --ack--> Ready --(job)--> mines
//!      |                        |  ^               |
//!      |                        |  +- once more ---+  "unauthorised" for a share
//!      +------------------------+------------------+--> Over (why)
//! ```
//!
//! A job and its shares live and die with the conversation. Which pool is talked to, and whether the connection is used
//! for mining, is not decided here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pearl_pow::Target;

use super::ledger::{Dropped, Outcome};
use super::life::Failure;
use super::offer::{Fitness, Jobs, Offer};
use crate::text::foreign;
use crate::work::KeptProof;
use crate::work::stratum::from_pool::{Asked, FromPool, Reply, read};
use crate::work::stratum::to_pool::{self, Dialect, Login, Signature, Submit};
use crate::work::stratum::{Class, Encoding, MINER_LINE_BYTES_MAX, Verdict};

/// Time for a connection to come about, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Time for the answer to authorize.
const AUTHORIZE_MAX: Duration = Duration::from_secs(15);
/// The same while it is not known which form the pool understands.
const DETECT_MAX: Duration = Duration::from_secs(10);
/// Time from the acknowledgement to the first job.
const FIRST_JOB_MAX: Duration = Duration::from_secs(30);
/// Time for a reply to a share, and for its line to be written.
const REPLY_MAX: Duration = Duration::from_secs(30);
/// Shares in a row without a reply before the connection is made anew.
const UNANSWERED_MAX: u32 = 3;
/// Closed within this time of authorize, a connection counts as refused.
const QUICK: Duration = Duration::from_secs(2);
/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Pings in a row without an answer before the connection is made anew.
const PINGS_MAX: u32 = 3;
/// Answered shares that are remembered, in case the pool says something else afterwards.
const ANSWERED_MAX: usize = 64;
/// Lines in a row that are no messages, before the peer is taken for something else than a pool.
const GARBAGE_MAX: u32 = 8;
/// Invalid shares in a row after which the pool is left.
const INVALID_MAX: u32 = 5;
/// Shares of which more than half must not be invalid.
const RECENT: usize = 20;
/// Requests of the pool that are answered per second.
const ANSWERS_PER_SECOND: u32 = 10;
/// Shares that are in flight at once; more wait.
const FLYING_MAX: usize = 32;

/// What a pool is told and how, for one connection.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Who we are.
    pub login: Login,
    /// How that is said.
    pub dialect: Dialect,
    /// Whether it is not known yet that the pool understands this.
    pub detecting: bool,
    /// How shares say who found them.
    pub signature: Signature,
    /// The encoding that is asked for.
    pub wants: Encoding,
    /// Whether a share names its encoding where the job lists it.
    pub names_encoding: bool,
    /// Whether the connection is kept alive by pings.
    pub pings: bool,
    /// The certificate version of jobs that do not say one, where the user states it.
    pub certificate_version: Option<u32>,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Authorizing { id: u64, since: Instant },
    Ready { since: Instant },
    Over,
}

/// How a conversation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// For the life of the pool to judge.
    Failed(Failure),
    /// The pool does not understand this form.
    Form {
        /// Its words, or what it did instead.
        text: String,
        /// Whether it said nothing at all, so that it may be the connection and not the form.
        silent: bool,
    },
}

/// What comes out of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// This line is to be sent. A tag is told back by [`Conversation::written`].
    Send {
        /// Without its newline.
        line: String,
        /// The share that it carries.
        tag: Option<u64>,
    },
    /// The pool takes us.
    Authorized,
    /// A job to work on.
    Job {
        /// The job.
        offer: Arc<Offer>,
        /// Whether earlier jobs of this connection live on.
        keeps_earlier: bool,
    },
    /// A share was given to the connection: it is in flight from now on.
    Sent {
        /// The share.
        proof: KeptProof,
        /// The job that it names.
        offer: Arc<Offer>,
    },
    /// A share will not be sent.
    Dropped {
        /// The share.
        proof: KeptProof,
        /// Why.
        why: Dropped,
    },
    /// A share has an outcome.
    Settled(Box<Settled>),
    /// A share that has an outcome gets another.
    Corrected {
        /// The share.
        share: Share,
        /// What it was.
        was: Outcome,
        /// What it is.
        is: Outcome,
        /// The pool's words.
        verdict: Verdict,
    },
    /// Worth a line in the log.
    Note(String),
    /// The conversation is over; what is still in flight is unanswered.
    Over(End),
}

/// A share on its way: what is known of it without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Its name.
    pub id: crate::work::ProofId,
    /// The job that it names.
    pub offer: Arc<Offer>,
    /// Whether its job had been replaced when it was sent.
    pub late: bool,
}

/// A share's outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The share.
    pub share: Share,
    /// Its bytes, for the record of a rejection.
    pub proof: Vec<u8>,
    /// The outcome.
    pub outcome: Outcome,
    /// The pool's verdict; `None` where it gave none.
    pub verdict: Option<Verdict>,
    /// From the last byte written to the reply read.
    pub latency: Option<Duration>,
    /// For a stale share: whether the chain moved on while it was on its way.
    pub overtaken: bool,
}

#[derive(Debug)]
struct Flight {
    share: Share,
    proof: Vec<u8>,
    given: Instant,
    written: Option<Instant>,
    tip: [u8; 32],
}

/// One connection.
#[derive(Debug)]
pub struct Conversation {
    manner: Manner,
    phase: Phase,
    began: Instant,
    encoding: Encoding,
    jobs: Jobs,
    queue: VecDeque<KeptProof>,
    flights: BTreeMap<u64, Flight>,
    answered: VecDeque<(u64, Share, Outcome)>,
    unanswered: u32,
    invalid: u32,
    recent: VecDeque<bool>,
    replies: u32,
    reauthorizing: bool,
    authorize_sent: Option<Instant>,
    heard: Option<Instant>,
    lines: u64,
    garbage: u32,
    ping: Option<u64>,
    pings_open: u32,
    next_ping: Instant,
    answers: (u32, Instant),
    said_unknown: Vec<String>,
    said_flood: bool,
    draining: bool,
}

/// The numbers that are unique in this process.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Ids of requests. Ids go on over connections, so that a late reply never fits a new question.
    pub request: u64,
    /// Jobs.
    pub serial: u64,
}

impl Numbers {
    fn request(&mut self) -> u64 {
        self.request += 1;
        self.request
    }
}

impl Conversation {
    /// A conversation that begins with an attempt to connect, at `now`.
    pub fn new(manner: Manner, now: Instant) -> Self {
        let jobs = Jobs::new(manner.certificate_version);
        Self {
            jobs,
            manner,
            phase: Phase::Connecting,
            began: now,
            encoding: Encoding::Plain,
            queue: VecDeque::new(),
            flights: BTreeMap::new(),
            answered: VecDeque::new(),
            unanswered: 0,
            invalid: 0,
            recent: VecDeque::new(),
            replies: 0,
            reauthorizing: false,
            authorize_sent: None,
            heard: None,
            lines: 0,
            garbage: 0,
            ping: None,
            pings_open: 0,
            next_ping: now,
            answers: (0, now),
            said_unknown: Vec::new(),
            said_flood: false,
            draining: false,
        }
    }

    /// The form of authorize that is used.
    pub fn dialect(&self) -> Dialect {
        self.manner.dialect
    }

    /// The encoding that is in force.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The job on offer.
    pub fn offer(&self) -> Option<&Arc<Offer>> {
        self.jobs.current().filter(|_| matches!(self.phase, Phase::Ready { .. }))
    }

    /// Why the newest job is none, if it is none.
    pub fn bad_job(&self) -> Option<&str> {
        self.jobs.trouble()
    }

    /// Whether the pool took us.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Shares in flight.
    pub fn flying(&self) -> usize {
        self.flights.len()
    }

    /// Nothing more is sent; what is in flight may still be answered.
    pub fn drain(&mut self, out: &mut Vec<Said>) {
        self.draining = true;
        self.drop_queue(out);
    }

    /// Whether it only waits for replies.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// The connection stands.
    pub fn connected(&mut self, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        if self.phase != Phase::Connecting {
            return;
        }
        self.heard = Some(now);
        self.next_ping = now + PING_EVERY;
        self.authorize(now, numbers, out);
    }

    fn authorize(&mut self, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        let id = numbers.request();
        self.phase = Phase::Authorizing { id, since: now };
        self.authorize_sent = Some(now);
        let line = to_pool::authorize(id, self.manner.dialect, &self.manner.login, self.manner.wants);
        out.push(Said::Send { line, tag: None });
    }

    /// A line came.
    pub fn line(&mut self, line: &str, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        if self.phase == Phase::Over || line.trim().is_empty() {
            return;
        }
        let first = self.lines == 0;
        self.lines += 1;
        let message = match read(line) {
            Ok(message) => message,
            Err(err) => {
                self.garbage += 1;
                if first && !line.trim_start().starts_with('{') || self.garbage >= GARBAGE_MAX {
                    self.end(
                        End::Failed(Failure::Passing(format!("does not speak the protocol: {err}"))),
                        out,
                    );
                } else if self.garbage == 1 {
                    out.push(Said::Note(format!("the pool sent {err}")));
                }
                return;
            }
        };
        self.garbage = 0;
        // An answer to a ping says that somebody is there, and not that there is work.
        let pong = matches!(&message, FromPool::Reply(reply) if reply.id.is_some() && reply.id == self.ping);
        if !pong {
            self.heard = Some(now);
        }
        match message {
            FromPool::Reply(reply) => self.reply(reply, now, numbers, out),
            FromPool::Job(job) => {
                let flood = self.jobs.notify(job, now, numbers);
                if let Some(note) = flood {
                    out.push(Said::Note(note));
                }
                self.offer_job(out);
            }
            FromPool::SetTarget(Ok(target)) => {
                if let Some(note) = self.jobs.set_target(target, now, numbers) {
                    out.push(Said::Note(note));
                }
                self.offer_job(out);
            }
            FromPool::SetTarget(Err(what)) => {
                self.once("set_target", &format!("a target that is {what}"), out)
            }
            // The job's target rules; the label is a label.
            FromPool::SetDifficulty(Ok(_)) => {}
            FromPool::SetDifficulty(Err(what)) => {
                self.once("set_difficulty", &format!("a difficulty that is none: {what}"), out);
            }
            FromPool::Request { id, what } => self.answer(&id, &what, now, out),
            FromPool::Message(text) => self.once(&text, &format!("a message: {text}"), out),
            FromPool::Reconnect => {
                self.once("client.reconnect", "client.reconnect, which is never followed", out);
            }
            FromPool::Positional(how) => {
                let text = format!("speaks another family of protocols ({how}), which pearlbed does not");
                self.end(End::Failed(Failure::Hopeless(text)), out);
            }
            FromPool::Unknown(method) => {
                self.once(&method, &format!("`{method}`, which means nothing here"), out)
            }
        }
    }

    /// Says something that a pool did, the first time that it does it. Bounded.
    fn once(&mut self, key: &str, what: &str, out: &mut Vec<Said>) {
        if self.said_unknown.len() < 16 && !self.said_unknown.iter().any(|said| said == key) {
            self.said_unknown.push(key.to_owned());
            out.push(Said::Note(format!("the pool sent {what}")));
        }
    }

    fn answer(&mut self, id: &str, what: &Asked, now: Instant, out: &mut Vec<Said>) {
        if now.saturating_duration_since(self.answers.1) >= Duration::from_secs(1) {
            self.answers = (0, now);
        }
        self.answers.0 += 1;
        if self.answers.0 > ANSWERS_PER_SECOND {
            if !std::mem::replace(&mut self.said_flood, true) {
                out.push(Said::Note(format!(
                    "the pool asks more than {ANSWERS_PER_SECOND} questions a second; the others stay unanswered"
                )));
            }
            return;
        }
        let line = match what {
            Asked::Ping => to_pool::answer(id, "pong"),
            Asked::Version => to_pool::answer(id, &self.manner.login.agent),
            Asked::Other(_) => to_pool::unsupported(id),
        };
        out.push(Said::Send { line, tag: None });
    }

    fn reply(&mut self, reply: Reply, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        let Reply { id, verdict, kind } = reply;
        let id = id.or_else(|| self.only_open_request());
        match (id, self.phase) {
            (Some(found), Phase::Authorizing { id, .. }) if found == id => {
                self.acknowledged(&verdict, kind.as_deref(), now, out);
            }
            (Some(found), _) if self.flights.contains_key(&found) => {
                self.verdict(found, verdict, now, numbers, out)
            }
            (Some(found), _) if self.answered.iter().any(|(id, ..)| *id == found) => {
                self.second_word(found, verdict, out);
            }
            (Some(found), _) if self.ping == Some(found) => {
                self.ping = None;
                self.pings_open = 0;
            }
            // A reply to nothing that was asked on this connection completes nothing.
            _ => {}
        }
        self.pump(now, numbers, out);
    }

    /// A reply without an id can only be meant for the one request that is open.
    fn only_open_request(&self) -> Option<u64> {
        let authorizing = match self.phase {
            Phase::Authorizing { id, .. } => Some(id),
            _ => None,
        };
        let mut open = self.flights.keys().copied().chain(authorizing);
        match (open.next(), open.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    fn acknowledged(&mut self, verdict: &Verdict, kind: Option<&str>, now: Instant, out: &mut Vec<Said>) {
        let words = verdict.words();
        let hopeless = |what: &str| End::Failed(Failure::Hopeless(format!("{what}: {words}")));
        match verdict.class {
            Class::Accepted => {
                match Encoding::from_word(kind.unwrap_or("plain")) {
                    Some(encoding) => self.encoding = encoding,
                    None => {
                        let kind = foreign(kind.unwrap_or_default());
                        let text = format!("wants proofs encoded as `{kind}`, which pearlbed does not know");
                        return self.end(End::Failed(Failure::Hopeless(text)), out);
                    }
                }
                self.phase = Phase::Ready { since: now };
                if !self.reauthorizing {
                    out.push(Said::Authorized);
                }
                self.offer_job(out);
            }
            Class::Banned { seconds } => {
                let time = seconds.map(Duration::from_secs);
                self.end(End::Failed(Failure::Banned { time, text: words }), out);
            }
            Class::AgentRefused => self.end(hopeless("refuses this program"), out),
            Class::AddressRefused => self.end(hopeless("refuses the wallet address"), out),
            _ if self.manner.detecting && is_about_form(verdict) => {
                self.end(End::Form { text: words, silent: false }, out)
            }
            Class::Malformed => self.end(hopeless("does not understand the login"), out),
            _ => self.end(hopeless("refuses the login"), out),
        }
    }

    fn verdict(
        &mut self,
        id: u64,
        verdict: Verdict,
        now: Instant,
        numbers: &mut Numbers,
        out: &mut Vec<Said>,
    ) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let latency = flight.written.map(|written| now.saturating_duration_since(written));
        let outcome = Outcome::of(verdict.class, flight.share.late);
        self.unanswered = 0;
        self.remember(id, flight.share.clone(), outcome);
        let overtaken = self.jobs.tip().is_some_and(|tip| tip != flight.tip);
        out.push(Said::Settled(Box::new(Settled {
            share: flight.share.clone(),
            proof: flight.proof,
            outcome,
            verdict: Some(verdict.clone()),
            latency,
            overtaken,
        })));
        self.consequences(&flight.share, &verdict, outcome, now, numbers, out);
    }

    fn remember(&mut self, id: u64, share: Share, outcome: Outcome) {
        if self.answered.len() == ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back((id, share, outcome));
    }

    /// The pool says something else of a share than before: the last word counts.
    fn second_word(&mut self, id: u64, verdict: Verdict, out: &mut Vec<Said>) {
        let Some((_, share, outcome)) = self.answered.iter_mut().find(|(known, ..)| *known == id) else {
            return;
        };
        let is = Outcome::of(verdict.class, share.late);
        let was = std::mem::replace(outcome, is);
        if was != is {
            out.push(Said::Corrected { share: share.clone(), was, is, verdict });
        }
    }

    fn consequences(
        &mut self,
        share: &Share,
        verdict: &Verdict,
        outcome: Outcome,
        now: Instant,
        numbers: &mut Numbers,
        out: &mut Vec<Said>,
    ) {
        self.replies += 1;
        if outcome != Outcome::InvalidLate {
            let invalid = outcome == Outcome::Invalid;
            self.invalid = if invalid { self.invalid + 1 } else { 0 };
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(invalid);
        }
        let words = verdict.words();
        match verdict.class {
            Class::Banned { seconds } => {
                let time = seconds.map(Duration::from_secs);
                return self.end(End::Failed(Failure::Banned { time, text: words }), out);
            }
            Class::AgentRefused | Class::AddressRefused => {
                return self.end(End::Failed(Failure::Hopeless(format!("refuses our shares: {words}"))), out);
            }
            Class::Unauthorized => {
                if std::mem::replace(&mut self.reauthorizing, true) {
                    let text = format!("does not know us after two logins: {words}");
                    return self.end(End::Failed(Failure::Passing(text)), out);
                }
                out.push(Said::Note(format!(
                    "the pool does not know us any more ({words}); logging in again"
                )));
                self.authorize(now, numbers, out);
            }
            Class::Malformed => return self.end(End::Form { text: words, silent: false }, out),
            Class::Accepted => self.reauthorizing = false,
            _ => {}
        }
        if share.offer.guessed && self.replies == 2 && self.invalid == 2 {
            let text = "the pool does not say which certificate version its jobs need, and refused the first two \
                        shares: set `cert_version`";
            return self.end(End::Failed(Failure::Hopeless(text.to_owned())), out);
        }
        let many = self.recent.iter().filter(|invalid| **invalid).count();
        if self.invalid >= INVALID_MAX || self.recent.len() == RECENT && many > RECENT / 2 {
            let text = format!("our verifier accepts our shares, and the pool refuses them: {words}");
            self.end(End::Failed(Failure::Hopeless(text)), out);
        }
    }

    fn offer_job(&mut self, out: &mut Vec<Said>) {
        if !matches!(self.phase, Phase::Ready { .. }) {
            return;
        }
        if let Some((offer, keeps_earlier)) = self.jobs.take_new() {
            out.push(Said::Job { offer, keeps_earlier });
        }
    }

    /// A proof for a job of this connection. It is sent when there is room, or dropped for a reason that is said.
    pub fn submit(&mut self, proof: KeptProof, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        self.queue.push_back(proof);
        self.pump(now, numbers, out);
    }

    /// Whether a proof of this job would be sent now; else why not.
    pub fn fitness(&self, serial: u64) -> Result<Arc<Offer>, Dropped> {
        match self.jobs.fitness(serial) {
            Fitness::Fresh(offer) | Fitness::Late(offer) => Ok(offer),
            Fitness::Dropped(why) => Err(why),
        }
    }

    /// The job of a serial number, whatever became of it.
    pub fn offer_of(&self, serial: u64) -> Option<Arc<Offer>> {
        self.jobs.of(serial)
    }

    /// Gives the next share to the connection. One line is under way at a time: a slow pool must not have ten of them
    /// in memory, and what waits can still be dropped when the chain moves on.
    fn pump(&mut self, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        loop {
            let writing = self.flights.values().any(|flight| flight.written.is_none());
            if !matches!(self.phase, Phase::Ready { .. }) || writing || self.flights.len() >= FLYING_MAX {
                return;
            }
            let Some(proof) = self.queue.pop_front() else { return };
            let serial = proof.found.job.origin.as_ref().map_or(0, |origin| origin.serial);
            let (offer, late) = match self.jobs.fitness(serial) {
                Fitness::Fresh(offer) => (offer, false),
                Fitness::Late(offer) => (offer, true),
                Fitness::Dropped(why) => {
                    out.push(Said::Dropped { proof, why });
                    continue;
                }
            };
            let id = numbers.request();
            let gzip = self.encoding == Encoding::Plain && self.manner.names_encoding && offer.takes_gzip;
            let line = to_pool::submit(&Submit {
                id,
                login: &self.manner.login,
                signature: match self.manner.dialect {
                    Dialect::Object => self.manner.signature,
                    Dialect::Array => Signature::Joined,
                },
                job_id: &offer.job_id,
                proof: &proof.found.proof,
                encoding: if gzip { Encoding::Gzip } else { self.encoding },
                names_encoding: gzip,
            });
            if line.len() > MINER_LINE_BYTES_MAX {
                out.push(Said::Dropped { proof, why: Dropped::TooLarge });
                continue;
            }
            let share = Share { id: proof.id.clone(), offer: Arc::clone(&offer), late };
            let tip = offer.tip();
            let bytes = proof.found.proof.clone();
            self.flights.insert(id, Flight { share, proof: bytes, given: now, written: None, tip });
            out.push(Said::Sent { proof, offer });
            out.push(Said::Send { line, tag: Some(id) });
        }
    }

    /// The line with this tag is written to its last byte.
    pub fn written(&mut self, tag: u64, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        if let Some(flight) = self.flights.get_mut(&tag) {
            flight.written = Some(now);
        }
        self.pump(now, numbers, out);
    }

    /// The time is `now`; `patience` is how long this pool may be silent.
    pub fn tick(&mut self, now: Instant, patience: Duration, numbers: &mut Numbers, out: &mut Vec<Said>) {
        let since = |at: Instant| now.saturating_duration_since(at);
        let passing = |text: String| End::Failed(Failure::Passing(text));
        match self.phase {
            Phase::Over => return,
            Phase::Connecting => {
                if since(self.began) >= CONNECT_MAX {
                    return self.end(passing("no connection came about".to_owned()), out);
                }
                return;
            }
            Phase::Authorizing { since: at, .. } => {
                let most = if self.manner.detecting { DETECT_MAX } else { AUTHORIZE_MAX };
                if since(at) >= most {
                    let text = format!("no answer to the login within {} s", most.as_secs());
                    let end =
                        if self.manner.detecting { End::Form { text, silent: true } } else { passing(text) };
                    return self.end(end, out);
                }
            }
            Phase::Ready { since: at } => {
                if self.jobs.current().is_none() && since(at) >= FIRST_JOB_MAX {
                    let text = match self.jobs.trouble() {
                        Some(trouble) => {
                            format!("takes us and sends no job that can be worked on: {trouble}")
                        }
                        None => "takes us and sends no work".to_owned(),
                    };
                    return self.end(passing(text), out);
                }
            }
        }
        self.give_up_waiting(now, out);
        if self.phase == Phase::Over {
            return;
        }
        if self.unanswered >= UNANSWERED_MAX {
            return self.end(passing(format!("answers none of {UNANSWERED_MAX} shares in a row")), out);
        }
        if self.manner.pings && matches!(self.phase, Phase::Ready { .. }) && now >= self.next_ping {
            if self.ping.is_some() && self.pings_open >= PINGS_MAX {
                return self.end(passing(format!("answers none of {PINGS_MAX} pings in a row")), out);
            }
            let id = numbers.request();
            self.ping = Some(id);
            self.pings_open += 1;
            self.next_ping = now + PING_EVERY;
            out.push(Said::Send { line: to_pool::ping(id), tag: None });
        }
        if self.heard.is_some_and(|heard| since(heard) >= patience) {
            let text = format!("silent for {}", crate::text::duration(patience));
            self.end(passing(text), out);
        }
    }

    /// Shares that were not answered in time, and a line that the pool does not take.
    fn give_up_waiting(&mut self, now: Instant, out: &mut Vec<Said>) {
        let late: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| {
                flight.written.is_some_and(|at| now.saturating_duration_since(at) >= REPLY_MAX)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.unanswered += 1;
            self.lose(id, true, out);
        }
        let stuck = |flight: &Flight| {
            flight.written.is_none() && now.saturating_duration_since(flight.given) >= REPLY_MAX
        };
        if self.flights.values().any(stuck) {
            let text = format!("takes no more bytes for {} s", REPLY_MAX.as_secs());
            self.end(End::Failed(Failure::Passing(text)), out);
        }
    }

    fn lose(&mut self, id: u64, remember: bool, out: &mut Vec<Said>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        if remember {
            self.remember(id, flight.share.clone(), Outcome::Unanswered);
        }
        out.push(Said::Settled(Box::new(Settled {
            share: flight.share,
            proof: flight.proof,
            outcome: Outcome::Unanswered,
            verdict: None,
            latency: None,
            overtaken: false,
        })));
    }

    fn drop_queue(&mut self, out: &mut Vec<Said>) {
        while let Some(proof) = self.queue.pop_front() {
            out.push(Said::Dropped { proof, why: Dropped::ConnectionEnded });
        }
    }

    /// The stream has ended, or never began.
    pub fn closed(&mut self, text: String, now: Instant, out: &mut Vec<Said>) {
        if self.phase == Phase::Over {
            return;
        }
        let quick = self.authorize_sent.is_some_and(|at| now.saturating_duration_since(at) < QUICK);
        let end = match self.phase {
            Phase::Authorizing { .. } if self.manner.detecting && self.lines == 0 => {
                End::Form { text, silent: true }
            }
            _ if quick => End::Failed(Failure::QuickClose(text)),
            _ => End::Failed(Failure::Passing(text)),
        };
        self.end(end, out);
    }

    /// The connection cannot be used, for a reason that no retry cures.
    pub fn hopeless(&mut self, text: String, out: &mut Vec<Said>) {
        self.end(End::Failed(Failure::Hopeless(text)), out);
    }

    /// What came is not the protocol: too long, not text.
    pub fn garbled(&mut self, text: String, out: &mut Vec<Said>) {
        self.end(End::Failed(Failure::Passing(format!("does not speak the protocol: {text}"))), out);
    }

    /// Forgets what waits without a word: it is on disk, and a later process looks after it.
    pub fn keep_queue(&mut self) {
        self.queue.clear();
    }

    /// Ends it from our side, without a failure: what waits is dropped, what is in flight is lost.
    pub fn leave(&mut self, out: &mut Vec<Said>) {
        self.finish(out);
    }

    fn end(&mut self, end: End, out: &mut Vec<Said>) {
        if self.phase == Phase::Over {
            return;
        }
        self.finish(out);
        out.push(Said::Over(end));
    }

    fn finish(&mut self, out: &mut Vec<Said>) {
        self.phase = Phase::Over;
        self.drop_queue(out);
        let flying: Vec<u64> = self.flights.keys().copied().collect();
        for id in flying {
            self.lose(id, false, out);
        }
    }

    /// The target that shares must meet now, for sentences.
    pub fn target(&self) -> Option<Target> {
        self.offer().map(|offer| offer.target)
    }
}

/// Whether a refusal of authorize is about its form, so that another form is worth a try (section 4.5).
fn is_about_form(verdict: &Verdict) -> bool {
    let text = verdict.text.to_lowercase();
    matches!(verdict.code, Some(20 | 25 | -32602))
        || verdict.class == Class::Malformed
        || ["array", "unsupported", "method"].iter().any(|word| text.contains(word))
}
