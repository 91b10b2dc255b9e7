//! Several miners in one session, what is asked of them while it runs, and what is left of it after an end without a word.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::collections::BTreeMap;
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::session::Bed;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Long enough for the slowest machine; nothing waits for its end unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

fn condition(status: &Value) -> &str {
    status["miners"][0]["condition"].as_str().unwrap_or_default()
}

#[test]
fn a_miner_rests_and_mines_again_as_it_is_told_and_remembers_it_where_that_was_asked_for() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let mining = bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));

    let answer = bed.run(&["pause"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "paused odd-miner\n"), "{answer:?}");
    let status = bed.wait_for(PATIENCE, |status| condition(status) == "paused");
    assert_eq!((&status["earning"], &status["condition"]), (&json!(false), &json!("paused")), "{status:#}");
    assert!(status["provider_pid"].is_null(), "its process has ended");
    assert_eq!(status["supervisor_pid"], mining["supervisor_pid"]);
    assert_eq!(bed.run(&["status"]).code, 4);

    assert_eq!(bed.run(&["resume", "odd-miner"]).code, 0);
    let before = status["proofs"]["accepted"].as_u64();
    let status = bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() > before);
    assert_eq!((condition(&status), &status["restarts"]), ("mining", &json!(0)), "no failure");

    let answer = bed.run(&["restart", "odd-miner"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "restarted odd-miner\n"), "{answer:?}");
    let old = status["provider_pid"].clone();
    let status = bed.wait_for(PATIENCE, |status| {
        status["provider_pid"].is_u64() && status["provider_pid"] != old && condition(status) == "mining"
    });
    assert_eq!(status["restarts"], 0, "it was asked for");

    let answer = bed.run(&["restart", "nobody"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("no miner is called `nobody`; here are odd-miner"), "{answer:?}");

    assert_eq!(bed.run(&["pause", "--keep"]).code, 0);
    bed.wait_for(PATIENCE, |status| condition(status) == "paused");
    assert_eq!(bed.run(&["stop"]).code, 0);
    let answer = bed.start();
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stderr.contains("every miner is paused"), "{answer:?}");
    assert_eq!(condition(&bed.status()), "paused");
    assert_eq!(bed.run(&["resume", "--keep"]).code, 0);
    bed.wait_for(PATIENCE, |status| condition(status) == "mining");
    assert_eq!(bed.run(&["stop"]).code, 0);
    assert_eq!(bed.start().code, 0);
}

#[test]
fn a_reload_changes_what_changed_and_says_so() {
    let bed = Bed::new("");
    assert_eq!(bed.start().code, 0);
    let before = bed.status();
    let answer = bed.run(&["reload"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "read again; changed: nothing\n"), "{answer:?}");
    assert_eq!(bed.status()["provider_pid"], before["provider_pid"], "it was left alone");

    bed.config("odd = \"honest\"", "[mining.session]\nstall_after = \"50s\"");
    let answer = bed.run(&["reload"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains("miner odd-miner changed and started again"), "{answer:?}");
    assert!(answer.stdout.contains("changed: mining.session.stall_after"), "{answer:?}");
    bed.wait_for(PATIENCE, |status| {
        status["provider_pid"].is_u64()
            && status["provider_pid"] != before["provider_pid"]
            && condition(status) == "mining"
    });
    assert_eq!(bed.status()["supervisor_pid"], before["supervisor_pid"]);

    std::fs::write(bed.home().join("config.toml"), "[mining\n").unwrap();
    let answer = bed.run(&["reload"]);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.contains("not reloaded"), "{answer:?}");
    assert_eq!(condition(&bed.status()), "mining", "it mines on with what it had");
}

