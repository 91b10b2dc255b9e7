//! One seat: what it was given, what it has handed in, and who sits there.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::guest::Reply;
use crate::miner::frame::WireJob;
use crate::port::wire::Dialect;

/// Jobs of one seat that are remembered here; the supervisor remembers more.
const JOBS_MAX: usize = 64;
/// Proofs of one seat that may be with the supervisor.
const PROOFS_MAX: usize = 8;
/// Their bytes, where there is more than one.
const PROOF_BYTES_MAX: usize = 1 << 20;
/// How long a seat is kept for a program without a connection.
pub const LINGER: Duration = Duration::from_secs(30);

/// One seat.
#[derive(Debug)]
pub struct Chair {
    /// Its language.
    pub dialect: Dialect,
    /// Whose it is: a process, or whoever comes from this address.
    pub pid: Option<u32>,
    /// Where from.
    pub address: String,
    /// Why it gets no work, if so.
    pub bar: Option<String>,
    /// Connections.
    pub guests: usize,
    /// Since when there is none.
    pub empty_since: Option<Instant>,
    /// When it was heard last.
    pub heard: Instant,
    /// Requests in all.
    pub requests: u64,
    jobs: VecDeque<WireJob>,
    /// Whether the last of them is to be given out.
    offered: bool,
    seated: bool,
    took: u64,
    judging: HashMap<u64, (u64, Reply, usize)>,
    sequence: u64,
    bytes: usize,
    polls: VecDeque<Instant>,
}

impl Chair {
    /// A seat that was just taken.
    pub fn new(dialect: Dialect, pid: Option<u32>, address: String, now: Instant) -> Self {
        Self {
            dialect,
            pid,
            address,
            bar: None,
            guests: 0,
            empty_since: None,
            heard: now,
            requests: 0,
            jobs: VecDeque::new(),
            offered: false,
            seated: false,
            took: 0,
            judging: HashMap::new(),
            sequence: 0,
            bytes: 0,
            polls: VecDeque::new(),
        }
    }

    /// There is a new job for it.
    pub fn put(&mut self, job: WireJob) {
        self.bar = None;
        self.offered = true;
        self.keep(job);
    }

    /// A job that it was given over a connection that is gone: known, and not given out again.
    pub fn put_earlier(&mut self, job: WireJob) {
        if !self.offered {
            self.keep(job);
        }
    }

    fn keep(&mut self, job: WireJob) {
        if self.jobs.len() == JOBS_MAX {
            self.jobs.pop_front();
        }
        self.jobs.push_back(job);
    }

    /// Every job that it knows has been told here.
    pub fn is_seated(&self) -> bool {
        self.seated
    }

    /// The supervisor has told all that it knows of it.
    pub fn seat(&mut self) {
        self.seated = true;
    }

    /// The newest job.
    pub fn job(&self) -> Option<&WireJob> {
        self.jobs.back().filter(|_| self.offered)
    }

    /// The program was given the newest job; answers its number the first time.
    pub fn took(&mut self) -> Option<u64> {
        let id = self.job()?.id;
        (std::mem::replace(&mut self.took, id) != id).then_some(id)
    }

    /// The job that has this header, and of several the one whose target is nearest to `target`.
    pub fn job_of(&self, header: &[u8; 76], target: f64) -> Option<u64> {
        let far = |job: &&WireJob| {
            let own = pearl_pow::U256::from_le_bytes(job.target).to_string().parse::<f64>().unwrap_or(0.0);
            (own - target).abs()
        };
        let same = self.jobs.iter().rev().filter(|job| job.header == *header);
        same.min_by(|a, b| far(a).total_cmp(&far(b))).map(|job| job.id)
    }

    /// It asked for something.
    pub fn heard(&mut self, polls: bool, now: Instant) {
        self.heard = now;
        self.requests += 1;
        if polls {
            self.polls.push_back(now);
            self.forget_polls(now);
        }
    }

    /// Questions for a job in the last ten seconds.
    pub fn polls(&mut self, now: Instant) -> usize {
        self.forget_polls(now);
        self.polls.len()
    }

    fn forget_polls(&mut self, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) > Duration::from_secs(10);
        while self.polls.front().is_some_and(old) || self.polls.len() > 4096 {
            self.polls.pop_front();
        }
    }

    /// Whether a proof of `bytes` may go to the supervisor now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.judging.is_empty()
            || self.judging.len() < PROOFS_MAX && self.bytes.saturating_add(bytes) <= PROOF_BYTES_MAX
    }

    /// A proof of `bytes` goes to the supervisor; answers its number.
    pub fn hands_in(&mut self, guest: u64, reply: Reply, bytes: usize) -> u64 {
        self.sequence += 1;
        self.bytes += bytes;
        self.judging.insert(self.sequence, (guest, reply, bytes));
        self.sequence
    }

    /// It was judged: whom to answer, how, and how many bytes it had.
    pub fn judged(&mut self, sequence: u64) -> Option<(u64, Reply, usize)> {
        let judged = self.judging.remove(&sequence)?;
        self.bytes -= judged.2;
        Some(judged)
    }

    /// Bytes of proofs that are with the supervisor.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
