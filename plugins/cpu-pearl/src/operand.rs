//! One matrix on its way from random numbers to panels: drawn, committed to, noised and packed.
//!
//! ```text
//! idle --recycle--> pieces --fill--> filled pieces --commit--> raw + tree + seed --pack--> blocks of panels
//! ```
//!
//! Each arrow is one or many tasks; [`crate::plan`] decides who does which, and when. An operand keeps its memory
//! through all of it, so that mining allocates nothing. Every piece and block sits behind a lock of its own that is
//! only ever tried, never waited for: two threads at one piece would be a mistake of the plan, and are told.

use std::sync::{Mutex, RwLock, RwLockReadGuard};

use blake3::hazmat::HasherExt;
use pearl_pow::noise::sparse_factor;
use pearl_pow::{Digest, Matrix, MatrixOpening, NoiseSeeds, SeedRule, Side, Tree};

use crate::blocks::hash_blocks;
use crate::kernel::pack::{GROUP, Group};
use crate::kernel::{Panels, Part, Region};
use crate::shape::Shape;

/// Leaves under a node of the tree that filling works out: 16 KiB, one call of BLAKE3 at its full width.
const NODE_HEIGHT: u32 = 4;
const NODE_BYTES: usize = 1024 << NODE_HEIGHT;
/// Bytes of a piece: a tenth of a millisecond of work.
pub(crate) const PIECE_BYTES: usize = 16 * NODE_BYTES;

/// What the tasks of a job have in common.
pub(crate) struct Keys {
    /// The key of both commitments.
    pub job_key: Digest,
    /// How the seeds follow from the roots.
    pub rule: SeedRule,
    /// The secret that the matrices are drawn from.
    pub secret: [u64; 2],
}

/// A matrix that was committed to.
pub(crate) struct Committed {
    raw: Part,
    tree: Tree,
    /// The seed of this side's noise.
    pub seed: Digest,
    pairs: Vec<[u16; 2]>,
}

/// A piece of a raw matrix, with the nodes of the tree over it.
type Piece = (Part, Vec<Digest>);

/// The memory of one matrix, in whatever state it is.
pub(crate) struct Operand {
    side: Side,
    pieces: Vec<Mutex<Option<Piece>>>,
    committed: RwLock<Option<Committed>>,
    blocks: Vec<RwLock<Panels>>,
}

impl Operand {
    /// Allocates the memory of one matrix of `shape`.
    pub(crate) fn new(shape: &Shape, side: Side) -> Self {
        let pieces = Region::allocate(shape.raw_bytes(side)).split(PIECE_BYTES);
        let mut packed = Region::allocate(shape.packed_bytes(side));
        let blocks = shape.dimension(side).blocks();
        let mut parts = Vec::with_capacity(blocks);
        for block in 0..blocks {
            let bytes = shape.block_panels(side, block) * shape.kernel.panel_bytes(side, shape.depth);
            let (first, rest) = packed.split_at(bytes);
            parts.push(first);
            packed = rest;
        }
        let panels = |(block, part)| {
            Panels::new(shape.kernel, side, shape.depth, shape.block_panels(side, block), part)
        };
        Self {
            side,
            pieces: pieces.into_iter().map(|part| Mutex::new(Some((part, Vec::new())))).collect(),
            committed: RwLock::new(None),
            blocks: parts.into_iter().enumerate().map(|pair| RwLock::new(panels(pair))).collect(),
        }
    }

    /// Pieces to fill.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Blocks to pack.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Takes the raw matrix apart again, if it was whole.
    pub(crate) fn recycle(&self) {
        let mut committed = self.committed.try_write().expect("nobody uses an operand that is recycled");
        if let Some(committed) = committed.take() {
            for (slot, part) in self.pieces.iter().zip(committed.raw.split(PIECE_BYTES)) {
                let mut slot = slot.try_lock().expect("the plan gives a piece to one thread");
                *slot = Some((part, Vec::new()));
            }
        }
    }

