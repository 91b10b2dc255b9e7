//! Transcript, jackpot and bound (sections 5 and 6).
#![expect(
    clippy::missing_safety_doc,
    reason = "the conditions are the header's, and stand in the words of the module above"
)]

use pearl_pow::difficulty::jackpot_number;
use pearl_pow::transcript::{Transcript, tile_transcript};
use pearl_pow::{Digest, PeriodicPattern, Target, U256};

use super::given::configuration;
use crate::borrow::{array, array_mut, slice};
use crate::error::{Error, Failure, answer};

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_fold(words: *mut u32, slice: u32, xor_of_sums: u32) {
    if words.is_null() || !words.is_aligned() {
        return;
    }
    // SAFETY: the caller passes sixteen words.
    let word = unsafe { &mut *words.add(slice as usize % 16) };
    *word = word.rotate_left(13) ^ xor_of_sums;
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_tile(
    config: *const u8,
    a: *const i8,
    a_len: usize,
    bt: *const i8,
    bt_len: usize,
    words: *mut u32,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let config = configuration(config)?;
            let length = config.dot_product_length() as usize;
            let expect = |what, len, pattern: &PeriodicPattern| {
                let expected = pattern.size() as usize * length;
                if len == expected {
                    return Ok(());
                }
                Err(Failure::length(format!("`{what}` has {len} entries, the tile's rows have {expected}")))
            };
            expect("a", a_len, &config.rows)?;
            expect("bt", bt_len, &config.cols)?;
            let (a, bt) = (slice("a", a, a_len)?, slice("bt", bt, bt_len)?);
            *array_mut("words", words)? = *tile_transcript(a, bt, length, config.rank.into()).words();
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_jackpot(
    seed_a: *const u8,
    words: *const u32,
    jackpot: *mut u8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let words: &[u32; 16] = array("words", words)?;
            *array_mut("jackpot", jackpot)? = Transcript::from(*words).jackpot(array("seed_a", seed_a)?);
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_bound(
    target: *const u8,
    config: *const u8,
    rank_penalty: u32,
    bound: *mut u8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let target = Target::from_le_bytes(*array("target", target)?);
            let number = target.bound(&configuration(config)?, rank_penalty != 0);
            *array_mut("bound", bound)? = number.to_le_bytes::<32>();
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_is_hit(jackpot: *const u8, bound: *const u8) -> u32 {
    // SAFETY: the caller keeps the header's word.
    let both = unsafe { (array("jackpot", jackpot), array("bound", bound)) };
    let (Ok(jackpot), Ok(bound)) = both else { return 0 };
    let jackpot: &Digest = jackpot;
    (jackpot_number(jackpot) <= U256::from_le_bytes::<32>(*bound)).into()
}
