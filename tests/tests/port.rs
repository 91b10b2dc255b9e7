//! The miner port of the real binary: programs that mine already, of either language, in front of a session's work.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::{
    CertificateVersion, Header, MiningConfiguration, PeriodicPattern, Target, opening::Matrix, reference,
};
use pearlbed_tests::build;
use pearlbed_tests::gateway::Gateway;
use pearlbed_tests::neighbours::{ALL, Honest, Neighbours};
use pearlbed_tests::network::Network;
use pearlbed_tests::port::{
    Language, PATIENCE, PORT, WALLET, address, agree, count, second, served, socket, start,
};
use pearlbed_tests::session::Bed;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Any of the rows in `status`.
fn named(status: &Value, wanted: impl Fn(&Value) -> bool) -> Option<&Value> {
    status["miners"].as_array()?.iter().find(|miner| wanted(miner))
}

#[test]
fn a_program_that_comes_again_has_its_row_again_and_its_numbers_go_on() {
    let first = served();
    let second = second(&first, Language::Rpc, "odd-miner");
    start(&second, &first);
    first.wait_for(PATIENCE, |status| status["miners"][0]["proofs"]["found"].as_u64() > Some(0));
    assert_eq!(second.run(&["stop"]).code, 0);
    let status =
        first.wait_for(PATIENCE, |status| named(status, |miner| miner["condition"] == "gone").is_some());
    let gone = named(&status, |miner| miner["condition"] == "gone").unwrap();
    assert_eq!(gone["name"], "pearlbed", "by its process: {gone:#}");
    let before = count(&gone["proofs"], "found");
    start(&second, &first);
    let status =
        first.wait_for(PATIENCE, |status| status["miners"][0]["proofs"]["found"].as_u64() > Some(before));
    assert_eq!(status["miners"].as_array().unwrap().len(), 1, "{status:#}");
}

/// A proof for `header` at `target`, as the plain miner finds it.
fn mine(header: [u8; 76], target: Target, version: u32, seed: u64) -> Vec<u8> {
    let certificate = CertificateVersion::try_from(version).unwrap();
    let job = pearl_pow::Job {
        header: Header::from_bytes(header),
        target: Some(target),
        certificate,
        rank_penalty: true,
    };
    let (rows, k) = (256, 2048);
    let config = MiningConfiguration::dense(
        k as u32,
        128,
        PeriodicPattern::from_offsets(&[0, 8, 64, 72]).unwrap(),
        PeriodicPattern::from_offsets(&[0, 1, 8, 9, 32, 33, 40, 41]).unwrap(),
    );
    let bound = job.effective_target().bound(&config, true);
    for round in 0.. {
        let matrix = |side: u64| reference::test_matrix(seed * 1000 + round * 2 + side + 1, rows * k);
        let (a, bt) = (matrix(0), matrix(1));
        let [left, right] = [&a, &bt].map(|entries| Matrix::new(entries, k).unwrap());
        let product = reference::Product::new(&job.header, &config, certificate.seed_rule(), left, right);
        if let Some(attempt) = product.mine(bound) {
            return product.prove(&attempt).encode();
        }
    }
    unreachable!("an easy target is met before the rounds run out")
}

/// A client in another language, which is told a line and answers one.
struct Client {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let path = build::workspace().join("tests/tests/port").join(script);
        let mut process = Command::new("python3")
            .arg(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is among what the tests need");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output) }
    }

