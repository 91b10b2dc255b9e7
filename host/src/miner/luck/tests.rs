//! Honest miners and liars on made-up networks, in simulated time.

use std::time::Duration;

use super::*;
use crate::miner::vardiff::{Vardiff, work_of};
use pearl_pow::shares::target_of_expected_hashes;

/// A small generator, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, never 0.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// What is due until the next share.
    fn wait(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Evenly in the exponent.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }
}

/// A miner that does `rate` hashes a second and claims `factor` times as many, on a network that changes its job every
/// `step`.
struct World {
    dice: Dice,
    start: Instant,
    elapsed: Duration,
    step: Duration,
    rate: f64,
    factor: f64,
    /// Hashes that are not claimed yet.
    unclaimed: f64,
    next_report: Duration,
    report_every: Duration,
    until_share: f64,
    work: f64,
    luck: Luck,
    vardiff: Vardiff,
}

impl World {
    fn new(seed: u64, factor: f64, step: Duration) -> Self {
        let mut dice = Dice(seed);
        let rate = dice.between(1e8, 1e14);
        // Estimates are rough, and some are wrong by far.
        let estimate = (!seed.is_multiple_of(5)).then(|| rate * dice.between(0.02, 50.0));
        let report_every = Duration::from_secs_f64(dice.between(0.05, 3.0)).max(step);
        let until_share = dice.wait();
        let start = Instant::now();
        Self {
            dice,
            start,
            elapsed: Duration::ZERO,
            step,
            rate,
            factor,
            unclaimed: 0.0,
            next_report: report_every,
            report_every,
            until_share,
            work: 0.0,
            luck: Luck::default(),
            vardiff: Vardiff::new(estimate),
        }
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    /// The network pays at `paying` hashes for a proof: the miner takes such a job at once.
    fn job(&mut self, paying: f64) {
        let paying = target_of_expected_hashes(paying).to_le_bytes();
        let now = self.now();
        let target = self.vardiff.target(&paying, now);
        self.vardiff.in_force(&target, now);
        self.work = work_of(&target).expect("it can be met");
        self.luck.in_force(self.work, now);
    }

    /// One step of mining.
    fn mine(&mut self) {
        self.elapsed += self.step;
        let now = self.now();
        let hashes = self.rate * self.step.as_secs_f64();
        self.until_share -= hashes / self.work;
        while self.until_share <= 0.0 {
            self.until_share += self.dice.wait();
            self.luck.found(self.work);
            self.vardiff.share(now);
        }
        self.unclaimed += hashes * self.factor;
        if self.elapsed >= self.next_report {
            self.next_report = self.elapsed + self.report_every;
            self.luck.claimed(self.unclaimed as u64, now);
            self.unclaimed = 0.0;
        }
    }
}

const HARD: f64 = 1e24;

/// Minutes until a miner is accused of claiming more on a calm network with hard blocks.
fn accused_after(seed: u64, factor: f64, limit: Duration) -> Option<f64> {
    let mut world = World::new(seed, factor, Duration::from_secs(1));
    // What is measured is the test, at one share in 20 s; the steering has tests of its own.
    world.vardiff = Vardiff::new(Some(world.rate));
    world.job(HARD);
    while world.elapsed < limit {
        world.mine();
        if world.luck.verdict() == Verdict::ClaimsMore {
            return Some(world.elapsed.as_secs_f64() / 60.0);
        }
    }
    None
}

/// How many of 200 seeds are accused within `minutes`.
fn accused_within(factor: f64, minutes: u64) -> usize {
    (0..200).filter(|&seed| accused_after(seed, factor, Duration::from_secs(60 * minutes)).is_some()).count()
}

#[test]
fn three_times_the_work_is_accused_within_seven_minutes() {
    let accused = accused_within(3.0, 7);
    assert!(accused >= 180, "{accused} of 200");
}

#[test]
fn a_third_more_than_the_work_is_accused_within_two_and_a_half_hours() {
    let accused = accused_within(1.3, 150);
    assert!(accused >= 180, "{accused} of 200");
}

/// Mines for `minutes` on a network that changes its job and what it pays at every 50 ms.
fn quick_network(world: &mut World, minutes: u64) {
    let end = world.elapsed + Duration::from_secs(60 * minutes);
    while world.elapsed < end {
        // From several proofs a second to one in weeks.
        let paying = world.rate * world.dice.between(0.3, 3e6);
        world.job(paying);
        world.mine();
    }
}

#[test]
fn no_honest_miner_is_accused_on_two_hundred_quick_networks() {
    for seed in 0..200 {
        let mut world = World::new(seed, 1.0, Duration::from_millis(50));
        while world.elapsed < Duration::from_secs(300) {
            quick_network(&mut world, 1);
            let judgement = world.luck.judgement(world.now());
            assert!(!judgement.verdict.accuses(), "seed {seed}: {}", judgement.words());
        }
        assert_eq!(world.luck.verdict(), Verdict::WithinLuck, "seed {seed}");
    }
}

#[test]
fn no_honest_miner_is_accused_in_forty_days() {
    for seed in 0..40 {
        // A day each.
        let mut world = World::new(seed, 1.0, Duration::from_secs(10));
        while world.elapsed < Duration::from_secs(86_400) {
            let paying = world.rate * world.dice.between(10.0, 1e9);
            world.job(paying);
            world.mine();
            assert!(!world.luck.verdict().accuses(), "seed {seed} after {:?}", world.elapsed);
        }
    }
}

#[test]
fn a_liar_on_a_quick_network_is_found_out_too() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3.0, Duration::from_millis(50));
        quick_network(&mut world, 3);
        assert_eq!(world.luck.verdict(), Verdict::ClaimsMore, "seed {seed}");
        let mut world = World::new(seed, 0.25, Duration::from_millis(50));
        quick_network(&mut world, 8);
        assert_eq!(world.luck.verdict(), Verdict::FindsMore, "seed {seed}");
    }
}

