//! See `pow/tests/common/fuzz.rs`, which the bounded run of the ordinary tests shares.
#![no_main]
#![allow(dead_code, reason = "every target uses one function")]

#[path = "../../pow/tests/common/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::committed_proof(bytes);
});
