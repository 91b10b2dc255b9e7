//! What the work source tells: jobs, how it is doing, and what became of proofs.
//!
//! Owns the jobs that are remembered, the one on offer, and the verdict that the network wants what this provider or
//! this host does not speak. It never talks to the network: the work source does.

use std::time::{Duration, Instant};

use super::Session;
use crate::session::announce::Announcement;
use crate::session::frame::ToProvider;
use crate::session::log::Level;
use crate::session::plugin;
use crate::session::supervise::SuperviseError;
use crate::work::{Condition, WorkEvent, WorkJob};

/// Jobs that are remembered, so that a late proof is told from one for no job at all.
const JOBS_MAX: usize = 32;

/// The job that the provider may work on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub id: u64,
    pub at: Instant,
    pub taken: bool,
    /// How long the provider took to take it.
    pub took: Option<Duration>,
}

/// The network wants what this provider, or this host, does not speak.
#[derive(Debug, Clone)]
pub(super) struct Unfit {
    pub version: u32,
    pub speakers: Vec<String>,
    pub host_speaks: bool,
}

impl Session {
    pub(super) fn work_event(&mut self, event: WorkEvent, now: Instant) -> Result<(), SuperviseError> {
        match event {
            WorkEvent::Job(job) => self.new_job(job, now),
            WorkEvent::Condition(condition) => self.new_condition(&condition, now),
            WorkEvent::Proof { id, state } => {
                let ours = self.ledger.moved(&id, &state);
                self.proof_line(&id.to_string(), &state, ours);
            }
            WorkEvent::Note(text) => self.info(&text),
        }
        Ok(())
    }

    fn new_job(&mut self, job: WorkJob, now: Instant) {
        let version = job.certificate_version;
        let speaks = self.setup.chosen.manifest.certificate_versions.contains(&version);
        let host_speaks = pearl_pow::CertificateVersion::try_from(version).is_ok();
        let id = self.next_job;
        self.next_job += 1;
        if self.jobs.len() == JOBS_MAX {
            self.jobs.pop_front();
        }
        self.jobs.push_back((id, job));
        if speaks && host_speaks {
            if let Some(unfit) = self.unfit.take() {
                self.info(&format!(
                    "the network wants certificate version {version} (it wanted {}): mining resumes",
                    unfit.version
                ));
            }
            self.offer = Some(Offer { id, at: now, taken: false, took: None });
            self.send_offer();
            return;
        }
        if let Some(offer) = self.offer.take() {
            self.send(ToProvider::Stale(offer.id));
        }
        self.pulse.mining_since = None;
        if self.unfit.as_ref().is_none_or(|unfit| unfit.version != version) {
            let speakers = plugin::speakers(&self.setup.options, &self.setup.config, version);
            let unfit = Unfit { version, speakers, host_speaks };
            let (sentence, hint) = self.unfit_words(&unfit);
            self.trouble(&format!("{sentence}; {hint}"));
            self.setup.announcer.tell(&Announcement::Waiting {
                reason: sentence,
                hint: Some(hint),
                exit: crate::exit::Exit::NeedsUpdate.code(),
            });
            self.unfit = Some(unfit);
        }
    }

    fn new_condition(&mut self, condition: &Condition, now: Instant) {
        let sentence = condition.sentence(now);
        let level = if condition.is_earning() { Level::Info } else { Level::Warn };
        self.line(level, &format!("{}: {sentence}", self.work.borrow().source));
        if !condition.is_earning() && self.running_since.is_none() {
            self.setup.announcer.tell(&Announcement::Waiting {
                reason: sentence,
                hint: condition.hint().map(str::to_owned),
                exit: crate::exit::Exit::NotEarning.code(),
            });
        }
    }

    /// The job that the provider works on.
    pub(super) fn job_in_work(&self) -> Option<&WorkJob> {
        let offer = self.offer?;
        self.jobs.iter().find(|(id, _)| *id == offer.id).map(|(_, job)| job)
    }

    /// What the network wants, and what to do, in words.
    pub(super) fn unfit_words(&self, unfit: &Unfit) -> (String, String) {
        let Unfit { version, speakers, host_speaks } = unfit;
        let manifest = &self.setup.chosen.manifest;
        let spoken: Vec<String> = manifest.certificate_versions.iter().map(u32::to_string).collect();
        if !host_speaks {
            let sentence = format!(
                "the network wants certificate version {version}, which this pearlbed {} cannot verify",
                env!("CARGO_PKG_VERSION")
            );
            return (
                sentence,
                "install a newer pearlbed; mining resumes by itself when a fitting job comes".into(),
            );
        }
        let sentence = format!(
            "the network wants certificate version {version}, and `{}` speaks {}",
            manifest.id,
            spoken.join(", ")
        );
        let hint = match speakers.as_slice() {
            [] => format!("no plugin here speaks version {version}: install a newer one"),
            [one] => format!("`{one}` here speaks it: `pearlbed start --provider {one}`"),
            many => format!("these here speak it: {}", many.join(", ")),
        };
        (sentence, hint)
    }
}
