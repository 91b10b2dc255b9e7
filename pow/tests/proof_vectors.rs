//! Complete proofs: those of the reference byte for byte, and every mutated one with its class.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{InvalidProofs, MutatedProof, ValidProofs, vectors};
use pearl_pow::opening::Matrix;
use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::verify::{Deviation, verify_canonical};
use pearl_pow::{Encoding, PlainProof, Rejection, Side, Stage, verify, verify_bytes};

fn verdict(result: &Result<pearl_pow::Verified, Rejection>) -> &'static str {
    if result.is_ok() { "VALID" } else { "INVALID" }
}

#[test]
fn the_reference_miner_finds_exactly_the_reference_proofs() {
    for vector in vectors::<ValidProofs>("09_proofs_valid.json").proofs {
        let config = vector.config.config();
        let k = config.common_dim as usize;
        let (a, bt) = (test_matrix(vector.a_seed, vector.m * k), test_matrix(vector.bt_seed, vector.n * k));
        let job = vector.job(false);
        let product = Product::new(
            &job.header,
            &config,
            job.certificate.seed_rule(),
            Matrix::new(&a, k).unwrap(),
            Matrix::new(&bt, k).unwrap(),
        );
        let bound = job.effective_target().plain_bound(&config);
        assert_eq!(format!("{bound:064x}"), vector.bound, "{}", vector.id);
        let hit = product.mine(bound).expect("the vector holds a hit");
        assert_eq!((&hit.rows, &hit.cols), (&vector.a_rows, &vector.bt_rows), "{}", vector.id);
        let proof = product.prove(&hit);
        assert_eq!(proof.to_base64(), vector.proof_base64, "{}", vector.id);
        assert_eq!(proof.encoded_len(), vector.proof_bytes, "{}", vector.id);
    }
}

#[test]
fn the_reference_proofs_are_valid_and_what_was_found_is_what_the_vectors_say() {
    for vector in vectors::<ValidProofs>("09_proofs_valid.json").proofs {
        let (proof, encoding) = PlainProof::from_base64(&vector.proof_base64).unwrap();
        assert_eq!(encoding, Encoding::Current);
        assert_eq!(proof.to_base64(), vector.proof_base64);

        let verified =
            verify(&vector.job(false), &proof).unwrap_or_else(|err| panic!("{}: {err}", vector.id));
        assert_eq!(vector.expected.verdict, "VALID");
        let words: Vec<String> =
            verified.transcript.words().iter().map(|word| format!("{word:08x}")).collect();
        assert_eq!(words, vector.jackpot_words);
        assert_eq!(verified.jackpot.to_vec(), common::bytes(&vector.jackpot_hash));
        assert_eq!(format!("{:064x}", verified.jackpot_number()), vector.jackpot_as_number);
        assert_eq!(format!("{:064x}", verified.bound), vector.bound);
        assert_eq!(verified.config.to_bytes().to_vec(), common::bytes(&vector.config.bytes));
        assert_eq!(verified.deviations, []);
        assert_eq!(verify_canonical(&vector.job(false), &proof.encode()), Ok(verified));

        let penalised = verify(&vector.job(true), &proof);
        assert_eq!(verdict(&penalised), vector.expected.verdict_with_rank_penalty, "{}", vector.id);
    }
}

/// The classes of the vectors' README, as the stages that stand for them.
fn stages(vector: &MutatedProof) -> &'static [Stage] {
    match vector.class.as_str() {
        "parse" => &[Stage::Decode],
        "tree_size" => &[Stage::Shape],
        "pattern" => &[Stage::Pattern],
        "pattern_or_coverage" => &[Stage::Pattern, Stage::Leaves],
        "leaf_coverage" => &[Stage::Leaves],
        "hash_a" => &[Stage::RootA],
        "hash_b" => &[Stage::RootBT],
        "job_key" => &[Stage::RootA, Stage::RootBT],
        "sanity" => &[Stage::Parameters],
        "value_range" => &[Stage::Values],
        "difficulty" => &[Stage::Difficulty],
        "rank_penalty" => &[Stage::RankPenalty],
        other => panic!("no class {other}"),
    }
}

#[test]
fn every_invalid_proof_is_refused_at_the_stage_of_its_class() {
    let vectors: InvalidProofs = vectors("10_proofs_invalid.json");
    assert!(vectors.invalid.len() >= 23);
    for vector in vectors.invalid {
        for rank_penalty in [false, true] {
            let rejection = verify_bytes(&vector.job(rank_penalty), &vector.bytes()).unwrap_err();
            let stage = rejection.stage().unwrap();
            assert!(stages(&vector).contains(&stage), "{}: {stage:?}: {rejection}", vector.what);
        }
    }
}

#[test]
fn a_broken_parameter_rule_is_named_with_its_values() {
    let vectors: InvalidProofs = vectors("10_proofs_invalid.json");
    let found: Vec<String> = vectors
        .invalid
        .iter()
        .filter(|vector| vector.class == "sanity" || vector.class == "value_range")
        .map(|vector| verify_bytes(&vector.job(false), &vector.bytes()).unwrap_err().to_string())
        .collect();
    assert_eq!(
        found[..6],
        [
            "k = 512 is smaller than 1024 (rule 13)",
            "the tile 2 × 8 has fewer than 32 sums (rule 17)",
            "the tile 18 × 16 has more than 256 sums (rule 17)",
            "the tile is 1 × 32, and both must be even (rule 16)",
            "k = 1024 is less than 16 times the rank 128 (rule 14)",
            "k = 4160 is more than 4 times the square of the rank 32 (rule 15)",
        ]
    );
    assert!(found[6].ends_with("is 65, outside of -64 to 64"), "{}", found[6]);
}

#[test]
fn special_proofs_behave_as_the_reference_does_and_deviations_are_reported() {
    let vectors: InvalidProofs = vectors("10_proofs_invalid.json");
    let mut deviations = Vec::new();
    for vector in vectors.special {
        let plain = verify_bytes(&vector.job(false), &vector.bytes());
        assert_eq!(verdict(&plain), vector.expected.verdict, "{}", vector.what);
        let penalised = verify_bytes(&vector.job(true), &vector.bytes());
        assert_eq!(verdict(&penalised), vector.expected.verdict_with_rank_penalty, "{}", vector.what);
        assert_eq!(penalised.unwrap_err().stage(), Some(Stage::RankPenalty), "{}", vector.what);

        let found = plain.unwrap().deviations;
        let strict = verify_canonical(&vector.job(false), &vector.bytes());
        assert_eq!(strict.is_ok(), found.is_empty(), "{}", vector.what);
        deviations.extend(found);
    }
    assert_eq!(
        deviations,
        [
            Deviation::LegacyEncoding,
            Deviation::SurplusSiblings { side: Side::A, count: 1 },
            Deviation::LeafOrder { side: Side::A },
        ]
    );
}
