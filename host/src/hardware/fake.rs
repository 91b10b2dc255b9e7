//! Machines that are folders, for tests.

use std::path::Path;

use pearlbed_plugin_api::HardwareInfo;
use tempfile::TempDir;

use super::read::Root;

/// A folder that stands for `/`, removed in the end.
pub struct Machine(TempDir);

impl Machine {
    /// A machine with nothing in it.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// The machine as the inventory takes it.
    pub fn root(&self) -> Root {
        Root::new(self.0.path())
    }

    /// Writes a file and the folders above it.
    pub fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Makes a pipe that nobody writes to.
    pub fn fifo(&self, path: impl AsRef<Path>) {
        let status = std::process::Command::new("mkfifo").arg(self.0.path().join(path)).status().unwrap();
        assert!(status.success());
    }

    /// Switches these processors on; `siblings` lists the threads that share a core with each.
    #[cfg(not(target_os = "macos"))]
    pub fn cpus(&self, online: &str, siblings: &[&str]) {
        self.file("sys/devices/system/cpu/online", online);
        for (cpu, siblings) in siblings.iter().enumerate() {
            self.file(format!("sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list"), siblings);
        }
    }

    /// Puts a device on the PCI bus.
    pub fn pci(&self, address: &str, class: u32, vendor: u32, device: u32, driver: Option<&str>) {
        let dir = format!("sys/bus/pci/devices/{address}");
        self.file(format!("{dir}/class"), format!("{class:#08x}\n"));
        self.file(format!("{dir}/vendor"), format!("{vendor:#06x}\n"));
        self.file(format!("{dir}/device"), format!("{device:#06x}\n"));
        if let Some(driver) = driver {
            let target = format!("../../../../bus/pci/drivers/{driver}");
            std::os::unix::fs::symlink(target, self.0.path().join(dir).join("driver")).unwrap();
        }
    }
}

/// A rig: a processor and eight cards of three makers, in the order of their addresses, as the bus and the drivers tell
/// it. The driver of one of NVIDIA's cards does not know it.
pub fn rig() -> HardwareInfo {
    let machine = Machine::new();
    machine.file("proc/cpuinfo", "processor\t: 0\nvendor_id\t: Imaginary\nmodel name\t: Imaginary 16-Core\n");
    machine.file("proc/meminfo", "MemTotal:       65536000 kB\nMemAvailable:   60000000 kB\n");
    for (address, vendor, device, driver) in [
        ("0000:01:00.0", 0x10de, 0x2684, "nvidia"),
        ("0000:02:00.0", 0x10de, 0x2684, "nvidia"),
        ("0000:03:00.0", 0x1002, 0x744c, "amdgpu"),
        ("0000:04:00.0", 0x1002, 0x744c, "amdgpu"),
        ("0000:05:00.0", 0x1002, 0x73bf, "amdgpu"),
        ("0000:41:00.0", 0x10de, 0x2335, "nvidia"),
        ("0000:42:00.0", 0x10de, 0x2335, "nvidia"),
        ("0000:81:00.0", 0x8086, 0x56a0, "xe"),
    ] {
        machine.pci(address, 0x030000, vendor, device, Some(driver));
        if driver == "amdgpu" {
            let dir = format!("sys/bus/pci/devices/{address}");
            machine.file(format!("{dir}/mem_info_vram_total"), "25753026560\n");
            machine.file(format!("{dir}/product_name"), "Imaginary Red\n");
        }
    }
    machine.file(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  555.42.02  Mon\n",
    );
    for (address, name, uuid) in [
        ("0000:01:00.0", "Imaginary Green 4090", "GPU-00000001-aaaa"),
        ("0000:02:00.0", "Imaginary Green 4090", "GPU-00000002-aaaa"),
        ("0000:41:00.0", "Imaginary Green H200", "GPU-00000041-aaaa"),
    ] {
        let text = format!("Model: \t\t {name}\nGPU UUID: \t {uuid}\n");
        machine.file(format!("proc/driver/nvidia/gpus/{address}/information"), text);
    }
    super::inspect(&super::Options {
        root: machine.root(),
        drivers: super::Drivers::Here,
        limit: std::time::Duration::from_secs(60),
        nvml: machine.root().join("no-such-library.so"),
    })
    .info
}
