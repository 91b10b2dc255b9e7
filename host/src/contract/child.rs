//! The confined process of one trial: loads the plugin, is its host, and tells what it sees.
//!
//! The plugin shares this address space, so a plugin that is written for it could tell anything in its place. What
//! matters for a user's safety is not told here but enforced by a session; the parent verifies every proof itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pearl_pow::{Header, Target, U256};
use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::{Job, LogLevel, MiningConfig, NextJob, ProviderError, SubmitError};
use serde_json::{Map, Value, json};

use super::words::{Event, Order, Refusal, Step, Trial};
use crate::plugins::load;

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
/// The most log lines that are passed on.
const LINES_MAX: usize = 20;
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
            bench.tell(&Event::NotMade(err.reason("").reason));
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

/// The host that a provider under trial sees.
struct Bench {
    channel: Mutex<UnixStream>,
    /// The job that is worth working on; 0 for none.
    current: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
    hashes: AtomicU64,
    reports: AtomicU64,
    begun: Instant,
    /// When the last progress was reported, in milliseconds since `begun`, and the longest time between two.
    last_report: AtomicU64,
    longest_silence: AtomicU64,
}

#[derive(Default)]
struct State {
    offered: Option<(Job, Instant)>,
    next_id: u64,
    taken: Option<(u64, Duration)>,
    proofs: u64,
    stale: u64,
    unknown: u64,
    lines: u64,
    some: Vec<String>,
    /// Lines in the running second, and the most in any.
    second: (u64, u64),
    most_a_second: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole between any two statements that hold it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    fn new(channel: UnixStream) -> Self {
        Self {
            channel: Mutex::new(channel),
            current: AtomicU64::new(0),
            state: Mutex::new(State { next_id: 1, ..State::default() }),
            changed: Condvar::new(),
            hashes: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            begun: Instant::now(),
            last_report: AtomicU64::new(0),
            longest_silence: AtomicU64::new(0),
        }
    }

    fn tell(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        // Without a parent there is nobody to tell, and nothing to do.
        if lock(&self.channel).write_all(&line).is_err() {
            // SAFETY: as in `run`.
            unsafe { libc::_exit(1) }
        }
    }

    fn begin(&self, step: Step) {
        self.tell(&Event::Begins(step));
    }

    /// Offers a job in place of the current one, and answers its id.
    fn offer(&self, target: Target, certificate: u32) -> Job {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id += 1;
        let mut header = [0; Header::LEN];
        header[..8].copy_from_slice(&id.to_le_bytes());
        header[8..24].copy_from_slice(&crate::sandbox::random_bytes::<16>());
        let job = Job::new(id, header, target.to_le_bytes(), certificate, true);
        state.offered = Some((job.clone(), Instant::now()));
        self.current.store(id, Ordering::Release);
        self.changed.notify_all();
        job
    }

    fn withdraw(&self) {
        lock(&self.state).offered = None;
        self.current.store(0, Ordering::Release);
    }

    /// Waits until `job` was taken; how long that took since it was offered.
    fn taken(&self, job: u64, most: Duration) -> Option<Duration> {
        let deadline = Instant::now() + most;
        loop {
            if let Some((_, after)) = lock(&self.state).taken.filter(|(taken, _)| *taken == job) {
                return Some(after);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    fn tell_log(&self) {
        let event = {
            let state = lock(&self.state);
            let most_a_second = state.most_a_second.max(state.second.1);
            Event::Logged { lines: state.lines, most_a_second, some: state.some.clone() }
        };
        self.tell(&event);
    }
}

impl HostServices for Bench {
    fn next_job(&self, timeout: Duration) -> NextJob {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if let Some((job, offered)) = state.offered.take() {
                state.taken = Some((job.id, offered.elapsed()));
                return NextJob::Job(job);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return NextJob::TimedOut;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_stale(&self, job_id: u64) -> bool {
        self.current.load(Ordering::Acquire) != job_id
    }

    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        {
            let mut state = lock(&self.state);
            if job_id == 0 || job_id >= state.next_id {
                state.unknown += 1;
                return Err(SubmitError::UnknownJob);
            }
            if self.is_stale(job_id) {
                state.stale += 1;
                return Err(SubmitError::Stale);
            }
        }
        // Counted once it is told: whoever waits for the count goes on to tell what came of it.
        self.tell(&Event::Proof { job: job_id, bytes: hex(proof) });
        lock(&self.state).proofs += 1;
        Ok(())
    }

    fn progress(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
        self.reports.fetch_add(1, Ordering::Relaxed);
        let now = self.now_ms();
        let silence = now.saturating_sub(self.last_report.swap(now, Ordering::Relaxed));
        self.longest_silence.fetch_max(silence, Ordering::Relaxed);
    }

    fn log(&self, _: LogLevel, message: &[u8]) {
        let mut state = lock(&self.state);
        state.lines += 1;
        if state.some.len() < LINES_MAX {
            let line: String = String::from_utf8_lossy(message).chars().take(200).collect();
            state.some.push(line);
        }
        let second = self.now_ms() / 1000;
        if state.second.0 == second {
            state.second.1 += 1;
        } else {
            state.most_a_second = state.most_a_second.max(state.second.1);
            state.second = (second, 1);
        }
    }
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
        let begun = Instant::now();
        let answer = self.provider.start(&self.config(), self.bench.clone());
        let started = answer.is_ok();
        let error = answer.err().map(|err| refusal(&err));
        self.bench.tell(&Event::Started { step, error, took_ms: millis(begun.elapsed()) });
        started
    }

    fn stop(&self, step: Step) {
        let begun = Instant::now();
        let error = self.provider.stop().err().map(|err| err.to_string());
        self.bench.tell(&Event::Stopped { step, error, took_ms: millis(begun.elapsed()) });
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
            let begun = Instant::now();
            (self.provider.stats().err().map(|err| err.to_string()), millis(begun.elapsed()))
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
    let deadline = Instant::now() + most;
    while !done() && Instant::now() < deadline {
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
