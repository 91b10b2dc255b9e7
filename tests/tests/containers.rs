//! Providers that are containers, with real engines: from the data file to a verified block, and everything that goes wrong.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands")]

#[path = "containers/answers.rs"]
mod answers;
#[path = "containers/bridge.rs"]
mod bridge;
#[path = "containers/images.rs"]
mod images;
#[path = "containers/own_gateway.rs"]
mod own_gateway;
#[path = "containers/rest.rs"]
mod rest;
#[path = "containers/rootless.rs"]
mod rootless;
#[path = "containers/troubles.rs"]
mod troubles;
#[path = "containers/validation.rs"]
mod validation;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use pearlbed_tests::session::wait_until;
use pearlbed_tests::stand_in::{Engine, Session};
use rustix::process::Signal;
use serde_json::Value;

/// Long enough for the slowest machine; nothing waits for its end unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(240);

/// The engine, or a line that says why nothing was tried.
fn have(engine: Result<Engine, String>) -> Option<Engine> {
    match engine {
        Ok(engine) => Some(engine),
        Err(why) => {
            println!("skipped: no container of the stand-in was run: {why}");
            None
        }
    }
}

fn accepted(status: &Value) -> u64 {
    status["proofs"]["accepted"].as_u64().unwrap_or(0)
}

const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// `pearlbed devnet` as a program of its own: a gateway, or a pool.
struct Devnet {
    process: Child,
    address: String,
    _home: tempfile::TempDir,
}

impl Devnet {
    fn start(bed: &pearlbed_tests::session::Bed, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = bed.command(&[&["devnet", "--json"], arguments].concat());
        let command = command.env("PEARLBED_HOME", home.path()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let address = first["address"].as_str().unwrap().to_owned();
        // What it tells must be read, or it waits.
        std::thread::spawn(move || for _ in lines {});
        Self { process, address, _home: home }
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From `start` to a verified block of the devnet, to what others see of it, and to its end.
fn mines_a_block(engine: &Engine) {
    let secret = "hf_a-secret-that-nobody-sees";
    let mut session = Session::new(engine, "secret", "hf_token_env = \"STAND_IN_TOKEN\"", "");
    session.variables.push(("STAND_IN_TOKEN", secret.into()));
    let bed = &session.bed;
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    assert!(answer.stdout.contains("mining with stand-in 1.0.0"), "{answer:?}");
    assert!(answer.stderr.contains("it gets jobs, and neither wallet nor node"), "{answer:?}");

    let status = bed.wait_for(PATIENCE, |status| {
        accepted(status) > 0 && Session::container(status)["phase"] == "serving"
    });
    let container = Session::container(&status);
    assert_eq!(container["miner"], "stand-in", "{container:#}");
    assert!(container["engine"].as_str().unwrap().starts_with(engine.name()), "{container:#}");
    assert_eq!(container["workers"], 1, "{container:#}");
    let row = &status["miners"][0];
    assert_eq!((&row["name"], &row["provider"]), (&"stand-in".into(), &"stand-in".into()), "{row:#}");
    assert_eq!(row["program"]["address"], "container:stand-in", "{row:#}");
    assert_eq!(row["proofs"]["refused"], 0, "{row:#}");
    assert_eq!(session.run(&["status"]).code, 0, "{status:#}");
    let text = session.run(&["status"]).stdout;
    assert!(text.contains("container") && text.contains("model somebody/a-model-pearl at http://"), "{text}");

    // As OpenJarvis reads it.
    let sidecar = bed.sidecar().unwrap();
    assert_eq!(sidecar["vllm_endpoint"], format!("http://127.0.0.1:{}/v1", session.port), "{sidecar:#}");
    assert_eq!(sidecar["model"], "somebody/a-model-pearl", "{sidecar:#}");
    assert_eq!(sidecar["provider"], "stand-in", "{sidecar:#}");
    let id = sidecar["container_id"].as_str().unwrap().to_owned();
    assert!(sidecar["miner_loop_pid"].is_null() && sidecar["gateway_pid"].is_u64(), "{sidecar:#}");

    // Its token is in a file: in no argument, no variable and no line.
    let inspected = engine.run(&["inspect", &id]);
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(inspected.contains("HF_TOKEN_PATH") && !inspected.contains(secret), "{inspected}");
    assert!(!inspected.to_lowercase().contains("wallet"), "{inspected}");
    assert!(bed.log().contains("output") && !bed.log().contains(secret), "{}", bed.log());
    assert!(bed.log().contains("the token is"), "what it prints is in the log: {}", bed.log());

    // The port is given up and taken again under a container that runs: it has lost it for good, and goes on serving.
    let stop = session.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}\n{}", bed.log());
    assert_eq!(session.ours(), Vec::<String>::new(), "{}", bed.log());
    assert!(!bed.home().join("runtime/container/stand-in.token").exists());
}

#[test]
fn on_docker_a_container_mines_verified_blocks_and_leaves_nothing_behind() {
    let Some(engine) = have(Engine::docker()) else { return };
    mines_a_block(&engine);
}

#[test]
fn on_podman_a_container_mines_verified_blocks_and_leaves_nothing_behind() {
    let Some(engine) = have(Engine::podman()) else { return };
    mines_a_block(&engine);
}

#[test]
fn a_killed_supervisors_container_is_ended_by_the_next_session() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let before = session.ours();
    assert_eq!(before.len(), 1);
    let supervisor = u32::try_from(session.bed.status()["supervisor_pid"].as_u64().unwrap()).unwrap();
    session.bed.signal(supervisor, Signal::KILL);
    wait_until(PATIENCE, || session.bed.alive(&[supervisor]).is_empty(), || session.bed.log());
    assert_eq!(session.ours(), before, "an engine's container outlives whoever made it");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    session.bed.wait_for(PATIENCE, |status| accepted(status) > 0);
    let now = session.ours();
    assert!(now.len() == 1 && now != before, "{now:?} {before:?}");
    assert!(
        session.bed.log().contains("a container of an earlier session was ended"),
        "{}",
        session.bed.log()
    );
}

#[test]
fn what_a_stranger_has_is_left_alone_and_named() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "", "", "");
    let name = session.name();
    let made = engine.run(&["create", "--name", &name, pearlbed_tests::stand_in::IMAGE]);
    assert!(made.status.success(), "{made:?}");
    let answer = session.start();
    let still = engine.run(&["rm", &name]);
    assert!(still.status.success(), "it was nobody's to remove: {still:?}");
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains(&format!("another program's container is called {name}")), "{answer:?}");
    assert!(answer.stderr.contains(&format!("docker inspect {name}")), "{answer:?}");
}

