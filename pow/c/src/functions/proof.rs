//! Proofs: encoded from a tile that won, and verified (sections 7 and 9).
#![expect(
    clippy::missing_safety_doc,
    reason = "the conditions are the header's, and stand in the words of the module above"
)]

use pearl_pow::commitment::Tree;
use pearl_pow::{Job, Matrix, MatrixOpening, PeriodicPattern, PlainProof, Target, job_key, verify_bytes};

use super::given::{certificate, chain, configuration, header_of, matrix};
use crate::borrow::{array, array_mut, slice, slice_mut};
use crate::error::{Code, Error, Failure, answer};

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
