//! What a miner mines on, device by device, as it says itself: names, addresses, and rates from the hashes that it counts.
//!
//! Everything here is the miner's word and moves no other number, but for the proofs: those were verified, and which
//! device they are credited to is the miner's word ([`super::finds`]). So a device's verdict ([`tally`]) says whether its
//! claim and its share of the proofs agree. Rates are made from the hashes of two answers, so that each means the same time
//! whatever a provider calls its rate; the windows are as fine as the questions are frequent.

mod tally;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::tally::{Claim, Tally};
use super::account::Sums;
use super::effect::Verdict;
use super::finds::{Finds, Outcome, marks};
use super::report::{DeviceProofs, DeviceReport, RateReport, Windows};

/// Devices of one miner that are told of.
const DEVICES_MAX: usize = 64;
/// Answers closer together than this are one: nobody asks so often.
const CLOSE: Duration = Duration::from_secs(5);
/// The longest window.
const LONGEST: Duration = Duration::from_secs(900);
/// A verdict on a device is worth nothing where more than one in so many proofs is said to be of no device.
const UNNAMED: u64 = 20;

/// The devices of one miner.
#[derive(Debug, Default)]
pub struct Devices {
    rows: Vec<Device>,
    /// Those that it has told of before, and does not any more.
    absent: VecDeque<Device>,
    finds: Finds,
    /// What the miner's claims had come to when its process began.
    began: Sums,
}

#[derive(Debug)]
struct Device {
    report: DeviceReport,
    past: Past,
    /// What it is credited with, once it has told which proofs are its own.
    tally: Option<Tally>,
}

/// Hashes at some moments, oldest first.
#[derive(Debug, Default)]
struct Past(VecDeque<(Instant, u64)>);

/// What a miner's numbers are in all: of one with a single device they are that device's.
#[derive(Debug)]
pub struct Whole<'a> {
    /// Its proofs.
    pub proofs: DeviceProofs,
    /// Its rates and its verdict.
    pub rates: &'a RateReport,
    /// How long it had something to find.
    pub seconds: f64,
}

impl Devices {
    /// The miner handed in a proof that stands for `work` hashes over link `generation`, as number `sequence`.
    pub fn handed_in(&mut self, generation: u64, sequence: u64, proof: &[u8], work: f64) {
        self.finds.handed_in(generation, sequence, proof, work);
    }

    /// That proof was judged.
    pub fn judged(&mut self, generation: u64, sequence: u64, verdict: &Verdict) {
        let (number, outcome) = ((generation, sequence), Outcome::of(verdict));
        if !self.finds.judged(number, outcome) {
            let devices = self.rows.iter_mut().chain(&mut self.absent);
            devices
                .filter_map(|device| device.tally.as_mut())
                .for_each(|tally| tally.judged(number, outcome));
        }
    }

    /// The miner has answered with its own numbers, which may hold anything. Its claims have come to `sums`.
    pub fn told(&mut self, stats: &Value, sums: Sums, now: Instant) {
        let mut before = std::mem::take(&mut self.rows);
        let told = stats["details"]["devices"].as_array().into_iter().flatten();
        for told in told.filter(|device| device.is_object()).take(DEVICES_MAX) {
            let report = one(told);
            let is_same = |other: &Device| {
                (&other.report.name, &other.report.address) == (&report.name, &report.address)
            };
            let known = match before.iter().position(is_same) {
                Some(index) => Some(before.remove(index)),
                // What was found out about a device outlives that nobody speaks of it for a while.
                None => self.absent.iter().position(is_same).and_then(|index| self.absent.remove(index)),
            };
            let (mut past, mut tally) =
                known.map_or_else(Default::default, |Device { past, tally, .. }| (past, tally));
            if let Some(marks) = marks(told) {
                tally.get_or_insert_default().name(&marks, &mut self.finds);
            }
            match told["hashes"].as_u64() {
                Some(hashes) => past.add(hashes, now),
                None => past = Past::default(),
            }
            self.rows.push(Device { report, past, tally });
        }
        self.absent.extend(before.into_iter().filter(|device| device.tally.is_some()));
        self.absent.drain(..self.absent.len().saturating_sub(DEVICES_MAX));
        self.hold(stats, sums);
    }

