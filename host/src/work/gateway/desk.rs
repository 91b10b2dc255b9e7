//! What the gateway client makes of what it sees: the job, the condition, and each proof's way.
//!
//! The desk does no I/O and reads no clock. It is told what happened and when, and answers what to tell and what to do:
//!
//! ```text
//! connection, answers, hand-over results, node answers, time --> Desk --> WorkEvents, the next hand-over, questions
//!
//! Waiting --submit--> Submitting --taken--> Taken --node: in block--> Mined --deep enough--> (done)
//!    ^                    |                   |  \--no block, header still current--> Waiting (again)
//!    +----failed----------+                   \--header over--> Stale | Untraced (done)
//! ```
//!
//! The rules follow what real gateways do (protocol section 10.6):
//!
//! - One proof of a header is with the gateway at a time. The others wait: if the first becomes a block they are
//!   worthless, and if it does not, the next goes in its place before the first is tried again.
//! - No block within [`GatewayTiming::again`] of the gateway's first answer after a hand-over, and the header still on
//!   offer: the hand-over came to nothing. A gateway that never went deaf may be proving beside its event loop, so it
//!   gets `BESIDE` times as long. The wait doubles with each failure.
//! - Silence is never death. It only changes the condition.
//! - A header in whose place the node has a block is dead: its job is taken back, and nothing more is handed over for it,
//!   whatever the gateway still offers. The same where the network wants another certificate than the job is for.
//! - A gateway whose target is easier than its header's counts shares. Each goes as it is found, and that it was taken is
//!   all that is ever known of it.

use std::collections::VecDeque;
use std::time::Instant;

mod commitment;
mod condition;
mod handovers;
mod questions;

use pearl_pow::Target;

use super::protocol::{MiningInfo, RpcError};
use crate::work::{Condition, GatewayTiming, JobKey, KeptProof, ProofState, WorkEvent, WorkJob};

/// Blocks, itself included, after which a block counts as confirmed.
pub const CONFIRMED_DEPTH: u64 = 6;

/// Hand-overs in a row that come to nothing before the gateway is said to refuse every proof.
const FRUITLESS_MAX: u32 = 3;

/// Blocks of ours that are remembered, so that an earlier proof of ours is not told to have lost to a stranger.
const OWN_BLOCKS_MAX: usize = 64;

/// How a proof stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// To be handed over, not before this moment.
    Waiting(Instant),
    /// On its way; the gateway has not replied yet.
    Submitting(Instant),
    /// The gateway took it at this moment.
    Taken(Instant),
    /// The node has it in a block.
    Mined,
}

#[derive(Clone, Debug)]
struct Tracked {
    kept: KeptProof,
    /// What the header of its block would commit to.
    commitment: Option<[u8; 32]>,
    phase: Phase,
    /// The gateway went away while it had the proof, before it answered anything else.
    lost: bool,
    /// The node has another block in its place.
    replaced: bool,
    /// Hand-overs that the gateway took, and when the last one was.
    taken: u32,
    taken_at: Option<Instant>,
    /// When the gateway first answered a question that was put after the last of them.
    heard: Option<Instant>,
    /// Replies that refused it.
    refusals: u32,
    /// The last state that was told.
    told: Option<ProofState>,
}

/// What the node last said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeView {
    tip: [u8; 32],
    /// When it first named this block as the newest.
    tip_since: Instant,
    /// Since when the node's tip and the job have disagreed.
    behind_since: Option<Instant>,
}

/// Why the header on offer can no longer become a block of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dead {
    since: Instant,
    reason: String,
}

