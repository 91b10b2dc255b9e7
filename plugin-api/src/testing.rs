//! A host for a provider's own tests: it gives out the jobs that a test offers, and keeps what comes back.
//!
//! ```
//! # use pearlbed_plugin_api::*;
//! use std::time::Duration;
//! use pearlbed_plugin_api::host_side::Provider;
//! use pearlbed_plugin_api::testing::FakeHost;
//!
//! # #[derive(Default)]
//! # struct Eager(std::sync::Mutex<Option<std::thread::JoinHandle<()>>>);
//! # impl MiningProvider for Eager {
//! #     fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities { MiningCapabilities::supported() }
//! #     fn start(&self, _: &MiningConfig, host: Host) -> Result<(), ProviderError> {
//! #         *self.0.lock().unwrap() = Some(std::thread::spawn(move || {
//! #             while let NextJob::Job(job) = host.next_job(Duration::MAX) {
//! #                 host.progress(1000);
//! #                 _ = host.submit(job.id, &job.header);
//! #             }
//! #         }));
//! #         Ok(())
//! #     }
//! #     fn stop(&self) -> Result<(), ProviderError> { self.0.lock().unwrap().take().map(|miner| miner.join()); Ok(()) }
//! #     fn is_running(&self) -> bool { true }
//! #     fn stats(&self) -> MiningStats { MiningStats::default() }
//! # }
//! let provider = Provider::of_type::<Eager>().unwrap(); // or `of_static(PEARLBED_PROVIDER)`, with its manifest
//! let host = FakeHost::new();
//! let job = host.offer([7; 76], [0xff; 32], 3);
//! provider.start(&MiningConfig::compute_only("eager", Default::default()), host.clone()).unwrap();
//! let proof = host.next_proof(Duration::from_secs(60)).expect("it works on the job");
//! assert_eq!((proof.job, proof.bytes), (job, vec![7; 76]));
//! assert!(host.hashes() >= 1000);
//! provider.stop().unwrap();
//! ```
//!
//! Unlike the rest of this crate it knows a clock: waits have an end.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::host::{Job, LogLevel, NextJob, SubmitError};
use crate::host_side::HostServices;

/// A host whose jobs come from a test. Since 1.1.0.
#[derive(Debug, Default)]
pub struct FakeHost {
    state: Mutex<State>,
    changed: Condvar,
}

/// A proof that was handed in. Since 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeProof {
    /// The job that it was handed in for.
    pub job: u64,
    /// Its bytes; nobody has verified them.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// The id of the newest job; those before it are stale.
    newest: u64,
    /// The newest one is stale as well.
    withdrawn: bool,
    waiting: Option<Job>,
    proofs: VecDeque<FakeProof>,
    hashes: u64,
    lines: Vec<(LogLevel, String)>,
}

impl FakeHost {
    /// A host without a job.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it guards is whole between any two statements that hold it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a job with the rank penalty in force, as networks have it today; every older one is stale. Answers its id.
    pub fn offer(&self, header: [u8; 76], target: [u8; 32], certificate_version: u32) -> u64 {
        let mut state = self.lock();
        state.newest += 1;
        state.withdrawn = false;
        state.waiting = Some(Job::new(state.newest, header, target, certificate_version, true));
        self.changed.notify_all();
        state.newest
    }

    /// Makes every job stale.
    pub fn withdraw(&self) {
        let mut state = self.lock();
        state.withdrawn = true;
        state.waiting = None;
    }

    /// The next proof that was handed in for a current job, if one comes within `timeout`.
    pub fn next_proof(&self, timeout: Duration) -> Option<FakeProof> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(proof) = state.proofs.pop_front() {
                return Some(proof);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Hashes that were reported so far.
    pub fn hashes(&self) -> u64 {
        self.lock().hashes
    }

    /// Lines that were logged so far.
    pub fn lines(&self) -> Vec<(LogLevel, String)> {
        self.lock().lines.clone()
    }
}

impl HostServices for FakeHost {
    fn next_job(&self, timeout: Duration) -> NextJob {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.take() {
                return NextJob::Job(job);
            }
            let left = deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return NextJob::TimedOut;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_stale(&self, job_id: u64) -> bool {
        let state = self.lock();
        state.withdrawn || state.newest != job_id
    }

    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        let mut state = self.lock();
        if job_id == 0 || job_id > state.newest {
            return Err(SubmitError::UnknownJob);
        }
        if state.withdrawn || job_id != state.newest {
            return Err(SubmitError::Stale);
        }
        state.proofs.push_back(FakeProof { job: job_id, bytes: proof.to_vec() });
        self.changed.notify_all();
        Ok(())
    }

    fn progress(&self, hashes: u64) {
        let mut state = self.lock();
        state.hashes = state.hashes.saturating_add(hashes);
    }

    fn log(&self, level: LogLevel, message: &[u8]) {
        self.lock().lines.push((level, String::from_utf8_lossy(message).into_owned()));
    }
}
