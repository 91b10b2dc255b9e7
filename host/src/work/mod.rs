//! Where jobs come from and where proofs go.
//!
//! A *work source* is one tokio task that owns its connections and its state. It is started by [`spawn`], tells its
//! story through a bounded channel of [`WorkEvent`]s and a [`WorkStatus`] that may be read at any moment, and takes
//! proofs through a [`ProofSender`]:
//!
//! ```text
//!              spawn(SourceConfig, Arc<ProofStore>)
//!                             |
//!   WorkEvent::Job  <---- +--------+ <---- ProofSender::hand_over   (on disk before it is queued)
//!   WorkEvent::Proof <--- | source |
//!   WorkEvent::Condition  +--------+ ----> gateway, node | the devnet's chain
//! ```
//!
//! A source never verifies for the host: what is handed over has passed `pearl_pow`'s verifier. (The devnet verifies
//! again, because it plays the network's part.) It never decides whether a provider may have a job: a job carries
//! whatever certificate version the network asks for, known to this build or not.
//!
//! A proof stays in the [`ProofStore`] until it reaches a final [`ProofState`]; the source itself takes up what an
//! earlier process left there. Dropping the [`WorkHandle`] ends the source; kept proofs stay on disk.
//!
//! # Limitations
//!
//! Pools are not spoken to yet.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

pub mod devnet;
pub mod gateway;
mod lines;
pub mod node;
pub mod proofs;

use crate::config::{GatewayEndpoint, MiningSection, NodeSection, SubmitTarget};
use crate::explain::Explain;
use crate::home::Home;
use devnet::Devnet;
pub use proofs::{KeptProof, ProofStore, StoreError};

/// Events that may wait for a reader before the source itself waits.
const EVENTS_MAX: usize = 256;

/// One unit of work, as a source gives it out.
///
/// Two jobs are the same work when their [`JobKey`]s are equal; a source emits a job once and again only after
/// another one came between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkJob {
    /// The 76 header bytes, opaque but for `nbits` (protocol section 1).
    pub header: [u8; 76],
    /// The unscaled target, a little-endian number (protocol section 6.3).
    pub target: [u8; 32],
    /// The certificate version that a block from this job needs: any number, also one that nobody here speaks.
    pub certificate_version: u32,
    /// Whether the rank-penalised bound applies (protocol section 6.2). True wherever it is not known to be off: a
    /// proof that meets the penalised bound meets the plain one too.
    pub rank_penalty: bool,
    /// Height of the block in the making, where the source says.
    pub height: Option<u64>,
    /// When the source first saw it.
    pub received: Instant,
}

/// What makes two jobs the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobKey {
    header: [u8; 76],
    target: [u8; 32],
    certificate_version: u32,
    rank_penalty: bool,
}

impl WorkJob {
    /// The job's identity: everything that a proof for it depends on.
    pub fn key(&self) -> JobKey {
        JobKey {
            header: self.header,
            target: self.target,
            certificate_version: self.certificate_version,
            rank_penalty: self.rank_penalty,
        }
    }

    /// The job as the verifier takes it.
    ///
    /// # Errors
    ///
    /// The certificate version is none that this build can verify.
    pub fn to_pow(&self) -> Result<pearl_pow::Job, pearl_pow::UnsupportedCertificate> {
        Ok(pearl_pow::Job {
            header: pearl_pow::Header::from_bytes(self.header),
            target: Some(pearl_pow::Target::from_le_bytes(self.target)),
            certificate: self.certificate_version.try_into()?,
            rank_penalty: self.rank_penalty,
        })
    }

    /// How long ago the source first saw the job.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.received)
    }

    /// The hash of the block this job builds on, in the header's own byte order (protocol section 1).
    pub fn prev_block(&self) -> [u8; 32] {
        self.header[4..36].try_into().expect("32 bytes of 76")
    }
}

/// Names one found proof for as long as its file lives, across restarts of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProofId(String);

impl ProofId {
    /// The name of a proof. The same proof for the same job always has the same.
    pub fn of(found: &FoundProof) -> Self {
        proofs::name(found)
    }
}

