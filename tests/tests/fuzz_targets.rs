//! The fuzz targets, compiled with everything else and run a little: none of them can rot unseen on a machine without a
//! fuzzer. Here `libfuzzer_sys` is this test, whose macro makes a function of a target.
//!
//! The inputs are the targets' seeds, mutated by dice that fall the same way each time. Hours of it, with coverage, are
//! `fuzz/run`.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![allow(clippy::duplicate_mod, reason = "each target is a program of its own, and some share a file")]

extern crate self as libfuzzer_sys;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use pearlbed_tests::pool_world::Dice;
use serde_json::Value;

/// What a target is here: a function of the bytes that a fuzzer would give it.
#[macro_export]
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:expr) => {
        /// The target.
        pub fn run($bytes: &[u8]) {
            $body
        }
    };
    (|$text:ident: &str| $body:expr) => {
        /// The target, for as many of the bytes as are text.
        pub fn run(bytes: &[u8]) {
            let $text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            $body
        }
    };
}

/// Makes a module of each target, and a table of all.
macro_rules! targets {
    ($($name:ident $file:literal,)*) => {
        $(
            // What a program says of itself means nothing in a module, and the macro is known without its import.
            #[allow(unused_attributes, unused_imports)]
            #[path = $file]
            mod $name;
        )*

        /// Every target by its name.
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::run),)*];
    };
}

targets! {
    address "../../fuzz/fuzz_targets/address.rs",
    committed_proof "../../fuzz/fuzz_targets/committed_proof.rs",
    manifest "../../fuzz/fuzz_targets/manifest.rs",
    pattern "../../fuzz/fuzz_targets/pattern.rs",
    plugin_file "../../fuzz/fuzz_targets/plugin_file.rs",
    pool_job "../../fuzz/fuzz_targets/pool_job.rs",
    pool_line "../../fuzz/fuzz_targets/pool_line.rs",
    pool_reply "../../fuzz/fuzz_targets/pool_reply.rs",
    port_desk "../../fuzz/fuzz_targets/port_desk.rs",
    pow_c "../../fuzz/fuzz_targets/pow_c.rs",
    proof_reader "../../fuzz/fuzz_targets/proof_reader.rs",
    verifier "../../fuzz/fuzz_targets/verifier.rs",
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

/// A proof of the protocol's vectors.
fn proof() -> Vec<u8> {
    let vectors: Value = serde_json::from_str(&read("pow/tests/vectors/09_proofs_valid.json")).unwrap();
    let text = vectors["proofs"][0]["proof_base64"].as_str().unwrap();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// What a target's mutations begin with, and how many there are: milliseconds each, for some.
fn seeds(target: &str) -> (Vec<Vec<u8>>, u32) {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let replies = || -> Vec<String> {
        let vectors: Value =
            serde_json::from_str(&read("host/tests/fixtures/pool/pool-vectors.json")).unwrap();
        let lines = vectors["replies"].as_array().unwrap().iter();
        lines.map(|row| row["line"].as_str().unwrap().to_owned()).collect()
    };
    let job = || -> String {
        let text = read("docs/pool-protocol.md");
        text.lines()
            .find(|line| line.contains("\"mining.notify\",\"params\":{\"job_id\""))
            .unwrap()
            .to_owned()
    };
    match target {
        "pool_line" => {
            (replies().into_iter().chain([job()]).map(|line| bytes(&(line + "\n"))).collect(), 4000)
        }
        "pool_job" => {
            let line = job();
            let params = &line[line.find("{\"job_id").unwrap()..line.len() - 1];
            (vec![bytes(params)], 4000)
        }
        "pool_reply" => {
            let members = |line: String| Some(bytes(line.split_once(',')?.1.strip_suffix('}')?));
            (replies().into_iter().filter_map(members).collect(), 4000)
        }
        "manifest" => (
            vec![bytes(
                r#"{"schema":1,"id":"a","version":"1","plugin_api":[1],"certificate_versions":[1],"permissions":["read:/a"]}"#,
            )],
            2000,
        ),
        "plugin_file" => {
            (vec![std::fs::read(workspace().join("host/tests/fixtures/macos/tiny.dylib")).unwrap()], 300)
        }
        "proof_reader" => (vec![proof()], 200),
        "verifier" => (vec![[&[0], &proof()[..]].concat()], 40),
        "address" => (vec![bytes("prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k")], 2000),
        "committed_proof" => (vec![vec![7; 64]], 40),
        "pow_c" => (vec![vec![0; 4096], [&[1, 0, 128, 0, 0, 3, 0, 9][..], &[1; 4096]].concat()], 200),
        "port_desk" => {
            // Two come in, one of each language; a job for each, and what they make of it.
            let rpc = b"\xff\x08{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"getMiningInfo\"}\n";
            let pool = b"\xff\x10{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"a.b\",\"x\"]}\n";
            let share = b"{\"id\":2,\"method\":\"mining.submit\",\"params\":{\"job_id\":\"2\",\"plain_proof\":\"AAAA\"}}\n";
            let after = b"\xff\x0b\xff\x13\xff\x0c\xff\x02\xff\x15\xff\x09";
            (vec![[&rpc[..], pool, after].concat(), [&pool[..], after, b"\xff\x0e", share].concat()], 4000)
        }
        _ => (vec![vec![0; 64]], 2000),
    }
}

/// One input like `seed`: bytes changed, dropped, repeated, put in, or words that readers stumble over.
fn mutated(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    const WORDS: [&[u8]; 10] = [
        b"\\u0000",
        b"\xff\xfe",
        b"[[[[[[[[",
        b"1e400",
        b"-1",
        b"\"\"",
        b"null",
        b"\x1b[2J",
        b"\n",
        b"99999999999999999999",
    ];
    let mut bytes = seed.to_vec();
    let mut below = |limit: usize| (dice.unit() * limit as f64) as usize;
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        let end = (at + 1 + below(16)).min(bytes.len());
        match below(6) {
            0 if at < bytes.len() => bytes[at] = below(256) as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let again = bytes[at.min(end)..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => drop(bytes.splice(at..at, [below(256) as u8])),
            _ => drop(bytes.splice(at..at, WORDS[below(WORDS.len())].iter().copied())),
        }
    }
    bytes
}

#[test]
fn every_target_holds_on_its_seeds_and_on_thousands_like_them() {
    for (number, (name, target)) in TARGETS.iter().enumerate() {
        let began = std::time::Instant::now();
        let (seeds, count) = seeds(name);
        target(&[]);
        for seed in &seeds {
            target(seed);
        }
        let mut dice = Dice::new(number as u64 + 1);
        for round in 0..count {
            let input = mutated(&seeds[round as usize % seeds.len()], &mut dice);
            let held = std::panic::catch_unwind(|| target(&input));
            assert!(held.is_ok(), "{name} does not hold for {:?}", String::from_utf8_lossy(&input));
        }
        println!("{name}: {count} inputs in {:?}", began.elapsed());
    }
    // Where `plugin_file` puts its input.
    for folder in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        let _ = std::fs::remove_file(folder.join(format!("pearlbed-fuzz-{}.so", std::process::id())));
    }
}

#[test]
fn every_target_of_the_folder_is_here_and_is_a_program_of_the_fuzzers() {
    let folder = workspace().join("fuzz/fuzz_targets");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let here: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, here, "add the target to `targets!` above, and a seed for it");
    let programs = read("fuzz/Cargo.toml");
    for name in &files {
        assert!(
            programs.contains(&format!("fuzz_targets/{name}.rs")),
            "{name} is no program of fuzz/Cargo.toml"
        );
    }
}
