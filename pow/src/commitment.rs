//! The commitment to a matrix: BLAKE3's own hash tree in keyed mode, cut into leaves of 1024 bytes (section
//! 8).
//!
//! ```text
//!            root = H_key(all bytes)
//!           /                       \
//!       node                        node        a node is the parent compression of the two below it;
//!      /    \                      /    \       an unpaired last node moves up unchanged
//!  leaf 0  leaf 1              leaf 2  leaf 3
//! ```
//!
//! A miner commits to all of a matrix and later shows a few rows of it. It shows the leaves those rows lie in
//! and the *siblings*, the nodes that are needed to work out the root from them.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::Digest;

/// Bytes in a leaf (section 8).
pub const LEAF_LEN: usize = 1024;

/// The bytes of one leaf, padding included (section 8).
pub type Leaf = [u8; LEAF_LEN];

/// A byte of a matrix or of other data; implemented for `u8` and `i8` (two's complement) only (section 8).
pub trait Byte: Copy + sealed::Sealed {
    /// The byte as it is hashed.
    fn byte(self) -> u8;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for i8 {}
}

impl Byte for u8 {
    fn byte(self) -> u8 {
        self
    }
}

impl Byte for i8 {
    fn byte(self) -> u8 {
        self as u8
    }
}

/// Number of leaves of `bytes` bytes after padding (section 8).
pub const fn leaf_count(bytes: u64) -> u64 {
    bytes.div_ceil(LEAF_LEN as u64)
}

/// `H_key(pad1024(data))`: the root, without keeping any of the tree (sections 3 and 8).
pub fn root<B: Byte>(key: &Digest, data: &[B]) -> Digest {
    let mut hasher = blake3::Hasher::new_keyed(key);
    feed(&mut hasher, data, 0..leaf_count(data.len() as u64));
    *hasher.finalize().as_bytes()
}

/// The node value of one leaf that is not alone in its tree (section 8).
pub fn leaf_value(key: &Digest, index: u64, leaf: &Leaf) -> Digest {
    leaf_value_in(Hashing::Keyed(key), index, leaf)
}

/// How a tree is hashed: with a key, or by mistake without one (for [`crate::diagnosis`]).
#[derive(Clone, Copy)]
pub(crate) enum Hashing<'a> {
    Keyed(&'a Digest),
    Plain,
}

impl<'a> Hashing<'a> {
    fn hasher(self) -> blake3::Hasher {
        match self {
            Self::Keyed(key) => blake3::Hasher::new_keyed(key),
            Self::Plain => blake3::Hasher::new(),
        }
    }

    fn mode(self) -> Mode<'a> {
        match self {
            Self::Keyed(key) => Mode::KeyedHash(key),
            Self::Plain => Mode::Hash,
        }
    }
}

fn leaf_value_in(hashing: Hashing<'_>, index: u64, leaf: &Leaf) -> Digest {
    let mut hasher = hashing.hasher();
    hasher.set_input_offset(index * LEAF_LEN as u64).update(leaf);
    hasher.finalize_non_root()
}

/// Adds the bytes of some leaves to a hasher, with the zeros that pad the last one.
fn feed<B: Byte>(hasher: &mut blake3::Hasher, data: &[B], leaves: std::ops::Range<u64>) {
    // Large enough for every width in which BLAKE3 hashes leaves side by side.
    let mut buffer = [0; 16 * LEAF_LEN];
    let bytes = |leaf: u64| leaf as usize * LEAF_LEN;
    let data_end = bytes(leaves.end).min(data.len());
    for piece in data[bytes(leaves.start).min(data_end)..data_end].chunks(buffer.len()) {
        for (slot, byte) in buffer.iter_mut().zip(piece) {
            *slot = byte.byte();
        }
        hasher.update(&buffer[..piece.len()]);
    }
    let padding = bytes(leaves.end) - data_end.max(bytes(leaves.start));
    hasher.update(&[0; LEAF_LEN][..padding]);
}

/// Every leaf that some rows of `columns` bytes lie in, ascending and without repetition (section 8).
///
/// Whole rows count, including columns that take no part in the product. `rows` ascending.
pub fn leaves_of_rows(rows: &[u64], columns: u64) -> impl Iterator<Item = u64> + '_ {
    let mut unseen = 0;
    rows.iter().flat_map(move |&row| {
        let leaves = (row * columns / LEAF_LEN as u64).max(unseen)..leaf_count((row + 1) * columns);
        unseen = leaves.end.max(unseen);
        leaves
    })
}

/// The nodes of a commitment tree, kept so that rows can be opened without hashing the matrix again (section
/// 8).
///
/// Only nodes of 16 leaves and more are stored (32 bytes for 16 KiB of matrix). The few below that an opening
/// needs are hashed from the matrix again; building the tree therefore costs no more than hashing its bytes
/// once.
#[derive(Debug, Clone)]
pub struct Tree {
    key: Digest,
    leaf_count: u64,
    /// Height of `levels[0]` above the leaves.
    height: u32,
    /// From the bottom up; the last one has two nodes, of which the root is made. Empty if one node is all
    /// there is.
    levels: Vec<Vec<Digest>>,
    root: Digest,
}

