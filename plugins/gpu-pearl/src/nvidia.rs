//! Kernel `mma-m16n8k32`: NVIDIA's own matrix instructions, reached by NVIDIA's own driver.
//!
//! The kernels are PTX text (`shaders/cuda`), which the driver assembles for its card. What a card is asked to do is a
//! trait, [`Card`]: one that is there ([`crate::cuda`]), or in tests a machine that runs PTX by the rules of the manual.
//!
//! **No card has run it yet**, so it is taken where it is asked for, and never by itself.

use std::ops::Range;
use std::time::{Duration, Instant};

use pearl_pow::{Digest, PeriodicPattern, Side, Tree, U256};

use crate::device::DeviceError;
use crate::draw::DrawKey;
use crate::engine::Engine;
use crate::kernel::{NVIDIA as NAME, NVIDIA_STEP as STEP};
use crate::operand::{self, FAN, Keys, Plan, SEED, STATE_WORDS};
use crate::product::{self, Found, HITS_BYTES, IN_FLIGHT_MAX, Slot, Which};
use crate::selftest;
use crate::shaders::{HITS_MAX, to_digest};
use crate::shape::{Shape, Tile, Tiles};

/// Columns of a block; it has 128 rows.
const WIDTH: u32 = 256;
/// Threads of a group of the product, and bytes of shared memory of its own: three stages, and sixteen words a thread.
const THREADS: u32 = 256;
const SHARED_BYTES: u32 = 3 * (128 + 256) * 64 + 16 * THREADS * 4;

/// The text of the kernels, as the driver takes it.
pub(crate) const OPERAND_TEXT: &str = include_str!("shaders/cuda/operand.ptx");
pub(crate) const PRODUCT_TEXT: &str = include_str!("shaders/cuda/product.ptx");

/// A kernel: in which text, called what, with how many threads a group and how much shared memory besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub text: &'static str,
    pub name: &'static str,
    pub threads: u32,
    pub shared_bytes: u32,
}

const fn of_operand(name: &'static str, threads: u32) -> Program {
    Program { text: OPERAND_TEXT, name, threads, shared_bytes: 0 }
}

/// Every kernel, in the order of [`Kernels`].
pub(crate) const PROGRAMS: [Program; 8] = [
    of_operand("leaves", 64),
    of_operand("reduce", 128),
    of_operand("seed", 1),
    of_operand("dense_factor", 64),
    of_operand("sparse_factor", 64),
    of_operand("pack", 128),
    Program { text: PRODUCT_TEXT, name: "product", threads: THREADS, shared_bytes: SHARED_BYTES },
    Program { text: PRODUCT_TEXT, name: "limit", threads: THREADS, shared_bytes: 0 },
];

/// Which of [`PROGRAMS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    Leaves,
    Reduce,
    Seed,
    DenseFactor,
    SparseFactor,
    Pack,
    Product,
    Limit,
}

/// What is on its way back from a card: the number that [`Card::fetch`] gave.
pub(crate) type Fetch = usize;

/// A card, asked to do one thing after the other; it does them in that order, and only `fetched` waits.
pub(crate) trait Card: Send {
    /// So many bytes, zeros; they are given back when the card is dropped.
    fn allocate(&mut self, bytes: u64) -> Result<u64, DeviceError>;

    /// Writes words at an address.
    fn write(&mut self, at: u64, words: &[u32]) -> Result<(), DeviceError>;

    /// Runs a kernel in so many groups, with these parameters, each as its bytes.
    fn launch(&mut self, kernel: Kernels, groups: u32, parameters: &[Vec<u8>]) -> Result<(), DeviceError>;

    /// Copies words from an address to the processor, once what was asked before is done.
    fn fetch(&mut self, at: u64, words: usize) -> Result<Fetch, DeviceError>;

    /// Waits for such a copy and takes it.
    fn fetched(&mut self, fetch: Fetch) -> Result<Vec<u32>, DeviceError>;

    /// The same card once more, with memory of its own.
    fn again(&self) -> Result<Box<dyn Card>, DeviceError>;

    /// Makes as if the driver had reset it.
    #[cfg(test)]
    fn lose(&mut self);
}

