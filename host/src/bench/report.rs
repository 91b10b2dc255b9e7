//! What was measured, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pearl_pow::CertificateVersion;
use serde::Serialize;
use serde_json::Value;

use super::account::{Account, Doubt};
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
    /// What the limit would have done in that time; empty where no limit is known.
    pub account: Account,
}

impl Window {
    /// Hashes per second by the wall clock.
    pub fn hashrate(&self) -> f64 {
        self.hashes as f64 / self.took.as_secs_f64()
    }

    /// What it reached of the limit.
    pub fn ratio(&self) -> Option<f64> {
        self.account.ratio(self.hashes)
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
    /// Threads that it mines with, where it says.
    pub threads: Option<usize>,
    /// The kernel that it says it uses.
    pub kernel: Option<String>,
    /// The shape of its products, as it tells it.
    pub shape: Value,
    /// Hashes of all windows to their time by the wall clock; null without windows.
    pub hashrate: Option<f64>,
    /// The slowest window.
    pub hashrate_min: Option<f64>,
    /// The fastest window.
    pub hashrate_max: Option<f64>,
    /// Each window in order.
    pub windows: Vec<WindowReport>,
    /// What `threads` threads, or as many as the machine has processors for, could do at most in the provider's processor
    /// time; null where no limit is known or the threads are not.
    pub peak: Option<f64>,
    /// The same of one thread.
    pub peak_thread: Option<f64>,
    /// Lower quartile, median and upper quartile of the looks at one thread's limit: how steady the machine was.
    pub peak_thread_quartiles: Option<[f64; 3]>,
    /// The instruction scheme of the limit.
    pub peak_scheme: Option<String>,
    /// What the provider did of what the limit would have done in its processor time.
    pub peak_ratio: Option<f64>,
    /// Lower and upper quartile of the same in pieces of about a second.
    pub peak_ratio_quartiles: Option<[f64; 2]>,
    /// Share of the time of its threads, by the clock, that the provider had a processor for; null where either is not
    /// known. `hashrate` is `peak * peak_ratio * processor_share`.
    pub processor_share: Option<f64>,
    /// Why the ratio should not be relied on; null where nothing speaks against it.
    pub doubt: Option<String>,
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
    /// The limit of one thread in that time.
    pub peak_thread: Option<f64>,
    /// What it reached of the limit.
    pub ratio: Option<f64>,
}

impl Report {
    pub(super) fn new(id: &str, chosen: &Chosen, version: CertificateVersion, details: &Value) -> Self {
        let told =
            details.get("threads").and_then(Value::as_array).map(Vec::len).filter(|&threads| threads > 0);
        Self {
            schema: 2,
            provider: id.to_owned(),
            provider_version: chosen.manifest.version.clone(),
            plugin: chosen.path.to_string_lossy().into_owned(),
            certificate_version: version.number(),
            threads: told,
            kernel: details.get("kernel").and_then(Value::as_str).map(str::to_owned),
            shape: details.get("shape").cloned().unwrap_or_default(),
            hashrate: None,
            hashrate_min: None,
            hashrate_max: None,
            windows: Vec::new(),
            peak: None,
            peak_thread: None,
            peak_thread_quartiles: None,
            peak_scheme: None,
            peak_ratio: None,
            peak_ratio_quartiles: None,
            processor_share: None,
            doubt: None,
            devices: Vec::new(),
            split: None,
            memory_bytes: None,
            proofs: None,
        }
    }

    /// Threads that can run at once, where the provider says how many it has.
    pub(super) fn threads_at_once(&self) -> Option<usize> {
        let most = std::thread::available_parallelism().map_or(usize::MAX, std::num::NonZero::get);
        self.threads.map(|threads| threads.min(most))
    }

    /// Adds what the windows gave; `before` and `after` are the provider's details around them.
    pub(super) fn measured(
        &mut self,
        windows: &[Window],
        scheme: Option<&str>,
        before: &Value,
        after: &Value,
    ) {
        let took: Duration = windows.iter().map(|window| window.took).sum();
        let hashes = windows.iter().map(|window| window.hashes).sum();
        let mut account = Account::default();
        windows.iter().for_each(|window| account.add(&window.account));
        let threads = self.threads_at_once().map(|threads| threads as f64);
        let rates = sorted(windows.iter().map(Window::hashrate));
        self.hashrate = (!took.is_zero()).then(|| hashes as f64 / took.as_secs_f64());
        (self.hashrate_min, self.hashrate_max) = (rates.first().copied(), rates.last().copied());
        self.against(&account, hashes, took, threads, scheme);
        self.windows = windows
            .iter()
            .map(|window| WindowReport {
                seconds: window.took.as_secs_f64(),
                hashrate: window.hashrate(),
                processor_seconds: window.processor.map(|time| time.as_secs_f64()),
                peak_thread: window.account.limit(),
                ratio: window.ratio(),
            })
            .collect();
        self.devices = devices::measured(before, after, took);
        if let Some(peak) = devices::peak(&self.devices) {
            self.peak = Some(peak);
            self.peak_scheme = Some("by the devices themselves".into());
            self.peak_ratio = self.hashrate.map(|rate| rate / peak);
        }
        self.split = if windows.is_empty() { None } else { split(before, after) };
    }

