//! From the command line and the configuration to what one session runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, ConfigError, SubmitTarget};
use crate::exit::Exit;
use crate::explain::Explain;
use crate::home::Home;
use crate::work::{DevnetConfig, GatewayConfig, GatewayTiming, SourceConfig};

/// Why no session can be run with these options and this configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SettingsError {
    #[error("nothing is set up yet: {} sets no wallet address", crate::text::printable_path(path))]
    NotConfigured { path: PathBuf, command: String },
    #[error("the configuration cannot be used")]
    Config(#[source] ConfigError),
    #[error("this version does not speak with pools yet")]
    Pool,
}

impl Explain for SettingsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotConfigured { command, .. } => Some(format!(
                "`{command}` sets it up; `pearlbed start --devnet` mines on the built-in test network, \
                 without wallet and node"
            )),
            Self::Config(err) => err.hint(),
            Self::Pool => Some("set `submit_target = \"solo\"`, or try `pearlbed start --devnet`".into()),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(err) => err.exit(),
            Self::NotConfigured { .. } | Self::Pool => Exit::Futile,
        }
    }
}

/// What may change while a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunables {
    /// How long an orderly stop may take.
    pub stop_grace: Duration,
    /// Patience with a provider that does nothing.
    pub stall_after: Duration,
    /// Bound of the log on disk, in bytes.
    pub log_bytes_max: u64,
}

impl Tunables {
    /// Those of `config`.
    pub fn of(config: &Config) -> Self {
        let session = &config.mining.session;
        Self {
            stop_grace: session.stop_grace,
            stall_after: session.stall_after.max(Duration::from_secs(1)),
            log_bytes_max: session.log_bytes_max,
        }
    }
}

/// The work source of `config`.
///
/// # Errors
///
/// [`SettingsError::NotConfigured`] where there is nobody to be paid, [`SettingsError::Pool`] for a pool.
pub fn source(home: &Home, config: &Config) -> Result<SourceConfig, SettingsError> {
    let mining = &config.mining;
    match &mining.submit_target {
        SubmitTarget::Devnet => Ok(SourceConfig::Devnet(DevnetConfig::new(home.devnet_dir()))),
        SubmitTarget::Pool(_) => Err(SettingsError::Pool),
        SubmitTarget::Solo => {
            if mining.wallet_address.is_none() {
                return Err(SettingsError::NotConfigured {
                    path: home.config_file(),
                    command: home.command("init"),
                });
            }
            Ok(SourceConfig::Gateway(Box::new(GatewayConfig {
                endpoint: mining.gateway.endpoint.clone(),
                command: mining.gateway.command.clone(),
                wallet_address: mining.wallet_address.clone(),
                node: mining.node.clone(),
                timing: GatewayTiming::default(),
            })))
        }
    }
}

/// Names of the environment variables that hold secrets.
pub fn secret_names(config: &Config) -> Vec<&str> {
    let mining = &config.mining;
    let node = mining.node.as_ref().map(|node| node.password_env.as_str());
    node.into_iter().chain(mining.pool.password_env.as_deref()).collect()
}
