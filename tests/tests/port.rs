//! The miner port of the real binary: programs that mine already, of either language, in front of a session's work.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::{
    CertificateVersion, Header, MiningConfiguration, PeriodicPattern, Target, opening::Matrix, reference,
};
use pearlbed_tests::build;
use pearlbed_tests::session::Bed;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Long enough for the slowest machine; nothing waits for its end unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(180);
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// A session on the devnet that serves programs and mines nothing by itself.
fn served() -> Bed {
    let bed = Bed::with("", "[mining.port]\nunix = true\nlisten = \"127.0.0.1:0\"");
    let answer = bed.run(&["start", "--devnet", "--port", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    assert!(answer.stdout.contains("waiting for miners at"), "{answer:?}");
    bed
}

fn socket(bed: &Bed) -> PathBuf {
    bed.home().join("runtime/miner/gateway.sock")
}

/// The TCP address of the port.
fn address(bed: &Bed) -> String {
    let status = bed.status();
    let ports = status["endpoints"].as_array().unwrap().iter().filter(|one| one["purpose"] == "port");
    let address = ports.filter_map(|one| one["address"].as_str()?.strip_prefix("tcp:")).next();
    address.unwrap_or_else(|| panic!("{status:#}")).to_owned()
}

/// A second session, whose provider is `provider` and whose work comes from the port of the first.
fn second(provider: &str, source: &str) -> Bed {
    let bed = Bed::with(
        "",
        &format!("[mining]\nprovider = \"{provider}\"\nwallet_address = \"{WALLET}\"\n{source}"),
    );
    let plugin = build::plugin("cpu-pearl");
    let file = std::path::Path::new(bed.plugins()).join(plugin.file_name().unwrap());
    std::fs::copy(plugin, &file).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, mode).unwrap();
    bed
}

fn row(status: &Value, wanted: impl Fn(&Value) -> bool) -> Option<&Value> {
    status["miners"].as_array()?.iter().find(|miner| wanted(miner))
}

/// The counts of proofs that must be the same on both sides.
fn count(proofs: &Value, key: &str) -> u64 {
    proofs[key].as_u64().unwrap_or_else(|| panic!("{key}: {proofs:#}"))
}

/// `kills` of the port process: what was mined for a job of a port that is gone is for no job of the next.
fn agrees(first: &Bed, second: &Bed, dialect: &str, kills: u64) {
    let seen = first.wait_for(PATIENCE, |status| {
        row(status, |miner| miner["program"]["dialect"] == dialect).is_some_and(|miner| {
            miner["proofs"]["accepted"].as_u64() >= Some(3) && miner["program"]["last_request_at"].is_u64()
        })
    });
    let miner = row(&seen, |miner| miner["program"]["dialect"] == dialect).unwrap();
    assert_eq!(miner["condition"], "mining", "{miner:#}");
    let stop = second.run(&["stop"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    let theirs: Value =
        serde_json::from_slice(&std::fs::read(second.home().join("runtime/last-session.json")).unwrap())
            .unwrap();
    // What was handed over is settled: accepted, or its block came too late.
    let settled = first.wait_for(PATIENCE, |status| {
        let Some(miner) = row(status, |miner| miner["program"]["dialect"] == dialect) else { return false };
        let proofs = &miner["proofs"];
        let is = |key: &str| proofs[key].as_u64().unwrap_or(0);
        is("found") == is("verified") && is("paying") == is("accepted") + is("stale")
    });
    let miner = row(&settled, |miner| miner["program"]["dialect"] == dialect).unwrap();
    let (ours, theirs) = (&miner["proofs"], &theirs["proofs"]);
    println!("here {ours}\nthere {theirs}");
    let strangers = ours["refused_by"]["job"].as_u64().unwrap_or(0);
    assert!(strangers <= kills && count(ours, "refused") == strangers, "{ours:#}");
    assert_eq!(
        count(ours, "found"),
        count(ours, "late")
            + count(ours, "accepted")
            + count(ours, "stale")
            + (count(ours, "verified") - count(ours, "late") - count(ours, "paying")),
        "{ours:#}"
    );
    // A proof that was under way when the other session ended is in one of the two, at most.
    let handed_over = count(theirs, "submitted");
    assert!(count(ours, "found") >= handed_over, "{ours:#} {theirs:#}");
    assert!(count(ours, "found") <= count(theirs, "found"), "{ours:#} {theirs:#}");
}

#[test]
fn a_second_session_mines_through_the_port_as_through_a_gateway_and_the_counts_agree() {
    let first = served();
    let status = first.status();
    assert_eq!(status["condition"], "waiting-for-program", "{status:#}");
    let source = format!("[mining.gateway]\nsocket = \"{}\"", socket(&first).display());
    let second = second("cpu-pearl", &source);
    let answer = second.run(&["start", "--plugin-dir", second.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}\n{}", second.log(), first.log());
    agrees(&first, &second, "gateway-rpc", 0);
    let status =
        first.wait_for(PATIENCE, |status| row(status, |miner| miner["condition"] == "gone").is_some());
    let gone = row(&status, |miner| miner["condition"] == "gone").unwrap();
    assert_eq!(gone["name"], "pearlbed", "by its process: {gone:#}");
    // It has its row again, and its numbers go on.
    let before = count(&gone["proofs"], "found");
    assert_eq!(second.run(&["start", "--plugin-dir", second.plugins()]).code, 0);
    let status =
        first.wait_for(PATIENCE, |status| status["miners"][0]["proofs"]["found"].as_u64() > Some(before));
    assert_eq!(status["miners"].as_array().unwrap().len(), 1, "{status:#}");
}

#[test]
fn a_second_session_mines_through_the_port_as_at_a_pool_and_the_counts_agree() {
    let first = served();
    let target = format!(
        "submit_target = \"pool:stratum+tcp://{}\"\n[mining.pool]\nworker = \"rig1\"",
        address(&first)
    );
    let second = second("cpu-pearl", &target);
    let answer = second.run(&["start", "--plugin-dir", second.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}\n{}", second.log(), first.log());
    let status = first.wait_for(PATIENCE, |status| status["miners"][0]["name"] == "rig1");
    let agent = status["miners"][0]["program"]["agent"].as_str().unwrap();
    assert!(agent.starts_with("pearlbed/"), "{status:#}");
    agrees(&first, &second, "pool", 0);
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
            row(status, |miner| miner["name"] == worker)
                .is_some_and(|miner| miner["proofs"]["refused"] == 3 && miner["proofs"]["found"] == 1)
        });
        let miner = row(&status, |miner| miner["name"] == worker).unwrap();
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
    let source = format!("[mining.gateway]\nsocket = \"{}\"", socket(&first).display());
    let second = second("cpu-pearl", &source);
    assert_eq!(second.run(&["start", "--plugin-dir", second.plugins()]).code, 0, "{}", second.log());
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
    agrees(&first, &second, "gateway-rpc", KILLS);
    assert_eq!(first.status()["miners"].as_array().unwrap().len(), 1, "one program, one row");
}

#[test]
fn the_port_closes_with_its_supervisor_and_clients_see_it() {
    let bed = served();
    let mut client = UnixStream::connect(socket(&bed)).unwrap();
    client.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"getMiningInfo\"}\n").unwrap();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("incomplete_header_bytes"), "{line}");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
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
fn bad_neighbours_slow_down_nobody_but_themselves() {
    let bed = served();
    let address = address(&bed);
    let connect = || TcpStream::connect(&address).unwrap();
    // Somebody who says nothing, somebody who asks and never reads, rubbish, half a line, and wrong proofs without end.
    let idle: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
    let mut deaf = connect();
    let mut half = connect();
    half.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"meth").unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let question = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"getMiningInfo\"}\n".repeat(20_000);
    let _ = deaf.write_all(question.as_bytes());
    let mut rubbish = connect();
    rubbish.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..1000 {
        if rubbish.write_all(b"\x00\xffrubbish \x1b[2J\n").is_err() {
            break;
        }
    }
    let flood = connect();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flooder = {
        let (stop, mut flood) = (std::sync::Arc::clone(&stop), flood.try_clone().unwrap());
        flood.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        std::thread::spawn(move || {
            let login = r#"{"id":1,"method":"mining.authorize","params":["x.flood","x"]}"#;
            let _ = writeln!(flood, "{login}");
            let proof = BASE64.encode([9; 3000]);
            let mut sent = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let share = format!(
                    r#"{{"id":{sent},"method":"mining.submit","params":{{"job_id":"1","plain_proof":"{proof}"}}}}"#
                );
                sent += u64::from(writeln!(flood, "{share}").is_ok());
            }
            sent
        })
    };
    bed.wait_for(PATIENCE, |status| {
        row(status, |miner| miner["name"] == "flood")
            .is_some_and(|miner| miner["proofs"]["refused"].as_u64() > Some(20))
    });
    // Meanwhile somebody honest is answered, and soon.
    let mut client = Client::start("pool_client.py", &[&address, "object", "honest"]);
    let job = client.ask(&json!({}));
    let header: [u8; 76] = unhex(job["header"].as_str().unwrap()).try_into().unwrap();
    let mut target: [u8; 32] = unhex(job["target"].as_str().unwrap()).try_into().unwrap();
    target.reverse();
    let proof = mine(header, Target::from_le_bytes(target), 3, 3);
    let mut slowest = Duration::ZERO;
    for number in 0..20_usize {
        let mut one = proof.clone();
        one[100 + number] ^= u8::from(number > 0);
        let began = Instant::now();
        let answer = client.ask(&json!({ "proof": BASE64.encode(&one), "job_id": job["job_id"] }));
        slowest = slowest.max(began.elapsed());
        assert_eq!(answer["error"].is_null() || answer["error"][0] == 21, number == 0, "{answer}");
    }
    println!("slowest answer to the honest one: {slowest:?}");
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = flooder.join().unwrap();
    let status = bed.status();
    let flooded = row(&status, |miner| miner["name"] == "flood").unwrap();
    println!("{sent} wrong proofs were sent, {} were judged", flooded["proofs"]["refused"]);
    assert!(count(&row(&status, |miner| miner["name"] == "honest").unwrap()["proofs"], "found") == 1);
    let peak = memory(status["supervisor_pid"].as_u64().unwrap());
    println!("the supervisor had at most {peak} KiB");
    // Without optimisation code and its tables are larger; what a flood adds is what counts.
    assert!(peak < if cfg!(debug_assertions) { 64 << 10 } else { 30 << 10 }, "{peak} KiB");
    drop((idle, deaf, half, rubbish, flood));
}
