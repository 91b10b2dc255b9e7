//! The resolved configuration: what the rest of the host reads.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pearl_pow::address::{Address, AddressKind};
use pearlbed_plugin_api::Permission;

use super::keys::{KEYS, Key};
use super::miner::MinerSection;
use super::{ConfigError, Origin, Pin, Place, PoolUrl, Setting};

/// Where work comes from and proofs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitTarget {
    /// The user's own node, through pearl-gateway.
    Solo,
    /// A pool, by its URL as it was written after `pool:`.
    Pool(String),
    /// The built-in test network.
    Devnet,
}

impl SubmitTarget {
    /// Reads the text form. Only for text that passed the check of its kind.
    pub(super) fn from_checked(text: &str) -> Self {
        match text.strip_prefix("pool:") {
            Some(url) => Self::Pool(url.to_owned()),
            None if text == "devnet" => Self::Devnet,
            None => Self::Solo,
        }
    }
}

impl fmt::Display for SubmitTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Solo => out.write_str("solo"),
            Self::Pool(url) => write!(out, "pool:{url}"),
            Self::Devnet => out.write_str("devnet"),
        }
    }
}

/// `[mining]` with its sub-tables.
#[derive(Debug, Clone, PartialEq)]
pub struct MiningSection {
    /// The provider of the first miner; `None` leaves the choice to the host.
    pub provider: Option<String>,
    /// Every miner that is asked for, the first one, which `[mining]` itself stands for, before those of
    /// `[[mining.miners]]`; also those that are not enabled. Never none.
    pub miners: Vec<MinerSection>,
    /// Who is paid, checked. `None` is enough for the devnet only.
    pub wallet_address: Option<String>,
    /// Where work comes from and proofs go.
    pub submit_target: SubmitTarget,
    /// Always 0.
    pub fee_bps: u32,
    /// Kept for OpenJarvis; nothing is ever paid to it.
    pub fee_payout_address: Option<String>,
    /// `mining.extra.model`.
    pub model: Option<String>,
    /// `[mining.extra]` as written, with the host's own keys resolved: what the provider gets as `extra`.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// `[mining.grants]`: per provider id, the permissions that the user granted.
    pub grants: BTreeMap<String, Vec<Permission>>,
    /// How pearl-gateway is reached.
    pub gateway: GatewaySection,
    /// The user's pearld, where one is configured.
    pub node: Option<NodeSection>,
    /// `[mining.pool]`.
    pub pool: PoolSection,
    /// `[mining.session]`.
    pub session: SessionSection,
    /// `[mining.port]`.
    pub port: PortSection,
    /// `[mining.container]`.
    pub container: ContainerSection,
}

impl MiningSection {
    /// How many miners are asked for, one at least.
    pub fn miners_enabled(&self) -> usize {
        self.miners.iter().filter(|miner| miner.enabled).count().max(1)
    }

    /// Who is paid, in the order of the pools where there are any, each once; nobody on the devnet, or where nobody is named.
    pub fn paid(&self) -> Vec<String> {
        let wallet = self.wallet_address.as_ref();
        let mut paid: Vec<String> = Vec::new();
        let mut add = |who: Option<&String>| {
            if let Some(who) = who.filter(|who| !paid.contains(who)) {
                paid.push(who.clone());
            }
        };
        match &self.submit_target {
            SubmitTarget::Devnet => {}
            SubmitTarget::Solo => add(wallet),
            SubmitTarget::Pool(_) => {
                add(self.pool.manner.account.as_ref().or(wallet));
                for backup in &self.pool.backups {
                    add(backup.manner.account.as_ref().or(backup.wallet_address.as_ref()).or(wallet));
                }
            }
        }
        paid
    }
}

/// `[mining.container]`: how providers that are containers are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSection {
    /// The engine.
    pub engine: ContainerEngine,
    /// How they are on the network.
    pub network: ContainerNetwork,
    /// How long one may say nothing while it loads its model.
    pub ready_within: Duration,
    /// How long its orderly stop may take.
    pub stop_grace: Duration,
    /// Whether its root file system can be written; as its data file says without it.
    pub read_only: Option<bool>,
    /// Whether the gateway in its image is run in a container of its own, where one is needed and none is named.
    pub gateway: bool,
}

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEngine {
    /// Whichever fits: rootless Podman before Docker.
    Auto,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// How a container is on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerNetwork {
    /// On one of its own, with its port published on this machine's loopback.
    Bridge,
    /// On this machine's own.
    Host,
}

/// `[mining.port]`: where programs that mine already are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSection {
    /// On a Unix socket.
    pub unix: Option<PortSocket>,
    /// On a TCP address.
    pub listen: Option<SocketAddr>,
    /// Name of the environment variable that holds the password of programs from elsewhere.
    pub password_env: Option<String>,
    /// Time between two shares of one program to aim at.
    pub share_every: Duration,
}

