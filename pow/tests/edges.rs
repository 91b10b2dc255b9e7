//! Proofs at the edges of the rules, made without a miner: the target is so easy that every jackpot is a hit.
#![allow(clippy::unwrap_used, reason = "a test may")]

use pearl_pow::commitment::{LEAF_LEN, Leaf, Tree, recompute_root};
use pearl_pow::opening::{Matrix, MatrixOpening};
use pearl_pow::reference::test_matrix;
use pearl_pow::verify::Deviation;
use pearl_pow::{
    CertificateVersion, Digest, Header, Job, MiningConfiguration, ParameterError, PeriodicPattern,
    PlainProof, Rejection, Side, Target, job_key, verify,
};

const HEIGHT: u32 = 4;
const WIDTH: u32 = 8;

fn job() -> Job {
    Job {
        header: Header::new(1, [2; 32], [3; 32], 4, 0x1d00_ffff),
        target: Some(Target::MAX),
        certificate: CertificateVersion::V3,
        rank_penalty: true,
    }
}

fn config(k: usize) -> MiningConfiguration {
    let pattern = |length| PeriodicPattern::contiguous(length).unwrap();
    MiningConfiguration::dense(k as u32, 128, pattern(HEIGHT), pattern(WIDTH))
}

fn open(entries: &[i8], k: usize, rows: std::ops::Range<u64>) -> MatrixOpening {
    let key = job_key(&job().header, &config(k));
    let rows: Vec<u64> = rows.collect();
    MatrixOpening::new(&Tree::new(&key, entries), Matrix::new(entries, k).unwrap(), &rows)
}

/// A proof of the first tile of two matrices.
fn proof(a: &[i8], bt: &[i8], k: usize) -> PlainProof {
    let (a_side, bt_side) = (open(a, k, 0..u64::from(HEIGHT)), open(bt, k, 0..u64::from(WIDTH)));
    let rows = |entries: &[i8]| (entries.len() / k) as u64;
    PlainProof { m: rows(a), n: rows(bt), k: k as u64, noise_rank: 128, a: a_side, bt: bt_side }
}

fn matrices(k: usize) -> (Vec<i8>, Vec<i8>) {
    (test_matrix(1, 16 * k), test_matrix(2, 16 * k))
}

#[test]
fn entries_are_checked_on_both_sides_and_at_both_ends() {
    let k = 2048;
    let (a, bt) = matrices(k);
    assert!(verify(&job(), &proof(&a, &bt, k)).is_ok());
    for value in [65, -65, 127, -128] {
        for side in [Side::A, Side::BT] {
            let (mut a, mut bt) = (a.clone(), bt.clone());
            let entries = if side == Side::A { &mut a } else { &mut bt };
            entries[3 * k + 17] = value;
            let refused = verify(&job(), &proof(&a, &bt, k)).unwrap_err();
            assert_eq!(refused, Rejection::ValueRange { side, row: 3, column: 17, value });
            // A row that is not opened is nobody's business.
            let entries = if side == Side::A { &mut a } else { &mut bt };
            entries[3 * k + 17] = 0;
            entries[12 * k + 17] = value;
            assert!(verify(&job(), &proof(&a, &bt, k)).is_ok());
        }
    }
    let (mut a, mut bt) = (a, bt);
    (a[0], bt[0]) = (64, -64);
    assert!(verify(&job(), &proof(&a, &bt, k)).is_ok());
}

#[test]
fn columns_after_the_last_full_slice_take_no_part() {
    let k = 2112;
    let (mut a, bt) = matrices(k);
    let before = verify(&job(), &proof(&a, &bt, k)).unwrap();
    assert_eq!(before.config.dot_product_length(), 2048);
    // They may hold anything, but they are committed: the noise, and with it the jackpot, changes.
    a[2048] = 127;
    let after = verify(&job(), &proof(&a, &bt, k)).unwrap();
    assert_ne!(before.jackpot, after.jackpot);
}

