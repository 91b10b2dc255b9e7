//! The product of two packed operands, chunk by chunk, and the list of hits that comes back.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pearl_pow::{Digest, U256};

use crate::device::{Device, DeviceError, Use, mapped};
use crate::draw::DrawKey;
use crate::kernel::Compiled;
use crate::operand::{BLOCK, Keys, Operand};
use crate::shaders::{HITS_MAX, to_digest};
use crate::shape::{Shape, Tiles};

/// Bytes of a hit list.
pub(crate) const HITS_BYTES: u64 = 8 + HITS_MAX as u64 * 40;
/// Words of the parameters of a chunk.
const CHUNK_WORDS: u64 = 84;
/// Chunks that may be in flight: one that runs, and one that waits so that the device never does.
pub(crate) const IN_FLIGHT_MAX: usize = 2;
/// Blocks of a chunk, at most: workgroups of one dispatch.
pub(crate) const CHUNK_MAX: u32 = 65535;

/// A tile that the device found to be within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Its first row of A and of B transposed.
    pub row: u32,
    pub column: u32,
    /// What the device worked out.
    pub jackpot: Digest,
}

/// What a chunk found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// The hits, in no order.
    pub hits: Vec<Hit>,
    /// Hits that the list had no room for.
    pub lost: u32,
}

/// Everything that mining one shape takes on one device: B, two A's that take turns, and the chunks' memory.
pub(crate) struct Bed {
    pub shape: Shape,
    compiled: Arc<Compiled>,
    b: Operand,
    a: [Operand; 2],
    places: [Place; IN_FLIGHT_MAX],
    tiles: Tiles,
}

/// The memory of one chunk in flight.
struct Place {
    parameters: wgpu::Buffer,
    hits: wgpu::Buffer,
    readback: wgpu::Buffer,
    groups: [wgpu::BindGroup; 2],
}

/// A chunk that was submitted.
pub(crate) struct Flight {
    place: usize,
    submission: wgpu::SubmissionIndex,
}

/// One of the A's.
pub(crate) type Slot = usize;

/// One of the matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The A of a slot.
    A(Slot),
    B,
}

impl Bed {
    /// Allocates everything.
    ///
    /// # Errors
    ///
    /// The device has no room for it.
    pub(crate) fn new(device: &Device, compiled: Arc<Compiled>, shape: Shape) -> Result<Self, DeviceError> {
        let scope = device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let layout = compiled.kernel.layout;
        let b = Operand::new(device, &shape.config, shape.n, layout, None);
        let a = [(); 2].map(|()| Operand::new(device, &shape.config, shape.m, layout, Some(&b)));
        let places = [(); IN_FLIGHT_MAX].map(|()| {
            let parameters = device.buffer(CHUNK_WORDS * 4, Use::Uniform);
            let hits = device.buffer(HITS_BYTES, Use::Storage);
            let groups = [0, 1].map(|slot: usize| {
                let a: &Operand = &a[slot];
                let buffers = [&parameters, a.packed(), b.packed(), a.state(), &hits];
                device.group(&device.pipelines.product_layout, &buffers)
            });
            Place { parameters, hits, readback: device.buffer(HITS_BYTES, Use::Readback), groups }
        });
        if let Some(err) = pollster::block_on(scope.pop()) {
            let most = b.bytes() + 2 * a[0].bytes();
            return Err(DeviceError::Failed(format!(
                "the device has no {} MiB for shape {shape}; make n or k smaller in [mining.extra] ({err})",
                most >> 20
            )));
        }
        device.check()?;
        let tiles = Tiles::new(&shape, BLOCK);
        Ok(Self { shape, compiled, b, a, places, tiles })
    }

