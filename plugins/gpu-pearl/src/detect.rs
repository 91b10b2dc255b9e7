//! Whether there is anything to mine with, told without opening a driver.
//!
//! A probe has no device nodes, two seconds, and must write nothing; opening Vulkan takes longer and writes caches. So
//! this reads what the host says of the cards, and whether the files are there through which Vulkan would be reached.

use std::path::{Path, PathBuf};

use pearlbed_plugin_api::serde_json::Value;
use pearlbed_plugin_api::{GpuInfo, HardwareInfo, MiningCapabilities};

use crate::cards::{self, AMD, INTEL, NVIDIA};

/// Where the loader of Vulkan may lie.
const LOADERS: [&str; 8] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib64",
    "usr/local/lib",
    "run/opengl-driver/lib",
    "run/current-system/sw/lib",
];
/// Where drivers say that they are there.
const MANIFESTS: [&str; 4] = [
    "usr/share/vulkan/icd.d",
    "etc/vulkan/icd.d",
    "usr/local/share/vulkan/icd.d",
    "run/opengl-driver/share/vulkan/icd.d",
];

/// Answers for every card that `hardware` lists; `root` is the folder that stands for `/`.
pub(crate) fn detect(hardware: &HardwareInfo, root: &Path) -> MiningCapabilities {
    if hardware.gpus.is_empty() {
        return MiningCapabilities::unsupported(if cfg!(target_os = "linux") {
            "this machine has no graphics card that could mine"
        } else {
            "this machine lists no graphics processor"
        });
    }
    let system = System::look(root);
    let (mut fit, mut unfit, mut estimate) = (Vec::new(), Vec::new(), None);
    for (index, gpu) in hardware.gpus.iter().enumerate() {
        let details = &hardware.details["gpus"][index];
        match judge(gpu, details, &system, hardware.platform.starts_with("macos")) {
            Ok(family) => {
                fit.push(family);
                if let Some(rate) = its_estimate(gpu, root) {
                    estimate = Some(estimate.unwrap_or(0.0) + rate);
                }
            }
            Err(why) => unfit.push(format!("{}: {why}", title(gpu))),
        }
    }
    if fit.is_empty() {
        return MiningCapabilities::unsupported(unfit.join("; "));
    }
    fit.sort_unstable();
    fit.dedup();
    let mining = hardware.gpus.len() - unfit.len();
    let mut reason = format!("{mining} device{}, {}", if mining == 1 { "" } else { "s" }, fit.join(" and "));
    for why in &unfit {
        reason.push_str("; not ");
        reason.push_str(why);
    }
    let answer = MiningCapabilities::supported().with_reason(reason);
    match estimate {
        Some(rate) => answer.with_estimate(rate),
        None => answer,
    }
}

/// What there is of Vulkan.
struct System {
    has_loader: bool,
    /// The drivers' manifests, by file name.
    manifests: Vec<String>,
}

impl System {
    fn look(root: &Path) -> Self {
        let has_loader = LOADERS.iter().any(|folder| root.join(folder).join("libvulkan.so.1").exists());
        let names = |folder: PathBuf| {
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name())
        };
        let manifests = MANIFESTS
            .iter()
            .flat_map(|folder| names(root.join(folder)))
            .filter_map(|name| name.into_string().ok())
            .collect();
        Self { has_loader, manifests }
    }

    fn has_driver(&self, names: &[&str]) -> bool {
        self.manifests.iter().any(|file| names.iter().any(|name| file.starts_with(name)))
    }
}

/// The kernels that a card is tried with, in words; `details` is what the host knows of it beside the contract.
///
/// # Errors
///
/// What is missing, and what to install.
fn judge(gpu: &GpuInfo, details: &Value, system: &System, is_mac: bool) -> Result<&'static str, String> {
    if is_mac {
        return Ok("half-precision matrices or packed dot products by Metal");
    }
    let (manifests, kernel_driver, package): (&[&str], &[&str], &str) = match gpu.vendor.as_str() {
        "nvidia" => {
            (&["nvidia_icd", "nvidia_layers"], &["nvidia"], "NVIDIA's own driver with its Vulkan part")
        }
        "amd" => (&["radeon_icd", "amd_icd"], &["amdgpu"], MESA),
        "intel" => (&["intel_icd", "intel_hasvk_icd"], &["i915", "xe"], MESA),
        other => return Err(format!("no kernel is known for cards of vendor {other}")),
    };
    match gpu.driver.as_deref() {
        None => return Err("the kernel has no driver for it; install or load it".into()),
        Some(driver) if driver.starts_with("vfio") => return Err("it is lent to a virtual machine".into()),
        Some(driver) if !kernel_driver.iter().any(|known| driver.starts_with(known)) => {
            return Err(format!(
                "its driver `{driver}` offers no Vulkan; use {}",
                kernel_driver.join(" or ")
            ));
        }
        Some(_) => {}
    }
    if !system.has_loader {
        return Err("the Vulkan loader is missing; install libvulkan1 (Debian), vulkan-loader (Fedora) or \
                    vulkan-icd-loader (Arch)"
            .into());
    }
    if !system.has_driver(manifests) {
        return Err(format!("it has no Vulkan driver; install {package}"));
    }
    Ok(family(gpu, details))
}

