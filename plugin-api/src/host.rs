//! The host as a provider sees it: jobs in, proofs and progress out.

use std::ffi::c_void;
use std::fmt;
use std::time::Duration;

use crate::abi::lend::Collector;
use crate::abi::v1;

/// The details of a job are read up to so many bytes.
const MAX_JOB_DETAILS_BYTES: usize = 1024 * 1024;

/// What a provider may ask of the process it runs in. Since 1.0.0.
///
/// Clones are cheap and may be sent to and used from any thread, all at the same time. [`is_stale`](Self::is_stale) and
/// [`progress`](Self::progress) never wait; the others may.
pub struct Host {
    table: v1::HostTable,
}

/// One unit of work. Since 1.0.0.
///
/// Byte layouts are those of the Pearl protocol; this crate does not interpret them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job {
    /// The host's name for this job, unique within the process and never 0.
    pub id: u64,
    /// The incomplete block header. A miner changes no byte of it.
    pub header: [u8; 76],
    /// The unscaled target, of a block or of a pool's share: a 256-bit number, least significant byte first. A miner
    /// scales it by its tile itself.
    pub target: [u8; 32],
    /// Which certificate the network wants; it decides about the seed rule.
    pub certificate_version: u32,
    /// Whether the network holds the jackpot against the penalised bound.
    pub rank_penalty: bool,
}

/// The answer of [`Host::next_job`]. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextJob {
    /// A job that was not handed out before; every older one is stale.
    Job(Job),
    /// There was none in that time.
    TimedOut,
    /// The session is ending: there will be none.
    Stopped,
}

/// Why a proof was not taken. Since 1.0.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The job is no longer current; the proof is worth nothing.
    #[error("the job is stale")]
    Stale,
    /// No job with that id was handed out.
    #[error("no such job was handed out")]
    UnknownJob,
    /// More bytes than any valid proof has.
    #[error("the proof is larger than any valid one")]
    TooLarge,
    /// The session is ending.
    #[error("the session is ending")]
    Stopped,
}

/// How much a log line matters. Since 1.0.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Mining suffers.
    Error = 1,
    /// Mining may suffer.
    Warn = 2,
    /// Worth telling once.
    Info = 3,
    /// For the author.
    Debug = 4,
    /// For the author, in quantity.
    Trace = 5,
}

impl LogLevel {
    /// The level with that number; what is out of range becomes the nearest one.
    pub fn from_number(level: u32) -> Self {
        match level {
            0 | 1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

impl Job {
    /// A job, for hosts and for tests that act as one; the arguments are the fields.
    pub fn new(
        id: u64,
        header: [u8; 76],
        target: [u8; 32],
        certificate_version: u32,
        rank_penalty: bool,
    ) -> Self {
        Self { id, header, target, certificate_version, rank_penalty }
    }
}

impl Host {
    /// Waits for a job that was not handed out before, at most `timeout` (counted in whole milliseconds, at most about
    /// 49 days).
    ///
    /// Each job is handed out once: a provider with many threads or devices takes it in one place and shares it.
    pub fn next_job(&self, timeout: Duration) -> NextJob {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let mut job = v1::Job {
            id: 0,
            header: [0; 76],
            certificate_version: 0,
            target: [0; 32],
            flags: 0,
            reserved: 0,
        };
        // SAFETY: the table's functions take its own context, to which this value holds a reference, from any thread;
        // `job` is valid for writes during the call.
        let answer = unsafe { (self.table.next_job)(self.table.context, timeout_ms, &raw mut job) };
        match answer {
            v1::NEXT_JOB => NextJob::Job(job.into()),
            v1::NEXT_TIMED_OUT => NextJob::TimedOut,
            _ => NextJob::Stopped,
        }
    }

    /// Whether work on the job is wasted. Costs one load from memory, so ask often.
    pub fn is_stale(&self, job_id: u64) -> bool {
        // SAFETY: as in `next_job`.
        unsafe { (self.table.is_stale)(self.table.context, job_id) != 0 }
    }

    /// Hands in a plain proof (the protocol's bytes, not its text form) for the job.
    ///
    /// `Ok` means that it was taken for verification; what becomes of it is the host's business. It may wait until the
    /// host has put the proof where it cannot be lost.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; the proof is dropped.
    pub fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        // SAFETY: as in `next_job`; the bytes outlive the call.
        let answer = unsafe { (self.table.submit)(self.table.context, job_id, v1::Bytes::lend(proof)) };
        match answer {
            v1::SUBMIT_TAKEN => Ok(()),
            v1::SUBMIT_STALE => Err(SubmitError::Stale),
            v1::SUBMIT_UNKNOWN_JOB => Err(SubmitError::UnknownJob),
            v1::SUBMIT_TOO_LARGE => Err(SubmitError::TooLarge),
            _ => Err(SubmitError::Stopped),
        }
    }

    /// Reports hashes (int8 multiply-accumulates) done since the last report, of whichever thread. Ten times a second
    /// is plenty.
    pub fn progress(&self, hashes: u64) {
        // SAFETY: as in `next_job`.
        unsafe { (self.table.progress)(self.table.context, hashes) }
    }

    /// Writes one line to the session's log. Long lines are cut, and who writes too many is cut short.
    pub fn log(&self, level: LogLevel, message: &str) {
        // SAFETY: as in `next_job`; the text outlives the call.
        unsafe { (self.table.log)(self.table.context, level as u32, v1::Bytes::lend(message.as_bytes())) }
    }

    /// What the fields of the job do not hold, such as the ancestors' headers that a later certificate version needs:
    /// an object that grows with the protocol. Empty where the host has nothing to add, as for certificate versions 1
    /// to 3, which need no more than the fields.
    pub fn job_details(&self, job_id: u64) -> serde_json::Map<String, serde_json::Value> {
        let mut details = Collector::new(MAX_JOB_DETAILS_BYTES);
        // SAFETY: as in `next_job`; the sink is used during the call only.
        unsafe { (self.table.job_details)(self.table.context, job_id, details.sink()) };
        serde_json::from_slice(&details.finish().0).unwrap_or_default()
    }

    /// Takes a reference to the context of `table`.
    ///
    /// # Safety
    ///
    /// The table's functions must follow the contract of [`v1::HostTable`], and its context must be valid now.
    pub(crate) unsafe fn retain(table: v1::HostTable) -> Self {
        // SAFETY: the caller vouches for the table and its context.
        unsafe { (table.retain)(table.context) }
        Self { table }
    }
}

impl Clone for Host {
    fn clone(&self) -> Self {
        // SAFETY: this value holds a reference to the context, so it is valid.
        unsafe { Self::retain(self.table) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: gives back the one reference that this value took when it was made.
        unsafe { (self.table.release)(self.table.context) }
    }
}

// SAFETY: the contract of `v1::HostTable` allows every function from any thread, also at the same time.
unsafe impl Send for Host {}
// SAFETY: as for `Send`.
unsafe impl Sync for Host {}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("context", &(self.table.context as *const c_void)).finish()
    }
}

impl From<v1::Job> for Job {
    fn from(job: v1::Job) -> Self {
        Self {
            id: job.id,
            header: job.header,
            target: job.target,
            certificate_version: job.certificate_version,
            rank_penalty: job.flags & v1::JOB_RANK_PENALTY != 0,
        }
    }
}

impl From<&Job> for v1::Job {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id,
            header: job.header,
            certificate_version: job.certificate_version,
            target: job.target,
            flags: if job.rank_penalty { v1::JOB_RANK_PENALTY } else { 0 },
            reserved: 0,
        }
    }
}
