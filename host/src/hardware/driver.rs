//! What the drivers of graphics processors know: memory, versions, identifiers.
//!
//! Every read here goes through a driver, and a driver may hang for ever (a card that fell off the bus, firmware
//! that does not answer). So this runs in a child process, [`super::child`], which announces each source before it
//! asks it: whoever waits knows what it waits for, and keeps what came before.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pearlbed_plugin_api::GpuInfo;

use super::answer::{Answer, Line, Question, Seen, Sensors, Source, pci_address};
use super::nvml;
use super::read::{Root, clean};

/// Whether there is anybody to ask, so that a child is worth its while. Reads nothing that a driver serves.
pub fn worth_asking(root: &Root, gpus: &[GpuInfo]) -> bool {
    gpus.iter().any(|gpu| gpu.driver.is_some()) || nvidia_is_here(root)
}

/// Whether NVIDIA's kernel module is loaded, or Windows lends a card (WSL).
fn nvidia_is_here(root: &Root) -> bool {
    ["proc/driver/nvidia", "dev/nvidiactl", "dev/dxg"].iter().any(|path| root.join(path).exists())
}

/// Asks everybody who can answer `question` and writes what they say, a JSON line each.
///
/// # Errors
///
/// What writing met.
pub fn ask(question: Question, root: &Root, nvml: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut say = |line: &Line| {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    let mut turn = |source, answer: &dyn Fn() -> Answer| {
        say(&Line::Asking(source))?;
        say(&Line::Said(answer()))
    };
    let nvidia = nvidia_is_here(root);
    match question {
        Question::Inventory => {
            turn(Source::Drm, &|| drm(root))?;
            turn(Source::Kfd, &|| kfd(root))?;
            if nvidia {
                turn(Source::NvidiaProc, &|| nvidia_proc(root))?;
                turn(Source::Nvml, &|| nvml::ask(nvml))?;
            }
        }
        Question::Sensors => {
            turn(Source::Hwmon, &|| hwmon(root))?;
            if nvidia {
                turn(Source::Nvml, &|| nvml::ask(nvml))?;
            }
        }
    }
    say(&Line::Done)
}

/// What the sensors of each card say that the kernel's own drivers serve: the hottest one, and what the card draws, or
/// has used up where its driver counts that alone (Intel's).
fn hwmon(root: &Root) -> Answer {
    let mut answer = Answer::default();
    for address in root.names("sys/bus/pci/devices") {
        let Some(address) = address.to_str() else { continue };
        let device = PathBuf::from("sys/bus/pci/devices").join(address);
        if !root.link_name(device.join("driver")).is_some_and(|driver| is_of_the_kernel(&driver)) {
            continue;
        }
        let mut seen = Seen::default();
        seen.gpu.pci_address = Some(address.into());
        let monitors = device.join("hwmon");
        for monitor in root.names(&monitors) {
            add(&mut seen.sensors, root, &monitors.join(monitor));
        }
        answer.gpus.push(seen);
    }
    answer
}

/// Adds what the sensors of `monitor` say; the kernel writes thousandths of degrees, and millionths of the rest.
fn add(sensors: &mut Sensors, root: &Root, monitor: &Path) {
    let value = |name: &str, parts: f64| root.number(monitor.join(name)).map(|number| number as f64 / parts);
    for name in root.names(monitor) {
        let Some(name) = name.to_str().filter(|name| name.ends_with("_input")) else { continue };
        if name.starts_with("temp")
            && let Some(degrees) = value(name, 1e3)
        {
            let hottest = sensors.temperature_celsius.map_or(degrees, |hottest| hottest.max(degrees));
            sensors.temperature_celsius = Some(hottest);
        }
    }
    sensors.power_watts =
        sensors.power_watts.or_else(|| value("power1_average", 1e6)).or_else(|| value("power1_input", 1e6));
    sensors.energy_joules = sensors.energy_joules.or_else(|| value("energy1_input", 1e6));
}

/// Whether `driver` is one that publishes its card's attributes.
fn is_of_the_kernel(driver: &str) -> bool {
    matches!(driver, "amdgpu" | "radeon" | "i915" | "xe")
}

/// AMD's and Intel's attributes of each device on the bus.
fn drm(root: &Root) -> Answer {
    let mut answer = Answer::default();
    for address in root.names("sys/bus/pci/devices") {
        let Some(address) = address.to_str() else { continue };
        let device = PathBuf::from("sys/bus/pci/devices").join(address);
        let driver = root.link_name(device.join("driver"));
        if !driver.as_deref().is_some_and(is_of_the_kernel) {
            continue;
        }
        let mut seen = Seen::default();
        seen.gpu.pci_address = Some(address.into());
        seen.gpu.vram_bytes = root.number(device.join("mem_info_vram_total")).filter(|&bytes| bytes > 0);
        seen.gpu.name = root.line(device.join("product_name")).unwrap_or_default();
        seen.gpu.uuid = root.line(device.join("unique_id"));
        // Drivers that live outside the kernel's tree have a version of their own.
        if let (Some(driver), Some(version)) = (&driver, root.line(device.join("driver/module/version"))) {
            seen.gpu.driver = Some(format!("{driver} {version}"));
        }
        let nodes = root.names(device.join("drm"));
        let nodes: Vec<_> =
            nodes.iter().filter_map(|node| node.to_str()).filter(|n| n.starts_with("render")).collect();
        if let Some(node) = nodes.first() {
            seen.details.insert("render_node".into(), format!("/dev/dri/{}", clean(node)).into());
        }
        answer.gpus.push(seen);
    }
    answer
}

/// The architecture (`gfx1100`) of each AMD card that can compute.
fn kfd(root: &Root) -> Answer {
    let mut answer = Answer::default();
    let nodes = Path::new("sys/class/kfd/kfd/topology/nodes");
    for node in root.names(nodes) {
        let text = root.text(nodes.join(node).join("properties"), 64 << 10).unwrap_or_default();
        let property = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            line.trim().parse::<u32>().ok()
        };
        let Some(version) = property("gfx_target_version").filter(|&version| version > 0) else { continue };
        let Some(location) = property("location_id") else { continue };
        let domain = property("domain").unwrap_or(0);
        let mut seen = Seen::default();
        let (bus, device, function) = (location >> 8 & 0xff, location >> 3 & 0x1f, location & 7);
        seen.gpu.pci_address = Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"));
        let (major, minor, step) = (version / 10_000, version / 100 % 100, version % 100);
        seen.details.insert("architecture".into(), format!("gfx{major}{minor:x}{step:x}").into());
        if let Some(units) =
            property("simd_count").zip(property("simd_per_cu")).and_then(|(s, per)| s.checked_div(per))
        {
            seen.details.insert("compute_units".into(), units.into());
        }
        answer.gpus.push(seen);
    }
    answer
}

