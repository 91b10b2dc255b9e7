//! Control groups, for tests of what a limit of the system does to whoever lives below it.
//!
//! # Limitations
//!
//! Version 1 of the interface, and root.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What all groups of tests are called by.
const PREFIX: &str = "pearlbed-tests-";

/// A group of processes with limits of its own, until it is dropped.
#[derive(Debug)]
pub struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// Makes one with these settings, each a controller, a file and a value.
    ///
    /// # Errors
    ///
    /// What the system says where it makes none, to be shown as the reason of a skipped test.
    pub fn new(name: &str, settings: &[(&str, &str, &str)]) -> Result<Self, String> {
        let mut group = Self { folders: vec![] };
        for (controller, file, value) in settings {
            let controller = Path::new("/sys/fs/cgroup").join(controller);
            let folder = controller.join(format!("{PREFIX}{name}-{}", std::process::id()));
            remove_abandoned(&controller);
            if !group.folders.contains(&folder) {
                std::fs::create_dir(&folder).map_err(|err| format!("{}: {err}", folder.display()))?;
                group.folders.push(folder.clone());
            }
            std::fs::write(folder.join(file), value).map_err(|err| format!("{file}: {err}"))?;
        }
        Ok(group)
    }

    /// Has the process of `command`, and all that it starts, live in the group.
    pub fn take(&self, command: &mut Command) {
        let lists: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect();
        // SAFETY: the process writes its own number to files before it becomes the program.
        unsafe { command.pre_exec(move || lists.iter().try_for_each(|list| std::fs::write(list, "0"))) };
    }
}

/// Removes the groups of test processes that were killed. A group with a process in it cannot be removed, and is not.
fn remove_abandoned(controller: &Path) {
    for entry in std::fs::read_dir(controller).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-')).map(|(_, pid)| pid);
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            let deadline = Instant::now() + Duration::from_secs(10);
            // Its last processes are being collected.
            while std::fs::remove_dir(folder).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}
