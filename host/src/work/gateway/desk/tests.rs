//! The desk's rules, each told as a short story: what is seen at which moment, and what must follow.
//!
//! Nothing waits and nothing is sent; the clock moves when a test says so.

use std::time::{Duration, SystemTime};

use super::*;
use crate::work::node::Fate;
use crate::work::{FoundProof, ProofId};

/// A desk and a clock that only moves when told.
struct Scene {
    desk: Desk,
    now: Instant,
    asked: Instant,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn header(prev: u8, time: u8) -> [u8; 76] {
    let mut header = [0; 76];
    header[4] = prev;
    header[68] = time;
    header[72..].copy_from_slice(&0x1b00_ffff_u32.to_le_bytes());
    header
}

fn info(prev: u8, time: u8, certificate_version: u32) -> MiningInfo {
    let header = header(prev, time);
    let target = pearl_pow::Header::from_bytes(header).nbits().target().to_le_bytes();
    MiningInfo { header, target, certificate_version }
}

fn proof(prev: u8, time: u8, seed: u8) -> KeptProof {
    let info = info(prev, time, 3);
    KeptProof::in_memory(FoundProof {
        job: WorkJob {
            header: info.header,
            target: info.target,
            certificate_version: 3,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
            origin: None,
            keeps_earlier: false,
        },
        proof: vec![seed; 10],
        found: SystemTime::now(),
        block: false,
    })
}

fn block(confirmations: u64) -> Fate {
    Fate::InBlock { hash: "aa".to_owned(), height: 8, confirmations, commitment: None }
}

fn replaced_by(hash: &str) -> Fate {
    let reason = "another block came first at height 8".to_owned();
    Fate::Replaced { reason, by: Some((hash.to_owned(), 8)) }
}

/// The newest block, when jobs build on `header(byte, _)`.
fn tip(byte: u8) -> Option<[u8; 32]> {
    let mut tip = [0; 32];
    tip[0] = byte;
    Some(tip)
}

impl Scene {
    /// Connected, with the job of `header(1, 0)`.
    fn new(has_node: bool) -> Self {
        let now = Instant::now();
        let mut scene = Self { desk: Desk::new(GatewayTiming::default(), has_node), now, asked: now };
        scene.desk.connected();
        scene.answer(info(1, 0, 3));
        scene.events();
        scene
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn ask(&mut self) {
        self.asked = self.now;
        self.desk.asked(self.now);
    }

    /// The pending question, or one put now, is answered now.
    fn answer(&mut self, info: MiningInfo) {
        if self.desk.asked.is_none() {
            self.ask();
        }
        self.desk.answered(Ok(info), self.asked, self.now);
        self.desk.tick(self.now);
    }

    fn events(&mut self) -> Vec<WorkEvent> {
        self.desk.tick(self.now);
        self.desk.take_events()
    }

    fn words(&mut self) -> Vec<&'static str> {
        let word = |event| match event {
            WorkEvent::Proof { state, .. } => Some(state.word()),
            _ => None,
        };
        self.events().into_iter().filter_map(word).collect()
    }

    fn condition(&mut self) -> Condition {
        self.desk.tick(self.now);
        self.desk.condition(self.now)
    }

