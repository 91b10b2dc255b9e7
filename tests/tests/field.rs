//! Sessions in the surroundings that people have: tidied folders, replaced files, closed terminals, taken ports, other
//! programs' records. Each test is named after what holds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::documents::{document, rows, sources};
use pearlbed_tests::session::{Bed, ended, wait_until};
use pearlbed_tests::terminal::Terminal;
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn plugin_file(bed: &Bed) -> PathBuf {
    Path::new(bed.plugins()).join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX))
}

/// Kills the provider and waits for the next.
fn next_provider(bed: &Bed) -> Value {
    let before = bed.wait_for(PATIENCE, |status| !status["provider_pid"].is_null());
    let pid = before["provider_pid"].as_u64().unwrap();
    bed.signal(pid.try_into().unwrap(), Signal::KILL);
    bed.wait_for(PATIENCE, |status| {
        status["provider_pid"].as_u64().is_some_and(|other| other != pid)
            && status["miners"][0]["condition"] == "mining"
    })
}

/// Removes a folder of a session that goes on writing in it.
fn remove(folder: &Path) {
    use std::io::ErrorKind;
    while let Err(err) = std::fs::remove_dir_all(folder) {
        assert!(matches!(err.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound), "{err}");
        if err.kind() == ErrorKind::NotFound && !folder.exists() {
            break;
        }
    }
}

/// Puts a file where a session goes on making its folder.
fn put_a_file_in_the_place_of(folder: &Path) {
    loop {
        remove(folder);
        match std::fs::File::create_new(folder) {
            Ok(mut file) => break file.write_all(b"a letter").expect("it was just made"),
            Err(err) => assert_eq!(err.kind(), std::io::ErrorKind::AlreadyExists, "{err}"),
        }
    }
}

#[test]
fn a_plugin_that_was_touched_or_replaced_is_looked_at_again_and_used_or_refused_with_its_reason() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let file = plugin_file(&bed);
    let said = || bed.log().matches("was replaced since the session began").count();
    // The same bytes under another time.
    let now = std::time::SystemTime::now();
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(now).unwrap();
    next_provider(&bed);
    let before = said();
    // Another file with the same provider, as a package manager puts it there.
    let other = file.with_extension("new");
    std::fs::copy(&file, &other).unwrap();
    let mut bytes = std::fs::read(&other).unwrap();
    bytes.extend_from_slice(b"another build");
    std::fs::write(&other, bytes).unwrap();
    std::fs::rename(&other, &file).unwrap();
    next_provider(&bed);
    let log = bed.log();
    assert!(said() > before && log.contains("blake3"), "{log}");
    // One that may not be used is refused by its code, with what to do.
    std::fs::write(&other, "no library").unwrap();
    std::fs::rename(&other, &file).unwrap();
    let pid = bed.pids()[1];
    bed.signal(pid, Signal::KILL);
    let status = bed.wait_for(PATIENCE, |status| status["last_error"].to_string().contains("not-a-library"));
    let error = status["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("the new one is refused"), "{error}");
}

#[test]
fn a_runtime_folder_that_was_tidied_away_is_made_again_and_no_second_session_starts() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let pids = bed.pids();
    remove(&bed.home().join("runtime"));
    let status = bed.wait_for(PATIENCE, |status| status["state"] == "RUNNING");
    assert_eq!(status["supervisor_pid"].as_u64(), Some(pids[0].into()), "{status:#}");
    wait_until(PATIENCE, || bed.sidecar().is_some(), || bed.log());
    assert!(bed.log().contains("somebody removed files of the session"), "{}", bed.log());
    let again = bed.start();
    assert!(again.stderr.contains("already") || again.stdout.contains("already"), "{again:?}");
    assert_eq!(bed.pids()[0], pids[0]);
    assert_eq!(bed.run(&["stop"]).code, 0);
    assert!(bed.alive(&pids).is_empty());
}

#[test]
fn a_home_whose_files_are_removed_has_one_session_also_for_who_starts_another_at_once() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let pids = bed.pids();
    remove(&bed.home().join("runtime"));
    let again = bed.start();
    assert!(again.stdout.contains(&format!("process {}", pids[0])), "{again:?}");
    assert!(again.stdout.starts_with("already running"), "{again:?}");
    assert_eq!(bed.pids(), pids);
    // At once is before the session has looked, too.
    remove(&bed.home().join("runtime"));
    let stopped = bed.run(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(bed.alive(&pids).is_empty(), "{stopped:?}");
}

