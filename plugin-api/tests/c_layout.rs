//! The table of version 1 is plain C: a provider written in C is compiled, loaded and driven through it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pearlbed_plugin_api::abi::{DOOR_MAGIC, DOOR_SYMBOL, Door, DoorOpen, v1};
use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::manifest::{ELF_SECTION, MACHO_SECTION};
use pearlbed_plugin_api::{HardwareInfo, Job, LogLevel, Manifest, MiningConfig, NextJob, SubmitError};

/// The header that plugins in C and C++ include.
fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include")
}

/// Compiles `source` with `compiler` and `flags` into a library, and loads it.
fn library(compiler: &str, flags: &[&str], source: &Path) -> libloading::Library {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c-{}-{number}.so", std::process::id()));
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .args(flags)
        .arg("-I")
        .arg(include())
        .arg("-o")
        .args([&out, source])
        .status()
        .unwrap();
    assert!(built.success(), "{compiler} {flags:?} refused {}", source.display());
    // SAFETY: the library was just built from our own source; it has no constructors.
    let library = unsafe { libloading::Library::new(&out) }.unwrap();
    std::fs::remove_file(out).unwrap();
    library
}

fn cc() -> String {
    std::env::var("CC").unwrap_or_else(|_| "cc".to_owned())
}

/// What C calls a thing, and what it is in Rust: a size, an offset or a number.
type Facts = Vec<(String, u64)>;

macro_rules! members {
    ($facts:ident, $($type:ident as $c:literal { $($field:ident),* $(,)? })*) => {$({
        // Names every field, so that one more or one less does not compile.
        let _ = |value: $type| {
            let $type { $($field: _),* } = value;
        };
        fn size_of_member<O, M>(_: fn(&O) -> &M) -> usize {
            size_of::<M>()
        }
        $facts.push((format!("sizeof(pearlbed_{})", $c), size_of::<$type>() as u64));
        let mut members = 0;
        $(
            let (name, c) = (stringify!($field), $c);
            let size = size_of_member(|value: &$type| &value.$field);
            $facts.push((format!("offsetof(pearlbed_{c}, {name})"), offset_of!($type, $field) as u64));
            $facts.push((format!("sizeof(((pearlbed_{c} *)0)->{name})"), size as u64));
            members += size;
        )*
        // Without a gap there is no room for a member that only C knows.
        assert_eq!(members, size_of::<$type>(), "pearlbed_{} has padding", $c);
    })*};
}

macro_rules! constants {
    ($facts:ident, $($c:ident = $rust:expr),* $(,)?) => {$(
        $facts.push((stringify!($c).to_owned(), u64::try_from($rust).unwrap()));
    )*};
}

