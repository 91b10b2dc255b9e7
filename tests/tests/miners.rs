//! What is asked of a session's miners while it runs, and what is left of it after an end without a word.

use std::time::Duration;

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