impl PortSection {
    /// Whether programs are served at all.
    pub fn is_open(&self) -> bool {
        self.unix.is_some() || self.listen.is_some()
    }
}

/// A Unix socket of the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSocket {
    /// The one in the home folder.
    OfHome,
    /// Another one.
    At(PathBuf),
}

impl MiningSection {
    /// The wallet address, for work that pays somebody.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] where none is set.
    pub fn require_wallet(&self) -> Result<&str, ConfigError> {
        self.wallet_address.as_deref().ok_or_else(|| ConfigError::Missing {
            key: "mining.wallet_address",
            reason: "mining for real pays an address of yours",
            fix: "run `pearlbed init`, or `pearlbed init --set mining.wallet_address=prl1p…`".to_owned(),
        })
    }
}

/// Where pearl-gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayEndpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp {
        /// Host name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl fmt::Display for GatewayEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "{host}:{port}"),
        }
    }
}

/// How pearl-gateway is reached, and started where the user wants that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySection {
    /// Where it listens.
    pub endpoint: GatewayEndpoint,
    /// Program and arguments that start it; never empty.
    pub command: Option<Vec<String>>,
    /// Whether miners on the gateway's own processor rest while it makes a block of a proof.
    pub rest_while_proving: bool,
}

impl GatewaySection {
    /// Whether the user has said where his gateway is, or how it is started: anything but the place where every gateway listens
    /// by itself.
    pub fn is_named(&self) -> bool {
        let usual = match &self.endpoint {
            GatewayEndpoint::Unix(_) => false,
            GatewayEndpoint::Tcp { host, port } => {
                matches!(&**host, "127.0.0.1" | "localhost") && *port == 8337
            }
        };
        self.command.is_some() || !usual
    }
}

/// The user's pearld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSection {
    /// `http://` or `https://` address of its RPC.
    pub url: String,
    /// User name for basic authentication.
    pub user: String,
    /// Name of the environment variable that holds the password.
    pub password_env: String,
    /// The one certificate that an `https://` node must present, PEM.
    pub certificate: Option<PathBuf>,
}

/// `[mining.pool]`: how the pool of `submit_target` is spoken to, and who stands in for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolSection {
    /// How the first pool is spoken to.
    pub manner: PoolManner,
    /// `[[mining.pool.backup]]`, in the order of preference.
    pub backups: Vec<BackupSection>,
    /// Whether an account that holds no Pearl address is taken.
    pub wallet_unchecked: bool,
}

/// How one pool is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolManner {
    /// Name of this machine at the pool.
    pub worker: Option<String>,
    /// Name of the environment variable that holds the pool's password.
    pub password_env: Option<String>,
    /// What the pool is told as wallet, where it is not the wallet address.
    pub account: Option<String>,
    /// Name of the program that the pool is told.
    pub agent: Option<String>,
    /// The certificate that it must show.
    pub pin: Option<Pin>,
    /// The word for how proofs are to travel.
    pub encoding: Option<String>,
    /// The certificate version of jobs that say none.
    pub cert_version: Option<u32>,
    /// `object` or `array`; nothing to find out.
    pub dialect: Option<String>,
    /// Whether to keep the connection alive by pings.
    pub ping: Option<bool>,
}

/// `[[mining.pool.backup]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSection {
    /// Where it listens.
    pub url: PoolUrl,
    /// Who is paid there, where it is not the same.
    pub wallet_address: Option<String>,
    /// How it is spoken to.
    pub manner: PoolManner,
}

/// `[mining.session]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSection {
    /// How long an orderly stop may take.
    pub stop_grace: Duration,
    /// How long a provider may leave a job untaken or report nothing before it counts as stalled.
    pub stall_after: Duration,
    /// How long a provider that ended unasked waits before it is started again the first time.
    pub restart_wait: Duration,
    /// Where metrics are served; `None` is off. Always loopback.
    pub metrics_listen: Option<SocketAddr>,
    /// The Unix socket that serves them besides.
    pub metrics_socket: Option<PathBuf>,
    /// Disk that the session log may use, in bytes, rotated parts included.
    pub log_bytes_max: u64,
    /// Whether the sockets of container engines may be granted.
    pub container_engines: bool,
}

/// `[plugins]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginsSection {
    /// More folders to look in.
    pub dirs: Vec<PathBuf>,
    /// How long one plugin may take to answer a probe.
    pub probe_timeout: Duration,
    /// Also use files that others own or may write to.
    pub relax_trust: bool,
    /// The minisign public keys of those whose plugins are trusted.
    pub keys: Vec<String>,
    /// Use only plugins that are signed.
    pub require_signature: bool,
    /// Have panics of plugins bring a backtrace.
    pub debug: bool,
}

