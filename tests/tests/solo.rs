//! Solo mining with the real binary, against stand-ins for pearl-gateway and pearld.
//!
//! What the client makes of a gateway's moods is tried in `gateway.rs`, faster. Here a whole session lives with them: a
//! provider that really mines, the host's verifier, the store, `status` and the log.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Job};
use pearlbed_tests::gateway::{Gateway, Mishap, Seen, Submission};
use pearlbed_tests::network::Network;
use pearlbed_tests::node::Node;
use pearlbed_tests::session::{Bed, START_WAIT, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
/// 2^26 hashes for a block: a few seconds of the provider that the tests have, without optimisation, and not minutes where it
/// stands back for ten others.
const NBITS: u32 = 0x1d40_0000;
/// For as long as the test does not say otherwise.
const FOR_LONG: Duration = Duration::from_secs(3600);
const USER: &str = "rpcuser";
const PASSWORD: &str = "correct-horse-battery-staple";
const ADDRESS: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

struct Solo {
    network: Network,
    gateway: Gateway,
    node: Node,
    bed: Bed,
    began: Instant,
    /// Sessions that were started.
    starts: Cell<usize>,
}

impl Solo {
    fn new() -> Self {
        Self::on(Network::new(NBITS, 3))
    }

    fn on(network: Network) -> Self {
        let gateway = Gateway::tcp(&network);
        let node = Node::http(&network, USER, PASSWORD);
        let extra = format!(
            "gateway_port = {}\npearld_rpc_url = \"{}\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"",
            gateway.port(),
            node.url()
        );
        let mining = format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\"");
        let bed = Bed::with(&extra, &mining);
        Self { network, gateway, node, bed, began: Instant::now(), starts: Cell::new(0) }
    }

    fn start(&self) {
        let mut command =
            self.bed.command(&["start", "--wait", START_WAIT, "--plugin-dir", self.bed.plugins()]);
        self.starts.set(self.starts.get() + 1);
        let output = command.env("MY_NODE_PASSWORD", PASSWORD).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.bed.wait_for(PATIENCE, wanted)
    }

    fn accepted(&self, count: u64) -> Value {
        self.wait(|status| status["proofs"]["accepted"].as_u64() >= Some(count))
    }

    /// Every request kept to the protocol, and there were not many.
    fn assert_manners(&self) {
        // First what must not be too much, then what it is measured by.
        let timeline = self.node.timeline();
        let seen = self.gateway.seen();
        assert_eq!(seen.wrong, Vec::<String>::new());
        let seconds = self.began.elapsed().as_secs() + 2;
        // One a second, and one after each proof that was taken.
        let most = seconds + seen.connections + seen.submissions.len() as u64;
        assert!(seen.polls <= most, "{} polls in {seconds} s", seen.polls);
        let most = self.node_requests_max(&seen);
        let told = || {
            let moment = |(at, method): &(Instant, String)| {
                format!("{:.2} {method}", at.duration_since(self.began).as_secs_f64())
            };
            timeline.iter().map(moment).collect::<Vec<_>>().join(", ")
        };
        assert!(timeline.len() <= most, "{} requests to the node for {most}: {}", timeline.len(), told());
        let asked = ["getbestblockhash", "getblock", "getblocktemplate"];
        assert!(timeline.iter().all(|(_, method)| asked.contains(&method.as_str())), "{}", told());
        for submission in &seen.submissions {
            assert_valid(submission);
        }
    }

    /// What the rules of the client allow it to ask of the node:
    ///
    /// - a round of questions when a session starts, every 5 s, and at each new header, because the block may be ours;
    ///   a session's first header is a new one where an earlier session left proofs;
    /// - in a round the newest block, the template if the job is old, and two questions for each header whose proof is
    ///   not settled: a proof is followed from its job until its block is six deep or another block came first;
    /// - the template once more when a session starts, and with two questions for the job's own header where the newest
    ///   block is another than the job builds on: a block came, and the gateway has not followed yet;
    /// - two more where a block comes in the middle of a round: a header's second question becomes two, or the round that
    ///   waits for this one meets a proof for the header that it is asked because of.
    ///
    /// Nothing else makes it ask: no lost connection, no refusal, no proof handed over again.
    fn node_requests_max(&self, seen: &Seen) -> usize {
        const ROUND: u64 = 5;
        const CONFIRMED: usize = 6;
        const OLD_JOB: u64 = 90;
        let elapsed = self.began.elapsed().as_secs();
        let rounds_in = |seconds: u64| usize::try_from(seconds / ROUND).unwrap();
        let (starts, timed) = (self.starts.get(), rounds_in(elapsed));
        let later_starts = starts - 1;
        let new_headers = seen.headers.len().saturating_sub(1) + later_starts;
        let rounds = starts + timed + new_headers;
        let templates = if elapsed < OLD_JOB { 0 } else { rounds };
        let followed = seen.headers.iter().enumerate().filter_map(|(index, (since, header))| {
            let later = &seen.headers[index..];
            // A gateway that came back has another header for the same block, which settles nothing; a proof for the
            // one before may have found nobody to take it.
            let is_same = |pair: &[(Instant, [u8; 76])]| pair[0].1[4..36] == pair[1].1[4..36];
            let same_block = later.windows(2).filter(|pair| is_same(pair)).count();
            let had_proof = seen.submissions.iter().any(|submission| submission.header == *header)
                || later.windows(2).next().is_some_and(is_same);
            if !had_proof {
                return None;
            }
            let at_headers = (later.len() - 1).min(CONFIRMED + same_block);
            let at_times = timed.min(rounds_in(since.elapsed().as_secs()) + 1);
            Some(at_headers + at_times + 2 * later_starts)
        });
        let blocks = self.network.main_chain().len() - 1;
        rounds + templates + 2 * followed.sum::<usize>() + 2 * blocks + starts + 3 * blocks
    }
}

