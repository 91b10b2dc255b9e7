//! What was measured, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pearl_pow::CertificateVersion;
use serde::Serialize;
use serde_json::Value;

use super::devices::{self, Device};
use crate::miner::plugin::Chosen;

/// One window's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Hashes done.
    pub hashes: u64,
    /// How long it was.
    pub took: Duration,
    /// Processor time of the provider's process, where the system tells.
    pub processor: Option<Duration>,
    /// The limit right before and after it, in hashes per second of one thread's processor time.
    pub limit: Option<f64>,
    /// The limit as it was within the window, beside the provider.
    pub limit_within: Option<f64>,
}

impl Window {
    /// Hashes per second by the wall clock.
    pub fn hashrate(&self) -> f64 {
        self.hashes as f64 / self.took.as_secs_f64()
    }

    /// Hashes per second of processor time.
    pub fn processor_rate(&self) -> Option<f64> {
        let seconds = self.processor?.as_secs_f64();
        (seconds > 0.0).then(|| self.hashes as f64 / seconds)
    }

    /// What it reached of the limit.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.processor_rate()? / self.limit?)
    }

    /// What it reached of the limit within it.
    pub fn ratio_within(&self) -> Option<f64> {
        Some(self.processor_rate()? / self.limit_within?)
    }
}

/// What became of the proofs that were to be found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Proofs {
    /// How many were to be found.
    pub wanted: u64,
    /// How many the verifier accepted.
    pub accepted: u64,
    /// How many it refused.
    pub rejected: u64,
    /// Why, each reason once.
    pub reasons: BTreeSet<String>,
    /// Time spent in the verifier.
    #[serde(skip)]
    pub took: Duration,
}

/// The answer of `pearlbed bench`, as its JSON has it. Rates are hashes per second.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// The provider's id.
    pub provider: String,
    /// Its version.
    pub provider_version: String,
    /// The plugin's file.
    pub plugin: String,
    /// The certificate version of the jobs.
    pub certificate_version: u32,
    /// Threads that it mines with, or the machine's where it does not say.
    pub threads: usize,
    /// The kernel that it says it uses.
    pub kernel: Option<String>,
    /// The shape of its products, as it tells it.
    pub shape: Value,
    /// Median of the windows, by the wall clock; null without windows.
    pub hashrate: Option<f64>,
    /// The slowest window.
    pub hashrate_min: Option<f64>,
    /// The fastest window.
    pub hashrate_max: Option<f64>,
    /// Each window in order.
    pub windows: Vec<WindowReport>,
    /// What `threads` threads, or as many as the machine has processors for, could do at most, as measured before and
    /// after each window: the median; null where no limit is known.
    pub peak: Option<f64>,
    /// The instruction scheme of the limit.
    pub peak_scheme: Option<String>,
    /// Median of the windows' ratios, each of hashes per second of processor time.
    pub peak_ratio: Option<f64>,
    /// Lower and upper quartile of the windows' ratios.
    pub peak_ratio_quartiles: Option<[f64; 2]>,
    /// The same limit as measured within the windows, beside the provider.
    pub peak_within: Option<f64>,
    /// Median of the windows' ratios to it.
    pub peak_within_ratio: Option<f64>,
    /// Lower and upper quartile of these.
    pub peak_within_ratio_quartiles: Option<[f64; 2]>,
    /// What each device did, held against the limit that it measured of itself; left out where the provider lists none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Share of the provider's time that went to each part, as it tells them; null where it does not.
    pub split: Option<BTreeMap<String, f64>>,
    /// Memory of the provider's process at the end of the last window.
    pub memory_bytes: Option<u64>,
    /// The proofs that were checked; null without `--verify`.
    pub proofs: Option<Proofs>,
}

/// One window, as the JSON has it.
#[derive(Debug, Clone, Serialize)]
pub struct WindowReport {
    /// How long it was.
    pub seconds: f64,
    /// Hashes per second.
    pub hashrate: f64,
    /// Processor seconds of the provider's process.
    pub processor_seconds: Option<f64>,
    /// The limit of all threads before and after it.
    pub peak: Option<f64>,
    /// What it reached of that limit.
    pub ratio: Option<f64>,
    /// The limit of all threads within it.
    pub peak_within: Option<f64>,
    /// What it reached of that limit.
    pub ratio_within: Option<f64>,
}

