//! The provider process: loads the plugin and does the host's part of its contract over the pipe.
//!
//! ```text
//! supervisor --frames--> reader thread --> job slot, receipts --> provider's threads (next_job, is_stale, submit)
//!            <--frames-- main thread <--- progress, log, stats, proofs
//! ```
//!
//! By the time that [`run`] is called the process is confined, and the pipe is all that it has. It owns no wallet, no
//! secret and no number that anybody believes: the supervisor counts and verifies for itself. It ends with the pipe.
//!
//! The plugin shares this address space, so nothing here is a defence against it. What is bounded here (log lines,
//! progress) is bounded so that an honest but noisy plugin costs little.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::{Job, LogLevel, MiningConfig, NextJob, SubmitError, SubmitTarget};
use serde::{Deserialize, Serialize};

use super::frame::{
    self, Decoder, Frame, FromProvider, LOG_BYTES_MAX, PROOF_BYTES_MAX, Receipt, ToProvider, WireJob,
};
use super::gate::Gate;

/// How often progress is passed on, at moments that are the same for every provider process of the machine: a supervisor
/// of many is woken once for all of them.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Log lines per second that are passed on, and the burst before that.
const LOG_LINES_PER_SECOND: u32 = 20;
const LOG_LINES_BURST: u32 = 200;

/// What the provider process is to run, as JSON in [`ToProvider::Start`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The plugin's file.
    pub plugin: PathBuf,
    /// The file as it was looked at.
    pub identity: Option<crate::plugins::Identity>,
    /// The provider's id, which the plugin's own must equal.
    pub provider: String,
    /// Payout address; empty for a provider that only computes.
    pub wallet_address: String,
    /// The node's address for a provider with machinery of its own, else empty.
    pub pearld_rpc_url: String,
    /// The provider's own settings.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Order {
    fn config(&self) -> MiningConfig {
        let mut config = MiningConfig::compute_only(self.provider.clone(), self.extra.clone());
        config.wallet_address.clone_from(&self.wallet_address);
        config.submit_target = SubmitTarget::Solo { pearld_rpc_url: self.pearld_rpc_url.clone() };
        config
    }
}

/// A provider's numbers, as JSON in [`FromProvider::Stats`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stats {
    hashes: u64,
    hashrate: f64,
    proofs_found: u64,
    jobs_taken: u64,
    uptime_seconds: f64,
    last_error: Option<String>,
    details: serde_json::Value,
}

/// Runs one provider from the order on the pipe to the end of the pipe. Ends the process; never returns.
///
/// `load` makes the provider that an order asks for, or says in a phrase why it cannot.
pub fn run(pipe: UnixStream, load: impl FnOnce(&Order) -> Result<Provider, String>) -> ! {
    // Whatever went wrong with the pipe, nobody is there to be told.
    let status = i32::from(serve(pipe, load).is_err());
    end_now(status)
}

/// Ends the process without running destructors, which are the plugin's and may do anything.
fn end_now(status: i32) -> ! {
    // SAFETY: `_exit` takes a number and has no requirement; nothing of this process needs to be written out.
    unsafe { libc::_exit(status) }
}

