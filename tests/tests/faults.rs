//! The fault corpus of `docs/faults.md`, thrown at the real binary beside healthy plugins.
//!
//! After each run: no healthy plugin is lost, every fault is named for what it is, no process, no file and no terminal
//! state is left, and the time was bounded. A fault that this machine cannot make says `skipped:` and why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::corpus::{
    Fault, HEALTHY, SCRAMBLED, assert_healthy, assert_none_wrong, by_name, code, look_at, put_files,
    put_healthy, put_misbehaviour, said, skipped,
};
use pearlbed_tests::misbehave::{self, padded_id, put};
use pearlbed_tests::pearlbed::{Playground, SECRET};
use serde_json::Value;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Longer than any plugin takes on a slow and busy machine; what hangs is waited for so long.
const PATIENCE: &str = "10s";

#[test]
fn broken_files_are_named_and_cost_no_healthy_plugin() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    let faults = put_files(&folder);
    let (answer, took) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    let plugins = by_name(&answer);
    let mut wrong = vec![];
    faults.iter().for_each(|fault| look_at(&plugins, fault, &mut wrong));
    assert_none_wrong(&wrong);
    assert_healthy(&plugins, true);
    assert!(took < Duration::from_secs(30), "it took {took:?}");

    // F43: what is advised is one word in a shell, and that file.
    let fix = plugins["f43'; touch x; '.so"]["fix"].as_str().unwrap();
    let (_, file) = fix.split_once("`chmod go-w ").unwrap();
    let (file, _) = file.split_once("`, or pass").unwrap();
    assert!(file.starts_with("'/") && file.ends_with(r"/f43'\''; touch x; '\''.so'"), "{fix}");

    // The list knows what the files show, and runs nothing: what only running tells is usable to it.
    let (list, _) = ground.json(&["plugins", "list"]);
    let listed = by_name(&list);
    assert_healthy(&listed, false);
    const RUNNING: [&str; 8] = [
        SCRAMBLED,
        "missing-library",
        "undefined-symbol",
        "declined",
        "other-id",
        "other-layout",
        "other-layout|crashed",
        "crashed",
    ];
    let shown = faults.iter().filter(|fault| !RUNNING.contains(&&*fault.codes));
    shown.for_each(|fault| look_at(&listed, fault, &mut wrong));
    assert_none_wrong(&wrong);

    // The flag lets through what only the owner and mode spoke against, and says so.
    let (relaxed, _) = ground.json(&["plugins", "list", "--relax-file-checks"]);
    let group = &by_name(&relaxed)["f28-group.so"];
    assert_eq!((&group["state"], &group["relaxed"]), (&"usable".into(), &true.into()), "{group:#}");
    ground.assert_nothing_left();
}

/// The flags of a file (`FS_IOC_GETFLAGS`), where its file system has any.
fn file_flags(path: &Path) -> Option<libc::c_long> {
    let file = File::open(path).unwrap();
    let mut flags: libc::c_long = 0;
    // SAFETY: the call writes one number, which lives.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), 0x8008_6601, &raw mut flags) };
    (answer == 0).then_some(flags)
}

