//! What the desk wants to know of the node, and what it makes of the answers.

use std::time::{Duration, Instant};

use super::{CONFIRMED_DEPTH, Dead, Desk, NodeView, OWN_BLOCKS_MAX, Phase, Tracked, commitment};
use crate::work::node::Fate;
use crate::work::{ProofId, ProofState};

/// Headers that the node is asked about at a time.
const QUESTIONS_MAX: usize = 16;

/// How long the node may not know the block that a proof builds on before the proof is given up. It may be loading the
/// chain; or it is the node of another network.
const UNKNOWN_MAX: Duration = Duration::from_secs(24 * 3600);

impl Tracked {
    /// Whether this may be what became the block in the place of `header`, as far as is known yet.
    fn may_be_instead_of(&self, header: &[u8; 76]) -> bool {
        let own = &self.kept.found.job.header;
        let on_its_way = self.taken > 0 || matches!(self.phase, Phase::Submitting(_));
        own != header && own[4..36] == header[4..36] && on_its_way && !self.replaced
    }
}

impl Desk {
    /// Whether the node should be asked what its next block needs, whatever its newest block is: only an old job makes one
    /// curious.
    pub fn wants_template(&self, now: Instant) -> bool {
        self.has_node && self.job.as_ref().is_some_and(|job| job.age(now) >= self.timing.behind)
    }

    /// The newest block at which the node has said what the next one needs: at another one that is asked, once. A gateway that
    /// does not know the network's new rules follows its blocks all the same.
    pub fn template_known_at(&self) -> Option<[u8; 32]> {
        self.wanted_at
    }

    /// The node's newest block. `None`: the node could not be asked.
    pub fn node_tip(&mut self, tip: Option<[u8; 32]>, now: Instant) {
        let Some(tip) = tip else {
            self.node = None;
            return;
        };
        let behind = self.job.as_ref().is_some_and(|job| job.prev_block() != tip);
        let known = self.node.take();
        let since = known.as_ref().and_then(|node| node.behind_since);
        let same = known.as_ref().filter(|node| node.tip == tip);
        let tip_since = same.map_or(now, |node| node.tip_since);
        let behind_since = behind.then(|| since.unwrap_or(now));
        self.node = Some(NodeView { tip, tip_since, behind_since });
    }

    /// Whether the node's newest block has been the same for so long that it very likely follows the network no longer.
    /// What it says is then as old as that.
    pub fn is_node_stale(&self, now: Instant) -> bool {
        let since = self.node.as_ref().map(|node| node.tip_since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= self.timing.frozen)
    }

    /// The certificate version that the node's next block needs; older nodes do not say.
    pub fn node_certificate(&mut self, wanted: Option<u32>, now: Instant) {
        self.wanted_at = self.node.as_ref().map(|node| node.tip);
        if let Some(wanted) = wanted {
            let since = self.wanted.filter(|(version, _)| *version == wanted).map_or(now, |(_, since)| since);
            self.wanted = Some((wanted, since));
        }
    }

    /// Whether the node should be asked now, and not at the next round.
    pub fn is_curious(&self) -> bool {
        self.curious
    }

    /// The node is being asked.
    pub fn node_asked(&mut self) {
        self.curious = false;
    }

    /// The headers that the node should be asked about in this round. Each gets its turn.
    pub fn questions(&mut self) -> Vec<[u8; 76]> {
        let mut headers: Vec<[u8; 76]> = Vec::new();
        for tracked in &self.proofs {
            let header = tracked.kept.found.job.header;
            if !headers.contains(&header) {
                headers.push(header);
            }
        }
        if headers.len() > QUESTIONS_MAX {
            let first = self.next_question % headers.len();
            self.next_question = first + QUESTIONS_MAX;
            headers.rotate_left(first);
            headers.truncate(QUESTIONS_MAX);
        }
        headers
    }

    /// What the node knows of a header that it was asked about.
    pub fn fate(&mut self, header: &[u8; 76], fate: &Fate, now: Instant) {
        self.fate_of_job(header, fate, now);
        let of_header: Vec<ProofId> = self
            .proofs
            .iter()
            .filter(|tracked| tracked.kept.found.job.header == *header)
            .map(|tracked| tracked.kept.id.clone())
            .collect();
        let block = self.whose(header, fate);
        if let (Some(_), Fate::InBlock { hash, .. }) = (&block, fate)
            && !self.own_blocks.contains(hash)
        {
            self.own_blocks.push_back(hash.clone());
            if self.own_blocks.len() > OWN_BLOCKS_MAX {
                self.own_blocks.pop_front();
            }
        }
        for id in of_header {
            let is_block = block.as_ref() == Some(&id);
            self.fate_of(&id, is_block, fate, now);
        }
    }

