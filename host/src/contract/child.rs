//! The confined process of one trial: loads the plugin, is its host, and tells what it sees.
//!
//! The plugin shares this address space, so a plugin that is written for it could tell anything in its place. What
//! matters for a user's safety is not told here but enforced by a session; the parent verifies every proof itself.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pearl_pow::{Target, U256};
use pearlbed_plugin_api::host_side::Provider;
use pearlbed_plugin_api::{MiningConfig, ProviderError};
use serde_json::{Map, Value, json};

use super::bench::{Bench, hex, lock, millis};
use super::words::{Event, Order, Refusal, Step, Trial};
use crate::plugins::load;
use crate::sandbox::{Patience, Stopwatch};

/// How long a job may lie before it is taken.
const TAKE: Duration = Duration::from_secs(5);
/// How long the speed is looked at.
const WARM: Duration = Duration::from_secs(1);
/// How long the first report of progress is waited for.
const WARM_MOST: Duration = Duration::from_secs(6);
/// Proofs that are to come in a second, at the speed that is told.
const PROOFS_PER_SECOND: f64 = 10.0;
/// How long the first proof is waited for.
const PROVE_MOST: Duration = Duration::from_secs(10);
/// Hashes that the easiest proof takes, and how long one of these is waited for.
const EASIEST: f64 = 1e6;
const EASIEST_MOST: Duration = Duration::from_secs(15);
/// What is reported so long after a withdrawal may be what was done before it.
const GRACE: Duration = Duration::from_millis(1500);
/// How long is looked at whether it rests.
const REST: Duration = Duration::from_millis(700);
/// How long threads and references may take to go.
const SETTLE: Duration = Duration::from_secs(1);
/// How often a wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);

/// The whole life of the process, from the order on the channel to its end.
pub fn run(channel: UnixStream) -> ! {
    let status = i32::from(serve(channel).is_none());
    // SAFETY: `_exit` takes a number and has no requirement; destructors here are the plugin's and may do anything.
    unsafe { libc::_exit(status) }
}

fn serve(channel: UnixStream) -> Option<()> {
    let mut line = String::new();
    BufReader::new(channel.try_clone().ok()?).read_line(&mut line).ok()?;
    let order: Order = serde_json::from_str(&line).ok()?;
    let bench = Arc::new(Bench::new(channel));
    bench.begin(Step::Make);
    // SAFETY: this process has confined itself before it was given an order, and is expendable.
    let loaded = unsafe { load::open(&order.path, Some(&order.identity), None) };
    let provider = match loaded {
        Ok(loaded) => loaded.provider,
        Err(err) => {
            bench.tell(&Event::NotMade(err.failure()));
            return Some(());
        }
    };
    let manifest = provider.manifest().unwrap_or_default();
    bench.tell(&Event::Manifest(String::from_utf8_lossy(&manifest).into_owned()));
    match order.trial {
        Trial::Mine { certificate, prove_ms, undeclared } => {
            Mining { bench: &bench, provider: &provider, order: &order, certificate }
                .run(prove_ms, undeclared);
        }
        Trial::Settings => settings(&bench, &provider, &order),
        Trial::Load => {}
    }
    drop(provider);
    bench.tell_log();
    bench.tell(&Event::Finished);
    Some(())
}

/// One life of a provider that mines.
struct Mining<'a> {
    bench: &'a Arc<Bench>,
    provider: &'a Provider,
    order: &'a Order,
    certificate: u32,
}

/// A target that is only met by a number nobody has seen.
const UNREACHABLE: Target = Target(U256::ONE);

