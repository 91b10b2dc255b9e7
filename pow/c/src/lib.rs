//! The Pearl proof of work for C: `pearl_pow.h`, over the crate `pearl-pow`.
//!
//! The header is the contract: it says what each function does, in C's words. This crate owns the way across: raw
//! pointers become slices once, in `borrow`, everything is checked before it is used, and no panic leaves.
//!
//! Nothing is allocated across the boundary and nothing is kept between calls.

mod borrow;
mod error;
mod functions;

pub use self::error::{Code, Error};
pub use self::functions::*;