#[test]
fn misbehaving_plugins_are_named_and_reach_nobody() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    // A datagram reaches whoever listens, wherever it comes from.
    let letterbox = UnixDatagram::bind(folder.join("letterbox")).unwrap();
    letterbox.set_nonblocking(true).unwrap();
    let flags_before = file_flags(&ground.victim());
    let faults = put_misbehaviour(&ground);

    let started = Instant::now();
    let output = ground
        .command(&["doctor", "--json", "--probe-timeout", PATIENCE, "--plugin-dir", folder.to_str().unwrap()])
        .output()
        .unwrap();
    let took = started.elapsed();
    let shown =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains(SECRET.1), "a secret of the environment leaked");
    assert!(!shown.contains('\u{1b}'), "a terminal escape came through");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let plugins = by_name(&answer);
    let mut wrong = vec![];
    // Beside ten that hang and some that take every processor, a slow machine has no time for all of two hundred, and says
    // so. Those are asked again as that line proposes: by themselves, or nearly.
    let (late, in_time): (Vec<_>, Vec<_>) = faults.iter().partition(|fault| {
        let mut wrong = vec![];
        look_at(&plugins, fault, &mut wrong);
        !wrong.is_empty() && matches!(code(&plugins[&fault.file]), "not-probed" | "timed-out")
    });
    // What has used the processor for long runs where nobody else wants to, and somebody may always want to. What never
    // ends needs no longer.
    let (hang, end): (Vec<&Fault>, Vec<&Fault>) =
        late.iter().partition(|fault| fault.codes.contains("timed-out"));
    let again = hang.chunks(2).map(|few| (few, PATIENCE)).chain(end.chunks(3).map(|few| (few, "60s")));
    for (few, patience) in again {
        let again = tempfile::tempdir().unwrap();
        for fault in few {
            std::fs::copy(folder.join(&fault.file), again.path().join(&fault.file)).unwrap();
        }
        let path = again.path().to_str().unwrap();
        let asked = ["doctor", "--json", "--probe-timeout", patience, "--plugin-dir", path];
        let output = ground.command(&asked).output().unwrap();
        let answer = by_name(&serde_json::from_slice(&output.stdout).unwrap());
        for fault in few {
            println!("asked again: {}", fault.order);
            look_at(&answer, fault, &mut wrong);
        }
    }
    in_time.iter().for_each(|fault| look_at(&plugins, fault, &mut wrong));
    assert_none_wrong(&wrong);
    for plugin in plugins.values() {
        assert!(!plugin["fix"].as_str().unwrap_or_default().contains("curl"), "{plugin:#}");
    }
    assert_healthy(&plugins, true);
    assert!(letterbox.recv(&mut [0; 8]).is_err(), "a datagram came through");
    assert_eq!(file_flags(&ground.victim()), flags_before, "the flags of the victim");
    // Ten of them hang; the bound is for a machine that is slow and busy.
    assert!(took < Duration::from_secs(90), "it took {took:?}");
    println!("{} misbehaving plugins in {took:?}", faults.len());
    ground.assert_nothing_left();
}

/// A library that knows how it is probed answers for itself at most.
#[test]
fn a_plugin_cannot_answer_in_the_place_of_another() {
    if !pearlbed::sandbox::support().seccomp_notify {
        return skipped("M43", "without seccomp's user notification plugins share a process");
    }
    let ground = Playground::new();
    let folder = ground.plugins();
    // More than there are ever children, so that healthy plugins come after it in its own.
    for number in 0..20 {
        put(&folder, &format!("a-hijacker-{number:02}"), "ctor:hijack");
    }
    // What it leaves behind is seen, whatever it says itself.
    for place in ["ctor", "detect"] {
        put(&folder, &format!("b-forger-{place}"), &format!("{place}:forge-done"));
    }
    put_healthy(&folder);
    let (answer, took) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    let plugins = by_name(&answer);
    assert_healthy(&plugins, true);
    for place in ["ctor", "detect"] {
        let plugin = &plugins[&format!("b-forger-{place}.so")];
        assert!(said(plugin).contains("left 3 threads running"), "{plugin:#}");
    }
    for plugin in plugins.values() {
        let reason = plugin["probe"]["reason"].as_str().unwrap_or_default();
        let path = plugin["path"].as_str().unwrap();
        let of_hijacker = path.contains("a-hijacker") || path.contains("b-forger");
        assert!(of_hijacker || reason != "hijacked", "{plugin:#}");
    }
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    ground.assert_nothing_left();
}

