//! The reference pool of the real binary, in a process and a home of its own.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::session::Bed;

/// `pearlbed devnet --stratum`, in a home of its own.
#[derive(Debug)]
pub struct ReferencePool {
    process: Child,
    /// Its address, as the configuration of a pool has it.
    pub address: String,
    _home: tempfile::TempDir,
}

impl ReferencePool {
    /// One with every setting at its default.
    pub fn start(bed: &Bed) -> Self {
        Self::with(bed, &[])
    }

    /// One with further flags of `devnet`.
    pub fn with(bed: &Bed, more: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut process = bed
            .command(&[&["devnet", "--stratum", "127.0.0.1:0", "--json"], more].concat())
            .env("PEARLBED_HOME", home.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let address = first["address"].as_str().unwrap().to_owned();
        // What it tells must be read, or it waits.
        std::thread::spawn(move || for _ in lines {});
        Self { process, address, _home: home }
    }

    /// What `GET /ledger` says of all workers together: shares by fate, and credited work.
    pub fn ledger(&self) -> (std::collections::BTreeMap<String, u64>, f64) {
        let mut stream =
            std::net::TcpStream::connect(self.address.strip_prefix("stratum+tcp://").unwrap()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        stream.write_all(b"GET /ledger HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let ledger: Value = serde_json::from_str(body).unwrap();
        let mut shares = std::collections::BTreeMap::new();
        let mut credited = 0.0;
        for row in ledger["workers"].as_object().unwrap().values() {
            for (fate, count) in row["shares"].as_object().unwrap() {
                *shares.entry(fate.clone()).or_default() += count.as_u64().unwrap();
            }
            credited += row["credited"].as_f64().unwrap();
        }
        (shares, credited)
    }
}

impl Drop for ReferencePool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
