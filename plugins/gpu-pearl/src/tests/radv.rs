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

use crate::shaders;

/// Families of cards, as RADV calls them: RDNA 2 and RDNA 3.
const FAMILIES: [&str; 2] = ["navi21", "gfx1100"];
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
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let extensions = [ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                .pipeline_executable_info(true);
            let mut thirteen = vk::PhysicalDeviceVulkan13Features::default().shader_integer_dot_product(true);
            let wanted = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .push_next(&mut executables)
                .push_next(&mut thirteen);
            // SAFETY: as for the instance.
            let device = unsafe { instance.create_device(physical, &wanted, None) }.unwrap();
            let executables = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
            let driver = format!("{} {}", text(&driver.driver_name), text(&driver.driver_info));
            return Some(Self { _entry: entry, device, executables, driver });
        }
        None
    }

    /// The compiler's numbers, and how often its code has each of the instructions `counted`.
    fn compile(&self, code: &[u32], entry: &str, bindings: &[&[vk::DescriptorType]]) -> Vec<String> {
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
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&entry);
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
        let dots = code.matches("v_dot4").count();
        vec![number("VGPRs").to_string(), spilled.to_string(), dots.to_string()]
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
    let family = std::env::var("RADV_FORCE_FAMILY").unwrap();
    let Some(compiler) = Compiler::new() else { return println!("no RADV") };
    println!("driver {}", compiler.driver);
    let (uniform, storage) = (vk::DescriptorType::UNIFORM_BUFFER, vk::DescriptorType::STORAGE_BUFFER);
    let operand = [uniform, storage, storage, storage, storage, storage, storage];
    let product = [uniform, storage, storage, storage, storage];
    let texts =
        [(shaders::operand(), &["leaves", "reduce", "seed", "dense_factor", "sparse_factor", "pack"][..])];
    let texts = texts.into_iter().chain([(shaders::dot_product(), &["product", "limit"][..])]);
    for (wgsl, entries) in texts {
        for entry in entries {
            let sets: &[&[vk::DescriptorType]] =
                if matches!(*entry, "product" | "limit") { &[&product] } else { &[&operand, &[uniform]] };
            let numbers = compiler.compile(&spirv(&wgsl, entry), entry, sets);
            println!("kernel {entry} {family}: {}", numbers.join(", "));
        }
    }
}

#[test]
fn no_kernel_spills_on_amd_cards() {
    let mut all = String::new();
    let mut drivers = Vec::new();
    for family in FAMILIES {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "tests::radv::of_one_family", "--nocapture", "--test-threads=1"])
            .env("RADV_FORCE_FAMILY", family)
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .env("VK_LOADER_LAYERS_DISABLE", "~implicit~")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{family}: {said}{}", String::from_utf8_lossy(&output.stderr));
        if said.contains("no RADV") {
            println!("skipped: no RADV of Mesa here that compiles for a card that is not there");
            return;
        }
        drivers.extend(
            said.lines().filter_map(|line| line.split_once("driver ").map(|(_, name)| name.to_owned())),
        );
        for line in said.lines().filter_map(|line| line.split_once("kernel ").map(|(_, line)| line)) {
            _ = writeln!(all, "{line}");
        }
    }
    println!("{}\n{all}", drivers[0]);
    assert_eq!(all.lines().count(), 16);
    for line in all.lines() {
        assert_eq!(line.split(", ").nth(1), Some("0"), "it spills: {line}");
    }
    // What the product is for: its dot products are one instruction each.
    let dots = |line: &str| line.rsplit(", ").next().and_then(|count| count.parse::<u32>().ok());
    assert!(
        all.lines().filter(|line| line.starts_with("product ")).all(|line| dots(line) == Some(512)),
        "{all}"
    );
    let (first, kept) = KEPT.split_once('\n').unwrap();
    match first.strip_prefix("# ") {
        Some(made) if made == drivers[0] => {
            assert_eq!(all, kept, "machine-code-radv.txt is to be written anew")
        }
        made => println!("skipped: machine-code-radv.txt is of {made:?}, and here is {}", drivers[0]),
    }
}
