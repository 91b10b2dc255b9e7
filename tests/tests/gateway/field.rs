//! What was met in the field at the real gateway and its prover, on the stand-in that has learned it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{CertificateVersion, Header, Matrix, MiningConfiguration, PeriodicPattern};
use pearlbed::work::HandOverError;

use super::*;

/// For as long as the test does not say otherwise.
const FOR_LONG: Duration = Duration::from_secs(3600);

/// A real proof for a header, whatever its target.
fn prove(job: &WorkJob, seed: u64) -> Vec<u8> {
    let tile = PeriodicPattern::contiguous(16).unwrap();
    let config = MiningConfiguration::dense(2048, 128, tile, tile);
    let [a, bt] = [1, 2].map(|side| test_matrix(2 * seed + side, 16 * 2048));
    let [a, bt] = [&a, &bt].map(|entries| Matrix::new(entries, 2048).unwrap());
    let rule = CertificateVersion::try_from(job.certificate_version).unwrap().seed_rule();
    let product = Product::new(&Header::from_bytes(job.header), &config, rule, a, bt);
    product.prove(&product.attempt(0, 0)).encode()
}

impl Session {
    /// Why the next job was taken back that was not looked at yet.
    async fn no_job(&mut self) -> String {
        let wanted = |event: &WorkEvent| match event {
            WorkEvent::NoJob { reason } => Some(reason.clone()),
            _ => None,
        };
        let (number, reason) = self.until("the job taken back", self.jobs_from, wanted).await;
        self.jobs_from = number + 1;
        reason
    }

    fn hand_over(&self, job: &WorkJob, proof: Vec<u8>) -> Result<ProofId, HandOverError> {
        let found = FoundProof { job: job.clone(), proof, found: SystemTime::now(), block: false };
        self.handle.proofs.hand_over(found).map(|taken| taken.id)
    }
}

#[test]
fn nothing_is_handed_over_for_a_job_that_the_network_has_passed_though_the_gateway_still_offers_it() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| {
            behaviour.proving = FOR_LONG;
            // As long as it takes to be offered a hundred times.
            behaviour.old_answers = 100;
        });
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let first = session.find(&job, 1);
        session.state(&first, "handed-over").await;
        let second = session.find(&job, 2);
        network.mine_elsewhere(1);
        let reason = session.no_job().await;
        assert!(reason.contains("another block came first at height 1"), "{reason}");
        let condition = session.handle.status.borrow().condition.clone();
        assert!(!condition.is_earning(), "{condition:?}");
        let offered = gateway.seen().polls;
        gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
        session.wait("the old job on offer", |_| gateway.seen().polls > offered + 10).await;
        assert!(
            gateway.seen().headers.iter().all(|(_, header)| *header == job.header),
            "it is on offer still"
        );
        for id in [&first, &second] {
            let ProofState::Stale { reason } = session.state(id, "stale").await else { unreachable!() };
            assert!(reason.contains("another block came first"), "{reason}");
        }
        let next = session.job().await;
        assert_eq!(next.prev_block(), network.tip().hash);
        session
            .wait("health", |session| session.handle.status.borrow().condition == Condition::Healthy)
            .await;
        let seen = gateway.seen();
        assert_eq!((seen.submissions.len(), seen.proved), (1, 1), "the second was never handed over");
        assert_eq!(kept(home.path()), 0);
    });
}

#[test]
fn a_fork_across_which_the_gateway_keeps_its_old_job_asks_for_a_newer_gateway() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| behaviour.proving = FOR_LONG);
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "handed-over").await;
        session.condition("proving").await;
        gateway.behave(|behaviour| behaviour.frozen = true);
        network.require_certificate(4);
        network.mine_elsewhere(1);
        // Not "proving our block", which it does meanwhile.
        let condition = session.condition("needs-update").await;
        assert_eq!(condition, Condition::NeedsUpdate { wanted: 4, found: 3 });
        assert!(condition.hint().unwrap().contains("update pearl-gateway"));
        gateway.behave(|behaviour| (behaviour.proving, behaviour.frozen) = (Duration::ZERO, false));
        let next = session.job().await;
        assert_eq!(next.certificate_version, 4);
        session.condition("healthy").await;
    });
}

