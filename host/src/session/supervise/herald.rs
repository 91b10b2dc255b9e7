//! What a session tells the world without being asked: lines in its log, whoever waits for its start, its service
//! manager.
//!
//! It never decides anything: who calls has.

use std::io;
use std::time::Instant;

use crate::home::Env;
use crate::session::announce::{Announcement, Announcer};
use crate::session::log::{Level, SessionLog, Speaker};
use crate::session::{notify, service};

/// The ways out.
#[derive(Debug)]
pub(super) struct Herald {
    log: SessionLog,
    announcer: Announcer,
    env: Env,
    last_error: Option<String>,
    /// The service manager's status line.
    status: String,
    /// Who started this process, and when it was told all that it waited for.
    starter: (Option<u32>, Option<Instant>),
}

impl Herald {
    /// Speaks in `log` and to `announcer`; `env` names the service manager.
    pub fn new(log: SessionLog, announcer: Announcer, env: Env) -> Self {
        let starter = rustix::process::getppid().and_then(|pid| pid.as_raw_nonzero().get().try_into().ok());
        Self { log, announcer, env, last_error: None, status: String::new(), starter: (starter, None) }
    }

    /// A line of `speaker`'s.
    pub fn say(&mut self, level: Level, speaker: Speaker, text: &str) {
        self.log.line(level, speaker, text);
    }

    /// A line of the supervisor's.
    pub fn line(&mut self, level: Level, text: &str) {
        self.say(level, Speaker::Supervisor, text);
    }

    /// The same of no gravity.
    pub fn info(&mut self, text: &str) {
        self.line(Level::Info, text);
    }

    /// A warning that `status` shows as the last error.
    pub fn trouble(&mut self, text: &str) {
        self.line(Level::Warn, text);
        self.last_error = Some(text.to_owned());
    }

    /// The last thing that went wrong.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The log itself.
    pub fn log(&mut self) -> &mut SessionLog {
        &mut self.log
    }

    /// Tells whoever waits for the session.
    pub fn announce(&mut self, announcement: &Announcement) {
        self.announcer.tell(announcement);
    }

    /// Nothing more will be announced.
    pub fn hush(&mut self) {
        self.announcer.close();
        self.starter.1 = Some(Instant::now());
    }

    /// Why a signal ends the session, with what is behind that where it is known.
    pub fn behind(&self, why: &str, now: Instant) -> String {
        let (starter, started) = self.starter;
        service::behind(why, &self.env, starter, started, now)
    }

    /// Whether a service manager listens.
    pub fn has_manager(&self) -> bool {
        self.env.var_os("NOTIFY_SOCKET").is_some()
    }

    /// Tells the service manager that this process is awake, where it wants to hear that.
    pub fn awake(&mut self) {
        if is_watched(&self.env, std::process::id()) {
            self.notify("WATCHDOG=1");
        }
    }

    /// Tells the service manager how it goes, where that is not what it was told last.
    pub fn status(&mut self, line: &str) {
        let line = crate::text::printable(line);
        if line != self.status {
            self.notify(&format!("STATUS={line}"));
            self.status = line.into_owned();
        }
    }

    /// Tells the service manager.
    pub fn notify(&mut self, state: &str) {
        let address = self.env.var_os("NOTIFY_SOCKET").map(ToOwned::to_owned);
        let sent: io::Result<()> = notify::notify(address.as_deref(), state);
        if let Err(err) = sent {
            self.line(Level::Warn, &format!("the service manager could not be told: {err}"));
        }
    }
}

/// Whether the service manager that `env` tells of ends the process `pid` unless it says that it is awake.
fn is_watched(env: &Env, pid: u32) -> bool {
    let number = |name: &str| env.var(name).and_then(|value| value.parse::<u64>().ok());
    let named = env.var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
    named && number("WATCHDOG_USEC").is_some_and(|time| time > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_watched_where_its_manager_says_so_and_means_it() {
        let watched = |variables: &[(&str, &str)]| is_watched(&Env::of(variables.iter().copied()), 7);
        assert!(!watched(&[]));
        assert!(watched(&[("WATCHDOG_USEC", "4000000")]));
        assert!(watched(&[("WATCHDOG_USEC", "4000000"), ("WATCHDOG_PID", "7")]));
        assert!(!watched(&[("WATCHDOG_USEC", "4000000"), ("WATCHDOG_PID", "8")]));
        assert!(!watched(&[("WATCHDOG_USEC", "0")]) && !watched(&[("WATCHDOG_USEC", "soon")]));
    }
}