impl fmt::Display for ProofId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a proof is on its way from the host to the chain.
///
/// ```text
/// Kept -> HandedOver -> InBlock -> Confirmed
///   |         |    \        \----> Stale (its block left the main chain)
///   |         |     \--> Untraced (nobody can be asked)
///   +---------+--------> Stale | Rejected
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofState {
    /// On disk, and to be handed over as soon as the source can be reached.
    Kept,
    /// The source's peer answered that it took it, for the `attempt`th time (from 1). It says nothing about validity.
    HandedOver {
        /// How often it was handed over so far.
        attempt: u32,
    },
    /// It became a block of the main chain.
    InBlock {
        /// The block's hash as explorers print it.
        hash: String,
        /// The block's height.
        height: u64,
    },
    /// Its block is deep enough that nothing will undo it. Final.
    Confirmed {
        /// The block's hash as explorers print it.
        hash: String,
        /// The block's height.
        height: u64,
        /// Blocks of the main chain from this one on, itself included.
        confirmations: u64,
    },
    /// Its job went out of date before it could become a block. Final.
    Stale {
        /// What is known of why.
        reason: String,
    },
    /// Refused by the peer. Final.
    Rejected {
        /// The peer's words, bounded and free of control characters.
        reason: String,
    },
    /// Handed over, its job is over, and nobody can be asked what became of it. Final.
    Untraced {
        /// Why nobody can be asked, and what would change that.
        reason: String,
    },
}

impl ProofState {
    /// Whether nothing more will be said about the proof. Its file is gone by then.
    ///
    /// [`Self::InBlock`] is not final, but the file is gone there too: the network has it.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Kept | Self::HandedOver { .. } | Self::InBlock { .. } => false,
            Self::Confirmed { .. } | Self::Stale { .. } | Self::Rejected { .. } | Self::Untraced { .. } => {
                true
            }
        }
    }

    /// One word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::HandedOver { .. } => "handed-over",
            Self::InBlock { .. } => "in-block",
            Self::Confirmed { .. } => "confirmed",
            Self::Stale { .. } => "stale",
            Self::Rejected { .. } => "rejected",
            Self::Untraced { .. } => "untraced",
        }
    }
}

/// How a source is doing, worst news first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Jobs come and proofs go.
    Healthy,
    /// No connection yet, or not any more; it is tried for ever.
    Connecting {
        /// Tries so far, from 1.
        attempt: u32,
        /// When the next try is due; `None` while one is under way.
        next_try: Option<Instant>,
        /// What the last try failed with.
        error: Option<String>,
    },
    /// The peer has no work just now.
    Paused {
        /// The peer's words.
        reason: String,
    },
    /// The peer took a proof of ours and answers nothing: it is proving, which takes minutes.
    Proving {
        /// When the proof was taken.
        since: Instant,
    },
    /// The peer answers nothing though nothing of ours is with it: it may be proving for another miner.
    Silent {
        /// When the unanswered request was sent.
        since: Instant,
    },
    /// The job on offer is out of date, or so old that it very likely is.
    FrozenJob {
        /// When the job was first seen.
        since: Instant,
        /// How that is known.
        reason: String,
    },
    /// Proofs are taken and none becomes a block.
    RefusingEveryProof {
        /// Hand-overs in a row that came to nothing.
        count: u32,
    },
    /// What the peer sends is not the protocol.
    Garbled {
        /// What was found.
        reason: String,
    },
}

impl Condition {
    /// One word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Connecting { .. } => "connecting",
            Self::Paused { .. } => "paused",
            Self::Proving { .. } => "proving",
            Self::Silent { .. } => "silent",
            Self::FrozenJob { .. } => "frozen-job",
            Self::RefusingEveryProof { .. } => "refusing-every-proof",
            Self::Garbled { .. } => "garbled",
        }
    }

    /// Whether work done now can be expected to earn something.
    pub fn is_earning(&self) -> bool {
        matches!(self, Self::Healthy | Self::Proving { .. })
    }

    /// A sentence for `status`, without full stop.
    pub fn sentence(&self, now: Instant) -> String {
        let ago = |since: &Instant| seconds(now.saturating_duration_since(*since));
        match self {
            Self::Healthy => "jobs come and proofs go".to_owned(),
            Self::Connecting { attempt, next_try, error } => {
                let mut text = match error {
                    Some(error) => format!("not connected (try {attempt}): {error}"),
                    None => "connecting".to_owned(),
                };
                if let Some(at) = next_try {
                    text.push_str(&format!("; next try in {}", seconds(at.saturating_duration_since(now))));
                }
                text
            }
            Self::Paused { reason } => format!("no work on offer: {reason}"),
            Self::Proving { since } => {
                format!("proving our block for {}; answers nothing meanwhile", ago(since))
            }
            Self::Silent { since } => {
                format!("no answer for {}; it may be proving for another miner", ago(since))
            }
            Self::FrozenJob { since, reason } => {
                format!("the job has not changed for {}: {reason}", ago(since))
            }
            Self::RefusingEveryProof { count } => {
                format!("took {count} proofs in a row and none became a block")
            }
            Self::Garbled { reason } => format!("does not speak the protocol: {reason}"),
        }
    }

    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Healthy | Self::Proving { .. } => None,
            Self::Connecting { .. } => Some("is the gateway running, and is its address right?"),
            Self::Paused { .. } => Some("the gateway waits for its node: see the node's log"),
            Self::Silent { .. } => Some("wait for it; after ten minutes restart the gateway"),
            Self::FrozenJob { .. } => Some("see whether the gateway's node is up, synced and current"),
            Self::RefusingEveryProof { .. } => Some("restart the gateway; its log says why it refuses"),
            Self::Garbled { .. } => Some("is this really a pearl-gateway's address?"),
        }
    }
}

