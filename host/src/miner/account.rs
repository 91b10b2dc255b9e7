//! The numbers of one miner: what it claims, what it has proved, and what follows.
//!
//! The target that a miner is asked to meet is chosen here ([`Vardiff`]), its claims are held against the shares that it
//! finds ([`Luck`]), and its proofs are counted from its hand to the chain ([`Ledger`]).

use std::time::{Duration, Instant, SystemTime};

use super::effect::Verdict;
use super::ledger::Ledger;
use super::luck::{Judgement, Luck};
use super::offers::Given;
use super::rate::Hashrate;
use super::report::{ProofReport, RateReport, Windows};
use super::vardiff::Vardiff;
use crate::sidecar::unix_seconds;
use crate::work::{ProofId, ProofState};

/// One miner's numbers.
#[derive(Debug)]
pub struct Account {
    claims: Hashrate,
    luck: Luck,
    vardiff: Vardiff,
    ledger: Ledger,
    last_share: Option<(Instant, SystemTime)>,
    /// What was due, and what was claimed while something could be found, when its last share passed or it began anew.
    due_before: f64,
    claimed_before: f64,
    /// What its shares had borne out when the last passed.
    borne_out: f64,
}

/// What a miner's claims have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Hashes that it reported.
    pub hashes: u64,
    /// Of these, what was reported while something could be found.
    pub counted: f64,
    /// Shares that those should have brought, on average.
    pub due: f64,
    /// Seconds in which something could be found.
    pub seconds: f64,
}

impl Account {
    /// A miner that expects `estimate` hashes per second of itself, and is to find a share about every `spacing`.
    pub fn new(estimate: Option<f64>, spacing: Duration) -> Self {
        Self {
            claims: Hashrate::default(),
            luck: Luck::default(),
            vardiff: Vardiff::spaced(estimate, spacing),
            ledger: Ledger::default(),
            last_share: None,
            due_before: 0.0,
            claimed_before: 0.0,
            borne_out: 0.0,
        }
    }

    // What it is asked for.

    /// The target to ask it for, in a job that pays at `paying`: easier than that, or equal to it.
    pub fn target(&mut self, paying: &[u8; 32], now: Instant) -> [u8; 32] {
        self.vardiff.target(paying, now)
    }

    /// Whether the job that it has taken should be offered anew with another target.
    pub fn wants_other_target(&mut self, paying: &[u8; 32], now: Instant) -> bool {
        self.vardiff.wants_change(paying, now)
    }

    // What happens.

    /// It took a job: time counts from here on, and shares can be found.
    pub fn took(&mut self, given: &Given, now: Instant) {
        self.claims.begin(now);
        self.luck.in_force(given.each, now);
        self.vardiff.in_force(&given.target, now);
    }

    /// It has nothing to work on, or is gone.
    pub fn idles(&mut self, now: Instant) {
        self.luck.nothing_in_force(now);
        self.vardiff.nothing_in_force(now);
    }

    /// It is another process than before: what was due from the one before is not due from this.
    pub fn begin_anew(&mut self) {
        self.due_before = self.luck.due();
    }

    /// It claims to have done `hashes`.
    pub fn claimed(&mut self, hashes: u64, now: Instant) {
        self.claims.add(hashes, now);
        self.luck.claimed(hashes, now);
    }

    /// It has handed in a proof for a job that it was given.
    pub fn handed_in(&mut self, given: &Given) {
        self.ledger.handed_in();
        self.luck.found(given.each);
    }

    /// It has handed in a proof for no job.
    pub fn invented(&mut self, stage: &str) {
        self.ledger.handed_in();
        self.ledger.refused(stage);
    }

    /// A proof of its was judged. `each` hashes are worth one at the target that it was asked to meet, `paid` one that pays.
    pub fn judged(&mut self, verdict: &Verdict, each: f64, paid: f64, now: Instant) {
        match verdict {
            Verdict::Passed { id, .. } => self.ledger.pays(id.clone(), paid),
            Verdict::Share => self.ledger.verified(),
            Verdict::Spare => self.ledger.spare(),
            Verdict::Late => self.ledger.late(),
            Verdict::Refused { stage, .. } => {
                self.luck.refused(each);
                return self.ledger.refused(stage);
            }
            // It did pass, and that nobody took it is not the miner's doing.
            Verdict::NotTaken(_) => self.ledger.verified(),
            Verdict::NotJudged(_) => return self.ledger.not_judged(),
        }
        self.vardiff.share(now);
        self.last_share = Some((now, SystemTime::now()));
        let judgement = self.luck.numbers();
        self.due_before = judgement.due;
        self.claimed_before = judgement.claimed_hashes;
        self.borne_out = judgement.verified_hashes;
    }

    /// The work source says where a proof is; answers whether it is one of this miner's.
    pub fn proof_moved(&mut self, id: &ProofId, state: &ProofState) -> bool {
        self.ledger.moved(id, state)
    }

    // What is known.

    /// Proofs that the verifier refused since it last passed one.
    pub fn refused_in_a_row(&self) -> u64 {
        self.ledger.refused_in_a_row()
    }

    /// When its last share passed, as Unix time in seconds.
    pub fn last_share_unix(&self) -> Option<u64> {
        self.last_share.map(|(_, at)| unix_seconds(at))
    }

    /// Shares that passed.
    pub fn shares(&self) -> u64 {
        self.ledger.passed()
    }

