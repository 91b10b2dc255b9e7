//! The real binary on the reference pool: `start` earns, and what is killed is counted once.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands")]

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pearlbed_tests::reference_pool::ReferencePool;
use pearlbed_tests::session::{Bed, START_WAIT, ended};
use pearlbed_tests::terminal::Terminal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

fn bed(address: &str) -> Bed {
    let section = format!(
        "[mining]\nwallet_address = \"{WALLET}\"\nsubmit_target = \"pool:{address}\"\n\n[mining.pool]\nworker = \"rig1\""
    );
    Bed::with("", &section)
}

fn start(bed: &Bed) -> pearlbed_tests::session::Answer {
    bed.run(&["start", "--wait", START_WAIT, "--plugin-dir", bed.plugins()])
}

fn credited(status: &Value) -> u64 {
    status["pool"]["shares"]["outcomes"]["accepted"].as_u64().unwrap_or(0)
}

#[test]
fn a_session_on_the_reference_pool_earns_its_first_share_soon_and_the_ledgers_agree() {
    let nobody = Bed::new("");
    let pool = ReferencePool::start(&nobody);
    let bed = bed(&pool.address);
    let socket = bed.dir().join("metrics");
    let config = bed.home().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[mining.session]\nmetrics_socket = {socket:?}\n")).unwrap();

    let test = bed.run(&["pool", "test", "--rate", "1e9"]);
    assert_eq!(test.code, 0, "{test:?}");
    for text in ["plain, unauthenticated", "form: object", "certificate version 3", WALLET] {
        assert!(test.stdout.contains(text), "{text}: {test:?}");
    }
    let began = Instant::now();
    let answer = start(&bed);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    assert!(answer.stderr.contains(WALLET) && answer.stderr.contains("rig1"), "who is paid: {answer:?}");
    let status = bed.wait_for(PATIENCE, |status| credited(status) > 0);
    let running = status["since_seconds"].as_f64().unwrap();
    println!("first credited share {:?} after `start`, {running:.1} s of the session", began.elapsed());
    // Ten seconds are what it is to take; a machine that does other things has thirty.
    assert!(running < 30.0, "{running} s\n{}", bed.log());
    assert_eq!(status["pool"]["in_use"], pool.address.as_str());
    // Folded sentences are compared unfolded.
    let text = bed.run(&["status"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("in use for"), "{text}");
    assert!(text.contains("plain, unauthenticated") && text.contains(WALLET), "{text}");
    assert!(text.contains("shares") && text.contains("accepted"), "{text}");
    // How long a share takes is said as soon as the rate is known, and what stands in the status is what doctor says.
    let said = || bed.log().contains("a share of this pool has difficulty");
    pearlbed_tests::session::wait_until(PATIENCE, said, || bed.log());
    let doctor = bed.run(&["doctor", "--only", "session-state", "--plugin-dir", bed.plugins()]);
    let text = doctor.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [pool.address.as_str(), "plain, unauthenticated, for", "a share every"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    // The public record and the metrics name it, too.
    let record = || -> Value {
        let bytes = std::fs::read(bed.home().join("runtime/mining.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let named = || record()["pearlbed"]["pool"]["address"] == pool.address.as_str();
    pearlbed_tests::session::wait_until(PATIENCE, named, || record().to_string());
    let of_record = record()["pearlbed"]["pool"].clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((1..3600).contains(&(now + 1 - of_record["since"].as_u64().unwrap())), "{of_record}");
    assert_eq!(of_record["why_not_first"], Value::Null, "{of_record}");
    let page = metrics(&socket);
    for line in [
        format!("pearlbed_pool_in_use{{pool=\"{}\",security=\"plain, unauthenticated\"}} 1", pool.address),
        format!("pearlbed_pool_in_use_seconds{{pool=\"{}\"}} ", pool.address),
        "pearlbed_pool_share_seconds ".to_owned(),
    ] {
        assert!(page.contains(&line), "{line}: {page}");
    }
    assert!(!page.contains("passed_over"), "the first is in use: {page}");
    let stop = bed.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    agree(&bed, &pool);
}

/// The metrics page at a Unix socket.
fn metrics(socket: &std::path::Path) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// The ledger of all the bed's sessions is the pool's, in shares and in work: equal but for those that were under way when
/// a process ended, which the client knows it does not know. How many these are.
fn agree(bed: &Bed, pool: &ReferencePool) -> u64 {
    let path = bed.home().join("runtime/pool-ledger.json");
    let book: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let ledger = &book["pools"][&pool.address];
    let outcomes = &ledger["outcomes"];
    let ours = |outcome: &str| outcomes[outcome]["shares"].as_u64().unwrap_or(0);
    let work = |outcome: &str| outcomes[outcome]["work"].as_f64().unwrap_or(0.0);
    let (theirs, credited) = pool.ledger();
    let their = |fate: &str| theirs.get(fate).copied().unwrap_or(0);
    let unanswered = ours("unanswered");
    println!("ours {ledger}, theirs {theirs:?} worth {credited}");
    let told = format!("{ledger} {theirs:?} {credited}");
    for (outcome, fate) in [("accepted", "accepted"), ("stale", "stale")] {
        assert!(ours(outcome) <= their(fate), "more than the pool knows: {told}");
    }
    let unknown = their("accepted") + their("stale") - ours("accepted") - ours("stale");
    assert!(unknown <= unanswered, "{told}");
    let more = credited - work("accepted");
    let rounding = credited * 1e-9;
    assert!(more >= -rounding && more <= work("unanswered") + rounding, "{told}");
    // Every share that was found is in one place.
    let sum = |rows: &Value| -> u64 {
        rows.as_object().map_or(0, |rows| rows.values().filter_map(|row| row["shares"].as_u64()).sum())
    };
    let found = ledger["found"]["shares"].as_u64().unwrap_or(0);
    assert_eq!(found, sum(outcomes) + sum(&ledger["dropped"]), "{told}");
    assert_eq!(their("duplicate"), 0, "no share is sent twice: {told}");
    assert_eq!(their("invalid") + their("low_difficulty") + their("malformed"), 0, "{told}");
    unanswered
}

/// xorshift64*: the moments need not be good, only repeatable.
fn dice(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
}

/// `PEARLBED_TEST_POOL_KILLS` says how often, and `PEARLBED_TEST_SEED` when.
#[test]
fn killed_and_started_again_at_random_moments_every_share_is_counted_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("PEARLBED_TEST_POOL_KILLS").unwrap_or(5);
    let mut seed = number("PEARLBED_TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_micros() as u64 % 1_000_000_007
    }) | 1;
    println!("PEARLBED_TEST_SEED={seed}");
    let nobody = Bed::new("");
    // Many shares, so that a kill meets some on their way.
    let pool = ReferencePool::with(&nobody, &["--difficulty", "0.0001", "--spacing", "4"]);
    let bed = bed(&pool.address);
    let (mut met, mut missed) = (0_u64, 0_u64);
    for round in 0..kills {
        let mut starting = bed
            .command(&["start", "--plugin-dir", bed.plugins()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A third while it starts, at whatever it does there; the others while it mines.
        if !dice(&mut seed).is_multiple_of(3) {
            let ended = starting.wait().unwrap();
            assert!(ended.success(), "round {round}: {ended}\n{}", bed.log());
        }
        std::thread::sleep(Duration::from_millis(dice(&mut seed) % 2000));
        let kill = || {
            let supervisors: Vec<u32> =
                bed.processes().into_iter().filter(|pid| is_supervisor(*pid)).collect();
            for pid in &supervisors {
                bed.signal(*pid, rustix::process::Signal::KILL);
            }
            supervisors
        };
        let mut killed = kill();
        let _ = starting.wait();
        if killed.is_empty() {
            // The moment was before the supervisor's first: now it is there.
            missed += 1;
            killed = kill();
        }
        met += u64::from(!killed.is_empty());
        pearlbed_tests::session::wait_until(
            PATIENCE,
            || bed.alive(&killed).is_empty(),
            || format!("round {round}: {killed:?} outlive their kill"),
        );
    }
    println!("{met} kills, of which {missed} came again because nobody was there yet");
    let _ = bed.run(&["stop"]);
    let answer = start(&bed);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    bed.wait_for(PATIENCE, |status| credited(status) > 0);
    let stop = bed.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    let unanswered = agree(&bed, &pool);
    println!("{unanswered} unanswered");
}

fn is_supervisor(pid: u32) -> bool {
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.windows(11).any(|window| window == b"__supervise")
}

/// Case 23 of the pool protocol's section 10. The system's clock is nobody's to set in a test: a library between the
/// session and the system says that it was.
#[test]
fn the_system_clock_set_back_by_an_hour_changes_nothing() {
    let nobody = Bed::new("");
    let pool = ReferencePool::start(&nobody);
    let bed = bed(&pool.address);
    let source = bed.dir().join("clock.c");
    let library = bed.dir().join("clock.so");
    // Three seconds after its process began, wall time is an hour earlier.
    let text = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static int (*real)(clockid_t, struct timespec *);
static time_t began;
static time_t monotonic(void) {
    struct timespec now;
    real(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}
__attribute__((constructor)) static void begin(void) {
    if (real)
        return;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    began = monotonic();
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    begin();
    int answer = real(clock, now);
    if (clock == CLOCK_REALTIME && monotonic() > began + 3)
        now->tv_sec -= 3600;
    return answer;
}
"#;
    std::fs::write(&source, text).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(built.success());
    let mut session = bed
        .command(&["start", "--foreground", "--plugin-dir", bed.plugins()])
        .env("LD_PRELOAD", &library)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Times are written so that they sort as texts.
    let set_back = |log: &str| {
        let stamps: Vec<&str> = log.lines().filter_map(|line| line.split_whitespace().next()).collect();
        stamps.windows(2).any(|two| two[1] < two[0])
    };
    bed.wait_for(PATIENCE, |status| credited(status) > 0);
    bed.wait_for(PATIENCE, |_| set_back(&bed.log()));
    let now = credited(&bed.status());
    let status = bed.wait_for(PATIENCE, |status| credited(status) > now + 1);
    assert_eq!(status["pool"]["in_use"], pool.address.as_str());
    assert_eq!(status["work"]["reconnects"].as_u64().unwrap_or(0), 0, "{status:#}");
    assert!(status["pool"]["since_seconds"].as_f64().unwrap() < 600.0, "{status:#}");
    let stop = bed.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    ended(&mut session, PATIENCE);
    agree(&bed, &pool);
}

#[test]
fn pool_test_says_what_is_wrong_by_status_and_its_hint_works_when_typed_back() {
    let bed = Bed::new("");
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], pearlbed_tests::ports::free()));
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
        assert_eq!(answer.code, 2, "{answer:?}");
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

#[test]
fn init_on_a_terminal_asks_for_the_pool_refuses_a_wrong_one_and_asks_it_on_the_spot() {
    let nobody = Bed::new("");
    let pool = ReferencePool::start(&nobody);
    let bed = Bed::new("");
    let mut command = bed.command(&["init", "--plugin-dir", bed.plugins()]);
    let Some(mut terminal) = Terminal::start(&mut command) else {
        println!("skipped: this system gives no pseudo-terminals");
        return;
    };
    // The only provider here asks for something.
    terminal.expect("Grant `program:/bin/true`?");
    terminal.type_in("n");
    terminal.expect("Where work comes from");
    terminal.expect("pool: shares");
    // Two down, from solo to pool.
    terminal.type_in("\u{1b}[B\u{1b}[B\n");
    terminal.expect("Pool URL");
    terminal.type_in("https://pool.example\n");
    terminal.expect("write it like this");
    // What was typed is still there to be mended: away with it.
    terminal.type_in(&"\u{7f}".repeat(40));
    terminal.type_in(&format!("{}\n", pool.address));
    terminal.expect("Wallet address");
    terminal.type_in(&format!("{WALLET}\n"));
    terminal.expect("Name of this machine at the pool");
    terminal.type_in("\u{7f}rig7\n");
    terminal.expect("Ask the pool now");
    terminal.type_in("y");
    terminal.expect("plain, unauthenticated");
    terminal.expect("certificate version 3");
    terminal.expect("Write this?");
    terminal.type_in("y");
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    for text in [
        &format!("ok {}", pool.address),
        "  pays         prl1pqqq",
        "worker rig7",
        "  share        difficulty",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains("\\u{1b}") && !shown.contains("\\n"), "escapes that are shown: {shown}");
    let file = std::fs::read_to_string(bed.home().join("config.toml")).unwrap();
    assert!(file.contains(&format!("submit_target = \"pool:{}\"", pool.address)), "{file}");
    assert!(file.contains("worker = \"rig7\"") && file.contains(WALLET), "{file}");
    assert!(!bed.home().join("runtime/mining.json").exists(), "init starts nothing");
}
