//! The order of a provider's calls is kept, whoever calls.
#![deny(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::{
    HardwareInfo, Host, LogLevel, MiningCapabilities, MiningConfig, MiningProvider, MiningStats, NextJob,
    ProviderError, SubmitError,
};
use serde_json::{Map, Value, json};

/// A host without work, that has details of job 1.
struct NoWork;

impl HostServices for NoWork {
    fn next_job(&self, timeout: Duration) -> NextJob {
        std::thread::sleep(timeout);
        NextJob::TimedOut
    }
    fn is_stale(&self, _: u64) -> bool {
        false
    }
    fn submit(&self, _: u64, _: &[u8]) -> Result<(), SubmitError> {
        Ok(())
    }
    fn progress(&self, _: u64) {}
    fn log(&self, _: LogLevel, _: &[u8]) {}
    fn job_details(&self, job_id: u64) -> Map<String, Value> {
        match job_id {
            0 => panic!("the host's own fault"),
            1 => [("ancestor_headers".to_owned(), json!(["00"]))].into_iter().collect(),
            _ => Map::new(),
        }
    }
}

fn config(extra: &str) -> MiningConfig {
    MiningConfig::compute_only("counted", serde_json::from_str(extra).unwrap())
}

/// Counts how it is called, and can be told to fail.
#[derive(Default)]
struct Counted;

static STARTS: AtomicU64 = AtomicU64::new(0);
static STOPS: AtomicU64 = AtomicU64::new(0);
static DROPS: AtomicU64 = AtomicU64::new(0);
static STOP_FAILS: AtomicBool = AtomicBool::new(false);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::Relaxed);
    }
}

impl MiningProvider for Counted {
    fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
        MiningCapabilities::supported()
    }
    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        STARTS.fetch_add(1, Ordering::Relaxed);
        assert_eq!(host.job_details(1)["ancestor_headers"][0], "00");
        assert!(host.job_details(2).is_empty() && host.job_details(0).is_empty());
        if config.extra.contains_key("until_closed") {
            assert_eq!(host.next_job(Duration::MAX), NextJob::Stopped);
        }
        Ok(())
    }
    fn stop(&self) -> Result<(), ProviderError> {
        STOPS.fetch_add(1, Ordering::Relaxed);
        if STOP_FAILS.load(Ordering::Relaxed) { Err("a thread hangs".into()) } else { Ok(()) }
    }
    fn is_running(&self) -> bool {
        false
    }
    fn stats(&self) -> MiningStats {
        let mut stats = MiningStats::default();
        stats.details = "no object".into();
        stats
    }
}

#[test]
fn start_and_stop_come_in_turns_and_an_instance_that_does_not_stop_is_not_destroyed() {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let provider = Provider::of_type::<Counted>().unwrap();
    let (at_once, until_closed) = (config("{}"), config(r#"{"until_closed":true}"#));
    std::thread::scope(|threads| {
        let start = threads.spawn(|| provider.start(&until_closed, Arc::new(NoWork)));
        while count(&STARTS) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Closes the host of the start in progress, and so ends it.
        provider.stop().unwrap();
        start.join().unwrap().unwrap();
    });
    assert_eq!((count(&STARTS), count(&STOPS)), (1, 1));
    assert!(matches!(provider.stats(), Err(ProviderError::Contract(_))));
    drop(provider);
    assert_eq!((count(&STOPS), count(&DROPS)), (1, 1), "it was stopped already");

    STOP_FAILS.store(true, Ordering::Relaxed);
    let provider = Provider::of_type::<Counted>().unwrap();
    provider.start(&at_once, Arc::new(NoWork)).unwrap();
    let again = provider.start(&at_once, Arc::new(NoWork)).unwrap_err();
    assert!(again.to_string().contains("has not been stopped"), "{again}");
    drop(provider);
    assert_eq!(count(&DROPS), 1, "the second is abandoned: its stop fails");
}

#[test]
fn a_provider_that_cannot_be_made_says_so() {
    struct Unmade;
    impl Default for Unmade {
        fn default() -> Self {
            panic!("no such device")
        }
    }
    impl MiningProvider for Unmade {
        fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
            MiningCapabilities::supported()
        }
        fn start(&self, _: &MiningConfig, _: Host) -> Result<(), ProviderError> {
            Ok(())
        }
        fn stop(&self) -> Result<(), ProviderError> {
            Ok(())
        }
        fn is_running(&self) -> bool {
            false
        }
        fn stats(&self) -> MiningStats {
            MiningStats::default()
        }
    }
    let error = Provider::of_type::<Unmade>().unwrap_err();
    assert_eq!(error, ProviderError::Panicked("no such device".to_owned()));
}
