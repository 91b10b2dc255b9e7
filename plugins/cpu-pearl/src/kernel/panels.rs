//! Where a kernel's operands lie: rows of A' or columns of B', in panels of a micro-tile's height or width.

use pearl_pow::Side;

use super::{Kernel, Part};
use crate::fill::Entries;

/// How a kernel wants its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only kernels there need the others"))]
pub(crate) enum Layout {
    /// Signed bytes on both sides, nothing to correct.
    Signed,
    /// Signed bytes of A, unsigned ones of B, which is drawn so that none of it is negative ([`Self::entries`]).
    UnsignedB,
    /// Pairs of 16-bit integers for Winograd's inner product; both sides have terms.
    Winograd,
}

impl Layout {
    /// Bytes that one entry takes in a panel.
    pub(crate) const fn entry_bytes(self) -> usize {
        match self {
            Self::Signed | Self::UnsignedB => 1,
            Self::Winograd => 2,
        }
    }

    /// Whether panels of `side` carry correction terms.
    pub(crate) const fn has_terms(self) -> bool {
        matches!(self, Self::Winograd)
    }

    /// What the matrix of `side` must be drawn from.
    pub(crate) const fn entries(self, side: Side) -> Entries {
        match (self, side) {
            (Self::UnsignedB, Side::BT) => Entries::High,
            (Self::UnsignedB, Side::A) | (Self::Signed | Self::Winograd, _) => Entries::Any,
        }
    }
}

/// Words of a tile's state (protocol section 5).
pub(crate) const WORDS: usize = 16;

/// How k is cut up, the same for both operands of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Depth {
    /// Steps of k in a slice.
    pub rank: usize,
    /// Whole slices in k.
    pub slices: usize,
    /// Slices of a stretch: a power of two, at most 16.
    pub stretch: usize,
}

impl Depth {
    /// Cuts `k` into slices of `rank` and stretches of about `steps` steps.
    pub(crate) fn new(k: usize, rank: usize, steps: usize) -> Self {
        assert!(rank >= 32 && rank.is_multiple_of(16) && k >= rank, "the shape was checked");
        let most = (steps / rank).clamp(1, WORDS);
        Self { rank, slices: k / rank, stretch: 1 << most.ilog2() }
    }

    /// Stretches that the slices make up.
    pub(super) fn stretches(&self) -> usize {
        self.slices.div_ceil(self.stretch)
    }

    /// The slices of stretch `index`.
    pub(super) fn stretch_slices(&self, index: usize) -> usize {
        self.stretch.min(self.slices - index * self.stretch)
    }
}

/// Some rows of A' or columns of B', in panels of a micro-tile's height or width.
///
/// The entries of a stretch of k lie together, panel after panel; within a panel, quads of four steps follow each
/// other, and within a quad the rows.
pub(crate) struct Panels {
    pub(super) bytes: Part,
    pub(super) terms: Vec<i32>,
    pub(super) depth: Depth,
    pub(super) count: usize,
    pub(super) height: usize,
    pub(super) layout: Layout,
    pub(super) side: Side,
}

impl Panels {
    /// Makes panels over `bytes`, `count` of them, to be filled by [`Kernel::pack`].
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than [`Kernel::panel_bytes`] times `count`.
    pub(crate) fn new(kernel: &Kernel, side: Side, depth: Depth, count: usize, bytes: Part) -> Self {
        let height = kernel.panel_height(side);
        assert!(bytes.len() >= kernel.panel_bytes(side, depth) * count, "a part holds its panels");
        let terms = if kernel.layout.has_terms() { count * depth.slices * height } else { 0 };
        Self { bytes, terms: vec![0; terms], depth, count, height, layout: kernel.layout, side }
    }

    /// Bytes of one panel in one slice.
    pub(super) fn slice_bytes(&self) -> usize {
        self.depth.rank * self.height * self.layout.entry_bytes()
    }

    /// Where `panel` begins in stretch `stretch`.
    pub(super) fn offset(&self, stretch: usize, panel: usize) -> usize {
        let before = stretch * self.depth.stretch * self.count;
        (before + panel * self.depth.stretch_slices(stretch)) * self.slice_bytes()
    }

    /// The bytes of one slice of one panel, and its terms (empty where the layout has none).
    pub(crate) fn slice_mut(&mut self, panel: usize, slice: usize) -> (&mut [u8], &mut [i32]) {
        let (stretch, within) = (slice / self.depth.stretch, slice % self.depth.stretch);
        let bytes = self.slice_bytes();
        let start = self.offset(stretch, panel) + within * bytes;
        let terms = if self.terms.is_empty() {
            &mut [][..]
        } else {
            let at = (panel * self.depth.slices + slice) * self.height;
            &mut self.terms[at..at + self.height]
        };
        (&mut self.bytes[start..start + bytes], terms)
    }

    /// Rows (or columns) of a panel.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// How k is cut up.
    pub(crate) fn depth(&self) -> Depth {
        self.depth
    }

    /// The layout of the entries.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }
}