/// The state of the gateway client.
#[derive(Debug)]
pub struct Desk {
    timing: GatewayTiming,
    has_node: bool,
    link: Link,
    /// Whether there is a connection, answered on or not.
    connected: bool,
    job: Option<WorkJob>,
    /// The job that was told last, unless it was taken back since.
    told_job: Option<JobKey>,
    dead: Option<Dead>,
    own_blocks: VecDeque<String>,
    paused: Option<String>,
    garbled: Option<String>,
    /// When the request was sent that has no answer yet.
    asked: Option<Instant>,
    proofs: Vec<Tracked>,
    /// Hand-overs in a row that came to nothing.
    fruitless: u32,
    /// A block came of a proof while the gateway answered: it proves in processes beside its event loop.
    proves_beside: bool,
    node: Option<NodeView>,
    /// The certificate version that the network wants, as the node said last, and since when it says so. A node that is away
    /// takes nothing of it back.
    wanted: Option<(u32, Instant)>,
    /// The newest block at which it said so.
    wanted_at: Option<[u8; 32]>,
    /// Where the next round of questions begins.
    next_question: usize,
    /// Something happened that the node should be asked about at once.
    curious: bool,
    told_condition: Option<Condition>,
    /// Whether it was said that the gateway asks for shares.
    shares_told: bool,
    events: Vec<WorkEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// Nothing was answered since this began.
    Down {
        attempt: u32,
        next_try: Option<Instant>,
        error: Option<String>,
    },
    Up,
}

/// How a hand-over ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The gateway says that it took the proof.
    Taken,
    /// The gateway says no.
    Refused(RpcError),
    /// No reply: no connection, or it was lost. The gateway may have the proof.
    Lost(String),
}

impl Desk {
    /// A client that has not connected yet.
    pub fn new(timing: GatewayTiming, has_node: bool) -> Self {
        Self {
            timing,
            has_node,
            link: Link::Down { attempt: 1, next_try: None, error: None },
            connected: false,
            job: None,
            told_job: None,
            dead: None,
            own_blocks: VecDeque::new(),
            paused: None,
            garbled: None,
            asked: None,
            proofs: Vec::new(),
            fruitless: 0,
            proves_beside: false,
            node: None,
            wanted: None,
            wanted_at: None,
            next_question: 0,
            curious: false,
            told_condition: None,
            shares_told: false,
            events: Vec::new(),
        }
    }

    /// What there is to tell since the last call.
    pub fn take_events(&mut self) -> Vec<WorkEvent> {
        std::mem::take(&mut self.events)
    }

    /// A line for the log.
    pub fn note(&mut self, text: impl Into<String>) {
        self.events.push(WorkEvent::Note(text.into()));
    }

    /// The job on offer.
    pub fn job(&self) -> Option<&WorkJob> {
        self.job.as_ref()
    }

    /// Proofs that are not settled yet, those in young blocks included.
    pub fn pending(&self) -> usize {
        self.proofs.len()
    }

    /// A try to connect begins. What the last one failed with stays on show.
    pub fn connecting(&mut self, attempt: u32) {
        let error = match &mut self.link {
            Link::Down { error, .. } => error.take(),
            Link::Up => None,
        };
        self.disconnected(attempt, None, error);
    }

    /// A try to connect failed, or the connection was lost; the next try is due at `next_try`.
    pub fn disconnected(&mut self, attempt: u32, next_try: Option<Instant>, error: Option<String>) {
        self.link = Link::Down { attempt, next_try, error };
        // Whoever answers next may have been restarted.
        self.fruitless = 0;
        self.connected = false;
        self.asked = None;
        for tracked in &mut self.proofs {
            tracked.lost |= matches!(tracked.phase, Phase::Taken(_)) && tracked.heard.is_none();
        }
    }

    /// The connection stands. Until the first answer on it nothing is known of who is at its other end: a gateway that
    /// restarted has another job.
    pub fn connected(&mut self) {
        self.connected = true;
    }

    /// `getMiningInfo` was sent.
    pub fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// What came was not the protocol; the connection is closed.
    pub fn garbled(&mut self, reason: String) {
        self.garbled = Some(reason);
    }

    /// `getMiningInfo`, sent at `asked`, was answered.
    pub fn answered(&mut self, outcome: Result<MiningInfo, RpcError>, asked: Instant, now: Instant) {
        self.link = Link::Up;
        self.asked = None;
        self.garbled = None;
        for tracked in &mut self.proofs {
            // The gateway answers nothing while it proves: an answer to a later question means that it is through.
            if matches!(tracked.phase, Phase::Taken(at) if asked > at) {
                tracked.heard.get_or_insert(now);
            }
        }
        match outcome {
            Ok(info) => {
                self.paused = None;
                self.offered(info, now);
            }
            // The job, if any, stays: whatever it is worth, nothing better is on offer.
            Err(refusal) if refusal.is_paused() => self.paused = Some(refusal.message),
            Err(refusal) => self.garbled = Some(format!("getMiningInfo was refused: {refusal}")),
        }
    }

