//! The gateway client against a stand-in that misbehaves: mining goes on, no proof is lost, nobody is flooded.
//!
//! Times are scaled down; that nothing times out below minutes is a matter of the defaults, which one test holds.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use pearlbed::config::{GatewayEndpoint, NodeSection};
use pearlbed::work::{
    Condition, FoundProof, GatewayConfig, GatewayTiming, ProofId, ProofState, ProofStore, SourceConfig,
    Trouble, WorkEvent, WorkHandle, WorkJob, spawn,
};
use pearlbed_tests::gateway::{Gateway, Mishap};
use pearlbed_tests::network::Network;
use pearlbed_tests::node::Node;

#[path = "gateway/field.rs"]
mod field;

/// Longest that anything here is waited for, on a machine that does ten other things.
const PATIENCE: Duration = Duration::from_secs(60);

const USER: &str = "miner";
/// A variable that is set for every test, as the password's.
const PASSWORD_ENV: &str = "CARGO_PKG_NAME";

/// Real behaviour at a twentieth to a hundredth of the time.
fn timing() -> GatewayTiming {
    GatewayTiming {
        poll: Duration::from_millis(20),
        quiet: Duration::from_millis(150),
        deaf: Duration::from_secs(120),
        frozen: Duration::from_secs(3600),
        behind: Duration::from_millis(300),
        again: Duration::from_millis(100),
        node: Duration::from_millis(40),
        retry: Duration::from_millis(40),
    }
}

fn config(gateway: &Gateway, node: Option<&Node>) -> GatewayConfig {
    GatewayConfig {
        endpoint: GatewayEndpoint::Tcp { host: "127.0.0.1".to_owned(), port: gateway.port() },
        command: None,
        keeper: None,
        wallet_address: None,
        node: node.map(|node| section(node, None)),
        timing: timing(),
    }
}

fn section(node: &Node, certificate: Option<&Path>) -> NodeSection {
    NodeSection {
        url: node.url(),
        user: USER.to_owned(),
        password_env: PASSWORD_ENV.to_owned(),
        certificate: certificate.map(Path::to_owned),
    }
}

fn node(network: &Network) -> Node {
    Node::http(network, USER, &std::env::var(PASSWORD_ENV).unwrap())
}

fn network() -> Network {
    Network::new(0x1b00_ffff, 3)
}

/// The supervisor's part: reads events, remembers them all, hands proofs over.
struct Session {
    handle: WorkHandle,
    events: Vec<WorkEvent>,
    /// Events before these were looked through for jobs and for conditions.
    jobs_from: usize,
    conditions_from: usize,
}

impl Session {
    fn start(home: &Path, config: GatewayConfig) -> Self {
        let store = ProofStore::open(home).unwrap();
        let handle = spawn(SourceConfig::Gateway(Box::new(config)), store).unwrap();
        Self { handle, events: Vec::new(), jobs_from: 0, conditions_from: 0 }
    }