impl Mining<'_> {
    fn run(&self, prove_ms: u64, undeclared: Option<u32>) {
        let bench = self.bench;
        bench.begin(Step::StopUnstarted);
        self.running(false);
        self.stop(Step::StopUnstarted);
        let before = threads();
        if !self.start(Step::Start) {
            self.running(false);
            return;
        }
        self.running(true);
        bench.begin(Step::Offer);
        let mut worked = None;
        if self.took(Step::Offer, UNREACHABLE) {
            let rate = self.warm();
            worked = Some(rate);
            self.prove(rate, Duration::from_millis(prove_ms));
            self.stats();
            if let Some(version) = undeclared {
                self.leave(rate);
                self.undeclared(version);
            }
        }
        bench.withdraw();
        bench.begin(Step::Stop);
        self.stop(Step::Stop);
        self.running(false);
        self.stop(Step::StopUnstarted);
        bench.begin(Step::Settle);
        self.settle(&before);
        if let (Some(rate), Some(_)) = (worked, undeclared) {
            self.again(rate);
        }
        bench.begin(Step::End);
        let late = {
            let state = lock(&bench.state);
            Event::Late { stale: state.stale, unknown: state.unknown }
        };
        bench.tell(&late);
    }

    fn config(&self) -> MiningConfig {
        MiningConfig::compute_only(self.order.id.clone(), self.order.extra.clone())
    }

    fn running(&self, is: bool) {
        self.bench.tell(&Event::Running { told: self.provider.is_running(), is });
    }

    fn start(&self, step: Step) -> bool {
        self.bench.begin(step);
        let watch = Stopwatch::start();
        let answer = self.provider.start(&self.config(), self.bench.clone());
        let started = answer.is_ok();
        let error = answer.err().map(|err| refusal(&err));
        self.bench.tell(&Event::Started { step, error, took_ms: millis(watch.elapsed()) });
        started
    }

    fn stop(&self, step: Step) {
        let watch = Stopwatch::start();
        let error = self.provider.stop().err().map(|err| err.to_string());
        self.bench.tell(&Event::Stopped { step, error, took_ms: millis(watch.elapsed()) });
    }

    fn took(&self, step: Step, target: Target) -> bool {
        let job = self.bench.offer(target, self.certificate);
        let after = self.bench.taken(job.id, TAKE);
        self.bench.tell(&Event::Took { step, after_ms: after.map(millis) });
        after.is_some()
    }

    /// Hashes per second, as they are reported, once there are reports.
    fn warm(&self) -> f64 {
        let bench = self.bench;
        bench.begin(Step::Warm);
        let first = bench.hashes();
        wait(WARM_MOST, || bench.hashes() > first);
        let (from, begun) = (bench.hashes(), Instant::now());
        std::thread::sleep(WARM);
        let rate = bench.hashes().saturating_sub(from) as f64 / begun.elapsed().as_secs_f64();
        bench.tell(&Event::Rate(rate));
        rate
    }

    fn prove(&self, rate: f64, time: Duration) {
        self.bench.begin(Step::Prove);
        let work = easy_work(rate);
        if !self.prove_at(work, time, PROVE_MOST) && work > EASIEST {
            // Perhaps the speed was not true: then it finds what is easy for anybody.
            self.bench.begin(Step::Prove);
            self.prove_at(EASIEST, Duration::ZERO, EASIEST_MOST);
        }
    }

    /// Looks for proofs that take `work` hashes each, for `time`, or until the first comes; returns whether one came.
    fn prove_at(&self, work: f64, time: Duration, most: Duration) -> bool {
        let bench = self.bench;
        let target = Target(U256::MAX / U256::from(work as u64));
        let (hashes, reports) = (bench.hashes(), bench.reports.load(Ordering::Relaxed));
        let proofs = lock(&bench.state).proofs;
        let job = bench.offer(target, self.certificate);
        bench.tell(&Event::Job {
            id: job.id,
            header: hex(&job.header),
            target: hex(&job.target),
            certificate: self.certificate,
        });
        let after = bench.taken(job.id, TAKE);
        bench.tell(&Event::Took { step: Step::Prove, after_ms: after.map(millis) });
        let begun = Instant::now();
        bench.last_report.store(bench.now_ms(), Ordering::Relaxed);
        bench.longest_silence.store(0, Ordering::Relaxed);
        std::thread::sleep(time);
        wait(most.saturating_sub(time), || lock(&bench.state).proofs > proofs);
        let silence = bench.now_ms().saturating_sub(bench.last_report.load(Ordering::Relaxed));
        bench.tell(&Event::Proved {
            hashes: bench.hashes().saturating_sub(hashes),
            work,
            took_ms: millis(begun.elapsed()),
            longest_silence_ms: bench.longest_silence.load(Ordering::Relaxed).max(silence),
            reports: bench.reports.load(Ordering::Relaxed) - reports,
        });
        lock(&bench.state).proofs > proofs
    }

    fn stats(&self) {
        self.bench.begin(Step::Stats);
        let ask = || {
            let watch = Stopwatch::start();
            (self.provider.stats().err().map(|err| err.to_string()), millis(watch.elapsed()))
        };
        // The fastest of three: the machine may have other things to do for a moment.
        let asked = [ask(), ask(), ask()];
        let took_ms = asked.iter().map(|(_, took)| *took).min().unwrap_or_default();
        let error = asked.into_iter().find_map(|(error, _)| error);
        self.bench.tell(&Event::Stats { error, took_ms });
    }

    /// Replaces the job, then takes it away.
    fn leave(&self, rate: f64) {
        let bench = self.bench;
        bench.begin(Step::Switch);
        self.took(Step::Switch, UNREACHABLE);
        bench.begin(Step::Withdraw);
        bench.withdraw();
        std::thread::sleep(GRACE);
        let (hashes, begun) = (bench.hashes(), Instant::now());
        std::thread::sleep(REST);
        let expected = rate * begun.elapsed().as_secs_f64();
        bench.tell(&Event::Idle { hashes: bench.hashes().saturating_sub(hashes), rate: expected });
    }

    fn undeclared(&self, version: u32) {
        let bench = self.bench;
        bench.begin(Step::Undeclared);
        let proofs = lock(&bench.state).proofs;
        let job = bench.offer(Target(U256::MAX / U256::from(1_000_000_u64)), version);
        bench.taken(job.id, TAKE);
        std::thread::sleep(REST);
        bench.withdraw();
        let proofs = lock(&bench.state).proofs - proofs;
        bench.tell(&Event::Undeclared { proofs });
    }

    fn settle(&self, before: &[String]) {
        wait(SETTLE, || threads().len() <= before.len());
        let after = threads();
        let names = after.iter().filter(|thread| !before.contains(thread)).cloned().collect();
        self.bench.tell(&Event::Threads { before: before.len(), after: after.len(), names });
        // `serve` holds one.
        let held = || Arc::strong_count(self.bench).saturating_sub(1);
        wait(SETTLE, || held() == 0);
        self.bench.tell(&Event::Held(held()));
    }

    fn again(&self, rate: f64) {
        let bench = self.bench;
        if !self.start(Step::Again) {
            return;
        }
        let (hashes, proofs) = (bench.hashes(), lock(&bench.state).proofs);
        let job = bench.offer(Target(U256::MAX / U256::from(easy_work(rate) as u64)), self.certificate);
        let took = bench.taken(job.id, TAKE).is_some();
        wait(WARM_MOST, || bench.hashes() > hashes || lock(&bench.state).proofs > proofs);
        let (hashes, proofs) = (bench.hashes().saturating_sub(hashes), lock(&bench.state).proofs - proofs);
        bench.tell(&Event::Again { took, hashes, proofs });
        bench.withdraw();
        bench.begin(Step::End);
        self.stop(Step::End);
    }
}

