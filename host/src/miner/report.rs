//! What a miner says of itself, as a part of what its session says.
//!
//! Written down in `docs/json.md`. Every number that is not known is absent (`null`), never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::luck::{Judgement, VerifiedRate};
use super::standing;

/// A miner at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinerReport {
    /// What commands call it by.
    pub name: String,
    /// One word for how it stands: `mining`, `starting`, `waiting-for-job`, `idle`, `needs-update`, `refused-proofs`,
    /// `restarting`, `stopping`, `paused`, `given-up`, `gone` or `removed`.
    pub condition: String,
    /// The condition in a sentence, unless it mines.
    pub reason: Option<String>,
    /// What to do about it, where there is something.
    pub hint: Option<String>,
    /// Provider id.
    pub provider: String,
    /// The plugin that carries it.
    pub plugin: Option<PluginReport>,
    /// The program at the miner port, where it is one.
    #[serde(default)]
    pub program: Option<ProgramReport>,
    /// The process, while there is one.
    pub provider_pid: Option<u32>,
    /// The job in work.
    pub job: Option<JobReport>,
    /// Hash rates.
    pub hashrate: RateReport,
    /// Hashes that it reported.
    pub hashes: u64,
    /// Its proofs, counted over this session.
    pub proofs: ProofReport,
    /// Unix time of its last proof that passed the host's verifier, in seconds.
    pub last_proof_at: Option<u64>,
    /// Restarts of its process.
    pub restarts: u64,
    /// Failures in a row, and the number at which it is given up.
    pub failures: (u32, u32),
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// What holds its process, what that lacks on this machine, and what was denied.
    pub confinement: ConfinementReport,
    /// What was held back for being too much.
    pub flood: FloodReport,
    /// What it mines on, as it says itself.
    #[serde(default)]
    pub devices: Vec<DeviceReport>,
    /// The provider's own numbers, as it gave them.
    pub provider_stats: Option<serde_json::Value>,
}

/// A device that a miner says it mines on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceReport {
    /// Its name.
    pub name: String,
    /// Its address on the machine's bus.
    pub address: Option<String>,
    /// Hashes per second, as the provider reckons them.
    pub hashrate: Option<f64>,
    /// The same by window, from the hashes that the provider counts for it; nothing where it counts none.
    pub raw: Windows,
    /// How hot it is: by the machine's own sensors where they tell, else as the provider says.
    pub temperature_celsius: Option<f64>,
    /// What it draws, in the same way.
    pub power_watts: Option<f64>,
    /// Its proofs; nothing where the provider has several devices and does not tell which found a proof.
    pub proofs: Option<DeviceProofs>,
    /// Its rate as its verified proofs show it, in the same case.
    pub verified: Option<VerifiedRate>,
    /// Its claim held against its proofs; nothing where that cannot be done.
    pub judgement: Option<Judgement>,
    /// The verdict in words, or why there is none: the miner's own where this is all that it mines on.
    pub verdict: Option<String>,
    /// How often it was taken up again, where the provider tells.
    pub restarts: Option<u64>,
    /// The last thing that went wrong with it, as the provider says.
    pub last_error: Option<String>,
}

/// The proofs of one device, by what the host's verifier said of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceProofs {
    /// Handed in and not refused, late ones included.
    pub found: u64,
    /// Of these, passed the host's verifier.
    pub verified: u64,
    /// Of these, came when their job was over.
    pub late: u64,
    /// Refused by the host's verifier.
    pub refused: u64,
}

impl MinerReport {
    /// A miner of which nothing is known but its name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            condition: "starting".into(),
            reason: None,
            hint: None,
            provider: String::new(),
            plugin: None,
            program: None,
            provider_pid: None,
            job: None,
            hashrate: RateReport::default(),
            hashes: 0,
            proofs: ProofReport::default(),
            last_proof_at: None,
            restarts: 0,
            failures: (0, 0),
            last_error: None,
            confinement: ConfinementReport::default(),
            flood: FloodReport::default(),
            devices: Vec::new(),
            provider_stats: None,
        }
    }

    /// Whether it is out of the game for now, whatever the work source does.
    pub fn is_down(&self) -> bool {
        standing::is_down(&self.condition)
    }
}

