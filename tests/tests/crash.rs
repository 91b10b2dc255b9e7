//! What whoever writes a plugin is told of its faults: where it crashed, what it panicked with, which proofs were refused.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says where; what could not be tested is said"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use object::{Object, ObjectSection, SectionKind};
use pearlbed_tests::corpus::skipped;
use pearlbed_tests::group::Group;
use pearlbed_tests::misbehave::{padded_id, put};
use pearlbed_tests::pearlbed::Playground;
use pearlbed_tests::session::Bed;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// The offset after `<library>+0x` in `text`.
fn offset(text: &str, library: &str) -> u64 {
    let (_, rest) =
        text.split_once(&format!("{library}+0x")).unwrap_or_else(|| panic!("no place in {library}: {text}"));
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap();
    u64::from_str_radix(digits, 16).unwrap()
}

/// Whether `offset` is that of an instruction of the library in `file`.
fn is_code(file: &Path, offset: u64) -> bool {
    let bytes = std::fs::read(file).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    let mut code = object.sections().filter(|section| section.kind() == SectionKind::Text);
    code.any(|section| (section.address()..section.address() + section.size()).contains(&offset))
}

#[test]
fn a_crash_in_a_probe_names_its_signal_library_and_offset() {
    let ground = Playground::new();
    let reason = |name: &str, order: &str| {
        let file = put(&ground.plugins(), name, order);
        let (answer, _) =
            ground.json(&["plugins", "inspect", file.to_str().unwrap(), "--probe-timeout", "20s"]);
        let reason = answer["plugin"]["reason"].as_str().unwrap_or_default().to_owned();
        // What the host's own handler wrote is no output of the plugin's.
        assert!(!answer.to_string().contains("pearlbed-crash"), "{answer:#}");
        let place = is_code(&file, offset(&reason, &format!("{name}.so")));
        assert!(place, "{reason}");
        reason
    };
    let said = reason("fault", "detect:segv");
    assert!(said.contains("SIGSEGV (invalid memory access) in fault.so+0x"), "{said}");
    assert!(said.contains("at address 0x0"), "{said}");
    let said = reason("early", "ctor:segv");
    assert!(
        said.contains("it crashed while it was loaded: SIGSEGV") && said.contains("early.so+0x"),
        "{said}"
    );
    // Where the C library ends the process, the nearest caller is told.
    let said = reason("aborts", "detect:abort");
    assert!(said.contains("SIGABRT (abort)") && said.contains("called near aborts.so+0x"), "{said}");
    let said = reason("traps", "detect:trap");
    assert!(said.contains("traps.so+0x"), "{said}");
    ground.assert_nothing_left();
}

#[test]
fn a_panic_brings_its_message_and_where_it_is_asked_for_a_backtrace() {
    let ground = Playground::new();
    let file = put(&ground.plugins(), "panics", "detect:panic");
    let look = || {
        let (answer, _) =
            ground.json(&["plugins", "inspect", file.to_str().unwrap(), "--probe-timeout", "60s"]);
        let plugin = &answer["plugin"];
        (plugin["reason"].to_string(), plugin["probe"]["stderr"]["text"].to_string())
    };
    let (reason, printed) = look();
    assert!(reason.contains("told to panic"), "{reason}");
    assert!(!printed.contains("stack backtrace"), "{printed}");
    std::fs::write(ground.home().join("config.toml"), "[plugins]\ndebug = true\nprobe_timeout = \"30s\"\n")
        .unwrap();
    let (reason, printed) = look();
    assert!(reason.contains("told to panic"), "{reason}");
    assert!(printed.contains("stack backtrace"), "{printed}");
    let said = String::from_utf8(ground.run(&["plugins", "verify", file.to_str().unwrap()]).stdout).unwrap();
    assert!(said.contains("it panicked, and printed:") && said.contains("stack backtrace"), "{said}");
    let bed = Bed::with("odd = \"panic-beside\"", "[plugins]\ndebug = true\nprobe_timeout = \"30s\"");
    let verify = ["plugins", "verify", "odd-miner", "--json", "--plugin-dir", bed.plugins()];
    let report: Value = serde_json::from_str(&bed.run(&verify).stdout).unwrap();
    let panics = report["panics"].as_array().unwrap();
    assert!(panics.iter().any(|text| text.as_str().unwrap().contains("stack backtrace")), "{report:#}");
    let p26 = report["obligations"].as_array().unwrap().iter().find(|one| one["id"] == "P26").unwrap();
    assert_eq!(p26["state"], "fail", "{p26:#}");
}

/// Attaches gdb to the process as the guide says, and has it read the library's first bytes and name one of its symbols.
fn debugger(pid: &str, file: &Path) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let first = maps.lines().find(|line| line.contains("odd_miner")).unwrap_or_else(|| panic!("{maps}"));
    let base = first.split('-').next().unwrap();
    let bytes = std::fs::read(file).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    let export = object.exports().unwrap().into_iter().next().unwrap();
    let name = String::from_utf8_lossy(export.name()).into_owned();
    let at = u64::from_str_radix(base, 16).unwrap() + export.address();
    let load = format!("add-symbol-file {} -o 0x{base}", file.display());
    let (bytes, symbol) = (format!("x/4xb 0x{base}"), format!("info symbol {at:#x}"));
    let mut gdb = Command::new("timeout");
    gdb.args(["300", "gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off"]);
    gdb.args(["-iex", "set sysroot /nowhere", "-p", pid]);
    for order in [&load, &bytes, &symbol] {
        gdb.args(["-ex", order]);
    }
    let output = gdb.output().unwrap();
    let [said, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    if output.status.code() == Some(127) {
        println!("skipped: a debugger on the confined process: no gdb");
    } else if err.contains("Operation not permitted") {
        println!("skipped: a debugger on the confined process: this machine forbids ptrace");
    } else {
        assert!(said.contains("0x7f\t0x45\t0x4c\t0x46") && said.contains(&name), "{name}: {said}{err}");
    }
}

