//! The kernel for NVIDIA's cards against `pow`, on a machine that runs PTX.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

use std::sync::{Arc, LazyLock};

use pearl_pow::reference::Product;
use pearl_pow::{Header, Matrix, SeedRule};

use super::*;
use crate::draw::Secret;
use crate::selftest::entries;
use crate::tests::ptx::{Memory, Module};

/// A card that is not there.
#[derive(Default)]
struct Emulated {
    memory: Memory,
    fetches: Vec<Vec<u32>>,
    is_lost: bool,
}

/// Both texts, read once.
fn modules() -> &'static [Arc<Module>; 2] {
    static MODULES: LazyLock<[Arc<Module>; 2]> =
        LazyLock::new(|| [OPERAND_TEXT, PRODUCT_TEXT].map(|text| Arc::new(Module::new(text))));
    &MODULES
}

impl Emulated {
    fn check(&self) -> Result<(), DeviceError> {
        if self.is_lost { Err(DeviceError::Lost("it fell off the bus".into())) } else { Ok(()) }
    }
}

impl Card for Emulated {
    fn allocate(&mut self, bytes: u64) -> Result<u64, DeviceError> {
        self.check().map(|()| self.memory.allocate(bytes))
    }

    fn write(&mut self, at: u64, words: &[u32]) -> Result<(), DeviceError> {
        self.check()?;
        let bytes = super::words(words);
        self.memory.at(at, bytes.len() as u64).copy_from_slice(&bytes);
        Ok(())
    }