    /// Bytes of device memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.b.bytes()
            + self.a.iter().map(Operand::bytes).sum::<u64>()
            + self.places.len() as u64 * HITS_BYTES
    }

    /// The kernel, compiled.
    pub(crate) fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// The kernel's name.
    pub(crate) fn kernel(&self) -> &'static str {
        self.compiled.kernel.name
    }

    /// Submits all that makes a new B.
    pub(crate) fn prepare_b(&mut self, device: &Device, keys: Keys, draw: DrawKey) {
        self.b.prepare(device, keys, draw);
    }

    /// Submits all that makes a new A in `slot`, of which nothing may be in flight.
    pub(crate) fn prepare_a(&mut self, device: &Device, slot: Slot, keys: Keys, draw: DrawKey) {
        self.a[slot].prepare(device, keys, draw);
    }

    /// B, or the A in a slot.
    pub(crate) fn operand(&self, which: Which) -> &Operand {
        match which {
            Which::A(slot) => &self.a[slot],
            Which::B => &self.b,
        }
    }

    /// The A in a slot, and B.
    #[cfg(test)]
    pub(crate) fn operands(&self, slot: Slot) -> (&Operand, &Operand) {
        (&self.a[slot], &self.b)
    }

    /// Hashes in the blocks `items`.
    pub(crate) fn hashes(&self, items: Range<u32>) -> u64 {
        self.tiles.hashes(&self.shape, items)
    }

    /// Submits the blocks `items` of the product of the A in `slot`. `place` is that of no other flight.
    pub(crate) fn submit(
        &self,
        device: &Device,
        place: usize,
        slot: Slot,
        items: Range<u32>,
        bound: &U256,
    ) -> Flight {
        let count = items.len() as u32;
        let config = &self.shape.config;
        let slice_words = u32::from(config.rank) / 4;
        self.set(device, place, items, config.dot_product_length() / 4 / slice_words, bound);
        let its = &self.places[place];
        let mut encoder = device.encoder();
        encoder.clear_buffer(&its.hits, 0, Some(8));
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.compiled.product);
            pass.set_bind_group(0, &its.groups[slot], &[]);
            pass.dispatch_workgroups(count, 1, 1);
        }
        encoder.copy_buffer_to_buffer(&its.hits, 0, &its.readback, 0, HITS_BYTES);
        let submission = device.queue.submit([encoder.finish()]);
        its.readback.map_async(wgpu::MapMode::Read, .., |_| ());
        Flight { place, submission }
    }

    fn set(&self, device: &Device, place: usize, items: Range<u32>, slices: u32, bound: &U256) {
        let config = &self.shape.config;
        let mut words = [0_u32; CHUNK_WORDS as usize];
        words[..16].copy_from_slice(&chunk(&self.shape, items, slices, bound));
        words[16..80].copy_from_slice(&self.compiled.lanes);
        words[80..82].copy_from_slice(&[config.rows.max_offset() + 1, config.cols.max_offset() + 1]);
        device.queue.write_buffer(&self.places[place].parameters, 0, bytemuck::cast_slice(&words));
    }

    /// Waits for a chunk and takes what it found.
    ///
    /// # Errors
    ///
    /// The device was lost.
    pub(crate) fn land(&self, device: &Device, flight: Flight) -> Result<Found, DeviceError> {
        device.wait(flight.submission)?;
        let readback = &self.places[flight.place].readback;
        let count = mapped(readback, 8)?[0];
        let listed = count.min(HITS_MAX);
        let words = mapped(readback, 8 + u64::from(listed) * 40)?;
        readback.unmap();
        Ok(found(count, &words[2..]))
    }

    /// Hashes per second of the kernel's instruction on registers alone, measured for about `time`.
    ///
    /// # Errors
    ///
    /// The device was lost.
    pub(crate) fn limit(&self, device: &Device, time: Duration) -> Result<f64, DeviceError> {
        let run = |workgroups: u32, passes: u32| -> Result<Duration, DeviceError> {
            self.set(device, 0, 0..0, passes, &U256::ZERO);
            let its = &self.places[0];
            let mut encoder = device.encoder();
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&self.compiled.limit);
                pass.set_bind_group(0, &its.groups[0], &[]);
                pass.dispatch_workgroups(workgroups, 1, 1);
            }
            let begun = Instant::now();
            device.wait(device.queue.submit([encoder.finish()]))?;
            Ok(begun.elapsed())
        };
        let hashes = |workgroups, passes| self.compiled.limit_hashes(workgroups, passes);
        limit(time, run, hashes)
    }
}

/// What every kernel is told of a chunk, as `shaders/product.wgsl` has it.
pub(crate) fn chunk(shape: &Shape, items: Range<u32>, slices: u32, bound: &U256) -> [u32; 16] {
    let config = &shape.config;
    let mut words = [0; 16];
    words[..8].copy_from_slice(&[
        items.start,
        items.end,
        shape.blocks().0,
        shape.m,
        shape.n,
        config.dot_product_length() / 4,
        u32::from(config.rank) / 4,
        slices,
    ]);
    words[8..].copy_from_slice(&crate::shaders::to_words(&bound.to_le_bytes()));
    words
}

/// What a hit list says: how many hits there were, and those that it had room for, ten words each.
pub(crate) fn found(count: u32, listed: &[u32]) -> Found {
    let hit = |words: &[u32; 10]| Hit {
        row: words[0],
        column: words[1],
        jackpot: to_digest(&std::array::from_fn(|i| words[2 + i])),
    };
    Found { hits: listed.as_chunks().0.iter().map(hit).collect(), lost: count.saturating_sub(HITS_MAX) }
}

/// Hashes per second of a loop on registers alone, measured for about `time`: `run` takes workgroups and passes and says
/// how long they took, `hashes` how many they are.
///
/// # Errors
///
/// What `run` says.
pub(crate) fn limit(
    time: Duration,
    mut run: impl FnMut(u32, u32) -> Result<Duration, DeviceError>,
    hashes: impl Fn(u64, u64) -> u64,
) -> Result<f64, DeviceError> {
    const WORKGROUPS: u32 = 2048;
    // Twice as much until it counts; a device that was idle takes its time to come to its clock.
    let (mut workgroups, mut passes) = (8, 64);
    let mut best = 0.0_f64;
    // Some drivers compile a kernel when it first runs.
    run(workgroups, passes)?;
    let end = Instant::now() + time;
    loop {
        let took = run(workgroups, passes)?;
        let rate = hashes(u64::from(workgroups), u64::from(passes)) as f64 / took.as_secs_f64().max(1e-9);
        best = best.max(rate);
        if Instant::now() >= end {
            return Ok(best);
        }
        if took < time / 8 {
            if workgroups < WORKGROUPS { workgroups *= 4 } else { passes *= 2 }
        }
    }
}
