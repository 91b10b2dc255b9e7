//! The look at a file before it is loaded: any bytes become a manifest or one printable reason.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use pearlbed::plugins::look;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = if cfg!(target_os = "linux") { "/dev/shm".into() } else { std::env::temp_dir() };
    folder.join(format!("pearlbed-fuzz-{}.so", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("the folder takes files");
    let look = look(&FILE, true);
    assert_eq!(look.checks.len(), 8);
    for check in &look.checks {
        assert!(!check.finding.is_empty() && !check.finding.chars().any(char::is_control), "{check:?}");
    }
    match &look.refusal {
        Some(reason) => assert!(!reason.reason.is_empty() && !reason.fix.is_empty(), "{reason:?}"),
        None => assert!(look.manifest.is_some(), "nothing was wrong, and nothing is known"),
    }
});
