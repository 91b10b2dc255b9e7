//! A plugin built against the contract as it was published loads in today's host, and mines.
#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use pearlbed::plugins::load;
use pearlbed_plugin_api::host_side::HostServices;
use pearlbed_plugin_api::{HardwareInfo, Job, LogLevel, MiningConfig, NextJob, SubmitError};
use pearlbed_tests::build;

/// Cargo, told to build a folder of the day of 1.0.0 beside the workspace. What cargo tells this test of its own package would
/// have some build scripts start again.
fn build_frozen(folder: &str) {
    let source = build::workspace().join("tests/fixtures/.frozen").join(folder);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(build::target().join("frozen"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    assert!(cargo.status().unwrap().success(), "the frozen {folder} does not build");
}

/// The plugin of `tests/fixtures/plugin-api-<version>`, built from that folder alone.
fn frozen(version: &str) -> PathBuf {
    build_frozen(&format!("plugin-api-{version}"));
    let name = format!("libfrozen_{}{}", version.replace('.', "_"), std::env::consts::DLL_SUFFIX);
    build::target().join("frozen/debug").join(name)
}

struct OneJob {
    jobs: Mutex<Vec<Job>>,
    heard: mpsc::Sender<String>,
}

impl HostServices for OneJob {
    fn next_job(&self, timeout: Duration) -> NextJob {
        match self.jobs.lock().unwrap().pop() {
            Some(job) => NextJob::Job(job),
            None => {
                std::thread::sleep(timeout);
                NextJob::TimedOut
            }
        }
    }
    fn is_stale(&self, _: u64) -> bool {
        false
    }
    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        self.heard.send(format!("proof of {} bytes for job {job_id}", proof.len())).unwrap();
        Ok(())
    }
    fn progress(&self, hashes: u64) {
        self.heard.send(format!("{hashes} hashes")).unwrap();
    }
    fn log(&self, level: LogLevel, message: &[u8]) {
        self.heard.send(format!("{level:?}: {}", String::from_utf8_lossy(message))).unwrap();
    }
}

#[test]
fn a_plugin_built_against_1_0_0_answers_takes_a_job_and_hands_in_a_proof() {
    let path = frozen("1.0.0");
    // SAFETY: the library was just built from our own source.
    let loaded = unsafe { load::open(&path, None, Some("frozen-1-0-0")) }.unwrap();
    assert_eq!(loaded.version, 1);
    let provider = loaded.provider;

    let mut hardware = HardwareInfo::default();
    hardware.platform = "today".to_owned();
    let answer = provider.detect(&hardware, "", "").unwrap();
    assert!(answer.supported);
    assert_eq!(answer.reason.as_deref(), Some("frozen on today"));
    assert_eq!(answer.estimated_hashrate, Some(1e6));

    let (heard, hear) = mpsc::channel();
    let job = Job::new(3, [1; 76], [2; 32], 3, false);
    let host = Arc::new(OneJob { jobs: Mutex::new(vec![job]), heard });
    let refused = serde_json::json!({ "refuse": "not today" });
    let config = |extra: &serde_json::Value| {
        MiningConfig::compute_only("frozen-1-0-0", extra.as_object().unwrap().clone())
    };
    assert_eq!(provider.start(&config(&refused), host.clone()).unwrap_err().to_string(), "\"not today\"");
    provider.start(&config(&serde_json::json!({})), host).unwrap();
    let next = || hear.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!([next(), next(), next()], ["Info: a job", "1000 hashes", "proof of 76 bytes for job 3"]);
    assert!(provider.is_running());
    provider.stop().unwrap();
    assert!(!provider.is_running());
    assert_eq!(provider.stats().unwrap().hashes, 1000);
}

#[test]
fn the_real_binary_finds_and_probes_a_plugin_built_against_1_0_0() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(frozen("1.0.0"), folder.path().join("frozen.so")).unwrap();
    let answer = Command::new(build::pearlbed())
        .args(["plugins", "inspect", "frozen-1-0-0", "--json", "--plugin-dir"])
        .arg(folder.path())
        .env("PEARLBED_HOME", folder.path().join("home"))
        .output()
        .unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["plugin"]["state"], "usable", "{answer:#}");
    assert_eq!(answer["plugin"]["probe"]["supported"], true, "{answer:#}");
}

/// What a host that knows only 1.0.0 says of the plugin in `file`.
fn in_the_old_host(file: &std::path::Path) -> serde_json::Value {
    let host = build::target().join("frozen/debug/frozen-host");
    let output = Command::new(host).arg(file).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|err| panic!("{}: {err}: {output:?}", file.display()))
}

#[test]
fn todays_plugins_mine_for_a_host_that_knows_only_1_0_0() {
    build_frozen("host");
    let unhex = |value: &serde_json::Value| -> Vec<u8> {
        let text = value.as_str().unwrap().as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    };
    // One with settings in its manifest, of which 1.0.0 knew nothing; one that mines plainly.
    for package in ["cpu-pearl", "mining-provider"] {
        let answer = in_the_old_host(&build::plugin(package));
        assert_eq!(answer["id"], package, "{answer}");
        assert_eq!(answer["running"], true, "{answer}");
        let job = pearl_pow::Job {
            header: pearl_pow::Header::try_from(&unhex(&answer["header"])[..]).unwrap(),
            target: Some(pearl_pow::Target::from_le_bytes(unhex(&answer["target"]).try_into().unwrap())),
            certificate: 3.try_into().unwrap(),
            rank_penalty: false,
        };
        pearl_pow::verify_bytes(&job, &unhex(&answer["proof"])).unwrap();
    }
}

#[test]
fn a_plugin_with_a_door_in_c_is_refused_in_words_by_a_host_that_knows_only_1_0_0() {
    build_frozen("host");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("door.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu99", "-shared", "-fPIC", "-I"]).arg(build::workspace().join("include"));
    compiler.arg("-o").arg(&file).arg(build::workspace().join("tests/fixtures/doors/door.c"));
    assert!(compiler.status().unwrap().success(), "the door does not compile");
    let answer = in_the_old_host(&file);
    assert!(answer["error"].as_str().unwrap().starts_with("header: "), "{answer}");
}
