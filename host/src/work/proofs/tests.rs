//! What the store keeps on disk, over the end of a process, damage to its files and a folder that cannot be used.

use super::*;

fn found(seed: u8) -> FoundProof {
    FoundProof {
        job: WorkJob {
            header: [seed; 76],
            target: [7; 32],
            certificate_version: 3,
            rank_penalty: true,
            height: Some(9),
            received: Instant::now(),
            origin: None,
            keeps_earlier: false,
        },
        proof: vec![seed; 3000],
        found: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        block: false,
    }
}

fn same(a: &FoundProof, b: &FoundProof) -> bool {
    a.job.key() == b.job.key() && a.job.height == b.job.height && a.proof == b.proof && a.found == b.found
}

#[test]
fn a_kept_proof_is_read_back_by_the_next_process_with_its_job() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(home.path()).unwrap();
    let kept = store.keep("gateway", &found(1)).unwrap();
    drop(store);

    let store = ProofStore::open(home.path()).unwrap();
    let earlier = store.take_earlier("gateway");
    assert_eq!(earlier.proofs.len(), 1);
    assert_eq!(earlier.proofs[0].id, kept.id);
    assert!(same(&earlier.proofs[0].found, &found(1)));
    assert!(!earlier.proofs[0].handed_over);
    assert!(store.take_earlier("gateway").proofs.is_empty(), "it is given out once");
    assert_eq!(store.len(), 1, "but stays until it is settled");
}

#[test]
fn a_proof_for_another_source_stays_for_it() {
    let home = tempfile::tempdir().unwrap();
    ProofStore::open(home.path()).unwrap().keep("devnet", &found(1)).unwrap();
    let store = ProofStore::open(home.path()).unwrap();
    assert!(store.take_earlier("gateway").proofs.is_empty());
    drop(store);
    let store = ProofStore::open(home.path()).unwrap();
    assert_eq!(store.take_earlier("devnet").proofs.len(), 1);
}

#[test]
fn a_handed_over_proof_is_known_as_such_after_a_restart_and_gone_once_settled() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(home.path()).unwrap();
    let kept = store.keep("gateway", &found(1)).unwrap();
    store.handed_over(&kept.id);
    let again = ProofStore::open(home.path()).unwrap();
    assert!(again.take_earlier("gateway").proofs[0].handed_over);

    store.settle(&kept.id);
    assert!(store.is_empty());
    assert!(ProofStore::open(home.path()).unwrap().is_empty());
}

#[test]
fn the_same_proof_is_known_before_and_after_it_was_settled() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(home.path()).unwrap();
    let kept = store.keep("gateway", &found(1)).unwrap();
    assert!(matches!(store.keep("gateway", &found(1)), Err(StoreError::Known { id }) if id == kept.id));
    store.settle(&kept.id);
    assert!(matches!(store.keep("gateway", &found(1)), Err(StoreError::Known { .. })));
    assert!(store.keep("gateway", &found(2)).is_ok());
}

#[test]
fn a_damaged_file_is_quarantined_and_named_and_the_others_are_read() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(home.path()).unwrap();
    let broken = store.keep("gateway", &found(1)).unwrap().id;
    store.keep("gateway", &found(2)).unwrap();
    let path = home.path().join(format!("{broken}.proof"));
    let text = fs::read_to_string(&path).unwrap();
    // One digit of the header.
    fs::write(&path, text.replacen("0101", "0102", 1)).unwrap();
    fs::write(home.path().join("half.tmp"), b"{").unwrap();
    fs::write(home.path().join("README"), b"mine").unwrap();
    std::os::unix::fs::symlink("/dev/zero", home.path().join("endless.proof")).unwrap();

    let store = ProofStore::open(home.path()).unwrap();
    let earlier = store.take_earlier("gateway");
    assert_eq!(earlier.proofs.len(), 1);
    assert!(same(&earlier.proofs[0].found, &found(2)));
    let notes = earlier.notes.join("\n");
    assert!(notes.contains(&broken.to_string()) && notes.contains("checksum"), "{notes}");
    assert!(notes.contains("half.tmp"), "{notes}");
    assert!(notes.contains("endless.proof") && notes.contains("not a regular file"), "{notes}");
    assert!(home.path().join("quarantine").join(format!("{broken}.proof")).exists());
    assert!(home.path().join("README").exists(), "what is not ours is left alone");
}

#[test]
fn every_truncation_of_a_file_is_refused() {
    let text = encode("gateway", &found(1), None);
    assert!(decode(text.as_bytes(), Instant::now()).is_ok());
    for end in (0..text.len()).step_by(7) {
        assert!(decode(&text.as_bytes()[..end], Instant::now()).is_err());
    }
}

#[test]
fn the_store_and_its_quarantine_are_bounded() {
    let home = tempfile::tempdir().unwrap();
    let store = ProofStore::open(home.path()).unwrap();
    let mut proof = found(1);
    proof.proof = vec![0; PROOF_BYTES_MAX + 1];
    assert!(matches!(store.keep("gateway", &proof), Err(StoreError::TooLarge { .. })));
    {
        let mut state = store.lock();
        for i in 0..PROOFS_MAX {
            state.paths.insert(ProofId(i.to_string()), PathBuf::new());
        }
    }
    assert!(matches!(store.keep("gateway", &found(1)), Err(StoreError::Full { .. })));

    for i in 0..QUARANTINE_MAX + 5 {
        fs::write(home.path().join(format!("{i}.proof")), b"junk").unwrap();
    }
    ProofStore::open(home.path()).unwrap();
    assert_eq!(fs::read_dir(home.path().join("quarantine")).unwrap().count(), QUARANTINE_MAX);
}

#[test]
fn a_file_of_the_largest_proof_is_under_its_own_limit() {
    let mut proof = found(1);
    proof.proof = vec![0xff; PROOF_BYTES_MAX];
    assert!((encode("gateway", &proof, None).len() as u64) < FILE_BYTES_MAX);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_with_a_hint() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("proofs");
    fs::write(&file, b"").unwrap();
    let err = ProofStore::open(&file).unwrap_err();
    assert!(matches!(err, StoreError::MakeDir { .. }));
    let StoreError::MakeDir { err: cause, .. } = &err else { panic!("{err}") };
    assert!(cause.raw_os_error().is_none() || err.hint().is_some(), "{err:?}");
}

#[test]
fn hex_reads_back_and_refuses_what_is_not_hex() {
    assert_eq!(unhex(&hex(&[0, 1, 0xab, 0xff])), Some(vec![0, 1, 0xab, 0xff]));
    assert_eq!(unhex("0"), None);
    assert_eq!(unhex("0g"), None);
}
