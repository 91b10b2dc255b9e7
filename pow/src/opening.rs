//! One matrix's half of a proof: the rows of the tile, the leaves they lie in, and the way to the root
//! (sections 8 and 9).

use crate::Digest;
use crate::commitment::{LEAF_LEN, Leaf, Tree, leaves_of_rows};
pub use crate::matrix::{Matrix, NotRectangular};

/// What a proof shows of one matrix (section 9.1, `side`).
///
/// The fields are what the bytes say. They need not fit together: [`crate::verify()`] finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixOpening {
    /// The opened leaves, in the order of `leaf_indices`.
    pub leaves: Vec<Leaf>,
    /// Their indices; ascending in the canonical form.
    pub leaf_indices: Vec<u64>,
    /// Leaves of the whole tree.
    pub total_leaves: u64,
    /// The root that the miner committed to (`hash_a`, `hash_b`).
    pub root: Digest,
    /// The nodes needed to work out the root, in the order of section 8.
    pub siblings: Vec<Digest>,
    /// The tile's rows, ascending.
    pub row_indices: Vec<u64>,
}

impl MatrixOpening {
    /// Opens `rows` (ascending) of `matrix`, whose tree under the job key is `tree` (sections 8 and 9).
    ///
    /// Hashes at most fifteen leaves for each opened leaf and copies the opened ones.
    ///
    /// # Panics
    ///
    /// If a row is outside of the matrix, or if the tree has another number of leaves than the matrix.
    pub fn new(tree: &Tree, matrix: Matrix<'_>, rows: &[u64]) -> Self {
        let entries = matrix.entries();
        assert!(rows.iter().all(|&row| row < matrix.rows() as u64), "every opened row is in the matrix");
        assert_eq!(
            tree.leaf_count(),
            crate::commitment::leaf_count(entries.len() as u64),
            "the tree is the matrix's own"
        );
        let leaf_indices: Vec<u64> = leaves_of_rows(rows, matrix.columns() as u64).collect();
        let leaves = leaf_indices
            .iter()
            .map(|&index| {
                let mut leaf = [0; LEAF_LEN];
                for (byte, &entry) in leaf.iter_mut().zip(&entries[index as usize * LEAF_LEN..]) {
                    *byte = entry as u8;
                }
                leaf
            })
            .collect();
        Self {
            siblings: tree.siblings(entries, &leaf_indices),
            leaves,
            leaf_indices,
            total_leaves: tree.leaf_count(),
            root: *tree.root(),
            row_indices: rows.to_vec(),
        }
    }

    /// Opens `rows` (ascending) of a matrix of `columns` columns that lies in nobody's memory, as where it was drawn,
    /// used and forgotten on a graphics card. `tree` is its tree under the job key, and `leaf` gives any leaf of it by
    /// index, with the zeros that pad the last one (sections 8 and 9).
    ///
    /// Asks for each opened leaf, and for at most fifteen beside each of them.
    ///
    /// # Panics
    ///
    /// If a row reaches outside of the tree.
    pub fn from_leaves(tree: &Tree, columns: u64, rows: &[u64], mut leaf: impl FnMut(u64) -> Leaf) -> Self {
        let leaf_indices: Vec<u64> = leaves_of_rows(rows, columns).collect();
        assert!(
            leaf_indices.iter().all(|&index| index < tree.leaf_count()),
            "every opened row is in the matrix"
        );
        Self {
            leaves: leaf_indices.iter().map(|&index| leaf(index)).collect(),
            siblings: tree.siblings_from_leaves(&leaf_indices, &mut leaf),
            leaf_indices,
            total_leaves: tree.leaf_count(),
            root: *tree.root(),
            row_indices: rows.to_vec(),
        }
    }
}
