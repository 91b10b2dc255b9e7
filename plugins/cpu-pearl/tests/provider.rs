//! The provider behind its table, with a host that gives it work and counts what comes back.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Target, U256, verify};
use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::serde_json::{self, json};
use pearlbed_plugin_api::{HardwareInfo, Job, LogLevel, MiningConfig, NextJob, SubmitError};

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host in this process.
#[derive(Default)]
struct Bench {
    state: Mutex<State>,
    changed: Condvar,
    current: AtomicU64,
    hashes: AtomicU64,
}

#[derive(Default)]
struct State {
    offered: Option<Job>,
    jobs: HashMap<u64, Job>,
    proofs: Vec<(u64, Vec<u8>)>,
    log: Vec<String>,
    taken: u64,
    /// What every proof is answered with, instead of being taken.
    refusal: Option<SubmitError>,
}

impl HostServices for Bench {
    fn next_job(&self, timeout: Duration) -> NextJob {
        let mut state = self.state.lock().unwrap();
        if state.offered.is_none() {
            state = self.changed.wait_timeout(state, timeout).unwrap().0;
        }
        match state.offered.take() {
            Some(job) => {
                state.taken = job.id;
                NextJob::Job(job)
            }
            None => NextJob::TimedOut,
        }
    }

    fn is_stale(&self, job_id: u64) -> bool {
        self.current.load(Ordering::Relaxed) != job_id
    }

    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        let mut state = self.state.lock().unwrap();
        state.proofs.push((job_id, proof.to_vec()));
        self.changed.notify_all();
        if let Some(refusal) = state.refusal {
            return Err(refusal);
        }
        if self.is_stale(job_id) { Err(SubmitError::Stale) } else { Ok(()) }
    }

    fn progress(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
    }

    fn log(&self, _level: LogLevel, message: &[u8]) {
        self.state.lock().unwrap().log.push(String::from_utf8_lossy(message).into_owned());
    }
}

impl Bench {
    /// Offers a job; `bits` is about how many tiles it takes to find one.
    fn offer(&self, id: u64, certificate_version: u32, bits: usize) {
        let target = Target(U256::MAX >> (20 + bits)).to_le_bytes();
        let job = Job::new(id, [id as u8; 76], target, certificate_version, id.is_multiple_of(2));
        let mut state = self.state.lock().unwrap();
        self.current.store(id, Ordering::Relaxed);
        state.jobs.insert(id, job.clone());
        state.offered = Some(job);
        self.changed.notify_all();
    }

    /// Waits until `done` holds.
    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap();
        while !done(&state) {
            assert!(Instant::now() < end, "{what} did not happen in time");
            state = self.changed.wait_timeout(state, Duration::from_millis(5)).unwrap().0;
        }
    }
}

/// A started provider.
fn start(extra: serde_json::Value) -> (Provider, Arc<Bench>) {
    let provider = Provider::of_static(cpu_pearl::PEARLBED_PROVIDER).unwrap();
    let host = Arc::new(Bench::default());
    let serde_json::Value::Object(extra) = extra else { panic!("settings are an object") };
    provider.start(&MiningConfig::compute_only("cpu-pearl", extra), host.clone()).unwrap();
    (provider, host)
}

fn small() -> serde_json::Value {
    json!({"m": 128, "n": 256, "k": 2048, "threads": 2})
}

/// The names of this process's threads that are the provider's.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("pearl-")).collect()
}

// One test at a time: they count this process's threads and its processor time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn jobs_of_every_certificate_are_mined_and_every_proof_holds_across_changes() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (provider, host) = start(small());
    for id in 1..=9 {
        host.offer(id, 1 + (id % 3) as u32, 4);
        host.wait("a proof for this job", |state| state.proofs.iter().any(|(job, _)| *job == id));
    }
    assert!(provider.is_running());
    provider.stop().unwrap();
    assert!(!provider.is_running());
    let state = host.state.lock().unwrap();
    for (id, proof) in &state.proofs {
        let job = &state.jobs[id];
        let certificate = CertificateVersion::try_from(job.certificate_version).unwrap();
        let job = verify::Job {
            header: Header::from_bytes(job.header),
            target: Some(Target::from_le_bytes(job.target)),
            certificate,
            rank_penalty: job.rank_penalty,
        };
        verify::verify_canonical(&job, proof).unwrap_or_else(|err| panic!("job {id}: {err}"));
    }
    assert!(state.log[0].contains("MiB for matrices"), "{:?}", state.log);
}

