//! An embedded one-node network: it issues jobs under today's mainnet rules (certificate 3, rank penalty, dense),
//! verifies every proof, and keeps a small chain in the home folder.
//!
//! It is what `pearlbed start` mines on without a node, and what a provider is tested against. Its blocks are worth
//! nothing. [`Devnet`] is the network itself, `run` makes it a work source, and [`server`] speaks the gateway's
//! protocol for it.
//!
//! ```text
//! header(tip, time, nbits) --> job --> proof --check--> block --> tip
//!             ^                                           |
//!             +----------- pace: a block every 5 s -------+
//! ```
//!
//! # Limitations
//!
//! One miner's network never has a competing block, so nothing is ever undone. Block hashes are BLAKE3 of the
//! 108-byte header, not the real node's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::proofs::Earlier;
use super::{
    Condition, Context, DevnetConfig, FoundProof, KeptProof, ProofId, ProofState, Stopped, WorkEvent,
    WorkJob, block_hash_text,
};

pub mod chain;
pub mod pace;
pub mod pool;
pub mod server;

use chain::{Block, Chain, ChainError};
use pace::Pace;

/// Blocks, itself included, after which a block counts as confirmed.
const CONFIRMED_DEPTH: u64 = 6;

/// The network: chain, pace and the job on offer.
#[derive(Debug)]
pub struct Devnet {
    chain: Chain,
    pace: Pace,
    certificate_version: u32,
    job: WorkJob,
}

/// Why a proof did not become a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum Refused {
    #[error("its header is not, or no longer, on offer")]
    Stale,
    #[error("{0}")]
    Invalid(String),
}

impl Devnet {
    /// Opens the network in its folder. The second value tells of what had to be repaired.
    ///
    /// # Errors
    ///
    /// As [`Chain::open`].
    pub fn open(config: &DevnetConfig) -> Result<(Self, Vec<String>), ChainError> {
        let (chain, notes) = Chain::open(&config.dir)?;
        let mut pace = Pace::new(config.spacing);
        for block in chain.newest(16) {
            pace.replay(block.nbits(), Duration::from_millis(block.interval_ms.into()));
        }
        if let Some(rate) = config.rate {
            pace.expect(rate);
        }
        let certificate_version = config.certificate_version;
        let job = make_job(&chain, &pace, certificate_version, SystemTime::now(), Instant::now());
        Ok((Self { chain, pace, certificate_version, job }, notes))
    }

    /// The job on offer.
    pub fn job(&self) -> &WorkJob {
        &self.job
    }

    /// The height of the newest block.
    pub fn height(&self) -> u64 {
        self.chain.height()
    }

    /// When [`Self::ease`] is due, if ever.
    pub fn ease_at(&self) -> Option<Instant> {
        self.pace.patience().map(|patience| self.job.received + patience)
    }

    /// Nobody found a block for long: offers an easier job. Proofs for the harder ones stay good.
    pub fn ease(&mut self, wall: SystemTime, now: Instant) {
        self.pace.ease(self.job.age(now));
        self.job = make_job(&self.chain, &self.pace, self.certificate_version, wall, now);
    }

    /// Nobody mined until now: the job's time starts again.
    pub fn reissue(&mut self, wall: SystemTime, now: Instant) {
        self.job = make_job(&self.chain, &self.pace, self.certificate_version, wall, now);
    }

    /// The miners do `rate` hashes a second together, as far as is known: the job fits that, where what was measured does
    /// not say otherwise. Answers whether there is another job now.
    pub fn expect(&mut self, rate: f64, wall: SystemTime, now: Instant) -> bool {
        let before = self.pace.nbits();
        self.pace.expect(rate);
        let changed = self.pace.nbits() != before;
        if changed {
            self.reissue(wall, now);
        }
        changed
    }

    /// The same for a guess, which only counts in a network without blocks.
    pub fn expect_at_first(&mut self, rate: f64, wall: SystemTime, now: Instant) {
        if self.height() == 0 {
            self.expect(rate, wall, now);
        }
    }

    /// The job that `header` stands for, if a block can still be made from it.
    pub fn job_of(&self, header: &[u8; 76]) -> Option<WorkJob> {
        let nbits = u32::from_le_bytes(header[72..].try_into().expect("4 bytes"));
        self.is_current(header).then(|| WorkJob {
            header: *header,
            target: pace::target(nbits),
            ..self.job.clone()
        })
    }

    /// The block that was already made of this header and proof: an earlier process may have been killed between the
    /// two facts that the block is on disk and that the proof is settled.
    pub fn made_of(&self, header: &[u8; 76], proof: &[u8]) -> Option<Block> {
        self.chain.made_of(header, proof).copied()
    }

    /// Whether a block can still be made from `header`: this chain issued it for its present tip.
    pub fn is_current(&self, header: &[u8; 76]) -> bool {
        self.chain.issued(header)
    }

    /// Makes a proof that passed [`check`] a block and offers the next job.
    ///
    /// The second value tells of a disk that refused; the block counts all the same.
    ///
    /// # Errors
    ///
    /// [`Refused::Stale`]: another block took its place meanwhile, or the header was never issued here.
    pub fn extend(
        &mut self,
        header: &[u8; 76],
        proof: &[u8],
        wall: SystemTime,
        now: Instant,
    ) -> Result<(Block, Option<String>), Refused> {
        if !self.is_current(header) {
            return Err(Refused::Stale);
        }
        let (_, interval) = self.pace.block(self.job.age(now));
        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        let (block, saved) = self.chain.append(header, proof, interval_ms);
        self.job = make_job(&self.chain, &self.pace, self.certificate_version, wall, now);
        let note = saved.err().map(|err| format!("block {} is not on disk yet: {err}", block.height));
        Ok((block, note))
    }
}

