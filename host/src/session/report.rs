//! What a session says of itself: the answer of the control socket and of `pearlbed status --json`.
//!
//! One type for both, so that the text, the JSON and the metrics cannot disagree. Written down in `docs/json.md`.
//! Every number that is not known is absent (`null`), never 0.

use serde::{Deserialize, Serialize};

use super::pools::PoolReport;
use super::state::State;
use crate::container::report::ContainerReport;
use crate::exit::Exit;
use crate::identity::ProcessIdentity;
pub use crate::miner::report::{
    ConfinementReport, DeviceProofs, DeviceReport, FloodReport, JobReport, MinerReport, PluginReport,
    ProgramReport, ProofReport, RateReport, Windows,
};

/// Version of the JSON form. Keys may be added within one version; none changes its meaning or goes.
pub const SCHEMA: u32 = 2;

/// A session at one moment, or the lack of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// One of the seven states.
    pub state: State,
    /// Whether work done now can be expected to earn something.
    pub earning: bool,
    /// One word for why: `earning`, `starting`, `needs-update`, `restarting`, `stalled`, `idle`, `stopping`, or the
    /// work source's condition.
    pub condition: String,
    /// The condition in a sentence.
    pub reason: Option<String>,
    /// What to do about it, where there is something.
    pub hint: Option<String>,
    /// Unix time since which the state holds, in seconds.
    pub since: Option<u64>,
    /// Seconds for which the state has held, by a clock that nobody sets.
    pub since_seconds: Option<f64>,
    /// Unix time at which the session started, in seconds.
    pub started_at: Option<u64>,
    /// Provider id.
    pub provider: Option<String>,
    /// The plugin that carries it.
    pub plugin: Option<PluginReport>,
    /// The supervisor process.
    pub supervisor_pid: Option<u32>,
    /// The provider process, while there is one.
    pub provider_pid: Option<u32>,
    /// What is mined on.
    pub device: Option<String>,
    /// Where work comes from.
    pub work: Option<WorkReport>,
    /// The job in work.
    pub job: Option<JobReport>,
    /// Hash rates.
    pub hashrate: RateReport,
    /// Hashes that the provider reported.
    pub hashes: u64,
    /// Proofs, counted over this session.
    pub proofs: ProofReport,
    /// Unix time of the last proof that passed the host's verifier, in seconds.
    pub last_proof_at: Option<u64>,
    /// Expected time per find at this rate.
    pub expected_seconds: Expected,
    /// Restarts of the provider process.
    pub restarts: u64,
    /// Failures of the provider process in a row, and the number at which the session gives up.
    pub failures: (u32, u32),
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// What the confinement lacks on this machine, and what it denied.
    pub confinement: ConfinementReport,
    /// What was held back or ended for being too much.
    pub flood: FloodReport,
    /// Addresses that this session talks to or listens on.
    pub endpoints: Vec<EndpointReport>,
    /// The provider's own numbers, as it gave them.
    pub provider_stats: Option<serde_json::Value>,
    /// The last lines of the session log.
    pub log: Vec<String>,
    /// How the session before ended, where none runs.
    pub last_session: Option<LastSession>,
    /// The configuration names another wallet than the one that the session pays.
    #[serde(default)]
    pub other_wallet: Option<OtherWallet>,
    /// The pools, where work comes from pools.
    #[serde(default)]
    pub pool: Option<PoolReport>,
    /// Its miners. What stands above is what they make together.
    pub miners: Vec<MinerReport>,
    /// Its containers; what their workers hand in stands in the rows of `miners`.
    #[serde(default)]
    pub containers: Vec<ContainerReport>,
}

/// The work source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkReport {
    /// `devnet`, `gateway` or `pool`.
    pub source: String,
    /// Its condition in one word.
    pub condition: String,
    /// Its condition in a sentence.
    pub sentence: String,
    /// Connections made anew.
    pub reconnects: u64,
}

/// Whom a session pays, and whom the configuration says by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherWallet {
    /// The address that the session began with.
    pub pays: String,
    /// The address in the configuration.
    pub configured: String,
}

impl OtherWallet {
    /// What to do about it.
    pub const FIX: &str =
        "`pearlbed stop` and `pearlbed start`: a session keeps the address that it began with";

    /// That, in a sentence.
    pub fn sentence(&self) -> String {
        format!("the session that runs pays {}, and the configuration says {}", self.pays, self.configured)
    }
}

/// Expected seconds per find.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Per share of a pool; nothing without a pool.
    pub share: Option<f64>,
    /// Per block.
    pub block: Option<f64>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// What for: `gateway`, `node`, `port`, `metrics`, `control`; `record` where another program's lies in its place, or it
    /// cannot be written.
    pub purpose: String,
    /// Without any credentials.
    pub address: String,
    /// Whether the last exchange worked; nothing before the first.
    pub reachable: Option<bool>,
    /// What is wrong with it, if anything.
    #[serde(default)]
    pub trouble: Option<TroubleReport>,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TroubleReport {
    /// What it is now, in a phrase.
    pub text: String,
    /// What to do about it, where there is something.
    pub hint: Option<String>,
    /// Unix time since which all has not been well, in seconds.
    pub since: u64,
    /// The same as seconds ago, by a clock that nobody sets.
    pub since_seconds: f64,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSession {
    /// Provider id.
    pub provider: Option<String>,
    /// Unix time of its end, in seconds; of its last sign of life, where it ended without a word.
    pub ended_at: u64,
    /// Whether it failed, as opposed to having been stopped.
    pub failed: bool,
    /// Why it ended, in a phrase.
    pub reason: String,
    /// Its proofs.
    pub proofs: ProofReport,
    /// Hashes that were reported in it.
    #[serde(default)]
    pub hashes: u64,
    /// Its supervisor.
    #[serde(default)]
    pub supervisor: Option<ProcessIdentity>,
    /// Its miners.
    #[serde(default)]
    pub miners: Vec<LastMiner>,
}

/// A miner of a session that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMiner {
    /// Its name.
    pub name: String,
    /// Provider id.
    pub provider: String,
    /// Its proofs.
    pub proofs: ProofReport,
}

impl Report {
    /// A report without a session.
    pub fn without_session(state: State) -> Self {
        Self {
            schema: SCHEMA,
            state,
            earning: false,
            condition: "none".into(),
            reason: None,
            hint: None,
            since: None,
            since_seconds: None,
            started_at: None,
            provider: None,
            plugin: None,
            supervisor_pid: None,
            provider_pid: None,
            device: None,
            work: None,
            job: None,
            hashrate: RateReport::default(),
            hashes: 0,
            proofs: ProofReport::default(),
            last_proof_at: None,
            expected_seconds: Expected::default(),
            restarts: 0,
            failures: (0, 0),
            last_error: None,
            confinement: ConfinementReport::default(),
            flood: FloodReport::default(),
            endpoints: Vec::new(),
            provider_stats: None,
            log: Vec::new(),
            last_session: None,
            other_wallet: None,
            pool: None,
            miners: Vec::new(),
            containers: Vec::new(),
        }
    }

    /// The exit status of `pearlbed status` for this report.
    pub fn exit(&self) -> Exit {
        match self.state {
            _ if self.condition == "unknown" => Exit::Failed,
            State::NotConfigured | State::Configured | State::Stopped | State::Failed => Exit::Stopped,
            State::Running if self.earning => Exit::Ok,
            _ if self.condition == "needs-update" => Exit::NeedsUpdate,
            State::Starting | State::Running | State::Stopping => Exit::NotEarning,
        }
    }
}