#[test]
fn a_miner_that_is_removed_keeps_its_counts_and_goes_on_with_them_when_it_comes_back() {
    let second = "[[mining.miners]]\nname = \"second\"\nprovider = \"odd-miner\"\n";
    let mining = "[mining]\nprovider = \"odd-miner\"\n";
    let bed = Bed::with("", &format!("{mining}{second}"));
    assert_eq!(bed.start().code, 0);
    let verified = |row: &Value| row["proofs"]["verified"].as_u64().unwrap_or_default();
    let before = bed.wait_for(PATIENCE, |status| verified(row(status, "second")) >= 1);
    let first = rows(&before)["odd-miner"]["provider_pid"].clone();

    bed.config("", mining);
    let answer = bed.run(&["reload"]);
    assert!(answer.code == 0 && answer.stdout.contains("miner second removed"), "{answer:?}");
    let status = bed.wait_for(PATIENCE, |status| row(status, "second")["condition"] == "removed");
    assert!(verified(rows(&status)["second"]) >= verified(rows(&before)["second"]), "{status:#}");
    assert_totals_are_sums(&status);
    assert_eq!(status["reason"], Value::Null, "nobody misses it: {status:#}");
    assert_eq!(rows(&status)["odd-miner"]["provider_pid"], first, "the other was left alone");
    assert_eq!(bed.run(&["pause", "second"]).code, 1, "it is nobody's any more");

    bed.config("", &format!("{mining}{second}"));
    let answer = bed.run(&["reload"]);
    assert!(answer.code == 0 && answer.stdout.contains("miner second added"), "{answer:?}");
    let found = verified(rows(&status)["second"]);
    let status = bed.wait_for(PATIENCE, |status| verified(row(status, "second")) > found);
    assert_eq!(status["miners"].as_array().map(Vec::len), Some(2), "one name is one row: {status:#}");
    assert_eq!(rows(&status)["odd-miner"]["provider_pid"], first);
    assert_totals_are_sums(&status);
}

#[test]
fn after_an_end_without_a_word_the_status_tells_that_sessions_own_counts() {
    let bed = Bed::new("");
    // A session before, which found something.
    assert_eq!(bed.start().code, 0);
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(2));
    assert_eq!(bed.run(&["stop"]).code, 0);

    assert_eq!(bed.start().code, 0);
    let seen = bed.wait_for(PATIENCE, |status| status["proofs"]["verified"].as_u64() >= Some(1));
    let supervisor = u32::try_from(seen["supervisor_pid"].as_u64().unwrap()).unwrap();
    // They are written every few seconds.
    let written = || -> Value {
        let bytes = std::fs::read(bed.home().join("runtime/last-session.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    pearlbed_tests::session::wait_until(
        PATIENCE,
        || written()["proofs"]["verified"].as_u64() >= Some(1),
        written,
    );
    // It writes nothing between what is read here and its end.
    bed.signal(supervisor, Signal::STOP);
    let stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    };
    pearlbed_tests::session::wait_until(PATIENCE, stopped, || supervisor);
    let last = written();
    bed.signal(supervisor, Signal::KILL);
    let status = bed.wait_for(PATIENCE, |status| status["state"] == "FAILED");
    assert!(status["reason"].as_str().unwrap().contains("ended without a word"), "{status:#}");
    let told = &status["last_session"];
    assert_eq!(
        (&told["proofs"], &told["supervisor"]["pid"]),
        (&last["proofs"], &json!(supervisor)),
        "{status:#}"
    );
    assert_eq!(told["miners"][0]["name"], "odd-miner");
    assert_eq!(bed.run(&["stop"]).code, 0);
    let status = bed.status();
    assert_eq!((&status["state"], &status["last_session"]["proofs"]), (&json!("FAILED"), &last["proofs"]));

    // One that is killed before it found anything does not boast of what the one before found.
    bed.config("odd = \"mute\"", "[mining.session]\nstall_after = \"10m\"");
    assert_eq!(bed.start().code, 0);
    let supervisor = u32::try_from(bed.status()["supervisor_pid"].as_u64().unwrap()).unwrap();
    bed.signal(supervisor, Signal::KILL);
    let status = bed.wait_for(PATIENCE, |status| status["state"] == "FAILED");
    assert_eq!(status["last_session"]["proofs"]["found"], 0, "{status:#}");
}

/// The rows of the miners, by name.
fn rows(status: &Value) -> BTreeMap<String, &Value> {
    let rows = status["miners"].as_array().into_iter().flatten();
    rows.map(|row| (row["name"].as_str().unwrap_or_default().to_owned(), row)).collect()
}

/// The row of one miner; nothing where the session could not be asked in time.
fn row<'a>(status: &'a Value, name: &str) -> &'a Value {
    static NOTHING: Value = Value::Null;
    rows(status).get(name).copied().unwrap_or(&NOTHING)
}

