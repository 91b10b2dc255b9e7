//! A session's course: since when it runs, when its first miner took a job, whether it is to end, and what it has said
//! about a network that wants something else.

use std::time::{Instant, SystemTime};

use crate::miner::standing::Unfit;
use crate::session::state::{self, LiveFacts, State};

/// The course so far.
#[derive(Debug)]
pub(super) struct Course {
    began: Moment,
    /// When the first job of the session was taken.
    running: Option<Moment>,
    stopping: Option<(Moment, String)>,
    /// What was said last about a network that wants something else, with what to do.
    unfit: Option<(Unfit, String)>,
    /// The certificate version that no container makes proofs for, as it was said last.
    unfit_containers: Option<u32>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub at: Instant,
    pub wall: SystemTime,
}

impl Course {
    /// A session begins.
    pub fn begin(now: Instant) -> Self {
        Self { began: Moment::at(now), running: None, stopping: None, unfit: None, unfit_containers: None }
    }

    /// When it began.
    pub fn began(&self) -> Moment {
        self.began
    }

    /// A miner took a job; answers whether it was the first of the session.
    pub fn first_job(&mut self, now: Instant) -> bool {
        let first = self.running.is_none();
        self.running.get_or_insert(Moment::at(now));
        first
    }

    /// Since when it mines.
    pub fn running_since(&self) -> Option<Moment> {
        self.running
    }

    /// It is to end.
    pub fn end(&mut self, reason: &str, now: Instant) {
        self.stopping.get_or_insert((Moment::at(now), reason.to_owned()));
    }

    /// Whether it is to end.
    pub fn is_ending(&self) -> bool {
        self.stopping.is_some()
    }

    /// Since when it is to end.
    pub fn ending_since(&self) -> Option<Instant> {
        self.stopping.as_ref().map(|(since, _)| since.at)
    }

    /// Why it is to end.
    pub fn reason(&self) -> Option<&str> {
        self.stopping.as_ref().map(|(_, reason)| reason.as_str())
    }

    /// Whether this was not said last.
    pub fn is_news(&self, unfit: Unfit) -> bool {
        self.unfit.as_ref().is_none_or(|(said, _)| *said != unfit)
    }

    /// It was said, with what to do.
    pub fn advise(&mut self, unfit: Unfit, hint: String) {
        self.unfit = Some((unfit, hint));
    }

    /// No container makes proofs for certificate `version`; answers whether this was not said last.
    pub fn is_news_of(&mut self, version: u32) -> bool {
        self.unfit_containers.replace(version) != Some(version)
    }

    /// What to do about a network that wants something else.
    pub fn advice(&self) -> Option<&str> {
        self.unfit.as_ref().map(|(_, hint)| hint.as_str())
    }

    /// The state, and since when.
    pub fn state(&self) -> (State, Moment) {
        let facts = LiveFacts { stopping: self.is_ending(), took_a_job: self.running.is_some() };
        let since = self.stopping.as_ref().map(|(since, _)| *since).or(self.running).unwrap_or(self.began);
        (state::of_live(facts), since)
    }
}

impl Moment {
    fn at(now: Instant) -> Self {
        Self { at: now, wall: SystemTime::now() }
    }
}
