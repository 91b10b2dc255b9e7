//! The chain of keys from the header to the noise (section 3).
//!
//! ```text
//! header, configuration --> job key --> root of A, root of B^T --> seed of B --> seed of A --> noise, jackpot
//! ```
//!
//! Each arrow is a hash, so that the noise cannot be known before both matrices are fixed. The seed of B
//! depends on B alone, and the seed of A on both: a miner may draw a new A and keep everything it has worked
//! out about B.

use crate::certificate::SeedRule;
use crate::config::MiningConfiguration;
use crate::header::Header;
use crate::{Digest, Side};

/// The salt of the A side, `H("pearl/cert-v3/noise-seed/A")` (section 3).
pub const SALT_A: Digest = [
    0x82, 0x49, 0x40, 0x6c, 0xa0, 0xed, 0x15, 0x16, 0x96, 0x16, 0xf6, 0x92, 0xfc, 0xf0, 0x76, 0xf8, 0x92,
    0xdb, 0xdb, 0x2a, 0x70, 0x23, 0xb8, 0x52, 0xf0, 0xd4, 0x77, 0x19, 0xc3, 0x90, 0x01, 0x7b,
];

/// The salt of the B side, `H("pearl/cert-v3/noise-seed/B")` (section 3).
pub const SALT_B: Digest = [
    0x11, 0x30, 0x06, 0x32, 0xec, 0x63, 0x01, 0xca, 0x2b, 0xe2, 0xaf, 0x71, 0x8b, 0x3f, 0x4d, 0x4f, 0x1a,
    0xe9, 0xc6, 0x39, 0x88, 0xe8, 0xcc, 0x04, 0x48, 0x44, 0x30, 0x1d, 0x71, 0xb8, 0x9a, 0xa9,
];

/// The job key: plain BLAKE3 of the 76 header bytes and the 52 configuration bytes (section 3).
pub fn job_key(header: &Header, config: &MiningConfiguration) -> Digest {
    job_key_of_bytes(header.as_bytes(), &config.to_bytes())
}

/// [`job_key`] of bytes that are already serialised (section 3).
pub fn job_key_of_bytes(header: &[u8; Header::LEN], config: &[u8; MiningConfiguration::LEN]) -> Digest {
    *blake3::Hasher::new().update(header).update(config).finalize().as_bytes()
}

/// A root bound to its matrix's number of rows, as certificate version 3 wants it (section 3,
/// `salt_a`/`salt_b`).
pub fn salted_root(side: Side, root: &Digest, rows: u32) -> Digest {
    let salt = match side {
        Side::A => &SALT_A,
        Side::BT => &SALT_B,
    };
    let mut block = [0; 64];
    block[..32].copy_from_slice(root);
    block[32..36].copy_from_slice(&rows.to_le_bytes());
    *blake3::keyed_hash(salt, &block).as_bytes()
}

/// The keys of the two noises; the one of A also keys the jackpot (section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseSeeds {
    /// `seed_a`, from both roots.
    pub a: Digest,
    /// `seed_b`, from the root of B^T alone.
    pub b: Digest,
}

impl NoiseSeeds {
    /// Derives both seeds from the job key, the transmitted roots and the number of rows of A (m) and B^T (n)
    /// (section 3).
    pub fn derive(rule: SeedRule, job_key: &Digest, a: (&Digest, u32), bt: (&Digest, u32)) -> Self {
        let b = Self::seed_b(rule, job_key, bt);
        Self { a: Self::seed_a(rule, &b, a), b }
    }

    /// `seed_b` alone: it does not change while B^T and the job stay (section 3).
    pub fn seed_b(rule: SeedRule, job_key: &Digest, (root, rows): (&Digest, u32)) -> Digest {
        hash_pair(job_key, &bound_root(rule, Side::BT, root, rows))
    }

    /// `seed_a` from `seed_b` and the root of A (section 3).
    pub fn seed_a(rule: SeedRule, seed_b: &Digest, (root, rows): (&Digest, u32)) -> Digest {
        hash_pair(seed_b, &bound_root(rule, Side::A, root, rows))
    }
}

fn bound_root(rule: SeedRule, side: Side, root: &Digest, rows: u32) -> Digest {
    match rule {
        SeedRule::Legacy => *root,
        SeedRule::Salted => salted_root(side, root, rows),
    }
}

fn hash_pair(left: &Digest, right: &Digest) -> Digest {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    *blake3::hash(&block).as_bytes()
}
