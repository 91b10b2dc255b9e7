//! What a miner mines on, device by device, as it says itself: names, addresses, and rates from the hashes that it counts.
//!
//! Everything here is the miner's word and moves no other number, but for the proofs: those were verified, and which
//! device they are credited to is the miner's word ([`super::finds`]). Rates are made from the hashes of two answers, so that
//! each means the same time whatever a provider calls its rate; the windows are as fine as the questions are frequent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::finds::{Finds, Tally, marks};
use super::report::{DeviceProofs, DeviceReport, RateReport, Windows};

/// Devices of one miner that are told of.
const DEVICES_MAX: usize = 64;
/// Answers closer together than this are one: nobody asks so often.
const CLOSE: Duration = Duration::from_secs(5);
/// The longest window.
const LONGEST: Duration = Duration::from_secs(900);

/// The devices of one miner.
#[derive(Debug, Default)]
pub struct Devices {
    rows: Vec<Device>,
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

impl Devices {
    /// The miner has answered with its own numbers, which may hold anything. `finds` are its proofs that are no device's yet.
    pub fn told(&mut self, stats: &Value, finds: &mut Finds, now: Instant) {
        let mut before = std::mem::take(&mut self.rows);
        let told = stats["details"]["devices"].as_array().into_iter().flatten();
        for device in told.filter(|device| device.is_object()).take(DEVICES_MAX) {
            let report = one(device);
            let is_same = |other: &Device| {
                (&other.report.name, &other.report.address) == (&report.name, &report.address)
            };
            let (mut past, mut tally) = match before.iter().position(is_same) {
                Some(index) => {
                    let Device { past, tally, .. } = before.remove(index);
                    (past, tally)
                }
                None => (Past::default(), None),
            };
            if let Some(marks) = marks(device) {
                tally.get_or_insert_default().claim(&marks, finds);
            }
            match device["hashes"].as_u64() {
                Some(hashes) => past.add(hashes, now),
                None => past = Past::default(),
            }
            self.rows.push(Device { report, past, tally });
        }
    }

    /// The process is another, or gone: what it did is over, and what it mined on is still known.
    pub fn begin_anew(&mut self) {
        for device in &mut self.rows {
            device.past = Past::default();
            let DeviceReport { name, address, .. } = std::mem::take(&mut device.report);
            device.report = DeviceReport { name, address, ..DeviceReport::default() };
        }
    }

    /// Each of them. `whole` is what the miner's proofs and rates are in all, and `seconds` how long it had something to find:
    /// of a miner with one device they are that device's.
    pub fn report(&self, whole: (&DeviceProofs, &RateReport), seconds: f64) -> Vec<DeviceReport> {
        let of = |Device { report, past, tally }: &Device| {
            let raw = Windows { s10: past.over(10), s60: past.over(60), m15: past.over(900) };
            let row = DeviceReport { raw, ..report.clone() };
            match (self.rows.len(), tally) {
                (1, _) => DeviceReport {
                    proofs: Some(whole.0.clone()),
                    verified: whole.1.verified,
                    verdict: whole.1.verdict.clone(),
                    ..row
                },
                (_, Some(tally)) => DeviceReport {
                    proofs: Some(tally.proofs().clone()),
                    verified: tally.work().rate(seconds),
                    ..row
                },
                (_, None) => row,
            }
        };
        self.rows.iter().map(of).collect()
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
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(devices: &Devices) -> Vec<DeviceReport> {
        devices.report((&DeviceProofs::default(), &RateReport::default()), 100.0)
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
            &mut Finds::default(),
            now,
        );
        let told = rows(&devices);
        assert_eq!(told.len(), 3);
        assert_eq!((told[0].name.as_str(), told[0].hashrate), ("A\\u{1b}[2J", Some(5.0)));
        assert_eq!((told[0].address.as_deref(), told[0].power_watts), (Some("0000:0a:00.0"), None));
        assert_eq!((told[1].name.as_str(), &told[1].address), ("a device without a name", &None));
        assert_eq!(told[2].address.as_deref(), Some("0000:02:00.0"));
        devices.told(&json!([1]), &mut Finds::default(), now);
        assert!(rows(&devices).is_empty());
        devices.told(&stats((0..1000).map(|_| json!({})).collect()), &mut Finds::default(), now);
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
            devices.told(&stats(list.into()), &mut Finds::default(), start + Duration::from_secs(second));
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
            devices.told(&told, &mut Finds::default(), now);
            rows(devices)[0].raw.s10
        };
        tell(&mut devices, 5000, at(0));
        assert_eq!(tell(&mut devices, 6000, at(10)), Some(100.0));
        for thousandth in 1..2000 {
            tell(&mut devices, 6000, at(10) + Duration::from_millis(thousandth));
        }
        assert_eq!(devices.rows[0].past.0.len(), 2);
        assert_eq!(tell(&mut devices, 10, at(20)), None, "it began anew");
        devices.begin_anew();
        let left = &rows(&devices)[0];
        assert_eq!((left.name.as_str(), left.hashrate, left.raw.s10), ("a", None, None));
    }

    #[test]
    fn a_row_has_its_own_proofs_the_miners_where_it_is_the_only_one_and_none_where_nobody_tells() {
        let now = Instant::now();
        let mut finds = Finds::default();
        finds.handed_in(1, 1, b"proof");
        finds.judged(1, 1, &crate::miner::effect::Verdict::Share, 1000.0);
        let mark = blake3::hash(b"proof").to_hex()[..16].to_owned();
        let whole = DeviceProofs { found: 9, verified: 8, late: 1, refused: 2 };
        let rate = RateReport { verdict: Some("within luck".into()), ..RateReport::default() };
        let mut devices = Devices::default();
        let telling = json!([
            { "name": "a", "proofs": [mark], "reopened": 2, "off": "too hot" }, { "name": "b", "proofs": [] },
            { "name": "c" },
        ]);
        devices.told(&stats(telling), &mut finds, now);
        let told = devices.report((&whole, &rate), 100.0);
        let one = DeviceProofs { found: 1, verified: 1, late: 0, refused: 0 };
        assert_eq!(
            told.iter().map(|row| row.proofs.clone()).collect::<Vec<_>>(),
            [Some(one.clone()), Some(DeviceProofs::default()), None],
            "nobody knows what the last one found"
        );
        assert_eq!(told[0].verified.map(|rate| rate.hashrate), Some(10.0));
        assert_eq!((told[0].restarts, told[0].last_error.as_deref()), (Some(2), Some("too hot")));
        assert!(told.iter().all(|row| row.verdict.is_none()), "the claim of three is one claim");
        devices.begin_anew();
        assert_eq!(devices.report((&whole, &rate), 100.0)[0].proofs, Some(one), "what it found, it found");
        devices.told(&stats(json!([{ "name": "only" }])), &mut finds, now);
        let only = &devices.report((&whole, &rate), 100.0)[0];
        assert_eq!((&only.proofs, only.verdict.as_deref()), (&Some(whole.clone()), Some("within luck")));
    }
}
