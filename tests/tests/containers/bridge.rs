//! A network of the container's own, with its port published on loopback alone.
//!
//! Docker's bridge is made in a network name space of the test's own, so that the machine's network stays as it is.

use std::path::Path;
use std::process::Command;

use pearlbed_tests::dockerd::{Daemon, Network};
use pearlbed_tests::machine::has;
use pearlbed_tests::session::Bed;

use super::*;

/// `pearlbed` where that bridge is.
fn pearlbed(apart: &Daemon, bed: &Bed, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("nsenter");
    command.args(["--target", &apart.pid().to_string(), "--net"]);
    command.arg(pearlbed_tests::build::pearlbed()).args(arguments);
    command.env("PEARLBED_HOME", bed.home()).env("DOCKER_HOST", apart.host());
    command.output().unwrap()
}

#[test]
fn on_a_bridge_its_port_is_published_on_loopback_and_what_is_taken_is_told() {
    if !has("nsenter") {
        return println!("skipped: no container was run on a bridge: nsenter is not on this machine");
    }
    let apart = match Daemon::start(None, Network::Own) {
        Ok(apart) => apart,
        Err(why) => return println!("skipped: no container was run on a bridge: {why}"),
    };
    let root = pearlbed_tests::build::target().join("stand-in/docker");
    if !root.join("Dockerfile").is_file() {
        // It lays the image out.
        let Some(_engine) = have(Engine::docker()) else { return };
    }
    let made =
        apart.docker(&["build", "--quiet", "--tag", pearlbed_tests::stand_in::IMAGE, root.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let tried = apart.docker(&[
        "run",
        "--rm",
        "--network",
        "bridge",
        "--env",
        "STAND_IN=exit=7",
        pearlbed_tests::stand_in::IMAGE,
    ]);
    if tried.status.code() != Some(7) {
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        return println!(
            "skipped: no container was run on a bridge: {}",
            why.lines().last().unwrap_or_default()
        );
    }
    let bed = Bed::with(
        "model = \"somebody/a-model-pearl\"",
        "[mining]\nprovider = \"stand-in\"\n[mining.container]\nengine = \"docker\"",
    );
    let file = Path::new(bed.plugins()).join("stand-in.container.toml");
    std::fs::write(&file, pearlbed_tests::stand_in::data_file(8000, "")).unwrap();
    let run = |arguments: &[&str]| pearlbed(&apart, &bed, arguments);
    let start = ["start", "--devnet", "--plugin-dir", bed.plugins(), "--wait", "240"];
    let answer = run(&start);
    assert!(answer.status.success(), "{answer:?}\n{}", bed.log());
    let status = bed.wait_for(PATIENCE, |status| {
        accepted(status) > 0 && Session::container(status)["phase"] == "serving"
    });
    let id = Session::container(&status)["container_id"].as_str().unwrap().to_owned();
    let ports = apart.docker(&["port", &id]);
    let ports = String::from_utf8_lossy(&ports.stdout).into_owned();
    assert_eq!(ports.trim(), "8000/tcp -> 127.0.0.1:8000", "no other machine reaches it");
    assert!(run(&["stop"]).status.success(), "{}", bed.log());

    // Whoever listens there already is not pushed aside.
    let mut stranger = Command::new("nsenter");
    stranger.args(["--target", &apart.pid().to_string(), "--net", "python3", "-m", "http.server", "8000"]);
    stranger.args(["--bind", "127.0.0.1"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut stranger = stranger.spawn().unwrap();
    let listens = || {
        let mut probe = Command::new("nsenter");
        probe.args(["--target", &apart.pid().to_string(), "--net", "python3", "-c"]);
        probe.arg("import socket; socket.create_connection(('127.0.0.1', 8000))").stderr(Stdio::null());
        probe.status().unwrap().success()
    };
    wait_until(PATIENCE, listens, || "nobody listens");
    let answer = run(&start);
    let said = String::from_utf8_lossy(&answer.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = stranger.kill();
    let _ = stranger.wait();
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(said.contains("the port 8000 of this machine is taken"), "{answer:?}");
}