#[test]
fn whatever_lies_in_the_place_of_a_sessions_files_is_replaced_and_its_end_is_told_as_it_was() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let pid = bed.pids()[0];
    let [lock, socket] = ["mining.lock", "mining.sock"].map(|name| bed.home().join("runtime").join(name));
    let holds = || std::fs::read_to_string(&lock).is_ok_and(|text| text.contains(&format!("\"pid\":{pid}")));
    let answers = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    for (what, spoil) in [
        ("nothing", &(|| [&lock, &socket].map(|file| std::fs::remove_file(file).unwrap())) as &dyn Fn() -> _),
        ("an empty lock, a letter", &|| {
            std::fs::remove_file(&socket).unwrap();
            [(&lock, ""), (&socket, "a letter")].map(|(file, text)| std::fs::write(file, text).unwrap())
        }),
        ("another lock, a folder", &|| {
            std::fs::remove_file(&lock).unwrap();
            std::fs::remove_file(&socket).unwrap();
            [std::fs::write(&lock, "").unwrap(), std::fs::create_dir(&socket).unwrap()]
        }),
    ] {
        spoil();
        wait_until(PATIENCE, || holds() && answers(), || format!("{what}: {}", bed.log()));
        assert_eq!(bed.pids()[0], pid, "{what}");
    }
    assert_eq!(bed.run(&["stop"]).code, 0);
    let status = bed.status();
    assert_eq!(status["state"], "STOPPED", "{status:#}");
}

#[test]
fn a_session_that_nobody_could_find_any_more_ends_in_order_and_says_why() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let pids = bed.pids();
    let runtime = bed.home().join("runtime");
    put_a_file_in_the_place_of(&runtime);
    wait_until(PATIENCE, || bed.alive(&pids).is_empty(), || bed.log());
    let log = bed.log();
    assert!(
        log.contains("session ends: files of the session were removed and cannot be made again"),
        "{log}"
    );
    let start = bed.start();
    assert_eq!(start.code, 6, "{start:?}");
    let said = start.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains(&format!("{} is a file, and a folder is needed there", runtime.display())),
        "{said}"
    );
}

#[test]
fn a_log_and_folders_that_were_removed_are_made_again_by_who_writes_in_them() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
    for folder in ["logs", "runtime/proofs", "runtime/devnet"] {
        remove(&bed.home().join(folder));
    }
    let before = bed.status()["proofs"]["accepted"].as_u64().unwrap();
    wait_until(PATIENCE, || bed.log().contains("it goes on in a new file"), || bed.log());
    let status = bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(before + 1));
    assert_eq!(status["last_error"], Value::Null, "{status:#}");
    for file in ["runtime/proofs", "runtime/devnet/chain", "runtime/devnet/lock"] {
        assert!(bed.home().join(file).exists(), "{file}");
    }
    // In the place of a folder lies a file: told, and mining goes on.
    put_a_file_in_the_place_of(&bed.home().join("logs"));
    bed.wait_for(PATIENCE, |status| status["last_error"].to_string().contains("the log cannot be written"));
    let logs = bed.run(&["logs"]);
    let said = logs.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(logs.code == 6 && said.contains("logs is a file, and a folder is needed there"), "{logs:?}");
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn a_foreground_session_ends_in_order_with_its_terminal() {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    use std::os::unix::process::CommandExt as _;

    let bed = Bed::new("");
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both numbers are written to, and a name, a mode and a size may be left out.
    let made = unsafe { libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just opened, and nobody else knows their numbers.
    let [ours, theirs] = [ours, theirs].map(|number| unsafe { std::fs::File::from_raw_fd(number) });
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC).unwrap();
    let number = theirs.as_raw_fd();
    let mut command = bed.command(&["start", "--devnet", "--foreground", "--plugin-dir", bed.plugins()]);
    command.stdin(theirs.try_clone().unwrap());
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs.try_clone().unwrap());
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated: two system calls on
    // a descriptor that is open.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 || libc::ioctl(number, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut session = command.spawn().unwrap();
    drop((command, theirs));
    bed.wait_for(PATIENCE, |status| status["state"] == "RUNNING");
    let pids = bed.pids();
    drop(ours);
    assert!(ended(&mut session, PATIENCE).success(), "{}", bed.log());
    assert!(bed.log().contains("its terminal was closed"), "{}", bed.log());
    assert!(bed.alive(&pids).is_empty());
    assert_eq!(bed.status()["state"], "STOPPED");
}

