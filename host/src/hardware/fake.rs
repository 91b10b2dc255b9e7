//! Machines that are folders, for tests.

use std::path::Path;

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
