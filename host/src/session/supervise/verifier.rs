//! The thread that verifies every proof before it leaves, and puts on disk what passed.
//!
//! One thread, one proof at a time: verification takes milliseconds of a core. The miners take turns, each in the order in
//! which its proofs came, and one that floods it with rubbish is slowed down instead of being served faster, itself alone.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pearl_pow::Target;
use tokio::sync::mpsc;

use crate::miner::effect::{Candidate, Judged, Verdict};
use crate::miner::{MinerId, Work};
use crate::work::refused::{self, Refused};
use crate::work::{FoundProof, HandOverError, ProofId, ProofSender, WorkJob};

/// Proofs of one miner that may wait here.
const WAITING_MAX: usize = 64;
/// Refusals in a row that are served at full speed.
const REFUSALS_FREE: u32 = 20;
/// Jobs whose proofs are remembered: as many as a miner remembers.
const JOBS_SEEN_MAX: usize = 256;
/// Pause after each refusal beyond those.
const REFUSAL_PAUSE: Duration = Duration::from_millis(50);

/// A proof to be judged.
#[derive(Debug)]
pub struct Case {
    /// Whose it is.
    pub miner: MinerId,
    /// The id of its provider.
    pub provider: String,
    /// The proof.
    pub candidate: Candidate,
    /// Whether its job still pays.
    pub pays: bool,
}

/// The verifier's thread. It ends when this is dropped and all it was given is judged.
#[derive(Debug)]
pub struct Verifier {
    desk: Arc<(Mutex<Desk>, Condvar)>,
    judging: usize,
}

impl Verifier {
    /// Starts the thread. What passes goes to `proofs`, each verdict to `judged`, and some of what is refused into the folder
    /// `refused`.
    ///
    /// # Errors
    ///
    /// Where no thread can be made.
    pub fn start(
        proofs: ProofSender,
        refused: PathBuf,
        judged: mpsc::UnboundedSender<(MinerId, Judged)>,
    ) -> std::io::Result<Self> {
        let desk = Arc::new((Mutex::new(Desk::default()), Condvar::new()));
        let queue = Arc::clone(&desk);
        std::thread::Builder::new().name("pearlbed-verify".into()).spawn(move || {
            let mut seen = Seen::default();
            let mut kept = Refused::new(refused);
            while let Some(case) = wait(&queue) {
                let Case { miner, provider, candidate, pays } = case;
                let Candidate { generation, sequence, work, target, proof, place } = candidate;
                let verdict = match judge(&work, &target, pays, proof, &proofs, &mut seen) {
                    Ok(verdict) => verdict,
                    Err(refusal) => refusal.keep(provider, &work.job, target, &mut kept),
                };
                let refused = matches!(verdict, Verdict::Refused { .. });
                lock(&queue.0).served(miner, refused, Instant::now());
                let verdict = Judged { generation, sequence, work, target, verdict };
                if judged.send((miner, verdict)).is_err() {
                    return;
                }
                drop(place);
            }
        })?;
        Ok(Self { desk, judging: 0 })
    }

    /// Queues a proof; gives it back where this miner has too many waiting.
    ///
    /// # Errors
    ///
    /// The proof itself.
    pub fn submit(&mut self, case: Case) -> Result<(), Box<Case>> {
        lock(&self.desk.0).push(case)?;
        self.judging += 1;
        self.desk.1.notify_one();
        Ok(())
    }

    /// A verdict has come.
    pub fn has_judged(&mut self) {
        self.judging = self.judging.saturating_sub(1);
    }

    /// Whether verdicts are still to come.
    pub fn is_busy(&self) -> bool {
        self.judging > 0
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        lock(&self.desk.0).closed = true;
        self.desk.1.notify_one();
    }
}

