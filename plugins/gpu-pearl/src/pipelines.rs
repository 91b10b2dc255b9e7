//! Kernels as a device takes them: compiled from this crate's own text or code, with the layouts of what they are given.

use crate::shaders;

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
    pub(crate) fn new(device: &wgpu::Device) -> Self {
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
