//! The product of two packed blocks, its jackpots, and the proof of the tiles that hit.

use pearl_pow::difficulty::jackpot_number;
use pearl_pow::{Digest, PlainProof, U256};

use crate::blocks::hash_blocks;
use crate::kernel::{Next, Scratch};
use crate::operand::Operand;
use crate::shape::Shape;

/// A worker's memory for products.
#[derive(Default)]
pub(crate) struct SearchRoom {
    scratch: Scratch,
    digests: Vec<Digest>,
}

impl SearchRoom {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.scratch.bytes() + self.digests.capacity() * 32
    }
}

/// A tile whose jackpot is within the bound: its first row of A and of B^T.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub row: u32,
    pub column: u32,
}

/// Multiplies one block of A with one of B, and fetches meanwhile those of `next` (of the same A and B).
pub(crate) fn multiply(
    shape: &Shape,
    a: (&Operand, usize),
    b: (&Operand, usize),
    next: (Option<usize>, Option<usize>),
    room: &mut SearchRoom,
) {
    let tile = (shape.a.tile_panels, shape.b.tile_panels);
    let (next_a, next_b) = (next.0.map(|index| a.0.block(index)), next.1.map(|index| b.0.block(index)));
    let next = Next { a: next_a.as_deref(), b: next_b.as_deref() };
    shape.kernel.multiply(&a.0.block(a.1), &b.0.block(b.1), tile, next, &mut room.scratch);
}

/// Hashes the tiles that were just multiplied, and appends those within `bound` to `hits`.
pub(crate) fn jackpots(
    shape: &Shape,
    blocks: (usize, usize),
    seed_a: &Digest,
    bound: &U256,
    room: &mut SearchRoom,
    hits: &mut Vec<Hit>,
) {
    hash_blocks(seed_a, room.scratch.messages(), &mut room.digests);
    let (rows, columns) = (shape.a.tiles_of(blocks.0), shape.b.tiles_of(blocks.1));
    // The highest of four limbs decides nearly always.
    let top = bound.as_limbs()[3];
    for (i, digest) in room.digests.iter().enumerate() {
        let high = digest.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if high <= top && jackpot_number(digest) <= *bound {
            hits.push(Hit { row: rows[i % rows.len()], column: columns[i / rows.len()] });
        }
    }
}

/// The proof of a hit, as its bytes.
pub(crate) fn prove(shape: &Shape, a: &Operand, b: &Operand, hit: Hit) -> Vec<u8> {
    let tile = |base: u32, offsets: &[u32]| {
        offsets.iter().map(|offset| u64::from(base + offset)).collect::<Vec<_>>()
    };
    PlainProof {
        m: shape.a.rows as u64,
        n: shape.b.rows as u64,
        k: u64::from(shape.config.common_dim),
        noise_rank: u64::from(shape.config.rank),
        a: a.open(shape, &tile(hit.row, &shape.a.offsets)),
        bt: b.open(shape, &tile(hit.column, &shape.b.offsets)),
    }
    .encode()
}
