//! The Pearl proof of work, pure: no I/O, no clock, no threads of its own.
//!
//! Pearl pays for multiplying matrices. A miner picks two int8 matrices, commits to them, adds noise that depends on
//! the commitment, multiplies, and keeps a trace of the running sums of every small *tile* of the product. The hash of
//! such a trace is a lottery ticket, the *jackpot*. There is no nonce: more tickets come from more tiles, other matrices
//! or a new header. To show a winning ticket it is enough to open the few rows that the tile was made of.
//!
//! This crate is what both sides stand on. A miner builds proofs with it, and [`verify()`] checks them. The sections
//! that everything here refers to are those of `docs/pearl-protocol.md` in the repository.
//!
//! ```text
//! header ┐                  ┌ root of A   ┐             ┌ noise of A ┐
//!        ├ job key ─ trees ─┤             ├ two seeds ──┤            ├ tile ─ 16 words ─ jackpot ≤ bound?
//! config ┘                  └ root of B^T ┘             └ noise of B ┘
//! ```
//!
//! | to understand | read | sections |
//! |---|---|---|
//! | what is mined for | [`header`], [`config`], [`pattern`], [`certificate`] | 1, 2, 12 |
//! | what is hashed into what | [`keys`], [`commitment`] | 3, 8 |
//! | what is multiplied | [`noise`], [`transcript`], [`mod@reference`] | 4, 5 |
//! | what counts as a hit | [`difficulty`], [`shares`] | 6 |
//! | what is sent, and how it is judged | [`proof`], [`opening`], [`parameters`], [`mod@verify`], [`diagnosis`] | 7, 9, 15 |
//! | who is paid | [`address`] | 13 |
//!
//! # One tiny proof, by hand
//!
//! The smallest legal proof is too large to follow, so here is a smaller one: A has 4 rows and B 6 columns, of only
//! 64 entries each, and a tile is 2 × 2. Everything else is as in earnest. Only BLAKE3 is used, until the last step
//! compares the result with this crate's.
//!
//! **The job key** is the hash of 128 bytes: the header as it came, and the configuration, which says k = 64,
//! rank r = 32, and that tiles are two neighbouring rows of A and two neighbouring columns of B (section 3).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use blake3::{hash, keyed_hash};
//! use pearl_pow::{Header, MiningConfiguration, PeriodicPattern};
//!
//! let header = Header::from_hex(concat!(
//!     "00000020",                                                         // version
//!     "4c81f2eb4ea42f7f05a0c233193a1966143ee22506206247ac59131e0f7f294c", // previous block, reversed
//!     "480d3b7e404927eacd1c479cf3d58c06b607c5a6fbf4397bd4ac647aee28ae7a", // merkle root, reversed
//!     "813bb16a",                                                         // time
//!     "0000011e",                                                         // compact target 0x1e010000
//! ))?;
//! let pair = PeriodicPattern::from_offsets(&[0, 1])?;
//! let config = MiningConfiguration::dense(64, 32, pair, pair);
//! assert_eq!(config.to_bytes()[..20], [
//!     64, 0, 0, 0, // k
//!     32, 0, // rank
//!     0, 0, // Int7 × Int7 → Int32, the only type
//!     0, 1, 0, 0, 0, 0, // rows: stride 1, length 2, each less one
//!     0, 1, 0, 0, 0, 0, // columns
//! ]); // the other 32 bytes are zero
//! let job_key = *hash(&[&header.as_bytes()[..], &config.to_bytes()].concat()).as_bytes();
//! assert_eq!(job_key[..4], [0xf5, 0x37, 0xeb, 0xc5]);
//!
//! // The matrices: B is kept transposed, so that a column of it is a row of memory.
//! let a = pearl_pow::reference::test_matrix(1, 4 * 64);
//! let bt = pearl_pow::reference::test_matrix(2, 6 * 64);
//! assert_eq!(a[2 * 64..][..6], [1, -25, 6, -27, -32, 27]); // row 2 of A
//!
//! // The commitment: each matrix, filled up with zeros to a multiple of 1024 bytes, hashed under the job key.
//! let root = |matrix: &[i8]| {
//!     let mut bytes: Vec<u8> = matrix.iter().map(|&entry| entry as u8).collect();
//!     bytes.resize(bytes.len().next_multiple_of(1024), 0);
//!     *keyed_hash(&job_key, &bytes).as_bytes()
//! };
//! let (hash_a, hash_b) = (root(&a), root(&bt));
//! assert_eq!((hash_a[0], hash_b[0]), (0x7e, 0xb6));
//!
//! // The seeds. Certificate version 3 first binds each root to its number of rows ("salting").
//! let salted = |salt: &str, root: &[u8; 32], rows: u8| {
//!     let mut block = [0; 64];
//!     block[..32].copy_from_slice(root);
//!     block[32] = rows; // as four bytes, of which the others stay zero
//!     *keyed_hash(hash(salt.as_bytes()).as_bytes(), &block).as_bytes()
//! };
//! let bound_a = salted("pearl/cert-v3/noise-seed/A", &hash_a, 4);
//! let bound_b = salted("pearl/cert-v3/noise-seed/B", &hash_b, 6);
//! let seed_b = *hash(&[job_key, bound_b].concat()).as_bytes();
//! let seed_a = *hash(&[seed_b, bound_a].concat()).as_bytes();
//! assert_eq!((seed_b[0], seed_a[0]), (0x1b, 0x2c));
//!
//! // The noise. All its randomness is blocks of 32 bytes, numbered from 1, in two slots.
//! fn block(seed: &[u8; 32], label: &[u8; 8], slot: usize, number: u8) -> [u8; 32] {
//!     let mut message = [0; 64];
//!     message[4 * slot] = number; // as four bytes, of which the others stay zero
//!     message[32..40].copy_from_slice(label);
//!     *keyed_hash(seed, &message).as_bytes()
//! }
//! // Slot 0 gives every row of the matrix one block of small numbers (r = 32 of them, so one block a row) …
//! fn dense(seed: &[u8; 32], label: &[u8; 8], row: usize) -> [i8; 32] {
//!     block(seed, label, 0, row as u8 + 1).map(|byte| (byte & 63) as i8 - 32)
//! }
//! // … and slot 1 gives every column two places in it, eight columns a block.
//! fn places(seed: &[u8; 32], label: &[u8; 8], column: usize) -> (usize, usize) {
//!     let bytes = block(seed, label, 1, (column / 8) as u8 + 1);
//!     let word = u32::from_le_bytes(bytes.as_chunks().0[column % 8]);
//!     let plus = word & 31;
//!     let minus = plus ^ (1 + ((31 * u64::from(word)) >> 32) as u32); // never plus itself
//!     (plus as usize, minus as usize)
//! }
//! // An entry's noise is the difference of the two.
//! let noised = |matrix: &[i8], seed: &[u8; 32], label: &[u8; 8], row: usize, column: usize| {
//!     let (plus, minus) = places(seed, label, column);
//!     let dense = dense(seed, label, row);
//!     matrix[row * 64 + column] + (dense[plus] - dense[minus])
//! };
//! let a_noised = |row, column| noised(&a, &seed_a, b"A_tensor", row, column);
//! let bt_noised = |row, column| noised(&bt, &seed_b, b"B_tensor", row, column);
//! // Row 2, column 0 of A: the entry is 1, the places are 7 and 15, and there stand -27 and 10.
//! assert_eq!(places(&seed_a, b"A_tensor", 0), (7, 15));
//! assert_eq!(a_noised(2, 0), 1 + (-27 - 10));
//!
//! // The transcript of the tile of rows 2, 3 and columns 2, 3. After each slice of r columns the four running sums
//! // are folded into one word.
//! let mut sums = [[0i32; 2]; 2];
//! let mut words = [0u32; 16];
//! let mut after_slice = Vec::new();
//! for slice in 0..64 / 32 {
//!     for column in slice * 32..(slice + 1) * 32 {
//!         for (i, sums) in sums.iter_mut().enumerate() {
//!             for (j, sum) in sums.iter_mut().enumerate() {
//!                 *sum += i32::from(a_noised(2 + i, column)) * i32::from(bt_noised(2 + j, column));
//!             }
//!         }
//!     }
//!     let fold = sums.iter().flatten().fold(0, |fold, &sum| fold ^ sum as u32);
//!     words[slice % 16] = words[slice % 16].rotate_left(13) ^ fold;
//!     after_slice.push((sums, fold));
//! }
//! assert_eq!(after_slice[0], ([[-16333, 4306], [-3499, -12078]], 0xffff_f266));
//! assert_eq!(after_slice[1], ([[-21738, 16339], [-7051, 4232]], 0x0000_6038));
//!
//! // The jackpot, a number whose first byte is the least significant one.
//! let message: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
//! let jackpot = *keyed_hash(&seed_a, &message).as_bytes();
//! assert_eq!(jackpot[28..], [0xa9, 0x05, 0xc5, 0x03]); // 0x03c505a9…
//!
//! // The bound is the target times the work of a tile, h·w·k = 256. With this target it is 0x0400…: a hit.
//! use pearl_pow::{Target, U256};
//! let target = Target(U256::from(1_u64) << 242_usize);
//! let bound = target.plain_bound(&config);
//! assert_eq!(bound, target.0 * U256::from(2 * 2 * 64_u64));
//! assert!(U256::from_le_bytes(jackpot) <= bound);
//!
//! // The crate's own miner finds the same tile, and nothing before it.
//! use pearl_pow::{Matrix, reference::Product, verify};
//! let version = pearl_pow::CertificateVersion::V3;
//! let (a, bt) = (Matrix::new(&a, 64)?, Matrix::new(&bt, 64)?);
//! let product = Product::new(&header, &config, version.seed_rule(), a, bt);
//! let hit = product.mine(bound).expect("we have just found it by hand");
//! assert_eq!((hit.rows[0], hit.cols[0], hit.jackpot), (2, 2, jackpot));
//!
//! // The proof opens the rows: here one leaf of 1024 bytes of each matrix, which is all of it.
//! let proof = product.prove(&hit);
//! assert_eq!(proof.encode().len(), 177 + 1040 * 2 + 32 * 0 + 8 * (2 + 2));
//!
//! // A verifier follows the roots, and then refuses: no network takes a product this small.
//! let job = pearl_pow::Job { header, target: Some(target), certificate: version, rank_penalty: false };
//! let refused = verify(&job, &proof).unwrap_err();
//! assert_eq!(refused.to_string(), "k = 64 is smaller than 1024 (rule 13)");
//! # Ok(())
//! # }
//! ```
//!
//! From here to a legal proof only sizes change: k of at least 2048 with rank 128, 32 to 256 sums in a tile, and
//! matrices with so many leaves that a few *siblings* stand in for the unopened rest of the tree.
//!
//! # What this crate does not do
//!
//! It multiplies no faster than it must to verify: a miner brings its own kernel and uses [`keys`], [`noise`],
//! [`transcript::Transcript`], [`Tree`] and [`MatrixOpening`] around it. It knows dense Int7 products only: mixture-of-experts
//! proofs and certificate versions from 4 on are typed errors.
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
