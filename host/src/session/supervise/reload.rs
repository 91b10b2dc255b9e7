//! What is different in a configuration that was read again: what holds at once, what after a restart only, and what it
//! means for each miner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::containers::{self, Planned};
use super::crew::{Crew, Told};
use super::settings::{SettingsError, Tunables};
use super::verifier::chain;
use crate::config::Config;
use crate::miner::{MinerPlan, Options, Work, plan, plugin};
use crate::session::log::Level;
use crate::session::paused::Paused;

/// What changed, by the keys' names, and what becomes of the miners.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// In force now.
    pub now: Vec<String>,
    /// In force once the session was started anew.
    pub later: Vec<String>,
    /// Miners that are new.
    pub added: Vec<MinerPlan>,
    /// Miners that are something else from now on, and are started again.
    pub changed: Vec<MinerPlan>,
    /// Names of miners that leave.
    pub removed: Vec<String>,
}

impl Changes {
    /// The same as lines for the log.
    pub fn lines(&self) -> Vec<(Level, String)> {
        let mut in_force = self.now.clone();
        for (what, names) in [
            ("added", names(&self.added)),
            ("changed and started again", names(&self.changed)),
            ("removed", self.removed.clone()),
        ] {
            in_force.extend(names.iter().map(|name| format!("miner {name} {what}")));
        }
        let list = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        let mut lines =
            vec![(Level::Info, format!("configuration read again; in force now: {}", list(&in_force)))];
        if !self.later.is_empty() {
            lines.push((Level::Warn, format!("in force after a restart only: {}", list(&self.later))));
        }
        lines
    }

    /// The same for whoever asked for it.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "in_force": self.now,
            "after_restart": self.later,
            "added": names(&self.added),
            "changed": names(&self.changed),
            "removed": self.removed,
        })
    }
}

fn names(plans: &[MinerPlan]) -> Vec<String> {
    plans.iter().map(|plan| plan.name.clone()).collect()
}

/// Compares what is in force with what was read: the settings, and the miners' plans.
pub(super) fn compare<'a>(
    old: (&Config, &Tunables),
    new: (&Config, &Tunables),
    present: impl Iterator<Item = &'a MinerPlan>,
    plans: Vec<MinerPlan>,
) -> Changes {
    let mut changes = Changes { later: later(old.0, new.0), now: now(old.1, new.1), ..Changes::default() };
    let present: Vec<&MinerPlan> = present.collect();
    let wanted = |name: &str| plans.iter().any(|plan| plan.name == name);
    changes.removed =
        present.iter().filter(|plan| !wanted(&plan.name)).map(|plan| plan.name.clone()).collect();
    for plan in plans {
        match present.iter().find(|present| present.name == plan.name) {
            None => changes.added.push(plan),
            Some(present) if !present.is_same(&plan) => changes.changed.push(plan),
            Some(_) => {}
        }
    }
    changes
}

fn later(old: &Config, new: &Config) -> Vec<String> {
    let (was, new) = (&old.mining, &new.mining);
    let keys = [
        ("wallet_address", was.wallet_address != new.wallet_address),
        ("submit_target", was.submit_target != new.submit_target),
        ("gateway", was.gateway != new.gateway),
        ("node", was.node != new.node),
        ("pool", was.pool != new.pool),
        ("port", was.port != new.port),
        ("container", was.container != new.container),
        ("session.metrics_listen", was.session.metrics_listen != new.session.metrics_listen),
        ("session.restart_wait", was.session.restart_wait != new.session.restart_wait),
        ("session.metrics_socket", was.session.metrics_socket != new.session.metrics_socket),
    ];
    keys.iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("mining.{key}")).collect()
}

fn now(was: &Tunables, new: &Tunables) -> Vec<String> {
    let keys = [
        ("stop_grace", was.stop_grace != new.stop_grace),
        ("stall_after", was.stall_after != new.stall_after),
        ("log_size", was.log_bytes_max != new.log_bytes_max),
    ];
    keys.iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("mining.session.{key}")).collect()
}

