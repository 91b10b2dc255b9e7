//! The object dialect that Pearl's open pools speak (family A of the pool protocol), as text and types.
//!
//! Lines in, types out, and back; nothing here does I/O, reads a clock or decides anything about a connection. Three
//! parties share it: the client of a pool, the reference pool of the devnet, and a port where mining programs connect.
//!
//! ```text
//!                 client                                   server
//! to_pool    authorize, submit, ping  ---------------->  from_miner
//! from_pool  replies, jobs, targets   <----------------  to_miner
//! reply      what a reply means       (client)
//! ```
//!
//! What comes in is hostile text. A line is bounded by whoever reads it ([`POOL_LINE_BYTES_MAX`]); here every member is
//! taken apart on its own, so that a bad one is named and does not hide the others, and every text that is kept is
//! cleaned and cut.
//!
//! # Limitations
//!
//! Families B (positional) and C (gRPC) are recognised and not spoken.

pub mod encoding;
pub mod from_miner;
pub mod from_pool;
pub mod reply;
pub mod target;
pub mod to_miner;
pub mod to_pool;

pub use encoding::Encoding;
pub use from_pool::{FromPool, JobError, JobLine};
pub use reply::{Class, Verdict};

/// The longest line that is read from a pool, without its newline (pool protocol section 2).
pub const POOL_LINE_BYTES_MAX: usize = 256 * 1024;

/// The longest line that is sent to a pool, without its newline, and read from a miner (pool protocol section 2).
pub const MINER_LINE_BYTES_MAX: usize = 1 << 20;

/// The longest job name that is taken, as JSON text: it is echoed with every share.
pub const JOB_ID_BYTES_MAX: usize = 4096;

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text always becomes JSON")
}

#[cfg(test)]
mod tests;
