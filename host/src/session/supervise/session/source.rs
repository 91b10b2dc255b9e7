//! What comes from the work source: jobs, how it stands, what became of proofs.

use std::time::Instant;

use super::Session;
use crate::miner::plugin;
use crate::session::announce::Announcement;
use crate::session::log::Level;
use crate::session::supervise::crew::Told;
use crate::session::supervise::words;
use crate::work::{Condition, ProofState, WorkEvent};

impl Session {
    pub(super) fn work_event(&mut self, event: WorkEvent, now: Instant) -> Vec<Told> {
        match event {
            WorkEvent::Job(job) => {
                let work = self.jobs.replace(job);
                self.rest.over();
                let told = self.crew.each(|miner| miner.offer(&work, now));
                self.look_for_unfit();
                self.start_containers(work.job.certificate_version);
                return told;
            }
            WorkEvent::NoJob { reason } => {
                self.jobs.clear();
                self.rest.over();
                for miner in self.crew.iter_mut() {
                    miner.withdraw(now);
                }
                self.herald.info(&reason);
            }
            WorkEvent::Condition(condition) => self.new_condition(&condition, now),
            WorkEvent::Proof { id, state } => {
                // Each may be the one that handed it in, also one whose verdict is still on its way.
                let ours = self.crew.iter_mut().any(|miner| miner.proof_moved(&id, &state));
                // What this session found is no earlier one's, whoever of its miners it was.
                let ours = ours || !self.record.store.was_left(&id);
                match words::of_proof(&id, &state, ours) {
                    Some(text) if matches!(state, ProofState::Rejected { .. }) => self.herald.trouble(&text),
                    Some(text) => self.herald.info(&text),
                    None => {}
                }
            }
            WorkEvent::Note(text) => self.herald.info(&text),
        }
        Vec::new()
    }

    /// There is a job for certificate `version`: containers mine it, or it is said why none does.
    fn start_containers(&mut self, version: u32) {
        let Some(reason) = self.containers.go(version) else { return };
        if self.crew.len() == 0 && self.course.running_since().is_none() && self.course.is_news_of(version) {
            let hint = "get a newer image, and the data file that goes with it".to_owned();
            self.herald.trouble(&format!("{reason}; {hint}"));
            let exit = crate::exit::Exit::NeedsUpdate.code();
            self.herald.announce(&Announcement::Waiting { reason, hint: Some(hint), exit });
        }
    }

    /// The network wants what some miners, or this host, do not speak: says so, once for each version.
    fn look_for_unfit(&mut self) {
        let Some(unfit) = self.crew.iter().find_map(|miner| miner.unfit()) else { return };
        if !self.course.is_news(unfit) {
            return;
        }
        let speakers = plugin::speakers(&self.options, &self.settings.config, unfit.version);
        let hint = unfit.advice(&speakers);
        self.course.advise(unfit, hint.clone());
        let mut all = true;
        let mut told = Vec::new();
        for miner in self.crew.iter() {
            match miner.unfit() {
                Some(unfit) => {
                    told.push((miner.plan().name.clone(), unfit.sentence(&miner.plan().chosen.manifest)))
                }
                None => all = false,
            }
        }
        let many = self.crew.len() > 1;
        for (name, sentence) in &told {
            let whose = if many { format!("[{name}] ") } else { String::new() };
            self.herald.trouble(&format!("{whose}{sentence}; {hint}"));
        }
        if all && let Some((_, reason)) = told.into_iter().next() {
            let exit = crate::exit::Exit::NeedsUpdate.code();
            self.herald.announce(&Announcement::Waiting { reason, hint: Some(hint), exit });
        }
    }

    fn new_condition(&mut self, condition: &Condition, now: Instant) {
        let sentence = condition.sentence(now);
        let level = if condition.is_earning() { Level::Info } else { Level::Warn };
        let source = self.source.status.borrow().source;
        self.herald.line(level, &format!("{source}: {sentence}"));
        if !condition.is_earning() && self.course.running_since().is_none() {
            let needs_update = matches!(condition, Condition::NeedsUpdate { .. });
            let exit =
                if needs_update { crate::exit::Exit::NeedsUpdate } else { crate::exit::Exit::NotEarning };
            // Why the gateway does not run says more than that it does not answer.
            let work = self.source.status.borrow();
            let trouble = work.endpoints.iter().find(|one| one.purpose == work.source && !needs_update);
            let trouble = trouble.and_then(|one| one.trouble.clone());
            drop(work);
            let known = |hint: &Option<String>| hint.clone().or_else(|| condition.hint().map(str::to_owned));
            let (reason, hint) = match trouble {
                Some(trouble) if trouble.text.contains("command") => (trouble.text, trouble.hint),
                Some(trouble) => (sentence, known(&trouble.hint)),
                None => (sentence, known(&None)),
            };
            self.herald.announce(&Announcement::Waiting { reason, hint, exit: exit.code() });
        }
    }
}
