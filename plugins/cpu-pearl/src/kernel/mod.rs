//! The matrix product of one block of tiles, on the instructions that this processor has.
//!
//! This folder is the only place of the provider with `unsafe`: one file per instruction set, and the memory that the
//! panels lie in. All that leaves it is safe to call. What a kernel does is the same everywhere: for a block of rows
//! of A' and a block of columns of B' (both packed, see [`pack`]) it sums the products along k and, after every
//! `rank` steps, folds each tile's running sums into one of its 16 words (protocol section 5).
//!
//! ```text
//! for a stretch of k that the cache holds            at most 16 slices, so that each word is met once
//!   for each panel of columns                        stays in L1 for the next loop
//!     for each panel of rows                         comes from L2
//!       micro-kernel: sums in, slices of (products, terms, fold), sums out
//! ```
//!
//! The words are never reduced across lanes by a micro-kernel: rotation distributes over exclusive or, so a word is kept
//! as one vector per tile, and its lanes meet once, when a column of tiles is done and still in the caches.
//!
//! While a stretch is multiplied, the next one is fetched into the caches, line by line between the slices: it comes from
//! where all cores meet, and what a core does on its own to fetch ahead begins anew with each page and each block.
//!
//! # Limitations
//!
//! A tile is padded with rows and columns of zeros to whole micro-tiles. That changes no result, but a tile that is
//! not a multiple of the micro-tile wastes multiplications.

pub(crate) mod cpu;
mod memory;
mod nest;
pub(crate) mod pack;
mod panels;
mod portable;
mod reduce;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni_wide;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86_pack;

pub(crate) use memory::{Part, Region};
pub(crate) use nest::{Next, Scratch};
pub(crate) use panels::{Depth, Layout, Panels, WORDS};

use pearl_pow::Side;

use self::nest::{Block, Line, SUMS_MAX, block};
use self::pack::{Group, Plain};
use crate::fill::{self, Entries};

/// What one call of a micro-kernel works on.
///
/// # Invariants
///
/// With `q = slices * steps * 4` quads (groups of four steps of k) and R, C, L the kernel's rows, columns and lanes:
/// `a` is readable for `q * R * 4` entries and `b` for `q * C * 4`, `row_terms` for `slices * R` and `column_terms` for
/// `slices * C` where the layout has them, `state` is writable for `slices * L` words, and `sums_in` readable and
/// `sums_out` writable for `R * C` sums. `slices` and `steps` are at least 1. Nothing needs to be aligned, though
/// aligned panels are faster.
pub(crate) struct MicroArgs {
    a: *const u8,
    b: *const u8,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only kernels there have terms"))]
    row_terms: *const i32,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only kernels there have terms"))]
    column_terms: *const i32,
    state: *mut u32,
    slices: usize,
    /// Groups of four quads in a slice.
    steps: usize,
    sums_in: *const i32,
    sums_out: *mut i32,
    /// What becomes of each word before the sums are folded into it.
    word: Word,
    /// What will be multiplied next, of A and of B: hints to the caches, [`AHEAD`] bytes a slice of each, which a kernel
    /// may leave out. Any address will do, nothing is read.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only kernels there give the hint"))]
    ahead: [*const u8; 2],
}

/// What becomes of a word of a tile's state before sums are folded into it (protocol section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    /// It is met for the first time, and whatever was there goes.
    Begin,
    /// It is rotated: by the first part of its tile.
    Rotate,
    /// It stays as it is: another part of its tile was there before.
    Keep,
}

/// Bytes of each operand that a micro-kernel asks for ahead, for each slice that it multiplies: at rank 128 all that there
/// is to ask for where a panel of A meets 256 columns, and a panel of B as many rows.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 128;

/// One instruction set's micro-kernel.
pub(crate) trait Micro {
    /// The kernel's name, as it is shown and configured.
    const NAME: &'static str;
    /// The instructions that it stands on: kernels of a family differ in their micro-tile only, and which is faster is
    /// for the processor to show.
    const FAMILY: &'static str = Self::NAME;
    /// How it wants its operands.
    const LAYOUT: Layout;
    /// Rows of a micro-tile.
    const ROWS: usize;
    /// Columns of a micro-tile.
    const COLUMNS: usize;
    /// 32-bit lanes of a word of the state.
    const LANES: usize;
    /// The tile that is cheapest to fold: a whole number of micro-tiles.
    const TILE: (u32, u32) = (16, 16);

