//! A device: found, named and opened through wgpu, with the pipelines that every kernel shares.
//!
//! Nothing here is called by `detect`: opening a driver takes long, writes caches, and needs nodes that a probe is not
//! granted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};

use crate::shaders;

/// What went wrong with a device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum DeviceError {
    /// The driver reset it, or it fell off the bus. Opening it again may help.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// Something that would happen again.
    #[error("{0}")]
    Failed(String),
}

/// One adapter that the drivers offer.
#[derive(Clone)]
pub(crate) struct Adapter {
    adapter: wgpu::Adapter,
    /// The device's name for itself.
    pub name: String,
    /// Its place on the PCI bus, empty where it has none.
    pub pci: String,
    /// The driver and its version.
    pub driver: String,
    /// A processor that plays a graphics card.
    pub is_software: bool,
    /// It has no memory of its own.
    pub is_integrated: bool,
    /// The smallest and the largest number of lanes that a subgroup may have.
    pub subgroup_sizes: (u32, u32),
    /// The sizes (rows, columns, depth) of int8 matrices that its driver lists.
    pub int8_matrices: Vec<(u32, u32, u32)>,
}

/// Every adapter, hardware first, in the order of PCI addresses.
///
/// Opens every driver of the machine.
pub(crate) fn adapters() -> Vec<Adapter> {
    quieten_drivers();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL,
        // Neither validation nor labels in earnest; what does not conform is judged by the self-test.
        flags: wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut adapters: Vec<Adapter> = found.into_iter().map(Adapter::new).collect();
    adapters.sort_by(|a, b| (a.is_software, &a.pci, &a.name).cmp(&(b.is_software, &b.pci, &b.name)));
    adapters
}

/// Tells drivers and the Vulkan loader to write no caches and to load no layers that somebody installed: neither is
/// granted, and each attempt would be told as one that was refused.
fn quieten_drivers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, value) in [
            ("MESA_SHADER_CACHE_DISABLE", "true"),
            ("__GL_SHADER_DISK_CACHE", "0"),
            ("NODEVICE_SELECT", "1"),
            ("VK_LOADER_LAYERS_DISABLE", "~implicit~"),
        ] {
            if std::env::var_os(name).is_none() {
                // SAFETY: unsound only where another thread reads the environment through C at this moment. This runs
                // once, before the first driver is loaded, in a process that was started for this provider and whose
                // other threads are the host's Rust ones, which go through the standard library's lock.
                unsafe { std::env::set_var(name, value) };
            }
        }
    });
}

/// What kernels by matrices need beyond the usual.
const MATRICES: wgpu::Features =
    wgpu::Features::PASSTHROUGH_SHADERS.union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// The sizes of exact int8 matrices that a driver lists; wgpu itself knows those of floating-point numbers only.
#[cfg(not(target_os = "macos"))]
fn int8_matrices(adapter: &wgpu::Adapter) -> Vec<(u32, u32, u32)> {
    use ash::vk;
    if !adapter.features().contains(MATRICES) {
        return Vec::new();
    }
    // SAFETY: nothing that belongs to the adapter is destroyed.
    let Some(raw) = (unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }) else { return Vec::new() };
    let instance = raw.shared_instance();
    let matrices = ash::khr::cooperative_matrix::Instance::new(instance.entry(), instance.raw_instance());
    // SAFETY: the handle is that of a living adapter. The extension is there, because the adapter has wgpu's feature that
    // stands on it.
    let listed =
        unsafe { matrices.get_physical_device_cooperative_matrix_properties(raw.raw_physical_device()) };
    let exact = |size: &vk::CooperativeMatrixPropertiesKHR<'_>| {
        size.a_type == vk::ComponentTypeKHR::SINT8
            && size.b_type == vk::ComponentTypeKHR::SINT8
            && size.c_type == vk::ComponentTypeKHR::SINT32
            && size.result_type == vk::ComponentTypeKHR::SINT32
            && size.saturating_accumulation == vk::FALSE
            && size.scope == vk::ScopeKHR::SUBGROUP
    };
    let listed = listed.unwrap_or_default();
    listed.iter().filter(|size| exact(size)).map(|size| (size.m_size, size.n_size, size.k_size)).collect()
}

#[cfg(target_os = "macos")]
fn int8_matrices(_adapter: &wgpu::Adapter) -> Vec<(u32, u32, u32)> {
    Vec::new()
}

