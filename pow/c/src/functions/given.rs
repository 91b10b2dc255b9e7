//! What the functions are given, taken apart and checked before anything else is done with it.

use pearl_pow::parameters::check_configuration;
use pearl_pow::{CertificateVersion, Header, Matrix, MiningConfiguration, Side};

use crate::borrow::{array, slice};
use crate::error::{Code, Failure};

/// The largest number of a row of which the dense factor can be drawn (section 4).
pub(super) const ROWS_MAX: u32 = 1 << 24;

pub(super) fn certificate(number: u32) -> Result<CertificateVersion, Failure> {
    CertificateVersion::try_from(number).map_err(|err| Failure(Code::Certificate, err.to_string()))
}

pub(super) fn side(number: u32) -> Result<Side, Failure> {
    match number {
        0 => Ok(Side::A),
        1 => Ok(Side::BT),
        _ => Err(Failure::value(format!("side {number} is neither PEARL_POW_A nor PEARL_POW_BT"))),
    }
}

pub(super) fn check_rank(rank: u16) -> Result<(), Failure> {
    if rank.is_power_of_two() && (32..=1024).contains(&rank) {
        return Ok(());
    }
    Err(Failure::value(format!("rank {rank} is no power of two from 32 to 1024")))
}

pub(super) fn chain(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), |cause| format!("{err}: {}", chain(cause)))
}

/// # Safety
///
/// `config` is null or leads to 52 bytes.
pub(super) unsafe fn configuration(config: *const u8) -> Result<MiningConfiguration, Failure> {
    // SAFETY: the caller vouches for the bytes.
    let bytes: &[u8; MiningConfiguration::LEN] = unsafe { array("config", config) }?;
    let config = MiningConfiguration::from_bytes(bytes).map_err(|err| Failure::value(chain(&err)))?;
    check_configuration(&config).map_err(Failure::value)?;
    Ok(config)
}

/// # Safety
///
/// `header` is null or leads to 76 bytes.
pub(super) unsafe fn header_of(header: *const u8) -> Result<Header, Failure> {
    // SAFETY: the caller vouches for the bytes.
    let bytes: &[u8; Header::LEN] = unsafe { array("header", header) }?;
    Ok(Header::from_bytes(*bytes))
}

/// A matrix of whole rows of `columns`.
///
/// # Safety
///
/// `entries` is null or leads to `len` entries.
pub(super) unsafe fn matrix<'a>(
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