/// The model, the identifier and the driver's version of each NVIDIA card, without NVIDIA's library.
fn nvidia_proc(root: &Root) -> Answer {
    let mut answer = Answer::default();
    let version = root.text("proc/driver/nvidia/version", 4096).and_then(|text| nvidia_version(&text));
    let cards = Path::new("proc/driver/nvidia/gpus");
    for address in root.names(cards) {
        let Some(address) = address.to_str().and_then(pci_address) else { continue };
        let text = root.text(cards.join(&address).join("information"), 64 << 10).unwrap_or_default();
        let field = |name: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| clean(value))
                .filter(|value| !value.is_empty())
        };
        let mut seen = Seen::default();
        seen.gpu.vendor = "nvidia".into();
        seen.gpu.pci_address = Some(address);
        seen.gpu.name = field("Model").unwrap_or_default();
        // Unknown digits are question marks until the card has been used once.
        seen.gpu.uuid = field("GPU UUID").filter(|uuid| !uuid.contains('?'));
        seen.gpu.driver = version.as_ref().map(|version| format!("nvidia {version}"));
        answer.gpus.push(seen);
    }
    answer
}

/// The version in a line such as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  555.42.02  Mon …`.
fn nvidia_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.contains('.')
            && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    line.split_whitespace().find(is_version).map(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    #[test]
    fn both_flavours_of_the_nvidia_module_say_their_version() {
        for (line, version) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
                "550.54.15",
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build",
                "565.57.01",
            ),
        ] {
            assert_eq!(nvidia_version(line).as_deref(), Some(version));
        }
        assert_eq!(nvidia_version("GCC version: 12.2.0"), None);
    }

    #[test]
    fn amd_says_memory_and_architecture() {
        let machine = Machine::new();
        machine.pci("0000:03:00.0", 0x030000, 0x1002, 0x744c, Some("amdgpu"));
        machine.file("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total", "25753026560\n");
        machine.file("sys/bus/pci/devices/0000:03:00.0/drm/renderD128/dev", "226:128");
        machine.file(
            "sys/class/kfd/kfd/topology/nodes/0/properties",
            "cpu_cores_count 16\ngfx_target_version 0\n",
        );
        machine.file(
            "sys/class/kfd/kfd/topology/nodes/1/properties",
            "simd_count 192\nsimd_per_cu 2\ngfx_target_version 110000\nlocation_id 768\ndomain 0\n",
        );
        let seen = drm(&machine.root()).gpus;
        assert_eq!(seen[0].gpu.vram_bytes, Some(25_753_026_560));
        assert_eq!(seen[0].details["render_node"], "/dev/dri/renderD128");
        let seen = kfd(&machine.root()).gpus;
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].gpu.pci_address.as_deref(), Some("0000:03:00.0"));
        assert_eq!(seen[0].details["architecture"], "gfx1100");
        assert_eq!(seen[0].details["compute_units"], 96);
        machine.file(
            "sys/class/kfd/kfd/topology/nodes/1/properties",
            "gfx_target_version 90010\nlocation_id 768\n",
        );
        assert_eq!(kfd(&machine.root()).gpus[0].details["architecture"], "gfx90a");
    }
}