fn serve(pipe: UnixStream, load: impl FnOnce(&Order) -> Result<Provider, String>) -> io::Result<()> {
    let shared = Arc::new(Shared::new(pipe.try_clone()?));
    shared.send(&FromProvider::Hello { version: frame::VERSION })?;
    let mut incoming = Incoming { pipe, decoder: Decoder::default(), buffer: vec![0; 16 << 10] };
    let order = loop {
        match incoming.next()? {
            ToProvider::Hello { .. } => {}
            ToProvider::Start(order) => break order,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    };
    let order: Order = serde_json::from_str(&order)?;

    let reader = shared.clone();
    std::thread::Builder::new().name("pearlbed-pipe".into()).spawn(move || {
        // The end of the pipe is the end of the supervisor: nothing may go on without it.
        let _ = read_on(incoming, &reader);
        end_now(0)
    })?;

    let provider = match load(&order) {
        Ok(provider) => provider,
        Err(why) => return shared.send(&FromProvider::Failed(why)),
    };
    if let Err(err) = provider.start(&order.config(), shared.clone()) {
        return shared.send(&FromProvider::Failed(format!("refused to start: {err}")));
    }
    shared.send(&FromProvider::Started)?;
    attend(&provider, &shared)
}

/// The main thread while the provider mines.
fn attend(provider: &Provider, shared: &Shared) -> io::Result<()> {
    loop {
        let wanted = shared.wait(until_flush(monotonic()));
        shared.flush()?;
        if wanted.stats {
            let stats = match provider.stats() {
                Ok(stats) => serde_json::to_string(&Stats {
                    hashes: stats.hashes,
                    hashrate: stats.hashrate,
                    proofs_found: stats.proofs_found,
                    jobs_taken: stats.jobs_taken,
                    uptime_seconds: stats.uptime.as_secs_f64(),
                    last_error: stats.last_error,
                    details: stats.details,
                })?,
                Err(err) => serde_json::json!({ "error": err.to_string() }).to_string(),
            };
            // Cut JSON would be none: what is too long is left out.
            if stats.len() <= 200 << 10 {
                shared.send(&FromProvider::Stats(stats))?;
            }
        }
        if wanted.stop {
            shared.stopping.store(true, Ordering::Release);
            shared.wake_everyone();
            let outcome = provider.stop().err().map(|err| err.to_string()).unwrap_or_default();
            shared.flush()?;
            return shared.send(&FromProvider::Stopped(outcome));
        }
        if !provider.is_running() {
            let last = provider.stats().ok().and_then(|stats| stats.last_error);
            let why = last.map(|last| format!(": {last}")).unwrap_or_default();
            return shared.send(&FromProvider::Failed(format!("stopped mining by itself{why}")));
        }
    }
}

/// The time since some moment that all processes of the machine share.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// From `now` on the clock that all share to the next moment at which progress is passed on.
fn until_flush(now: Duration) -> Duration {
    let every = FLUSH_EVERY.as_nanos();
    let left = every - now.as_nanos() % every;
    Duration::from_nanos(u64::try_from(left).expect("less than a second"))
}

struct Incoming {
    pipe: UnixStream,
    decoder: Decoder<ToProvider>,
    buffer: Vec<u8>,
}

impl Incoming {
    fn next(&mut self) -> io::Result<ToProvider> {
        loop {
            if let Some(frame) = self.decoder.take().map_err(io::Error::other)? {
                return Ok(frame);
            }
            match self.pipe.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.decoder.feed(&self.buffer[..count]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

fn read_on(mut incoming: Incoming, shared: &Shared) -> io::Result<()> {
    loop {
        match incoming.next()? {
            ToProvider::Job(job) => shared.offer(job),
            ToProvider::Stale(id) => shared.withdraw(id),
            ToProvider::Receipt { sequence, receipt, .. } => shared.receipt(sequence, receipt),
            ToProvider::AskStats => shared.want(|wanted| wanted.stats = true),
            ToProvider::Stop => shared.want(|wanted| wanted.stop = true),
            ToProvider::Hello { .. } => {}
            ToProvider::Start(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    stats: bool,
    stop: bool,
}

/// What the reader, the main thread and the provider's threads share.
#[derive(Debug)]
struct Shared {
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
    fn new(pipe: UnixStream) -> Self {
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

    fn send(&self, frame: &FromProvider) -> io::Result<()> {
        lock(&self.pipe).write_all(&frame.encode())
    }

    fn offer(&self, job: WireJob) {
        let mut offered = lock(&self.offered);
        self.current.store(job.id, Ordering::Release);
        *offered = Some(job);
        drop(offered);
        self.offers.notify_one();
    }

    fn withdraw(&self, id: u64) {
        let mut offered = lock(&self.offered);
        // Only the job it was meant for: a newer one may have come.
        let _ = self.current.compare_exchange(id, 0, Ordering::AcqRel, Ordering::Acquire);
        if offered.as_ref().is_some_and(|job| job.id == id) {
            *offered = None;
        }
    }

    fn receipt(&self, sequence: u64, receipt: Receipt) {
        if let Some(slot) = lock(&self.receipts).get_mut(&sequence) {
            *slot = Some(receipt);
            self.receipt_came.notify_all();
        }
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut lock(&self.wanted));
        self.something_wanted.notify_one();
    }

    fn wait(&self, limit: Duration) -> Wanted {
        let mut wanted = lock(&self.wanted);
        if !wanted.stats && !wanted.stop {
            wanted =
                self.something_wanted.wait_timeout(wanted, limit).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *wanted)
    }

    fn wake_everyone(&self) {
        drop(lock(&self.offered));
        self.offers.notify_all();
    }

    fn flush(&self) -> io::Result<()> {
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
    use super::*;

    fn job(id: u64) -> WireJob {
        WireJob { id, header: [0; 76], target: [0; 32], certificate_version: 3, rank_penalty: true }
    }

    fn shared() -> (Arc<Shared>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(Shared::new(ours)), theirs)
    }

    #[test]
    fn progress_is_passed_on_at_moments_that_all_processes_share() {
        let ms = Duration::from_millis;
        for (now, left) in [(0, 500), (1, 499), (499, 1), (500, 500), (86_400_250, 250)] {
            assert_eq!(until_flush(ms(now)), ms(left), "at {now} ms");
        }
        assert_eq!(until_flush(ms(499) + Duration::from_nanos(999_999)), Duration::from_nanos(1));
        let (first, then) = (monotonic(), monotonic());
        assert!(first <= then && until_flush(then) <= FLUSH_EVERY);
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
        shared.stopping.store(true, Ordering::Release);
        shared.wake_everyone();
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
