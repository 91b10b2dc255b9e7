//! What is owed by a provider that is a container's data file, and not a library.
//!
//! There is no code to be tried out: the file is read, and what it requires is compared with the machine, twice. Whether
//! its image mines is seen in a session, where every proof is verified.

use crate::plugins::{CheckState, Entry};

use super::State;

/// One obligation: its number, what it asks, how it was found, what was seen, and what to do.
pub type Found = (&'static str, &'static str, State, String, Option<&'static str>);

/// Judges the data file of `entry`, which was compared twice; `again` is the second time.
pub fn judge(entry: &Entry, again: &Entry) -> Vec<Found> {
    let check = |ids: &[&str]| {
        let checks = entry.look.iter().flat_map(|look| &look.checks);
        let checks: Vec<_> = checks.filter(|check| ids.contains(&check.id)).collect();
        let state = match checks.iter().map(|check| check.state).find(|state| *state != CheckState::Ok) {
            None | Some(CheckState::Ok | CheckState::Warn) => State::Pass,
            Some(CheckState::Fail) => State::Fail,
            Some(CheckState::Skip) => State::Untried,
        };
        let bad = checks.iter().find(|check| check.state != CheckState::Ok).or(checks.first());
        (state, bad.map(|check| check.finding.clone()).unwrap_or_default())
    };
    let (file, file_seen) = check(&["file", "owner"]);
    let (format, format_seen) = check(&["format", "manifest"]);
    let signed = match &entry.judgement.refusal {
        Some(reason) => (State::Fail, reason.reason.clone()),
        None => (State::Pass, entry.judgement.signed.to_string()),
    };
    let answer = match (entry.capabilities(), again.capabilities()) {
        (Some(first), Some(second)) if first == second => {
            let reason = first.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let word = if first.supported { "it can mine here" } else { "it cannot mine here" };
            (State::Pass, format!("{word}{reason}"))
        }
        (Some(_), Some(_)) => (State::Fail, "it answered differently the second time".to_owned()),
        _ => (State::Untried, "it cannot be used".to_owned()),
    };
    vec![
        ("D1", "the file is a regular one that only you and root can change", file, file_seen, None),
        (
            "D2",
            "it says what a data file may say, and nothing else",
            format,
            format_seen,
            (format == State::Fail).then_some("docs/containers.md says what it may hold"),
        ),
        ("D3", "nobody whom you do not trust vouches for it", signed.0, signed.1, None),
        ("D4", "what it requires compares with a machine, twice alike", answer.0, answer.1, None),
    ]
}
