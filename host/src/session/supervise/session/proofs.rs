//! A proof on its way from the provider's pipe to the work source.
//!
//! ```text
//! submitted --queue--> verifier thread --verdict--> judged --receipt--> provider
//!                                             \--> work source --state--> a line in the log
//! ```
//!
//! Owns the count of proofs that are being judged, and sees to it that none is lost when a process or the session ends.
//! It never verifies, sends or stores: that is done in [`verifier`](crate::session::supervise::verifier) and
//! `work`. Counting is the ledger's.

use std::time::{Duration, Instant, SystemTime};

use super::Session;
use crate::session::frame::{FromProvider, Receipt, ToProvider};
use crate::session::ledger::hashes_per_proof;
use crate::session::log::Level;
use crate::session::report::ProofReport;
use crate::session::supervise::child::What;
use crate::session::supervise::verifier::{Candidate, Judged, Verdict, WAITING_MAX};
use crate::work::ProofState;

/// How long found proofs may take to be judged once the provider has ended.
const JUDGING_TIME: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn submitted(&mut self, epoch: u64, sequence: u64, id: u64, proof: Vec<u8>, now: Instant) {
        self.ledger.found();
        let Some((_, job)) = self.jobs.iter().find(|(known, _)| *known == id) else {
            self.refused(epoch, sequence, "job", &format!("it is for job {id}, which was never given out"));
            return;
        };
        let job = job.clone();
        if self.offer.is_none_or(|offer| offer.id != id) {
            self.ledger.stale_before_leaving();
            self.info(&format!("a proof for job {id} came too late and was dropped"));
            self.receipt(epoch, sequence, Receipt::Stale, "the job is over");
            return;
        }
        let candidate = Candidate { epoch, sequence, job, proof };
        let sent = self.candidates.as_ref().map(|candidates| candidates.try_send(candidate));
        match sent {
            Some(Ok(())) => self.judging += 1,
            // There is room for as many as are read at once; a thread that has gone has said why.
            _ => {
                self.receipt(epoch, sequence, Receipt::Busy, "the verifier is not there");
                self.trouble_at("a proof could not be verified: the verifier is not there", now);
            }
        }
    }

    pub(super) fn judged(&mut self, judged: Judged) {
        self.judging -= 1;
        let Judged { epoch, sequence, job, verdict } = judged;
        match verdict {
            Verdict::Passed { id, not_kept } => {
                let now = Instant::now();
                let hashes = hashes_per_proof(&job.target).unwrap_or_default();
                self.ledger.verified(id.clone(), hashes);
                self.last_proof_at = Some(SystemTime::now());
                self.pulse.proof_at = Some(now);
                self.pulse.due_since_proof = 0.0;
                self.claimed_at_proof = self.hashrate.total();
                let height = job.height.map(|height| format!(" for height {height}")).unwrap_or_default();
                self.info(&format!("proof {id}{height} found and verified"));
                if let Some(why) = not_kept {
                    self.trouble(&format!("proof {id} is not on disk, so a crash would lose it: {why}"));
                }
                self.receipt(epoch, sequence, Receipt::Kept, "");
            }
            Verdict::Refused { stage, why } => self.refused(epoch, sequence, &stage, &why),
            Verdict::NotTaken(why) => {
                self.trouble_at(&format!("a verified proof was not taken: {why}"), Instant::now());
                self.receipt(epoch, sequence, Receipt::Busy, &why);
            }
        }
    }

    fn refused(&mut self, epoch: u64, sequence: u64, stage: &str, why: &str) {
        self.ledger.refused(stage);
        let text = format!("a proof was refused at stage {stage}: {why}");
        // The first few in full; a provider that goes on like this shall not write our log.
        if self.ledger.refused_in_a_row() <= 10 || self.provider_gate.pass(Instant::now()) {
            self.line(Level::Warn, &text);
        } else {
            self.flood.lines_dropped += 1;
        }
        self.last_error = Some(text);
        self.receipt(epoch, sequence, Receipt::Refused, why);
    }

    fn receipt(&mut self, epoch: u64, sequence: u64, receipt: Receipt, reason: &str) {
        if self.child.as_ref().is_some_and(|child| child.epoch() == epoch) {
            self.send(ToProvider::Receipt { sequence, receipt, reason: reason.into() });
        }
    }

    /// Takes the proofs that a provider process had handed in when it was ended.
    pub(super) async fn read_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.events_open {
            if self.judging >= WAITING_MAX {
                match tokio::time::timeout_at(deadline, self.judged.recv()).await {
                    Ok(Some(judged)) => self.judged(judged),
                    _ => return,
                }
                continue;
            }
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await else { return };
            match event.what {
                What::Frame(FromProvider::Submit { sequence, job, proof }) => {
                    self.submitted(event.epoch, sequence, job, proof, Instant::now());
                }
                What::Closed(_) if event.epoch == self.epoch => self.events_open = false,
                _ => {}
            }
        }
    }

    /// Waits for the verdicts on what was handed in: until then it is on nobody's disk.
    pub(super) async fn judge_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.judging > 0 {
            match tokio::time::timeout_at(deadline, self.judged.recv()).await {
                Ok(Some(judged)) => self.judged(judged),
                _ => break,
            }
        }
    }

    pub(super) fn proof_line(&mut self, id: &str, state: &ProofState, ours: bool) {
        let whose = if ours { "" } else { " of an earlier session" };
        let (level, what) = match state {
            ProofState::Kept => return,
            ProofState::HandedOver { attempt: 1 } => (Level::Info, "was handed over".to_owned()),
            ProofState::HandedOver { attempt } => {
                (Level::Info, format!("was handed over again (time {attempt})"))
            }
            ProofState::InBlock { hash, height } => (Level::Info, format!("is in block {height} ({hash})")),
            ProofState::Confirmed { height, confirmations, .. } => {
                (Level::Info, format!("is confirmed: block {height} has {confirmations} confirmations"))
            }
            ProofState::Stale { reason } => (Level::Info, format!("is stale: {reason}")),
            ProofState::Rejected { reason } => (Level::Warn, format!("was rejected: {reason}")),
            ProofState::Untraced { reason } => (Level::Info, format!("cannot be followed further: {reason}")),
        };
        self.line(level, &format!("proof {id}{whose} {what}"));
        if let ProofState::Rejected { .. } = state {
            self.last_error = Some(format!("proof {id} {what}"));
        }
    }

    /// The counts so far.
    pub(in super::super) fn proofs(&self) -> ProofReport {
        self.ledger.report(self.setup.store.len())
    }
}
