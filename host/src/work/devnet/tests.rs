//! The devnet as a work source: from a proof to a confirmed block, and what outlives the process.
//!
//! Proofs are real and mined here, at easy targets.

use std::sync::Arc;

use super::*;
use crate::work::testing::{block_on, mine};
use crate::work::{FoundProof, ProofStore, SourceConfig, WorkHandle, spawn};

fn start(home: &std::path::Path) -> WorkHandle {
    let store = ProofStore::open(&home.join("proofs")).unwrap();
    // The target stays the easiest: the tests' miner is slow.
    let config = DevnetConfig { spacing: Duration::from_millis(1), ..DevnetConfig::new(home.join("devnet")) };
    spawn(SourceConfig::Devnet(config), store).unwrap()
}

async fn next_job(handle: &mut WorkHandle) -> WorkJob {
    loop {
        if let WorkEvent::Job(job) = handle.events.recv().await.unwrap() {
            return job;
        }
    }
}

/// The next state of a proof, jobs in between skipped.
async fn next_state(handle: &mut WorkHandle) -> ProofState {
    loop {
        if let WorkEvent::Proof { state, .. } = handle.events.recv().await.unwrap() {
            return state;
        }
    }
}

fn found(job: &WorkJob, seed: u64) -> FoundProof {
    FoundProof { job: job.clone(), proof: mine(job, seed), found: SystemTime::now(), block: false }
}

#[test]
fn a_proof_becomes_a_block_and_the_next_job_builds_on_it() {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let mut handle = start(home.path());
        let job = next_job(&mut handle).await;
        assert_eq!((job.certificate_version, job.rank_penalty, job.height), (3, true, Some(1)));
        let by_header = pearl_pow::Header::from_bytes(job.header).nbits().target().to_le_bytes();
        assert_eq!(by_header, job.target);

        handle.proofs.hand_over(found(&job, 1)).unwrap();
        let next = next_job(&mut handle).await;
        assert_eq!(next.height, Some(2));
        assert_eq!(next_state(&mut handle).await, ProofState::HandedOver { attempt: 1 });
        let ProofState::InBlock { hash, height } = next_state(&mut handle).await else { panic!() };
        assert_eq!((hash, height), (block_hash_text(&next.prev_block()), 1));

        // A second proof of the first job is late.
        handle.proofs.hand_over(found(&job, 2)).unwrap();
        assert!(matches!(next_state(&mut handle).await, ProofState::Stale { .. }));
        assert_eq!(handle.status.borrow().proofs_pending, 0);
        handle.stop().await;
    });
}

#[test]
fn a_block_is_confirmed_once_five_more_follow() {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let mut handle = start(home.path());
        let mut first = None;
        for round in 0..6 {
            let job = handle.status.borrow().job.clone();
            let job = match job.filter(|job| job.height == Some(round + 1)) {
                Some(job) => job,
                None => next_job(&mut handle).await,
            };
            let id = handle.proofs.hand_over(found(&job, round)).unwrap().id;
            first.get_or_insert(id);
            while !matches!(next_state(&mut handle).await, ProofState::InBlock { .. }) {}
        }
        let WorkEvent::Proof { id, state } = handle.events.recv().await.unwrap() else { panic!() };
        assert_eq!(Some(id), first);
        assert!(matches!(state, ProofState::Confirmed { height: 1, confirmations: 6, .. }), "{state:?}");
    });
}

#[test]
fn a_wrong_proof_is_rejected_with_the_verifiers_reason() {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let mut handle = start(home.path());
        let job = next_job(&mut handle).await;
        let mut wrong = found(&job, 1);
        wrong.proof[5000] ^= 1;
        handle.proofs.hand_over(wrong).unwrap();
        let ProofState::Rejected { reason } = next_state(&mut handle).await else { panic!() };
        assert!(!reason.is_empty());
        assert_eq!(handle.status.borrow().job.as_ref().unwrap().key(), job.key(), "the job stays");
    });
}

#[test]
fn a_proof_kept_by_a_killed_process_becomes_a_block_in_the_next() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(&home.path().join("proofs")).unwrap();
    let (network, _) = Devnet::open(&DevnetConfig::new(home.path().join("devnet"))).unwrap();
    let kept = store.keep("devnet", &found(network.job(), 1)).unwrap();
    // As a kill would: nothing is handed over, nothing is closed in order.
    drop((network, store));
    block_on(async {
        let mut handle = start(home.path());
        loop {
            if let WorkEvent::Proof { id, state: ProofState::InBlock { height, .. } } =
                handle.events.recv().await.unwrap()
            {
                assert_eq!((id, height), (kept.id, 1));
                break;
            }
        }
        assert_eq!(std::fs::read_dir(home.path().join("proofs")).unwrap().count(), 0);
    });
}

