//! A new vendor's way, from the installed packages alone: a project, its build, `verify`, a block of the devnet.
//!
//! Nothing of the checkout is used but the packages that were made of it. What each step takes is printed and asserted of
//! nobody: it depends on the machine.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says where; what takes how long is told"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::session::wait_until;
use serde_json::Value;

/// The packages, unpacked: the prefix of an installation. Kept for the life of the process.
static INSTALLED: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let packages = std::fs::read_dir(build::packages()).unwrap().flatten().map(|entry| entry.path());
    let archive = packages.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.gz"));
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    build::run(tar.arg("-xzf").arg(archive.expect("dist makes an archive")).arg("-C").arg(folder.path()));
    let prefix = std::fs::read_dir(folder.path()).unwrap().flatten().next().unwrap().path();
    (folder, prefix)
});

/// A vendor: an empty home, a folder for the project, and the shell's environment without anything of this workspace.
struct Vendor {
    folder: tempfile::TempDir,
    language: &'static str,
    last: Instant,
}

impl Vendor {
    fn new(language: &'static str) -> Self {
        // What the packages take is no part of the vendor's time.
        LazyLock::force(&INSTALLED);
        Self { folder: tempfile::tempdir().unwrap(), language, last: Instant::now() }
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("my-miner")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PEARLBED_HOME", self.folder.path().join("home"));
        // A busy machine has its time.
        command.env("PEARLBED_PLUGINS_PROBE_TIMEOUT", "30s");
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.current_dir(self.folder.path());
        command
    }

