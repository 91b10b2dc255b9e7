//! The functions of `pearl_pow.h`, in its order. Sections are those of `docs/pearl-protocol.md`.
//!
//! # Safety
//!
//! What the header asks of its callers is what each function here asks: pointers lead to so much memory as their names
//! and lengths say, or are null where the header allows it; results do not overlap with anything else.
#![expect(
    clippy::missing_safety_doc,
    reason = "the conditions are the header's, and stand in this module's own words"
)]

use std::ffi::c_char;

use pearl_pow::commitment::{Tree, root};
use pearl_pow::difficulty::jackpot_number;
use pearl_pow::noise::{Noise, dense_factor_row, sparse_factor};
use pearl_pow::parameters::check_configuration;
use pearl_pow::transcript::{Transcript, tile_transcript};
use pearl_pow::{
    CertificateVersion, Digest, Header, Job, Matrix, MatrixOpening, MiningConfiguration, NoiseSeeds,
    PeriodicPattern, PlainProof, Side, Target, U256, job_key, verify_bytes,
};

use crate::borrow::{array, array_mut, slice, slice_mut};
use crate::error::{Code, Error, Failure, answer};

/// The largest number of a row of which the dense factor can be drawn (section 4).
const ROWS_MAX: u32 = 1 << 24;

fn certificate(number: u32) -> Result<CertificateVersion, Failure> {
    CertificateVersion::try_from(number).map_err(|err| Failure(Code::Certificate, err.to_string()))
}

fn side(number: u32) -> Result<Side, Failure> {
    match number {
        0 => Ok(Side::A),
        1 => Ok(Side::BT),
        _ => Err(Failure::value(format!("side {number} is neither PEARL_POW_A nor PEARL_POW_BT"))),
    }
}

fn check_rank(rank: u16) -> Result<(), Failure> {
    if rank.is_power_of_two() && (32..=1024).contains(&rank) {
        return Ok(());
    }
    Err(Failure::value(format!("rank {rank} is no power of two from 32 to 1024")))
}

fn chain(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), |cause| format!("{err}: {}", chain(cause)))
}

/// # Safety
///
/// `config` is null or leads to 52 bytes.
unsafe fn configuration(config: *const u8) -> Result<MiningConfiguration, Failure> {
    // SAFETY: the caller vouches for the bytes.
    let bytes: &[u8; MiningConfiguration::LEN] = unsafe { array("config", config) }?;
    let config = MiningConfiguration::from_bytes(bytes).map_err(|err| Failure::value(chain(&err)))?;
    check_configuration(&config).map_err(Failure::value)?;
    Ok(config)
}

/// # Safety
///
/// `header` is null or leads to 76 bytes.
unsafe fn header_of(header: *const u8) -> Result<Header, Failure> {
    // SAFETY: the caller vouches for the bytes.
    let bytes: &[u8; Header::LEN] = unsafe { array("header", header) }?;
    Ok(Header::from_bytes(*bytes))
}

/// A matrix of whole rows of `columns`.
///
/// # Safety
///
/// `entries` is null or leads to `len` entries.
unsafe fn matrix<'a>(
    what: &str,
    entries: *const i8,
    len: usize,
    columns: usize,
) -> Result<Matrix<'a>, Failure> {
    // SAFETY: the caller vouches for the entries.
    let entries = unsafe { slice(what, entries, len) }?;
    let matrix = Matrix::new(entries, columns).map_err(|err| Failure::length(format!("`{what}`: {err}")))?;
    if matrix.rows() as u64 > u64::from(ROWS_MAX) {
        return Err(Failure::length(format!("`{what}` has more than {ROWS_MAX} rows")));
    }
    Ok(matrix)
}

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

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_prove(
    header: *const u8,
    config: *const u8,
    a: *const i8,
    a_len: usize,
    bt: *const i8,
    bt_len: usize,
    row: u64,
    column: u64,
    proof: *mut u8,
    room: usize,
    len: *mut usize,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let (header, config) = (header_of(header)?, configuration(config)?);
            let k = config.common_dim as usize;
            let (a, bt) = (matrix("a", a, a_len, k)?, matrix("bt", bt, bt_len, k)?);
            let [len] = array_mut("len", len)?;
            let key = job_key(&header, &config);
            let open = |what, matrix: Matrix<'_>, pattern: &PeriodicPattern, base: u64| {
                let rows = matrix.rows() as u64;
                let last = base.checked_add(pattern.max_offset().into());
                if !pattern.is_base(base) || last.is_none_or(|last| last >= rows) {
                    return Err(Failure::value(format!(
                        "no tile of a matrix of {rows} rows begins at {what} {base}"
                    )));
                }
                let tile: Vec<u64> = pattern.tile(base).collect();
                Ok(MatrixOpening::new(&Tree::new(&key, matrix.entries()), matrix, &tile))
            };
            let bytes = PlainProof {
                m: a.rows() as u64,
                n: bt.rows() as u64,
                k: u64::from(config.common_dim),
                noise_rank: u64::from(config.rank),
                a: open("row", a, &config.rows, row)?,
                bt: open("column", bt, &config.cols, column)?,
            }
            .encode();
            *len = bytes.len();
            if room < bytes.len() {
                return Err(Failure(
                    Code::Room,
                    format!("the proof has {} bytes, there is room for {room}", bytes.len()),
                ));
            }
            slice_mut("proof", proof, bytes.len())?.copy_from_slice(&bytes);
            Ok(())
        })
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pearl_pow_verify(
    header: *const u8,
    target: *const u8,
    certificate_version: u32,
    rank_penalty: u32,
    proof: *const u8,
    len: usize,
    error: *mut Error,
) -> u32 {
    // SAFETY: the caller keeps the header's word.
    unsafe {
        answer(error, || {
            let target =
                if target.is_null() { None } else { Some(Target::from_le_bytes(*array("target", target)?)) };
            let job = Job {
                header: header_of(header)?,
                target,
                certificate: certificate(certificate_version)?,
                rank_penalty: rank_penalty != 0,
            };
            let proof = slice("proof", proof, len)?;
            verify_bytes(&job, proof).map(drop).map_err(|refusal| {
                let stage = refusal.stage().map(|stage| format!("{stage}: ")).unwrap_or_default();
                Failure(Code::Refused, format!("{stage}{}", chain(&refusal)))
            })
        })
    }
}
