//! Bytes as the members of a reply: each has one meaning, and its words are short and harmless.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pearlbed::work::stratum::Class;
use pearlbed::work::stratum::from_pool::{FromPool, read};

fuzz_target!(|members: &str| {
    if let Ok(FromPool::Reply(reply)) = read(&format!(r#"{{"id":7,{members}}}"#)) {
        let words = reply.verdict.words();
        assert!(!words.is_empty() && !words.contains(['\u{1b}', '\n', '\u{202e}']));
        assert!(reply.verdict.text.chars().count() < 2500);
        if let Class::Banned { seconds: Some(seconds) } = reply.verdict.class {
            assert!(seconds <= 86_400);
        }
    }
});
