//! Plugins beside each other, where a user or a machine has something only once: numbers of processes, descriptors, the space
//! of a disk, folders and files that somebody moves.
//!
//! What this machine cannot make says `skipped:` and why.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::corpus::{by_name, code, skipped};
use pearlbed_tests::group::Group;
use pearlbed_tests::minisign::{Format, Key};
use pearlbed_tests::misbehave::{self, padded_id, put, put_library};
use pearlbed_tests::pearlbed::Playground;
use serde_json::Value;

/// A user that exists nowhere else.
const SOMEBODY: u32 = 61_234;
/// Longer than any plugin takes on a slow and busy machine.
const PATIENCE: &str = "10s";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn put_healthy(folder: &Path, count: usize) {
    for number in 0..count {
        let id = format!("healthy-{number}");
        // Before, between and after the others.
        let first = ["0", "m", "z"][number % 3];
        put_library(folder, &format!("{first}-healthy-{number:02}"), &misbehave::library(&id, ""));
    }
}

/// None of them is lost, and none is blamed: what could not be probed says that, and of the others each is as it should be.
/// Answers how many were probed.
fn assert_not_slandered(plugins: &BTreeMap<String, Value>, count: usize) -> usize {
    let mut probed = 0;
    for number in 0..count {
        let id = padded_id(&format!("healthy-{number}"));
        let plugin = plugins.values().find(|plugin| plugin["id"] == id.as_str()).unwrap();
        if plugin["state"] == "usable" {
            assert_eq!(
                (&plugin["probe"]["supported"], &plugin["probe"]["pure"]),
                (&true.into(), &true.into()),
                "{plugin:#}"
            );
            probed += 1;
        } else {
            assert!(matches!(plugin["code"].as_str(), Some("no-probe" | "not-probed")), "{plugin:#}");
        }
    }
    probed
}

