//! Version 1 of the provider table. Frozen: nothing here changes, nothing is appended. All of it since 1.0.0.
//!
//! # Ownership
//!
//! A [`Bytes`] is borrowed for the duration of the call it is passed to; who needs it longer copies it. A [`Sink`] may
//! be written to, any number of times but by one thread at a time, until the call it was passed to returns. Nothing is
//! freed across the boundary.
//!
//! # Status
//!
//! A call that can fail answers with [`OK`], [`FAILED`] or [`PANICKED`] and writes its reason to `error`. What it wrote
//! elsewhere counts only with [`OK`]; what it wrote to `error` counts only without.
//!
//! # Threads
//!
//! `detect`, `is_running` and `stats` may be called at any time and from any thread, also while another call is in
//! progress. `start` and `stop` are never called while another `start` or `stop` of the same instance is in progress.
//! The host's functions may be called from any thread, also at the same time and while a provider's function runs.
//! `is_stale` and `progress` never wait; the others may.
//!
//! # Order of calls
//!
//! `create` comes first. After a `start` that answered [`OK`], the next is not called before a `stop` that did; an
//! instance can be started again then. `stop` may also be called where nothing is started, which is no error. `destroy`
//! comes last, and only where nothing is started: an instance whose `stop` failed is abandoned, never destroyed.
//!
//! # Stopping
//!
//! Before a host calls `stop` it closes: `next_job` answers [`NEXT_STOPPED`], soon also where it is waiting, and
//! `is_stale` answers 1 for every job. It may close while `start` is still in progress, so that a long one can give up.
//! A proof can still be handed in.
//!
//! # Unwinding
//!
//! No function of either table may unwind.

use std::ffi::c_void;

use abi_stable::StableAbi;

/// The version of the tables in this module.
pub const VERSION: u32 = 1;

/// A call did what it says.
pub const OK: u32 = 0;
/// A call failed; its error sink has the reason.
pub const FAILED: u32 = 1;
/// A call panicked; its error sink has the panic's message.
pub const PANICKED: u32 = 2;

/// [`HostTable::next_job`] wrote a job.
pub const NEXT_JOB: u32 = 0;
/// [`HostTable::next_job`] ran out of time.
pub const NEXT_TIMED_OUT: u32 = 1;
/// [`HostTable::next_job`]: the session is ending, there are no more jobs.
pub const NEXT_STOPPED: u32 = 2;

/// [`HostTable::submit`] took the proof for verification.
pub const SUBMIT_TAKEN: u32 = 0;
/// [`HostTable::submit`]: the job is stale, the proof was dropped.
pub const SUBMIT_STALE: u32 = 1;
/// [`HostTable::submit`]: no such job was handed out.
pub const SUBMIT_UNKNOWN_JOB: u32 = 2;
/// [`HostTable::submit`]: more bytes than any valid proof has.
pub const SUBMIT_TOO_LARGE: u32 = 3;
/// [`HostTable::submit`]: the session is ending.
pub const SUBMIT_STOPPED: u32 = 4;

/// [`Config::submit_kind`]: solo mining; `submit_url` is the node's RPC address.
pub const SUBMIT_SOLO: u32 = 0;
/// [`Config::submit_kind`]: pool mining; `submit_url` is the pool's address.
pub const SUBMIT_POOL: u32 = 1;

/// [`Job::flags`]: the rank penalty is in force, so the jackpot is held against the penalised bound.
pub const JOB_RANK_PENALTY: u32 = 1;

/// Bytes lent for a call; text is UTF-8 and not terminated by a NUL.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Bytes {
    /// The first byte; may be null if `len` is 0.
    pub data: *const u8,
    /// How many bytes; at most `isize::MAX`.
    pub len: usize,
}

/// Where a call writes text or bytes of a length that only it knows.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Sink {
    /// Passed to `write` untouched.
    pub context: *mut c_void,
    /// Appends `bytes`; the caller of the surrounding call may cut what exceeds its bound.
    pub write: unsafe extern "C" fn(context: *mut c_void, bytes: Bytes),
}

/// What [`ProviderTable::detect`] answers beside the reason.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default)]
pub struct Capabilities {
    /// 1 if the provider can mine here, else 0.
    pub supported: u32,
    /// 1 if `estimated_hashrate` holds a value, else 0.
    pub has_estimated_hashrate: u32,
    /// Hashes (int8 multiply-accumulates) per second.
    pub estimated_hashrate: f64,
}

/// What a provider is started with.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Config {
    /// The provider id from the user's configuration.
    pub provider: Bytes,
    /// The payout address; empty for a provider that only computes.
    pub wallet_address: Bytes,
    /// [`SUBMIT_SOLO`] or [`SUBMIT_POOL`].
    pub submit_kind: u32,
    /// Fee in hundredths of a per cent; 0.
    pub fee_bps: u32,
    /// The node's or pool's address; empty for a provider that only computes.
    pub submit_url: Bytes,
    /// The worker's name at the pool; empty for none.
    pub worker_id: Bytes,
    /// Who is paid the fee; empty for nobody.
    pub fee_payout_address: Bytes,
    /// The provider's own settings: a JSON object.
    pub extra: Bytes,
}

