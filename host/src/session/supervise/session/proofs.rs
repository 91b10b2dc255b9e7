//! Proofs on their way through a session: to the verifier, and from there to whoever handed them in.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::Session;
use crate::miner::MinerId;
use crate::miner::effect::{Judged, Verdict};
use crate::miner::link::{Event, What};
use crate::session::supervise::crew::Told;
use crate::session::supervise::errors::SuperviseError;
use crate::session::supervise::verifier::{Case, Verifier};

/// How long found proofs may take to be judged once the miners have ended.
const JUDGING_TIME: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn submit(&mut self, case: Case, now: Instant) -> Result<(), SuperviseError> {
        let Some(verifier) = &mut self.verifier else { return Ok(()) };
        let Err(case) = verifier.submit(case) else { return Ok(()) };
        let crate::miner::effect::Candidate { generation, sequence, work, target, .. } = case.candidate;
        let verdict = Verdict::NotJudged("too many of its proofs wait to be verified".into());
        let judged = Judged { generation, sequence, work, target, verdict };
        let told = self.crew.one(case.miner, |miner| miner.judged(judged, now));
        self.follow(told, now)
    }

    pub(super) fn judged(&mut self, miner: MinerId, judged: Judged, now: Instant) -> Vec<Told> {
        if let Some(verifier) = &mut self.verifier {
            verifier.has_judged();
        }
        if let Verdict::Refused { kept: Some(kept), .. } = &judged.verdict
            && let Some(line) = self.why_refused(miner, kept, now)
        {
            self.herald.trouble(&line);
        }
        self.crew.one(miner, |miner| miner.judged(judged, now))
    }

    /// What is to be said of a refused proof of a container's.
    fn why_refused(&mut self, miner: MinerId, kept: &std::path::Path, now: Instant) -> Option<String> {
        let program = self.crew.get_mut(miner)?.plan().program.clone()?;
        self.containers.refused(program.container()?, kept, now)
    }

    /// Takes the proofs that were handed in when the miners were ended.
    pub(super) async fn read_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.crew.iter().any(|miner| miner.is_open()) {
            let event = tokio::select! {
                event = self.inbox.events.recv() => event,
                Some(event) = self.inbox.port.recv() => {
                    let now = Instant::now();
                    let told = self.port_event(event, now);
                    let _ = self.follow(told, now);
                    continue;
                }
                Some((miner, judged)) = self.inbox.judged.recv() => {
                    let told = self.judged(miner, judged, Instant::now());
                    let _ = self.follow(told, Instant::now());
                    continue;
                }
                () = sleep_until(deadline) => return,
            };
            let Some(Event { miner, generation, what }) = event else { return };
            if matches!(what, What::Proof(_) | What::Closed(_)) {
                let now = Instant::now();
                let told = self.crew.one(miner, |miner| miner.event(generation, what, now));
                let _ = self.follow(told, now);
            }
        }
    }

    /// Waits for the verdicts on what was handed in: until then it is on nobody's disk.
    pub(super) async fn judge_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.verifier.as_ref().is_some_and(Verifier::is_busy) {
            match tokio::time::timeout_at(deadline, self.inbox.judged.recv()).await {
                Ok(Some((miner, judged))) => {
                    let told = self.judged(miner, judged, Instant::now());
                    let _ = self.follow(told, Instant::now());
                }
                _ => break,
            }
        }
    }
}