#[test]
fn one_that_ends_at_once_is_tried_again_and_then_given_up_with_its_last_words() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "exit=3", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 1, "{answer:?}\n{}", session.bed.log());
    let said = "it ended with status 3; it said last: ends at once, as it was told";
    assert!(answer.stderr.contains(said), "{answer:?}");
    assert_eq!(session.bed.log().matches(said).count(), 6, "five tries and the end: {}", session.bed.log());
    assert_eq!(session.ours(), Vec::<String>::new());
}

#[test]
fn a_start_that_waits_no_longer_says_what_its_container_is_at() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "exit=3", "", "");
    let plugins = session.bed.plugins();
    let answer = session.run(&["start", "--devnet", "--plugin-dir", plugins, "--wait", "4"]);
    assert_eq!(answer.code, 4, "{answer:?}\n{}", session.bed.log());
    let said = answer.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("the session runs but does not mine yet: stand-in: "), "{answer:?}");
    assert_eq!(session.run(&["stop"]).code, 0, "{}", session.bed.log());
}

#[test]
fn proofs_under_the_old_seed_rule_are_refused_and_the_image_is_said_to_be_too_old() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "old-seeds", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    // Under the wrong rule a proof is a draw like any other, and at the devnet's easy target some pass by luck.
    session.bed.wait_for(PATIENCE, |status| status["proofs"]["refused"].as_u64().unwrap_or(0) > 0);
    wait_until(PATIENCE, || session.bed.log().contains("this image is too old"), || session.bed.log());
}

#[test]
fn a_flood_and_rubbish_cost_the_session_nothing_and_a_silent_one_is_seen() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "flood,rubbish", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let status =
        session.bed.wait_for(PATIENCE, |status| status["proofs"]["refused"].as_u64().unwrap_or(0) > 0);
    assert_eq!(accepted(&status), 0, "{status:#}");
    wait_until(PATIENCE, || session.bed.log().contains("lines were left out"), || session.bed.log());
    assert!(!session.bed.log().contains('\u{1b}'), "what is printed acts on no terminal");
    assert_eq!(session.run(&["stop"]).code, 0);
    assert_eq!(session.ours(), Vec::<String>::new());
}

#[test]
fn without_an_engine_everything_else_is_as_it_was() {
    let session = Session::none("", "");
    let answer = session.start();
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer.stderr.contains("`docker`, which [mining.container] asks for, is not on the path"),
        "{answer:?}"
    );
    // Others do not mind.
    let other =
        session.run(&["start", "--devnet", "--provider", "odd-miner", "--plugin-dir", session.bed.plugins()]);
    assert_eq!(other.code, 0, "{other:?}\n{}", session.bed.log());
    let doctor = session.run(&["plugins", "list", "--plugin-dir", session.bed.plugins()]);
    assert!(
        doctor.stdout.contains("stand-in 1.0.0") && doctor.stdout.contains("a container of the image"),
        "{doctor:?}"
    );
    let bench = session.run(&["bench", "--provider", "stand-in", "--plugin-dir", session.bed.plugins()]);
    assert!(bench.code != 0 && bench.stderr.contains("which a session alone runs"), "{bench:?}");
    let verify = session.run(&["plugins", "verify", "stand-in", "--plugin-dir", session.bed.plugins()]);
    assert!(verify.code == 0 && verify.stdout.contains("4 kept, 0 broken, 0 untried"), "{verify:?}");
}

