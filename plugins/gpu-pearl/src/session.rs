//! All that the threads of one session share, and the one that waits for jobs.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Target};
use pearlbed_plugin_api::{Host, Job, LogLevel, NextJob};

use crate::draw::Secret;
use crate::stats::Totals;

/// A job, as `pow` sees it.
pub(crate) struct Problem {
    pub id: u64,
    pub job: pearl_pow::Job,
    pub target: Target,
    /// When the host gave it out.
    pub taken: Instant,
}

impl Problem {
    /// Reads a job.
    ///
    /// # Errors
    ///
    /// The certificate version is none that this build knows.
    pub(crate) fn new(job: &Job) -> Result<Self, String> {
        let certificate =
            CertificateVersion::try_from(job.certificate_version).map_err(|err| err.to_string())?;
        let target = Target::from_le_bytes(job.target);
        let header = Header::from_bytes(job.header);
        let rank_penalty = job.rank_penalty;
        let its = pearl_pow::Job { header, target: Some(target), certificate, rank_penalty };
        Ok(Self { id: job.id, job: its, target, taken: Instant::now() })
    }
}

/// What the threads share.
pub(crate) struct Session {
    pub host: Host,
    pub secret: Secret,
    pub totals: Totals,
    job: Mutex<Option<Arc<Problem>>>,
    changed: Condvar,
    stopping: AtomicBool,
    #[cfg(test)]
    pub faults: crate::tests::Faults,
}

impl Session {
    /// A session of `devices` devices.
    pub(crate) fn new(host: Host, secret: Secret, devices: usize) -> Self {
        Self {
            host,
            secret,
            totals: Totals::new(devices),
            job: Mutex::new(None),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            #[cfg(test)]
            faults: crate::tests::Faults::default(),
        }
    }

    /// Whether everybody is to go home.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Sends everybody home.
    pub(crate) fn stop(&self) {
        let _job = self.job.lock().expect("nobody panics with it");
        self.stopping.store(true, Relaxed);
        self.changed.notify_all();
    }

    /// Whether some device still mines, or may again.
    pub(crate) fn works(&self) -> bool {
        !self.is_stopping() && self.totals.devices.iter().any(crate::stats::Counters::works)
    }

    /// Whether work on the job is wasted: there is another, or the session ends.
    pub(crate) fn is_over(&self, id: u64) -> bool {
        self.is_stopping()
            || self.host.is_stale(id)
            || self.job.lock().expect("nobody panics with it").as_ref().is_none_or(|job| job.id != id)
    }

    /// Waits for a job that is worth working on, at most `most`; none where there is none yet, or everybody is to go
    /// home.
    pub(crate) fn job(&self, most: Duration) -> Option<Arc<Problem>> {
        let end = Instant::now() + most;
        let mut job = self.job.lock().expect("nobody panics with it");
        loop {
            if self.is_stopping() {
                return None;
            }
            if let Some(job) = job.as_ref().filter(|job| !self.host.is_stale(job.id)) {
                return Some(Arc::clone(job));
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            job = self.changed.wait_timeout(job, left).expect("nobody panics with it").0;
        }
    }

    /// Sleeps, unless everybody is to go home.
    pub(crate) fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut job = self.job.lock().expect("nobody panics with it");
        while !self.is_stopping() {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return;
            };
            job = self.changed.wait_timeout(job, left).expect("nobody panics with it").0;
        }
    }

    /// Takes jobs from the host and hands them to the devices, until either ends.
    pub(crate) fn take_jobs(&self) {
        let mut reported = 0;
        while self.take_job().is_continue() {
            let hashes = self.totals.hashes();
            if hashes > reported {
                self.host.progress(hashes - reported);
                reported = hashes;
            }
            self.totals.sample(Instant::now());
        }
        self.stop();
    }

    fn take_job(&self) -> ControlFlow<()> {
        /// How long to wait at a time: so often progress is reported and the end is noticed.
        const TURN: Duration = Duration::from_millis(50);
        if !self.works() {
            return ControlFlow::Break(());
        }
        match self.host.next_job(TURN) {
            NextJob::Job(job) => match Problem::new(&job) {
                Ok(problem) => {
                    self.totals.jobs.fetch_add(1, Relaxed);
                    *self.job.lock().expect("nobody panics with it") = Some(Arc::new(problem));
                    self.changed.notify_all();
                }
                Err(err) => {
                    self.host.log(LogLevel::Error, &format!("job {} cannot be mined: {err}", job.id));
                    self.totals.fail(err);
                }
            },
            NextJob::TimedOut => {}
            NextJob::Stopped => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }
}
