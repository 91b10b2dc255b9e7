//! What one of several devices is credited with, and its claim held against that.
//!
//! A device claims with the hashes that it counts or, where it counts none, with its rate for as long as something could be
//! found. How many shares each hash should have brought is what it was on average for all hashes that its miner reported
//! meanwhile: a device mines at the targets that its miner is given, when its miner does.

use super::super::account::Sums;
use super::super::finds::{Find, Finds, Mark, Outcome};
use super::super::luck::{Judgement, Luck};
use super::super::rate::ProvenWork;
use super::super::report::DeviceProofs;

/// What one device says of its work.
#[derive(Debug, Clone, Copy)]
pub enum Claim {
    /// Hashes since its process began.
    Hashes(u64),
    /// Hashes per second.
    Rate(f64),
}

/// What one device is credited with.
#[derive(Debug)]
pub struct Tally {
    proofs: DeviceProofs,
    work: ProvenWork,
    /// Its own, and not judged yet.
    waiting: Vec<Find>,
    luck: Luck,
    /// Its hashes, and the sums of its miner, up to which its claims are held against its shares.
    held: Option<(Option<u64>, Sums)>,
    has_claimed: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            proofs: DeviceProofs::default(),
            work: ProvenWork::default(),
            waiting: Vec::new(),
            luck: Luck::of_a_device(),
            held: None,
            has_claimed: false,
        }
    }
}

impl Tally {
    /// Takes from `finds` what the device says that it found, as far as it is nobody's yet.
    pub fn name(&mut self, marks: &[Mark], finds: &mut Finds) {
        for find in marks.iter().filter_map(|mark| finds.take(*mark)) {
            if find.outcome != Some(Outcome::Refused) {
                self.luck.found(find.work);
            }
            match find.outcome {
                Some(outcome) => self.settle(outcome, find.work),
                None => self.waiting.push(find),
            }
        }
    }

    /// The proof `number` was judged, which may be its own.
    pub fn judged(&mut self, number: (u64, u64), outcome: Outcome) {
        let Some(at) = self.waiting.iter().position(|find| find.number == number) else { return };
        let find = self.waiting.swap_remove(at);
        if outcome == Outcome::Refused {
            self.luck.refused(find.work);
        }
        self.settle(outcome, find.work);
    }

    fn settle(&mut self, outcome: Outcome, work: f64) {
        let proofs = &mut self.proofs;
        if outcome == Outcome::Refused {
            proofs.refused += 1;
            return;
        }
        proofs.found += 1;
        if outcome != Outcome::Unjudged {
            proofs.verified += 1;
            proofs.late += u64::from(outcome == Outcome::Late);
            self.work.add(work);
        }
    }

    /// It is one of `devices`, and any of `unnamed` proofs may be its own.
    pub fn stands(&mut self, devices: usize, unnamed: u64) {
        self.luck.among(devices);
        self.luck.may_have_found(unnamed);
    }

    /// It claims `claim`. `sums` is what its miner has come to by now, and had when its process `began`.
    pub fn claims(&mut self, claim: Claim, sums: Sums, began: Sums) {
        let (before, since) = self.held.unwrap_or((Some(0), began));
        // Its miner has reported no work since then: nobody knows at which target this was done.
        if sums.hashes <= since.hashes {
            return;
        }
        let reported = (sums.hashes - since.hashes) as f64;
        let (counted, due) = (sums.counted - since.counted, sums.due - since.due);
        let seconds = (sums.seconds - since.seconds).max(0.0);
        let hashes = match (claim, before) {
            (Claim::Hashes(hashes), Some(before)) if hashes >= before => {
                (hashes - before) as f64 * (counted / reported)
            }
            // It counts from the beginning again, or only now.
            (Claim::Hashes(hashes), _) => {
                self.held = Some((Some(hashes), sums));
                return self.luck.interrupted();
            }
            (Claim::Rate(rate), _) => rate.clamp(0.0, u64::MAX as f64) * seconds,
        };
        self.held = Some((if let Claim::Hashes(hashes) = claim { Some(hashes) } else { None }, sums));
        self.has_claimed = true;
        if counted > 0.0 {
            self.luck.owes(hashes, hashes * (due / counted));
        }
    }

    /// Its process is another, or gone: what it did since it was last heard is not known.
    pub fn begin_anew(&mut self) {
        self.held = None;
        self.luck.interrupted();
    }

    /// Whether its claim is held to be wrong.
    pub fn is_accused(&self) -> bool {
        self.luck.verdict().accuses()
    }

    /// Its proofs, counted.
    pub fn proofs(&self) -> &DeviceProofs {
        &self.proofs
    }

    /// The work that its verified proofs stand for.
    pub fn work(&self) -> &ProvenWork {
        &self.work
    }

    /// Its claim held against its proofs, over `seconds` in which something could be found; nothing where it claims nothing.
    pub fn judgement(&self, seconds: f64) -> Option<Judgement> {
        let rate = self.work.rate(seconds);
        self.has_claimed.then(|| Judgement { seconds, rate, ..self.luck.numbers() })
    }
}
