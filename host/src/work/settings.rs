//! Which source to start, and how it behaves.

use std::path::PathBuf;
use std::time::Duration;

use super::pool::{PoolConfig, wallet};
use super::stratum::Encoding;
use super::stratum::to_pool::Dialect;
use super::{Pool, SpawnError, devnet};
use crate::config::{GatewayEndpoint, MiningSection, NodeSection, PoolManner, PoolUrl, SubmitTarget};
use crate::home::Home;

/// Which source to start, resolved from the configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SourceConfig {
    /// The embedded one-node network.
    Devnet(DevnetConfig),
    /// Solo mining through a `pearl-gateway`.
    Gateway(Box<GatewayConfig>),
    /// Shares for pools.
    Pool(Box<PoolConfig>),
}

/// Settings of the embedded network.
#[derive(Clone, Debug)]
pub struct DevnetConfig {
    /// Folder of the chain, `<home>/devnet`; made if missing.
    pub dir: PathBuf,
    /// The certificate version that its jobs ask for: 3 unless a fork is being rehearsed.
    pub certificate_version: u32,
    /// What the network aims at between two blocks: 5 s but in tests.
    pub spacing: Duration,
    /// Hashes per second that the miners expect of themselves together, where they were asked: what the first job fits.
    pub rate: Option<f64>,
}

impl DevnetConfig {
    /// Today's rules, with the chain in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, certificate_version: 3, spacing: devnet::pace::SPACING, rate: None }
    }
}

/// Settings of the gateway client.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where the gateway's miner RPC listens (protocol section 10).
    pub endpoint: GatewayEndpoint,
    /// Program and arguments of a gateway to be started and kept running by the source.
    pub command: Option<Vec<String>>,
    /// The program, a `pearlbed`, that ends whoever the gateway leaves behind where this process is killed and cannot: see
    /// [`crate::work::gateway::keeper`].
    pub keeper: Option<PathBuf>,
    /// Who is paid: only told to a gateway that the source starts.
    pub wallet_address: Option<String>,
    /// The node to ask what became of a proof; without one some questions stay open.
    pub node: Option<NodeSection>,
    /// Waits and limits; [`GatewayTiming::default`] outside tests.
    pub timing: GatewayTiming,
}

/// Waits and limits of the gateway client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTiming {
    /// Between two polls of `getMiningInfo`.
    pub poll: Duration,
    /// Silence after which the condition says so. Nothing else happens then.
    pub quiet: Duration,
    /// Silence after which the connection is made anew. Proving takes minutes, so this is many.
    pub deaf: Duration,
    /// Age at which an unchanged job is called frozen when there is no node to ask, and a node's unchanged newest block
    /// out of date.
    pub frozen: Duration,
    /// How long the node's tip and the job may disagree before the job is called frozen.
    pub behind: Duration,
    /// How long after a hand-over, in which the gateway answered and no block came, the proof is handed over again.
    pub again: Duration,
    /// Between two questions to the node.
    pub node: Duration,
    /// First wait of the back-off 1, 2, 5, 10, 30, 60 times this.
    pub retry: Duration,
}

impl Default for GatewayTiming {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            quiet: Duration::from_secs(5),
            deaf: Duration::from_secs(15 * 60),
            // Ten block intervals of 194 s: a working network leaves a longer gap once in 22,000 blocks.
            frozen: Duration::from_secs(10 * 194),
            // The gateway's own back-off towards its node reaches a minute.
            behind: Duration::from_secs(90),
            again: Duration::from_secs(20),
            node: Duration::from_secs(5),
            retry: Duration::from_secs(1),
        }
    }
}

impl SourceConfig {
    /// The source that a configuration names. The variables that hold pools' passwords are read here.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Pool`] and [`SpawnError::Wallet`]: a pool cannot be used as it is configured.
    pub fn from_mining(mining: &MiningSection, home: &Home) -> Result<Self, SpawnError> {
        match &mining.submit_target {
            SubmitTarget::Devnet => Ok(Self::Devnet(DevnetConfig::new(home.devnet_dir()))),
            SubmitTarget::Pool(url) => {
                let pools = pools(mining, url)?;
                Ok(Self::Pool(Box::new(PoolConfig::new(pools, &home.runtime_dir()))))
            }
            SubmitTarget::Solo => Ok(Self::Gateway(Box::new(GatewayConfig {
                endpoint: mining.gateway.endpoint.clone(),
                command: mining.gateway.command.clone(),
                keeper: super::gateway::keeper::this_program(),
                wallet_address: mining.wallet_address.clone(),
                node: mining.node.clone(),
                timing: GatewayTiming::default(),
            }))),
        }
    }
}

/// The pool at `url` and those that stand in for it, in the order of preference.
///
/// # Errors
///
/// As [`SourceConfig::from_mining`].
pub fn pools(mining: &MiningSection, url: &str) -> Result<Vec<Pool>, SpawnError> {
    let wallet = mining.wallet_address.as_deref().unwrap_or_default();
    let section = &mining.pool;
    let first = PoolUrl::parse(url).map_err(|(problem, right)| SpawnError::Pool {
        url: url.to_owned(),
        problem,
        right,
    })?;
    let mut pools = vec![pool(first, wallet, &section.manner, "[mining.pool]", section.wallet_unchecked)?];
    for backup in &section.backups {
        let paid = backup.wallet_address.as_deref().unwrap_or(wallet);
        let table = "[[mining.pool.backup]]";
        pools.push(pool(backup.url.clone(), paid, &backup.manner, table, section.wallet_unchecked)?);
    }
    Ok(pools)
}

fn pool(
    url: PoolUrl,
    wallet: &str,
    manner: &PoolManner,
    table: &str,
    unchecked: bool,
) -> Result<Pool, SpawnError> {
    let wallet = manner.account.as_deref().unwrap_or(wallet);
    let worker = manner.worker.as_deref().unwrap_or_default();
    let refused = |text: &str| {
        let wallet = text.to_owned();
        move |(problem, hint)| SpawnError::Wallet { wallet, problem, hint }
    };
    wallet::check(wallet, unchecked).map_err(refused(wallet))?;
    wallet::check_worker(worker).map_err(refused(worker))?;
    let mut pool = Pool::new(url, wallet, worker);
    table.clone_into(&mut pool.table);
    if let Some(agent) = &manner.agent {
        agent.clone_into(&mut pool.login.agent);
    }
    if let Some(password) = manner.password_env.as_ref().and_then(|name| std::env::var(name).ok()) {
        pool.login.password = password;
    }
    pool.pin = manner.pin;
    if let Some(encoding) = manner.encoding.as_deref().and_then(Encoding::from_word) {
        pool.wants = encoding;
    }
    pool.certificate_version = manner.cert_version;
    pool.dialect = match manner.dialect.as_deref() {
        Some("object") => Some(Dialect::Object),
        Some("array") => Some(Dialect::Array),
        _ => None,
    };
    pool.pings = manner.ping.unwrap_or(pool.pings);
    Ok(pool)
}
