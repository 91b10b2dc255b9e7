//! Builds what the tests run: the `pearlbed` binary and the plugins, each once per test process.
//!
//! Cargo has no way to hand a library target of another package to a test, so the tests ask cargo for it; after the
//! first test that is a look at time stamps. The profile is the one that the tests themselves were built with.
//!
//! Under `cargo xtask test`, which has built the whole workspace, they ask for the whole workspace again: for one
//! package alone cargo would choose other features of the crates that it shares with the rest, and compile them anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex};

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace's folder")
}

/// Runs a program that must succeed, such as a compiler, and returns what it said.
///
/// # Panics
///
/// Where it fails, with all that it said.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The real binary.
pub fn pearlbed() -> PathBuf {
    profile_folder(&["build", "--bin", "pearlbed", "-p", "pearlbed"]).join("pearlbed")
}

/// The stand-in for an inference server that mines.
pub fn stand_in() -> PathBuf {
    profile_folder(&["build", "--bin", "stand-in", "-p", "pearlbed-tests"]).join("stand-in")
}

/// The library of the workspace's plugin `package`.
pub fn plugin(package: &str) -> PathBuf {
    let folder = profile_folder(&["build", "--lib", "-p", package]);
    folder.join(format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        package.replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    ))
}

/// Copies the program `from`, which is to be run there, to `to`.
///
/// By another process: were the copy open for writing here, a neighbour's child that was forked in that moment would hold it
/// open as well, and the system runs no program that somebody writes.
pub fn copy_program(from: &Path, to: &Path) {
    let done = Command::new("cp").args([from, to]).status().expect("every system has cp");
    assert!(done.success(), "{} cannot be copied to {}", from.display(), to.display());
}

/// The packages as `cargo xtask dist --dev` makes them, in the folder with the `.deb` and the `.tar.gz`; made once a test
/// process. Where no `.deb` can be made here there is none.
pub fn packages() -> PathBuf {
    profile_folder(&["run", "-p", "xtask", "--", "dist", "--dev"]);
    target().join("xtask/dist/packages")
}

/// Lays out an installation in `folder`, with its plugins signed by the minisign secret key in the file `key` where there is
/// one. What was said of it.
pub fn installation(folder: &Path, key: Option<&Path>) -> String {
    let mut cargo = cargo(&["run", "-p", "xtask", "--", "dist", "--dev", "--to"]);
    cargo.arg(folder);
    if let Some(key) = key {
        cargo.arg("--sign-key").arg(key);
    }
    let output = cargo.output().expect("cargo runs: it started this test");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The static library of the proof of work for C.
pub fn pow_c() -> PathBuf {
    profile_folder(&["build", "--lib", "-p", "pearl-pow-c"]).join("libpearl_pow_c.a")
}

/// The folder that holds what cargo built when told `arguments`; each is told once.
fn profile_folder(arguments: &[&str]) -> PathBuf {
    const WHOLE: [&str; 6] = ["build", "--workspace", "--lib", "--bins", "--tests", "--examples"];
    let whole = arguments.first() == Some(&"build") && std::env::var_os("PEARLBED_BUILT_WHOLE").is_some();
    let arguments = if whole { &WHOLE[..] } else { arguments };
    static DONE: LazyLock<Mutex<BTreeMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut done = DONE.lock().unwrap_or_else(|broken| broken.into_inner());
    let folder = done.entry(arguments.join(" ")).or_insert_with(|| {
        let mut cargo = cargo(arguments);
        let status =
            cargo.stdout(std::process::Stdio::null()).status().expect("cargo runs: it started this test");
        assert!(status.success(), "cargo {} failed", arguments.join(" "));
        target().join(if RELEASE { "release" } else { "debug" })
    });
    folder.clone()
}

/// The tests were built so, and build what they run so.
const RELEASE: bool = !cfg!(debug_assertions);

/// Cargo, told `arguments`.
fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let (verb, rest) = arguments.split_first().expect("cargo is told something");
    cargo.arg(verb).args(["--quiet", "--locked"]).args(rest).current_dir(workspace());
    if RELEASE && *verb == "build" {
        cargo.arg("--release");
    }
    // What cargo tells this test of its package would tell `ring`'s build script to start again, each time.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Cargo's target folder: this test lies in it, below `<profile>/deps`.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it lies");
    let target = test.ancestors().nth(3).expect("a test lies in <target>/<profile>/deps");
    target.to_owned()
}
