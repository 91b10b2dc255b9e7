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
//! The words are never reduced across lanes here: rotation distributes over exclusive or, so a word is kept as one
//! vector per tile, and its lanes meet once, in [`Kernel::messages`].
//!
//! # Limitations
//!
//! A tile is padded with rows and columns of zeros to whole micro-tiles. That changes no result, but a tile that is
//! not a multiple of the micro-tile wastes multiplications.

pub(crate) mod cpu;
mod memory;
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
pub(crate) use panels::{Depth, Layout, Panels, WORDS};

use pearl_pow::Side;

use self::pack::{Group, Plain};
use crate::fill;

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
    /// Whether this is the first part of its tile, which rotates each word before folding into it.
    rotate: bool,
}

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
    fill: unsafe fn([u64; 2], &mut [u8]),
    reduce: unsafe fn(&[Line], &mut [[u8; 64]]),
    tile: (u32, u32),
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
    fill: unsafe fn([u64; 2], &mut [u8]),
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

/// Most sums in a micro-tile.
const SUMS_MAX: usize = 256;

/// Two blocks to multiply, and how their panels make up tiles.
struct Block<'a> {
    a: &'a Panels,
    b: &'a Panels,
    /// Panels of A and of B that make up a tile.
    tile: (usize, usize),
}

/// A cache line of sums or words.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// A worker's memory for the sums and words of one block, allocated once and grown when needed.
#[derive(Default)]
pub(crate) struct Scratch {
    sums: Vec<Line>,
    states: Vec<Line>,
    tiles: usize,
}

impl Scratch {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.sums.capacity() + self.states.capacity()) * size_of::<Line>()
    }
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

    /// Whether it is an order of magnitude slower than those with instructions of their own.
    pub(crate) fn is_slow(&self) -> bool {
        self.name == portable::Portable::NAME
    }

    /// Fills `bytes` with random matrix entries, see [`fill::fill`].
    pub(crate) fn fill(&self, seed: [u64; 2], bytes: &mut [u8]) {
        // SAFETY: as in `pack`.
        unsafe { (self.fill)(seed, bytes) }
    }

    /// Adds the noise to a group of rows, and lays them out in `panels`.
    pub(crate) fn pack(&self, group: &Group<'_>, panels: &mut Panels) {
        // SAFETY: the function needs what `supported` asked for, and a `Kernel` is only to be had from `available`.
        unsafe { (self.pack)(panels.side, group, panels) }
    }

    /// Multiplies a block; the words of its tiles are left in `scratch`.
    ///
    /// `tile` is the number of panels of A and of B that make up one tile.
    ///
    /// # Panics
    ///
    /// If the panels are not this kernel's, not cut alike, or not made of whole tiles.
    pub(crate) fn multiply(&self, a: &Panels, b: &Panels, tile: (usize, usize), scratch: &mut Scratch) {
        assert!(a.side == Side::A && b.side == Side::BT, "A is on the left");
        assert!(a.layout == self.layout && b.layout == self.layout, "the panels are this kernel's");
        assert!(a.height == self.rows && b.height == self.columns, "the panels are this kernel's");
        assert_eq!(a.depth, b.depth, "both sides are cut alike");
        assert!(tile.0 > 0 && a.count.is_multiple_of(tile.0), "blocks are made of whole tiles");
        assert!(tile.1 > 0 && b.count.is_multiple_of(tile.1), "blocks are made of whole tiles");
        scratch.tiles = (a.count / tile.0) * (b.count / tile.1);
        let states = scratch.tiles * WORDS * self.lanes / 16;
        scratch.states.clear();
        scratch.states.resize(states, Line([0; 16]));
        let sums = a.count * b.count * (self.rows * self.columns).div_ceil(16);
        if scratch.sums.len() < sums {
            scratch.sums.resize(sums, Line([0; 16]));
        }
        // SAFETY: a `Kernel` is only to be had from `available`, which asked the processor. The panels' sizes agree
        // with their counts (`Panels::new`) and with each other (above), and the scratch memory fits them.
        unsafe { (self.block)(&Block { a, b, tile }, scratch) }
    }

    /// The 64-byte messages of the tiles that were multiplied last with `scratch`, row of tiles after row of tiles, as
    /// the jackpot hashes them.
    pub(crate) fn messages(&self, scratch: &Scratch, out: &mut Vec<[u8; 64]>) {
        out.clear();
        out.resize(scratch.tiles, [0; 64]);
        let lines = scratch.tiles * WORDS * self.lanes / 16;
        // SAFETY: as in `pack`.
        unsafe { (self.reduce)(&scratch.states[..lines], out) }
    }
}