    /// Draws one piece of the matrix and hashes it; `stream` differs for every matrix drawn.
    pub(crate) fn fill(&self, shape: &Shape, keys: &Keys, stream: u64, index: usize) {
        let mut slot = self.pieces[index].try_lock().expect("the plan gives a piece to one thread");
        let (part, nodes) = slot.as_mut().expect("a recycled operand has its pieces");
        let entries = shape.dimension(self.side).rows * shape.config.common_dim as usize;
        nodes.clear();
        for (i, chunk) in part.chunks_mut(NODE_BYTES).enumerate() {
            let start = index * PIECE_BYTES + i * NODE_BYTES;
            // What pads the last leaf was zero from the start and stays so.
            let used = entries.saturating_sub(start).min(chunk.len());
            let seed = [keys.secret[0] ^ stream.rotate_left(32), keys.secret[1] ^ start as u64];
            shape.kernel.fill(self.side, seed, &mut chunk[..used]);
            let mut hasher = blake3::Hasher::new_keyed(&keys.job_key);
            hasher.set_input_offset(start as u64).update(chunk);
            nodes.push(hasher.finalize_non_root());
        }
    }

    /// Puts the matrix together and derives this side's seed; that of A needs B's.
    pub(crate) fn commit(&self, shape: &Shape, keys: &Keys, seed_b: Option<&Digest>) {
        let mut parts = Vec::with_capacity(self.pieces.len());
        let mut nodes = Vec::new();
        for slot in &self.pieces {
            let mut slot = slot.try_lock().expect("no piece is being filled any more");
            let (part, mut piece_nodes) = slot.take().expect("every piece was filled");
            parts.push(part);
            nodes.append(&mut piece_nodes);
        }
        let raw = Part::join(parts);
        let dimension = shape.dimension(self.side);
        let (k, rank) = (shape.config.common_dim, shape.config.rank);
        let entries = &raw.entries()[..dimension.rows * k as usize];
        let leaves = pearl_pow::commitment::leaf_count(entries.len() as u64);
        let tree = if leaves <= 1 << NODE_HEIGHT {
            Tree::new(&keys.job_key, entries)
        } else {
            Tree::from_nodes(&keys.job_key, leaves, NODE_HEIGHT, nodes).expect("each piece gave its nodes")
        };
        let root = (tree.root(), dimension.rows as u32);
        let seed = match seed_b {
            None => NoiseSeeds::seed_b(keys.rule, &keys.job_key, root),
            Some(seed_b) => NoiseSeeds::seed_a(keys.rule, seed_b, root),
        };
        let pairs = sparse_factor(self.side, &seed, rank, shape.config.dot_product_length());
        let pairs = pairs.into_iter().map(|pair| [pair.plus, pair.minus]).collect();
        *self.committed.try_write().expect("nobody uses what is not committed yet") =
            Some(Committed { raw, tree, seed, pairs });
    }

