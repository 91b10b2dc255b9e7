//! The kernels that multiply: what each needs, computes at a time, and is called.

use pearl_pow::PeriodicPattern;

use crate::device::{Device, DeviceError, compute_pipeline, module};
use crate::operand::Layout;
use crate::shaders;

/// A way to multiply, fold and hash.
pub(crate) struct Kernel {
    /// Its name, in settings and reports.
    pub name: &'static str,
    /// The rows and columns of a tile.
    pub tile: fn() -> (PeriodicPattern, PeriodicPattern),
    /// How it reads its operands.
    pub layout: Layout,
    /// Its text.
    source: fn() -> String,
    /// Multiply-accumulates of one pass of its loop that touches registers only, by one invocation.
    limit_hashes: u64,
}

/// Every kernel, the ones that usually win first.
pub(crate) const KERNELS: &[Kernel] = &[Kernel {
    name: "dot4",
    tile: || (contiguous(16), contiguous(16)),
    layout: Layout::Words,
    source: shaders::dot_product,
    limit_hashes: 16 * 4,
}];

fn contiguous(rows: u32) -> PeriodicPattern {
    PeriodicPattern::contiguous(rows).expect("a kernel's tile is a pattern")
}

/// A kernel compiled for a device.
pub(crate) struct Compiled {
    pub kernel: &'static Kernel,
    /// The product of a chunk.
    pub product: wgpu::ComputePipeline,
    /// The same instruction on registers alone.
    pub limit: wgpu::ComputePipeline,
}

impl Kernel {
    /// The kernel called `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KERNELS.iter().find(|kernel| kernel.name == name)
    }

    /// Compiles it.
    ///
    /// # Errors
    ///
    /// What the driver says; it may compile another.
    pub(crate) fn compile(&'static self, device: &Device) -> Result<Compiled, DeviceError> {
        let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = module(&device.device, self.name, (self.source)());
        let groups = [Some(&device.pipelines.product_layout)];
        let pipeline = |entry| compute_pipeline(&device.device, &module, &groups, entry);
        let compiled = Compiled { kernel: self, product: pipeline("product"), limit: pipeline("limit") };
        match pollster::block_on(scope.pop()) {
            Some(err) => {
                Err(DeviceError::Failed(format!("the driver does not take kernel `{}`: {err}", self.name)))
            }
            None => Ok(compiled),
        }
    }
}

impl Compiled {
    /// Multiply-accumulates of `passes` passes of the limit loop in `workgroups` workgroups.
    pub(crate) fn limit_hashes(&self, workgroups: u64, passes: u64) -> u64 {
        workgroups * 256 * passes * self.kernel.limit_hashes
    }
}
