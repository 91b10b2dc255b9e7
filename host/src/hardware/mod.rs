//! What this machine has to mine with: processor, memory, every graphics processor.
//!
//! Reads `/proc`, `/sys` and NVIDIA's management library; runs no program but itself, changes nothing, judges
//! nothing (that is the doctor's), and never waits longer than it was told to.
//!
//! ```text
//! /proc, /sys/devices ──processor──┐
//! /sys/bus/pci ──────────pci───────┼──> Inventory { info: HardwareInfo, troubles }
//! drivers ──child──driver, nvml────┘
//! ```
//!
//! # Limitations
//!
//! On macOS the facts come from `sysctl`; that code compiles and links but has not run.

mod answer;
mod child;
mod driver;
#[cfg(test)]
pub(crate) mod fake;
pub mod group;
#[cfg(target_os = "macos")]
mod macos;
mod nvml;
#[cfg(not(target_os = "macos"))]
mod pci;
#[cfg(not(target_os = "macos"))]
mod processor;
mod reach;
mod read;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pearlbed_plugin_api::{GpuInfo, HardwareInfo};
use serde_json::{Map, Value};

use self::answer::{Answer, Line, Seen};
pub use self::answer::{Question, Sensors, Trouble};
pub use self::reach::{Missing, missing};
pub use self::read::Root;

/// How long the drivers of graphics processors may take where somebody waits for the answer.
///
/// A driver without its persistence service takes seconds to wake up; a doctor cannot wait for that.
pub const DRIVERS_LIMIT: Duration = Duration::from_millis(900);

/// How to look at a machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that stands for `/`.
    pub root: Root,
    /// How the drivers of graphics processors are asked.
    pub drivers: Drivers,
    /// How long they may take in all.
    pub limit: Duration,
    /// NVIDIA's management library: a path, or a name that the loader finds.
    pub nvml: PathBuf,
}

/// How the drivers of graphics processors are asked.
#[derive(Clone, Debug)]
pub enum Drivers {
    /// Not at all: the list then holds what the bus knows.
    Skip,
    /// In a child made from this program, under the limit.
    Child(PathBuf),
    /// In this process, for as long as they take.
    Here,
}

impl Default for Options {
    /// This machine, its drivers asked by a child of this program.
    fn default() -> Self {
        Self {
            root: Root::new("/"),
            drivers: child::this_program().map_or(Drivers::Skip, Drivers::Child),
            limit: DRIVERS_LIMIT,
            nvml: nvml::LIBRARY.into(),
        }
    }
}

/// A machine, and what is the matter with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// The machine as providers are told.
    pub info: HardwareInfo,
    /// What could not be found out, and why.
    pub troubles: Vec<Trouble>,
}

/// Looks at the machine.
///
/// Never fails: what cannot be found out is empty in [`Inventory::info`], and told in [`Inventory::troubles`] where
/// a person can do something about it. Takes a few milliseconds, or with drivers to ask at most `options.limit` and
/// as long as killing a child takes.
pub fn inspect(options: &Options) -> Inventory {
    let mut details = Map::new();
    let mut info = HardwareInfo::default();
    info.platform = platform();
    #[cfg(target_os = "macos")]
    macos::fill(&mut info, &mut details);
    #[cfg(not(target_os = "macos"))]
    {
        info.cpu = processor::cpu(&options.root, &mut details);
        info.memory_bytes = processor::memory(&options.root, &mut details);
        info.gpus = pci::gpus(&options.root);
    }
    let (answers, trouble) = ask_drivers(Question::Inventory, options, &info.gpus);
    let mut troubles: Vec<_> = trouble.into_iter().collect();
    let mut gpu_details = vec![];
    for answer in answers {
        troubles.extend(answer.trouble);
        details.extend(answer.details);
        for seen in answer.gpus {
            merge(&mut info.gpus, &mut gpu_details, seen);
        }
    }
    sort(&mut info.gpus, &mut gpu_details);
    if gpu_details.iter().any(|details| !details.is_empty()) {
        details.insert("gpus".into(), gpu_details.into_iter().map(Value::Object).collect());
    }
    info.details = Value::Object(details);
    Inventory { info, troubles }
}

/// What the sensors of each card say, by the card's address on the bus. Asks drivers, and so takes up to `options.limit`.
///
/// Cards whose sensors say nothing are left out. Nothing is ever set: no clock, no fan, no limit.
pub fn sensors(options: &Options) -> Vec<(String, Sensors)> {
    #[cfg(target_os = "macos")]
    let gpus = Vec::new();
    #[cfg(not(target_os = "macos"))]
    let gpus = pci::gpus(&options.root);
    let (answers, _) = ask_drivers(Question::Sensors, options, &gpus);
    let seen = answers.into_iter().flat_map(|answer| answer.gpus);
    let told = seen.filter(|seen| seen.sensors != Sensors::default());
    told.filter_map(|seen| Some((seen.gpu.pci_address?, seen.sensors))).collect()
}

