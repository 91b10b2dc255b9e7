//! An engine by wgpu: a device, and what is allocated on it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use pearl_pow::{Digest, Tree, U256};

use crate::device::{Device, DeviceError};
use crate::draw::DrawKey;
use crate::engine::Engine;
use crate::operand::Keys;
use crate::product::{Bed, Flight, Found, IN_FLIGHT_MAX, Slot, Which};
use crate::selftest;
use crate::shape::Shape;

/// An engine by wgpu.
pub(crate) struct Bound {
    device: Arc<Device>,
    bed: Bed,
    flights: [Option<Flight>; IN_FLIGHT_MAX],
}

impl Bound {
    /// The engine of a device and what was allocated on it.
    pub(crate) fn new(device: Arc<Device>, bed: Bed) -> Self {
        Self { device, bed, flights: [None, None] }
    }
}

impl Engine for Bound {
    fn shape(&self) -> &Shape {
        &self.bed.shape
    }

    fn kernel(&self) -> &'static str {
        self.bed.kernel()
    }

    fn bytes(&self) -> u64 {
        self.bed.bytes()
    }

    fn items(&self) -> u32 {
        self.bed.shape.items()
    }

    fn hashes(&self, items: Range<u32>) -> u64 {
        self.bed.hashes(items)
    }

    fn prepare(&mut self, which: Which, keys: Keys, draw: DrawKey) -> Result<(), DeviceError> {
        match which {
            Which::A(slot) => self.bed.prepare_a(&self.device, slot, keys, draw),
            Which::B => self.bed.prepare_b(&self.device, keys, draw),
        }
        Ok(())
    }

    fn submit(
        &mut self,
        place: usize,
        slot: Slot,
        items: Range<u32>,
        bound: &U256,
    ) -> Result<(), DeviceError> {
        self.flights[place] = Some(self.bed.submit(&self.device, place, slot, items, bound));
        Ok(())
    }

    fn land(&mut self, place: usize) -> Result<Found, DeviceError> {
        let flight = self.flights[place].take().expect("a chunk lands where one was submitted");
        self.bed.land(&self.device, flight)
    }

    fn tree(&mut self, which: Which) -> Result<(Tree, DrawKey), DeviceError> {
        let operand = self.bed.operand(which);
        Ok((operand.tree(&self.device)?, operand.drawn().1))
    }

    fn seed(&mut self, which: Which) -> Result<Digest, DeviceError> {
        self.bed.operand(which).seed(&self.device)
    }

    fn limit(&mut self, time: Duration) -> Result<f64, DeviceError> {
        self.bed.limit(&self.device, time)
    }

    fn test(&self) -> Result<(), DeviceError> {
        selftest::run(&self.device, self.bed.compiled())
    }

    #[cfg(test)]
    fn lose(&mut self) {
        self.device.lose();
    }
}
