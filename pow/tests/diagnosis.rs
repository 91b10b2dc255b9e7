//! Each mistake of a miner is made on purpose, and must be found by its name.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{InvalidProofs, ValidProofs, vectors};
use pearl_pow::commitment::{Leaf, Tree, recompute_root};
use pearl_pow::diagnosis::{Diagnosis, Mistake, diagnose};
use pearl_pow::opening::{Matrix, MatrixOpening};
use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::transcript::Transcript;
use pearl_pow::verify::{Job, verify_bytes};
use pearl_pow::{
    CertificateVersion, Header, MiningConfiguration, NoiseSeeds, PeriodicPattern, PlainProof, Rejection,
    SeedRule, Side, Target, U256, job_key,
};

const K: usize = 2048;
const ROWS: usize = 64;

fn config() -> MiningConfiguration {
    let pattern = |length| PeriodicPattern::contiguous(length).unwrap();
    MiningConfiguration::dense(K as u32, 128, pattern(4), pattern(8))
}

fn header() -> Header {
    Header::new(0x2000_0000, [0x11; 32], std::array::from_fn(|at| at as u8), 1_790_000_000, 0x1d00_ffff)
}

/// A target that about one attempt in 512 meets.
fn job() -> Job {
    let target = Target((U256::MAX >> 9_usize) / U256::from(config().hashes_per_attempt()));
    Job { header: header(), target: Some(target), certificate: CertificateVersion::V3, rank_penalty: true }
}

fn matrices() -> (Vec<i8>, Vec<i8>) {
    (test_matrix(5, ROWS * K), test_matrix(6, ROWS * K))
}

