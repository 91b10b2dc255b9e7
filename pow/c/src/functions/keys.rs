//! Job key, roots and seeds (sections 3 and 8).
#![expect(
    clippy::missing_safety_doc,
    reason = "the conditions are the header's, and stand in the words of the module above"
)]

use pearl_pow::commitment::root;
use pearl_pow::{NoiseSeeds, job_key};

use super::given::{certificate, configuration, header_of};
use crate::borrow::{array, array_mut, slice};
use crate::error::{Error, Failure, answer};

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_job_key(
    header: *const u8,
    config: *const u8,
    key: *mut u8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            *array_mut("key", key)? = job_key(&header_of(header)?, &configuration(config)?);
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_root(
    key: *const u8,
    entries: *const i8,
    len: usize,
    result: *mut u8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let entries = slice("entries", entries, len)?;
            if entries.is_empty() {
                return Err(Failure::length("there is no root of nothing"));
            }
            *array_mut("root", result)? = root(array("key", key)?, entries);
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_seeds(
    certificate_version: u32,
    key: *const u8,
    root_a: *const u8,
    m: u32,
    root_bt: *const u8,
    n: u32,
    seed_a: *mut u8,
    seed_b: *mut u8,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let rule = certificate(certificate_version)?.seed_rule();
            let (a, bt) = ((array("root_a", root_a)?, m), (array("root_bt", root_bt)?, n));
            let seeds = NoiseSeeds::derive(rule, array("key", key)?, a, bt);
            *array_mut("seed_a", seed_a)? = seeds.a;
            *array_mut("seed_b", seed_b)? = seeds.b;
            Ok(())
        })
    }
}
