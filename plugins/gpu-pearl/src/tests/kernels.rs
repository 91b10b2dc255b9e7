//! Every kernel against `pow`, on random and extreme values, shapes with edges, and bounds.

use pearl_pow::reference::{Attempt, Product};
use pearl_pow::{Header, Matrix, SeedRule, U256};

use std::sync::Arc;

use super::{alone, software};
use crate::adapter::Adapter;
use crate::bound::Bound;
use crate::device::Device;
use crate::draw::{DrawKey, Secret};
use crate::engine::{Engine as _, speed};
use crate::kernel::{Compiled, KERNELS};
use crate::operand::Layout;
use crate::product::Bed;
use crate::selftest::{self, Outcome, entries};
use crate::shaders::HITS_MAX;
use crate::shape::{Shape, Tile};

/// A product on the device and by `pow`.
struct Both {
    outcome: Outcome,
    attempts: Vec<Attempt>,
    seeds: pearl_pow::NoiseSeeds,
    roots: [pearl_pow::Digest; 2],
    trees: [pearl_pow::Digest; 2],
}

fn both(
    device: &Device,
    compiled: &Arc<Compiled>,
    shape: Shape,
    rule: SeedRule,
    bound: &U256,
    draws: (DrawKey, DrawKey),
) -> Both {
    let mut bed = Bed::new(device, Arc::clone(compiled), shape).unwrap();
    let header = Header::from_bytes([0xa7; 76]);
    let outcome = selftest::compute(device, &mut bed, &header, rule, draws, bound).unwrap();
    let words = shape.config.common_dim / 4;
    let (a, b) = (entries(draws.0, shape.m, words), entries(draws.1, shape.n, words));
    let matrix = |entries| Matrix::new(entries, shape.config.common_dim as usize).unwrap();
    let product = Product::new(&header, &shape.config, rule, matrix(&a), matrix(&b));
    let (da, db) = bed.operands(1);
    let trees = [*da.tree(device).unwrap().root(), *db.tree(device).unwrap().root()];
    Both {
        outcome,
        attempts: product.attempts().collect(),
        seeds: *product.seeds(),
        roots: [*product.hash_a(), *product.hash_b()],
        trees,
    }
}

impl Both {
    /// Seeds, roots, and the hits that there must be.
    fn assert_equal(&self, bound: &U256, what: &str) {
        assert_eq!(self.outcome.seeds, (self.seeds.a, self.seeds.b), "{what}: seeds");
        assert_eq!(self.trees, self.roots, "{what}: roots by the nodes that come back");
        let mut expected: Vec<_> = self
            .attempts
            .iter()
            .filter(|attempt| attempt.number() <= *bound)
            .map(|attempt| (attempt.rows[0] as u32, attempt.cols[0] as u32, attempt.jackpot))
            .collect();
        let mut hits: Vec<_> =
            self.outcome.found.hits.iter().map(|hit| (hit.row, hit.column, hit.jackpot)).collect();
        expected.sort_unstable();
        hits.sort_unstable();
        assert_eq!(hits, expected, "{what}: hits");
        assert_eq!(self.outcome.found.lost, 0, "{what}");
    }
}

/// Every kernel that the device's driver claims to be able to run, compiled.
///
/// With `PEARLBED_NEED_MATRICES` set there must be one by int8 matrices and one by those of halves.
fn kernels(adapter: &Adapter, device: &Device) -> Vec<Arc<Compiled>> {
    let offered = KERNELS.iter().filter(|kernel| kernel.is_offered_by(adapter));
    let compiled: Vec<_> = offered.map(|kernel| Arc::new(kernel.compile(device).unwrap())).collect();
    for kind in ["int8-", "half-"] {
        if !compiled.iter().any(|compiled| compiled.kernel.name.starts_with(kind)) {
            assert!(std::env::var_os("PEARLBED_NEED_MATRICES").is_none(), "no {kind} matrices here");
            println!("skipped: this software device has no {kind} matrices (Mesa 26.1 has)");
        }
    }
    compiled
}

fn draws(seed: u64) -> (DrawKey, DrawKey) {
    let secret = Secret::fixed(seed as u8);
    (secret.key(1, seed), secret.key(2, seed))
}

