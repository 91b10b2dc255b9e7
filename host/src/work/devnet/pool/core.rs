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
use std::time::{Duration, Instant};

use pearl_pow::{CompactTarget, Header, Target};
use serde::Serialize;

use crate::text::foreign;
use crate::work::devnet::pace;
use crate::work::stratum::from_miner::{Credentials, FromMiner, Request, Share, read};
use crate::work::stratum::target::{shown_difficulty, work_f64};
use crate::work::stratum::to_pool::Dialect;
use crate::work::stratum::{Encoding, to_miner};

/// Bytes of the largest proof that is taken.
const PROOF_BYTES_MAX: usize = 1 << 20;
/// Proofs that are remembered, to know one that comes again.
const SEEN_MAX: usize = 1 << 16;
/// Workers that have a row in the ledger; more share the last one.
const WORKERS_MAX: usize = 1024;
/// Most that a session's target changes at once.
const STEP: f64 = 4.0;
/// The same while its speed is not known yet.
const LEAP: f64 = 64.0;
/// Shares after which a session's speed is looked at.
const SHARES: u32 = 6;
/// How much of the speed that the first, second, third share of a job show is believed: one share may be luck.
const BELIEVED: [f64; 3] = [0.25, 0.5, 0.75];
/// Intervals without a share after which a target is made easier.
const PATIENCE: f64 = 6.0;
/// The same while the session's speed is not known yet.
const PATIENCE_AT_FIRST: f64 = 2.0;
/// The shortest time that a speed is measured over: the way of a line through both programs.
const MOMENT: f64 = 0.005;

/// A share's work at first: three seconds of a slow processor. A fast one's ten first shares say how much harder to go.
const FIRST_WORK: f64 = (1_u64 << 28) as f64;

/// How the pool behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between two shares of a session to aim at.
    pub interval: Duration,
    /// The same difficulty for everybody, instead.
    pub difficulty: Option<f64>,
    /// Work of a share of a session whose speed is not known yet, in multiply-accumulates.
    pub first_work: f64,
    /// Jobs of a session that are good, the newest included.
    pub keeps: usize,
    /// Shares of one session that may be in the verifier: more than a miner has in flight that frees a slow line at once.
    pub verifying: usize,
    /// Whether logins as an object are taken.
    pub object: bool,
    /// Whether logins as an array are taken.
    pub array: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3),
            difficulty: None,
            first_work: FIRST_WORK,
            keeps: 16,
            verifying: 64,
            object: true,
            array: true,
        }
    }
}

/// What the network wants mined.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The header.
    pub header: Header,
    /// The certificate version.
    pub certificate_version: u32,
    /// Height of the block in the making.
    pub height: Option<u64>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Send a line to a session.
    Send {
        /// The session.
        session: u64,
        /// Without its newline.
        line: String,
    },
    /// Verify a share and tell [`Core::verified`].
    Verify(Box<Candidate>),
    /// The sessions do so many multiply-accumulates a second together, as far as is known.
    Rate(f64),
    /// Something happened.
    Tell(PoolEvent),
}

/// A share to be verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The session.
    pub session: u64,
    /// The id to answer under, as JSON text.
    pub id: String,
    /// The job.
    pub job: Job,
    /// The proof's bytes.
    pub proof: Vec<u8>,
    /// When it came.
    pub at: Instant,
}

/// A job of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// What the network wants.
    pub task: Task,
    /// What a share must meet.
    pub target: Target,
    /// When it was given out.
    pub issued: Instant,
    /// Shares of it that were credited.
    pub credited: u32,
}

/// What a verifier found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// A share; and whether it is a block, too.
    Valid {
        /// Whether it meets the network's target.
        block: bool,
    },
    /// A good proof above the share's target.
    TooWeak,
    /// No good proof.
    Invalid,
}

/// What became of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Credited.
    Accepted,
    /// Its job is over.
    Stale,
    /// It came before.
    Duplicate,
    /// Above the target.
    LowDifficulty,
    /// No good proof.
    Invalid,
    /// Not understood.
    Malformed,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PoolEvent {
    /// A worker logged in.
    Login {
        /// Its name.
        worker: String,
        /// Its program.
        agent: String,
    },
    /// A share has its fate.
    Share {
        /// Whose.
        worker: String,
        /// Its fate.
        fate: Fate,
        /// Multiply-accumulates that it stands for.
        work: f64,
        /// Why, where it was not credited.
        reason: Option<String>,
    },
    /// The network has a new job.
    Work {
        /// Height of the block in the making.
        height: Option<u64>,
        /// Its compact target.
        nbits: String,
    },
    /// A share became a block.
    Block {
        /// Its height.
        height: u64,
        /// Its hash as explorers print it.
        hash: String,
        /// Whose share it was.
        worker: String,
    },
    /// Something worth a line.
    Note {
        /// The line.
        text: String,
    },
}

