//! What Mesa's compiler for AMD's cards makes of the kernels: it compiles for a card that is not here where
//! `RADV_FORCE_FAMILY` names one.
//!
//! Registers and spills are the compiler's own numbers. What is kept of them is `machine-code-radv.txt`; a kernel that spills
//! fails the test whatever is kept. Another Mesa than the one that it was made with is held to the spills alone.
#![allow(unsafe_code, reason = "Vulkan itself: wgpu opens no device that is not there")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::fmt::Write as _;

use ash::vk;

use crate::matrices::Matrices;
use crate::shaders;

/// Families of cards, and what one or another Mesa calls a card of each.
const FAMILIES: [(&str, &[&str]); 2] = [("rdna2", &["navi21"]), ("rdna3", &["gfx1100", "navi31"])];
/// For each driver that it was made with a line `# driver`, then one for each kernel: registers of a lane, registers that
/// are spilled, dot products, and matrix instructions.
const KEPT: &str = include_str!("../../machine-code-radv.txt");

fn text(letters: &[c_char]) -> String {
    letters.iter().take_while(|letter| **letter != 0).map(|letter| *letter as u8 as char).collect()
}

/// The SPIR-V of an entry point, as wgpu has it made for Vulkan 1.3.
fn spirv(wgsl: &str, entry: &str) -> Vec<u32> {
    use wgpu::naga::{ShaderStage, back::spv, front::wgsl, proc::BoundsCheckPolicies, valid};
    let module = wgsl::parse_str(wgsl).unwrap();
    let mut validator = valid::Validator::new(valid::ValidationFlags::all(), valid::Capabilities::all());
    let info = validator.validate(&module).unwrap();
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies::default(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let its = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    spv::write_vec(&module, &info, &options, Some(&its)).unwrap()
}

/// A Vulkan device that compiles and does nothing else.
struct Compiler {
    _entry: ash::Entry,
    device: ash::Device,
    executables: ash::khr::pipeline_executable_properties::Device,
    /// Whether it compiles kernels by matrices.
    has_matrices: bool,
    /// The driver's name and version.
    driver: String,
}

impl Compiler {
    /// The first device of RADV's; none where there is none.
    fn new() -> Option<Self> {
        // SAFETY: opens the system's Vulkan loader, in a process that was started for this.
        let entry = unsafe { ash::Entry::load() }.ok()?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let wanted = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: what is asked for lives until the call returns.
        let instance = unsafe { entry.create_instance(&wanted, None) }.ok()?;
        // SAFETY: the instance was made above and is never destroyed: the process ends soon.
        let devices = unsafe { instance.enumerate_physical_devices() }.unwrap();
        for physical in devices {
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            // SAFETY: a device that was just listed.
            unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
            if driver.driver_id != vk::DriverId::MESA_RADV {
                continue;
            }
            // SAFETY: as above.
            let offered = unsafe { instance.enumerate_device_extension_properties(physical) }.unwrap();
            let matrices = ash::khr::cooperative_matrix::NAME;
            let has_matrices =
                offered.iter().any(|one| text(&one.extension_name).as_bytes() == matrices.to_bytes());
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let mut extensions = vec![ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                .pipeline_executable_info(true);
            let mut twelve = vk::PhysicalDeviceVulkan12Features::default();
            let mut cooperative = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
            if has_matrices {
                extensions.push(matrices.as_ptr());
                twelve = twelve
                    .shader_int8(true)
                    .shader_float16(true)
                    .vulkan_memory_model(true)
                    .vulkan_memory_model_device_scope(true);
                cooperative = cooperative.cooperative_matrix(true);
            }
            let mut thirteen = vk::PhysicalDeviceVulkan13Features::default()
                .shader_integer_dot_product(true)
                .subgroup_size_control(true);
            let mut wanted = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .push_next(&mut executables)
                .push_next(&mut twelve)
                .push_next(&mut thirteen);
            if has_matrices {
                wanted = wanted.push_next(&mut cooperative);
            }
            // SAFETY: as for the instance.
            let device = unsafe { instance.create_device(physical, &wanted, None) }.unwrap();
            let executables = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
            let driver = format!("{} {}", text(&driver.driver_name), text(&driver.driver_info));
            return Some(Self { _entry: entry, device, executables, has_matrices, driver });
        }
        None
    }

    /// The compiler's numbers, as [`KEPT`] has them. `lanes` is the size of a subgroup where it matters.
    fn compile(
        &self,
        code: &[u32],
        entry: &str,
        bindings: &[&[vk::DescriptorType]],
        lanes: Option<u32>,
    ) -> String {
        let device = &self.device;
        let layouts: Vec<_> = bindings
            .iter()
            .map(|set| {
                let bindings: Vec<_> = set
                    .iter()
                    .zip(0..)
                    .map(|(kind, number)| {
                        vk::DescriptorSetLayoutBinding::default()
                            .binding(number)
                            .descriptor_type(*kind)
                            .descriptor_count(1)
                            .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    })
                    .collect();
                let wanted = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
                // SAFETY: what is asked for lives until the call returns, here and below; nothing is destroyed.
                unsafe { device.create_descriptor_set_layout(&wanted, None) }.unwrap()
            })
            .collect();
        let wanted = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts);
        // SAFETY: as above.
        let layout = unsafe { device.create_pipeline_layout(&wanted, None) }.unwrap();
        // SAFETY: as above; the code is what naga wrote.
        let module =
            unsafe { device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(code), None) }
                .unwrap();
        let entry = CString::new(entry).unwrap();
        let mut subgroup = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default()
            .required_subgroup_size(lanes.unwrap_or_default());
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&entry);
        if lanes.is_some() {
            stage = stage.push_next(&mut subgroup);
        }
        let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
            | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        let wanted = [vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout)];
        // SAFETY: as above.
        let pipelines =
            unsafe { device.create_compute_pipelines(vk::PipelineCache::null(), &wanted, None) }.unwrap();
        let its = vk::PipelineExecutableInfoKHR::default().pipeline(pipelines[0]).executable_index(0);
        // SAFETY: the pipeline was made with the flag that this asks for.
        let statistics = unsafe { self.executables.get_pipeline_executable_statistics(&its) }.unwrap();
        let mut numbers = BTreeMap::new();
        for statistic in statistics {
            // SAFETY: RADV's numbers are all of this kind, or smaller.
            numbers.insert(text(&statistic.name), unsafe { statistic.value.u64 });
        }
        let code = self.code(&its);
        let number = |name: &str| numbers.get(name).copied().unwrap_or_else(|| panic!("{numbers:?}"));
        let spilled = number("Spilled VGPRs") + number("Spilled SGPRs");
        let (dots, matrices) = (code.matches("v_dot4").count(), code.matches("v_wmma").count());
        format!("{}, {spilled}, {dots}, {matrices}", number("VGPRs"))
    }

    /// The code that the compiler ended with, as text.
    fn code(&self, its: &vk::PipelineExecutableInfoKHR<'_>) -> String {
        // SAFETY: the pipeline was made with the flag that this asks for.
        let mut all =
            unsafe { self.executables.get_pipeline_executable_internal_representations(its) }.unwrap();
        let mut room: Vec<Vec<u8>> = all.iter().map(|one| vec![0; one.data_size]).collect();
        for (one, room) in all.iter_mut().zip(&mut room) {
            one.p_data = room.as_mut_ptr().cast();
        }
        let mut count = all.len() as u32;
        let ask = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        // SAFETY: as many as were counted, each with the room that it said it needs.
        unsafe { ask(self.executables.device(), its, &mut count, all.as_mut_ptr()) }.result().unwrap();
        let last = all
            .iter()
            .zip(&room)
            .rfind(|(one, _)| text(&one.name).contains("ACO") || text(&one.name).contains("Assembly"));
        let (_, bytes) = last.expect("RADV shows its code");
        CStr::from_bytes_until_nul(bytes).map_or_else(
            |_| String::from_utf8_lossy(bytes).into_owned(),
            |text| text.to_string_lossy().into_owned(),
        )
    }
}

