//! Version, configurations, and what a tile is worth: the first functions of `pearl_pow.h`.
#![expect(
    clippy::missing_safety_doc,
    reason = "the conditions are the header's, and stand in the words of the module above"
)]

use std::ffi::c_char;

use pearl_pow::parameters::check_configuration;
use pearl_pow::{MiningConfiguration, PeriodicPattern};

use super::given::configuration;
use crate::borrow::{array_mut, slice};
use crate::error::{Error, Failure, answer};

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn pearl_pow_version() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

fn dense(k: u32, rank: u16, rows: PeriodicPattern, columns: PeriodicPattern) -> Result<[u8; 52], Failure> {
    let config = MiningConfiguration::dense(k, rank, rows, columns);
    check_configuration(&config).map_err(Failure::value)?;
    Ok(config.to_bytes())
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_config_contiguous(
    k: u32,
    rank: u16,
    rows: u32,
    columns: u32,
    config: *mut u8,
    error: *mut Error,
) -> u32 {
    let pattern = |what, length| {
        PeriodicPattern::contiguous(length).map_err(|err| Failure::value(format!("`{what}`: {err}")))
    };
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            *array_mut("config", config)? =
                dense(k, rank, pattern("rows", rows)?, pattern("columns", columns)?)?;
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_config_offsets(
    k: u32,
    rank: u16,
    rows: *const u64,
    rows_count: usize,
    columns: *const u64,
    columns_count: usize,
    config: *mut u8,
    error: *mut Error,
) -> u32 {
    let pattern = |what, offsets: &[u64]| {
        PeriodicPattern::from_offsets(offsets).map_err(|err| Failure::value(format!("`{what}`: {err}")))
    };
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let rows = pattern("rows", slice("rows", rows, rows_count)?)?;
            let columns = pattern("columns", slice("columns", columns, columns_count)?)?;
            *array_mut("config", config)? = dense(k, rank, rows, columns)?;
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_hashes_per_tile(
    config: *const u8,
    hashes: *mut u64,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let [hashes] = array_mut("hashes", hashes)?;
            let count = configuration(config)?.hashes_per_attempt();
            *hashes = u64::try_from(count).map_err(Failure::value)?;
            Ok(())
        })
    }
}
