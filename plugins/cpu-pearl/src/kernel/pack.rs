//! Adds the noise to rows of a matrix and lays them out for a kernel, in one pass.
//!
//! A group of up to 32 rows is taken at a time, and of them a cache line's worth of columns. The rows' noise factors
//! lie transposed, so that the noise of one column of k is the difference of two 32-byte lines (protocol section 4).
//! [`Ops`] are the few loops that are worth a version for an instruction set; those live with the kernels.

use pearl_pow::Side;

use super::panels::{Layout, Panels};

/// Most rows of a group.
pub(crate) const GROUP: usize = 32;
/// Most quads (steps of k by four) that are moved at a time: one cache line of a row.
pub(crate) const CHUNK: usize = 16;

/// The same quad of every row of a group, its four bytes in one word.
pub(crate) type Line = [u32; GROUP];

/// Rows of the raw matrix, with their noise, that become consecutive rows of panels.
pub(crate) struct Group<'a> {
    /// The raw rows, whole panels of them, at most [`GROUP`]; `None` is a row of zeros that pads a tile.
    pub rows: &'a [Option<&'a [u8]>],
    /// The dense noise factor of these rows, transposed: `rank` lines of one byte per row. Padding rows have zeros.
    pub factor: &'a [[u8; GROUP]],
    /// The two columns of the factor whose difference is the noise, for each step of k.
    pub pairs: &'a [[u16; 2]],
    /// The panel that the first row goes to.
    pub first_panel: usize,
}

/// The inner loops of packing.
pub(crate) trait Ops {
    /// Takes `lines.len()` quads, from `column` on, of every row.
    fn gather(rows: &[Option<&[u8]>], column: usize, lines: &mut [Line]);

    /// Adds the noise of four columns, given as pairs of lines of the factor.
    fn add_noise(line: &mut Line, factor: [[&[u8; GROUP]; 2]; 4]);

    /// Splits quads into 16-bit pairs of their even and odd bytes, and takes the products of neighbours off the terms.
    fn split(line: &Line, even: &mut Line, odd: &mut Line, terms: &mut [i32; GROUP]);
}

/// Packs `group` into `panels`, for any kernel's layout.
#[inline(always)]
pub(crate) fn group<O: Ops>(side: Side, group: &Group<'_>, panels: &mut Panels) {
    // Heights as constants, so that a panel's rows are moved in whole registers.
    match panels.height() {
        4 => of_height::<O, 4>(side, group, panels),
        6 => of_height::<O, 6>(side, group, panels),
        8 => of_height::<O, 8>(side, group, panels),
        16 => of_height::<O, 16>(side, group, panels),
        32 => of_height::<O, 32>(side, group, panels),
        height => unreachable!("no kernel has panels of {height} rows"),
    }
}

#[inline(always)]
fn of_height<O: Ops, const H: usize>(side: Side, group: &Group<'_>, panels: &mut Panels) {
    let layout = panels.layout();
    let depth = panels.depth();
    let entry = layout.entry_bytes();
    let quads = depth.rank / 4;
    let chunk = CHUNK.min(quads);
    let count = group.rows.len() / H;
    assert!(group.rows.len() <= GROUP && count * H == group.rows.len(), "a group is whole panels");
    let mut lines = [[0; GROUP]; CHUNK];
    let (mut even, mut odd) = ([[0; GROUP]; CHUNK], [[0; GROUP]; CHUNK]);
    for slice in 0..depth.slices {
        let mut terms = [0; GROUP];
        for first in (0..quads).step_by(chunk) {
            let column = slice * depth.rank + first * 4;
            let lines = &mut lines[..chunk];
            O::gather(group.rows, column, lines);
            let pairs = group.pairs[column..column + chunk * 4].as_chunks::<4>().0;
            let halves = even.iter_mut().zip(&mut odd);
            for ((line, [c0, c1, c2, c3]), (even, odd)) in lines.iter_mut().zip(pairs).zip(halves) {
                let factor =
                    |&[p, q]: &[u16; 2]| [&group.factor[usize::from(p)], &group.factor[usize::from(q)]];
                O::add_noise(line, [factor(c0), factor(c1), factor(c2), factor(c3)]);
                if layout == Layout::Winograd {
                    O::split(line, even, odd, &mut terms);
                }
            }
            for panel in 0..count {
                let (bytes, _) = panels.slice_mut(group.first_panel + panel, slice);
                let bytes = &mut bytes[first * H * 4 * entry..][..chunk * H * 4 * entry];
                match (layout, side) {
                    (Layout::Signed | Layout::UnsignedB, _) => put::<H>(lines, panel, bytes),
                    (Layout::Winograd, Side::A) => {
                        put_by_row::<H>(&even[..chunk], &odd[..chunk], panel, bytes)
                    }
                    (Layout::Winograd, Side::BT) => {
                        put_by_half::<H>(&odd[..chunk], &even[..chunk], panel, bytes)
                    }
                }
            }
        }
        if layout.has_terms() {
            for panel in 0..count {
                let (_, out) = panels.slice_mut(group.first_panel + panel, slice);
                out.copy_from_slice(&terms[panel * H..][..H]);
            }
        }
    }
}

