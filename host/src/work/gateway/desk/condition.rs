//! How the gateway is doing, worked out from all that the desk has seen.

use std::time::Instant;

use super::{Desk, FRUITLESS_MAX, Link, Phase};
use crate::work::Condition;

impl Desk {
    /// How the gateway is doing, worst news first.
    pub fn condition(&self, now: Instant) -> Condition {
        if let Some(reason) = &self.garbled {
            return Condition::Garbled { reason: reason.clone() };
        }
        let overdue = |asked: &Instant| now.saturating_duration_since(*asked) >= self.timing.quiet;
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

    fn frozen(&self, now: Instant) -> Option<Condition> {
        let job = self.job.as_ref()?;
        let frozen = |reason: String| Some(Condition::FrozenJob { since: job.received, reason });
        if let Some(node) = &self.node {
            if node
                .behind_since
                .is_some_and(|since| now.saturating_duration_since(since) >= self.timing.behind)
            {
                return frozen("the node's newest block is another one than the job builds on".to_owned());
            }
            if let Some(wanted) = node.certificate_version
                && wanted != job.certificate_version
                && job.age(now) >= self.timing.behind
            {
                let found = job.certificate_version;
                return frozen(format!("the network wants certificate {wanted}, the job is for {found}"));
            }
            return None;
        }
        (job.age(now) >= self.timing.frozen).then_some(())?;
        frozen("a block is due every 3 min 14 s".to_owned())
    }
}
