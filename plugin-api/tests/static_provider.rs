//! Drives a provider that is linked in, through the same table that a loaded library has.
#![deny(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::{
    HardwareInfo, Host, Job, LogLevel, Manifest, MiningCapabilities, MiningConfig, MiningProvider,
    MiningStats, NextJob, ProviderError, SubmitError, SubmitTarget,
};

#[derive(Default)]
struct Scripted {
    thread: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
}

impl MiningProvider for Scripted {
    fn detect(&self, hardware: &HardwareInfo, engine_id: &str, model: &str) -> MiningCapabilities {
        match engine_id {
            "panic" => panic!("told to"),
            "panic-any" => std::panic::panic_any(7),
            "nan" => MiningCapabilities::supported().with_estimate(f64::NAN),
            "minus" => MiningCapabilities::supported().with_estimate(-1.0),
            "long" => MiningCapabilities::unsupported("x".repeat(100_000)),
            _ => MiningCapabilities::supported()
                .with_estimate(1.5e9)
                .with_reason(format!("{} / {engine_id} / {model}", hardware.platform)),
        }
    }

    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        if config.extra.contains_key("refuse") {
            return Err(ProviderError::new(format!("refused for {:?}", config.submit_target)));
        }
        let stop = self.stop.clone();
        *self.thread.lock().unwrap() = Some(std::thread::spawn(move || {
            let host = host.clone();
            while !stop.load(Ordering::Relaxed) {
                match host.next_job(Duration::from_millis(5)) {
                    NextJob::Job(job) => {
                        host.progress(100);
                        host.log(LogLevel::Info, "got a job");
                        host.submit(job.id, &job.header[..4]).unwrap();
                        assert_eq!(host.submit(99, b""), Err(SubmitError::UnknownJob));
                        assert!(!host.is_stale(job.id) && host.is_stale(job.id + 1));
                    }
                    NextJob::TimedOut => {}
                    NextJob::Stopped => break,
                }
            }
        }));
        Ok(())
    }

    fn stop(&self) -> Result<(), ProviderError> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.lock().unwrap().take() {
            Some(thread) => thread.join().map_err(|_| ProviderError::new("the thread panicked")),
            None => Ok(()),
        }
    }

    fn is_running(&self) -> bool {
        self.thread.lock().unwrap().is_some()
    }

    fn stats(&self) -> MiningStats {
        let mut stats = MiningStats::default();
        stats.hashes = 7;
        stats.uptime = Duration::from_millis(1500);
        stats.last_error = Some("none worth telling".to_owned());
        stats.details = pearlbed_plugin_api::serde_json::json!({ "threads": [1, 2] });
        stats
    }
}

pearlbed_plugin_api::export_provider! {
    provider: Scripted,
    id: "scripted",
    vendor: "pearlbed \"tests\"",
    license: "MIT",
    homepage: "",
    summary: "Does what the test says.",
    certificate_versions: [3],
    engines: [],
    permissions: ["threads-hint:1"],
}

#[derive(Default)]
struct Recorder {
    jobs: Mutex<Vec<Job>>,
    proofs: Mutex<Vec<(u64, Vec<u8>)>>,
    hashes: AtomicU64,
    log: Mutex<Vec<String>>,
}

impl HostServices for Recorder {
    fn next_job(&self, timeout: Duration) -> NextJob {
        match self.jobs.lock().unwrap().pop() {
            Some(job) => NextJob::Job(job),
            None => {
                std::thread::sleep(timeout);
                NextJob::TimedOut
            }
        }
    }
    fn is_stale(&self, job_id: u64) -> bool {
        job_id != 5
    }
    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        if job_id == 99 {
            return Err(SubmitError::UnknownJob);
        }
        self.proofs.lock().unwrap().push((job_id, proof.to_vec()));
        Ok(())
    }
    fn progress(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
    }
    fn log(&self, _: LogLevel, message: &[u8]) {
        self.log.lock().unwrap().push(String::from_utf8_lossy(message).into_owned());
    }
}

fn provider() -> Provider {
    Provider::of_static(PEARLBED_PROVIDER).unwrap()
}

fn config(extra: &str) -> MiningConfig {
    let mut config = MiningConfig::compute_only("scripted", serde_json::from_str(extra).unwrap());
    config.submit_target = SubmitTarget::Pool { url: "pool:1".to_owned(), worker_id: Some("rig".to_owned()) };
    config
}

#[test]
fn the_code_answers_the_manifest_it_was_compiled_with() {
    let manifest = Manifest::parse(&provider().manifest().unwrap()).unwrap();
    assert_eq!(manifest.id, "scripted");
    assert_eq!(manifest.vendor, "pearlbed \"tests\"");
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest.certificate_versions, [3]);
}