    /// Holds what each device claims against what is known now of who found what.
    fn hold(&mut self, stats: &Value, sums: Sums) {
        self.finds.answered();
        let (devices, unnamed, began) =
            (self.rows.len() + self.absent.len(), self.finds.unnamed(), self.began);
        let told = stats["details"]["devices"].as_array().into_iter().flatten();
        let told = told.filter(|device| device.is_object());
        for (told, device) in told.zip(&mut self.rows) {
            let Some(tally) = &mut device.tally else { continue };
            tally.stands(devices, unnamed);
            let hashes = told["hashes"].as_u64().map(Claim::Hashes);
            if let Some(claim) = hashes.or(device.report.hashrate.map(Claim::Rate)) {
                tally.claims(claim, sums, began);
            }
        }
    }

    /// The process is another, or gone: what it did is over, and what it mined on is still known. The miner's claims have come
    /// to `sums`.
    pub fn begin_anew(&mut self, sums: Sums) {
        self.began = sums;
        for device in self.rows.iter_mut().chain(&mut self.absent) {
            device.past = Past::default();
            device.tally.iter_mut().for_each(Tally::begin_anew);
            let DeviceReport { name, address, .. } = std::mem::take(&mut device.report);
            device.report = DeviceReport { name, address, ..DeviceReport::default() };
        }
    }

    /// Each of them. The miner is `whole`.
    pub fn report(&self, whole: &Whole) -> Vec<DeviceReport> {
        self.rows.iter().map(|device| self.row(device, whole)).collect()
    }

    fn row(&self, Device { report, past, tally }: &Device, whole: &Whole) -> DeviceReport {
        let raw = Windows { s10: past.over(10), s60: past.over(60), m15: past.over(900) };
        let row = DeviceReport { raw, ..report.clone() };
        if self.rows.len() == 1 && self.absent.is_empty() {
            return DeviceReport {
                proofs: Some(whole.proofs.clone()),
                verified: whole.rates.verified,
                judgement: whole.rates.judgement.clone(),
                verdict: whole.rates.verdict.clone(),
                ..row
            };
        }
        let Some(tally) = tally else {
            let verdict = "cannot be told: which proofs are its own is not said".to_owned();
            return DeviceReport { verdict: Some(verdict), ..row };
        };
        let judgement = tally.judgement(whole.seconds);
        let unnamed = self.finds.left_unnamed();
        // What speaks for everyone has spoken for whoever is accused all the same.
        let verdict = match &judgement {
            Some(_) if !tally.is_accused() && unnamed * UNNAMED > whole.proofs.found => {
                format!(
                    "cannot be told: {unnamed} of {} proofs are said to be of no device",
                    whole.proofs.found
                )
            }
            Some(judgement) => judgement.words(),
            None => "cannot be told: it counts no hashes and tells no rate".to_owned(),
        };
        DeviceReport {
            proofs: Some(tally.proofs().clone()),
            verified: tally.work().rate(whole.seconds),
            judgement,
            verdict: Some(verdict),
            ..row
        }
    }
}

fn one(device: &Value) -> DeviceReport {
    let number = |key: &str| device[key].as_f64().filter(|number| number.is_finite());
    let text = |key: &str| device[key].as_str().filter(|text| !text.is_empty()).map(crate::text::foreign);
    let address = ["address", "pci_address", "pci"].into_iter().find_map(text);
    let count = |key: &str| device[key].as_u64();
    DeviceReport {
        name: text("name").unwrap_or_else(|| "a device without a name".into()),
        address: address.map(|address| address.to_ascii_lowercase()),
        hashrate: number("hashrate"),
        temperature_celsius: number("temperature_celsius"),
        power_watts: number("power_watts"),
        restarts: ["restarts", "reopened"].into_iter().find_map(count),
        last_error: ["off", "last_error"].into_iter().find_map(text),
        ..DeviceReport::default()
    }
}

impl Past {
    fn add(&mut self, hashes: u64, now: Instant) {
        match self.0.back() {
            // It counts from the beginning again.
            Some((_, before)) if hashes < *before => self.0.clear(),
            Some((at, _)) if now.saturating_duration_since(*at) < CLOSE => return,
            _ => {}
        }
        self.0.push_back((now, hashes));
        let is_old = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) > LONGEST + 2 * CLOSE;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    /// Hashes per second up to the last answer, from the newest one before it that lies about `seconds` back; nothing until
    /// there is one.
    fn over(&self, seconds: u64) -> Option<f64> {
        let (now, last) = *self.0.back()?;
        let window = Duration::from_secs(seconds).saturating_sub(CLOSE);
        let is_far = |(at, _): &&(Instant, u64)| now.saturating_duration_since(*at) >= window;
        let (at, then) = *self.0.iter().rev().skip(1).find(is_far)?;
        let lasted = now.saturating_duration_since(at).as_secs_f64();
        (lasted > 0.0).then(|| last.saturating_sub(then) as f64 / lasted)
    }
}

