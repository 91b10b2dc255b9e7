//! How the gateway is doing, worked out from all that the desk has seen.

use std::time::Instant;

use super::{Desk, FRUITLESS_MAX, Link, Phase};
use crate::work::Condition;

impl Desk {
    /// How the gateway is doing, worst news first.
    pub fn condition(&self, now: Instant) -> Condition {
        // What nobody can help by waiting comes first, also while the gateway is deaf or away.
        if let Some(outdated) = self.outdated(now) {
            return outdated;
        }
        if let Some(reason) = &self.garbled {
            return Condition::Garbled { reason: reason.clone() };
        }
        let overdue = |asked: &Instant| now.saturating_duration_since(*asked) >= self.timing.quiet;
        if let Some(dead) = self.dead.as_ref().filter(|_| self.connected || self.link == Link::Up) {
            return Condition::DeadJob { since: dead.since, reason: dead.reason.clone() };
        }
        if let Some(silent) = self.asked.filter(|asked| self.connected && overdue(asked)) {
            let with_it = self.proofs.iter().filter_map(|tracked| match tracked.phase {
                Phase::Submitting(at) | Phase::Taken(at) => Some(at),
                Phase::Waiting(_) | Phase::Mined => None,
            });
            return match with_it.max() {
                Some(since) => Condition::Proving { since },
                None => Condition::Silent { since: silent },
            };
        }
        if let Link::Down { attempt, next_try, error } = &self.link {
            return Condition::Connecting { attempt: *attempt, next_try: *next_try, error: error.clone() };
        }
        if let Some(reason) = &self.paused {
            return Condition::Paused { reason: reason.clone() };
        }
        if self.fruitless >= FRUITLESS_MAX {
            return Condition::RefusingEveryProof { count: self.fruitless };
        }
        if let Some(frozen) = self.frozen(now) {
            return frozen;
        }
        match self.job {
            Some(_) => Condition::Healthy,
            None => Condition::Connecting { attempt: 1, next_try: None, error: None },
        }
    }

    /// The network has moved on to a certificate that the gateway's job is not for, and the gateway had time to follow.
    fn outdated(&self, now: Instant) -> Option<Condition> {
        let found = self.job.as_ref()?.certificate_version;
        let (wanted, since) = self.wanted?;
        let lasts = now.saturating_duration_since(since) >= self.timing.quiet;
        (wanted > found && lasts).then_some(Condition::NeedsUpdate { wanted, found })
    }

    /// Why nothing that is found for the job on offer is worth anything, if that is so: a phrase.
    pub(super) fn worthless(&self, now: Instant) -> Option<String> {
        let what = self.outdated(now).map(|condition| condition.sentence(now));
        what.or_else(|| self.dead.as_ref().map(|dead| format!("the job is over: {}", dead.reason)))
            .map(|reason| format!("{reason}; miners wait for another job"))
    }

    fn frozen(&self, now: Instant) -> Option<Condition> {
        let job = self.job.as_ref()?;
        let frozen = |reason: String| Some(Condition::FrozenJob { since: job.received, reason });
        if let Some(node) = &self.node {
            // The job may have followed since the node was asked.
            let behind = node.behind_since.filter(|_| node.tip != job.prev_block());
            if behind.is_some_and(|since| now.saturating_duration_since(since) >= self.timing.behind) {
                return frozen("the node's newest block is another one than the job builds on".to_owned());
            }
            return None;
        }
        (job.age(now) >= self.timing.frozen).then_some(())?;
        frozen("a block is due every 3 min 14 s".to_owned())
    }
}