    fn offered(&mut self, info: MiningInfo, now: Instant) {
        let by_header = pearl_pow::Header::from_bytes(info.header).nbits().target();
        let told = Target::from_le_bytes(info.target);
        let same_header = self.job.as_ref().is_some_and(|old| old.header == info.header);
        let job = WorkJob {
            header: info.header,
            // A node judges by the header, whatever the gateway says beside it. One that asks for less is another
            // session's miner port, which counts shares and has the blocks among them sent on.
            target: told.max(by_header).to_le_bytes(),
            certificate_version: info.certificate_version,
            rank_penalty: true,
            height: None,
            received: now,
            origin: None,
            // Of one header, a share at any target that was asked for.
            keeps_earlier: same_header && told > by_header,
        };
        if self.job.as_ref().map(WorkJob::key) == Some(job.key()) {
            return;
        }
        if told < by_header {
            self.note("the gateway's target is harder than the one in its header; the header's is used");
        } else if told > by_header && !std::mem::replace(&mut self.shares_told, true) {
            self.note("the gateway asks for shares: its target is easier than the one in its header");
        }
        self.job = Some(job);
        if !same_header {
            self.dead = None;
            self.header_changed();
        }
    }

    /// Every proof for another header can no longer be handed over.
    fn header_changed(&mut self) {
        if !self.has_node {
            // Somebody found a block, perhaps we. The slate is clean.
            self.fruitless = 0;
        }
        self.retire();
        // A new job is the first sign of a block, and perhaps it is ours.
        self.curious = self.has_node && !self.proofs.is_empty();
    }

    /// Time passes. Finds hand-overs that came to nothing and works out the condition. Call it after everything else
    /// and at least once per [`GatewayTiming::poll`].
    pub fn tick(&mut self, now: Instant) {
        self.find_fruitless(now);
        self.offer(now);
        let condition = self.condition(now);
        let news = match (&self.told_condition, &condition) {
            (None, _) => true,
            // A gateway that follows a second later needs no line at each block.
            (_, Condition::DeadJob { since, .. })
                if now.saturating_duration_since(*since) < self.timing.poll * 2 =>
            {
                false
            }
            // Another error is news, another try is not.
            (Some(Condition::Connecting { error: a, .. }), Condition::Connecting { error: b, .. }) => {
                b.is_some() && a != b
            }
            (Some(old), new) => old.word() != new.word(),
        };
        if news {
            self.told_condition = Some(condition.clone());
            self.events.push(WorkEvent::Condition(condition));
        }
    }

    /// Tells the job that there is to mine for, or takes the one that was told back.
    fn offer(&mut self, now: Instant) {
        let Some(job) = &self.job else { return };
        match self.worthless(now) {
            None if self.told_job != Some(job.key()) => {
                self.told_job = Some(job.key());
                self.events.push(WorkEvent::Job(job.clone()));
            }
            Some(reason) if self.told_job.is_some() => {
                self.told_job = None;
                self.events.push(WorkEvent::NoJob { reason });
            }
            _ => {}
        }
    }

    /// Tells a proof's state if it is news, and lets go of the proof if it is final.
    fn tell(&mut self, index: usize, state: ProofState) {
        let tracked = &mut self.proofs[index];
        if tracked.told.as_ref() == Some(&state) {
            return;
        }
        tracked.told = Some(state.clone());
        let id = tracked.kept.id.clone();
        if state.is_final() {
            self.proofs.remove(index);
        }
        self.events.push(WorkEvent::Proof { id, state });
    }

    /// As [`Self::tell`] for several, by their present indices.
    fn tell_all(&mut self, told: Vec<(usize, ProofState)>) {
        // From the back, so that removing one does not move the others.
        for (index, state) in told.into_iter().rev() {
            self.tell(index, state);
        }
    }
}

#[cfg(test)]
mod tests;
