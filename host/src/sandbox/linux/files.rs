//! Landlock: which files, devices and ports can be reached, by path, whatever way they are asked for.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::super::{Policy, Reading};

/// The newest interface whose rights are all handled here.
const NEWEST: ABI = ABI::V7;

/// The folders that hold the system: programs, libraries, their settings, and what the kernel shows.
pub const SYSTEM: [&str; 13] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/run/opengl-driver",
];
/// The one of them that holds what only root may read.
const SETTINGS: &str = "/etc";
/// The devices that every program may read.
pub const HARMLESS_DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// The threads of whoever opens it.
const OWN_THREADS: &str = "/proc/self/task";
/// The most entries of the system's settings that are looked at for what only root may read.
const SETTINGS_MAX: usize = 20_000;

/// The version of Landlock's interface in the running kernel.
///
/// # Errors
///
/// Why there is none: the kernel's own error.
pub fn abi() -> io::Result<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag and no structure the call only returns a number.
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    match u32::try_from(answer) {
        Ok(version) if version > 0 => Ok(version),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Restricts this process to the files that `policy` names. Returns whether anything is enforced.
pub fn restrict(policy: &Policy) -> Result<bool, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_write(NEWEST) & !AccessFs::IoctlDev;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;

    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;

    match &policy.reading {
        Reading::Everything => {
            // All but devices: a terminal or a keyboard is not to be read.
            let top = std::fs::read_dir("/").into_iter().flatten().flatten().map(|entry| entry.path());
            for path in top.filter(|path| path != Path::new("/dev")) {
                ruleset = grant(ruleset, &path, read)?;
            }
        }
        Reading::System(more) => {
            // Root without its powers still owns what only root may read, such as everybody's password hashes.
            let owns_secrets = rustix::process::geteuid().is_root();
            let (settings, rest): (Vec<&str>, Vec<&str>) =
                SYSTEM.iter().partition(|root| owns_secrets && **root == SETTINGS);
            for path in rest.into_iter().map(Path::new).chain(more.iter().map(|path| &**path)) {
                ruleset = grant(ruleset, path, read)?;
            }
            for root in settings {
                for path in readable_by_all(Path::new(root)) {
                    ruleset = grant(ruleset, &path, read)?;
                }
            }
        }
    }
    for path in HARMLESS_DEVICES {
        ruleset = grant(ruleset, Path::new(path), read)?;
    }
    ruleset = grant(ruleset, Path::new("/dev/null"), read | AccessFs::WriteFile)?;
    for path in &policy.write {
        ruleset = grant(ruleset, path, read | write)?;
    }
    for path in &policy.devices {
        ruleset = grant(ruleset, path, device)?;
    }
    for path in &policy.listings {
        ruleset = grant(ruleset, path, AccessFs::ReadDir.into())?;
    }
    if !policy.devices.is_empty() {
        // Drivers name their threads, and some do not start where they may not. Made by the process itself, so that the
        // folder is its own; the parent looks at the file's name.
        let name = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::Truncate;
        ruleset = grant(ruleset, Path::new(OWN_THREADS), name)?;
    }
    for path in &policy.programs {
        ruleset = grant(ruleset, path, read | AccessFs::Execute)?;
    }
    if !policy.programs.is_empty() {
        // The kernel opens the loader that a program names as it opens the program itself.
        for folder in ["/lib", "/lib64", "/usr/lib", "/usr/lib64"] {
            ruleset = grant(ruleset, Path::new(folder), read | AccessFs::Execute)?;
        }
    }
    let status = ruleset.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// The files and folders that together hold all that everybody may read at or below `root`: a folder stands for what is in
/// it where everybody may read all of that.
fn readable_by_all(root: &Path) -> Vec<PathBuf> {
    let mut granted = vec![];
    let mut looked_at = 0;
    if open_to_all(root, &mut granted, &mut looked_at) {
        granted = vec![root.to_owned()];
    }
    granted
}

/// Whether everybody may read `path` and all below it. Where not, what may be read below it has been added to `granted`.
fn open_to_all(path: &Path, granted: &mut Vec<PathBuf>, looked_at: &mut usize) -> bool {
    *looked_at += 1;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return true };
    // Where a link leads counts by itself.
    if metadata.is_symlink() {
        return true;
    }
    let wanted = if metadata.is_dir() { 0o005 } else { 0o004 };
    if metadata.mode() & wanted != wanted || *looked_at > SETTINGS_MAX {
        return false;
    }
    if !metadata.is_dir() {
        return true;
    }
    let before = granted.len();
    let mut open = vec![];
    let mut all = true;
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let entry = entry.path();
        if open_to_all(&entry, granted, looked_at) { open.push(entry) } else { all = false }
    }
    if all {
        granted.truncate(before);
    } else {
        granted.extend(open);
    }
    all
}

/// Grants `access` to `path` and what is below it. What does not exist is not granted.
fn grant(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(path) => ruleset.add_rule(PathBeneath::new(path, access)),
        Err(_) => Ok(ruleset),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_only_its_owner_may_read_is_in_no_grant_of_the_systems_settings() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["open", "half", "closed"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), "").unwrap();
        }
        for (name, mode) in
            [("open", 0o755), ("half", 0o755), ("closed", 0o700), ("open/file", 0o644), ("half/file", 0o644)]
        {
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::write(at("half/secret"), "").unwrap();
        std::fs::set_permissions(at("half/secret"), PermissionsExt::from_mode(0o640)).unwrap();
        let mut granted = readable_by_all(folder.path());
        granted.sort();
        assert_eq!(granted, [at("half/file"), at("open")]);
        std::fs::remove_dir_all(at("closed")).unwrap();
        std::fs::remove_file(at("half/secret")).unwrap();
        assert_eq!(readable_by_all(folder.path()), [folder.path()]);
    }
}
