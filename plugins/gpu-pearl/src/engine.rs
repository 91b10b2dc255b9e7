//! What a thread needs of a device, whichever way it is reached: by wgpu ([`crate::bound`]), or by NVIDIA's own driver
//! ([`crate::nvidia`]).
//!
//! An engine holds B, two A's that take turns, and the memory of two chunks. What it is asked to do it does in that order;
//! only `land`, `tree` and what measures wait for the device.

use std::ops::Range;
use std::time::{Duration, Instant};

use pearl_pow::{Digest, Tree, U256};

use crate::device::DeviceError;
use crate::draw::{DrawKey, Secret};
use crate::operand::Keys;
use crate::product::{CHUNK_MAX, Found, Slot, Which};
use crate::shape::Shape;

/// A device, a kernel and a shape, ready to multiply.
///
/// Each method fails where the device was lost or failed.
pub(crate) trait Engine: Send {
    fn shape(&self) -> &Shape;

    /// The kernel's name.
    fn kernel(&self) -> &'static str;

    /// Bytes of device memory.
    fn bytes(&self) -> u64;

    /// Blocks of a product.
    fn items(&self) -> u32;

    /// Hashes in the blocks `items`.
    fn hashes(&self, items: Range<u32>) -> u64;

    /// Draws a matrix, commits to it, and packs it with its noise. Of an A that is replaced nothing may be in flight; B
    /// comes before the A's that are made with the same keys.
    fn prepare(&mut self, which: Which, keys: Keys, draw: DrawKey) -> Result<(), DeviceError>;

    /// Submits the blocks `items` of the product of the A in `slot`. In `place` nothing is in flight.
    fn submit(
        &mut self,
        place: usize,
        slot: Slot,
        items: Range<u32>,
        bound: &U256,
    ) -> Result<(), DeviceError>;

    /// Waits for the chunk in `place` and takes what it found.
    fn land(&mut self, place: usize) -> Result<Found, DeviceError>;

    /// A matrix's tree, and what it was drawn from. Waits for the device.
    fn tree(&mut self, which: Which) -> Result<(Tree, DrawKey), DeviceError>;

    /// The seed that a matrix was noised with. Waits for the device.
    fn seed(&mut self, which: Which) -> Result<Digest, DeviceError>;

    /// Hashes per second of the kernel's instruction on registers alone, measured for about `time`.
    fn limit(&mut self, time: Duration) -> Result<f64, DeviceError>;

    /// Compares a small product with `pow`, beside what is in flight.
    fn test(&self) -> Result<(), DeviceError>;

    /// Makes as if the driver had reset the device.
    #[cfg(test)]
    fn lose(&mut self);
}

/// Hashes per second of the product itself, measured for about `time` on matrices that are good for nothing.
///
/// # Errors
///
/// The device was lost.
pub(crate) fn speed(engine: &mut dyn Engine, time: Duration) -> Result<f64, DeviceError> {
    let keys = Keys { job_key: [1; 32], rule: pearl_pow::SeedRule::Legacy };
    let secret = Secret::fixed(1);
    engine.prepare(Which::B, keys, secret.key(0, 0))?;
    engine.prepare(Which::A(0), keys, secret.key(0, 1))?;
    let (mut items, mut best) = (1, 0.0_f64);
    let end = Instant::now() + time;
    loop {
        let begun = Instant::now();
        engine.submit(0, 0, 0..items, &U256::ZERO)?;
        engine.land(0)?;
        let took = begun.elapsed();
        best = best.max(engine.hashes(0..items) as f64 / took.as_secs_f64().max(1e-9));
        if Instant::now() >= end {
            return Ok(best);
        }
        if took < time / 8 {
            items = (items * 4).min(engine.items()).min(CHUNK_MAX);
        }
    }
}