fn facts() -> Facts {
    use pearlbed_plugin_api::{LogLevel, host_side, manifest};
    use v1::{Bytes, Capabilities, Config, HostTable, Job, ProviderTable, Sink, Stats};
    let mut facts = vec![];
    members! { facts,
        Bytes as "bytes" { data, len }
        Sink as "sink" { context, write }
        Capabilities as "capabilities" { supported, has_estimated_hashrate, estimated_hashrate }
        Config as "config" {
            provider, wallet_address, submit_kind, fee_bps, submit_url, worker_id, fee_payout_address, extra
        }
        Job as "job" { id, header, certificate_version, target, flags, reserved }
        Stats as "stats" { hashes, proofs_found, jobs_taken, hashrate, uptime_seconds }
        HostTable as "host_table" {
            context, retain, release, next_job, is_stale, submit, progress, log, job_details
        }
        ProviderTable as "provider_table" { manifest, create, destroy, detect, start, stop, is_running, stats }
        Door as "door" { magic, size, version, table_size, table }
    }
    constants! { facts,
        PEARLBED_TABLE_VERSION = v1::VERSION,
        PEARLBED_OK = v1::OK,
        PEARLBED_FAILED = v1::FAILED,
        PEARLBED_PANICKED = v1::PANICKED,
        PEARLBED_NEXT_JOB = v1::NEXT_JOB,
        PEARLBED_NEXT_TIMED_OUT = v1::NEXT_TIMED_OUT,
        PEARLBED_NEXT_STOPPED = v1::NEXT_STOPPED,
        PEARLBED_SUBMIT_TAKEN = v1::SUBMIT_TAKEN,
        PEARLBED_SUBMIT_STALE = v1::SUBMIT_STALE,
        PEARLBED_SUBMIT_UNKNOWN_JOB = v1::SUBMIT_UNKNOWN_JOB,
        PEARLBED_SUBMIT_TOO_LARGE = v1::SUBMIT_TOO_LARGE,
        PEARLBED_SUBMIT_STOPPED = v1::SUBMIT_STOPPED,
        PEARLBED_SUBMIT_SOLO = v1::SUBMIT_SOLO,
        PEARLBED_SUBMIT_POOL = v1::SUBMIT_POOL,
        PEARLBED_JOB_RANK_PENALTY = v1::JOB_RANK_PENALTY,
        PEARLBED_LOG_ERROR = LogLevel::Error as u32,
        PEARLBED_LOG_WARN = LogLevel::Warn as u32,
        PEARLBED_LOG_INFO = LogLevel::Info as u32,
        PEARLBED_LOG_DEBUG = LogLevel::Debug as u32,
        PEARLBED_LOG_TRACE = LogLevel::Trace as u32,
        PEARLBED_MANIFEST_MAX = manifest::MAX_BYTES,
        PEARLBED_TEXT_MAX = host_side::MAX_TEXT_BYTES,
        PEARLBED_DETAILS_MAX = host_side::MAX_DETAILS_BYTES,
        PEARLBED_DOOR_MAGIC = DOOR_MAGIC,
    }
    facts
}

#[test]
fn the_header_says_of_every_member_and_number_what_rust_says() {
    let facts = facts();
    let list: Vec<_> = facts.iter().map(|(c, _)| format!("(uint64_t)({c})")).collect();
    let text = format!(
        "#include \"pearlbed.h\"\nextern const uint64_t pearlbed_facts[];\nconst uint64_t pearlbed_facts[] = {{\n{}\n}};\n",
        list.join(",\n")
    );
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("facts-{}.c", std::process::id()));
    std::fs::write(&source, text).unwrap();
    let library = library(&cc(), &["-std=c99"], &source);
    std::fs::remove_file(source).unwrap();
    // SAFETY: the symbol is an array of so many numbers.
    let c = unsafe {
        let first: *const u64 = *library.get(b"pearlbed_facts").unwrap();
        std::slice::from_raw_parts(first, facts.len())
    };
    let wrong: Vec<_> = facts.iter().zip(c).filter(|((_, rust), c)| rust != *c).collect();
    assert!(wrong.is_empty(), "Rust and C disagree: {wrong:?}");

    // Every number of the header is compared above.
    let header = std::fs::read_to_string(include().join("pearlbed.h")).unwrap();
    let numbers = header.lines().filter_map(|line| line.strip_prefix("#define ")).filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        value.trim_start().starts_with(|first: char| first.is_ascii_digit() || first == 'U').then_some(name)
    });
    for name in numbers {
        assert!(facts.iter().any(|(c, _)| c == name), "{name} is compared with nothing");
    }
    assert!(header.contains(&format!("*{DOOR_SYMBOL}(uint32_t version);")));
    let ((segment, section), elf) = (MACHO_SECTION, ELF_SECTION);
    assert!(header.contains(&format!("section(\"{segment},{section}\")")));
    assert!(header.contains(&format!("section(\"{elf}\")")));
}

#[test]
fn the_header_is_clean_in_c99_c11_and_cpp17() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider.c");
    for (compiler, flags) in [
        (cc(), ["-std=c99", "-Wstrict-prototypes", "-Wconversion"].as_slice()),
        (cc(), &["-std=c11", "-Wmissing-prototypes", "-Wshadow"]),
        ("c++".to_owned(), &["-std=c++17", "-Wconversion", "-Wshadow", "-x", "c++"]),
    ] {
        if Command::new(&compiler).arg("--version").output().is_err() {
            skipped("the header in C++17", "no C++ compiler");
            continue;
        }
        let library = library(&compiler, flags, &source);
        // SAFETY: the symbol is the door's function.
        let door = unsafe { *library.get::<DoorOpen>(DOOR_SYMBOL.as_bytes()).unwrap() };
        // SAFETY: it is our own, and does nothing but to answer.
        let (first, none) = unsafe { (door(1), door(2)) };
        assert!(none.is_null());
        // SAFETY: the library is loaded.
        let door = unsafe { *first };
        assert_eq!((door.magic, door.size, door.version, door.table_size), (DOOR_MAGIC, 32, 1, 64));
    }
}

