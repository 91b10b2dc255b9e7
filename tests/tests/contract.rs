//! `plugins verify`: what keeps the contract passes, and each way to break it is found, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use pearlbed_tests::build;
use pearlbed_tests::documents::{document, rows, sources};
use pearlbed_tests::misbehave;
use pearlbed_tests::pearlbed::Playground;
use pearlbed_tests::surgery::Library;
use serde_json::Value;

/// Held by whoever has plugins mine: each takes all processors, and what is tried has its time.
static MACHINE: Mutex<()> = Mutex::new(());

/// The answer of `plugins verify FILE --json`, and its exit status. A busy machine has time to load the file, unless being
/// slow at it is the point.
fn verify(ground: &Playground, file: &Path, arguments: &[&str]) -> (Value, i32) {
    let mut all = vec!["plugins", "verify", file.to_str().unwrap(), "--json"];
    all.extend(arguments);
    let slow = file.file_name().unwrap() == "detect-sleep.so";
    let mut command = ground.command(&all);
    let output =
        command.env("PEARLBED_PLUGINS_PROBE_TIMEOUT", if slow { "2s" } else { "30s" }).output().unwrap();
    let answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|err| panic!("pearlbed {all:?}: {err}: {output:?}"));
    (answer, output.status.code().unwrap())
}

