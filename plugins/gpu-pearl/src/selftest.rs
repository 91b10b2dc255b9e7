//! A kernel is tried on its device before it mines: a small product with edges, compared with `pow`'s own miner.

use std::sync::Arc;

use pearl_pow::reference::Product;
use pearl_pow::{Digest, Header, Matrix, SeedRule, U256, job_key};

use crate::device::{Device, DeviceError};
use crate::draw::{DrawKey, Secret};
use crate::engine::Engine;
use crate::kernel::Compiled;
use crate::operand::Keys;
use crate::product::{Bed, Found, Which};
use crate::shape::{Shape, Tile};

/// What a device worked out of one product.
pub(crate) struct Outcome {
    pub seeds: (Digest, Digest),
    pub found: Found,
}

/// The shape of a self-test: both matrices end inside of a block, and k inside of a slice.
pub(crate) fn shape(tile: &Tile) -> Shape {
    let one_more = |period: u32| 128 + period.min(64);
    let (m, n) = (one_more(tile.rows.period()), one_more(tile.columns.period()));
    Shape::new(tile, m, n, 2048 + 64, 128).expect("the shape of the self-test is a legal one")
}

/// Computes the whole product on the device.
///
/// # Errors
///
/// The device was lost or failed.
pub(crate) fn compute(
    device: &Device,
    bed: &mut Bed,
    header: &Header,
    rule: SeedRule,
    draws: (DrawKey, DrawKey),
    bound: &U256,
) -> Result<Outcome, DeviceError> {
    let keys = Keys { job_key: job_key(header, &bed.shape.config), rule };
    bed.prepare_b(device, keys, draws.1);
    bed.prepare_a(device, 1, keys, draws.0);
    let flight = bed.submit(device, 1, 1, 0..bed.shape.items(), bound);
    let found = bed.land(device, flight)?;
    let (a, b) = (bed.operand(Which::A(1)), bed.operand(Which::B));
    Ok(Outcome { seeds: (a.seed(device)?, b.seed(device)?), found })
}

/// The entries of a matrix of `rows` rows of `words` words.
pub(crate) fn entries(draw: DrawKey, rows: u32, words: u32) -> Vec<i8> {
    (0..rows * words).flat_map(|word| draw.word(word).to_le_bytes().map(|byte| byte as i8)).collect()
}

/// Compares a kernel of wgpu's with `pow` on some tens of tiles: seeds and every jackpot.
///
/// # Errors
///
/// They differ, or the device was lost.
pub(crate) fn run(device: &Device, compiled: &Arc<Compiled>) -> Result<(), DeviceError> {
    let shape = shape(&compiled.tile);
    let mut bed = Bed::new(device, Arc::clone(compiled), shape)?;
    let outcome = compute(device, &mut bed, &HEADER, SeedRule::Salted, draws(), &U256::MAX)?;
    compare(compiled.kernel.name, &shape, &outcome)
}

/// The same for an engine whose shape is that of [`shape`].
///
/// # Errors
///
/// They differ, or the device was lost.
pub(crate) fn of_engine(engine: &mut dyn Engine) -> Result<(), DeviceError> {
    let outcome = through(engine, &HEADER, SeedRule::Salted, draws(), &U256::MAX)?;
    compare(engine.kernel(), &engine.shape().clone(), &outcome)
}

/// Computes the whole product on an engine.
///
/// # Errors
///
/// The device was lost or failed.
pub(crate) fn through(
    engine: &mut dyn Engine,
    header: &Header,
    rule: SeedRule,
    draws: (DrawKey, DrawKey),
    bound: &U256,
) -> Result<Outcome, DeviceError> {
    let keys = Keys { job_key: job_key(header, &engine.shape().config), rule };
    engine.prepare(Which::B, keys, draws.1)?;
    engine.prepare(Which::A(1), keys, draws.0)?;
    engine.submit(1, 1, 0..engine.items(), bound)?;
    let found = engine.land(1)?;
    Ok(Outcome { seeds: (engine.seed(Which::A(1))?, engine.seed(Which::B)?), found })
}

const HEADER: Header = Header::from_bytes([0x5a; 76]);

fn draws() -> (DrawKey, DrawKey) {
    let secret = Secret::fixed(0x33);
    (secret.key(0, 1), secret.key(0, 2))
}

fn compare(kernel: &str, shape: &Shape, outcome: &Outcome) -> Result<(), DeviceError> {
    let wrong = |what: &str| {
        Err(DeviceError::Failed(format!(
            "kernel `{kernel}` works out wrong {what} on this device, so it must not mine with it"
        )))
    };
    let (draws, words) = (draws(), shape.config.common_dim / 4);
    let (a, b) = (entries(draws.0, shape.m, words), entries(draws.1, shape.n, words));
    let matrix = |entries| Matrix::new(entries, shape.config.common_dim as usize).expect("rows are whole");
    let product = Product::new(&HEADER, &shape.config, SeedRule::Salted, matrix(&a), matrix(&b));
    if outcome.seeds != (product.seeds().a, product.seeds().b) {
        return wrong("seeds");
    }
    let mut expected = Vec::new();
    for attempt in product.attempts() {
        expected.push((attempt.rows[0] as u32, attempt.cols[0] as u32, attempt.jackpot));
    }
    let mut hits: Vec<_> = outcome.found.hits.iter().map(|hit| (hit.row, hit.column, hit.jackpot)).collect();
    hits.sort_unstable();
    expected.sort_unstable();
    if hits != expected || outcome.found.lost != 0 {
        return wrong("jackpots");
    }
    Ok(())
}
