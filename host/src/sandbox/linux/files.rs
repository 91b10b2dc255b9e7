//! Landlock: which files, devices and ports can be reached, by path, whatever way they are asked for.

use std::path::Path;

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
/// The devices that every program may read.
pub const HARMLESS_DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// The threads of whoever opens it.
const OWN_THREADS: &str = "/proc/self/task";

/// The version of Landlock's interface in the running kernel.
pub fn abi() -> Option<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag and no structure the call only returns a number.
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    u32::try_from(answer).ok().filter(|&version| version > 0)
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
            for path in SYSTEM.iter().map(Path::new).chain(more.iter().map(|path| &**path)) {
                ruleset = grant(ruleset, path, read)?;
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
