//! The table of version 1 is plain C: a provider written in C is compiled, loaded and driven through it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pearlbed_plugin_api::abi::v1;
use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::{HardwareInfo, Job, LogLevel, MiningConfig, NextJob, SubmitError};

fn library(test: &str) -> libloading::Library {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider.c");
    let out =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("provider-{test}-{}.so", std::process::id()));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-std=c11", "-o"])
        .args([&out, &source])
        .status()
        .unwrap();
    assert!(built.success(), "the C compiler refused provider.c");
    // SAFETY: the library was just built from our own source; it has no constructors.
    let library = unsafe { libloading::Library::new(&out) }.unwrap();
    std::fs::remove_file(out).unwrap();
    library
}

#[test]
fn c_lays_the_table_out_as_rust_does() {
    use v1::{Bytes, Capabilities, Config, HostTable, ProviderTable, Sink, Stats};
    let rust = [
        size_of::<Bytes>(),
        size_of::<Sink>(),
        size_of::<Capabilities>(),
        size_of::<Config>(),
        size_of::<v1::Job>(),
        size_of::<Stats>(),
        size_of::<HostTable>(),
        size_of::<ProviderTable>(),
        offset_of!(Capabilities, estimated_hashrate),
        offset_of!(Config, submit_kind),
        offset_of!(Config, fee_bps),
        offset_of!(Config, submit_url),
        offset_of!(Config, extra),
        offset_of!(v1::Job, header),
        offset_of!(v1::Job, certificate_version),
        offset_of!(v1::Job, target),
        offset_of!(v1::Job, flags),
        offset_of!(v1::Job, reserved),
        offset_of!(Stats, hashrate),
        offset_of!(Stats, uptime_seconds),
        offset_of!(HostTable, next_job),
        offset_of!(HostTable, log),
        offset_of!(HostTable, job_details),
        offset_of!(ProviderTable, detect),
        offset_of!(ProviderTable, stats),
    ];
    let library = library("layout");
    // SAFETY: the two symbols have these types in provider.c.
    let c = unsafe {
        let count: usize = **library.get::<*const usize>(b"pearlbed_c_layout_count").unwrap();
        let first: *const usize = *library.get(b"pearlbed_c_layout").unwrap();
        std::slice::from_raw_parts(first, count)
    };
    assert_eq!(c, rust);
}

#[derive(Default)]
struct OneJob(Mutex<Vec<String>>);

impl HostServices for OneJob {
    fn next_job(&self, _: Duration) -> NextJob {
        NextJob::Job(Job::new(8, [7; 76], [6; 32], 3, true))
    }
    fn is_stale(&self, job_id: u64) -> bool {
        job_id != 8
    }
    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        self.0.lock().unwrap().push(format!("proof {proof:?} for {job_id}"));
        Ok(())
    }
    fn progress(&self, hashes: u64) {
        self.0.lock().unwrap().push(format!("{hashes} hashes"));
    }
    fn log(&self, level: LogLevel, message: &[u8]) {
        self.0.lock().unwrap().push(format!("{level:?}: {}", String::from_utf8_lossy(message)));
    }
}

#[test]
fn a_provider_written_in_c_answers_takes_a_job_and_hands_in_a_proof() {
    let library = library("driven");
    // SAFETY: the symbol is a provider table in provider.c, whose functions follow the contract; the library outlives
    // the provider.
    let provider = unsafe {
        let table: *const v1::ProviderTable = *library.get(b"pearlbed_c_table").unwrap();
        Provider::from_table(table).unwrap()
    };
    assert_eq!(provider.manifest().unwrap(), br#"{"id":"in-c"}"#);
    let answer = provider.detect(&HardwareInfo::default(), "", "a model").unwrap();
    assert_eq!(answer.reason.as_deref(), Some("written in C for a model"));
    assert_eq!(answer.estimated_hashrate, Some(2.5e6));

    let host = Arc::new(OneJob::default());
    provider.start(&MiningConfig::compute_only("in-c", serde_json::Map::new()), host.clone()).unwrap();
    assert!(provider.is_running());
    assert_eq!(*host.0.lock().unwrap(), ["Info: {}", "3 hashes", "proof [7, 6, 1, 0] for 8"]);
    assert_eq!(provider.stop().unwrap_err().to_string(), "never stops");
    let stats = provider.stats().unwrap();
    assert_eq!((stats.hashes, stats.jobs_taken, stats.hashrate), (1, 3, 4.5));
    assert_eq!(stats.details["language"], "C");
}