/// The tile that the instruction leaves with a lane: of 64 rows every eighth, of 64 columns two of eight.
pub(crate) fn tile() -> Tile {
    let rows: Vec<u64> = (0..8).map(|i| 8 * i).collect();
    let columns: Vec<u64> = (0..8).flat_map(|i| [8 * i, 8 * i + 1]).collect();
    let pattern = |offsets: &[u64]| PeriodicPattern::from_offsets(offsets).expect("they are a pattern");
    Tile { rows: pattern(&rows), columns: pattern(&columns), step: STEP }
}

/// The memory of one matrix on a card.
struct Operand {
    plan: Plan,
    state: u64,
    /// The other operand's state.
    other: u64,
    nodes: u64,
    dense: u64,
    pairs: u64,
    packed: u64,
    drawn: Option<(Keys, DrawKey)>,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn address(at: u64) -> Vec<u8> {
    at.to_le_bytes().to_vec()
}

impl Operand {
    fn new(card: &mut dyn Card, plan: Plan, other: Option<u64>) -> Result<Self, DeviceError> {
        let state = card.allocate(4 * STATE_WORDS)?;
        let mut room = |words: u64| card.allocate(4 * words);
        let (nodes, dense) = (room(plan.node_words)?, room(plan.dense_words)?);
        let (pairs, packed) = (room(plan.pair_words)?, room(plan.packed_words)?);
        let other = other.unwrap_or(state);
        Ok(Self { plan, state, other, nodes, dense, pairs, packed, drawn: None })
    }

    fn prepare(&mut self, card: &mut dyn Card, keys: Keys, draw: DrawKey) -> Result<(), DeviceError> {
        let plan = &self.plan;
        card.write(self.state, &operand::state(&keys, draw, plan.side))?;
        self.drawn = Some((keys, draw));
        let mut parameters = vec![words(&plan.words())];
        let places = [self.state, self.other, self.nodes, self.dense, self.pairs, self.packed];
        parameters.extend(places.map(address));
        card.launch(Kernels::Leaves, plan.leaves.div_ceil(64), &parameters)?;
        for step in &plan.reductions {
            let its: Vec<Vec<u8>> = parameters.iter().cloned().chain([words(step)]).collect();
            card.launch(Kernels::Reduce, step[1].div_ceil(FAN), &its)?;
        }
        card.launch(Kernels::Seed, 1, &parameters)?;
        card.launch(Kernels::DenseFactor, (plan.rows * (plan.rank / 32)).div_ceil(64), &parameters)?;
        card.launch(Kernels::SparseFactor, plan.row_words.div_ceil(2).div_ceil(64), &parameters)?;
        let groups = plan.row_words.div_ceil(32) * (plan.padded / plan.pack_height());
        card.launch(Kernels::Pack, groups, &parameters)
    }
}

/// An engine on one card.
pub(crate) struct Nvidia {
    card: Box<dyn Card>,
    shape: Shape,
    tiles: Tiles,
    b: Operand,
    a: [Operand; 2],
    hits: [u64; IN_FLIGHT_MAX],
    flights: [Option<Fetch>; IN_FLIGHT_MAX],
}

impl Nvidia {
    /// Allocates everything on a card.
    ///
    /// # Errors
    ///
    /// It has no room for it.
    pub(crate) fn new(mut card: Box<dyn Card>, shape: Shape) -> Result<Self, DeviceError> {
        let plan = |rows, side, block| Plan::new(&shape.config, rows, side, block);
        let b = Operand::new(&mut *card, plan(shape.n, Side::BT, WIDTH), None)?;
        let mut a = || Operand::new(&mut *card, plan(shape.m, Side::A, operand::BLOCK), Some(b.state));
        let a = [a()?, a()?];
        let hits = [card.allocate(HITS_BYTES)?, card.allocate(HITS_BYTES)?];
        let tiles = Tiles::new(&shape, WIDTH);
        Ok(Self { card, shape, tiles, b, a, hits, flights: [None; IN_FLIGHT_MAX] })
    }

    fn operand(&self, which: Which) -> &Operand {
        match which {
            Which::A(slot) => &self.a[slot],
            Which::B => &self.b,
        }
    }

    fn read(&mut self, at: u64, words: usize) -> Result<Vec<u32>, DeviceError> {
        let fetch = self.card.fetch(at, words)?;
        self.card.fetched(fetch)
    }

