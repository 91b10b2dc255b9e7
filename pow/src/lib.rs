//! The Pearl proof of work, pure: no I/O, no clock, no threads.
#![forbid(unsafe_code)]

pub mod address;
pub mod certificate;
pub mod commitment;
pub mod config;
pub mod diagnosis;
pub mod difficulty;
pub mod header;
mod hex;
pub mod keys;
mod matrix;
pub mod noise;
pub mod opening;
pub mod parameters;
pub mod pattern;
pub mod proof;
pub mod reference;
pub mod shares;
pub mod transcript;
pub mod verify;

pub use address::{Address, AddressError};
pub use certificate::{CertificateVersion, SeedRule, UnsupportedCertificate};
pub use commitment::Tree;
pub use config::MiningConfiguration;
pub use difficulty::{CompactTarget, Target};
pub use header::Header;
pub use keys::{NoiseSeeds, job_key};
pub use opening::{Matrix, MatrixOpening};
pub use parameters::ParameterError;
pub use pattern::PeriodicPattern;
pub use proof::{DecodeError, Encoding, PlainProof};
pub use ruint::aliases::U256;
pub use verify::{Job, Rejection, Stage, Verified, verify, verify_bytes};

/// A 32-byte BLAKE3 output, in the order in which BLAKE3 emits it.
pub type Digest = [u8; 32];

/// Which of the two matrices something belongs to (section 2).
///
/// Written out, `A` is the m × k matrix and `BT` is B transposed, n × k: a *row* of `BT` is a column of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left matrix, m × k.
    A,
    /// The right matrix transposed, n × k.
    BT,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::BT => "B^T",
        })
    }
}