/// The trouble that the status shows with the address for `purpose`; `null` where there is none.
fn trouble<'a>(status: &'a Value, purpose: &str) -> &'a Value {
    let endpoints = status["endpoints"].as_array().unwrap();
    &endpoints.iter().find(|endpoint| endpoint["purpose"] == purpose).unwrap()["trouble"]
}

/// Only what would pass the network's own verifier ever leaves the host.
fn assert_valid(submission: &Submission) {
    assert_eq!(submission.certificate_version, Some(3));
    let job = Job {
        header: Header::from_bytes(submission.header),
        target: None,
        certificate: CertificateVersion::V3,
        rank_penalty: true,
    };
    pearl_pow::verify_bytes(&job, &submission.proof).unwrap();
}

/// Between two jobs it is idle for a moment, and whoever looks once may meet that.
fn earning(status: &Value) -> bool {
    status["earning"] == true
}

#[test]
fn proofs_become_blocks_through_a_gateway_that_goes_deaf_and_the_node_says_so() {
    let solo = Solo::new();
    solo.start();
    solo.accepted(2);
    // That minutes are borne is a matter of defaults, which `gateway.rs` holds.
    solo.gateway.behave(|behaviour| behaviour.proving = FOR_LONG);
    let status = solo.wait(|status| status["work"]["condition"] == "proving" && earning(status));
    let before = status["proofs"]["accepted"].as_u64().unwrap();
    solo.gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
    let status = solo.accepted(before + 2);
    assert_eq!(status["state"], "RUNNING");
    assert_eq!(status["proofs"]["rejected"], 0);
    let purposes: Vec<_> =
        status["endpoints"].as_array().unwrap().iter().map(|one| one["purpose"].clone()).collect();
    assert!(purposes.contains(&"gateway".into()) && purposes.contains(&"node".into()), "{purposes:?}");
    let blocks = solo.network.main_chain().len() as u64 - 1;
    assert!(blocks >= status["proofs"]["accepted"].as_u64().unwrap());
    solo.assert_manners();
    assert!(!solo.bed.any_file_contains(PASSWORD));
}

