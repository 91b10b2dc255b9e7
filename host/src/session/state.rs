//! The seven states of a session, derived from facts each time they are asked for and stored nowhere.
//!
//! ```text
//! NOT_CONFIGURED -> CONFIGURED -> STARTING -> RUNNING -> STOPPING -> STOPPED
//!                                     \----------\------------------> FAILED
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of the one session of a home folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// No configuration, and nothing has ever run.
    NotConfigured,
    /// A configuration, and nothing has run since it was made.
    Configured,
    /// A supervisor runs and its provider has not taken a job yet.
    Starting,
    /// The provider has taken a job; whether it earns is said beside the state.
    Running,
    /// The supervisor was asked to stop.
    Stopping,
    /// The last session was stopped.
    Stopped,
    /// The last session ended without having been asked to.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotConfigured => "NOT_CONFIGURED",
            Self::Configured => "CONFIGURED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        })
    }
}

/// What a supervisor knows of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveFacts {
    /// A stop was asked for.
    pub stopping: bool,
    /// The provider has taken a job in this session.
    pub took_a_job: bool,
}

/// What can be seen in a home folder where no supervisor answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemainingFacts {
    /// The configuration sets something under `[mining]`.
    pub configured: bool,
    /// A supervisor left its record or its name in the lock behind: it ended without tidying up.
    pub left_behind: bool,
    /// How the last session ended, where it said so: whether it failed.
    pub last_failed: Option<bool>,
}

/// State of a session whose supervisor runs.
pub fn of_live(facts: LiveFacts) -> State {
    match facts {
        LiveFacts { stopping: true, .. } => State::Stopping,
        LiveFacts { took_a_job: true, .. } => State::Running,
        LiveFacts { .. } => State::Starting,
    }
}

/// State where no supervisor runs.
pub fn of_remains(facts: RemainingFacts) -> State {
    match facts {
        RemainingFacts { left_behind: true, .. } | RemainingFacts { last_failed: Some(true), .. } => {
            State::Failed
        }
        RemainingFacts { last_failed: Some(false), .. } => State::Stopped,
        RemainingFacts { configured: true, .. } => State::Configured,
        RemainingFacts { .. } => State::NotConfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_session_is_stopping_before_anything_else() {
        assert_eq!(of_live(LiveFacts::default()), State::Starting);
        assert_eq!(of_live(LiveFacts { took_a_job: true, ..Default::default() }), State::Running);
        assert_eq!(of_live(LiveFacts { took_a_job: true, stopping: true }), State::Stopping);
    }

    #[test]
    fn what_a_dead_supervisor_left_behind_means_failure() {
        let facts = RemainingFacts { configured: true, left_behind: true, last_failed: Some(false) };
        assert_eq!(of_remains(facts), State::Failed);
        assert_eq!(of_remains(RemainingFacts { left_behind: false, ..facts }), State::Stopped);
        assert_eq!(
            of_remains(RemainingFacts { last_failed: None, left_behind: false, ..facts }),
            State::Configured
        );
        assert_eq!(of_remains(RemainingFacts::default()), State::NotConfigured);
        assert_eq!(serde_json::to_value(State::NotConfigured).unwrap(), "NOT_CONFIGURED");
    }
}
