//! The functions of `pearl_pow.h`. Sections are those of `docs/pearl-protocol.md`.
//!
//! # Safety
//!
//! What the header asks of its callers is what each function here asks: pointers lead to so much memory as their names
//! and lengths say, or are null where the header allows it; results do not overlap with anything else.

mod config;
mod given;
mod keys;
mod noise;
mod proof;
mod tile;

pub use self::config::*;
pub use self::keys::*;
pub use self::noise::*;
pub use self::proof::*;
pub use self::tile::*;
