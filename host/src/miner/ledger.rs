//! Counts proofs from the provider's hand to the chain, each in exactly one place at a time.
//!
//! ```text
//! handed in -> refused (by the host's verifier)
//!           -> verified -> late   (its job was over: never sent)
//!                       -> a share of the host's own (what pays is harder: never sent)
//!                       -> pays -> kept -> handed over -> accepted | rejected | stale | not sent | untraced
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
    NotSent,
    Untraced,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: Place,
    submitted: bool,
    hashes: f64,
}

/// The counts of one miner.
#[derive(Debug, Default)]
pub struct Ledger {
    waiting: u64,
    unjudged: u64,
    refused_by: BTreeMap<String, u64>,
    late: u64,
    spare: u64,
    paying: u64,
    submitted: u64,
    accepted: u64,
    rejected: u64,
    stale: u64,
    not_sent: u64,
    untraced: u64,
    refused_in_a_row: u64,
    verified: u64,
    accepted_work: ProvenWork,
    followed: HashMap<ProofId, Entry>,
    unclaimed: VecDeque<(ProofId, ProofState)>,
}

impl Ledger {
    /// The miner handed a proof in, and the verifier has it.
    pub fn handed_in(&mut self) {
        self.waiting += 1;
    }

    /// The host could not judge it, for reasons of its own: it stays found.
    pub fn not_judged(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.unjudged += 1;
    }

    /// The host's verifier refused it at `stage`.
    pub fn refused(&mut self, stage: &str) {
        self.waiting = self.waiting.saturating_sub(1);
        self.refused_in_a_row += 1;
        *self.refused_by.entry(stage.to_owned()).or_default() += 1;
    }

    /// It passed the verifier.
    pub fn verified(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.refused_in_a_row = 0;
        self.verified += 1;
    }

    /// It passed and would pay, and enough are kept for the same block.
    pub fn spare(&mut self) {
        self.verified();
        self.spare += 1;
    }

    /// It passed, and its job was over.
    pub fn late(&mut self) {
        self.verified();
        self.late += 1;
    }

