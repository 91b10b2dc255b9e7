//! From the command line and the configuration to what one session runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, ConfigError, SubmitTarget};
use crate::exit::Exit;
use crate::explain::Explain;
use crate::home::Home;
use crate::work::{SourceConfig, SpawnError};

/// Why no session can be run with these options and this configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SettingsError {
    #[error("nothing is set up yet: {} sets no wallet address", crate::text::printable_path(path))]
    NotConfigured { path: PathBuf, command: String },
    #[error("the configuration cannot be used")]
    Config(#[source] ConfigError),
    #[error("the work source cannot be used")]
    Source(#[source] SpawnError),
}

impl Explain for SettingsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotConfigured { command, .. } => Some(format!(
                "`{command}` sets it up; `pearlbed start --devnet` mines on the built-in test network, \
                 without wallet and node"
            )),
            Self::Config(err) => err.hint(),
            Self::Source(err) => err.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(err) => err.exit(),
            Self::NotConfigured { .. } | Self::Source(_) => Exit::Futile,
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
/// [`SettingsError::NotConfigured`] where there is nobody to be paid, [`SettingsError::Source`] for a pool that cannot be used.
pub fn source(home: &Home, config: &Config) -> Result<SourceConfig, SettingsError> {
    let mining = &config.mining;
    let paid = mining.wallet_address.is_some() || mining.pool.manner.account.is_some();
    if mining.submit_target != SubmitTarget::Devnet && !paid {
        return Err(SettingsError::NotConfigured { path: home.config_file(), command: home.command("init") });
    }
    SourceConfig::from_mining(mining, home).map_err(SettingsError::Source)
}
