//! Raw pointers of the caller's, made slices.

use crate::error::{Code, Failure};

fn null(what: &str) -> Failure {
    Failure(Code::Null, format!("`{what}` is NULL"))
}

fn check<T>(what: &str, data: *const T, len: usize) -> Result<(), Failure> {
    if data.is_null() {
        return Err(null(what));
    }
    if !data.is_aligned() {
        return Err(Failure::value(format!("`{what}` is not aligned")));
    }
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::length(format!("`{what}` is longer than any memory"))),
    }
}

/// `len` items at `data`.
///
/// # Safety
///
/// Unless it is null, `data` leads to `len` initialised items that nobody writes to during `'a`.
pub(crate) unsafe fn slice<'a, T>(what: &str, data: *const T, len: usize) -> Result<&'a [T], Failure> {
    check(what, data, len)?;
    // SAFETY: the caller vouches for the items; null, alignment and size were checked.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// `len` items at `data`, to be written.
///
/// # Safety
///
/// Unless it is null, `data` leads to `len` initialised items that nobody else uses during `'a`.
pub(crate) unsafe fn slice_mut<'a, T>(what: &str, data: *mut T, len: usize) -> Result<&'a mut [T], Failure> {
    check(what, data, len)?;
    // SAFETY: as for `slice`.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, len) })
}

/// `N` items at `data`.
///
/// # Safety
///
/// As for [`slice`].
pub(crate) unsafe fn array<'a, T, const N: usize>(what: &str, data: *const T) -> Result<&'a [T; N], Failure> {
    // SAFETY: the caller vouches for `N` items.
    let items = unsafe { slice(what, data, N) }?;
    items.try_into().map_err(|_| null(what))
}

/// `N` items at `data`, to be written.
///
/// # Safety
///
/// As for [`slice_mut`].
pub(crate) unsafe fn array_mut<'a, T, const N: usize>(
    what: &str,
    data: *mut T,
) -> Result<&'a mut [T; N], Failure> {
    // SAFETY: the caller vouches for `N` items.
    let items = unsafe { slice_mut(what, data, N) }?;
    items.try_into().map_err(|_| null(what))
}
