//! The rules of a pool, without sockets, clocks and threads: logins, jobs, targets, shares, credit.
//!
//! Lines and the time come in; lines to send, shares to verify and events come out, as [`Act`]s. The verifying itself is
//! done by whoever drives this, off the path of the lines, and its verdict comes back through [`Core::verified`].
//!
//! ```text
//! line --> login | share --known job? same tip? not seen before?--> Verify --verdict--> credit, reply, perhaps a block
//!                              |        |           |
//!                              21       21          22
//! ```
//!
//! Every session has a target of its own that follows its speed (vardiff), never harder than the network's, and sent with
//! every job. A session's last [`Settings::keeps`] jobs of the present tip are good.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use pearl_pow::{CompactTarget, Header, Target};

use crate::text::foreign;
use crate::work::devnet::pace;
use crate::work::stratum::from_miner::{Credentials, FromMiner, Request, Share, read};
use crate::work::stratum::target::{shown_difficulty, work_f64};
use crate::work::stratum::to_pool::Dialect;
use crate::work::stratum::{Encoding, to_miner};

mod vardiff;
mod words;

pub use words::{Act, Candidate, Checked, Fate, Job, PoolEvent, Row, Settings, Task};

/// Bytes of the largest proof that is taken.
const PROOF_BYTES_MAX: usize = 1 << 20;
/// Proofs that are remembered, to know one that comes again.
const SEEN_MAX: usize = 1 << 16;
/// Workers that have a row in the ledger; more share the last one.
const WORKERS_MAX: usize = 1024;

#[derive(Debug)]
struct Session {
    worker: Option<String>,
    encoding: Encoding,
    jobs: VecDeque<Job>,
    target: Target,
    fixed: bool,
    /// Work and number of shares since the target was last looked at.
    work: f64,
    shares: u32,
    since: Instant,
    /// Multiply-accumulates a second, as far as is known.
    rate: Option<f64>,
    /// Whether the rate is more than a first impression.
    known: bool,
    verifying: usize,
}

/// The pool.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    task: Option<Task>,
    serial: u32,
    sessions: BTreeMap<u64, Session>,
    rows: BTreeMap<String, Row>,
    seen: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
    acts: Vec<Act>,
}