/// The platform that this program was built for, as manifests write it, such as `linux-x86_64`.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The child's whole work: asks the drivers and writes what they say to `out`.
///
/// # Errors
///
/// What writing met.
pub fn answer_as_child(
    question: Question,
    root: &Path,
    nvml: &Path,
    out: &mut impl io::Write,
) -> io::Result<()> {
    // Whoever asked may have died; then nobody would end this process when a driver hangs. Where the request fails,
    // the deadline of whoever asked still holds.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    driver::ask(question, &Root::new(root), nvml, out)
}

fn ask_drivers(question: Question, options: &Options, gpus: &[GpuInfo]) -> (Vec<Answer>, Option<Trouble>) {
    match &options.drivers {
        Drivers::Skip => (vec![], None),
        _ if !driver::worth_asking(&options.root, gpus) => (vec![], None),
        Drivers::Child(program) => child::ask(question, program, &options.root, &options.nvml, options.limit),
        Drivers::Here => {
            let mut said = vec![];
            driver::ask(question, &options.root, &options.nvml, &mut said)
                .expect("writing to a Vec never fails");
            let lines =
                said.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            let answers = lines.filter_map(|line| match line {
                Line::Said(answer) => Some(answer),
                _ => None,
            });
            (answers.collect(), None)
        }
    }
}

/// Adds what a source knows to the card that it speaks of, or a card that only it knows.
fn merge(gpus: &mut Vec<GpuInfo>, details: &mut Vec<Map<String, Value>>, seen: Seen) {
    details.resize_with(gpus.len(), Map::new);
    let same = |gpu: &GpuInfo| {
        let by_address = gpu.pci_address.is_some() && gpu.pci_address == seen.gpu.pci_address;
        by_address || gpu.uuid.is_some() && gpu.uuid == seen.gpu.uuid
    };
    let known = gpus.iter().position(same);
    // The kernel's graphics drivers list devices too that are no cards, such as an adapter without a screen.
    if known.is_none() && seen.gpu.vendor.is_empty() {
        return;
    }
    let index = known.unwrap_or_else(|| {
        gpus.push(GpuInfo::default());
        details.push(Map::new());
        gpus.len() - 1
    });
    let gpu = &mut gpus[index];
    let Seen { gpu: more, details: more_details, sensors: _ } = seen;
    if !more.vendor.is_empty() {
        gpu.vendor = more.vendor;
    }
    if !more.name.is_empty() {
        gpu.name = more.name;
    }
    gpu.pci_address = more.pci_address.or(gpu.pci_address.take());
    gpu.uuid = more.uuid.or(gpu.uuid.take());
    gpu.vram_bytes = more.vram_bytes.or(gpu.vram_bytes);
    gpu.driver = more.driver.or(gpu.driver.take());
    gpu.compute_capability = more.compute_capability.or(gpu.compute_capability.take());
    details[index].extend(more_details);
}