/// The loops around the micro-kernel.
///
/// # Safety
///
/// `K` is supported; the panels were made for `K` and are cut alike; `scratch` holds the block's sums and states.
unsafe fn block<K: Micro>(work: &Block<'_>, scratch: &mut Scratch) {
    let (a, b) = (work.a, work.b);
    let depth = a.depth;
    let stretches = depth.slices.div_ceil(depth.stretch);
    let tile_columns = b.count / work.tile.1;
    let zeros = [Line([0; 16]); SUMS_MAX / 16];
    let mut spent = [Line([0; 16]); SUMS_MAX / 16];
    let sum_lines = (K::ROWS * K::COLUMNS).div_ceil(16);
    let sums = scratch.sums.as_mut_ptr();
    let states = scratch.states.as_mut_ptr().cast::<u32>();
    for stretch in 0..stretches {
        let first = stretch * depth.stretch;
        let slices = depth.stretch_slices(stretch);
        // Everything that the inner loop needs is added up, not worked out: a micro-kernel takes some hundred clocks.
        let (a_step, b_step) = (slices * a.slice_bytes(), slices * b.slice_bytes());
        let (mut b_bytes, mut b_terms) = (b.bytes[b.offset(stretch, 0)..].as_ptr(), terms_of(b, first));
        let mut own = 0;
        let (mut tile_column, mut column_in_tile) = (0, 0);
        for _ in 0..b.count {
            let (mut a_bytes, mut a_terms) = (a.bytes[a.offset(stretch, 0)..].as_ptr(), terms_of(a, first));
            let (mut tile, mut row_in_tile) = (tile_column, 0);
            for _ in 0..a.count {
                // SAFETY: both pointers walk panel by panel through a stretch, whose extents are what `MicroArgs` asks
                // for, and the terms likewise (they are not touched where the layout has none); a stretch begins at a
                // multiple of a power of two of at most 16 slices and is no longer than it, so its words lie within
                // one state; each micro-tile has sums of its own.
                unsafe {
                    K::run(&MicroArgs {
                        a: a_bytes,
                        b: b_bytes,
                        row_terms: a_terms,
                        column_terms: b_terms,
                        state: states.add((tile * WORDS + first % WORDS) * K::LANES),
                        slices,
                        steps: depth.rank / 16,
                        sums_in: if stretch == 0 { zeros.as_ptr() } else { sums.add(own).cast_const() }
                            .cast(),
                        sums_out: if stretch + 1 == stretches { spent.as_mut_ptr() } else { sums.add(own) }
                            .cast(),
                        rotate: row_in_tile + column_in_tile == 0,
                    });
                }
                // Past the last panel the pointers are not used any more.
                a_bytes = a_bytes.wrapping_add(a_step);
                a_terms = a_terms.wrapping_add(depth.slices * a.height);
                own += sum_lines;
                row_in_tile += 1;
                if row_in_tile == work.tile.0 {
                    (tile, row_in_tile) = (tile + tile_columns, 0);
                }
            }
            b_bytes = b_bytes.wrapping_add(b_step);
            b_terms = b_terms.wrapping_add(depth.slices * b.height);
            column_in_tile += 1;
            if column_in_tile == work.tile.1 {
                (tile_column, column_in_tile) = (tile_column + 1, 0);
            }
        }
    }
}

/// The terms of the first panel from `slice` on; dangling, and never read, where the layout has none.
fn terms_of(panels: &Panels, slice: usize) -> *const i32 {
    panels.terms.as_ptr().wrapping_add(slice * panels.height)
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
unsafe fn fill_avx2(seed: [u64; 2], bytes: &mut [u8]) {
    fill::fill(seed, bytes);
}

/// [`fill::fill`], compiled for the first AVX-512 processors with VNNI.
///
/// # Safety
///
/// The processor has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn fill_avx512(seed: [u64; 2], bytes: &mut [u8]) {
    fill::fill(seed, bytes);
}

#[cfg(test)]
pub(crate) mod tests;
