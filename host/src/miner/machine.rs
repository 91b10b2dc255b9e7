//! One miner: what it is given, what it does with it, and what follows.
//!
//! Everything here follows from what came over its line (`What`), from what its session asks, and from `now`. What the
//! session has to do about it comes back as [`Effect`]s. What a frame says is the miner's word: it fills numbers that are
//! shown as claims and moves nothing else.
//!
//! The parts know their own affairs: [`Life`] when it runs, [`Line`] the link, [`Offers`] the jobs, [`Account`] the
//! numbers, [`Voice`] what it says. Here and in this room's files is how they depend on each other.

mod asked;
mod comes;
mod running;
mod time;
mod told;

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::account::Account;
use super::devices::Devices;
use super::effect::{Effect, Level, Speaker};
use super::excuse::Excuse;
use super::fork::{Behind, Fork};
use super::frame::WireJob;
use super::life::Life;
use super::line::Line;
use super::link::{Event, Launch, MinerId};
use super::offers::Offers;
use super::plan::MinerPlan;
use super::standing::Unfit;
use super::voice::Voice;

/// One miner.
#[derive(Debug)]
pub struct Miner {
    plan: MinerPlan,
    line: Line,
    life: Life,
    offers: Offers,
    unfit: Option<Unfit>,
    /// Why it gets no job for now: its session would rather have it rest.
    rests: Option<String>,
    /// Of a program: whether the network left it behind.
    fork: Fork,
    account: Account,
    /// What is not held against it while it does nothing.
    excuse: Excuse,
    voice: Voice,
    stats: Stats,
    /// Whether it was said that it finds more than can be used.
    spares_told: bool,
}

/// The provider's own numbers, as it gives them.
#[derive(Debug)]
struct Stats {
    json: Option<serde_json::Value>,
    devices: Devices,
    asked_at: Instant,
}

impl Miner {
    /// A miner that does not run yet. `launch` makes its links; what comes over them goes to `events`.
    pub fn new(
        id: MinerId,
        plan: MinerPlan,
        launch: Option<Box<dyn Launch>>,
        events: mpsc::Sender<Event>,
        now: Instant,
    ) -> Self {
        Self {
            account: Account::new(plan.estimate, plan.share_every),
            excuse: Excuse::default(),
            life: Life::new(plan.restart_wait),
            plan,
            line: Line::new(id, launch, events),
            offers: Offers::default(),
            unfit: None,
            rests: None,
            fork: Fork::default(),
            voice: Voice::new(now),
            stats: Stats { json: None, devices: Devices::default(), asked_at: now },
            spares_told: false,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &MinerPlan {
        &self.plan
    }

    /// Whether it is a program that comes and goes as it likes.
    pub fn is_program(&self) -> bool {
        self.plan.program.is_some()
    }

    /// Whether it has ever handed in a proof.
    pub fn has_handed_in(&self) -> bool {
        let proofs = self.account.proof_report();
        proofs.found > 0 || proofs.refused > 0
    }

    /// It is the same program, as it says of itself now.
    pub fn is_now(&mut self, plan: MinerPlan) {
        if self.plan.program != plan.program {
            self.fork.forget();
        }
        self.plan = plan;
    }

    /// The network left it behind, where it is a program of which that is so.
    fn behind(&self) -> Option<Behind> {
        self.offers.newest().and_then(|given| self.fork.is_behind(given.work.job.certificate_version))
    }

    /// Whether its session has it rest.
    pub fn rests(&self) -> bool {
        self.rests.is_some()
    }

    /// Whether a job is on offer to it.
    pub fn has_an_offer(&self) -> bool {
        self.offers.current().is_some()
    }

    /// The last `max` jobs that it was given before the one on offer, as they were sent.
    pub fn earlier_jobs(&self, max: usize) -> Vec<WireJob> {
        self.offers.earlier(max)
    }

    /// The number of its newest link.
    pub fn generation(&self) -> u64 {
        self.line.generation()
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.line.pid()
    }

    /// Whether something may still come from it.
    pub fn is_open(&self) -> bool {
        self.line.is_open()
    }

    /// What its session calls it.
    pub fn id(&self) -> MinerId {
        self.line.id()
    }

    /// Whether a job is on offer to it.
    pub fn has_job(&self) -> bool {
        self.offers.current().is_some()
    }

    /// Whether it has no link.
    pub fn is_down(&self) -> bool {
        !self.line.is_up()
    }

    /// How long what runs now has run.
    pub fn runs_for(&self, now: Instant) -> Option<Duration> {
        self.life.pulse.since.map(|at| now.saturating_duration_since(at))
    }

    /// Whether nothing but a person can make it mine again.
    pub fn has_given_up(&self) -> bool {
        self.life.has_given_up()
    }

    /// Whether it has left the session, or is about to.
    pub fn is_dismissed(&self) -> bool {
        self.life.is_dismissed()
    }

    /// Whether it is not to run until it is asked to.
    pub fn is_paused(&self) -> bool {
        self.life.is_paused()
    }

    /// Why it ended the last time: a phrase that follows the provider's name.
    pub fn last_words(&self) -> &str {
        self.life.last_words()
    }

    /// Why it is not mining for what the network wants, if that is so.
    pub fn unfit(&self) -> Option<Unfit> {
        self.unfit
    }
}

fn info(text: String) -> Effect {
    Effect::Line(Level::Info, Speaker::Supervisor, text)
}

#[cfg(test)]
mod tests;