#[test]
fn a_proof_whose_block_an_earlier_process_had_just_made_is_in_that_block() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(&home.path().join("proofs")).unwrap();
    let (mut network, _) = Devnet::open(&DevnetConfig::new(home.path().join("devnet"))).unwrap();
    let found = found(network.job(), 1);
    let kept = store.keep("devnet", &found).unwrap();
    network.extend(&found.job.header, &found.proof, SystemTime::now(), Instant::now()).unwrap();
    // Killed here: the block is on disk, and so is the proof.
    drop((network, store));
    block_on(async {
        let mut handle = start(home.path());
        loop {
            if let WorkEvent::Proof { id, state: ProofState::InBlock { height, .. } } =
                handle.events.recv().await.unwrap()
            {
                assert_eq!((id, height), (kept.id, 1));
                break;
            }
        }
    });
}

#[test]
fn a_proof_that_the_disk_refuses_is_handed_over_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let mut handle = start(home.path());
        let job = next_job(&mut handle).await;
        // A file lies in the folder's place, which stops root, too.
        std::fs::remove_dir_all(home.path().join("proofs")).unwrap();
        std::fs::write(home.path().join("proofs"), "").unwrap();
        let handed_over = handle.proofs.hand_over(found(&job, 1)).unwrap();
        assert!(handed_over.not_kept.is_some());
        while !matches!(next_state(&mut handle).await, ProofState::InBlock { .. }) {}
    });
}

#[test]
fn a_certificate_version_that_nobody_speaks_yet_is_offered_and_no_proof_for_it_taken() {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let store = ProofStore::open(&home.path().join("proofs")).unwrap();
        let config = DevnetConfig { certificate_version: 9, ..DevnetConfig::new(home.path().join("devnet")) };
        let mut handle = spawn(SourceConfig::Devnet(config), Arc::clone(&store)).unwrap();
        let job = next_job(&mut handle).await;
        assert_eq!(job.certificate_version, 9);
        let spoken = WorkJob { certificate_version: 3, ..job };
        handle.proofs.hand_over(found(&spoken, 1)).unwrap();
        let state = next_state(&mut handle).await;
        assert!(
            matches!(&state, ProofState::Rejected { reason } if reason.contains("version 9")),
            "{state:?}"
        );
    });
}

#[test]
fn a_second_process_is_told_that_the_devnet_is_in_use() {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let _first = start(home.path());
        let store = ProofStore::open(&home.path().join("proofs")).unwrap();
        let err =
            spawn(SourceConfig::Devnet(DevnetConfig::new(home.path().join("devnet"))), store).unwrap_err();
        assert!(crate::explain::Explain::hint(&err).is_some());
    });
}

#[test]
fn the_pace_is_remembered_across_processes() {
    let home = tempfile::tempdir().unwrap();
    let config = DevnetConfig::new(home.path().to_owned());
    let (mut network, _) = Devnet::open(&config).unwrap();
    let start = Instant::now();
    let mut now = start;
    for _ in 0..30 {
        now += Duration::from_millis(500);
        let header = network.job().header;
        network.extend(&header, b"", SystemTime::now(), now).unwrap();
    }
    let work =
        |network: &Devnet| pace::work_of(u32::from_le_bytes(network.job().header[72..].try_into().unwrap()));
    let before = work(&network);
    drop(network);
    let (network, notes) = Devnet::open(&config).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert!((0.5..2.0).contains(&(work(&network) / before)), "{} {before}", work(&network));
}

#[test]
fn a_clock_set_back_does_not_take_the_chain_back() {
    let home = tempfile::tempdir().unwrap();
    let (mut network, _) = Devnet::open(&DevnetConfig::new(home.path().to_owned())).unwrap();
    let header = network.job().header;
    let now = Instant::now();
    let (block, _) = network.extend(&header, b"", UNIX_EPOCH, now).unwrap();
    let time = u32::from_le_bytes(network.job().header[68..72].try_into().unwrap());
    assert_eq!(time, block.time());
}
