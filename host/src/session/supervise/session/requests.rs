//! What is asked of a running session: its status, to stop, to read its configuration again.
//!
//! Owns a stop under way and which settings change without a restart. It never ends the session itself: a stop is over
//! when the provider process has ended, which the session's loop sees.

use std::time::{Duration, Instant, SystemTime};

use super::Session;
use crate::session::control::{Call, Request};
use crate::session::frame::ToProvider;
use crate::session::log::Level;
use crate::session::supervise::settings::Tunables;
use crate::session::supervise::verifier;

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stopping {
    pub since: Instant,
    pub since_time: SystemTime,
    pub deadline: Instant,
    pub reason: String,
}

impl Session {
    pub(super) fn call(&mut self, call: Call, now: Instant) {
        let answer = match call.request {
            Request::Status => {
                let report = self.report(now);
                serde_json::to_value(report).unwrap_or_default()
            }
            Request::Stop => {
                self.stop("asked to by `pearlbed stop`", now);
                serde_json::json!({ "stopping": true })
            }
            Request::Reload => self.reload(),
        };
        // Who asked may have gone meanwhile.
        let _ = call.answer.send(answer);
    }

    pub(super) fn stop(&mut self, reason: &str, now: Instant) {
        if self.stopping.is_some() {
            // Asked twice by a signal: the second time is meant.
            if reason.contains("SIG") {
                self.kill_what_does_not_stop();
            }
            return;
        }
        self.info(&format!("stopping: {reason}"));
        self.notify("STOPPING=1");
        self.stopping = Some(Stopping {
            since: now,
            since_time: SystemTime::now(),
            deadline: now + self.setup.tunables.stop_grace,
            reason: reason.into(),
        });
        self.restart_at = None;
        self.send(ToProvider::Stop);
    }

    pub(super) fn kill_what_does_not_stop(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        let waited = stopping.since.elapsed();
        // The end of its pipe comes as an event; until then nobody asks again.
        stopping.deadline = Instant::now() + Duration::from_secs(3600);
        if let Some(child) = &mut self.child {
            let pid = child.identity().pid;
            child.end();
            let text = format!(
                "the provider process {pid} did not stop within {} and was ended",
                crate::text::duration(waited)
            );
            self.line(Level::Warn, &text);
            self.last_error = Some(text);
            self.child = None;
        }
    }

    pub(super) fn reload(&mut self) -> serde_json::Value {
        self.notify("RELOADING=1");
        let config = match self.setup.options.config() {
            Ok(config) => config,
            Err(err) => {
                let text = format!("the configuration was not reloaded: {}", verifier::chain(&err));
                self.trouble(&text);
                self.notify("READY=1");
                return serde_json::json!({ "error": text });
            }
        };
        let tunables = Tunables::of(&config);
        let (old, new) = (&self.setup.config.mining, &config.mining);
        let mut later = Vec::new();
        for (key, changed) in [
            ("provider", old.provider != new.provider),
            ("wallet_address", old.wallet_address != new.wallet_address),
            ("submit_target", old.submit_target != new.submit_target),
            ("extra", old.extra != new.extra),
            ("grants", old.grants != new.grants),
            ("gateway", old.gateway != new.gateway),
            ("node", old.node != new.node),
            ("session.metrics_listen", old.session.metrics_listen != new.session.metrics_listen),
        ] {
            if changed {
                later.push(format!("mining.{key}"));
            }
        }
        let mut now = Vec::new();
        let was = self.setup.tunables;
        for (key, changed) in [
            ("stop_grace", was.stop_grace != tunables.stop_grace),
            ("stall_after", was.stall_after != tunables.stall_after),
            ("log_size", was.log_bytes_max != tunables.log_bytes_max),
        ] {
            if changed {
                now.push(format!("mining.session.{key}"));
            }
        }
        self.setup.tunables = tunables;
        self.setup.log.set_size_max(tunables.log_bytes_max);
        let list = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        self.info(&format!("configuration read again; in force now: {}", list(&now)));
        if !later.is_empty() {
            self.line(Level::Warn, &format!("in force after a restart only: {}", list(&later)));
        }
        self.notify("READY=1");
        serde_json::json!({ "in_force": now, "after_restart": later })
    }
}
