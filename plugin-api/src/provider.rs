//! The trait that a provider implements, and the types of its calls.

use std::time::Duration;

use crate::hardware::HardwareInfo;
use crate::host::Host;

/// One implementation of mining, for the hardware, engines and models that it knows. Since 1.0.0.
///
/// A library carries one provider, made known with [`export_provider!`](crate::export_provider).
///
/// # Threads
///
/// [`detect`](Self::detect), [`is_running`](Self::is_running) and [`stats`](Self::stats) may be called from any thread
/// at any time. [`start`](Self::start) and [`stop`](Self::stop) never overlap each other, and a provider that was
/// started is stopped before it is started again or dropped. `detect` and `start` may run in different processes: what
/// one remembers, the other need not know.
///
/// # Panics
///
/// A panic in any of these becomes an error with the panic's message. A panic in a thread of the provider's own does
/// not: notice it, and let `is_running` answer `false`.
pub trait MiningProvider: Send + Sync + 'static {
    /// Answers whether this provider can mine on `hardware`, with the inference engine `engine_id` and the model
    /// `model` (both empty where neither matters).
    ///
    /// A pure inspection: no program is run, nothing is written, and neither the network nor Docker is asked. It runs in
    /// a confined process, where each of these is denied and reported. It has about two seconds.
    fn detect(&self, hardware: &HardwareInfo, engine_id: &str, model: &str) -> MiningCapabilities;

    /// Starts mining on threads of the provider's own, and returns.
    ///
    /// The threads take jobs from `host` until it answers [`NextJob::Stopped`](crate::NextJob::Stopped) or
    /// [`stop`](Self::stop) is called.
    ///
    /// # Errors
    ///
    /// What keeps it from mining, in one sentence that a user can act on; nothing is left running then. A start that
    /// takes long asks `host` now and then: [`NextJob::Stopped`](crate::NextJob::Stopped) means that it can give up.
    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError>;

    /// Stops mining; returns when none of the provider's threads works any more. Stopping twice is no error.
    ///
    /// Before this is called, the host closes: [`Host::next_job`] answers [`NextJob::Stopped`](crate::NextJob::Stopped)
    /// (within 50 ms where a thread waits in it) and [`Host::is_stale`] answers `true` for every job. Threads that ask
    /// both need no flag of their own; all that is left to do here is to join them.
    ///
    /// # Errors
    ///
    /// What is left running, and why. The host does not drop the provider then, nor start it again.
    fn stop(&self) -> Result<(), ProviderError>;

    /// Whether the provider mines: `true` from a successful `start` to `stop`, or to a failure of its own.
    fn is_running(&self) -> bool;

    /// The provider's own numbers. Cheap: it is asked about once a second.
    fn stats(&self) -> MiningStats;
}

/// What [`MiningProvider::detect`] answers. Since 1.0.0.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MiningCapabilities {
    /// Whether the provider can mine here.
    pub supported: bool,
    /// Shown to the user verbatim: why not, or a remark. One line without control characters.
    pub reason: Option<String>,
    /// Hashes (int8 multiply-accumulates) per second, where the provider can tell.
    pub estimated_hashrate: Option<f64>,
}

impl MiningCapabilities {
    /// The provider can mine here.
    pub fn supported() -> Self {
        Self { supported: true, ..Self::default() }
    }

    /// The provider cannot mine here, because of `reason`.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self { supported: false, reason: Some(reason.into()), estimated_hashrate: None }
    }

    /// The same with an estimate of the speed in hashes per second.
    #[must_use]
    pub fn with_estimate(self, hashes_per_second: f64) -> Self {
        Self { estimated_hashrate: Some(hashes_per_second), ..self }
    }

    /// The same with a remark for the user.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }
}

/// What a provider is started with. Since 1.0.0.
///
/// A provider that only computes gets an empty wallet address and an empty target: the host owns both.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MiningConfig {
    /// The provider's id.
    pub provider: String,
    /// The payout address.
    pub wallet_address: String,
    /// Where proofs go.
    pub submit_target: SubmitTarget,
    /// Fee in hundredths of a per cent: always 0.
    pub fee_bps: u32,
    /// Who is paid the fee.
    pub fee_payout_address: Option<String>,
    /// The provider's own settings, `[mining.extra]` of the configuration.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl MiningConfig {
    /// The configuration of a provider that only computes: its id and its own settings. For hosts, and for tests that
    /// act as one; what else a provider gets is assigned to the fields.
    pub fn compute_only(
        provider: impl Into<String>,
        extra: serde_json::Map<String, serde_json::Value>,
    ) -> Self {
        Self {
            provider: provider.into(),
            wallet_address: String::new(),
            submit_target: SubmitTarget::Solo { pearld_rpc_url: String::new() },
            fee_bps: 0,
            fee_payout_address: None,
            extra,
        }
    }
}

/// Where proofs go. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitTarget {
    /// To a node of one's own.
    Solo {
        /// The node's RPC address.
        pearld_rpc_url: String,
    },
    /// To a pool.
    Pool {
        /// The pool's address.
        url: String,
        /// This machine's name at the pool.
        worker_id: Option<String>,
    },
}

/// A provider's own numbers. Since 1.0.0.
///
/// Shares, blocks and what was accepted are the host's to count; these are shown beside them. Begin with `default()` and
/// assign what there is to tell: fields may be added.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MiningStats {
    /// Hashes (int8 multiply-accumulates) since `start`.
    pub hashes: u64,
    /// Hashes per second over the recent past.
    pub hashrate: f64,
    /// Proofs handed to the host since `start`.
    pub proofs_found: u64,
    /// Jobs taken since `start`.
    pub jobs_taken: u64,
    /// Time since `start`; zero if not running.
    pub uptime: Duration,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// What has no field: an object, or null. Hosts know these members and show the others as they come: `memory_bytes`
    /// (a number), `split` (an object: seconds of work since `start` by part), `devices` and `threads` (arrays of objects
    /// with `name` and `hashrate`).
    pub details: serde_json::Value,
}

/// Why a provider could not do what it was asked. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The provider said so.
    #[error("{0}")]
    Failed(String),
    /// The provider panicked.
    #[error("the provider panicked: {0}")]
    Panicked(String),
    /// The provider broke the contract.
    #[error("the provider broke the contract: {0}")]
    Contract(String),
}

impl ProviderError {
    /// A failure with its reason: one sentence that a user can act on.
    pub fn new(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }
}

impl From<String> for ProviderError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl From<&str> for ProviderError {
    fn from(reason: &str) -> Self {
        Self::Failed(reason.to_owned())
    }
}
