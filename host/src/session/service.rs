//! Whether a session belongs to a service whose command did not stay.
//!
//! systemd ends whatever the command of a service leaves running, as soon as that command has ended; so a session that
//! `start` leaves in the background there lives for a moment. systemd tells its command by `$SYSTEMD_EXEC_PID`.
//!
//! # Limitations
//!
//! What the unit's `Type=` is cannot be told from here: of a `forking` unit, and of one that remains after its exit, the
//! session stays. Managers older than 248 tell nobody.

use std::time::{Duration, Instant};

use crate::home::Env;

/// How long after a start the end of a session has to do with it.
const LEFT_BEHIND_TIME: Duration = Duration::from_secs(10);

/// Whether the process `pid` is the command of a service, by what `env` says.
pub fn is_command(env: &Env, pid: u32) -> bool {
    env.var("SYSTEMD_EXEC_PID").and_then(|told| told.parse().ok()) == Some(pid)
}

/// Why a session ended that a signal ended, as `why` has it: what is behind that, where `starter`, which started it, is the
/// command of a service. `started` is when that one was told that the session mines, if it was, and could end.
pub fn behind(why: &str, env: &Env, starter: Option<u32>, started: Option<Instant>, now: Instant) -> String {
    let is_command = starter.is_some_and(|pid| is_command(env, pid));
    let soon = started.is_none_or(|at| now.saturating_duration_since(at) < LEFT_BEHIND_TIME);
    match why.contains("SIGTERM") && is_command && soon {
        true => format!(
            "{why}: systemd ends a session with the service whose command started it; `pearlbed start --foreground` is what \
             a service runs"
        ),
        false => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_follows_the_start_of_a_service_is_told_with_what_is_behind_it() {
        let now = Instant::now();
        let env = Env::of([("SYSTEMD_EXEC_PID", "7")]);
        let told = |env: &Env, why, starter, started| behind(why, env, starter, started, now) != why;
        assert!(told(&env, "told to end (SIGTERM)", Some(7), Some(now)));
        assert!(told(&env, "told to end (SIGTERM)", Some(7), None));
        let long_ago = now.checked_sub(Duration::from_secs(60));
        assert!(!told(&env, "told to end (SIGTERM)", Some(7), long_ago) || long_ago.is_none());
        assert!(!told(&env, "told to end (SIGTERM)", Some(8), None), "another process is the command");
        assert!(!told(&env, "told to end (SIGTERM)", None, None));
        assert!(!told(&env, "asked to by `pearlbed stop`", Some(7), None));
        assert!(!told(&Env::default(), "told to end (SIGTERM)", Some(7), None));
    }
}
