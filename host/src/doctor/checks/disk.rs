//! Room and rights for our files. Nothing is written to find out.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use super::super::{Facts, Verdict};
use crate::text::{bytes, printable_path};

/// Below this a session's log and proofs may not find room.
const FREE_WANTED_BYTES: u64 = 512 << 20;
/// Below this not even one proof is safe.
const FREE_NEEDED_BYTES: u64 = 32 << 20;

pub fn home_folder(facts: &Facts) -> Vec<Verdict> {
    let home = facts.home();
    let root = home.root();
    let named = format!("{} ({})", printable_path(root), home.origin().describe());
    vec![match std::fs::metadata(root) {
        Ok(metadata) if !metadata.is_dir() => {
            Verdict::fail(format!("{named} is not a folder"), "move the file away, or set PEARLBED_HOME")
        }
        Ok(_) => match writable(root) {
            Ok(()) => below(facts, Verdict::ok(named)),
            Err(err) => Verdict::fail(
                format!("{named} is not writable: {err}"),
                format!("run `chown -R \"$USER\" {}`, or set PEARLBED_HOME", printable_path(root)),
            ),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            match Facts::nearest_folder(root).map(writable) {
                Some(Ok(())) => {
                    Verdict::ok(format!("{named} does not exist yet and will be made when it is needed"))
                }
                Some(Err(err)) => Verdict::fail(
                    format!("{named} does not exist and cannot be made: {err}"),
                    "set PEARLBED_HOME to a folder where you may write",
                ),
                None => {
                    Verdict::fail(format!("{named} cannot be made"), "set PEARLBED_HOME to a folder that can")
                }
            }
        }
        Err(err) => Verdict::fail(
            format!("{named} cannot be looked at: {err}"),
            "make it readable for you, or set PEARLBED_HOME",
        ),
    }]
}

/// `good`, unless a folder that a session writes to is not writable.
fn below(facts: &Facts, good: Verdict) -> Verdict {
    for folder in [facts.home().runtime_dir(), facts.home().logs_dir()] {
        match writable(&folder) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                let finding = format!("{} is not writable: {err}", printable_path(&folder));
                return Verdict::fail(finding, "make it yours (`chown`) and writable (`chmod u+rwx`)");
            }
            _ => {}
        }
    }
    good
}

/// Whether this user may make files in `folder`, as far as rights and mounts say.
fn writable(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(CWD, folder, access, AtFlags::EACCESS)?)
}

pub fn space(facts: &Facts) -> Vec<Verdict> {
    let root = facts.home().root();
    let Some(folder) = Facts::nearest_folder(root) else {
        return vec![Verdict::skip("no folder to look at", "put right what the check `home-folder` says")];
    };
    let free = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(err) => {
            let finding = format!("free space at {} cannot be found out: {err}", printable_path(folder));
            return vec![Verdict::warn(finding, "see `df`")];
        }
    };
    let finding = format!("{} free at {}", bytes(free), printable_path(folder));
    let fix = || format!("make room: {} are enough", bytes(FREE_WANTED_BYTES));
    vec![match free {
        0..FREE_NEEDED_BYTES => Verdict::fail(finding, fix()),
        FREE_NEEDED_BYTES..FREE_WANTED_BYTES => Verdict::warn(finding, fix()),
        _ => Verdict::ok(finding),
    }]
}