/// What a source's task works with: the far ends of a [`WorkHandle`].
#[derive(Debug)]
struct Context {
    events: mpsc::Sender<WorkEvent>,
    status: watch::Sender<WorkStatus>,
    proofs: mpsc::Receiver<KeptProof>,
    earlier: proofs::Earlier,
    store: Arc<ProofStore>,
}

/// The handle is gone: the source ends.
#[derive(Debug)]
struct Stopped;

impl Context {
    /// Tells the handle, and keeps the status and the store in step with what is told.
    async fn emit(&self, event: WorkEvent) -> Result<(), Stopped> {
        if let WorkEvent::Proof { id, state } = &event {
            match state {
                ProofState::HandedOver { .. } => self.store.handed_over(id),
                ProofState::InBlock { .. } => self.store.settle(id),
                state if state.is_final() => self.store.settle(id),
                _ => {}
            }
        }
        self.status.send_modify(|status| match &event {
            WorkEvent::Job(job) => status.job = Some(job.clone()),
            WorkEvent::Condition(condition) => status.condition = condition.clone(),
            WorkEvent::Proof { .. } => status.proofs_pending = self.store.len(),
            WorkEvent::Note(_) => {}
        });
        self.events.send(event).await.map_err(|_| Stopped)
    }
}

/// Why a source could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SpawnError {
    #[error("failed to open the devnet")]
    Devnet(#[source] devnet::chain::ChainError),
    #[error("pools are not spoken to yet (`submit_target` is `pool:{url}`)")]
    Pool { url: String },
}

impl Explain for SpawnError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Devnet(err) => err.hint(),
            Self::Pool { .. } => Some("set `submit_target` to `solo` or `devnet`".to_owned()),
        }
    }
}

/// Starts a source in the running tokio runtime (a current-thread one will do).
///
/// Proofs that an earlier process left in `store` for this kind of source are taken up by themselves; each shows in
/// the events under its old id.
///
/// # Errors
///
/// What can be known at once: the devnet's folder cannot be used, or another process has it. A gateway that cannot
/// be reached is no error but a [`Condition`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn spawn(config: SourceConfig, store: Arc<ProofStore>) -> Result<WorkHandle, SpawnError> {
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    let (queue, proofs_out) = mpsc::channel(proofs::PROOFS_MAX);
    let source = match &config {
        SourceConfig::Devnet(_) => "devnet",
        SourceConfig::Gateway(_) => "gateway",
    };
    let (status_in, status) = watch::channel(WorkStatus {
        source,
        condition: Condition::Connecting { attempt: 1, next_try: None, error: None },
        job: None,
        endpoints: Vec::new(),
        proofs_pending: 0,
        requests: 0,
        reconnects: 0,
    });
    let context = Context {
        events: events_in,
        status: status_in,
        proofs: proofs_out,
        earlier: store.take_earlier(source),
        store: Arc::clone(&store),
    };
    let task = match config {
        SourceConfig::Devnet(config) => {
            let (network, notes) = Devnet::open(&config).map_err(SpawnError::Devnet)?;
            tokio::spawn(devnet::run(network, notes, context))
        }
        SourceConfig::Gateway(config) => tokio::spawn(gateway::run(*config, context)),
    };
    Ok(WorkHandle { events, status, proofs: ProofSender { source, store, queue }, task })
}

/// A block hash as explorers print it: the header's bytes in reverse, in hex (protocol section 1).
pub fn block_hash_text(hash: &[u8; 32]) -> String {
    let mut reversed = *hash;
    reversed.reverse();
    proofs::hex(&reversed)
}

/// Whole seconds, or minutes and seconds, for sentences.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

/// What a source tells.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkEvent {
    /// New work; every earlier job is over.
    Job(WorkJob),
    /// The source's condition changed.
    Condition(Condition),
    /// A proof moved on.
    Proof {
        /// Which one.
        id: ProofId,
        /// Where it is now.
        state: ProofState,
    },
    /// Something worth a line in the log that is none of the above.
    Note(String),
}