/// A worker's row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Shares by fate.
    pub shares: BTreeMap<Fate, u64>,
    /// Multiply-accumulates of the credited ones: the sum of W.
    pub credited: f64,
    /// Blocks.
    pub blocks: u64,
}

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

    /// What a share says of a session whose speed is not known yet: the first ones come all at once where its target is
    /// far too easy, and a miner that minds its manners then sends no more than two a second, which say nothing.
    fn impression(&mut self, candidate: &Candidate, now: Instant) {
        let interval = self.settings.interval.as_secs_f64();
        let Some(row) = self.sessions.get_mut(&candidate.session) else { return };
        let Some(job) = row.jobs.iter_mut().find(|job| job.name == candidate.job.name) else { return };
        job.credited += 1;
        let shares = job.credited;
        let seconds = candidate.at.saturating_duration_since(job.issued).as_secs_f64().max(MOMENT);
        let shown = f64::from(shares) * work_f64(job.target) / seconds;
        let believed = BELIEVED.get(shares as usize - 1).copied().unwrap_or(1.0);
        let Some(present) = row.jobs.back().map(|job| work_f64(job.target)) else { return };
        let wanted = (shown * believed * interval).min(present * LEAP);
        if row.fixed || row.known || wanted < 2.0 * present {
            return;
        }
        row.rate = Some(shown * believed);
        self.retarget(candidate.session, wanted, now);
    }

    /// Follows a session's speed.
    fn adjust(&mut self, session: u64, now: Instant) {
        let interval = self.settings.interval.as_secs_f64();
        let Some(row) = self.sessions.get_mut(&session) else { return };
        let Some(job) = row.jobs.back() else { return };
        if row.fixed {
            return;
        }
        let elapsed = now.saturating_duration_since(row.since).as_secs_f64().max(1e-3);
        let present = work_f64(job.target);
        let patience = if row.known { PATIENCE } else { PATIENCE_AT_FIRST };
        let idle = row.shares == 0 && elapsed > patience * interval;
        if row.shares < SHARES && !idle {
            return;
        }
        let wanted = if idle {
            row.rate = None;
            present / STEP
        } else {
            row.known = true;
            row.rate = Some(row.work / elapsed);
            row.work / elapsed * interval
        };
        let wanted = wanted.clamp(present / STEP, present * STEP);
        row.since = now;
        (row.work, row.shares) = (0.0, 0);
        // A change that nobody would notice is none.
        if (wanted / present - 1.0).abs() >= 0.2 {
            self.retarget(session, wanted, now);
        } else {
            self.tell_rate();
        }
    }

    fn tell_rate(&mut self) {
        let rates: f64 = self.sessions.values().filter_map(|row| row.rate).sum();
        if rates > 0.0 {
            self.acts.push(Act::Rate(rates));
        }
    }

    /// A share of a session shall take `work` from now on.
    fn retarget(&mut self, session: u64, work: f64, now: Instant) {
        let Some(row) = self.sessions.get_mut(&session) else { return };
        row.target = CompactTarget(pace::compact(work.max(pace::work_of(pace::EASIEST)))).target();
        self.tell_rate();
        self.notify(session, now);
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
mod tests {
    use super::*;
    use crate::work::pool::pace::Limiter;
    use crate::work::stratum::to_pool::{Login, Signature, Submit, authorize, submit};

    /// A miner of a given speed that minds a pool client's manners, and what became of its shares.
    struct Miner {
        rate: f64,
        limiter: Limiter,
        /// Hashes until the next share, for one of work 1.
        ahead: f64,
        spread: f64,
        found: u64,
        dropped: u64,
    }

    impl Miner {
        /// Shares that it finds in a time, at a target.
        fn shares(&mut self, time: Duration, target: Target) -> u64 {
            self.ahead -= self.rate * time.as_secs_f64() / work_f64(target);
            let before = self.found;
            while self.ahead <= 0.0 {
                // A fixed sequence that covers the exponential distribution evenly.
                self.spread = (self.spread + 0.618_033_988_75).fract();
                self.ahead += -(1.0 - self.spread).ln();
                self.found += 1;
            }
            self.found - before
        }
    }

    /// When the shares of two minutes were credited, and how many shares its manners made the miner drop until then: in all,
    /// and of those in the second minute.
    fn play(rate: f64) -> (Vec<f64>, u64, u64) {
        const STEP: Duration = Duration::from_millis(1);
        const LATENCY: Duration = Duration::from_millis(5);
        const SWITCH: Duration = Duration::from_millis(60);
        let start = Instant::now();
        let mut core = Core::new(Settings::default());
        let header = Header::new(0x2000_0000, [7; 32], [2; 32], 1_790_000_000, 0x1900_ffff);
        core.work(Task { header, certificate_version: 3, height: None }, start);
        core.open(1, start);
        let login = Login {
            wallet: "solo:me".to_owned(),
            worker: "rig".to_owned(),
            agent: "test/1".to_owned(),
            password: "x".to_owned(),
        };
        core.line(1, &authorize(1, Dialect::Object, &login, Encoding::Plain), start);
        let mut miner =
            Miner { rate, limiter: Limiter::new(start), ahead: 1.0, spread: 0.37, found: 0, dropped: 0 };
        let (mut offers, mut verdicts) = (VecDeque::new(), VecDeque::new());
        let mut work: Option<Job> = None;
        let (mut credited, mut early, mut number) = (Vec::new(), 0, 0_u64);
        let mut now = start;
        while now < start + Duration::from_secs(120) {
            for act in core.acts() {
                match act {
                    Act::Send { line, .. } if line.contains("mining.notify") => {
                        let job = core.sessions[&1].jobs.back().expect("it was just sent").clone();
                        offers.push_back((now + SWITCH, job));
                    }
                    Act::Verify(candidate) => verdicts.push_back((now + LATENCY, candidate)),
                    _ => {}
                }
            }
            while offers.front().is_some_and(|(at, _)| *at <= now) {
                work = offers.pop_front().map(|(_, job)| job);
            }
            while verdicts.front().is_some_and(|(at, _)| *at <= now) {
                let Some((_, candidate)) = verdicts.pop_front() else { break };
                credited.push(now.duration_since(start).as_secs_f64());
                core.verified(&candidate, "me.rig", Checked::Valid { block: false }, now);
            }
            if let Some(job) = &work {
                for _ in 0..miner.shares(STEP, job.target) {
                    if !miner.limiter.pass(now) {
                        miner.dropped += 1;
                        continue;
                    }
                    number += 1;
                    let share = Submit {
                        id: number + 1,
                        login: &login,
                        signature: Signature::Both,
                        job_id: &format!("\"{}\"", job.name),
                        proof: &number.to_le_bytes(),
                        encoding: Encoding::Plain,
                        names_encoding: false,
                    };
                    core.line(1, &submit(&share), now);
                }
            }
            if now.duration_since(start) == Duration::from_secs(60) {
                early = miner.dropped;
            }
            now += STEP;
            if now.duration_since(start).subsec_millis() == 0 {
                core.tick(now);
            }
        }
        (credited, early, miner.dropped - early)
    }

    #[test]
    fn a_miner_of_any_speed_is_credited_within_ten_seconds_and_soon_drops_no_shares() {
        // From an old processor to a room full of cards.
        for rate in [2e7, 1e8, 1e9, 2e10, 1e11, 4e11, 1e13] {
            let (credited, early, later) = play(rate);
            assert!(credited.first().is_some_and(|first| *first <= 10.0), "{rate}: {credited:?}");
            assert_eq!(later, 0, "{rate}: {credited:?}");
            // Of a processor's shares few are dropped even before its speed is known.
            assert!(rate > 4e11 || early < 150, "{rate}: {early} dropped, {credited:?}");
            let steady = credited.iter().filter(|at| **at >= 60.0).count();
            assert!((10..=50).contains(&steady), "{rate}: {steady} in the second minute, {credited:?}");
        }
    }

    #[test]
    fn the_first_share_alone_is_not_believed_whole_and_a_known_speed_moves_in_small_steps() {
        let start = Instant::now();
        let mut core = Core::new(Settings::default());
        let header = Header::new(0x2000_0000, [7; 32], [2; 32], 1_790_000_000, 0x1900_ffff);
        core.work(Task { header, certificate_version: 3, height: None }, start);
        core.open(1, start);
        core.line(1, r#"{"id":1,"method":"mining.authorize","params":{"wallet":"me","worker":"r"}}"#, start);
        let work = |core: &Core| work_f64(core.sessions[&1].jobs.back().unwrap().target);
        let share = |core: &mut Core, number: u64, now: Instant| {
            let job = core.sessions[&1].jobs.back().unwrap().clone();
            let candidate = Candidate { session: 1, id: number.to_string(), job, proof: vec![], at: now };
            core.verified(&candidate, "me.r", Checked::Valid { block: false }, now);
        };
        let before = work(&core);
        // A tenth of a second for what should take three: thirty times as hard, of which a quarter is believed.
        share(&mut core, 1, start + Duration::from_millis(100));
        let ratio = work(&core) / before;
        assert!((7.4..7.6).contains(&ratio), "{ratio}");
        // Six shares in the time they should take: known from now on, and ten times as fast is four times as hard.
        let mut now = start + Duration::from_millis(100);
        for number in 2..8 {
            now += Duration::from_secs(3);
            share(&mut core, number, now);
        }
        assert!(core.sessions[&1].known);
        let before = work(&core);
        for number in 8..14 {
            now += Duration::from_millis(300);
            share(&mut core, number, now);
        }
        let ratio = work(&core) / before;
        assert!((3.9..4.1).contains(&ratio), "{ratio}");
    }
}
