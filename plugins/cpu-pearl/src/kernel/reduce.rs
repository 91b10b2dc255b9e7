//! From the words of tiles, a vector each, to the messages that are hashed.

use super::{Line, WORDS};

/// For any number of lanes.
pub(super) fn plain<const LANES: usize>(states: &[Line], messages: &mut [[u8; 64]]) {
    let states = states.chunks_exact(WORDS * LANES / 16);
    for (state, message) in states.zip(messages) {
        let words = state.iter().flat_map(|line| line.0.chunks_exact(LANES));
        for (bytes, lanes) in message.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = lanes.iter().fold(0, |x, lane| x ^ lane).to_le_bytes();
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{lanes_8, lanes_16};

/// Exclusive or across lanes, for all words of a tile at once: each step folds two registers into one that holds the
/// words of both with half the lanes, and the last one is the message.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::super::Line;

    /// # Safety
    ///
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(in super::super) unsafe fn lanes_8(states: &[Line], messages: &mut [[u8; 64]]) {
        for (state, message) in states.as_chunks::<8>().0.iter().zip(messages) {
            let words: *const __m256i = state.as_ptr().cast();
            for (half, out) in message.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                // SAFETY: a state is sixteen words of eight lanes; `half` is 0 or 1 and `i` below 8.
                let word = |i: usize| unsafe { _mm256_loadu_si256(words.add(half * 8 + i)) };
                // Word i in the lower half, word i + 4 in the upper, four lanes each.
                let fold = |i: usize| {
                    let (a, b) = (word(i), word(i + 4));
                    _mm256_xor_si256(
                        _mm256_permute2x128_si256::<0x20>(a, b),
                        _mm256_permute2x128_si256::<0x31>(a, b),
                    )
                };
                let (a, b, c, d) = (fold(0), fold(1), fold(2), fold(3));
                let (x, y) = (
                    _mm256_xor_si256(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)),
                    _mm256_xor_si256(_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d)),
                );
                let (x, y) = (_mm256_castsi256_ps(x), _mm256_castsi256_ps(y));
                let folded = _mm256_xor_ps(_mm256_shuffle_ps::<0x88>(x, y), _mm256_shuffle_ps::<0xdd>(x, y));
                // SAFETY: half a message is 32 bytes.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_castps_si256(folded)) };
            }
        }
    }

    /// # Safety
    ///
    /// The processor has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub(in super::super) unsafe fn lanes_16(states: &[Line], messages: &mut [[u8; 64]]) {
        for (state, message) in states.as_chunks::<16>().0.iter().zip(messages) {
            let words: *const __m512i = state.as_ptr().cast();
            // SAFETY: a state is sixteen words of sixteen lanes, and `i` is below 16.
            let word = |i: usize| unsafe { _mm512_loadu_si512(words.add(i)) };
            // Words i and i + 4, eight lanes each.
            let halve = |i: usize| {
                let (a, b) = (word(i), word(i + 4));
                _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b))
            };
            // Words i, i + 4, i + 8 and i + 12, four lanes each.
            let quarter = |i: usize| {
                let (a, b) = (halve(i), halve(i + 8));
                _mm512_xor_si512(_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b))
            };
            let (a, b, c, d) = (quarter(0), quarter(1), quarter(2), quarter(3));
            let (x, y) = (
                _mm512_xor_si512(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)),
                _mm512_xor_si512(_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d)),
            );
            let (p, q) = (_mm512_castsi512_ps(x), _mm512_castsi512_ps(y));
            let folded = _mm512_xor_si512(
                _mm512_castps_si512(_mm512_shuffle_ps::<0x88>(p, q)),
                _mm512_castps_si512(_mm512_shuffle_ps::<0xdd>(p, q)),
            );
            // SAFETY: a message is 64 bytes.
            unsafe { _mm512_storeu_si512(message.as_mut_ptr().cast(), folded) };
        }
    }
}