#[test]
fn a_certificate_that_nobody_here_knows_is_an_error_and_the_next_job_is_mined() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (provider, host) = start(small());
    host.offer(1, 4, 4);
    host.wait("the complaint", |state| state.log.iter().any(|line| line.contains("certificate version 4")));
    assert!(provider.stats().unwrap().last_error.unwrap().contains("certificate version 4"));
    host.offer(2, 3, 4);
    host.wait("a proof", |state| !state.proofs.is_empty());
    provider.stop().unwrap();
}

#[test]
fn a_proof_that_is_not_taken_keeps_none_of_the_others_back() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for refusal in [SubmitError::TooLarge, SubmitError::Stale, SubmitError::Stopped] {
        let (provider, host) = start(json!({"m": 128, "n": 256, "k": 2048, "threads": 1}));
        host.state.lock().unwrap().refusal = Some(refusal);
        // A proof in 2^20 hashes, so that a block has many.
        host.offer(1, 3, 0);
        host.wait("many proofs", |state| state.proofs.len() >= 200);
        let due = provider.stats().unwrap().hashes >> 20;
        provider.stop().unwrap();
        let proofs = host.state.lock().unwrap().proofs.len() as u64;
        assert!(proofs * 2 > due, "{refusal}: {proofs} proofs where {due} are due");
    }
}

#[test]
fn a_stale_job_is_dropped_at_once_and_nothing_goes_on() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (provider, host) = start(small());
    host.offer(1, 3, 200);
    host.wait("work", |_| host.hashes.load(Ordering::Relaxed) > 0);
    host.current.store(0, Ordering::Relaxed);
    // Far more than a block takes, and far less than a product would go on.
    std::thread::sleep(Duration::from_millis(300));
    let hashes = provider.stats().unwrap().hashes;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(provider.stats().unwrap().hashes, hashes, "no work on a stale job");
    host.offer(2, 3, 200);
    host.wait("work on the next job", |_| provider.stats().unwrap().hashes > hashes);
    provider.stop().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_thread_spends_less_than_20_ms_on_a_job_that_has_become_stale() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The shape that people mine with: large enough for every step of a round to be met.
    let (provider, host) = start(json!({"threads": 2}));
    // Processor time, so that other programs do not count: that of each thread, from the system.
    let spent = || -> Vec<Duration> {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let paths = threads.map(|thread| thread.unwrap().path());
        let own = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("pearl-cpu-"))
        };
        let mut paths: Vec<_> = paths.filter(own).collect();
        paths.sort();
        let on_processor = |path: &std::path::PathBuf| {
            let schedstat = std::fs::read_to_string(path.join("schedstat")).unwrap();
            Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
        };
        paths.iter().map(on_processor).collect()
    };
    let mut most = Duration::ZERO;
    for id in 1..=20 {
        host.offer(id, 3, 200);
        host.wait("the job to be taken", |state| state.taken == id);
        // From the first step of a new B to the middle of the second product.
        std::thread::sleep(Duration::from_millis(id * 7 % 100));
        host.current.store(0, Ordering::Relaxed);
        let before = spent();
        // On a busy machine a thread may not have had its turn for long.
        std::thread::sleep(Duration::from_millis(300));
        for (before, after) in before.iter().zip(spent()) {
            most = most.max(after - *before);
        }
    }
    println!("at most {most:?} of a thread");
    assert!(spent().iter().all(|time| !time.is_zero()), "this system tells no processor time of threads");
    assert!(most < Duration::from_millis(20), "a thread spent {most:?} on a stale job");
    provider.stop().unwrap();
}

#[test]
fn stop_leaves_no_thread_and_start_works_again() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for _ in 0..3 {
        let (provider, host) = start(small());
        host.offer(1, 3, 200);
        host.wait("work", |_| host.hashes.load(Ordering::Relaxed) > 0);
        #[cfg(target_os = "linux")]
        {
            let mut names = threads();
            names.sort();
            assert_eq!(names, ["pearl-cpu-0", "pearl-cpu-1", "pearl-jobs"]);
        }
        provider.stop().unwrap();
        provider.stop().unwrap();
        #[cfg(target_os = "linux")]
        assert_eq!(threads(), Vec::<String>::new());
    }
}

