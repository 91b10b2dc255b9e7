//! What stands between a card that is there and a program that wants to compute with it: its nodes, the permission to open
//! them, the Vulkan loader, and a driver for it.
//!
//! Looks at files only. It opens no driver and no node, changes nothing and judges nothing.
//!
//! # Limitations
//!
//! Whether a driver works is known only once it is opened. On macOS nothing is ever missing: Metal is part of it.

use std::path::Path;

use pearlbed_plugin_api::GpuInfo;

use super::read::Root;

/// Something that is missing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What, without a full stop.
    pub finding: String,
    /// What to do, for this distribution.
    pub fix: String,
}

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

/// What a program that computes with `gpu` would miss, in the order in which it would meet it. Nothing for a card that has
/// no driver of its own: that is told elsewhere.
pub fn missing(root: &Root, gpu: &GpuInfo) -> Vec<Missing> {
    missing_where(root, gpu, |node| {
        rustix::fs::access(node, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok()
    })
}

fn missing_where(root: &Root, gpu: &GpuInfo, may_open: impl Fn(&Path) -> bool) -> Vec<Missing> {
    let driver = gpu.driver.as_deref().unwrap_or_default();
    let kind = match gpu.vendor.as_str() {
        "nvidia" if driver.starts_with("nvidia") => Kind::Nvidia,
        "amd" if driver.starts_with("amdgpu") => Kind::Amd,
        "intel" if driver.starts_with("i915") || driver.starts_with("xe") => Kind::Intel,
        _ => return Vec::new(),
    };
    let mut found = match kind {
        Kind::Nvidia => nvidia_nodes(root, &may_open),
        Kind::Amd | Kind::Intel => render_node(root, gpu, &may_open).into_iter().collect(),
    };
    let distribution = Distribution::of(root);
    if !LOADERS.iter().any(|folder| root.join(folder).join("libvulkan.so.1").exists()) {
        found.push(Missing {
            finding: "the Vulkan loader is not installed".into(),
            fix: distribution.install(distribution.loader()),
        });
    }
    let manifests: Vec<String> = MANIFESTS
        .iter()
        .flat_map(|folder| root.names(folder))
        .filter_map(|name| name.into_string().ok())
        .collect();
    if !manifests.iter().any(|file| kind.manifests().iter().any(|start| file.starts_with(start))) {
        found.push(Missing {
            finding: "no Vulkan driver for it is installed".into(),
            fix: distribution.install(distribution.driver(kind)),
        });
    }
    found
}

fn nvidia_nodes(root: &Root, may_open: impl Fn(&Path) -> bool) -> Vec<Missing> {
    for (node, fix) in [
        ("dev/nvidiactl", "run `sudo nvidia-modprobe`, or in a container pass the card on to it"),
        (
            "dev/nvidia-uvm",
            "run `sudo nvidia-modprobe -u`, and let the module nvidia-uvm be loaded at every start",
        ),
    ] {
        let path = root.join(node);
        if !path.exists() {
            return vec![Missing { finding: format!("/{node} is missing"), fix: fix.into() }];
        }
        if !may_open(&path) {
            let fix = format!("let your user read and write it: `ls -l /{node}` says which group may");
            return vec![Missing { finding: format!("you may not open /{node}"), fix }];
        }
    }
    Vec::new()
}

fn render_node(root: &Root, gpu: &GpuInfo, may_open: impl Fn(&Path) -> bool) -> Option<Missing> {
    let folder = format!("sys/bus/pci/devices/{}/drm", gpu.pci_address.as_deref()?);
    let names = root.names(folder).into_iter().filter_map(|name| name.into_string().ok());
    let name = names.into_iter().find(|name| name.starts_with("renderD"))?;
    let node = format!("dev/dri/{name}");
    let path = root.join(&node);
    if !path.exists() {
        let fix = "in a container, pass /dev/dri on to it; elsewhere, load the card's driver again";
        return Some(Missing { finding: format!("/{node} is missing"), fix: fix.into() });
    }
    (!may_open(&path)).then(|| Missing {
        finding: format!("you may not open /{node}"),
        fix: "run `sudo usermod -aG render $USER` and log in again".into(),
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Nvidia,
    Amd,
    Intel,
}

impl Kind {
    /// How the files begin in which its Vulkan drivers say that they are there.
    fn manifests(self) -> &'static [&'static str] {
        match self {
            Self::Nvidia => &["nvidia_icd"],
            Self::Amd => &["radeon_icd", "amd_icd"],
            Self::Intel => &["intel_icd", "intel_hasvk_icd"],
        }
    }
}

/// Who names the packages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Distribution {
    Debian,
    Fedora,
    Arch,
    Suse,
    Other,
}

impl Distribution {
    fn of(root: &Root) -> Self {
        let text = root.text("etc/os-release", 4096).unwrap_or_default();
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            matches!(name, "ID" | "ID_LIKE").then(|| value.trim_matches('"').to_owned())
        });
        let words: Vec<String> =
            values.flat_map(|value| value.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
        let is = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
        match () {
            () if is(&["debian", "ubuntu"]) => Self::Debian,
            () if is(&["fedora", "rhel"]) => Self::Fedora,
            () if is(&["arch"]) => Self::Arch,
            () if is(&["suse", "opensuse"]) => Self::Suse,
            () => Self::Other,
        }
    }

    fn loader(self) -> &'static str {
        match self {
            Self::Debian | Self::Suse => "libvulkan1",
            Self::Arch => "vulkan-icd-loader",
            Self::Fedora | Self::Other => "vulkan-loader",
        }
    }

    fn driver(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Debian, Kind::Nvidia) => "nvidia-vulkan-icd",
            (Self::Fedora, Kind::Nvidia) => "xorg-x11-drv-nvidia",
            (Self::Arch, Kind::Nvidia) => "nvidia-utils",
            (Self::Suse, Kind::Nvidia) => "nvidia-gl-G06",
            (Self::Other, Kind::Nvidia) => "the Vulkan part of NVIDIA's driver",
            (Self::Debian | Self::Fedora, _) => "mesa-vulkan-drivers",
            (Self::Arch, Kind::Amd) => "vulkan-radeon",
            (Self::Arch, Kind::Intel) => "vulkan-intel",
            (Self::Suse, Kind::Amd) => "libvulkan_radeon",
            (Self::Suse, Kind::Intel) => "libvulkan_intel",
            (Self::Other, _) => "Mesa's Vulkan drivers",
        }
    }

    fn install(self, package: &str) -> String {
        match self {
            Self::Debian => format!("run `sudo apt install {package}`"),
            Self::Fedora => format!("run `sudo dnf install {package}`"),
            Self::Arch => format!("run `sudo pacman -S {package}`"),
            Self::Suse => format!("run `sudo zypper install {package}`"),
            Self::Other => format!("install {package}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    fn card(vendor: &str, driver: &str) -> GpuInfo {
        let mut gpu = GpuInfo::default();
        gpu.vendor = vendor.into();
        gpu.driver = Some(driver.into());
        gpu.pci_address = Some("0000:03:00.0".into());
        gpu
    }

    fn told(machine: &Machine, gpu: &GpuInfo, may_open: bool) -> Vec<String> {
        let found = missing_where(&machine.root(), gpu, |_| may_open);
        found.into_iter().map(|missing| format!("{}: {}", missing.finding, missing.fix)).collect()
    }

    #[test]
    fn a_card_of_amd_or_intel_needs_its_node_the_right_to_open_it_the_loader_and_a_driver() {
        let machine = Machine::new();
        machine.file("etc/os-release", "ID=arch\n");
        machine.file("sys/bus/pci/devices/0000:03:00.0/drm/renderD129/dev", "226:129");
        let gpu = card("amd", "amdgpu");
        let all = told(&machine, &gpu, true);
        assert!(all[0].starts_with("/dev/dri/renderD129 is missing: in a container"), "{all:?}");
        assert_eq!(all[1], "the Vulkan loader is not installed: run `sudo pacman -S vulkan-icd-loader`");
        assert_eq!(all[2], "no Vulkan driver for it is installed: run `sudo pacman -S vulkan-radeon`");
        machine.file("dev/dri/renderD129", "");
        machine.file("usr/lib/libvulkan.so.1", "");
        // Another maker's driver is no help.
        machine.file("usr/share/vulkan/icd.d/intel_icd.x86_64.json", "{}");
        assert_eq!(told(&machine, &gpu, true).len(), 1);
        assert!(told(&machine, &gpu, false)[0].contains("usermod -aG render"), "the group is named");
        machine.file("usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "{}");
        assert_eq!(told(&machine, &gpu, true), Vec::<String>::new());
    }

    #[test]
    fn a_card_of_nvidia_needs_both_nodes() {
        let machine = Machine::new();
        machine.file("etc/os-release", "ID=pop\nID_LIKE=\"ubuntu debian\"\n");
        machine.file("usr/lib/x86_64-linux-gnu/libvulkan.so.1", "");
        let gpu = card("nvidia", "nvidia 570.86");
        let all = told(&machine, &gpu, true);
        assert!(all[0].starts_with("/dev/nvidiactl is missing"), "{all:?}");
        assert_eq!(all[1], "no Vulkan driver for it is installed: run `sudo apt install nvidia-vulkan-icd`");
        machine.file("dev/nvidiactl", "");
        assert!(told(&machine, &gpu, true)[0].contains("nvidia-modprobe -u"), "the other node is named");
        machine.file("dev/nvidia-uvm", "");
        assert!(told(&machine, &gpu, false)[0].starts_with("you may not open /dev/nvidiactl"), "permissions");
        machine.file("etc/vulkan/icd.d/nvidia_icd.json", "{}");
        assert_eq!(told(&machine, &gpu, true), Vec::<String>::new());
    }

    #[test]
    fn a_card_that_is_lent_out_or_has_no_driver_misses_nothing_here() {
        let machine = Machine::new();
        assert!(told(&machine, &card("nvidia", "vfio-pci"), true).is_empty());
        assert!(told(&machine, &GpuInfo::default(), true).is_empty());
    }
}