    /// Hands over what is due and lets the gateway take it.
    fn take(&mut self) -> Option<ProofId> {
        let (id, ..) = self.desk.next_submission(self.now)?;
        self.desk.submitted(&id, Submitted::Taken, Duration::ZERO, self.now);
        Some(id)
    }
}

#[test]
fn a_job_is_told_once_and_again_when_any_part_of_it_changes() {
    let mut scene = Scene::new(false);
    let mut jobs = |info: MiningInfo| {
        scene.answer(info);
        scene.events().into_iter().filter(|event| matches!(event, WorkEvent::Job(_))).count()
    };
    assert_eq!(jobs(info(1, 0, 3)), 0);
    assert_eq!(jobs(info(1, 0, 4)), 1, "the certificate version changed under way");
    assert_eq!(jobs(info(1, 0, 4)), 0);
    assert_eq!(jobs(info(1, 1, 4)), 1);
    assert_eq!(jobs(info(2, 1, u32::MAX)), 1);
}

#[test]
fn the_target_in_the_header_wins_over_a_harder_one_beside_it() {
    let mut scene = Scene::new(false);
    scene.answer(MiningInfo { target: [0; 32], ..info(2, 0, 3) });
    let events = scene.events();
    assert!(events.iter().any(|event| matches!(event, WorkEvent::Note(text) if text.contains("harder"))));
    assert_eq!(scene.desk.job().unwrap().target, info(2, 0, 3).target);
    assert!(!scene.desk.job().unwrap().is_for_shares());
}

#[test]
fn who_asks_for_less_than_a_block_is_given_every_share_as_it_is_found() {
    let mut scene = Scene::new(true);
    let easier = |byte: u8| {
        let mut target = [0; 32];
        target[28] = byte;
        target
    };
    let asked = |byte, prev, time| MiningInfo { target: easier(byte), ..info(prev, time, 3) };
    let notes = |scene: &mut Scene| {
        let events = scene.events();
        events
            .iter()
            .filter(|event| matches!(event, WorkEvent::Note(text) if text.contains("shares")))
            .count()
    };
    scene.answer(asked(9, 1, 0));
    assert_eq!(notes(&mut scene), 1);
    assert_eq!(scene.desk.job().unwrap().target, easier(9));
    let share = |byte, seed| {
        let mut kept = proof(1, 0, seed);
        kept.found.job.target = easier(byte);
        kept
    };
    // Another share is asked for under the same header: the one before is welcome still.
    scene.answer(asked(7, 1, 0));
    assert!(scene.desk.job().unwrap().keeps_earlier);
    assert_eq!(notes(&mut scene), 0, "said once");
    for (byte, seed) in [(9, 1), (7, 2), (7, 3)] {
        scene.desk.found(share(byte, seed), scene.now);
        let (id, info, _) = scene.desk.next_submission(scene.now).expect("none waits for another's block");
        assert_eq!(info.target, easier(byte), "as it was asked for");
        scene.desk.submitted(&id, Submitted::Taken, Duration::ZERO, scene.now);
        assert_eq!(scene.words(), ["handed-over", "untraced"]);
    }
    assert_eq!((scene.desk.pending(), scene.desk.proving()), (0, None));
    // One that is refused is not handed in again and again.
    scene.desk.found(share(7, 4), scene.now);
    let (id, ..) = scene.desk.next_submission(scene.now).unwrap();
    let refusal = RpcError { code: -32000, message: "proof refused: duplicate".into() };
    scene.desk.submitted(&id, Submitted::Refused(refusal), Duration::ZERO, scene.now);
    assert_eq!(scene.words(), ["rejected"]);
    scene.answer(asked(7, 2, 0));
    assert!(!scene.desk.job().unwrap().keeps_earlier, "another header");
}

#[test]
fn a_silent_gateway_is_proving_if_it_has_a_proof_and_only_silent_if_not_and_never_lost() {
    let mut scene = Scene::new(true);
    scene.ask();
    scene.after(seconds(4));
    assert_eq!(scene.condition(), Condition::Healthy);
    scene.after(seconds(600));
    assert!(matches!(scene.condition(), Condition::Silent { .. }));
    scene.answer(info(1, 0, 3));
    assert_eq!(scene.condition(), Condition::Healthy);

    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    let taken = scene.now;
    scene.ask();
    scene.after(seconds(300));
    assert_eq!(scene.condition(), Condition::Proving { since: taken });
    assert!(scene.condition().is_earning());
    assert_eq!(scene.desk.next_submission(scene.now), None, "nothing is sent to a gateway that is proving");
}

#[test]
fn a_proof_goes_from_handed_over_to_in_a_block_to_confirmed() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    assert_eq!(scene.words(), ["handed-over"]);
    assert!(!scene.desk.is_curious());
    scene.answer(info(2, 0, 3));
    assert!(scene.words().is_empty(), "the node has the word");
    assert!(scene.desk.is_curious(), "and is asked at once");
    scene.desk.fate(&header(1, 0), &block(1), scene.now);
    assert_eq!(scene.words(), ["in-block"]);
    scene.desk.fate(&header(1, 0), &block(2), scene.now);
    assert!(scene.words().is_empty(), "nothing new");
    scene.desk.fate(&header(1, 0), &block(6), scene.now);
    assert_eq!(scene.words(), ["confirmed"]);
    assert!(scene.desk.questions().is_empty());
}

