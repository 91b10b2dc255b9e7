//! Running the real binary, and looking for what it leaves behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::build;

/// The variable in the environment of every run, which must turn up nowhere.
pub const SECRET: (&str, &str) = ("PEARLBED_TESTS_SECRET", "hunter2-must-not-leak");

/// A temporary folder with an empty home, a folder for plugins, and a file for plugins to attack.
#[derive(Debug)]
pub struct Playground {
    root: tempfile::TempDir,
}

/// What the file that plugins attack holds.
const VICTIM: &str = "nobody but its owner changes this";

impl Playground {
    /// An empty one.
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("the system has a temporary folder");
        for folder in ["home", "plugins"] {
            std::fs::create_dir(root.path().join(folder)).expect("the folder is new and our own");
        }
        std::fs::write(root.path().join("victim"), VICTIM).expect("the folder is our own");
        Self { root }
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The folder for plugins.
    pub fn plugins(&self) -> PathBuf {
        self.root().join("plugins")
    }

    /// The file that plugins attack.
    pub fn victim(&self) -> PathBuf {
        self.root().join("victim")
    }

    /// `pearlbed` with `arguments` and nothing in its environment but this home and a secret.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(build::pearlbed());
        command.args(arguments).env_clear().env("PEARLBED_HOME", self.home()).env(SECRET.0, SECRET.1);
        command
    }

    /// Runs `pearlbed` to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary was just built")
    }

    /// The answer of `pearlbed <arguments> --json --plugin-dir <plugins>`, and how long it took.
    pub fn json(&self, arguments: &[&str]) -> (Value, Duration) {
        let plugins = self.plugins();
        let mut all = arguments.to_vec();
        all.extend(["--json", "--plugin-dir", plugins.to_str().expect("temporary folders are UTF-8")]);
        let started = Instant::now();
        let output = self.run(&all);
        let took = started.elapsed();
        let answer = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|err| panic!("pearlbed {all:?}: {err}: {output:?}"));
        (answer, took)
    }

    /// Panics if a process is left, the victim was touched, or anything was written to the home.
    pub fn assert_nothing_left(&self) {
        // One that was told to stand back needs a moment of the processor to die in, which a busy machine gives it late.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "processes that plugins left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mode = {
            use std::os::unix::fs::PermissionsExt;
            std::fs::metadata(self.victim()).map(|victim| victim.permissions().mode() & 0o777)
        };
        assert_eq!(std::fs::read_to_string(self.victim()).ok().as_deref(), Some(VICTIM), "the victim");
        assert_ne!(mode.ok(), Some(0o777), "the victim's mode");
        let names = |folder: &Path| -> Vec<_> {
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
        };
        assert_eq!(names(&self.home()), Vec::<std::ffi::OsString>::new(), "the home");
        let mut top = names(self.root());
        top.sort();
        assert_eq!(top, ["home", "plugins", "victim"], "the folder around it");
    }

    /// The processes that have a file of this playground mapped: those that loaded one of its plugins.
    pub fn processes(&self) -> Vec<String> {
        let ours = self.root().to_str().expect("temporary folders are UTF-8").to_owned();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok())
            .filter(|id| {
                std::fs::read_to_string(format!("/proc/{id}/maps")).is_ok_and(|maps| maps.contains(&ours))
            })
            .map(|id| {
                let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
                format!("{id} {}", name.trim())
            })
            .collect()
    }
}

impl Default for Playground {
    fn default() -> Self {
        Self::new()
    }
}
