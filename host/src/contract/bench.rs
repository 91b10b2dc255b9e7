//! The host that a provider under trial sees, in the process of the trial.
//!
//! It gives out jobs as the trial says, tells the parent of each proof, and counts everything else.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pearl_pow::{Header, Target};
use pearlbed_plugin_api::host_side::HostServices;
use pearlbed_plugin_api::{Job, LogLevel, NextJob, SubmitError};

use super::words::{Event, Step};
use crate::sandbox::Patience;

/// The most log lines that are passed on.
const LINES_MAX: usize = 20;
/// How often a wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);

/// The host that a provider under trial sees.
pub struct Bench {
    channel: Mutex<UnixStream>,
    /// The job that is worth working on; 0 for none.
    current: AtomicU64,
    /// What threads of the provider change.
    pub state: Mutex<State>,
    changed: Condvar,
    hashes: AtomicU64,
    /// How often progress was reported.
    pub reports: AtomicU64,
    begun: Instant,
    /// When the last progress was reported, in milliseconds since `begun`.
    pub last_report: AtomicU64,
    /// The longest time between two reports, in milliseconds.
    pub longest_silence: AtomicU64,
}

#[derive(Default)]
pub struct State {
    offered: Option<(Job, Instant)>,
    next_id: u64,
    taken: Option<(u64, Duration)>,
    /// Proofs that were handed in for the current job, for one that is stale, and for none.
    pub proofs: u64,
    pub stale: u64,
    pub unknown: u64,
    lines: u64,
    some: Vec<String>,
    /// Lines in the running second, and the most in any.
    second: (u64, u64),
    most_a_second: u64,
}

/// What `mutex` guards.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole between any two statements that hold it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    pub fn new(channel: UnixStream) -> Self {
        Self {
            channel: Mutex::new(channel),
            current: AtomicU64::new(0),
            state: Mutex::new(State { next_id: 1, ..State::default() }),
            changed: Condvar::new(),
            hashes: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            begun: Instant::now(),
            last_report: AtomicU64::new(0),
            longest_silence: AtomicU64::new(0),
        }
    }

    pub fn tell(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        // Without a parent there is nobody to tell, and nothing to do.
        if lock(&self.channel).write_all(&line).is_err() {
            // SAFETY: as in `run`.
            unsafe { libc::_exit(1) }
        }
    }

    pub fn begin(&self, step: Step) {
        self.tell(&Event::Begins(step));
    }

    /// Offers a job in place of the current one, and answers its id.
    pub fn offer(&self, target: Target, certificate: u32) -> Job {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id += 1;
        let mut header = [0; Header::LEN];
        header[..8].copy_from_slice(&id.to_le_bytes());
        header[8..24].copy_from_slice(&crate::sandbox::random_bytes::<16>());
        let job = Job::new(id, header, target.to_le_bytes(), certificate, true);
        state.offered = Some((job.clone(), Instant::now()));
        self.current.store(id, Ordering::Release);
        self.changed.notify_all();
        job
    }

    pub fn withdraw(&self) {
        lock(&self.state).offered = None;
        self.current.store(0, Ordering::Release);
    }

    /// Waits until `job` was taken; how long that took since it was offered.
    pub fn taken(&self, job: u64, most: Duration) -> Option<Duration> {
        let mut patience = Patience::new(std::process::id(), most, Instant::now());
        loop {
            if let Some((_, after)) = lock(&self.state).taken.filter(|(taken, _)| *taken == job) {
                return Some(after);
            }
            if patience.is_over(Instant::now()) {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    pub fn now_ms(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    pub fn tell_log(&self) {
        let event = {
            let state = lock(&self.state);
            let most_a_second = state.most_a_second.max(state.second.1);
            Event::Logged { lines: state.lines, most_a_second, some: state.some.clone() }
        };
        self.tell(&event);
    }
}

impl HostServices for Bench {
    fn next_job(&self, timeout: Duration) -> NextJob {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if let Some((job, offered)) = state.offered.take() {
                state.taken = Some((job.id, offered.elapsed()));
                return NextJob::Job(job);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return NextJob::TimedOut;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_stale(&self, job_id: u64) -> bool {
        self.current.load(Ordering::Acquire) != job_id
    }

    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        {
            let mut state = lock(&self.state);
            if job_id == 0 || job_id >= state.next_id {
                state.unknown += 1;
                return Err(SubmitError::UnknownJob);
            }
            if self.is_stale(job_id) {
                state.stale += 1;
                return Err(SubmitError::Stale);
            }
        }
        // Counted once it is told: whoever waits for the count goes on to tell what came of it.
        self.tell(&Event::Proof { job: job_id, bytes: hex(proof) });
        lock(&self.state).proofs += 1;
        Ok(())
    }

    fn progress(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
        self.reports.fetch_add(1, Ordering::Relaxed);
        let now = self.now_ms();
        let silence = now.saturating_sub(self.last_report.swap(now, Ordering::Relaxed));
        self.longest_silence.fetch_max(silence, Ordering::Relaxed);
    }

    fn log(&self, _: LogLevel, message: &[u8]) {
        let mut state = lock(&self.state);
        state.lines += 1;
        if state.some.len() < LINES_MAX {
            let line: String = String::from_utf8_lossy(message).chars().take(200).collect();
            state.some.push(line);
        }
        let second = self.now_ms() / 1000;
        if state.second.0 == second {
            state.second.1 += 1;
        } else {
            state.most_a_second = state.most_a_second.max(state.second.1);
            state.second = (second, 1);
        }
    }
}

/// A time in whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// In hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
