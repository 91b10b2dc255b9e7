//! The provider process in a session's eyes: started, heard, ended, and started again.
//!
//! Owns what follows from each frame and from the end of the pipe. It never touches the process itself: spawning,
//! reading and ending are [`Child`]'s. Whether a process that is gone comes back is decided by
//! [`restart`](crate::session::restart), whether one that is there still works by [`stall`].
//!
//! What a frame says is the provider's word. It fills numbers that are shown as claims and moves nothing else; a proof
//! goes on to `proofs`.

use std::time::{Instant, SystemTime};

use super::Session;
use crate::session::announce::Announcement;
use crate::session::frame::{FromProvider, ToProvider, WireJob};
use crate::session::ledger::hashes_per_proof;
use crate::session::log::{Level, Speaker};
use crate::session::restart::Next;
use crate::session::stall;
use crate::session::supervise::SuperviseError;
use crate::session::supervise::child::{Child, Event, What};

/// Failures in a row that are borne before a provider has taken its first job.
const FAILURES_BEFORE_FIRST_JOB: u32 = 3;

/// What is known of the provider process that runs now.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When it first took a job, without a break since.
    pub mining_since: Option<Instant>,
    pub progress_at: Option<Instant>,
    /// When its last proof passed.
    pub proof_at: Option<Instant>,
    /// Proofs that were due since then by the hashes that it has claimed.
    pub due_since_proof: f64,
    /// `start` has returned.
    pub started: bool,
    /// Why it says that it failed.
    pub failed: Option<String>,
    /// It says that it has stopped.
    pub stopped: bool,
}

impl Session {
    pub(super) fn start_provider(&mut self) -> Result<(), SuperviseError> {
        self.epoch += 1;
        self.pulse = Pulse::default();
        let now = Instant::now();
        self.restart.started(now);
        let spawned = Child::spawn(self.epoch, &self.setup.order, &self.policy, self.events_in.clone());
        let child = spawned
            .map_err(|err| SuperviseError::Spawn { provider: self.setup.chosen.manifest.id.clone(), err })?;
        self.events_open = true;
        let failed = child.report().failed.clone();
        self.child = Some(child);
        if self.epoch == 1 {
            for lack in failed {
                self.line(Level::Warn, &format!("the provider process is confined by less: {lack}"));
            }
        }
        if let Some(offer) = &mut self.offer {
            offer.taken = false;
            offer.took = None;
            offer.at = now;
        }
        self.send_offer();
        self.write_sidecar();
        Ok(())
    }

    pub(super) fn send_offer(&mut self) {
        let Some(offer) = self.offer else { return };
        let Some((_, job)) = self.jobs.iter().find(|(id, _)| *id == offer.id) else { return };
        let frame = ToProvider::Job(WireJob {
            id: offer.id,
            header: job.header,
            target: job.target,
            certificate_version: job.certificate_version,
            rank_penalty: job.rank_penalty,
        });
        self.send(frame);
    }

    /// A process that does not read is ended; its pipe's end comes as an event then.
    pub(super) fn send(&mut self, frame: ToProvider) {
        let Some(child) = &mut self.child else { return };
        if !child.send(frame) {
            self.pulse.failed.get_or_insert_with(|| "does not read what it is sent".into());
            child.end();
        }
    }

    pub(super) async fn provider_event(&mut self, event: Event, now: Instant) -> Result<(), SuperviseError> {
        if matches!(event.what, What::Closed(_)) && event.epoch == self.epoch {
            self.events_open = false;
        }
        if self.child.as_ref().is_none_or(|child| child.epoch() != event.epoch) {
            // A proof that a process handed in before it ended is as good as any.
            if let What::Frame(FromProvider::Submit { sequence, job, proof }) = event.what {
                self.submitted(event.epoch, sequence, job, proof, now);
            }
            return Ok(());
        }
        match event.what {
            What::Frame(frame) => self.frame(event.epoch, frame, now),
            What::Throttled => self.flood.throttled += 1,
            What::Closed(why) => return self.provider_ended(why, now).await,
        }
        Ok(())
    }

    fn frame(&mut self, epoch: u64, frame: FromProvider, now: Instant) {
        match frame {
            FromProvider::Hello { .. } | FromProvider::Confined(_) => {}
            FromProvider::Started => {
                self.pulse.started = true;
                let pid = self.child.as_ref().map_or(0, |child| child.identity().pid);
                self.info(&format!("the provider has started (process {pid})"));
            }
            FromProvider::Failed(why) => self.pulse.failed = Some(why),
            FromProvider::Took(id) => self.took(id, now),
            FromProvider::Submit { sequence, job, proof } => self.submitted(epoch, sequence, job, proof, now),
            FromProvider::Progress(hashes) => {
                self.hashrate.add(hashes, now);
                self.pulse.progress_at = Some(now);
                // At the target of the moment: the next job may be easier, and what was done before was not.
                if let Some(each) = self.job_in_work().and_then(|job| hashes_per_proof(&job.target)) {
                    self.pulse.due_since_proof += hashes as f64 / each;
                }
            }
            FromProvider::Log { level, message } => {
                if self.provider_gate.pass(now) {
                    self.setup.log.line(Level::from_wire(level), Speaker::Provider, &message);
                } else {
                    self.flood.lines_dropped += 1;
                }
            }
            FromProvider::LogDropped(lines) => {
                self.flood.lines_dropped = self.flood.lines_dropped.saturating_add(lines);
            }
            FromProvider::Stats(json) => self.provider_stats = serde_json::from_str(&json).ok(),
            FromProvider::Denied(what) => self.deny(what, 1),
            FromProvider::Stopped(problem) => {
                self.pulse.stopped = true;
                if !problem.is_empty() {
                    self.trouble(&format!("the provider could not stop in order: {problem}"));
                }
            }
        }
    }