    fn pearlbed(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&INSTALLED.1.join("bin/pearlbed"));
        command.args(arguments);
        command
    }

    fn status(&self) -> Value {
        let output = self.pearlbed(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Says what the step took.
    fn step(&mut self, what: &str) {
        println!("vendor in {}: {what} {:.1} s", self.language, self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }

    /// Runs every step of the project's own CI file as that would, with the installation on the path; none of them warns of
    /// anything. The last one is `plugins verify`, of whose obligations none is broken.
    fn run_ci(&mut self) {
        let file = std::fs::read_to_string(self.project().join(".github/workflows/ci.yml")).unwrap();
        let steps: Vec<String> = file
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- run: "))
            .map(|step| step.replace("PREFIX=/usr", &format!("PREFIX={}", INSTALLED.1.display())))
            .collect();
        let path = std::env::var("PATH").unwrap_or_default();
        for (number, step) in steps.iter().enumerate() {
            let mut sh = self.command(Path::new("sh"));
            sh.args(["-ec", step]).current_dir(self.project());
            sh.env("PATH", format!("{}:{path}", INSTALLED.1.join("bin").display()));
            // Nothing is fetched, and what is compiled is no news.
            sh.env("CARGO_NET_OFFLINE", "true").env("CARGO_TERM_QUIET", "true");
            let output = sh.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            if number + 1 < steps.len() {
                let told = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && said.is_empty(), "{step}: {told}{said}");
            } else {
                let answer: Value =
                    serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {said}"));
                let rows = answer["obligations"].as_array().unwrap();
                let broken: Vec<_> = rows.iter().filter(|one| one["state"] != "pass").collect();
                assert!(
                    broken.is_empty() && answer["ok"] == true && answer["complete"] == true,
                    "{broken:#?}"
                );
            }
            self.step(step);
        }
        let kinds = ["test", "plugins verify"].map(|kind| steps.iter().any(|step| step.contains(kind)));
        assert_eq!(kinds, [true, true], "{file}");
    }

    /// From the library that was built to a block of the devnet.
    fn mine(&mut self, library: &Path) {
        let library = library.to_str().unwrap();
        build::run(&mut self.pearlbed(&["plugins", "install", library]));
        let output = self.pearlbed(&["start", "--devnet", "--provider", "my-miner"]).output().unwrap();
        // 4 is "not yet": a machine that has much to do.
        assert!(matches!(output.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&output.stderr));
        let accepted = || self.status()["proofs"]["accepted"].as_u64().unwrap_or(0) > 0;
        wait_until(Duration::from_secs(180), accepted, || self.status());
        let status = self.status();
        assert_eq!(status["proofs"]["refused"], 0, "{status:#}");
        // Another build takes its place: the session keeps the one that it has, and mines on.
        let mut bytes = std::fs::read(library).unwrap();
        bytes.extend([0; 16]);
        std::fs::write(library, bytes).unwrap();
        build::run(&mut self.pearlbed(&["plugins", "install", library]));
        let accepted = |status: &Value| status["proofs"]["accepted"].as_u64().unwrap_or(0);
        let before = accepted(&self.status());
        let more = || accepted(&self.status()) > before;
        wait_until(Duration::from_secs(180), more, || self.status());
        assert_eq!(self.status()["restarts"], 0, "{:#}", self.status());
        self.step("install, start, a block of the devnet");
        build::run(&mut self.pearlbed(&["stop"]));
        self.step("stop");
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        let _ = self.pearlbed(&["stop"]).output();
    }
}

#[test]
fn a_vendor_goes_from_the_packages_to_a_block_in_rust() {
    let mut vendor = Vendor::new("Rust");
    build::run(&mut vendor.pearlbed(&["plugins", "new", "--lang", "rust", "my-miner"]));
    vendor.step("plugins new");
    let text = std::fs::read_to_string(vendor.project().join("Cargo.toml")).unwrap();
    let root = build::workspace().to_str().unwrap();
    assert!(text.contains(INSTALLED.1.to_str().unwrap()) && !text.contains(root), "{text}");
    // In one folder with the other projects beside the workspace, so that few crates are compiled twice.
    let target = build::target().join("frozen");
    std::fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(&target, vendor.project().join("target")).unwrap();
    // fmt, clippy, test, build, verify.
    vendor.run_ci();
    let built = target.join("release").join(format!("libmy_miner{}", std::env::consts::DLL_SUFFIX));
    let library = vendor.folder.path().join("libmy_miner.so");
    std::fs::copy(built, &library).unwrap();
    vendor.mine(&library);
}

#[test]
fn a_vendor_goes_from_the_packages_to_a_block_in_c() {
    let mut vendor = Vendor::new("C");
    if Command::new("make").arg("--version").output().is_err()
        || Command::new("cc").arg("-v").output().is_err()
    {
        println!("skipped: a vendor in C: no make or C compiler");
        return;
    }
    build::run(&mut vendor.pearlbed(&["plugins", "new", "--lang", "c", "my-miner"]));
    vendor.step("plugins new");
    // make, its test with a host of its own, verify.
    vendor.run_ci();
    let library = vendor.project().join("libmy_miner.so");
    vendor.mine(&library);
}

/// Builds of other kinds find the installation, too: what they make is a plugin, and the test's host is found beside.
#[test]
fn cmake_and_pkg_config_find_the_headers_and_the_library() {
    let vendor = Vendor::new("C");
    build::run(&mut vendor.pearlbed(&["plugins", "new", "--lang", "c", "my-miner"]));
    let usable = |library: &Path| {
        let output =
            build::run(&mut vendor.pearlbed(&["plugins", "inspect", library.to_str().unwrap(), "--json"]));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer.to_string().contains("\"usable\""), "{answer:#}");
    };
    let tests = |program: &Path| {
        let said = build::run(vendor.command(program).env("LD_LIBRARY_PATH", INSTALLED.1.join("lib")));
        assert_eq!(String::from_utf8_lossy(&said.stdout), "all of it holds\n");
    };

    let mut pkg_config = vendor.command(Path::new("pkg-config"));
    pkg_config.env("PKG_CONFIG_PATH", INSTALLED.1.join("lib/pkgconfig"));
    match pkg_config.args(["--cflags", "--libs", "--static", "pearlbed", "pearl_pow"]).output() {
        Err(err) => println!("skipped: pkg-config on the installation: {err}"),
        Ok(flags) => {
            assert!(flags.status.success(), "{flags:?}");
            let flags = String::from_utf8(flags.stdout).unwrap();
            let mut cc = vendor.command(Path::new("cc"));
            cc.args([
                "-std=c99",
                "-D_POSIX_C_SOURCE=200809L",
                "-O2",
                "-fPIC",
                "-fvisibility=hidden",
                "-shared",
            ]);
            cc.args(["-o", "by_pkg_config.so", "provider.c"]).args(flags.split_whitespace());
            build::run(cc.current_dir(vendor.project()));
            // It was linked with the shared library, which lies where the loader does not look.
            let mut cc = vendor.command(Path::new("cc"));
            cc.args([
                "-std=c99",
                "-D_POSIX_C_SOURCE=200809L",
                "-O2",
                "-o",
                "test-by-pkg-config",
                "test.c",
                "provider.c",
            ]);
            build::run(cc.args(flags.split_whitespace()).current_dir(vendor.project()));
            tests(&vendor.project().join("test-by-pkg-config"));
        }
    }

    let project = "cmake_minimum_required(VERSION 3.16)
project(my_miner C)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_VISIBILITY_PRESET hidden)
add_compile_definitions(_POSIX_C_SOURCE=200809L)
find_package(pearlbed 0.1 REQUIRED)
find_package(Threads REQUIRED)
add_library(my_miner MODULE provider.c)
target_link_libraries(my_miner PRIVATE pearlbed::pearlbed pearlbed::pearl_pow_static)
add_executable(with_static test.c provider.c)
target_link_libraries(with_static PRIVATE pearlbed::pearlbed pearlbed::pearl_pow_static)
add_executable(with_shared test.c provider.c)
target_link_libraries(with_shared PRIVATE pearlbed::pearlbed pearlbed::pearl_pow Threads::Threads)
find_package(pearlbed 99 QUIET)
if(pearlbed_FOUND)
  message(FATAL_ERROR \"a version that is not there was found\")
endif()
";
    std::fs::write(vendor.project().join("CMakeLists.txt"), project).unwrap();
    let mut cmake = vendor.command(Path::new("cmake"));
    cmake.args(["-S", ".", "-B", "built", "-DCMAKE_BUILD_TYPE=Release"]);
    cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", INSTALLED.1.display())).current_dir(vendor.project());
    match cmake.output() {
        Err(err) => println!("skipped: CMake on the installation: {err}"),
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            let mut cmake = vendor.command(Path::new("cmake"));
            build::run(cmake.args(["--build", "built"]).current_dir(vendor.project()));
            usable(&vendor.project().join("built/libmy_miner.so"));
            for program in ["with_static", "with_shared"] {
                tests(&vendor.project().join("built").join(program));
            }
        }
    }
}

