//! The addresses of the miner port: opened once, before anybody is served at them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, PortSocket};
use crate::container::recipe;
use crate::explain::Explain;
use crate::home::{Env, Home};
use crate::port::listen::Listener;

/// What is to be known of an address that the network reaches.
pub(super) const EXPOSED: &str =
    "others than this machine can reach it, and what they say, the password included, is not encrypted";
/// What to do about it.
pub(super) const EXPOSED_HINT: &str = "listen on 127.0.0.1 where no other machine mines here";

/// Why an address of the port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum PortError {
    #[error("the miner port cannot listen on {address}")]
    Listen {
        address: String,
        /// Where it is a socket's.
        path: Option<PathBuf>,
        #[source]
        err: io::Error,
    },
    #[error("the miner port is open to the network, and the variable `{variable}` holds no password")]
    NoPassword { variable: String },
}

impl PortError {
    fn socket(path: &Path, err: io::Error) -> Self {
        Self::Listen { address: crate::text::printable_path(path), path: Some(path.to_owned()), err }
    }
}

impl Explain for PortError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Listen { err, .. } if err.kind() == io::ErrorKind::InvalidInput => {
                "a socket's path has at most 107 bytes: set `unix` in [mining.port] to a shorter one".into()
            }
            Self::Listen { err, path: Some(path), .. } if err.kind() != io::ErrorKind::AddrInUse => {
                crate::remedy::for_file(err, path).unwrap_or_else(|| CHOOSE.into())
            }
            Self::Listen { err, .. } => crate::remedy::for_address(err, CHOOSE),
            Self::NoPassword { variable } => format!("set {variable}, or listen on 127.0.0.1 only"),
        })
    }
}

/// How another address is chosen.
const CHOOSE: &str = "set another address in [mining.port]";

/// The open addresses of the port; none where it is not asked for.
#[derive(Debug, Default)]
pub(in crate::session::supervise) struct Doors {
    /// Who listens.
    pub(super) listeners: Vec<Listener>,
    /// Whether anybody else than our own containers may come.
    pub(super) strangers: bool,
    /// A hash of what strangers have to know.
    pub(super) password: Option<String>,
    /// How often each program is to find a share.
    pub(super) share_every: Duration,
}

impl Doors {
    /// Opens what `config` asks for, and a door for each of the miners `containers`.
    ///
    /// # Errors
    ///
    /// [`PortError`]; nothing is left open then.
    pub fn open(config: &Config, home: &Home, env: &Env, containers: &[&str]) -> Result<Self, PortError> {
        let port = &config.mining.port;
        let mut listeners = Vec::new();
        if let Some(socket) = &port.unix {
            let path = match socket {
                PortSocket::OfHome => home.miner_socket(),
                PortSocket::At(path) => path.clone(),
            };
            let failed = |err| PortError::socket(&path, err);
            listeners.push(Listener::unix(&path).map_err(failed)?);
        }
        let mut password = None;
        if let Some(address) = port.listen {
            if !address.ip().is_loopback() {
                let variable = port.password_env.clone().unwrap_or_default();
                let Some(secret) = env.var(&variable) else { return Err(PortError::NoPassword { variable }) };
                password = Some(blake3::hash(secret.as_bytes()).to_hex().to_string());
            }
            let failed = |err| PortError::Listen { address: address.to_string(), path: None, err };
            listeners.push(Listener::tcp(address).map_err(failed)?);
        }
        let strangers = !listeners.is_empty();
        for name in containers {
            let path = recipe::socket(home, name);
            let failed = |err| PortError::socket(&path, err);
            listeners.push(Listener::container(&path, name).map_err(failed)?);
        }
        Ok(Self { listeners, strangers, password, share_every: port.share_every })
    }

    /// Whether there is any.
    pub fn are_open(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// The addresses.
    pub fn addresses(&self) -> Vec<String> {
        let strangers = self.listeners.iter().filter(|one| one.door().container.is_none());
        strangers.map(Listener::address).collect()
    }

    /// What a person should know of them.
    pub fn warning(&self) -> Option<String> {
        let guarded = self.listeners.iter().find(|listener| listener.door().guarded)?;
        Some(format!("the miner port listens on {}: {EXPOSED}", guarded.address()))
    }
}
