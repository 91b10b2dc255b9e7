//! Everything up to the noise: shape, patterns, leaves, roots, parameters and values (section 7, rules 2 to 23).
//!
//! Here a hostile proof is met. Each step is bounded by the proof's own length or by a step before it.

use super::{Deviation, Passed, Rejection};
use crate::certificate::SeedRule;
use crate::commitment::{LEAF_LEN, Leaf, OpeningError, leaf_count, leaves_of_rows, recompute_root};
use crate::config::MiningConfiguration;
use crate::header::Header;
use crate::keys::{NoiseSeeds, job_key};
use crate::noise::Noise;
use crate::opening::MatrixOpening;
use crate::parameters::{check_configuration, check_tile};
use crate::pattern::PeriodicPattern;
use crate::proof::PlainProof;
use crate::transcript::{Transcript, tile_transcript};
use crate::{Digest, Side};

/// A proof whose roots, shape and values are right: everything up to the noise (rules 2 to 23).
pub(crate) struct Opened<'a> {
    proof: &'a PlainProof,
    pub(crate) config: MiningConfiguration,
    pub(crate) job_key: Digest,
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(super) row_base: u64,
    pub(super) col_base: u64,
    /// The columns that take part of the tile's rows of A, one row after the other.
    pub(crate) a: Vec<i8>,
    /// The same of B^T.
    pub(crate) bt: Vec<i8>,
    pub(super) deviations: Vec<Deviation>,
}

impl<'a> Opened<'a> {
    pub(crate) fn of(
        header: &Header,
        proof: &'a PlainProof,
        observer: &mut dyn FnMut(Passed),
    ) -> Result<Self, Rejection> {
        let (m, n) = (fits("m", proof.m)?, fits("n", proof.n)?);
        let k = fits("k", proof.k)?;
        let rank = fits("noise_rank", proof.noise_rank)?;
        for (side, opening, rows) in [(Side::A, &proof.a, m), (Side::BT, &proof.bt, n)] {
            check_shape(side, opening, rows, k)?;
        }
        observer(Passed::Shape { m, n, k, rank });

        let pattern = |side, opening: &MatrixOpening| {
            PeriodicPattern::from_rows(&opening.row_indices).map_err(|err| Rejection::Pattern { side, err })
        };
        let (rows, row_base) = pattern(Side::A, &proof.a)?;
        let (cols, col_base) = pattern(Side::BT, &proof.bt)?;
        let config = MiningConfiguration::dense(k, rank, rows, cols);
        observer(Passed::Pattern { config, row_base, col_base });

        let mut deviations = Vec::new();
        let a_leaves = Leaves::of(Side::A, &proof.a, &config, &mut deviations)?;
        let bt_leaves = Leaves::of(Side::BT, &proof.bt, &config, &mut deviations)?;
        observer(Passed::Leaves { a: a_leaves.0.len(), bt: bt_leaves.0.len() });

        let job_key = job_key(header, &config);
        for (side, opening, leaves) in [(Side::A, &proof.a, &a_leaves), (Side::BT, &proof.bt, &bt_leaves)] {
            let recomputed = recompute_root(&job_key, opening.total_leaves, &leaves.0, &opening.siblings)
                .map_err(|err| Rejection::Opening { side, err })?;
            if recomputed.root != opening.root {
                let (computed, transmitted) = (recomputed.root, opening.root);
                return Err(Rejection::Root { side, computed, transmitted });
            }
            if recomputed.surplus_siblings > 0 {
                deviations.push(Deviation::SurplusSiblings { side, count: recomputed.surplus_siblings });
            }
            observer(Passed::Root { side, root: opening.root, job_key });
        }

        check_configuration(&config)?;
        check_tile(Side::A, u64::from(m), row_base + u64::from(rows.max_offset()))?;
        check_tile(Side::BT, u64::from(n), col_base + u64::from(cols.max_offset()))?;
        observer(Passed::Parameters);

        let a = a_leaves.strip(Side::A, &proof.a.row_indices, &config)?;
        let bt = bt_leaves.strip(Side::BT, &proof.bt.row_indices, &config)?;
        observer(Passed::Values { entries: a.len() + bt.len() });
        Ok(Self { proof, config, job_key, m, n, row_base, col_base, a, bt, deviations })
    }

    pub(crate) fn seeds(&self, rule: SeedRule) -> NoiseSeeds {
        self.seeds_bound_to(rule, self.m, self.n)
    }

    /// The seeds with other numbers than m and n in the salted roots.
    pub(crate) fn seeds_bound_to(&self, rule: SeedRule, m: u32, n: u32) -> NoiseSeeds {
        NoiseSeeds::derive(rule, &self.job_key, (&self.proof.a.root, m), (&self.proof.bt.root, n))
    }

    /// The strips of both matrices with their noise.
    pub(crate) fn noised(&self, seeds: &NoiseSeeds) -> (Vec<i8>, Vec<i8>) {
        let (rank, length) = (self.config.rank, self.config.dot_product_length());
        let a = Noise::new(Side::A, &seeds.a, rank, length);
        let bt = Noise::new(Side::BT, &seeds.b, rank, length);
        (
            add_noise(&self.a, &a, &self.proof.a.row_indices),
            add_noise(&self.bt, &bt, &self.proof.bt.row_indices),
        )
    }

