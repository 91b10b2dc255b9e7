//! Sessions of the real binary with a provider that really mines, and misbehaves on order (S1 to S7 of the corpus).

use std::time::Duration;

use pearlbed_tests::lacking::Lacking;
use pearlbed_tests::session::{Bed, children, ended, wait_until};
use pearlbed_tests::surgery::Library;
use pearlbed_tests::{build, misbehave};
use serde_json::json;

/// Long enough for the slowest machine; nothing waits for its end unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn start_mines_status_tells_and_stop_leaves_nothing_behind() {
    let bed = Bed::new("");
    let answer = bed.run(&["status"]);
    assert_eq!((answer.code, answer.stdout.starts_with("NOT_CONFIGURED")), (3, true), "{answer:?}");

    let answer = bed.start();
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.starts_with("mining with odd-miner"), "{answer:?}");
    assert!(answer.stderr.contains("no network"), "what it may do is said: {answer:?}");
    let again = bed.start();
    assert_eq!(again.code, 0);
    assert!(again.stdout.starts_with("already running: odd-miner"), "{again:?}");

    let status = bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(2));
    assert_eq!(status["state"], "RUNNING");
    assert_eq!(status["schema"], 2);
    assert_eq!(status["miners"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["miners"][0]["proofs"]["found"], status["proofs"]["found"]);
    assert_eq!(status["miners"][0]["condition"], "mining");
    assert_eq!(status["provider"], "odd-miner");
    for key in ["found", "verified", "late", "paying", "submitted", "accepted", "rejected", "stale"] {
        assert!(status["proofs"][key].is_u64(), "{key}");
    }
    for window in ["10s", "60s", "15m"] {
        assert!(status["hashrate"]["raw"].get(window).is_some(), "{window}");
    }
    for key in ["accepted", "verified", "judgement", "verdict"] {
        assert!(status["hashrate"].get(key).is_some(), "{key}");
    }
    for key in ["restarts", "last_error", "endpoints", "job", "work", "confinement", "expected_seconds"] {
        assert!(status.get(key).is_some(), "{key}");
    }
    assert!(status["hashrate"]["raw"]["15m"].is_null(), "never a number before the window is full");
    assert_eq!(bed.run(&["status"]).code, 0, "it earns");

    let record = bed.sidecar().expect("a session that runs is recorded");
    assert_eq!(record["gateway_pid"], status["supervisor_pid"]);
    assert_eq!(record["miner_loop_pid"], status["provider_pid"]);
    assert_eq!(record["pearlbed"]["pid"], status["supervisor_pid"]);

    let log = bed.run(&["logs", "-n", "500"]).stdout;
    assert!(log.contains("took its first job") && log.contains("found and verified"), "{log}");

    let pids = bed.pids();
    let answer = bed.run(&["stop"]);
    assert_eq!(answer.code, 0);
    assert!(answer.stdout.starts_with("stopped odd-miner"), "{answer:?}");
    assert_eq!(bed.alive(&pids), Vec::<u32>::new());
    assert!(bed.sidecar().is_none() && !bed.home().join("runtime/mining.sock").exists());
    let status = bed.status();
    assert_eq!(status["state"], "STOPPED");
    assert!(status["last_session"]["proofs"]["accepted"].as_u64() >= Some(2));
    for command in [&["pause"][..], &["resume"], &["restart", "odd-miner"], &["reload"]] {
        let answer = bed.run(command);
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.stderr.contains("no session runs"), "{answer:?}");
    }
    let answer = bed.run(&["stop"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "nothing was running\n"));
}

#[test]
fn without_configuration_both_ways_on_are_named() {
    let bed = Bed::new("");
    let answer = bed.run(&["start", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.contains("pearlbed init") && answer.stderr.contains("--devnet"), "{answer:?}");
    assert!(!bed.home().exists() || bed.home().read_dir().unwrap().count() == 0);
}

#[test]
fn s1_a_provider_that_ends_by_any_road_is_restarted_and_says_why() {
    for (odd, words) in [
        ("crash", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("exit", "exit status 0"),
        ("kill", "SIGKILL"),
        ("give-up", "it was told to give up"),
    ] {
        let bed = Bed::new(&format!("odd = \"{odd}\"\nodd_after_ms = 1500"));
        assert_eq!(bed.start().code, 0, "{odd}");
        let status = bed.wait_for(PATIENCE, |status| status["restarts"].as_u64() >= Some(1));
        let error = status["last_error"].as_str().unwrap_or_default();
        assert!(error.contains(words), "{odd}: {error}");
        bed.wait_for(PATIENCE, |status| {
            status["earning"] == json!(true) || status["restarts"].as_u64() >= Some(2)
        });
        assert_eq!(bed.run(&["stop"]).code, 0, "{odd}");
    }
}

#[test]
fn s1_a_provider_that_never_gets_to_its_first_job_fails_the_start() {
    let bed = Bed::new("odd = \"crash\"");
    let answer = bed.start();
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("3 times in a row") && answer.stderr.contains("SIGSEGV"), "{answer:?}");
    assert_eq!(bed.status()["state"], "FAILED");
    let bed = Bed::new("odd = \"refuse\"");
    let answer = bed.start();
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("it was told to refuse"), "{answer:?}");
}