    fn launch(&mut self, kernel: Kernels, groups: u32, parameters: &[Vec<u8>]) -> Result<(), DeviceError> {
        self.check()?;
        let Program { text, name, threads, shared_bytes } = PROGRAMS[kernel as usize];
        let mut bytes = Vec::new();
        for parameter in parameters {
            if parameter.len() == 8 {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
            bytes.extend(parameter);
        }
        let module = &modules()[usize::from(text == PRODUCT_TEXT)];
        let size = (groups, threads as usize, shared_bytes as usize);
        module.launch(&mut self.memory, name, size, &bytes);
        Ok(())
    }

    fn fetch(&mut self, at: u64, words: usize) -> Result<Fetch, DeviceError> {
        self.check()?;
        let bytes = self.memory.at(at, 4 * words as u64);
        let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        self.fetches.push(words);
        Ok(self.fetches.len() - 1)
    }

    fn fetched(&mut self, fetch: Fetch) -> Result<Vec<u32>, DeviceError> {
        self.check()?;
        Ok(self.fetches[fetch].clone())
    }

    fn again(&self) -> Result<Box<dyn Card>, DeviceError> {
        self.check()?;
        Ok(Box::<Self>::default())
    }

    fn lose(&mut self) {
        self.is_lost = true;
    }
}

fn engine(m: u32, n: u32, k: u32, rank: u16) -> Nvidia {
    let shape = Shape::new(&tile(), m, n, k, rank).unwrap();
    Nvidia::new(Box::<Emulated>::default(), shape).unwrap()
}

fn draws(seed: u64) -> (DrawKey, DrawKey) {
    let secret = Secret::fixed(seed as u8);
    (secret.key(1, seed), secret.key(2, seed))
}

/// What `pow` makes of a product: seeds, roots, and all its jackpots with the tiles' places.
fn expected(engine: &Nvidia, header: &Header, rule: SeedRule, draws: (DrawKey, DrawKey)) -> Expected {
    let shape = engine.shape;
    let words = shape.config.common_dim / 4;
    let (a, b) = (entries(draws.0, shape.m, words), entries(draws.1, shape.n, words));
    let matrix = |entries| Matrix::new(entries, shape.config.common_dim as usize).unwrap();
    let product = Product::new(header, &shape.config, rule, matrix(&a), matrix(&b));
    let place = |attempt: &pearl_pow::reference::Attempt| (attempt.rows[0] as u32, attempt.cols[0] as u32);
    let mut hits: Vec<_> =
        product.attempts().map(|attempt| (place(&attempt), attempt.number(), attempt.jackpot)).collect();
    hits.sort_unstable_by_key(|(place, ..)| *place);
    let seeds = (product.seeds().a, product.seeds().b);
    Expected { seeds, roots: [*product.hash_a(), *product.hash_b()], hits }
}

struct Expected {
    seeds: (Digest, Digest),
    roots: [Digest; 2],
    hits: Vec<((u32, u32), U256, Digest)>,
}

#[test]
fn the_self_test_passes() {
    test(Box::<Emulated>::default()).unwrap();
}

#[test]
fn every_shape_gives_the_seeds_the_roots_and_the_jackpots_of_the_reference() {
    // Ranks, k that is no multiple of the rank, blocks that end within, numbers of leaves that are odd at one height or
    // another, more than one block either way.
    for (m, n, k, rank) in
        [(57, 58, 1024 + 64, 64), (130, 270, 2048, 128), (65, 66, 4096 + 64, 256), (72, 321, 1088, 64)]
    {
        let mut engine = engine(m, n, k, rank);
        let header = Header::from_bytes([0xa7; 76]);
        let rule = if m % 2 == 0 { SeedRule::Salted } else { SeedRule::Legacy };
        let draws = draws(u64::from(m + n));
        let expected = expected(&engine, &header, rule, draws);
        let outcome = selftest::through(&mut engine, &header, rule, draws, &U256::MAX).unwrap();
        let what = engine.shape.to_string();
        assert_eq!(outcome.seeds, expected.seeds, "{what}");
        let roots = [Which::A(1), Which::B].map(|which| *engine.tree(which).unwrap().0.root());
        assert_eq!(roots, expected.roots, "{what}");
        let mut hits: Vec<_> =
            outcome.found.hits.iter().map(|hit| ((hit.row, hit.column), hit.jackpot)).collect();
        hits.sort_unstable();
        let all: Vec<_> = expected.hits.iter().map(|(place, _, jackpot)| (*place, *jackpot)).collect();
        assert!(!all.is_empty(), "{what}");
        assert_eq!(hits, all, "{what}");
        let area = u64::from(engine.shape.config.dot_product_length()) * 128;
        assert_eq!(engine.hashes(0..engine.items()), all.len() as u64 * area, "{what}");
    }
}

#[test]
fn bounds_are_compared_from_the_highest_word_to_the_lowest_and_inclusively() {
    let mut engine = engine(64, 64, 1024, 64);
    let (header, draws) = (Header::from_bytes([1; 76]), draws(3));
    let expected = expected(&engine, &header, SeedRule::Salted, draws);
    let mut numbers: Vec<U256> = expected.hits.iter().map(|(_, number, _)| *number).collect();
    numbers.sort_unstable();
    let middle = numbers[numbers.len() / 2];
    let one = U256::from(1);
    let mut bounds = vec![U256::ZERO, U256::MAX, middle, middle - one, numbers[0], numbers[0] - one];
    // One more and one less in each word.
    bounds.extend((0..8).flat_map(|word| [middle + (one << (32 * word)), middle - (one << (32 * word))]));
    selftest::through(&mut engine, &header, SeedRule::Salted, draws, &U256::ZERO).unwrap();
    for bound in bounds {
        engine.submit(0, 1, 0..1, &bound).unwrap();
        let found = engine.land(0).unwrap();
        let within = numbers.iter().filter(|number| **number <= bound).count();
        assert_eq!(found.hits.len(), within, "{bound}");
    }
}

#[test]
fn sums_are_exact_for_the_largest_entries_there_can_be() {
    let (mut engine, k) = (engine(64, 64, 2048, 128), 2048);
    let header = Header::from_bytes([4; 76]);
    let seed =
        selftest::through(&mut engine, &header, SeedRule::Salted, draws(5), &U256::ZERO).unwrap().seeds.0;
    type Of = fn(usize, usize) -> i8;
    let pairs: [(Of, Of); 3] = [
        (|_, _| 127, |_, _| -127),
        (|row, _| if row % 3 == 0 { -127 } else { 127 }, |row, _| if row % 2 == 0 { -127 } else { 126 }),
        (
            |row, l| if (row + l) % 2 == 0 { -127 } else { 127 },
            |row, l| if (row * l) % 5 < 2 { -127 } else { 127 },
        ),
    ];
    for (of_a, of_b) in pairs {
        for (at, of) in [(engine.a[1].packed, of_a), (engine.b.packed, of_b)] {
            let mut packed = vec![0; 128 * k / 4];
            for (row, word) in (0..64).flat_map(|row| (0..k / 4).map(move |word| (row, word))) {
                let bytes = std::array::from_fn(|i| of(row, 4 * word + i) as u8);
                packed[word / 16 * 16 * 128 + row * 16 + word % 16] = u32::from_le_bytes(bytes);
            }
            engine.card.write(at, &packed).unwrap();
        }
        engine.submit(0, 1, 0..1, &U256::MAX).unwrap();
        let found = engine.land(0).unwrap();
        assert_eq!(found.hits.len(), 32);
        for hit in found.hits {
            let rows = |base: u32, pattern: &PeriodicPattern, of: Of| -> Vec<i8> {
                let rows = pattern.tile(u64::from(base));
                rows.flat_map(|row| (0..k).map(move |l| of(row as usize, l))).collect()
            };
            let (a, b) = (rows(hit.row, &tile().rows, of_a), rows(hit.column, &tile().columns, of_b));
            let transcript = pearl_pow::transcript::tile_transcript(&a, &b, k, 128);
            assert_eq!(hit.jackpot, transcript.jackpot(&seed), "{hit:?}");
        }
    }
}

#[test]
fn hits_that_have_no_room_in_the_list_are_counted_and_a_lost_card_is_told() {
    let mut engine = engine(576, 256, 1024, 64);
    let header = Header::from_bytes([2; 76]);
    let found =
        selftest::through(&mut engine, &header, SeedRule::Salted, draws(9), &U256::MAX).unwrap().found;
    let tiles = 9 * 4 * 32;
    assert_eq!((found.hits.len() as u32, found.lost), (HITS_MAX, tiles - HITS_MAX));
    // The loop on registers alone, for a moment.
    let parameters = engine.parameters(0, 0, product::chunk(&engine.shape, 0..0, 2, &U256::ZERO));
    engine.card.launch(Kernels::Limit, 1, &parameters).unwrap();
    engine.test().unwrap();
    engine.lose();
    assert!(matches!(engine.submit(0, 0, 0..1, &U256::MAX), Err(DeviceError::Lost(_))));
    assert!(matches!(engine.test(), Err(DeviceError::Lost(_))));
}

#[test]
fn what_a_card_is_given_fits_into_the_shared_memory_that_every_card_has() {
    // What a group may have on the smallest of those that run it (compute capability 8.6, 8.9 and 12.0).
    assert!(PROGRAMS.iter().all(|program| program.shared_bytes <= 99 << 10));
    for (index, program) in PROGRAMS.iter().enumerate() {
        assert_eq!(PROGRAMS.iter().position(|other| other.name == program.name), Some(index));
    }
    assert_eq!(PROGRAMS[Kernels::Limit as usize].name, "limit");
    assert_eq!(PROGRAMS[Kernels::Pack as usize].name, "pack");
}
