//! Every kernel against `pow`, on random and extreme values, shapes with edges, and bounds.

use pearl_pow::reference::{Attempt, Product};
use pearl_pow::{Header, Matrix, SeedRule, U256};

use super::{alone, software};
use crate::device::Device;
use crate::draw::{DrawKey, Secret};
use crate::kernel::{KERNELS, Kernel};
use crate::product::Bed;
use crate::selftest::{self, Outcome, entries};
use crate::shaders::HITS_MAX;
use crate::shape::Shape;

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
    kernel: &'static Kernel,
    shape: Shape,
    rule: SeedRule,
    bound: &U256,
    draws: (DrawKey, DrawKey),
) -> Both {
    let mut bed = Bed::new(device, kernel.compile(device).unwrap(), shape).unwrap();
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

fn draws(seed: u64) -> (DrawKey, DrawKey) {
    let secret = Secret::fixed(seed as u8);
    (secret.key(1, seed), secret.key(2, seed))
}

#[test]
fn every_kernel_passes_its_self_test() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for kernel in KERNELS {
        selftest::run(&device, kernel).unwrap();
    }
}

#[test]
fn every_shape_gives_the_seeds_the_roots_and_the_jackpots_of_the_reference() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
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
        for kernel in KERNELS {
            let Ok(shape) = Shape::new(kernel, m, n, k, rank) else {
                println!("{} takes no {m}x{n}x{k}", kernel.name);
                continue;
            };
            let rule = if m % 2 == 0 { SeedRule::Salted } else { SeedRule::Legacy };
            let both = both(&device, kernel, shape, rule, &U256::MAX, draws(u64::from(m + n)));
            both.assert_equal(&U256::MAX, &format!("{} {shape}", kernel.name));
        }
    }
}

#[test]
fn bounds_are_compared_from_the_highest_word_to_the_lowest_and_inclusively() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for kernel in KERNELS {
        let shape = selftest::shape(kernel);
        let mut bed = Bed::new(&device, kernel.compile(&device).unwrap(), shape).unwrap();
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
    let kernel = &KERNELS[0];
    let shape = Shape::new(kernel, 256, 1152, 2048, 128).unwrap();
    let mut bed = Bed::new(&device, kernel.compile(&device).unwrap(), shape).unwrap();
    let header = Header::from_bytes([2; 76]);
    let outcome =
        selftest::compute(&device, &mut bed, &header, SeedRule::Salted, draws(9), &U256::MAX).unwrap();
    let tiles = 16 * 72;
    assert_eq!(outcome.found.hits.len() as u32, HITS_MAX);
    assert_eq!(outcome.found.lost, tiles - HITS_MAX);
    assert_eq!(bed.hashes(0..shape.items()), u64::from(tiles) * 256 * 2048);
}

#[test]
fn the_limit_and_the_speed_of_every_kernel_are_measured() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    let device = adapter.open().unwrap();
    for kernel in KERNELS {
        let shape = Shape::new(kernel, 128, 256, 2048, 128).unwrap();
        let mut bed = Bed::new(&device, kernel.compile(&device).unwrap(), shape).unwrap();
        let time = std::time::Duration::from_millis(50);
        let (limit, speed) = (bed.limit(&device, time).unwrap(), bed.speed(&device, time).unwrap());
        assert!(limit > 1e6 && speed > 1e6, "{} {limit:e} {speed:e}", kernel.name);
        println!("{}: product {speed:.3e}, limit {limit:.3e} on {}", kernel.name, adapter.title());
    }
}