#[test]
fn s2_a_provider_that_does_nothing_is_named_as_stalled_and_restarted() {
    for (odd, words) in [
        // Whether it is caught between two jobs or in one is chance.
        ("idle", "it has"),
        ("barren", "has found nothing"),
        ("mute", "has reported no work"),
    ] {
        let bed = Bed::with(
            &format!("odd = \"{odd}\"\nodd_after_ms = 1500"),
            "[mining.session]\nstall_after = \"2s\"",
        );
        assert_eq!(bed.start().code, 0, "{odd}");
        let status = bed.wait_for(PATIENCE, |status| status["restarts"].as_u64() >= Some(1));
        let error = status["last_error"].as_str().unwrap_or_default();
        assert!(error.contains("stalled") && error.contains(words), "{odd}: {error}");
    }
}

#[test]
fn s3_what_the_verifier_refuses_is_named_by_stage_and_never_sent() {
    for (odd, stages) in [
        ("garbage", &["decode"][..]),
        ("wrong-job", &["hash_a", "hash_b"]),
        ("below-target", &["difficulty", "rank_penalty"]),
        ("twice", &["duplicate"]),
        ("no-job", &["job"]),
    ] {
        let bed = Bed::new(&format!("odd = \"{odd}\"\nodd_after_ms = 500"));
        assert_eq!(bed.start().code, 0, "{odd}");
        let status = bed.wait_for(PATIENCE, |status| {
            let refused = |stage: &&str| status["proofs"]["refused_by"][*stage].as_u64() >= Some(1);
            stages.iter().any(refused)
                // The provider's own check of the id may stop a proof for no job at all.
                || (odd == "no-job" && status["proofs"]["verified"].as_u64() >= Some(2))
        });
        let proofs = &status["proofs"];
        assert!(proofs["submitted"].as_u64() <= proofs["verified"].as_u64(), "{odd}: {proofs}");
        assert_eq!(proofs["rejected"], 0, "{odd}: the network never saw it");
        if odd == "garbage" {
            let status = bed.wait_for(PATIENCE, |status| status["condition"] == "refused-proofs");
            assert_eq!(status["earning"], false);
            assert_eq!(bed.run(&["status"]).code, 4);
        }
    }
}

#[test]
fn s4_a_claim_that_the_proofs_do_not_bear_out_is_shown_beside_them() {
    let bed = Bed::new("odd = \"boast\"");
    assert_eq!(bed.start().code, 0);
    let status = bed.wait_for(PATIENCE, |status| {
        let verdict = status["hashrate"]["judgement"]["verdict"].as_str();
        verdict == Some("claims-more") && status["proofs"]["accepted"].as_u64() >= Some(3)
    });
    let judgement = &status["hashrate"]["judgement"];
    assert_eq!(judgement["found"], status["proofs"]["found"], "the same word is the same number");
    assert!(judgement["due"].as_f64() > Some(100.0), "{judgement}");
    let text = bed.run(&["status"]);
    assert!(text.stdout.contains("claims more than its proofs bear out"), "{text:?}");
    assert_eq!(status["restarts"], 0, "it mines all the same");
}