/// The rows of `panel` in a line.
#[inline(always)]
fn rows_of<const H: usize>(line: &Line, panel: usize) -> &[u32; H] {
    line[panel * H..][..H].as_array().expect("a panel has H rows")
}

/// Each quad: row after row.
#[inline(always)]
fn put<const H: usize>(lines: &[Line], panel: usize, bytes: &mut [u8]) {
    for (line, bytes) in lines.iter().zip(bytes.chunks_exact_mut(H * 4)) {
        copy(rows_of::<H>(line, panel), bytes);
    }
}

/// Each quad: row after row, of each the first half and the second.
#[inline(always)]
fn put_by_row<const H: usize>(first: &[Line], second: &[Line], panel: usize, bytes: &mut [u8]) {
    for ((first, second), bytes) in first.iter().zip(second).zip(bytes.chunks_exact_mut(H * 8)) {
        let rows = rows_of::<H>(first, panel).iter().zip(rows_of::<H>(second, panel));
        for ((first, second), bytes) in rows.zip(bytes.as_chunks_mut::<8>().0) {
            *bytes = (u64::from(*first) | u64::from(*second) << 32).to_le_bytes();
        }
    }
}

/// Each quad: the first half of every row, then the second.
#[inline(always)]
fn put_by_half<const H: usize>(first: &[Line], second: &[Line], panel: usize, bytes: &mut [u8]) {
    for ((first, second), bytes) in first.iter().zip(second).zip(bytes.chunks_exact_mut(H * 8)) {
        copy(rows_of::<H>(first, panel), &mut bytes[..H * 4]);
        copy(rows_of::<H>(second, panel), &mut bytes[H * 4..]);
    }
}

#[inline(always)]
fn copy<const H: usize>(rows: &[u32; H], bytes: &mut [u8]) {
    for (row, bytes) in rows.iter().zip(bytes.as_chunks_mut::<4>().0) {
        *bytes = row.to_le_bytes();
    }
}

/// The loops in plain Rust.
pub(crate) struct Plain;

impl Ops for Plain {
    #[inline(always)]
    fn gather(rows: &[Option<&[u8]>], column: usize, lines: &mut [Line]) {
        for (r, row) in rows.iter().enumerate() {
            match row {
                Some(row) => {
                    let row = row[column..column + lines.len() * 4].as_chunks::<4>().0;
                    for (line, bytes) in lines.iter_mut().zip(row) {
                        line[r] = u32::from_le_bytes(*bytes);
                    }
                }
                None => lines.iter_mut().for_each(|line| line[r] = 0),
            }
        }
    }

    #[inline(always)]
    fn add_noise(line: &mut Line, factor: [[&[u8; GROUP]; 2]; 4]) {
        // Bytes are added without carries between them.
        const LOW: u32 = 0x7f7f_7f7f;
        for (r, entry) in line.iter_mut().enumerate() {
            let [n0, n1, n2, n3] = factor;
            let difference = |[p, q]: [&[u8; GROUP]; 2]| p[r].wrapping_sub(q[r]);
            let noise = u32::from_le_bytes([difference(n0), difference(n1), difference(n2), difference(n3)]);
            *entry = ((*entry & LOW) + (noise & LOW)) ^ ((*entry ^ noise) & !LOW);
        }
    }

    #[inline(always)]
    fn split(line: &Line, even: &mut Line, odd: &mut Line, terms: &mut [i32; GROUP]) {
        for r in 0..GROUP {
            let byte = |shift: u32| ((line[r] << shift) as i32) >> 24;
            even[r] = (byte(24) & 0xffff) as u32 | (byte(8) << 16) as u32;
            odd[r] = (byte(16) & 0xffff) as u32 | (byte(0) << 16) as u32;
            terms[r] -= byte(24) * byte(16) + byte(8) * byte(0);
        }
    }
}
