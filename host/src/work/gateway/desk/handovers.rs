//! Each proof's way to the gateway: which goes next, what was made of it, and when a hand-over came to nothing.

use std::time::{Duration, Instant};

use super::{Desk, FRUITLESS_MAX, Link, Phase, Submitted, Tracked, commitment};
use crate::work::gateway::protocol::MiningInfo;
use crate::work::{KeptProof, ProofId, ProofState};

/// Refusals of one proof by the gateway itself before it is given up.
const REFUSALS_MAX: u32 = 3;

/// Doublings of the wait before a proof is handed over again.
const DOUBLINGS_MAX: u32 = 4;

/// How much longer a gateway gets that answers while it may be proving.
const BESIDE: u32 = 6;

impl Desk {
    /// A proof comes in: found just now, or left by an earlier process.
    pub fn found(&mut self, kept: KeptProof, now: Instant) {
        let phase = if kept.handed_over { Phase::Taken(now) } else { Phase::Waiting(now) };
        let taken = u32::from(kept.handed_over);
        let taken_at = kept.handed_over.then_some(now);
        let commitment = commitment::of(&kept.found);
        self.proofs.push(Tracked {
            kept,
            commitment,
            phase,
            lost: false,
            replaced: false,
            taken,
            taken_at,
            heard: None,
            refusals: 0,
            told: None,
        });
        self.retire();
    }

    /// The proof to hand over now, if any. It then counts as on its way until [`Self::submitted`].
    pub fn next_submission(&mut self, now: Instant) -> Option<(ProofId, MiningInfo, Vec<u8>)> {
        let job = self.job.as_ref()?;
        if self.link != Link::Up || self.paused.is_some() || self.garbled.is_some() {
            return None;
        }
        // A gateway proves it for minutes all the same, and is deaf to what is worth something.
        if self.worthless(now).is_some() {
            return None;
        }
        let current = |tracked: &Tracked| tracked.kept.found.job.header == job.header;
        if self.proofs.iter().any(|tracked| matches!(tracked.phase, Phase::Submitting(_))) {
            return None;
        }
        // What the gateway took for this header has its time first.
        if !job.is_for_shares()
            && self
                .proofs
                .iter()
                .any(|tracked| current(tracked) && matches!(tracked.phase, Phase::Taken(_) | Phase::Mined))
        {
            return None;
        }
        let due = |tracked: &Tracked| matches!(tracked.phase, Phase::Waiting(at) if at <= now);
        let index = self
            .proofs
            .iter()
            .enumerate()
            .filter(|(_, tracked)| current(tracked) && due(tracked))
            // Each once before any twice; oldest first.
            .min_by_key(|(_, tracked)| tracked.taken + tracked.refusals)?
            .0;
        let tracked = &mut self.proofs[index];
        tracked.phase = Phase::Submitting(now);
        let job = &tracked.kept.found.job;
        let info = MiningInfo {
            header: job.header,
            target: job.target,
            certificate_version: job.certificate_version,
        };
        Some((tracked.kept.id.clone(), info, tracked.kept.found.proof.clone()))
    }

    /// A hand-over ended. `retry` is how long to wait where it should be tried again.
    pub fn submitted(&mut self, id: &ProofId, outcome: Submitted, retry: Duration, now: Instant) {
        let Some(index) = self.proofs.iter().position(|tracked| tracked.kept.id == *id) else { return };
        let tracked = &mut self.proofs[index];
        match outcome {
            Submitted::Taken => {
                tracked.phase = Phase::Taken(now);
                tracked.taken += 1;
                tracked.taken_at = Some(now);
                tracked.heard = None;
                tracked.lost = false;
                let state = ProofState::HandedOver { attempt: tracked.taken };
                let is_share = tracked.kept.found.job.is_for_shares();
                self.tell(index, state);
                if is_share {
                    let reason = "it was asked for as a share, and who took it says no more of it".to_owned();
                    self.tell(index, ProofState::Untraced { reason });
                }
            }
            Submitted::Refused(refusal) => {
                tracked.phase = Phase::Waiting(now + retry);
                if !refusal.is_passing() {
                    tracked.refusals += 1;
                    // Who verifies shares has a reason that does not pass.
                    if tracked.refusals >= REFUSALS_MAX || tracked.kept.found.job.is_for_shares() {
                        self.tell(
                            index,
                            ProofState::Rejected { reason: format!("the gateway says: {refusal}") },
                        );
                    } else {
                        self.note(format!("the gateway refused proof {id}: {refusal}; it is tried again"));
                    }
                }
            }
            Submitted::Lost(reason) => {
                tracked.phase = Phase::Waiting(now + retry);
                self.note(format!("handing over proof {id} failed: {reason}; it is kept and tried again"));
            }
        }
        self.retire();
    }

