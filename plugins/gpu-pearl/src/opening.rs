//! Opening a device to mine with it: which kernel, which shape, how fast.

use std::sync::Arc;
use std::time::Duration;

use crate::device::{Adapter, Device, DeviceError};
use crate::kernel::{Compiled, KERNELS, Kernel, Tile};
use crate::product::Bed;
use crate::selftest;
use crate::settings::Wishes;
use crate::shape::{RANK, Shape};
use crate::stats::Facts;

/// How long each kernel is tried where there is a choice, and how long a kernel's limit is measured.
const TRIAL: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_millis(50);

/// A device that is ready to mine.
pub(crate) struct Opened {
    pub device: Device,
    pub bed: Bed,
    /// Hashes per second of the kernel's instruction on registers alone.
    pub limit: f64,
    /// Kernels that it cannot run, and why.
    pub passed_over: Vec<String>,
}

impl Opened {
    /// Writes down what is known now.
    pub(crate) fn describe(&self, adapter: &Adapter, facts: &mut Facts) {
        facts.name.clone_from(&adapter.name);
        facts.pci.clone_from(&adapter.pci);
        facts.driver.clone_from(&adapter.driver);
        facts.kernel = self.bed.kernel();
        facts.shape = self.bed.shape.to_string();
        facts.memory_bytes = self.bed.bytes();
        facts.limit_hashrate = self.limit;
    }
}

/// Opens a device with the kernel that is asked for, or with the fastest of those that pass the self-test.
///
/// # Errors
///
/// The device cannot be opened, no kernel works on it, or the shape is none.
pub(crate) fn open(adapter: &Adapter, wishes: &Wishes) -> Result<Opened, DeviceError> {
    let device = adapter.open()?;
    let wanted = |kernel: &&Kernel| match &wishes.kernel {
        Some(name) => name == kernel.name,
        None => kernel.is_offered_by(adapter),
    };
    let (mut sound, mut passed_over) = (Vec::new(), Vec::new());
    for kernel in KERNELS.iter().filter(wanted) {
        match prove(&device, adapter, kernel) {
            Ok(compiled) => sound.push(compiled),
            Err(err @ DeviceError::Lost(_)) => return Err(err),
            Err(err) => passed_over.push(err.to_string()),
        }
    }
    let mut best: Option<(f64, Bed)> = None;
    let choice = sound.len() > 1;
    for compiled in sound {
        let shape = shape(adapter, wishes, &compiled.tile)?;
        let mut bed = Bed::new(&device, compiled, shape)?;
        let speed = if choice { bed.speed(&device, TRIAL)? } else { 0.0 };
        if best.as_ref().is_none_or(|(fastest, _)| speed > *fastest) {
            best = Some((speed, bed));
        }
    }
    let Some((_, bed)) = best else {
        return Err(DeviceError::Failed(format!("no kernel works on it: {}", passed_over.join("; "))));
    };
    let limit = bed.limit(&device, LIMIT)?;
    Ok(Opened { device, bed, limit, passed_over })
}

/// Compiles a kernel and tests it.
fn prove(device: &Device, adapter: &Adapter, kernel: &'static Kernel) -> Result<Arc<Compiled>, DeviceError> {
    if !kernel.is_offered_by(adapter) {
        let why = format!("kernel `{}` needs matrices that its driver does not list", kernel.name);
        return Err(DeviceError::Failed(why));
    }
    let compiled = Arc::new(kernel.compile(device)?);
    selftest::run(device, &compiled)?;
    Ok(compiled)
}

/// The shape that is asked for, and for what is not, one that suits the device.
fn shape(adapter: &Adapter, wishes: &Wishes, tile: &Tile) -> Result<Shape, DeviceError> {
    let most = adapter.binding_bytes_max();
    // A card of its own has gigabytes; one in the processor shares them; a software device is there to be tested.
    let (m, n, k) = match (adapter.is_software, adapter.is_integrated) {
        (true, _) => (256, 1024, 2048),
        (false, true) => (4096, 32_768, 2048),
        (false, false) => (8192, 131_072, 4096),
    };
    let k = wishes.k.unwrap_or(k);
    let fitting = |rows: u32| {
        let most = (most.saturating_sub(1 << 16) / u64::from(k)) as u32 / 128 * 128;
        rows.min(most.max(128))
    };
    let (m, n) = (wishes.m.unwrap_or_else(|| fitting(m)), wishes.n.unwrap_or_else(|| fitting(n)));
    let shape = Shape::new(tile, m, n, k, RANK).and_then(|shape| shape.fits(most).map(|()| shape));
    shape.map_err(|err| DeviceError::Failed(err.to_string()))
}