#[test]
fn a_proof_whose_block_did_not_appear_is_handed_over_again_while_its_header_is_current() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    let id = scene.take().unwrap();
    scene.ask();
    // It proves for 70 seconds, answers with the old job, and its template follows a second later: too early.
    scene.after(seconds(70)).answer(info(1, 0, 3));
    scene.after(seconds(10)).answer(info(1, 0, 3));
    assert_eq!(scene.take(), None);
    // The question that was open during the proof says nothing yet; the one after it starts the clock.
    scene.after(seconds(25)).answer(info(1, 0, 3));
    scene.after(seconds(120)).answer(info(1, 0, 3));
    assert_eq!(scene.take(), Some(id));
    let events = scene.events();
    assert!(
        events.iter().any(|event| matches!(
            event,
            WorkEvent::Proof { state: ProofState::HandedOver { attempt: 2 }, .. }
        ))
    );
}

#[test]
fn another_proof_of_the_header_goes_before_the_failed_one_is_tried_again() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    let first = scene.take().unwrap();
    scene.desk.found(proof(1, 0, 2), scene.now);
    assert_eq!(scene.take(), None, "one at a time");
    scene.after(seconds(2)).answer(info(1, 0, 3));
    scene.after(seconds(130)).answer(info(1, 0, 3));
    let second = scene.take().unwrap();
    assert_ne!(first, second);
    // The header became a block: the last one handed over has it.
    scene.desk.fate(&header(1, 0), &block(1), scene.now);
    let events = scene.events();
    let of = |id: &ProofId| {
        let mut states = events.iter().filter_map(|event| match event {
            WorkEvent::Proof { id: found, state } if found == id => Some(state.word()),
            _ => None,
        });
        states.next_back()
    };
    assert_eq!((of(&first), of(&second)), (Some("stale"), Some("in-block")));
}

#[test]
fn a_gateway_that_refuses_every_proof_is_named_and_forgiven_once_a_block_appears() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    let mut hand_overs = 0;
    for _ in 0..4000 {
        scene.after(seconds(1)).answer(info(1, 0, 3));
        hand_overs += usize::from(scene.take().is_some());
    }
    assert!((4..=7).contains(&hand_overs), "the waits grow: {hand_overs}");
    assert!(matches!(scene.condition(), Condition::RefusingEveryProof { count: 3.. }));
    let notes = scene.events().into_iter().filter(|event| matches!(event, WorkEvent::Note(_))).count();
    assert!(notes <= 4, "{notes}");
    scene.desk.fate(&header(1, 0), &block(1), scene.now);
    assert_ne!(scene.condition().word(), "refusing-every-proof");
}

#[test]
fn an_outdated_proof_is_stale_or_untraced_and_never_handed_over() {
    let mut scene = Scene::new(false);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    scene.desk.found(proof(1, 0, 2), scene.now);
    scene.events();
    scene.answer(info(1, 1, 3));
    let mut words = scene.words();
    words.sort_unstable();
    assert_eq!(words, ["stale", "untraced"], "the gateway took one of them");
    scene.desk.found(proof(1, 0, 3), scene.now);
    assert_eq!(scene.words(), ["stale"]);
    assert_eq!(scene.take(), None);
}

#[test]
fn with_a_node_only_the_node_ends_a_proof_that_was_handed_over() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    scene.events();
    scene.answer(info(2, 0, 3));
    scene.after(seconds(3600)).answer(info(3, 0, 3));
    scene.desk.fate(&header(1, 0), &Fate::Unknown, scene.now);
    assert!(scene.words().is_empty());
    let replaced = replaced_by("bb");
    scene.desk.fate(&header(1, 0), &replaced, scene.now);
    assert_eq!(scene.words(), ["stale"]);
}

#[test]
fn a_lost_connection_keeps_the_proof_and_it_goes_once_there_is_one_again() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    let (id, ..) = scene.desk.next_submission(scene.now).unwrap();
    scene.desk.submitted(&id, Submitted::Lost("broken pipe".to_owned()), seconds(2), scene.now);
    scene.desk.disconnected(1, Some(scene.now + seconds(1)), Some("refused".to_owned()));
    scene.after(seconds(3));
    assert!(matches!(scene.condition(), Condition::Connecting { .. }));
    assert_eq!(scene.take(), None);
    scene.desk.connected();
    assert_eq!(scene.take(), None, "it may be another gateway by now");
    scene.answer(info(1, 0, 3));
    assert_eq!(scene.take(), Some(id));
}