#[test]
fn two_minutes_of_real_deafness_cost_nothing() {
    if std::env::var_os("PEARLBED_TESTS_SLOW").is_none() {
        println!("skipped: takes two and a half minutes; set PEARLBED_TESTS_SLOW=1 to run it");
        return;
    }
    let solo = Solo::new();
    solo.gateway.behave(|behaviour| behaviour.proving = Duration::from_secs(130));
    solo.start();
    solo.wait(|status| status["work"]["condition"] == "proving");
    let connections = solo.gateway.seen().connections;
    let deaf = Instant::now();
    while deaf.elapsed() < Duration::from_secs(110) {
        std::thread::sleep(Duration::from_secs(2));
        let status = solo.bed.status();
        assert_eq!((&status["earning"], &status["restarts"]), (&true.into(), &0.into()), "{status:#}");
    }
    let status = solo.accepted(1);
    assert_eq!(status["proofs"]["submitted"], 1, "{status:#}");
    assert_eq!(solo.gateway.seen().connections, connections, "no connection was given up");
    solo.assert_manners();
}

#[test]
fn mining_goes_on_through_everything_that_a_gateway_does_wrong_and_the_log_stays_short() {
    let solo = Solo::new();
    let mut solo = solo;
    solo.start();
    let mut accepted = solo.accepted(1)["proofs"]["accepted"].as_u64().unwrap();
    for mishap in [
        Mishap::HalfLine,
        Mishap::Close,
        Mishap::Overlong(2 << 20),
        Mishap::Line("<html>".to_owned()),
        Mishap::Before(
            "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32000, \"message\": \"x\"}, \"id\": null}"
                .to_owned(),
        ),
    ] {
        solo.gateway.behave(|behaviour| behaviour.mishaps.push_back(mishap));
        accepted = solo.accepted(accepted + 1)["proofs"]["accepted"].as_u64().unwrap();
    }
    solo.gateway.restart();
    accepted = solo.accepted(accepted + 1)["proofs"]["accepted"].as_u64().unwrap();
    solo.gateway.behave(|behaviour| behaviour.paused = true);
    let status = solo.wait(|status| status["work"]["condition"] == "paused");
    assert_eq!(status["earning"], false);
    assert_eq!(solo.bed.run(&["status"]).code, 4);
    solo.gateway.behave(|behaviour| behaviour.paused = false);
    let status = solo.accepted(accepted + 1);
    assert_eq!((&status["restarts"], &status["state"]), (&0.into(), &"RUNNING".into()));
    assert!(solo.bed.log().lines().count() < 400, "{}", solo.bed.log());
    solo.assert_manners();
}

#[test]
fn a_proof_outlives_the_supervisor_and_becomes_a_block_in_the_next_session() {
    let solo = Solo::new();
    // It takes no proof for now.
    solo.gateway.behave(|behaviour| behaviour.queue_full = true);
    solo.start();
    solo.wait(|_| !solo.gateway.seen().submissions.is_empty());
    let pids = solo.bed.pids();
    solo.bed.signal(pids[0], rustix::process::Signal::KILL);
    solo.wait(|status| status["state"] != "RUNNING");
    let kept = std::fs::read_dir(solo.bed.home().join("runtime/proofs")).unwrap().count();
    assert!(kept >= 1, "the proof is on disk");
    let first = solo.gateway.seen().submissions[0].clone();
    let before = solo.network.main_chain().len();

    // Nothing is mined any more: what becomes a block now was found before.
    solo.bed.config(
        &format!(
            "odd = \"mute\"\ngateway_port = {}\npearld_rpc_url = \"{}\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"",
            solo.gateway.port(),
            solo.node.url()
        ),
        &format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\"\n[mining.session]\nstall_after = \"10m\""),
    );
    solo.gateway.behave(|behaviour| behaviour.queue_full = false);
    solo.start();
    wait_until(PATIENCE, || solo.network.main_chain().len() > before, || solo.bed.log());
    let taken = solo.gateway.seen().submissions.pop().unwrap();
    assert_eq!(taken.header, first.header);
    let log = solo.bed.log();
    wait_until(
        PATIENCE,
        || std::fs::read_dir(solo.bed.home().join("runtime/proofs")).unwrap().count() == 0,
        || &log,
    );
    solo.assert_manners();
}

#[test]
fn a_fork_stops_the_provider_with_a_sentence_and_mining_resumes_by_itself() {
    let solo = Solo::new();
    solo.start();
    solo.accepted(1);
    solo.network.require_certificate(4);
    solo.network.mine_elsewhere(1);
    let status = solo.wait(|status| status["condition"] == "needs-update");
    assert!(status["reason"].as_str().unwrap().contains("certificate version 4"), "{status:#}");
    assert_eq!(solo.bed.run(&["status"]).code, 5);
    let before = status["proofs"]["accepted"].as_u64().unwrap();
    solo.network.require_certificate(3);
    solo.network.mine_elsewhere(1);
    solo.accepted(before + 1);
    solo.wait(earning);
    solo.assert_manners();
}

