//! The fault corpus: every file and every misbehaviour of `docs/faults.md`, beside healthy plugins, and what is expected of each.
//!
//! It is thrown at the real binary as it stands, as another user, in groups with limits, and on kernels that lack a
//! mechanism. What cannot be made here says `skipped:` and why.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod files;
mod misbehaviour;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use self::files::{SCRAMBLED, put_files};
use self::misbehaviour::{BAD_ANSWERS, MISBEHAVIOUR};
use crate::misbehave::{self, padded_id, put, put_library};
use crate::pearlbed::Playground;

/// How many healthy plugins lie between the faulty ones.
pub const HEALTHY: usize = 6;

/// One fault, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The name of its file.
    pub file: String,
    /// What the plugin was told to do; empty where the file itself is the fault.
    pub order: String,
    /// The codes that are true of it, or `usable`, between bars.
    pub codes: String,
    /// Words of what is said, one of several between bars.
    pub words: String,
}

impl Fault {
    /// The fault of `file`.
    pub fn new(file: &str, order: &str, codes: &str, words: &str) -> Self {
        let [file, order, codes, words] = [file, order, codes, words].map(str::to_owned);
        Self { file, order, codes, words }
    }
}

/// Puts healthy plugins at the beginning, in the middle and at the end of the order.
pub fn put_healthy(folder: &Path) {
    for (number, first) in ["0", "c", "f", "m", "s", "z"].into_iter().enumerate() {
        let library = misbehave::library(&format!("healthy-{number}"), "");
        put_library(folder, &format!("{first}-healthy-{number}"), &library);
    }
}

/// Puts every misbehaviour into the plugins of `ground`.
pub fn put_misbehaviour(ground: &Playground) -> Vec<Fault> {
    let folder = ground.plugins();
    let victim = ground.victim().to_str().unwrap().to_owned();
    let fill = |text: &str| text.replace("VICTIM", &victim).replace("GROUND", folder.to_str().unwrap());
    let mut faults = Vec::new();
    let mut add = |order: &str, codes: &str, words: &str| {
        let name = format!("m{:03}", faults.len() + 1);
        put(&folder, &name, &fill(order));
        faults.push(Fault::new(&format!("{name}.so"), order, codes, &fill(words)));
    };
    for place in ["ctor", "detect"] {
        for (order, codes, words) in MISBEHAVIOUR {
            // The macro's side turns a panic in `detect` into an error with its message; in a constructor nobody can.
            let codes = if (place, *order) == ("detect", "panic") { "panicked" } else { codes };
            add(&format!("{place}:{order}"), codes, words);
        }
    }
    for (order, codes, words) in BAD_ANSWERS {
        add(order, codes, words);
    }
    faults
}

/// The plugins of an answer by the name of their file.
pub fn by_name(answer: &Value) -> BTreeMap<String, Value> {
    let name = |plugin: &Value| plugin["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    answer["plugins"].as_array().unwrap().iter().map(|plugin| (name(plugin), plugin.clone())).collect()
}

/// No healthy plugin was lost, and where they were `probed`, each is what it is.
///
/// # Panics
///
/// Where one is not.
pub fn assert_healthy(plugins: &BTreeMap<String, Value>, probed: bool) {
    for number in 0..HEALTHY {
        let id = padded_id(&format!("healthy-{number}"));
        let found = plugins.values().find(|plugin| plugin["id"] == id.as_str());
        let plugin = found.unwrap_or_else(|| panic!("healthy plugin {number} was lost"));
        assert_eq!(plugin["state"], "usable", "{plugin:#}");
        if probed {
            assert_eq!(plugin["probe"]["supported"], true, "{plugin:#}");
            assert_eq!(plugin["probe"]["pure"], true, "{plugin:#}");
        }
    }
}

/// The code of a plugin, or its state where it has none.
pub fn code(plugin: &Value) -> &str {
    plugin["code"].as_str().unwrap_or_else(|| plugin["state"].as_str().unwrap())
}

/// Everything that was said of a plugin: its reason and what it did.
pub fn said(plugin: &Value) -> String {
    let mut words = plugin["reason"].as_str().unwrap_or_default().to_owned();
    for impurity in plugin["probe"]["impurities"].as_array().into_iter().flatten() {
        words.push_str("; ");
        words.push_str(impurity["finding"].as_str().unwrap());
    }
    words
}

/// Adds to `wrong` what is not as it should be about `fault`.
pub fn look_at(plugins: &BTreeMap<String, Value>, fault: &Fault, wrong: &mut Vec<String>) {
    let Fault { file, order, codes, words } = fault;
    let Some(plugin) = plugins.get(file) else {
        wrong.push(format!("{file} {order}: not in the answer"));
        return;
    };
    let (code, said) = (code(plugin), said(plugin));
    if !codes.split('|').any(|one| one == code) || !words.split('|').any(|words| said.contains(words)) {
        wrong.push(format!("{file} {order}: expected {codes} and `{words}`, got {code} and `{said}`"));
    }
    if code != "usable" && plugin["fix"].as_str().unwrap_or_default().is_empty() {
        wrong.push(format!("{file} {order}: no word on what to do"));
    }
}

/// # Panics
///
/// Where something is wrong, with all that is.
pub fn assert_none_wrong(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} faults are not named for what they are:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What could not be tested is said, not hidden.
#[expect(clippy::print_stdout, reason = "the tally of the tests reads it there")]
pub fn skipped(what: &str, reason: &str) {
    println!("skipped: {what}: {reason}");
}