#[test]
fn an_outdated_gateway_that_follows_the_networks_blocks_is_named_at_the_fork_and_stays_named() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| behaviour.outdated = Some(3));
        // The job is never old: what the network wants is asked at its blocks.
        let timing = GatewayTiming { behind: Duration::from_secs(600), ..timing() };
        let mut session =
            Session::start(home.path(), GatewayConfig { timing, ..config(&gateway, Some(&node)) });
        session.job().await;
        network.require_certificate(4);
        network.mine_elsewhere(1);
        let condition = session.condition("needs-update").await;
        assert_eq!(condition, Condition::NeedsUpdate { wanted: 4, found: 3 });
        // Where the new block was seen before the new job, the old one was over first.
        while !session.no_job().await.contains("certificate 4") {}
        // Nothing that happens meanwhile hides it: the node is away, the gateway is, another block comes.
        let is_named = |session: &Session| session.handle.status.borrow().condition.word() == "needs-update";
        let down = |session: &Session| {
            session
                .handle
                .status
                .borrow()
                .endpoints
                .iter()
                .any(|one| one.purpose == "node" && one.trouble.is_some())
        };
        node.behave(|behaviour| behaviour.down = true);
        session.wait("the node away", down).await;
        assert!(is_named(&session));
        node.behave(|behaviour| behaviour.down = false);
        session.wait("the node back", |session| !down(session)).await;
        network.mine_elsewhere(1);
        session.wait("the next header", |_| gateway.seen().headers.len() >= 3).await;
        assert!(is_named(&session));
        assert!(gateway.seen().submissions.is_empty());
        // Its update is all that it takes.
        gateway.behave(|behaviour| behaviour.outdated = None);
        // The job of the old kind was on offer for a moment, while it could not be known.
        while session.job().await.certificate_version != 4 {}
        session.condition("healthy").await;
    });
}

#[test]
fn a_gateway_that_proves_in_workers_answers_meanwhile_and_gets_the_time_it_needs() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| (behaviour.in_workers, behaviour.proving) = (true, FOR_LONG));
        // An answer comes in less than it, also where ten others want the processor; and none of it is ever fruitless here.
        let quiet = Duration::from_secs(2);
        let timing = GatewayTiming { quiet, again: PATIENCE, ..timing() };
        let mut session =
            Session::start(home.path(), GatewayConfig { timing, ..config(&gateway, Some(&node)) });
        let proving = |session: &Session| session.handle.status.borrow().proving;
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "handed-over").await;
        let proves = |session: &Session| proving(session).is_some_and(|one| !one.computes && one.here);
        session.wait("that it proves", proves).await;
        // A block that took longer than an answer is what tells it from a gateway that proves in its loop.
        session.pause(quiet).await;
        gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
        session.state(&id, "in-block").await;
        assert_eq!(gateway.seen().submissions.len(), 1);
        // From then on it is known to compute while it answers, and who shares its processor can rest.
        gateway.behave(|behaviour| behaviour.proving = FOR_LONG);
        let next = session.job().await;
        let id = session.find(&next, 2);
        session.state(&id, "handed-over").await;
        session
            .wait("that it computes", |session| {
                let answers = session.handle.status.borrow().condition == Condition::Healthy;
                answers && proving(session).is_some_and(|one| one.computes)
            })
            .await;
        gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
        session.state(&id, "in-block").await;
    });
}

#[test]
fn a_proof_that_died_with_its_gateway_is_told_so_and_the_next_one_becomes_the_block() {
    run(|home| async move {
        let network = network();
        let (mut gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| behaviour.dies_proving = true);
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let lost = session.find(&job, 1);
        session.state(&lost, "handed-over").await;
        session.condition("connecting").await;
        gateway.behave(|behaviour| behaviour.dies_proving = false);
        gateway.restart();
        let next = session.job().await;
        assert_eq!(next.prev_block(), job.prev_block());
        let ours = session.find(&next, 2);
        session.state(&ours, "in-block").await;
        let ProofState::Stale { reason } = session.state(&lost, "stale").await else { unreachable!() };
        assert!(reason.contains("the gateway ended while it had it"), "{reason}");
        assert!(reason.contains("our own next proof's"), "{reason}");
    });
}

#[test]
fn two_sessions_on_one_gateway_count_each_block_once() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| behaviour.proving = Duration::from_millis(200));
        let homes = [home.path().join("a"), home.path().join("b")];
        let mut sessions = homes.map(|home| Session::start(&home, config(&gateway, Some(&node))));
        let mut ids = Vec::new();
        for (seed, session) in sessions.iter_mut().enumerate() {
            let job = session.job().await;
            ids.push(session.hand_over(&job, prove(&job, seed as u64 + 1)).unwrap());
        }
        let mut words = Vec::new();
        for (session, id) in sessions.iter_mut().zip(&ids) {
            let wanted = |event: &WorkEvent| match event {
                WorkEvent::Proof { id: found, state } if found == id && state.word() != "handed-over" => {
                    Some(state.clone())
                }
                _ => None,
            };
            words.push(session.until("what became of it", 0, wanted).await.1);
        }
        let block = |state: &ProofState| matches!(state, ProofState::InBlock { .. });
        assert_eq!(words.iter().filter(|state| block(state)).count(), 1, "{words:?}");
        assert!(
            words.iter().any(
                |state| matches!(state, ProofState::Stale { reason } if reason.contains("another miner"))
            ),
            "{words:?}"
        );
        assert_eq!(network.main_chain().len(), 2);
    });
}