    /// Whether it loses nothing where both its panels come from the second level of the caches.
    const STREAMS: bool = false;

    /// Whether this processor can run it.
    fn supported() -> bool;

    /// Adds `slices` slices of products to a micro-tile, folding after each.
    ///
    /// # Safety
    ///
    /// [`Self::supported`] holds, and `args` keeps the invariants of [`MicroArgs`].
    unsafe fn run(args: &MicroArgs);
}

/// A kernel that this processor can run.
pub(crate) struct Kernel {
    name: &'static str,
    family: &'static str,
    layout: Layout,
    rows: usize,
    columns: usize,
    lanes: usize,
    block: unsafe fn(&Block<'_>, &mut Scratch),
    pack: unsafe fn(Side, &Group<'_>, &mut Panels),
    fill: unsafe fn([u64; 2], Entries, &mut [u8]),
    reduce: unsafe fn(&[Line], &mut [[u8; 64]]),
    tile: (u32, u32),
    streams: bool,
}

/// Asks whether this processor can run a kernel.
type Supported = fn() -> bool;

/// Every kernel of this build with the question whether it can run here, fastest first as
/// far as can be told without trying.
static KERNELS: &[(Kernel, Supported)] = &[
    #[cfg(target_arch = "x86_64")]
    (
        kernel::<avx512_vnni_wide::Avx512VnniWide>(pack_avx512, fill_avx512, reduce::lanes_16),
        avx512_vnni_wide::Avx512VnniWide::supported,
    ),
    #[cfg(target_arch = "x86_64")]
    (
        kernel::<avx512_vnni::Avx512Vnni>(pack_avx512, fill_avx512, reduce::lanes_16),
        avx512_vnni::Avx512Vnni::supported,
    ),
    #[cfg(target_arch = "x86_64")]
    (kernel::<avx_vnni::AvxVnni>(pack_avx2, fill_avx2, reduce::lanes_8), avx_vnni::AvxVnni::supported),
    #[cfg(target_arch = "x86_64")]
    (
        kernel::<avx_vnni::Avx512VnniShort>(pack_avx2, fill_avx2, reduce::lanes_8),
        avx_vnni::Avx512VnniShort::supported,
    ),
    #[cfg(target_arch = "x86_64")]
    (kernel::<avx2::Avx2>(pack_avx2, fill_avx2, reduce::lanes_8), avx2::Avx2::supported),
    #[cfg(target_arch = "aarch64")]
    (kernel::<neon::Dotprod>(pack::group::<Plain>, fill::fill, reduce::plain::<4>), neon::Dotprod::supported),
    (
        kernel::<portable::Portable>(pack::group::<Plain>, fill::fill, reduce::plain::<1>),
        portable::Portable::supported,
    ),
];

const fn kernel<K: Micro>(
    pack: unsafe fn(Side, &Group<'_>, &mut Panels),
    fill: unsafe fn([u64; 2], Entries, &mut [u8]),
    reduce: unsafe fn(&[Line], &mut [[u8; 64]]),
) -> Kernel {
    assert!(K::ROWS <= pack::GROUP && K::COLUMNS <= pack::GROUP && K::ROWS * K::COLUMNS <= SUMS_MAX);
    Kernel {
        name: K::NAME,
        family: K::FAMILY,
        layout: K::LAYOUT,
        rows: K::ROWS,
        columns: K::COLUMNS,
        lanes: K::LANES,
        block: block::<K>,
        pack,
        fill,
        reduce,
        tile: K::TILE,
        streams: K::STREAMS,
    }
}

/// The kernels that this processor can run, fastest first; the last is the portable one.
pub(crate) fn available() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|(_, supported)| supported()).map(|(kernel, _)| kernel)
}

/// The names of all kernels and families in this build, whether or not they can run here.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().flat_map(|(kernel, _)| [kernel.name, kernel.family])
}