#[test]
fn every_kernel_passes_its_self_test() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for compiled in kernels(&adapter, &device) {
        selftest::run(&device, &compiled).unwrap();
        println!("{} on {}", compiled.kernel.name, adapter.title());
    }
}

#[test]
fn every_shape_gives_the_seeds_the_roots_and_the_jackpots_of_the_reference() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    let kernels = kernels(&adapter, &device);
    // Ranks, k that is no multiple of the rank, rows that end inside of a block, numbers of leaves that are odd at
    // one height or another.
    for (m, n, k, rank) in [
        (16, 16, 1024, 32),
        (17, 31, 1024 + 64, 64),
        (129, 160, 2048, 128),
        (80, 272, 2048 + 192, 128),
        (33, 48, 4096 + 64, 256),
        (32, 49, 8192 + 64, 512),
        (16, 32, 16384, 1024),
        (300, 20, 2048, 128),
    ] {
        for compiled in &kernels {
            let name = compiled.kernel.name;
            let shape = match Shape::new(&compiled.tile, m, n, k, rank) {
                Ok(shape) => shape,
                Err(err) => {
                    // Matrices are too small for some tiles, and slices for some steps.
                    println!("{name} {m}x{n}x{k} rank {rank}: {err}");
                    assert_ne!(name, "dot4");
                    continue;
                }
            };
            let rule = if m % 2 == 0 { SeedRule::Salted } else { SeedRule::Legacy };
            let both = both(&device, compiled, shape, rule, &U256::MAX, draws(u64::from(m + n)));
            both.assert_equal(&U256::MAX, &format!("{name} {shape}"));
        }
    }
}

#[test]
fn bounds_are_compared_from_the_highest_word_to_the_lowest_and_inclusively() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for compiled in kernels(&adapter, &device) {
        let (kernel, shape) = (compiled.kernel, selftest::shape(&compiled.tile));
        let mut bed = Bed::new(&device, Arc::clone(&compiled), shape).unwrap();
        let header = Header::from_bytes([1; 76]);
        let mut run = |bound: &U256| {
            let draws = draws(3);
            let outcome =
                selftest::compute(&device, &mut bed, &header, SeedRule::Salted, draws, bound).unwrap();
            let mut hits: Vec<U256> =
                outcome.found.hits.iter().map(|hit| U256::from_le_bytes(hit.jackpot)).collect();
            hits.sort_unstable();
            hits
        };
        let all = run(&U256::MAX);
        assert!(all.len() > 20);
        assert!(run(&U256::ZERO).is_empty());
        let middle = all[all.len() / 2];
        // Equal in all words but one, which is one more or one less: each word decides in its turn.
        for word in 0..8 {
            let one = U256::from(1) << (32 * word);
            let below = middle.saturating_sub(one);
            let expected = |bound: U256| all.iter().filter(|jackpot| **jackpot <= bound).count();
            assert_eq!(run(&below).len(), expected(below), "{} word {word}", kernel.name);
            let above = middle.saturating_add(one);
            assert_eq!(run(&above).len(), expected(above), "{} word {word}", kernel.name);
        }
        assert_eq!(run(&middle).len(), all.len() / 2 + 1, "the bound itself is a hit");
        assert_eq!(run(&(middle - U256::from(1))).len(), all.len() / 2);
    }
}

#[test]
fn hits_that_have_no_room_in_the_list_are_counted() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for compiled in kernels(&adapter, &device) {
        let shape = Shape::new(&compiled.tile, 256, 1152, 2048, 128).unwrap();
        let mut bed = Bed::new(&device, Arc::clone(&compiled), shape).unwrap();
        let header = Header::from_bytes([2; 76]);
        let outcome =
            selftest::compute(&device, &mut bed, &header, SeedRule::Salted, draws(9), &U256::MAX).unwrap();
        let name = compiled.kernel.name;
        let Tile { rows, columns, .. } = compiled.tile;
        let tiles = (rows.bases(256).count() * columns.bases(1152).count()) as u32;
        assert!(tiles > HITS_MAX, "{name}");
        assert_eq!(outcome.found.hits.len() as u32, HITS_MAX, "{name}");
        assert_eq!(outcome.found.lost, tiles - HITS_MAX, "{name}");
        let hashes = u64::from(tiles) * u64::from(rows.size() * columns.size()) * 2048;
        assert_eq!(bed.hashes(0..shape.items()), hashes, "{name}");
    }
}

