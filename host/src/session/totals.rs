//! What the miners of a session make together: sums of what each says.

use crate::miner::rate::AcceptedRate;
use crate::miner::report::{ConfinementReport, FloodReport, MinerReport, ProofReport, RateReport, Windows};

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
    into.submitted += from.submitted;
    into.accepted += from.accepted;
    into.rejected += from.rejected;
    into.stale += from.stale;
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
        accepted: add_proven(rates.iter().map(|rate| rate.accepted.as_ref())),
        verified: add_proven(rates.iter().map(|rate| rate.verified.as_ref())),
        // A verdict is on one miner's claim.
        verdict: None,
    }
}

/// The sum of independent rates; the band's halves add up as their squares do.
fn add_proven<'a>(rates: impl Iterator<Item = Option<&'a AcceptedRate>>) -> Option<AcceptedRate> {
    let mut sum: Option<(AcceptedRate, f64, f64)> = None;
    for rate in rates.flatten() {
        let (below, above) = (rate.hashrate - rate.low, rate.high - rate.hashrate);
        match &mut sum {
            None => sum = Some((rate.clone(), below * below, above * above)),
            Some((all, low, high)) => {
                all.hashrate += rate.hashrate;
                all.claimed += rate.claimed;
                all.proofs += rate.proofs;
                all.proofs_expected += rate.proofs_expected;
                *low += below * below;
                *high += above * above;
            }
        }
    }
    sum.map(|(all, low, high)| AcceptedRate {
        low: (all.hashrate - low.sqrt()).max(0.0),
        high: all.hashrate + high.sqrt(),
        ..all
    })
}
