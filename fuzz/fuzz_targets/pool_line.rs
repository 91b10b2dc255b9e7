//! Bytes as a pool's stream: lines of bounded length, each read as a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pearlbed::work::lines::{LineError, LineReader};
use pearlbed::work::stratum::from_pool::{looks_like, read};

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime needs nothing");
    runtime.block_on(async {
        let mut lines = LineReader::new(bytes, 1024);
        loop {
            match lines.next().await {
                Ok(Some(line)) => {
                    assert!(line.len() <= 1024);
                    if let Err(err) = read(&line) {
                        assert!(err.0.chars().count() < 400 && !err.0.contains('\u{1b}'));
                    }
                }
                Ok(None) => break,
                Err(LineError::TooLong { .. } | LineError::NotText) => {}
                Err(LineError::Io(err)) => panic!("memory does not fail: {err}"),
            }
        }
    });
    assert!(!looks_like(bytes).contains('\u{1b}'));
});