/// An address that the session talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What for: `gateway`, `node`.
    pub purpose: &'static str,
    /// Without any credentials, such as `unix:/tmp/pearlgw.sock` or `https://127.0.0.1:44107`.
    pub address: String,
    /// Whether the last exchange worked; `None` before the first.
    pub reachable: Option<bool>,
    /// What went wrong with it, where more is known than that.
    pub trouble: Option<String>,
}

/// A source's state at one moment.
#[derive(Clone, Debug)]
pub struct WorkStatus {
    /// `devnet` or `gateway`.
    pub source: &'static str,
    /// How it is doing.
    pub condition: Condition,
    /// The job on offer.
    pub job: Option<WorkJob>,
    /// The addresses it talks to; none for the devnet.
    pub endpoints: Vec<Endpoint>,
    /// Found proofs that are not settled yet.
    pub proofs_pending: usize,
    /// Requests sent to peers since the start.
    pub requests: u64,
    /// Connections made anew since the start.
    pub reconnects: u64,
}

/// A verified proof on its way to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProof {
    /// The job it was found for, exactly as it was given out.
    pub job: WorkJob,
    /// The plain proof's bytes (protocol section 9.1).
    pub proof: Vec<u8>,
    /// When it was found.
    pub found: SystemTime,
}

/// Hands proofs to a source. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct ProofSender {
    source: &'static str,
    store: Arc<ProofStore>,
    queue: mpsc::Sender<KeptProof>,
}

impl ProofSender {
    /// Writes a verified proof to disk, then queues it for the source. Blocks for two fsyncs: call it from a thread
    /// that may block, not from a tokio task.
    ///
    /// The proof is on disk when this returns, and is settled by the source in this life of the host or a later one.
    /// A disk that refuses does not stop the proof: it is queued all the same, and [`HandedOver::not_kept`] says why
    /// a crash would lose it.
    ///
    /// # Errors
    ///
    /// - [`HandOverError::Known`]: this very proof is being settled already.
    /// - [`HandOverError::Full`]: the source has too many unsettled proofs; this one was dropped.
    /// - [`HandOverError::Stopped`]: the source has ended. The proof is on disk if the disk took it.
    pub fn hand_over(&self, found: FoundProof) -> Result<HandedOver, HandOverError> {
        let (kept, not_kept) = match self.store.keep(self.source, &found) {
            Ok(kept) => (kept, None),
            Err(StoreError::Known { id }) => return Err(HandOverError::Known { id }),
            Err(StoreError::Full { max }) => return Err(HandOverError::Full { max }),
            Err(err) => (KeptProof::in_memory(found), Some(err)),
        };
        let id = kept.id.clone();
        match self.queue.try_send(kept) {
            Ok(()) => Ok(HandedOver { id, not_kept }),
            // The queue holds as many as the store: only a proof that the disk refused can find it full.
            Err(mpsc::error::TrySendError::Full(_)) => Err(HandOverError::Full { max: proofs::PROOFS_MAX }),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(HandOverError::Stopped { id, not_kept }),
        }
    }
}

/// A proof that is on its way.
#[derive(Debug)]
pub struct HandedOver {
    /// Its name in every later event.
    pub id: ProofId,
    /// Why the proof is not on disk, if it is not.
    pub not_kept: Option<StoreError>,
}

/// Why a proof did not get on its way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum HandOverError {
    #[error("this proof was handed over before (as {id})")]
    Known { id: ProofId },
    #[error("{max} proofs wait to be settled already; this one was dropped")]
    Full { max: usize },
    #[error("the work source has ended (proof {id})")]
    Stopped {
        id: ProofId,
        /// Why the proof is not on disk, if it is not.
        not_kept: Option<StoreError>,
    },
}

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
}

impl DevnetConfig {
    /// Today's rules, with the chain in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, certificate_version: 3, spacing: devnet::pace::SPACING }
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
    /// Age at which an unchanged job is called frozen when there is no node to ask.
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

/// A running source.
#[derive(Debug)]
pub struct WorkHandle {
    /// What it tells, in order. The source waits while nobody reads.
    pub events: mpsc::Receiver<WorkEvent>,
    /// Its state, readable at any moment.
    pub status: watch::Receiver<WorkStatus>,
    /// Where proofs go; clone it at will.
    pub proofs: ProofSender,
    task: tokio::task::JoinHandle<()>,
}

impl WorkHandle {
    /// Ends the source. Connections are closed and a gateway it started is stopped; kept proofs stay on disk.
    pub async fn stop(self) {
        let Self { events, task, .. } = self;
        // The source ends when nobody can hear it any more.
        drop(events);
        // A source that panicked has said so on stderr already.
        let _ = task.await;
    }
}

#[cfg(test)]
mod testing;
