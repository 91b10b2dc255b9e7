//! Miners of several devices, honest ones and such of which one lies, in simulated time.

use std::sync::Arc;
use std::time::Duration;

use pearl_pow::shares::target_of_expected_hashes;
use serde_json::json;

use super::*;
use crate::miner::account::Account;
use crate::miner::effect::Work;
use crate::miner::luck;
use crate::miner::offers::Given;
use crate::miner::vardiff::{SPACING, work_of};
use crate::work::WorkJob;

/// A small generator, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    /// Between 0 and 1, never 0.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Evenly in the exponent.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }
}

/// One device: what it does, and what it says.
struct Card {
    rate: f64,
    /// It claims so many times what it does.
    factor: f64,
    /// What is due until its next proof.
    until: f64,
    hashes: f64,
    found: Vec<String>,
}

/// A miner of some devices on a network, second by second.
struct Rig {
    dice: Dice,
    start: Instant,
    now: Instant,
    cards: Vec<Card>,
    /// Whether the devices tell a rate and no hashes.
    tells_rates: bool,
    /// One in so many proofs is said to be of no device.
    unnamed: u64,
    account: Account,
    devices: Devices,
    given: Given,
    sequence: u64,
    unreported: f64,
    next_answer: Instant,
}

fn given(each: f64) -> Given {
    let target = target_of_expected_hashes(each).to_le_bytes();
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
    let each = work_of(&target).expect("it can be met");
    Given { id: 1, work: Arc::new(Work { number: 1, job }), target, each, taken: None }
}

impl Rig {
    /// Devices that claim `factors` times what they do, and whose estimate is `off` by a factor.
    fn new(seed: u64, factors: &[f64], off: f64) -> Self {
        let mut dice = Dice(seed);
        let cards: Vec<Card> = factors
            .iter()
            .map(|&factor| {
                let (rate, until) = (dice.between(0.8e12, 1.25e12), -dice.unit().ln());
                Card { rate, factor, until, hashes: 0.0, found: Vec::new() }
            })
            .collect();
        let rate: f64 = cards.iter().map(|card| card.rate).sum();
        let start = Instant::now();
        let mut rig = Self {
            dice,
            start,
            now: start,
            cards,
            tells_rates: false,
            unnamed: u64::MAX,
            account: Account::new(Some(rate * off), SPACING),
            devices: Devices::default(),
            given: given(1e24),
            sequence: 0,
            unreported: 0.0,
            next_answer: start + Duration::from_secs(10),
        };
        rig.job(1e24);
        rig
    }

    /// The network pays at `paying` hashes for a proof.
    fn job(&mut self, paying: f64) {
        let paying = target_of_expected_hashes(paying).to_le_bytes();
        let target = self.account.target(&paying, self.now);
        let each = work_of(&target).expect("it can be met");
        self.given = Given { target, each, ..self.given.clone() };
        self.account.took(&self.given, self.now);
    }

    /// A second of mining, of which the miner reports as one does.
    fn mine(&mut self) {
        self.now += Duration::from_secs(1);
        for card in &mut self.cards {
            let (rate, each) = (card.rate, self.given.each);
            card.until -= rate / each;
            card.hashes += rate * card.factor;
            self.unreported += rate * card.factor;
            while card.until <= 0.0 {
                card.until += -self.dice.unit().ln();
                self.sequence += 1;
                let proof = self.sequence.to_le_bytes();
                if !self.sequence.is_multiple_of(self.unnamed) {
                    card.found.push(blake3::hash(&proof).to_hex()[..16].to_owned());
                }
                self.account.handed_in(&self.given);
                self.devices.handed_in(1, self.sequence, &proof, each);
                self.account.judged(&Verdict::Share, each, each, self.now);
                self.devices.judged(1, self.sequence, &Verdict::Share);
            }
        }
        self.account.claimed(std::mem::take(&mut self.unreported) as u64, self.now);
        if self.account.wants_other_target(&self.given.work.job.target, self.now) {
            self.job(1e24);
        }
        if self.now >= self.next_answer {
            self.next_answer = self.now + Duration::from_secs(10);
            self.answer();
        }
    }

    fn answer(&mut self) {
        let tells_rates = self.tells_rates;
        let told = |(number, card): (usize, &Card)| {
            let mut told = json!({
                "name": format!("card {number}"), "hashrate": card.rate * card.factor,
                "proofs": card.found.iter().rev().take(64).collect::<Vec<_>>(),
            });
            if !tells_rates {
                told["hashes"] = (card.hashes as u64).into();
            }
            told
        };
        let devices: Vec<Value> = self.cards.iter().enumerate().map(told).collect();
        self.devices.told(
            &json!({ "details": { "devices": devices } }),
            self.account.sums(self.now),
            self.now,
        );
    }

    fn rows(&mut self) -> Vec<DeviceReport> {
        let rates = self.account.rates(false, self.now);
        let proofs = self.account.proof_report();
        let own = DeviceProofs { found: proofs.found, ..DeviceProofs::default() };
        let seconds = self.account.sums(self.now).seconds;
        self.devices.report(&Whole { proofs: own, rates: &rates, seconds })
    }

    fn accused(&self) -> Vec<bool> {
        self.devices.rows.iter().map(|device| device.tally.as_ref().is_some_and(Tally::is_accused)).collect()
    }

    fn minutes(&self) -> u64 {
        self.now.duration_since(self.start).as_secs() / 60
    }
}

