//! Doors in C: the right one is gone through, and each wrong one is named and hurts nobody.
//!
//! The libraries are compiled from `tests/fixtures/doors` with the installed header; without a C compiler nothing of this
//! can be tried, and the test says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::path::{Path, PathBuf};
use std::process::Command;

use pearlbed_tests::build;
use pearlbed_tests::misbehave::{padded_id, put};
use pearlbed_tests::pearlbed::Playground;
use serde_json::Value;

/// What random code may do.
const ANYTHING: &str = "crashed|killed|exited|timed-out|declined|broken-door|out-of-memory";

/// Each way of `door.c`, in its order: its number is its place. Codes of which one is expected, and words.
const WAYS: &[(&str, &str)] = &[
    ("usable", ""),
    ("declined", "declines plugin API 1"),
    ("broken-door", "its door lies at an odd address"),
    ("broken-door", "its door lies where nothing can be read"),
    ("broken-door", "its door lies where nothing can be read"),
    ("broken-door", "its door has no magic"),
    ("broken-door", "its door lies in memory that can be written to"),
    ("broken-door", "its door has no magic"),
    ("broken-door", "its door has 24 bytes by its own count, 32 are right"),
    ("broken-door", "its table has 72 bytes by its own count, 64 are right"),
    ("broken-door", "asked for the table of version 1, its door leads to version 2"),
    ("broken-door", "its table is null"),
    ("broken-door", "its table lies at an odd address"),
    ("broken-door", "its table lies where nothing can be read"),
    ("broken-door", "its table lies in memory that can be written to"),
    ("broken-door", "`detect` of its table is null"),
    ("broken-door", "`detect` of its table is no function of that library"),
    ("broken-door", "`detect` of its table is no function of that library"),
    ("broken-door", "`detect` of its table is no function of that library"),
    ("broken-door", "its table changed after it was read|no function of that library"),
    ("broken-door", "it answers another door each time"),
    (ANYTHING, ""),
    ("crashed", "SIGSEGV|stack overflow"),
    ("timed-out", "did not answer within"),
    ("exited", "status 7"),
    ("other-id", "calls itself `somebody-else`"),
    ("crashed", "SIGSEGV"),
];

/// Compiles `source` of the fixtures to `<folder>/<name>.so`.
fn compile(compiler: &str, flags: &[&str], source: &str, folder: &Path, name: &str) -> Option<PathBuf> {
    let path = folder.join(format!("{name}.so"));
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wno-infinite-recursion", "-I"])
        .arg(build::workspace().join("include"))
        .args(flags)
        .arg("-o")
        .arg(&path)
        .arg(build::workspace().join("tests/fixtures/doors").join(source))
        .output()
        .ok()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    Some(path)
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(what: &str, reason: &str) {
    println!("skipped: {what}: {reason}");
}

fn plugin<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let plugins = answer["plugins"].as_array().unwrap();
    let file = format!("/{name}.so");
    let found = plugins.iter().find(|plugin| plugin["path"].as_str().unwrap().ends_with(&file));
    found.unwrap_or_else(|| panic!("{name} is not in the answer"))
}

#[test]
fn the_right_door_is_gone_through_and_every_wrong_one_is_named() {
    let ground = Playground::new();
    let folder = ground.plugins();
    for (way, _) in WAYS.iter().enumerate() {
        let how = format!("-DHOW={way}");
        if compile("cc", &["-std=gnu99", &how], "door.c", &folder, &format!("door-{way:02}")).is_none() {
            return skipped("doors in C", "no C compiler");
        }
    }
    let throws = compile("c++", &["-std=c++17"], "throws.cpp", &folder, "throws").is_some();
    // A door that is no function, one to a table that the linker was told to leave writable, and both entries at once.
    compile("cc", &["-std=gnu99", "-DDATA"], "door.c", &folder, "data").unwrap();
    let norelro = ["-std=gnu99", "-DHOW=28", "-Wl,-z,norelro"];
    compile("cc", &norelro, "door.c", &folder, "norelro").unwrap();
    put(&folder, "both-same", "door:same");
    put(&folder, "both-other", "door:other");
    put(&folder, "healthy", "");

    let (answer, _) = ground.json(&["doctor", "--probe-timeout", "10s"]);
    let mut wrong = vec![];
    let mut expect = |name: &str, codes: &str, words: &str| {
        let plugin = plugin(&answer, name);
        let state = plugin["code"].as_str().unwrap_or_else(|| plugin["state"].as_str().unwrap());
        let said = plugin["reason"].as_str().unwrap_or_default();
        if !codes.split('|').any(|code| code == state) || !words.split('|').any(|words| said.contains(words))
        {
            wrong.push(format!("{name}: expected {codes} and `{words}`, got {state} and `{said}`"));
        }
    };
    for (way, (codes, words)) in WAYS.iter().enumerate() {
        expect(&format!("door-{way:02}"), codes, words);
    }
    if throws {
        expect("throws", "crashed", "Rust cannot catch foreign exceptions");
    } else {
        skipped("a door that throws", "no C++ compiler");
    }
    expect("norelro", "broken-door", "lies in memory that can be written to");
    expect("data", "broken-door|not-a-plugin", "`pearlbed_door_open` is no function of that library");
    expect("both-same", "usable", "");
    expect("both-other", "two-tables", "lead to different tables");
    expect("healthy", "usable", "");
    assert!(wrong.is_empty(), "{} doors are not named for what they are:\n{}", wrong.len(), wrong.join("\n"));

    let right = plugin(&answer, "door-00");
    assert_eq!(right["id"], "door-0", "{right:#}");
    assert_eq!(right["probe"]["reason"], "through the door", "{right:#}");
    assert_eq!(plugin(&answer, "healthy")["id"], padded_id("healthy").as_str());
    let (inspection, _) = ground.json(&["plugins", "inspect", "door-0"]);
    let checks = inspection["plugin"]["checks"].as_array().unwrap();
    let entry = checks.iter().find(|check| check["id"] == "entry").unwrap();
    assert_eq!(entry["finding"], "exports pearlbed_door_open");
    ground.assert_nothing_left();
}