#[test]
fn stats_tell_rates_shape_memory_and_where_the_time_goes() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (provider, host) = start(small());
    host.offer(1, 3, 200);
    host.wait("work by both threads", |_| {
        let details = provider.stats().unwrap().details;
        (0..2).all(|thread| details["threads"][thread]["hashes"].as_u64() > Some(0))
    });
    let stats = provider.stats().unwrap();
    assert!(stats.hashes > 0 && stats.hashrate > 0.0 && stats.jobs_taken == 1);
    let details = &stats.details;
    assert_eq!(details["shape"]["m"], 128);
    assert_eq!(details["threads"][1]["name"], "pearl-cpu-1");
    assert!(details["memory_bytes"].as_u64() > Some(3 * 128 * 2048));
    for part in ["product", "folding", "hashing", "noise", "commitment"] {
        assert!(details["split"][part].is_f64(), "{details}");
    }
    provider.stop().unwrap();
}

#[test]
fn a_share_of_the_processor_is_kept_to() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut settings = small();
    settings["threads"] = json!(1);
    settings["cpu_percent"] = json!(30);
    let (provider, host) = start(settings);
    host.offer(1, 3, 200);
    host.wait("work", |_| host.hashes.load(Ordering::Relaxed) > 0);
    let used = || {
        let split = provider.stats().unwrap().details["split"].clone();
        split.as_object().unwrap().values().filter_map(serde_json::Value::as_f64).sum::<f64>()
    };
    let (before, begun) = (used(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let share = (used() - before) / begun.elapsed().as_secs_f64();
    // Exactness is the throttle's own test; on a busy machine a thread may get less than it may use, never more.
    assert!(share < 0.36, "{share} of a processor were used");
    assert!(share > 0.05, "{share} of a processor were used");
    provider.stop().unwrap();
}

#[test]
fn settings_that_break_a_rule_are_refused_with_its_name() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let provider = Provider::of_static(cpu_pearl::PEARLBED_PROVIDER).unwrap();
    for (settings, said) in [
        (json!({"tile": "16x15"}), "rule 16"),
        (json!({"tile": "4x4"}), "rule 17"),
        (json!({"tile": "64x64"}), "rule 17"),
        (json!({"tile": {"rows": [0, 1, 5], "columns": [0, 1]}}), "not a periodic pattern"),
        (json!({"rank": 16}), "rule 9"),
        (json!({"rank": 96}), "rule 9"),
        (json!({"k": 1024, "rank": 128}), "rule 14"),
        (json!({"k": 65600}), "rule 11"),
        (json!({"k": 2049}), "rule 12"),
        // The tile is named where the answer depends on it: the default is that of whichever kernel is fastest here.
        (json!({"m": 8, "tile": "16x16"}), "no room for a tile"),
        (json!({"m": 0}), "m = 0 is not a number from 1"),
        (json!({"n": 16_777_216, "m": 16_777_216, "k": 65536}), "of memory"),
        (json!({"threads": -1}), "threads = -1"),
        (json!({"cpu_percent": 0}), "cpu_percent = 0"),
        (json!({"pin": "all"}), "pin"),
        (json!({"pin": [1023]}), "processor 1023 is none of this process's: "),
        (json!({"kernel": "abacus"}), "`abacus` does not exist"),
        (json!({"colour": "red"}), "no setting `colour`; there are m, n, k"),
    ] {
        let serde_json::Value::Object(extra) = settings.clone() else { unreachable!() };
        let host = Arc::new(Bench::default());
        let outcome = provider.start(&MiningConfig::compute_only("cpu-pearl", extra), host);
        // What ran would be in the way of the other tests.
        provider.stop().unwrap();
        let err = outcome.err().map_or_else(|| "it started".to_owned(), |err| err.to_string());
        assert!(err.contains(said), "{settings}: {err}");
    }
}

#[test]
fn detect_is_quick_names_its_kernel_and_estimates() {
    let provider = Provider::of_static(cpu_pearl::PEARLBED_PROVIDER).unwrap();
    let answer = provider.detect(&HardwareInfo::default(), "", "").unwrap();
    assert!(answer.supported);
    assert!(answer.reason.unwrap().starts_with("kernel "));
    assert!(answer.estimated_hashrate.unwrap() > 1e6);
}
