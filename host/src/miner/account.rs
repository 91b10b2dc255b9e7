//! The numbers of one miner: what it claims, what it has proved, and what follows.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::effect::Verdict;
use super::ledger::{Ledger, hashes_per_proof};
use super::rate::{AcceptedRate, Hashrate};
use super::report::{ProofReport, RateReport, Windows};
use crate::work::{ProofId, ProofState};

/// One miner's numbers.
#[derive(Debug, Default)]
pub struct Account {
    claims: Hashrate,
    ledger: Ledger,
    /// Hashes that were claimed when the last proof passed.
    claimed_at_proof: u64,
    last_proof: Option<(Instant, SystemTime)>,
    /// Proofs that were due since then by the hashes that it has claimed.
    due_since_proof: f64,
}

impl Account {
    /// It has work, so time counts from here on.
    pub fn begin(&mut self, now: Instant) {
        self.claims.begin(now);
    }

    /// It is another process than before: what was due from the one before is not due from this.
    pub fn begin_anew(&mut self) {
        self.due_since_proof = 0.0;
    }

    /// It claims to have done `hashes`, at a target of which `each` hashes are worth a proof; nothing where no job was in
    /// work.
    pub fn claimed(&mut self, hashes: u64, each: Option<f64>, now: Instant) {
        self.claims.add(hashes, now);
        if let Some(each) = each {
            self.due_since_proof += hashes as f64 / each;
        }
    }

    /// It has handed a proof in.
    pub fn handed_in(&mut self) {
        self.ledger.found();
    }

    /// A proof of its was judged; `target` is what it was asked to meet.
    pub fn judged(&mut self, verdict: &Verdict, target: &[u8; 32], now: Instant) {
        match verdict {
            Verdict::Passed { id, .. } => {
                self.ledger.verified(id.clone(), hashes_per_proof(target).unwrap_or_default());
                self.last_proof = Some((now, SystemTime::now()));
                self.due_since_proof = 0.0;
                self.claimed_at_proof = self.claims.total();
            }
            Verdict::Refused { stage, .. } => self.ledger.refused(stage),
            Verdict::Late => self.ledger.stale_before_leaving(),
            Verdict::Share | Verdict::NotTaken(_) => {}
        }
    }

    /// The work source says where a proof is; answers whether it is one of this miner's.
    pub fn proof_moved(&mut self, id: &ProofId, state: &ProofState) -> bool {
        self.ledger.moved(id, state)
    }

    /// Proofs that the verifier refused since it last passed one.
    pub fn refused_in_a_row(&self) -> u64 {
        self.ledger.refused_in_a_row()
    }

    /// When its last proof passed.
    pub fn last_proof_at(&self) -> Option<Instant> {
        self.last_proof.map(|(at, _)| at)
    }

    /// The same as Unix time, in seconds.
    pub fn last_proof_unix(&self) -> Option<u64> {
        self.last_proof.map(|(_, at)| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// Proofs that passed.
    pub fn proofs(&self) -> u64 {
        self.ledger.verified_work().proofs()
    }

    /// Proofs that were due since the last one, by its claim.
    pub fn due_since_proof(&self) -> f64 {
        self.due_since_proof
    }

    /// The part of what it had claimed by its last proof that its proofs bear out.
    pub fn borne_out(&self) -> f64 {
        self.ledger.verified_work().hashes() / self.claimed_at_proof as f64
    }

    /// Hashes that it reported.
    pub fn hashes(&self) -> u64 {
        self.claims.total()
    }

    /// Its proofs.
    pub fn proof_report(&self) -> ProofReport {
        self.ledger.report(0)
    }

    /// Its rates. `fates` says whether the work source can tell at this moment what became of proofs.
    pub fn rates(&mut self, each: Option<f64>, fates: bool, now: Instant) -> RateReport {
        let raw = Windows {
            s10: self.claims.over(10, now),
            s60: self.claims.over(60, now),
            m15: self.claims.over(900, now),
        };
        let (total, elapsed) = (self.claims.total(), self.claims.elapsed(now));
        let verified = self.ledger.verified_work().judge(total, elapsed, each);
        // Where nobody can say just now what became a block, what was accepted is not known, and it would be slander to
        // hold it against the claim: the host's own verifier has the last word.
        let is_told = self.ledger.is_traced() && fates;
        let accepted = is_told.then(|| self.ledger.accepted_work().judge(total, elapsed, each)).flatten();
        let deciding = if is_told { &accepted } else { &verified };
        let verdict = deciding.as_ref().map(AcceptedRate::words);
        RateReport { raw, accepted, verified, verdict }
    }
}