impl Core {
    /// A pool without work and sessions.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            task: None,
            serial: 0,
            sessions: BTreeMap::new(),
            rows: BTreeMap::new(),
            seen: BTreeSet::new(),
            order: VecDeque::new(),
            acts: Vec::new(),
        }
    }

    /// What is to be done.
    pub fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// The ledger: a row for each worker.
    pub fn ledger(&self) -> &BTreeMap<String, Row> {
        &self.rows
    }

    /// The ledger as JSON, as it is served at `/ledger`.
    pub fn ledger_json(&self) -> String {
        serde_json::json!({ "schema": 1, "workers": self.rows }).to_string()
    }

    /// The network wants something else mined: every session gets a job.
    pub fn work(&mut self, task: Task, now: Instant) {
        let event = PoolEvent::Work { height: task.height, nbits: task.header.nbits().to_string() };
        self.acts.push(Act::Tell(event));
        let same_tip = self.task.as_ref().is_some_and(|last| tip(&last.header) == tip(&task.header));
        self.task = Some(task);
        let sessions: Vec<u64> = self.sessions.keys().copied().collect();
        for session in sessions {
            if !same_tip && let Some(session) = self.sessions.get_mut(&session) {
                session.jobs.clear();
            }
            self.notify(session, now);
        }
    }

    /// Somebody connected.
    pub fn open(&mut self, session: u64, now: Instant) {
        let target = match self.settings.difficulty {
            Some(difficulty) => target_of(difficulty),
            None => CompactTarget(pace::compact(self.settings.first_work.max(pace::work_of(pace::EASIEST))))
                .target(),
        };
        self.sessions.insert(
            session,
            Session {
                worker: None,
                encoding: Encoding::Plain,
                jobs: VecDeque::new(),
                target,
                fixed: self.settings.difficulty.is_some(),
                work: 0.0,
                shares: 0,
                since: now,
                rate: None,
                known: false,
                verifying: 0,
            },
        );
    }

    /// Somebody is gone.
    pub fn close(&mut self, session: u64) {
        self.sessions.remove(&session);
    }

    /// Whether a session has logged in.
    pub fn is_in(&self, session: u64) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.worker.is_some())
    }

    /// A line came.
    pub fn line(&mut self, session: u64, line: &str, now: Instant) {
        if !self.sessions.contains_key(&session) || line.trim().is_empty() {
            return;
        }
        let FromMiner { id, what } = match read(line) {
            Ok(message) => message,
            Err(err) => return self.send(session, to_miner::refuse("null", -32700, &err.to_string())),
        };
        match what {
            Request::Authorize(login) => self.login(session, &id, login, now),
            Request::Submit(share) => self.share(session, &id, &share, now),
            Request::Ping => self.send(session, to_miner::answer(&id, "pong")),
            Request::Subscribe(_) => self.send(session, to_miner::accept(&id)),
            Request::Malformed(why) => {
                let code = if why == "Wallet is missing" { 24 } else { 20 };
                self.fate(session, Fate::Malformed, 0.0, Some(&why));
                self.send(session, to_miner::refuse(&id, code, &why));
            }
            Request::Other(method) => {
                self.send(session, to_miner::refuse(&id, 25, &format!("unknown method {method}")));
            }
        }
    }

    fn login(&mut self, session: u64, id: &str, login: Credentials, now: Instant) {
        let Credentials { dialect, wallet, worker, agent, password, wants } = login;
        match dialect {
            Dialect::Object if !self.settings.object => {
                return self.send(session, to_miner::refuse(id, 20, "params must be an array"));
            }
            Dialect::Array if !self.settings.array => {
                return self.send(session, to_miner::refuse(id, 20, "params must be an object"));
            }
            _ => {}
        }
        let (wallet, worker) = match wallet.split_once(['.', '/']) {
            Some((wallet, rig)) if worker.is_empty() => (wallet.to_owned(), rig.to_owned()),
            _ => (wallet, worker),
        };
        if wallet.is_empty() {
            return self.send(session, to_miner::refuse(id, 24, "Wallet is missing"));
        }
        let bare = wallet.strip_prefix("solo:").unwrap_or(&wallet);
        let bare = bare.split(['.', '/', '+']).next().unwrap_or_default();
        // The network pays nobody; that an address is none is told all the same, because every pool does.
        if bare.starts_with("prl1") && bare.parse::<pearl_pow::Address>().is_err() {
            return self.send(session, to_miner::refuse(id, 24, "Invalid Pearl address"));
        }
        let name = foreign(&if worker.is_empty() { wallet } else { format!("{wallet}.{worker}") });
        let Some(row) = self.sessions.get_mut(&session) else { return };
        let known = self.rows.contains_key(&name) || self.rows.len() < WORKERS_MAX;
        let name = if known { name } else { "others".to_owned() };
        self.rows.entry(name.clone()).or_default();
        row.worker = Some(name.clone());
        row.encoding = wants.as_deref().and_then(Encoding::from_word).unwrap_or(Encoding::Plain);
        if let Some(difficulty) = asked_difficulty(&password) {
            row.target = target_of(difficulty);
            row.fixed = true;
        }
        let encoding = row.encoding.word();
        self.acts.push(Act::Tell(PoolEvent::Login { worker: name, agent: foreign(&agent) }));
        self.send(session, to_miner::acknowledge(id, Some(encoding)));
        self.notify(session, now);
    }

    /// Gives a session a job of the present work at its present target.
    fn notify(&mut self, session: u64, now: Instant) {
        let (Some(task), Some(row)) = (&self.task, self.sessions.get_mut(&session)) else { return };
        if row.worker.is_none() {
            return;
        }
        // Never harder than the network's: a block would be thrown away.
        let target = row.target.max(task.header.nbits().target());
        self.serial = self.serial.wrapping_add(1);
        let difficulty = shown_difficulty(target);
        let name = format!("{:08x}-{}", self.serial, session);
        let job = Job { name, task: task.clone(), target, issued: now, credited: 0 };
        let line = to_miner::notify(&to_miner::Job {
            id: &job.name,
            header: &task.header,
            target,
            height: task.height,
            certificate_version: task.certificate_version,
            label: difficulty,
        });
        let changed = row.jobs.back().is_none_or(|last| last.target != target);
        if row.jobs.len() >= self.settings.keeps {
            row.jobs.pop_front();
        }
        row.jobs.push_back(job);
        if changed {
            row.since = now;
            (row.work, row.shares) = (0.0, 0);
            self.send(session, to_miner::set_difficulty(difficulty));
        }
        self.send(session, line);
    }

    fn share(&mut self, session: u64, id: &str, share: &Share, now: Instant) {
        let Some(row) = self.sessions.get(&session) else { return };
        if row.worker.is_none() {
            return self.send(session, to_miner::refuse(id, 24, "Not authorized"));
        }
        if share.positional {
            self.fate(session, Fate::Malformed, 0.0, Some("an array"));
            return self.send(session, to_miner::refuse(id, 20, "Unsupported submit format"));
        }
        let encoding = match share.encoding.as_deref() {
            Some("gzip") => Encoding::Gzip,
            _ => row.encoding,
        };
        let name: String = serde_json::from_str(&share.job_id).unwrap_or_default();
        let job = row.jobs.iter().find(|job| job.name == name).cloned();
        let busy = row.verifying >= self.settings.verifying;
        let Some(job) = job else {
            self.fate(session, Fate::Stale, 0.0, Some("its job is not on offer"));
            return self.send(session, to_miner::refuse(id, 21, "Job not found"));
        };
        let work = work_f64(job.target);
        let proof = match encoding.decode(&share.proof, PROOF_BYTES_MAX) {
            Ok(proof) => proof,
            Err(err) => {
                self.fate(session, Fate::Invalid, work, Some(&err.to_string()));
                return self.send(session, to_miner::refuse(id, 20, &format!("Invalid proof: {err}")));
            }
        };
        let digest = *blake3::hash(&proof).as_bytes();
        if !self.seen.insert(digest) {
            self.fate(session, Fate::Duplicate, work, None);
            return self.send(session, to_miner::refuse(id, 22, "Duplicate share"));
        }
        self.order.push_back(digest);
        if self.order.len() > SEEN_MAX
            && let Some(old) = self.order.pop_front()
        {
            self.seen.remove(&old);
        }
        if busy {
            self.fate(session, Fate::Invalid, work, Some("too many shares at once"));
            return self.send(session, to_miner::refuse(id, 20, "Invalid share: too many at once"));
        }
        if let Some(row) = self.sessions.get_mut(&session) {
            row.verifying += 1;
        }
        let candidate = Candidate { session, id: id.to_owned(), job, proof, at: now };
        self.acts.push(Act::Verify(Box::new(candidate)));
    }

    /// A share was verified. Its session may be gone: then nobody is told, and what is valid is credited all the same.
    pub fn verified(&mut self, candidate: &Candidate, worker: &str, checked: Checked, now: Instant) {
        let Candidate { session, id, job, .. } = candidate;
        let work = work_f64(job.target);
        let current = self.task.as_ref().is_some_and(|task| tip(&task.header) == tip(&job.task.header));
        let (fate, line) = match checked {
            Checked::Valid { .. } if current => (Fate::Accepted, to_miner::accept(id)),
            Checked::Valid { .. } => {
                (Fate::Stale, to_miner::refuse(id, 21, "Stale share: the chain advanced"))
            }
            Checked::TooWeak => (Fate::LowDifficulty, to_miner::refuse(id, 23, "Low difficulty share")),
            Checked::Invalid => (
                Fate::Invalid,
                to_miner::refuse(
                    id,
                    20,
                    "Jackpot condition not satisfied: hash does not meet difficulty target",
                ),
            ),
        };
        self.count(worker, fate, work, None);
        if let Some(row) = self.sessions.get_mut(session) {
            row.verifying = row.verifying.saturating_sub(1);
            if fate == Fate::Accepted {
                row.work += work;
                row.shares += 1;
            }
            self.send(*session, line);
            if fate == Fate::Accepted {
                self.impression(candidate, now);
            }
            self.adjust(*session, now);
        }
    }

    /// A share of `worker` became a block.
    pub fn block(&mut self, worker: &str, height: u64, hash: String) {
        self.rows.entry(worker.to_owned()).or_default().blocks += 1;
        self.acts.push(Act::Tell(PoolEvent::Block { height, hash, worker: worker.to_owned() }));
    }

    /// The name of a session's worker.
    pub fn worker(&self, session: u64) -> Option<String> {
        self.sessions.get(&session)?.worker.clone()
    }

    /// The time is `now`: sessions that found nothing for long get an easier target.
    pub fn tick(&mut self, now: Instant) {
        let sessions: Vec<u64> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.adjust(session, now);
        }
    }

    fn fate(&mut self, session: u64, fate: Fate, work: f64, reason: Option<&str>) {
        let Some(worker) = self.worker(session) else { return };
        self.count(&worker, fate, work, reason);
    }

    fn count(&mut self, worker: &str, fate: Fate, work: f64, reason: Option<&str>) {
        let row = self.rows.entry(worker.to_owned()).or_default();
        *row.shares.entry(fate).or_default() += 1;
        if fate == Fate::Accepted {
            row.credited += work;
        }
        self.acts.push(Act::Tell(PoolEvent::Share {
            worker: worker.to_owned(),
            fate,
            work,
            reason: reason.map(str::to_owned),
        }));
    }

    fn send(&mut self, session: u64, line: String) {
        self.acts.push(Act::Send { session, line });
    }
}