#[test]
fn a_full_queue_and_a_pause_are_waited_out_and_other_refusals_end_after_three() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    let mut refuse = |code: i64, message: &str| {
        let (id, ..) = scene.desk.next_submission(scene.now).unwrap();
        let refusal = RpcError { code, message: message.to_owned() };
        scene.desk.submitted(&id, Submitted::Refused(refusal), seconds(1), scene.now);
        scene.after(seconds(1));
        scene.words()
    };
    for _ in 0..20 {
        assert!(refuse(-32000, "proof submission queue full").is_empty());
        assert!(refuse(-32001, "mining_paused: no block template available").is_empty());
    }
    assert!(refuse(-32602, "Invalid params").is_empty());
    assert!(refuse(-32000, "'cert_version'").is_empty());
    assert_eq!(refuse(-32000, "it is bad"), ["rejected"]);
}

#[test]
fn a_pause_is_a_state_and_keeps_the_job() {
    let mut scene = Scene::new(false);
    let refusal = RpcError { code: -32001, message: "mining_paused: no block template available".to_owned() };
    scene.desk.answered(Err(refusal), scene.now, scene.now);
    assert!(matches!(scene.condition(), Condition::Paused { .. }));
    assert!(scene.desk.job().is_some());
    scene.answer(info(1, 0, 3));
    assert_eq!(scene.condition(), Condition::Healthy);
}

#[test]
fn a_frozen_job_is_seen_by_its_age_or_sooner_by_the_node() {
    let mut scene = Scene::new(false);
    scene.after(seconds(1900)).answer(info(1, 0, 3));
    assert_eq!(scene.condition(), Condition::Healthy);
    scene.after(seconds(60)).answer(info(1, 0, 3));
    assert!(matches!(scene.condition(), Condition::FrozenJob { .. }));
    scene.answer(info(2, 0, 3));
    assert_eq!(scene.condition(), Condition::Healthy);

    let mut scene = Scene::new(true);
    scene.desk.node_tip(tip(1), scene.now);
    scene.after(seconds(4000)).answer(info(1, 0, 3));
    assert_eq!(scene.condition(), Condition::Healthy, "the node says that there was no block");
    scene.desk.node_tip(tip(2), scene.now);
    assert_eq!(scene.condition(), Condition::Healthy, "the gateway may be waiting a minute");
    scene.after(seconds(100)).answer(info(1, 0, 3));
    scene.desk.node_tip(tip(3), scene.now);
    assert!(matches!(scene.condition(), Condition::FrozenJob { .. }));
    scene.answer(info(3, 0, 3));
    scene.desk.node_tip(tip(3), scene.now);
    assert_eq!(scene.condition(), Condition::Healthy);
    scene.after(seconds(100)).answer(info(3, 0, 3));
    assert!(scene.desk.wants_template(scene.now));
}

#[test]
fn at_each_block_the_node_is_asked_once_what_the_next_one_needs_for_an_outdated_gateway_follows_blocks_too() {
    let mut scene = Scene::new(true);
    assert_eq!(scene.desk.template_known_at(), None);
    scene.desk.node_tip(tip(1), scene.now);
    scene.desk.node_certificate(Some(3), scene.now);
    assert_eq!(scene.desk.template_known_at(), tip(1));
    // The fork's block: the gateway follows it, with a job of the old kind.
    scene.answer(info(2, 0, 3));
    scene.desk.node_tip(tip(2), scene.now);
    assert_ne!(scene.desk.template_known_at(), tip(2));
    scene.desk.node_certificate(Some(4), scene.now);
    assert_eq!(scene.desk.template_known_at(), tip(2));
    scene.after(seconds(6));
    assert_eq!(scene.condition(), Condition::NeedsUpdate { wanted: 4, found: 3 });
    // A node that does not say is not asked again and again.
    scene.desk.node_tip(tip(3), scene.now);
    scene.desk.node_certificate(None, scene.now);
    assert_eq!(scene.desk.template_known_at(), tip(3));
}

/// How many jobs were told, and why there is none, if the last was taken back.
fn jobs(events: &[WorkEvent]) -> (usize, Option<&str>) {
    let jobs = events.iter().filter(|event| matches!(event, WorkEvent::Job(_))).count();
    let last = events.iter().rev().find_map(|event| match event {
        WorkEvent::Job(_) => Some(None),
        WorkEvent::NoJob { reason } => Some(Some(reason.as_str())),
        _ => None,
    });
    (jobs, last.flatten())
}