#[test]
fn names_that_no_script_expects_are_shown_harmless() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    let longest = [vec![b'l'; 252], b".so".to_vec()].concat();
    let names: [&[u8]; 6] =
        [b"with space.so", b"new\nline.so", b"bad\xff\xfeutf8.so", &longest, b"-rf.so", b"esc\x1b[2J.so"];
    for (number, name) in names.iter().enumerate() {
        let library = misbehave::library(&format!("name-{number}"), "");
        let path = folder.join(OsStr::from_bytes(name));
        std::fs::write(&path, &library.bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }
    for command in [&["doctor", "--probe-timeout", PATIENCE][..], &["plugins", "list"]] {
        let (answer, _) = ground.json(command);
        let plugins = by_name(&answer);
        assert_healthy(&plugins, command[0] == "doctor");
        for number in 0..names.len() {
            let id = padded_id(&format!("name-{number}"));
            let plugin = plugins.values().find(|plugin| plugin["id"] == id.as_str());
            let plugin = plugin.unwrap_or_else(|| panic!("name {number} was lost"));
            assert_eq!(plugin["state"], "usable", "{plugin:#}");
        }
        let mut arguments = command.to_vec();
        let folder = folder.to_str().unwrap();
        arguments.extend(["--plugin-dir", folder]);
        let output = ground.run(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("new\\nline.so") && text.contains("esc\\u{1b}[2J.so"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "a line has {widest} columns:\n{text}");
    }
    ground.assert_nothing_left();
}

#[test]
fn a_file_that_is_swapped_after_the_look_is_not_taken_for_the_one_that_was_looked_at() {
    let ground = Playground::new();
    let folder = ground.plugins();
    // More sleepers than there are ever children, so that what comes after them waits until the first have slept.
    for number in 0..20 {
        put(&folder, &format!("a-sleeper-{number:02}"), "detect:nap=2000");
    }
    let victim = put(&folder, "z-swapped", "");
    let other = put(ground.root(), "other", "detect:write-file=/nowhere");
    let mut doctor = ground
        .command(&["doctor", "--json", "--probe-timeout", "60s", "--plugin-dir", folder.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first sleeper runs, so everything has been looked at; none will be done for two seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    while ground.processes().is_empty() {
        assert!(
            Instant::now() < deadline && doctor.try_wait().unwrap().is_none(),
            "no sleeper was ever probed"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::rename(&other, &victim).unwrap();
    let output = doctor.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let swapped = &by_name(&answer)["z-swapped.so"];
    assert_eq!(swapped["code"], "changed", "{swapped:#}");
    ground.assert_nothing_left();
}

/// M15, M19 and M21 on a terminal: nothing that a plugin writes or answers reaches it.
#[test]
fn the_terminal_is_left_as_it_was() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    for (name, order) in
        [("e1", "detect:escapes"), ("e2", "ctor:rubbish"), ("e3", "detect:stop"), ("e4", "detect:segv")]
    {
        put(&folder, name, order);
    }
    let (mut master, mut slave) = (0, 0);
    // SAFETY: the call writes two descriptors; the other pointers may be null.
    let made = unsafe {
        libc::openpty(
            &mut master,
            &mut slave,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if made != 0 {
        return skipped("the terminal", "this system gives no pseudo-terminal");
    }
    // SAFETY: both were just made, and nothing else owns them.
    let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let state = |slave: &OwnedFd| {
        let mut state = std::mem::MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the call fills the structure, or fails.
        let state = unsafe {
            assert_eq!(libc::tcgetattr(slave.as_raw_fd(), state.as_mut_ptr()), 0);
            state.assume_init()
        };
        (state.c_iflag, state.c_oflag, state.c_cflag, state.c_lflag, state.c_cc)
    };
    let before = state(&slave);
    let reader = std::thread::spawn(move || {
        let mut shown = vec![];
        // A terminal whose last writer has gone ends with an error.
        let _ = (&master).read_to_end(&mut shown);
        (master, shown)
    });
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut command = ground.command(&[
        "doctor",
        "--verbose",
        "--probe-timeout",
        PATIENCE,
        "--plugin-dir",
        folder.to_str().unwrap(),
    ]);
    let status =
        command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream()).status().unwrap();
    // Its copies of the terminal must go, or the reader never sees the end.
    drop(command);
    assert!(status.code().is_some(), "{status}");
    let after = state(&slave);
    drop(slave);
    let (_master, shown) = reader.join().unwrap();
    assert_eq!(before, after, "the terminal's state");
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("crashed"), "{shown}");
    let mut rest = &*shown;
    while let Some(at) = rest.find('\u{1b}') {
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        let is_colour = rest.starts_with('[') && rest[1..end].chars().all(|c| c.is_ascii_digit() || c == ';');
        assert!(is_colour && rest[end..].starts_with('m'), "{:?}", rest.chars().take(20).collect::<String>());
    }
    assert!(!shown.chars().any(|c| c.is_control() && !"\u{1b}\r\n".contains(c)), "{shown:?}");
    ground.assert_nothing_left();
}

#[test]
fn ten_thousand_files_are_bounded_and_lose_nobody() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    for number in 0..10_000 {
        std::fs::write(folder.join(format!("junk-{number:05}.so")), b"junk\n").unwrap();
    }
    let (answer, took) = ground.json(&["plugins", "list"]);
    let plugins = by_name(&answer);
    assert_eq!(plugins.len(), 10_000 + HEALTHY);
    assert_healthy(&plugins, false);
    let (answer, doctor_took) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    assert_healthy(&by_name(&answer), true);
    println!("10 000 files: listed in {took:?}, with the doctor in {doctor_took:?}");
    assert!(took + doctor_took < Duration::from_secs(60), "{took:?} and {doctor_took:?}");
    ground.assert_nothing_left();
}

#[test]
fn what_a_user_sets_is_ignored_with_raised_privileges() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    let nosuid =
        rustix::fs::statvfs(ground.root()).unwrap().f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID);
    if !is_root() || nosuid {
        return skipped(
            "raised privileges",
            "only root, where the file system allows it, can make such a program",
        );
    }
    let nobody = 65534;
    let binary = ground.root().join("pearlbed");
    build::copy_program(&build::pearlbed(), &binary);
    std::os::unix::fs::chown(&binary, Some(nobody), None).unwrap();
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(ground.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(&binary);
    command.args(["plugins", "list"]).env_clear().env("PEARLBED_HOME", ground.home());
    let output = command.env("PEARLBED_PLUGIN_PATH", &folder).output().unwrap();
    std::fs::remove_file(&binary).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("healthy"), "{text}");
    assert!(text.contains("($PEARLBED_PLUGIN_PATH): not searched"), "{text}");
    ground.assert_nothing_left();
}

#[test]
fn files_and_folders_of_others_are_named() {
    // Nothing is unreadable to root, and only root can give files away: then the tests run as nobody.
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    let nobody = 65534;
    let unreadable = put(&folder, "f16", "");
    let closed = ground.plugins().join("closed");
    std::fs::create_dir(&closed).unwrap();
    put(&folder, "f28-owner", "");
    std::fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let arguments = [
        "plugins",
        "list",
        "--json",
        "--plugin-dir",
        folder.to_str().unwrap(),
        "--plugin-dir",
        closed.to_str().unwrap(),
    ];
    let output = if is_root() {
        use std::os::unix::process::CommandExt;
        std::os::unix::fs::chown(folder.join("f28-owner.so"), Some(12345), None).unwrap();
        // The binary may lie where nobody can reach it.
        let binary = ground.root().join("pearlbed");
        build::copy_program(&build::pearlbed(), &binary);
        std::fs::set_permissions(ground.root(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(&binary);
        command.args(arguments).env_clear().env("PEARLBED_HOME", ground.home()).uid(nobody).gid(nobody);
        let output = command.output().unwrap();
        std::fs::remove_file(&binary).unwrap();
        output
    } else {
        skipped("F28 (owner)", "only root can give a file away");
        std::fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o000)).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
        ground.run(&arguments)
    };
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"));
    let plugins = by_name(&answer);
    let mut wrong = vec![];
    let mut expect = |file, codes, words| look_at(&plugins, &Fault::new(file, "", codes, words), &mut wrong);
    expect("f16.so", "unreadable", "you may not read it");
    expect("closed", "folder-unreadable", "may not list");
    if is_root() {
        expect("f28-owner.so", "wrong-owner", "belongs to user 12345");
    }
    assert_none_wrong(&wrong);
    assert_healthy(&plugins, false);
    ground.assert_nothing_left();
}
