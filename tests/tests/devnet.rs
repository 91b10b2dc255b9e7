//! `pearlbed devnet`: the real server, and a real session that takes it for a gateway.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::session::Bed;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A running `pearlbed devnet --json`.
struct Devnet {
    home: tempfile::TempDir,
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Devnet {
    fn command(home: &std::path::Path, args: &[&str]) -> Command {
        let mut command = Command::new(build::pearlbed());
        command.arg("devnet").args(args).env_clear().env("PEARLBED_HOME", home);
        command
    }

    fn start(args: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child =
            Self::command(home.path(), args).arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { home, child, lines }
    }

    fn event(&mut self) -> Option<Value> {
        self.lines.next().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    fn listening(&mut self) -> String {
        let event = self.event().unwrap();
        assert_eq!((&event["event"], &event["schema"]), (&"listening".into(), &1.into()));
        event["address"].as_str().unwrap().to_owned()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_takes_it_for_a_gateway_and_makes_blocks() {
    let mut devnet = Devnet::start(&["--listen", "127.0.0.1:0", "--spacing", "0.2", "--blocks", "3"]);
    let address = devnet.listening();
    let port = address.rsplit(':').next().unwrap();
    let bed = Bed::with(
        &format!("gateway_port = {port}"),
        "[mining]\nprovider = \"odd-miner\"\n\
         wallet_address = \"prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k\"",
    );
    let answer = bed.run(&["start", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let mut blocks = Vec::new();
    while let Some(event) = devnet.event() {
        assert_ne!(event["event"], "rejected", "{event}");
        if event["event"] == "block" {
            blocks.push(event["height"].as_u64().unwrap());
        }
    }
    assert_eq!(blocks, [1, 2, 3]);
    assert!(devnet.child.wait().unwrap().success());
    // Without a node, what became of them cannot be known, and it is not claimed.
    let status = bed.wait_for(PATIENCE, |status| status["work"]["condition"] == "connecting");
    assert_eq!(status["proofs"]["accepted"], 0);
    assert!(status["proofs"]["submitted"].as_u64() >= Some(2), "{status:#}");
}

#[test]
fn it_serves_a_socket_keeps_its_chain_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gw.sock");
    let mut devnet = Devnet::start(&["--socket", socket.to_str().unwrap(), "--cert-version", "7"]);
    assert_eq!(devnet.listening(), format!("unix:{}", socket.display()));
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"getMiningInfo\",\"id\":1}\n").unwrap();
    let mut reply = String::new();
    BufReader::new(&stream).read_line(&mut reply).unwrap();
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["result"]["cert_version"], 7);

    // A second one on the same chain is told so.
    let second = Devnet::command(devnet.home.path(), &["--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let story = String::from_utf8(second.stderr).unwrap();
    assert!(story.contains("is in use by another") && story.contains("hint: "), "{story}");

    let pid = rustix::process::Pid::from_raw(devnet.child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(devnet.child.wait().unwrap().success());
    assert!(!socket.exists());
    let mut end = [0];
    assert_eq!(stream.read(&mut end).unwrap(), 0, "connections end with it");
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let output = Devnet::command(home.path(), &["--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let story = String::from_utf8(output.stderr).unwrap();
    assert!(story.contains("loopback") && story.contains("hint: "), "{story}");
    // A port that somebody has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Devnet::command(home.path(), &["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(TcpStream::connect(&address).is_ok());
}
