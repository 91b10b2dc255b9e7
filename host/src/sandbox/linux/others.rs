//! What `/proc` shows of other programs: who runs with which arguments, and who is connected to whom.
//!
//! Plain functions of a path. Landlock knows `/proc` as a whole alone: it is too short-lived for rules of its own. So this is
//! the parent's look, which nothing stands behind where a path changes after it.

use std::ffi::OsStr;
use std::path::{Component, Path};

/// What is of the machine's programs as a whole: its connections, its keys, its locks, what the kernel says.
const OF_ALL: [&str; 5] = ["net", "keys", "key-users", "locks", "kmsg"];

/// Whether `path`, absolute and without `.` and `..`, shows what other programs do. `is_own` says whether a number is that of
/// the process that asks, or of one of its threads.
pub fn shows_others(path: &Path, is_own: impl Fn(u32) -> bool) -> bool {
    let Ok(rest) = path.strip_prefix("/proc") else { return false };
    let names: Vec<&OsStr> = rest
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let is = |at: usize, name: &str| names.get(at).is_some_and(|found| *found == name);
    let Some(first) = names.first().and_then(|name| name.to_str()) else { return false };
    match first.parse::<u32>() {
        // Its connections are those of everybody in its network.
        Ok(id) => !is_own(id) || is(1, "net") || (is(1, "task") && is(3, "net")),
        Err(_) => OF_ALL.contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_itself_and_the_machine_and_nobody_else() {
        let shows = |path: &str| shows_others(Path::new(path), |id| id == 7 || id == 8);
        for path in [
            "/proc",
            "/proc/7",
            "/proc/7/maps",
            "/proc/7/task/8/stat",
            "/proc/8/status",
            "/proc/cpuinfo",
            "/proc/mounts",
            "/proc/sys/net/core/somaxconn",
            "/proc/driver/nvidia/gpus/0000:01:00.0/information",
            "/etc/proc/1/cmdline",
        ] {
            assert!(!shows(path), "{path}");
        }
        for path in [
            "/proc/1",
            "/proc/1/cmdline",
            "/proc/70/maps",
            "/proc/net",
            "/proc/net/tcp",
            "/proc/7/net/tcp6",
            "/proc/7/task/8/net/unix",
            "/proc/locks",
            "/proc/keys",
        ] {
            assert!(shows(path), "{path}");
        }
    }
}