    /// Holds `hashes` that were done in `took` by the clock against the limit.
    fn against(
        &mut self,
        account: &Account,
        hashes: u64,
        took: Duration,
        threads: Option<f64>,
        scheme: Option<&str>,
    ) {
        let Some((limit, ratio)) = account.limit().zip(account.ratio(hashes)) else { return };
        let (looks, pieces) =
            (sorted(account.looks().iter().copied()), sorted(account.pieces().iter().copied()));
        let looks =
            quartiles(&looks).zip(quantile(&looks, 0.5)).map(|([low, high], middle)| [low, middle, high]);
        self.peak = threads.map(|threads| threads * limit);
        self.peak_thread = Some(limit);
        self.peak_thread_quartiles = looks;
        self.peak_scheme = scheme.map(str::to_owned);
        self.peak_ratio = Some(ratio);
        self.peak_ratio_quartiles = quartiles(&pieces);
        let by_clock = threads.map(|threads| threads * took.as_secs_f64()).filter(|&seconds| seconds > 0.0);
        self.processor_share = by_clock.map(|seconds| account.processor().as_secs_f64() / seconds);
        self.doubt =
            Doubt::about(ratio, (pieces.len(), quartiles(&pieces)), looks).map(|doubt| doubt.to_string());
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

    /// A report of a provider that tells nothing, or `threads`.
    fn report(threads: Option<usize>) -> Report {
        Report {
            schema: 2,
            provider: String::new(),
            provider_version: String::new(),
            plugin: String::new(),
            certificate_version: 3,
            threads,
            kernel: None,
            shape: Value::Null,
            hashrate: None,
            hashrate_min: None,
            hashrate_max: None,
            windows: Vec::new(),
            peak: None,
            peak_thread: None,
            peak_thread_quartiles: None,
            peak_scheme: None,
            peak_ratio: None,
            peak_ratio_quartiles: None,
            processor_share: None,
            doubt: None,
            devices: Vec::new(),
            split: None,
            memory_bytes: None,
            proofs: None,
        }
    }

    /// A window of `took` seconds in which a provider with `spent` seconds of processor time did `hashes`.
    fn window(hashes: u64, took: f64, spent: f64, limit: f64) -> Window {
        let [took, spent] = [took, spent].map(Duration::from_secs_f64);
        let mut account = Account::begin(limit);
        account.turn(spent, limit);
        Window { hashes, took, processor: Some(spent), account }
    }

    #[test]
    fn what_is_told_of_a_busy_machine_does_not_contradict_itself() {
        let mut report = report(Some(1));
        // In the second window another program takes half of the processor and slows the rest.
        let windows = [window(4500, 10.0, 10.0, 500.0), window(1800, 10.0, 5.0, 400.0)];
        report.measured(&windows, Some("avx2"), &Value::Null, &Value::Null);
        assert_eq!(report.hashrate, Some(315.0));
        let (peak, ratio) = (report.peak.unwrap(), report.peak_ratio.unwrap());
        assert!((ratio - 0.9).abs() < 1e-9, "{ratio}");
        assert!((peak * ratio * report.processor_share.unwrap() - 315.0).abs() < 1e-9);
        assert_eq!(report.windows[1].ratio, Some(0.9));
        assert!(report.doubt.as_deref().is_some_and(|doubt| doubt.contains("moved")), "{:?}", report.doubt);
    }

    #[test]
    fn of_a_provider_whose_threads_are_unknown_the_limit_is_told_per_thread() {
        let mut report = report(None);
        report.measured(&[window(9, 1.0, 1.5, 10.0)], Some("avx2"), &Value::Null, &Value::Null);
        assert_eq!((report.peak, report.processor_share), (None, None));
        assert_eq!((report.peak_thread, report.peak_ratio), (Some(10.0), Some(0.6)));
    }

    #[test]
    fn more_than_the_limit_is_called_a_fault_of_the_measurement() {
        let mut report = report(Some(1));
        report.measured(&[window(11, 1.0, 1.0, 10.0)], Some("avx2"), &Value::Null, &Value::Null);
        assert!(report.doubt.as_deref().is_some_and(|doubt| doubt.contains("fault of the measurement")));
    }

    #[test]
    fn without_a_limit_there_is_a_rate_and_no_ratio() {
        let mut report = report(Some(2));
        let window = Window { account: Account::default(), ..window(800, 4.0, 2.0, 1.0) };
        report.measured(&[window], None, &Value::Null, &Value::Null);
        assert_eq!((report.hashrate, report.peak, report.peak_ratio), (Some(200.0), None, None));
        assert_eq!(report.doubt, None);
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
