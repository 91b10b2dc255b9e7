//! Who signed a plugin: shown, held against what was seen before, and asked for where the user asks for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::path::{Path, PathBuf};
use std::process::Output;

use pearlbed_tests::minisign::{Format, Key};
use pearlbed_tests::misbehave::{padded_id, put, put_bytes};
use pearlbed_tests::pearlbed::Playground;
use serde_json::Value;

const COMMENT: &str = "timestamp:1\tfile:x.so";

struct Bench {
    ground: Playground,
}

impl Bench {
    fn new() -> Self {
        Self { ground: Playground::new() }
    }

    fn config(&self, keys: &[&Key], more: &str) {
        let keys: Vec<String> = keys.iter().map(|key| format!("{:?}", key.public())).collect();
        let text = format!("[plugins]\nkeys = [{}]\n{more}\n", keys.join(", "));
        std::fs::write(self.ground.home().join("config.toml"), text).unwrap();
    }

    /// A healthy plugin, signed by `key`.
    fn signed(&self, name: &str, key: &Key, format: Format) -> PathBuf {
        let file = put(&self.ground.plugins(), name, "");
        sign(&file, key, format);
        file
    }

    /// What `plugins inspect` says of the file: its code or state, its signature's state, and its reason.
    fn look(&self, file: &Path) -> (String, String, String) {
        let (answer, _) = self.ground.json(&["plugins", "inspect", file.to_str().unwrap()]);
        let plugin = &answer["plugin"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let state = plugin["code"].as_str().unwrap_or_else(|| plugin["state"].as_str().unwrap()).to_owned();
        (state, text(&plugin["signature"]["state"]), text(&plugin["reason"]))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let plugins = self.ground.plugins();
        let mut all = arguments.to_vec();
        if arguments[0] == "doctor" || matches!(arguments[1], "trust" | "list" | "inspect") {
            all.extend(["--plugin-dir", plugins.to_str().unwrap()]);
        }
        self.ground.run(&all)
    }
}

fn signature(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.minisig", file.display()))
}

fn sign(file: &Path, key: &Key, format: Format) {
    let text = key.sign(&std::fs::read(file).unwrap(), format, COMMENT);
    std::fs::write(signature(file), text).unwrap();
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_signature_is_shown_and_what_is_signed_wrongly_is_refused() {
    let bench = Bench::new();
    let (known, second, stranger) = (Key::new(1), Key::new(2), Key::new(3));
    bench.config(&[&known, &second], "");
    let ok = |file: &Path, expected: &str| {
        let (state, signed, reason) = bench.look(file);
        assert_eq!((state.as_str(), signed.as_str()), ("usable", expected), "{}: {reason}", file.display());
    };
    ok(&bench.signed("legacy", &known, Format::Legacy), "by");
    ok(&bench.signed("prehashed", &known, Format::Prehashed), "by");
    ok(&bench.signed("second-key", &second, Format::Prehashed), "by");
    ok(&bench.signed("stranger", &stranger, Format::Prehashed), "unknown");
    ok(&put(&bench.ground.plugins(), "without", ""), "unsigned");

    let wrong = |name: &str, spoil: &dyn Fn(&Path), words: &str| {
        let file = bench.signed(name, &known, Format::Prehashed);
        spoil(&file);
        let (state, signed, reason) = bench.look(&file);
        assert_eq!((state.as_str(), signed.as_str()), ("signature-wrong", "wrong"), "{name}: {reason}");
        assert!(reason.contains(words), "{name}: {reason}");
    };
    wrong(
        "tampered-library",
        &|file| {
            let mut bytes = std::fs::read(file).unwrap();
            bytes.push(0);
            std::fs::write(file, bytes).unwrap();
        },
        "not made for this file",
    );
    wrong(
        "tampered-comment",
        &|file| {
            let text = std::fs::read_to_string(signature(file)).unwrap();
            std::fs::write(signature(file), text.replace("timestamp:1", "timestamp:2")).unwrap();
        },
        "its comment was changed",
    );
    wrong("empty", &|file| std::fs::write(signature(file), "").unwrap(), "no minisign signature");
    wrong("huge", &|file| std::fs::write(signature(file), vec![b'x'; 1 << 20]).unwrap(), "more than the 8");
    wrong("binary", &|file| std::fs::write(signature(file), [0xff; 300]).unwrap(), "no text");
    wrong(
        "folder",
        &|file| {
            std::fs::remove_file(signature(file)).unwrap();
            std::fs::create_dir(signature(file)).unwrap();
        },
        "no regular file",
    );
    // A library that nobody would hash, with a signature: refused in no time, not read.
    let file = bench.signed("sparse", &known, Format::Legacy);
    std::fs::File::options().write(true).open(&file).unwrap().set_len(20 << 30).unwrap();
    let (state, _, reason) = bench.look(&file);
    assert_eq!(state, "signature-wrong", "{reason}");
    assert!(reason.contains("more than the 512"), "{reason}");

    // The list says it as well, and in words.
    let list = said(&bench.run(&["plugins", "list"]));
    for words in ["signed by RWQ", "unsigned", "which is not in [plugins] keys", "[signature-wrong]"] {
        assert!(list.contains(words), "no `{words}` in\n{list}");
    }
    let doctor = said(&bench.run(&["doctor", "--only", "plugins"]));
    let flat = doctor.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [", signed by RWQ", ", unsigned", "which is not in [plugins] keys", "not made for this file"]
    {
        assert!(flat.contains(words), "no `{words}` in\n{doctor}");
    }
}

#[test]
fn where_a_signature_is_asked_for_nothing_else_is_used() {
    let bench = Bench::new();
    let (known, stranger) = (Key::new(1), Key::new(3));
    bench.config(&[&known], "require_signature = true");
    let good = bench.signed("good", &known, Format::Prehashed);
    assert_eq!(bench.look(&good).0, "usable");
    let (state, signed, reason) = bench.look(&bench.signed("stranger", &stranger, Format::Prehashed));
    assert_eq!((state.as_str(), signed.as_str()), ("unsigned", "unknown"), "{reason}");
    let (state, _, reason) = bench.look(&put(&bench.ground.plugins(), "without", ""));
    assert_eq!(state, "unsigned", "{reason}");
    assert!(reason.contains("require_signature asks for a signature"), "{reason}");
    // `doctor` says it too.
    let (report, _) = bench.ground.json(&["doctor", "--only", "plugins"]);
    let codes: Vec<_> = report["plugins"].as_array().unwrap().iter().map(|plugin| &plugin["code"]).collect();
    assert_eq!(codes.iter().filter(|code| **code == "unsigned").count(), 2, "{report:#}");
}

#[test]
fn what_was_installed_is_known_by_its_key_until_somebody_confirms_another() {
    let bench = Bench::new();
    let (first, second) = (Key::new(1), Key::new(2));
    bench.config(&[&first, &second], "");
    let source = bench.signed("kept", &first, Format::Prehashed);
    let id = padded_id("kept");
    let installed = bench.ground.home().join("plugins/kept.so");
    let install = |file: &Path, more: &[&str]| {
        let mut arguments = vec!["plugins", "install", file.to_str().unwrap()];
        arguments.extend(more);
        bench.run(&arguments)
    };
    let output = install(&source, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("signed by RWQ"), "{}", said(&output));
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions())
    };
    assert_eq!(mode(&installed) & 0o777, 0o644);
    assert_eq!(bench.look(&installed).0, "usable");

