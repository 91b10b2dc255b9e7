//! What its session asks of a miner: to run, to take a job, to rest, to be something else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Miner, info};
use crate::miner::effect::{Effect, Work};
use crate::miner::frame::ToProvider;
use crate::miner::life::Then;
use crate::miner::link::{Launch, Link};
use crate::miner::plan::MinerPlan;
use crate::miner::standing::Unfit;

impl Miner {
    /// Starts it, unless it runs or may not.
    pub fn start(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.line.is_up() && self.life.may_run() {
            self.launch(now, &mut out);
        }
        out
    }

    /// Gives it a link that somebody else made: a program that came by itself.
    pub fn connected(&mut self, link: Box<dyn Link>, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.begin(now);
        self.line.take(link);
        self.greet(now, &mut out);
        out
    }

    /// There is a new job: every earlier one is over.
    pub fn offer(&mut self, work: &Arc<Work>, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let version = work.job.certificate_version;
        let host_speaks = pearl_pow::CertificateVersion::try_from(version).is_ok();
        if !host_speaks || !self.plan.chosen.manifest.certificate_versions.contains(&version) {
            self.withdraw(now);
            self.unfit = Some(Unfit { version, host_speaks });
            return out;
        }
        if let Some(unfit) = self.unfit.take() {
            out.push(info(format!(
                "the network wants certificate version {version} (it wanted {}): mining resumes",
                unfit.version
            )));
        }
        if let Some(behind) = self.fork.is_behind(version) {
            self.withdraw(now);
            out.push(Effect::Behind(behind.sentence()));
            return out;
        }
        if self.rests.is_some() {
            self.withdraw(now);
            return out;
        }
        self.put(work, now);
        out
    }

    /// Takes its job away and gives it none, because of `why`, a sentence. Its process stays.
    pub fn rest(&mut self, why: String, now: Instant) {
        self.rests = Some(why);
        self.withdraw(now);
    }

    /// Ends a rest: it works on `job`, where there is one, and on what comes.
    pub fn work_again(&mut self, job: Option<&Arc<Work>>, now: Instant) -> Vec<Effect> {
        self.rests = None;
        job.map_or_else(Vec::new, |job| self.offer(job, now))
    }

    pub(super) fn put(&mut self, work: &Arc<Work>, now: Instant) {
        let target = self.account.target(&work.job.target, now);
        let wire = self.offers.put(work, target, now);
        self.send(ToProvider::Job(wire));
    }

    /// There is no job for it any more, and no other takes its place yet.
    pub fn withdraw(&mut self, now: Instant) {
        if let Some(id) = self.offers.withdraw() {
            self.send(ToProvider::Stale(id));
        }
        self.life.pulse.mining_since = None;
        self.account.idles(now);
    }

    /// Asks it to stop within `grace`, and to stay so until it is asked to start.
    pub fn pause(&mut self, grace: Duration, now: Instant) {
        self.life.set_paused(true);
        self.ask_to_stop(grace, Then::Rest, now);
    }

    /// Lets it run again.
    pub fn resume(&mut self, now: Instant) -> Vec<Effect> {
        self.life.set_paused(false);
        self.life.begin_afresh();
        if self.life.start_again() { Vec::new() } else { self.start(now) }
    }

    /// Asks it to stop within `grace`, and starts it again. One that was given up gets another chance, one that is paused
    /// runs again.
    pub fn restart(&mut self, grace: Duration, now: Instant) -> Vec<Effect> {
        self.life.set_paused(false);
        self.life.begin_afresh();
        if !self.line.is_up() {
            return self.start(now);
        }
        self.ask_to_stop(grace, Then::StartAgain, now);
        Vec::new()
    }

    /// Asks it to stop within `grace`, for good: it is not configured any more.
    pub fn dismiss(&mut self, grace: Duration, now: Instant) {
        self.life.dismiss();
        self.ask_to_stop(grace, Then::Rest, now);
    }

    /// It is to be something else: from its next start, which is now or as soon as it has stopped within `grace`.
    pub fn replan(
        &mut self,
        plan: MinerPlan,
        launch: Option<Box<dyn Launch>>,
        grace: Duration,
        now: Instant,
    ) -> Vec<Effect> {
        self.line.set_launch(launch);
        self.life.set_restart_wait(plan.restart_wait);
        self.plan = plan;
        if self.life.is_paused() { Vec::new() } else { self.restart(grace, now) }
    }

    /// It was dismissed, and is configured again: it comes back with its counts, as `plan` says, and rests where it `rests`.
    pub fn recall(
        &mut self,
        plan: MinerPlan,
        launch: Option<Box<dyn Launch>>,
        rests: bool,
        grace: Duration,
        now: Instant,
    ) -> Vec<Effect> {
        self.life.recall();
        self.life.set_paused(rests);
        self.replan(plan, launch, grace, now)
    }

    /// Ends it now if it was asked to stop and has not: it was asked twice.
    pub fn insist(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.end_what_does_not_stop(now, &mut out);
        out
    }

    /// Ends it without asking.
    pub fn end(&mut self) {
        self.line.end();
    }

    fn ask_to_stop(&mut self, grace: Duration, then: Then, now: Instant) {
        if self.line.is_up() {
            if self.life.ask_to_stop(grace, then, now) {
                self.send(ToProvider::Stop);
            }
        } else {
            self.life.begin_afresh();
        }
    }
}