    /// The committed matrix.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub(crate) fn committed(&self) -> Committing<'_> {
        let guard = self.committed.try_read().expect("nobody commits while it is used");
        assert!(guard.is_some(), "the plan asks for the matrix after its commitment");
        Committing(guard)
    }

    /// Adds the noise to one block and packs it.
    pub(crate) fn pack(&self, shape: &Shape, index: usize, room: &mut PackRoom) {
        let committed = self.committed();
        let mut panels = self.blocks[index].try_write().expect("the plan gives a block to one thread");
        let dimension = shape.dimension(self.side);
        let height = shape.kernel.panel_height(self.side);
        let group = GROUP / height * height;
        let row_bytes = shape.config.common_dim as usize;
        room.order.clear();
        for &base in dimension.tiles_of(index) {
            room.order.extend(dimension.offsets.iter().map(|offset| Some(base + offset)));
            room.order.extend(std::iter::repeat_n(None, dimension.padded - dimension.offsets.len()));
        }
        for (i, order) in room.order.chunks(group).enumerate() {
            factors(self.side, &committed.seed, usize::from(shape.config.rank), order, &mut room.hashes);
            room.hashes.transpose(order, usize::from(shape.config.rank), &mut room.factor);
            let mut rows = [None; GROUP];
            for (row, order) in rows.iter_mut().zip(order) {
                *row = order.map(|row| &committed.raw[row as usize * row_bytes..][..row_bytes]);
            }
            let group = Group {
                rows: &rows[..order.len()],
                factor: &room.factor,
                pairs: &committed.pairs,
                first_panel: i * group / height,
            };
            shape.kernel.pack(&group, &mut panels);
        }
    }

    /// One packed block.
    pub(crate) fn block(&self, index: usize) -> RwLockReadGuard<'_, Panels> {
        self.blocks[index].try_read().expect("nobody packs a block that is multiplied")
    }

    /// Opens the rows of one tile.
    pub(crate) fn open(&self, shape: &Shape, rows: &[u64]) -> MatrixOpening {
        let committed = self.committed();
        let k = shape.config.common_dim as usize;
        let entries = &committed.raw.entries()[..shape.dimension(self.side).rows * k];
        let matrix = Matrix::new(entries, k).expect("whole rows were filled");
        MatrixOpening::new(&committed.tree, matrix, rows)
    }

    /// The raw matrix, for tests that compare with the reference.
    #[cfg(test)]
    pub(crate) fn entries(&self, shape: &Shape) -> Vec<i8> {
        self.committed().raw.entries()[..shape.dimension(self.side).rows * shape.config.common_dim as usize]
            .to_vec()
    }
}

/// A look at a committed matrix.
pub(crate) struct Committing<'a>(RwLockReadGuard<'a, Option<Committed>>);

impl std::ops::Deref for Committing<'_> {
    type Target = Committed;

    fn deref(&self) -> &Committed {
        self.0.as_ref().expect("checked when it was made")
    }
}

/// A worker's memory for packing.
#[derive(Default)]
pub(crate) struct PackRoom {
    order: Vec<Option<u32>>,
    hashes: Hashes,
    factor: Vec<[u8; GROUP]>,
}

/// Blocks of the dense noise factor, row after row.
#[derive(Default)]
struct Hashes {
    messages: Vec<[u8; 64]>,
    digests: Vec<Digest>,
}

/// Draws the dense factor's rows for `order` (protocol section 4, slot 0), many hashes side by side.
fn factors(side: Side, seed: &Digest, rank: usize, order: &[Option<u32>], out: &mut Hashes) {
    let per_row = (rank / 32) as u32;
    let mut message = [0; 64];
    message[32..40].copy_from_slice(match side {
        Side::A => b"A_tensor",
        Side::BT => b"B_tensor",
    });
    out.messages.clear();
    for row in order.iter().flatten() {
        for index in row * per_row..(row + 1) * per_row {
            message[..4].copy_from_slice(&(index + 1).to_le_bytes());
            out.messages.push(message);
        }
    }
    hash_blocks(seed, &out.messages, &mut out.digests);
}

impl Hashes {
    /// Lays the factor out as one line of rows for each of its columns; rows that pad a tile get zeros.
    fn transpose(&self, order: &[Option<u32>], rank: usize, factor: &mut Vec<[u8; GROUP]>) {
        factor.clear();
        factor.resize(rank, [0; GROUP]);
        let mut digests = self.digests.chunks_exact(rank / 32);
        for (r, _) in order.iter().enumerate().filter(|(_, row)| row.is_some()) {
            let digests = digests.next().expect("each row that is no padding was drawn").as_flattened();
            for (line, byte) in factor.iter_mut().zip(digests) {
                line[r] = (byte & 63).wrapping_sub(32);
            }
        }
    }
}
