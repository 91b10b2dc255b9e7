//! Why a plugin is not used: a code for scripts, a sentence for people, and what to do.

use serde::Serialize;

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
        let printable = |text: &str| crate::text::printable(text).into_owned();
        Self { code, reason: printable(reason.as_ref()), fix: printable(fix.as_ref()) }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}