/// Everything that is counted in the totals is the sum of the rows, in one and the same answer.
fn assert_totals_are_sums(status: &Value) {
    let rows = rows(status);
    let sum = |of: &dyn Fn(&Value) -> Option<f64>| rows.values().filter_map(|row| of(row)).sum::<f64>();
    for key in
        ["found", "verified", "late", "paying", "submitted", "accepted", "rejected", "stale", "refused"]
    {
        let total = status["proofs"][key].as_f64();
        assert_eq!(total, Some(sum(&|row| row["proofs"][key].as_f64())), "{key}: {status:#}");
    }
    for key in ["hashes", "restarts"] {
        assert_eq!(status[key].as_f64(), Some(sum(&|row| row[key].as_f64())), "{key}: {status:#}");
    }
    // What no row knows the totals do not know either; sums of rates are as exact as their digits.
    let agrees = |what: &str, total: &Value, of: &dyn Fn(&Value) -> Option<f64>| {
        let known = rows.values().any(|row| of(row).is_some());
        let sum = sum(of);
        let near = total.as_f64().map(|total| (total - sum).abs() <= sum * 1e-9);
        assert_eq!(near, known.then_some(true), "{what}: {status:#}");
    };
    for window in ["10s", "60s", "15m"] {
        let total = &status["hashrate"]["raw"][window];
        agrees(window, total, &|row| row["hashrate"]["raw"][window].as_f64());
    }
    let total = &status["hashrate"]["verified"]["hashrate"];
    agrees("verified", total, &|row| row["hashrate"]["verified"]["hashrate"].as_f64());
}

/// Five miners of three providers. Of two that crash one mines in between, and one never takes a job.
fn crew() -> Bed {
    let mining = "[mining]\nprovider = \"cpu-pearl\"\n\
        [[mining.miners]]\nname = \"second\"\nprovider = \"cpu-pearl\"\nextra = { threads = 1 }\n\
        [[mining.miners]]\nname = \"plain\"\nprovider = \"mining-provider\"\nextra = { threads = 1 }\n\
        [[mining.miners]]\nname = \"crasher\"\nprovider = \"odd-miner\"\n\
        extra = { odd = \"crash\", odd_after_ms = 2500 }\n\
        [[mining.miners]]\nname = \"hopeless\"\nprovider = \"odd-miner\"\nextra = { odd = \"crash\" }\n";
    let bed = Bed::with("threads = 1", mining);
    for package in ["cpu-pearl", "mining-provider"] {
        let library = build::plugin(package);
        let name = library.file_name().unwrap();
        std::fs::copy(&library, std::path::Path::new(bed.plugins()).join(name)).unwrap();
    }
    bed
}

/// Those of them that do nothing wrong.
const HONEST: [&str; 3] = ["cpu-pearl", "second", "plain"];

