//! The loops around a micro-kernel: stretches of k, panels of columns, panels of rows.
//!
//! They own a worker's memory for one block (sums, words, messages), walk through the panels, and say what to fetch ahead.
//! What a micro-kernel does with it, and on which instructions, they do not know.

use super::{Micro, MicroArgs, Panels, WORDS, Word};

/// Most sums in a micro-tile.
pub(super) const SUMS_MAX: usize = 256;

/// Two blocks to multiply, and how their panels make up tiles.
pub(super) struct Block<'a> {
    pub a: &'a Panels,
    pub b: &'a Panels,
    /// Panels of A and of B that make up a tile.
    pub tile: (usize, usize),
    pub next: Next<'a>,
    pub reduce: unsafe fn(&[Line], &mut [[u8; 64]]),
}

/// What will probably be multiplied next, to be fetched ahead; a wrong guess costs time and nothing else.
#[derive(Clone, Copy, Default)]
pub(crate) struct Next<'a> {
    pub a: Option<&'a Panels>,
    pub b: Option<&'a Panels>,
}

/// A cache line of sums or words.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub [u32; 16]);

/// A worker's memory for the sums and words of one block, allocated once and grown when needed.
#[derive(Default)]
pub(crate) struct Scratch {
    sums: Vec<Line>,
    states: Vec<Line>,
    messages: Vec<[u8; 64]>,
}

impl Scratch {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.sums.capacity() + self.states.capacity()) * size_of::<Line>() + self.messages.capacity() * 64
    }

    /// Makes room for a block of micro-tiles of so many `sums`, and words of so many `lanes`.
    pub(super) fn make_room(&mut self, work: &Block<'_>, lanes: usize, sums: usize) {
        let (tile_rows, tile_columns) = (work.a.count / work.tile.0, work.b.count / work.tile.1);
        // A column of tiles that is done in one stretch leaves its words to the next column, and puts no sum down.
        let once = work.a.depth.stretches() == 1;
        grow(&mut self.states, tile_rows * if once { 1 } else { tile_columns } * WORDS * lanes / 16);
        grow(&mut self.sums, if once { 0 } else { work.a.count * work.b.count * sums.div_ceil(16) });
        self.messages.resize(tile_rows * tile_columns, [0; 64]);
    }

    /// The 64-byte messages of the tiles that were multiplied last, column of tiles after column of tiles, as the
    /// jackpot hashes them.
    pub(crate) fn messages(&self) -> &[[u8; 64]] {
        &self.messages
    }
}

/// Makes `memory` at least `length` long; what was in it may stay.
fn grow(memory: &mut Vec<Line>, length: usize) {
    if memory.len() < length {
        memory.resize(length, Line([0; 16]));
    }
}

