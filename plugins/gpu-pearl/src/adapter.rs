//! The devices that drivers offer: found, named, and opened.
//!
//! Nothing here is called by `detect`: opening a driver takes long, writes caches, and needs nodes that a probe is not
//! granted.

use std::sync::Once;

use crate::cards::NVIDIA;
use crate::device::{Device, DeviceError};

/// One adapter that the drivers offer.
#[derive(Clone)]
pub(crate) struct Adapter {
    adapter: wgpu::Adapter,
    /// The device's name for itself.
    pub name: String,
    /// Its place on the PCI bus, empty where it has none.
    pub pci: String,
    /// Whether NVIDIA made it.
    pub is_nvidia: bool,
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
    /// The sizes of square half-precision matrices with 32-bit sums that it lists.
    pub half_matrices: Vec<u32>,
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

/// What kernels by half-precision matrices need.
const HALVES: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// The sizes of square matrices of halves, with 32-bit floats as sums, that a driver lists.
fn half_matrices(adapter: &wgpu::Adapter) -> Vec<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    if !adapter.features().contains(HALVES) {
        return Vec::new();
    }
    let listed = adapter.cooperative_matrix_properties();
    let fits = |size: &&wgpu::CooperativeMatrixProperties| {
        (size.ab_type, size.cr_type) == (F16, F32) && size.m_size == size.n_size && size.n_size == size.k_size
    };
    listed.iter().filter(fits).map(|size| size.m_size).collect()
}

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
            is_nvidia: info.vendor == NVIDIA,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            is_software: matches!(info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::Other),
            is_integrated: info.device_type == wgpu::DeviceType::IntegratedGpu,
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
            int8_matrices: int8_matrices(&adapter),
            half_matrices: half_matrices(&adapter),
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
            max_compute_workgroup_size_x: limits.max_compute_workgroup_size_x,
            ..wgpu::Limits::downlevel_defaults().using_resolution(limits.clone())
        };
        let mut features = wgpu::Features::empty();
        features.set(MATRICES, !self.int8_matrices.is_empty());
        if !self.half_matrices.is_empty() {
            features |= HALVES;
        }
        let wanted = wgpu::Limits {
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage.min(8),
            ..wanted
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: None,
            required_features: features,
            required_limits: wanted,
            // SAFETY: what is experimental are cooperative matrices, of which wgpu does no more than to enable them,
            // and code that is passed through, which is this crate's own.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(self.adapter.request_device(&descriptor))
            .map_err(|err| DeviceError::Failed(format!("the driver does not open the device: {err}")))?;
        Device::new(device, queue)
    }
}