/// The kernels that a card's own instructions are for, as far as is known of it; its driver has the last word at the start.
fn family(gpu: &GpuInfo, details: &Value) -> &'static str {
    const DOT: &str = "packed dot products by Vulkan";
    const INT8: &str = "int8 matrices or packed dot products by Vulkan";
    const HALVES: &str = "half-precision matrices or packed dot products by Vulkan";
    let capability = gpu.compute_capability.as_deref().and_then(|text| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    match (capability, details["architecture"].as_str()) {
        // Turing has the first int8 matrices, Volta those of halves alone.
        (Some(capability), _) if capability >= (7, 5) => INT8,
        (Some((7, _)), _) => HALVES,
        (Some(_), _) => DOT,
        // RDNA 3 and 4.
        (None, Some(name)) if name.starts_with("gfx11") || name.starts_with("gfx12") => INT8,
        (None, Some(_)) => DOT,
        (None, None) => "int8 matrices, where its driver lists them, or packed dot products by Vulkan",
    }
}

const MESA: &str = "mesa-vulkan-drivers (Debian, Fedora) or vulkan-radeon and vulkan-intel (Arch)";

fn its_estimate(gpu: &GpuInfo, root: &Path) -> Option<f64> {
    let vendor = match gpu.vendor.as_str() {
        "nvidia" => NVIDIA,
        "amd" => AMD,
        "intel" => INTEL,
        _ => return None,
    };
    let address = gpu.pci_address.as_deref().filter(|address| !address.contains('/'))?;
    let file = root.join("sys/bus/pci/devices").join(address).join("device");
    let text = std::fs::read_to_string(file).ok()?;
    cards::estimate(vendor, u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?)
}

fn title(gpu: &GpuInfo) -> String {
    let name = if gpu.name.is_empty() { "card" } else { &gpu.name };
    let at = gpu.pci_address.as_deref().map(|address| format!(" at {address}")).unwrap_or_default();
    format!("{} {name}{at}", gpu.vendor)
}

#[cfg(test)]
mod tests {
    use pearlbed_plugin_api::serde_json;

    use super::*;

    struct Machine(tempfile::TempDir, HardwareInfo);

    impl Machine {
        fn new() -> Self {
            let mut hardware = HardwareInfo::default();
            hardware.platform = "linux-x86_64".into();
            Self(tempfile::tempdir().unwrap(), hardware)
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn card(&mut self, vendor: &str, address: &str, id: &str, driver: Option<&str>) {
            self.file(&format!("sys/bus/pci/devices/{address}/device"), &format!("{id}\n"));
            let mut gpu = GpuInfo::default();
            gpu.vendor = vendor.into();
            gpu.pci_address = Some(address.into());
            gpu.driver = driver.map(Into::into);
            self.1.gpus.push(gpu);
        }

        fn vulkan(&self, manifests: &[&str]) {
            self.file("usr/lib/x86_64-linux-gnu/libvulkan.so.1", "");
            for name in manifests {
                self.file(&format!("usr/share/vulkan/icd.d/{name}"), "{}");
            }
        }

        fn detect(&self) -> MiningCapabilities {
            detect(&self.1, self.0.path())
        }
    }

    #[test]
    fn each_card_that_falls_out_has_a_reason_and_the_others_count() {
        let mut machine = Machine::new();
        machine.card("nvidia", "0000:01:00.0", "0x2684", Some("nvidia"));
        machine.card("amd", "0000:03:00.0", "0x744c", Some("amdgpu"));
        machine.card("intel", "0000:00:02.0", "0x9999", Some("i915"));
        machine.vulkan(&["nvidia_icd.json", "intel_icd.x86_64.json", "lvp_icd.x86_64.json"]);
        let answer = machine.detect();
        let reason = answer.reason.unwrap();
        assert!(answer.supported);
        let expected = "2 devices, int8 matrices, where its driver lists them, or packed dot products by Vulkan; \
                        not amd card at 0000:03:00.0";
        assert!(reason.starts_with(expected), "{reason}");
        assert!(reason.contains("it has no Vulkan driver; install mesa-vulkan-drivers"), "{reason}");
        // The one that is in the table; of the other nothing is known.
        assert_eq!(answer.estimated_hashrate, cards::estimate(NVIDIA, 0x2684));
    }