/// The loops around the micro-kernel.
///
/// # Safety
///
/// `K` is supported, and so is what `work.reduce` needs; the panels were made for `K` and are cut alike; `scratch` holds
/// the block's sums, states and messages.
pub(super) unsafe fn block<K: Micro>(work: &Block<'_>, scratch: &mut Scratch) {
    let (a, b) = (work.a, work.b);
    let depth = a.depth;
    let stretches = depth.stretches();
    let tile_rows = a.count / work.tile.0;
    let zeros = [Line([0; 16]); SUMS_MAX / 16];
    let mut spent = [Line([0; 16]); SUMS_MAX / 16];
    let sum_lines = (K::ROWS * K::COLUMNS).div_ceil(16);
    let sums = scratch.sums.as_mut_ptr();
    let state_words = WORDS * K::LANES;
    for stretch in 0..stretches {
        let first = stretch * depth.stretch;
        let slices = depth.stretch_slices(stretch);
        // Everything that the inner loop needs is added up, not worked out: a micro-kernel takes some hundred clocks.
        let (a_step, b_step) = (slices * a.slice_bytes(), slices * b.slice_bytes());
        let (mut b_bytes, mut b_terms) = (b.bytes[b.offset(stretch, 0)..].as_ptr(), terms_of(b, first));
        let [mut a_ahead, mut b_ahead] =
            [Ahead::new(stretch, a, work.next.a, b.count), Ahead::new(stretch, b, work.next.b, a.count)];
        let mut own = 0;
        let (mut tile_column, mut column_in_tile) = (0, 0);
        for _ in 0..b.count {
            let (mut a_bytes, mut a_terms) = (a.bytes[a.offset(stretch, 0)..].as_ptr(), terms_of(a, first));
            let (mut tile, mut row_in_tile) = (if stretches == 1 { 0 } else { tile_column * tile_rows }, 0);
            let column = tile * state_words / 16;
            let states = scratch.states.as_mut_ptr().cast::<u32>();
            for _ in 0..a.count {
                let word = match (row_in_tile + column_in_tile == 0, first < WORDS) {
                    (true, true) => Word::Begin,
                    (true, false) => Word::Rotate,
                    (false, _) => Word::Keep,
                };
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
                        state: states.add(tile * state_words + first % WORDS * K::LANES),
                        slices,
                        steps: depth.rank / 16,
                        sums_in: if stretch == 0 { zeros.as_ptr() } else { sums.add(own).cast_const() }
                            .cast(),
                        sums_out: if stretch + 1 == stretches { spent.as_mut_ptr() } else { sums.add(own) }
                            .cast(),
                        word,
                        ahead: [a_ahead.at, b_ahead.at],
                    });
                }
                a_ahead.step();
                b_ahead.step();
                // Past the last panel the pointers are not used any more.
                a_bytes = a_bytes.wrapping_add(a_step);
                a_terms = a_terms.wrapping_add(depth.slices * a.height);
                own += sum_lines;
                row_in_tile += 1;
                if row_in_tile == work.tile.0 {
                    (tile, row_in_tile) = (tile + 1, 0);
                }
            }
            b_bytes = b_bytes.wrapping_add(b_step);
            b_terms = b_terms.wrapping_add(depth.slices * b.height);
            column_in_tile += 1;
            if column_in_tile == work.tile.1 {
                if stretch + 1 == stretches {
                    let done = &scratch.states[column..][..tile_rows * state_words / 16];
                    let messages = &mut scratch.messages[tile_column * tile_rows..][..tile_rows];
                    // SAFETY: the caller vouches for the instructions.
                    unsafe { (work.reduce)(done, messages) };
                }
                (tile_column, column_in_tile) = (tile_column + 1, 0);
            }
        }
    }
}

/// Where one operand's next stretch is asked for.
struct Ahead {
    at: *const u8,
    step: usize,
}

impl Ahead {
    /// Walks through what follows `stretch` of `panels`, or through the start of `next` after the last one, while each
    /// panel meets `others`.
    fn new(stretch: usize, panels: &Panels, next: Option<&Panels>, others: usize) -> Self {
        let within = stretch + 1 < panels.depth.stretches();
        let Some((panels, stretch)) =
            (if within { Some((panels, stretch + 1)) } else { next.map(|next| (next, 0)) })
        else {
            // Nothing follows: the same lines again and again, which are there.
            return Self { at: panels.bytes.as_ptr(), step: 0 };
        };
        let bytes = panels.depth.stretch_slices(stretch) * panels.slice_bytes();
        Self { at: panels.bytes[panels.offset(stretch, 0)..].as_ptr(), step: bytes / others }
    }

    fn step(&mut self) {
        // It may walk past the end, where nothing is read.
        self.at = self.at.wrapping_add(self.step);
    }
}

/// The terms of the first panel from `slice` on; dangling, and never read, where the layout has none.
fn terms_of(panels: &Panels, slice: usize) -> *const i32 {
    panels.terms.as_ptr().wrapping_add(slice * panels.height)
}
