//! Counts proofs from the provider's hand to the chain, each in exactly one place at a time.
//!
//! ```text
//! found -> refused (by the host's verifier)
//!       -> stale   (its job was over before it left)
//!       -> verified -> kept -> handed over -> accepted | rejected | stale | untraced
//! ```
//!
//! What was "submitted" is never counted as accepted: only a block of the chain is. A block that leaves the chain
//! again is taken back. Proofs of earlier sessions are settled by the work source too, but counted nowhere here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::rate::ProvenWork;
use super::report::ProofReport;
use crate::work::{ProofId, ProofState};

/// Proofs that are followed at once. Settled ones leave; the work source itself keeps far fewer unsettled ones.
const FOLLOWED_MAX: usize = 4096;

/// News of proofs that were not heard of yet: those of earlier sessions, and those whose verdict is still on its way
/// from the verifier's thread, which the work source may overtake.
const UNCLAIMED_MAX: usize = 64;

/// Where a proof that left the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Pending,
    Accepted,
    Rejected,
    Stale,
    Untraced,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: Place,
    submitted: bool,
    hashes: f64,
}

/// The counts of one session.
#[derive(Debug, Default)]
pub struct Ledger {
    found: u64,
    verified: u64,
    refused_by: BTreeMap<String, u64>,
    stale_before_leaving: u64,
    submitted: u64,
    accepted: u64,
    rejected: u64,
    stale: u64,
    untraced: u64,
    refused_in_a_row: u64,
    verified_work: ProvenWork,
    accepted_work: ProvenWork,
    followed: HashMap<ProofId, Entry>,
    unclaimed: VecDeque<(ProofId, ProofState)>,
}

impl Ledger {
    /// The provider handed a proof in.
    pub fn found(&mut self) {
        self.found += 1;
    }

    /// The host's verifier refused it at `stage`.
    pub fn refused(&mut self, stage: &str) {
        self.refused_in_a_row += 1;
        *self.refused_by.entry(stage.to_owned()).or_default() += 1;
    }

    /// Its job was over before it left.
    pub fn stale_before_leaving(&mut self) {
        self.stale_before_leaving += 1;
    }

    /// It passed the verifier and stands for `hashes`; `id` follows it from here on.
    pub fn verified(&mut self, id: ProofId, hashes: f64) {
        self.refused_in_a_row = 0;
        self.verified += 1;
        self.verified_work.add(hashes);
        if self.followed.len() >= FOLLOWED_MAX {
            // Accepted ones wait longest, for confirmations that change no number here.
            self.followed.retain(|_, entry| entry.place == Place::Pending);
        }
        self.followed.insert(id.clone(), Entry { place: Place::Pending, submitted: false, hashes });
        let (early, others): (VecDeque<_>, VecDeque<_>) =
            self.unclaimed.drain(..).partition(|(unclaimed, _)| *unclaimed == id);
        self.unclaimed = others;
        for (id, state) in early {
            self.moved(&id, &state);
        }
    }

    /// The work source says where the proof is now; answers whether the proof is of this session.
    pub fn moved(&mut self, id: &ProofId, state: &ProofState) -> bool {
        let Some(&was) = self.followed.get(id) else {
            if self.unclaimed.len() == UNCLAIMED_MAX {
                self.unclaimed.pop_front();
            }
            self.unclaimed.push_back((id.clone(), state.clone()));
            return false;
        };
        let (place, submitted) = match state {
            ProofState::Kept => (Place::Pending, false),
            ProofState::HandedOver { .. } => (Place::Pending, true),
            ProofState::InBlock { .. } | ProofState::Confirmed { .. } => (Place::Accepted, true),
            ProofState::Stale { .. } => (Place::Stale, false),
            ProofState::Rejected { .. } => (Place::Rejected, true),
            ProofState::Untraced { .. } => (Place::Untraced, true),
        };
        let submitted = submitted || was.submitted;
        if submitted && !was.submitted {
            self.submitted += 1;
        }
        if place != was.place {
            if let Some(count) = self.count(was.place) {
                *count -= 1;
            }
            if let Some(count) = self.count(place) {
                *count += 1;
            }
            match (was.place, place) {
                (Place::Accepted, _) => self.accepted_work.take_back(was.hashes),
                (_, Place::Accepted) => self.accepted_work.add(was.hashes),
                _ => {}
            }
        }
        if state.is_final() {
            self.followed.remove(id);
        } else {
            self.followed.insert(id.clone(), Entry { place, submitted, ..was });
        }
        true
    }