/// Node values that cannot be the bottom level of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{leaf_count} leaves make {expected} nodes at height {height} (two are needed), and {found} were given"
)]
pub struct WrongNodeCount {
    /// Leaves of the tree.
    pub leaf_count: u64,
    /// Height of the nodes above the leaves.
    pub height: u32,
    /// Nodes that such a tree has at this height.
    pub expected: u64,
    /// Nodes given.
    pub found: u64,
}

impl Tree {
    /// Height of the stored nodes that [`new`](Self::new) chooses.
    const HEIGHT: u32 = 4;

    /// Hashes `data`, which is not empty and is padded with zeros to whole leaves (section 8).
    ///
    /// # Panics
    ///
    /// If `data` is empty.
    pub fn new<B: Byte>(key: &Digest, data: &[B]) -> Self {
        assert!(!data.is_empty(), "there is no tree of nothing");
        let leaf_count = leaf_count(data.len() as u64);
        let count = leaf_count.div_ceil(1 << Self::HEIGHT);
        if count == 1 {
            // BLAKE3 marks the last step of the root, so the root is no ordinary node. It is the only one
            // needed.
            return Self {
                key: *key,
                leaf_count,
                height: Self::HEIGHT,
                levels: Vec::new(),
                root: root(key, data),
            };
        }
        let nodes = (0..count).map(|index| hash_node(key, data, leaf_count, Self::HEIGHT, index)).collect();
        Self::from_nodes(key, leaf_count, Self::HEIGHT, nodes).expect("the nodes were just counted")
    }

    /// A tree from node values that were worked out elsewhere: `nodes` holds, in order, the non-root chaining
    /// value of every `2^height` leaves (0: the leaves' own), the last one possibly of fewer (section 8).
    ///
    /// # Errors
    ///
    /// [`WrongNodeCount`] if the number of nodes does not match, or if there are fewer than two: BLAKE3 marks
    /// the root's last step, so a lone node does not tell the root. Use [`new`](Self::new) for so few leaves.
    pub fn from_nodes(
        key: &Digest,
        leaf_count: u64,
        height: u32,
        nodes: Vec<Digest>,
    ) -> Result<Self, WrongNodeCount> {
        let expected = if height < 64 { leaf_count.div_ceil(1 << height) } else { 1 };
        if nodes.len() < 2 || nodes.len() as u64 != expected {
            return Err(WrongNodeCount { leaf_count, height, expected, found: nodes.len() as u64 });
        }
        let mode = Mode::KeyedHash(key);
        let mut levels = vec![nodes];
        let root = loop {
            let top = &levels[levels.len() - 1];
            if let [left, right] = top.as_slice() {
                break *merge_subtrees_root(left, right, mode).as_bytes();
            }
            let next = top
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => merge_subtrees_non_root(left, right, mode),
                    _ => pair[0],
                })
                .collect();
            levels.push(next);
        };
        Ok(Self { key: *key, leaf_count, height, levels, root })
    }

    /// The root, equal to `H_key(pad1024(data))` (section 8).
    pub fn root(&self) -> &Digest {
        &self.root
    }

    /// The key it was built with (section 8).
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// Number of leaves (section 8).
    pub fn leaf_count(&self) -> u64 {
        self.leaf_count
    }

    /// The node values that are needed besides the leaves `indices` to work out the root: from the lowest
    /// level up, left to right within a level (section 8).
    ///
    /// `indices` ascending and without repetition; `data` is what the tree was built from.
    ///
    /// # Panics
    ///
    /// If an index is not below [`leaf_count`](Self::leaf_count), or if `data` is shorter than the tree.
    pub fn siblings<B: Byte>(&self, data: &[B], indices: &[u64]) -> Vec<Digest> {
        self.siblings_by(indices, |height, index| hash_node(&self.key, data, self.leaf_count, height, index))
    }

    /// As [`siblings`](Self::siblings), for a matrix that lies in nobody's memory: `leaf` gives any of its leaves
    /// by index, padding included, and is asked for at most fifteen beside each opened one (section 8).
    ///
    /// # Panics
    ///
    /// If an index is not below [`leaf_count`](Self::leaf_count).
    pub fn siblings_from_leaves(&self, indices: &[u64], mut leaf: impl FnMut(u64) -> Leaf) -> Vec<Digest> {
        self.siblings_by(indices, |height, index| {
            let first = index << height;
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            hasher.set_input_offset(first * LEAF_LEN as u64);
            for index in first..(first + (1_u64 << height)).min(self.leaf_count) {
                hasher.update(&leaf(index));
            }
            hasher.finalize_non_root()
        })
    }

    /// The siblings of the leaves `indices`; `below` works out a node under those that are stored.
    fn siblings_by(&self, indices: &[u64], mut below: impl FnMut(u32, u64) -> Digest) -> Vec<Digest> {
        assert!(indices.iter().all(|&index| index < self.leaf_count), "every opened leaf is in the tree");
        let mut siblings = Vec::new();
        let mut opened = indices.to_vec();
        let (mut width, mut height) = (self.leaf_count, 0_u32);
        while width > 1 {
            for (position, &index) in opened.iter().enumerate() {
                let neighbour = index ^ 1;
                let opened_too = match index & 1 {
                    0 => opened.get(position + 1) == Some(&neighbour),
                    _ => position > 0 && opened[position - 1] == neighbour,
                };
                if !opened_too && neighbour < width {
                    siblings.push(match height.checked_sub(self.height) {
                        Some(level) => self.levels[level as usize][neighbour as usize],
                        None => below(height, neighbour),
                    });
                }
            }
            opened.iter_mut().for_each(|index| *index /= 2);
            opened.dedup();
            width = width.div_ceil(2);
            height += 1;
        }
        siblings
    }
}

