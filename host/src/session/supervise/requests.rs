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

/// Gives `order` to the miner called `name`, or to all; `give` does it to one. Answers whom, as JSON, and what follows.
pub(super) fn give(
    crew: &mut Crew,
    paused: &mut Paused,
    order: Order,
    name: Option<&str>,
    keep: bool,
    mut give: impl FnMut(&mut Crew, MinerId) -> Vec<Told>,
) -> (serde_json::Value, Vec<Told>) {
    let ids = match crew.meant(name) {
        Ok(ids) => ids,
        Err(why) => return (serde_json::json!({ "error": why }), Vec::new()),
    };
    let names: Vec<String> = ids.iter().map(|id| crew.name(*id).to_owned()).collect();
    if keep && let Err(err) = paused.set(names.iter().map(String::as_str), order == Order::Pause) {
        let why = format!("it could not be written down for later sessions: {err}");
        return (serde_json::json!({ "error": why }), Vec::new());
    }
    let told = ids.into_iter().flat_map(|id| give(crew, id)).collect();
    (serde_json::json!({ order.done(): names, "kept": keep }), told)
}
