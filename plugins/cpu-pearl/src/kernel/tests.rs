//! Every kernel that this machine has, against a product written out term by term.

use proptest::prelude::*;

use super::pack::GROUP;
use super::*;

/// A small generator: the tests want spread, not secrecy.
pub(crate) struct Noise(pub u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// One side: raw rows (some absent), noise factors and pairs.
struct Operand {
    rows: Vec<Option<Vec<u8>>>,
    factors: Vec<Vec<u8>>,
    pairs: Vec<[u16; 2]>,
}

impl Operand {
    fn random(
        rng: &mut Noise,
        entries: Entries,
        rows: usize,
        padding: impl Fn(usize) -> bool,
        k: usize,
        rank: usize,
        extreme: bool,
    ) -> Self {
        let rows: Vec<_> = (0..rows)
            .map(|row| {
                (!padding(row)).then(|| {
                    let entry = |rng: &mut Noise| match (entries, extreme) {
                        (Entries::High, _) => [63i8, 64][rng.below(2) as usize],
                        (Entries::Any, true) => [-64i8, 64][rng.below(2) as usize],
                        (Entries::Any, false) => (rng.below(129) as i64 - 64) as i8,
                    };
                    (0..k).map(|_| entry(rng) as u8).collect::<Vec<_>>()
                })
            })
            .collect();
        let factors = rows
            .iter()
            .map(|row| {
                let entry = |rng: &mut Noise| match extreme {
                    true => [-32i8, 31][rng.below(2) as usize],
                    false => (rng.below(64) as i64 - 32) as i8,
                };
                (0..rank).map(|_| if row.is_some() { entry(rng) as u8 } else { 0 }).collect()
            })
            .collect();
        let pairs = (0..k)
            .map(|_| {
                let p = rng.below(rank as u64);
                [p as u16, (p ^ (1 + rng.below(rank as u64 - 1))) as u16]
            })
            .collect();
        Self { rows, factors, pairs }
    }

    /// The entry of A' or B' at (`row`, `l`).
    fn noised(&self, row: usize, l: usize) -> i32 {
        let Some(raw) = &self.rows[row] else { return 0 };
        let [p, q] = self.pairs[l].map(usize::from);
        i32::from(raw[l] as i8) + i32::from(self.factors[row][p] as i8)
            - i32::from(self.factors[row][q] as i8)
    }

    fn pack(&self, kernel: &Kernel, side: Side, depth: Depth) -> Panels {
        let height = kernel.panel_height(side);
        let count = self.rows.len() / height;
        let part = Region::allocate(kernel.panel_bytes(side, depth) * count);
        let mut panels = Panels::new(kernel, side, depth, count, part);
        let group = GROUP / height * height;
        for first in (0..self.rows.len()).step_by(group) {
            let end = (first + group).min(self.rows.len());
            let rows: Vec<_> = self.rows[first..end].iter().map(Option::as_deref).collect();
            let mut factor = vec![[0; GROUP]; depth.rank];
            for (r, row) in self.factors[first..end].iter().enumerate() {
                for (line, &entry) in factor.iter_mut().zip(row) {
                    line[r] = entry;
                }
            }
            let group =
                Group { rows: &rows, factor: &factor, pairs: &self.pairs, first_panel: first / height };
            kernel.pack(&group, &mut panels);
        }
        panels
    }
}

/// The messages of all tiles, straight from section 5.
fn expected(a: &Operand, b: &Operand, tile: (usize, usize), rank: usize, slices: usize) -> Vec<[u8; 64]> {
    let grid = |op: &Operand| -> Vec<Vec<i32>> {
        (0..op.rows.len()).map(|row| (0..rank * slices).map(|l| op.noised(row, l)).collect()).collect()
    };
    let (x, y) = (grid(a), grid(b));
    let mut messages = Vec::new();
    for left in (0..y.len()).step_by(tile.1) {
        for top in (0..x.len()).step_by(tile.0) {
            let mut sums = vec![0i32; tile.0 * tile.1];
            let mut words = [0u32; WORDS];
            for slice in 0..slices {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let (u, v) = (&x[top + i / tile.1], &y[left + i % tile.1]);
                    *sum += (slice * rank..(slice + 1) * rank).map(|l| u[l] * v[l]).sum::<i32>();
                }
                let folded = sums.iter().fold(0, |x, &sum| x ^ sum as u32);
                words[slice % WORDS] = words[slice % WORDS].rotate_left(13) ^ folded;
            }
            let mut message = [0; 64];
            message
                .chunks_exact_mut(4)
                .zip(words)
                .for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
            messages.push(message);
        }
    }
    messages
}

/// What the kernels are compared on.
#[derive(Clone, Copy)]
struct Case {
    seed: u64,
    depth: Depth,
    /// Panels of a tile, and tiles, each by rows and columns.
    tile: (usize, usize),
    tiles: (usize, usize),
    extreme: bool,
}

fn check(kernel: &Kernel, case: Case) {
    let Case { depth, tile, tiles, extreme, .. } = case;
    let mut rng = Noise(case.seed);
    let (rows, columns) = (tile.0 * kernel.rows, tile.1 * kernel.columns);
    // The last rows of every other tile are padding.
    let padded = |rows: usize| move |row: usize| (row / rows) % 2 == 1 && row % rows + 2 >= rows;
    let k = depth.rank * depth.slices;
    let [for_a, for_b] = [Side::A, Side::BT].map(|side| kernel.layout.entries(side));
    let a = Operand::random(&mut rng, for_a, rows * tiles.0, padded(rows), k, depth.rank, extreme);
    let b = Operand::random(&mut rng, for_b, columns * tiles.1, padded(columns), k, depth.rank, extreme);
    let (pa, pb) = (a.pack(kernel, Side::A, depth), b.pack(kernel, Side::BT, depth));
    // Twice, as on any day but the first: what the first one left behind must not show, and a hint changes nothing.
    let mut scratch = Scratch::default();
    kernel.multiply(&pa, &pb, tile, Next::default(), &mut scratch);
    kernel.multiply(&pa, &pb, tile, Next { a: Some(&pa), b: Some(&pb) }, &mut scratch);
    assert_eq!(
        scratch.messages(),
        expected(&a, &b, (rows, columns), depth.rank, depth.slices),
        "{}",
        kernel.name
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_kernel_of_this_machine_agrees_with_the_product_written_out(
        seed: u64,
        rank in prop::sample::select(vec![32usize, 64, 128, 256]),
        slices in 1usize..40,
        stretch in prop::sample::select(vec![1usize, 2, 4, 8, 16]),
        tile in (1usize..4, 1usize..3),
        tiles in (1usize..4, 1usize..3),
        extreme: bool,
    ) {
        let slices = slices.min(2048 / rank);
        for kernel in available() {
            check(kernel, Case { seed, depth: Depth { rank, slices, stretch }, tile, tiles, extreme });
        }
    }
}

#[test]
fn the_portable_kernel_is_always_there_and_last() {
    let names: Vec<_> = available().map(Kernel::name).collect();
    assert_eq!(names.last(), Some(&"portable"));
    // The emulated tests look for this line, to know that they ran what they were made for.
    println!("kernels: {}", names.join(" "));
}
