//! The fuzz targets' functions on a bounded number of random and of mutated inputs, for machines without a
//! fuzzer.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/fuzz.rs"]
mod fuzz;

use common::{InvalidProofs, ValidProofs, vectors};
use pearl_pow::Stage;
use proptest::collection::vec;
use proptest::prelude::*;

/// Proofs to mutate, as bytes.
fn seeds() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let valid: ValidProofs = vectors("09_proofs_valid.json");
    let special: InvalidProofs = vectors("10_proofs_invalid.json");
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut seeds: Vec<Vec<u8>> =
        valid.proofs.iter().take(2).map(|proof| base64.decode(&proof.proof_base64).unwrap()).collect();
    seeds.extend(special.special.iter().map(|proof| proof.bytes()));
    seeds
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Number(prop::sample::Index, u64),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let number = prop_oneof![0..70000_u64, any::<u64>(), Just(u64::MAX), Just(1 << 32)];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (index(), number).prop_map(|(at, number)| Mutation::Number(at, number)),
        index().prop_map(Mutation::Cut),
        (index(), index()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.len() < 9 {
        return;
    }
    match mutation {
        Mutation::Set(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Mutation::Number(at, number) => {
            // Every number stands at a multiple of eight in these proofs: leaves and digests are multiples of
            // it.
            let at = at.index(bytes.len() / 8) * 8;
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Mutation::Repeat(from, to) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let piece = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.extend(piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_break_nothing(bytes in vec(any::<u8>(), 0..2048)) {
        fuzz::proof_reader(&bytes);
        fuzz::verifier(&bytes);
        fuzz::pattern(&bytes);
        fuzz::address(&bytes);
    }

    #[test]
    fn short_inputs_break_nothing(bytes in vec(prop_oneof![0..4_u8, any::<u8>()], 0..54)) {
        fuzz::pattern(&bytes);
        fuzz::pattern(&bytes[..bytes.len().min(6)]);
        fuzz::address(&bytes);
    }

    #[test]
    fn text_that_looks_like_an_address_breaks_nothing(text in "(prl|tprl|rprl|bc)1[pzq02-9ac-hj-np-z]{0,70}\\PC?") {
        fuzz::address(text.as_bytes());
    }

    #[test]
    fn mutated_proofs_break_nothing(seed in any::<prop::sample::Index>(), selector: u8, mutations in vec(mutation(), 1..4)) {
        let seeds = seeds();
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        for mutation in &mutations {
            apply(&mut bytes, mutation);
        }
        fuzz::proof_reader(&bytes);
        bytes.insert(0, selector);
        fuzz::verifier(&bytes);
    }

    #[test]
    fn committed_proofs_of_any_shape_break_nothing(recipe in vec(any::<u8>(), 0..16)) {
        fuzz::committed_proof(&recipe);
    }
}

#[test]
fn recipes_of_committed_proofs_reach_every_late_stage() {
    // Job, k = 2048, rank = 2^7, then rows, entries, base, stride and tile of A and of B^T.
    let valid = [0x80, 31, 7, 7, 0, 0, 0, 3, 15, 0, 0, 0, 7];
    assert_eq!(fuzz::committed_proof(&valid), None);
    let changed = |at: usize, value: u8| {
        let mut recipe = valid;
        recipe[at] = value;
        fuzz::committed_proof(&recipe)
    };
    assert_eq!(changed(2, 16), Some(Stage::Parameters), "a rank that is no power of two");
    assert_eq!(changed(1, 3), Some(Stage::Parameters), "k = 256");
    assert_eq!(changed(5, 1), Some(Stage::Pattern), "a base within another tile");
    assert_eq!(changed(4, 0x80), Some(Stage::Values));
    assert_eq!(changed(0, 0x81), Some(Stage::Difficulty), "the header's target");
    let rank_32 = [0x80, 31, 5, 7, 0, 0, 0, 3, 15, 0, 0, 0, 7];
    assert_eq!(fuzz::committed_proof(&rank_32), Some(Stage::RankPenalty));
}