    /// What a fate says of the job on offer.
    fn fate_of_job(&mut self, header: &[u8; 76], fate: &Fate, now: Instant) {
        if self.job.as_ref().is_none_or(|job| job.header != *header) {
            return;
        }
        let reason = match fate {
            Fate::Replaced { reason, .. } => reason.clone(),
            Fate::InBlock { height, .. } => format!("it has become block {height}"),
            Fate::Open => return self.dead = None,
            // The node may be the one that is late.
            Fate::Unknown => return,
        };
        let since = self.dead.as_ref().map_or(now, |dead| dead.since);
        self.dead = Some(Dead { since, reason });
    }

    /// Which proof of ours became the block of `header`, if any did.
    fn whose(&self, header: &[u8; 76], fate: &Fate) -> Option<ProofId> {
        let of_header = || self.proofs.iter().filter(|tracked| tracked.kept.found.job.header == *header);
        if let Fate::InBlock { commitment: Some(said), .. } = fate {
            let ours =
                |tracked: &&Tracked| tracked.commitment.is_some_and(|ours| commitment::is(&ours, said));
            if let Some(tracked) = of_header().find(ours) {
                return Some(tracked.kept.id.clone());
            }
        }
        // A node that does not say knows blocks by their headers. Of several proofs for one header, the last that was
        // handed over is the block then: the next one only goes when the one before it came to nothing.
        let known = matches!(fate, Fate::InBlock { commitment: Some(_), .. });
        of_header()
            .filter(|tracked| !known || tracked.commitment.is_none())
            .max_by_key(|tracked| (tracked.phase == Phase::Mined, tracked.taken_at))
            .map(|tracked| tracked.kept.id.clone())
    }

    fn fate_of(&mut self, id: &ProofId, is_block: bool, fate: &Fate, now: Instant) {
        let Some(index) = self.proofs.iter().position(|tracked| tracked.kept.id == *id) else { return };
        let tracked = &mut self.proofs[index];
        // Its reply is still to come, and says whether it was taken at all.
        if matches!(tracked.phase, Phase::Submitting(_)) {
            return;
        }
        let mined = tracked.phase == Phase::Mined;
        let stale = |reason: &str| ProofState::Stale { reason: reason.to_owned() };
        match fate {
            Fate::InBlock { hash, .. } if !is_block => {
                let whose = if self.own_blocks.contains(hash) {
                    "another proof of ours"
                } else {
                    "another miner's proof"
                };
                self.tell(index, stale(&format!("{whose} for the same job became the block")));
            }
            Fate::InBlock { hash, height, confirmations, .. } => {
                if let (Phase::Taken(at), Some(heard)) = (&tracked.phase, tracked.heard) {
                    let [answered, block] = [heard, now].map(|then| then.saturating_duration_since(*at));
                    self.proves_beside |= answered < self.timing.quiet && block >= self.timing.quiet;
                }
                tracked.phase = Phase::Mined;
                self.fruitless = 0;
                self.tell(index, ProofState::InBlock { hash: hash.clone(), height: *height });
                if *confirmations >= CONFIRMED_DEPTH {
                    let (hash, height, confirmations) = (hash.clone(), *height, *confirmations);
                    self.tell(index, ProofState::Confirmed { hash, height, confirmations });
                }
            }
            Fate::Replaced { reason, by } => {
                tracked.replaced = true;
                let header = tracked.kept.found.job.header;
                // Whose block it is may follow from the next answer only.
                if by.as_ref().is_some_and(|(hash, _)| !self.own_blocks.contains(hash))
                    && self.proofs.iter().any(|other| other.may_be_instead_of(&header))
                {
                    return;
                }
                let tracked = &self.proofs[index];
                let ours = by.as_ref().filter(|(hash, _)| self.own_blocks.contains(hash));
                let reason = match (mined, ours, tracked.lost) {
                    (true, ..) => format!("its block left the main chain: {reason}"),
                    (false, Some((_, height)), true) => {
                        format!("the gateway ended while it had it; block {height} is our own next proof's")
                    }
                    (false, Some((_, height)), false) => {
                        format!("block {height} is another proof's of ours, for a later job")
                    }
                    (false, None, true) => format!("the gateway ended while it had it, and {reason}"),
                    (false, None, false) => reason.clone(),
                };
                self.tell(index, stale(&reason));
            }
            // The chain went back behind it: its header may be current again.
            Fate::Open if mined => tracked.phase = Phase::Waiting(now),
            Fate::Open => {
                let superseded =
                    self.job.as_ref().is_some_and(|job| job.header != tracked.kept.found.job.header);
                if superseded && matches!(tracked.phase, Phase::Waiting(_)) {
                    self.tell(
                        index,
                        stale("the gateway offers another job for the same block and takes no older one"),
                    );
                }
            }
            Fate::Unknown => {
                let superseded =
                    self.job.as_ref().is_none_or(|job| job.header != tracked.kept.found.job.header);
                if superseded && tracked.kept.found.job.age(now) >= UNKNOWN_MAX {
                    let reason = "the node has not known the block that it builds on for a day".to_owned();
                    self.tell(index, ProofState::Untraced { reason });
                }
            }
        }
    }
}