/// Nothing here is left half-changed by a panic.
fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next case, as soon as there is one; nothing once the desk is closed and empty.
fn wait(desk: &(Mutex<Desk>, Condvar)) -> Option<Case> {
    let mut held = lock(&desk.0);
    loop {
        let now = Instant::now();
        match held.next(now) {
            Next::Case(case) => return Some(*case),
            Next::Nothing => return None,
            Next::Wait(None) => held = desk.1.wait(held).unwrap_or_else(PoisonError::into_inner),
            Next::Wait(Some(until)) => {
                let pause = until.saturating_duration_since(now);
                held = desk.1.wait_timeout(held, pause).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// What waits, by miner.
#[derive(Debug, Default)]
struct Desk {
    queues: BTreeMap<MinerId, Queue>,
    /// Whose turn it was last.
    last: Option<MinerId>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    cases: VecDeque<Case>,
    refusals: u32,
    not_before: Option<Instant>,
}

enum Next {
    Case(Box<Case>),
    /// Until then at the latest, if any.
    Wait(Option<Instant>),
    Nothing,
}

impl Desk {
    fn push(&mut self, case: Case) -> Result<(), Box<Case>> {
        let queue = self.queues.entry(case.miner).or_default();
        if queue.cases.len() >= WAITING_MAX {
            return Err(Box::new(case));
        }
        queue.cases.push_back(case);
        Ok(())
    }

    fn next(&mut self, now: Instant) -> Next {
        let ids: Vec<MinerId> = self.queues.keys().copied().collect();
        let first = ids.iter().position(|id| Some(*id) > self.last).unwrap_or(0);
        let mut until = None;
        for id in ids[first..].iter().chain(&ids[..first]) {
            let Some(queue) = self.queues.get_mut(id).filter(|queue| !queue.cases.is_empty()) else {
                continue;
            };
            // At the end nobody is made to wait: the others do.
            match queue.not_before.filter(|&at| at > now && !self.closed) {
                Some(at) => until = Some(until.map_or(at, |until: Instant| until.min(at))),
                None => {
                    self.last = Some(*id);
                    if let Some(case) = queue.cases.pop_front() {
                        return Next::Case(Box::new(case));
                    }
                }
            }
        }
        if self.closed { Next::Nothing } else { Next::Wait(until) }
    }

    fn served(&mut self, miner: MinerId, refused: bool, now: Instant) {
        let Some(queue) = self.queues.get_mut(&miner) else { return };
        queue.refusals = if refused { queue.refusals.saturating_add(1) } else { 0 };
        queue.not_before = (queue.refusals > REFUSALS_FREE).then(|| now + REFUSAL_PAUSE);
    }
}

/// Proofs that passed, so that none counts twice.
#[derive(Debug, Default)]
struct Seen {
    by_job: BTreeMap<u64, HashSet<ProofId>>,
}

impl Seen {
    fn contains(&self, job: u64, id: &ProofId) -> bool {
        self.by_job.get(&job).is_some_and(|ids| ids.contains(id))
    }

    /// Jobs are numbered as they come; what is far behind is no longer known to any miner.
    fn insert(&mut self, job: u64, id: ProofId) {
        self.by_job.entry(job).or_default().insert(id);
        while self.by_job.len() > JOBS_SEEN_MAX {
            self.by_job.pop_first();
        }
    }
}

fn judge(
    work: &Work,
    target: &[u8; 32],
    pays: bool,
    proof: Vec<u8>,
    proofs: &ProofSender,
    seen: &mut Seen,
) -> Result<Verdict, Refusal> {
    let refused = |stage, why, proof| Err(Refusal { stage, why, proof });
    // The verifier is written not to panic on any bytes; a bug there must cost one proof and not the session.
    let met = match std::panic::catch_unwind(AssertUnwindSafe(|| verify(&work.job, target, &proof))) {
        Ok(Ok(met)) => met,
        Ok(Err((stage, why))) => return refused(stage, why, Some(proof)),
        Err(_) => return refused("panic", "the verifier panicked".into(), Some(proof)),
    };
    let found = FoundProof { job: work.job.clone(), proof, found: SystemTime::now(), block: met.block };
    let id = ProofId::of(&found);
    // Nothing is wrong with the bytes of one that came before, so they tell nobody anything.
    let twice = |id: &ProofId| refused("duplicate", format!("it was handed in before, as {id}"), None);
    if seen.contains(work.number, &id) {
        return twice(&id);
    }
    let verdict = match (pays, met.pays) {
        (false, _) => Verdict::Late,
        (true, false) => Verdict::Share,
        (true, true) => match proofs.hand_over(found) {
            Ok(taken) => Verdict::Passed { id: taken.id, not_kept: taken.not_kept.map(|err| chain(&err)) },
            Err(HandOverError::Known { id }) => return twice(&id),
            Err(HandOverError::Spare { .. }) => Verdict::Spare,
            // It may be handed in again.
            Err(err) => return Ok(Verdict::NotTaken(chain(&err))),
        },
    };
    seen.insert(work.number, id);
    Ok(verdict)
}

/// A proof that does not pass.
struct Refusal {
    stage: &'static str,
    why: String,
    /// Its bytes, where they are worth a look.
    proof: Option<Vec<u8>>,
}

impl Refusal {
    /// The verdict; the proof is kept as one of the provider's, asked for at `target`.
    fn keep(self, provider: String, job: &WorkJob, target: [u8; 32], kept: &mut Refused) -> Verdict {
        let Self { stage, why, proof } = self;
        let path = proof.and_then(|proof| {
            let job = WorkJob { target, ..job.clone() };
            let found = FoundProof { job, proof, found: SystemTime::now(), block: false };
            let refusal = refused::Refusal { provider, stage: stage.to_owned(), why: why.clone() };
            // Without the file, its author knows less, and nothing else changes.
            kept.keep(&refusal, &found).ok().flatten()
        });
        Verdict::Refused { stage: stage.to_owned(), why, kept: path }
    }
}

/// What a proof meets beyond the target that it was asked to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// The job's own target.
    pub pays: bool,
    /// The target in the header's nbits.
    pub block: bool,
}

/// Checks `proof` against `job` at `target`, which is easier than the job's own or equal to it; answers what else it
/// meets. The failing stage and what does not fit otherwise.
pub fn verify(job: &WorkJob, target: &[u8; 32], proof: &[u8]) -> Result<Met, (&'static str, String)> {
    let mut rules = job.to_pow().map_err(|err| ("certificate", err.to_string()))?;
    rules.target = Some(Target::from_le_bytes(*target));
    // The network tolerates other spellings of a proof. We send out none: each would pass as a new proof, so a provider
    // could have one counted many times, and a gateway is not tried with what it may never have seen.
    match pearl_pow::verify::verify_canonical(&rules, proof) {
        Ok(verified) => {
            let meets = |target: Target| verified.meets(target, job.rank_penalty);
            Ok(Met {
                pays: meets(Target::from_le_bytes(job.target)),
                block: meets(rules.header.nbits().target()),
            })
        }
        Err(err) => Err((err.stage().map_or("form", pearl_pow::Stage::name), err.to_string())),
    }
}

pub use crate::explain::{causes, chain};

#[cfg(test)]
mod tests {
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
        assert!(verify(&job, &job.target, &proof).unwrap().pays);
        // What pays may be harder than what was asked for, and no tile meets this.
        let hard = WorkJob { target: [0; 32], ..job.clone() };
        assert!(!verify(&hard, &job.target, &proof).unwrap().pays);
        // The network's own target stands in the header: an easy one, and one that no tile meets.
        for (nbits, block) in [(0x1f7f_ffff_u32, true), (0x0300_0001, false)] {
            let mut job = job.clone();
            job.header[72..].copy_from_slice(&nbits.to_le_bytes());
            let header = Header::from_bytes(job.header);
            let product = Product::new(&header, &config, rule, a, bt);
            let proof = product.prove(&product.attempt(0, 0)).encode();
            assert_eq!(verify(&job, &job.target, &proof), Ok(Met { pays: true, block }), "{nbits:#x}");
        }
        assert_eq!(verify(&job, &[0; 32], &proof).unwrap_err().0, "difficulty");

        // The layout of certificate version 1 lacks the last byte; the network takes it.
        let spelled_otherwise = &proof[..proof.len() - 1];
        assert!(pearl_pow::verify_bytes(&job.to_pow().unwrap(), spelled_otherwise).is_ok());
        assert_eq!(verify(&job, &job.target, spelled_otherwise).unwrap_err().0, "form");
    }

    fn case(miner: u32, sequence: u64) -> Case {
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
        let candidate = Candidate {
            generation: 1,
            sequence,
            target: job.target,
            work: Arc::new(Work { number: 1, job }),
            proof: vec![],
            place: crate::miner::link::Place::default(),
        };
        Case { miner: MinerId(miner), provider: "one".into(), candidate, pays: true }
    }

    fn taken(desk: &mut Desk, now: Instant) -> Option<(u32, u64)> {
        match desk.next(now) {
            Next::Case(case) => Some((case.miner.0, case.candidate.sequence)),
            _ => None,
        }
    }

    #[test]
    fn miners_take_turns_each_in_its_own_order() {
        let mut desk = Desk::default();
        for sequence in 0..3 {
            desk.push(case(2, sequence)).unwrap();
        }
        desk.push(case(1, 0)).unwrap();
        desk.push(case(5, 0)).unwrap();
        let now = Instant::now();
        let order: Vec<_> = std::iter::from_fn(|| taken(&mut desk, now)).collect();
        assert_eq!(order, [(1, 0), (2, 0), (5, 0), (2, 1), (2, 2)]);
        assert!(matches!(desk.next(now), Next::Wait(None)));
        desk.closed = true;
        assert!(matches!(desk.next(now), Next::Nothing));
    }

    #[test]
    fn rubbish_slows_down_whoever_sends_it_and_nobody_else_and_only_so_much_may_wait() {
        let mut desk = Desk::default();
        let now = Instant::now();
        for sequence in 0..=WAITING_MAX as u64 {
            assert_eq!(desk.push(case(1, sequence)).is_ok(), sequence < WAITING_MAX as u64);
        }
        for _ in 0..=REFUSALS_FREE {
            assert!(matches!(taken(&mut desk, now), Some((1, _))));
            desk.served(MinerId(1), true, now);
        }
        assert!(matches!(desk.next(now), Next::Wait(Some(until)) if until == now + REFUSAL_PAUSE));
        desk.push(case(2, 9)).unwrap();
        assert_eq!(taken(&mut desk, now), Some((2, 9)));
        assert!(taken(&mut desk, now + REFUSAL_PAUSE).is_some());
        desk.served(MinerId(1), false, now);
        assert!(taken(&mut desk, now).is_some(), "one that passes ends the row");
        desk.served(MinerId(1), true, now);
        desk.closed = true;
        assert!(taken(&mut desk, now).is_some());
    }
}
