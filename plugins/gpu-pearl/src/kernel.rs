//! The kernels that multiply: what each needs, computes at a time, and is called.

use pearl_pow::PeriodicPattern;

use crate::adapter::Adapter;
use crate::device::{Device, DeviceError};
use crate::halves::{self, Halves};
use crate::matrices::{self, Matrices};
use crate::operand::Layout;
use crate::pipelines::{compute_pipeline, module, passed_through};
use crate::shaders;
use crate::shape::Tile;

/// A way to multiply, fold and hash.
pub(crate) struct Kernel {
    /// Its name, in settings and reports.
    pub name: &'static str,
    /// How it reads its operands.
    pub layout: Layout,
    /// Columns of k that it takes at a time; a slice is a whole number of them.
    pub step: u32,
    program: Program,
}

/// What it is written in.
enum Program {
    /// WGSL, with packed dot products.
    Dot,
    /// SPIR-V, with int8 matrices.
    Matrices(&'static Matrices),
    /// WGSL, with half-precision matrices.
    Halves(&'static Halves),
    /// PTX, which wgpu knows nothing of ([`crate::nvidia`]).
    Nvidia,
}

const fn by_matrices(matrices: &'static Matrices) -> Kernel {
    Kernel { name: matrices.name, layout: Layout::Rows, step: 64, program: Program::Matrices(matrices) }
}

const fn by_halves(halves: &'static Halves) -> Kernel {
    Kernel { name: halves.name, layout: Layout::Rows, step: 64, program: Program::Halves(halves) }
}

/// The name of the kernel of NVIDIA's own instructions ([`crate::nvidia`]).
pub(crate) const NVIDIA: &str = "mma-m16n8k32";
/// Columns of k that it takes at a time.
pub(crate) const NVIDIA_STEP: u32 = 64;

/// Every kernel.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { name: "dot4", layout: Layout::Words, step: 32, program: Program::Dot },
    by_matrices(&matrices::ALL[0]),
    by_matrices(&matrices::ALL[1]),
    by_matrices(&matrices::ALL[2]),
    by_matrices(&matrices::ALL[3]),
    by_matrices(&matrices::ALL[4]),
    by_matrices(&matrices::ALL[5]),
    by_halves(&halves::ALL[0]),
    by_halves(&halves::ALL[1]),
    by_halves(&halves::ALL[2]),
    by_halves(&halves::ALL[3]),
    Kernel { name: NVIDIA, layout: Layout::Rows, step: NVIDIA_STEP, program: Program::Nvidia },
];

/// A kernel compiled for a device.
pub(crate) struct Compiled {
    pub kernel: &'static Kernel,
    pub tile: Tile,
    /// The first row and column of each lane's tile in its part, as `shaders/matrix.comp` reads them.
    pub lanes: [u32; 64],
    /// The product of a chunk.
    pub product: wgpu::ComputePipeline,
    /// The same instruction on registers alone.
    pub limit: wgpu::ComputePipeline,
    /// Multiply-accumulates of one pass of that loop by one workgroup.
    limit_hashes: u64,
}

impl Kernel {
    /// The kernel called `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KERNELS.iter().find(|kernel| kernel.name == name)
    }

    /// Whether the drivers of a device claim to have what it needs.
    pub(crate) fn is_offered_by(&self, adapter: &Adapter) -> bool {
        match self.program {
            Program::Dot => true,
            Program::Matrices(matrices) => matrices.is_offered_by(adapter),
            Program::Halves(halves) => halves.is_offered_by(adapter),
            // Its driver is another one, and it is taken by name only.
            Program::Nvidia => false,
        }
    }

    /// Whether it is worth a trial on a device where nobody names a kernel: half-precision matrices are slower than those
    /// of integers wherever there are both.
    pub(crate) fn is_tried_on(&self, adapter: &Adapter) -> bool {
        let is_behind = matches!(self.program, Program::Halves(_)) && !adapter.int8_matrices.is_empty();
        self.is_offered_by(adapter) && !is_behind
    }

    /// Whether it is one that wgpu knows nothing of.
    pub(crate) fn is_nvidia(&self) -> bool {
        matches!(self.program, Program::Nvidia)
    }

    /// Compiles it, and asks the driver how it lays out matrices where that decides about the tile.
    ///
    /// # Errors
    ///
    /// What the driver says; it may compile another.
    pub(crate) fn compile(&'static self, device: &Device) -> Result<Compiled, DeviceError> {
        let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let groups = [Some(&device.pipelines.product_layout)];
        let compiled = match self.program {
            Program::Dot => {
                let module = module(&device.device, self.name, shaders::dot_product());
                let pipeline = |entry| compute_pipeline(&device.device, &module, &groups, entry);
                let sixteen = PeriodicPattern::contiguous(16).expect("sixteen rows are a pattern");
                Ok(Compiled {
                    kernel: self,
                    tile: Tile { rows: sixteen, columns: sixteen, step: self.step },
                    lanes: [0; 64],
                    product: pipeline("product"),
                    limit: pipeline("limit"),
                    limit_hashes: 256 * 16 * 4,
                })
            }
            Program::Matrices(matrices) => {
                let pipeline = |code| {
                    let module = passed_through(&device.device, self.name, code);
                    compute_pipeline(&device.device, &module, &groups, "main")
                };
                let held = matrices::ask(device, matrices, &pipeline(matrices.layout))?;
                matrices.tiles(&held).map_err(DeviceError::Failed).map(|(rows, columns, lanes)| Compiled {
                    kernel: self,
                    tile: Tile { rows, columns, step: self.step },
                    lanes,
                    product: pipeline(matrices.product),
                    limit: pipeline(matrices.limit),
                    limit_hashes: matrices.limit_hashes(),
                })
            }
            Program::Halves(halves) => {
                let module = module(&device.device, self.name, halves.text());
                let pipeline = |entry| compute_pipeline(&device.device, &module, &groups, entry);
                halves.tiles().map_err(DeviceError::Failed).map(|(rows, columns, lanes)| Compiled {
                    kernel: self,
                    tile: Tile { rows, columns, step: self.step },
                    lanes,
                    product: pipeline("product"),
                    limit: pipeline("limit"),
                    limit_hashes: halves.limit_hashes(),
                })
            }
            Program::Nvidia => Err(DeviceError::Failed(format!("kernel `{}` is none of wgpu's", self.name))),
        };
        match pollster::block_on(scope.pop()) {
            Some(err) => {
                Err(DeviceError::Failed(format!("the driver does not take kernel `{}`: {err}", self.name)))
            }
            None => compiled,
        }
    }
}

impl Compiled {
    /// Multiply-accumulates of `passes` passes of the limit loop in `workgroups` workgroups.
    pub(crate) fn limit_hashes(&self, workgroups: u64, passes: u64) -> u64 {
        workgroups * passes * self.limit_hashes
    }
}
