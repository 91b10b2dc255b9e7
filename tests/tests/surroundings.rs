//! Homes and folders as they are found in the field: of another user, on a file system that cannot do everything, mounted
//! without the right to run code, with a name that is no text.
//!
//! What this machine cannot make says `skipped:` and why.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pearlbed_tests::build;
use pearlbed_tests::misbehave::{self, put_library};
use pearlbed_tests::pearlbed::Playground;
use serde_json::Value;

/// A user that exists nowhere else.
const SOMEBODY: u32 = 61_234;
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(what: &str, reason: &str) {
    println!("skipped: {what}: {reason}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn stderr(output: &Output) -> String {
    // Folded sentences are compared unfolded.
    String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder that everybody may pass, a copy of the binary in it, and the place of a home.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        build::copy_program(&build::pearlbed(), &folder.path().join("pearlbed"));
        Self { folder }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn run(&self, user: Option<u32>, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.folder.path().join("pearlbed"));
        command.args(arguments).env_clear().env("PEARLBED_HOME", self.home());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.uid(), metadata.mode() & 0o777)
}

/// A service's home is set up by root, before and after the service has made its own files there.
#[test]
fn what_root_configures_in_a_home_of_another_user_is_readable_for_that_user() {
    if !is_root() {
        return skipped("two users", "only root can be another user");
    }
    for service_first in [true, false] {
        let ground = Ground::new();
        std::fs::create_dir(ground.home()).unwrap();
        std::fs::set_permissions(ground.home(), PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(ground.home(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let setup = ["init", "--set", "mining.submit_target=devnet", "--yes"];
        if service_first {
            assert!(ground.run(Some(SOMEBODY), &setup).status.success());
        }
        for arguments in [&setup[..], &["init", "--set", "mining.session.stop_grace=20s", "--yes"]] {
            let output = ground.run(None, arguments);
            assert!(output.status.success(), "{}", stderr(&output));
        }
        for entry in std::fs::read_dir(ground.home()).unwrap().flatten() {
            assert_eq!(owner(&entry.path()), (SOMEBODY, 0o600), "{:?}", entry.path());
        }
        let shown = ground.run(Some(SOMEBODY), &["config", "show"]);
        assert!(shown.status.success(), "{}", stderr(&shown));
        assert!(String::from_utf8_lossy(&shown.stdout).contains("stop_grace = \"20s\""));
    }
}

/// Root tries something in a service's home, and the service goes on.
#[test]
fn what_root_runs_in_a_home_of_another_user_leaves_it_usable_for_that_user() {
    if !is_root() {
        return skipped("two users", "only root can be another user");
    }
    let ground = Ground::new();
    std::fs::create_dir(ground.home()).unwrap();
    std::os::unix::fs::chown(ground.home(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let plugin = ground.folder.path().join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
    std::fs::copy(build::plugin("odd-miner"), &plugin).unwrap();
    let run = |user, arguments: &[&str]| {
        let output = ground.run(user, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    };
    run(None, &["plugins", "install", plugin.to_str().unwrap()]);
    run(None, &["plugins", "block", "another"]);
    run(None, &["attach", "--gateway-url", "http://127.0.0.1:1", "--unchecked"]);
    run(None, &["stop"]);
    run(None, &["start", "--devnet"]);
    // Theirs while it runs is root's session: told as that, at once, and not ended.
    for command in ["status", "stop"] {
        let output = ground.run(Some(SOMEBODY), &[command]);
        let said = format!("{} {}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("belongs to root"), "{said}");
    }
    run(None, &["pause", "--keep"]);
    run(None, &["resume", "--keep"]);
    run(None, &["stop"]);
    let mut folders = vec![ground.home()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            // A plugin of root's is one that both may use.
            let plugin = entry.path().extension().is_some_and(|end| end == std::env::consts::DLL_EXTENSION);
            assert_eq!(owner(&entry.path()).0, if plugin { 0 } else { SOMEBODY }, "{:?}", entry.path());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    run(Some(SOMEBODY), &["start", "--devnet"]);
    run(Some(SOMEBODY), &["stop"]);
}

/// A confined process of root's has not root's power to pass every folder.
#[test]
fn a_plugin_in_a_folder_that_is_shut_to_the_confined_process_is_told_as_that() {
    if !is_root() {
        return skipped("two users", "only root can be another user");
    }
    let ground = Ground::new();
    let shut = ground.folder.path().join("shut");
    std::fs::create_dir(&shut).unwrap();
    let plugin = shut.join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
    std::fs::copy(build::plugin("odd-miner"), plugin).unwrap();
    std::fs::set_permissions(&shut, PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&shut, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let folders = ["--plugin-dir", shut.to_str().unwrap()];
    for command in [&["start", "--devnet", "--provider", "odd-miner"][..], &["doctor", "--only", "plugins"]] {
        let output = ground.run(None, &[command, &folders].concat());
        let said = format!("{} {}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("may not read it: it or a folder above it is shut"), "{command:?}: {said}");
    }
}

/// Each command that writes, on disks that are full in one way or another.
#[test]
fn whatever_could_not_be_written_has_the_remedy_of_its_own_error() {
    let ground = Ground::new();
    let plugin = build::plugin("odd-miner");
    let plugin = plugin.to_str().unwrap();
    std::fs::create_dir(ground.home()).unwrap();
    let report = ground.home().join("report");
    let commands: [&[&str]; 6] = [
        &["init", "--set", "plugins.probe_timeout=3s", "--yes"],
        &["plugins", "block", "another"],
        &["plugins", "install", plugin],
        &["doctor", "--report", report.to_str().unwrap()],
        &["attach", "--gateway-url", "http://127.0.0.1:1", "--unchecked"],
        &["devnet"],
    ];
    for (options, words) in [
        ("size=64k", "make room on the disk"),
        ("size=1m,nr_inodes=2", "no free inodes"),
        ("size=1m", "is read-only: have it mounted writable"),
    ] {
        let mount = match Mount::new(&ground.home(), options) {
            Ok(mount) => mount,
            Err(why) => return skipped("a full disk", &why),
        };
        let filler = ground.home().join("filler");
        let filled = std::fs::write(&filler, vec![0; 1 << 17]);
        match words.contains("read-only") {
            true => {
                let args = ["-o", "remount,ro"];
                assert!(Command::new("mount").args(args).arg(ground.home()).status().unwrap().success());
            }
            false => assert!(filled.is_err() || options.contains("inodes")),
        }
        for arguments in commands {
            let output = ground.run(None, arguments);
            // A disk may be emptied while nobody looks; one that is read-only stays so until somebody changes it.
            let status = if words.contains("read-only") { 6 } else { 1 };
            assert_eq!(output.status.code(), Some(status), "{options} {arguments:?}: {output:?}");
            assert!(stderr(&output).contains(words), "{options} {arguments:?}: {}", stderr(&output));
        }
        drop(mount);
    }
}

#[test]
fn a_session_of_another_user_is_neither_denied_nor_ended() {
    if !is_root() {
        return skipped("two users", "only root can be another user");
    }
    let ground = Ground::new();
    let runtime = ground.home().join("runtime");
    std::fs::create_dir_all(&runtime).unwrap();
    std::fs::write(runtime.join("mining.lock"), "").unwrap();
    std::fs::set_permissions(ground.home(), PermissionsExt::from_mode(0o700)).unwrap();
    let status = ground.run(Some(SOMEBODY), &["status", "--json"]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let report: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(report["reason"], "whether a session runs cannot be told: its record belongs to root");
    assert!(!report["hint"].as_str().unwrap().contains("start"), "{report:#}");
    let stop = ground.run(Some(SOMEBODY), &["stop"]);
    assert_eq!(stop.status.code(), Some(1), "{stop:?}");
    // A command that finds this very home, whoever types it.
    let command = format!("`sudo -u root pearlbed --home {} stop`", ground.home().display());
    assert!(
        stderr(&stop).contains("belongs to root") && stderr(&stop).contains(&command),
        "{}",
        stderr(&stop)
    );
    // Whatever else is asked of it is told the same, and nobody is sent to start one of his own in it.
    for words in [&["pause"][..], &["resume"], &["restart", "cpu"], &["reload"]] {
        let told = ground.run(Some(SOMEBODY), words);
        let said = stderr(&told);
        assert_eq!(told.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.contains("its record belongs to root") && !said.contains("pearlbed start"),
            "{words:?}: {said}"
        );
        assert!(said.contains(&format!("{} {}`", ground.home().display(), words[0])), "{words:?}: {said}");
    }
}

/// A service's home is not to be taken away from it, and who starts a session of his own in it leaves it usable.
#[test]
fn a_home_of_another_user_stays_his_whatever_root_does_in_it_and_others_are_told() {
    if !is_root() {
        return skipped("two users", "only root can be another user");
    }
    let ground = Ground::new();
    std::fs::create_dir(ground.home()).unwrap();
    std::fs::set_permissions(ground.home(), PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(ground.home(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let told = ground.run(Some(SOMEBODY + 1), &["config", "show"]);
    let said = stderr(&told);
    assert_eq!(told.status.code(), Some(6), "{said}");
    assert!(said.contains(&format!("belongs to user {SOMEBODY}")) && !said.contains("sudo chown"), "{said}");
    // A mask of rights that would keep everybody out, root's own session among them.
    let plugins = ground.folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let plugin = plugins.join("cpu.so");
    std::fs::copy(build::plugin("cpu-pearl"), &plugin).unwrap();
    std::fs::set_permissions(&plugin, PermissionsExt::from_mode(0o644)).unwrap();
    let script = format!(
        "umask 0777; \"$0\" start --devnet --wait 200 --plugin-dir {} && \"$0\" stop",
        plugins.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(ground.folder.path().join("pearlbed"));
    let output = command.env("PEARLBED_HOME", ground.home()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut folders = vec![ground.home()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let is_folder = entry.file_type().unwrap().is_dir();
            let mode = if is_folder { 0o700 } else { 0o600 };
            assert_eq!(owner(&entry.path()), (SOMEBODY, mode), "{:?}", entry.path());
            folders.extend(is_folder.then(|| entry.path()));
        }
    }
}

/// One status for what trying again does not help, whatever the command and whatever is in the way.
#[test]
fn what_trying_again_does_not_help_ends_alike_for_every_command() {
    let ground = Ground::new();
    let config = |text: &str| {
        std::fs::create_dir_all(ground.home()).unwrap();
        std::fs::write(ground.home().join("config.toml"), text).unwrap();
    };
    let expect = |status: i32, what: &str, commands: &[&[&str]]| {
        for arguments in commands {
            let output = ground.run(None, arguments);
            assert_eq!(output.status.code(), Some(status), "{what}, {arguments:?}: {}", stderr(&output));
            assert!(stderr(&output).contains("hint: "), "{what}, {arguments:?}: {}", stderr(&output));
        }
    };
    let uses_it: [&[&str]; 8] = [
        &["start"],
        &["start", "--foreground"],
        &["config", "show"],
        &["bench", "--seconds", "1"],
        &["pool", "test"],
        &["init", "--set", "mining.session.stop_grace=20s", "--yes"],
        &["plugins", "install", "/nowhere.so"],
        &["validate-model"],
    ];
    for (what, text) in [
        ("no TOML", "[mining"),
        ("a misspelt key", "[mining]\nwalet_address = \"x\"\n"),
        ("a bad wallet", "[mining]\nwallet_address = \"prl1pqqq\"\n"),
        ("a fee", "[mining]\nfee_bps = 100\n"),
    ] {
        config(text);
        expect(6, what, &uses_it);
    }
    config("[mining]\nprovider = \"nobody\"\n[mining.session]\ndevnet = true\n");
    expect(
        6,
        "a provider that is not here",
        &[
            &["start"],
            &["start", "--foreground"],
            &["bench", "--seconds", "1"],
            &["plugins", "inspect", "nobody"],
            &["plugins", "verify", "nobody"],
            &["plugins", "trust", "nobody"],
            &["config", "keys", "--provider", "nobody"],
            &["init", "--provider", "nobody", "--submit-target", "devnet", "--yes"],
            &["pool", "test"],
            &["inspect-model", "/nowhere"],
            &["inspect-model", "/etc/passwd"],
        ],
    );
    let missing = ground.run(None, &["plugins", "inspect", "/nowhere.so"]);
    assert_eq!(missing.status.code(), Some(6), "{missing:?}");
    let open = ground.run(None, &["devnet", "--listen", "192.0.2.1:1"]);
    assert_eq!(open.status.code(), Some(2), "{open:?}");
    // A file stands where the home should be.
    std::fs::remove_dir_all(ground.home()).unwrap();
    std::fs::write(ground.home(), "").unwrap();
    expect(6, "no home", &uses_it);
    expect(6, "no home", &[&["plugins", "block", "x"], &["logs"]]);
}

/// The remedy names the owner of what is in the way, and the command changes just that.
#[test]
fn a_home_that_root_made_is_told_with_its_owner_and_a_command_that_works() {
    if !is_root() {
        return skipped("two users", "only root can be another user");
    }
    let ground = Ground::new();
    std::fs::create_dir(ground.home()).unwrap();
    std::fs::set_permissions(ground.home(), PermissionsExt::from_mode(0o700)).unwrap();
    for arguments in
        [&["config", "show"][..], &["init", "--set", "plugins.probe_timeout=3s", "--yes"], &["start"]]
    {
        let output = ground.run(Some(SOMEBODY), arguments);
        let said = stderr(&output);
        let home = ground.home().display().to_string();
        // Where the tests run in a container themselves, what has to be done is done outside of it.
        let outside = format!("(`chown -R {SOMEBODY}` of the folder that is mounted there");
        let command = format!("{home} belongs to root: `sudo chown -R \"$(id -un)\" {home}`");
        assert!(said.contains(&command) || said.contains(&outside), "{arguments:?}: {said}");
    }
}

#[test]
fn a_home_whose_name_is_no_text_is_refused_in_one_sentence_by_every_command() {
    let ground = Ground::new();
    let home = ground.folder.path().join(OsStr::from_bytes(b"lat\xe9"));
    std::fs::create_dir(&home).unwrap();
    for arguments in [
        &["start"][..],
        &["start", "--foreground"],
        &["start", "--devnet"],
        &["stop"],
        &["status"],
        &["logs"],
        &["plugins", "list"],
        &["doctor"],
        &["config", "show"],
        &["init", "--set", "plugins.probe_timeout=3s", "--yes"],
        &["attach", "--gateway-url", "http://127.0.0.1:1"],
    ] {
        let mut command = Command::new(ground.folder.path().join("pearlbed"));
        let output = command.args(arguments).env_clear().env("PEARLBED_HOME", &home).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said = stderr(&output);
        assert!(said.contains("is not UTF-8") && said.contains("lat\\xe9"), "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(home).unwrap().count(), 0);
}

/// A file system that lacks something, made of a library that refuses the call.
fn refusing(folder: &Path, call: &str, errno: i32) -> Option<PathBuf> {
    let (text, library) = (folder.join(format!("{call}.c")), folder.join(format!("{call}.so")));
    let source = format!("#include <errno.h>\nint {call}() {{ errno = {errno}; return -1; }}\n");
    std::fs::write(&text, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &text]).output().ok()?;
    built.status.success().then_some(library)
}

#[test]
fn a_file_system_that_cannot_do_what_a_session_needs_is_told_before_and_at_the_start() {
    let ground = Ground::new();
    // What a home lacks is met after a plugin was found.
    let plugins = ground.folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let plugin = plugins.join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
    std::fs::copy(build::plugin("odd-miner"), &plugin).unwrap();
    std::fs::set_permissions(&plugin, PermissionsExt::from_mode(0o644)).unwrap();
    for (call, errno, words) in [
        ("flock", libc::ENOLCK, "cannot lock files"),
        ("flock", libc::EOPNOTSUPP, "cannot lock files"),
        ("bind", libc::EPERM, "cannot hold sockets"),
        ("fsync", libc::EINVAL, "cannot bring files to safety"),
    ] {
        let Some(library) = refusing(ground.folder.path(), call, errno) else {
            return skipped("file systems that lack something", "no C compiler");
        };
        let home = ground.folder.path().join(format!("home-{call}-{errno}"));
        std::fs::create_dir(&home).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(ground.folder.path().join("pearlbed"));
            command.args(arguments).env_clear().env("PEARLBED_HOME", &home).env("LD_PRELOAD", &library);
            command.output().unwrap()
        };
        let doctor = run(&["doctor", "--json", "--only", "home-folder"]);
        let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let row = &report["checks"][0];
        assert_eq!(row["state"], "fail", "{call}: {row:#}");
        assert!(row["finding"].as_str().unwrap().contains(words), "{call}: {row:#}");
        assert!(row["fix"].as_str().unwrap().contains("PEARLBED_HOME"), "{call}: {row:#}");
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "doctor leaves nothing behind");
        if call != "fsync" {
            let start = run(&[
                "start",
                "--devnet",
                "--provider",
                "odd-miner",
                "--plugin-dir",
                plugins.to_str().unwrap(),
            ]);
            // Another home is a change that somebody has to make.
            assert_eq!(start.status.code(), Some(6), "{call}: {start:?}");
            let said = stderr(&start);
            assert!(said.contains("another home") || said.contains("local disk"), "{call}: {said}");
            assert!(!said.contains("writable for you"), "{call}: {said}");
        }
    }
}

/// A file system in memory, gone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(path: &Path, options: &str) -> Result<Self, String> {
        let mut command = Command::new("mount");
        let output = command.args(["-t", "tmpfs", "-o", options, "pearlbed-test"]).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(path.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(err) => Err(err.to_string()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_folder_mounted_noexec_is_named_and_its_copy_elsewhere_is_used() {
    let ground = Playground::new();
    let first = ground.root().join("first");
    std::fs::create_dir(&first).unwrap();
    let _mount = match Mount::new(&first, "size=16m,noexec,mode=0755") {
        Ok(mount) => mount,
        Err(why) => return skipped("a noexec mount", &why),
    };
    let library = misbehave::library("twice", "");
    put_library(&first, "plugin", &library);
    put_library(&ground.plugins(), "plugin", &library);
    let folders =
        ["--plugin-dir", first.to_str().unwrap(), "--plugin-dir", ground.plugins().to_str().unwrap()]
            .map(str::to_owned);
    for command in ["doctor", "plugins list"] {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--json");
        arguments.extend(folders.iter().map(String::as_str));
        let answer: Value = serde_json::from_slice(&ground.run(&arguments).stdout).unwrap();
        let [bad, good] = &answer["plugins"].as_array().unwrap()[..] else { panic!("{answer:#}") };
        assert_eq!(bad["code"], "no-exec", "{bad:#}");
        let mount = format!("{} is mounted noexec", first.display());
        assert!(bad["reason"].as_str().unwrap().contains(&mount), "{bad:#}");
        assert_eq!(good["state"], "usable", "{good:#}");
    }
}

#[test]
fn hidden_files_beside_a_plugin_are_counted_and_never_looked_at() {
    let ground = Playground::new();
    let library = misbehave::library("seen", "");
    put_library(&ground.plugins(), "lib", &library);
    for name in ["._lib", ".#lib", ".hidden"] {
        put_library(&ground.plugins(), name, &misbehave::library("hidden", "detect:segv"));
    }
    let (answer, _) = ground.json(&["doctor"]);
    assert_eq!(answer["plugins"].as_array().unwrap().len(), 1, "{answer:#}");
    let checks = answer["checks"].as_array().unwrap();
    let folders = checks.iter().find(|check| check["id"] == "plugin-folders").unwrap();
    assert!(folders["finding"].as_str().unwrap().ends_with("; 3 hidden files passed over"), "{folders:#}");
}

#[test]
fn an_address_where_nothing_listens_is_not_recorded_as_a_miner() {
    let ground = Ground::new();
    let url = format!("http://127.0.0.1:{}", pearlbed_tests::ports::free());
    let refused = ground.run(None, &["attach", "--gateway-url", &url]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("nothing answers at"), "{}", stderr(&refused));
    assert!(!ground.home().join("runtime/mining.json").exists());
    // No start helps against a name that nobody knows; nobody is asked for one as long as this.
    let unknown = ground.run(None, &["attach", "--gateway-url", &format!("http://{}:8337", "x".repeat(64))]);
    let said = stderr(&unknown);
    assert!(said.contains("is not known") && said.contains("correct its name"), "{said}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // As OpenJarvis' own line has it: without a provider.
    let taken = ground.run(None, &["attach", "--gateway-url", &url]);
    assert!(taken.status.success(), "{}", stderr(&taken));
}

#[test]
fn settings_are_taken_as_openjarvis_spells_them_and_lists_from_variables() {
    let ground = Ground::new();
    let output = ground.run(
        None,
        &[
            "init",
            "--wallet",
            WALLET,
            "--submit-target",
            "solo",
            "--provider",
            "auto",
            "--pearld-url",
            "http://127.0.0.1:44107",
            "--pearld-user",
            "me",
            "--pearld-password-env",
            "MY_PASSWORD",
            "--model",
            "some/model",
            "--gateway-port",
            "18337",
            "--metrics-port",
            "18339",
            "--set",
            "mining.extra.mode=fast",
            "--set",
            "mining.extra.metrics_host=x",
            "--yes",
            "--dry-run",
        ],
    );
    // There is no plugin here; everything before that was understood.
    assert!(stderr(&output).contains("there is no provider to choose from"), "{}", stderr(&output));
    for (arguments, words) in [
        (&["init", "--yes", "--dry-run", "--gateway-metrics-port", "18339"][..], "--provider"),
        (&["logs", "--tail", "5"], "there is no log yet"),
        (&["inspect-model", "--model", "no/model"], "neither a folder nor a model"),
        (&["validate-model", "--model", "no/model"], "no plugin to mine with"),
        (&["init", "--yes", "--unset", "mining"], "is a section"),
        (&["inspect-model", "--allow-planned", "no/model"], "neither a folder nor a model"),
        // What has no meaning here is said with what has.
        (&["inspect-model", "--hf-token-env", "HF_TOKEN", "no/model"], "nothing is downloaded"),
        (&["inspect-model", "--timeout=3", "no/model"], "nobody is asked over the network"),
        (&["validate-model", "--vllm-endpoint", "http://127.0.0.1:1/v1"], "the session of this home"),
        (&["validate-model", "--prompt", "hello"], "`--prompts NUMBER`"),
        (&["mine", "status"], "leave the word out: `pearlbed status`"),
    ] {
        let said = stderr(&ground.run(None, arguments));
        assert!(said.contains(words) && !said.contains("unexpected argument"), "{arguments:?}: {said}");
    }
    std::fs::create_dir_all(ground.home()).unwrap();
    std::fs::write(
        ground.home().join("config.toml"),
        "[mining.extra]\nmode = \"fast\"\nmodels = 2\nmetrics_host = \"x\"\n",
    )
    .unwrap();
    let shown = Command::new(ground.folder.path().join("pearlbed"))
        .args(["config", "show"])
        .env_clear()
        .env("PEARLBED_HOME", ground.home())
        .env("PEARLBED_PLUGINS_DIRS", "/opt/miners:/srv/miners")
        .env("PEARLBED_MINING_GATEWAY_COMMAND", "[\"pearl-gateway\", \"start\"]")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("dirs = [\"/opt/miners\", \"/srv/miners\"]"), "{text}{}", stderr(&shown));
    assert!(text.contains("command = [\"pearl-gateway\", \"start\"]"), "{text}");
}

#[test]
fn an_https_node_is_known_by_the_certificate_at_its_usual_place_or_it_is_said_that_there_is_none() {
    let ground = Ground::new();
    std::fs::create_dir(ground.home()).unwrap();
    let user = ground.folder.path().join("user");
    std::fs::create_dir_all(user.join(".pearld")).unwrap();
    let init = |url: &str| {
        let mut command = Command::new(ground.folder.path().join("pearlbed"));
        command.args(["init", "--set", &format!("mining.extra.pearld_rpc_url={url}"), "--yes"]);
        let output =
            command.env_clear().env("PEARLBED_HOME", ground.home()).env("HOME", &user).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (std::fs::read_to_string(ground.home().join("config.toml")).unwrap(), stderr(&output))
    };
    let (file, said) = init("http://127.0.0.1:44107");
    assert!(!file.contains("certificate") && !said.contains("certificate"), "{file}{said}");
    let (file, said) = init("https://127.0.0.1:44107");
    assert!(!file.contains("certificate =") && said.contains("--node-certificate FILE"), "{file}{said}");
    let certificate = user.join(".pearld/rpc.cert");
    std::fs::write(&certificate, "a certificate").unwrap();
    let (file, said) = init("https://127.0.0.1:44108");
    assert!(file.contains(&format!("certificate = \"{}\"", certificate.display())), "{file}{said}");
}

#[test]
fn a_variable_that_is_a_slip_of_a_settings_is_named_whatever_it_begins_with() {
    let ground = Ground::new();
    for (slip, meant) in [
        ("PEARLBED_PLUGIN_DIRS", "PEARLBED_PLUGINS_DIRS"),
        ("PEARLBED_MINNING_PROVIDER", "PEARLBED_MINING_PROVIDER"),
    ] {
        let mut command = Command::new(ground.folder.path().join("pearlbed"));
        command.args(["config", "show"]).env_clear().env("PEARLBED_HOME", ground.home()).env(slip, "x");
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let wanted = format!("unknown environment variable {slip} hint: did you mean {meant}?");
        assert!(stderr(&output).contains(&wanted), "{}", stderr(&output));
    }
}

/// What somebody can put in the place of a file.
#[derive(Clone, Copy, Debug)]
enum Thing {
    Pipe,
    Socket,
    Folder,
    /// A link that leads nowhere.
    Nowhere,
    /// More than anybody would read, and no byte of it on the disk.
    Large,
    /// A device that never ends. It is a link, so that whoever writes in its place would write over the device.
    Endless,
}

const THINGS: [Thing; 6] =
    [Thing::Pipe, Thing::Socket, Thing::Folder, Thing::Nowhere, Thing::Large, Thing::Endless];

/// Puts `thing` at `path`, in the place of what is there; nothing where this machine cannot make it.
fn put(thing: Thing, path: &Path) -> Option<()> {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap()
    } else {
        _ = std::fs::remove_file(path)
    }
    match thing {
        Thing::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        Thing::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        Thing::Folder => std::fs::create_dir(path).unwrap(),
        Thing::Nowhere => std::os::unix::fs::symlink("gone/file", path).unwrap(),
        Thing::Large => std::fs::File::create(path).unwrap().set_len(1 << 40).ok()?,
        Thing::Endless => {
            // One of its own: the machine's own is not to be lost by a mistake of ours.
            let device = path.with_extension("device");
            mknodat(CWD, &device, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(1, 5)).ok()?;
            std::fs::File::open(&device).ok()?;
            std::os::unix::fs::symlink(device.file_name()?, path).unwrap();
        }
    }
    Some(())
}

/// What lies there, by its kind and its size.
fn kind(path: &Path) -> (u32, u64) {
    let found = std::fs::symlink_metadata(path).unwrap();
    (found.mode(), found.len())
}

impl Ground {
    /// The command, which is given up after a while that no command of these takes: status 124.
    fn run_bounded(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.arg("60").arg(self.folder.path().join("pearlbed")).args(arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("PEARLBED_HOME", self.home());
        command.output().unwrap()
    }
}

#[test]
fn whatever_lies_in_the_place_of_the_configuration_is_told_with_a_remedy_by_every_command_and_left_alone() {
    let ground = Ground::new();
    std::fs::create_dir(ground.home()).unwrap();
    let file = ground.home().join("config.toml");
    for thing in THINGS {
        if put(thing, &file).is_none() {
            skipped(&format!("{thing:?}"), "it cannot be made here");
            continue;
        }
        let before = kind(&file);
        for words in [
            &["config", "show"][..],
            &["start", "--devnet"],
            &["init", "--set", "mining.session.stop_grace=20s", "--yes"],
        ] {
            let output = ground.run_bounded(words);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(6), "{thing:?}, {words:?}: {said}");
            assert!(said.contains("config.toml") && said.contains("hint: "), "{thing:?}, {words:?}: {said}");
            assert!(said.contains("move it away") || said.contains("remove it"), "{thing:?}: {said}");
        }
        let status = ground.run_bounded(&["status", "--json"]);
        assert_eq!(status.status.code(), Some(3), "{thing:?}: {}", stderr(&status));
        let report: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert!(
            report["hint"].as_str().unwrap().starts_with("put the configuration right first"),
            "{report:#}"
        );
        let doctor = ground.run_bounded(&["doctor", "--only", "config", "--json"]);
        assert_eq!(doctor.status.code(), Some(1), "{thing:?}: {}", stderr(&doctor));
        assert_eq!(kind(&file), before, "{thing:?}");
    }
    let names = std::fs::read_dir(ground.home()).unwrap().flatten().map(|entry| entry.file_name());
    let others: Vec<_> = names.filter(|name| name != "config.toml" && name != "config.device").collect();
    assert!(
        others.iter().all(|name| name == "runtime" || name == "logs"),
        "nothing is left behind: {others:?}"
    );
}

#[test]
fn whatever_lies_in_the_place_of_a_record_of_ours_is_never_waited_for_and_told_where_it_matters() {
    let ground = Ground::new();
    let (runtime, logs) = (ground.home().join("runtime"), ground.home().join("logs"));
    std::fs::create_dir_all(&runtime).unwrap();
    std::fs::create_dir_all(&logs).unwrap();
    let status = |what: &str| {
        let output = ground.run_bounded(&["status", "--json"]);
        assert_eq!(output.status.code(), Some(3), "{what}: {}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    for thing in THINGS {
        // The lock: nobody runs, and whoever starts is told what is in the way.
        let lock = runtime.join("mining.lock");
        if put(thing, &lock).is_none() {
            continue;
        }
        status(&format!("{thing:?} as the lock"));
        let stop = ground.run_bounded(&["stop"]);
        assert_eq!(stop.status.code(), Some(0), "{thing:?}: {}", stderr(&stop));
        if !matches!(thing, Thing::Large) {
            let doctor = ground.run_bounded(&["doctor", "--only", "home-folder"]);
            assert_eq!(doctor.status.code(), Some(1), "{thing:?} as the lock");
        }
        put(Thing::Folder, &lock);
        std::fs::remove_dir(&lock).unwrap();
        // How the last session ended.
        let last = runtime.join("last-session.json");
        put(thing, &last).unwrap();
        let report = status(&format!("{thing:?} as the record"));
        let said = report["reason"].as_str().unwrap();
        assert!(said.contains("how the last session ended is not known"), "{thing:?}: {said}");
        assert!(said.contains("last-session.json"), "{thing:?}: {said}");
        put(Thing::Folder, &last);
        std::fs::remove_dir(&last).unwrap();
        // What was blocked: never written over, and never taken for nothing.
        let memory = ground.home().join("plugins.json");
        put(thing, &memory).unwrap();
        let before = kind(&memory);
        let block = ground.run_bounded(&["plugins", "block", "some-id"]);
        assert_eq!(block.status.code(), Some(6), "{thing:?}: {}", stderr(&block));
        assert!(stderr(&block).contains("hint: "), "{thing:?}: {}", stderr(&block));
        assert_eq!(kind(&memory), before, "{thing:?}");
        put(Thing::Folder, &memory);
        std::fs::remove_dir(&memory).unwrap();
        // An older part of the log: it costs its own lines.
        put(Thing::Folder, &logs.join("mining.log")).unwrap();
        std::fs::remove_dir(logs.join("mining.log")).unwrap();
        std::fs::write(logs.join("mining.log"), "a line of today\n").unwrap();
        put(thing, &logs.join("mining.log.1")).unwrap();
        let shown = ground.run_bounded(&["logs"]);
        assert_eq!(shown.status.code(), Some(0), "{thing:?}: {}", stderr(&shown));
        assert_eq!(String::from_utf8_lossy(&shown.stdout), "a line of today\n", "{thing:?}");
        put(thing, &logs.join("mining.log")).unwrap();
        assert_ne!(ground.run_bounded(&["logs"]).status.code(), Some(124), "{thing:?}");
        status(&format!("{thing:?} as the log"));
    }
}

/// A shell's limits are met before anything is started, each with its own remedy.
#[test]
fn where_a_limit_forbids_a_session_doctor_and_start_say_so_with_its_remedy_and_a_soft_one_is_raised() {
    let ground = Ground::new();
    let limited = |limit: &str, words: &str| {
        let script = format!("ulimit {limit} && exec timeout 60 \"$0\" {words}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(ground.folder.path().join("pearlbed"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("PEARLBED_HOME", ground.home()).output().unwrap()
    };
    for (limit, words) in [("-n 12", "12 files"), ("-f 0", "no file may be larger")] {
        let start = limited(limit, "start --devnet");
        assert_eq!(start.status.code(), Some(6), "{limit}: {}", stderr(&start));
        assert!(stderr(&start).contains(words) && stderr(&start).contains("ulimit -"), "{}", stderr(&start));
        let doctor = limited(limit, "doctor --only limits");
        assert_eq!(doctor.status.code(), Some(1), "{limit}: {}", stderr(&doctor));
        assert!(String::from_utf8_lossy(&doctor.stdout).contains("ulimit"), "{doctor:?}");
    }
    let soft = limited("-S -n 12", "doctor --only limits --json");
    let report: Value = serde_json::from_slice(&soft.stdout).unwrap();
    assert!(soft.status.success() && !report.to_string().contains("open-files"), "{report:#}");
}