    fn count(&mut self, place: Place) -> Option<&mut u64> {
        match place {
            Place::Pending => None,
            Place::Accepted => Some(&mut self.accepted),
            Place::Rejected => Some(&mut self.rejected),
            Place::Stale => Some(&mut self.stale),
            Place::Untraced => Some(&mut self.untraced),
        }
    }

    /// Proofs that the verifier refused since it last passed one.
    pub fn refused_in_a_row(&self) -> u64 {
        self.refused_in_a_row
    }

    /// Work of the proofs that passed the verifier.
    pub fn verified_work(&self) -> &ProvenWork {
        &self.verified_work
    }

    /// Work of the proofs that are blocks of the chain.
    pub fn accepted_work(&self) -> &ProvenWork {
        &self.accepted_work
    }

    /// Whether the work source could say of any proof whether it was accepted.
    pub fn is_traced(&self) -> bool {
        self.untraced == 0
    }

    /// The counts; `pending` is what the store holds.
    pub fn report(&self, pending: usize) -> ProofReport {
        ProofReport {
            found: self.found,
            verified: self.verified,
            submitted: self.submitted,
            accepted: self.accepted,
            rejected: self.rejected,
            stale: self.stale + self.stale_before_leaving,
            refused: self.refused_by.values().sum(),
            refused_by: self.refused_by.clone(),
            untraced: self.untraced,
            pending: pending as u64,
        }
    }
}

/// Hashes that a proof at `target` (an unscaled little-endian number) takes on average: 2^256 / target.
pub fn hashes_per_proof(target: &[u8; 32]) -> Option<f64> {
    let number = target.iter().rev().fold(0.0_f64, |sum, &byte| sum * 256.0 + f64::from(byte));
    (number > 0.0).then(|| 2.0_f64.powi(256) / number)
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::work::{FoundProof, WorkJob};

    fn id(seed: u8) -> ProofId {
        let job = WorkJob {
            header: [seed; 76],
            target: [1; 32],
            certificate_version: 3,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
        };
        ProofId::of(&FoundProof { job, proof: vec![], found: SystemTime::UNIX_EPOCH })
    }

    fn in_block() -> ProofState {
        ProofState::InBlock { hash: "aa".into(), height: 7 }
    }

    #[test]
    fn a_proof_counts_once_wherever_it_goes() {
        let mut ledger = Ledger::default();
        ledger.found();
        ledger.verified(id(1), 10.0);
        for state in
            [ProofState::HandedOver { attempt: 1 }, ProofState::HandedOver { attempt: 2 }, in_block()]
        {
            assert!(ledger.moved(&id(1), &state));
        }
        let report = ledger.report(0);
        assert_eq!((report.submitted, report.accepted, report.stale), (1, 1, 0));
        // The block leaves the chain.
        assert!(ledger.moved(&id(1), &ProofState::Stale { reason: String::new() }));
        let report = ledger.report(0);
        assert_eq!((report.submitted, report.accepted, report.stale), (1, 0, 1));
    }

    #[test]
    fn news_that_overtakes_the_verdict_is_counted_when_the_verdict_comes() {
        let mut ledger = Ledger::default();
        assert!(!ledger.moved(&id(1), &ProofState::HandedOver { attempt: 1 }));
        assert!(!ledger.moved(&id(1), &in_block()));
        assert!(!ledger.moved(&id(2), &in_block()), "of an earlier session");
        ledger.verified(id(1), 10.0);
        let report = ledger.report(0);
        assert_eq!((report.verified, report.submitted, report.accepted), (1, 1, 1));
    }

    #[test]
    fn news_of_strangers_is_bounded() {
        let mut ledger = Ledger::default();
        for seed in 0..=255 {
            ledger.moved(&id(seed), &in_block());
        }
        assert_eq!(ledger.unclaimed.len(), UNCLAIMED_MAX);
    }
}