fn metrics(status: &Value) -> Value {
    let endpoints = status["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["purpose"] == "metrics").cloned().unwrap_or_default()
}

#[test]
fn metrics_on_a_taken_port_are_told_with_the_cause_and_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bed = Bed::with("", &format!("[mining.session]\nmetrics_listen = \"{address}\""));
    assert_eq!(bed.start().code, 0);
    let log = bed.log();
    assert!(log.contains(&format!("metrics cannot be served on {address}")), "{log}");
    assert!(log.contains("Address already in use"), "{log}");
    assert_eq!(metrics(&bed.status())["reachable"], false);
    drop(taken);
    bed.wait_for(PATIENCE, |status| metrics(status)["reachable"] == true);
    assert!(bed.http(&address.to_string(), "/metrics").starts_with("HTTP/1.1 200"));
}

#[test]
fn metrics_are_served_at_a_socket_too_for_who_shares_no_loopback_with_the_session() {
    let shared = tempfile::tempdir().unwrap();
    let path = shared.path().join("metrics.sock");
    let bed = Bed::with("", &format!("[mining.session]\nmetrics_socket = \"{}\"", path.display()));
    assert_eq!(bed.start().code, 0);
    let ask = || {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("pearlbed_earning "), "{answer}");
    let address = format!("unix:{}", path.display());
    assert!(bed.status()["endpoints"].to_string().contains(&address), "{:#}", bed.status());
    // Somebody tidies up: it is made again.
    std::fs::remove_file(&path).unwrap();
    // It is there a moment before it is listened at.
    wait_until(PATIENCE, || std::os::unix::net::UnixStream::connect(&path).is_ok(), || bed.log());
    assert!(ask().starts_with("HTTP/1.1 200"));
    assert_eq!(bed.run(&["stop"]).code, 0);
    assert!(!path.exists(), "it goes with the session");
}

#[test]
fn metrics_are_always_served_and_recorded_as_openjarvis_reads_them() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    wait_until(PATIENCE, || bed.sidecar().is_some(), || bed.log());
    let record = bed.sidecar().unwrap();
    let base = record["gateway_metrics_url"].as_str().unwrap();
    let address = base.strip_prefix("http://").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{record:#}");
    assert_eq!(record["metrics_url"], format!("{base}/metrics"));
    assert!(bed.http(address, "/metrics").contains("pearl_gateway_shares_submitted_total"));
}

#[test]
fn a_record_of_another_program_in_our_place_is_left_and_told_and_ours_is_made_again_after_it() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    wait_until(PATIENCE, || bed.sidecar().is_some(), || bed.log());
    let file = bed.home().join("runtime/mining.json");
    // Its process is this test's, which runs.
    let foreign = format!(r#"{{"provider":"vllm-pearl","gateway_pid":{}}}"#, std::process::id());
    bed.put_record(&foreign);
    let told =
        |status: &Value| status["last_error"].to_string().contains("another program recorded a session");
    bed.wait_for(PATIENCE, told);
    let trouble = |status: &Value| {
        let endpoints = status["endpoints"].as_array().unwrap().iter();
        endpoints.clone().find(|one| one["purpose"] == "record").map(|one| one["trouble"].clone())
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let status = bed.wait_for(PATIENCE, |status| trouble(status).is_some());
    assert!(trouble(&status).unwrap()["hint"].to_string().contains("jarvis mine stop"), "{status:#}");
    let page = words(&bed.run(&["status"]).stdout);
    assert!(page.contains("trouble record, for ") && page.contains("(vllm-pearl)"), "{page}");
    let doctor = || words(&bed.run(&["doctor", "--plugin-dir", bed.plugins()]).stdout);
    let said = doctor();
    assert!(said.contains("warn session-state/record another program recorded a session"), "{said}");
    // A provider that is started again writes a record, too.
    next_provider(&bed);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), foreign);
    std::fs::remove_file(&file).unwrap();
    wait_until(
        PATIENCE,
        || bed.sidecar().is_some_and(|record| record["provider"] == "odd-miner"),
        || bed.log(),
    );
    // And then nobody says so any more.
    bed.wait_for(PATIENCE, |status| trouble(status).is_none());
    assert!(!doctor().contains("session-state/record"));
    assert!(bed.log().contains("the session is recorded in its place again"), "{}", bed.log());
}