impl PluginsSection {
    /// As it is where the configuration cannot be read: nobody is trusted more than without one.
    pub fn none() -> Self {
        Self {
            dirs: vec![],
            probe_timeout: Duration::from_secs(2),
            relax_trust: false,
            keys: vec![],
            require_signature: false,
            debug: false,
        }
    }
}

/// The whole configuration, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that was read, whether or not it exists.
    pub path: PathBuf,
    /// Whether anything under `[mining]` is set at all, by file, environment or flag.
    pub configured: bool,
    /// `[mining]`.
    pub mining: MiningSection,
    /// `[plugins]`.
    pub plugins: PluginsSection,
    pub(super) settings: BTreeMap<String, Setting>,
}

impl Config {
    /// The configuration of a home without a file, environment or flags.
    pub fn defaults(path: &Path) -> Self {
        Self::load(&super::Sources { file: path, text: Some(""), env: &Default::default(), flags: &[] })
            .expect("the defaults pass their own checks")
    }

    /// Names of the environment variables that hold secrets: those of the host's own keys, and whatever a provider's setting
    /// names whose key ends in `_env`.
    pub fn secret_names(&self) -> Vec<&str> {
        let mining = &self.mining;
        let node = mining.node.as_ref().map(|node| node.password_env.as_str());
        let backups = mining.pool.backups.iter().map(|backup| &backup.manner);
        let pools = std::iter::once(&mining.pool.manner).chain(backups);
        let pools = pools.filter_map(|manner| manner.password_env.as_deref());
        let extras = std::iter::once(&mining.extra).chain(mining.miners.iter().map(|miner| &miner.extra));
        let settings = extras.flatten().filter(|(key, _)| key.ends_with("_env"));
        let settings = settings.filter_map(|(_, value)| value.as_str());
        let port = mining.port.password_env.as_deref();
        node.into_iter().chain(port).chain(pools).chain(settings).collect()
    }

    /// The port serves others than this machine only where that was said, and with a password.
    pub(super) fn check_port(&self) -> Result<(), ConfigError> {
        let port = &self.mining.port;
        let Some(address) = port.listen.filter(|address| !address.ip().is_loopback()) else { return Ok(()) };
        let says_network = matches!(
            self.settings.get("mining.port.allow").map(|setting| &setting.value),
            Some(super::Value::Text(word)) if word == "network"
        );
        let (problem, fix) = match (says_network, &port.password_env) {
            (false, _) => (
                format!("is {address}, which others than this machine can reach"),
                "listen on 127.0.0.1, or set `allow = \"network\"` and `password_env` beside it",
            ),
            (true, None) => (
                format!("is {address}, which others can reach, and there is no password"),
                "set `password_env` to the name of a variable that holds one",
            ),
            (true, Some(_)) => return Ok(()),
        };
        let key = "mining.port.listen";
        let place = self.place_of(key);
        Err(ConfigError::Invalid { key: key.to_owned(), problem, fix: fix.to_owned(), place })
    }

    /// Where `key`, which is set, was set.
    fn place_of(&self, key: &str) -> Place {
        match &self.settings.get(key).expect("it is set").origin {
            Origin::File { line } => Place::File { path: self.path.clone(), line: *line },
            Origin::Environment(variable) => Place::Environment(variable.clone()),
            Origin::Flag(flag) => Place::Flag(flag.clone()),
            Origin::Default => unreachable!("there is no default"),
        }
    }

    /// The gateway pays to Taproot addresses only (section 13 of the protocol).
    pub(super) fn check_payout(&self) -> Result<(), ConfigError> {
        let Some(Ok(wallet)) = self.mining.wallet_address.as_ref().map(|wallet| wallet.parse::<Address>())
        else {
            return Ok(());
        };
        if self.mining.submit_target != SubmitTarget::Solo || wallet.kind == AddressKind::Taproot {
            return Ok(());
        }
        let key = "mining.wallet_address";
        let place = self.place_of(key);
        Err(ConfigError::Invalid {
            key: key.to_owned(),
            problem: "is a pay-to-Merkle-root address, and pearl-gateway pays to Taproot addresses only"
                .to_owned(),
            fix: format!(
                "ask your wallet for a Taproot address, which begins `{}1p`",
                wallet.network.prefix()
            ),
            place,
        })
    }

    /// What is set under `path`, and where that came from.
    pub fn setting(&self, path: &str) -> Option<&Setting> {
        self.settings.get(path)
    }

    /// Every key that the host knows in the order of the reference, then the user's own; with its setting, if any.
    pub fn rows(&self) -> Vec<(&str, Option<&'static Key>, Option<&Setting>)> {
        let known = KEYS.iter().map(|key| (key.path, Some(key), self.settings.get(key.path)));
        let own = self
            .settings
            .iter()
            .filter(|(path, _)| super::keys::find(path).is_none())
            .map(|(path, setting)| (path.as_str(), None, Some(setting)));
        known.chain(own).collect()
    }
}