/// The configuration that miners are planned with while a session runs: what holds after a restart only is what it was.
fn for_plans(old: &Config, new: &Config) -> Config {
    let mut config = new.clone();
    config.mining.wallet_address.clone_from(&old.mining.wallet_address);
    config.mining.node.clone_from(&old.mining.node);
    config.mining.session.restart_wait = old.mining.session.restart_wait;
    config
}

/// The configuration that is in force once `new` was read: what holds after a restart only stays what it was.
pub(super) fn in_force(old: &Config, new: &Config) -> Config {
    let mut config = for_plans(old, new);
    let (was, is) = (&old.mining, &mut config.mining);
    is.submit_target.clone_from(&was.submit_target);
    is.gateway.clone_from(&was.gateway);
    is.pool.clone_from(&was.pool);
    is.port.clone_from(&was.port);
    is.container.clone_from(&was.container);
    is.session.metrics_listen = was.session.metrics_listen;
    is.session.metrics_socket.clone_from(&was.session.metrics_socket);
    config
}

/// A configuration that was read again, and what it means.
#[derive(Debug)]
pub(super) struct Read {
    /// The configuration.
    pub config: Config,
    /// Its miners that are plugins.
    pub plans: Vec<MinerPlan>,
    /// Its miners that are containers.
    pub containers: Vec<Planned>,
}

/// Reads the configuration again and looks for the plugins of its miners. Takes as long as that does.
///
/// # Errors
///
/// Why it cannot be used, on one line.
pub(super) fn read(options: &Options, old: &Config) -> Result<Read, String> {
    let config = options.config().map_err(|err| chain(&SettingsError::Config(err)))?;
    // One that mines is not ended because it answers otherwise today.
    let options = &Options { anyway: true, ..options.clone() };
    let plans = plan::plans(options, &for_plans(old, &config)).map_err(|err| chain(&err))?;
    // A slip in a setting must not end a miner that runs; a card that is not there may have been so before.
    let slip = plans.left_out.iter().find(|one| matches!(one.why, plugin::ChooseError::Setting { .. }));
    if let Some(slip) = slip {
        return Err(format!("miner `{}`: {}", slip.name, slip.why));
    }
    let containers = containers::plan(plans.containers, options, &config).map_err(|err| chain(&err))?;
    Ok(Read { config, plans: plans.miners, containers })
}

/// Does to the miners what changed. Those that are new get the job on offer, `current`, at once.
pub(super) fn apply(
    changes: Changes,
    crew: &mut Crew,
    paused: &Paused,
    current: Option<&Arc<Work>>,
    grace: Duration,
    now: Instant,
) -> Vec<Told> {
    let mut told = Vec::new();
    for name in &changes.removed {
        if let Some(miner) = crew.called(name).and_then(|id| crew.get_mut(id)) {
            miner.dismiss(grace, now);
        }
    }
    for plan in changes.changed {
        let Some(id) = crew.called(&plan.name) else { continue };
        told.extend(crew.one(id, |miner| {
            let launcher = Box::new(plan.launcher());
            miner.replan(plan, Some(launcher), grace, now)
        }));
    }
    for plan in changes.added {
        let rests = paused.contains(&plan.name);
        if let Some(id) = crew.left(&plan.name) {
            // One name is one row: who comes back goes on counting where it left off.
            told.extend(crew.one(id, |miner| {
                let launcher = Box::new(plan.launcher());
                miner.recall(plan, Some(launcher), rests, grace, now)
            }));
            continue;
        }
        let id = crew.add(plan, now);
        told.extend(crew.one(id, |miner| {
            let mut out = current.map(|work| miner.offer(work, now)).unwrap_or_default();
            if rests {
                miner.pause(grace, now);
            }
            out.extend(miner.start(now));
            out
        }));
    }
    told
}
