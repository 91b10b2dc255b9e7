//! The product: what a provider is there for. Everything in this file may be done faster.

use std::fs::File;
use std::io::{self, Read};

use pearl_pow::difficulty::jackpot_number;
use pearl_pow::noise::Noise;
use pearl_pow::transcript::Transcript;
use pearl_pow::{
    Header, Matrix, MatrixOpening, MiningConfiguration, NoiseSeeds, PeriodicPattern, PlainProof, SeedRule,
    Side, Tree, U256, job_key,
};

/// Entries in a row of both matrices.
const K: usize = 2048;
/// The rank of the noise, and the columns of one slice.
const RANK: usize = 128;
/// Rows of A and columns of B in a tile.
const TILE: usize = 16;
/// Rows of A, and columns of B.
const ROWS: usize = 8 * TILE;

/// Multiply-accumulates of one tile.
pub const HASHES_PER_TILE: u64 = (TILE * TILE * K) as u64;

/// The product that is computed.
pub fn config() -> MiningConfiguration {
    let tile = PeriodicPattern::contiguous(TILE as u32).expect("neighbouring rows are a pattern");
    MiningConfiguration::dense(K as u32, RANK as u16, tile, tile)
}

/// The first row and column of every tile.
pub fn tiles() -> impl Iterator<Item = (usize, usize)> {
    (0..ROWS).step_by(TILE).flat_map(|row| (0..ROWS).step_by(TILE).map(move |column| (row, column)))
}

/// A thread's memory, used again for each product.
#[derive(Default)]
pub struct Room {
    a: Vec<i8>,
    bt: Vec<i8>,
    a_noised: Vec<i8>,
    bt_noised: Vec<i8>,
}

/// Two matrices that were committed to, with their noise.
pub struct Product<'a> {
    room: &'a Room,
    a_tree: Tree,
    bt_tree: Tree,
    seeds: NoiseSeeds,
}

impl Room {
    /// Draws new matrices for the job with this header.
    pub fn draw(&mut self, header: &Header, rule: SeedRule) -> io::Result<Product<'_>> {
        let mut random = File::open("/dev/urandom")?;
        for entries in [&mut self.a, &mut self.bt] {
            let mut bytes = vec![0_u8; ROWS * K];
            random.read_exact(&mut bytes)?;
            entries.clear();
            // -64 to 63: two miners with the same entries would do the same work.
            entries.extend(bytes.iter().map(|byte| (byte & 127) as i8 - 64));
        }
        let key = job_key(header, &config());
        let (a_tree, bt_tree) = (Tree::new(&key, &self.a), Tree::new(&key, &self.bt));
        let rows = ROWS as u32;
        let seeds = NoiseSeeds::derive(rule, &key, (a_tree.root(), rows), (bt_tree.root(), rows));
        noise(Side::A, &seeds.a, &self.a, &mut self.a_noised);
        noise(Side::BT, &seeds.b, &self.bt, &mut self.bt_noised);
        Ok(Product { room: self, a_tree, bt_tree, seeds })
    }
}

fn noise(side: Side, seed: &pearl_pow::Digest, entries: &[i8], noised: &mut Vec<i8>) {
    let noise = Noise::new(side, seed, RANK as u16, K as u32);
    noised.clear();
    for (row, entries) in entries.chunks_exact(K).enumerate() {
        noised.extend(entries.iter().zip(noise.row(row as u32)).map(|(entry, noise)| entry + noise));
    }
}

impl Product<'_> {
    /// The jackpot of the tile whose first row is `row` and whose first column is `column`.
    pub fn jackpot(&self, row: usize, column: usize) -> U256 {
        let (a, bt) = (&self.room.a_noised[row * K..], &self.room.bt_noised[column * K..]);
        let mut sums = [[0_i32; TILE]; TILE];
        let mut transcript = Transcript::default();
        for slice in (0..K).step_by(RANK) {
            let mut folded = 0;
            for (i, sums) in sums.iter_mut().enumerate() {
                let row = &a[i * K + slice..][..RANK];
                for (j, sum) in sums.iter_mut().enumerate() {
                    let column = &bt[j * K + slice..][..RANK];
                    *sum += row.iter().zip(column).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
                    folded ^= *sum as u32;
                }
            }
            transcript.fold(folded);
        }
        jackpot_number(&transcript.jackpot(&self.seeds.a))
    }

    /// The proof of that tile, as its bytes.
    pub fn prove(&self, row: usize, column: usize) -> Vec<u8> {
        let open = |tree: &Tree, entries: &[i8], first: usize| {
            let rows: Vec<u64> = (first as u64..).take(TILE).collect();
            MatrixOpening::new(tree, Matrix::new(entries, K).expect("rows are whole"), &rows)
        };
        PlainProof {
            m: ROWS as u64,
            n: ROWS as u64,
            k: K as u64,
            noise_rank: RANK as u64,
            a: open(&self.a_tree, &self.room.a, row),
            bt: open(&self.bt_tree, &self.room.bt, column),
        }
        .encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_finds_what_the_reference_finds() {
        let header = Header::from_bytes([5; 76]);
        let mut room = Room::default();
        let product = room.draw(&header, SeedRule::Salted).expect("the system has randomness");
        let matrix = |entries| Matrix::new(entries, K).expect("rows are whole");
        let (a, bt) = (matrix(&product.room.a), matrix(&product.room.bt));
        let reference = pearl_pow::reference::Product::new(&header, &config(), SeedRule::Salted, a, bt);
        for (row, column) in [(0, 0), (16, 112)] {
            let attempt = reference.attempt(row as u64, column as u64);
            assert_eq!(product.jackpot(row, column), attempt.number());
            assert_eq!(product.prove(row, column), reference.prove(&attempt).encode());
        }
    }
}