/// One unit of work.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Job {
    /// The host's name for this job, unique within the process and never 0.
    pub id: u64,
    /// The incomplete block header; opaque but for the fields the protocol names.
    pub header: [u8; 76],
    /// Which certificate the network wants.
    pub certificate_version: u32,
    /// The unscaled target, a 256-bit number, least significant byte first.
    pub target: [u8; 32],
    /// [`JOB_RANK_PENALTY`] or 0; other bits are 0.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// What [`ProviderTable::stats`] answers beside its texts.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Hashes done since `start`.
    pub hashes: u64,
    /// Proofs handed to the host since `start`.
    pub proofs_found: u64,
    /// Jobs taken since `start`.
    pub jobs_taken: u64,
    /// Hashes per second over the recent past, by the provider's own reckoning.
    pub hashrate: f64,
    /// Seconds since `start`; 0 if not running.
    pub uptime_seconds: f64,
}

/// What a provider may ask of its host.
///
/// The provider may copy the table. It stays usable while the provider holds a reference to the context: it is lent one
/// until `start` returns, and takes more with `retain`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostTable {
    /// Passed to every function untouched.
    pub context: *mut c_void,
    /// Takes one more reference to `context`.
    pub retain: unsafe extern "C" fn(context: *mut c_void),
    /// Gives one reference to `context` back.
    pub release: unsafe extern "C" fn(context: *mut c_void),
    /// Waits at most `timeout_ms` milliseconds for a job that was not handed out before, and writes it to `job`: each
    /// job is handed out once, to one caller. Answers [`NEXT_JOB`], [`NEXT_TIMED_OUT`] or [`NEXT_STOPPED`].
    pub next_job: unsafe extern "C" fn(context: *mut c_void, timeout_ms: u32, job: *mut Job) -> u32,
    /// 1 if work on job `job_id` is wasted, else 0. One load from memory.
    pub is_stale: unsafe extern "C" fn(context: *mut c_void, job_id: u64) -> u32,
    /// Hands in a plain proof for job `job_id`. Answers one of the `SUBMIT_` numbers.
    pub submit: unsafe extern "C" fn(context: *mut c_void, job_id: u64, proof: Bytes) -> u32,
    /// Reports `hashes` done since the last report.
    pub progress: unsafe extern "C" fn(context: *mut c_void, hashes: u64),
    /// Writes one line to the session's log; `level` is 1 (error) to 5 (trace).
    pub log: unsafe extern "C" fn(context: *mut c_void, level: u32, message: Bytes),
    /// Writes what the fields of job `job_id` do not hold: a JSON object, or nothing where the host has nothing to add.
    pub job_details: unsafe extern "C" fn(context: *mut c_void, job_id: u64, out: Sink),
}

/// One mining provider: the functions behind the trait `MiningProvider`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ProviderTable {
    /// Writes the manifest (JSON) that the code was built with.
    pub manifest: unsafe extern "C" fn(out: Sink),
    /// Makes an instance of the provider and writes it to `instance`; null is an instance like any other. As pure as
    /// `detect`.
    pub create: unsafe extern "C" fn(instance: *mut *mut c_void, error: Sink) -> u32,
    /// Ends an instance. Nothing is started, no call on it is in progress, and none follows.
    pub destroy: unsafe extern "C" fn(instance: *mut c_void),
    /// Answers whether the provider can mine on `hardware` (a JSON object) with `engine_id` and `model`.
    pub detect: unsafe extern "C" fn(
        instance: *mut c_void,
        hardware: Bytes,
        engine_id: Bytes,
        model: Bytes,
        capabilities: *mut Capabilities,
        reason: Sink,
        error: Sink,
    ) -> u32,
    /// Starts mining and returns. `config` is lent for the call, `host` may be copied.
    pub start: unsafe extern "C" fn(
        instance: *mut c_void,
        config: *const Config,
        host: *const HostTable,
        error: Sink,
    ) -> u32,
    /// Stops mining and returns when no thread of the provider works any more.
    pub stop: unsafe extern "C" fn(instance: *mut c_void, error: Sink) -> u32,
    /// 1 while mining, else 0.
    pub is_running: unsafe extern "C" fn(instance: *mut c_void) -> u32,
    /// Answers with the provider's own numbers; `details` is a JSON object.
    pub stats: unsafe extern "C" fn(
        instance: *mut c_void,
        stats: *mut Stats,
        last_error: Sink,
        details: Sink,
        error: Sink,
    ) -> u32,
}
