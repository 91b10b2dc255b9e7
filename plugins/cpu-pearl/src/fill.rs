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

/// What entries are drawn from. The protocol asks that they be from -64 to 64, and leaves the rest to the miner (section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entries {
    /// All from -64 to 63.
    Any,
    /// 63 and 64 only: with noise of -63 to 63 (section 4) none becomes negative, and unsigned instructions can have them
    /// as they are.
    High,
}

/// Fills `bytes` with random `entries`, the same for the same `seed`.
///
/// Sixteen xoshiro128+ generators; seven bits of each byte are used, or one.
#[inline(always)]
pub(crate) fn fill(seed: [u64; 2], entries: Entries, bytes: &mut [u8]) {
    match entries {
        Entries::Any => draw(seed, bytes, |word| {
            // Seven bits, of which the sixth is the sign.
            let word = word & 0x7f7f_7f7f;
            word | (word & 0x4040_4040) << 1
        }),
        // The upper bits of such a generator's words are the better ones.
        Entries::High => draw(seed, bytes, |word| 0x3f3f_3f3f + (word >> 7 & 0x0101_0101)),
    }
}

#[inline(always)]
fn draw(seed: [u64; 2], bytes: &mut [u8], entries: impl Fn(u32) -> u32) {
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
        *chunk = next(&mut state, &entries);
    }
    let last = next(&mut state, &entries);
    rest.copy_from_slice(&last[..rest.len()]);
}

#[inline(always)]
fn next([a, b, c, d]: &mut [[u32; LANES]; 4], entries: impl Fn(u32) -> u32) -> [u8; 4 * LANES] {
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
        out[4 * i..4 * i + 4].copy_from_slice(&entries(draw).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_in_range_and_cover_it_evenly() {
        for (entries, range) in [(Entries::Any, -64..=63), (Entries::High, 63..=64)] {
            let mut bytes = vec![0; range.clone().count() * 1000 + 7];
            fill([3, 4], entries, &mut bytes);
            let mut counts = [0u32; 256];
            bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
            for value in i8::MIN..=i8::MAX {
                let count = counts[usize::from(value as u8)];
                let wanted = if range.contains(&value) { 800..1200 } else { 0..1 };
                assert!(wanted.contains(&count), "{value} came {count} times");
            }
        }
    }

    #[test]
    fn seeds_and_secrets_differ() {
        let draw = |seed| {
            let mut bytes = [0; 64];
            fill(seed, Entries::Any, &mut bytes);
            bytes
        };
        assert_eq!(draw([1, 2]), draw([1, 2]));
        assert_ne!(draw([1, 2]), draw([2, 2]));
        assert_ne!(draw([1, 2]), draw([1, 3]));
        assert_ne!(secret(), secret());
    }
}