    #[test]
    fn asked_for_one_device_it_answers_for_that_one() {
        let mut machine = Machine::new();
        machine.card("nvidia", "0000:01:00.0", "0x2684", Some("nvidia"));
        machine.card("nvidia", "0000:02:00.0", "0x2204", Some("nvidia"));
        machine.card("amd", "0000:03:00.0", "0x744c", None);
        machine.vulkan(&["nvidia_icd.json", "radeon_icd.x86_64.json"]);
        let alone = |of: usize| {
            let mut hardware = machine.1.clone();
            hardware.gpus = vec![machine.1.gpus[of].clone()];
            detect(&hardware, machine.0.path())
        };
        let [first, second, third] = [alone(0), alone(1), alone(2)];
        for (answer, id) in [(&first, 0x2684), (&second, 0x2204)] {
            assert!(answer.reason.as_deref().unwrap().starts_with("1 device, int8 matrices"));
            let estimate = answer.estimated_hashrate.unwrap();
            assert_eq!(Some(estimate), cards::estimate(NVIDIA, id));
        }
        assert_ne!(first.estimated_hashrate, second.estimated_hashrate);
        let all = first.estimated_hashrate.unwrap() + second.estimated_hashrate.unwrap();
        assert_eq!(machine.detect().estimated_hashrate, Some(all), "of all, the sum");
        // What is said of the one that falls out is of no other.
        let why = third.reason.unwrap();
        assert!(!third.supported, "{why}");
        assert_eq!(why, "amd card at 0000:03:00.0: the kernel has no driver for it; install or load it");
    }

    #[test]
    fn a_card_s_family_of_kernels_follows_from_what_is_known_of_its_instructions() {
        for (vendor, driver, capability, architecture, family) in [
            ("nvidia", "nvidia", Some("8.9"), None, "int8 matrices or packed dot products by Vulkan"),
            ("nvidia", "nvidia", Some("7.5"), None, "int8 matrices or packed dot products by Vulkan"),
            (
                "nvidia",
                "nvidia",
                Some("7.0"),
                None,
                "half-precision matrices or packed dot products by Vulkan",
            ),
            ("nvidia", "nvidia", Some("6.1"), None, "packed dot products by Vulkan"),
            ("amd", "amdgpu", None, Some("gfx1201"), "int8 matrices or packed dot products by Vulkan"),
            ("amd", "amdgpu", None, Some("gfx1030"), "packed dot products by Vulkan"),
        ] {
            let mut machine = Machine::new();
            machine.card(vendor, "0000:01:00.0", "0x0001", Some(driver));
            machine.vulkan(&["nvidia_icd.json", "radeon_icd.x86_64.json"]);
            machine.1.gpus[0].compute_capability = capability.map(Into::into);
            let details = architecture.map(|name| serde_json::json!({"gpus": [{"architecture": name}]}));
            machine.1.details = details.unwrap_or_default();
            assert_eq!(machine.detect().reason, Some(format!("1 device, {family}")));
        }
        let mut machine = Machine::new();
        machine.card("apple", "", "0x0001", None);
        machine.1.platform = "macos-aarch64".into();
        let said = machine.detect().reason.unwrap();
        assert_eq!(said, "1 device, half-precision matrices or packed dot products by Metal");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (driver, loader, said) in [
            (None, true, "no driver for it"),
            (Some("vfio-pci"), true, "lent to a virtual machine"),
            (Some("nouveau"), true, "its driver `nouveau` offers no Vulkan; use nvidia"),
            (Some("nvidia 570.1"), false, "the Vulkan loader is missing; install libvulkan1"),
            (Some("nvidia 570.1"), true, "no Vulkan driver; install NVIDIA's own driver"),
        ] {
            let mut machine = Machine::new();
            machine.card("nvidia", "0000:01:00.0", "0x2684", driver);
            if loader {
                machine.vulkan(&["radeon_icd.x86_64.json"]);
            }
            let answer = machine.detect();
            let reason = answer.reason.unwrap();
            assert!(!answer.supported && reason.contains(said), "{driver:?}: {reason}");
        }
    }

    #[test]
    fn a_machine_without_cards_is_told_so_even_where_a_software_device_is_there() {
        let machine = Machine::new();
        machine.vulkan(&["lvp_icd.x86_64.json"]);
        let answer = machine.detect();
        assert!(!answer.supported && answer.reason.unwrap().contains("no graphics card"));
    }

    #[test]
    fn cards_of_other_makers_fall_out() {
        let mut machine = Machine::new();
        machine.card("1ed5", "0000:01:00.0", "0x0222", Some("mtgpu"));
        machine.vulkan(&["x.json"]);
        assert!(machine.detect().reason.unwrap().contains("no kernel is known for cards of vendor 1ed5"));
    }
}