/// Verifies a share as the network does. Takes milliseconds: not for a tokio task.
pub fn check(job: &Job, proof: &[u8]) -> Checked {
    let Ok(certificate) = job.task.certificate_version.try_into() else { return Checked::Invalid };
    // As pools do: with a target in compact form.
    let target = crate::work::stratum::target::rounded(job.target);
    let rules =
        pearl_pow::Job { header: job.task.header, target: Some(target), certificate, rank_penalty: true };
    match pearl_pow::verify_bytes(&rules, proof) {
        Ok(verified) => Checked::Valid { block: verified.meets(job.task.header.nbits().target(), true) },
        Err(pearl_pow::Rejection::Difficulty { .. } | pearl_pow::Rejection::RankPenalty { .. }) => {
            Checked::TooWeak
        }
        Err(_) => Checked::Invalid,
    }
}

fn tip(header: &Header) -> [u8; 32] {
    header.as_bytes()[4..36].try_into().expect("32 bytes of 76")
}

/// `d=N` among the options of a password.
fn asked_difficulty(password: &str) -> Option<f64> {
    let option = password.split([';', ',', ' ']).find_map(|option| option.trim().strip_prefix("d="))?;
    option.parse::<f64>().ok().filter(|difficulty| difficulty.is_finite() && *difficulty > 0.0)
}

/// The compact target nearest below the one of a difficulty, no easier than the network's easiest.
fn target_of(difficulty: f64) -> Target {
    // One unit is 2^48 / 65535 hashes (section 6.1).
    let work = (difficulty * 2f64.powi(48) / 65535.0).clamp(pace::work_of(pace::EASIEST), 2f64.powi(72));
    CompactTarget(pace::compact(work)).target()
}

#[cfg(test)]
mod tests;
