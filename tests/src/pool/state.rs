//! What a pool knows: the rules with their ledger, the sessions' queues, and what happened.

use std::collections::BTreeMap;

use pearlbed::work::devnet::pool::core::{Act, Candidate, Core, Fate};
use tokio::sync::mpsc;

/// All of a pool that its connections share.
#[derive(Debug)]
pub(super) struct State {
    /// The honest rules.
    pub core: Core,
    /// What happened, in words.
    pub events: Vec<String>,
    /// Where each session's lines go.
    pub sessions: BTreeMap<u64, mpsc::UnboundedSender<String>>,
    /// Connections that came.
    pub connections: u64,
    /// Of the newest work.
    pub serial: u8,
}

impl State {
    /// Lets the rules' lines go to their sessions; answers what is to be verified.
    pub fn flush(&mut self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for act in self.core.acts() {
            match act {
                Act::Send { session, line } => self.say(session, line),
                Act::Verify(candidate) => candidates.push(*candidate),
                Act::Tell(event) => self.events.push(format!("{event:?}")),
                Act::Rate(_) => {}
            }
        }
        candidates
    }

    /// A line for a session, if it is still there.
    pub fn say(&self, session: u64, line: String) {
        if let Some(lines) = self.sessions.get(&session) {
            let _ = lines.send(line);
        }
    }

    /// How many of a hundred judged shares of a session's worker were stale, once `least` were judged.
    pub fn stale_percent(&self, session: u64, least: u64) -> Option<u64> {
        let shares = &self.core.ledger().get(&self.core.worker(session)?)?.shares;
        let judged: u64 = shares.values().sum();
        let stale = shares.get(&Fate::Stale).copied().unwrap_or(0);
        (judged >= least).then(|| stale * 100 / judged.max(1))
    }
}
