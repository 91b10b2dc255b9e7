//! Running other programs, and where things lie.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::progress::{self, Progress};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Which of cargo's profiles to build with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; what the tests have built already. Proof code is optimised all the same.
    Dev,
    /// What is shipped.
    Release,
}

impl Profile {
    /// The folder below the target folder.
    pub fn folder(self) -> PathBuf {
        target().join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }
}

/// `cargo`, the one that runs us, in the repository.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    if built_whole() {
        command.env(BUILT_WHOLE, "1");
    }
    // What cargo tells this program of its own package would tell some build scripts to start again, each time.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command` to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` and returns what it printed on stdout.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}:\n{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(output.stdout)
}

/// Builds all tests of the workspace; what cargo says of each test program.
pub fn built_tests() -> Result<Vec<serde_json::Value>> {
    let mut command =
        cargo(&["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
    let said = output(command.stderr(Stdio::inherit()))?;
    let messages = said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let is_test = |message: &serde_json::Value| {
        message["reason"] == "compiler-artifact"
            && message["profile"]["test"] == true
            && message["executable"].is_string()
    };
    Ok(messages.filter(is_test).collect())
}

/// A line of progress on a terminal while something takes its time.
pub fn waiting(what: &str) -> Progress {
    let terminal = std::io::stderr().is_terminal();
    Progress::waiting(progress::is_wanted(terminal, |name| std::env::var_os(name)), what)
}

/// Whether `program` can be found.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// `command` as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" "))
}

/// A fresh, empty folder at `path`.
pub fn fresh(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_dir_all(path).with_context(|| format!("cannot empty {}", path.display()))?;
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Writes `bytes` to `path` and creates the folders above it.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Copies `from` to `to` with this mode and creates the folders above it.
pub fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    write(to, std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?)?;
    set_mode(to, mode)
}

/// Gives `path` these permission bits, where the platform has them.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

/// Gives everybody the right to read what lies below `folder`: whoever built it may keep what is his to himself.
pub fn readable_by_all(folder: &Path) -> Result<()> {
    run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(folder))
}

/// The file that cargo made of the plugin package `name`.
pub fn plugin_file(name: &str, profile: Profile) -> PathBuf {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    profile.folder().join(format!("{prefix}{}{suffix}", name.replace('-', "_")))
}

/// The packages under `plugins/`: the providers that are shipped with the host.
pub fn bundled_plugins() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("plugins"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds the binary and `libraries`, packages of the workspace.
pub fn build<S: AsRef<str>>(profile: Profile, libraries: &[S]) -> Result<()> {
    let mut command = cargo(&["build", "--locked"]);
    match profile {
        Profile::Dev if built_whole() => {
            command.args(WHOLE);
        }
        _ => {
            command.args(["-p", "pearlbed"]);
            for name in libraries {
                command.args(["-p", name.as_ref()]);
            }
        }
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    run(&mut command)
}

/// What `cargo test --workspace` builds, in words for `cargo build`.
const WHOLE: [&str; 5] = ["--workspace", "--lib", "--bins", "--tests", "--examples"];

/// Says to the programs that we start, and to the tests, that the whole workspace is built here with all its tests.
///
/// To ask for all of it again then costs a look at time stamps. For a few packages alone cargo would choose other
/// features of the crates that they share with the rest, and compile half of the dependencies a second time.
pub const BUILT_WHOLE: &str = "PEARLBED_BUILT_WHOLE";

static WHOLE_RUN: AtomicBool = AtomicBool::new(false);

/// From here on all that is built in the profile of development is built as one whole.
pub fn build_whole() {
    WHOLE_RUN.store(true, Ordering::Relaxed);
}

fn built_whole() -> bool {
    WHOLE_RUN.load(Ordering::Relaxed) || std::env::var_os(BUILT_WHOLE).is_some()
}

/// The binary that [`build`] made.
pub fn pearlbed(profile: Profile) -> PathBuf {
    profile.folder().join(format!("pearlbed{}", std::env::consts::EXE_SUFFIX))
}