    pub(crate) fn transcript(&self, a: &[i8], bt: &[i8]) -> Transcript {
        tile_transcript(a, bt, self.config.dot_product_length() as usize, usize::from(self.config.rank))
    }
}

/// Rule 2.
fn fits<T: TryFrom<u64> + Limit>(field: &'static str, value: u64) -> Result<T, Rejection> {
    T::try_from(value).map_err(|_| Rejection::TooWide { field, value, limit: T::LIMIT })
}

trait Limit {
    const LIMIT: u64;
}

impl Limit for u32 {
    const LIMIT: u64 = Self::MAX as u64;
}

impl Limit for u16 {
    const LIMIT: u64 = Self::MAX as u64;
}

/// Rules 3 to 5.
fn check_shape(side: Side, opening: &MatrixOpening, rows: u32, k: u32) -> Result<(), Rejection> {
    let (rows, columns) = (u64::from(rows), u64::from(k));
    let (declared, implied) = (opening.total_leaves, leaf_count(rows * columns));
    if declared != implied {
        return Err(Rejection::TreeSize { side, declared, rows, columns, implied });
    }
    match opening.row_indices.iter().find(|&&row| row >= rows) {
        Some(&row) => Err(Rejection::RowOutside { side, row, rows }),
        None => Ok(()),
    }
}

/// The opened leaves of one matrix, ascending by index.
struct Leaves<'a>(Vec<(u64, &'a Leaf)>);

impl<'a> Leaves<'a> {
    /// Sorts the leaves and checks that they cover the part of the listed rows that takes part (rule 7).
    fn of(
        side: Side,
        opening: &'a MatrixOpening,
        config: &MiningConfiguration,
        deviations: &mut Vec<Deviation>,
    ) -> Result<Self, Rejection> {
        let (leaves, indices) = (opening.leaves.len(), opening.leaf_indices.len());
        if leaves != indices {
            return Err(Rejection::Opening { side, err: OpeningError::CountMismatch { leaves, indices } });
        }
        let mut leaves: Vec<(u64, &Leaf)> =
            opening.leaf_indices.iter().copied().zip(&opening.leaves).collect();
        if !leaves.is_sorted_by_key(|&(index, _)| index) {
            deviations.push(Deviation::LeafOrder { side });
            leaves.sort_by_key(|&(index, _)| index);
        }

        let columns = u64::from(config.common_dim);
        let length = u64::from(config.dot_product_length());
        for &row in &opening.row_indices {
            let start = row * columns;
            for leaf in start / LEAF_LEN as u64..leaf_count(start + length) {
                if leaves.binary_search_by_key(&leaf, |&(index, _)| index).is_err() {
                    return Err(Rejection::LeafMissing { side, row, leaf });
                }
            }
        }
        // Compared one by one: a hostile `k` makes the list on the right much longer than the proof.
        if !leaves.iter().map(|&(index, _)| index).eq(leaves_of_rows(&opening.row_indices, columns)) {
            deviations.push(Deviation::LeafSet { side });
        }
        Ok(Self(leaves))
    }

    /// The columns that take part of the listed rows, one row after the other (rule 23).
    fn strip(&self, side: Side, rows: &[u64], config: &MiningConfiguration) -> Result<Vec<i8>, Rejection> {
        let length = config.dot_product_length() as usize;
        let mut strip = Vec::with_capacity(rows.len() * length);
        for &row in rows {
            let mut position = row * u64::from(config.common_dim);
            let end = strip.len() + length;
            while strip.len() < end {
                let (leaf, offset) = (position / LEAF_LEN as u64, (position % LEAF_LEN as u64) as usize);
                let at = self.0.binary_search_by_key(&leaf, |&(index, _)| index).expect("rule 7 was checked");
                let taken = (LEAF_LEN - offset).min(end - strip.len());
                strip.extend(self.0[at].1[offset..offset + taken].iter().map(|&byte| byte as i8));
                position += taken as u64;
            }
            let entries = &strip[end - length..];
            if let Some(column) = entries.iter().position(|entry| !(-64..=64).contains(entry)) {
                let value = entries[column];
                return Err(Rejection::ValueRange { side, row, column: column as u64, value });
            }
        }
        Ok(strip)
    }
}

/// Adds the noise of `rows` to their strip; |entry| ≤ 64 and |noise| ≤ 63, so nothing overflows (section 4).
fn add_noise(strip: &[i8], noise: &Noise, rows: &[u64]) -> Vec<i8> {
    let mut strip = strip.to_vec();
    let length = noise.pairs().len();
    for (entries, &row) in strip.chunks_exact_mut(length).zip(rows) {
        // Rule 19 keeps rows below 2^24.
        for (entry, noise) in entries.iter_mut().zip(noise.row(row as u32)) {
            *entry += noise;
        }
    }
    strip
}
