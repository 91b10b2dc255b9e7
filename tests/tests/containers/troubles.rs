//! What engines complain of, each with its sentence and what to do about it: with a real engine where that can be had, and else
//! with a program that says what one says.

use super::*;

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Starts a session, whose log says `problem` and `fix` then; it is not waited until it is given up.
#[track_caller]
fn told(session: &Session, problem: &str, fix: &str) {
    let plugins = session.bed.plugins();
    let answer = session.run(&["start", "--devnet", "--plugin-dir", plugins, "--wait", "1"]);
    assert!([1, 4].contains(&answer.code), "{problem}: {answer:?}");
    let line = || {
        let log = session.bed.log();
        log.lines().any(|line| line.contains(problem) && line.contains(fix))
    };
    wait_until(PATIENCE, line, || (problem, session.bed.log()));
    assert_eq!(session.run(&["stop"]).code, 0, "{}", session.bed.log());
}

#[test]
fn what_docker_refuses_is_told_with_what_to_do() {
    let Some(engine) = have(Engine::docker()) else { return };
    for (extra, edit, problem, fix) in [
        (
            "docker_image_tag = \"nobody_has_this:1\"",
            None,
            "the image nobody_has_this:1 is not on this machine, and its name names no registry",
            "set `docker_image_tag`",
        ),
        (
            "docker_image_tag = \"localhost:1/nobody/listens:1\"",
            None,
            "the image localhost:1/nobody/listens:1 could not be fetched",
            "check the network",
        ),
        (
            "local_model_path = \"/no/such/folder\"",
            None,
            "something that is to be mounted is not there",
            "check the folder of the model",
        ),
        (
            "",
            Some(("[run]\n", "[run]\nentrypoint = [\"/no/such/program\"]\n")),
            "does not hold the program that is to be started",
            "the data file is made for another image",
        ),
    ] {
        let session = Session::new(&engine, "", extra, "");
        if let Some((from, to)) = edit {
            session.edit(from, to);
        }
        let plugins = session.bed.plugins();
        let answer = session.run(&["start", "--devnet", "--plugin-dir", plugins, "--wait", "240"]);
        assert_eq!(answer.code, 1, "{problem}: {answer:?}");
        let said = words(&answer.stderr);
        assert!(said.contains(problem) && said.contains(fix), "{problem}: {answer:?}");
        assert_eq!(session.ours(), Vec::<String>::new(), "nothing is left: {}", session.bed.log());
    }
    let mut session = Session::new(&engine, "", "", "");
    session.variables = vec![("DOCKER_HOST", "unix:///no/such/docker.sock".to_owned())];
    let plugins = session.bed.plugins();
    let answer = session.run(&["start", "--devnet", "--plugin-dir", plugins, "--wait", "240"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let said = words(&answer.stderr);
    assert!(
        said.contains("Docker's daemon does not answer") && said.contains("systemctl start docker"),
        "{answer:?}"
    );
}

#[test]
fn what_cannot_be_had_here_is_told_as_engines_say_it() {
    let docker = |create: &str, start: &str| {
        format!(
            "case \"$1\" in\nversion) echo '\"28.0\"' ;;\ninfo) echo '[]' ;;\n\
             image) echo '{{\"Id\":\"sha256:00\",\"Created\":\"2026-01-01T00:00:00Z\"}}' ;;\nps) ;;\n\
             create) {create} ;;\nstart) {start} ;;\n*) ;;\nesac"
        )
    };
    let made = "echo 0123456789abcdef";
    let says = |text: &str| format!("echo '{text}' >&2; exit 1");
    for (create, start, problem, fix) in [
        (
            made.to_owned(),
            says(
                "Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]]",
            ),
            "Docker cannot hand over NVIDIA cards",
            "nvidia-ctk runtime configure",
        ),
        (
            made.to_owned(),
            says(
                "Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1 failed: port is already allocated",
            ),
            "of this machine is taken",
            "or choose another port",
        ),
        (
            says("Error response from daemon: write /x: no space left on device"),
            String::new(),
            "the disk is full",
            "free space where the models are cached",
        ),
        (
            says("permission denied while trying to connect to the Docker daemon socket at unix:///x"),
            String::new(),
            "you may not speak with Docker",
            "use rootless Podman",
        ),
        (
            says("something that nobody has met"),
            String::new(),
            "docker failed: something that nobody",
            "docker info",
        ),
    ] {
        let session = Session::scripted(&docker(&create, &start), "");
        told(&session, problem, fix);
    }
}

#[test]
fn while_an_image_is_fetched_it_is_said_how_far_that_is_and_a_stop_ends_it() {
    let script = "case \"$1\" in\nversion) echo '\"28.0\"' ;;\ninfo) echo '[]' ;;\n\
                  image) echo 'Error: No such image: x' >&2; exit 1 ;;\n\
                  pull) echo '0a0b: Pulling fs layer'; echo '0a0b: Download complete'; exec sleep 600 ;;\n*) ;;\nesac";
    let session = Session::scripted(script, "docker_image_tag = \"registry.example/some:1\"");
    let plugins = session.bed.plugins();
    let answer = session.run(&["start", "--devnet", "--plugin-dir", plugins, "--wait", "5"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    let status = session.bed.wait_for(PATIENCE, |status| {
        let sentence = Session::container(status)["sentence"].as_str().unwrap_or_default();
        sentence.ends_with("it said last: 0a0b: Download complete")
    });
    assert_eq!(Session::container(&status)["phase"], "pulling", "{status:#}");
    assert_eq!(session.run(&["stop"]).code, 0, "{}", session.bed.log());
}

#[test]
fn one_that_somebody_removed_is_made_again_and_one_that_stays_is_ended_in_its_time() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "stubborn,health-after=3", "", "stop_grace = \"2s\"");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    // It asks for work before it serves, and that is no mining yet.
    let loading = session.bed.wait_for(PATIENCE, |status| {
        matches!(Session::container(status)["phase"].as_str(), Some("loading" | "serving"))
    });
    if Session::container(&loading)["phase"] == "loading" {
        assert_eq!(loading["condition"], "loading", "{loading:#}");
    }
    session.bed.wait_for(PATIENCE, |status| Session::container(status)["phase"] == "serving");
    let before = session.ours();
    assert!(engine.run(&["rm", "--force", &before[0]]).status.success());
    session.bed.wait_for(PATIENCE, |status| {
        Session::container(status)["restarts"] == 1 && Session::container(status)["phase"] == "serving"
    });
    // Which of both its engine says first is chance.
    let told = ["somebody removed its container", "it was killed (status 137)"];
    assert!(told.into_iter().any(|told| session.bed.log().contains(told)), "{}", session.bed.log());
    assert_ne!(session.ours(), before);
    assert_eq!(session.run(&["stop"]).code, 0, "{}", session.bed.log());
    assert_eq!(session.ours(), Vec::<String>::new());
}

#[test]
fn one_that_runs_out_of_its_cards_memory_says_what_to_lower() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "exit-after=1", "", "");
    assert_eq!(session.start().code, 0, "{}", session.bed.log());
    let why = || session.bed.log().contains("the card's memory does not suffice; lower `max_model_len`");
    wait_until(PATIENCE, why, || session.bed.log());
}

#[test]
fn no_model_is_loaded_for_a_certificate_that_its_image_does_not_make() {
    let Some(engine) = have(Engine::docker()) else { return };
    let gateway = Devnet::start(&pearlbed_tests::session::Bed::new(""), &["--listen", "127.0.0.1:0"]);
    let port = gateway.address.rsplit(':').next().unwrap();
    let mining = format!("wallet_address = \"{WALLET}\"");
    let session = Session::working(&engine, "", &format!("gateway_port = {port}"), &mining, "");
    session.edit("certificate_versions = [1, 2, 3]", "certificate_versions = [1]");
    let answer = session.start_as_configured();
    assert_eq!(answer.code, 5, "{answer:?}\n{}", session.bed.log());
    let said = words(&answer.stderr);
    assert!(
        said.contains("the network wants proofs for certificate 3") && said.contains("get a newer image"),
        "{answer:?}"
    );
    session.bed.wait_for(PATIENCE, |status| Session::container(status)["phase"] == "needs-update");
    assert_eq!(session.run(&["status"]).code, 5);
    assert_eq!(session.ours(), Vec::<String>::new(), "{}", session.bed.log());
}