    // Another key, no key, a key that was taken away: each is refused, and says what it was and is.
    sign(&installed, &second, Format::Prehashed);
    let (state, _, reason) = bench.look(&installed);
    assert_eq!(state, "other-key", "{reason}");
    assert!(reason.contains(&first.public()) && reason.contains(&second.public()), "{reason}");
    std::fs::remove_file(signature(&installed)).unwrap();
    assert_eq!(bench.look(&installed).0, "other-key");
    sign(&installed, &first, Format::Prehashed);
    assert_eq!(bench.look(&installed).0, "usable");
    bench.config(&[&second], "");
    let (state, _, reason) = bench.look(&installed);
    assert_eq!(state, "other-key", "{reason}");
    assert!(reason.contains("no longer in [plugins] keys"), "{reason}");
    bench.config(&[&first, &second], "");

    // Confirmed, the other key is the one that counts.
    sign(&installed, &second, Format::Prehashed);
    let output = bench.run(&["plugins", "trust", installed.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(bench.look(&installed).0, "usable");
    sign(&installed, &first, Format::Prehashed);
    assert_eq!(bench.look(&installed).0, "other-key");

    // Only with a given key.
    let output = install(&source, &["--key", &second.public()]);
    assert!(output.status.success(), "its own key is in the configuration: {}", said(&output));
    bench.config(&[], "");
    let output = install(&source, &["--key", &second.public()]);
    assert!(!output.status.success() && said(&output).contains("[unsigned]"), "{}", said(&output));
    let output = install(&source, &["--key", &first.public()]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(bench.look(&installed).1, "by", "the key that it was installed with vouches for it");
    let output = install(&source, &["--key", "RWQ"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));

    // Another file under the same version is told and used; a broken one is not installed and changes nothing.
    let plain = put(&bench.ground.plugins(), "plain", "");
    assert!(install(&plain, &[]).status.success());
    let home_copy = bench.ground.home().join("plugins/plain.so");
    let mut bytes = std::fs::read(&home_copy).unwrap();
    bytes.push(0);
    std::fs::write(&home_copy, bytes).unwrap();
    let inspected = said(&bench.run(&["plugins", "inspect", home_copy.to_str().unwrap()]));
    assert!(inspected.contains("another file than when it was used first"), "{inspected}");
    let broken = put_bytes(&bench.ground.plugins(), "broken.so", b"no library");
    let output = install(&broken, &[]);
    assert!(!output.status.success() && said(&output).contains("[not-a-library]"), "{}", said(&output));
    let names: Vec<_> = std::fs::read_dir(bench.ground.home().join("plugins"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");

    let output = bench.run(&["plugins", "remove", &id]);
    assert!(
        output.status.success() && !installed.exists() && !signature(&installed).exists(),
        "{}",
        said(&output)
    );
    assert!(!bench.run(&["plugins", "remove", &id]).status.success());
}

#[test]
fn what_is_blocked_is_used_nowhere() {
    let bench = Bench::new();
    let one = put(&bench.ground.plugins(), "one", "");
    let other = put(&bench.ground.plugins(), "other", "");
    let id = padded_id("one");
    assert_eq!(said(&bench.run(&["plugins", "block"])), "nothing is blocked\n");
    assert!(bench.run(&["plugins", "block", &id]).status.success());
    let (state, _, reason) = bench.look(&one);
    assert_eq!(state, "blocked", "{reason}");
    assert_eq!(bench.look(&other).0, "usable");
    let (inspection, _) = bench.ground.json(&["plugins", "inspect", other.to_str().unwrap()]);
    let hash = inspection["plugin"]["hash"].as_str().unwrap().to_owned();
    assert!(bench.run(&["plugins", "block", &hash]).status.success());
    let (state, _, reason) = bench.look(&other);
    assert_eq!(state, "blocked", "{reason}");
    assert!(reason.contains("its very contents"), "{reason}");
    assert!(bench.run(&["plugins", "block", "--undo", &hash]).status.success());
    assert_eq!(bench.look(&other).0, "usable");
    assert_eq!(bench.run(&["plugins", "block", "No Id"]).status.code(), Some(2));
}