impl Adapter {
    fn new(adapter: wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        Self {
            name: info.name,
            pci: info.device_pci_bus_id,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            is_software: matches!(info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::Other),
            is_integrated: info.device_type == wgpu::DeviceType::IntegratedGpu,
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
            int8_matrices: int8_matrices(&adapter),
            adapter,
        }
    }

    /// What it is called in messages.
    pub(crate) fn title(&self) -> String {
        if self.pci.is_empty() { self.name.clone() } else { format!("{} at {}", self.name, self.pci) }
    }

    /// The largest matrix that a kernel can be given, in bytes.
    pub(crate) fn binding_bytes_max(&self) -> u64 {
        let limits = self.adapter.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// What the driver says.
    pub(crate) fn open(&self) -> Result<Device, DeviceError> {
        let limits = self.adapter.limits();
        let wanted = wgpu::Limits {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            ..wgpu::Limits::downlevel_defaults().using_resolution(limits.clone())
        };
        let wanted = wgpu::Limits {
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage.min(8),
            ..wanted
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: None,
            required_features: if self.int8_matrices.is_empty() { wgpu::Features::empty() } else { MATRICES },
            required_limits: wanted,
            // SAFETY: what is experimental are cooperative matrices, of which wgpu does no more than to enable them,
            // and code that is passed through, which is this crate's own.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(self.adapter.request_device(&descriptor))
            .map_err(|err| DeviceError::Failed(format!("the driver does not open the device: {err}")))?;
        let trouble = Arc::new(Trouble::default());
        let lost = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, message| {
            lost.remember(message);
            lost.lost.store(true, Ordering::Release);
        });
        let failed = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |err: wgpu::Error| failed.remember(err.to_string())));
        let pipelines = Pipelines::new(&device);
        let device = Device { device, queue, trouble, pipelines };
        device.check()?;
        Ok(device)
    }
}

/// What the driver said out of turn.
#[derive(Default)]
struct Trouble {
    lost: AtomicBool,
    message: Mutex<Option<String>>,
}

impl Trouble {
    fn remember(&self, message: String) {
        let mut first = self.message.lock().expect("nobody panics with it");
        // What comes after the first error follows from it.
        first.get_or_insert(message);
    }
}

/// An open device.
pub(crate) struct Device {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub pipelines: Pipelines,
    trouble: Arc<Trouble>,
}

/// The layouts of what kernels are given, and the kernels of an operand.
pub(crate) struct Pipelines {
    pub operand_layout: wgpu::BindGroupLayout,
    pub reduction_layout: wgpu::BindGroupLayout,
    pub product_layout: wgpu::BindGroupLayout,
    pub leaves: wgpu::ComputePipeline,
    pub reduce: wgpu::ComputePipeline,
    pub seed: wgpu::ComputePipeline,
    pub dense_factor: wgpu::ComputePipeline,
    pub sparse_factor: wgpu::ComputePipeline,
    pub pack: wgpu::ComputePipeline,
}

/// What a binding of a kernel is.
#[derive(Clone, Copy)]
enum Binding {
    Uniform,
    Read,
    Write,
}

impl Pipelines {
    fn new(device: &wgpu::Device) -> Self {
        use Binding::{Read, Uniform, Write};
        let operand_layout = layout(device, &[Uniform, Write, Read, Write, Write, Write, Write]);
        let reduction_layout = layout(device, &[Uniform]);
        let product_layout = layout(device, &[Uniform, Read, Read, Read, Write]);
        let module = module(device, "operand", shaders::operand());
        let pipeline = |name: &str| {
            let groups = [Some(&operand_layout), Some(&reduction_layout)];
            let groups = if name == "reduce" { &groups[..] } else { &groups[..1] };
            compute_pipeline(device, &module, groups, name)
        };
        Self {
            leaves: pipeline("leaves"),
            reduce: pipeline("reduce"),
            seed: pipeline("seed"),
            dense_factor: pipeline("dense_factor"),
            sparse_factor: pipeline("sparse_factor"),
            pack: pipeline("pack"),
            operand_layout,
            reduction_layout,
            product_layout,
        }
    }
}