/// Minutes until the first of four devices, which claims `factor` times what it does, is accused; nobody else ever is.
fn liar_accused_after(seed: u64, factor: f64, limit: u64, change: fn(&mut Rig)) -> Option<u64> {
    let mut rig = Rig::new(seed, &[factor, 1.0, 1.0, 1.0], 1.0);
    change(&mut rig);
    while rig.minutes() < limit {
        rig.mine();
        let accused = rig.accused();
        assert!(!accused.iter().skip(1).any(|accused| *accused), "seed {seed}: {accused:?}");
        if accused.first() == Some(&true) {
            return Some(rig.minutes());
        }
    }
    None
}

/// How many of 50 seeds have the liar accused within `limit` minutes.
fn accused_within(factor: f64, limit: u64, change: fn(&mut Rig)) -> usize {
    (0..50).filter(|&seed| liar_accused_after(seed, factor, limit, change).is_some()).count()
}

/// At one share of the miner in 20 s, a device of four finds one in 80 s: what takes a miner seven minutes takes it four times as
/// long, and a fifth more for the evidence that is shared out.
#[test]
fn one_of_four_devices_that_claims_three_times_its_work_is_accused_within_35_minutes_and_no_other_is() {
    let accused = accused_within(3.0, 35, |_| {});
    assert!(accused >= 45, "{accused} of 50");
}

#[test]
fn a_device_that_tells_its_rate_alone_is_held_to_that() {
    let accused = accused_within(3.0, 35, |rig| rig.tells_rates = true);
    assert!(accused >= 45, "{accused} of 50");
}

#[test]
fn proofs_that_are_said_to_be_of_no_device_speak_for_each_and_enough_of_them_leave_no_verdict() {
    // A few, and the liar has a little longer.
    let accused = accused_within(10.0, 35, |rig| rig.unnamed = 30);
    assert!(accused >= 45, "{accused} of 50");
    let mut rig = Rig::new(1, &[1.0; 4], 1.0);
    rig.unnamed = 4;
    while rig.minutes() < 30 {
        rig.mine();
    }
    let rows = rig.rows();
    for row in &rows {
        assert!(row.verdict.as_ref().unwrap().starts_with("cannot be told: "), "{row:#?}");
    }
    let named: u64 = rows.iter().map(|row| row.proofs.as_ref().unwrap().found).sum();
    assert!(named * 10 < rig.sequence * 8, "they count to nobody: {named} of {}", rig.sequence);
    assert!(rig.accused().iter().all(|accused| !accused));
}

#[test]
fn none_of_two_hundred_honest_devices_is_accused_under_changing_targets() {
    for seed in 0..50 {
        // Estimates are rough, and some are wrong by far.
        let mut dice = Dice(seed ^ 0xabcd);
        let mut rig = Rig::new(seed, &[1.0; 4], dice.between(0.02, 50.0));
        let rate: f64 = rig.cards.iter().map(|card| card.rate).sum();
        while rig.minutes() < 60 {
            // A new job every few seconds, which pays at something else each time.
            if dice.unit() < 0.2 {
                let paying = rate * dice.between(1.0, 1e6);
                rig.job(paying);
            }
            // Work is lost now and then, and comes back.
            if dice.unit() < 0.001 {
                rig.account.idles(rig.now);
                rig.account.begin_anew();
                rig.devices.begin_anew(rig.account.sums(rig.now));
                rig.cards.iter_mut().for_each(|card| (card.hashes, card.found) = (0.0, Vec::new()));
                rig.unreported = 0.0;
                rig.account.took(&rig.given.clone(), rig.now);
            }
            rig.mine();
            assert!(rig.accused().iter().all(|accused| !accused), "seed {seed}: {:#?}", rig.rows());
        }
        assert!(
            rig.rows().iter().all(|row| row.judgement.as_ref().unwrap().verdict == luck::Verdict::WithinLuck),
            "{:#?}",
            rig.rows()
        );
    }
}

#[test]
fn a_device_that_counts_anew_or_mines_while_nothing_can_be_found_owes_nothing_for_it() {
    let start = Instant::now();
    let mut devices = Devices::default();
    let tell = |devices: &mut Devices, hashes: u64, sums: Sums| {
        let told = json!([{ "name": "a", "proofs": [], "hashes": hashes }, { "name": "b", "proofs": [] }]);
        devices.told(&json!({ "details": { "devices": told } }), sums, start);
        devices.rows[0].tally.as_ref().unwrap().judgement(1.0).map(|judgement| judgement.due)
    };
    let sums = |hashes, counted, due| Sums { hashes, counted, due, seconds: 100.0 };
    assert_eq!(tell(&mut devices, 500, sums(0, 0.0, 0.0)), None, "its miner has reported nothing yet");
    assert_eq!(tell(&mut devices, 1000, sums(2000, 2000.0, 4.0)), Some(2.0));
    assert_eq!(tell(&mut devices, 2000, sums(4000, 2000.0, 4.0)), Some(2.0), "nothing could be found");
    assert_eq!(tell(&mut devices, 3000, sums(6000, 3000.0, 6.0)), Some(3.0), "half of the time");
    assert_eq!(tell(&mut devices, 10, sums(8000, 5000.0, 10.0)), Some(3.0), "it counts anew");
    assert_eq!(tell(&mut devices, 1010, sums(10_000, 7000.0, 14.0)), Some(5.0));
    devices.begin_anew(sums(12_000, 9000.0, 18.0));
    assert_eq!(
        tell(&mut devices, 500, sums(13_000, 10_000.0, 20.0)),
        Some(6.0),
        "from the start of its process"
    );
}