    /// It passed, pays, and stands for `hashes` at the paying target; `id` follows it from here on.
    pub fn pays(&mut self, id: ProofId, hashes: f64) {
        self.verified();
        self.paying += 1;
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
            ProofState::InBlock { .. } | ProofState::Confirmed { .. } | ProofState::Credited => {
                (Place::Accepted, true)
            }
            ProofState::Stale { .. } => (Place::Stale, false),
            ProofState::NotSent { .. } => (Place::NotSent, false),
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
            Place::NotSent => Some(&mut self.not_sent),
            Place::Untraced => Some(&mut self.untraced),
        }
    }

    /// Proofs that the verifier refused since it last passed one.
    pub fn refused_in_a_row(&self) -> u64 {
        self.refused_in_a_row
    }

    /// Proofs that passed the verifier.
    pub fn passed(&self) -> u64 {
        self.verified
    }

    /// Work of the proofs that are blocks of the chain.
    pub fn accepted_work(&self) -> &ProvenWork {
        &self.accepted_work
    }

    /// Whether the work source could say of any proof whether it was accepted.
    pub fn is_traced(&self) -> bool {
        self.untraced == 0
    }

    /// The counts. What the store holds is not known here.
    pub fn report(&self) -> ProofReport {
        ProofReport {
            found: self.verified + self.waiting + self.unjudged,
            verified: self.verified,
            late: self.late,
            spare: self.spare,
            paying: self.paying,
            submitted: self.submitted,
            accepted: self.accepted,
            rejected: self.rejected,
            stale: self.stale,
            not_sent: self.not_sent,
            refused: self.refused_by.values().sum(),
            refused_by: self.refused_by.clone(),
            untraced: self.untraced,
            pending: 0,
        }
    }
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
            origin: None,
            keeps_earlier: false,
        };
        ProofId::of(&FoundProof { job, proof: vec![], found: SystemTime::UNIX_EPOCH, block: false })
    }

    fn in_block() -> ProofState {
        ProofState::InBlock { hash: "aa".into(), height: 7 }
    }

    #[test]
    fn a_proof_counts_once_wherever_it_goes() {
        let mut ledger = Ledger::default();
        ledger.handed_in();
        ledger.pays(id(1), 10.0);
        for state in
            [ProofState::HandedOver { attempt: 1 }, ProofState::HandedOver { attempt: 2 }, in_block()]
        {
            assert!(ledger.moved(&id(1), &state));
        }
        let report = ledger.report();
        assert_eq!((report.submitted, report.accepted, report.stale), (1, 1, 0));
        // The block leaves the chain.
        assert!(ledger.moved(&id(1), &ProofState::Stale { reason: String::new() }));
        let report = ledger.report();
        assert_eq!((report.submitted, report.accepted, report.stale), (1, 0, 1));
    }

    #[test]
    fn news_that_overtakes_the_verdict_is_counted_when_the_verdict_comes() {
        let mut ledger = Ledger::default();
        assert!(!ledger.moved(&id(1), &ProofState::HandedOver { attempt: 1 }));
        assert!(!ledger.moved(&id(1), &in_block()));
        assert!(!ledger.moved(&id(2), &in_block()), "of an earlier session");
        ledger.pays(id(1), 10.0);
        let report = ledger.report();
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

    #[test]
    fn what_the_verifier_refuses_is_counted_by_stage_and_never_submitted() {
        let mut ledger = Ledger::default();
        for stage in ["shape", "difficulty", "shape"] {
            ledger.handed_in();
            ledger.refused(stage);
        }
        assert_eq!(ledger.refused_in_a_row(), 3);
        ledger.handed_in();
        ledger.pays(id(1), 10.0);
        assert_eq!(ledger.refused_in_a_row(), 0, "one that passes ends the row");
        ledger.handed_in();
        ledger.refused("difficulty");
        let report = ledger.report();
        assert_eq!((ledger.refused_in_a_row(), report.refused), (1, 4));
        assert_eq!(
            report.refused_by,
            BTreeMap::from([("shape".to_owned(), 2), ("difficulty".to_owned(), 2)])
        );
        assert_eq!((report.found, report.verified, report.paying, report.submitted), (1, 1, 1, 0));
    }

    #[test]
    fn late_and_stale_are_two_things_and_neither_need_have_been_submitted() {
        let mut ledger = Ledger::default();
        ledger.handed_in();
        ledger.late();
        ledger.pays(id(1), 10.0);
        ledger.pays(id(2), 10.0);
        let stale = ProofState::Stale { reason: String::new() };
        // The first was with the gateway, the second never left.
        ledger.moved(&id(1), &ProofState::HandedOver { attempt: 1 });
        ledger.moved(&id(1), &stale);
        ledger.moved(&id(2), &stale);
        let report = ledger.report();
        assert_eq!((report.late, report.stale, report.submitted, report.accepted), (1, 2, 1, 0));
        assert_eq!((report.found, report.verified, report.paying), (3, 3, 2));
    }

    #[test]
    fn a_proof_counts_as_found_from_the_moment_it_is_handed_in_until_it_is_refused() {
        let mut ledger = Ledger::default();
        for _ in 0..4 {
            ledger.handed_in();
        }
        assert_eq!((ledger.report().found, ledger.report().verified), (4, 0));
        ledger.refused("shape");
        ledger.verified();
        ledger.late();
        let report = ledger.report();
        assert_eq!((report.found, report.verified, report.late, report.refused), (3, 2, 1, 1));
        ledger.not_judged();
        assert_eq!((ledger.report().found, ledger.report().verified), (3, 2), "it may have been one");
    }

    #[test]
    fn a_proof_that_nobody_can_follow_is_untraced_and_the_verifier_has_the_last_word() {
        let mut ledger = Ledger::default();
        ledger.pays(id(1), 10.0);
        ledger.moved(&id(1), &ProofState::HandedOver { attempt: 1 });
        assert!(ledger.is_traced());
        ledger.moved(&id(1), &ProofState::Untraced { reason: String::new() });
        assert!(!ledger.is_traced());
        let report = ledger.report();
        assert_eq!((report.untraced, report.submitted, report.accepted, report.rejected), (1, 1, 0, 0));
    }

    #[test]
    fn work_counts_as_accepted_while_its_block_stands_and_once_however_often_that_is_told() {
        let mut ledger = Ledger::default();
        ledger.pays(id(1), 10.0);
        ledger.pays(id(2), 5.0);
        for _ in 0..3 {
            ledger.moved(&id(1), &in_block());
        }
        ledger.moved(&id(2), &in_block());
        assert_eq!((ledger.accepted_work().hashes(), ledger.accepted_work().proofs()), (15.0, 2));
        // A reorganisation takes the first block away; the gateway tries the proof again, and it is a block again.
        ledger.moved(&id(1), &ProofState::HandedOver { attempt: 2 });
        assert_eq!((ledger.accepted_work().hashes(), ledger.report().accepted), (5.0, 1));
        ledger.moved(&id(1), &in_block());
        assert_eq!((ledger.accepted_work().hashes(), ledger.report().accepted), (15.0, 2));
        assert_eq!((ledger.passed(), ledger.report().submitted), (2, 2));
    }

    #[test]
    fn a_settled_proof_is_followed_no_longer_and_later_news_of_it_changes_nothing() {
        let mut ledger = Ledger::default();
        ledger.pays(id(1), 10.0);
        let confirmed = ProofState::Confirmed { hash: "aa".into(), height: 7, confirmations: 6 };
        assert!(ledger.moved(&id(1), &confirmed));
        let before = ledger.report();
        assert!(!ledger.moved(&id(1), &ProofState::Rejected { reason: String::new() }));
        assert_eq!(ledger.report(), before);
        assert!(ledger.followed.is_empty());
    }

    #[test]
    fn proofs_in_young_blocks_make_room_for_new_ones_and_stay_counted() {
        let mut ledger = Ledger::default();
        let many = |number: usize| {
            let mut found = FoundProof {
                job: WorkJob {
                    header: [0; 76],
                    target: [1; 32],
                    certificate_version: 3,
                    rank_penalty: true,
                    height: None,
                    received: Instant::now(),
                    origin: None,
                    keeps_earlier: false,
                },
                proof: number.to_le_bytes().to_vec(),
                found: SystemTime::UNIX_EPOCH,
                block: false,
            };
            found.job.header[..8].copy_from_slice(&(number as u64).to_le_bytes());
            ProofId::of(&found)
        };
        for number in 0..=FOLLOWED_MAX {
            ledger.pays(many(number), 1.0);
            ledger.moved(&many(number), &in_block());
        }
        assert!(ledger.followed.len() <= FOLLOWED_MAX, "{}", ledger.followed.len());
        assert_eq!(ledger.report().accepted, FOLLOWED_MAX as u64 + 1);
    }
}
