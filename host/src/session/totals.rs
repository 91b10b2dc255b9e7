//! What the miners of a session make together: sums of what each says.

use crate::miner::luck::VerifiedRate;
use crate::miner::report::{ConfinementReport, FloodReport, MinerReport, ProofReport, RateReport, Windows};
use crate::miner::standing::REFUSED;

/// Sums over miners.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Rates, added up.
    pub hashrate: RateReport,
    /// Hashes that were reported.
    pub hashes: u64,
    /// Proofs.
    pub proofs: ProofReport,
    /// Unix time of the last proof, in seconds.
    pub last_proof_at: Option<u64>,
    /// Restarts.
    pub restarts: u64,
    /// Failures in a row of the miner that has most of them, and the number at which it is given up.
    pub failures: (u32, u32),
    /// What holds all of them: the least complete, and everything that was granted, withheld or denied.
    pub confinement: ConfinementReport,
    /// What was too much.
    pub flood: FloodReport,
}

impl Totals {
    /// The sums over `miners`.
    pub fn of(miners: &[MinerReport]) -> Self {
        let mut totals = Self::default();
        for miner in miners {
            totals.add(miner);
        }
        let rates: Vec<&RateReport> = miners.iter().map(|miner| &miner.hashrate).collect();
        totals.hashrate = add_rates(&rates);
        totals
    }

    fn add(&mut self, miner: &MinerReport) {
        self.hashes = self.hashes.saturating_add(miner.hashes);
        add_proofs(&mut self.proofs, &miner.proofs);
        self.last_proof_at = self.last_proof_at.max(miner.last_proof_at);
        self.restarts += miner.restarts;
        self.failures = self.failures.max(miner.failures);
        self.flood.log_lines_dropped += miner.flood.log_lines_dropped;
        self.flood.pipe_throttled += miner.flood.pipe_throttled;
        let (all, one) = (&mut self.confinement, &miner.confinement);
        if all.summary.as_ref().is_none_or(|summary| summary.starts_with("in force")) && one.summary.is_some()
        {
            all.summary.clone_from(&one.summary);
        }
        merge(&mut all.granted, &one.granted);
        merge(&mut all.withheld, &one.withheld);
        for (what, count) in &one.denied {
            *all.denied.entry(what.clone()).or_default() += count;
        }
    }
}

fn merge(into: &mut Vec<String>, from: &[String]) {
    for text in from {
        if !into.contains(text) {
            into.push(text.clone());
        }
    }
}

fn add_proofs(into: &mut ProofReport, from: &ProofReport) {
    into.found += from.found;
    into.verified += from.verified;
    into.late += from.late;
    into.spare += from.spare;
    into.paying += from.paying;
    into.submitted += from.submitted;
    into.accepted += from.accepted;
    into.rejected += from.rejected;
    into.stale += from.stale;
    into.not_sent += from.not_sent;
    into.refused += from.refused;
    for (stage, count) in &from.refused_by {
        *into.refused_by.entry(stage.clone()).or_default() += count;
    }
    into.untraced += from.untraced;
    into.pending += from.pending;
}

fn add_rates(rates: &[&RateReport]) -> RateReport {
    if let [one] = rates {
        return (*one).clone();
    }
    let sum =
        |of: fn(&RateReport) -> Option<f64>| rates.iter().filter_map(|rate| of(rate)).reduce(|a, b| a + b);
    RateReport {
        raw: Windows {
            s10: sum(|rate| rate.raw.s10),
            s60: sum(|rate| rate.raw.s60),
            m15: sum(|rate| rate.raw.m15),
        },
        // Somebody's window is not full: what he does counts all the same.
        so_far: rates
            .iter()
            .any(|rate| rate.so_far.is_some())
            .then(|| sum(|rate| rate.raw.s10.or(rate.so_far)))
            .flatten(),
        accepted: add_proven(rates.iter().map(|rate| rate.accepted.as_ref())),
        verified: add_proven(rates.iter().map(|rate| rate.verified.as_ref())),
        // A verdict is on one miner's claim.
        judgement: None,
        verdict: None,
    }
}