/// Mines with a header, a configuration and a rule of the miner's choice; a hit is what `is_hit` says.
fn mine(
    header: &Header,
    rule: SeedRule,
    mut is_hit: impl FnMut(&Product<'_>, &pearl_pow::reference::Attempt) -> bool,
) -> PlainProof {
    let (mut a, bt) = matrices();
    for round in 0..40 {
        a[0] = round - 20;
        let matrix = |entries| Matrix::new(entries, K).unwrap();
        let product = Product::new(header, &config(), rule, matrix(&a), matrix(&bt));
        if let Some(hit) = product.attempts().find(|attempt| is_hit(&product, attempt)) {
            return product.prove(&hit);
        }
    }
    panic!("5000 attempts and no hit of one in 512");
}

fn met(jackpot: &[u8; 32]) -> bool {
    U256::from_le_bytes(*jackpot) <= job().effective_target().bound(&config(), true)
}

/// The refusal and its diagnosis.
fn refused(job: &Job, bytes: &[u8]) -> (Rejection, Option<Diagnosis>) {
    let rejection = verify_bytes(job, bytes).unwrap_err();
    let diagnosis = diagnose(job, bytes, &rejection);
    (rejection, diagnosis)
}

#[track_caller]
fn confirmed(job: &Job, proof: &PlainProof, mistake: Mistake) {
    let (rejection, diagnosis) = refused(job, &proof.encode());
    assert_eq!(diagnosis, Some(Diagnosis { mistake, confirmed: true }), "{rejection}");
}

#[test]
fn without_a_mistake_the_proof_is_valid() {
    let proof = mine(&header(), SeedRule::Salted, |_, attempt| met(&attempt.jackpot));
    assert!(verify_bytes(&job(), &proof.encode()).is_ok());
}

#[test]
fn the_other_seed_rule() {
    let proof = mine(&header(), SeedRule::Legacy, |_, attempt| met(&attempt.jackpot));
    let mistake = Mistake::SeedRule { found: SeedRule::Legacy, wanted: SeedRule::Salted };
    confirmed(&job(), &proof, mistake);
    assert_eq!(mistake.section_15(), Some(7));
}

#[test]
fn the_jackpot_under_the_wrong_key() {
    let proof = mine(&header(), SeedRule::Salted, |product, attempt| {
        met(&attempt.transcript.jackpot(&product.seeds().b))
    });
    confirmed(&job(), &proof, Mistake::JackpotKey("the seed of B"));
    let proof = mine(&header(), SeedRule::Salted, |_, attempt| {
        met(&attempt.transcript.jackpot(&job_key(&header(), &config())))
    });
    confirmed(&job(), &proof, Mistake::JackpotKey("the job key"));
}

#[test]
fn the_jackpot_from_the_wrong_end() {
    let proof = mine(&header(), SeedRule::Salted, |_, attempt| {
        let mut jackpot = attempt.jackpot;
        jackpot.reverse();
        met(&jackpot)
    });
    confirmed(&job(), &proof, Mistake::BigEndian);
}

/// The transcript of tile rows under another way to sum; `entries` gives the two matrices that are
/// multiplied.
fn transcript(a: &[i8], bt: &[i8], attempt: &pearl_pow::reference::Attempt, reset: bool) -> Transcript {
    let mut transcript = Transcript::default();
    let mut sums = vec![0_i32; attempt.rows.len() * attempt.cols.len()];
    for start in (0..K).step_by(128) {
        if reset {
            sums.fill(0);
        }
        for (i, &row) in attempt.rows.iter().enumerate() {
            for (j, &col) in attempt.cols.iter().enumerate() {
                for l in start..start + 128 {
                    sums[i * attempt.cols.len() + j] +=
                        i32::from(a[row as usize * K + l]) * i32::from(bt[col as usize * K + l]);
                }
            }
        }
        transcript.fold(sums.iter().fold(0, |xor, &sum| xor ^ sum as u32));
    }
    transcript
}

#[test]
fn sums_that_are_reset_after_each_slice() {
    let proof = mine(&header(), SeedRule::Salted, |product, attempt| {
        let transcript = transcript(product.a_noised(), product.bt_noised(), attempt, true);
        met(&transcript.jackpot(&product.seeds().a))
    });
    confirmed(&job(), &proof, Mistake::SumsReset);
}

#[test]
fn a_product_without_noise() {
    let (mut a, bt) = matrices();
    let mut round = -20;
    let mut last_a = [0; 32];
    let proof = mine(&header(), SeedRule::Salted, |product, attempt| {
        if last_a != *product.hash_a() {
            last_a = *product.hash_a();
            a[0] = round;
            round += 1;
        }
        met(&transcript(&a, &bt, attempt, false).jackpot(&product.seeds().a))
    });
    confirmed(&job(), &proof, Mistake::NoNoise);
}

#[test]
fn salting_with_the_padded_length() {
    let key = job_key(&header(), &config());
    let length = (ROWS * K) as u32;
    let noised = |side, seed: &[u8; 32], entries: &[i8]| {
        let noise = pearl_pow::noise::Noise::new(side, seed, 128, K as u32);
        let rows = entries.chunks(K).enumerate();
        rows.flat_map(|(row, entries)| {
            entries.iter().zip(noise.row(row as u32)).map(|(entry, noise)| entry + noise).collect::<Vec<_>>()
        })
        .collect::<Vec<i8>>()
    };
    let mut last_a = [0; 32];
    let mut wrong = None;
    let (mut a, bt) = matrices();
    let mut round = -20;
    let proof = mine(&header(), SeedRule::Salted, |product, attempt| {
        if last_a != *product.hash_a() {
            last_a = *product.hash_a();
            a[0] = round;
            round += 1;
            let seeds = NoiseSeeds::derive(
                SeedRule::Salted,
                &key,
                (product.hash_a(), length),
                (product.hash_b(), length),
            );
            wrong = Some((noised(Side::A, &seeds.a, &a), noised(Side::BT, &seeds.b, &bt), seeds));
        }
        let (a_noised, bt_noised, seeds) = wrong.as_ref().unwrap();
        met(&transcript(a_noised, bt_noised, attempt, false).jackpot(&seeds.a))
    });
    confirmed(&job(), &proof, Mistake::SaltedWithPaddedLength);
}

#[test]
fn a_header_that_is_not_the_jobs() {
    let right = header();
    let swap = |mut hash: [u8; 32]| {
        hash.reverse();
        hash
    };
    let (prev_block, merkle_root) = (right.prev_block(), right.merkle_root());
    let with = |prev_block, merkle_root, time, nbits| {
        let header = Header::new(right.version(), prev_block, merkle_root, time, nbits);
        mine(&header, SeedRule::Salted, |_, attempt| met(&attempt.jackpot))
    };
    let (time, nbits) = (right.timestamp(), right.nbits().0);
    confirmed(
        &job(),
        &with(prev_block, swap(merkle_root), time, nbits),
        Mistake::DisplayOrder("both hashes"),
    );
    confirmed(&job(), &with(prev_block, merkle_root, time + 7, nbits), Mistake::Timestamp(time + 7));
    let share = pearl_pow::CompactTarget::from_target(job().effective_target());
    confirmed(&job(), &with(prev_block, merkle_root, time, share.0), Mistake::ShareTargetInHeader(share));

    let stale = with([9; 32], merkle_root, time, nbits);
    let (_, diagnosis) = refused(&job(), &stale.encode());
    assert_eq!(diagnosis, Some(Diagnosis { mistake: Mistake::OtherJobKey, confirmed: false }));
}

#[test]
fn one_hash_of_the_header_in_display_order() {
    let right =
        Header::new(1, std::array::from_fn(|at| at as u8), std::array::from_fn(|at| at as u8 + 40), 9, 10);
    let job = Job { header: right, ..job() };
    let mut prev_block = right.prev_block();
    prev_block.reverse();
    let wrong = Header::new(1, prev_block, right.merkle_root(), 9, 10);
    let proof = mine(&wrong, SeedRule::Salted, |_, attempt| met(&attempt.jackpot));
    confirmed(&job, &proof, Mistake::DisplayOrder("prev_block"));
}

/// A valid proof, to be spoiled.
fn valid() -> PlainProof {
    mine(&header(), SeedRule::Salted, |_, attempt| met(&attempt.jackpot))
}

#[test]
fn exchanged_patterns() {
    let config = MiningConfiguration { rows: config().cols, cols: config().rows, ..config() };
    let key = job_key(&header(), &config);
    let (a, bt) = matrices();
    let open = |entries: &[i8], rows: std::ops::Range<u64>| {
        let rows: Vec<u64> = rows.collect();
        MatrixOpening::new(&Tree::new(&key, entries), Matrix::new(entries, K).unwrap(), &rows)
    };
    let proof = PlainProof { a: open(&a, 4..8), bt: open(&bt, 8..16), ..valid() };
    confirmed(&job(), &proof, Mistake::PatternsExchanged);
}

#[test]
fn leaves_that_carry_the_noise() {
    for side in [Side::A, Side::BT] {
        let mut proof = valid();
        let seeds = verify_bytes(&job(), &proof.encode()).unwrap().seeds;
        let (opening, seed) =
            if side == Side::A { (&mut proof.a, seeds.a) } else { (&mut proof.bt, seeds.b) };
        let noise = pearl_pow::noise::Noise::new(side, &seed, 128, K as u32);
        for (leaf, index) in opening.leaves.iter_mut().zip(&opening.leaf_indices) {
            let noise: Vec<i8> = noise.row((index / 2) as u32).collect();
            for (byte, noise) in leaf.iter_mut().zip(&noise[(index % 2) as usize * 1024..]) {
                *byte = byte.wrapping_add(*noise as u8);
            }
        }
        confirmed(&job(), &proof, Mistake::NoiseInLeaves(side));
    }
}

#[test]
fn roots_without_a_key() {
    let mut proof = valid();
    let (a, bt) = matrices();
    for (opening, matrix) in [(&mut proof.a, &a), (&mut proof.bt, &bt)] {
        // A whole matrix opened needs no siblings, so that the root is easy to make.
        let all: Vec<u8> = matrix.iter().map(|&entry| entry as u8).collect();
        opening.leaves = all.as_chunks::<1024>().0.to_vec();
        opening.leaf_indices = (0..opening.leaves.len() as u64).collect();
        opening.siblings.clear();
        opening.root = *blake3::hash(&all).as_bytes();
    }
    confirmed(&job(), &proof, Mistake::NoKey);
}

#[test]
fn one_wrong_matrix_of_two() {
    let mut proof = valid();
    proof.a.siblings[0][0] ^= 1;
    let (_, diagnosis) = refused(&job(), &proof.encode());
    assert_eq!(diagnosis.unwrap().mistake, Mistake::Opening(Side::A));

    let mut proof = valid();
    let (_, bt) = matrices();
    let by_column: Vec<i8> = (0..K * ROWS).map(|at| bt[at % ROWS * K + at / ROWS]).collect();
    let key = job_key(&header(), &config());
    proof.bt.root = *Tree::new(&key, &by_column).root();
    let (_, diagnosis) = refused(&job(), &proof.encode());
    assert_eq!(diagnosis.unwrap().mistake, Mistake::NotTransposed);
    assert_eq!(diagnosis.unwrap().mistake.section_15(), Some(4));
}

#[test]
fn difficulty_that_fits_another_rule() {
    let proof = valid();
    let harder = Job { target: Some(Target(job().effective_target().0 >> 40_usize)), ..job() };
    let (_, diagnosis) = refused(&harder, &proof.encode());
    assert_eq!(diagnosis, Some(Diagnosis { mistake: Mistake::Transcript, confirmed: false }));

    let easy = pearl_pow::CompactTarget::from_target(job().effective_target());
    let header = Header::new(1, [2; 32], [3; 32], 4, easy.0);
    let bound = easy.target().bound(&config(), true);
    let proof = mine(&header, SeedRule::Salted, |_, attempt| attempt.number() <= bound);
    confirmed(&Job { header, ..harder }, &proof, Mistake::HeaderTarget);
}

#[test]
fn every_invalid_vector_has_a_diagnosis_and_some_are_confirmed() {
    let vectors: InvalidProofs = vectors("10_proofs_invalid.json");
    let mut found = Vec::new();
    for vector in vectors.invalid {
        let (rejection, diagnosis) = refused(&vector.job(false), &vector.bytes());
        let diagnosis = diagnosis.unwrap_or_else(|| panic!("{}: {rejection}", vector.what));
        if diagnosis.confirmed {
            found.push((vector.what, diagnosis.mistake));
        }
    }
    let mistakes: Vec<Mistake> = found.iter().map(|&(_, mistake)| mistake).collect();
    let seed_rule = Mistake::SeedRule { found: SeedRule::Salted, wanted: SeedRule::Legacy };
    // A harder target than the header's was asked for in the second.
    assert_eq!(mistakes, [Mistake::Timestamp(1_791_000_000), Mistake::HeaderTarget, seed_rule], "{found:?}");
    let penalised = vectors.special.iter().map(|vector| {
        let (_, diagnosis) = refused(&vector.job(true), &vector.bytes());
        diagnosis.unwrap().mistake
    });
    assert_eq!(penalised.take(2).collect::<Vec<_>>(), [Mistake::RankTooLow, Mistake::PlainBound]);
}

#[test]
fn bytes_that_are_not_a_proof() {
    let vectors: ValidProofs = vectors("09_proofs_valid.json");
    let job = vectors.proofs[0].job(false);
    let (proof, _) = PlainProof::from_base64(&vectors.proofs[0].proof_base64).unwrap();
    let bytes = proof.encode();
    let mistake = |bytes: &[u8]| refused(&job, bytes).1.map(|diagnosis| diagnosis.mistake);
    assert_eq!(mistake(&[&[0x1f, 0x8b], &bytes[..]].concat()), Some(Mistake::Compressed("gzip")));
    assert_eq!(mistake(&[&[0x28, 0xb5, 0x2f, 0xfd], &bytes[..]].concat()), Some(Mistake::Compressed("zstd")));
    assert_eq!(mistake(&bytes[..bytes.len() - 40]), Some(Mistake::WrongLength));
    assert_eq!(mistake(&[&bytes[..], b"\n"].concat()), Some(Mistake::WrongLength));
    // Leaves without their length prefix.
    let bare = [&bytes[..40], &bytes[48..]].concat();
    assert_eq!(mistake(&bare), Some(Mistake::LeafLength));
}

#[test]
fn the_tests_own_openings_are_sound() {
    let proof = valid();
    let leaves: Vec<(u64, &Leaf)> = proof.a.leaf_indices.iter().copied().zip(&proof.a.leaves).collect();
    let key = job_key(&header(), &config());
    let root = recompute_root(&key, proof.a.total_leaves, &leaves, &proof.a.siblings).unwrap().root;
    assert_eq!(root, proof.a.root);
}