fn layout(device: &wgpu::Device, bindings: &[Binding]) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = bindings
        .iter()
        .zip(0..)
        .map(|(binding, number)| wgpu::BindGroupLayoutEntry {
            binding: number,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match binding {
                    Binding::Uniform => wgpu::BufferBindingType::Uniform,
                    Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Binding::Write => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

/// Compiles WGSL text that was written here.
pub(crate) fn module(device: &wgpu::Device, name: &str, text: String) -> wgpu::ShaderModule {
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(text.into()) };
    // SAFETY: the text is this crate's own. Its loops end, because their bounds are the sizes of a shape, and it reads
    // and writes inside of its buffers, because these were made for that shape, with room to read one step too far.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// Takes SPIR-V that was compiled from this crate's own text.
pub(crate) fn passed_through(device: &wgpu::Device, name: &str, code: &[u8]) -> wgpu::ShaderModule {
    let words: Vec<u32> = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let entry = wgpu::PassthroughShaderEntryPoint { name: "main".into(), workgroup_size: (1, 1, 1) };
    // SAFETY: as for `module`; the code asks for nothing but what the device was opened with.
    unsafe {
        device.create_shader_module_passthrough(wgpu::ShaderModuleDescriptorPassthrough {
            label: Some(name),
            entry_points: vec![entry].into(),
            spirv: Some(words.into()),
            ..wgpu::ShaderModuleDescriptorPassthrough::default()
        })
    }
}

/// The pipeline of one entry point.
pub(crate) fn compute_pipeline(
    device: &wgpu::Device,
    module: &wgpu::ShaderModule,
    groups: &[Option<&wgpu::BindGroupLayout>],
    entry: &str,
) -> wgpu::ComputePipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: groups,
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry),
        layout: Some(&layout),
        module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Every kernel writes before it reads.
            zero_initialize_workgroup_memory: false,
            ..wgpu::PipelineCompilationOptions::default()
        },
        cache: None,
    })
}

/// What a buffer is for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Use {
    /// Parameters.
    Uniform,
    /// Data of the kernels.
    Storage,
    /// Data on its way back to the processor.
    Readback,
}

impl Device {
    /// Whether it still works.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] with the first thing that went wrong.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        let message = self.trouble.message.lock().expect("nobody panics with it").clone();
        match message {
            message if self.trouble.lost.load(Ordering::Acquire) => {
                Err(DeviceError::Lost(message.unwrap_or_default()))
            }
            Some(message) => Err(DeviceError::Failed(message)),
            None => Ok(()),
        }
    }

    /// A buffer of `bytes` bytes, zeros.
    pub(crate) fn buffer(&self, bytes: u64, what: Use) -> wgpu::Buffer {
        let usage = match what {
            Use::Uniform => wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            Use::Storage => {
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC
            }
            Use::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        };
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// A uniform buffer with these words.
    pub(crate) fn uniform(&self, words: &[u32]) -> wgpu::Buffer {
        let buffer = self.buffer(size_of_val(words) as u64, Use::Uniform);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        buffer
    }

    /// Binds `buffers` in order.
    pub(crate) fn group(&self, layout: &wgpu::BindGroupLayout, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// An encoder of commands.
    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Waits until what was submitted up to `submission` is done.
    ///
    /// # Errors
    ///
    /// The device was lost, failed, or did not come to an end in two minutes.
    pub(crate) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), DeviceError> {
        let waited = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(std::time::Duration::from_secs(120)),
        });
        self.check()?;
        waited.map(|_| ()).map_err(|err| DeviceError::Lost(format!("it does not answer: {err}")))
    }

    /// Copies `bytes` bytes of `buffer`, from byte `from` on, to the processor, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub(crate) fn read(&self, buffer: &wgpu::Buffer, from: u64, bytes: u64) -> Result<Vec<u32>, DeviceError> {
        let copy = self.buffer(bytes, Use::Readback);
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, from, &copy, 0, bytes);
        let submission = self.queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |_| ());
        self.wait(submission)?;
        mapped(&copy, bytes)
    }

    /// Makes as if the driver had reset it.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.device.destroy();
    }
}

/// The first `bytes` bytes of a buffer that is mapped.
///
/// # Errors
///
/// It is not, because the device was lost.
pub(crate) fn mapped(buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, DeviceError> {
    let view = buffer
        .get_mapped_range(..bytes)
        .map_err(|err| DeviceError::Lost(format!("nothing came back from it: {err}")))?;
    Ok(bytemuck::cast_slice(&view).to_vec())
}
