//! Room and rights for our files, and what the file system of the home folder can do.
//!
//! To find that out, what a session needs is tried in a folder that is made for it and removed again: no question tells
//! whether a file system takes locks, sockets, modes and calls for safety.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::super::{Facts, Verdict};
use crate::home::Home;
use crate::remedy;
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
            Ok(()) => match able(root) {
                Ok(()) => below(facts, Verdict::ok(named)),
                Err((what, err)) => Verdict::fail(
                    format!("the file system of {named} cannot {what}: {err}"),
                    remedy::for_file(&err, root).unwrap_or_else(|| ANOTHER.into()),
                ),
            },
            Err(err) => Verdict::fail(
                format!("{named} is not writable: {err}"),
                remedy::for_file(&err, root).unwrap_or_else(|| ANOTHER.into()),
            ),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            match Facts::nearest_folder(root).map(writable) {
                Some(Ok(())) => {
                    Verdict::ok(format!("{named} does not exist yet and will be made when it is needed"))
                }
                Some(Err(err)) => Verdict::fail(
                    format!("{named} does not exist and cannot be made: {err}"),
                    remedy::for_file(&err, root)
                        .unwrap_or_else(|| "set PEARLBED_HOME to a folder where you may write".into()),
                ),
                None => {
                    Verdict::fail(format!("{named} cannot be made"), "set PEARLBED_HOME to a folder that can")
                }
            }
        }
        Err(err) => Verdict::fail(
            format!("{named} cannot be looked at: {err}"),
            remedy::for_file(&err, root).unwrap_or_else(|| ANOTHER.into()),
        ),
    }]
}

/// What a session does with its files, tried in a folder of its own below `root`: the first that does not work.
fn able(root: &Path) -> Result<(), (&'static str, io::Error)> {
    use std::fs::{File, Permissions, TryLockError};
    use std::os::unix::fs::PermissionsExt;
    let trial = |what: &'static str| move |err: io::Error| (what, err);
    let folder = tempfile::Builder::new().prefix(".pearlbed-tries-").tempdir_in(root);
    let folder = folder.map_err(crate::owned::plain).map_err(trial("take a folder"))?;
    let path = folder.path().join("file");
    let file = File::create(&path).map_err(trial("take a file"))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(trial("keep files private"))?;
    match file.try_lock() {
        Ok(()) | Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(err)) => return Err(("lock files", err)),
    }
    file.sync_all().map_err(trial("bring files to safety (fsync)"))?;
    std::fs::rename(&path, folder.path().join("renamed")).map_err(trial("rename files"))?;
    let socket = folder.path().join("socket");
    // A longer name is no fault of the file system.
    if socket.as_os_str().len() < SOCKET_NAME_MAX {
        std::os::unix::net::UnixListener::bind(socket).map_err(trial("hold sockets"))?;
    }
    folder.close().map_err(trial("remove files"))
}

/// The longest name of a socket, with its end, on every system.
const SOCKET_NAME_MAX: usize = 100;
/// What helps where the error says nothing of itself.
const ANOTHER: &str = "choose a home on a local disk, with --home or PEARLBED_HOME";

/// `good`, unless a folder that a session writes to is not writable.
fn below(facts: &Facts, good: Verdict) -> Verdict {
    for folder in [facts.home().runtime_dir(), facts.home().logs_dir()] {
        match writable(&folder) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                let finding = format!("{} is not writable: {err}", printable_path(&folder));
                return Verdict::fail(
                    finding,
                    remedy::for_file(&err, &folder).unwrap_or_else(|| ANOTHER.into()),
                );
            }
            _ => {}
        }
    }
    match in_the_way(facts.home()) {
        Some((path, err)) => Verdict::fail(
            format!("a session cannot use {}: {err}", printable_path(&path)),
            remedy::for_file(&err, &path).unwrap_or_else(|| ANOTHER.into()),
        ),
        None => good,
    }
}

/// The first of a session's own files and folders in the place of which something else lies, so that none would start.
fn in_the_way(home: &Home) -> Option<(PathBuf, io::Error)> {
    let (lock, log) = (home.lock_file(), home.log_file());
    match crate::owned::open(&lock) {
        Err(err) if err.kind() == io::ErrorKind::NotFound && !lock.is_symlink() => {}
        Err(err) => return Some((lock, err)),
        Ok(_) => {}
    }
    if let Some(err) = crate::session::log::unusable(&log) {
        return Some((log, err));
    }
    // The record of the plugins that were used, and of those that were blocked.
    if let Some((file, err)) = crate::plugins::trust::Memory::unread(home) {
        return Some((file, err));
    }
    for path in [home.proofs_dir(), home.devnet_dir()] {
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_dir() => return Some((path, io::Error::from_raw_os_error(libc::ENOTDIR))),
            Err(err) if err.kind() != io::ErrorKind::NotFound || path.is_symlink() => {
                return Some((path, err));
            }
            _ => {}
        }
    }
    let socket = home.control_socket();
    // An empty one is removed.
    let full = std::fs::read_dir(&socket).is_ok_and(|mut entries| entries.next().is_some());
    full.then(|| (socket, io::Error::from_raw_os_error(libc::EISDIR)))
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
