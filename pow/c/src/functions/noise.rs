//! Rows of noise, and matrices under it (section 4).
#![expect(
    clippy::missing_safety_doc,
    reason = "the conditions are the header's, and stand in the words of the module above"
)]

use pearl_pow::noise::{Noise, dense_factor_row, sparse_factor};

use super::given::{ROWS_MAX, check_rank, matrix, side};
use crate::borrow::{array, slice_mut};
use crate::error::{Error, Failure, answer};

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_noise_pairs(
    side_number: u32,
    seed: *const u8,
    rank: u16,
    columns: u32,
    plus: *mut u16,
    minus: *mut u16,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            check_rank(rank)?;
            let count = columns as usize;
            let (plus, minus) = (slice_mut("plus", plus, count)?, slice_mut("minus", minus, count)?);
            let pairs = sparse_factor(side(side_number)?, array("seed", seed)?, rank, columns);
            for (pair, (plus, minus)) in pairs.iter().zip(plus.iter_mut().zip(minus)) {
                (*plus, *minus) = (pair.plus, pair.minus);
            }
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_noise_dense(
    side_number: u32,
    seed: *const u8,
    rank: u16,
    row: u32,
    dense: *mut i8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            check_rank(rank)?;
            if row >= ROWS_MAX {
                return Err(Failure::value(format!("row {row} is not below {ROWS_MAX}")));
            }
            let dense = slice_mut("dense", dense, rank.into())?;
            dense_factor_row(side(side_number)?, array("seed", seed)?, row, dense);
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_add_noise(
    side_number: u32,
    seed: *const u8,
    rank: u16,
    columns: u32,
    first_row: u32,
    entries: *const i8,
    len: usize,
    noised: *mut i8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            check_rank(rank)?;
            let matrix = matrix("entries", entries, len, columns as usize)?;
            let noised = slice_mut("noised", noised, len)?;
            let last = u64::from(first_row) + matrix.rows() as u64;
            if last > u64::from(ROWS_MAX) {
                return Err(Failure::value(format!("row {last} is not below {ROWS_MAX}")));
            }
            let noise = Noise::new(side(side_number)?, array("seed", seed)?, rank, columns);
            for (row, places) in noised.chunks_exact_mut(columns as usize).enumerate() {
                let noise = noise.row(first_row + row as u32);
                for (place, (&entry, noise)) in places.iter_mut().zip(matrix.row(row).iter().zip(noise)) {
                    *place = entry.checked_add(noise).ok_or_else(|| {
                        Failure::value(format!("an entry is {entry}; entries are -64 to 64"))
                    })?;
                }
            }
            Ok(())
        })
    }
}