#[test]
fn detect_gets_the_hardware_and_its_answer_comes_back() {
    let mut hardware = HardwareInfo::default();
    hardware.platform = "linux-test".to_owned();
    let answer = provider().detect(&hardware, "engine", "model").unwrap();
    assert!(answer.supported);
    assert_eq!(answer.reason.as_deref(), Some("linux-test / engine / model"));
    assert_eq!(answer.estimated_hashrate, Some(1.5e9));
}

#[test]
fn a_panic_in_the_provider_is_an_error_with_its_message() {
    let told = provider().detect(&HardwareInfo::default(), "panic", "").unwrap_err();
    assert_eq!(told, ProviderError::Panicked("told to".to_owned()));
    let untold = provider().detect(&HardwareInfo::default(), "panic-any", "").unwrap_err();
    assert_eq!(untold, ProviderError::Panicked("a panic without a message".to_owned()));
}

#[test]
fn an_answer_that_is_none_is_a_breach_of_the_contract() {
    for engine in ["nan", "minus", "long"] {
        let answer = provider().detect(&HardwareInfo::default(), engine, "");
        assert!(matches!(answer, Err(ProviderError::Contract(_))), "{engine}: {answer:?}");
    }
}

#[test]
fn jobs_go_in_and_proofs_progress_and_log_come_out_until_stop() {
    let recorder = Arc::new(Recorder::default());
    recorder.jobs.lock().unwrap().push(Job::new(5, [9; 76], [1; 32], 3, true));
    let provider = provider();
    assert!(!provider.is_running());
    provider.start(&config("{}"), recorder.clone()).unwrap();
    assert!(provider.is_running());
    while recorder.proofs.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    provider.stop().unwrap();
    provider.stop().unwrap();
    assert!(!provider.is_running());
    assert_eq!(*recorder.proofs.lock().unwrap(), [(5, vec![9; 4])]);
    assert_eq!(recorder.hashes.load(Ordering::Relaxed), 100);
    assert_eq!(*recorder.log.lock().unwrap(), ["got a job"]);
    drop(provider);
    assert_eq!(Arc::strong_count(&recorder), 1, "every reference to the host was given back");
}

#[test]
fn stop_ends_a_thread_that_only_waits_for_jobs() {
    #[derive(Default)]
    struct Waiting(Mutex<Option<JoinHandle<()>>>);
    impl MiningProvider for Waiting {
        fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
            MiningCapabilities::supported()
        }
        fn start(&self, _: &MiningConfig, host: Host) -> Result<(), ProviderError> {
            let wait = move || {
                assert_eq!(host.next_job(Duration::MAX), NextJob::Stopped);
                assert!(host.is_stale(5), "a closed host knows no current job");
            };
            *self.0.lock().unwrap() = Some(std::thread::spawn(wait));
            Ok(())
        }
        fn stop(&self) -> Result<(), ProviderError> {
            let thread = self.0.lock().unwrap().take();
            thread.map_or(Ok(()), |thread| thread.join().map_err(|_| ProviderError::new("it panicked")))
        }
        fn is_running(&self) -> bool {
            false
        }
        fn stats(&self) -> MiningStats {
            MiningStats::default()
        }
    }
    let provider = Provider::of_type::<Waiting>().unwrap();
    provider.start(&config("{}"), Arc::new(Recorder::default())).unwrap();
    provider.stop().unwrap();
}

#[test]
fn a_provider_that_does_not_start_says_why_and_lets_go_of_the_host() {
    let recorder = Arc::new(Recorder::default());
    let error = provider().start(&config(r#"{"refuse":true}"#), recorder.clone()).unwrap_err();
    let told = r#"refused for Pool { url: "pool:1", worker_id: Some("rig") }"#;
    assert_eq!(error, ProviderError::Failed(told.to_owned()));
    assert_eq!(Arc::strong_count(&recorder), 1);
}

#[test]
fn stats_come_back_with_their_details() {
    let stats = provider().stats().unwrap();
    assert_eq!(stats.hashes, 7);
    assert_eq!(stats.uptime, Duration::from_millis(1500));
    assert_eq!(stats.details["threads"][1], 2);
}

#[test]
fn a_table_that_is_no_table_is_refused_before_it_is_called() {
    let refused = |words: &[usize; 8]| {
        #[expect(unsafe_code, reason = "stands in for a library's answer")]
        // SAFETY: a table of zeros holds no function that could be called; it is refused for its nulls.
        let made = unsafe { Provider::from_table(words.as_ptr().cast()) };
        made.unwrap_err().to_string()
    };
    assert!(refused(&[0; 8]).contains("function 0 of the provider table is null"));
    assert!(refused(&[1, 1, 1, 1, 1, 1, 1, 0]).contains("function 7"));
}
