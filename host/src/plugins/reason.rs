//! Why a plugin is not used: a code for scripts, a sentence for people, and what to do.

use serde::Serialize;

/// Every code with what is true then, in the order in which they are met. A test compares `docs/plugins.md`.
pub const CODES: &[(&str, &str)] = &[
    ("missing", "there is no such file"),
    ("dangling-link", "a symbolic link to something that does not exist"),
    ("link-loop", "a symbolic link that leads back to itself"),
    ("not-a-file", "a folder, a named pipe, a socket or a device"),
    ("unreadable", "you may not read it, or the disk failed"),
    ("wrong-owner", "it belongs neither to you nor to root"),
    ("writable-by-others", "its group or everybody may write to it"),
    ("folder-writable-by-others", "everybody may write to its folder, so everybody may replace it"),
    ("empty", "it has no bytes"),
    ("not-a-library", "a text, an archive, an object file: no shared library"),
    ("a-program", "a program, no shared library"),
    ("wrong-os", "built for another operating system"),
    ("wrong-machine", "built for another processor"),
    ("truncated", "it ends before its contents do"),
    ("broken", "its structure contradicts itself or leads outside the file"),
    ("not-a-plugin", "a shared library that exports no provider"),
    ("no-manifest", "it exports a provider but carries no manifest"),
    ("manifest-empty", "its manifest is empty"),
    ("manifest-cut", "its manifest lies outside the file"),
    ("manifest-too-long", "its manifest claims more bytes than are read"),
    ("manifest-not-utf8", "its manifest is not UTF-8"),
    ("manifest-not-json", "its manifest is not the JSON that is expected"),
    ("manifest-wrong", "a member of its manifest is not what it may be"),
    ("data-wrong", "a container's data file that is none, or says what it may not"),
    ("data-schema", "a container's data file of a schema that this host does not read"),
    ("other-api", "it speaks no version of the plugin API that this host speaks"),
    ("blocked", "you have blocked its id or its contents"),
    ("signature-wrong", "the signature beside it is none, or not one of this file"),
    ("other-key", "it was signed by another key when it was used first"),
    ("unsigned", "it is not signed by a known key, and you ask for that"),
    ("same-file", "another name of a file that comes before it"),
    ("same-contents", "a copy of a file that comes before it"),
    ("same-id", "its id is taken by a plugin that comes before it"),
    ("folder-missing", "a folder that was named does not exist"),
    ("folder-is-file", "what was named as a folder is a file"),
    ("folder-unreadable", "a folder may not be listed"),
    ("changed", "it was changed or replaced after it was looked at"),
    ("missing-library", "it needs a library, or a version of one, that is not installed"),
    ("undefined-symbol", "it refers to a function that nothing defines"),
    ("no-exec", "its folder is on a file system that is mounted `noexec`"),
    ("out-of-reach", "the process that is to run it may not read it, although you may"),
    ("load-failed", "the system's loader refused it for another reason"),
    ("other-layout", "its tables are laid out differently from this host's"),
    ("declined", "its code declines every version that this host speaks"),
    ("broken-door", "what its `pearlbed_door_open` answers is no door to a table"),
    ("two-tables", "it has both entries, and they lead to different tables"),
    ("broken-table", "its table of functions cannot be called"),
    ("not-created", "its provider could not be made"),
    ("other-id", "its code calls itself otherwise than its file"),
    ("panicked", "it panicked, and the message says why"),
    ("detect-failed", "its `detect` answered with an error"),
    ("bad-answer", "its answer is none: too long, control characters, a number that is no hashrate"),
    ("crashed", "its process died of a signal"),
    ("killed", "its process was killed, by itself or by the system"),
    ("exited", "it ended its process"),
    ("out-of-memory", "it used up the memory of a probe"),
    ("closed-channel", "it closed descriptors that it did not open, so no answer could be sent"),
    ("stopped", "it stopped its own process"),
    ("timed-out", "it did not answer in time"),
    ("not-checked", "no time was left to read it for its signature and its hash"),
    ("not-probed", "no time was left to probe it"),
    ("no-probe", "no confined process could be started"),
    ("no-answer", "it failed in a way that has no code of its own"),
];

/// Why a file is skipped or a probe failed.
///
/// Codes are stable: scripts depend on them. They are listed in `docs/plugins.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The stable code, such as `truncated`.
    pub code: &'static str,
    /// What is true of the file: one printable phrase without a full stop.
    pub reason: String,
    /// What to do about it: one printable phrase without a full stop.
    pub fix: String,
}

impl Reason {
    /// A reason from words that may hold anything: both texts are made printable.
    pub(super) fn new(code: &'static str, reason: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "`{code}` is not in the table");
        let printable = |text: &str| crate::text::printable(text).into_owned();
        Self { code, reason: printable(reason.as_ref()), fix: printable(fix.as_ref()) }
    }

    /// Why a file cannot take the place of the plugin of `provider`: it is one of `id`.
    pub fn of_replacement(provider: &str, id: &str) -> Self {
        Self::new(
            "other-id",
            format!("it carries the provider `{id}`, and the session runs `{provider}`"),
            "put the right file back, or `pearlbed start` again with the other provider",
        )
    }

    /// Whether it says nothing of the plugin: there was no time or no memory to ask it.
    pub fn is_unasked(&self) -> bool {
        matches!(self.code, "not-checked" | "not-probed" | "no-probe")
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_shows_this_table() {
        let document = include_str!("../../../docs/plugins.md");
        let rows: Vec<_> = document
            .lines()
            .filter(|line| line.starts_with("| `") && line.matches('|').count() == 3)
            .collect();
        let table: Vec<_> = CODES.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |")).collect();
        assert_eq!(rows, table);
    }

    #[test]
    fn a_reason_is_one_printable_line() {
        let reason = Reason::new("broken", "two\nlines", "\u{1b}[2J");
        assert_eq!((reason.to_string().as_str(), &*reason.fix), ("two\\nlines", "\\u{1b}[2J"));
    }
}
