//! The noise that is added to both matrices (section 4).
//!
//! For each matrix the noise is a product of two factors drawn from its seed: a *dense* one, of one short row
//! of `rank` entries for each row of the matrix, and a *sparse* one, which has +1 and −1 at two positions of
//! each column. So every entry of the noise is the difference of two entries of the row's dense factor:
//!
//! ```text
//! noise[row][column] = dense[row][p(column)] - dense[row][q(column)]
//! ```
//!
//! Rows are drawn independently of each other, so a verifier works out the noise of the opened rows only.

use crate::parameters::{RANK_MAX, RANK_MIN};
use crate::{Digest, Side};

/// The two positions of a row's dense factor whose difference is the noise of one column (section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexPair {
    /// Where the entry is that counts with +1.
    pub plus: u16,
    /// Where the entry is that counts with −1; never equal to `plus`.
    pub minus: u16,
}

/// The noise of one matrix: its sparse factor, and the seed from which dense rows are drawn when asked for
/// (section 4).
#[derive(Debug, Clone)]
pub struct Noise {
    side: Side,
    seed: Digest,
    rank: u16,
    pairs: Vec<IndexPair>,
}

impl Noise {
    /// Draws the sparse factor for the first `columns` columns.
    ///
    /// `seed` is `seed_a` for A and `seed_b` for B^T. Costs one hash for every 8 columns.
    ///
    /// # Panics
    ///
    /// Unless `rank` is a power of two, 32 to 1024 (section 7, rule 9).
    pub fn new(side: Side, seed: &Digest, rank: u16, columns: u32) -> Self {
        assert!(
            rank.is_power_of_two() && (RANK_MIN..=RANK_MAX).contains(&rank),
            "a rank is a power of two, {RANK_MIN} to {RANK_MAX}"
        );
        Self { side, seed: *seed, rank, pairs: sparse_factor(side, seed, rank, columns) }
    }

    /// The sparse factor, one pair for each column (section 4).
    pub fn pairs(&self) -> &[IndexPair] {
        &self.pairs
    }

    /// The noise of one row, for as many columns as the sparse factor has: −63 to 63 (section 4).
    ///
    /// Costs `rank / 32` hashes and a subtraction for each column.
    pub fn row(&self, row: u32) -> impl Iterator<Item = i8> + use<'_> {
        let mut dense = [0; RANK_MAX as usize];
        dense_factor_row(self.side, &self.seed, row, &mut dense[..usize::from(self.rank)]);
        self.pairs.iter().map(move |pair| dense[usize::from(pair.plus)] - dense[usize::from(pair.minus)])
    }
}

/// The sparse factor: E_AR for A, E_BL for B^T, as one index pair for each column (section 4, slot 1).
pub fn sparse_factor(side: Side, seed: &Digest, rank: u16, columns: u32) -> Vec<IndexPair> {
    let mask = u32::from(rank) - 1;
    let pair = |draw: u32| {
        let plus = draw & mask;
        // A number below rank - 1, plus 1: never 0, so that the two differ.
        let step = 1 + ((u64::from(mask) * u64::from(draw)) >> 32) as u32;
        IndexPair { plus: plus as u16, minus: (plus ^ step) as u16 }
    };
    let mut pairs = Vec::with_capacity(columns.next_multiple_of(8) as usize);
    for index in 0..columns.div_ceil(8) {
        let block = random_block(side, seed, 1, index);
        pairs.extend(
            block
                .chunks_exact(4)
                .map(|word| pair(u32::from_le_bytes(word.try_into().expect("chunks of four bytes")))),
        );
    }
    pairs.truncate(columns as usize);
    pairs
}

/// One row of the dense factor: E_AL for A, E_BR^T for B^T; −32 to 31 (section 4, slot 0).
///
/// The length of `entries` is the rank, a multiple of 32. `row` is below 2^24.
pub fn dense_factor_row(side: Side, seed: &Digest, row: u32, entries: &mut [i8]) {
    let blocks_per_row = entries.len() as u32 / 32;
    for (index, chunk) in entries.chunks_exact_mut(32).enumerate() {
        let block = random_block(side, seed, 0, row * blocks_per_row + index as u32);
        for (entry, byte) in chunk.iter_mut().zip(block) {
            *entry = (byte & 63) as i8 - 32;
        }
    }
}

/// Every random number of the noise: `N(seed, label, slot, index)`, one keyed BLAKE3 block (section 4).
pub fn random_block(side: Side, seed: &Digest, slot: usize, index: u32) -> Digest {
    let mut message = [0; 64];
    message[4 * slot..4 * slot + 4].copy_from_slice(&(index + 1).to_le_bytes());
    message[32..40].copy_from_slice(match side {
        Side::A => b"A_tensor",
        Side::BT => b"B_tensor",
    });
    *blake3::keyed_hash(seed, &message).as_bytes()
}