/// A program at the miner port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramReport {
    /// Which language it speaks: `gateway-rpc` or `pool`.
    pub dialect: String,
    /// Name and version, as it says; cleaned, and empty where it says nothing.
    pub agent: String,
    /// Where it is: `unix`, or an address.
    pub address: String,
    /// Its process, where the socket tells.
    pub pid: Option<u32>,
    /// Its connections now.
    pub connections: u64,
    /// Questions for work in the last ten seconds.
    pub polls: u64,
    /// Unix time of its last request, in seconds.
    pub last_request_at: Option<u64>,
}

/// The plugin in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// File it was loaded from.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Certificate versions that it speaks.
    pub certificate_versions: Vec<u32>,
}

/// The job in work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// Height of the block in the making, where the source says.
    pub height: Option<u64>,
    /// Certificate version that it needs.
    pub certificate_version: u32,
    /// Seconds since the source first saw it.
    pub age_seconds: f64,
    /// Whether the provider has taken it.
    pub taken: bool,
    /// Seconds from the moment the session had it to the moment the provider took it.
    #[serde(default)]
    pub taken_after_seconds: Option<f64>,
    /// Hashes that a proof that pays takes on average.
    pub hashes_per_proof: Option<f64>,
    /// Hashes that a share takes on average: what a miner is asked for; nothing for several together.
    #[serde(default)]
    pub hashes_per_share: Option<f64>,
}

/// Hash rates, in hashes per second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RateReport {
    /// As the provider reports them, by window.
    pub raw: Windows,
    /// As the provider reports it, on average since it took its first job; only until the shortest window is full.
    #[serde(default)]
    pub so_far: Option<f64>,
    /// As the shares that passed the host's verifier show it, whatever is claimed.
    pub verified: Option<VerifiedRate>,
    /// As accepted proofs show it; nothing where nobody can say what was accepted.
    pub accepted: Option<VerifiedRate>,
    /// The claim held against the shares; nothing for several miners together.
    pub judgement: Option<Judgement>,
    /// The verdict in words.
    pub verdict: Option<String>,
}

/// One rate by window; nothing until a window is full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// Over the last 10 seconds.
    #[serde(rename = "10s")]
    pub s10: Option<f64>,
    /// Over the last 60 seconds.
    #[serde(rename = "60s")]
    pub s60: Option<f64>,
    /// Over the last 15 minutes.
    #[serde(rename = "15m")]
    pub m15: Option<f64>,
}

/// Proofs by what became of them. What the host measures with is a share; a proof that pays is one, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProofReport {
    /// Handed in and not refused, late ones included: what the verdict means by `found`.
    pub found: u64,
    /// Of these, passed the host's verifier by now.
    pub verified: u64,
    /// Of these, came when their job was over. They count for the rate and are never sent.
    pub late: u64,
    /// Verified, in time, hard enough to pay, and more than a block needs: counted and not kept.
    pub spare: u64,
    /// Verified, in time, and hard enough to pay: what goes on to the work source.
    pub paying: u64,
    /// Taken by the work source's peer.
    pub submitted: u64,
    /// Became a block of the chain.
    pub accepted: u64,
    /// Refused by the work source's peer.
    pub rejected: u64,
    /// Paid once, and their job was over when the work source's peer got them.
    pub stale: u64,
    /// Pay, and the work source kept them back though their job was good: they came faster than its peer wants them.
    pub not_sent: u64,
    /// Refused by the host's verifier, and never sent.
    pub refused: u64,
    /// The same by the stage that refused them.
    pub refused_by: BTreeMap<String, u64>,
    /// Handed over, and nobody can be asked what became of them.
    pub untraced: u64,
    /// Not settled yet, also from earlier sessions.
    pub pending: u64,
}

/// The provider's confinement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinementReport {
    /// What holds the provider process, or what is missing.
    pub summary: Option<String>,
    /// Permissions in force, in their text form.
    pub granted: Vec<String>,
    /// Permissions that the plugin wants and the user has not granted.
    pub withheld: Vec<String>,
    /// What the provider tried and was denied, with how often.
    pub denied: BTreeMap<String, u64>,
}

/// What was too much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodReport {
    /// Log lines of the provider that were dropped.
    pub log_lines_dropped: u64,
    /// Times that reading from the provider was slowed down.
    pub pipe_throttled: u64,
}
