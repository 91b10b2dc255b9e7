//! Which source to start, and how it behaves.

use std::path::PathBuf;
use std::time::Duration;

use super::{SpawnError, devnet};
use crate::config::{GatewayEndpoint, MiningSection, NodeSection, SubmitTarget};
use crate::home::Home;

/// Which source to start, resolved from the configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SourceConfig {
    /// The embedded one-node network.
    Devnet(DevnetConfig),
    /// Solo mining through a `pearl-gateway`.
    Gateway(Box<GatewayConfig>),
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
    /// The source that a configuration names.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Pool`]: the configuration names a pool.
    pub fn from_mining(mining: &MiningSection, home: &Home) -> Result<Self, SpawnError> {
        match &mining.submit_target {
            SubmitTarget::Devnet => Ok(Self::Devnet(DevnetConfig::new(home.devnet_dir()))),
            SubmitTarget::Pool(url) => Err(SpawnError::Pool { url: url.clone() }),
            SubmitTarget::Solo => Ok(Self::Gateway(Box::new(GatewayConfig {
                endpoint: mining.gateway.endpoint.clone(),
                command: mining.gateway.command.clone(),
                wallet_address: mining.wallet_address.clone(),
                node: mining.node.clone(),
                timing: GatewayTiming::default(),
            }))),
        }
    }
}