    fn took(&mut self, id: u64, now: Instant) {
        let Some(offer) = self.offer.as_mut().filter(|offer| offer.id == id) else { return };
        offer.taken = true;
        offer.took.get_or_insert(now.saturating_duration_since(offer.at));
        self.hashrate.begin(now);
        self.pulse.mining_since.get_or_insert(now);
        if self.running_since.is_some() {
            return;
        }
        self.running_since = Some((now, SystemTime::now()));
        let taken = format!("the provider took its first job after {} ms", (now - self.began).as_millis());
        self.info(&taken);
        self.write_sidecar();
        let provider_pid = self.child.as_ref().map_or(0, |child| child.identity().pid);
        let pid = self.setup.holder.supervisor.pid;
        self.setup.announcer.tell(&Announcement::Ready { pid, provider_pid });
        self.setup.announcer.close();
        self.notify(&format!("READY=1\nMAINPID={pid}\nSTATUS=mining with {}", self.setup.chosen.manifest.id));
    }

    async fn provider_ended(&mut self, why: Option<String>, now: Instant) -> Result<(), SuperviseError> {
        self.look_at_child(now);
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ending = match &why {
            Some(_) => child.end(),
            None => child.ended().await,
        };
        drop(child);
        let asked = self.stopping.is_some();
        if asked {
            if !self.pulse.stopped {
                self.line(Level::Warn, &format!("the provider process ended while it stopped: {ending}"));
            }
            return Ok(());
        }
        let refused = !self.pulse.started && self.pulse.failed.is_some();
        let reason = match (self.pulse.failed.take(), why) {
            (Some(failed), _) => failed,
            (None, Some(why)) => format!("was ended: {why}"),
            (None, None) => format!("ended unasked: {ending}"),
        };
        if refused && self.running_since.is_none() {
            let provider = self.setup.chosen.manifest.id.clone();
            return Err(SuperviseError::Provider { provider, why: reason });
        }
        self.provider_failed(reason, now)
    }

    /// Decides what follows a provider process that is gone.
    pub(super) fn provider_failed(&mut self, why: String, now: Instant) -> Result<(), SuperviseError> {
        self.pulse = Pulse::default();
        self.trouble(&format!("the provider {why}"));
        let provider = self.setup.chosen.manifest.id.clone();
        match self.restart.ended(now) {
            Next::RestartAt(at)
                if self.running_since.is_some() || self.restart.in_a_row().0 < FAILURES_BEFORE_FIRST_JOB =>
            {
                let (failures, failures_max) = self.restart.in_a_row();
                self.info(&format!(
                    "the provider starts again in {} s (failure {failures} in a row; given up at {failures_max})",
                    (at - now).as_secs()
                ));
                self.restart_at = Some(at);
                self.restart_why = Some(why);
                self.write_sidecar();
                Ok(())
            }
            Next::RestartAt(_) => {
                let (failures, _) = self.restart.in_a_row();
                Err(SuperviseError::GaveUp { provider, failures, why })
            }
            Next::GiveUp { failures } => Err(SuperviseError::GaveUp { provider, failures, why }),
        }
    }

    pub(super) fn look_at_child(&mut self, now: Instant) {
        let Some(child) = &mut self.child else { return };
        let outputs = child.output();
        let violations = child.violations();
        for output in outputs {
            for line in output.text.lines().filter(|line| !line.trim().is_empty()) {
                if self.output_gate.pass(now) {
                    self.setup.log.line(Level::Info, Speaker::Output, line);
                } else {
                    self.flood.lines_dropped += 1;
                }
            }
            if output.bytes_left_out > 0 {
                self.flood.lines_dropped += output.bytes_left_out.div_ceil(80);
            }
        }
        for violation in violations {
            let count = violation.count;
            let what = crate::sandbox::Violation { count: 1, ..violation }.to_string();
            self.deny(what, count);
        }
    }

    fn deny(&mut self, what: String, count: u64) {
        /// Different denials that are kept.
        const DENIALS_MAX: usize = 64;
        if let Some(known) = self.denied.get_mut(&what) {
            *known += count;
        } else if self.denied.len() < DENIALS_MAX {
            self.trouble(&format!("denied: the provider {what}"));
            self.denied.insert(what, count);
        }
    }

    pub(super) fn stall_facts(&self, now: Instant) -> stall::Facts {
        let since = |at: Instant| now.saturating_duration_since(at);
        let mining = self.pulse.mining_since.map(since);
        let barren = match (self.pulse.proof_at.map(since), mining) {
            (Some(proof), Some(mining)) => proof.min(mining),
            (proof, mining) => proof.or(mining).unwrap_or_default(),
        };
        let waits =
            self.offer.filter(|offer| !offer.taken && self.pulse.started).map(|offer| since(offer.at));
        // A plugin that never returns from `start` keeps its job waiting, too.
        let starts = (!self.pulse.started && self.offer.is_some())
            .then(|| self.offer.map(|offer| since(offer.at)))
            .flatten();
        stall::Facts {
            patience: self.setup.tunables.stall_after,
            job_waits: waits.or(starts),
            progress: self.pulse.progress_at.map(since),
            mining: mining.filter(|_| self.offer.is_some_and(|offer| offer.taken)),
            barren,
            barren_due: self.pulse.due_since_proof,
            proofs: self.ledger.verified_work().proofs(),
            borne_out: self.ledger.verified_work().hashes() / self.claimed_at_proof as f64,
        }
    }
}