#[test]
fn a_job_in_whose_place_the_node_has_a_block_earns_nothing_at_once_also_while_the_gateway_proves_for_it() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.desk.found(proof(1, 0, 2), scene.now);
    scene.take().unwrap();
    scene.ask();
    scene.after(seconds(10));
    assert_eq!(scene.condition().word(), "proving");
    assert_eq!(scene.desk.proving().map(|(_, computes)| computes), Some(true));
    scene.desk.node_tip(tip(2), scene.now);
    scene.desk.fate(&header(1, 0), &replaced_by("bb"), scene.now);
    let events = scene.events();
    let (_, taken_back) = jobs(&events);
    assert!(taken_back.is_some_and(|reason| reason.contains("another block came first")), "{events:?}");
    assert_eq!(scene.condition().word(), "dead-job");
    assert!(!scene.condition().is_earning());
    assert_eq!(scene.desk.proving(), None, "nobody rests for that");
    // It answers at last, with the old job: its template follows a second later.
    scene.answer(info(1, 0, 3));
    scene.desk.found(proof(1, 0, 3), scene.now);
    for _ in 0..200 {
        scene.after(seconds(2)).answer(info(1, 0, 3));
        assert_eq!(scene.take(), None, "nothing is handed over for it");
    }
    assert_eq!(scene.condition().word(), "dead-job");
    scene.answer(info(2, 0, 3));
    let events = scene.events();
    assert_eq!(jobs(&events), (1, None));
    assert_eq!(scene.condition(), Condition::Healthy);
}

#[test]
fn a_job_comes_back_where_the_chain_goes_back_to_it_and_a_late_node_takes_none_away() {
    let mut scene = Scene::new(true);
    scene.desk.node_tip(tip(2), scene.now);
    scene.desk.fate(&header(1, 0), &Fate::Unknown, scene.now);
    assert_eq!(jobs(&scene.events()), (0, None));
    assert_eq!(scene.condition(), Condition::Healthy, "the node may be the one that is late");
    scene.desk.fate(&header(1, 0), &replaced_by("bb"), scene.now);
    assert!(jobs(&scene.events()).1.is_some());
    scene.desk.fate(&header(1, 0), &Fate::Open, scene.now);
    assert_eq!(jobs(&scene.events()), (1, None));
    assert_eq!(scene.condition(), Condition::Healthy);
}

#[test]
fn a_fork_that_the_gateway_does_not_follow_outranks_everything_and_names_the_gateway() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    scene.ask();
    scene.after(seconds(6));
    scene.desk.node_tip(tip(2), scene.now);
    scene.desk.fate(&header(1, 0), &replaced_by("bb"), scene.now);
    scene.desk.node_certificate(Some(4), scene.now);
    assert_eq!(scene.condition().word(), "dead-job", "it has a few seconds to follow");
    for (round, word) in [(1, "needs-update"), (2, "needs-update")] {
        scene.after(seconds(5));
        // Another block comes, and the node says the same.
        scene.desk.node_tip(tip(2 + round), scene.now);
        scene.desk.node_certificate(Some(4), scene.now);
        assert_eq!(scene.condition().word(), word);
    }
    let condition = scene.condition();
    assert_eq!(condition, Condition::NeedsUpdate { wanted: 4, found: 3 });
    assert!(condition.hint().is_some_and(|hint| hint.contains("update pearl-gateway")), "{condition:?}");
    scene.desk.disconnected(1, None, Some("refused".to_owned()));
    assert_eq!(scene.condition().word(), "needs-update", "also while it is away");
    scene.desk.node_tip(None, scene.now);
    assert_eq!(scene.condition().word(), "needs-update", "and while the node is");
    scene.desk.connected();
    scene.answer(info(4, 0, 4));
    assert_eq!(scene.condition(), Condition::Healthy);
    // A node that lags behind the gateway says nothing about the gateway.
    scene.desk.node_tip(tip(5), scene.now);
    scene.desk.node_certificate(Some(3), scene.now);
    scene.after(seconds(60));
    assert_ne!(scene.condition().word(), "needs-update");
}

