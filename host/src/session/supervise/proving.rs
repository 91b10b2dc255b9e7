//! What a session does while its gateway makes a block of a proof: who rests meanwhile, and how long a stop waits.
//!
//! Making a block of a proof takes a processor for minutes, and what is found meanwhile for the same header is worth
//! something only if that comes to nothing. So whoever mines on the gateway's own processor rests; who has a card of its
//! own goes on. And a gateway that the session started takes the proof with it when it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crew::{Crew, Told};
use crate::miner::{Miner, MinerId, Work};
use crate::work::Proving;

/// How long a stop waits for a proof that the session's own gateway works on; the longest seen took 220 s.
pub(super) const STOP_WAIT: Duration = Duration::from_secs(4 * 60);

/// Who rests while the gateway proves.
#[derive(Debug, Default)]
pub(super) struct Rest {
    resting: BTreeSet<MinerId>,
}

impl Rest {
    /// How many rest.
    pub fn len(&self) -> usize {
        self.resting.len()
    }

    /// Takes the job from those that share the gateway's processor while it proves, and gives it back afterwards.
    /// `wanted` is whether the user wants that at all.
    pub fn follow(
        &mut self,
        proving: Option<Proving>,
        wanted: bool,
        crew: &mut Crew,
        job: Option<&Arc<Work>>,
        now: Instant,
    ) -> Vec<Told> {
        if wanted && proving.is_some_and(|proving| proving.computes && proving.here) {
            for miner in crew.iter_mut().filter(|miner| uses_the_processor(miner)) {
                // Again and again: one that was started meanwhile was given the job.
                if self.resting.insert(miner.id()) || miner.has_job() {
                    miner.withdraw(now);
                }
            }
            return Vec::new();
        }
        let rested = std::mem::take(&mut self.resting);
        let Some(job) = job else { return Vec::new() };
        rested.into_iter().flat_map(|id| crew.one(id, |miner| miner.offer(job, now))).collect()
    }

    /// Everybody has another job.
    pub fn over(&mut self) {
        self.resting.clear();
    }
}

/// A plugin without a device mines on the processor. What a program at the port mines on is not known, so it goes on.
fn uses_the_processor(miner: &Miner) -> bool {
    !miner.is_dismissed() && !miner.is_program() && !miner.plan().grants.has_devices()
}

/// Why a stop that began at `since` still waits, if it does: a sentence.
pub(super) fn waits_for(
    proving: Option<Proving>,
    since: Instant,
    insisted: bool,
    now: Instant,
) -> Option<String> {
    let proving = proving.filter(|proving| proving.ours)?;
    let left = STOP_WAIT.checked_sub(now.saturating_duration_since(since)).filter(|left| !left.is_zero())?;
    if insisted {
        return None;
    }
    let minutes = left.as_secs().div_ceil(60);
    let for_long = now.saturating_duration_since(proving.since).as_secs();
    Some(format!(
        "its gateway has been making a block of a proof for {for_long} s, which would be lost: waiting for it for at most \
         {minutes} min; another stop ends it at once"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_for_a_proof_that_its_own_gateway_works_on_but_not_for_ever_and_not_against_the_users_will()
     {
        let now = Instant::now();
        let proving = Proving { since: now, computes: true, here: true, ours: true };
        let later = now + Duration::from_secs(30);
        let waits = |proving, insisted, at| waits_for(proving, now, insisted, at);
        let said = waits(Some(proving), false, later).unwrap();
        assert!(said.contains("for 30 s") && said.contains("at most 4 min"), "{said}");
        assert_eq!(waits(Some(proving), true, later), None, "told twice");
        assert_eq!(waits(Some(proving), false, now + STOP_WAIT), None);
        assert_eq!(waits(Some(Proving { ours: false, ..proving }), false, later), None, "another's lives on");
        assert_eq!(waits(None, false, later), None);
    }
}
