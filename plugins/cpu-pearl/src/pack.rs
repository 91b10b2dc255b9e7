//! Adds the noise to rows of a matrix and lays them out for a kernel, in one pass.
//!
//! A group of up to 32 rows is taken at a time. The rows' noise factors lie transposed, so that the noise of one
//! column of k is the difference of two 32-byte lines (protocol section 4): plain loops over 32 rows, which compilers
//! turn into vectors. [`crate::kernel`] compiles [`group`] once for every instruction set that is worth it.

use pearl_pow::Side;

use crate::kernel::{Layout, Panels};

/// Most rows of a group.
pub(crate) const GROUP: usize = 32;
/// Most quads (steps of k by four) that are moved at a time: one cache line of a row.
const CHUNK: usize = 16;

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

/// Packs `group` into `panels`, for any kernel's layout.
#[inline(always)]
pub(crate) fn group(side: Side, group: &Group<'_>, panels: &mut Panels) {
    // Heights as constants, so that the loops over the rows of a panel become vectors.
    match panels.height() {
        4 => of_height::<4>(side, group, panels),
        6 => of_height::<6>(side, group, panels),
        16 => of_height::<16>(side, group, panels),
        height => unreachable!("no kernel has panels of {height} rows"),
    }
}

#[inline(always)]
fn of_height<const H: usize>(side: Side, group: &Group<'_>, panels: &mut Panels) {
    match (panels.layout(), side) {
        (Layout::Signed, _) => slices::<H, 4>(group, panels, |quad, bytes, _| put(quad, bytes)),
        (Layout::OffsetB, Side::A) => slices::<H, 4>(group, panels, |quad, bytes, terms| {
            put(quad, bytes);
            for (term, v) in terms.iter_mut().zip(quad) {
                let sum = |shift| ((v << shift) as i32) >> 24;
                *term -= 128 * (sum(24) + sum(16) + sum(8) + sum(0));
            }
        }),
        (Layout::OffsetB, Side::BT) => {
            slices::<H, 4>(group, panels, |quad, bytes, _| put(&quad.map(|v| v ^ 0x8080_8080), bytes));
        }
        (Layout::Winograd, Side::A) => slices::<H, 8>(group, panels, |quad, bytes, terms| {
            let (even, odd) = (quad.map(even), quad.map(odd));
            for ((bytes, even), odd) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(even).zip(odd) {
                *bytes = (u64::from(even) | u64::from(odd) << 32).to_le_bytes();
            }
            take_pairs(&even, &odd, terms);
        }),
        (Layout::Winograd, Side::BT) => slices::<H, 8>(group, panels, |quad, bytes, terms| {
            let (even, odd) = (quad.map(even), quad.map(odd));
            let (first, second) = bytes.split_at_mut(H * 4);
            put(&odd, first);
            put(&even, second);
            take_pairs(&even, &odd, terms);
        }),
    }
}

/// Goes over the group stretch by stretch and hands each quad of each panel, noised, to `put`: its rows, the `E` bytes
/// that each of them takes in the panel, and the slice's terms.
#[inline(always)]
fn slices<const H: usize, const E: usize>(
    group: &Group<'_>,
    panels: &mut Panels,
    put: impl Fn(&[u32; H], &mut [u8], &mut [i32; H]),
) {
    let depth = panels.depth();
    let quads = depth.rank / 4;
    let chunk = CHUNK.min(quads);
    let mut noised = [[0u32; GROUP]; CHUNK];
    assert!(group.rows.len() <= GROUP && group.rows.len().is_multiple_of(H), "a group is whole panels");
    for slice in 0..depth.slices {
        for first in (0..quads).step_by(chunk) {
            let column = slice * depth.rank + first * 4;
            for (r, row) in group.rows.iter().enumerate() {
                match row {
                    Some(row) => {
                        let row = row[column..column + chunk * 4].as_chunks::<4>().0;
                        for (line, bytes) in noised.iter_mut().zip(row) {
                            line[r] = u32::from_le_bytes(*bytes);
                        }
                    }
                    None => noised[..chunk].iter_mut().for_each(|line| line[r] = 0),
                }
            }
            let pairs = group.pairs[column..column + chunk * 4].as_chunks::<4>().0;
            for (line, pairs) in noised.iter_mut().zip(pairs) {
                add_noise(line, group.factor, pairs);
            }
            for panel in 0..group.rows.len() / H {
                let (bytes, terms) = panels.slice_mut(group.first_panel + panel, slice);
                let mut unused = [0; H];
                let terms = terms.as_mut_array::<H>().unwrap_or(&mut unused);
                if first == 0 {
                    terms.fill(0);
                }
                let bytes = bytes[first * H * E..].chunks_exact_mut(H * E);
                for (line, bytes) in noised[..chunk].iter().zip(bytes) {
                    let quad = line[panel * H..][..H].as_array().expect("a panel has H rows");
                    put(quad, bytes, terms);
                }
            }
        }
    }
}

/// Adds the noise of four columns to a line of rows.
#[inline(always)]
fn add_noise(line: &mut [u32; GROUP], factor: &[[u8; GROUP]], pairs: &[[u16; 2]; 4]) {
    let mut noise = [[0u8; GROUP]; 4];
    for (noise, &[p, q]) in noise.iter_mut().zip(pairs) {
        let (p, q) = (&factor[usize::from(p)], &factor[usize::from(q)]);
        for r in 0..GROUP {
            noise[r] = p[r].wrapping_sub(q[r]);
        }
    }
    for r in 0..GROUP {
        let four = u32::from_le_bytes([noise[0][r], noise[1][r], noise[2][r], noise[3][r]]);
        line[r] = add_bytes(line[r], four);
    }
}

/// Adds four bytes to four bytes, without carries between them.
#[inline(always)]
fn add_bytes(x: u32, y: u32) -> u32 {
    const LOW: u32 = 0x7f7f_7f7f;
    ((x & LOW) + (y & LOW)) ^ ((x ^ y) & !LOW)
}

/// Bytes 0 and 2 of a quad, sign-extended to 16 bits.
#[inline(always)]
fn even(quad: u32) -> u32 {
    let low = (quad as i32) << 24 >> 24;
    let high = (quad as i32) << 8 >> 24;
    (low & 0xffff) as u32 | (high << 16) as u32
}

/// Bytes 1 and 3 of a quad, sign-extended to 16 bits.
#[inline(always)]
fn odd(quad: u32) -> u32 {
    even(quad >> 8)
}

/// Takes the products of neighbours off the terms.
#[inline(always)]
fn take_pairs<const H: usize>(even: &[u32; H], odd: &[u32; H], terms: &mut [i32; H]) {
    for ((term, &even), &odd) in terms.iter_mut().zip(even).zip(odd) {
        let low = i32::from(even as i16) * i32::from(odd as i16);
        let high = ((even as i32) >> 16) * ((odd as i32) >> 16);
        *term -= low + high;
    }
}

/// Writes a quad's rows one after the other.
#[inline(always)]
fn put<const H: usize>(quad: &[u32; H], bytes: &mut [u8]) {
    for (bytes, v) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(quad) {
        *bytes = v.to_le_bytes();
    }
}