    /// The first event from number `from` on that is wanted, and its number.
    async fn until<T>(
        &mut self,
        what: &str,
        from: usize,
        mut wanted: impl FnMut(&WorkEvent) -> Option<T>,
    ) -> (usize, T) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for number in from.. {
            while number >= self.events.len() {
                match tokio::time::timeout_at(deadline, self.handle.events.recv()).await {
                    Ok(event) => self.events.push(event.expect("the source runs")),
                    Err(_) => panic!("never saw {what}; saw {:#?}", self.events),
                }
            }
            if let Some(found) = wanted(&self.events[number]) {
                return (number, found);
            }
        }
        unreachable!()
    }

    /// The next job that was not looked at yet.
    async fn job(&mut self) -> WorkJob {
        let wanted = |event: &WorkEvent| match event {
            WorkEvent::Job(job) => Some(job.clone()),
            _ => None,
        };
        let (number, job) = self.until("a job", self.jobs_from, wanted).await;
        self.jobs_from = number + 1;
        job
    }

    /// The next condition of this kind that was not looked at yet.
    async fn condition(&mut self, word: &str) -> Condition {
        let wanted = |event: &WorkEvent| match event {
            WorkEvent::Condition(condition) if condition.word() == word => Some(condition.clone()),
            _ => None,
        };
        let (number, condition) = self.until(word, self.conditions_from, wanted).await;
        self.conditions_from = number + 1;
        condition
    }

    /// The first time that a proof was in this state.
    async fn state(&mut self, id: &ProofId, word: &str) -> ProofState {
        let wanted = |event: &WorkEvent| match event {
            WorkEvent::Proof { id: found, state } if found == id && state.word() == word => {
                Some(state.clone())
            }
            _ => None,
        };
        self.until(word, 0, wanted).await.1
    }

    /// Waits, listening.
    async fn pause(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(deadline, self.handle.events.recv()).await {
            self.events.push(event.expect("the source runs"));
        }
    }

    /// Waits, listening, until `done`.
    async fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "never saw {what}; saw {:#?}", self.events);
            self.pause(Duration::from_millis(20)).await;
        }
    }

    /// Waits, listening, until the trouble with the node is as wanted.
    async fn node_trouble(&mut self, wanted: impl Fn(Option<&Trouble>) -> bool) -> Option<Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let trouble = self.handle.status.borrow().endpoints[1].trouble.clone();
            if wanted(trouble.as_ref()) {
                return trouble;
            }
            assert!(Instant::now() < deadline, "waited in vain: {trouble:?}");
            self.pause(Duration::from_millis(20)).await;
        }
    }

    fn find(&self, job: &WorkJob, seed: u8) -> ProofId {
        let found = FoundProof {
            job: job.clone(),
            proof: vec![seed; 60_000],
            found: SystemTime::now(),
            block: false,
        };
        let handed_over = self.handle.proofs.hand_over(found).unwrap();
        assert!(handed_over.not_kept.is_none());
        handed_over.id
    }
}

/// Proof files left in a store's folder.
fn kept(home: &Path) -> usize {
    std::fs::read_dir(home).unwrap().count()
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(tempfile::TempDir) -> F) {
    let home = tempfile::tempdir().unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test(home));
}

#[test]
fn nothing_that_may_be_proving_times_out_before_minutes_have_passed() {
    let timing = GatewayTiming::default();
    assert_eq!(timing.poll, Duration::from_secs(1));
    // The longest silence seen of a real gateway is 103 s.
    assert!(timing.deaf >= Duration::from_secs(600));
    assert!(timing.again >= Duration::from_secs(10));
}

#[test]
fn a_proof_goes_through_a_deaf_gateway_into_a_confirmed_block() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| behaviour.proving = Duration::from_secs(3600));
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        assert_eq!(job.header, gateway.header());
        assert_eq!((job.certificate_version, job.rank_penalty), (3, true));
        session.condition("healthy").await;

        let id = session.find(&job, 1);
        assert_eq!(kept(home.path()), 1, "it is on disk before anything else happens");
        session.state(&id, "handed-over").await;
        assert!(session.condition("proving").await.is_earning());
        gateway.behave(|behaviour| behaviour.proving = Duration::ZERO);
        let ProofState::InBlock { height, .. } = session.state(&id, "in-block").await else { unreachable!() };
        assert_eq!(height, 1);
        assert_eq!(kept(home.path()), 0);
        let next = session.job().await;
        assert_eq!(next.prev_block(), network.tip().hash);
        session.condition("healthy").await;
        network.mine_elsewhere(5);
        session.state(&id, "confirmed").await;

        let seen = gateway.seen();
        assert_eq!(seen.wrong, Vec::<String>::new());
        assert_eq!(seen.submissions.len(), 1, "proving is not taken for a failure");
        let sent = &seen.submissions[0];
        assert_eq!((sent.header, sent.certificate_version), (job.header, Some(3)));
        assert_eq!(sent.proof, vec![1; 60_000]);
        assert_eq!(sent.target, pearl_pow::U256::from_le_bytes(job.target).to_string());
        session.handle.stop().await;
    });
}