#[test]
fn one_that_begins_to_lie_after_two_weeks_is_found_out_within_the_hour() {
    for seed in 0..5 {
        let mut world = World::new(seed, 1.0, Duration::from_secs(20));
        world.vardiff = Vardiff::new(Some(world.rate));
        world.job(HARD);
        while world.elapsed < Duration::from_secs(14 * 86_400) {
            world.mine();
        }
        assert_eq!(world.luck.verdict(), Verdict::WithinLuck, "seed {seed}");
        world.factor = 3.0;
        let end = world.elapsed + Duration::from_secs(3600);
        while world.elapsed < end {
            world.mine();
        }
        assert_eq!(world.luck.verdict(), Verdict::ClaimsMore, "seed {seed}");
    }
}

#[test]
fn a_miner_that_loses_two_hashes_in_a_hundred_is_not_accused() {
    for seed in 0..10 {
        let mut world = World::new(seed, 1.02, Duration::from_secs(20));
        world.vardiff = Vardiff::new(Some(world.rate));
        world.job(HARD);
        while world.elapsed < Duration::from_secs(5 * 86_400) {
            world.mine();
            assert!(!world.luck.verdict().accuses(), "seed {seed} after {:?}", world.elapsed);
        }
    }
}

#[test]
fn the_true_rate_lies_in_its_band_as_often_as_the_band_says() {
    let mut outside = 0;
    for seed in 0..200 {
        let mut world = World::new(seed, 2.0, Duration::from_millis(250));
        while world.elapsed < Duration::from_secs(120) {
            let paying = world.rate * world.dice.between(1.0, 1e9);
            world.job(paying);
            world.mine();
        }
        let rate = world.luck.judgement(world.now()).rate.expect("two minutes are enough");
        assert!(rate.low <= rate.hashrate && rate.hashrate <= rate.high);
        outside += usize::from(!(rate.low..=rate.high).contains(&world.rate));
    }
    // 5 % of 200 are 10, and the exact band keeps below its word.
    assert!((1..=17).contains(&outside), "{outside} of 200 outside");
}

#[test]
fn found_and_due_add_up_under_changing_targets() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut luck = Luck::default();
    assert_eq!(luck.judgement(at(0)).words(), "too early to tell: 0 found, 0.0 due");
    luck.in_force(1000.0, at(0));
    luck.in_force(500.0, at(1));
    // A second at one share in 1000, three at one in 500.
    luck.claimed(4000, at(4));
    assert!((luck.due - 7.0).abs() < 1e-9, "{}", luck.due);
    luck.found(1000.0);
    luck.found(500.0);
    luck.found(500.0);
    luck.refused(500.0);
    let judgement = luck.judgement(at(4));
    assert_eq!((judgement.found, judgement.verified_hashes, judgement.seconds), (2, 1500.0, 4.0));
    assert_eq!(judgement.words(), "within luck: 2 found, 7.0 due");
    // The rate counts time and shares alone.
    let rate = judgement.rate.unwrap();
    assert!((rate.hashrate - 1500.0 / 4.0).abs() < 1e-6, "{rate:?}");
}