impl Kernel {
    /// The name by which it is configured and shown.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The instructions that it stands on, by which it can be configured, too.
    pub(crate) fn family(&self) -> &'static str {
        self.family
    }

    /// How it wants its operands.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Rows of a panel of A, columns of a panel of B.
    pub(crate) fn panel_height(&self, side: Side) -> usize {
        match side {
            Side::A => self.rows,
            Side::BT => self.columns,
        }
    }

    /// Bytes of one panel of `side` over the whole of k.
    pub(crate) fn panel_bytes(&self, side: Side, depth: Depth) -> usize {
        self.panel_height(side) * depth.rank * depth.slices * self.layout.entry_bytes()
    }

    /// Height and width of the tile that is cheapest to fold.
    pub(crate) fn tile(&self) -> (u32, u32) {
        self.tile
    }

    /// Whether it loses nothing where both its panels come from the second level of the caches.
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// Whether it is an order of magnitude slower than those with instructions of their own.
    pub(crate) fn is_slow(&self) -> bool {
        self.name == portable::Portable::NAME
    }

    /// Fills `bytes` with random entries for the matrix of `side`, see [`fill::fill`].
    pub(crate) fn fill(&self, side: Side, seed: [u64; 2], bytes: &mut [u8]) {
        // SAFETY: as in `pack`.
        unsafe { (self.fill)(seed, self.layout.entries(side), bytes) }
    }

    /// Adds the noise to a group of rows, and lays them out in `panels`.
    pub(crate) fn pack(&self, group: &Group<'_>, panels: &mut Panels) {
        // SAFETY: the function needs what `supported` asked for, and a `Kernel` is only to be had from `available`.
        unsafe { (self.pack)(panels.side, group, panels) }
    }

    /// Multiplies a block; the messages of its tiles are left in `scratch`.
    ///
    /// `tile` is the number of panels of A and of B that make up one tile.
    ///
    /// # Panics
    ///
    /// If the panels are not this kernel's, not cut alike, or not made of whole tiles.
    pub(crate) fn multiply(
        &self,
        a: &Panels,
        b: &Panels,
        tile: (usize, usize),
        next: Next<'_>,
        scratch: &mut Scratch,
    ) {
        assert!(a.side == Side::A && b.side == Side::BT, "A is on the left");
        assert!(a.layout == self.layout && b.layout == self.layout, "the panels are this kernel's");
        assert!(a.height == self.rows && b.height == self.columns, "the panels are this kernel's");
        assert_eq!(a.depth, b.depth, "both sides are cut alike");
        assert!(tile.0 > 0 && a.count.is_multiple_of(tile.0), "blocks are made of whole tiles");
        assert!(tile.1 > 0 && b.count.is_multiple_of(tile.1), "blocks are made of whole tiles");
        let work = Block { a, b, tile, next, reduce: self.reduce };
        scratch.make_room(&work, self.lanes, self.rows * self.columns);
        // SAFETY: a `Kernel` is only to be had from `available`, which asked the processor. The panels' sizes agree
        // with their counts (`Panels::new`) and with each other (above), and the scratch memory has room for them.
        unsafe { (self.block)(&work, scratch) }
    }
}

/// [`pack::group`], compiled for AVX2.
///
/// # Safety
///
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn pack_avx2(side: Side, group: &Group<'_>, panels: &mut Panels) {
    pack::group::<x86_pack::Avx2Ops>(side, group, panels);
}

/// [`pack::group`], compiled for the first AVX-512 processors with VNNI.
///
/// # Safety
///
/// The processor has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn pack_avx512(side: Side, group: &Group<'_>, panels: &mut Panels) {
    pack::group::<x86_pack::Avx2Ops>(side, group, panels);
}

/// [`fill::fill`], compiled for AVX2.
///
/// # Safety
///
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn fill_avx2(seed: [u64; 2], entries: Entries, bytes: &mut [u8]) {
    fill::fill(seed, entries, bytes);
}

/// [`fill::fill`], compiled for the first AVX-512 processors with VNNI.
///
/// # Safety
///
/// The processor has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn fill_avx512(seed: [u64; 2], entries: Entries, bytes: &mut [u8]) {
    fill::fill(seed, entries, bytes);
}

#[cfg(test)]
pub(crate) mod tests;
