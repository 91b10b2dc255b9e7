//! What is different in a configuration that was read again: what holds at once, and what after a restart only.

use super::settings::Tunables;
use crate::config::Config;
use crate::session::log::Level;

/// What changed, by the keys' names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// In force now.
    pub now: Vec<String>,
    /// In force once the session was started anew.
    pub later: Vec<String>,
}

impl Changes {
    /// The same as lines for the log.
    pub fn lines(&self) -> Vec<(Level, String)> {
        let list = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        let mut lines =
            vec![(Level::Info, format!("configuration read again; in force now: {}", list(&self.now)))];
        if !self.later.is_empty() {
            lines.push((Level::Warn, format!("in force after a restart only: {}", list(&self.later))));
        }
        lines
    }
}

/// Compares what is in force with what was read.
pub(super) fn compare(old: (&Config, &Tunables), config: &Config, tunables: &Tunables) -> Changes {
    let mut changes = Changes::default();
    let (was, new) = (&old.0.mining, &config.mining);
    for (key, changed) in [
        ("provider", was.provider != new.provider),
        ("wallet_address", was.wallet_address != new.wallet_address),
        ("submit_target", was.submit_target != new.submit_target),
        ("extra", was.extra != new.extra),
        ("grants", was.grants != new.grants),
        ("gateway", was.gateway != new.gateway),
        ("node", was.node != new.node),
        ("session.metrics_listen", was.session.metrics_listen != new.session.metrics_listen),
    ] {
        if changed {
            changes.later.push(format!("mining.{key}"));
        }
    }
    let was = old.1;
    for (key, changed) in [
        ("stop_grace", was.stop_grace != tunables.stop_grace),
        ("stall_after", was.stall_after != tunables.stall_after),
        ("log_size", was.log_bytes_max != tunables.log_bytes_max),
    ] {
        if changed {
            changes.now.push(format!("mining.session.{key}"));
        }
    }
    changes
}
