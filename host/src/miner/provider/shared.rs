//! What the reader, the main thread and the provider's own threads share: the job on offer, receipts, what is told.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pearlbed_plugin_api::host_side::HostServices;
use pearlbed_plugin_api::{Job, LogLevel, NextJob, SubmitError};

use crate::miner::frame::{Frame, FromProvider, LOG_BYTES_MAX, PROOF_BYTES_MAX, Receipt, WireJob};
use crate::miner::gate::Gate;

/// Log lines per second that are passed on, and the burst before that.
const LOG_LINES_PER_SECOND: u32 = 20;
const LOG_LINES_BURST: u32 = 200;

/// What the supervisor wants of the main thread.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// The provider's numbers.
    pub stats: bool,
    /// That it stops.
    pub stop: bool,
}

/// What the reader, the main thread and the provider's threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pipe: Mutex<UnixStream>,
    /// Id of the job that is worth working on; 0 for none. All that `is_stale` looks at.
    current: AtomicU64,
    /// The highest id that was handed out, to tell a stale job from one that never was.
    handed_out: AtomicU64,
    stopping: AtomicBool,
    offered: Mutex<Option<WireJob>>,
    offers: Condvar,
    sequence: AtomicU64,
    receipts: Mutex<HashMap<u64, Option<Receipt>>>,
    receipt_came: Condvar,
    progress: AtomicU64,
    log_gate: Mutex<Gate>,
    wanted: Mutex<Wanted>,
    something_wanted: Condvar,
}

