//! What may be asked of a running session about its miners, and the answer.

use crate::miner::MinerId;

use super::crew::{Crew, Told};
use crate::session::paused::Paused;

/// What is to be done with a miner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Pause,
    Resume,
    Restart,
}

impl Order {
    /// How the log and the answer call it.
    pub fn done(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Restart => "restarted",
        }
    }
}

/// Who is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom<'a> {
    /// One, or all without a name.
    pub name: Option<&'a str>,
    /// Those of them that are containers. Their workers are theirs: one that is sent away does not come back.
    pub containers: &'a [String],
}

/// Gives `order` to the miners that `whom` means; `give` does it to one that is no container. Answers whom, as JSON, and what
/// follows.
pub(super) fn give(
    crew: &mut Crew,
    paused: &mut Paused,
    order: Order,
    whom: Whom<'_>,
    keep: bool,
    mut give: impl FnMut(&mut Crew, MinerId) -> Vec<Told>,
) -> (serde_json::Value, Vec<Told>) {
    let mut ids = match crew.meant(whom.name) {
        Ok(ids) => ids,
        Err(_) if !whom.containers.is_empty() => Vec::new(),
        Err(why) => return (serde_json::json!({ "error": why }), Vec::new()),
    };
    if !whom.containers.is_empty() {
        ids.retain(|id| {
            let program = crew.get_mut(*id).and_then(|miner| miner.plan().program.clone());
            program.is_none_or(|program| program.container().is_none())
        });
    }
    let mut names = whom.containers.to_vec();
    names.extend(ids.iter().map(|id| crew.name(*id).to_owned()));
    if keep && let Err(err) = paused.set(names.iter().map(String::as_str), order == Order::Pause) {
        let why = format!("it could not be written down for later sessions: {err}");
        return (serde_json::json!({ "error": why }), Vec::new());
    }
    let told = ids.into_iter().flat_map(|id| give(crew, id)).collect();
    (serde_json::json!({ order.done(): names, "kept": keep }), told)
}