#[cfg(test)]
mod honesty;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(devices: &Devices) -> Vec<DeviceReport> {
        devices.report(&Whole {
            proofs: DeviceProofs::default(),
            rates: &RateReport::default(),
            seconds: 100.0,
        })
    }

    fn stats(devices: Value) -> Value {
        json!({ "details": { "devices": devices } })
    }

    #[test]
    fn what_a_provider_says_of_its_devices_is_taken_as_far_as_it_makes_sense() {
        let now = Instant::now();
        let mut devices = Devices::default();
        devices.told(
            &stats(json!([
                { "name": "A\u{1b}[2J", "hashrate": 5.0, "pci_address": "0000:0A:00.0", "power_watts": "much" },
                7, { "hashrate": null, "pci": "" }, { "pci": "0000:02:00.0" }
            ])),
            Sums::default(),
            now,
        );
        let told = rows(&devices);
        assert_eq!(told.len(), 3);
        assert_eq!((told[0].name.as_str(), told[0].hashrate), ("A\\u{1b}[2J", Some(5.0)));
        assert_eq!((told[0].address.as_deref(), told[0].power_watts), (Some("0000:0a:00.0"), None));
        assert_eq!((told[1].name.as_str(), &told[1].address), ("a device without a name", &None));
        assert_eq!(told[2].address.as_deref(), Some("0000:02:00.0"));
        devices.told(&json!([1]), Sums::default(), now);
        assert!(rows(&devices).is_empty());
        devices.told(&stats((0..1000).map(|_| json!({})).collect()), Sums::default(), now);
        assert_eq!(rows(&devices).len(), DEVICES_MAX);
    }

    #[test]
    fn rates_are_those_of_the_hashes_that_were_counted_each_over_its_own_time() {
        let start = Instant::now();
        let mut devices = Devices::default();
        let mut hashes = [0, 0];
        let mut tell = |devices: &mut Devices, second: u64, each: [u64; 2]| {
            hashes = [hashes[0] + each[0], hashes[1] + each[1]];
            let [a, b] = hashes;
            // The order of the devices is the provider's affair.
            let mut list = vec![
                json!({ "name": "a", "address": "x", "hashes": a }),
                json!({ "name": "b", "address": "y", "hashes": b }),
                json!({ "name": "c", "hashrate": 3.0 }),
            ];
            list.rotate_left((second / 10 % 3) as usize);
            devices.told(&stats(list.into()), Sums::default(), start + Duration::from_secs(second));
            let mut told = rows(devices);
            told.sort_by(|a, b| a.name.cmp(&b.name));
            told.into_iter().map(|device| device.raw).collect::<Vec<_>>()
        };
        assert_eq!(tell(&mut devices, 0, [0, 0])[0], Windows::default(), "one answer tells no rate");
        let raw = tell(&mut devices, 10, [1000, 0]);
        assert_eq!((raw[0].s10, raw[0].s60, raw[1].s10), (Some(100.0), None, Some(0.0)));
        for second in 2..=6 {
            tell(&mut devices, 10 * second, [1000, 50]);
        }
        let raw = tell(&mut devices, 70, [4000, 50]);
        assert_eq!((raw[0].s10, raw[0].s60, raw[0].m15), (Some(400.0), Some(150.0), None));
        assert_eq!(raw[1].s60, Some(5.0));
        assert_eq!(raw[2], Windows::default(), "it counts no hashes");
        for second in 8..=95 {
            tell(&mut devices, 10 * second, [1000, 50]);
        }
        let raw = tell(&mut devices, 960, [1000, 50]);
        assert_eq!((raw[0].s10, raw[1].m15), (Some(100.0), Some(5.0)));
        assert!(devices.rows.iter().all(|device| device.past.0.len() <= 95), "bounded");
    }

    #[test]
    fn a_process_that_is_another_counts_from_the_beginning_and_a_flood_of_answers_is_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut devices = Devices::default();
        let tell = |devices: &mut Devices, hashes: u64, now| {
            let told = stats(json!([{ "name": "a", "hashes": hashes, "hashrate": 1.0 }]));
            devices.told(&told, Sums::default(), now);
            rows(devices)[0].raw.s10
        };
        tell(&mut devices, 5000, at(0));
        assert_eq!(tell(&mut devices, 6000, at(10)), Some(100.0));
        for thousandth in 1..2000 {
            tell(&mut devices, 6000, at(10) + Duration::from_millis(thousandth));
        }
        assert_eq!(devices.rows[0].past.0.len(), 2);
        assert_eq!(tell(&mut devices, 10, at(20)), None, "it began anew");
        devices.begin_anew(Sums::default());
        let left = &rows(&devices)[0];
        assert_eq!((left.name.as_str(), left.hashrate, left.raw.s10), ("a", None, None));
    }

    #[test]
    fn a_row_has_its_own_proofs_the_miners_where_it_is_the_only_one_and_none_where_nobody_tells() {
        let now = Instant::now();
        let mut devices = Devices::default();
        devices.handed_in(1, 1, b"proof", 1000.0);
        devices.handed_in(1, 2, b"late", 1000.0);
        devices.handed_in(1, 3, b"bad", 1000.0);
        devices.handed_in(1, 4, b"waits", 1000.0);
        devices.judged(1, 1, &Verdict::Share);
        devices.judged(1, 2, &Verdict::Late);
        let of = |found, verified, late, refused| DeviceProofs { found, verified, late, refused };
        let rates = RateReport { verdict: Some("within luck".into()), ..RateReport::default() };
        let whole = Whole { proofs: of(9, 8, 1, 2), rates: &rates, seconds: 100.0 };
        let telling = json!([
            { "name": "a", "proofs": [told(b"proof"), told(b"proof"), told(b"bad"), told(b"invented")], "reopened": 2,
              "off": "too hot" },
            { "name": "b", "proofs": [told(b"proof"), told(b"late"), told(b"waits")], "hashrate": 1.0 },
            { "name": "c", "hashrate": 1.0 },
        ]);
        devices.told(&stats(telling.clone()), Sums::default(), now);
        let proofs =
            |devices: &Devices| devices.report(&whole).into_iter().map(|row| row.proofs).collect::<Vec<_>>();
        let late = of(1, 1, 1, 0);
        assert_eq!(
            proofs(&devices),
            [Some(of(1, 1, 0, 0)), Some(late.clone()), None],
            "once, to who named it first; what waits is not counted; nobody knows what the last one found"
        );
        devices.judged(1, 3, &Verdict::Refused { stage: "shape".into(), why: String::new(), kept: None });
        devices.judged(1, 4, &Verdict::NotJudged(String::new()));
        devices.judged(1, 4, &Verdict::Share);
        assert_eq!(proofs(&devices), [Some(of(1, 1, 0, 1)), Some(of(2, 1, 1, 0)), None]);
        let rows = devices.report(&whole);
        assert_eq!(rows[0].verified.map(|rate| rate.hashrate), Some(10.0));
        assert_eq!((rows[0].restarts, rows[0].last_error.as_deref()), (Some(2), Some("too hot")));
        let words: Vec<_> = rows.iter().map(|row| row.verdict.clone().unwrap()).collect();
        assert_eq!(words[0], "cannot be told: it counts no hashes and tells no rate");
        assert_eq!(words[2], "cannot be told: which proofs are its own is not said");

        // One that is not spoken of for a while has not got rid of what is known of it.
        devices.begin_anew(Sums::default());
        devices.told(&stats(json!([{ "name": "a", "proofs": [] }])), Sums::default(), now);
        assert_eq!(proofs(&devices), [Some(of(1, 1, 0, 1))]);
        devices.told(&stats(telling), Sums::default(), now);
        assert_eq!(proofs(&devices)[1], Some(of(2, 1, 1, 0)));

        let mut devices = Devices::default();
        devices.told(&stats(json!([{ "name": "only" }])), Sums::default(), now);
        let only = &devices.report(&whole)[0];
        assert_eq!((&only.proofs, only.verdict.as_deref()), (&Some(of(9, 8, 1, 2)), Some("within luck")));
    }

    fn told(proof: &[u8]) -> Value {
        json!(&blake3::hash(proof).to_hex()[..16])
    }
}