/// The playground with a copy of the binary, all of it open to the other user.
fn shared_ground() -> (Playground, PathBuf) {
    let ground = Playground::new();
    std::fs::set_permissions(ground.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = ground.root().join("pearlbed");
    build::copy_program(&build::pearlbed(), &binary);
    (ground, binary)
}

/// `doctor --json` of `ground` by another user, after `prepare` has run in its process.
fn doctor_as_somebody(
    ground: &Playground,
    binary: &Path,
    prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) -> BTreeMap<String, Value> {
    for entry in std::fs::read_dir(ground.plugins()).unwrap().flatten() {
        std::os::unix::fs::chown(entry.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let mut command = Command::new(binary);
    command
        .args(["doctor", "--json", "--probe-timeout", PATIENCE, "--plugin-dir"])
        .arg(ground.plugins())
        .env_clear()
        .env("PEARLBED_HOME", ground.home())
        .uid(SOMEBODY)
        .gid(SOMEBODY);
    // SAFETY: what the tests prepare are single system calls.
    unsafe { command.pre_exec(prepare) };
    answer(&command.output().unwrap())
}

fn answer(output: &Output) -> BTreeMap<String, Value> {
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"));
    by_name(&answer)
}

fn processes_at_most(limit: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the call reads one structure, which lives.
    if unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) } == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
}

/// H8: what is short is named as what is short, and who comes next is not blamed for it.
#[test]
fn three_that_hold_every_process_number_cost_no_other_its_name() {
    if !is_root() {
        return skipped("H8", "only root can be another user");
    }
    let (ground, binary) = shared_ground();
    for number in 0..3 {
        put(&ground.plugins(), &format!("a-holder-{number}"), "ctor:hold-threads=511");
    }
    put_healthy(&ground.plugins(), 20);
    let plugins = doctor_as_somebody(&ground, &binary, || processes_at_most(64));
    let probed = assert_not_slandered(&plugins, 20);
    assert!(probed >= 15, "only {probed} of 20 were probed");
}

/// H8, of our own: there are not enough descriptors to make a process with.
#[test]
fn what_is_short_is_named_and_not_the_plugin() {
    if !is_root() {
        return skipped("H8", "only root can be another user");
    }
    let (ground, binary) = shared_ground();
    put_healthy(&ground.plugins(), 3);
    let few_files = || {
        let limit = libc::rlimit { rlim_cur: 14, rlim_max: 14 };
        // SAFETY: the call reads one structure, which lives.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    let plugins = doctor_as_somebody(&ground, &binary, few_files);
    assert_not_slandered(&plugins, 3);
}

/// H8, of our own: the memory of the group is used up by several that each keep to their bound, and whoever the system ends
/// for it has done nothing.
#[test]
fn whoever_is_ended_for_the_memory_of_all_is_not_the_one_to_blame() {
    // No more than one of them has room, and none of the last.
    let settings = [("memory", "memory.limit_in_bytes", "157286400"), ("memory", "memory.swappiness", "0")];
    let group = match Group::new("starved", &settings) {
        Ok(group) => group,
        Err(err) => return skipped("H8", &err),
    };
    let ground = Playground::new();
    for number in 0..3 {
        put(&ground.plugins(), &format!("a-holder-{number}"), "detect:hold-memory=80");
    }
    put(&ground.plugins(), "b-too-much", "detect:hold-memory=200");
    put_healthy(&ground.plugins(), 3);
    let mut command = ground.command(&["doctor", "--json", "--probe-timeout", PATIENCE, "--plugin-dir"]);
    command.arg(ground.plugins());
    group.take(&mut command);
    let plugins = answer(&command.output().unwrap());
    assert_not_slandered(&plugins, 3);
    for number in 0..3 {
        let holder = &plugins[&format!("a-holder-{number}.so")];
        assert!(["usable", "no-probe", "not-probed"].contains(&code(holder)), "{holder:#}");
    }
    let starved = &plugins["b-too-much.so"];
    let reason = "it was not probed: the system ended its process in detect because the memory of the control group \
                  (150 MiB) was used up";
    assert_eq!((&starved["code"], &starved["reason"]), (&"no-probe".into(), &reason.into()), "{starved:#}");
}

/// H7: whatever the name of the folder leads to from one moment to the next, nothing runs but what was looked at.
#[test]
fn a_folder_that_is_exchanged_all_the_time_never_runs_another_file() {
    let ground = Playground::new();
    let (here, there) = (ground.plugins(), ground.root().join("other"));
    std::fs::create_dir(&there).unwrap();
    for number in 0..8 {
        let name = format!("p{number}");
        put_library(&here, &name, &misbehave::library(&format!("a-{number}"), ""));
        put_library(&there, &name, &misbehave::library(&format!("b-{number}"), "ctor:detach"));
    }
    let stop = AtomicBool::new(false);
    let mut seen = [0; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &here, rustix::fs::CWD, &there, flags).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        for _ in 0..12 {
            let (answer, _) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
            count_what_ran(&answer, &mut seen);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(seen[0] + seen[1] > 0, "nothing was ever probed");
}

/// H7, of our own: it is the link that changes, or the file itself.
#[test]
fn a_link_or_a_file_that_is_exchanged_all_the_time_never_runs_another_file() {
    let ground = Playground::new();
    let (here, there) = (ground.plugins(), ground.root().join("other"));
    std::fs::create_dir(&there).unwrap();
    let mut exchanged = vec![];
    for number in 0..4 {
        let honest = misbehave::library(&format!("a-{number}"), "");
        let other = misbehave::library(&format!("b-{number}"), "ctor:detach");
        // A file and another one that takes its place.
        let file = put_library(&here, &format!("file-{number}"), &honest);
        exchanged.push((file, put_library(&there, &format!("file-{number}"), &other)));
        // A link to one file, and a link to another.
        let [to_honest, to_other] = [("one", honest), ("two", other)].map(|(name, mut library)| {
            let bytes = &mut library.bytes;
            // No copy of the file beside it.
            bytes.push(0);
            put_library(&there, &format!("{name}-{number}"), &library)
        });
        let links = [here.join(format!("link-{number}.so")), there.join(format!("link-{number}"))];
        std::os::unix::fs::symlink(to_honest, &links[0]).unwrap();
        std::os::unix::fs::symlink(to_other, &links[1]).unwrap();
        exchanged.push(links.into());
    }
    let stop = AtomicBool::new(false);
    let mut seen = [0; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in &exchanged {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags).unwrap();
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        for _ in 0..12 {
            let (answer, _) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
            count_what_ran(&answer, &mut seen);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(seen[0] + seen[1] > 0, "nothing was ever probed");
}

/// Nothing ran under the name of what was looked at but that: those called `b-…` leave their session, and no others do.
fn count_what_ran(answer: &Value, seen: &mut [u32; 2]) {
    for plugin in answer["plugins"].as_array().unwrap() {
        let id = plugin["id"].as_str().unwrap_or_default();
        let ran_other = plugin.to_string().contains("tried to change its confinement");
        if plugin["state"] == "usable" {
            assert_eq!(ran_other, id.starts_with("b-"), "{plugin:#}");
            seen[usize::from(ran_other)] += 1;
        } else {
            assert!(!(ran_other && id.starts_with("a-")), "{plugin:#}");
        }
    }
}

/// H5: files as long as a disk cost neither time nor memory, and their neighbours nothing.
#[test]
fn endless_files_of_one_id_are_told_apart_in_bounded_time() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder, 3);
    let grow =
        |path: &Path, bytes: u64| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes);
    for (name, bytes) in [("a", 2_u64 << 30), ("b", 2 << 30), ("c", 1 << 40), ("d", 1 << 40)] {
        let path =
            put_library(&folder, name, &misbehave::library(if bytes < 1 << 40 { "two" } else { "tera" }, ""));
        if let Err(err) = grow(&path, bytes) {
            skipped("H5", &format!("no sparse file of {bytes} bytes: {err}"));
            std::fs::remove_file(path).unwrap();
        }
    }
    // Many, each of them short enough to be compared.
    for number in 0..40 {
        let path = put_library(&folder, &format!("e{number:02}"), &misbehave::library("many", ""));
        grow(&path, 64 << 20).unwrap();
    }
    let (list, took) = ground.json(&["plugins", "list"]);
    let plugins = by_name(&list);
    assert_eq!(plugins["b.so"]["code"], "same-id", "{:#}", plugins["b.so"]);
    assert_eq!(plugins["e00.so"]["state"], "usable");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    let (doctor, _) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    assert_eq!(assert_not_slandered(&by_name(&doctor), 3), 3);
    ground.assert_nothing_left();
}

/// H5, of our own: files as long as they may be that say that they are signed by somebody whom the user trusts, so that all of
/// each has to be read. Whoever is short and signed is not kept waiting by them, and none of them is used unchecked.
#[test]
fn endless_files_with_signatures_keep_no_signed_plugin_from_being_checked() {
    let ground = Playground::new();
    let folder = ground.plugins();
    let key = Key::new(7);
    std::fs::write(ground.home().join("config.toml"), format!("[plugins]\nkeys = [\"{}\"]\n", key.public()))
        .unwrap();
    let sign = |path: &Path, bytes: &[u8]| {
        let signature = key.sign(bytes, Format::Prehashed, "of a test");
        std::fs::write(path.with_added_extension("minisig"), signature).unwrap();
    };
    for number in 0..24 {
        let path = put_library(
            &folder,
            &format!("a{number:02}"),
            &misbehave::library(&format!("long-{number}"), ""),
        );
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(500 << 20).unwrap();
        sign(&path, b"another file");
    }
    put_healthy(&folder, 3);
    for number in 0..3 {
        let path = folder.join(format!("{}-healthy-{number:02}.so", ["0", "m", "z"][number]));
        sign(&path, &std::fs::read(&path).unwrap());
    }
    let (doctor, took) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    let plugins = by_name(&doctor);
    assert_eq!(assert_not_slandered(&plugins, 3), 3);
    assert_eq!(plugins["0-healthy-00.so"]["signature"]["state"], "by", "{:#}", plugins["0-healthy-00.so"]);
    for (name, plugin) in &plugins {
        let code = plugin["code"].as_str().unwrap_or("usable");
        let is_long = name.starts_with('a');
        assert!(!is_long || ["not-checked", "signature-wrong"].contains(&code), "{plugin:#}");
    }
    assert!(plugins.values().any(|plugin| plugin["code"] == "not-checked"), "all were read");
    assert!(took < Duration::from_secs(30), "it took {took:?}");
}
