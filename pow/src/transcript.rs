//! The transcript of a tile's product and the jackpot (section 5).
//!
//! A tile's sums grow slice by slice, each slice `rank` columns wide. After every slice all sums are folded
//! into one word by exclusive or, and that word into one of sixteen. The sixteen words are the trace that the
//! whole product was computed; their hash, keyed with the seed of A, is the jackpot.

use crate::Digest;

/// The sixteen words (section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transcript {
    words: [u32; 16],
    slices: usize,
}

impl Transcript {
    /// Adds the exclusive or of all sums after the next slice (section 5).
    pub fn fold(&mut self, xor: u32) {
        let word = &mut self.words[self.slices % 16];
        *word = word.rotate_left(13) ^ xor;
        self.slices += 1;
    }

    /// The words, word 0 first (section 5).
    pub const fn words(&self) -> &[u32; 16] {
        &self.words
    }

    /// The 64 bytes that are hashed: each word with its least significant byte first (section 5).
    pub fn message(&self) -> [u8; 64] {
        let mut message = [0; 64];
        for (bytes, word) in message.chunks_exact_mut(4).zip(self.words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        message
    }

    /// The jackpot: one keyed block, the key being the seed of A (section 5).
    pub fn jackpot(&self, seed_a: &Digest) -> Digest {
        *blake3::keyed_hash(seed_a, &self.message()).as_bytes()
    }
}

/// A transcript made of words that a kernel computed.
impl From<[u32; 16]> for Transcript {
    fn from(words: [u32; 16]) -> Self {
        Self { words, slices: 0 }
    }
}

/// The transcript of one tile (section 5).
///
/// `a` holds the tile's noised rows of A one after the other, `bt` those of B^T; `length` is the number of
/// columns that take part (`k - k mod r`) and the length of every row in them.
///
/// # Panics
///
/// If `length` is not a multiple of `rank`, or the rows are not whole.
pub fn tile_transcript(a: &[i8], bt: &[i8], length: usize, rank: usize) -> Transcript {
    let mut transcript = Transcript::default();
    tile_slices(a, bt, length, rank, |xor, _| transcript.fold(xor));
    transcript
}

/// Runs a tile's product and calls `after_slice` with the exclusive or of all sums and the sums themselves.
pub(crate) fn tile_slices(
    a: &[i8],
    bt: &[i8],
    length: usize,
    rank: usize,
    mut after_slice: impl FnMut(u32, &[i32]),
) {
    assert!(rank > 0 && length.is_multiple_of(rank) && length > 0, "only full slices take part");
    assert!(a.len().is_multiple_of(length) && bt.len().is_multiple_of(length), "rows are whole");
    // 16-bit operands: compilers turn their products into the widening multiply-add that every CPU has.
    let widen = |rows: &[i8]| rows.iter().map(|&entry| i16::from(entry)).collect::<Vec<i16>>();
    let (a, bt) = (widen(a), widen(bt));
    let columns = bt.len() / length;
    let mut sums = vec![0i32; a.len() / length * columns];
    for start in (0..length).step_by(rank) {
        let slice = start..start + rank;
        let mut xor = 0;
        for (row, sums) in a.chunks_exact(length).zip(sums.chunks_exact_mut(columns)) {
            let row = &row[slice.clone()];
            for (column, sum) in bt.chunks_exact(length).zip(sums) {
                *sum += dot(row, &column[slice.clone()]);
                xor ^= *sum as u32;
            }
        }
        after_slice(xor, &sums);
    }
}

/// Entries are at most 127 in magnitude and rows at most 65536 long, so a sum stays below 2^31 (section 4).
fn dot(row: &[i16], column: &[i16]) -> i32 {
    row.iter().zip(column).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}
