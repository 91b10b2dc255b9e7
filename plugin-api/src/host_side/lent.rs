//! The host's table as a started provider has it: a gate before the host, which ends all work once it is closed.
//!
//! Its functions are called by the plugin, from any thread. A panic of the host's answers what ends the provider's work,
//! and unwinds into nobody.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{HostServices, MAX_TEXT_BYTES};
use crate::abi::v1;
use crate::host::{LogLevel, NextJob, SubmitError};

/// The table of `host`, with one reference to its context, which the caller gives back with `release`. Once `closed`, it
/// has no more jobs, and every job is stale.
pub(super) fn table(host: Arc<dyn HostServices>, closed: Arc<AtomicBool>) -> v1::HostTable {
    let context = Arc::into_raw(Arc::new(Gate { host, closed }));
    v1::HostTable {
        context: context.cast_mut().cast(),
        retain,
        release,
        next_job,
        is_stale,
        submit,
        progress,
        log,
        job_details,
    }
}

/// The host as a started provider sees it: once closed, it has no more jobs, and every job is stale.
///
/// Closing is what lets a provider end its threads without a flag of its own.
struct Gate {
    host: Arc<dyn HostServices>,
    closed: Arc<AtomicBool>,
}

/// A provider that waits for a job notices so soon that it was stopped.
const NOTICE_STOP: Duration = Duration::from_millis(50);

impl Gate {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn next_job(&self, mut timeout: Duration) -> NextJob {
        // Counts the waits instead of reading a clock: this crate has none.
        loop {
            if self.is_closed() {
                return NextJob::Stopped;
            }
            match self.host.next_job(timeout.min(NOTICE_STOP)) {
                NextJob::TimedOut if timeout > NOTICE_STOP => timeout -= NOTICE_STOP,
                NextJob::Job(_) if self.is_closed() => return NextJob::Stopped,
                answer => return answer,
            }
        }
    }
}

/// The host behind a context.
///
/// # Safety
///
/// `context` must come from [`table`], and a reference to it must be held.
unsafe fn gate<'a>(context: *mut c_void) -> &'a Gate {
    // SAFETY: the context is the pointer of an `Arc<Gate>`, kept alive by the caller's reference.
    unsafe { &*context.cast::<Gate>() }
}

/// Runs `call`; a panic must not unwind into the plugin, so it answers `otherwise`.
fn shielded<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        // Dropping what somebody panicked with may panic again.
        std::mem::forget(payload);
        otherwise
    })
}

unsafe extern "C" fn retain(context: *mut c_void) {
    // SAFETY: as for `gate`.
    unsafe { Arc::increment_strong_count(context.cast::<Gate>()) }
}

unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: as for `gate`; the caller gives back a reference that it holds.
    shielded((), || unsafe { Arc::decrement_strong_count(context.cast::<Gate>()) });
}

unsafe extern "C" fn next_job(context: *mut c_void, timeout_ms: u32, job: *mut v1::Job) -> u32 {
    // SAFETY: as for `gate`.
    let gate = unsafe { gate(context) };
    match shielded(NextJob::Stopped, || gate.next_job(Duration::from_millis(timeout_ms.into()))) {
        NextJob::Job(next) if !job.is_null() && job.is_aligned() => {
            // SAFETY: the plugin passes a place for a job.
            unsafe { job.write((&next).into()) };
            v1::NEXT_JOB
        }
        NextJob::TimedOut => v1::NEXT_TIMED_OUT,
        NextJob::Job(_) | NextJob::Stopped => v1::NEXT_STOPPED,
    }
}

unsafe extern "C" fn is_stale(context: *mut c_void, job_id: u64) -> u32 {
    // SAFETY: as for `gate`.
    let gate = unsafe { gate(context) };
    shielded(true, || gate.is_closed() || gate.host.is_stale(job_id)).into()
}

unsafe extern "C" fn submit(context: *mut c_void, job_id: u64, proof: v1::Bytes) -> u32 {
    if proof.len > isize::MAX as usize {
        return v1::SUBMIT_TOO_LARGE;
    }
    // SAFETY: as for `gate`; the plugin lends the bytes for the duration of this call.
    let (gate, proof) = unsafe { (gate(context), proof.borrow()) };
    match shielded(Err(SubmitError::Stopped), || gate.host.submit(job_id, proof)) {
        Ok(()) => v1::SUBMIT_TAKEN,
        Err(SubmitError::Stale) => v1::SUBMIT_STALE,
        Err(SubmitError::UnknownJob) => v1::SUBMIT_UNKNOWN_JOB,
        Err(SubmitError::TooLarge) => v1::SUBMIT_TOO_LARGE,
        Err(SubmitError::Stopped) => v1::SUBMIT_STOPPED,
    }
}

unsafe extern "C" fn progress(context: *mut c_void, hashes: u64) {
    // SAFETY: as for `gate`.
    let gate = unsafe { gate(context) };
    shielded((), || gate.host.progress(hashes));
}

unsafe extern "C" fn log(context: *mut c_void, level: u32, message: v1::Bytes) {
    let message = v1::Bytes { data: message.data, len: message.len.min(MAX_TEXT_BYTES) };
    // SAFETY: as for `gate`; the plugin lends the bytes for the duration of this call.
    let (gate, message) = unsafe { (gate(context), message.borrow()) };
    shielded((), || gate.host.log(LogLevel::from_number(level), message));
}

unsafe extern "C" fn job_details(context: *mut c_void, job_id: u64, out: v1::Sink) {
    // SAFETY: as for `gate`.
    let gate = unsafe { gate(context) };
    let details = shielded(Vec::new(), || {
        let details = gate.host.job_details(job_id);
        if details.is_empty() { Vec::new() } else { serde_json::to_vec(&details).unwrap_or_default() }
    });
    if !details.is_empty() {
        // SAFETY: the plugin lends the sink for the duration of this call.
        unsafe { out.put(&details) }
    }
}