#[test]
fn s5_a_provider_that_ignores_stop_is_ended_after_its_grace() {
    let bed = Bed::with("odd = \"ignore-stop\"", "[mining.session]\nstop_grace = \"1s\"");
    assert_eq!(bed.start().code, 0);
    let pids = bed.pids();
    let answer = bed.run(&["stop"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.starts_with("stopped odd-miner"), "{answer:?}");
    assert_eq!(bed.alive(&pids), Vec::<u32>::new());
    assert!(bed.log().contains("did not stop within"), "{}", bed.log());
}

#[test]
fn s6_what_was_not_granted_is_denied_and_named() {
    if !pearlbed::sandbox::support().seccomp_notify {
        println!("skipped: this kernel cannot name what it denies");
        return;
    }
    let bed = Bed::new("odd = \"reach-out\"");
    assert_eq!(bed.start().code, 0);
    let status = bed.wait_for(PATIENCE, |status| {
        status["confinement"]["denied"].as_object().is_some_and(|denied| denied.len() >= 4)
    });
    let denied = status["confinement"]["denied"].to_string();
    for words in ["network connection", "write a file", "/tmp/odd-miner-was-here", "stop its own process"] {
        assert!(denied.contains(words), "{words}: {denied}");
    }
    assert!(denied.contains("run a program") || denied.contains("start a process"), "{denied}");
    assert!(!std::path::Path::new("/tmp/odd-miner-was-here").exists());
    assert_eq!(status["confinement"]["withheld"], json!(["program:/bin/true"]));
    assert!(bed.log().contains("denied: the provider tried to"), "{}", bed.log());
    bed.wait_for(PATIENCE, |status| status["proofs"]["verified"].as_u64() >= Some(1));
}

#[test]
fn a_session_on_a_kernel_that_lacks_a_mechanism_says_so_mines_and_refuses_all_the_same() {
    let support = pearlbed::sandbox::support();
    if !support.seccomp_notify || support.landlock_abi.is_none() {
        println!("skipped: this kernel lacks {:?}", support.missing());
        return;
    }
    let files = "every readable file can be read";
    let names = "refused system calls cannot be shown here";
    let cases = [
        (Lacking { landlock: Some(libc::ENOSYS), notification: None }, vec![files]),
        (Lacking { landlock: None, notification: Some(libc::EBUSY) }, vec![names]),
        (Lacking { landlock: Some(libc::EOPNOTSUPP), notification: Some(libc::EINVAL) }, vec![files, names]),
    ];
    for (lacking, told) in cases {
        let bed = Bed::new("odd = \"reach-out\"");
        let mut command = bed.command(&["start", "--devnet", "--plugin-dir", bed.plugins()]);
        lacking.around(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(0), "{lacking:?}: {said}");
        // Files that nobody keeps from it are told before it mines.
        let exposed = said.contains("is not fully confined on this system: plugins can read every file");
        assert_eq!(exposed, lacking.landlock.is_some(), "{lacking:?}: {said}");
        let denied = |status: &serde_json::Value| status["confinement"]["denied"].as_object().unwrap().len();
        let named = lacking.notification.is_none();
        let status = bed.wait_for(PATIENCE, |status| {
            status["proofs"]["verified"].as_u64() >= Some(1) && (denied(status) >= 4 || !named)
        });
        let summary = status["confinement"]["summary"].as_str().unwrap();
        for words in told {
            assert!(summary.contains(words), "{lacking:?}: {summary}");
        }
        assert!(!std::path::Path::new("/tmp/odd-miner-was-here").exists(), "{lacking:?}");
        assert!(named || denied(&status) == 0, "{lacking:?}: {status:#}");
        assert_eq!(bed.run(&["stop"]).code, 0);
    }
}

#[test]
fn s7_a_flood_is_bounded_and_counted_and_mining_goes_on() {
    for odd in ["flood-log", "flood-print", "flood-progress"] {
        let bed = Bed::new(&format!("odd = \"{odd}\""));
        assert_eq!(bed.start().code, 0, "{odd}");
        let status = bed.wait_for(PATIENCE, |status| {
            let dropped =
                status["flood"]["log_lines_dropped"].as_u64() > Some(100) || odd == "flood-progress";
            dropped && status["proofs"]["verified"].as_u64() >= Some(1)
        });
        assert_eq!(status["restarts"], 0, "{odd}");
        let log = std::fs::metadata(bed.home().join("logs/mining.log")).unwrap().len();
        assert!(log < 1 << 20, "{odd}: {log} bytes of log");
        assert_eq!(bed.run(&["stop"]).code, 0, "{odd}");
        assert!(!bed.log().contains('\x1b'), "{odd}");
    }
}

#[test]
fn rubbish_on_the_pipe_ends_the_provider_process_and_not_the_supervisor() {
    let bed = Bed::new("odd = \"rubbish-on-pipe\"\nodd_after_ms = 1500");
    assert_eq!(bed.start().code, 0);
    let before = bed.status()["supervisor_pid"].clone();
    let status = bed.wait_for(PATIENCE, |status| status["restarts"].as_u64() >= Some(1));
    assert_eq!(status["supervisor_pid"], before);
    let error = status["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("frame"), "{error}");
}

#[test]
fn a_provider_that_hangs_in_start_is_not_called_started() {
    let bed = Bed::with("odd = \"hang-in-start\"", "[mining.session]\nstall_after = \"1s\"");
    let answer = bed.start();
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("stalled"), "{answer:?}");
}

/// A socket as a service manager holds one, and what came in at it.
struct Manager(std::os::unix::net::UnixDatagram);

impl Manager {
    fn at(socket: &std::path::Path) -> Self {
        let manager = std::os::unix::net::UnixDatagram::bind(socket).expect("the folder is our own");
        manager.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        Self(manager)
    }

    /// The next thing that it is told.
    fn told(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("the session tells its manager");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

#[test]
fn a_session_is_ready_without_its_gateway_and_says_what_it_waits_for() {
    let bed = Bed::with(
        "odd = \"honest\"",
        "[mining]\nwallet_address = \"prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k\"\n\
         [mining.gateway]\nsocket = \"/nowhere/gateway.sock\"",
    );
    let socket = bed.dir().join("notify");
    let manager = Manager::at(&socket);
    let mut session = bed
        .command(&["start", "--foreground", "--plugin-dir", bed.plugins()])
        .env("NOTIFY_SOCKET", &socket)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let first = manager.told();
    assert_eq!(first, "READY=1");
    assert_eq!(bed.status()["supervisor_pid"], session.id(), "ready means that it answers");
    let waits = std::iter::repeat_with(|| manager.told()).find(|told| told.contains("/nowhere/gateway.sock"));
    assert!(waits.unwrap().starts_with("STATUS=gateway at unix:/nowhere/gateway.sock cannot"));
    bed.signal(session.id(), rustix::process::Signal::TERM);
    assert!(ended(&mut session, PATIENCE).success());
    let mut told = std::iter::repeat_with(|| manager.told()).skip_while(|told| told != "STOPPING=1");
    assert!(told.any(|told| told == "STATUS=stopping: told to end (SIGTERM)"));
}

#[test]
fn the_journal_is_told_how_grave_each_line_is_and_not_the_time() {
    use std::os::unix::fs::MetadataExt;
    let bed = Bed::new("");
    let path = bed.dir().join("journal");
    let run = |args: &[&str]| {
        let journal = std::fs::File::create(&path).unwrap();
        let stat = journal.metadata().unwrap();
        let mut command = bed.command(args);
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino())).stderr(journal);
        command
    };
    let refused = run(&["start", "--foreground", "--plugin-dir", bed.plugins()]).status().unwrap();
    assert_eq!(refused.code(), Some(6));
    let said = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("<3>")), "{said}");
    assert!(lines[0].starts_with("<3>error: nothing is set up yet"), "{said}");
    assert!(lines[1].starts_with("<3>hint: `pearlbed init` sets it up"), "{said}");

    let mut session =
        run(&["start", "--devnet", "--foreground", "--plugin-dir", bed.plugins()]).spawn().unwrap();
    bed.wait_for(PATIENCE, |status| status["earning"] == json!(true));
    bed.signal(session.id(), rustix::process::Signal::TERM);
    assert!(ended(&mut session, PATIENCE).success());
    let said = std::fs::read_to_string(&path).unwrap();
    for line in said.lines() {
        let (priority, text) = line.split_once('>').unwrap();
        assert!(["<3", "<4", "<6", "<7"].contains(&priority), "{line}");
        assert!(["supervisor ", "provider ", "output "].iter().any(|who| text.starts_with(who)), "{line}");
    }
    assert!(bed.log().starts_with("20"), "the file keeps its times");
    assert!(said.contains("<6>supervisor  session ends: told to end"), "{said}");
    assert!(!said.contains("<4>"), "an orderly session warns of nothing: {said}");
}