#[test]
fn a_block_that_the_node_refused_is_handed_over_again_until_it_is_taken() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| {
            behaviour.proving = Duration::from_millis(400);
            behaviour.failing_submits = 2;
        });
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "in-block").await;
        let seen = gateway.seen();
        assert_eq!(seen.submissions.len(), 3);
        assert!(
            seen.submissions.iter().all(|sent| sent.header == job.header && sent.proof == vec![1; 60_000])
        );
    });
}

#[test]
fn a_gateway_that_takes_everything_and_makes_nothing_of_it_is_named() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        gateway.behave(|behaviour| behaviour.poisoned = true);
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let id = session.find(&job, 1);
        let condition = session.condition("refusing-every-proof").await;
        assert!(!condition.is_earning() && condition.hint().is_some());
        assert!(gateway.seen().submissions.len() < 10, "it is not flooded");
        // Restarted, as its log asks for: the same tip, but another header.
        gateway.behave(|behaviour| behaviour.poisoned = false);
        let mut gateway = gateway;
        gateway.restart();
        let job = session.job().await;
        let second = session.find(&job, 2);
        session.state(&second, "in-block").await;
        session.condition("healthy").await;
        session.state(&id, "stale").await;
        assert_eq!(kept(home.path()), 0);
    });
}

#[test]
fn a_gateway_that_restarts_in_the_middle_of_a_line_gets_the_next_proof_and_mining_goes_on() {
    run(|home| async move {
        let network = network();
        let (mut gateway, node) = (Gateway::tcp(&network), node(&network));
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        gateway.behave(|behaviour| behaviour.mishaps.push_back(Mishap::HalfLine));
        session.condition("connecting").await;
        session.condition("healthy").await;
        assert_eq!(session.handle.status.borrow().job.as_ref().map(WorkJob::key), Some(job.key()));

        // Down for a while: a proof is found meanwhile, and the job stays with the provider.
        gateway.stop();
        session.condition("connecting").await;
        let late = session.find(&job, 1);
        session.pause(Duration::from_millis(300)).await;
        assert_eq!(kept(home.path()), 1);
        gateway.restart();
        // Same tip, another header: the old job is stale, and only the new one is worth anything.
        let next = session.job().await;
        assert_eq!(next.prev_block(), job.prev_block());
        session.state(&late, "stale").await;
        let id = session.find(&next, 2);
        session.state(&id, "in-block").await;
        assert!(gateway.seen().submissions.iter().all(|sent| sent.header == next.header));
    });
}

#[test]
fn a_proof_found_while_the_gateway_is_away_is_handed_over_when_it_comes_back_with_the_same_job() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        gateway.behave(|behaviour| behaviour.queue_full = true);
        let mut session = Session::start(home.path(), config(&gateway, None));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.wait("three tries", |_| gateway.seen().submissions.len() >= 3).await;
        // The supervisor is killed: the proof is on disk.
        drop(session);
        assert_eq!(kept(home.path()), 1);
        gateway.behave(|behaviour| behaviour.queue_full = false);
        let mut session = Session::start(home.path(), config(&gateway, None));
        session.state(&id, "handed-over").await;
        let last = gateway.seen().submissions.pop().unwrap();
        assert_eq!((last.header, last.proof), (job.header, vec![1; 60_000]));
        // Without a node nobody can say more once the job is over.
        let ProofState::Untraced { reason } = session.state(&id, "untraced").await else { unreachable!() };
        assert!(reason.contains("no node"), "{reason}");
        assert_eq!(kept(home.path()), 0);
    });
}

#[test]
fn lines_that_are_not_the_protocol_are_named_and_lived_with() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        let mut session = Session::start(home.path(), config(&gateway, None));
        let job = session.job().await;
        for mishap in [
            Mishap::Overlong(3 << 20),
            Mishap::Line("<html>502 Bad Gateway</html>".to_owned()),
            Mishap::Line("{\"jsonrpc\": \"2.0\", \"id\": 1".to_owned()),
            Mishap::Line("\u{1b}[2J".repeat(1000)),
            Mishap::WrongId,
        ] {
            gateway.behave(|behaviour| behaviour.mishaps.push_back(mishap.clone()));
            if matches!(mishap, Mishap::WrongId) {
                // A reply to nobody is passed over, and the real one awaited: proving looks the same.
                session.condition("silent").await;
            } else {
                let condition = session.condition("garbled").await;
                let sentence = condition.sentence(Instant::now());
                assert!(sentence.len() < 400 && !sentence.contains('\u{1b}'), "{sentence}");
                session.condition("healthy").await;
            }
        }
        assert_eq!(session.handle.status.borrow().job.as_ref().map(WorkJob::key), Some(job.key()));
    });
}

