//! The loops of packing on AVX2.

use core::arch::x86_64::*;

use super::pack::{CHUNK, GROUP, Line, Ops};

/// The loops on AVX2.
///
/// Each method is reached only through [`super::pack_avx2`] and its like, which ask for AVX2.
pub(super) struct Avx2Ops;

/// # Safety
///
/// As for `_mm256_loadu_si256`: 32 bytes can be read.
#[inline(always)]
unsafe fn load(at: *const u8) -> __m256i {
    // SAFETY: the caller vouches for the bytes, and for AVX2.
    unsafe { _mm256_loadu_si256(at.cast()) }
}

/// # Safety
///
/// As for `_mm256_storeu_si256`: 32 bytes can be written.
#[inline(always)]
unsafe fn store(at: *mut u8, value: __m256i) {
    // SAFETY: the caller vouches for the bytes, and for AVX2.
    unsafe { _mm256_storeu_si256(at.cast(), value) }
}

impl Ops for Avx2Ops {
    #[inline(always)]
    fn gather(rows: &[Option<&[u8]>], column: usize, lines: &mut [Line]) {
        // SAFETY: this is compiled into functions that have AVX2 only.
        unsafe { gather(rows, column, lines) }
    }

    #[inline(always)]
    fn add_noise(line: &mut Line, factor: [[&[u8; GROUP]; 2]; 4]) {
        // SAFETY: as above.
        unsafe { add_noise(line, factor) }
    }

    #[inline(always)]
    fn split(line: &Line, even: &mut Line, odd: &mut Line, terms: &mut [i32; GROUP]) {
        // SAFETY: as above.
        unsafe { split(line, even, odd, terms) }
    }
}

/// Transposes blocks of eight rows by eight quads.
///
/// # Safety
///
/// The processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn gather(rows: &[Option<&[u8]>], column: usize, lines: &mut [Line]) {
    static ZEROS: [u8; 4 * CHUNK] = [0; 4 * CHUNK];
    assert!(lines.len() <= CHUNK, "a chunk is at most a cache line of a row");
    for first_row in (0..GROUP).step_by(8) {
        // Rows that are not there are read from zeros: no branch in the loop.
        let mut starts = [ZEROS.as_ptr(); 8];
        for (start, row) in starts.iter_mut().zip(rows.iter().skip(first_row)) {
            if let Some(row) = row {
                *start = row[column..column + lines.len() * 4].as_ptr();
            }
        }
        for (block, lines) in lines.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut rows = [_mm256_setzero_si256(); 8];
            for (row, start) in rows.iter_mut().zip(starts) {
                // SAFETY: there are four bytes for each line behind every start, and `block` stands for eight lines.
                *row = unsafe { load(start.add(block * 32)) };
            }
            let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
            let (a0, a1) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
            let (a2, a3) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
            let (a4, a5) = (_mm256_unpacklo_epi32(r4, r5), _mm256_unpackhi_epi32(r4, r5));
            let (a6, a7) = (_mm256_unpacklo_epi32(r6, r7), _mm256_unpackhi_epi32(r6, r7));
            let (b0, b1) = (_mm256_unpacklo_epi64(a0, a2), _mm256_unpackhi_epi64(a0, a2));
            let (b2, b3) = (_mm256_unpacklo_epi64(a1, a3), _mm256_unpackhi_epi64(a1, a3));
            let (b4, b5) = (_mm256_unpacklo_epi64(a4, a6), _mm256_unpackhi_epi64(a4, a6));
            let (b6, b7) = (_mm256_unpacklo_epi64(a5, a7), _mm256_unpackhi_epi64(a5, a7));
            let out = [
                _mm256_permute2x128_si256::<0x20>(b0, b4),
                _mm256_permute2x128_si256::<0x20>(b1, b5),
                _mm256_permute2x128_si256::<0x20>(b2, b6),
                _mm256_permute2x128_si256::<0x20>(b3, b7),
                _mm256_permute2x128_si256::<0x31>(b0, b4),
                _mm256_permute2x128_si256::<0x31>(b1, b5),
                _mm256_permute2x128_si256::<0x31>(b2, b6),
                _mm256_permute2x128_si256::<0x31>(b3, b7),
            ];
            for (line, out) in lines.iter_mut().zip(out) {
                // SAFETY: eight rows of the line, from a multiple of eight on.
                unsafe { store(line[first_row..first_row + 8].as_mut_ptr().cast(), out) };
            }
        }
    }
}

/// # Safety
///
/// The processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_noise(line: &mut Line, factor: [[&[u8; GROUP]; 2]; 4]) {
    let [n0, n1, n2, n3] = factor;
    // SAFETY: each line of the factor is 32 bytes.
    let noise = |[p, q]: [&[u8; GROUP]; 2]| unsafe { _mm256_sub_epi8(load(p.as_ptr()), load(q.as_ptr())) };
    let (n0, n1, n2, n3) = (noise(n0), noise(n1), noise(n2), noise(n3));
    // Bytes of four columns become words of one row; each half of a register has sixteen rows of its own.
    let (a0, a1) = (_mm256_unpacklo_epi8(n0, n1), _mm256_unpackhi_epi8(n0, n1));
    let (a2, a3) = (_mm256_unpacklo_epi8(n2, n3), _mm256_unpackhi_epi8(n2, n3));
    let (b0, b1) = (_mm256_unpacklo_epi16(a0, a2), _mm256_unpackhi_epi16(a0, a2));
    let (b2, b3) = (_mm256_unpacklo_epi16(a1, a3), _mm256_unpackhi_epi16(a1, a3));
    let quads = [
        _mm256_permute2x128_si256::<0x20>(b0, b1),
        _mm256_permute2x128_si256::<0x20>(b2, b3),
        _mm256_permute2x128_si256::<0x31>(b0, b1),
        _mm256_permute2x128_si256::<0x31>(b2, b3),
    ];
    for (rows, noise) in line.as_chunks_mut::<8>().0.iter_mut().zip(quads) {
        let at = rows.as_mut_ptr().cast::<u8>();
        // SAFETY: eight rows are 32 bytes.
        unsafe { store(at, _mm256_add_epi8(load(at), noise)) };
    }
}

/// # Safety
///
/// The processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn split(line: &Line, even: &mut Line, odd: &mut Line, terms: &mut [i32; GROUP]) {
    let rows = line.as_chunks::<8>().0.iter().zip(terms.as_chunks_mut::<8>().0);
    let halves = even.as_chunks_mut::<8>().0.iter_mut().zip(odd.as_chunks_mut::<8>().0);
    for ((rows, terms), (even, odd)) in rows.zip(halves) {
        let at = terms.as_mut_ptr().cast::<u8>();
        // SAFETY: eight rows, and eight terms, are 32 bytes.
        unsafe {
            let quads = load(rows.as_ptr().cast());
            let low = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(quads));
            let high = _mm256_srai_epi16::<8>(quads);
            store(even.as_mut_ptr().cast(), low);
            store(odd.as_mut_ptr().cast(), high);
            store(at, _mm256_sub_epi32(load(at), _mm256_madd_epi16(low, high)));
        }
    }
}