#[test]
fn a_container_that_lost_the_port_is_started_again_once_and_mines_on() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let before = session.bed.wait_for(PATIENCE, |status| {
        accepted(status) > 0 && Session::container(status)["phase"] == "serving"
    });
    let log = session.bed.log();
    let line = log.lines().find(|line| line.contains("the miner port serves")).unwrap();
    let pid: u32 = line.rsplit_once("(process ").unwrap().1.trim_end_matches(')').parse().unwrap();
    session.bed.signal(pid, Signal::KILL);
    let after = session.bed.wait_for(PATIENCE, |status| {
        Session::container(status)["restarts"] == 1 && accepted(status) > accepted(&before)
    });
    assert!(session.bed.log().contains("its miner has lost the port"), "{}", session.bed.log());
    let row = &after["miners"][0];
    assert_eq!(row["name"], "stand-in", "it has its row again: {after:#}");
}

#[test]
fn on_the_reference_pool_its_shares_are_credited() {
    let Some(engine) = have(Engine::docker()) else { return };
    let pool = Devnet::start(&pearlbed_tests::session::Bed::new(""), &["--stratum", "127.0.0.1:0"]);
    let mining = format!("wallet_address = \"{WALLET}\"\nsubmit_target = \"pool:{}\"", pool.address);
    let session = Session::working(&engine, "", "", &mining, "");
    let answer = session.start_as_configured();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let status = session.bed.wait_for(PATIENCE, |status| accepted(status) > 0);
    assert_eq!(
        (&status["work"]["source"], &status["proofs"]["refused"]),
        (&"pool".into(), &0.into()),
        "{status:#}"
    );
    let id = &session.ours()[0];
    let inspected = engine.run(&["inspect", id]);
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(!inspected.contains(WALLET) && !inspected.contains("stratum"), "{inspected}");
    assert_eq!(session.run(&["stop"]).code, 0);
}

#[test]
fn solo_at_a_gateway_its_proofs_are_handed_over_and_a_restart_by_request_makes_a_new_container() {
    let Some(engine) = have(Engine::docker()) else { return };
    let gateway = Devnet::start(&pearlbed_tests::session::Bed::new(""), &["--listen", "127.0.0.1:0"]);
    let port = gateway.address.rsplit(':').next().unwrap();
    let mining = format!("wallet_address = \"{WALLET}\"");
    let session = Session::working(&engine, "", &format!("gateway_port = {port}"), &mining, "");
    let answer = session.start_as_configured();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let submitted = |status: &Value| status["proofs"]["submitted"].as_u64().unwrap_or(0);
    let status = session.bed.wait_for(PATIENCE, |status| submitted(status) > 0);
    assert_eq!(status["work"]["source"], "gateway", "{status:#}");
    let before = session.ours();
    let answer = session.run(&["restart", "stand-in"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let now = session.bed.wait_for(PATIENCE, |now| {
        Session::container(now)["restarts"] == 1 && submitted(now) > submitted(&status)
    });
    assert_ne!(session.ours(), before, "{now:#}");
    assert_eq!(now["miners"].as_array().unwrap().len(), 1, "it has its row again: {now:#}");
}

#[test]
fn two_containers_are_two_miners_each_by_a_door_of_its_own() {
    let Some(engine) = have(Engine::docker()) else { return };
    let second = pearlbed_tests::ports::free();
    let sections = format!(
        "[[mining.miners]]\nname = \"second\"\nprovider = \"stand-in\"\nextra = {{ vllm_port = {second} }}"
    );
    let session = Session::new(&engine, "", "", &sections);
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let found = |status: &Value, name: &str| {
        let rows = status["miners"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name);
        row.is_some_and(|row| row["proofs"]["verified"].as_u64() > Some(0))
    };
    let status =
        session.bed.wait_for(PATIENCE, |status| found(status, "stand-in") && found(status, "second"));
    assert_eq!(status["containers"].as_array().unwrap().len(), 2, "{status:#}");
    assert_eq!(session.ours().len(), 2);
    assert_eq!(session.run(&["stop"]).code, 0, "{}", session.bed.log());
    assert_eq!(session.ours(), Vec::<String>::new());
}