#[test]
fn a_leaf_of_unused_columns_alone_may_stay_closed_and_that_is_a_deviation() {
    // 17 slices of 128 and 64 unused columns. Row 10 is used up to byte 24576, where leaf 24 begins.
    let k = 2240;
    let rows = PeriodicPattern::from_offsets(&[0, 8]).unwrap();
    let cols = PeriodicPattern::contiguous(16).unwrap();
    let config = MiningConfiguration::dense(k as u32, 128, rows, cols);
    let key = job_key(&job().header, &config);
    let (a, bt) = matrices(k);
    let (a_tree, bt_tree) = (Tree::new(&key, &a), Tree::new(&key, &bt));
    let matrix = |entries| Matrix::new(entries, k).unwrap();
    let full = PlainProof {
        m: 16,
        n: 16,
        k: k as u64,
        noise_rank: 128,
        a: MatrixOpening::new(&a_tree, matrix(&a), &[2, 10]),
        bt: MatrixOpening::new(&bt_tree, matrix(&bt), &(0..16).collect::<Vec<_>>()),
    };
    let verified = verify(&job(), &full).unwrap();
    assert_eq!(verified.deviations, []);
    assert_eq!(full.a.leaf_indices, [4, 5, 6, 21, 22, 23, 24]);

    // Other leaves than the canonical ones, with the siblings that go with them.
    let bytes: Vec<u8> = a.iter().map(|&entry| entry as u8).collect();
    let with_leaves = |indices: &[u64]| {
        let mut proof = full.clone();
        proof.a.leaves =
            indices.iter().map(|&index| bytes.as_chunks::<LEAF_LEN>().0[index as usize]).collect();
        proof.a.siblings = a_tree.siblings(&a, indices);
        proof.a.leaf_indices = indices.to_vec();
        verify(&job(), &proof)
    };
    for indices in [&[4, 5, 6, 21, 22, 23][..], &[4, 5, 6, 21, 22, 23, 24, 30]] {
        let found = with_leaves(indices).unwrap();
        assert_eq!(found.deviations, [Deviation::LeafSet { side: Side::A }]);
        assert_eq!(found.jackpot, verified.jackpot);
    }
    let missing = |row, leaf| Err(Rejection::LeafMissing { side: Side::A, row, leaf });
    assert_eq!(with_leaves(&[4, 5, 6, 21, 22, 24]), missing(10, 23));
    assert_eq!(with_leaves(&[5, 6, 21, 22, 23, 24]), missing(2, 4));
}

/// Makes up an opening in a matrix of `rows` rows that nobody ever held: random siblings lead to some root.
fn made_up(k: usize, rows: u64, base: u64, count: u64, key: &Digest) -> MatrixOpening {
    let leaves_per_row = (k / LEAF_LEN) as u64;
    let leaf_indices: Vec<u64> = (base * leaves_per_row..(base + count) * leaves_per_row).collect();
    let leaves: Vec<Leaf> = vec![[1; LEAF_LEN]; leaf_indices.len()];
    let total_leaves = rows * leaves_per_row;
    let opened: Vec<(u64, &Leaf)> = leaf_indices.iter().copied().zip(&leaves).collect();
    let mut siblings = Vec::new();
    let root = loop {
        match recompute_root(key, total_leaves, &opened, &siblings) {
            Ok(recomputed) => break recomputed.root,
            Err(_) => siblings.push([siblings.len() as u8; 32]),
        }
    };
    MatrixOpening {
        leaf_indices,
        total_leaves,
        root,
        siblings,
        row_indices: (base..base + count).collect(),
        leaves,
    }
}

#[test]
fn the_largest_matrices_are_allowed_and_larger_ones_are_not() {
    let k = 2048;
    let key = job_key(&job().header, &config(k));
    let most = 1 << 24;
    let proof = |m: u64, n: u64| PlainProof {
        m,
        n,
        k: k as u64,
        noise_rank: 128,
        a: made_up(k, m, m - 4, 4, &key),
        bt: made_up(k, n, n - 8, 8, &key),
    };
    let verified = verify(&job(), &proof(most, most)).unwrap();
    assert_eq!((verified.row_base, verified.col_base), (most - 4, most - 8));
    let rows = most + 8;
    for (m, n, side) in [(rows, most, Side::A), (most, rows, Side::BT)] {
        let refused = verify(&job(), &proof(m, n)).unwrap_err();
        assert_eq!(refused, Rejection::Parameters(ParameterError::TooManyRows { side, rows }));
    }
}

#[test]
fn a_tile_may_lie_in_a_last_partial_period() {
    let k = 2048;
    // Six rows of A: the pattern's period is 4, so rows 0 to 3 are a tile, and 4 and 5 are none.
    let a = test_matrix(1, 6 * k);
    let bt = test_matrix(2, 9 * k);
    assert!(verify(&job(), &proof(&a, &bt, k)).is_ok());
    assert_eq!(config(k).rows.bases(6).collect::<Vec<_>>(), [0]);
    let mut shifted = proof(&a, &bt, k);
    shifted.a = open(&a, k, 2..6);
    let refused = verify(&job(), &shifted).unwrap_err();
    assert!(matches!(refused, Rejection::Pattern { side: Side::A, .. }), "{refused}");
}

#[test]
fn a_row_of_another_matrix_is_not_taken_for_one() {
    let k = 2048;
    let (a, bt) = matrices(k);
    let mut outside = proof(&a, &bt, k);
    outside.a.row_indices = vec![13, 14, 15, 16];
    assert_eq!(verify(&job(), &outside), Err(Rejection::RowOutside { side: Side::A, row: 16, rows: 16 }));
    // The two matrices exchanged: same sizes, so only the pattern tells.
    let mut exchanged = proof(&a, &bt, k);
    std::mem::swap(&mut exchanged.a.root, &mut exchanged.bt.root);
    assert!(matches!(verify(&job(), &exchanged), Err(Rejection::Root { side: Side::A, .. })));
}