#[test]
fn rates_add_up_and_a_miner_that_crashes_is_given_up_while_the_others_lose_nothing() {
    let bed = crew();
    let answer = bed.start();
    assert_eq!(answer.code, 0, "{answer:?}");
    let begun = bed.wait_for(PATIENCE, |status| {
        rows(status).len() == 5 && HONEST.iter().all(|name| row(status, name)["provider_pid"].is_u64())
    });
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or_default();
    let crashed = bed.wait_for(PATIENCE, |status| {
        let rows = rows(status);
        if rows.is_empty() {
            return false;
        }
        assert_totals_are_sums(status);
        let proved = |name: &&str| number(&rows[*name]["proofs"], "verified") >= 1;
        let rated = |name: &&str| rows[*name]["hashrate"]["raw"]["10s"].as_f64() > Some(0.0);
        rows["hopeless"]["condition"] == "given-up"
            && number(rows["crasher"], "restarts") >= 2
            && HONEST.iter().all(|name| proved(name) && rated(name))
    });
    let after = rows(&crashed);
    // One that never took a job gets three tries; the reason is told, in its row, in the log, and by what `start` does.
    let hopeless = after["hopeless"];
    let why = hopeless["reason"].as_str().unwrap();
    assert!(
        why.contains("failed 3 times in a row and was given up") && why.contains("SIGSEGV"),
        "{hopeless:#}"
    );
    assert!(hopeless["hint"].as_str().unwrap().contains("pearlbed restart"), "{hopeless:#}");
    assert!(hopeless["provider_pid"].is_null() && hopeless["job"]["taken"] != true, "{hopeless:#}");
    let log = bed.log();
    assert!(log.contains("[hopeless] the provider ended unasked: SIGSEGV"), "{log}");
    assert!(log.contains("[crasher] the provider starts again in 1 s"), "{log}");
    for name in HONEST {
        let (before, row) = (rows(&begun)[name], after[name]);
        assert_eq!(row["provider_pid"], before["provider_pid"], "{name} runs on: {row:#}");
        assert_eq!(
            (&row["condition"], &row["restarts"], &row["proofs"]["refused"], &row["last_error"]),
            (&json!("mining"), &json!(0), &json!(0), &Value::Null),
            "{row:#}"
        );
        assert_ne!(row["hashrate"]["judgement"]["verdict"], "claims-more", "{row:#}");
    }
    assert_eq!(
        (&crashed["earning"], &crashed["condition"]),
        (&json!(true), &json!("earning")),
        "{crashed:#}"
    );
    assert_eq!(crashed["supervisor_pid"], begun["supervisor_pid"]);

    let answer = bed.run(&["status"]);
    assert_eq!(answer.code, 0, "the session earns while one of them does: {answer:?}");
    let order: Vec<Option<usize>> =
        ["hashrate ", "miner      cpu-pearl: mining", "miner      hopeless: given-up"]
            .iter()
            .map(|start| answer.stdout.lines().position(|line| line.starts_with(start)))
            .collect();
    assert!(order.is_sorted() && order[0].is_some(), "totals first, then the miners: {}", answer.stdout);
}

#[test]
fn a_miner_that_mines_in_between_is_started_again_nine_times_and_given_up_at_its_tenth_crash() {
    // Waits of 10 ms, 20 ms, … 0.6 s: the schedule of a real one, a hundred times as fast.
    let mining = "[mining]\nprovider = \"odd-miner\"\n\
        [[mining.miners]]\nname = \"crasher\"\nprovider = \"odd-miner\"\n\
        extra = { odd = \"crash\", odd_after_ms = 1000 }\n\
        [mining.session]\nrestart_wait = \"10ms\"\n";
    let bed = Bed::with("", mining);
    assert_eq!(bed.start().code, 0);
    let begun = bed.wait_for(PATIENCE, |status| row(status, "odd-miner")["provider_pid"].is_u64());
    let status = bed.wait_for(PATIENCE, |status| row(status, "crasher")["condition"] == "given-up");
    let after = rows(&status);
    let why = after["crasher"]["reason"].as_str().unwrap();
    // One that crashes before its first job, on a machine that is very slow, is given up at its third.
    assert!(why.contains("failed 10 times in a row and was given up"), "{why}\n{}", bed.log());
    assert_eq!(after["crasher"]["restarts"], 9, "{status:#}");
    let log = bed.log();
    for (failure, wait) in [(1, "10 ms"), (2, "20 ms"), (6, "320 ms"), (7, "600 ms"), (9, "600 ms")] {
        let line = format!(
            "[crasher] the provider starts again in {wait} (failure {failure} in a row; given up at 10)"
        );
        assert!(log.contains(&line), "{line}\n{log}");
    }
    assert_eq!(after["odd-miner"]["provider_pid"], rows(&begun)["odd-miner"]["provider_pid"], "{status:#}");
    assert_eq!(after["odd-miner"]["condition"], "mining");
    assert_totals_are_sums(&status);
    // A person gives it another chance.
    assert_eq!(bed.run(&["restart", "crasher"]).code, 0);
    bed.wait_for(PATIENCE, |status| row(status, "crasher")["restarts"].as_u64() > Some(9));
}