#[test]
fn errors_without_an_id_are_matched_to_nothing_while_the_real_answer_comes() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        let nameless =
            r#"{"jsonrpc": "2.0", "error": {"code": -32000, "message": "garbage left behind"}, "id": null}"#;
        gateway.behave(|behaviour| {
            behaviour.mishaps.extend((0..3).map(|_| Mishap::Before(nameless.to_owned())));
            behaviour.nameless_errors = 1;
        });
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "in-block").await;
        assert!(
            !session
                .events
                .iter()
                .any(|event| matches!(event, WorkEvent::Condition(Condition::Garbled { .. })))
        );
        assert_eq!(
            gateway.seen().submissions.len(),
            2,
            "the refusal without an id is taken as ours, and tried again"
        );
    });
}

#[test]
fn a_pause_is_a_state_and_work_goes_on_after_it() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        gateway.behave(|behaviour| behaviour.paused = true);
        let mut session = Session::start(home.path(), config(&gateway, None));
        let Condition::Paused { reason } = session.condition("paused").await else { unreachable!() };
        assert!(reason.contains("no block template"), "{reason}");
        gateway.behave(|behaviour| behaviour.paused = false);
        session.job().await;
        session.condition("healthy").await;
    });
}

#[test]
fn a_certificate_version_that_changes_under_way_makes_a_new_job_of_any_number() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        let mut session = Session::start(home.path(), config(&gateway, None));
        assert_eq!(session.job().await.certificate_version, 3);
        network.require_certificate(4_000_000_000);
        network.mine_elsewhere(1);
        assert_eq!(session.job().await.certificate_version, 4_000_000_000);
        network.require_certificate(3);
        network.mine_elsewhere(1);
        assert_eq!(session.job().await.certificate_version, 3);
    });
}

#[test]
fn a_job_that_is_over_is_seen_with_the_nodes_help_and_mining_goes_on_with_the_next() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        gateway.behave(|behaviour| behaviour.frozen = true);
        network.mine_elsewhere(1);
        let condition = session.condition("dead-job").await;
        assert!(!condition.is_earning());
        // A proof for it is stale, and the node knows at which height.
        let id = session.find(&job, 1);
        let ProofState::Stale { reason } = session.state(&id, "stale").await else { unreachable!() };
        assert!(reason.contains("height 1"), "{reason}");
        gateway.behave(|behaviour| behaviour.frozen = false);
        session.job().await;
        session.condition("healthy").await;

        // The network wants a certificate version that the gateway does not know: the tip says nothing of it.
        gateway.behave(|behaviour| behaviour.frozen = true);
        network.require_certificate(4);
        let condition = session.condition("needs-update").await;
        assert_eq!(condition, Condition::NeedsUpdate { wanted: 4, found: 3 });
    });
}

#[test]
fn a_gateway_that_hangs_up_at_once_is_not_besieged_and_the_log_stays_short() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        gateway.behave(|behaviour| behaviour.closes_at_once = true);
        let mut config = config(&gateway, None);
        config.timing.poll = Duration::from_millis(1);
        let mut session = Session::start(home.path(), config);
        session.condition("connecting").await;
        session.pause(Duration::from_secs(2)).await;
        // 40, 80, 200, 400, 1200 ms …: with the unit at a second it is one try a minute.
        let seen = gateway.seen();
        assert!((2..=8).contains(&seen.connections), "{} connections", seen.connections);
        assert!(session.events.len() <= 6, "{:#?}", session.events);
        assert_eq!(seen.polls, 0);
    });
}