#[test]
fn a_rate_is_verified_within_two_minutes_where_no_block_is_ever_found() {
    // As hard as the real network: this machine would take centuries.
    let network = Network::new(0x1801_d1b2, 3);
    let gateway = Gateway::tcp(&network);
    let bed = Bed::with(
        &format!("gateway_port = {}", gateway.port()),
        &format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\""),
    );
    let output = bed.run(&["start", "--plugin-dir", bed.plugins()]);
    assert_eq!(output.code, 0, "{output:?}");
    let status = bed.wait_for(PATIENCE, |status| {
        let rate = &status["hashrate"]["verified"];
        rate["low"].as_f64() > Some(0.0) && status["proofs"]["verified"].as_u64() >= Some(1)
    });
    let rate = &status["hashrate"]["verified"];
    assert!(rate["low"].as_f64() < rate["hashrate"].as_f64(), "{rate}");
    assert!(rate["hashrate"].as_f64() < rate["high"].as_f64(), "{rate}");
    let job = &status["miners"][0]["job"];
    assert!(job["hashes_per_share"].as_f64() < job["hashes_per_proof"].as_f64(), "{job}");
    let text = bed.run(&["status"]).stdout;
    assert!(text.contains("\nverified ") && text.contains("95 %"), "{text}");
    let proofs = bed.status()["proofs"].clone();
    assert_eq!(
        (&proofs["paying"], &proofs["submitted"], &proofs["refused"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert!(gateway.seen().submissions.is_empty(), "a share is nobody's business");
}

#[test]
fn a_gateway_and_a_node_that_are_not_there_are_in_the_status_with_since_when_and_what_to_do() {
    // Nothing listens on port 1 of a test machine.
    let extra = "gateway_port = 1\npearld_rpc_url = \"http://127.0.0.1:1\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"";
    let bed =
        Bed::with(extra, &format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\""));
    let mut command = bed.command(&["start", "--wait", "2", "--plugin-dir", bed.plugins()]);
    let output = command.env("MY_NODE_PASSWORD", PASSWORD).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let lasting = |status: &Value, purpose| trouble(status, purpose)["since_seconds"].as_f64() >= Some(1.0);
    let status = bed.wait_for(PATIENCE, |status| lasting(status, "gateway") && lasting(status, "node"));
    for (purpose, text, hint) in [
        ("gateway", "cannot be reached: Connection refused", "is the gateway running"),
        ("node", "failed to reach the node at http://127.0.0.1:1: Connection refused", "is pearld running"),
    ] {
        let trouble = trouble(&status, purpose);
        assert!(trouble["text"].as_str().unwrap().starts_with(text), "{trouble:#}");
        assert!(trouble["hint"].as_str().unwrap().starts_with(hint), "{trouble:#}");
        assert!(trouble["since"].as_u64() >= status["started_at"].as_u64(), "{status:#}");
    }
    assert_eq!(status["earning"], false);
    let answer = bed.run(&["status"]);
    assert_eq!(answer.code, 4);
    for line in answer.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // The log has its own words for it.
    let (page, _) = answer.stdout.split_once("\nlog ").unwrap();
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("trouble gateway, for ") && words.contains("node, for "), "{words}");
    assert_eq!(words.matches("is the gateway running").count(), 1, "advice is given once: {words}");
    assert_eq!(words.matches("is pearld running").count(), 1, "{words}");
}

