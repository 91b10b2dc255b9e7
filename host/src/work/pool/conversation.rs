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
use super::numbers::Numbers;
use super::offer::{Jobs, Offer};
use crate::work::KeptProof;
use crate::work::stratum::from_pool::{FromPool, Reply, read};
use crate::work::stratum::to_pool::{Dialect, Login, Signature};
use crate::work::stratum::{Encoding, Verdict};

mod end;
mod login;
mod shares;

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

    fn offer_job(&mut self, out: &mut Vec<Said>) {
        if !matches!(self.phase, Phase::Ready { .. }) {
            return;
        }
        if let Some((offer, keeps_earlier)) = self.jobs.take_new() {
            out.push(Said::Job { offer, keeps_earlier });
        }
    }

    /// The target that shares must meet now, for sentences.
    pub fn target(&self) -> Option<Target> {
        self.offer().map(|offer| offer.target)
    }
}