#[test]
fn the_limit_and_the_speed_of_every_kernel_are_measured() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = Arc::new(adapter.open().unwrap());
    for compiled in kernels(&adapter, &device) {
        let kernel = compiled.kernel;
        let shape = Shape::new(&compiled.tile, 128, 256, 2048, 128).unwrap();
        let bed = Bed::new(&device, Arc::clone(&compiled), shape).unwrap();
        let mut engine = Bound::new(Arc::clone(&device), bed);
        let time = std::time::Duration::from_millis(50);
        let (limit, speed) = (engine.limit(time).unwrap(), speed(&mut engine, time).unwrap());
        assert!(limit > 1e6 && speed > 1e6, "{} {limit:e} {speed:e}", kernel.name);
        // Registers alone are at least as fast, but for what a busy machine does to two looks of a moment.
        assert!(limit > speed / 4.0, "{} {limit:e} {speed:e}", kernel.name);
        println!("{}: product {speed:.3e}, limit {limit:.3e} on {}", kernel.name, adapter.title());
    }
}

#[test]
fn sums_are_exact_for_the_largest_entries_there_can_be() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for compiled in kernels(&adapter, &device) {
        let shape = Shape::new(&compiled.tile, 128, 128, 2048, 128).unwrap();
        let mut bed = Bed::new(&device, Arc::clone(&compiled), shape).unwrap();
        // Both are made once, so that a seed is there; then their packed entries are replaced.
        let header = Header::from_bytes([4; 76]);
        let (rule, k) = (SeedRule::Salted, 2048_usize);
        let seed_a =
            selftest::compute(&device, &mut bed, &header, rule, draws(5), &U256::ZERO).unwrap().seeds.0;
        for (name, of_a, of_b) in [
            (
                "all the largest",
                (|_, _| 127) as fn(usize, usize) -> i8,
                (|_, _| 127) as fn(usize, usize) -> i8,
            ),
            ("all the smallest", |_, _| 127, |_, _| -127),
            (
                "by rows",
                |row, _| if row % 3 == 0 { -127 } else { 127 },
                |row, _| if row % 2 == 0 { -127 } else { 126 },
            ),
            (
                "by columns",
                |row, l| if (row + l) % 2 == 0 { -127 } else { 127 },
                |row, l| if (row * l) % 5 < 2 { -127 } else { 127 },
            ),
        ] {
            let (a, b) = bed.operands(1);
            for (operand, of) in [(a, of_a), (b, of_b)] {
                let mut packed = vec![0_u32; 128 * k / 4];
                for row in 0..128 {
                    for word in 0..k / 4 {
                        let bytes = std::array::from_fn(|i| of(row, 4 * word + i) as u8);
                        let place = match compiled.kernel.layout {
                            Layout::Words => word * 128 + row,
                            Layout::Rows => word / 16 * 16 * 128 + row * 16 + word % 16,
                        };
                        packed[place] = u32::from_le_bytes(bytes);
                    }
                }
                device.queue.write_buffer(operand.packed(), 0, bytemuck::cast_slice(&packed));
            }
            let flight = bed.submit(&device, 0, 1, 0..1, &U256::MAX);
            let found = bed.land(&device, flight).unwrap();
            let rows =
                |base: u32, pattern: &pearl_pow::PeriodicPattern, of: fn(usize, usize) -> i8| -> Vec<i8> {
                    pattern
                        .tile(u64::from(base))
                        .flat_map(|row| (0..k).map(move |l| of(row as usize, l)))
                        .collect()
                };
            assert!(found.hits.len() >= 64, "{name}");
            for hit in &found.hits {
                let (a, b) = (
                    rows(hit.row, &compiled.tile.rows, of_a),
                    rows(hit.column, &compiled.tile.columns, of_b),
                );
                let transcript = pearl_pow::transcript::tile_transcript(&a, &b, k, 128);
                assert_eq!(
                    hit.jackpot,
                    transcript.jackpot(&seed_a),
                    "{} {name} {hit:?}",
                    compiled.kernel.name
                );
            }
        }
    }
}