#[test]
fn dist_says_unsigned_or_signs_the_plugins_with_a_key_that_is_given_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let said = build::installation(&path("plain"), None);
    assert!(said.contains("unsigned: the plugins carry no signature"), "{said}");
    let (public, secret) = (path("key.pub"), path("key"));
    let mut minisign = Command::new("minisign");
    minisign.args(["-G", "-W", "-p"]).arg(&public).arg("-s").arg(&secret);
    if minisign.output().is_err() {
        println!("skipped: dist --sign-key: no minisign");
        return;
    }
    let said = build::installation(&path("dist"), Some(&secret));
    assert!(said.contains("plugins signed with") && !said.contains("unsigned"), "{said}");
    let key = std::fs::read_to_string(&public).unwrap();
    let key = key.lines().last().unwrap();
    std::fs::create_dir(path("home")).unwrap();
    let text = format!("[plugins]\nkeys = [{key:?}]\nrequire_signature = true\n");
    std::fs::write(path("home/config.toml"), text).unwrap();
    let mut list = Command::new(path("dist/bin/pearlbed"));
    list.args(["plugins", "list", "--json"]).env_clear().env("PEARLBED_HOME", path("home"));
    let answer: Value = serde_json::from_slice(&build::run(&mut list).stdout).unwrap();
    // The machine may have others of its own.
    let ours = |plugin: &&Value| Path::new(plugin["path"].as_str().unwrap()).starts_with(path("dist"));
    let plugins: Vec<_> = answer["plugins"].as_array().unwrap().iter().filter(ours).collect();
    assert!(plugins.len() >= 2, "{answer:#}");
    for plugin in plugins {
        let file = plugin["path"].as_str().unwrap();
        assert_eq!(
            (&plugin["state"], &plugin["signature"]["state"]),
            (&"usable".into(), &"by".into()),
            "{plugin:#}"
        );
        // By the program that signed it, too.
        build::run(Command::new("minisign").args(["-V", "-q", "-P", key, "-m", file]));
    }
}
