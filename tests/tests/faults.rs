//! The fault corpus of `docs/faults.md`, thrown at the real binary beside healthy plugins.
//!
//! After each run: no healthy plugin is lost, every fault is named for what it is, no process, no file and no terminal
//! state is left, and the time was bounded. A fault that this machine cannot make says `skipped:` and why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::misbehave::{self, padded_id, put, put_bytes, put_library};
use pearlbed_tests::pearlbed::{Playground, SECRET};
use serde_json::Value;

/// How many healthy plugins lie between the faulty ones.
const HEALTHY: usize = 6;

/// Puts healthy plugins at the beginning, in the middle and at the end of the order.
fn put_healthy(folder: &Path) {
    for (number, first) in ["0", "c", "f", "m", "s", "z"].into_iter().enumerate() {
        let library = misbehave::library(&format!("healthy-{number}"), "");
        put_library(folder, &format!("{first}-healthy-{number}"), &library);
    }
}

/// The plugins of an answer by the name of their file.
fn by_name(answer: &Value) -> BTreeMap<String, Value> {
    let name = |plugin: &Value| plugin["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    answer["plugins"].as_array().unwrap().iter().map(|plugin| (name(plugin), plugin.clone())).collect()
}

fn assert_healthy(plugins: &BTreeMap<String, Value>, probed: bool) {
    for number in 0..HEALTHY {
        let id = padded_id(&format!("healthy-{number}"));
        let found = plugins.values().find(|plugin| plugin["id"] == id.as_str());
        let plugin = found.unwrap_or_else(|| panic!("healthy plugin {number} was lost"));
        assert_eq!(plugin["state"], "usable", "{plugin:#}");
        if probed {
            assert_eq!(plugin["probe"]["supported"], true, "{plugin:#}");
            assert_eq!(plugin["probe"]["pure"], true, "{plugin:#}");
        }
    }
}

/// Everything that was said of a plugin: its reason and what it did.
fn said(plugin: &Value) -> String {
    let mut words = plugin["reason"].as_str().unwrap_or_default().to_owned();
    for impurity in plugin["probe"]["impurities"].as_array().into_iter().flatten() {
        words.push_str("; ");
        words.push_str(impurity["finding"].as_str().unwrap());
    }
    words
}

/// What is expected of one fault: the code (or `usable`), and words of what is said.
fn assert_named(
    plugins: &BTreeMap<String, Value>,
    file: &str,
    code: &str,
    words: &str,
    wrong: &mut Vec<String>,
) {
    let Some(plugin) = plugins.get(file) else {
        wrong.push(format!("{file}: not in the answer"));
        return;
    };
    let state = plugin["code"].as_str().unwrap_or_else(|| plugin["state"].as_str().unwrap());
    let said = said(plugin);
    if !code.split('|').any(|code| code == state) || !words.split('|').any(|words| said.contains(words)) {
        wrong.push(format!("{file}: expected {code} and `{words}`, got {state} and `{said}`"));
    }
    if state != "usable" && plugin["fix"].as_str().unwrap_or_default().is_empty() {
        wrong.push(format!("{file}: no word on what to do"));
    }
}

fn assert_none_wrong(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} faults are not named for what they are:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(fault: &str, reason: &str) {
    println!("skipped: {fault}: {reason}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Compiles `source` as a C library to `<folder>/<name>.so`, if there is a compiler.
fn put_c(folder: &Path, name: &str, source: &str) -> Option<PathBuf> {
    let path = folder.join(format!("{name}.so"));
    let text = folder.join(format!("{name}.c"));
    std::fs::write(&text, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(&text).output();
    std::fs::remove_file(&text).unwrap();
    match built {
        Ok(output) if output.status.success() => {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            Some(path)
        }
        _ => None,
    }
}

/// The beginning of a C library that passes the look: our entry symbol, and a manifest.
fn c_plugin(id: &str, entry: &str) -> String {
    format!(
        r#"
        __attribute__((section(".pearlbed.manifest"), used)) static const char manifest[] =
            "{{\"id\":\"{id}\",\"version\":\"1.0.0\",\"plugin_api\":[1],\"certificate_versions\":[1]}}";
        {entry}
        "#
    )
}

/// What is said of one that speaks in the host's place: once for each word that it finds in memory and takes for its own, and
/// how many lie there is chance.
const ADVISED: &str =
    "wrote a message to a channel that is not its own|messages to a channel that is not its own";

/// What random code may do.
const SCRAMBLED: &str = "crashed|killed|exited|timed-out|panicked|bad-answer|broken-table|other-layout|out-of-memory|detect-failed";

/// Longer than any plugin takes on a slow and busy machine; what hangs is waited for so long.
const PATIENCE: &str = "10s";

const ENTRY: &str = pearlbed_plugin_api::abi::ENTRY_SYMBOL;
const DOOR: &str = pearlbed_plugin_api::abi::DOOR_SYMBOL;

#[test]
fn broken_files_are_named_and_cost_no_healthy_plugin() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    let good = |id: &str| misbehave::library(id, "");
    let len = good("x").bytes.len();

    put_bytes(&folder, "f01.so", b"");
    put_bytes(&folder, "f02.so", b"this is not a library\n");
    put_library(&folder, "f03", &good("f03").cut(64));
    put_library(&folder, "f04", &good("f04").cut(len / 2));
    put_library(&folder, "f05", &good("f05").cut(4096));
    put_library(&folder, "f06", &good("f06").dynamic_zeroed());
    put_library(&folder, "f07", &good("f07").dynamic_astray());
    put_library(&folder, "f08", &good("f08").code_scrambled());
    put_library(&folder, "f09", &good("f09").for_aarch64());
    put_library(&folder, "f10", &good("f10").class_32());
    put_library(&folder, "f11", &good("f11").executable());
    std::fs::copy("/bin/sh", folder.join("f11-pie.so")).unwrap();
    std::fs::create_dir(folder.join("f12.so")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", folder.join("f13.so")).unwrap();
    std::os::unix::fs::symlink("f14-b.so", folder.join("f14-a.so")).unwrap();
    std::os::unix::fs::symlink("f14-a.so", folder.join("f14-b.so")).unwrap();
    make_node(&folder.join("f15.so"), libc::S_IFIFO, 0);
    put_library(&folder, "f17", &good("f17").replaced(b"libgcc_s.so.1\0", b"libnone_.so.1\0"));
    // Neither of the two ways in has the name that it should have.
    let [root_module, door] = [ENTRY, DOOR].map(|name| (name.as_bytes(), vec![b'x'; name.len()]));
    let other_api = good("f19").replaced(root_module.0, &root_module.1).replaced(door.0, &door.1);
    put_library(&folder, "f19-other-api", &other_api);
    let api = br#"{"id":"f20","version":"9.0.0","plugin_api":[7,8],"certificate_versions":[9]}"#;
    put_library(&folder, "f20", &good("f20").with_manifest(api));
    put(&folder, "f21", "entry:decline");
    drop(std::os::unix::net::UnixListener::bind(folder.join("f22-socket.so")).unwrap());
    put_library(&folder, "f23-a", &good("f23"));
    std::fs::hard_link(folder.join("f23-a.so"), folder.join("f23-b-hard.so")).unwrap();
    std::os::unix::fs::symlink("f23-a.so", folder.join("f23-c-link.so")).unwrap();
    std::fs::copy(folder.join("f23-a.so"), folder.join("f23-d-copy.so")).unwrap();
    put_library(&folder, "f24-a", &good("f24"));
    put_library(&folder, "f24-b", &misbehave::library("f24", "detect:nothing-known"));
    put_library(&folder, "f25-cut", &good("f25").with_manifest(br#"{"id":"f25","version":"#));
    put_library(&folder, "f25-empty", &good("f25").with_manifest(b""));
    put_library(&folder, "f25-gigabyte", &good("f25").with_manifest_size(1 << 30));
    put_library(&folder, "f25-none", &good("f25").replaced(b".pearlbed.manifest\0", b".pearlbed.manifesto"));
    put_library(&folder, "f25-not-json", &good("f25").with_manifest(b"id = 'f25'"));
    put_library(&folder, "f25-not-utf8", &good("f25").with_manifest(b"{\"id\":\"\xff\xfe\"}"));
    put(&folder, "f26", "manifest:other-id");
    put_library(&folder, "f28-group", &good("f28"));
    std::fs::set_permissions(folder.join("f28-group.so"), PermissionsExt::from_mode(0o664)).unwrap();
    put_library(&folder, "f28-world", &good("f28"));
    std::fs::set_permissions(folder.join("f28-world.so"), PermissionsExt::from_mode(0o646)).unwrap();
    put(&folder, "f34", "entry:no-layout");
    put_library(&folder, "f31-big-endian", &good("f31").big_endian());
    put_library(&folder, "f31-headers-outside", &good("f31").headers_outside());
    put_library(&folder, "f31-segment-too-long", &good("f31").segment_too_long());
    let has_device = make_node(&folder.join("f22-device.so"), libc::S_IFCHR, libc::makedev(1, 5));
    let undefined = c_plugin(
        "f18",
        &format!("extern int nobody_defines_me(void); int {ENTRY}(void) {{ return nobody_defines_me(); }}"),
    );
    let has_compiler = put_c(&folder, "f18", &undefined).is_some();
    if has_compiler {
        // F19 in earnest, F32: the right symbol, and something else behind it, F33: a resolver that crashes before any
        // constructor runs.
        put_c(&folder, "f19", "int answer(void) { return 42; }");
        let nested = format!("{{\\\"x\\\":{}", "[".repeat(10_000));
        let section = "__attribute__((section(\".pearlbed.manifest\"), used))";
        put_c(
            &folder,
            "f25-nested",
            &format!(
                "{section} static const char manifest[] = \"{nested}\"; int {ENTRY}(void) {{ return 42; }}"
            ),
        );
        put_c(&folder, "f32", &c_plugin("f32", &format!("int {ENTRY}(void) {{ return 42; }}")));
        let resolver = "static void *resolve(void) { return *(void **)0; } void f(void) __attribute__((ifunc(\"resolve\")));";
        put_c(
            &folder,
            "f33",
            &c_plugin("f33", &format!("{resolver} int {ENTRY}(void) {{ f(); return 42; }}")),
        );
    } else {
        skipped("F18, F32, F33", "no C compiler");
    }

    let expected = [
        ("f01.so", "empty", "the file is empty"),
        ("f02.so", "not-a-library", "a text file"),
        ("f03.so", "truncated", "cut off"),
        ("f04.so", "truncated", "cut off"),
        ("f05.so", "truncated", "cut off"),
        ("f06.so", "broken", "damaged"),
        ("f07.so", "broken", "damaged"),
        ("f08.so", SCRAMBLED, ""),
        ("f09.so", "wrong-machine", "built for"),
        ("f10.so", "wrong-machine", "built for"),
        ("f11.so", "a-program", "a program"),
        ("f11-pie.so", "a-program", "a program"),
        ("f12.so", "not-a-file", "a folder"),
        ("f13.so", "dangling-link", "/nowhere/at/all"),
        ("f14-a.so", "link-loop", "leads back to itself"),
        ("f14-b.so", "link-loop", "leads back to itself"),
        ("f15.so", "not-a-file", "a named pipe"),
        ("f17.so", "missing-library", "libnone_.so.1"),
        ("f19-other-api.so", "not-a-plugin", "exports no provider"),
        ("f20.so", "other-api", "plugin API 7, 8, this host speaks 1"),
        ("f21.so", "declined", "declines plugin API 1"),
        ("f22-socket.so", "not-a-file", "a socket"),
        ("f23-a.so", "usable", ""),
        ("f23-b-hard.so", "same-file", "f23-a.so"),
        ("f23-c-link.so", "same-file", "f23-a.so"),
        ("f23-d-copy.so", "same-contents", "is a copy of"),
        ("f24-a.so", "usable", ""),
        ("f24-b.so", "same-id", "f24-a.so"),
        ("f25-cut.so", "manifest-not-json", "EOF"),
        ("f25-empty.so", "manifest-empty", "empty"),
        ("f25-gigabyte.so", "manifest-too-long", "1073741824"),
        ("f25-none.so", "no-manifest", "no manifest"),
        ("f25-not-json.so", "manifest-not-json", "JSON"),
        ("f25-not-utf8.so", "manifest-not-utf8", "not UTF-8"),
        ("f26.so", "other-id", "calls itself `zf26"),
        ("f28-group.so", "writable-by-others", "its group may write"),
        ("f28-world.so", "writable-by-others", "everybody may write"),
        ("f31-big-endian.so", "wrong-machine", "big-endian"),
        ("f31-headers-outside.so", "truncated", "cut off"),
        ("f31-segment-too-long.so", "truncated|broken", "the file is"),
        ("f34.so", "other-layout", "its header says nothing of how its entry is laid out"),
    ];
    let (answer, took) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    let plugins = by_name(&answer);
    let mut wrong = vec![];
    for (file, code, words) in expected {
        assert_named(&plugins, file, code, words, &mut wrong);
    }
    if has_compiler {
        assert_named(&plugins, "f18.so", "undefined-symbol", "nobody_defines_me", &mut wrong);
        assert_named(&plugins, "f19.so", "not-a-plugin", "exports no provider", &mut wrong);
        assert_named(&plugins, "f25-nested.so", "manifest-not-json", "", &mut wrong);
        assert_named(&plugins, "f32.so", "other-layout|crashed", "", &mut wrong);
        assert_named(&plugins, "f33.so", "crashed", "while it was loaded", &mut wrong);
    }
    if has_device {
        assert_named(&plugins, "f22-device.so", "not-a-file", "a device", &mut wrong);
    } else {
        skipped("F22 (device)", "only root may make a device node");
    }
    assert_none_wrong(&wrong);
    assert_healthy(&plugins, true);
    assert!(took < Duration::from_secs(30), "it took {took:?}");

    // The list knows what the files show, and runs nothing: what only running tells is usable to it.
    let (list, _) = ground.json(&["plugins", "list"]);
    let listed = by_name(&list);
    assert_healthy(&listed, false);
    for (file, code, words) in expected {
        if !matches!(code, SCRAMBLED | "missing-library" | "declined" | "other-id" | "other-layout") {
            assert_named(&listed, file, code, words, &mut wrong);
        }
    }
    assert_none_wrong(&wrong);

    // The flag lets through what only the owner and mode spoke against, and says so.
    let (relaxed, _) = ground.json(&["plugins", "list", "--relax-file-checks"]);
    let group = &by_name(&relaxed)["f28-group.so"];
    assert_eq!((&group["state"], &group["relaxed"]), (&"usable".into(), &true.into()), "{group:#}");
    ground.assert_nothing_left();
}

/// Makes a FIFO or a device node; says whether it could.
fn make_node(path: &Path, kind: libc::mode_t, device: libc::dev_t) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a string that lives.
    unsafe { libc::mknod(path.as_ptr(), kind | 0o644, device) == 0 }
}

/// The flags of a file (`FS_IOC_GETFLAGS`), where its file system has any.
fn file_flags(path: &Path) -> Option<libc::c_long> {
    let file = File::open(path).unwrap();
    let mut flags: libc::c_long = 0;
    // SAFETY: the call writes one number, which lives.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), 0x8008_6601, &raw mut flags) };
    (answer == 0).then_some(flags)
}

/// Misbehaviour: the order, the codes that are true of it, and words of what is said; once in each place.
const MISBEHAVIOUR: &[(&str, &str, &str)] = &[
    ("segv", "crashed", "SIGSEGV"),
    ("abort", "crashed", "SIGABRT"),
    ("stack-overflow", "crashed", "SIG"),
    ("fpe", "crashed", "SIGFPE"),
    ("trap", "crashed", "SIGILL"),
    ("kill", "killed", "SIGKILL"),
    ("panic", "crashed", "told to panic"),
    ("exit-0", "exited", "status 0"),
    ("_exit-0", "exited", "status 0"),
    ("exit-3", "exited", "status 3"),
    ("loop", "timed-out", "did not answer within"),
    ("sleep", "timed-out", "did not answer within"),
    ("loop-no-term", "timed-out", "did not answer within"),
    ("deadlock", "timed-out", "did not answer within"),
    ("close-all", "closed-channel", "closed descriptors"),
    ("rubbish", "usable", ""),
    ("fork", "usable", "tried to start a process"),
    ("double-fork", "usable", "tried to start a process"),
    ("alloc", "out-of-memory|killed|timed-out", ""),
    ("stop", "usable", "tried to stop its own process"),
    // On a slow machine the thread is faster than the rest of the probe.
    ("late-crash", "usable|crashed", "left a thread running|after it had answered|SIGSEGV"),
    ("exec", "usable", "tried to run a program"),
    ("execve", "usable", "tried to run a program: /bin/sh"),
    ("system", "usable", "tried to run a program"),
    ("connect", "usable", "tried to open a network connection: 127.0.0.1:9"),
    ("udp", "usable", "tried to listen on a socket: 127.0.0.1:0"),
    ("unix-socket=/run/nobody.sock", "usable", "tried to connect to a Unix socket: /run/nobody.sock"),
    ("write-file=VICTIM", "usable", "tried to write a file: VICTIM"),
    ("rename-file=VICTIM", "usable", "tried to rename a file: VICTIM"),
    ("delete-file=VICTIM", "usable", "tried to remove a file: VICTIM"),
    ("chmod-file=VICTIM", "usable", "tried to change a file: VICTIM"),
    ("signal-parent", "usable", "tried to signal a process: signal 15 to the process that started it"),
    ("ptrace-parent", "usable", "tried to trace a process: the process that started it"),
    ("io-uring", "usable", "tried to use io_uring"),
    ("forge", "usable", "wrote a message to a channel that is not its own"),
    ("signal-handlers", "usable", "changed the handling of signals"),
    ("environment", "usable", "changed the environment"),
    ("secret", "usable", ""),
    ("alarm", "usable", "left an alarm running"),
    ("self-mem", "usable", "tried to write a file: /proc/"),
    ("detach", "usable", "tried to change its confinement"),
    ("descriptors", "usable", "left no memory or descriptor to look at its process with"),
    ("raw-pair=GROUND/letterbox", "usable", "tried to open a socket: a pair, Unix raw"),
    ("other-pair", "usable", "tried to open a socket: a pair, IPv4 stream"),
    ("file-flags=VICTIM", "usable", "tried to change a file: VICTIM"),
    ("lease=VICTIM", "usable", "tried to keep others from a file: VICTIM"),
    (
        "owner-signal",
        "usable",
        "tried to signal a process: the process that started it, by a file that is ready",
    ),
    // A slow machine takes longer than the probe to fill so much.
    ("shared-memory", "out-of-memory|timed-out", ""),
    ("threads=3000", "usable", "tried to start too many threads: more than"),
    // H1: what counts for the user while it is under way.
    ("pass-files", "usable", "tried to pass open files on"),
    ("pass-many-files", "usable", "tried to pass open files on"),
    ("pass-files-to-host", "usable", "tried to pass open files on"),
    // H2: what it shares with those after it.
    ("output-impatient", "usable", "changed how its output is written"),
    ("output-narrow", "usable", "changed how its output is written"),
    ("output-packets", "usable", "changed how its output is written"),
    // H3: the processor.
    ("spin=500", "usable|timed-out", "tried to start too many threads"),
    ("spin-on=500", "timed-out", "tried to start too many threads"),
    ("churn", "timed-out", ""),
    // H4: memory that no limit counts.
    ("hoard-files", "usable", "tried to make too many files in memory"),
    ("hoard-dropped", "out-of-memory|timed-out", ""),
    ("hoard-dropped-file", "usable|out-of-memory", "tried to make too many files in memory|used up its"),
    // H9: locks on what it may only read.
    ("flock=VICTIM", "usable", "tried to keep others from a file: VICTIM"),
    ("record-lock=VICTIM", "usable", "tried to keep others from a file: VICTIM"),
    ("open-lock=VICTIM", "usable", "tried to keep others from a file: VICTIM"),
    // H10: one true attempt among four hundred.
    ("decoys", "usable", "tried to open a network connection: 192.0.2.1:25"),
    // H11: what others do with files.
    ("watch=VICTIM", "usable", "tried to watch files: VICTIM"),
    ("watch-folder=GROUND", "usable", "tried to watch files: GROUND"),
    ("watch-all", "usable", "tried to administer the system: fanotify_init"),
    // H14: who is asked next is not blamed for it.
    ("attempt-and-die", "killed", ""),
    ("attempt-and-exit", "exited", ""),
    ("attempt-and-crash", "crashed", ""),
    ("run-memory", "usable", "tried to run a program: /memfd:x"),
    ("run-memory-by-path", "usable", "tried to run a program: /proc/"),
    ("netlink", "usable", "tried to open a socket: netlink raw"),
    ("vsock", "usable", "tried to open a socket: address family 40"),
    ("crypto-socket", "usable", "tried to open a socket: address family 38"),
    ("abstract", "usable", "tried to connect to a Unix socket: @pearlbed-tests"),
    ("abstract-bind", "usable", "tried to listen on a socket: @pearlbed-tests"),
    ("sysv", "usable", "tried to use shared memory or keys: shmget"),
    ("keys", "usable", "tried to use shared memory or keys: add_key"),
    ("bpf", "usable", "tried to administer the system: bpf"),
    ("userfaultfd", "usable", "tried to administer the system: userfaultfd"),
    ("mount", "usable", "tried to administer the system: mount /mnt"),
    ("chroot", "usable", "tried to administer the system: chroot /"),
    ("setuid", "usable", "tried to administer the system: setuid"),
    ("unshare", "usable", "tried to change its confinement: unshare"),
    ("personality", "usable", "tried to administer the system: personality"),
    ("clock", "usable", "tried to administer the system: clock_settime"),
    ("parent-memory", "usable", "tried to trace a process: the process that started it"),
    ("dumpable", "usable", "tried to change its confinement: prctl operation 4"),
    ("affinity", "usable", "changed on which processors the process runs"),
    #[cfg(target_arch = "x86_64")]
    ("rounding", "usable", "changed how numbers are rounded"),
    ("timer", "usable", "left an alarm running"),
    ("handler", "usable", "changed the handling of signals"),
    ("redirect", "usable", "put other files in the place of those that it found open"),
    ("many-attempts", "usable", "tried 92 other things"),
    ("flood-attempts", "timed-out", "tried to change its confinement: setsid"),
];

/// What only an answer can do wrong.
const BAD_ANSWERS: &[(&str, &str, &str)] = &[
    ("detect:null-answer", "bad-answer|crashed", ""),
    ("detect:escapes", "bad-answer", "control characters"),
    ("detect:nul", "bad-answer", "control characters"),
    ("detect:not-utf8", "bad-answer", "not UTF-8"),
    ("detect:long", "bad-answer", "longer than"),
    ("detect:nan", "bad-answer", "hashrate of NaN"),
    ("detect:infinity", "bad-answer", "hashrate of inf"),
    ("detect:negative", "bad-answer", "hashrate of -1"),
    ("detect:boundless", "bad-answer", "1e308 H/s, which no machine has"),
    ("detect:whole-network", "bad-answer", "2e18 H/s, which no machine has"),
    ("detect:below-nothing", "bad-answer", "estimates a hashrate of -"),
    // H6: what the code says in the host's place is a code, checked, or nothing.
    ("ctor:advise=library", "missing-library", "it needs a library that is not installed: x; curl"),
    ("ctor:advise=words", "usable", ADVISED),
    ("ctor:advise=changes", "usable", ADVISED),
    ("detect:bad-status", "bad-answer", "status 77"),
    ("detect:failed", "detect-failed", "no such luck"),
    ("detect:panic-through", "crashed", "told to panic through the boundary"),
    ("entry:null-table", "declined", "declines"),
    ("entry:null-layout", "other-layout", "without saying how"),
    ("entry:null-functions", "broken-table", "is null"),
];

#[test]
fn misbehaving_plugins_are_named_and_reach_nobody() {
    let ground = Playground::new();
    let folder = ground.plugins();
    put_healthy(&folder);
    let victim = ground.victim().to_str().unwrap().to_owned();
    let fill =
        |text: &str| text.replace("VICTIM", &victim).replace("GROUND", ground.plugins().to_str().unwrap());
    // A datagram reaches whoever listens, wherever it comes from.
    let letterbox = UnixDatagram::bind(folder.join("letterbox")).unwrap();
    letterbox.set_nonblocking(true).unwrap();
    let flags_before = file_flags(&ground.victim());
    let mut expected = vec![];
    let mut number = 0;
    let mut add = |order: &str, code: &'static str, words: &str| {
        number += 1;
        let name = format!("m{number:03}");
        put(&folder, &name, &fill(order));
        expected.push((format!("{name}.so"), order.to_owned(), code, fill(words)));
    };
    for place in ["ctor", "detect"] {
        for (order, code, words) in MISBEHAVIOUR {
            // The macro's side turns a panic in `detect` into an error with its message; in a constructor nobody can.
            let code = if (place, *order) == ("detect", "panic") { "panicked" } else { code };
            add(&format!("{place}:{order}"), code, words);
        }
    }
    for (order, code, words) in BAD_ANSWERS {
        add(order, code, words);
    }

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
    let had_no_time = |file: &str| matches!(plugins[file]["code"].as_str(), Some("not-probed" | "timed-out"));
    let (late, in_time): (Vec<_>, Vec<_>) = expected.iter().partition(|(file, _, code, words)| {
        let mut wrong = vec![];
        assert_named(&plugins, file, code, words, &mut wrong);
        !wrong.is_empty() && plugins.contains_key(file) && had_no_time(file)
    });
    for few in late.chunks(3) {
        let again = tempfile::tempdir().unwrap();
        for (file, ..) in few {
            std::fs::copy(folder.join(file), again.path().join(file)).unwrap();
        }
        let (path, patience) = (again.path().to_str().unwrap(), PATIENCE);
        let asked = ["doctor", "--json", "--probe-timeout", patience, "--plugin-dir", path];
        let output = ground.command(&asked).output().unwrap();
        let answer = by_name(&serde_json::from_slice(&output.stdout).unwrap());
        for (file, order, code, words) in few {
            println!("asked again: {order}");
            assert_named(&answer, file, code, words, &mut wrong);
        }
    }
    for (file, order, code, words) in in_time {
        let before = wrong.len();
        assert_named(&plugins, file, code, words, &mut wrong);
        wrong.iter_mut().skip(before).for_each(|line| line.insert_str(0, &format!("{order}: ")));
    }
    assert_none_wrong(&wrong);
    for plugin in plugins.values() {
        assert!(!plugin["fix"].as_str().unwrap_or_default().contains("curl"), "{plugin:#}");
    }
    assert_healthy(&plugins, true);
    assert!(letterbox.recv(&mut [0; 8]).is_err(), "a datagram came through");
    assert_eq!(file_flags(&ground.victim()), flags_before, "the flags of the victim");
    // Ten of them hang; the bound is for a machine that is slow and busy.
    assert!(took < Duration::from_secs(90), "it took {took:?}");
    println!("{} misbehaving plugins in {took:?}", expected.len());
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
    put_healthy(&folder);
    let (answer, took) = ground.json(&["doctor", "--probe-timeout", PATIENCE]);
    let plugins = by_name(&answer);
    assert_healthy(&plugins, true);
    for plugin in plugins.values() {
        let reason = plugin["probe"]["reason"].as_str().unwrap_or_default();
        let of_hijacker = plugin["path"].as_str().unwrap().contains("a-hijacker");
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
    std::fs::copy(build::pearlbed(), &binary).unwrap();
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
        std::fs::copy(build::pearlbed(), &binary).unwrap();
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
    assert_named(&plugins, "f16.so", "unreadable", "you may not read it", &mut wrong);
    assert_named(&plugins, "closed", "folder-unreadable", "may not list", &mut wrong);
    if is_root() {
        assert_named(&plugins, "f28-owner.so", "wrong-owner", "belongs to user 12345", &mut wrong);
    }
    assert_none_wrong(&wrong);
    assert_healthy(&plugins, false);
    ground.assert_nothing_left();
}
