//! The real binary on the reference pool: `start` earns, and what is killed is counted once.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pearlbed_tests::session::Bed;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// `pearlbed devnet --stratum`, in a home of its own.
struct ReferencePool {
    process: Child,
    address: String,
    _home: tempfile::TempDir,
}

impl ReferencePool {
    fn start(bed: &Bed) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut process = bed
            .command(&["devnet", "--stratum", "127.0.0.1:0", "--json"])
            .env("PEARLBED_HOME", home.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let address = first["address"].as_str().unwrap().to_owned();
        // What it tells must be read, or it waits.
        std::thread::spawn(move || for _ in lines {});
        Self { process, address, _home: home }
    }

    /// What `GET /ledger` says of all workers together: shares by fate, and credited work.
    fn ledger(&self) -> (std::collections::BTreeMap<String, u64>, f64) {
        let mut stream =
            std::net::TcpStream::connect(self.address.strip_prefix("stratum+tcp://").unwrap()).unwrap();
        stream.write_all(b"GET /ledger HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let ledger: Value = serde_json::from_str(body).unwrap();
        let mut shares = std::collections::BTreeMap::new();
        let mut credited = 0.0;
        for row in ledger["workers"].as_object().unwrap().values() {
            for (fate, count) in row["shares"].as_object().unwrap() {
                *shares.entry(fate.clone()).or_default() += count.as_u64().unwrap();
            }
            credited += row["credited"].as_f64().unwrap();
        }
        (shares, credited)
    }
}

impl Drop for ReferencePool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn bed(address: &str) -> Bed {
    let section = format!(
        "[mining]\nwallet_address = \"{WALLET}\"\nsubmit_target = \"pool:{address}\"\n\n[mining.pool]\nworker = \"rig1\""
    );
    Bed::with("", &section)
}

fn start(bed: &Bed) -> pearlbed_tests::session::Answer {
    bed.run(&["start", "--plugin-dir", bed.plugins()])
}

fn credited(status: &Value) -> u64 {
    status["pool"]["shares"]["outcomes"]["accepted"].as_u64().unwrap_or(0)
}

#[test]
fn a_session_on_the_reference_pool_earns_its_first_share_soon_and_the_ledgers_agree() {
    let nobody = Bed::new("");
    let pool = ReferencePool::start(&nobody);
    let bed = bed(&pool.address);

    let test = bed.run(&["pool", "test", "--rate", "1e9"]);
    assert_eq!(test.code, 0, "{test:?}");
    for text in ["plain, unauthenticated", "form: object", "certificate version 3", WALLET] {
        assert!(test.stdout.contains(text), "{text}: {test:?}");
    }
    let began = Instant::now();
    let answer = start(&bed);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    let status = bed.wait_for(PATIENCE, |status| credited(status) > 0);
    println!("first credited share after {:?}", began.elapsed());
    assert_eq!(status["pool"]["in_use"], pool.address.as_str());
    // Folded sentences are compared unfolded.
    let text = bed.run(&["status"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("in use for"), "{text}");
    assert!(text.contains("plain, unauthenticated"), "{text}");
    let stop = bed.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    agree(&bed, &pool);
}

/// The ledger of all the bed's sessions is the pool's: equal but for shares that were under way when a process ended.
fn agree(bed: &Bed, pool: &ReferencePool) {
    let path = bed.home().join("runtime/pool-ledger.json");
    let book: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let outcomes = &book["pools"][&pool.address]["outcomes"];
    let ours = |outcome: &str| outcomes[outcome]["shares"].as_u64().unwrap_or(0);
    let (theirs, _) = pool.ledger();
    let their = |fate: &str| theirs.get(fate).copied().unwrap_or(0);
    let (accepted, unanswered) = (ours("accepted"), ours("unanswered"));
    println!("ours {outcomes}, theirs {theirs:?}");
    assert!(accepted <= their("accepted"), "{outcomes} {theirs:?}");
    assert!(
        their("accepted") + their("stale") <= accepted + ours("stale") + unanswered,
        "{outcomes} {theirs:?}"
    );
    assert_eq!(their("duplicate"), 0, "no share is sent twice: {theirs:?}");
    assert_eq!(their("invalid") + their("low_difficulty") + their("malformed"), 0, "{theirs:?}");
}

#[test]
fn killed_and_started_again_at_random_moments_every_share_is_counted_once() {
    let nobody = Bed::new("");
    let pool = ReferencePool::start(&nobody);
    let bed = bed(&pool.address);
    let kills =
        std::env::var("PEARLBED_TEST_POOL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut random = 88_172_645_463_325_252_u64;
    for round in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let answer = start(&bed);
        assert_eq!(answer.code, 0, "round {round}: {answer:?}\n{}", bed.log());
        std::thread::sleep(Duration::from_millis(random % 2500));
        let pid = bed.status()["supervisor_pid"].as_u64().expect("a session runs");
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while bed.status()["state"] == "RUNNING" || bed.status()["state"] == "STARTING" {
            assert!(Instant::now() < deadline, "round {round}: {:#}", bed.status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let answer = start(&bed);
    assert_eq!(answer.code, 0, "{answer:?}");
    bed.wait_for(PATIENCE, |status| credited(status) > 0);
    let stop = bed.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    agree(&bed, &pool);
}

#[test]
fn pool_test_says_what_is_wrong_by_status_and_its_hint_works_when_typed_back() {
    let bed = Bed::new("");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("stratum+tcp://{nobody}");
    let test = |args: &[&str]| bed.run(&[&["pool", "test", "--wallet", WALLET], args].concat());
    let answer = test(&[&url]);
    assert_eq!(answer.code, 10, "{answer:?}");
    assert!(answer.stdout.contains("connection refused"), "{answer:?}");
    let answer = test(&[&url, "--json"]);
    let json: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!((answer.code, json["pools"][0]["stage"].as_str()), (10, Some("connect")));

    for wrong in ["pool.example:3333", "https://pool.example", "stratum+tcp://127.0.0.1"] {
        let answer = test(&[wrong]);
        assert_eq!(answer.code, 1, "{answer:?}");
        let flat = answer.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let hint = flat.split('`').rev().nth(1).unwrap().to_owned();
        let typed: Vec<&str> = hint.split(' ').skip(1).collect();
        assert_eq!(typed[..2], ["pool", "test"], "{hint}");
        let again = bed.run(&["pool", "test", "--help"]);
        assert_eq!(again.code, 0);
        pearlbed::config::PoolUrl::parse(typed[2]).unwrap_or_else(|err| panic!("{hint}: {err:?}"));
    }
    let answer = bed.run(&["pool", "test", &url]);
    assert!(answer.stderr.contains("no wallet"), "{answer:?}");
}