    /// The proof that the gateway took for the header on offer and has said nothing of, since when it has it, and whether
    /// it surely makes a block of it: it has answered nothing since, or is known to do so while it answers.
    pub fn proving(&self) -> Option<(Instant, bool)> {
        let job = self.job.as_ref().filter(|_| self.dead.is_none())?;
        self.proofs.iter().find_map(|tracked| match tracked.phase {
            Phase::Taken(at) if tracked.kept.found.job.header == job.header && !tracked.lost => {
                Some((at, tracked.heard.is_none() || (self.proves_beside && self.fruitless == 0)))
            }
            _ => None,
        })
    }

    /// Finds hand-overs that came to nothing: the next proof of the header goes in their place.
    pub(super) fn find_fruitless(&mut self, now: Instant) {
        if self.dead.is_some() {
            return;
        }
        let Some(job) = &self.job else { return };
        let header = job.header;
        let mut came_to_nothing = Vec::new();
        for tracked in &mut self.proofs {
            let (Phase::Taken(at), Some(heard)) = (&tracked.phase, tracked.heard) else { continue };
            let went_deaf = heard.saturating_duration_since(*at) >= self.timing.quiet;
            let patience = self.timing.again * if went_deaf { 1 } else { BESIDE };
            let wait = patience * 2_u32.pow(self.fruitless.min(DOUBLINGS_MAX));
            if tracked.kept.found.job.header == header && now.saturating_duration_since(heard) >= wait {
                tracked.phase = Phase::Waiting(now);
                self.fruitless = self.fruitless.saturating_add(1);
                came_to_nothing.push(tracked.kept.id.clone());
            }
        }
        // The first few tell the story; a gateway that refuses for days needs no line for each.
        if self.fruitless > FRUITLESS_MAX {
            return;
        }
        let waits = |tracked: &&Tracked| {
            tracked.kept.found.job.header == header && matches!(tracked.phase, Phase::Waiting(_))
        };
        // Each goes once before any goes twice.
        let next = self.proofs.iter().filter(waits).min_by_key(|tracked| tracked.taken + tracked.refusals);
        let next = next.map(|tracked| tracked.kept.id.clone());
        for id in came_to_nothing {
            let then = match &next {
                Some(next) if *next != id => format!("proof {next} of the same block goes next"),
                _ => "it is handed over again".to_owned(),
            };
            self.note(format!("proof {id} was taken but no block came; {then}"));
        }
    }

    /// Settles what the header on offer decides.
    pub(super) fn retire(&mut self) {
        let Some(job) = &self.job else { return };
        let mut told = Vec::new();
        for (index, tracked) in self.proofs.iter().enumerate() {
            if tracked.kept.found.job.header == job.header {
                continue;
            }
            let may_be_on_its_way = tracked.taken > 0 || tracked.kept.handed_over;
            match tracked.phase {
                Phase::Waiting(_) if !may_be_on_its_way => {
                    let reason = "the gateway moved on to another job before it could take the proof";
                    told.push((index, ProofState::Stale { reason: reason.to_owned() }));
                }
                Phase::Waiting(_) | Phase::Taken(_) if !self.has_node => {
                    let reason =
                        "the gateway says nothing of what became of it, and no node is configured to ask";
                    told.push((index, ProofState::Untraced { reason: reason.to_owned() }));
                }
                // The node will say; a hand-over under way ends by itself.
                _ => {}
            }
        }
        self.tell_all(told);
    }
}
