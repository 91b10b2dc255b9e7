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
//!   WorkEvent::Condition  +--------+ ----> gateway, node | pools | the devnet's chain
//! ```
//!
//! A source never verifies for the host: what is handed over has passed `pearl_pow`'s verifier. (The devnet verifies
//! again, because it plays the network's part.) It never decides whether a provider may have a job: a job carries
//! whatever certificate version the network asks for, known to this build or not.
//!
//! A proof stays in the [`ProofStore`] until it reaches a final [`ProofState`]; the source itself takes up what an
//! earlier process left there. Dropping the [`WorkHandle`] ends the source; kept proofs stay on disk.
//!
//! What pools need beyond that travels along: a job's [`Origin`], and whether earlier jobs of it live on.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

mod condition;
pub mod devnet;
mod endpoint;
pub mod gateway;
mod job;
pub mod lines;
pub mod miner_rpc;
pub mod node;
pub mod pool;
pub mod proofs;
pub mod refused;
mod settings;
pub mod stratum;

use crate::explain::Explain;
pub use condition::Condition;
use devnet::Devnet;
pub use endpoint::{Endpoint, Trouble};
pub use job::{FoundProof, JobKey, Origin, ProofId, ProofState, WorkJob};
pub use pool::{Pool, PoolConfig, PoolRow, PoolStatus};
pub use proofs::{KeptProof, ProofStore, StoreError};
pub use settings::{DevnetConfig, GatewayConfig, GatewayTiming, SourceConfig, pools};

/// Events that may wait for a reader before the source itself waits.
const EVENTS_MAX: usize = 256;

/// Proofs that are kept for one header of a gateway: the first, and a few in case that it comes to nothing.
const SPARES_MAX: usize = 4;

/// What a source tells.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkEvent {
    /// New work; every earlier job is over.
    Job(WorkJob),
    /// There is no work, and the job before is over: whoever mines pauses until there is another.
    NoJob {
        /// Why, in a phrase.
        reason: String,
    },
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

/// A source's state at one moment.
#[derive(Clone, Debug)]
pub struct WorkStatus {
    /// `devnet`, `gateway` or `pool`.
    pub source: &'static str,
    /// How it is doing.
    pub condition: Condition,
    /// The job on offer.
    pub job: Option<WorkJob>,
    /// The addresses it talks to; none for the devnet.
    pub endpoints: Vec<Endpoint>,
    /// Found proofs that are not settled yet.
    pub proofs_pending: usize,
    /// A proof of ours that the gateway took, while nobody knows yet what it makes of it.
    pub proving: Option<Proving>,
    /// The pools, where the source is a pool.
    pub pool: Option<Box<PoolStatus>>,
    /// Requests sent to peers since the start.
    pub requests: u64,
    /// Connections made anew since the start.
    pub reconnects: u64,
}

/// A gateway that makes a block of a proof of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proving {
    /// Since when it has the proof.
    pub since: Instant,
    /// Whether it surely computes: it has answered nothing since, or made a block of an earlier one while it answered.
    pub computes: bool,
    /// Whether it runs on this machine, as far as its address tells.
    pub here: bool,
    /// Whether this session started it, and would take the proof with it.
    pub ours: bool,
}

impl WorkStatus {
    /// Whether it can be told at this moment what became of proofs. The devnet knows its own chain; a pool answers every
    /// share, a gateway says nothing, so there it takes a node that answers.
    pub fn knows_fates(&self) -> bool {
        let answers = |one: &Endpoint| one.purpose == "node" && one.reachable == Some(true);
        matches!(self.source, "devnet" | "pool") || self.endpoints.iter().any(answers)
    }
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
    /// - [`HandOverError::Spare`]: enough proofs for the same header are kept already, and only one can become its block.
    /// - [`HandOverError::Stopped`]: the source has ended. The proof is on disk if the disk took it.
    pub fn hand_over(&self, found: FoundProof) -> Result<HandedOver, HandOverError> {
        // A pool pays for each of them, and the devnet settles each at once.
        // Of shares any number is worth something.
        if self.source == "gateway"
            && !found.job.is_for_shares()
            && self.store.of_header(&found.job.header) >= SPARES_MAX
        {
            return Err(HandOverError::Spare { max: SPARES_MAX });
        }
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
    #[error("{max} proofs are kept for the same block, and only one can become it")]
    Spare { max: usize },
    #[error("the work source has ended (proof {id})")]
    Stopped {
        id: ProofId,
        /// Why the proof is not on disk, if it is not.
        not_kept: Option<StoreError>,
    },
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
            WorkEvent::NoJob { .. } => status.job = None,
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
    #[error("the pool's address `{url}` {problem}")]
    Pool { url: String, problem: String, right: String },
    #[error("the wallet `{wallet}` {problem}")]
    Wallet { wallet: String, problem: String, hint: String },
}

impl Explain for SpawnError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Devnet(err) => err.hint(),
            Self::Pool { right, .. } => Some(format!("set `submit_target = \"pool:{right}\"`")),
            Self::Wallet { hint, .. } => Some(hint.clone()),
        }
    }

    fn exit(&self) -> crate::exit::Exit {
        match self {
            Self::Devnet(err) => err.exit(),
            Self::Pool { .. } | Self::Wallet { .. } => crate::exit::Exit::Futile,
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
        SourceConfig::Pool(_) => "pool",
    };
    let (status_in, status) = watch::channel(WorkStatus {
        source,
        condition: Condition::Connecting { attempt: 1, next_try: None, error: None },
        job: None,
        endpoints: Vec::new(),
        proofs_pending: 0,
        proving: None,
        pool: None,
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
        SourceConfig::Pool(config) => tokio::spawn(pool::run(*config, context)),
    };
    Ok(WorkHandle { events, status, proofs: ProofSender { source, store, queue }, task })
}

/// A block hash as explorers print it: the header's bytes in reverse, in hex (protocol section 1).
pub fn block_hash_text(hash: &[u8; 32]) -> String {
    let mut reversed = *hash;
    reversed.reverse();
    proofs::hex(&reversed)
}

/// The same read back: what nodes print, in the header's byte order.
pub fn block_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash: [u8; 32] = proofs::unhex(text)?.try_into().ok()?;
    hash.reverse();
    Some(hash)
}

#[cfg(test)]
mod testing;