/// The chaining value of the node `index` at `height`, straight from the bytes below it.
fn hash_node<B: Byte>(key: &Digest, data: &[B], leaf_count: u64, height: u32, index: u64) -> Digest {
    let first = index << height;
    let end = (first + (1 << height)).min(leaf_count);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.set_input_offset(first * LEAF_LEN as u64);
    feed(&mut hasher, data, first..end);
    hasher.finalize_non_root()
}

/// Why no root can be worked out from leaves and siblings (section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpeningError {
    /// Nothing is opened.
    #[error("no leaf is opened")]
    NoLeaves,
    /// Leaves and their indices are listed separately and must match.
    #[error("{leaves} leaves are listed with {indices} indices")]
    CountMismatch {
        /// Leaves listed.
        leaves: usize,
        /// Indices listed.
        indices: usize,
    },
    /// A leaf lies outside of the tree.
    #[error("leaf {index} is outside of a tree of {leaf_count} leaves")]
    OutsideTree {
        /// The leaf's index.
        index: u64,
        /// Leaves in the tree.
        leaf_count: u64,
    },
    /// A leaf is listed twice.
    #[error("leaf {index} is listed twice")]
    Repeated {
        /// The leaf's index.
        index: u64,
    },
    /// A sibling is needed and none is left.
    #[error("the {found} siblings do not suffice: one more is needed at height {height} of the tree")]
    MissingSibling {
        /// Siblings given.
        found: usize,
        /// Height above the leaves.
        height: u32,
    },
}

/// What [`recompute_root`] found (section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recomputed {
    /// The root that the leaves and siblings lead to.
    pub root: Digest,
    /// Siblings that were not needed; 0 in the canonical form.
    pub surplus_siblings: usize,
}

/// Works out the root from opened leaves, given as (index, bytes) in ascending order, and siblings (section
/// 8).
///
/// Costs one leaf hash for each leaf and at most one parent hash for each leaf and level.
///
/// # Errors
///
/// [`OpeningError`] if the leaves do not fit the tree or siblings are missing.
pub fn recompute_root(
    key: &Digest,
    leaf_count: u64,
    leaves: &[(u64, &Leaf)],
    siblings: &[Digest],
) -> Result<Recomputed, OpeningError> {
    recompute_root_in(Hashing::Keyed(key), leaf_count, leaves, siblings)
}

pub(crate) fn recompute_root_in(
    hashing: Hashing<'_>,
    leaf_count: u64,
    leaves: &[(u64, &Leaf)],
    siblings: &[Digest],
) -> Result<Recomputed, OpeningError> {
    let &(last, only) = leaves.last().ok_or(OpeningError::NoLeaves)?;
    if last >= leaf_count {
        return Err(OpeningError::OutsideTree { index: last, leaf_count });
    }
    if let Some(pair) = leaves.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        return Err(OpeningError::Repeated { index: pair[1].0 });
    }
    if leaf_count == 1 {
        let root = *hashing.hasher().update(only).finalize().as_bytes();
        return Ok(Recomputed { root, surplus_siblings: siblings.len() });
    }

    let mode = hashing.mode();
    let mut nodes: Vec<(u64, Digest)> =
        leaves.iter().map(|&(index, leaf)| (index, leaf_value_in(hashing, index, leaf))).collect();
    let mut next = Vec::with_capacity(nodes.len());
    let mut unused = siblings.iter();
    let (mut width, mut height) = (leaf_count, 0);
    loop {
        let mut walk = nodes.iter().copied().peekable();
        while let Some((index, value)) = walk.next() {
            let neighbour = index ^ 1;
            let pair = if neighbour >= width {
                None
            } else if let Some((_, right)) = walk.next_if(|&(other, _)| other == neighbour) {
                Some((value, right))
            } else {
                let found = siblings.len();
                let sibling = *unused.next().ok_or(OpeningError::MissingSibling { found, height })?;
                Some(if index & 1 == 0 { (value, sibling) } else { (sibling, value) })
            };
            let parent = match pair {
                Some((left, right)) if width == 2 => {
                    let root = *merge_subtrees_root(&left, &right, mode).as_bytes();
                    return Ok(Recomputed { root, surplus_siblings: unused.len() });
                }
                Some((left, right)) => merge_subtrees_non_root(&left, &right, mode),
                None => value,
            };
            next.push((index / 2, parent));
        }
        std::mem::swap(&mut nodes, &mut next);
        next.clear();
        width = width.div_ceil(2);
        height += 1;
    }
}
