//! What a plugin says of itself: any bytes are read or refused, and what is read is written back as it was.
#![no_main]

use pearlbed_plugin_api::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            let text = serde_json::to_vec(&manifest).expect("texts and numbers are JSON");
            assert_eq!(Manifest::parse(&text).expect("what was read can be read again"), manifest);
        }
        Err(err) => assert!(!err.to_string().is_empty()),
    }
});
