//! The thread that verifies every proof before it leaves, and puts on disk what passed.
//!
//! One thread, one proof at a time, in the order in which they came: verification takes milliseconds of a core, and a
//! provider that floods it with rubbish is slowed down instead of being served faster.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc as sync_mpsc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::work::{FoundProof, HandOverError, ProofId, ProofSender, WorkJob};

/// Proofs that may wait here. Beyond that nothing is read from the provider.
pub const WAITING_MAX: usize = 64;
/// Refusals in a row that are served at full speed.
const REFUSALS_FREE: u32 = 20;
/// Pause after each refusal beyond those.
const REFUSAL_PAUSE: Duration = Duration::from_millis(50);

/// A proof to be judged.
#[derive(Debug)]
pub struct Candidate {
    /// Which provider process handed it in.
    pub epoch: u64,
    /// Its number there.
    pub sequence: u64,
    /// The job it is for.
    pub job: WorkJob,
    /// Its bytes.
    pub proof: Vec<u8>,
}

/// What became of a candidate.
#[derive(Debug)]
pub struct Judged {
    /// Which provider process handed it in.
    pub epoch: u64,
    /// Its number there.
    pub sequence: u64,
    /// The job it is for.
    pub job: WorkJob,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict on one candidate.
#[derive(Debug)]
pub enum Verdict {
    /// It passed, and is on its way to the work source.
    Passed {
        /// Its name from now on.
        id: ProofId,
        /// Why a crash would lose it, if it is not on disk.
        not_kept: Option<String>,
    },
    /// The verifier refused it.
    Refused {
        /// The failing stage.
        stage: String,
        /// What does not fit.
        why: String,
    },
    /// It passed, and the work source does not take it.
    NotTaken(String),
}

/// Starts the thread; it ends when the returned sender is dropped and all it was given is judged.
///
/// # Errors
///
/// Where no thread can be made.
pub fn spawn(
    proofs: ProofSender,
    judged: mpsc::UnboundedSender<Judged>,
) -> std::io::Result<sync_mpsc::SyncSender<Candidate>> {
    let (candidates, queue) = sync_mpsc::sync_channel::<Candidate>(WAITING_MAX);
    std::thread::Builder::new().name("pearlbed-verify".into()).spawn(move || {
        let mut refusals = 0;
        for candidate in queue {
            let Candidate { epoch, sequence, job, proof } = candidate;
            let verdict = judge(&job, proof, &proofs);
            refusals = if matches!(verdict, Verdict::Refused { .. }) { refusals + 1 } else { 0 };
            if judged.send(Judged { epoch, sequence, job, verdict }).is_err() {
                return;
            }
            if refusals > REFUSALS_FREE {
                std::thread::sleep(REFUSAL_PAUSE);
            }
        }
    })?;
    Ok(candidates)
}

fn judge(job: &WorkJob, proof: Vec<u8>, proofs: &ProofSender) -> Verdict {
    let refused = |stage: &str, why: String| Verdict::Refused { stage: stage.into(), why };
    // The verifier is written not to panic on any bytes; a bug there must cost one proof and not the session.
    match std::panic::catch_unwind(AssertUnwindSafe(|| verify(job, &proof))) {
        Ok(Ok(())) => {}
        Ok(Err((stage, why))) => return refused(stage, why),
        Err(_) => return refused("panic", "the verifier panicked".into()),
    }
    match proofs.hand_over(FoundProof { job: job.clone(), proof, found: SystemTime::now() }) {
        Ok(taken) => Verdict::Passed { id: taken.id, not_kept: taken.not_kept.map(|err| chain(&err)) },
        Err(HandOverError::Known { id }) => refused("duplicate", format!("it was handed in before, as {id}")),
        Err(err) => Verdict::NotTaken(chain(&err)),
    }
}

/// Checks `proof` against `job`; the failing stage and what does not fit otherwise.
pub fn verify(job: &WorkJob, proof: &[u8]) -> Result<(), (&'static str, String)> {
    let job = job.to_pow().map_err(|err| ("certificate", err.to_string()))?;
    // The network tolerates other spellings of a proof. We send out none: each would pass as a new proof, so a provider
    // could have one counted many times, and a gateway is not tried with what it may never have seen.
    match pearl_pow::verify::verify_canonical(&job, proof) {
        Ok(_) => Ok(()),
        Err(err) => Err((err.stage().map_or("form", pearl_pow::Stage::name), err.to_string())),
    }
}

/// An error and its causes, outermost first.
pub fn causes(err: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(err), |err| err.source()).map(ToString::to_string).collect()
}

/// An error and its causes on one line.
pub fn chain(err: &dyn std::error::Error) -> String {
    causes(err).join(": ")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pearl_pow::reference::{Product, test_matrix};
    use pearl_pow::{CertificateVersion, Header, Matrix, MiningConfiguration, PeriodicPattern};

    use super::*;

    #[test]
    fn a_proof_passes_in_its_canonical_spelling_only() {
        let job = WorkJob {
            header: [7; 76],
            target: [0xff; 32],
            certificate_version: 3,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
            origin: None,
            keeps_earlier: false,
        };
        let tile = PeriodicPattern::contiguous(16).unwrap();
        let config = MiningConfiguration::dense(2048, 128, tile, tile);
        let [a, bt] = [1, 2].map(|seed| test_matrix(seed, 16 * 2048));
        let [a, bt] = [&a, &bt].map(|entries| Matrix::new(entries, 2048).unwrap());
        let rule = CertificateVersion::try_from(3).unwrap().seed_rule();
        let product = Product::new(&Header::from_bytes(job.header), &config, rule, a, bt);
        let proof = product.prove(&product.attempt(0, 0)).encode();
        assert_eq!(verify(&job, &proof), Ok(()));

        // The layout of certificate version 1 lacks the last byte; the network takes it.
        let spelled_otherwise = &proof[..proof.len() - 1];
        assert!(pearl_pow::verify_bytes(&job.to_pow().unwrap(), spelled_otherwise).is_ok());
        assert_eq!(verify(&job, spelled_otherwise).unwrap_err().0, "form");
    }
}
