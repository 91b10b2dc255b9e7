//! A plain miner that is obviously right and takes its time.
//!
//! It follows the page of section 0 line by line, keeps whole matrices and whole noise matrices in memory,
//! and shares nothing with the verifier beyond the hashes. Fast kernels are compared with it; nobody should
//! earn with it.

use crate::certificate::SeedRule;
use crate::commitment::Tree;
use crate::config::MiningConfiguration;
use crate::difficulty::jackpot_number;
use crate::header::Header;
use crate::keys::{NoiseSeeds, job_key};
use crate::noise::Noise;
use crate::opening::{Matrix, MatrixOpening};
use crate::proof::PlainProof;
use crate::transcript::Transcript;
use crate::{Digest, Side, U256};

/// A product that was set up and committed to: matrices, trees, seeds and noised matrices (sections 3 and 4).
#[derive(Debug, Clone)]
pub struct Product<'a> {
    config: MiningConfiguration,
    a: Matrix<'a>,
    bt: Matrix<'a>,
    a_tree: Tree,
    bt_tree: Tree,
    seeds: NoiseSeeds,
    a_noised: Vec<i8>,
    bt_noised: Vec<i8>,
}

/// One tile's result (section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The tile's rows of A.
    pub rows: Vec<u64>,
    /// The tile's rows of B^T.
    pub cols: Vec<u64>,
    /// The exclusive or of all sums after each slice.
    pub xors: Vec<u32>,
    /// The sixteen words.
    pub transcript: Transcript,
    /// The jackpot.
    pub jackpot: Digest,
}

impl Attempt {
    /// The jackpot as the number that is compared (section 5).
    pub fn number(&self) -> U256 {
        jackpot_number(&self.jackpot)
    }
}

impl<'a> Product<'a> {
    /// Commits to `a` (m × k) and `bt` (n × k) and adds the noise.
    ///
    /// # Panics
    ///
    /// If a matrix does not have `k` columns, or the rank is not one of section 7, rule 9.
    pub fn new(
        header: &Header,
        config: &MiningConfiguration,
        rule: SeedRule,
        a: Matrix<'a>,
        bt: Matrix<'a>,
    ) -> Self {
        let k = config.common_dim as usize;
        assert!(a.columns() == k && bt.columns() == k, "both matrices have k columns");
        let key = job_key(header, config);
        let (a_tree, bt_tree) = (Tree::new(&key, a.entries()), Tree::new(&key, bt.entries()));
        let seeds = NoiseSeeds::derive(
            rule,
            &key,
            (a_tree.root(), a.rows() as u32),
            (bt_tree.root(), bt.rows() as u32),
        );
        let a_noised = noised(a, &Noise::new(Side::A, &seeds.a, config.rank, config.common_dim));
        let bt_noised = noised(bt, &Noise::new(Side::BT, &seeds.b, config.rank, config.common_dim));
        Self { config: *config, a, bt, a_tree, bt_tree, seeds, a_noised, bt_noised }
    }

    /// The root of A, `hash_a` (section 3).
    pub fn hash_a(&self) -> &Digest {
        self.a_tree.root()
    }

    /// The root of B^T, `hash_b` (section 3).
    pub fn hash_b(&self) -> &Digest {
        self.bt_tree.root()
    }

    /// The seeds of the noise (section 3).
    pub fn seeds(&self) -> &NoiseSeeds {
        &self.seeds
    }

    /// A with its noise, row by row (section 4).
    pub fn a_noised(&self) -> &[i8] {
        &self.a_noised
    }

    /// B^T with its noise, row by row (section 4).
    pub fn bt_noised(&self) -> &[i8] {
        &self.bt_noised
    }

    /// Computes the tile whose first row of A is `row_base` and whose first row of B^T is `col_base` (section
    /// 5).
    ///
    /// # Panics
    ///
    /// If the tile reaches outside of a matrix.
    pub fn attempt(&self, row_base: u64, col_base: u64) -> Attempt {
        let rows: Vec<u64> = self.config.rows.tile(row_base).collect();
        let cols: Vec<u64> = self.config.cols.tile(col_base).collect();
        let (k, rank) = (self.config.common_dim as usize, usize::from(self.config.rank));

        let mut sums = vec![0i32; rows.len() * cols.len()];
        let mut transcript = Transcript::default();
        let mut xors = Vec::new();
        for slice in 0..k / rank {
            for (i, &row) in rows.iter().enumerate() {
                for (j, &col) in cols.iter().enumerate() {
                    for l in slice * rank..(slice + 1) * rank {
                        let a = i32::from(self.a_noised[row as usize * k + l]);
                        let b = i32::from(self.bt_noised[col as usize * k + l]);
                        sums[i * cols.len() + j] += a * b;
                    }
                }
            }
            let xor = sums.iter().fold(0, |xor, &sum| xor ^ sum as u32);
            transcript.fold(xor);
            xors.push(xor);
        }
        let jackpot = transcript.jackpot(&self.seeds.a);
        Attempt { rows, cols, xors, transcript, jackpot }
    }

    /// Every tile, row tiles in the outer loop and column tiles in the inner one (section 2.2).
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> + '_ {
        let (m, n) = (self.a.rows() as u64, self.bt.rows() as u64);
        self.config.rows.bases(m).flat_map(move |row_base| {
            self.config.cols.bases(n).map(move |col_base| self.attempt(row_base, col_base))
        })
    }

    /// The first tile whose jackpot is not above `bound`, or `None` if no tile of this product is (section
    /// 0).
    ///
    /// `bound` is the scaled one: [`Target::bound`](crate::Target::bound).
    pub fn mine(&self, bound: U256) -> Option<Attempt> {
        self.attempts().find(|attempt| attempt.number() <= bound)
    }

    /// The proof of a tile (section 9).
    pub fn prove(&self, attempt: &Attempt) -> PlainProof {
        PlainProof {
            m: self.a.rows() as u64,
            n: self.bt.rows() as u64,
            k: u64::from(self.config.common_dim),
            noise_rank: u64::from(self.config.rank),
            a: MatrixOpening::new(&self.a_tree, self.a, &attempt.rows),
            bt: MatrixOpening::new(&self.bt_tree, self.bt, &attempt.cols),
        }
    }
}

fn noised(matrix: Matrix<'_>, noise: &Noise) -> Vec<i8> {
    (0..matrix.rows())
        .flat_map(|row| {
            matrix.row(row).iter().zip(noise.row(row as u32)).map(|(&entry, noise)| entry + noise)
        })
        .collect()
}

/// Fills a matrix from a seed that is not 0, with the generator of the test vectors (xorshift64\*): −64 to
/// 64.
///
/// Good enough for tests and benchmarks. A miner draws from the operating system's randomness, because two
/// workers with the same matrices do the same work.
pub fn test_matrix(seed: u64, entries: usize) -> Vec<i8> {
    let mut state = seed;
    (0..entries)
        .map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let out = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
            (((out >> 32) % 129) as i16 - 64) as i8
        })
        .collect()
}
