//! Many keyed BLAKE3 hashes of one block each, side by side.
//!
//! Noise and jackpots are hashes of 64-byte messages under one key. One call per message costs five times what the
//! instruction sets allow, so they go through the part of the `blake3` crate that hashes many inputs at a time. That
//! part is public but not documented: the crate's version is pinned, and a test compares it with the documented way.

use blake3::IncrementCounter;
use blake3::platform::Platform;
use pearl_pow::Digest;

/// Messages handed over at a time: the widest instruction set's number of lanes.
const WIDTH: usize = 16;

/// Flags of BLAKE3's compression function.
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;

/// The keyed hash of each message, in order.
pub(crate) fn hash_blocks(key: &Digest, messages: &[[u8; 64]], digests: &mut Vec<Digest>) {
    let platform = Platform::detect();
    let mut words = [0u32; 8];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    digests.clear();
    digests.resize(messages.len(), [0; 32]);
    for (messages, digests) in messages.chunks(WIDTH).zip(digests.chunks_mut(WIDTH)) {
        let mut inputs = [&[0; 64]; WIDTH];
        inputs.iter_mut().zip(messages).for_each(|(input, message)| *input = message);
        platform.hash_many(
            &inputs[..messages.len()],
            &words,
            0,
            IncrementCounter::No,
            KEYED_HASH,
            CHUNK_START,
            CHUNK_END | ROOT,
            digests.as_flattened_mut(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hashes_equal_the_documented_single_one() {
        let key: Digest = std::array::from_fn(|i| i as u8);
        for count in [0, 1, 7, 16, 17, 40] {
            let messages: Vec<[u8; 64]> =
                (0..count).map(|i| std::array::from_fn(|j| (i * 31 + j) as u8)).collect();
            let mut digests = Vec::new();
            hash_blocks(&key, &messages, &mut digests);
            let expected: Vec<Digest> =
                messages.iter().map(|m| *blake3::keyed_hash(&key, m).as_bytes()).collect();
            assert_eq!(digests, expected);
        }
    }
}