#[test]
fn a_record_of_another_program_that_may_run_is_neither_replaced_nor_removed_however_it_is_written() {
    let bed = Bed::new("");
    let file = bed.home().join("runtime/mining.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    for record in [
        // As a container's session is recorded, and in forms of versions that nobody here knows.
        r#"{"provider":"vllm-pearl","container_id":"abc"}"#,
        r#"{"provider":"vllm-pearl","container_id":5}"#,
        r#"{"provider":"vllm-pearl","gateway_pid":"123"}"#,
        r#"{"provider":"vllm-pearl","started_at":"2026-11-30T10:00:00Z"}"#,
        r#"{"provider":"vllm-pearl","gateway_url":"http://127.0.0.1:8337"}"#,
        r#"{"provider":"vllm-pearl","gateway_pid":0,"containers":["abc"]}"#,
        r#"{"provider":"vllm-pearl","gateway_pid":4194304,"container_id":"abc"}"#,
    ] {
        std::fs::write(&file, record).unwrap();
        assert_eq!(bed.status()["condition"], "unknown", "{record}");
        for refused in [
            bed.start(),
            bed.run(&["attach", "--gateway-url", "http://127.0.0.1:1", "--unchecked"]),
            bed.run(&["stop"]),
        ] {
            assert_ne!(refused.code, 0, "{record}: {refused:?}");
            let words = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                words.contains("cannot be told") && words.contains("jarvis mine stop"),
                "{record}: {refused:?}"
            );
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), record);
        assert_eq!(bed.run(&["stop", "--forget"]).code, 0, "{record}");
        assert!(!file.exists(), "{record}");
    }
}

#[test]
fn a_model_that_a_provider_serves_meanwhile_is_in_the_record_while_it_answers() {
    let engine = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1", engine.local_addr().unwrap());
    let bed = Bed::new(&format!("odd = \"serve\"\nserve_at = \"{endpoint}\""));
    assert_eq!(bed.start().code, 0);
    let served = || {
        bed.sidecar()
            .is_some_and(|record| record["vllm_endpoint"] == endpoint && record["model"] == "odd-model")
    };
    wait_until(PATIENCE, served, || bed.sidecar());
    drop(engine);
    wait_until(
        PATIENCE,
        || bed.sidecar().is_some_and(|record| record["vllm_endpoint"].is_null()),
        || bed.sidecar(),
    );
    // A plugin does not choose whose machine hears what is said to the model.
    assert_eq!(bed.run(&["stop"]).code, 0);
    bed.config("odd = \"serve\"\nserve_at = \"http://192.0.2.1:80/v1\"", "");
    assert_eq!(bed.start().code, 0);
    bed.wait_for(PATIENCE, |status| status["provider_stats"]["details"]["endpoint"].is_string());
    wait_until(PATIENCE, || bed.sidecar().is_some(), || bed.log());
    assert_eq!(bed.sidecar().unwrap()["vllm_endpoint"], Value::Null);
}

#[test]
fn a_wallet_that_was_changed_under_a_session_is_told_by_doctor_status_and_init() {
    let [paid, other] = ["prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k", OTHER_WALLET];
    let network = pearlbed_tests::network::Network::new(0x1d10_0000, 3);
    let gateway = pearlbed_tests::gateway::Gateway::tcp(&network);
    let extra = format!("gateway_port = {}", gateway.port());
    let mining = |wallet: &str| format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{wallet}\"");
    let bed = Bed::with(&extra, &mining(paid));
    let started = bed.run(&["start", "--plugin-dir", bed.plugins()]);
    assert_eq!(started.code, 0, "{started:?}");
    let doctor = || bed.run(&["doctor", "--plugin-dir", bed.plugins()]).stdout;
    let drifted = |text: &str| {
        text.split_whitespace().collect::<Vec<_>>().join(" ").contains("the session that runs pays")
    };
    assert!(!drifted(&doctor()));
    bed.config(&extra, &mining(other));
    let told = doctor();
    assert!(drifted(&told), "{told}");
    let status = bed.run(&["status"]).stdout;
    assert!(drifted(&status), "{status}");
    assert_eq!(bed.status()["other_wallet"], serde_json::json!({ "pays": paid, "configured": other }));
    // Who sets it hears it at once, and who sets it back hears nothing.
    let init = |wallet: &str| {
        let flags = [
            "init",
            "--provider",
            "odd-miner",
            "--submit-target",
            "solo",
            "--wallet-address",
            wallet,
            "--yes",
        ];
        let answer = bed.run(&[&flags[..], &["--plugin-dir", bed.plugins()]].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stderr
    };
    assert!(!drifted(&init(paid)) && bed.status()["other_wallet"].is_null());
    let told = init(other);
    assert!(drifted(&told), "{told}");
}