#[test]
fn a_crash_in_a_session_is_logged_with_its_place_and_a_debugger_sees_the_confined_process() {
    let bed = Bed::new("odd = \"none\"");
    assert!(matches!(bed.start().code, 0 | 4), "{}", bed.log());
    let status = bed.wait_for(PATIENCE, |status| status["provider_pid"].as_u64().is_some());
    let pid = status["provider_pid"].as_u64().unwrap().to_string();
    debugger(&pid, &Path::new(bed.plugins()).join("odd_miner.so"));
    bed.run(&["stop"]);

    bed.config("odd = \"crash\"", "");
    bed.start();
    let ended = |status: &Value| status["restarts"].as_u64() >= Some(1) || status["state"] != "RUNNING";
    bed.wait_for(PATIENCE, |status| ended(status) && bed.log().contains("odd_miner.so+0x"));
    let log = bed.log();
    let place = offset(&log, "odd_miner.so");
    assert!(is_code(&Path::new(bed.plugins()).join("odd_miner.so"), place), "{log}");
    assert!(!log.contains("pearlbed-crash"), "{log}");
}

#[test]
fn proofs_that_were_refused_are_kept_and_both_verifies_say_what_is_wrong_with_them() {
    let bed = Bed::new("odd = \"corrupt\"");
    assert!(matches!(bed.start().code, 0 | 4), "{}", bed.log());
    bed.wait_for(PATIENCE, |status| status["proofs"]["refused"].as_u64() >= Some(2));
    let log = bed.log();
    bed.run(&["stop"]);
    let folder = bed.home().join("runtime/refused");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!((1..=8).contains(&files.len()), "{files:?}");
    assert!(log.contains("it is kept: `pearlbed verify "), "{log}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&files[0]).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "for its owner alone");
    // By itself, with the job that it brings along.
    let answer = bed.run(&["verify", files[0].to_str().unwrap(), "--json"]);
    let verdict: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!((answer.code, &verdict["valid"]), (1, &Value::Bool(false)), "{verdict:#}");
    let stage = verdict["failure"]["stage"].as_str().unwrap().to_owned();
    // Where its plugin is looked at, whatever that does today.
    let plugins = bed.plugins();
    let answer = bed.run(&[
        "plugins",
        "verify",
        "odd-miner",
        "--json",
        "--extra",
        "odd=refuse",
        "--plugin-dir",
        plugins,
    ]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let refused = report["refused"].as_array().unwrap();
    assert_eq!(refused.len(), files.len(), "{report:#}");
    let one = refused.iter().find(|one| one["path"] == files[0].to_str().unwrap()).unwrap();
    assert_eq!(one["stage"], stage.as_str(), "{one:#}");
    assert!(one["cause"].is_string() || one["cause"].is_null(), "{one:#}");
    let text = bed.run(&["plugins", "verify", "odd-miner", "--extra", "odd=refuse", "--plugin-dir", plugins]);
    assert!(text.stdout.contains("of its:") && text.stdout.contains("pearlbed verify "), "{}", text.stdout);
    // Another provider's are none of its.
    let other = put(Path::new(plugins), "other", "");
    let answer = bed.run(&["plugins", "verify", other.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(
        (report["id"].as_str().unwrap(), &report["refused"]),
        (padded_id("other").as_str(), &Value::Array(vec![]))
    );
}

/// The kernel ends the provider, and says so to nobody but the group.
#[test]
fn of_a_session_whose_control_group_has_too_little_memory_the_limit_is_the_cause_and_the_tries_are_counted() {
    let group = match Group::new("little", &[("memory", "memory.limit_in_bytes", "38000000")]) {
        Ok(group) => group,
        Err(err) => return skipped("a limit of memory", &err),
    };
    let ground = Playground::new();
    let plugins = ground.plugins();
    std::fs::copy(pearlbed_tests::build::plugin("cpu-pearl"), plugins.join("libcpu_pearl.so")).unwrap();
    let run = |args: &[&str]| {
        let mut command = ground.command(args);
        group.take(&mut command);
        let output = command.output().unwrap();
        let shown = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), shown.concat().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let (_, doctor) = run(&["doctor", "--plugin-dir", plugins.to_str().unwrap()]);
    assert!(doctor.contains("but this container may use 36.2 MiB of memory"), "{doctor}");
    let (code, shown) = run(&["start", "--devnet", "--plugin-dir", plugins.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{shown}");
    let cause = "the memory of its control group (36.2 MiB) was used up";
    assert!(shown.contains("failed 3 times in a row") && shown.contains(cause), "{shown}");
    let log = std::fs::read_to_string(ground.home().join("logs/mining.log")).unwrap();
    for failure in [1, 2] {
        assert!(log.contains(&format!("(failure {failure} in a row; given up at 3)")), "{log}");
    }
    assert_eq!(log.matches(cause).count(), 4, "{log}");
    assert!(!log.contains("SIGKILL"), "{log}");
    let (_, status) = run(&["status"]);
    assert!(status.starts_with("FAILED"), "{status}");
}