#[test]
fn whose_block_it_is_follows_from_what_its_header_commits_to() {
    let info = info(1, 0, 3);
    let job = proof(1, 0, 1).found.job;
    let easy = WorkJob { target: [0xff; 32], ..job.clone() };
    let found = |seed: u64| {
        let proof = crate::work::testing::mine(&easy, seed);
        KeptProof::in_memory(FoundProof { job: job.clone(), proof, found: SystemTime::now(), block: false })
    };
    let (first, second) = (found(1), found(2));
    let [ours, theirs] = [&first, &second].map(|kept| commitment::of(&kept.found).unwrap());
    assert_ne!(ours, theirs);
    let block = |commitment| Fate::InBlock {
        hash: "aa".to_owned(),
        height: 8,
        confirmations: 1,
        commitment: Some(commitment),
    };
    // Another session's proof for the same header became the block.
    let mut scene = Scene::new(true);
    assert_eq!(scene.desk.job().unwrap().header, info.header);
    scene.desk.found(first.clone(), scene.now);
    scene.take().unwrap();
    scene.events();
    scene.desk.fate(&info.header, &block(theirs), scene.now);
    let events = scene.events();
    let said = |events: &[WorkEvent]| format!("{events:?}");
    assert!(said(&events).contains("another miner's proof"), "{events:?}");
    // Ours did, though the other one was handed over last.
    let mut scene = Scene::new(true);
    scene.desk.found(first, scene.now);
    let id = scene.take().unwrap();
    scene.after(seconds(2)).answer(info.clone());
    scene.after(seconds(130)).answer(info.clone());
    scene.desk.found(second, scene.now);
    scene.take().unwrap();
    scene.events();
    let mut reversed = ours;
    reversed.reverse();
    scene.desk.fate(&info.header, &block(reversed), scene.now);
    let events = scene.events();
    let became = events.iter().any(|event| {
        matches!(event, WorkEvent::Proof { id: found, state: ProofState::InBlock { .. } } if *found == id)
    });
    assert!(became && said(&events).contains("another proof of ours"), "{events:?}");
}

#[test]
fn a_proof_that_ended_with_its_gateway_is_told_so_and_a_next_block_of_ours_is_no_strangers() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    scene.ask();
    scene.after(seconds(9));
    scene.desk.disconnected(1, None, Some("it closed the connection".to_owned()));
    assert_eq!(scene.desk.proving(), None);
    // It comes back with another header for the same block, and that becomes one.
    scene.desk.connected();
    scene.answer(info(1, 1, 3));
    scene.desk.found(proof(1, 1, 2), scene.now);
    scene.take().unwrap();
    scene.events();
    scene.desk.fate(&header(1, 1), &block(1), scene.now);
    scene.desk.fate(&header(1, 0), &replaced_by("aa"), scene.now);
    let events = format!("{:?}", scene.events());
    assert!(
        events.contains("the gateway ended while it had it") && events.contains("our own next proof's"),
        "{events}"
    );
}

#[test]
fn what_goes_in_the_place_of_a_proof_that_came_to_nothing_is_named() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    let first = scene.take().unwrap();
    scene.desk.found(proof(1, 0, 2), scene.now);
    scene.after(seconds(2)).answer(info(1, 0, 3));
    scene.after(seconds(130)).answer(info(1, 0, 3));
    let second = scene.take().unwrap();
    let events = format!("{:?}", scene.events());
    assert!(
        events.contains(&format!("proof {first} was taken but no block came; proof {second} of")),
        "{events}"
    );
    scene.after(seconds(2)).answer(info(1, 0, 3));
    scene.after(seconds(300)).answer(info(1, 0, 3));
    assert_eq!(scene.take(), Some(first.clone()));
    let events = format!("{:?}", scene.events());
    assert!(
        events.contains(&format!("proof {second} was taken but no block came; proof {first} of")),
        "{events}"
    );
}

#[test]
fn a_node_whose_newest_block_stays_the_same_is_stale_until_another_comes() {
    let mut scene = Scene::new(true);
    let tips = [[1; 32], [2; 32]];
    assert!(!scene.desk.is_node_stale(scene.now), "nothing is known of it");
    scene.desk.node_tip(Some(tips[0]), scene.now);
    for _ in 0..19 {
        scene.after(seconds(100));
        scene.desk.node_tip(Some(tips[0]), scene.now);
        assert!(!scene.desk.is_node_stale(scene.now));
    }
    scene.after(seconds(100));
    scene.desk.node_tip(Some(tips[0]), scene.now);
    assert!(scene.desk.is_node_stale(scene.now));
    scene.desk.node_tip(Some(tips[1]), scene.now);
    assert!(!scene.desk.is_node_stale(scene.now));
}