    /// Shares that were due since the last one, or since it began anew, by its claim.
    pub fn due_since_share(&self) -> f64 {
        (self.luck.due() - self.due_before).max(0.0)
    }

    /// The part of what it had claimed by its last share that its shares bear out.
    pub fn borne_out(&self) -> f64 {
        self.borne_out / self.claimed_before
    }

    /// Hashes that it reported.
    pub fn hashes(&self) -> u64 {
        self.claims.total()
    }

    /// What its claims have come to.
    pub fn sums(&self, now: Instant) -> Sums {
        let Self { claims, luck, .. } = self;
        let (counted, due, seconds) = (luck.claimed_hashes(), luck.due(), luck.seconds(now));
        Sums { hashes: claims.total(), counted, due, seconds }
    }

    /// Its proofs.
    pub fn proof_report(&self) -> ProofReport {
        self.ledger.report()
    }

    /// Shares that it has found, and how many one hash a second would have brought meanwhile, on average.
    pub fn proved(&self, now: Instant) -> (u64, f64) {
        self.luck.proved(now)
    }

    /// What its shares say of its claim.
    pub fn judgement(&self, now: Instant) -> Judgement {
        self.luck.judgement(now)
    }

    /// Its rates. `fates` says whether the work source can tell at this moment what became of proofs.
    pub fn rates(&mut self, fates: bool, now: Instant) -> RateReport {
        let raw = Windows {
            s10: self.claims.over(10, now),
            s60: self.claims.over(60, now),
            m15: self.claims.over(900, now),
        };
        let so_far = if raw.s10.is_none() { self.claims.so_far(now) } else { None };
        let judgement = self.luck.judgement(now);
        // Where nobody can say just now what became a block, what was accepted is not known.
        let is_told = self.ledger.is_traced() && fates;
        let accepted = is_told.then(|| self.ledger.accepted_work().rate(judgement.seconds)).flatten();
        let verdict = (judgement.seconds > 0.0).then(|| judgement.words());
        RateReport { raw, so_far, verified: judgement.rate, accepted, judgement: Some(judgement), verdict }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::miner::effect::Work;
    use crate::miner::luck;
    use crate::miner::vardiff::work_of;
    use crate::work::WorkJob;

    fn given(target: [u8; 32]) -> Given {
        let job = WorkJob {
            header: [7; 76],
            target,
            certificate_version: 3,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
            origin: None,
            keeps_earlier: false,
        };
        let each = work_of(&target).unwrap();
        Given { id: 1, work: Arc::new(Work { number: 1, job }), target, each, taken: None }
    }

    /// 2^40 hashes for a proof.
    const TARGET: [u8; 32] = {
        let mut bytes = [0; 32];
        bytes[27] = 1;
        bytes
    };

    #[test]
    fn a_miner_that_is_never_given_anything_owes_nothing() {
        let start = Instant::now();
        let mut account = Account::new(None, crate::miner::vardiff::SPACING);
        account.claimed(u64::MAX / 2, start + Duration::from_secs(10));
        let judgement = account.judgement(start + Duration::from_secs(20));
        assert_eq!((judgement.due, judgement.verdict), (0.0, luck::Verdict::TooEarly));
        assert!(account.rates(true, start).verdict.is_none());
    }

    #[test]
    fn what_was_due_before_a_restart_is_not_due_after_it_and_a_share_settles_the_rest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut account = Account::new(None, crate::miner::vardiff::SPACING);
        let job = given(TARGET);
        account.took(&job, start);
        account.claimed(5 << 40, at(1));
        assert!((account.due_since_share() - 5.0).abs() < 1e-6);
        account.idles(at(1));
        account.begin_anew();
        assert!(account.due_since_share() < 1e-6);
        account.took(&job, at(5));
        account.claimed(2 << 40, at(6));
        assert!((account.due_since_share() - 2.0).abs() < 1e-6, "{}", account.due_since_share());
        account.handed_in(&job);
        account.judged(&Verdict::Share, job.each, job.each, at(6));
        assert_eq!((account.due_since_share(), account.shares()), (0.0, 1));
        assert!((account.borne_out() - 1.0 / 7.0).abs() < 1e-6);
    }

    #[test]
    fn found_means_the_same_in_the_verdict_and_in_the_proofs() {
        let start = Instant::now();
        let mut account = Account::new(None, crate::miner::vardiff::SPACING);
        let job = given(TARGET);
        account.took(&job, start);
        let id = |seed: u8| {
            ProofId::of(&crate::work::FoundProof {
                job: job.work.job.clone(),
                proof: vec![seed],
                found: SystemTime::UNIX_EPOCH,
                block: false,
            })
        };
        let verdicts = [
            Verdict::Passed { id: id(1), not_kept: None },
            Verdict::Share,
            Verdict::Spare,
            Verdict::Late,
            Verdict::Refused { stage: "shape".into(), why: String::new(), kept: None },
            Verdict::NotTaken(String::new()),
            Verdict::NotJudged(String::new()),
        ];
        for verdict in &verdicts {
            account.handed_in(&job);
            account.judged(verdict, job.each, job.each, start + Duration::from_secs(1));
        }
        account.handed_in(&job);
        account.invented("job");
        let (judgement, proofs) = (account.judgement(start + Duration::from_secs(2)), account.proof_report());
        assert_eq!((judgement.found, proofs.found), (7, 7), "one of them waits");
        assert_eq!((proofs.verified, proofs.late, proofs.paying, proofs.refused), (5, 1, 1, 2));
        assert_eq!(proofs.spare, 1);
    }
}
