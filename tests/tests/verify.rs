//! `pearlbed verify` as a process: verdicts, the first difference, the likely mistake, exit statuses.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use pearl_pow::{Header, PlainProof};
use serde_json::Value;

/// One entry of the protocol crate's vectors of complete proofs.
struct Vector {
    header: String,
    version: &'static str,
    nbits: Option<String>,
    base64: String,
}

impl Vector {
    fn of(entry: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let header = text(&entry["header_bytes"]).or_else(|| text(&entry["header"]["bytes"]));
        Self {
            header: header.expect("every entry has a header"),
            version: if entry["seed_derivation"] == "salted" { "3" } else { "2" },
            nbits: text(&entry["nbits_override"]),
            base64: text(&entry["proof_base64"]).expect("every entry has a proof"),
        }
    }

    fn valid(id: &str) -> Self {
        Self::find("09_proofs_valid.json", "proofs", "id", id)
    }

    fn invalid(what: &str) -> Self {
        Self::find("10_proofs_invalid.json", "invalid", "what", what)
    }

    fn special(what: &str) -> Self {
        Self::find("10_proofs_invalid.json", "special", "what", what)
    }

    fn find(file: &str, list: &str, key: &str, start: &str) -> Self {
        let path = pearlbed_tests::build::workspace().join("pow/tests/vectors").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let vectors: Value = serde_json::from_str(&text).expect("vectors are JSON");
        let entries = vectors[list].as_array().expect("a list of proofs");
        let entry =
            entries.iter().find(|entry| entry[key].as_str().is_some_and(|text| text.starts_with(start)));
        Self::of(entry.unwrap_or_else(|| panic!("no {start} in {file}")))
    }

    fn bytes(&self) -> Vec<u8> {
        PlainProof::from_base64(&self.base64).expect("a proof").0.encode()
    }

    /// Runs `pearlbed verify` for this job with `arguments`, and `input` on stdin.
    fn verify(&self, arguments: &[&str], input: &[u8]) -> Answer {
        let mut all = vec!["--header", &self.header, "--cert-version", self.version];
        if let Some(nbits) = &self.nbits
            && !arguments.contains(&"--target")
        {
            all.extend(["--nbits", nbits]);
        }
        all.extend(arguments);
        verify(&all, input)
    }
}

struct Answer {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|err| panic!("{err}: {}", self.stdout))
    }

    /// The line of a stage, with what it found.
    fn stage(&self, name: &str) -> &str {
        let is_it = |line: &&str| line.split_whitespace().nth(1) == Some(name);
        self.stdout.lines().find(is_it).unwrap_or_else(|| panic!("no {name} in {}", self.stdout))
    }
}

fn verify(arguments: &[&str], input: &[u8]) -> Answer {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(pearlbed_tests::build::pearlbed())
        .arg("verify")
        .args(arguments)
        .env_clear()
        .env("PEARLBED_HOME", home.path())
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pearlbed starts");
    // A command line that is refused reads nothing.
    let _ = child.stdin.take().expect("stdin is a pipe").write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("pearlbed ends");
    let text = |bytes| String::from_utf8(bytes).expect("answers are UTF-8");
    let answer =
        Answer { status: status.code().expect("pearlbed exits"), stdout: text(stdout), stderr: text(stderr) };
    for line in answer.stdout.lines().chain(answer.stderr.lines()) {
        assert!(!line.contains('\x1b'), "styled although piped: {line}");
    }
    assert_eq!(std::fs::read_dir(home.path()).expect("the folder").count(), 0, "verify writes nothing");
    answer
}

