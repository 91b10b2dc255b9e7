//! What a keeper tells of its container.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::run::Kept;
use crate::container::keeper::{Event, What};
use crate::container::life::Phase;
use crate::container::words;

impl Kept {
    pub(super) fn phase(&mut self, phase: Phase) {
        self.life.is(phase, Instant::now());
        self.tell();
    }

    pub(super) fn line(&mut self, grave: bool, text: String) {
        self.say(What::Line(grave, text));
    }

    /// Tells how it stands, where that is news.
    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        let (sentence, hint) = words::sentence(&self.life, &self.charge.recipe, self.printed.newest(), now);
        self.report.phase = self.life.phase().word().into();
        self.report.sentence = sentence;
        self.report.hint = hint;
        self.report.since_seconds = now.saturating_duration_since(self.life.since()).as_secs_f64().floor();
        self.report.restarts = self.life.restarts();
        self.report.workers = self.port.workers.load(Ordering::Relaxed);
        let polled = *self.port.polled.lock().unwrap_or_else(PoisonError::into_inner);
        self.report.last_poll_seconds =
            polled.map(|at| now.saturating_duration_since(at).as_secs_f64().floor());
        if self.told.as_ref() != Some(&self.report) {
            self.told = Some(self.report.clone());
            self.say(What::Stands(Box::new(self.report.clone())));
        }
    }

    pub(super) fn say(&self, what: What) {
        let event = Event { miner: self.charge.recipe.miner.clone(), what };
        // Without a listener the session is over.
        let _ = self.events.blocking_send(event);
    }
}