#[test]
fn each_of_several_devices_is_credited_with_what_it_found_and_none_with_what_nobody_tells() {
    let bed = Bed::with("odd = \"cards\"", "[mining]\nprovider = \"odd-miner\"\n");
    assert_eq!(bed.start().code, 0);
    let number = |device: &Value, key: &str| device["proofs"][key].as_u64().unwrap_or_default();
    // The numbers are asked for every ten seconds.
    let status = bed.wait_for(PATIENCE, |status| {
        let devices = &status["miners"][0]["devices"];
        let verdict = devices[0]["verdict"].as_str().unwrap_or_default();
        let is_judged = number(&devices[0], "verified") >= 1 && number(&devices[1], "refused") >= 1;
        is_judged && verdict.contains("of no device")
    });
    let miner = &status["miners"][0];
    let devices = miner["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 3, "{miner:#}");
    assert_eq!(number(&devices[0], "refused"), 0, "the first spoils nothing: {miner:#}");
    assert_eq!((number(&devices[1], "found"), number(&devices[1], "verified")), (0, 0), "{miner:#}");
    assert!(devices[0]["verified"]["hashrate"].as_f64() > Some(0.0), "{miner:#}");
    assert!(
        devices[2]["proofs"].is_null() && devices[2]["verified"].is_null(),
        "it does not tell: {miner:#}"
    );
    for key in ["verified", "late", "refused"] {
        let sum: u64 = devices.iter().map(|device| number(device, key)).sum();
        assert!(sum <= number(miner, key), "no more than the miner's own: {miner:#}");
    }
    // The third says nothing of its own, so nobody knows how many of those that nobody names are the second's.
    for (device, why) in
        devices.iter().zip(["are said to be of no device", "", "which proofs are its own is not said"])
    {
        let verdict = device["verdict"].as_str().unwrap_or_default();
        assert!(verdict.contains(why), "{verdict}");
    }
    let told = bed.run(&["status"]).stdout;
    assert!(told.contains("its proofs are not told; cannot be told: which proofs are its own"), "{told}");
}

#[test]
fn of_several_devices_the_one_that_lies_is_accused_and_no_other() {
    let bed = Bed::with("odd = \"card-lies\"", "[mining]\nprovider = \"odd-miner\"\n");
    assert_eq!(bed.start().code, 0);
    let verdict = |device: &Value| device["judgement"]["verdict"].as_str().unwrap_or_default().to_owned();
    // The numbers are asked for every ten seconds, and what is said there counts with the next.
    let status = bed.wait_for(PATIENCE, |status| {
        let devices = &status["miners"][0]["devices"];
        verdict(&devices[1]) == "claims-more" && devices[0]["proofs"]["verified"].as_u64() >= Some(1)
    });
    let devices = &status["miners"][0]["devices"];
    for honest in [&devices[0], &devices[2]] {
        assert!(["too-early", "within-luck"].contains(&verdict(honest).as_str()), "{devices:#}");
    }
    assert!(
        verdict(&status["miners"][0]["hashrate"]) != "claims-more",
        "the miner itself claims what it does"
    );
    let told = bed.run(&["status"]).stdout;
    assert!(told.contains("claims more than its proofs bear out"), "{told}");
}

/// How often the supervisor `pid` has been woken: its main thread has gone to sleep as often.
#[cfg(target_os = "linux")]
fn wakes(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_supervisor_of_eight_miners_at_rest_is_woken_for_all_of_them_together() {
    const MINERS: usize = 8;
    /// For each miner: twice a second its progress, each ten seconds its numbers. Else: a tick, and its own affairs.
    const WAKES_EACH: u64 = 2;
    const WAKES_ELSE: u64 = 8;
    let mut mining = "[mining]\nprovider = \"odd-miner\"\n".to_owned();
    for number in 2..=MINERS {
        mining.push_str(&format!(
            "[[mining.miners]]\nname = \"m{number}\"\nprovider = \"odd-miner\"\nextra = {{ odd = \"take\" }}\n"
        ));
    }
    let bed = Bed::with("odd = \"take\"", &mining);
    assert_eq!(bed.start().code, 0);
    let status = bed.wait_for(PATIENCE, |status| {
        let miners = status["miners"].as_array().map(Vec::as_slice).unwrap_or_default();
        miners.len() == MINERS && miners.iter().all(|miner| miner["condition"] == "mining")
    });
    let pid = status["supervisor_pid"].as_u64().unwrap();
    // What the start brings is over when the counts have been left behind once more.
    let written =
        || bed.home().join("runtime/last-session.json").metadata().and_then(|file| file.modified()).ok();
    let at_first = written();
    pearlbed_tests::session::wait_until(PATIENCE, || written() != at_first, written);
    let (begun, before) = (std::time::Instant::now(), wakes(pid));
    let again = written();
    pearlbed_tests::session::wait_until(PATIENCE, || written() != again, written);
    // A machine that is slow makes this longer, and wakes no more often in a second of it.
    let (woken, seconds) = (wakes(pid) - before, begun.elapsed().as_secs() + 1);
    let bound = (WAKES_EACH * MINERS as u64 + WAKES_ELSE) * seconds;
    assert!(woken > 0 && woken <= bound, "woken {woken} times in {seconds} s, for which {bound} are enough");
}

#[test]
#[cfg(target_os = "linux")]
fn processes_are_called_what_they_are_and_stand_back_for_others() {
    let second = "[[mining.miners]]\nname = \"second\"\nprovider = \"odd-miner\"\nnice = 3\n";
    let bed = Bed::with("", &format!("[mining]\nprovider = \"odd-miner\"\n{second}"));
    assert_eq!(bed.start().code, 0);
    let has_process = |status: &Value, name| row(status, name)["provider_pid"].is_u64();
    let status = bed
        .wait_for(PATIENCE, |status| ["odd-miner", "second"].iter().all(|name| has_process(status, *name)));
    let pid = |value: &Value| value.as_u64().unwrap().to_string();
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim().to_owned();
    let title = |pid: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    let nice = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_ascii_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
    };
    let supervisor = pid(&status["supervisor_pid"]);
    assert_eq!(name(&supervisor), "pearlbed");
    assert!(title(&supervisor).contains("pearlbed"), "{}", title(&supervisor));
    let own = nice("self");
    assert_eq!(nice(&supervisor), own, "whoever must answer at once does not stand back");
    for (row, miner, nicer) in [(0, "odd-miner", 10), (1, "second", 3)] {
        let pid = pid(&status["miners"][row]["provider_pid"]);
        assert_eq!(
            (name(&pid).as_str(), title(&pid)),
            ("pearlbed-miner", format!("pearlbed-miner: {miner}"))
        );
        assert_eq!(nice(&pid), nicer.max(own), "{miner}");
    }
    // As a person looks for them.
    let found =
        std::process::Command::new("pgrep").args(["-x", "pearlbed-miner", "-P", &supervisor]).output();
    match found {
        Ok(found) => assert_eq!(String::from_utf8_lossy(&found.stdout).lines().count(), 2, "{found:?}"),
        Err(err) => println!("skipped: pgrep is not here: {err}"),
    }
}

#[test]
fn a_provider_that_does_not_support_the_machine_is_started_only_where_that_is_asked_for() {
    let bed = Bed::with("model = \"model-of-nobody\"", "[mining]\nprovider = \"odd-miner\"");
    let answer = bed.start();
    assert_eq!(answer.code, 1, "a driver may be loaded yet: {answer:?}");
    let said = answer.stderr.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("`odd-miner` does not support this machine: it was told of a model of nobody"),
        "{said}"
    );
    assert!(said.contains("`pearlbed start --anyway`"), "{said}");
    let answer = bed.run(&["start", "--devnet", "--anyway", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    // One that mines is not ended because it says so again.
    let pid = bed.status()["provider_pid"].clone();
    assert_eq!(bed.run(&["reload"]).code, 0);
    assert_eq!(bed.status()["provider_pid"], pid);
}

#[test]
fn a_provider_is_asked_about_each_engine_that_it_names_by_whoever_asks() {
    let bed = Bed::new("");
    let library = build::plugin("engine-miner");
    let folder = bed.dir().join("engines");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&library, folder.join(library.file_name().unwrap())).unwrap();
    let folder = folder.to_str().unwrap();
    let answer = bed.run(&["doctor", "--json", "--plugin-dir", folder]);
    let told: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(told["plugins"][0]["probe"]["supported"], true, "{:#}", told["plugins"]);
    // For a model that none of them serves, the first one's reason stands.
    bed.config("model = \"model-of-nobody\"", "[mining]\nprovider = \"engine-miner\"");
    for args in [
        &["plugins", "inspect", "engine-miner", "--plugin-dir", folder][..],
        &["start", "--devnet", "--plugin-dir", folder],
    ] {
        let answer = bed.run(args);
        let said = format!("{}{}", answer.stdout, answer.stderr);
        let said = said.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("`first` serves no model-of-nobody"), "{args:?}: {said}");
    }
}