    /// The parameters of the product and of the limit loop.
    fn parameters(&self, place: usize, slot: Slot, chunk: [u32; 16]) -> Vec<Vec<u8>> {
        let a = &self.a[slot];
        let places = [a.packed, self.b.packed, a.state, self.hits[place]];
        std::iter::once(words(&chunk)).chain(places.map(address)).collect()
    }
}

impl Engine for Nvidia {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn kernel(&self) -> &'static str {
        NAME
    }

    fn bytes(&self) -> u64 {
        self.b.plan.bytes() + 2 * self.a[0].plan.bytes() + 2 * HITS_BYTES
    }

    fn items(&self) -> u32 {
        self.tiles.items()
    }

    fn hashes(&self, items: Range<u32>) -> u64 {
        self.tiles.hashes(&self.shape, items)
    }

    fn prepare(&mut self, which: Which, keys: Keys, draw: DrawKey) -> Result<(), DeviceError> {
        let operand = match which {
            Which::A(slot) => &mut self.a[slot],
            Which::B => &mut self.b,
        };
        operand.prepare(&mut *self.card, keys, draw)
    }

    fn submit(
        &mut self,
        place: usize,
        slot: Slot,
        items: Range<u32>,
        bound: &U256,
    ) -> Result<(), DeviceError> {
        let groups = items.len() as u32;
        let slices = self.shape.config.dot_product_length() / u32::from(self.shape.config.rank);
        let chunk = product::chunk(&self.shape, items, slices, bound);
        self.card.write(self.hits[place], &[0, 0])?;
        let parameters = self.parameters(place, slot, chunk);
        self.card.launch(Kernels::Product, groups, &parameters)?;
        self.flights[place] = Some(self.card.fetch(self.hits[place], (HITS_BYTES / 4) as usize)?);
        Ok(())
    }

    fn land(&mut self, place: usize) -> Result<Found, DeviceError> {
        let fetch = self.flights[place].take().expect("a chunk lands where one was submitted");
        let words = self.card.fetched(fetch)?;
        let listed = words[0].min(HITS_MAX) as usize;
        Ok(product::found(words[0], &words[2..2 + 10 * listed]))
    }

    fn tree(&mut self, which: Which) -> Result<(Tree, DrawKey), DeviceError> {
        let Operand { plan, nodes, drawn, .. } = self.operand(which);
        let (plan, from) = (plan.clone(), nodes + u64::from(plan.nodes_of_16) * 32);
        let drawn = drawn.expect("an operand is prepared before it is used");
        let count = plan.kept_nodes() as usize * 8;
        Ok((plan.tree(drawn, || self.read(from, count))?, drawn.1))
    }

    fn seed(&mut self, which: Which) -> Result<Digest, DeviceError> {
        let words = self.read(self.operand(which).state + SEED * 4, 8)?;
        Ok(to_digest(&std::array::from_fn(|i| words[i])))
    }

    fn limit(&mut self, time: Duration) -> Result<f64, DeviceError> {
        let run = |groups: u32, passes: u32| {
            let chunk = product::chunk(&self.shape, 0..0, passes, &U256::ZERO);
            let parameters = self.parameters(0, 0, chunk);
            let begun = Instant::now();
            self.card.launch(Kernels::Limit, groups, &parameters)?;
            let fetch = self.card.fetch(self.hits[0], 2)?;
            self.card.fetched(fetch)?;
            Ok(begun.elapsed())
        };
        // Eight warps, eight instructions each.
        product::limit(time, run, |groups, passes| groups * passes * 64 * 16 * 8 * 32)
    }

    fn test(&self) -> Result<(), DeviceError> {
        test(self.card.again()?)
    }

    #[cfg(test)]
    fn lose(&mut self) {
        self.card.lose();
    }
}

/// Compares a small product on a card with `pow`.
///
/// # Errors
///
/// They differ, or the card failed.
pub(crate) fn test(card: Box<dyn Card>) -> Result<(), DeviceError> {
    selftest::of_engine(&mut Nvidia::new(card, selftest::shape(&tile()))?)
}

#[cfg(test)]
#[path = "tests/nvidia.rs"]
mod tests;
