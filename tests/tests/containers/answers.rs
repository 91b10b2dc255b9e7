//! What the port answers a container: the first question late, and a proof of the largest model.

use super::*;

#[test]
fn a_proof_of_the_largest_model_comes_through_whole() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "large", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let status = session.bed.wait_for(PATIENCE, |status| accepted(status) > 0);
    assert_eq!(status["proofs"]["refused"], 0, "{status:#}");
    let log = session.bed.log();
    let characters = log.lines().find_map(|line| line.split_once("Submitted plain proof to gateway, "));
    let characters: u64 = characters.unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(characters > 700_000, "{characters}: {log}");
}

#[test]
fn the_first_answer_is_held_until_there_is_a_job_and_a_container_started_by_hand_mines() {
    let Some(engine) = have(Engine::docker()) else { return };
    let port = pearlbed_tests::ports::free();
    let bed = pearlbed_tests::session::Bed::with(
        &format!("gateway_port = {port}"),
        &format!(
            "[mining]\nwallet_address = \"{WALLET}\"\nsubmit_target = \"solo\"\n[mining.port]\nunix = true"
        ),
    );
    let answer = bed.run(&["start", "--port"]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    let folder = bed.home().join("runtime/miner");
    let mount = format!("type=bind,src={},dst=/run/pearlbed,readonly", folder.display());
    let user = format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let made = engine.run(&[
        "run",
        "--detach",
        "--network",
        "none",
        "--user",
        &user,
        "--cap-drop",
        "ALL",
        "--mount",
        &mount,
        "--env",
        "MINER_RPC_SOCKET_PATH=/run/pearlbed/gateway.sock",
        "--env",
        "STAND_IN=asks-once",
        pearlbed_tests::stand_in::IMAGE,
    ]);
    assert!(made.status.success(), "{made:?}");
    let id = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let logs = || {
        let said = engine.run(&["logs", &id]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    // It has asked, and has no answer: no error either, which would end it.
    bed.wait_for(PATIENCE, |status| status["miners"].as_array().is_some_and(|rows| rows.len() == 1));
    assert!(!logs().contains("its first question was answered"), "{}", logs());

    let other = pearlbed_tests::session::Bed::new("");
    let _gateway = Devnet::start(&other, &["--listen", &format!("127.0.0.1:{port}")]);
    wait_until(PATIENCE, || logs().contains("its first question was answered"), || (logs(), bed.log()));
    bed.wait_for(PATIENCE, |status| status["proofs"]["submitted"].as_u64() > Some(0));
    let removed = engine.run(&["rm", "--force", &id]);
    assert!(removed.status.success(), "{removed:?}");
}