#[test]
fn trouble_with_the_node_or_the_gateway_is_shown_while_it_lasts_and_no_longer() {
    let mut solo = Solo::new();
    solo.start();
    let status = solo.accepted(1);
    assert_eq!((trouble(&status, "gateway"), trouble(&status, "node")), (&Value::Null, &Value::Null));

    // Mining goes on without the node, and says so.
    solo.node.behave(|behaviour| behaviour.down = true);
    let status =
        solo.wait(|status| trouble(status, "node")["since_seconds"].as_f64() >= Some(2.0) && earning(status));
    assert_eq!(status["condition"], "earning", "{status:#}");
    // What became of the proofs since then is not known, so it is not held against the provider.
    assert_eq!(status["hashrate"]["accepted"], Value::Null, "{status:#}");
    let verified = &status["hashrate"]["verified"];
    assert!(verified["low"].as_f64() > Some(0.0), "{status:#}");
    let answer = std::cell::OnceCell::new();
    solo.wait(|_| {
        let said = solo.bed.run(&["status"]);
        said.code == 0 && answer.set(said.stdout).is_ok()
    });
    let said = answer.into_inner().unwrap();
    assert!(said.lines().any(|line| line.starts_with("trouble    node, for ")), "{said}");
    let lasted = trouble(&status, "node")["since_seconds"].as_f64();

    // It comes back and refuses: that is the same trouble in another form.
    solo.node.behave(|behaviour| (behaviour.down, behaviour.unavailable) = (false, true));
    let status = solo.wait(|status| trouble(status, "node")["text"].to_string().contains("503"));
    assert!(trouble(&status, "node")["since_seconds"].as_f64() > lasted, "{status:#}");
    solo.node.behave(|behaviour| behaviour.unavailable = false);
    let status = solo.wait(|status| trouble(status, "node").is_null());
    assert!(status["hashrate"]["accepted"].is_object(), "{status:#}");

    solo.gateway.stop();
    let status = solo.wait(|status| !trouble(status, "gateway").is_null());
    assert_eq!(status["earning"], false, "{status:#}");
    assert!(trouble(&status, "gateway")["hint"].as_str().unwrap().contains("gateway running"), "{status:#}");
    let accepted = status["proofs"]["accepted"].as_u64().unwrap();
    solo.gateway.restart();
    let status = solo.accepted(accepted + 1);
    assert_eq!(trouble(&status, "gateway"), &Value::Null, "{status:#}");
    solo.assert_manners();
}

