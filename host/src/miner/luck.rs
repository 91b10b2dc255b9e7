//! Whether the shares of a miner bear out the work that it claims, and what rate they show by themselves.
//!
//! A share at a target `T` is found once in `2^256 / T` hashes on average (protocol section 6.4). So if every claimed
//! hash was done, shares come as a Poisson process whose clock is `due`, the running sum of hashes claimed divided by
//! the work of the target in force meanwhile. That holds exactly however often the target changes, as long as a change
//! never depends on shares that are still to come.
//!
//! # The test
//!
//! Somebody looks at the verdict every second for months, so a 95 % band would accuse everybody in the end. The test
//! is sequential instead: a likelihood ratio that is averaged over a grid of alternatives ("claims `k` times what it
//! does") and over the moments at which each may have begun. If the claim is true, that average is a martingale that starts at
//! one, and by Ville's inequality the chance that it *ever* reaches [`EVIDENCE`] is at most one in as many. There a miner
//! is accused, and not before:
//!
//! ```text
//!                        / for found = due all along \
//! k > 1: claims more     |  k^-found · e^(due·(1 - 1/k))   falls   |   averaged over k and over beginnings
//! k < 1: finds more      \ for a claim of k times the truth it rises /
//! ```
//!
//! Beginnings have odds that fall with the square of their place, so a miner that turns to lying after a month is
//! found out nearly as fast as one that lies from the start. Alternatives nearer to the truth than 10 % are left out:
//! whoever loses a few hashes in a hundred on the way (proofs that are being built when the machine sleeps) is not
//! accused even in a thousand years.
//!
//! Reports of work and shares do not come in step. Each side of the test takes the order that speaks for the miner: "claims
//! more" counts every share as soon as it is handed in, "finds more" counts it once two reports of work came after it.
//!
//! # Devices
//!
//! Where a miner tells what each of its devices did and found, each is held to its own claim in the same way, with three
//! differences. A device of `n` is accused at `n` times the evidence ([`Luck::among`]), so that the chance that any of them is
//! ever accused falsely stays one in [`EVIDENCE`]. Its shares become known only with the next numbers of its miner, so "claims
//! more" counts what it did one report later ([`Luck::of_a_device`]). And a share that was handed in and that nobody has
//! named a device for may be anyone's: it speaks for each ([`Luck::may_have_found`]) for as long as that is so.
//!
//! # The rate
//!
//! Independent of any claim: the found shares are a Poisson count with the mean `rate × exposure`, where `exposure` is
//! the sum of seconds divided by the work of the target in force. The band is the exact one for such a count.
//!
//! # Limitations
//!
//! A miner may withhold proofs and then shows the lower rate. Hashes at a noise rank above 128 earn less (protocol
//! section 6.2); who claims them in full is accused of claiming more than is borne out, since that is so.

mod bets;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use self::bets::{CLAIMS_MORE, FINDS_MORE, FROM_THE_START, Side, ln_add};
use super::poisson;

/// The evidence at which a miner is accused: the chance of a false accusation over a life is one in this.
pub const EVIDENCE: f64 = 1e4;

/// Due and found shares below which nothing is said about luck.
const TELLING: f64 = 3.0;

/// What the shares say of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Too few shares are due to tell.
    TooEarly,
    /// What was found is as likely as not for an honest claim.
    WithinLuck,
    /// The shares are too few for the claim.
    ClaimsMore,
    /// The shares are too many for the claim.
    FindsMore,
}

impl Verdict {
    /// The verdict as a phrase for a person.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::TooEarly => "too early to tell",
            Self::WithinLuck => "within luck",
            Self::ClaimsMore => "claims more than its proofs bear out",
            Self::FindsMore => "finds more than it claims",
        }
    }

    /// Whether the miner's claim is held to be wrong.
    pub fn accuses(self) -> bool {
        matches!(self, Self::ClaimsMore | Self::FindsMore)
    }
}

/// A rate that shares show by themselves, with its 95 % band.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VerifiedRate {
    /// Hashes per second.
    pub hashrate: f64,
    /// Lower end of the band, hashes per second.
    pub low: f64,
    /// Upper end of the band, hashes per second.
    pub high: f64,
}

/// What is known of a miner's work at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Shares that were found and not refused, late ones included.
    pub found: u64,
    /// Shares that the claimed hashes should have brought, on average.
    pub due: f64,
    /// Hashes that the found shares stand for: the sum of the work of their targets.
    pub verified_hashes: f64,
    /// Hashes claimed while something could be found.
    pub claimed_hashes: f64,
    /// Seconds in which something could be found.
    pub seconds: f64,
    /// The rate that the shares show; none while nothing could be found.
    pub rate: Option<VerifiedRate>,
    /// What follows.
    pub verdict: Verdict,
}