/// For one family, which `RADV_FORCE_FAMILY` names: the first line is the driver, then one for each kernel.
#[test]
#[ignore = "run by the test below, once for each family of cards"]
fn of_one_family() {
    let Some(compiler) = Compiler::new() else { return println!("no RADV") };
    println!("driver {}", compiler.driver);
    let (uniform, storage) = (vk::DescriptorType::UNIFORM_BUFFER, vk::DescriptorType::STORAGE_BUFFER);
    let operand: &[_] = &[uniform, storage, storage, storage, storage, storage, storage];
    let product: &[_] = &[uniform, storage, storage, storage, storage];
    let texts = [
        (shaders::operand(), &["leaves", "reduce", "seed", "dense_factor", "sparse_factor", "pack"][..]),
        (shaders::dot_product(), &["product", "limit"][..]),
    ];
    for (wgsl, entries) in texts {
        for entry in entries {
            let sets: &[&[_]] =
                if matches!(*entry, "product" | "limit") { &[product] } else { &[operand, &[uniform]] };
            println!("kernel {entry}: {}", compiler.compile(&spirv(&wgsl, entry), entry, sets, None));
        }
    }
    let fitting = |size: &&Matrices| (size.rows, size.columns, size.depth) == (16, 16, 16);
    for size in crate::matrices::ALL.iter().filter(fitting).filter(|_| compiler.has_matrices) {
        for (what, code) in [("product", size.product), ("limit", size.limit)] {
            let words: Vec<u32> =
                code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            let numbers = compiler.compile(&words, "main", &[product], Some(size.lanes));
            println!("kernel {what} {}: {numbers}", size.name);
        }
    }
    for size in crate::halves::ALL.iter().filter(|size| size.side == 16 && compiler.has_matrices) {
        for what in ["product", "limit"] {
            let numbers = compiler.compile(&spirv(&size.text(), what), what, &[product], Some(size.lanes));
            println!("kernel {what} {}: {numbers}", size.name);
        }
    }
}