/// Puts the cards in the order of their addresses, those without one last, and their details with them.
fn sort(gpus: &mut Vec<GpuInfo>, details: &mut Vec<Map<String, Value>>) {
    details.resize_with(gpus.len(), Map::new);
    let mut both: Vec<_> = gpus.drain(..).zip(details.drain(..)).collect();
    both.sort_by(|(a, _), (b, _)| {
        let key = |gpu: &GpuInfo| (gpu.pci_address.is_none(), gpu.pci_address.clone());
        key(a).cmp(&key(b))
    });
    (*gpus, *details) = both.into_iter().unzip();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    fn options(machine: &Machine) -> Options {
        let nvml = machine.root().join("no-such-library.so");
        Options { root: machine.root(), drivers: Drivers::Here, limit: Duration::from_secs(60), nvml }
    }

    #[test]
    fn two_nvidia_cards_without_the_library_are_known_by_the_module() {
        let machine = Machine::new();
        machine.pci("0000:41:00.0", 0x030200, 0x10de, 0x2335, Some("nvidia"));
        machine.pci("0000:01:00.0", 0x030200, 0x10de, 0x2335, Some("nvidia"));
        machine.file(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n",
        );
        for (address, uuid) in [("0000:01:00.0", "GPU-aaaa"), ("0000:41:00.0", "GPU-????")] {
            let text = format!("Model: \t\t NVIDIA H200\nIRQ:   \t\t 61\nGPU UUID: \t {uuid}\n");
            machine.file(format!("proc/driver/nvidia/gpus/{address}/information"), text);
        }
        let inventory = inspect(&options(&machine));
        let [first, second] = &inventory.info.gpus[..] else { panic!("{:?}", inventory.info.gpus) };
        assert_eq!(first.pci_address.as_deref(), Some("0000:01:00.0"));
        assert_eq!(first.name, "NVIDIA H200");
        assert_eq!(first.uuid.as_deref(), Some("GPU-aaaa"));
        assert_eq!(first.driver.as_deref(), Some("nvidia 550.54.15"));
        assert_eq!(first.vram_bytes, None);
        assert_eq!(second.uuid, None);
        let [trouble] = &inventory.troubles[..] else { panic!("{:?}", inventory.troubles) };
        assert!(
            trouble.finding.starts_with("the NVIDIA driver is loaded, but its library"),
            "{}",
            trouble.finding
        );
    }

    #[test]
    fn details_stay_with_their_card() {
        let machine = Machine::new();
        machine.pci("0000:00:02.0", 0x030000, 0x8086, 0x56a0, None);
        machine.pci("0000:03:00.0", 0x030000, 0x1002, 0x744c, Some("amdgpu"));
        machine.file("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total", "1024\n");
        machine.file("sys/bus/pci/devices/0000:03:00.0/drm/renderD129/dev", "");
        let info = inspect(&options(&machine)).info;
        assert_eq!(info.gpus[1].vram_bytes, Some(1024));
        assert_eq!(info.details["gpus"][0], serde_json::json!({}));
        assert_eq!(info.details["gpus"][1]["render_node"], "/dev/dri/renderD129");
    }

    #[test]
    fn the_sensors_of_each_maker_are_read_and_no_card_is_asked_what_it_is() {
        let machine = Machine::new();
        machine.pci("0000:03:00.0", 0x030000, 0x1002, 0x744c, Some("amdgpu"));
        machine.pci("0000:04:00.0", 0x030000, 0x8086, 0x56a0, Some("xe"));
        machine.pci("0000:05:00.0", 0x030000, 0x1002, 0x744c, Some("amdgpu"));
        let put = |file: &str, text: &str| machine.file(format!("sys/bus/pci/devices/{file}"), text);
        put("0000:03:00.0/hwmon/hwmon4/temp1_input", "61000\n");
        put("0000:03:00.0/hwmon/hwmon4/temp2_input", "74500\n");
        put("0000:03:00.0/hwmon/hwmon4/temp2_crit", "99000\n");
        put("0000:03:00.0/hwmon/hwmon4/power1_average", "312000000\n");
        put("0000:04:00.0/hwmon/hwmon5/energy1_input", "5500000\n");
        put("0000:04:00.0/hwmon/hwmon5/temp1_input", "hot\n");
        let told = sensors(&options(&machine));
        let amd = Sensors { temperature_celsius: Some(74.5), power_watts: Some(312.0), energy_joules: None };
        let intel = Sensors { energy_joules: Some(5.5), ..Sensors::default() };
        assert_eq!(told, [("0000:03:00.0".to_owned(), amd), ("0000:04:00.0".to_owned(), intel)]);
        assert!(inspect(&options(&machine)).info.details.to_string().find("74").is_none());
    }

    #[test]
    fn a_machine_without_anything_is_empty_and_has_no_trouble() {
        let inventory = inspect(&options(&Machine::new()));
        assert_eq!(inventory.info.gpus, []);
        assert_eq!(inventory.troubles, []);
        assert_eq!(inventory.info.platform, platform());
    }

    #[test]
    fn pipes_where_files_should_be_hold_nobody_up() {
        let machine = Machine::new();
        machine.pci("0000:03:00.0", 0x030000, 0x1002, 0x744c, Some("amdgpu"));
        machine.fifo("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total");
        machine.file("proc/driver/nvidia/gpus/0000:01:00.0/x", "");
        machine.fifo("proc/driver/nvidia/gpus/0000:01:00.0/information");
        machine.fifo("proc/cpuinfo");
        let info = inspect(&options(&machine)).info;
        assert_eq!(info.gpus.len(), 2);
        assert_eq!(info.gpus[1].vram_bytes, None);
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let inventory = inspect(&Options { drivers: Drivers::Skip, ..Options::default() });
        assert!(inventory.info.cpu.logical_cores > 0);
        assert!(inventory.info.memory_bytes > 0);
    }
}