impl Judgement {
    /// The verdict with the two numbers that it rests on.
    pub fn words(&self) -> String {
        format!("{}: {} found, {:.1} due", self.verdict.phrase(), self.found, self.due)
    }
}

/// The record of one miner's claims and shares. It reads no clock.
#[derive(Debug, Clone)]
pub struct Luck {
    found: u64,
    due: f64,
    claimed: f64,
    verified: f64,
    more: Side,
    less: Side,
    verdict: Verdict,
    /// Logarithm of the evidence at which it is accused.
    limit: f64,
    /// What is due by the last report, where "claims more" counts it with the next.
    owed: Option<f64>,
    /// Shares that may be its own.
    perhaps: f64,
    /// Shares since the last report of work, and those of the report before: "finds more" waits for two.
    fresh: f64,
    waiting: f64,
    /// The beginnings that were so far, and what was due at the last one.
    beginnings: f64,
    began_at_due: f64,
    /// Work of the target in force, and since when it is counted.
    in_force: Option<(f64, Instant)>,
    /// Seconds and exposure (seconds per hash of work): since the last report of work, and up to it.
    since_report: Exposure,
    before: Exposure,
}

/// Time in which something could be found.
#[derive(Debug, Clone, Copy, Default)]
struct Exposure {
    seconds: f64,
    /// Sum of seconds divided by the work in force: shares per hash-a-second.
    per_rate: f64,
    /// Sum of seconds times the work in force.
    work: f64,
}

impl Exposure {
    fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.per_rate += other.per_rate;
        self.work += other.work;
    }
}

impl Default for Luck {
    fn default() -> Self {
        Self {
            found: 0,
            due: 0.0,
            claimed: 0.0,
            verified: 0.0,
            more: Side::new(&CLAIMS_MORE),
            less: Side::new(&FINDS_MORE),
            verdict: Verdict::TooEarly,
            limit: EVIDENCE.ln(),
            owed: None,
            perhaps: 0.0,
            fresh: 0.0,
            waiting: 0.0,
            beginnings: 0.0,
            began_at_due: 0.0,
            in_force: None,
            since_report: Exposure::default(),
            before: Exposure::default(),
        }
    }
}

impl Luck {
    /// The record of a device, whose shares become known with the report after that of their work.
    pub fn of_a_device() -> Self {
        Self { owed: Some(0.0), ..Self::default() }
    }

    /// It is one of `devices` that share out the chance of a false accusation.
    pub fn among(&mut self, devices: usize) {
        self.limit = (EVIDENCE * devices.max(1) as f64).ln();
    }

    /// From `now` on the miner works at a target that takes `work` hashes for a share on average.
    ///
    /// To be called when the miner *took* the job, and again whenever the target changes.
    pub fn in_force(&mut self, work: f64, now: Instant) {
        self.pass(now);
        self.in_force = (work.is_finite() && work >= 1.0).then_some((work, now));
    }

    /// From `now` on nothing can be found: the job was withdrawn, or the miner is gone. Such time is not counted.
    pub fn nothing_in_force(&mut self, now: Instant) {
        self.pass(now);
        self.in_force = None;
    }

    /// The miner claims `hashes` more, done since it last claimed any.
    ///
    /// They are held against the targets that were in force meanwhile, each for as long as it was. Where nothing could
    /// be found all the while, nothing is due for them.
    pub fn claimed(&mut self, hashes: u64, now: Instant) {
        self.pass(now);
        let reported = std::mem::take(&mut self.since_report);
        self.before.add(reported);
        let Exposure { seconds, per_rate, .. } = reported;
        let shares_per_hash = match self.in_force {
            _ if seconds > 0.0 => per_rate / seconds,
            Some((work, _)) => 1.0 / work,
            None => return,
        };
        self.owes(hashes as f64, hashes as f64 * shares_per_hash);
    }

    /// It claims `hashes` more, done since it last claimed any, that should have brought `due` shares.
    pub fn owes(&mut self, hashes: f64, due: f64) {
        self.claimed += hashes;
        self.due += due;
        let fresh = std::mem::take(&mut self.fresh);
        let waiting = std::mem::replace(&mut self.waiting, fresh);
        let begins = self.due - self.began_at_due >= 1.0;
        if begins {
            self.began_at_due = self.due;
            self.beginnings += 1.0;
        }
        let share = (1.0 - FROM_THE_START) / (self.beginnings * (self.beginnings + 1.0));
        self.less.found(waiting);
        if begins {
            self.less.begin(share, fresh);
        }
        self.less.due(due);
        let counted = self.owed.as_mut().map_or(due, |owed| std::mem::replace(owed, due));
        self.more.due(counted);
        if begins {
            self.more.begin(share, fresh);
        }
        self.judge();
    }

