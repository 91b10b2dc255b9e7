//! A hit becomes a proof, or is refused: the processor redraws the tile's rows, builds the proof, and verifies it with
//! `pow` as the host will.

use pearl_pow::{Job, MatrixOpening, PlainProof, Tree, verify};

use crate::draw::DrawKey;
use crate::product::Hit;
use crate::shape::Shape;

/// What is needed of one matrix to open rows of it.
pub(crate) struct Opened<'a> {
    pub tree: &'a Tree,
    pub draw: DrawKey,
}

impl<'a> Opened<'a> {
    /// A tree, and what its matrix was drawn from.
    pub(crate) fn new((tree, draw): &'a (Tree, DrawKey)) -> Self {
        Self { tree, draw: *draw }
    }
}

/// The proof of `hit`, verified.
///
/// # Errors
///
/// Why the proof does not hold: what the device worked out is wrong.
pub(crate) fn confirm(
    shape: &Shape,
    job: &Job,
    hit: &Hit,
    a: &Opened<'_>,
    b: &Opened<'_>,
) -> Result<Vec<u8>, String> {
    let config = &shape.config;
    let open = |opened: &Opened<'_>, rows: Vec<u64>, count: u32| {
        if rows.last().is_none_or(|last| *last >= u64::from(count)) {
            return Err(format!("row {} is outside of the matrix", rows.last().unwrap_or(&0)));
        }
        let words = count * (config.common_dim / 4);
        let leaf = |index| opened.draw.leaf(words, index);
        Ok(MatrixOpening::from_leaves(opened.tree, u64::from(config.common_dim), &rows, leaf))
    };
    let proof = PlainProof {
        m: u64::from(shape.m),
        n: u64::from(shape.n),
        k: u64::from(config.common_dim),
        noise_rank: u64::from(config.rank),
        a: open(a, config.rows.tile(u64::from(hit.row)).collect(), shape.m)?,
        bt: open(b, config.cols.tile(u64::from(hit.column)).collect(), shape.n)?,
    };
    let bytes = proof.encode();
    verify::verify_canonical(job, &bytes).map(|_| bytes).map_err(|err| err.to_string())
}