/// The ids of the obligations in `state`, with what was seen.
fn ids(answer: &Value, state: &str) -> BTreeMap<String, String> {
    let obligations = answer["obligations"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    obligations
        .iter()
        .filter(|verdict| verdict["state"] == state)
        .map(|verdict| (text(&verdict["id"]), text(&verdict["finding"])))
        .collect()
}

/// The provider `odd-miner` with one certificate version, so that one trial tells, and these permissions.
fn odd_miner(folder: &Path, name: &str, permissions: &str) -> PathBuf {
    let manifest = format!(
        r#"{{"id":"odd-miner","version":"1.0.0","plugin_api":[1],"certificate_versions":[3],"permissions":[{permissions}]}}"#
    );
    let library = Library::new(std::fs::read(build::plugin("odd-miner")).unwrap());
    misbehave::put_library(folder, name, &library.with_manifest(manifest.as_bytes()))
}

/// What breaks exactly one obligation: the id, and the order that `odd-miner` is given.
const ODD: &[(&str, &str)] = &[
    ("P9", "refuse"),
    ("P10", "idle"),
    ("P11", "misses"),
    ("P12", "corrupt"),
    ("P13", "boast"),
    ("P14", "stubborn"),
    ("P15", "twice"),
    ("P16", "ignore-stop"),
    ("P17", "leave-thread"),
    ("P18", "once"),
    ("P19", "stop-fails"),
    ("P20", "says-running"),
    ("P21", "bad-stats"),
    ("P22", "any-version"),
    ("P23", "panic-on-settings"),
    ("P25", "crash"),
    ("P26", "panic-beside"),
    ("P27", "reach-out"),
    ("P28", "flood-print"),
    ("P29", "flood-log"),
    ("P30", "keep-host"),
    ("P31", "no-job"),
    ("P32", "flood-progress"),
    ("P32", "quiet"),
];

/// The same for what shows before anything is mined, as orders of `misbehave`.
const BEFORE: &[(&str, &str)] = &[
    ("P2", "manifest:other-version"),
    ("P3", "entry:null-functions"),
    ("P4", "detect:nan"),
    ("P5", "no:connect"),
    ("P6", "detect:sleep"),
    ("P7", "no:fickle"),
    ("P8", "detect:segv"),
];

#[test]
fn each_obligation_has_a_plugin_that_breaks_it_and_nothing_else() {
    let _alone = MACHINE.lock().unwrap_or_else(|failed| failed.into_inner());
    let ground = Playground::new();
    let folder = ground.plugins();
    let mut cases: Vec<(&str, PathBuf, Vec<String>)> = vec![];
    let cut = misbehave::library("cut", "").cut(5000);
    cases.push(("P1", misbehave::put_library(&folder, "cut", &cut), vec![]));
    for (id, order) in BEFORE {
        let name = order.replace(':', "-");
        cases.push((id, misbehave::put(&folder, &name, order), vec![]));
    }
    let miner = odd_miner(&folder, "odd", "");
    for (id, order) in ODD {
        cases.push((id, miner.clone(), vec!["--extra".to_owned(), format!("odd={order}")]));
    }
    let small = odd_miner(&folder, "odd-small", "\"memory-hint:268435456\"");
    cases.push(("P24", small, vec!["--extra".to_owned(), "odd=hoard".to_owned()]));

    // Every obligation that there is has a case.
    let (healthy, status) = verify(&ground, &miner, &[]);
    assert_eq!(ids(&healthy, "fail"), BTreeMap::new(), "the honest one");
    assert_eq!((status, ids(&healthy, "untried")), (0, BTreeMap::new()), "{healthy:#}");
    assert_eq!(healthy["panics"], Value::Array(vec![]), "only where they are asked for");
    let all: Vec<String> = ids(&healthy, "pass").into_keys().collect();
    assert_eq!(all.len(), 32);
    for id in all {
        assert!(cases.iter().any(|(case, ..)| *case == id), "nothing breaks {id}");
    }

    let wrong = Mutex::new(vec![]);
    let queue = Mutex::new(cases);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop();
                    let Some((id, file, arguments)) = next else { break };
                    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    let (answer, status) = verify(&ground, &file, &arguments);
                    let broken = ids(&answer, "fail");
                    if broken.keys().collect::<Vec<_>>() != [id] || status != 1 {
                        let name = file.file_name().unwrap().to_string_lossy().into_owned();
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("{id} ({name} {arguments:?}): {broken:?}, status {status}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    ground.assert_nothing_left();
}

#[test]
fn with_time_it_is_seen_how_little_memory_it_mines_with() {
    let _alone = MACHINE.lock().unwrap_or_else(|failed| failed.into_inner());
    let ground = Playground::new();
    let miner = odd_miner(&ground.plugins(), "odd", "\"memory-hint:536870912\"");
    let (answer, status) = verify(&ground, &miner, &["--full"]);
    assert_eq!((ids(&answer, "fail"), status), (BTreeMap::new(), 0));
    let tried: Vec<_> =
        answer["memory"].as_array().unwrap().iter().map(|less| less["bytes"].as_u64()).collect();
    assert_eq!(tried, [Some(512 << 20), Some(256 << 20), Some(128 << 20)], "{answer:#}");
    assert_eq!(answer["memory"][0]["mined"], true, "{answer:#}");
    assert!(answer["memory"][2]["finding"].as_str().unwrap().len() > 3, "{answer:#}");
}

#[test]
fn a_person_reads_what_is_broken_why_and_what_to_do() {
    let ground = Playground::new();
    let miner = odd_miner(&ground.plugins(), "odd", "\"network:*:*\"");
    let file = miner.to_str().unwrap();
    let output = ground.run(&["plugins", "verify", file, "--extra", "odd=refuse"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "broken   P9   `start` answers OK within ten seconds",
        "seen: it answered: \"it was told to refuse\"",
        "fix: start threads and return",
        "untried  P10  to P18: it did not come so far",
        "ok       P1 ",
        "note: it was tried without network:*:*",
        "odd-miner 1.0.0: ",
        "1 broken",
    ] {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    let missing = ground.run(&["plugins", "verify", "/nowhere/x.so", "--json"]);
    let answer: Value = serde_json::from_slice(&missing.stdout).unwrap();
    assert!(ids(&answer, "fail")["P1"].contains("there is no such file"), "{answer:#}");
}

#[test]
fn what_is_shipped_and_what_was_built_on_the_first_day_keep_the_contract() {
    let _alone = MACHINE.lock().unwrap_or_else(|failed| failed.into_inner());
    let ground = Playground::new();
    let mut files = vec![frozen_miner()];
    files.extend(["cpu-pearl", "minimal-provider", "mining-provider"].map(build::plugin));
    files.extend(c_example(&ground.plugins()));
    files.extend(cpp_example(&ground.plugins()));
    files.extend(zig_example(&ground.plugins()));
    for file in files {
        let (answer, status) = verify(&ground, &file, &[]);
        let broken = ids(&answer, "fail");
        assert!(broken.is_empty() && status == 0, "{}: {broken:?}", file.display());
        let untried = ids(&answer, "untried");
        assert!(untried.is_empty(), "{}: {untried:?}", file.display());
    }
}

#[test]
fn the_provider_for_graphics_cards_keeps_the_contract_on_a_software_device() {
    let drivers = std::fs::read_dir("/usr/share/vulkan/icd.d").into_iter().flatten().flatten();
    if !drivers.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("lvp_icd")) {
        assert!(std::env::var_os("PEARLBED_NEED_SOFTWARE_GPU").is_none(), "no software Vulkan device here");
        return skipped("the provider for graphics cards", "no software Vulkan device (mesa-vulkan-drivers)");
    }
    let _alone = MACHINE.lock().unwrap_or_else(|failed| failed.into_inner());
    let ground = Playground::new();
    // A product that a software device computes in a moment.
    let settings = "[mining.extra]\nsoftware = true\ndevices = [\"software\"]\n\
                    m = 128\nn = 512\nk = 2048\n";
    std::fs::write(ground.home().join("config.toml"), settings).unwrap();
    let (answer, status) = verify(&ground, &build::plugin("gpu-pearl"), &[]);
    assert_eq!((ids(&answer, "fail"), status), (BTreeMap::new(), 0), "{answer:#}");
    assert_eq!(ids(&answer, "untried"), BTreeMap::new());
}

/// A miner that is built against the contract as it was published.
fn frozen_miner() -> PathBuf {
    let source = build::workspace().join("tests/fixtures/.frozen/miner");
    let target = build::target().join("frozen");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(source.join("Cargo.toml")).arg("--target-dir").arg(&target);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    assert!(cargo.status().unwrap().success(), "the frozen miner does not build");
    target.join("debug").join(format!("libfrozen_miner{}", std::env::consts::DLL_SUFFIX))
}

/// The example in C, compiled as its Makefile does.
fn c_example(folder: &Path) -> Option<PathBuf> {
    let root = build::workspace();
    let pow = build::pow_c();
    let out = folder.join("libminimal_provider_c.so");
    let made = Command::new("make")
        .current_dir(root.join("examples/minimal-provider-c"))
        .arg("-B")
        .arg(format!("POW_CFLAGS=-I{0}/include -I{0}/pow/c/include", root.display()))
        .arg(format!("POW_LIBS={} -lpthread -ldl -lm", pow.display()))
        .args(["CFLAGS=-O2 -Werror"])
        .arg(format!("OUT={}", out.display()))
        .output();
    let Ok(made) = made else {
        skipped("the example in C", "no make or C compiler");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    Some(out)
}

/// The example in C++17, compiled as its header says.
fn cpp_example(folder: &Path) -> Option<PathBuf> {
    let root = build::workspace();
    let out = folder.join("libminimal_provider_cpp.so");
    let mut compiler = Command::new("c++");
    compiler.args([
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-fPIC",
        "-fvisibility=hidden",
    ]);
    compiler.args(["-shared", "-Wl,--exclude-libs,ALL"]);
    for headers in ["include", "pow/c/include"] {
        compiler.arg("-I").arg(root.join(headers));
    }
    compiler
        .arg("-o")
        .arg(&out)
        .arg(root.join("examples/minimal-provider-c/provider.cpp"))
        .arg(build::pow_c());
    let Ok(made) = compiler.args(["-lpthread", "-ldl", "-lm"]).output() else {
        skipped("the example in C++", "no C++ compiler");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    Some(out)
}

/// The example in Zig, compiled as its header says.
fn zig_example(folder: &Path) -> Option<PathBuf> {
    let root = build::workspace();
    let work = folder.join("zig");
    // A language that is not finished: another version of it may not know these words.
    let script = "set -e
        if command -v zig > /dev/null; then zig=zig; else zig='python3 -m ziglang'; fi
        case $($zig version 2> /dev/null) in 0.15.*) ;; *) exit 77 ;; esac
        printf '#include <pearlbed.h>\\n#include <pearl_pow.h>\\n#include <stdio.h>\\n' > both.h
        $zig translate-c -lc -I\"$1/include\" -I\"$1/pow/c/include\" both.h > c.zig
        cp \"$1/examples/minimal-provider-c/provider.zig\" .
        $zig build-lib -dynamic -O ReleaseFast -lc --name minimal_provider_zig provider.zig \"$2\"";
    std::fs::create_dir(&work).unwrap();
    let mut sh = Command::new("sh");
    sh.args(["-c", script, "sh"]).arg(root).arg(build::pow_c()).current_dir(&work);
    // What it keeps between two runs goes with the folder.
    for cache in ["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"] {
        sh.env(cache, work.join("cache"));
    }
    let made = sh.output().unwrap();
    if made.status.code() == Some(77) {
        skipped("the example in Zig", "no zig 0.15, and no ziglang of that version for python3");
        return None;
    }
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let out = work.join("libminimal_provider_zig.so");
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    Some(out)
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(what: &str, reason: &str) {
    println!("skipped: {what}: {reason}");
}

#[test]
fn every_test_that_the_document_names_is_there() {
    let (document, sources) = (document("contract.md"), sources());
    let rows = rows(&document, |first| first.starts_with('H'));
    assert!(rows.len() >= 10, "{rows:?}");
    for cells in rows {
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
        let test = cells[3].split('`').rfind(|part| part.contains('_')).unwrap();
        assert!(sources.contains(&format!("fn {test}(")), "no test {test}");
    }
}
