//! The Pearl proof of work, pure: no I/O, no clock, no threads of its own.
//!
//! Pearl pays for multiplying matrices. A miner picks two int8 matrices, commits to them, adds noise that
//! depends on the commitment, multiplies, and keeps a trace of the running sums of every small *tile* of the
//! product. The hash of such a trace is a lottery ticket, the *jackpot*. There is no nonce: more tickets come
//! from more tiles, other matrices or a new header. To show a winning ticket it is enough to open the few
//! rows that the tile was made of.
//!
//! This crate is what both sides stand on. A miner builds proofs with it, and [`verify()`] checks them. The
//! sections that everything here refers to are those of `docs/pearl-protocol.md` in the repository.
//!
//! ```text
//! header ┐                  ┌ root of A   ┐             ┌ noise of A ┐
//!        ├ job key ─ trees ─┤             ├─ 2 seeds ───┤            ├ tile ─ 16 words ─ jackpot
//! config ┘                  └ root of B^T ┘             └ noise of B ┘
//! ```
//!
//! | to understand | read | sections |
//! |---|---|---|
//! | what is mined for | [`header`], [`config`], [`pattern`], [`certificate`] | 1, 2, 12 |
//! | what is hashed into what | [`keys`], [`commitment`] | 3, 8 |
//! | what is multiplied | [`noise`], [`transcript`], [`mod@reference`] | 4, 5 |
//! | what counts as a hit | [`difficulty`], [`shares`] | 6 |
//! | what is sent, and how it is judged | [`proof`], [`opening`], [`mod@verify`], [`parameters`], [`diagnosis`] | 7, 9, 15 |
//! | who is paid | [`address`] | 13 |
//!
//! # One tiny proof, by hand
//!
//! The smallest legal proof is too large to follow, so here is a smaller one: A has 4 rows and B has 6
//! columns, of only 64 entries each, and a tile is 2 × 2. Everything else is as in earnest. Nothing but
//! BLAKE3 is used until the last step, which compares the result with this crate's. Every step starts from
//! the numbers that the one before found.
//!
//! **1. The job key** (section 3) is the hash of 128 bytes: the header, exactly as it came, and the
//! configuration, which says k = 64, rank r = 32, and that a tile is two neighbouring rows of A and two
//! neighbouring columns of B.
//!
//! ```
//! # fn hex(text: &str) -> Vec<u8> {
//! #     (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
//! # }
//! let header = hex(concat!(
//!     "00000020",                                                         // version
//!     "4c81f2eb4ea42f7f05a0c233193a1966143ee22506206247ac59131e0f7f294c", // previous block, reversed
//!     "480d3b7e404927eacd1c479cf3d58c06b607c5a6fbf4397bd4ac647aee28ae7a", // merkle root, reversed
//!     "813bb16a",                                                         // time
//!     "0000011e",                                                         // compact target 0x1e010000
//! ));
//! let configuration = hex(concat!(
//!     "40000000",     // k = 64
//!     "2000",         // rank 32
//!     "0000",         // Int7 × Int7 → Int32, the only type there is
//!     "000100000000", // rows: stride 1, length 2, each less one
//!     "000100000000", // columns: the same
//!     "0000000000000000000000000000000000000000000000000000000000000000",
//! ));
//! let job_key = blake3::hash(&[header, configuration].concat());
//! assert_eq!(job_key.to_string(), "f537ebc57ff3db5906c87a03d7169e6cc62bc532608eb0951b418f8146e2603d");
//! ```
//!
//! **2. The commitment** (sections 3 and 8). The miner chooses the entries, −64 to 64. B is kept transposed,
//! so that a column of B is a row of memory. Each matrix is filled up with zeros to a multiple of 1024 bytes
//! and hashed with the job key as the key. From here on the matrices are fixed: another entry is another
//! root.
//!
//! ```
//! # fn hex(text: &str) -> [u8; 32] {
//! #     std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
//! # }
//! # use pearl_pow::reference::test_matrix;
//! let job_key = hex("f537ebc57ff3db5906c87a03d7169e6cc62bc532608eb0951b418f8146e2603d");
//! let a = test_matrix(1, 4 * 64); // pseudo-random: −57, 6, 54, 23, …
//! let bt = test_matrix(2, 6 * 64);
//! let root = |matrix: &[i8]| {
//!     let mut bytes: Vec<u8> = matrix.iter().map(|&entry| entry as u8).collect();
//!     bytes.resize(bytes.len().next_multiple_of(1024), 0);
//!     blake3::keyed_hash(&job_key, &bytes)
//! };
//! assert_eq!(root(&a), hex("7ef252c424e97926bedf5be99bd8bf570319bcf74df8d36edeb3fb6db80a0246"));
//! assert_eq!(root(&bt), hex("b6877e08163ec9f9f68f3287a319ae3c5c00d5efc9f2145bfd70b7120672eb43"));
//! ```
//!
//! **3. The seeds** (section 3). Certificate version 3 first binds each root to its number of rows, which is
//! called salting; versions 1 and 2 take the roots as they are. The seed of B comes first, and the seed of A
//! depends on it.
//!
//! ```
//! # fn hex(text: &str) -> [u8; 32] {
//! #     std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
//! # }
//! let job_key = hex("f537ebc57ff3db5906c87a03d7169e6cc62bc532608eb0951b418f8146e2603d");
//! let hash_a = hex("7ef252c424e97926bedf5be99bd8bf570319bcf74df8d36edeb3fb6db80a0246");
//! let hash_b = hex("b6877e08163ec9f9f68f3287a319ae3c5c00d5efc9f2145bfd70b7120672eb43");
//! let salted = |salt: &str, root: [u8; 32], rows: u32| {
//!     let block = [&root[..], &rows.to_le_bytes(), &[0; 28]].concat();
//!     *blake3::keyed_hash(blake3::hash(salt.as_bytes()).as_bytes(), &block).as_bytes()
//! };
//! let bound_a = salted("pearl/cert-v3/noise-seed/A", hash_a, 4);
//! let bound_b = salted("pearl/cert-v3/noise-seed/B", hash_b, 6);
//! let seed_b = *blake3::hash(&[job_key, bound_b].concat()).as_bytes();
//! let seed_a = *blake3::hash(&[seed_b, bound_a].concat()).as_bytes();
//! assert_eq!(seed_b, hex("1bf0d1bf4228b9cb4c22b5abf0e4818361277995f3e2dab5fce6f36de2752896"));
//! assert_eq!(seed_a, hex("2cfe896f23e0b9f3ab69ff1b421c5ab07d7a6d56b8c2a847b5f14bdb3f4b999a"));
//! ```
//!
//! **4. The noise** (section 4). All randomness is drawn in numbered blocks of 32 bytes. Slot 0 gives every
//! *row* r small numbers; slot 1 gives every *column* two places among them. The noise of an entry is the
//! difference of the numbers at its column's two places in its row. Take row 2, column 0 of A, where the
//! miner's entry is 1:
//!
//! ```
//! # fn hex(text: &str) -> [u8; 32] {
//! #     std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
//! # }
//! let seed_a = hex("2cfe896f23e0b9f3ab69ff1b421c5ab07d7a6d56b8c2a847b5f14bdb3f4b999a");
//! let block = |slot: usize, number: u32| {
//!     let mut message = [0; 64];
//!     message[4 * slot..4 * slot + 4].copy_from_slice(&(number + 1).to_le_bytes());
//!     message[32..40].copy_from_slice(b"A_tensor");
//!     *blake3::keyed_hash(&seed_a, &message).as_bytes()
//! };
//! // Row 2: its 32 numbers are one block, because r is 32.
//! let small = block(0, 2).map(|byte| (byte & 63) as i8 - 32);
//! // Column 0: the first of the eight words of block 0.
//! let word = u32::from_le_bytes(block(1, 0)[..4].try_into().unwrap());
//! let plus = word & 31;
//! let minus = plus ^ (1 + ((31 * u64::from(word)) >> 32) as u32); // never `plus` itself
//! assert_eq!((plus, minus), (7, 15));
//! assert_eq!((small[7], small[15]), (-27, 10));
//! assert_eq!(1 + small[7] - small[15], -36); // this is what is multiplied
//! ```
//!
//! **5. The transcript** (section 5). A tile's sums grow r columns at a time, and after each slice all sums
//! are folded into one word by exclusive or. Here are the noised rows 2 and 3 of A and of B^T; there are two
//! slices.
//!
//! ```
//! # use pearl_pow::{*, reference::*};
//! # let header = Header::from_hex("000000204c81f2eb4ea42f7f05a0c233193a1966143ee22506206247ac59131e0f7f294c480d3b7e\
//! # 404927eacd1c479cf3d58c06b607c5a6fbf4397bd4ac647aee28ae7a813bb16a0000011e").unwrap();
//! # let pair = PeriodicPattern::from_offsets(&[0, 1]).unwrap();
//! # let config = MiningConfiguration::dense(64, 32, pair, pair);
//! # let (a, bt) = (test_matrix(1, 4 * 64), test_matrix(2, 6 * 64));
//! # let matrix = |entries| Matrix::new(entries, 64).unwrap();
//! # let product = Product::new(&header, &config, SeedRule::Salted, matrix(&a), matrix(&bt));
//! # let rows = |noised: &[i8]| [noised[128..192].to_vec(), noised[192..256].to_vec()];
//! # let (a, bt) = (rows(product.a_noised()), rows(product.bt_noised()));
//! assert_eq!(a[0][..8], [-36, -18, -13, -18, -9, 1, -8, -21]); // row 2 of A, as begun above
//! assert_eq!(bt[0][..8], [28, -43, -86, 37, 19, 61, -62, 2]); // row 2 of B^T
//!
//! let mut sums = [[0i32; 2]; 2];
//! let mut words = [0u32; 16];
//! for slice in 0..2 {
//!     for column in 32 * slice..32 * (slice + 1) {
//!         for i in 0..2 {
//!             for j in 0..2 {
//!                 sums[i][j] += i32::from(a[i][column]) * i32::from(bt[j][column]);
//!             }
//!         }
//!     }
//!     let fold = (sums[0][0] ^ sums[0][1] ^ sums[1][0] ^ sums[1][1]) as u32;
//!     words[slice % 16] = words[slice % 16].rotate_left(13) ^ fold;
//!     match slice {
//!         0 => assert_eq!((sums, fold), ([[-16333, 4306], [-3499, -12078]], 0xffff_f266)),
//!         _ => assert_eq!((sums, fold), ([[-21738, 16339], [-7051, 4232]], 0x0000_6038)), // they run on
//!     }
//! }
//! assert_eq!(words[..3], [0xffff_f266, 0x0000_6038, 0]);
//! ```
//!
//! **6. The jackpot** (sections 5 and 6) is the hash of the sixteen words under the seed of A, read as a
//! number whose first byte is the least significant one. It is a hit if it is not above the bound: the
//! target, times the multiply-accumulates that the tile cost, 2·2·64 = 256.
//!
//! ```
//! # fn hex(text: &str) -> [u8; 32] {
//! #     std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
//! # }
//! use pearl_pow::U256;
//! let seed_a = hex("2cfe896f23e0b9f3ab69ff1b421c5ab07d7a6d56b8c2a847b5f14bdb3f4b999a");
//! let mut message = [0; 64];
//! message[..8].copy_from_slice(&[0x66, 0xf2, 0xff, 0xff, 0x38, 0x60, 0, 0]);
//! let jackpot = blake3::keyed_hash(&seed_a, &message);
//! let number = U256::from_le_bytes(*jackpot.as_bytes());
//! assert_eq!(format!("{number:064x}"), "03c505a90ac066286e328ace0512f45a246d2b94def3a89c72ff3663003f0da9");
//!
//! let target = U256::from(1) << 242; // a very easy one
//! let bound = target * U256::from(256);
//! assert_eq!(format!("{bound:064x}"), format!("{:0<64}", "04"));
//! assert!(number <= bound);
//! ```
//!
//! **7. The proof** (sections 7 to 9) opens the tile's rows. The crate's own miner finds the same tile, and
//! no other before it. A verifier follows the proof as far as the roots and then refuses: no network takes a
//! product this small.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pearl_pow::reference::{Product, test_matrix};
//! use pearl_pow::{CertificateVersion, Header, Job, Matrix, MiningConfiguration, PeriodicPattern, Target, U256};
//!
//! # let header = Header::from_hex("000000204c81f2eb4ea42f7f05a0c233193a1966143ee22506206247ac59131e0f7f294c480d3b7e\
//! # 404927eacd1c479cf3d58c06b607c5a6fbf4397bd4ac647aee28ae7a813bb16a0000011e")?;
//! let pair = PeriodicPattern::from_offsets(&[0, 1])?;
//! let config = MiningConfiguration::dense(64, 32, pair, pair);
//! let certificate = CertificateVersion::V3;
//! let (a, bt) = (test_matrix(1, 4 * 64), test_matrix(2, 6 * 64));
//! let (a, bt) = (Matrix::new(&a, 64)?, Matrix::new(&bt, 64)?);
//! let product = Product::new(&header, &config, certificate.seed_rule(), a, bt);
//!
//! let target = Target(U256::from(1) << 242);
//! let hit = product.mine(target.plain_bound(&config)).expect("we have just found it by hand");
//! assert_eq!((hit.rows.as_slice(), hit.cols.as_slice()), (&[2, 3][..], &[2, 3][..]));
//! assert_eq!(hit.jackpot[28..], [0xa9, 0x05, 0xc5, 0x03]);
//!
//! // One leaf of 1024 bytes of each matrix, no siblings, and 2 + 2 rows.
//! let proof = product.prove(&hit);
//! assert_eq!(proof.encode().len(), 177 + 1040 * 2 + 32 * 0 + 8 * 4);
//!
//! let job = Job { header, target: Some(target), certificate, rank_penalty: false };
//! let refused = pearl_pow::verify(&job, &proof).unwrap_err();
//! assert_eq!(refused.to_string(), "k = 64 is smaller than 1024 (rule 13)");
//! # Ok(())
//! # }
//! ```
//!
//! From here to a legal proof only sizes change: k of at least 2048 with rank 128, 32 to 256 sums in a tile,
//! and matrices with so many leaves that a few *siblings* stand in for the unopened rest of the tree.
//!
//! # What this crate does not do
//!
//! It multiplies no faster than it must to verify: a miner brings its own kernel and uses [`keys`],
//! [`noise`], [`transcript::Transcript`], [`Tree`] and [`MatrixOpening`] around it. It knows dense Int7
//! products only: mixture-of-experts proofs and certificate versions from 4 on are typed errors.
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