/// What finds can be expected of the miners together, in hashes a second: each by its claim, over the longest of its windows
/// that is full or on average so far. A claim that its proofs do not bear out counts as what they show, and whoever has every
/// proof refused finds nothing.
pub fn expected(miners: &[MinerReport]) -> Option<f64> {
    let of_one = |miner: &MinerReport| {
        let RateReport { raw, so_far, verified, judgement, .. } = &miner.hashrate;
        let claimed = raw.m15.or(raw.s60).or(raw.s10).or(*so_far);
        match judgement {
            _ if miner.proofs.refused > 0 && miner.condition == REFUSED => None,
            Some(judgement) if judgement.verdict.accuses() => verified.as_ref().map(|rate| rate.hashrate),
            _ => claimed,
        }
    };
    miners.iter().filter_map(of_one).filter(|rate| *rate > 0.0).reduce(|a, b| a + b)
}

/// The sum of independent rates; the band's halves add up as their squares do.
fn add_proven<'a>(rates: impl Iterator<Item = Option<&'a VerifiedRate>>) -> Option<VerifiedRate> {
    let mut sum: Option<[f64; 3]> = None;
    for rate in rates.flatten() {
        let (below, above) = (rate.hashrate - rate.low, rate.high - rate.hashrate);
        let [hashrate, low, high] = sum.get_or_insert([0.0; 3]);
        *hashrate += rate.hashrate;
        *low += below * below;
        *high += above * above;
    }
    sum.map(|[hashrate, low, high]| VerifiedRate {
        hashrate,
        low: (hashrate - low.sqrt()).max(0.0),
        high: hashrate + high.sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::luck::{Judgement, Verdict};

    fn rate(hashrate: f64, half: f64) -> VerifiedRate {
        VerifiedRate { hashrate, low: hashrate - half, high: hashrate + 2.0 * half }
    }

    #[test]
    fn the_band_of_a_sum_is_narrower_than_the_sum_of_bands() {
        let (a, b) = (rate(100.0, 30.0), rate(200.0, 40.0));
        let sum = add_proven([Some(&a), None, Some(&b)].into_iter()).unwrap();
        assert_eq!((sum.hashrate, sum.low, sum.high), (300.0, 250.0, 400.0));
        assert!(add_proven([None, None].into_iter()).is_none());
    }

    #[test]
    fn rates_add_up_and_what_nobody_knows_stays_unknown() {
        let of = |s10, s60| RateReport { raw: Windows { s10, s60, m15: None }, ..RateReport::default() };
        let sum = add_rates(&[&of(Some(1.0), None), &of(Some(2.0), Some(5.0))]);
        assert_eq!((sum.raw.s10, sum.raw.s60, sum.raw.m15), (Some(3.0), Some(5.0), None));
        assert_eq!(sum.so_far, None);
    }

    #[test]
    fn a_miner_whose_windows_are_not_full_yet_counts_in_what_all_do_together() {
        let of = |s10, s60, so_far| {
            let mut miner = MinerReport::named("x");
            miner.hashrate =
                RateReport { raw: Windows { s10, s60, m15: None }, so_far, ..RateReport::default() };
            miner
        };
        let miners = [of(Some(1.0), Some(2.0), None), of(None, None, Some(100.0)), of(None, None, None)];
        let sum = Totals::of(&miners).hashrate;
        assert_eq!((sum.raw.s10, sum.so_far), (Some(1.0), Some(101.0)));
        assert_eq!(expected(&miners), Some(102.0));
        assert_eq!(expected(&miners[2..]), None);
    }

    #[test]
    fn no_find_is_expected_of_a_claim_that_its_proofs_do_not_bear_out() {
        let mut honest = MinerReport::named("honest");
        honest.hashrate.raw.s10 = Some(100.0);
        // Every proof of it is refused.
        let mut wrong = honest.clone();
        wrong.condition = REFUSED.to_owned();
        wrong.proofs.refused = 116;
        assert_eq!(expected(&[wrong.clone()]), None);
        assert_eq!(expected(&[honest.clone(), wrong.clone()]), Some(100.0));
        // What a liar's proofs show counts; and nothing, where they show nothing.
        let mut liar = honest.clone();
        let judgement = Judgement { verdict: Verdict::ClaimsMore, ..judgement() };
        liar.hashrate.judgement = Some(judgement);
        liar.hashrate.verified = Some(rate(3.0, 1.0));
        assert_eq!(expected(&[liar.clone()]), Some(3.0));
        liar.hashrate.verified = Some(rate(0.0, 0.0));
        assert_eq!(expected(&[liar]), None);
    }

    /// One that says nothing.
    fn judgement() -> Judgement {
        crate::miner::luck::Luck::default().judgement(std::time::Instant::now())
    }
}