/// A panic of the plugin's that passed through here left nothing half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Over `pipe`, with no job yet.
    pub fn new(pipe: UnixStream) -> Self {
        Self {
            pipe: Mutex::new(pipe),
            current: AtomicU64::new(0),
            handed_out: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            offered: Mutex::new(None),
            offers: Condvar::new(),
            sequence: AtomicU64::new(0),
            receipts: Mutex::new(HashMap::new()),
            receipt_came: Condvar::new(),
            progress: AtomicU64::new(0),
            log_gate: Mutex::new(Gate::new(LOG_LINES_PER_SECOND, LOG_LINES_BURST, Instant::now())),
            wanted: Mutex::new(Wanted::default()),
            something_wanted: Condvar::new(),
        }
    }

    /// Writes a frame; waits for a supervisor that does not read.
    pub fn send(&self, frame: &FromProvider) -> io::Result<()> {
        lock(&self.pipe).write_all(&frame.encode())
    }

    /// There is a job, in place of any other.
    pub fn offer(&self, job: WireJob) {
        let mut offered = lock(&self.offered);
        self.current.store(job.id, Ordering::Release);
        *offered = Some(job);
        drop(offered);
        self.offers.notify_one();
    }

    /// The job `id` is over.
    pub fn withdraw(&self, id: u64) {
        let mut offered = lock(&self.offered);
        // Only the job it was meant for: a newer one may have come.
        let _ = self.current.compare_exchange(id, 0, Ordering::AcqRel, Ordering::Acquire);
        if offered.as_ref().is_some_and(|job| job.id == id) {
            *offered = None;
        }
    }

    /// What became of the proof `sequence`.
    pub fn receipt(&self, sequence: u64, receipt: Receipt) {
        if let Some(slot) = lock(&self.receipts).get_mut(&sequence) {
            *slot = Some(receipt);
            self.receipt_came.notify_all();
        }
    }

    /// The supervisor wants something else of the main thread.
    pub fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut lock(&self.wanted));
        self.something_wanted.notify_one();
    }

    /// What is wanted, once something is, or after `limit`. It counts as done.
    pub fn wait(&self, limit: Duration) -> Wanted {
        let mut wanted = lock(&self.wanted);
        if !wanted.stats && !wanted.stop {
            wanted =
                self.something_wanted.wait_timeout(wanted, limit).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *wanted)
    }

    /// There are no jobs any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        drop(lock(&self.offered));
        self.offers.notify_all();
    }

    /// Passes on what was reported and not told yet.
    pub fn flush(&self) -> io::Result<()> {
        let hashes = self.progress.swap(0, Ordering::Relaxed);
        if hashes > 0 {
            self.send(&FromProvider::Progress(hashes))?;
        }
        let dropped = lock(&self.log_gate).take_held_back();
        if dropped > 0 {
            self.send(&FromProvider::LogDropped(dropped))?;
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl HostServices for Shared {
    fn next_job(&self, timeout: Duration) -> NextJob {
        let deadline = Instant::now().checked_add(timeout);
        let mut offered = lock(&self.offered);
        loop {
            if self.is_stopping() {
                return NextJob::Stopped;
            }
            if let Some(job) = offered.take() {
                self.handed_out.store(job.id, Ordering::Release);
                drop(offered);
                // What was done before belongs to the job before. Without a pipe the process is about to end.
                let _ = self.flush();
                let _ = self.send(&FromProvider::Took(job.id));
                return NextJob::Job(Job::new(
                    job.id,
                    job.header,
                    job.target,
                    job.certificate_version,
                    job.rank_penalty,
                ));
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return NextJob::TimedOut;
            }
            // Bounded, because not every platform's condition variable takes an endless wait.
            let wait = left.min(Duration::from_secs(3600));
            offered = self.offers.wait_timeout(offered, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_stale(&self, job_id: u64) -> bool {
        self.current.load(Ordering::Relaxed) != job_id
    }

    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        if proof.len() > PROOF_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        if job_id == 0 || job_id > self.handed_out.load(Ordering::Acquire) {
            return Err(SubmitError::UnknownJob);
        }
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        lock(&self.receipts).insert(sequence, None);
        let frame = FromProvider::Submit { sequence, job: job_id, proof: proof.to_vec() };
        let sent = self.send(&frame);
        drop(frame);
        let mut receipts = lock(&self.receipts);
        if sent.is_err() {
            receipts.remove(&sequence);
            return Err(SubmitError::Stopped);
        }
        // Returning only now is what makes `Ok` mean that a crash of anything cannot lose the proof any more. If the
        // supervisor is gone the process ends under this wait.
        loop {
            if let Some(Some(receipt)) = receipts.get(&sequence).copied() {
                receipts.remove(&sequence);
                return match receipt {
                    Receipt::Stale => Err(SubmitError::Stale),
                    Receipt::Busy => Err(SubmitError::Stopped),
                    // The contract: taken for verification, and what becomes of it is the host's business.
                    Receipt::Kept | Receipt::Refused => Ok(()),
                };
            }
            receipts = self.receipt_came.wait(receipts).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn progress(&self, hashes: u64) {
        self.progress.fetch_add(hashes, Ordering::Relaxed);
    }

    fn log(&self, level: LogLevel, message: &[u8]) {
        if !lock(&self.log_gate).pass(Instant::now()) {
            return;
        }
        let message = String::from_utf8_lossy(&message[..message.len().min(LOG_BYTES_MAX)]).into_owned();
        let _ = self.send(&FromProvider::Log { level: level as u8, message });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;
    use crate::miner::frame::{self, Decoder};

    fn job(id: u64) -> WireJob {
        WireJob { id, header: [0; 76], target: [0; 32], certificate_version: 3, rank_penalty: true }
    }

    fn shared() -> (Arc<Shared>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(Shared::new(ours)), theirs)
    }

    #[test]
    fn a_job_is_handed_out_once_and_becomes_stale_with_the_next() {
        let (shared, _supervisor) = shared();
        assert_eq!(shared.next_job(Duration::ZERO), NextJob::TimedOut);
        shared.offer(job(1));
        assert!(matches!(shared.next_job(Duration::ZERO), NextJob::Job(job) if job.id == 1));
        assert_eq!(shared.next_job(Duration::from_millis(1)), NextJob::TimedOut);
        assert!(!shared.is_stale(1));
        shared.offer(job(2));
        assert!(shared.is_stale(1) && !shared.is_stale(2));
        shared.withdraw(1);
        assert!(!shared.is_stale(2), "a late mark for an older job hits only that job");
        shared.withdraw(2);
        assert!(shared.is_stale(2));
        assert_eq!(shared.next_job(Duration::ZERO), NextJob::TimedOut);
    }

    #[test]
    fn a_waiting_thread_gets_the_job_as_it_comes_and_hears_of_the_stop() {
        let (shared, _supervisor) = shared();
        let waiting = shared.clone();
        let thread = std::thread::spawn(move || {
            let first = waiting.next_job(Duration::from_secs(60));
            (first, waiting.next_job(Duration::MAX))
        });
        shared.offer(job(7));
        while shared.handed_out.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        shared.stop();
        let (first, second) = thread.join().unwrap();
        assert!(matches!(first, NextJob::Job(job) if job.id == 7));
        assert_eq!(second, NextJob::Stopped);
    }

    #[test]
    fn submit_returns_when_the_supervisor_has_said_what_became_of_the_proof() {
        let (shared, supervisor) = shared();
        shared.offer(job(1));
        shared.next_job(Duration::ZERO);
        assert_eq!(shared.submit(2, b"x"), Err(SubmitError::UnknownJob));
        assert_eq!(shared.submit(1, &vec![0; PROOF_BYTES_MAX + 1]), Err(SubmitError::TooLarge));
        for (receipt, answer) in
            [(Receipt::Kept, Ok(())), (Receipt::Refused, Ok(())), (Receipt::Stale, Err(SubmitError::Stale))]
        {
            let submitting = shared.clone();
            let thread = std::thread::spawn(move || submitting.submit(1, b"proof"));
            let mut decoder = Decoder::<FromProvider>::default();
            decoder.feed(&FromProvider::Hello { version: frame::VERSION }.encode());
            let mut buffer = [0; 256];
            let sequence = loop {
                match decoder.take().unwrap() {
                    Some(FromProvider::Submit { sequence, job: 1, proof }) if proof == b"proof" => {
                        break sequence;
                    }
                    Some(_) => {}
                    None => {
                        let count = (&supervisor).read(&mut buffer).unwrap();
                        decoder.feed(&buffer[..count]);
                    }
                }
            };
            shared.receipt(sequence, receipt);
            assert_eq!(thread.join().unwrap(), answer);
            assert!(lock(&shared.receipts).is_empty());
        }
    }

    #[test]
    fn a_noisy_plugin_is_cut_short_and_counted() {
        let (shared, supervisor) = shared();
        let drain = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            (&supervisor).read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        for _ in 0..10_000 {
            shared.log(LogLevel::Info, &[b'x'; 100]);
        }
        shared.flush().unwrap();
        drop(shared);
        let passed = drain.join().unwrap();
        assert!(passed < 1000 * 106, "{passed} bytes passed");
    }
}