    fn ask(&mut self, what: &Value) -> Value {
        writeln!(self.input, "{what}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    (0..text.len() / 2).map(digit).collect()
}

#[test]
fn a_client_of_the_miner_rpc_written_from_the_document_hears_the_truth_of_each_proof() {
    let bed = served();
    let mut client = Client::start("rpc_client.py", &[socket(&bed).to_str().unwrap()]);
    // Another job may take the place of one while it is mined: a proof for it is late, which has the same answer.
    let job = client.ask(&json!({}))["result"].clone();
    let header: [u8; 76] =
        BASE64.decode(job["incomplete_header_bytes"].as_str().unwrap()).unwrap().try_into().unwrap();
    // A number of up to 256 bits; the compact target in the header is the same while what pays is easy.
    let target = Header::from_bytes(header).nbits().target();
    let version = u32::try_from(job["cert_version"].as_u64().unwrap()).unwrap();
    let proof = mine(header, target, version, 1);
    let text = BASE64.encode(&proof);
    let good = client.ask(&json!({ "proof": text }));
    assert_eq!(good["result"], "submitted", "{good}");
    let again = client.ask(&json!({ "proof": text, "job": job }));
    let message = |reply: &Value| reply["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(again["error"]["code"], -32000, "{again}");
    assert!(message(&again).contains("duplicate"), "{again}");
    let mut wrong = proof.clone();
    // In the middle of the first leaf.
    wrong[100] ^= 1;
    let refused = client.ask(&json!({ "proof": BASE64.encode(&wrong), "job": job }));
    assert!(message(&refused).contains("hash_a"), "the stage that failed: {refused}");
    let mut stranger = job.clone();
    stranger["incomplete_header_bytes"] = BASE64.encode([7; 76]).into();
    let unknown = client.ask(&json!({ "proof": text, "job": stranger }));
    assert!(message(&unknown).contains("never given out"), "{unknown}");
    let garbage = client.ask(&json!({ "proof": "AAAA", "job": job }));
    assert!(message(&garbage).contains("decode"), "{garbage}");
    let status = bed.wait_for(PATIENCE, |status| status["miners"][0]["proofs"]["refused"] == 4);
    let miner = &status["miners"][0];
    assert_eq!((&miner["proofs"]["found"], &miner["program"]["dialect"]), (&json!(1), &json!("gateway-rpc")));
    assert_eq!(miner["program"]["pid"], client.process.id(), "the socket tells: {miner:#}");
    assert_eq!(miner["name"], "python3", "{miner:#}");
}

#[test]
fn a_client_of_the_pool_dialect_written_from_the_document_hears_the_truth_of_each_share() {
    let bed = served();
    let address = address(&bed);
    for (form, worker) in [("object", "left"), ("array", "right")] {
        let mut client = Client::start("pool_client.py", &[&address, form, worker]);
        let job = client.ask(&json!({}));
        let header: [u8; 76] = unhex(job["header"].as_str().unwrap()).try_into().unwrap();
        let mut target: [u8; 32] = unhex(job["target"].as_str().unwrap()).try_into().unwrap();
        target.reverse();
        let version = u32::try_from(job["cert_version"].as_u64().unwrap()).unwrap();
        let proof = mine(header, Target::from_le_bytes(target), version, 2);
        let share = json!({ "proof": BASE64.encode(&proof), "job_id": job["job_id"] });
        let good = client.ask(&share);
        // Another job may have come meanwhile.
        let code = |reply: &Value| reply["error"][0].as_i64();
        assert!(good["result"] == true || code(&good) == Some(21), "{good}");
        let again = client.ask(&share);
        assert_eq!(code(&again), Some(22), "{again}");
        let mut wrong = proof.clone();
        wrong[100] ^= 1;
        let refused = client.ask(&json!({ "proof": BASE64.encode(&wrong), "job_id": job["job_id"] }));
        assert_eq!(code(&refused), Some(20), "{refused}");
        assert!(refused["error"][1].as_str().unwrap().contains("hash_a"), "{refused}");
        let unknown = client.ask(&json!({ "proof": BASE64.encode(&proof), "job_id": "9999" }));
        assert_eq!(code(&unknown), Some(21), "{unknown}");
        let status = bed.wait_for(PATIENCE, |status| {
            named(status, |miner| miner["name"] == worker)
                .is_some_and(|miner| miner["proofs"]["refused"] == 3 && miner["proofs"]["found"] == 1)
        });
        let miner = named(&status, |miner| miner["name"] == worker).unwrap();
        assert_eq!(miner["program"]["agent"], "python-pool/1.0", "{miner:#}");
    }
}

/// The port process of a session.
fn port_process(bed: &Bed) -> Option<u32> {
    let supervisor = u32::try_from(bed.status()["supervisor_pid"].as_u64()?).ok()?;
    pearlbed_tests::session::children(supervisor).into_iter().find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|title| title.starts_with(b"pearlbed-port"))
    })
}