#[test]
fn a_slow_start_at_an_easy_target_does_not_outvote_the_minutes_after_it() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut luck = Luck::default();
    // It warms up for a second in which a thousand shares could be found, and mines 10^11 hashes a second from then on.
    luck.in_force(1e8, at(0));
    (0..5).for_each(|_| luck.found(1e8));
    luck.in_force(1e12, at(1));
    // The seconds until the first hard share say nothing against it either.
    let early = luck.judgement(at(5)).rate.unwrap();
    assert!(early.low <= early.hashrate && early.high > 1e11, "{early:?}");
    (0..6).for_each(|_| luck.found(1e12));
    let rate = luck.judgement(at(61)).rate.unwrap();
    assert!((rate.hashrate / 1e11 - 1.0).abs() < 0.05, "{rate:?}");
    assert!(rate.low > 0.2e11 && rate.high < 3e11, "{rate:?}");
}

#[test]
fn time_in_which_nothing_could_be_found_is_not_counted() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut luck = Luck::default();
    luck.claimed(1_000_000, at(1));
    luck.in_force(100.0, at(2));
    luck.nothing_in_force(at(3));
    // The report that covers the last second with a target comes when the target is gone.
    luck.claimed(300, at(10));
    luck.claimed(1_000_000, at(20));
    luck.in_force(f64::INFINITY, at(21));
    luck.claimed(1_000_000, at(22));
    let judgement = luck.judgement(at(30));
    assert_eq!((judgement.due, judgement.seconds, judgement.claimed_hashes), (3.0, 1.0, 300.0));
}

#[test]
fn shares_that_come_before_the_report_of_their_work_are_no_sign_of_modesty() {
    let start = Instant::now();
    let mut luck = Luck::default();
    luck.in_force(1.0, start);
    for second in 1..1000 {
        let now = start + Duration::from_secs(second);
        // Thirty at once, half a report ahead of their work.
        (0..30).for_each(|_| luck.found(1.0));
        luck.claimed(if second == 1 { 15 } else { 30 }, now);
        assert!(!luck.verdict().accuses(), "after {second} s");
    }
}

#[test]
fn an_accusation_stands_until_the_evidence_for_it_is_gone() {
    let now = Instant::now();
    let mut luck = Luck::default();
    luck.in_force(1.0, now);
    luck.claimed(20, now);
    assert_eq!(luck.verdict(), Verdict::ClaimsMore);
    (0..5).for_each(|_| luck.found(1.0));
    assert_eq!(luck.verdict(), Verdict::ClaimsMore);
    (0..10).for_each(|_| luck.found(1.0));
    assert_eq!(luck.verdict(), Verdict::WithinLuck);
}

#[test]
fn numbers_without_sense_leave_a_verdict_all_the_same() {
    let now = Instant::now();
    let mut luck = Luck::default();
    for work in [0.0, -1.0, f64::NAN, f64::INFINITY, 1.0, 1e300] {
        luck.in_force(work, now);
        luck.claimed(u64::MAX, now + Duration::from_secs(1));
        luck.found(1e300);
        luck.refused(1e300);
        luck.refused(1e300);
    }
    assert_eq!(luck.verdict(), Verdict::ClaimsMore);
    assert!(luck.more.evidence(0.0).is_finite() && luck.less.evidence(0.0).is_finite());
}

#[test]
fn the_odds_add_up_to_one() {
    let odds: f64 = CLAIMS_MORE.iter().chain(&FINDS_MORE).map(|(_, odds)| odds).sum();
    assert!((odds - 1.0).abs() < 1e-12, "{odds}");
    // The beginnings: the first, and 1/(j·(j+1)) of the rest for each later one.
    let later: f64 = (1..1_000_000).map(|j| 1.0 / (f64::from(j) * f64::from(j + 1))).sum();
    assert!((FROM_THE_START + (1.0 - FROM_THE_START) * later - 1.0).abs() < 1e-5);
}

#[test]
fn the_band_is_garwoods() {
    // Printed tables of the exact bounds.
    for (count, low, high) in [
        (0, 0.0, 3.6889),
        (1, 0.0253, 5.5716),
        (5, 1.6235, 11.6683),
        (10, 4.7954, 18.3904),
        (100, 81.3640, 121.6268),
    ] {
        let band = poisson::band(count);
        assert!((band.0 - low).abs() < 2e-4 && (band.1 - high).abs() < 2e-4, "{count}: {band:?}");
    }
    let (exact, near) = (poisson::band(999), poisson::band(1000));
    assert!((near.0 - exact.0 - 0.97).abs() < 0.05 && (near.1 - exact.1 - 1.03).abs() < 0.05);
}

#[test]
fn a_judgement_survives_being_written() {
    let mut world = World::new(7, 1.0, Duration::from_secs(1));
    world.job(HARD);
    (0..60).for_each(|_| world.mine());
    let judgement = world.luck.judgement(world.now());
    let text = serde_json::to_string(&judgement).unwrap();
    assert!(text.contains("\"verdict\":\""), "{text}");
    let read: Judgement = serde_json::from_str(&text).unwrap();
    assert_eq!((read.found, read.verdict), (judgement.found, judgement.verdict));
}