#[test]
fn of_an_easy_target_a_few_proofs_are_kept_for_a_header_and_the_rest_is_no_loss() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        gateway.behave(|behaviour| behaviour.queue_full = true);
        let mut session = Session::start(home.path(), config(&gateway, None));
        let job = session.job().await;
        let taken: Vec<_> =
            (0..300_u32).map(|seed| session.hand_over(&job, seed.to_le_bytes().to_vec())).collect();
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 4);
        assert!(taken[4..].iter().all(|taken| matches!(taken, Err(HandOverError::Spare { max: 4 }))));
        assert_eq!(kept(home.path()), 4);
        // The next header has room of its own.
        network.mine_elsewhere(1);
        let next = session.job().await;
        session.hand_over(&next, vec![1]).unwrap();
    });
}

/// A gateway's command: a script, with the file that it writes to.
struct Script {
    folder: tempfile::TempDir,
    record: PathBuf,
}

impl Script {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (script, record) = (folder.path().join("gw"), folder.path().join("record"));
        std::fs::write(&script, format!("#!/bin/sh\nrecord={}\n{text}", record.display())).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder, record }
    }

    fn config(&self, program: &Path) -> GatewayConfig {
        GatewayConfig {
            endpoint: GatewayEndpoint::Unix(self.folder.path().join("gw.sock")),
            command: Some(vec![program.display().to_string()]),
            keeper: None,
            wallet_address: None,
            node: None,
            timing: timing(),
        }
    }

    fn start(&self, home: &Path) -> Session {
        Session::start(home, self.config(&self.folder.path().join("gw")))
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.record).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn lives(pid: &str) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // One that has ended and that nobody has waited for yet is gone.
    rustix::process::test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

/// What was killed takes a moment to be gone.
fn ends(pid: &str) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while lives(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    !lives(pid)
}

#[test]
fn the_workers_of_a_gateway_end_with_it_at_its_own_end_and_at_a_stop() {
    run(|home| async move {
        // Each start leaves a worker behind; the second waits to be told to end, and says how it was told.
        let script = Script::new(
            "sleep 600 & echo $! >> $record\n[ $(wc -l < $record) = 1 ] && exit 3\n\
             trap 'echo interrupted >> $record; exit 0' INT\necho ready >> $record\nwhile :; do sleep 0.05; done\n",
        );
        let mut session = script.start(home.path());
        // The shell sets its trap after it has started the worker.
        session.wait("two workers", |_| script.lines().len() >= 3).await;
        let workers = script.lines();
        assert_eq!(workers[2], "ready", "{workers:?}");
        session.wait("the end of the first worker", |_| !lives(&workers[0])).await;
        assert!(lives(&workers[1]));
        session.handle.stop().await;
        assert!(ends(&workers[1]), "the worker of the second outlived it");
        assert_eq!(script.lines().last().unwrap(), "interrupted", "it was asked as a person asks");
    });
}

#[test]
fn a_gateway_that_does_not_heed_an_interrupt_is_ended_with_its_whole_group() {
    run(|home| async move {
        let script = Script::new(
            "trap '' INT TERM\n(trap '' INT TERM; while :; do sleep 1; done) &\necho $! >> $record\necho $$ >> $record\n\
             while :; do sleep 1; done\n",
        );
        let mut session = script.start(home.path());
        session.wait("both", |_| script.lines().len() >= 2).await;
        session.handle.stop().await;
        for pid in script.lines() {
            assert!(ends(&pid), "process {pid} is left");
        }
    });
}

#[test]
fn a_gateway_command_that_cannot_be_started_is_what_the_status_shows() {
    run(|home| async move {
        let script = Script::new("exit 0\n");
        let missing = Path::new("/nowhere/pearl-gateway");
        let mut session = Session::start(home.path(), script.config(missing));
        let told = |session: &Session| {
            let trouble =
                session.handle.status.borrow().endpoints.first().and_then(|one| one.trouble.clone());
            trouble.filter(|trouble| trouble.text.contains("cannot be started"))
        };
        session.wait("the trouble", |session| told(session).is_some()).await;
        let trouble = told(&session).unwrap();
        assert!(trouble.text.contains("`/nowhere/pearl-gateway`"), "{trouble:?}");
        assert!(trouble.text.contains("No such file"), "{trouble:?}");
        assert!(trouble.hint.is_some_and(|hint| hint.contains("[mining.gateway] command")));
    });
}