#[test]
fn the_port_process_may_be_killed_at_any_moment_and_nothing_that_was_answered_is_lost() {
    let first = served();
    // Programs of both languages: what either mined for a job of a port that is gone is late at worst.
    let programs = [Language::Rpc, Language::Pool].map(|language| {
        let program = second(&first, language, "cpu-pearl");
        start(&program, &first);
        (language, program)
    });
    let mut random = 88_172_645_463_325_252_u64;
    let mut last = None;
    const KILLS: u64 = 4;
    for _ in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % 1500));
        pearlbed_tests::session::wait_until(
            PATIENCE,
            || port_process(&first).is_some_and(|pid| last != Some(pid)),
            || first.log(),
        );
        let pid = port_process(&first).unwrap();
        last = Some(pid);
        first.signal(pid, Signal::KILL);
    }
    let before = first.status()["proofs"]["found"].as_u64().unwrap();
    first.wait_for(PATIENCE, |status| status["proofs"]["found"].as_u64() > Some(before));
    for (language, program) in &programs {
        agree(&first, program, *language, KILLS);
    }
    assert_eq!(first.status()["miners"].as_array().unwrap().len(), 2, "one row for each program");
}

#[test]
fn the_port_closes_with_its_supervisor_and_clients_see_it() {
    let bed = served();
    let mut client = UnixStream::connect(socket(&bed)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"getMiningInfo\"}\n").unwrap();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("incomplete_header_bytes"), "{line}");
    let supervisor = u32::try_from(bed.status()["supervisor_pid"].as_u64().unwrap()).unwrap();
    bed.signal(supervisor, Signal::KILL);
    line.clear();
    assert!(matches!(reader.read_line(&mut line), Ok(0) | Err(_)), "{line}");
    pearlbed_tests::session::wait_until(
        PATIENCE,
        || UnixStream::connect(socket(&bed)).is_err(),
        || "somebody listens on",
    );
    // What was left lying is no hindrance.
    let answer = bed.run(&["start", "--devnet", "--port", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    UnixStream::connect(socket(&bed)).unwrap();
}

/// Memory that a process has in use, in KiB.
fn memory(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn beside_bad_neighbours_an_honest_program_keeps_its_rate_and_the_supervisor_stays_small() {
    // 2^20 hashes a proof, and one job for all of the test: nothing that is sent is late.
    let network = Network::new(0x1e10_0000, 3);
    let gateway = Gateway::tcp(&network);
    gateway.behave(|behaviour| (behaviour.frozen, behaviour.poisoned) = (true, true));
    let extra = format!("gateway_port = {}", gateway.port());
    let bed = Bed::with(&extra, &format!("[mining]\nwallet_address = \"{WALLET}\"\n{PORT}"));
    let answer = bed.run(&["start", "--port", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    let address = address(&bed);
    let mut honest = Honest::log_in(&address, "honest");
    let proofs = honest.task.mine(200);
    let neighbours = Neighbours::at(&address, &ALL);
    bed.wait_for(PATIENCE, |status| {
        named(status, |miner| miner["name"] == "flood")
            .is_some_and(|miner| miner["proofs"]["refused"].as_u64() > Some(20))
    });
    let measured = honest.hand_in(&proofs, Duration::from_millis(50), Duration::from_secs(20), PATIENCE);
    let sent = neighbours.sent();
    println!("{measured:?}, and {sent} lines of its neighbours");
    assert_eq!(measured.accepted, measured.sent, "nothing of the honest one's is lost");
    // By the clock of a machine that does other things, too; `cargo xtask bench port` measures it.
    assert!(measured.in_time * 100 >= measured.sent * 98, "{measured:?}");
    drop(neighbours);
    let status = bed.status();
    let flooded = named(&status, |miner| miner["name"] == "flood").unwrap();
    println!("of the flood {} were judged", flooded["proofs"]["refused"]);
    let found = count(&named(&status, |miner| miner["name"] == "honest").unwrap()["proofs"], "found");
    assert_eq!(found, measured.sent as u64, "{status:#}");
    let peak = memory(status["supervisor_pid"].as_u64().unwrap());
    println!("the supervisor had at most {peak} KiB");
    // Without optimisation code and its tables are larger; what a flood adds is what counts.
    assert!(peak < if cfg!(debug_assertions) { 64 << 10 } else { 30 << 10 }, "{peak} KiB");
}

#[test]
fn a_program_that_the_network_left_behind_is_told_so_and_works_again_once_it_is_another() {
    let network = Network::new(0x1e10_0000, 2);
    let gateway = Gateway::tcp(&network);
    let extra = format!("gateway_port = {}", gateway.port());
    let bed = Bed::with(&extra, &format!("[mining]\nwallet_address = \"{WALLET}\"\n{PORT}"));
    let answer = bed.run(&["start", "--port", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    let address = address(&bed);
    let old = CertificateVersion::V2;
    let hand_in = |program: &mut Honest, proofs: &[String]| {
        program.hand_in(proofs, Duration::from_millis(10), PATIENCE, PATIENCE).accepted
    };
    let mut program = Honest::log_in(&address, "rig");
    let proofs = program.task.mine(1);
    assert_eq!(hand_in(&mut program, &proofs), 1, "{}", bed.log());
    // A block makes another job; this one comes with the fork.
    network.require_certificate(3);
    network.mine_elsewhere(1);
    program.next_task(PATIENCE);
    // The gateway's own block came in between, perhaps, at the old version.
    while program.task.certificate() == old {
        program.next_task(PATIENCE);
    }
    let proofs = program.task.mine_by(old, 3);
    assert_eq!(hand_in(&mut program, &proofs), 0);
    let rig = |status: &Value| named(status, |miner| miner["name"] == "rig").cloned();
    let status = bed
        .wait_for(PATIENCE, |status| rig(status).is_some_and(|miner| miner["condition"] == "needs-update"));
    let reason = rig(&status).unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("version 2") && reason.contains("version 3"), "{reason}");
    let said = program.told(PATIENCE);
    assert!(said.contains("version 2") && said.contains("version 3"), "{said}");
    let text = bed.run(&["status"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("needs-update") && text.contains("install a newer version"), "{text}");
    // It is given no more of that version, and what it hands in all the same is not looked at.
    let headers = || gateway.seen().headers.len();
    let before = headers();
    network.mine_elsewhere(1);
    pearlbed_tests::session::wait_until(PATIENCE, || headers() > before, || bed.log());
    bed.status();
    assert!(!program.was_given_more(), "{}", bed.log());
    drop(program);
    // A newer one under the same name.
    bed.wait_for(PATIENCE, |status| rig(status).is_some_and(|miner| miner["condition"] == "gone"));
    let mut newer = Honest::of_version(&address, "rig", 2);
    let proofs = newer.task.mine(1);
    assert_eq!(hand_in(&mut newer, &proofs), 1, "{}", bed.log());
    let status =
        bed.wait_for(PATIENCE, |status| rig(status).is_some_and(|miner| miner["condition"] == "mining"));
    assert_eq!(status["miners"].as_array().unwrap().len(), 1, "{status:#}");
}
