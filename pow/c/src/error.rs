//! Failures as a number and a text in the caller's memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call answers: the `PEARL_POW_` numbers of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// It did what it says.
    Ok = 0,
    /// A pointer is null that must not be.
    Null = 1,
    /// A length does not fit the others.
    Length = 2,
    /// A number or a configuration is not allowed.
    Value = 3,
    /// A certificate version that is not known.
    Certificate = 4,
    /// The result needs more room.
    Room = 5,
    /// The proof is not valid.
    Refused = 6,
    /// A fault of this library's.
    Fault = 7,
}

/// The caller's place for a failure: `pearl_pow_error`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// A [`Code`].
    pub code: u32,
    /// What went wrong, ending with a NUL.
    pub text: [u8; 252],
}

impl Error {
    /// Nothing went wrong yet.
    pub const NONE: Self = Self { code: 0, text: [0; 252] };

    /// The text up to its NUL.
    pub fn text(&self) -> &str {
        let end = self.text.iter().position(|&byte| byte == 0).unwrap_or(self.text.len());
        std::str::from_utf8(&self.text[..end]).unwrap_or_default()
    }
}

/// A failure on its way out.
pub(crate) struct Failure(pub Code, pub String);

impl Failure {
    pub(crate) fn value(why: impl std::fmt::Display) -> Self {
        Self(Code::Value, why.to_string())
    }

    pub(crate) fn length(why: impl std::fmt::Display) -> Self {
        Self(Code::Length, why.to_string())
    }
}

/// Runs `call`, and turns what became of it into a code and a text.
///
/// # Safety
///
/// `error` is null or leads to a place for an [`Error`].
pub(crate) unsafe fn answer(error: *mut Error, call: impl FnOnce() -> Result<(), Failure>) -> u32 {
    let (code, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => (Code::Ok, String::new()),
        Ok(Err(Failure(code, text))) => (code, text),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            // Dropping what somebody panicked with may panic again.
            std::mem::forget(payload);
            (Code::Fault, text.unwrap_or_default())
        }
    };
    if !error.is_null() && error.is_aligned() {
        let mut told = Error { code: code as u32, ..Error::NONE };
        let mut end = text.len().min(told.text.len() - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        told.text[..end].copy_from_slice(&text.as_bytes()[..end]);
        // SAFETY: the caller vouches for the place.
        unsafe { error.write(told) };
    }
    code as u32
}
