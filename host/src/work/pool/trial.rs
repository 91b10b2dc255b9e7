//! A pool asked what it wants, without mining: connect, log in, wait for a job, leave.
//!
//! The same [`Conversation`] as in earnest, with nobody behind it. Both forms of login are tried where the first is
//! refused.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::connect::{Line, dial, phrase};
use super::conversation::{Conversation, End, Manner, Said};
use super::first_bytes::Watched;
use super::life::Failure;
use super::numbers::Numbers;
use super::resolver::Resolver;
use super::settings::Pool;
use super::tls::Roots;
use super::wire::{Closed, Times};
use crate::work::lines::{LineError, LineReader, write_line};
use crate::work::stratum::POOL_LINE_BYTES_MAX;
use crate::work::stratum::target::{shown_difficulty, work_f64};
use crate::work::stratum::to_pool::Dialect;

/// How long a pool that has said something may be silent: longer than any of the waits that end a trial.
const PATIENCE: Duration = Duration::from_secs(600);

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No connection came about.
    Connect,
    /// The certificate is not trusted, or TLS is not spoken.
    Trust,
    /// The login was refused.
    Login,
    /// No job came that can be worked on.
    Job,
    /// A job came.
    Done,
}

impl Stage {
    /// One word for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Trust => "trust",
            Self::Login => "login",
            Self::Job => "job",
            Self::Done => "done",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// How far it went.
    pub stage: Stage,
    /// What went wrong, in a phrase; nothing when all went well.
    pub failure: Option<String>,
    /// How the connection came about.
    pub times: Option<Times>,
    /// From the login sent to the pool's yes.
    pub login: Option<Duration>,
    /// The form of login that it understands.
    pub dialect: Option<&'static str>,
    /// The encoding of proofs that it wants.
    pub encoding: Option<&'static str>,
    /// Its first job.
    pub job: Option<Wanted>,
    /// What it sent besides.
    pub notes: Vec<String>,
}

/// What a pool wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The certificate version of its jobs.
    pub certificate_version: u32,
    /// Whether it does not say it.
    pub guessed: bool,
    /// Height of the block in the making.
    pub height: Option<u64>,
    /// The difficulty that the target says.
    pub difficulty: f64,
    /// The difficulty that the pool says.
    pub label: Option<f64>,
    /// Multiply-accumulates that a share takes on average.
    pub work: f64,
}

/// Asks a pool.
pub async fn ask(pool: &Pool, resolver: &Resolver, roots: &Roots) -> Findings {
    let mut findings = Findings {
        stage: Stage::Connect,
        failure: None,
        times: None,
        login: None,
        dialect: None,
        encoding: None,
        job: None,
        notes: Vec::new(),
    };
    let first = pool.dialect.unwrap_or(pool.profile.dialect);
    let other = match first {
        Dialect::Object => Dialect::Array,
        Dialect::Array => Dialect::Object,
    };
    let mut refusals = Vec::new();
    for dialect in [first, other] {
        let line = match dial(pool, resolver, roots).await {
            Ok(line) => line,
            Err(why) => {
                findings.stage =
                    if matches!(why, Closed::Untrusted(_)) { Stage::Trust } else { Stage::Connect };
                findings.failure = Some(text_of(why));
                return findings;
            }
        };
        findings.times = Some(line.times.clone());
        findings.stage = Stage::Login;
        match converse(pool, dialect, line, &mut findings).await {
            None => return findings,
            Some(End::Failed(failure)) => {
                findings.failure = Some(failure.text().to_owned());
                if let Failure::QuickClose(_) | Failure::Passing(_) = failure
                    && findings.stage == Stage::Login
                    && findings.login.is_some()
                {
                    findings.stage = Stage::Job;
                }
                return findings;
            }
            Some(End::Form { text, .. }) => refusals.push(format!("as {}: {text}", dialect.word())),
        }
        if pool.dialect.is_some() {
            break;
        }
    }
    findings.failure = Some(format!("understands no form of login ({})", refusals.join("; ")));
    findings
}

fn text_of(why: Closed) -> String {
    match why {
        Closed::Lost(text) | Closed::Garbled(text) | Closed::Untrusted(text) => text,
    }
}

/// Talks until a job comes or the conversation ends; `None` when a job came.
async fn converse(pool: &Pool, dialect: Dialect, line: Line, findings: &mut Findings) -> Option<End> {
    let manner = Manner {
        login: pool.login.clone(),
        dialect,
        detecting: pool.dialect.is_none(),
        signature: pool.profile.signature,
        wants: pool.wants,
        names_encoding: pool.profile.names_encoding,
        pings: false,
        certificate_version: pool.certificate_version,
    };
    let mut numbers = Numbers::default();
    let began = Instant::now();
    let mut conversation = Conversation::new(manner, began);
    let (read, first) = Watched::new(line.read);
    let mut lines = LineReader::new(read, POOL_LINE_BYTES_MAX);
    let mut heard = false;
    let mut write = line.write;
    let mut out = Vec::new();
    conversation.connected(began, &mut numbers, &mut out);
    loop {
        for said in std::mem::take(&mut out) {
            match said {
                Said::Send { line, .. } => {
                    // A pool that is gone is noticed by what is read.
                    let _ = timeout(Duration::from_secs(10), write_line(&mut write, &line)).await;
                }
                Said::Authorized => {
                    findings.login = Some(began.elapsed());
                    findings.dialect = Some(conversation.dialect().word());
                    findings.encoding = Some(conversation.encoding().word());
                    findings.stage = Stage::Job;
                }
                Said::Job { offer, .. } => {
                    findings.stage = Stage::Done;
                    findings.job = Some(Wanted {
                        certificate_version: offer.certificate_version,
                        guessed: offer.guessed,
                        height: offer.height,
                        difficulty: shown_difficulty(offer.sent),
                        label: offer.label,
                        work: work_f64(offer.sent),
                    });
                    return None;
                }
                Said::Note(note) => findings.notes.push(note),
                Said::Over(end) => return Some(end),
                _ => {}
            }
        }
        let read = timeout(Duration::from_secs(1), lines.next()).await;
        let now = Instant::now();
        let why = match read {
            Ok(Ok(Some(line))) => {
                heard = true;
                conversation.line(&line, now, &mut numbers, &mut out);
                conversation.tick(now, PATIENCE, &mut numbers, &mut out);
                continue;
            }
            Ok(Ok(None)) => first.judge(heard, "the pool closed the connection".to_owned()),
            Ok(Err(LineError::Io(err))) => first.judge(heard, phrase(&err)),
            Ok(Err(LineError::NotText)) if !heard => first.judge(false, "not text".to_owned()),
            // A line that is no message: some are survived, as in earnest.
            Ok(Err(LineError::NotText)) => {
                conversation.line("\u{fffd}", now, &mut numbers, &mut out);
                conversation.tick(now, PATIENCE, &mut numbers, &mut out);
                continue;
            }
            Ok(Err(err)) => Closed::Garbled(err.to_string()),
            Err(_) => {
                conversation.tick(now, PATIENCE, &mut numbers, &mut out);
                continue;
            }
        };
        match why {
            Closed::Lost(text) | Closed::Untrusted(text) => conversation.closed(text, now, &mut out),
            Closed::Garbled(text) => conversation.garbled(text, &mut out),
        }
    }
}