/// What the child says for the first name of a family that its Mesa knows; none where there is no such Mesa.
fn of_family(names: &[&str]) -> Option<String> {
    for name in names {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "tests::radv::of_one_family", "--nocapture", "--test-threads=1"])
            .env("RADV_FORCE_FAMILY", name)
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .env("VK_LOADER_LAYERS_DISABLE", "~implicit~")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        if said.contains("no RADV") {
            return None;
        }
        if output.status.success() {
            return Some(said);
        }
        let is_unknown = [&*said, &*complained].iter().any(|text| text.contains("Unknown family"));
        assert!(is_unknown, "{name}: {said}{complained}");
    }
    None
}

#[test]
fn no_kernel_spills_on_amd_cards() {
    let (mut all, mut driver) = (String::new(), String::new());
    for (family, names) in FAMILIES {
        let Some(said) = of_family(names) else {
            println!("skipped: no RADV of Mesa here that compiles for a card that is not there");
            return;
        };
        // The test harness begins the first line itself.
        driver = said.split("driver ").nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned();
        for line in said.lines().filter_map(|line| line.strip_prefix("kernel ")) {
            let (kernel, numbers) = line.split_once(": ").unwrap();
            _ = writeln!(all, "{kernel} {family}: {numbers}");
        }
    }
    println!("# {driver}\n{all}");
    let numbers = |line: &str| -> Vec<u32> {
        line.rsplit(": ").next().unwrap().split(", ").map(|number| number.parse().unwrap()).collect()
    };
    assert!(all.lines().count() >= 16, "{all}");
    for line in all.lines() {
        let [_, spilled, dots, matrices] = numbers(line)[..] else { panic!("{line}") };
        assert_eq!(spilled, 0, "it spills: {line}");
        // What a product is for are its instructions: one for four entries each, or for a fragment.
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["product", "rdna2:" | "rdna3:", ..] => assert_eq!(dots, 512, "{line}"),
            // A subgroup's part of 32 or 64 rows by 64 columns, 32 deep at a step.
            ["product", "half-16x16x16-32", ..] => assert_eq!(matrices, 16, "{line}"),
            ["product", "half-16x16x16-64", ..] => assert_eq!(matrices, 32, "{line}"),
            ["product", ..] => assert_eq!(matrices, 64, "{line}"),
            _ => {}
        }
    }
    let kept = KEPT.split("# ").find_map(|section| section.strip_prefix(&format!("{driver}\n")));
    match kept {
        Some(kept) => assert_eq!(all.trim(), kept.trim(), "machine-code-radv.txt is to be written anew"),
        None => println!("skipped: machine-code-radv.txt has no section of {driver}"),
    }
}
