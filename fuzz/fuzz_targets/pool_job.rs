//! Bytes as the parameters of a job: what is read is echoed byte for byte, and every refusal says something short.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pearlbed::work::stratum::from_pool::{FromPool, read};
use pearlbed::work::stratum::target::{is_too_easy, rounded, work};

fuzz_target!(|params: &str| {
    let line = format!(r#"{{"id":null,"method":"mining.notify","params":{params}}}"#);
    match read(&line) {
        Ok(FromPool::Job(Ok(job))) => {
            assert!(line.contains(&job.id), "the name is echoed as it came");
            assert!(rounded(job.target) <= job.target && !job.target.0.is_zero());
            let _ = (is_too_easy(job.target), work(job.target));
        }
        Ok(FromPool::Job(Err(err))) => assert!(err.to_string().len() < 200),
        _ => {}
    }
});
