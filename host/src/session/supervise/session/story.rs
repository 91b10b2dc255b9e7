//! What a session tells the world without being asked: lines in its log, its record, its service manager.
//!
//! Owns what was held back because there was too much of it. It never decides anything: who calls has.

use std::io;
use std::time::{Duration, Instant};

use super::Session;
use crate::session::log::{Level, Speaker};
use crate::session::notify;
use crate::session::supervise::{unix_seconds, verifier};
use crate::sidecar::{Own, Sidecar};

/// Between two lines about what was held back.
const FLOOD_LINE_EVERY: Duration = Duration::from_secs(10);

/// What was held back because there was too much of it.
#[derive(Debug)]
pub(super) struct Flood {
    /// Log lines of the provider that were dropped.
    pub lines_dropped: u64,
    lines_said: u64,
    /// Times that reading from the provider was slowed down.
    pub throttled: u64,
    throttled_said: u64,
    said_at: Instant,
}

impl Flood {
    pub(super) fn new(now: Instant) -> Self {
        Self { lines_dropped: 0, lines_said: 0, throttled: 0, throttled_said: 0, said_at: now }
    }

    /// Lines about what came since the last time, where it is time for them.
    fn due(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        if now.saturating_duration_since(self.said_at) < FLOOD_LINE_EVERY {
            return told;
        }
        self.said_at = now;
        let lines = self.lines_dropped - self.lines_said;
        let throttled = self.throttled - self.throttled_said;
        (self.lines_said, self.throttled_said) = (self.lines_dropped, self.throttled);
        if lines > 0 {
            told.push(format!("{lines} log lines of the provider were dropped: it writes too many"));
        }
        if throttled > 0 {
            told.push(format!("the provider floods its pipe; it was slowed down {throttled} times"));
        }
        told
    }
}

impl Session {
    /// Says from time to time what was held back.
    pub(super) fn say_flood(&mut self, now: Instant) {
        for text in self.flood.due(now) {
            self.line(Level::Warn, &text);
        }
    }

    pub(super) fn write_sidecar(&mut self) {
        if self.running_since.is_none() {
            return;
        }
        let metrics = self.metrics_address.filter(|(_, bound)| *bound);
        let metrics = metrics.map(|(address, _)| format!("http://{address}/metrics"));
        let gateway_url =
            self.work.borrow().endpoints.iter().find(|endpoint| endpoint.purpose == "gateway").map(
                |endpoint| match endpoint.address.strip_prefix("tcp:") {
                    Some(address) => format!("http://{address}"),
                    None => endpoint.address.clone(),
                },
            );
        let record = Sidecar {
            provider: Some(self.setup.chosen.manifest.id.clone()),
            model: self.setup.config.mining.model.clone(),
            wallet_address: Some(self.setup.config.mining.wallet_address.clone().unwrap_or_default()),
            started_at: Some(unix_seconds(self.began_at)),
            gateway_url,
            gateway_metrics_url: metrics.clone(),
            metrics_url: metrics,
            gateway_pid: Some(self.setup.holder.supervisor.pid),
            miner_loop_pid: self.child.as_ref().map(|child| child.identity().pid),
            container_id: None,
            vllm_endpoint: None,
            pearlbed: Some(Own {
                supervisor: self.setup.holder.supervisor.clone(),
                socket: Some(self.setup.holder.socket.clone()),
                version: env!("CARGO_PKG_VERSION").into(),
                attached: false,
            }),
        };
        if let Err(err) = record.write(&self.setup.options.home.sidecar_file()) {
            // Status, stop and the lock do without it; OpenJarvis does not see the session.
            self.trouble(&verifier::chain(&err));
        }
    }

    pub(super) fn notify(&mut self, state: &str) {
        let address = self.setup.options.env.var_os("NOTIFY_SOCKET").map(ToOwned::to_owned);
        let sent: io::Result<()> = notify::notify(address.as_deref(), state);
        if let Err(err) = sent {
            self.line(Level::Warn, &format!("the service manager could not be told: {err}"));
        }
    }

    pub(super) fn line(&mut self, level: Level, text: &str) {
        self.setup.log.line(level, Speaker::Supervisor, text);
    }

    pub(super) fn info(&mut self, text: &str) {
        self.line(Level::Info, text);
    }

    /// A warning that `status` shows as the last error.
    pub(super) fn trouble(&mut self, text: &str) {
        self.line(Level::Warn, text);
        self.last_error = Some(text.to_owned());
    }

    pub(super) fn trouble_at(&mut self, text: &str, now: Instant) {
        if self.provider_gate.pass(now) {
            self.trouble(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_back_is_said_once_and_not_too_often() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        flood.lines_dropped = 7;
        assert_eq!(flood.due(start), Vec::<String>::new());
        let said = flood.due(start + FLOOD_LINE_EVERY);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("7 log lines"), "{said:?}");
        flood.lines_dropped = 9;
        flood.throttled = 1;
        assert_eq!(flood.due(start + FLOOD_LINE_EVERY), Vec::<String>::new());
        let said = flood.due(start + FLOOD_LINE_EVERY * 2);
        assert!(said[0].starts_with("2 log lines") && said[1].contains("1 times"), "{said:?}");
        assert_eq!(flood.due(start + FLOOD_LINE_EVERY * 3), Vec::<String>::new());
    }
}