impl Report {
    pub(super) fn new(id: &str, chosen: &Chosen, version: CertificateVersion, details: &Value) -> Self {
        let told =
            details.get("threads").and_then(Value::as_array).map(Vec::len).filter(|&threads| threads > 0);
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            schema: 1,
            provider: id.to_owned(),
            provider_version: chosen.manifest.version.clone(),
            plugin: chosen.path.to_string_lossy().into_owned(),
            certificate_version: version.number(),
            threads: told.unwrap_or_else(cores),
            kernel: details.get("kernel").and_then(Value::as_str).map(str::to_owned),
            shape: details.get("shape").cloned().unwrap_or_default(),
            hashrate: None,
            hashrate_min: None,
            hashrate_max: None,
            windows: Vec::new(),
            peak: None,
            peak_scheme: None,
            peak_ratio: None,
            peak_ratio_quartiles: None,
            peak_within: None,
            peak_within_ratio: None,
            peak_within_ratio_quartiles: None,
            devices: Vec::new(),
            split: None,
            memory_bytes: None,
            proofs: None,
        }
    }

    /// Threads that can run at once.
    pub(super) fn threads_at_once(&self) -> usize {
        self.threads.min(std::thread::available_parallelism().map_or(usize::MAX, std::num::NonZero::get))
    }

    /// Adds what the windows gave; `before` and `after` are the provider's details around them.
    pub(super) fn measured(
        &mut self,
        windows: &[Window],
        scheme: Option<&str>,
        before: &Value,
        after: &Value,
    ) {
        let threads = self.threads_at_once() as f64;
        let rates = sorted(windows.iter().map(Window::hashrate));
        let ratios = sorted(windows.iter().filter_map(Window::ratio));
        let within = sorted(windows.iter().filter_map(Window::ratio_within));
        self.hashrate = quantile(&rates, 0.5);
        (self.hashrate_min, self.hashrate_max) = (rates.first().copied(), rates.last().copied());
        self.peak = median(windows.iter().filter_map(|window| window.limit)).map(|peak| peak * threads);
        self.peak_scheme = self.peak.and(scheme).map(str::to_owned);
        self.peak_ratio = quantile(&ratios, 0.5);
        self.peak_ratio_quartiles = quartiles(&ratios);
        self.peak_within =
            median(windows.iter().filter_map(|window| window.limit_within)).map(|peak| peak * threads);
        self.peak_within_ratio = quantile(&within, 0.5);
        self.peak_within_ratio_quartiles = quartiles(&within);
        self.windows = windows
            .iter()
            .map(|window| WindowReport {
                seconds: window.took.as_secs_f64(),
                hashrate: window.hashrate(),
                processor_seconds: window.processor.map(|time| time.as_secs_f64()),
                peak: window.limit.map(|limit| limit * threads),
                ratio: window.ratio(),
                peak_within: window.limit_within.map(|limit| limit * threads),
                ratio_within: window.ratio_within(),
            })
            .collect();
        let took = windows.iter().map(|window| window.took).sum();
        self.devices = devices::measured(before, after, took);
        if let Some(peak) = devices::peak(&self.devices) {
            self.peak = Some(peak);
            self.peak_scheme = Some("by the devices themselves".into());
            self.peak_ratio = self.hashrate.map(|rate| rate / peak);
        }
        self.split = if windows.is_empty() { None } else { split(before, after) };
    }
}

/// The share of each part in what a provider tells of its time, between two looks.
fn split(before: &Value, after: &Value) -> Option<BTreeMap<String, f64>> {
    let parts = after.get("split")?.as_object()?;
    let spent: BTreeMap<String, f64> = parts
        .iter()
        .filter_map(|(part, seconds)| {
            let earlier = before.get("split").and_then(|split| split.get(part)?.as_f64()).unwrap_or(0.0);
            Some((part.clone(), (seconds.as_f64()? - earlier).max(0.0)))
        })
        .collect();
    let total: f64 = spent.values().sum();
    (total > 0.0).then(|| spent.into_iter().map(|(part, seconds)| (part, seconds / total)).collect())
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The one in the middle; none of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(&sorted(values.into_iter()), 0.5)
}

fn quartiles(sorted: &[f64]) -> Option<[f64; 2]> {
    quantile(sorted, 0.25).zip(quantile(sorted, 0.75)).map(|(low, high)| [low, high])
}

/// The value below which `share` of the sorted values lie, between two neighbours where it falls between them.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = sorted.len().checked_sub(1)? as f64 * share;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.25), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(quantile(&[1.0, 2.0, 4.0, 8.0, 16.0], 0.75), Some(8.0));
    }

    #[test]
    fn a_ratio_is_of_processor_time_and_a_rate_is_of_the_clock() {
        let window = Window {
            hashes: 800,
            took: Duration::from_secs(4),
            processor: Some(Duration::from_secs(2)),
            limit: Some(500.0),
            limit_within: Some(400.0),
        };
        assert_eq!((window.hashrate(), window.ratio(), window.ratio_within()), (200.0, Some(0.8), Some(1.0)));
        assert_eq!(Window { processor: None, ..window.clone() }.ratio(), None);
        assert_eq!(Window { limit: None, ..window }.ratio(), None);
    }

    #[test]
    fn the_split_is_of_the_time_between_two_looks() {
        let before = json!({"split": {"product": 10.0, "hashing": 1.0}});
        let after = json!({"split": {"product": 19.0, "hashing": 2.0, "odd": "text"}});
        let split = split(&before, &after).unwrap();
        assert_eq!(split.len(), 2);
        assert!((split["product"] - 0.9).abs() < 1e-9 && (split["hashing"] - 0.1).abs() < 1e-9);
        assert_eq!(super::split(&before, &before), None);
        assert_eq!(super::split(&Value::Null, &json!({"split": "none"})), None);
    }
}