#[test]
fn the_foreground_session_tells_the_service_manager_and_ends_with_sigterm() {
    let bed = Bed::new("");
    let socket = bed.dir().join("notify");
    let manager = Manager::at(&socket);
    let mut session = bed
        .command(&["start", "--devnet", "--foreground", "--plugin-dir", bed.plugins()])
        .env("NOTIFY_SOCKET", &socket)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(manager.told().starts_with("READY=1"));
    assert_eq!(bed.status()["supervisor_pid"], session.id());

    bed.config("odd = \"honest\"", "[mining.session]\nstop_grace = \"7s\"");
    bed.signal(session.id(), rustix::process::Signal::HUP);
    wait_until(PATIENCE, || bed.log().contains("in force now: mining.session.stop_grace"), || bed.log());
    assert!(bed.log().contains("miner odd-miner changed and started again"), "{}", bed.log());
    bed.wait_for(PATIENCE, |status| status["earning"] == json!(true));

    bed.config("odd = \"honest\"", "[mining.session]\nstop_grace = \"8s\"");
    let reloaded = bed.run(&["reload"]);
    assert_eq!(reloaded.code, 0, "{reloaded:?}");
    assert!(reloaded.stdout.contains("changed: mining.session.stop_grace"), "{reloaded:?}");
    bed.config("odd = \"honest\"", "[mining.session]\nstop_grce = \"8s\"");
    let refused = bed.run(&["reload"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (6, ""), "{refused:?}");
    assert!(
        refused.stderr.contains("stop_grce") && refused.stderr.contains("nothing has changed"),
        "{refused:?}"
    );

    bed.signal(session.id(), rustix::process::Signal::TERM);
    assert!(ended(&mut session, PATIENCE).success());
    assert_eq!(bed.status()["state"], "STOPPED");
}

/// As `systemctl stop` does by the packaged units.
#[test]
fn where_only_the_supervisor_is_told_to_stop_the_provider_ends_in_order_and_no_line_warns() {
    for unit in ["system", "user"] {
        let unit = build::workspace().join(format!("packaging/systemd/{unit}/pearlbed.service"));
        let text = std::fs::read_to_string(unit).unwrap();
        assert!(text.lines().any(|line| line == "KillMode=mixed"), "{text}");
    }
    let bed = Bed::new("");
    let mut session = bed
        .command(&["start", "--devnet", "--foreground", "--plugin-dir", bed.plugins()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
    bed.signal(session.id(), rustix::process::Signal::TERM);
    assert!(ended(&mut session, PATIENCE).success());
    let log = bed.log();
    let stops = log.find("told to end (SIGTERM)").unwrap_or_else(|| panic!("{log}"));
    let after = &log[stops..];
    assert!(
        !after.contains("warn") && !after.contains("error") && !log.contains("while it stopped"),
        "{log}"
    );
}

#[test]
fn metrics_speak_the_names_that_openjarvis_reads() {
    let port = pearlbed_tests::ports::free();
    let bed = Bed::with("", &format!("[mining.session]\nmetrics_listen = \"127.0.0.1:{port}\""));
    assert_eq!(bed.start().code, 0);
    let status = bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
    let endpoints = status["endpoints"].as_array().unwrap();
    let metrics = endpoints.iter().find(|endpoint| endpoint["purpose"] == "metrics").unwrap();
    let address = metrics["address"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let address = address.strip_suffix("/metrics").unwrap();
    let page = bed.http(address, "/metrics");
    for name in [
        "pearl_gateway_shares_submitted_total",
        "pearl_gateway_shares_accepted_total",
        "pearl_gateway_blocks_found_total",
        "pearl_gateway_last_share_timestamp",
        "process_start_time_seconds",
    ] {
        let line = page
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .unwrap_or_else(|| panic!("{name}: {page}"));
        assert!(line.split(' ').nth(1).unwrap().parse::<f64>().unwrap() > 0.0, "{line}");
    }
    assert!(bed.http(address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(bed.http(address, "/elsewhere").starts_with("HTTP/1.1 404"));
    let record = bed.sidecar().unwrap();
    assert_eq!(record["metrics_url"], metrics["address"]);
}

#[test]
fn attach_records_a_miner_of_others_and_never_beside_a_session() {
    let bed = Bed::new("");
    let flags = ["attach", "--provider", "other", "--gateway-url", "http://127.0.0.1:1", "--unchecked"];
    assert_eq!(bed.run(&["attach", "--provider", "other", "--gateway-url", "nonsense"]).code, 2);
    assert_eq!(bed.run(&flags).code, 0);
    assert_eq!(bed.status()["provider"], "other");
    assert_eq!(bed.run(&["status"]).code, 1, "whether it earns cannot be told");
    let answer = bed.start();
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("attached"), "{answer:?}");
    assert!(bed.run(&["stop"]).stdout.contains("forgot the attached miner"));
    assert_eq!(bed.start().code, 0);
    let answer = bed.run(&flags);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("runs already"), "{answer:?}");
}

#[test]
fn a_broken_record_is_explained_and_never_costs_the_live_session() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let pid = bed.status()["supervisor_pid"].clone();
    for rubbish in ["", "{", "[1,2", r#"{"gateway_pid":1,"miner_loop_pid":1}"#] {
        std::fs::write(bed.home().join("runtime/mining.json"), rubbish).unwrap();
        assert_eq!(bed.status()["supervisor_pid"], pid);
        assert!(bed.start().stdout.starts_with("already running"));
    }
    std::fs::remove_file(bed.home().join("runtime/mining.json")).unwrap();
    assert_eq!(bed.status()["supervisor_pid"], pid);
    assert!(bed.run(&["stop"]).stdout.starts_with("stopped odd-miner"));
}

#[test]
fn a_runtime_folder_that_cannot_be_written_fails_before_anything_is_spawned() {
    let bed = Bed::new("");
    // A file in its place stops root, too.
    std::fs::create_dir_all(bed.home()).unwrap();
    std::fs::write(bed.home().join("runtime"), "in the way").unwrap();
    let answer = bed.start();
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.contains("cannot make") && answer.stderr.contains("runtime"), "{answer:?}");
    assert!(!bed.home().join("logs/mining.log").exists());
}

#[test]
fn a_secret_in_the_environment_is_in_no_file_and_no_process_title() {
    let secret = "correct-horse-battery-staple";
    let bed =
        Bed::new("pearld_rpc_url = \"https://127.0.0.1:1\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"");
    let answer = bed
        .command(&["start", "--devnet", "--plugin-dir", bed.plugins()])
        .env("MY_NODE_PASSWORD", secret)
        .output()
        .unwrap();
    assert!(answer.status.success(), "{answer:?}");
    bed.wait_for(PATIENCE, |status| status["proofs"]["verified"].as_u64() >= Some(1));
    for pid in bed.pids() {
        let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&title).contains(secret));
    }
    let provider = bed.status()["provider_pid"].as_u64().unwrap();
    let environment = std::fs::read(format!("/proc/{provider}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains(secret), "the provider cannot read it");
    let status = bed.run(&["status", "--json"]).stdout;
    assert_eq!(bed.run(&["stop"]).code, 0);
    assert!(!status.contains(secret));
    assert!(!bed.any_file_contains(secret), "a file of the home holds the secret");
}

#[test]
fn of_two_starts_at_once_one_wins_and_the_other_says_who_runs() {
    let bed = Bed::new("");
    let races = std::env::var("PEARLBED_TEST_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    for race in 0..races {
        let start = || {
            bed.command(&["start", "--devnet", "--plugin-dir", bed.plugins()])
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        };
        let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
        let answers = both.each_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        assert!(both.iter().all(|output| output.status.success()), "race {race}: {both:?}");
        let won = answers.iter().filter(|answer| answer.starts_with("mining with")).count();
        let lost = answers.iter().filter(|answer| answer.starts_with("already running")).count();
        assert_eq!((won, lost), (1, 1), "race {race}: {answers:?}");
        let supervisors = bed.processes().iter().filter(|pid| !children(**pid).is_empty()).count();
        assert_eq!(supervisors, 1, "race {race}");
        assert_eq!(bed.run(&["stop"]).code, 0);
    }
}

#[test]
fn a_broken_file_with_the_providers_id_makes_way_for_the_one_that_works() {
    let bed = Bed::new("");
    let folder = std::path::Path::new(bed.plugins());
    let works = folder.join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
    let broken = Library::new(std::fs::read(&works).unwrap()).code_scrambled();
    misbehave::put_library(folder, "broken", &broken);
    let started = bed.start();
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(bed.status()["plugin"]["path"], works.to_str().unwrap(), "{:#}", bed.status());
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn a_plugin_that_others_may_write_to_is_used_only_if_the_flag_says_so() {
    let bed = Bed::new("");
    let plugin =
        std::path::Path::new(bed.plugins()).join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let refused = bed.start();
    assert_eq!(refused.code, 6, "{refused:?}");
    let taken = bed.run(&["start", "--devnet", "--relax-file-checks", "--plugin-dir", bed.plugins()]);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert_eq!(bed.run(&["stop"]).code, 0);
}
