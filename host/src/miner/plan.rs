//! What one miner is to be: which plugin, with which settings, and what it may.
//!
//! A plan is made from the configuration and the plugins that are there, and is compared with the one in force when the
//! configuration is read again: equal plans are the same miner.

use pearlbed_plugin_api::Permission;

use super::grants::Grants;
use super::options::Options;
use super::plugin::{self, ChooseError, Chosen};
use super::process::Launcher;
use super::provider::Order;
use crate::config::Config;

/// One miner, before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct MinerPlan {
    /// Its name in this session: unique, and what commands call it by.
    pub name: String,
    /// The plugin that it runs.
    pub chosen: Chosen,
    /// What it wants and what it may.
    pub grants: Grants,
    /// What the provider process is told to do.
    pub order: Order,
    /// Hashes per second that the provider expects of itself here, where it was asked.
    pub estimate: Option<f64>,
}

impl MinerPlan {
    /// The plan for `chosen`, called `name`, with the provider's own settings `extra` and the permissions that `user` has
    /// granted.
    pub fn new(
        name: String,
        chosen: Chosen,
        user: &[Permission],
        extra: &serde_json::Map<String, serde_json::Value>,
        config: &Config,
    ) -> Self {
        let grants = Grants::new(&chosen.manifest.permissions, user);
        let machinery = grants.has_machinery();
        // The host's own settings are no business of a provider's that only computes.
        let mut extra = extra.clone();
        extra.retain(|key, _| {
            machinery || crate::config::keys::find(&format!("mining.extra.{key}")).is_none()
        });
        let told = |text: Option<&String>| text.filter(|_| machinery).cloned().unwrap_or_default();
        let order = Order {
            plugin: chosen.path.clone(),
            identity: chosen.identity,
            provider: chosen.manifest.id.clone(),
            wallet_address: told(config.mining.wallet_address.as_ref()),
            pearld_rpc_url: told(config.mining.node.as_ref().map(|node| &node.url)),
            extra,
        };
        let estimate = chosen.estimate;
        Self { name, chosen, grants, order, estimate }
    }

    /// Whether `other` is the same miner: what it expects of itself may be measured anew.
    pub fn is_same(&self, other: &Self) -> bool {
        let without = |plan: &Self| {
            let chosen = Chosen { estimate: None, ..plan.chosen.clone() };
            Self { estimate: None, chosen, ..plan.clone() }
        };
        without(self) == without(other)
    }

    /// The provider's id.
    pub fn provider(&self) -> &str {
        &self.chosen.manifest.id
    }

    /// What starts its process.
    pub fn launcher(&self) -> Launcher {
        Launcher { order: self.order.clone(), policy: self.grants.policy(&self.chosen.path) }
    }
}

/// The miners that `config` asks for, in its order; never none.
///
/// No plugin's code runs here; where several could be meant, each is probed in a confined child.
///
/// # Errors
///
/// [`ChooseError`]: a miner that is asked for has no plugin.
pub fn plans(options: &Options, config: &Config) -> Result<Vec<MinerPlan>, ChooseError> {
    let mut chosen = plugin::choose(options, config)?;
    if chosen.estimate.is_none() {
        chosen.estimate = plugin::estimate(&chosen, options, config);
    }
    let id = chosen.manifest.id.clone();
    let user = config.mining.grants.get(&id).cloned().unwrap_or_default();
    Ok(vec![MinerPlan::new(id, chosen, &user, &config.mining.extra, config)])
}
