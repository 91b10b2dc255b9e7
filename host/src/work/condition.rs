//! How a source is doing, in types, words and sentences.

use std::time::{Duration, Instant};

/// How a source is doing, worst news first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Jobs come and proofs go.
    Healthy,
    /// No connection yet, or not any more; it is tried for ever.
    Connecting {
        /// Tries so far, from 1.
        attempt: u32,
        /// When the next try is due; `None` while one is under way.
        next_try: Option<Instant>,
        /// What the last try failed with.
        error: Option<String>,
    },
    /// The peer has no work just now.
    Paused {
        /// The peer's words.
        reason: String,
    },
    /// The peer took a proof of ours and answers nothing: it is proving, which takes minutes.
    Proving {
        /// When the proof was taken.
        since: Instant,
    },
    /// The peer answers nothing though nothing of ours is with it: it may be proving for another miner.
    Silent {
        /// When the unanswered request was sent.
        since: Instant,
    },
    /// The network wants another certificate than the job on offer is for: nothing found for it is worth anything.
    NeedsUpdate {
        /// The version that the network wants.
        wanted: u32,
        /// The job's.
        found: u32,
    },
    /// The node has a block where the job's would go: nothing found for it is worth anything any more.
    DeadJob {
        /// When that was found out.
        since: Instant,
        /// What is there instead.
        reason: String,
    },
    /// The job on offer is out of date, or so old that it very likely is.
    FrozenJob {
        /// When the job was first seen.
        since: Instant,
        /// How that is known.
        reason: String,
    },
    /// Proofs are taken and none becomes a block.
    RefusingEveryProof {
        /// Hand-overs in a row that came to nothing.
        count: u32,
    },
    /// No pool takes shares of ours; they are tried for ever.
    NoPool {
        /// Since when.
        since: Instant,
        /// What the last try failed with, with the pool's address.
        error: Option<String>,
        /// Whether mining pauses for that.
        paused: bool,
    },
    /// What the peer sends is not the protocol.
    Garbled {
        /// What was found.
        reason: String,
    },
}

impl Condition {
    /// One word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Connecting { .. } => "connecting",
            Self::Paused { .. } => "paused",
            Self::Proving { .. } => "proving",
            Self::Silent { .. } => "silent",
            Self::NeedsUpdate { .. } => "needs-update",
            Self::DeadJob { .. } => "dead-job",
            Self::FrozenJob { .. } => "frozen-job",
            Self::RefusingEveryProof { .. } => "refusing-every-proof",
            Self::NoPool { .. } => "no-pool",
            Self::Garbled { .. } => "garbled",
        }
    }

    /// Whether work done now can be expected to earn something.
    pub fn is_earning(&self) -> bool {
        matches!(self, Self::Healthy | Self::Proving { .. })
    }

    /// A sentence for `status`, without full stop.
    pub fn sentence(&self, now: Instant) -> String {
        let ago = |since: &Instant| seconds(now.saturating_duration_since(*since));
        match self {
            Self::Healthy => "jobs come and proofs go".to_owned(),
            Self::Connecting { attempt, next_try, error } => {
                let mut text = match error {
                    Some(error) => format!("not connected (try {attempt}): {error}"),
                    None => "connecting".to_owned(),
                };
                match next_try.map(|at| at.saturating_duration_since(now)) {
                    Some(wait) if wait.as_secs() > 0 => {
                        text.push_str(&format!("; next try in {}", seconds(wait)))
                    }
                    Some(_) => text.push_str("; next try at once"),
                    None => {}
                }
                text
            }
            Self::Paused { reason } => format!("no work on offer: {reason}"),
            Self::Proving { since } => {
                format!("proving our block for {}; answers nothing meanwhile", ago(since))
            }
            Self::Silent { since } => {
                format!("no answer for {}; it may be proving for another miner", ago(since))
            }
            Self::NeedsUpdate { wanted, found } => {
                format!("the network wants certificate {wanted}, and the gateway's job is for {found}")
            }
            Self::DeadJob { reason, .. } => {
                format!("the gateway's job is over, and it has no other yet: {reason}")
            }
            Self::FrozenJob { since, reason } => {
                format!("the job has not changed for {}: {reason}", ago(since))
            }
            Self::RefusingEveryProof { count } => {
                format!("took {count} proofs in a row and none became a block")
            }
            Self::NoPool { since, error: None, .. } => format!("looking for a pool for {}", ago(since)),
            Self::NoPool { since, error: Some(error), paused } => {
                let pause = if *paused { "; mining pauses" } else { "" };
                format!("no pool for {}{pause}; last: {error}", ago(since))
            }
            Self::Garbled { reason } => format!("does not speak the protocol: {reason}"),
        }
    }

    /// What is wrong with the peer, in a phrase that stays the same while it lasts.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Healthy | Self::Proving { .. } | Self::Connecting { error: None, .. } => None,
            Self::Connecting { error: Some(error), .. } => Some(format!("cannot be reached: {error}")),
            Self::Paused { reason } => Some(format!("has no work on offer: {reason}")),
            Self::Silent { .. } => Some("takes requests and answers none".to_owned()),
            Self::NeedsUpdate { wanted, found } => {
                Some(format!("its job is for certificate {found}, and the network wants {wanted}"))
            }
            Self::DeadJob { reason, .. } => Some(format!("its job is over: {reason}")),
            Self::FrozenJob { reason, .. } => Some(format!("its job is out of date: {reason}")),
            Self::RefusingEveryProof { .. } => {
                Some("takes one proof after the other and none becomes a block".to_owned())
            }
            Self::NoPool { error, .. } => error.clone(),
            Self::Garbled { reason } => Some(format!("does not speak the protocol: {reason}")),
        }
    }

    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Healthy | Self::Proving { .. } => None,
            Self::Connecting { .. } => Some(
                "is the gateway running, and is its address right? `[mining.gateway] command` lets a session start it",
            ),
            Self::Paused { .. } => Some("the gateway waits for its node: see the node's log"),
            Self::Silent { .. } => Some("wait for it; after ten minutes restart the gateway"),
            Self::NeedsUpdate { .. } => {
                Some("update pearl-gateway: it does not know the network's new rules")
            }
            Self::DeadJob { .. } => Some(
                "it answers when it is through with the proof that it has, or its node is slow: see its log",
            ),
            Self::FrozenJob { .. } => Some("see whether the gateway's node is up, synced and current"),
            Self::RefusingEveryProof { .. } => Some("restart the gateway; its log says why it refuses"),
            Self::NoPool { error: None, .. } => None,
            Self::NoPool { .. } => Some("`pearlbed pool test` says what each pool answers"),
            Self::Garbled { .. } => Some("is this really a pearl-gateway's address?"),
        }
    }
}

/// Whole seconds, or minutes and seconds, for sentences.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