fn make_job(chain: &Chain, pace: &Pace, certificate_version: u32, wall: SystemTime, now: Instant) -> WorkJob {
    let seconds = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Time never runs backwards in a chain, whatever the clock does.
    let earliest = chain.tip().map_or(0, Block::time);
    let time = u32::try_from(seconds).unwrap_or(u32::MAX).max(earliest);
    let nbits = pace.nbits();
    WorkJob {
        header: chain.header(time, nbits),
        target: pace::target(nbits),
        certificate_version,
        rank_penalty: true,
        height: Some(chain.height() + 1),
        received: now,
        origin: None,
        keeps_earlier: false,
    }
}

/// Verifies a proof as the network does. Takes milliseconds: not for a tokio task.
///
/// # Errors
///
/// [`Refused::Invalid`] with the verifier's reason.
pub fn check(job: &WorkJob, proof: &[u8]) -> Result<(), Refused> {
    let rules = job.to_pow().map_err(|err| Refused::Invalid(err.to_string()))?;
    pearl_pow::verify_bytes(&rules, proof).map_err(|rejection| Refused::Invalid(rejection.to_string()))?;
    Ok(())
}

/// The devnet as a work source. Ends when the handle is gone.
pub(super) async fn run(network: Devnet, notes: Vec<String>, mut context: Context) {
    let earlier = std::mem::take(&mut context.earlier);
    let mut source = Source { network, context, unconfirmed: Vec::new() };
    // Stopped is the only way out.
    let _ = source.run(notes, earlier).await;
}

struct Source {
    network: Devnet,
    context: Context,
    /// Blocks of this process that are not deep enough yet.
    unconfirmed: Vec<(ProofId, Block)>,
}

impl Source {
    async fn run(&mut self, notes: Vec<String>, earlier: Earlier) -> Result<(), Stopped> {
        for note in notes.into_iter().chain(earlier.notes) {
            self.context.emit(WorkEvent::Note(note)).await?;
        }
        self.context.emit(WorkEvent::Condition(Condition::Healthy)).await?;
        // Blocks made of what an earlier process found come first: the job that follows builds on them.
        for kept in earlier.proofs {
            self.settle(kept).await?;
        }
        self.offer().await?;
        loop {
            let ease_at = self.network.ease_at();
            tokio::select! {
                () = self.context.events.closed() => return Err(Stopped),
                kept = self.context.proofs.recv() => self.settle(kept.ok_or(Stopped)?).await?,
                () = until(ease_at) => {
                    self.network.ease(SystemTime::now(), Instant::now());
                    self.offer().await?;
                }
            }
        }
    }

    async fn offer(&self) -> Result<(), Stopped> {
        self.context.emit(WorkEvent::Job(self.network.job().clone())).await
    }

    async fn settle(&mut self, kept: KeptProof) -> Result<(), Stopped> {
        let id = kept.id;
        let state = match self.try_block(kept.found).await? {
            Err(Refused::Stale) => {
                ProofState::Stale { reason: "another block took its place first".to_owned() }
            }
            Err(Refused::Invalid(reason)) => ProofState::Rejected { reason },
            Ok(block) => {
                let handed_over = ProofState::HandedOver { attempt: 1 };
                self.context.emit(WorkEvent::Proof { id: id.clone(), state: handed_over }).await?;
                self.unconfirmed.push((id.clone(), block));
                ProofState::InBlock { hash: block_hash_text(&block.hash()), height: block.height }
            }
        };
        self.context.emit(WorkEvent::Proof { id, state }).await?;
        self.confirm().await
    }

    async fn try_block(&mut self, found: FoundProof) -> Result<Result<Block, Refused>, Stopped> {
        let FoundProof { job, proof, .. } = found;
        // The network's own view of the job: what the proof's file says of it is not believed.
        let Some(job) = self.network.job_of(&job.header) else {
            return Ok(self.network.made_of(&job.header, &proof).ok_or(Refused::Stale));
        };
        let checked = tokio::task::spawn_blocking(move || (check(&job, &proof), job, proof)).await;
        let (verdict, job, proof) = match checked {
            Ok(checked) => checked,
            // The verifier panicked: that is a bug, but not one to stop mining for.
            Err(_) => return Ok(Err(Refused::Invalid("the verifier failed on it".to_owned()))),
        };
        if let Err(refused) = verdict {
            return Ok(Err(refused));
        }
        match self.network.extend(&job.header, &proof, SystemTime::now(), Instant::now()) {
            Err(refused) => Ok(Err(refused)),
            Ok((block, note)) => {
                // First of all: every moment that the provider spends on the old job is lost.
                self.offer().await?;
                if let Some(note) = note {
                    self.context.emit(WorkEvent::Note(note)).await?;
                }
                Ok(Ok(block))
            }
        }
    }

    async fn confirm(&mut self) -> Result<(), Stopped> {
        let height = self.network.height();
        while let Some((_, block)) = self.unconfirmed.first()
            && height + 1 - block.height >= CONFIRMED_DEPTH
        {
            let (id, block) = self.unconfirmed.remove(0);
            let state = ProofState::Confirmed {
                hash: block_hash_text(&block.hash()),
                height: block.height,
                confirmations: height + 1 - block.height,
            };
            self.context.emit(WorkEvent::Proof { id, state }).await?;
        }
        Ok(())
    }
}

/// Sleeps until `at`, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
