//! Opening a device to mine with it: which kernel, which shape, how fast.

use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::bound::Bound;
use crate::device::{Device, DeviceError};
use crate::engine::{self, Engine};
use crate::kernel::{self, Compiled, KERNELS, Kernel};
use crate::product::Bed;
use crate::selftest;
use crate::settings::Wishes;
use crate::shape::{RANK, Shape, Tile};
use crate::stats::Facts;

/// How long each kernel is tried where there is a choice, and how long a kernel's limit is measured.
const TRIAL: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_millis(50);

/// A device that is ready to mine.
pub(crate) struct Opened {
    pub engine: Box<dyn Engine>,
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
        facts.kernel = self.engine.kernel();
        facts.shape = self.engine.shape().to_string();
        facts.memory_bytes = self.engine.bytes();
        facts.limit_hashrate = self.limit;
    }
}

/// Opens a device with the kernel that is asked for, or with the fastest of those that pass the self-test.
///
/// # Errors
///
/// The device cannot be opened, no kernel works on it, or the shape is none.
pub(crate) fn open(adapter: &Adapter, wishes: &Wishes) -> Result<Opened, DeviceError> {
    let wanted = |kernel: &&Kernel| match &wishes.kernel {
        Some(name) => name == kernel.name,
        None => kernel.is_tried_on(adapter),
    };
    let wanted: Vec<_> = KERNELS.iter().filter(wanted).collect();
    let bound_device = match wanted.iter().any(|kernel| !kernel.is_nvidia()) {
        true => Some(Arc::new(adapter.open()?)),
        false => None,
    };
    let (mut best, mut passed_over): (Option<(f64, Box<dyn Engine>)>, _) = (None, Vec::new());
    for kernel in &wanted {
        let tried = match &bound_device {
            Some(device) if !kernel.is_nvidia() => bound(device, adapter, wishes, kernel),
            _ => nvidia(adapter, wishes),
        };
        let mut engine = match tried {
            Ok(engine) => engine,
            Err(err @ DeviceError::Lost(_)) => return Err(err),
            Err(err) => {
                passed_over.push(err.to_string());
                continue;
            }
        };
        // The one that is slower gives its memory back before the next is tried.
        let speed = if wanted.len() > 1 { engine::speed(&mut *engine, TRIAL)? } else { 0.0 };
        if best.as_ref().is_none_or(|(fastest, _)| speed > *fastest) {
            best = Some((speed, engine));
        }
    }
    let Some((_, mut engine)) = best else {
        return Err(DeviceError::Failed(format!("no kernel works on it: {}", passed_over.join("; "))));
    };
    let limit = engine.limit(LIMIT)?;
    Ok(Opened { engine, limit, passed_over })
}

/// A kernel by wgpu, tested.
fn bound(
    device: &Arc<Device>,
    adapter: &Adapter,
    wishes: &Wishes,
    kernel: &'static Kernel,
) -> Result<Box<dyn Engine>, DeviceError> {
    let compiled = prove(device, adapter, kernel)?;
    let shape = shape(adapter, wishes, &compiled.tile, adapter.binding_bytes_max())?;
    let bed = Bed::new(device, compiled, shape)?;
    Ok(Box::new(Bound::new(Arc::clone(device), bed)))
}

/// The kernel by NVIDIA's own driver, tested.
#[cfg(target_os = "linux")]
fn nvidia(adapter: &Adapter, wishes: &Wishes) -> Result<Box<dyn Engine>, DeviceError> {
    use crate::nvidia::{self, Card, Nvidia};
    if adapter.is_software || adapter.pci.is_empty() {
        let why = format!("kernel `{}` needs a card of NVIDIA's, which this is not", kernel::NVIDIA);
        return Err(DeviceError::Failed(why));
    }
    let of_kernel = |err| match err {
        DeviceError::Failed(why) => DeviceError::Failed(format!("kernel `{}`: {why}", kernel::NVIDIA)),
        lost => lost,
    };
    let card = crate::cuda::Cuda::open(&adapter.pci).map_err(of_kernel)?;
    nvidia::test(card.again()?)?;
    // Its buffers are as large as the card's memory allows.
    let shape = shape(adapter, wishes, &nvidia::tile(), 1 << 33)?;
    Ok(Box::new(Nvidia::new(Box::new(card), shape).map_err(of_kernel)?))
}

#[cfg(not(target_os = "linux"))]
fn nvidia(_: &Adapter, _: &Wishes) -> Result<Box<dyn Engine>, DeviceError> {
    Err(DeviceError::Failed(format!("kernel `{}` is for Linux", kernel::NVIDIA)))
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

/// The shape that is asked for, and for what is not, one that suits the device, which takes `most` bytes at a time.
fn shape(adapter: &Adapter, wishes: &Wishes, tile: &Tile, most: u64) -> Result<Shape, DeviceError> {
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