/// Hashes that a proof should take so that enough of them come at `rate`.
fn easy_work(rate: f64) -> f64 {
    (rate / PROOFS_PER_SECOND).clamp(EASIEST, 1e15)
}

/// Starts it with settings that nobody knows, each time in one process.
fn settings(bench: &Arc<Bench>, provider: &Provider, order: &Order) {
    let strange = [
        json!({ "pearlbed-verify-no-such-setting": true }),
        json!({ "": null, "pearlbed-verify": { "nested": [[[-1, 1e300, "\u{1b}[2J"]], {}] } }),
    ];
    for given in strange {
        bench.begin(Step::Settings);
        let mut extra: Map<String, Value> = order.extra.clone();
        extra.extend(given.as_object().cloned().unwrap_or_default());
        let answer = provider.start(&MiningConfig::compute_only(order.id.clone(), extra), bench.clone());
        let started = answer.is_ok();
        let error = answer.err().map(|err| refusal(&err));
        let running = !started && provider.is_running();
        bench.tell(&Event::Settings { given: given.to_string(), error, running });
        if started {
            bench.begin(Step::Stop);
            let _ = provider.stop();
        }
    }
}

fn refusal(err: &ProviderError) -> Refusal {
    Refusal { in_order: matches!(err, ProviderError::Failed(_)), reason: err.to_string() }
}

/// Waits until `done`, at most `most`.
fn wait(most: Duration, done: impl Fn() -> bool) {
    let mut patience = Patience::new(std::process::id(), most, Instant::now());
    while !done() && !patience.is_over(Instant::now()) {
        std::thread::sleep(LOOK);
    }
}

/// The threads of this process, by number and name.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            format!("{} {}", task.file_name().to_string_lossy(), name.trim())
        })
        .collect()
}