#[test]
fn polls_keep_their_pace_when_answers_are_slow() {
    run(|home| async move {
        let network = network();
        let gateway = Gateway::tcp(&network);
        gateway.behave(|behaviour| behaviour.delay = Duration::from_millis(100));
        let mut config = config(&gateway, None);
        config.timing.poll = Duration::from_millis(200);
        let mut session = Session::start(home.path(), config);
        session.job().await;
        session.pause(Duration::from_secs(2)).await;
        // One question at a time, and a pause after each answer.
        assert!(gateway.seen().polls <= 10, "{}", gateway.seen().polls);
        assert_eq!(gateway.seen().connections, 1);
    });
}

#[test]
fn a_unix_socket_that_was_left_behind_is_tried_until_somebody_listens() {
    run(|home| async move {
        let network = network();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pearlgw.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let config = GatewayConfig {
            endpoint: GatewayEndpoint::Unix(path.clone()),
            command: None,
            keeper: None,
            wallet_address: None,
            node: None,
            timing: timing(),
        };
        let mut session = Session::start(home.path(), config);
        session
            .until("the refusal", 0, |event| match event {
                WorkEvent::Condition(Condition::Connecting { error: Some(error), .. }) => Some(error.clone()),
                _ => None,
            })
            .await;
        let _gateway = Gateway::unix(&network, &path);
        session.job().await;
        session.condition("healthy").await;
        let status = session.handle.status.borrow().clone();
        assert_eq!(status.endpoints[0].address, format!("unix:{}", path.display()));
        assert_eq!(status.endpoints[0].reachable, Some(true));
    });
}

#[test]
fn a_reorganisation_takes_a_block_back_and_the_proof_says_so() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        node.behave(|behaviour| behaviour.no_next_hash = true);
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "in-block").await;
        network.reorganise();
        let ProofState::Stale { reason } = session.state(&id, "stale").await else { unreachable!() };
        assert!(reason.contains("left the main chain"), "{reason}");
    });
}

#[test]
fn a_node_with_its_own_certificate_is_asked_and_any_other_certificate_is_refused() {
    run(|home| async move {
        let network = network();
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("rpc.cert"), folder.path().join("other.cert"));
        let password = std::env::var(PASSWORD_ENV).unwrap();
        let node = Node::https(&network, USER, &password, &ours);
        let _other = Node::https(&network, USER, &password, &theirs);
        let gateway = Gateway::tcp(&network);
        let with = |certificate: &Path| GatewayConfig {
            node: Some(section(&node, Some(certificate))),
            ..config(&gateway, None)
        };
        let mut session = Session::start(home.path(), with(&ours));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "in-block").await;
        drop(session);

        let mut session = Session::start(home.path(), with(&theirs));
        let (_, note) = session
            .until("the refusal", 0, |event| match event {
                WorkEvent::Note(note) if note.contains("another certificate") => Some(note.clone()),
                _ => None,
            })
            .await;
        assert!(note.contains("rpc.cert"), "it says what to do: {note}");
        assert!(!node.requests().is_empty());
        // Mining goes on without the node's word.
        session.condition("healthy").await;
        assert_eq!(session.handle.status.borrow().endpoints[1].reachable, Some(false));
    });
}

#[test]
fn a_node_that_comes_and_goes_is_a_line_each_time_and_loses_no_proof() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        node.behave(|behaviour| behaviour.unavailable = true);
        let mut session = Session::start(home.path(), config(&gateway, Some(&node)));
        let job = session.job().await;
        let id = session.find(&job, 1);
        session.state(&id, "handed-over").await;
        // Its block is found, the job is over, and the node is still away: the proof waits for the node's word.
        session.job().await;
        session.pause(Duration::from_millis(500)).await;
        assert_eq!(kept(home.path()), 1);
        let notes = session.events.iter().filter(|event| matches!(event, WorkEvent::Note(_))).count();
        assert_eq!(notes, 1, "{:#?}", session.events);
        node.behave(|behaviour| behaviour.unavailable = false);
        session.state(&id, "in-block").await;
        assert_eq!(kept(home.path()), 0);
    });
}

