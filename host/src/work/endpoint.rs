//! The addresses that a source talks to, and what is wrong with one of them.
//!
//! A source may earn while one of its addresses is in trouble: it mines on without its node. So trouble is told beside
//! the source's condition, and stays on show for as long as it lasts.

use std::time::Instant;

/// An address that the session talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What for: `gateway`, `node`.
    pub purpose: &'static str,
    /// Without any credentials, such as `unix:/tmp/pearlgw.sock` or `https://127.0.0.1:44107`.
    pub address: String,
    /// Whether the last exchange worked; `None` before the first.
    pub reachable: Option<bool>,
    /// What is wrong with it: it cannot be reached, it refuses, or what it says is out of date.
    pub trouble: Option<Trouble>,
}

/// What is wrong with an address, since when, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong now: a phrase without full stop, and without anything that changes by the second.
    pub text: String,
    /// What a person can do about it, where there is something.
    pub hint: Option<String>,
    /// Since when all has not been well with the address, whatever it was first.
    pub since: Instant,
}

/// Trouble as it is found at one moment: the text and the hint.
pub(in crate::work) type Found = (String, Option<String>);

impl Trouble {
    /// The trouble to show, given what was shown before and what is found now. It lasts until nothing is found, also
    /// where a refused connection becomes a time-out meanwhile; new trouble began at `began`.
    pub(super) fn follow(before: Option<Self>, found: Option<Found>, began: Instant) -> Option<Self> {
        let (text, hint) = found?;
        Some(Self { text, hint, since: before.map_or(began, |before| before.since) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn trouble_lasts_from_its_first_form_to_its_last_and_begins_anew_after_that() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let found = |text: &str| Some((text.to_owned(), None));
        let refused = Trouble::follow(None, found("refused"), start);
        let silent = Trouble::follow(refused, found("silent"), start + second).unwrap();
        assert_eq!((silent.text.as_str(), silent.since), ("silent", start));
        assert_eq!(Trouble::follow(Some(silent), None, start + second * 2), None);
        let again = Trouble::follow(None, found("refused"), start + second * 3).unwrap();
        assert_eq!(again.since, start + second * 3);
    }
}