#[track_caller]
fn fits_80_columns(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn a_valid_proof_passes_every_stage() {
    let vector = Vector::valid("v3");
    let answer = vector.verify(&["--rank-penalty"], vector.base64.as_bytes());
    assert_eq!(answer.status, 0, "{}", answer.stdout);
    for stage in pearl_pow::Stage::ALL {
        assert!(answer.stage(stage.name()).starts_with("ok "), "{}", answer.stdout);
    }
    assert!(answer.stdout.contains("\nvalid: certificate version 3, with the rank-penalty rule\n"));
    assert_eq!(answer.stderr, "");
    fits_80_columns(&answer.stdout);
}

#[test]
fn a_proof_is_taken_as_text_or_binary_from_a_file_or_from_stdin() {
    let vector = Vector::valid("v3");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    // As people paste it: lines of 76 characters, and one at the end.
    let lines: Vec<&[u8]> = vector.base64.as_bytes().chunks(76).collect();
    let pasted = [lines.join(&b'\n'), b"\n".to_vec()].concat();
    for (name, content, form) in [("proof.bin", vector.bytes(), "binary"), ("proof.b64", pasted, "base64")] {
        std::fs::write(path(name), &content).expect("the folder is ours");
        let file = path(name);
        let from_file = vector.verify(&["--json", file.to_str().expect("UTF-8")], b"");
        let from_stdin = vector.verify(&["--json", "-"], &content);
        assert_eq!(from_file.stdout, from_stdin.stdout);
        assert_eq!((from_file.json()["form"].as_str(), from_file.status), (Some(form), 0));
    }
}

#[test]
fn the_header_may_be_base64_as_a_gateway_sends_it() {
    use base64::Engine as _;
    let vector = Vector::valid("v3");
    let header = Header::from_hex(&vector.header).expect("a header");
    let header = base64::engine::general_purpose::STANDARD.encode(header.as_bytes());
    let answer = verify(&["--header", &header, "--cert-version", "3"], vector.base64.as_bytes());
    assert_eq!(answer.status, 0, "{}", answer.stderr);
}

#[test]
fn a_root_that_does_not_fit_shows_both_roots_and_the_likely_mistake() {
    let vector = Vector::invalid("one bit flipped in the first opened leaf of A");
    let answer = vector.verify(&[], vector.base64.as_bytes());
    assert_eq!(answer.status, 1);
    assert!(answer.stage("leaves").starts_with("ok "));
    assert!(answer.stage("hash_a").starts_with("fail "));
    assert!(answer.stage("hash_b").starts_with("skip "));
    for label in ["computed", "transmitted", "job key", "configuration"] {
        let row = answer.stdout.lines().find(|line| line.starts_with(label));
        let row = row.unwrap_or_else(|| panic!("no {label} in {}", answer.stdout));
        assert!(
            row.split_whitespace()
                .last()
                .is_some_and(|digits| digits.len() == 64 || label == "configuration")
        );
    }
    assert!(answer.stdout.contains("invalid: refused at `hash_a`"));
    assert!(answer.stdout.contains("likely: the other matrix's root fits, so header and configuration are"));
    fits_80_columns(&answer.stdout);
}

#[test]
fn a_mistake_that_was_tried_is_named_as_the_cause() {
    let vector = Vector::invalid("header timestamp changed by one");
    let answer = vector.verify(&[], vector.base64.as_bytes());
    assert!(answer.stdout.contains("cause: the proof is for a header whose timestamp is 1791000000"));

    let vector = Vector::invalid("checked with the other seed derivation");
    let answer = vector.verify(&[], vector.base64.as_bytes());
    assert_eq!(answer.status, 1);
    assert!(answer.stage("difficulty").starts_with("fail "));
    assert!(
        answer.stdout.contains("cause: the noise has salted seeds; this certificate version has legacy ones")
    );
    assert!(answer.stdout.contains("section 15, mistake 7"));
}

#[test]
fn the_rank_penalty_is_applied_on_request() {
    let vector = Vector::special("meets the plain bound, misses the rank-penalised bound");
    let without = vector.verify(&[], vector.base64.as_bytes());
    assert_eq!(without.status, 0);
    assert!(without.stage("rank_penalty").starts_with("skip "));
    let with = vector.verify(&["--rank-penalty"], vector.base64.as_bytes());
    assert_eq!(with.status, 1);
    assert!(with.stage("rank_penalty").starts_with("fail "));
    assert!(with.stdout.contains("section 15, mistake 10"));
}

#[test]
fn a_share_says_whether_it_is_a_block() {
    let vector = Vector::valid("v4");
    let share = vector.verify(&["--json"], vector.base64.as_bytes()).json();
    assert_eq!((&share["valid"], &share["block"]), (&Value::Bool(true), &Value::Bool(false)));
    let easy = "f".repeat(64);
    let vector = Vector::valid("v3");
    let block = vector.verify(&["--target", &easy], vector.base64.as_bytes());
    assert!(block.stdout.contains("block: the proof also meets the header's own target"));
}

#[test]
fn a_deviation_from_the_canonical_form_is_reported_and_still_valid() {
    let vector = Vector::special("leaves of A listed in descending order");
    let answer = vector.verify(&[], vector.base64.as_bytes());
    assert_eq!(answer.status, 0);
    assert!(answer.stdout.contains("warn  canonical     the leaves of A are not in ascending order"));
}

#[test]
fn json_carries_every_stage_the_first_difference_and_the_diagnosis() {
    let vector = Vector::invalid("checked with the other seed derivation");
    let answer = vector.verify(&["--json"], vector.base64.as_bytes());
    assert_eq!(answer.status, 1);
    let json = answer.json();
    let keys = |value: &Value| {
        let mut keys: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(keys(&json), "block bytes deviations diagnosis failure form job proof schema stages valid");
    assert_eq!(keys(&json["job"]), "cert_version header rank_penalty seed_rule target");
    assert_eq!(keys(&json["failure"]), "message stage values");
    assert_eq!(keys(&json["diagnosis"]), "code confirmed section_15 text");
    assert_eq!(json["diagnosis"]["code"], "seed-rule");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["valid"], false);
    assert_eq!(json["job"]["header"], vector.header.as_str());
    assert_eq!(json["job"]["seed_rule"], "legacy");
    let states: Vec<&str> = json["stages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|stage| stage["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(states, ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "fail", "skip"]);
    assert_eq!(json["failure"]["stage"], "difficulty");
    assert_eq!(json["failure"]["values"]["bound"].as_str().map(str::len), Some(64));
    assert_eq!(json["diagnosis"]["section_15"], 7);
    assert_eq!(json["diagnosis"]["confirmed"], true);
    assert!(json["proof"].is_null());

    let vector = Vector::valid("v3");
    let json = vector.verify(&["--json"], vector.base64.as_bytes()).json();
    assert_eq!(json["valid"], true);
    assert!(json["failure"].is_null() && json["diagnosis"].is_null());
    let proof = "bound col_base cols jackpot job_key k m n rank row_base rows seed_a seed_b words";
    assert_eq!(keys(&json["proof"]), proof);
    assert_eq!(json["proof"]["k"], 2048);
    assert_eq!(json["proof"]["words"].as_array().map(Vec::len), Some(16));
}

#[test]
fn a_wrong_command_line_and_a_missing_proof_are_told_apart_from_a_verdict() {
    let vector = Vector::valid("v3");
    for (arguments, status, told) in [
        (&["--header", "00", "--cert-version", "3"][..], 2, "a header is 76 bytes, this is 1"),
        (&["--header", &vector.header, "--cert-version", "4"], 2, "version 4 is not supported by this build"),
        (&["--header", &vector.header, "--cert-version", "3", "--nbits", "1d"], 2, "8 hexadecimal digits"),
        (&["--header", &vector.header, "--cert-version", "3", "--target", "xyz"], 2, "64 hexadecimal digits"),
        (&["--cert-version", "3"], 1, "stdin is empty"),
        (&["--header", &vector.header, "--cert-version", "3", "no-such-file"], 6, "`no-such-file`"),
        (&["--header", &vector.header, "--cert-version", "3"], 1, "stdin is empty"),
    ] {
        let answer = verify(arguments, b"");
        assert_eq!(answer.status, status, "{arguments:?}: {}", answer.stderr);
        assert_eq!(answer.stdout, "", "{arguments:?}");
        // Sentences are folded at 80 columns.
        let said = answer.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(told), "{arguments:?}: {}", answer.stderr);
    }
    // A file of the host's own brings its header along; any other proof needs to be told.
    let bare = verify(&["--cert-version", "3"], b"AAAA");
    assert_eq!((bare.status, bare.stdout.as_str()), (2, ""));
    assert!(bare.stderr.contains("--header is missing"), "{}", bare.stderr);
    let text = verify(&["--header", &vector.header, "--cert-version", "3"], b"AAAA===A");
    assert_eq!(text.status, 1);
    assert!(text.stderr.contains("the proof is text, and not base64"), "{}", text.stderr);
}

#[test]
fn bytes_that_are_no_proof_are_a_verdict() {
    let vector = Vector::valid("v3");
    let noise: Vec<u8> = (0..5000_u32).map(|at| (at * 197 % 251) as u8).collect();
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &noise].concat();
    for (input, told) in [(&noise, "refused at `decode`"), (&gzip, "cause: the bytes are compressed (gzip)")]
    {
        let answer = vector.verify(&[], input);
        assert_eq!(answer.status, 1, "{}", answer.stderr);
        assert!(answer.stdout.contains(told), "{}", answer.stdout);
    }
}