#[test]
fn a_node_without_templates_or_without_new_blocks_is_in_trouble_though_it_answers() {
    run(|home| async move {
        let network = network();
        let (gateway, node) = (Gateway::tcp(&network), node(&network));
        node.behave(|behaviour| behaviour.no_template = true);
        let frozen = Duration::from_millis(900);
        let timing = GatewayTiming { frozen, ..timing() };
        let config = GatewayConfig { timing, ..config(&gateway, Some(&node)) };
        let mut session = Session::start(home.path(), config);
        session.job().await;
        let told =
            |trouble: Option<&Trouble>, what| trouble.is_some_and(|trouble| trouble.text.contains(what));
        let refused = session.node_trouble(|trouble| told(trouble, "not connected")).await.unwrap();
        assert!(refused.text.contains("getblocktemplate"), "{refused:?}");
        assert!(refused.hint.is_some_and(|hint| hint.contains("peers")));
        assert_eq!(session.handle.status.borrow().endpoints[1].reachable, Some(true));
        session.pause(frozen * 2).await;
        // It gives out templates again, and still knows of no new block.
        node.behave(|behaviour| behaviour.no_template = false);
        let stale = session.node_trouble(|trouble| told(trouble, "has not seen a new block")).await.unwrap();
        assert_eq!(stale.since, refused.since, "there was trouble all the time");
        network.mine_elsewhere(1);
        session.node_trouble(|trouble| trouble.is_none()).await;
    });
}

#[test]
fn a_gateway_that_the_session_starts_is_kept_running_told_everything_and_stopped() {
    run(|home| async move {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (script, record) = (folder.path().join("gw"), folder.path().join("record"));
        // It prints the password, as a real one does, among lines that are passed on.
        let text = format!(
            "#!/bin/sh\necho \"$$ $1 $MINER_RPC_TRANSPORT $PEARLD_RPC_USER $PEARLD_RPC_PASSWORD $PEARLD_MINING_ADDRESS\" >> {}\n\
             echo \"Error: password=$PEARLD_RPC_PASSWORD\" >&2\n[ -e {}.again ] && exec sleep 600\n\
             touch {}.again\nexit 3\n",
            record.display(),
            record.display(),
            record.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        let password = std::env::var(PASSWORD_ENV).unwrap();
        let config = GatewayConfig {
            endpoint: GatewayEndpoint::Unix(folder.path().join("gw.sock")),
            command: Some(vec![script.display().to_string(), "start".to_owned()]),
            keeper: None,
            wallet_address: Some("prl1pexample".to_owned()),
            node: Some(NodeSection {
                url: "http://127.0.0.1:9".to_owned(),
                user: USER.to_owned(),
                password_env: PASSWORD_ENV.to_owned(),
                certificate: None,
            }),
            timing: timing(),
        };
        let mut session = Session::start(home.path(), config);
        let mut starts = 0;
        session
            .until("the second start", 0, |event| match event {
                WorkEvent::Note(note) if note.contains("started the gateway") => {
                    starts += 1;
                    (starts == 2).then_some(())
                }
                _ => None,
            })
            .await;
        session
            .until("its error", 0, |event| {
                matches!(event, WorkEvent::Note(note) if note.contains("[password]")).then_some(())
            })
            .await;
        assert!(
            session
                .events
                .iter()
                .any(|event| matches!(event, WorkEvent::Note(note) if note.contains("exit status: 3")))
        );
        assert!(!format!("{:?}", session.events).contains(&password), "the password is in no event");
        let lines = || std::fs::read_to_string(&record).unwrap_or_default();
        session.wait("the second's line", |_| lines().lines().count() >= 2).await;
        let last: Vec<_> = lines().lines().last().unwrap().split(' ').map(str::to_owned).collect();
        assert_eq!(last[1..], ["start", "uds", USER, &password, "prl1pexample"]);
        session.handle.stop().await;
        let pid = rustix::process::Pid::from_raw(last[0].parse().unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_err(), "the gateway is gone");
    });
}