    /// What it did since its last report is not known and never will be, and so is what it found with it.
    pub fn interrupted(&mut self) {
        self.owed = self.owed.map(|_| 0.0);
        (self.fresh, self.waiting) = (0.0, 0.0);
    }

    /// Of the shares that nobody is named for, any of `shares` may be its own. They speak for it until less is known of.
    pub fn may_have_found(&mut self, shares: u64) {
        self.perhaps = shares as f64;
        self.judge();
    }

    /// The miner handed in a share at a target of `work` hashes. It speaks for the miner until it is [`refused`](Self::refused).
    ///
    /// A share that the host could not verify, for reasons of its own, is left as found.
    pub fn found(&mut self, work: f64) {
        self.found += 1;
        self.verified += work;
        self.fresh += 1.0;
        self.more.found(1.0);
        self.judge();
    }

    /// A share that was [`found`](Self::found) did not pass the verifier.
    pub fn refused(&mut self, work: f64) {
        self.found = self.found.saturating_sub(1);
        self.verified = (self.verified - work).max(0.0);
        self.fresh -= 1.0;
        self.more.found(-1.0);
        self.judge();
    }

    /// What is known at `now`.
    pub fn judgement(&self, now: Instant) -> Judgement {
        let exposure = self.exposure(now);
        Judgement { seconds: exposure.seconds, rate: self.rate(exposure), ..self.numbers() }
    }

    /// What is known but for the time, and the rate that follows from it.
    pub fn numbers(&self) -> Judgement {
        Judgement {
            found: self.found,
            due: self.due,
            verified_hashes: self.verified,
            claimed_hashes: self.claimed,
            seconds: 0.0,
            rate: None,
            verdict: self.verdict,
        }
    }

    /// Shares found so far, and how many one hash a second would have brought meanwhile, on average.
    pub fn proved(&self, now: Instant) -> (u64, f64) {
        (self.found, self.exposure(now).per_rate)
    }

    /// Shares that the claimed hashes should have brought so far.
    pub fn due(&self) -> f64 {
        self.due
    }

    /// Hashes claimed while something could be found.
    pub fn claimed_hashes(&self) -> f64 {
        self.claimed
    }

    /// Seconds up to `now` in which something could be found.
    pub fn seconds(&self, now: Instant) -> f64 {
        self.exposure(now).seconds
    }

    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The work that the shares stand for over the time in which they could be found.
    ///
    /// A miner's rate is not the same all the time: it warms up, and its first targets are easy. To count shares, each for
    /// what its second was worth, would let a moment at an easy target outvote an hour at a hard one. The sum of their work
    /// does not. It is as certain as a Poisson count of shares of the work that was in force on average: with the rate
    /// `r`, its mean is `r T` and its variance `r Σ(w t)`.
    fn rate(&self, exposure: Exposure) -> Option<VerifiedRate> {
        // Below a second the rate would be a number without a meaning.
        if exposure.seconds < 1.0 || exposure.work <= 0.0 {
            return None;
        }
        let each = exposure.work / exposure.seconds;
        let (low, high) = poisson::between(self.verified / each);
        let per_second = |count: f64| count * each / exposure.seconds;
        Some(VerifiedRate {
            hashrate: self.verified / exposure.seconds,
            low: per_second(low),
            high: per_second(high),
        })
    }

    fn exposure(&self, now: Instant) -> Exposure {
        let mut exposure = self.before;
        exposure.add(self.since_report);
        exposure.add(self.running(now));
        exposure
    }

    /// Time that the target in force has run since it was last counted.
    fn running(&self, now: Instant) -> Exposure {
        self.in_force.map_or_else(Exposure::default, |(work, since)| {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            Exposure { seconds, per_rate: seconds / work, work: seconds * work }
        })
    }

    fn pass(&mut self, now: Instant) {
        let running = self.running(now);
        self.since_report.add(running);
        if let Some((_, since)) = &mut self.in_force {
            *since = now.max(*since);
        }
    }

    fn judge(&mut self) {
        let (more, less) = (self.more.evidence(self.perhaps), self.less.evidence(0.0));
        let both = ln_add(more, less);
        if both >= self.limit {
            self.verdict = if more > less { Verdict::ClaimsMore } else { Verdict::FindsMore };
        } else if !self.verdict.accuses() || both < 0.0 {
            // An accusation stands until all the evidence for it is gone again.
            let telling = self.due.max(self.found as f64) >= TELLING;
            self.verdict = if telling { Verdict::WithinLuck } else { Verdict::TooEarly };
        }
    }
}

#[cfg(test)]
mod tests;
