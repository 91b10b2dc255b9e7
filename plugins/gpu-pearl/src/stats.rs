//! What the devices have done, counted without locks and shown on request.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pearlbed_plugin_api::serde_json::{Value, json};

/// Seconds over which rates are told.
const RECENT: Duration = Duration::from_secs(10);

/// Proofs of one device that are told of: more than it finds between two questions.
const FOUND_MAX: usize = 64;

/// One device's counters; only its thread writes them.
#[derive(Default)]
pub(crate) struct Counters {
    pub hashes: AtomicU64,
    /// Hits that the processor did not confirm.
    pub refused: AtomicU64,
    /// Hits that a list had no room for.
    pub lost: AtomicU64,
    /// How often it was opened again.
    pub reopened: AtomicU64,
    /// The marks of what it found lately, oldest first: the host tells by them which device a proof is of.
    found: Mutex<VecDeque<String>>,
    facts: Mutex<Facts>,
}

/// What is known of a device that changes seldom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub name: String,
    pub pci: String,
    pub driver: String,
    pub kernel: &'static str,
    pub shape: String,
    pub memory_bytes: u64,
    /// Hashes per second of its instruction on registers alone, measured at its start.
    pub limit_hashrate: f64,
    /// From taking the last job that it worked on to the end of its first chunk: what was in flight, a new B, a new A.
    pub job_to_work: Option<Duration>,
    pub temperature: Option<f64>,
    /// Too hot: it waits.
    pub is_pausing: bool,
    /// Why it does not mine any more.
    pub off: Option<String>,
}

impl Counters {
    /// It has found a proof and is about to hand it in.
    pub(crate) fn found(&self, proof: &[u8]) {
        let mut found = self.found.lock().expect("nobody panics with it");
        if found.len() == FOUND_MAX {
            found.pop_front();
        }
        found.push_back(blake3::hash(proof).to_hex()[..16].to_owned());
    }

    /// What is known of the device.
    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().expect("nobody panics with it").clone()
    }

    /// Changes what is known of the device.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().expect("nobody panics with it"));
    }

    /// Whether it still mines.
    pub(crate) fn works(&self) -> bool {
        self.facts.lock().expect("nobody panics with it").off.is_none()
    }
}

/// The counters of all devices, and their recent past.
pub(crate) struct Totals {
    pub devices: Vec<Counters>,
    pub proofs: AtomicU64,
    pub jobs: AtomicU64,
    last_error: Mutex<Option<String>>,
    past: Mutex<Vec<(Instant, Vec<u64>)>>,
    since: Instant,
}

impl Totals {
    /// Counters of `devices` devices that start now.
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            devices: (0..devices).map(|_| Counters::default()).collect(),
            proofs: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            last_error: Mutex::new(None),
            past: Mutex::new(vec![(Instant::now(), vec![0; devices])]),
            since: Instant::now(),
        }
    }

    /// Hashes of all devices.
    pub(crate) fn hashes(&self) -> u64 {
        self.devices.iter().map(|device| device.hashes.load(Relaxed)).sum()
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// Remembers where the devices are; to be called a few times a second.
    pub(crate) fn sample(&self, now: Instant) {
        let mut past = self.past.lock().expect("nobody panics with it");
        if past.last().is_some_and(|(at, _)| now.duration_since(*at) < RECENT / 40) {
            return;
        }
        past.push((now, self.devices.iter().map(|device| device.hashes.load(Relaxed)).collect()));
        let old = past.iter().take_while(|(at, _)| now.duration_since(*at) > RECENT).count();
        past.drain(..old.saturating_sub(1));
    }

    /// Hashes per second of each device over the recent past.
    pub(crate) fn rates(&self, now: Instant) -> Vec<f64> {
        let past = self.past.lock().expect("nobody panics with it");
        let (at, then) = past.first().expect("there is always one");
        let seconds = now.duration_since(*at).as_secs_f64().max(1e-3);
        let rate = |(device, then): (&Counters, &u64)| {
            (device.hashes.load(Relaxed).saturating_sub(*then)) as f64 / seconds
        };
        self.devices.iter().zip(then).map(rate).collect()
    }

    /// Remembers what went wrong.
    pub(crate) fn fail(&self, error: String) {
        *self.last_error.lock().expect("nobody panics with it") = Some(error);
    }

    /// The last thing that went wrong.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().expect("nobody panics with it").clone()
    }

    /// What has no field of its own. Rates are hashes per second over the last ten seconds.
    pub(crate) fn details(&self, rates: &[f64]) -> Value {
        let devices: Vec<Value> = self
            .devices
            .iter()
            .zip(rates)
            .map(|(device, rate)| {
                let facts = device.facts();
                let mut shown = json!({
                    "name": facts.name, "pci": facts.pci, "driver": facts.driver, "kernel": facts.kernel,
                    "shape": facts.shape, "hashrate": rate, "hashes": device.hashes.load(Relaxed),
                    "hits_refused": device.refused.load(Relaxed), "hits_lost": device.lost.load(Relaxed),
                    "reopened": device.reopened.load(Relaxed), "memory_bytes": facts.memory_bytes,
                    "limit_hashrate": facts.limit_hashrate,
                    "proofs": *device.found.lock().expect("nobody panics with it"),
                });
                if let Some(object) = shown.as_object_mut() {
                    if let Some(time) = facts.job_to_work {
                        object.insert("job_to_work_ms".into(), (time.as_secs_f64() * 1e3).into());
                    }
                    if let Some(degrees) = facts.temperature {
                        object.insert("temperature_celsius".into(), degrees.into());
                    }
                    if facts.is_pausing {
                        object.insert("pausing".into(), "too hot".into());
                    }
                    if let Some(off) = facts.off {
                        object.insert("off".into(), off.into());
                    }
                }
                shown
            })
            .collect();
        let memory: u64 = self.devices.iter().map(|device| device.facts().memory_bytes).sum();
        json!({"devices": devices, "memory_bytes": memory})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_recent_past_and_details_have_each_device() {
        let totals = Totals::new(2);
        let start = Instant::now();
        totals.devices[0].hashes.fetch_add(1_000_000, Relaxed);
        for second in 1..=20 {
            totals.devices[1].hashes.fetch_add(500, Relaxed);
            totals.sample(start + Duration::from_secs(second));
        }
        let rates = totals.rates(start + Duration::from_secs(20));
        assert_eq!(rates[0], 0.0);
        assert!((rates[1] - 500.0).abs() < 60.0, "{rates:?}");
        totals.devices[0].update(|facts| facts.off = Some("it erred".into()));
        for proof in 0..100_u8 {
            totals.devices[1].found(&[proof]);
        }
        let details = totals.details(&rates);
        assert_eq!(details["devices"][0]["off"], "it erred");
        assert_eq!(details["devices"][1]["hashes"], 10_000);
        let marks = details["devices"][1]["proofs"].as_array().expect("a list");
        assert_eq!(
            (marks.len(), details["devices"][0]["proofs"].as_array().map(Vec::len)),
            (FOUND_MAX, Some(0))
        );
        assert_eq!(marks[FOUND_MAX - 1], blake3::hash(&[99]).to_hex()[..16], "the newest is the last");
        assert!(details["devices"][1].get("off").is_none());
        assert!(!totals.devices[0].works() && totals.devices[1].works());
    }
}