/// A gateway's command: a script of this text, which is given the folder that it lies in.
fn script(folder: &Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let script = folder.join("a-gateway");
    std::fs::write(&script, format!("#!/bin/sh\nfolder={}\n{text}", folder.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    script.display().to_string()
}

#[test]
fn who_shares_the_processor_rests_while_our_block_is_proved_and_the_status_says_so() {
    let solo = Solo::new();
    solo.gateway.behave(|behaviour| behaviour.proving = FOR_LONG);
    solo.start();
    let status = solo.wait(|status| status["reason"].to_string().contains("rests meanwhile"));
    assert_eq!((&status["earning"], &status["condition"]), (&true.into(), &"earning".into()), "{status:#}");
    assert_eq!(solo.bed.run(&["status"]).code, 0);
    // It has no job, so it does nothing; and it gets one when the block is there.
    assert_eq!(status["miners"][0]["job"], Value::Null, "{status:#}");
    solo.gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
    let status = solo.accepted(2);
    assert_eq!(status["restarts"], 0, "resting is no stall: {status:#}");
}

#[test]
fn a_stop_waits_for_the_block_that_the_sessions_own_gateway_is_proving() {
    let solo = Solo::new();
    let folder = tempfile::tempdir().unwrap();
    // It says each time which descriptors it was given, and ends soon, so that it is also started after a provider was confined.
    let command =
        script(folder.path(), "ls -l /proc/$$/fd >> $folder/descriptors\necho >> $folder/starts\nsleep 1\n");
    let extra = format!(
        "gateway_port = {}\npearld_rpc_url = \"{}\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"",
        solo.gateway.port(),
        solo.node.url()
    );
    let mining = format!(
        "[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\"\n[mining.gateway]\ncommand = [\"{command}\"]"
    );
    solo.bed.config(&extra, &mining);
    solo.gateway.behave(|behaviour| behaviour.proving = FOR_LONG);
    solo.start();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    solo.wait(|status| status["provider_pid"].is_u64());
    let before = read("starts").lines().count();
    wait_until(PATIENCE, || read("starts").lines().count() > before, || solo.bed.log());
    wait_until(PATIENCE, || solo.gateway.seen().proved > 0, || solo.bed.log());
    let blocks = solo.network.main_chain().len();
    let mut stop = solo.bed.command(&["stop"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // It ends by itself where nothing else is to be heard of it.
    let mut heard = BufReader::new(stop.stderr.take().unwrap());
    let mut said = String::new();
    let unfolded = |said: &str| said.split_whitespace().collect::<Vec<_>>().join(" ");
    while !unfolded(&said).contains("`pearlbed stop` again") {
        assert!(
            heard.read_line(&mut said).unwrap() > 0,
            "it never said that it waits: {said}\n{}",
            solo.bed.log()
        );
    }
    assert!(unfolded(&said).contains("which a stop waits for"), "{said}");
    solo.gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
    heard.read_to_string(&mut said).unwrap();
    assert!(stop.wait().unwrap().success(), "{said}");
    assert_eq!(solo.network.main_chain().len(), blocks + 1, "the block is there");
    // Nothing of ours is open in what we start: a shell's own, its script, and what it writes to.
    let given = read("descriptors");
    let open: Vec<_> =
        given.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, file)| file).collect();
    assert!(open.len() > 4, "it was started more than once: {given}");
    let known = |file: &str| ["/dev/null", "pipe:"].iter().any(|known| file.starts_with(known));
    assert!(
        open.iter().all(|file| known(file) || file.ends_with("a-gateway") || file.ends_with("/descriptors")),
        "{given}"
    );
}

#[test]
fn a_gateway_that_a_session_starts_is_given_the_nodes_certificate_and_its_log_is_told_plainly_to_its_end() {
    let network = Network::new(0x1801_d1b2, 3);
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("rpc.cert");
    let node = Node::https(&network, USER, PASSWORD, &certificate);
    // As the real one writes: in colours, with a date, and what matters at the end of a long line.
    let text = "echo \"$SSL_CERT_FILE\" > $folder/trusts\n\
         printf '\\033[2m2026-11-30T12:00:00.000000Z\\033[0m \\033[31mERROR\\033[0m gw: Error: %s the cause\\n' \
         \"$(head -c 3000 /dev/zero | tr '\\0' x)\" >&2\nexec sleep 600\n";
    let command = script(folder.path(), text);
    let extra =
        format!("pearld_rpc_url = \"{}\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"", node.url());
    let socket = folder.path().join("gw.sock");
    let sections = format!(
        "[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\"\n[mining.node]\ncertificate = {certificate:?}\n\
         [mining.gateway]\nsocket = {socket:?}\ncommand = [\"{command}\"]"
    );
    let bed = Bed::with(&extra, &sections);
    let mut start = bed.command(&["start", "--wait", "1", "--plugin-dir", bed.plugins()]);
    let started = start.env("MY_NODE_PASSWORD", PASSWORD).output().unwrap();
    assert_eq!(started.status.code(), Some(4), "it waits for the gateway: {started:?}");
    wait_until(PATIENCE, || bed.log().contains("the cause"), || bed.log());
    let log = bed.log();
    let line = log.lines().find(|line| line.contains("the cause")).unwrap();
    assert!(line.ends_with("x the cause") && line.len() < 1000, "{line}");
    assert!(
        !line.contains("2026-11-30T12:00:00") && !line.contains("[31m") && !line.contains("\\u{1b}"),
        "{line}"
    );
    let trusts = std::fs::read_to_string(folder.path().join("trusts")).unwrap();
    assert_eq!(Path::new(trusts.trim_end()), certificate);
}

#[test]
fn no_provider_is_told_who_is_paid_nor_where_the_node_is_whatever_it_is_granted() {
    let mut solo = Solo::new();
    let config = solo.bed.home().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap().replacen(
        "[mining.extra]\n",
        "[mining.extra]\nodd = \"tell\"\n",
        1,
    );
    std::fs::write(&config, format!("{text}[mining.grants]\nodd-miner = [\"program:/bin/true\"]\n")).unwrap();
    solo.gateway.stop();
    let mut command = solo.bed.command(&["start", "--wait", "1", "--plugin-dir", solo.bed.plugins()]);
    command.env("MY_NODE_PASSWORD", PASSWORD).output().unwrap();
    wait_until(PATIENCE, || solo.bed.log().contains("told of the wallet"), || solo.bed.log());
    let log = solo.bed.log();
    let told = log.lines().find(|line| line.contains("told of the wallet")).unwrap();
    assert!(told.contains("told of the wallet ``"), "{told}");
    let node = solo.node.url();
    assert!(!told.contains(ADDRESS) && !told.contains(&node) && !told.contains(USER), "{told}");
}

#[test]
fn of_a_node_doctor_says_whether_it_is_busy_silent_of_another_network_or_not_there() {
    let network = Network::new(NBITS, 3);
    let node = Node::http(&network, USER, PASSWORD);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let access = |url: &str| {
        let extra = format!("pearld_rpc_url = \"{url}\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"");
        let mining = format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\"");
        let bed = Bed::with(&extra, &mining);
        let mut command =
            bed.command(&["doctor", "--json", "--only", "node-access", "--plugin-dir", bed.plugins()]);
        let output = command.env("MY_NODE_PASSWORD", PASSWORD).output().unwrap();
        let answer: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"));
        ["state", "finding", "fix"]
            .map(|key| answer["checks"][0][key].as_str().unwrap_or_default().to_owned())
    };

    node.behave(|behaviour| behaviour.unavailable = true);
    let [state, finding, fix] = access(&node.url());
    assert!(state == "fail" && finding.contains("HTTP status 503"), "{state} {finding}");
    assert!(fix.contains("busy or just starting") && !fix.contains("really a pearld"), "{fix}");

    let [state, finding, fix] = access(&silent_url);
    // It says how long it has waited, which is less than the two seconds that doctor takes. On a machine that is very busy
    // these are over before it has.
    let waited = finding.split_once("did not answer within ").map(|(_, time)| time.trim_end_matches(" ms"));
    let waited = waited.map(|time| time.trim_end_matches(" s").parse::<f64>());
    let told = matches!(waited, Some(Ok(time)) if !(2.0..=20.0).contains(&time));
    assert!(state != "ok" && (told || finding.starts_with("no answer within")), "{state} {finding}");
    assert!(!told || fix.contains("it may be busy, or no pearld"), "{fix}");

    let nobody = "http://127.0.0.1:1";
    let [state, finding, _] = access(nobody);
    assert!(state == "fail" && finding.contains("Connection refused"), "{state} {finding}");

    // It is a node of a test network, and the wallet is the main one's.
    node.behave(|behaviour| behaviour.unavailable = false);
    let [state, finding, _] = access(&node.url());
    assert!(
        state != "ok" && finding.contains("regtest") && finding.contains("begins `prl1`"),
        "{state} {finding}"
    );
}

#[test]
fn of_a_very_easy_target_every_find_is_accounted_for_nothing_is_restarted_and_the_log_stays_short() {
    // As on regtest: nearly every tile is a block.
    let solo = Solo::on(Network::new(0x207f_ffff, 3));
    let config = solo.bed.home().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}[mining.gateway]\nrest_while_proving = false\n")).unwrap();
    solo.gateway.behave(|behaviour| behaviour.proving = Duration::from_secs(1));
    solo.start();
    let status = solo.wait(|status| {
        let count = |key: &str| status["proofs"][key].as_u64().unwrap_or(0);
        count("accepted") >= 3 && count("found") > 50 && count("spare") > 20 && earning(status)
    });
    assert_eq!(status["restarts"], 0, "{status:#}");
    assert_eq!(solo.bed.run(&["stop"]).code, 0);
    let ended = solo.bed.status()["last_session"]["proofs"].clone();
    let count = |key: &str| ended[key].as_u64().unwrap();
    assert!(count("found") > 50 && count("spare") > 20, "it was easy: {ended:#}");
    // Each find stands in one place: what became of it, or that it is more than blocks can be made of.
    let places = ["late", "spare", "accepted", "rejected", "stale", "untraced", "not_sent", "pending"];
    assert_eq!(count("verified"), places.map(count).iter().sum::<u64>(), "{ended:#}");
    // What was found last may still have waited for the verifier.
    assert!(count("found") >= count("verified") && count("refused") == 0, "{ended:#}");
    let log = solo.bed.log();
    assert!(log.lines().count() < 150, "{log}");
    assert!(!log.contains("has found nothing"), "{log}");
}
