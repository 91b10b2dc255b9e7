//! What is asked of a session: over the control socket, by signals, by a configuration that has changed.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Session;
use crate::miner::{Miner, MinerId};
use crate::session::control::{Call, Request};
use crate::session::log::Level;
use crate::session::supervise::crew::{Crew, Told};
use crate::session::supervise::inbox::Planned;
use crate::session::supervise::reload;
use crate::session::supervise::requests::{self, Order};
use crate::session::supervise::settings::Tunables;

impl Session {
    pub(super) fn call(&mut self, call: Call, now: Instant) -> Vec<Told> {
        let grace = self.settings.tunables.stop_grace;
        let (answer, told) = match call.request {
            Request::Status => (serde_json::to_value(self.report(now)).unwrap_or_default(), Vec::new()),
            Request::Stop => {
                let told = self.stop("asked to by `pearlbed stop`", now);
                (serde_json::json!({ "stopping": true }), told)
            }
            Request::Reload => {
                self.read_again(Some(call.answer));
                return Vec::new();
            }
            Request::Pause { miner, keep } => self.order(Order::Pause, miner.as_deref(), keep, |crew, id| {
                crew.one(id, |miner| {
                    miner.pause(grace, now);
                    Vec::new()
                })
            }),
            Request::Resume { miner, keep } => {
                self.order(Order::Resume, miner.as_deref(), keep, |crew, id| {
                    crew.one(id, |miner| miner.resume(now))
                })
            }
            Request::Restart { miner } if !self.course.is_ending() && self.containers.restart(&miner) => {
                self.herald.info(&format!("miner {miner} is restarted by request"));
                (serde_json::json!({ "restarted": [miner], "kept": false }), Vec::new())
            }
            Request::Restart { miner } => self.order(Order::Restart, Some(&miner), false, |crew, id| {
                crew.one(id, |miner| miner.restart(grace, now))
            }),
        };
        // Who asked may have gone meanwhile.
        let _ = call.answer.send(answer);
        told
    }

    fn order(
        &mut self,
        order: Order,
        name: Option<&str>,
        keep: bool,
        give: impl FnMut(&mut Crew, MinerId) -> Vec<Told>,
    ) -> (serde_json::Value, Vec<Told>) {
        if self.course.is_ending() {
            return (serde_json::json!({ "error": "the session is being stopped" }), Vec::new());
        }
        let containers = match order {
            Order::Pause | Order::Resume => self.containers_meant(name),
            Order::Restart => Vec::new(),
        };
        let whom = requests::Whom { name, containers: &containers };
        let (answer, told) = requests::give(&mut self.crew, &mut self.paused, order, whom, keep, give);
        if answer["error"].is_null() {
            self.containers.rest(&containers, order == Order::Pause);
        }
        match answer["error"].as_str() {
            Some(why) => self.herald.line(Level::Warn, why),
            None => {
                let whom = name.map_or("every miner".to_owned(), |name| format!("miner {name}"));
                let kept = if keep { ", also in later sessions" } else { "" };
                self.herald.info(&format!("{whom} is {} by request{kept}", order.done()));
            }
        }
        (answer, told)
    }

    /// The containers that `name` means, which may be the name of one of its workers.
    fn containers_meant(&mut self, name: Option<&str>) -> Vec<String> {
        let worker = name.and_then(|name| self.crew.called(name)).and_then(|id| self.crew.get_mut(id));
        let of_worker = worker.and_then(|miner| miner.plan().program.as_ref()?.container());
        self.containers.meant(of_worker.or(name))
    }

    pub(super) fn stop(&mut self, reason: &str, now: Instant) -> Vec<Told> {
        if self.course.is_ending() {
            self.stop_waits.1 = true;
            // Asked twice by a signal: the second time is meant.
            let meant = reason.contains("SIG");
            return if meant { self.crew.each(|miner| miner.insist(now)) } else { Vec::new() };
        }
        self.herald.info(&format!("stopping: {reason}"));
        self.herald.notify("STOPPING=1");
        self.course.end(reason, now);
        self.tell_manager();
        let grace = self.settings.tunables.stop_grace;
        // Its workers hand in what they have until it has ended: they are not sent away before.
        self.containers.stop(self.settings.config.mining.container.stop_grace);
        let out = |miner: &&mut Miner| {
            miner.plan().program.as_ref().is_none_or(|program| program.container().is_none())
        };
        self.crew.iter_mut().filter(out).for_each(|miner| miner.pause(grace, now));
        Vec::new()
    }

    /// Reads the configuration again and looks for its plugins, beside everything else.
    pub(super) fn read_again(&mut self, asker: Option<oneshot::Sender<serde_json::Value>>) {
        self.herald.notify("RELOADING=1");
        self.herald.log().reopen();
        let (options, old) = (self.options.clone(), self.settings.config.clone());
        let planned = self.inbox.planned_in();
        tokio::task::spawn_blocking(move || {
            // Without a listener the session is over.
            let _ = planned.blocking_send(Planned { read: reload::read(&options, &old), asker });
        });
    }

    /// The configuration was read again.
    pub(super) fn planned(&mut self, planned: Planned, now: Instant) -> Vec<Told> {
        let Planned { read, asker } = planned;
        let (answer, told) = match read {
            _ if self.course.is_ending() => {
                (serde_json::json!({ "error": "the session is being stopped" }), Vec::new())
            }
            Ok(read) => self.change(read, now),
            Err(why) => {
                let text = format!("the configuration was not reloaded: {why}");
                self.herald.trouble(&text);
                (serde_json::json!({ "error": text }), Vec::new())
            }
        };
        self.herald.notify("READY=1");
        if let Some(asker) = asker {
            // Who asked may have gone meanwhile.
            let _ = asker.send(answer);
        }
        told
    }

    fn change(&mut self, read: reload::Read, now: Instant) -> (serde_json::Value, Vec<Told>) {
        let reload::Read { config, plans, containers } = read;
        let tunables = Tunables::of(&config);
        let plans = self.contest.settle(plans);
        let mut changes = reload::compare(
            (&self.settings.config, &self.settings.tunables),
            (&config, &tunables),
            self.crew.present().filter(|miner| !miner.is_program()).map(Miner::plan),
            plans,
        );
        let others = self.containers.changed(&containers);
        changes.later.extend(others.into_iter().map(|name| format!("the container {name}")));
        self.settings.tunables = tunables;
        self.herald.log().set_size_max(tunables.log_bytes_max);
        for (level, line) in changes.lines() {
            self.herald.line(level, &line);
        }
        let answer = changes.json();
        let current = self.jobs.current().cloned();
        let grace = tunables.stop_grace;
        let told = reload::apply(changes, &mut self.crew, &self.paused, current.as_ref(), grace, now);
        self.settings.config = reload::in_force(&self.settings.config, &config);
        (answer, told)
    }
}