#[test]
fn an_outage_of_a_day_tells_a_handful_of_things() {
    let mut scene = Scene::new(true);
    let mut told = 0;
    for attempt in 1..1440 {
        scene.desk.connecting(attempt);
        told += scene.events().len();
        let next_try = Some(scene.now + seconds(60));
        scene.desk.disconnected(attempt, next_try, Some("connection refused".to_owned()));
        told += scene.events().len();
        scene.after(seconds(60));
    }
    assert!(told <= 3, "{told}");
}

#[test]
fn what_an_earlier_process_left_is_asked_about_before_it_is_given_up() {
    // With a node, a proof that may have been handed over waits for the node's word.
    let mut desk = Desk::new(GatewayTiming::default(), true);
    let now = Instant::now();
    let mut kept = proof(1, 0, 1);
    kept.handed_over = true;
    desk.found(kept, now);
    desk.connected();
    desk.asked(now);
    desk.answered(Ok(info(9, 0, 3)), now, now);
    assert_eq!(desk.questions(), [header(1, 0)]);
    desk.fate(&header(1, 0), &block(40), now);
    let words: Vec<_> = desk
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            WorkEvent::Proof { state, .. } => Some(state.word()),
            _ => None,
        })
        .collect();
    assert_eq!(words, ["in-block", "confirmed"]);
}

#[test]
fn every_header_gets_its_turn_with_the_node_and_none_is_asked_about_for_ever() {
    let mut scene = Scene::new(true);
    for prev in 100..150 {
        let mut kept = proof(prev, 0, 1);
        kept.handed_over = true;
        kept.found.job.received = scene.now;
        scene.desk.found(kept, scene.now);
    }
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let questions = scene.desk.questions();
        assert!(questions.len() <= 16);
        asked.extend(questions);
    }
    assert_eq!(asked.len(), 50);
    scene.desk.fate(&header(100, 0), &Fate::Unknown, scene.now + seconds(3600));
    assert_eq!(scene.desk.pending(), 50);
    scene.desk.fate(&header(100, 0), &Fate::Unknown, scene.now + seconds(25 * 3600));
    assert_eq!((scene.words(), scene.desk.pending()), (vec!["untraced"], 49));
}

#[test]
fn lost_races_are_no_refusals_and_a_restart_clears_the_gateways_name() {
    let mut scene = Scene::new(true);
    for prev in 1..10 {
        scene.answer(info(prev, 0, 3));
        scene.desk.found(proof(prev, 0, 1), scene.now);
        scene.take().unwrap();
        // It proves for a minute, and meanwhile somebody else finds the block.
        scene.after(seconds(60)).answer(info(prev, 0, 3));
        scene.after(seconds(1)).answer(info(prev + 1, 0, 3));
        scene.desk.fate(&header(prev, 0), &replaced_by("bb"), scene.now);
        assert_eq!(scene.words(), ["handed-over", "stale"]);
        assert_eq!(scene.condition(), Condition::Healthy);
    }
    scene.desk.found(proof(10, 0, 1), scene.now);
    for _ in 0..4000 {
        scene.after(seconds(1)).answer(info(10, 0, 3));
        scene.take();
    }
    assert_eq!(scene.condition().word(), "refusing-every-proof");
    scene.desk.disconnected(1, None, None);
    scene.desk.connected();
    scene.answer(info(10, 1, 3));
    assert_eq!(scene.condition(), Condition::Healthy);
}

#[test]
fn a_block_that_leaves_the_main_chain_makes_its_proof_stale() {
    let mut scene = Scene::new(true);
    scene.desk.found(proof(1, 0, 1), scene.now);
    scene.take().unwrap();
    scene.desk.fate(&header(1, 0), &block(1), scene.now);
    scene.events();
    scene.desk.fate(&header(1, 0), &replaced_by("bb"), scene.now);
    let events = scene.events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, WorkEvent::Proof { state: ProofState::Stale { reason }, .. }
            if reason.contains("left the main chain"))),
        "{events:?}"
    );
}
