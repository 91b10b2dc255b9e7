//! Where the settings and the plugins of a command are: its flags, its environment, its home.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Override, PortSocket, Sources};
use crate::home::{Env, Home};

/// What a command is started with, before anything is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The home folder.
    pub home: Home,
    /// The environment.
    pub env: Env,
    /// Mine on the built-in network, whatever the configuration says.
    pub devnet: bool,
    /// Serve programs that mine already, also where the configuration does not say so.
    pub port: bool,
    /// The provider, whatever the configuration says.
    pub provider: Option<String>,
    /// Folders to look for plugins in, instead of the search path.
    pub plugin_dirs: Vec<PathBuf>,
    /// Use plugins whatever user owns them or may write to them, whatever the configuration says.
    pub relax_file_checks: bool,
    /// Start a provider also where it says that it does not support this machine.
    pub anyway: bool,
}

impl Options {
    /// Reads the configuration with what the command line overrides.
    ///
    /// # Errors
    ///
    /// The first mistake in it.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut flags = Vec::new();
        if let Some(provider) = &self.provider {
            flags.push(Override::new("mining.provider", provider.clone(), "--provider"));
        }
        if self.devnet {
            flags.push(Override::new("mining.submit_target", "devnet", "--devnet"));
        }
        let file = self.home.config_file();
        let mut config = Config::load(&Sources { file: &file, text: None, env: &self.env, flags: &flags })?;
        if self.port && !config.mining.port.is_open() {
            config.mining.port.unix = Some(PortSocket::OfHome);
        }
        Ok(config)
    }
}
