//! Random matrix entries, as fast as memory takes them.

/// Independent streams that are advanced side by side, so that the loop becomes vectors.
const LANES: usize = 16;

/// A secret of the process, from the operating system's entropy.
///
/// Two miners with one wallet differ in nothing but their matrices, so these must not be guessable from a clock.
pub(crate) fn secret() -> [u64; 2] {
    use std::hash::{BuildHasher, RandomState};
    // The standard library seeds its hash maps from the system; this is its documented way to get at that.
    [RandomState::new().hash_one(0u8), RandomState::new().hash_one(1u8)]
}

/// Fills `bytes` with entries from -64 to 63, the same for the same `seed`.
///
/// Sixteen xoshiro128+ generators; seven bits of each byte are used.
#[inline(always)]
pub(crate) fn fill(seed: [u64; 2], bytes: &mut [u8]) {
    let mut state = [[0u32; LANES]; 4];
    let mut spread = seed[0];
    for word in state.as_flattened_mut() {
        spread = spread.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (spread ^ (spread >> 30) ^ seed[1]).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = (x ^ (x >> 31)) as u32;
    }
    // A state of zeros would stay so.
    state[0].iter_mut().for_each(|word| *word |= 1);
    let (chunks, rest) = bytes.as_chunks_mut::<{ 4 * LANES }>();
    for chunk in chunks {
        *chunk = next(&mut state);
    }
    let last = next(&mut state);
    rest.copy_from_slice(&last[..rest.len()]);
}

#[inline(always)]
fn next([a, b, c, d]: &mut [[u32; LANES]; 4]) -> [u8; 4 * LANES] {
    let mut out = [0; 4 * LANES];
    for i in 0..LANES {
        let draw = a[i].wrapping_add(d[i]);
        let t = b[i] << 9;
        c[i] ^= a[i];
        d[i] ^= b[i];
        b[i] ^= c[i];
        a[i] ^= d[i];
        c[i] ^= t;
        d[i] = d[i].rotate_left(11);
        // Seven bits, of which the sixth is the sign.
        let draw = draw & 0x7f7f_7f7f;
        let draw = draw | (draw & 0x4040_4040) << 1;
        out[4 * i..4 * i + 4].copy_from_slice(&draw.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_in_range_and_cover_it_evenly() {
        let mut bytes = vec![0; 128 * 1000 + 7];
        fill([3, 4], &mut bytes);
        let mut counts = [0u32; 256];
        bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        for value in i8::MIN..=i8::MAX {
            let count = counts[usize::from(value as u8)];
            let wanted = if (-64..64).contains(&value) { 800..1200 } else { 0..1 };
            assert!(wanted.contains(&count), "{value} came {count} times");
        }
    }

    #[test]
    fn seeds_and_secrets_differ() {
        let draw = |seed| {
            let mut bytes = [0; 64];
            fill(seed, &mut bytes);
            bytes
        };
        assert_eq!(draw([1, 2]), draw([1, 2]));
        assert_ne!(draw([1, 2]), draw([2, 2]));
        assert_ne!(draw([1, 2]), draw([1, 3]));
        assert_ne!(secret(), secret());
    }
}
