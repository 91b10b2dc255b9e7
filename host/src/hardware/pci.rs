//! The graphics processors on the PCI bus, from what the kernel remembers of them.
//!
//! Reads only attributes that the kernel keeps in memory, never a driver's: a card that has fallen off the bus, or
//! whose driver hangs, is still listed, at once. What the drivers know is added by [`super::driver`].

use std::path::PathBuf;

use pearlbed_plugin_api::GpuInfo;

use super::read::{Root, clean};

/// Where the names of devices may lie, for cards whose driver does not name them.
const NAMES: [&str; 3] = ["usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids", "var/lib/pciutils/pci.ids"];

/// PCI class codes: display controllers, and processing accelerators such as AMD's Instinct.
const DISPLAY: u32 = 0x03;
const ACCELERATOR: u32 = 0x12;

/// Lists the graphics processors in the order of their addresses.
///
/// Adapters that only show a picture (a server's management chip, a virtual machine's screen) are left out.
pub fn gpus(root: &Root) -> Vec<GpuInfo> {
    let mut names = Names::default();
    let mut gpus = vec![];
    for address in root.names("sys/bus/pci/devices") {
        let Some(address) = address.to_str().map(clean) else { continue };
        let device = PathBuf::from("sys/bus/pci/devices").join(&address);
        let Some(class) = root.hex(device.join("class")).map(|class| class >> 16) else { continue };
        let Some(vendor) = root.hex(device.join("vendor")) else { continue };
        if !computes(class, vendor) {
            continue;
        }
        let mut gpu = GpuInfo::default();
        gpu.vendor = vendor_name(vendor);
        gpu.driver = root.link_name(device.join("driver"));
        if let Some(id) = root.hex(device.join("device")) {
            gpu.name =
                names.find(root, vendor, id).unwrap_or_else(|| format!("device {vendor:04x}:{id:04x}"));
        }
        gpu.pci_address = Some(address);
        gpus.push(gpu);
    }
    gpus
}

/// Whether a device of this class and vendor can do more than show a picture.
fn computes(class: u32, vendor: u32) -> bool {
    // ASPEED, Matrox, Cirrus, QEMU, Red Hat (virtio, QXL), VMware, Hyper-V, VirtualBox, Amazon.
    const SCREENS: [u32; 9] = [0x1a03, 0x102b, 0x1013, 0x1234, 0x1af4, 0x1b36, 0x15ad, 0x1414, 0x80ee];
    match class {
        DISPLAY => !SCREENS.contains(&vendor) && vendor != 0x1d0f,
        // Other makers' accelerators are no graphics processors.
        ACCELERATOR => matches!(vendor, NVIDIA | AMD | INTEL),
        _ => false,
    }
}

const NVIDIA: u32 = 0x10de;
const AMD: u32 = 0x1002;
const INTEL: u32 = 0x8086;

fn vendor_name(vendor: u32) -> String {
    match vendor {
        NVIDIA => "nvidia".into(),
        AMD => "amd".into(),
        INTEL => "intel".into(),
        other => format!("{other:04x}"),
    }
}

/// The system's list of device names, read when the first name is asked for.
#[derive(Default)]
struct Names(Option<String>);

impl Names {
    fn find(&mut self, root: &Root, vendor: u32, device: u32) -> Option<String> {
        let text = self.0.get_or_insert_with(|| {
            let found = NAMES.iter().find_map(|path| root.text(path, 8 << 20));
            found.unwrap_or_default()
        });
        // A vendor's line starts in the first column, its devices' lines with one tab, their subsystems' with two.
        let vendor = format!("\n{vendor:04x}  ");
        let from = text.find(&vendor)? + vendor.len();
        let device = format!("\t{device:04x}  ");
        let mut devices = text[from..].lines().skip(1).take_while(|line| line.starts_with(['\t', '#']));
        devices.find_map(|line| line.strip_prefix(&device)).map(clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    #[test]
    fn every_gpu_is_listed_and_no_screen() {
        let machine = Machine::new();
        machine.pci("0000:02:00.0", 0x030000, 0x10de, 0x2684, Some("nvidia"));
        machine.pci("0000:01:00.0", 0x030200, 0x10de, 0x2335, Some("vfio-pci"));
        machine.pci("0000:00:02.0", 0x030000, 0x8086, 0x56a0, None);
        machine.pci("0000:03:00.0", 0x120000, 0x1002, 0x74a1, Some("amdgpu"));
        machine.pci("0000:04:00.0", 0x030000, 0x1a03, 0x2000, Some("ast"));
        machine.pci("0000:05:00.0", 0x020000, 0x8086, 0x1533, Some("igb"));
        machine.pci("0000:06:00.0", 0x030000, 0x1ed5, 0x0222, None);
        machine.file(
            "usr/share/misc/pci.ids",
            "# a list\n1002  Advanced Micro Devices\n\t74a1  Aqua Vanjaram [Instinct MI300X]\n\
             8086  Intel Corporation\n\t1533  I210\n\t\t103c 0003  Other\n\t56a0  DG2 [Arc A770]\n",
        );
        let gpus = gpus(&machine.root());
        let seen: Vec<_> = gpus
            .iter()
            .map(|gpu| {
                let driver = gpu.driver.as_deref().unwrap_or("-");
                (gpu.pci_address.as_deref().unwrap(), gpu.vendor.as_str(), gpu.name.as_str(), driver)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("0000:00:02.0", "intel", "DG2 [Arc A770]", "-"),
                ("0000:01:00.0", "nvidia", "device 10de:2335", "vfio-pci"),
                ("0000:02:00.0", "nvidia", "device 10de:2684", "nvidia"),
                ("0000:03:00.0", "amd", "Aqua Vanjaram [Instinct MI300X]", "amdgpu"),
                ("0000:06:00.0", "1ed5", "device 1ed5:0222", "-"),
            ]
        );
    }

    #[test]
    fn garbage_on_the_bus_is_passed_over() {
        let machine = Machine::new();
        machine.file("sys/bus/pci/devices/0000:00:01.0/class", [0xff; 9]);
        machine.file("sys/bus/pci/devices/0000:00:02.0", "a file");
        machine.file("sys/bus/pci/devices/0000:00:03.0/class", "0x030000");
        machine.fifo("sys/bus/pci/devices/0000:00:03.0/vendor");
        machine.file("sys/bus/pci/devices/\u{1b}[2J/class", "0x030000");
        machine.file("sys/bus/pci/devices/\u{1b}[2J/vendor", "0x10de");
        let gpus = gpus(&machine.root());
        assert!(gpus.iter().all(|gpu| !gpu.pci_address.as_deref().unwrap_or("").contains('\u{1b}')));
    }
}
