//! How the raw matrices are drawn: from a secret, by counting, so that any entry can be drawn again alone.
//!
//! No raw matrix lies anywhere. The device draws each word where it needs it, and the processor draws the rows of a tile
//! that hit. `shaders/common.wgsl` has the same function; a test compares them through the commitment.
//!
//! Two miners differ in nothing but their matrices, so the secret comes from the system's entropy.

use pearl_pow::commitment::{LEAF_LEN, Leaf};

/// The key of one matrix: another key, another matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DrawKey(pub [u32; 4]);

/// What a provider's matrices are all drawn from.
#[derive(Clone, Copy)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system gives no entropy.
    pub(crate) fn new() -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|err| format!("the system gives no random numbers: {err}"))?;
        Ok(Self(secret))
    }

    /// One that is known, for tests.
    pub(crate) fn fixed(byte: u8) -> Self {
        Self([byte; 32])
    }

    /// The key of matrix `number` of device `device`; numbers are not used twice.
    pub(crate) fn key(&self, device: u32, number: u64) -> DrawKey {
        let mut block = [0; 12];
        block[..4].copy_from_slice(&device.to_le_bytes());
        block[4..].copy_from_slice(&number.to_le_bytes());
        let words = crate::shaders::to_words(blake3::keyed_hash(&self.0, &block).as_bytes());
        DrawKey([words[0], words[1], words[2], words[3]])
    }
}

impl DrawKey {
    /// Word `index` of the matrix, counted through all rows: four entries from -64 to 63.
    pub(crate) fn word(&self, index: u32) -> u32 {
        let [a, b, c, d] = self.0;
        let first = mix(index ^ a).wrapping_add(b);
        let word = mix(first ^ c).wrapping_add(d);
        let seven = mix(word) & 0x7f7f_7f7f;
        seven | (seven & 0x4040_4040) << 1
    }

    /// Leaf `index` of a matrix of `words` words, with the zeros that pad the last one.
    pub(crate) fn leaf(&self, words: u32, index: u64) -> Leaf {
        let mut leaf = [0; LEAF_LEN];
        for (i, bytes) in leaf.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let word = index * (LEAF_LEN / 4) as u64 + i as u64;
            if word < u64::from(words) {
                *bytes = self.word(word as u32).to_le_bytes();
            }
        }
        leaf
    }
}

fn mix(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x21f0_aaad);
    let x = (x ^ x >> 15).wrapping_mul(0x735a_2d97);
    x ^ x >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_in_range_and_cover_it_evenly() {
        let key = Secret::fixed(7).key(0, 1);
        let mut counts = [0_u32; 256];
        for byte in (0..32_000).flat_map(|index| key.word(index).to_le_bytes()) {
            counts[usize::from(byte)] += 1;
        }
        for value in i8::MIN..=i8::MAX {
            let count = counts[usize::from(value as u8)];
            let wanted = if (-64..64).contains(&value) { 800..1200 } else { 0..1 };
            assert!(wanted.contains(&count), "{value} came {count} times");
        }
    }

    #[test]
    fn every_matrix_of_every_device_and_secret_is_another() {
        let secret = Secret::fixed(1);
        let key = secret.key(0, 1);
        assert_eq!(key, secret.key(0, 1));
        assert_ne!(key, secret.key(0, 2));
        assert_ne!(key, secret.key(1, 1));
        assert_ne!(key, secret.key(0, 1 + (1 << 32)));
        assert_ne!(key, Secret::fixed(2).key(0, 1));
        let other = secret.key(0, 2);
        assert!((0..1000).filter(|&i| key.word(i) == other.word(i)).count() < 5);
        assert_ne!(Secret::new().unwrap().0, Secret::new().unwrap().0);
    }

    #[test]
    fn a_leaf_is_the_words_of_its_place_and_zeros_after_the_last() {
        let key = Secret::fixed(3).key(2, 9);
        let leaf = key.leaf(300, 1);
        assert_eq!(leaf[..4], key.word(256).to_le_bytes());
        assert_eq!(leaf[43 * 4..44 * 4], key.word(299).to_le_bytes());
        assert!(leaf[44 * 4..].iter().all(|&byte| byte == 0));
    }
}