#[test]
fn the_host_for_tests_in_c_keeps_the_rules_of_a_host_in_c99_and_cpp17() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let plain = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wstrict-prototypes", "-Wconversion"];
    let plus = ["-std=c++17", "-Wconversion", "-Wshadow", "-x", "c++"];
    for (compiler, flags) in [(cc(), plain.as_slice()), ("c++".to_owned(), &plus)] {
        if Command::new(&compiler).arg("--version").output().is_err() {
            skipped("the host for tests in C++17", "no C++ compiler");
            continue;
        }
        let name = format!("testing-{}-{}", flags[0], std::process::id());
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let built = Command::new(&compiler)
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .args(flags)
            .arg("-I")
            .arg(include())
            .args([tests.join("testing.c"), tests.join("provider.c")])
            .args(["-lpthread", "-o"])
            .arg(&program)
            .status()
            .unwrap();
        assert!(built.success(), "{compiler} {flags:?}");
        let ran = Command::new(&program).output().unwrap();
        std::fs::remove_file(program).unwrap();
        assert!(ran.status.success() && ran.stdout == b"all of it holds\n", "{compiler}: {ran:?}");
    }
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(what: &str, reason: &str) {
    println!("skipped: {what}: {reason}");
}

#[derive(Default)]
struct OneJob(Mutex<Vec<String>>);

impl HostServices for OneJob {
    fn next_job(&self, _: Duration) -> NextJob {
        NextJob::Job(Job::new(8, [7; 76], [6; 32], 3, true))
    }
    fn is_stale(&self, job_id: u64) -> bool {
        job_id != 8
    }
    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        self.0.lock().unwrap().push(format!("proof {proof:?} for {job_id}"));
        Ok(())
    }
    fn progress(&self, hashes: u64) {
        self.0.lock().unwrap().push(format!("{hashes} hashes"));
    }
    fn log(&self, level: LogLevel, message: &[u8]) {
        self.0.lock().unwrap().push(format!("{level:?}: {}", String::from_utf8_lossy(message)));
    }
}

#[test]
fn a_provider_written_in_c_answers_takes_a_job_and_hands_in_a_proof() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider.c");
    let library = library(&cc(), &["-std=c99"], &source);
    // SAFETY: the door of provider.c leads to a table whose functions follow the contract; the library outlives the
    // provider.
    let provider = unsafe {
        let door = library.get::<DoorOpen>(DOOR_SYMBOL.as_bytes()).unwrap();
        Provider::from_table((*door(1)).table.cast()).unwrap()
    };
    let manifest = Manifest::parse(&provider.manifest().unwrap()).unwrap();
    assert_eq!((manifest.id.as_str(), &*manifest.vendor), ("in-c", "says \"C\" \\ C++"));
    let answer = provider.detect(&HardwareInfo::default(), "", "a model").unwrap();
    assert_eq!(answer.reason.as_deref(), Some("written in C for a model"));
    assert_eq!(answer.estimated_hashrate, Some(2.5e6));

    let host = Arc::new(OneJob::default());
    provider.start(&MiningConfig::compute_only("in-c", serde_json::Map::new()), host.clone()).unwrap();
    assert!(provider.is_running());
    assert_eq!(*host.0.lock().unwrap(), ["Info: {}", "3 hashes", "proof [7, 6, 1, 0] for 8"]);
    assert_eq!(provider.stop().unwrap_err().to_string(), "never stops");
    let stats = provider.stats().unwrap();
    assert_eq!((stats.hashes, stats.jobs_taken, stats.hashrate), (1, 3, 4.5));
    assert_eq!(stats.details["language"], "C");
}