/// Another valid Taproot address.
const OTHER_WALLET: &str = "prl1pquyqjzstpsxsurcszyfpx9q4zct3sxg6rvwp68slyqsjygeyy5nq54mnzx";

#[test]
fn every_setting_of_the_bundled_cpu_provider_is_explained_in_its_documents_and_by_a_command() {
    let bed = Bed::new("");
    let folder = build::plugin("cpu-pearl");
    let folder = folder.parent().unwrap().to_str().unwrap().to_owned();
    let answer = bed.run(&["config", "keys", "--provider", "cpu-pearl", "--plugin-dir", &folder]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let readme = std::fs::read_to_string(build::workspace().join("plugins/cpu-pearl/README.md")).unwrap();
    for key in ["threads", "cpu_percent", "pin"] {
        assert!(answer.stdout.contains(key), "{key}: {}", answer.stdout);
        assert!(readme.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn tries_are_counted_up_and_the_skipped_are_those_that_are_shown() {
    let mining = format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{OTHER_WALLET}\"");
    let bed = Bed::with("gateway_port = 1", &mining);
    let doctor = bed.run(&["doctor", "--plugin-dir", bed.plugins()]).stdout;
    let shown = doctor.lines().filter(|line| line.starts_with("  skip ")).count();
    let counted = doctor
        .split_whitespace()
        .collect::<Vec<_>>()
        .windows(2)
        .find_map(|pair| pair[1].starts_with("skipped").then(|| pair[0].parse::<usize>().unwrap()));
    assert_eq!(counted.unwrap_or(0), shown, "{doctor}");
    let started = bed.run(&["start", "--plugin-dir", bed.plugins(), "--wait", "1"]);
    assert_eq!(started.code, 4, "{started:?}");
    let counted_up = |text: &str| (3..10).any(|number| text.contains(&format!("(try {number})")));
    bed.wait_for(PATIENCE, |status| counted_up(&status["work"].to_string()));
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn no_proof_of_the_first_session_ever_is_called_one_of_an_earlier_session() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(3));
    assert!(!bed.log().contains("of an earlier session"), "{}", bed.log());
}

#[test]
fn who_wins_a_device_by_its_word_alone_loses_it_to_the_next_where_its_shares_do_not_bear_it_out() {
    // Told of this model, `odd-miner` expects 10 TH/s of itself; it does a few MH/s.
    let bed = Bed::new("model = \"model-of-boasters\"");
    let library = format!("cpu_pearl{}", std::env::consts::DLL_SUFFIX);
    std::fs::copy(build::plugin("cpu-pearl"), Path::new(bed.plugins()).join(library)).unwrap();
    let answer = bed.start();
    assert_eq!(answer.code, 0, "{answer:?}");
    let names = |status: &Value| -> Vec<String> {
        let miners = status["miners"].as_array().unwrap().iter();
        let present = miners.filter(|miner| miner["condition"] == "mining");
        present.map(|miner| miner["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&bed.status()), ["odd-miner"], "{answer:?}");
    let doctor = bed.run(&["doctor", "--plugin-dir", bed.plugins()]).stdout;
    let words = doctor.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("odd-miner would mine here, by its own estimate at 10.0 TH/s"), "{doctor}");
    bed.wait_for(PATIENCE * 2, |status| names(status) == ["cpu-pearl"]);
    let log = bed.log();
    assert!(log.contains("`odd-miner` expected 10.0 TH/s of itself and does "), "{log}");
    assert!(log.contains("`odd-miner` is put aside, and `cpu-pearl` mines in its place"), "{log}");
    // What was shown is not forgotten with the configuration.
    let answer = bed.run(&["reload"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "read again; changed: nothing\n"), "{answer:?}");
    assert_eq!(names(&bed.status()), ["cpu-pearl"]);
    // It was asked for by nobody: the record of the session names who mines.
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
    assert_eq!(bed.sidecar().unwrap()["provider"], "cpu-pearl");
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew_at_a_reload_and_at_a_hangup() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let log = bed.home().join("logs/mining.log");
    let supervisor = bed.pids()[0];
    for (name, hangup) in [("by-reload", false), ("by-hangup", true)] {
        let away = log.with_extension(name);
        std::fs::rename(&log, &away).unwrap();
        if hangup {
            bed.signal(supervisor, Signal::HUP);
        } else {
            assert_eq!(bed.run(&["reload"]).code, 0);
        }
        wait_until(PATIENCE, || !bed.log().is_empty(), || std::fs::read_to_string(&away));
        // Whatever is said from here on is said in the new file.
        let before = std::fs::read_to_string(&away).unwrap();
        next_provider(&bed);
        wait_until(PATIENCE, || bed.log().contains("the provider has started"), || bed.log());
        assert_eq!(std::fs::read_to_string(&away).unwrap(), before, "{name}");
    }
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn what_a_caller_left_open_is_held_by_no_session_and_no_gateway_that_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (script, record) = (folder.path().join("gateway"), folder.path().join("record"));
    // It ends each time, so that it is also started while providers run.
    let text = format!("#!/bin/sh\nexec >> {} 2>&1\nls -l /proc/$$/fd\necho end\nexit 3\n", record.display());
    std::fs::write(&script, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let bed = Bed::with(
        "gateway_port = 1",
        &format!(
            "[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{OTHER_WALLET}\"\n[mining.gateway]\ncommand = [{script:?}]"
        ),
    );
    // As a script does that holds a lock with `flock`: the descriptor is handed on to whatever it starts.
    let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
    let left_open = rustix::io::dup(&lock).unwrap();
    let started = bed.run(&["start", "--plugin-dir", bed.plugins(), "--wait", "2"]);
    drop(left_open);
    assert_eq!(started.code, 4, "{started:?}");
    bed.wait_for(PATIENCE, |status| !status["provider_pid"].is_null());
    for pid in bed.pids() {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            assert!(target != folder.path().join("lock"), "process {pid} holds {}", target.display());
        }
    }
    let said = || std::fs::read_to_string(&record).unwrap_or_default();
    let runs = || said().matches("end\n").count();
    let before = runs();
    wait_until(PATIENCE, || runs() >= before + 2, said);
    for line in said().lines().filter(|line| line.contains(" -> ")) {
        let (number, target) = line.split_once(" -> ").unwrap();
        let number: u32 = number.rsplit(' ').next().unwrap().parse().unwrap();
        let is_stream = number == 0 && target == "/dev/null" || number <= 2 && Path::new(target) == record;
        // The shell reads its script.
        assert!(is_stream || number > 2 && Path::new(target) == script, "{line}\n{}", said());
    }
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn of_a_gateway_that_the_session_started_nobody_is_left_also_where_the_session_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (script, record) = (folder.path().join("gateway"), folder.path().join("record"));
    // A script around a gateway with a worker: none of the three hears of the session's end by itself.
    let text = format!(
        "#!/bin/sh\n(trap '' INT; while :; do sleep 1; done) &\necho $! >> {0}\necho $$ >> {0}\nwhile :; do sleep 1; done\n",
        record.display()
    );
    std::fs::write(&script, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let bed = Bed::with(
        "gateway_port = 1",
        &format!(
            "[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{OTHER_WALLET}\"\n[mining.gateway]\ncommand = [{script:?}]"
        ),
    );
    let started = bed.run(&["start", "--plugin-dir", bed.plugins(), "--wait", "2"]);
    assert_eq!(started.code, 4, "{started:?}");
    let said = || std::fs::read_to_string(&record).unwrap_or_default();
    wait_until(PATIENCE, || said().lines().count() == 2, said);
    let pids: Vec<u32> = said().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(bed.alive(&pids), pids);
    bed.signal(bed.pids()[0], Signal::KILL);
    wait_until(PATIENCE, || bed.alive(&pids).is_empty(), || format!("{:?}", bed.alive(&pids)));
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn who_watches_the_status_sees_its_history_and_leaves_with_q_and_a_stop_sums_up() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let Some(mut terminal) = Terminal::start(&mut bed.command(&["status", "--watch"])) else {
        println!("skipped: a status that is watched: this system gives no terminal");
        return;
    };
    terminal.expect("history");
    terminal.type_in("q");
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    let stopped = bed.run(&["stop"]);
    let told = stopped.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("it ran for ") && told.contains("H/s on average"), "{told}");
}

#[test]
fn everything_that_was_met_in_the_field_has_a_test_that_is_there() {
    let (document, sources) = (document("field.md"), sources());
    let rows = rows(&document, |first| first.parse::<u32>().is_ok());
    let numbers: Vec<u32> = rows.iter().map(|cells| cells[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    for cells in rows {
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
        let tests: Vec<_> = cells[3].split('`').filter(|part| part.contains('_')).collect();
        assert!(!tests.is_empty(), "{cells:?}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "no test {test}");
        }
    }
}
