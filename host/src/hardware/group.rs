//! What the control groups of this process allow it: a share of the processors, a bound of memory.
//!
//! A group has no more than the groups above it, so the least of all counts. Both versions of the interface are read, by the
//! path that the kernel says and, where a container shows only its own part, by the top of what is shown.

use std::path::{Path, PathBuf};

use super::read::Root;

/// Processors that may be used at once, as a fraction of time; nothing where there is no bound.
pub fn processors(root: &Root) -> Option<f64> {
    let quota = |folder: &Path| {
        // Microseconds in each period: `20000 100000`, or `max 100000`.
        let (quota, period) = match root.line(folder.join("cpu.max")) {
            Some(line) => {
                let (quota, period) = line.split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.trim().parse::<f64>().ok()?)
            }
            None => {
                let number = |name: &str| root.line(folder.join(name))?.trim().parse::<f64>().ok();
                (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
            }
        };
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    };
    folders(root, "cpu").iter().filter_map(|folder| quota(folder)).min_by(f64::total_cmp)
}

/// Memory that may be used, in bytes; nothing where there is no bound.
pub fn memory(root: &Root) -> Option<u64> {
    let limit = |folder: &PathBuf| {
        root.number(folder.join("memory.max")).or_else(|| root.number(folder.join("memory.limit_in_bytes")))
    };
    folders(root, "memory").iter().filter_map(limit).min()
}

/// How often the kernel has ended a process of these groups because their memory was used up.
pub fn memory_kills() -> u64 {
    let root = Root::new("/");
    let kills = |folder: &PathBuf| {
        let text = root
            .text(folder.join("memory.events"), 4096)
            .or_else(|| root.text(folder.join("memory.oom_control"), 4096))?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse::<u64>().ok()
    };
    folders(&root, "memory").iter().filter_map(kills).max().unwrap_or(0)
}

/// Memory that this process and the others of its group may use, in bytes; nothing where there is no bound.
pub fn memory_limit() -> Option<u64> {
    // A bound of more than any machine has is how some systems write none.
    memory(&Root::new("/")).filter(|&limit| limit < 1 << 60)
}

/// The folders of the groups of this process that `controller` rules, its own first, without those that are not there.
fn folders(root: &Root, controller: &str) -> Vec<PathBuf> {
    let groups = root.text("proc/self/cgroup", 64 << 10).unwrap_or_default();
    let mut folders = vec![];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mount = if controllers.is_empty() {
            PathBuf::from("sys/fs/cgroup")
        } else if controllers.split(',').any(|name| name == controller) {
            Path::new("sys/fs/cgroup").join(controller)
        } else {
            continue;
        };
        let path = path.trim_start_matches('/');
        // Only names that stay below the mount.
        if !path.split('/').any(|part| part == "..") {
            folders.extend(Path::new(path).ancestors().map(|group| mount.join(group)));
        }
        folders.push(mount);
    }
    folders.push("sys/fs/cgroup".into());
    folders.push(Path::new("sys/fs/cgroup").join(controller));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    #[test]
    fn the_narrowest_group_on_the_way_to_the_top_counts() {
        let machine = Machine::new();
        assert_eq!((processors(&machine.root()), memory(&machine.root())), (None, None));
        machine.file("proc/self/cgroup", "0::/system.slice/miner.service\n");
        machine.file("sys/fs/cgroup/system.slice/miner.service/cpu.max", "max 100000\n");
        assert_eq!(processors(&machine.root()), None);
        machine.file("sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n");
        machine.file("sys/fs/cgroup/system.slice/miner.service/memory.max", "1048576\n");
        machine.file("sys/fs/cgroup/system.slice/memory.max", "max\n");
        assert_eq!((processors(&machine.root()), memory(&machine.root())), (Some(0.5), Some(1 << 20)));
    }

    #[test]
    fn a_container_that_shows_only_its_own_part_is_understood_in_either_version() {
        let machine = Machine::new();
        machine.file("proc/self/cgroup", "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n");
        machine.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "2000\n");
        machine.file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        machine.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "65536\n");
        assert_eq!((processors(&machine.root()), memory(&machine.root())), (Some(0.02), Some(65536)));
        machine.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
        assert_eq!(processors(&machine.root()), None);
    }
}
