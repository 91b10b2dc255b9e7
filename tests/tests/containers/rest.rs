//! What rests, and what a configuration that is read again means for a container.

use super::*;

fn phase(status: &Value) -> String {
    Session::container(status)["phase"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn one_that_is_paused_frees_its_cards_and_mines_again_when_it_is_resumed() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let before = session.bed.wait_for(PATIENCE, |status| phase(status) == "serving" && accepted(status) > 0);

    let pause = session.run(&["pause", "stand-in"]);
    assert_eq!((pause.code, &*pause.stdout), (0, "paused stand-in\n"), "{pause:?}");
    session.bed.wait_for(PATIENCE, |status| phase(status) == "paused");
    assert_eq!(session.ours(), Vec::<String>::new(), "{}", session.bed.log());
    let status = session.run(&["status"]);
    assert_eq!(status.code, 4, "{status:?}");
    assert!(status.stdout.contains("it rests, and its cards are free"), "{status:?}");

    let resume = session.run(&["resume", "stand-in"]);
    assert_eq!(resume.code, 0, "{resume:?}");
    let after = session
        .bed
        .wait_for(PATIENCE, |status| phase(status) == "serving" && accepted(status) > accepted(&before));
    assert_eq!(Session::container(&after)["restarts"], 0, "to rest is no failure: {after:#}");
    assert_eq!(after["miners"].as_array().unwrap().len(), 1, "it has its row again: {after:#}");

    // All of them, and in the next session as well.
    let pause = session.run(&["pause", "--keep"]);
    assert_eq!((pause.code, &*pause.stdout), (0, "paused stand-in, also in later sessions\n"), "{pause:?}");
    assert_eq!(session.run(&["stop"]).code, 0, "{}", session.bed.log());
    let answer = session.start();
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stderr.contains("every miner is paused"), "{answer:?}");
    assert_eq!(session.ours(), Vec::<String>::new(), "{}", session.bed.log());
    let resume = session.run(&["resume", "--keep"]);
    assert_eq!(resume.code, 0, "{resume:?}");
    session.bed.wait_for(PATIENCE, |status| phase(status) == "serving" && accepted(status) > 0);
}

#[test]
fn of_a_configuration_that_is_read_again_it_is_said_what_waits_for_a_restart() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let file = session.bed.home().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let reload = session.run(&["reload"]);
    assert!(reload.code == 0 && !reload.stdout.contains("after a restart"), "{reload:?}");

    let changed = text.replace("[mining.extra]", "[mining.extra]\nvllm_args = \"--seed 7\"");
    std::fs::write(&file, changed).unwrap();
    let reload = session.run(&["reload"]);
    assert_eq!(reload.code, 0, "{reload:?}");
    let said = "in force after a restart only: the container stand-in";
    assert!(session.bed.log().contains(said), "{reload:?}\n{}", session.bed.log());
    assert!(format!("{reload:?}").contains("the container stand-in"), "{reload:?}");

    let changed = text.replace("network = \"host\"", "network = \"host\"\nstop_grace = \"7s\"");
    std::fs::write(&file, changed).unwrap();
    assert_eq!(session.run(&["reload"]).code, 0);
    let said = "in force after a restart only: mining.container";
    assert!(session.bed.log().contains(said), "{}", session.bed.log());
    assert_eq!(session.ours().len(), 1, "nothing was restarted");
}
