//! Where each share is: found, waiting, sent, settled, or dropped for a reason; on disk before it moves on (pool protocol
//! sections 8.4 and 8.5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Desk, Rejected};
use crate::work::pool::conversation::Settled;
use crate::work::pool::ledger::{Dropped, Ledger, Outcome, StaleCause};
use crate::work::pool::offer::Offer;
use crate::work::{KeptProof, Origin, ProofId, ProofState, WorkEvent};

/// Between two lines that say why shares are not sent.
const ADVICE_EVERY: Duration = Duration::from_secs(60);

impl Desk {
    /// Takes up what an earlier process left.
    pub fn take_up(&mut self, kept: KeptProof) {
        let weight = weight_of(&kept);
        let seat = self.seat_of(kept.found.job.origin.as_ref());
        let settled = self.book.is_settled(&kept.id);
        if !kept.handed_over {
            if settled {
                let reason = "it was dropped before pearlbed ended".to_owned();
                self.tell_proof(kept.id, ProofState::NotSent { reason });
            } else {
                self.earlier.push(kept);
            }
            return;
        }
        let reason = if settled {
            "the pool answered it before pearlbed ended".to_owned()
        } else {
            self.seats[seat].ledger.lost_with_the_process(weight);
            let address = Arc::clone(&self.seats[seat].settings.address);
            self.book.of(&address).lost_with_the_process(weight);
            self.settle_in_book(&kept.id);
            "it was sent, and pearlbed ended before the pool answered".to_owned()
        };
        self.tell_proof(kept.id, ProofState::Untraced { reason });
    }

    /// A verified share.
    pub fn found(&mut self, kept: KeptProof, now: Instant) {
        let origin = kept.found.job.origin.clone();
        let seat = self.seat_of(origin.as_ref());
        let line = origin.as_ref().and_then(|origin| self.connections.get(&origin.connection));
        let serial = origin.as_ref().map_or(0, |origin| origin.serial);
        let work = line
            .and_then(|line| line.conversation.offer_of(serial))
            .map_or_else(|| weight_of(&kept), |offer| offer.work());
        let verdict = match (&origin, line) {
            (None, _) => Err(Dropped::UnknownJob),
            (Some(_), None) => Err(Dropped::ConnectionEnded),
            (Some(_), Some(line)) if line.conversation.is_draining() => Err(Dropped::ConnectionEnded),
            (Some(_), Some(line)) => line.conversation.fitness(serial).map(|_| ()),
        };
        self.weights.insert(kept.id.clone(), work);
        self.count(seat, |ledger| ledger.found(work));
        let verdict = verdict
            .and_then(|()| if self.seats[seat].limiter.pass(now) { Ok(()) } else { Err(Dropped::TooMany) });
        match (verdict, origin) {
            (Ok(()), Some(origin)) => {
                let mut out = Vec::new();
                if let Some(line) = self.connections.get_mut(&origin.connection) {
                    line.conversation.submit(kept, now, &mut self.numbers, &mut out);
                }
                self.hear(origin.connection, out, now);
            }
            (Err(why), _) => self.dropped(seat, kept.id, why, now),
            (Ok(()), None) => self.dropped(seat, kept.id, Dropped::UnknownJob, now),
        }
    }

    /// Proofs of an earlier process whose very job this is: the pool issued it on this connection, too.
    pub(super) fn adopt(&mut self, connection: u64, pool: usize, offer: &Arc<Offer>, now: Instant) {
        let address = Arc::clone(&self.seats[pool].settings.address);
        let fits = |kept: &KeptProof| {
            let job = &kept.found.job;
            job.header == *offer.header.as_bytes()
                && job.target == offer.target.to_le_bytes()
                && job.certificate_version == offer.certificate_version
                && job.origin.as_ref().is_some_and(|o| o.job_id == offer.job_id && o.pool == address)
        };
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.earlier).into_iter().partition(fits);
        self.earlier = others;
        for mut kept in mine {
            kept.found.job.origin = Some(Origin {
                pool: Arc::clone(&address),
                connection,
                serial: offer.serial,
                job_id: Arc::clone(&offer.job_id),
            });
            self.found(kept, now);
        }
    }

    pub(super) fn tick_earlier(&mut self, now: Instant) {
        if now < self.earlier_until {
            return;
        }
        for kept in std::mem::take(&mut self.earlier) {
            let seat = self.seat_of(kept.found.job.origin.as_ref());
            let work = weight_of(&kept);
            self.weights.insert(kept.id.clone(), work);
            self.count(seat, |ledger| ledger.found(work));
            self.dropped(seat, kept.id, Dropped::EarlierProcess, now);
        }
    }

    pub(super) fn settled(&mut self, pool: usize, settled: Settled) {
        let Settled { share, proof, outcome, verdict, latency, overtaken } = settled;
        let work = self.weights.remove(&share.id).unwrap_or_else(|| share.offer.work());
        self.count(pool, |ledger| {
            ledger.settled(outcome, work);
            if outcome == Outcome::Stale {
                ledger.stale(if overtaken { StaleCause::Network } else { StaleCause::Pool });
            }
        });
        if let Some(latency) = latency {
            self.seats[pool].latencies.add(latency);
        }
        let words = verdict.as_ref().map_or_else(
            || "no reply within 30 s, or before the connection ended".to_owned(),
            crate::work::stratum::Verdict::words,
        );
        if matches!(
            outcome,
            Outcome::Invalid
                | Outcome::InvalidLate
                | Outcome::LowDifficulty
                | Outcome::Malformed
                | Outcome::Unexplained
        ) {
            self.actions.push_back(Action::Record(Box::new(Rejected {
                pool: Arc::clone(&self.seats[pool].settings.address),
                id: share.id.clone(),
                offer: Arc::clone(&share.offer),
                outcome,
                reply: words.clone(),
                proof,
            })));
        }
        self.settle_in_book(&share.id);
        self.tell_proof(share.id, state_of(outcome, &words));
    }

    pub(super) fn dropped(&mut self, pool: usize, id: ProofId, why: Dropped, now: Instant) {
        let work = self.weight(&id);
        self.weights.remove(&id);
        self.count(pool, |ledger| ledger.dropped(why, work));
        self.settle_in_book(&id);
        let reason = why.reason().to_owned();
        if why == Dropped::TooLarge {
            return self.tell_proof(id, ProofState::NotSent { reason });
        }
        if !why.in_time() {
            return self.tell_proof(id, ProofState::Stale { reason });
        }
        // Where one comes too fast, many do: once a minute is enough.
        let said = &mut self.seats[pool].said_not_sent;
        if said.is_none_or(|at| now.saturating_duration_since(at) >= ADVICE_EVERY) {
            *said = Some(now);
            let address = Arc::clone(&self.seats[pool].settings.address);
            self.note(format!("{address}: a share is not sent: {reason}"));
        }
        self.tell_proof(id, ProofState::NotSent { reason });
    }

    pub(super) fn settle_in_book(&mut self, id: &ProofId) {
        self.book.settled(id);
        self.actions.push_back(Action::Save);
    }

    /// Counts in the session's ledger and in the book, which outlives it.
    pub(super) fn count(&mut self, pool: usize, change: impl Fn(&mut Ledger)) {
        let seat = &mut self.seats[pool];
        change(&mut seat.ledger);
        change(self.book.of(&seat.settings.address));
        debug_assert!(seat.ledger.adds_up(), "{:?}", seat.ledger);
    }

    pub(super) fn weight(&self, id: &ProofId) -> f64 {
        self.weights.get(id).copied().unwrap_or_default()
    }

    /// The pool that an origin names, or the current one.
    pub(super) fn seat_of(&self, origin: Option<&Origin>) -> usize {
        origin
            .and_then(|origin| self.seats.iter().position(|seat| seat.settings.address == origin.pool))
            .unwrap_or(self.life.current())
    }

    pub(super) fn tell_proof(&mut self, id: ProofId, state: ProofState) {
        self.actions.push_back(Action::Tell(WorkEvent::Proof { id, state }));
    }
}

/// Which shape made a share too large to be sent.
pub(super) fn too_large(kept: &KeptProof) -> String {
    let bytes = kept.found.proof.len();
    match pearl_pow::PlainProof::decode(&kept.found.proof) {
        Ok((proof, _)) => format!(
            "a share of {bytes} bytes is not sent: pools read lines of at most 1 MiB, and a tile of {}×{} with k = {} (m = {}, n = \
             {}) makes longer ones; set a smaller tile",
            proof.a.row_indices.len(),
            proof.bt.row_indices.len(),
            proof.k,
            proof.m,
            proof.n,
        ),
        Err(_) => format!("a share of {bytes} bytes is not sent: {}", Dropped::TooLarge.reason()),
    }
}

/// The work of a share whose job is not known any more.
fn weight_of(kept: &KeptProof) -> f64 {
    crate::work::stratum::target::work_f64(pearl_pow::Target::from_le_bytes(kept.found.job.target))
}

/// What the session is told of an outcome.
pub(super) fn state_of(outcome: Outcome, words: &str) -> ProofState {
    let reason = words.to_owned();
    match outcome {
        Outcome::Accepted => ProofState::Credited,
        Outcome::Stale => ProofState::Stale { reason },
        Outcome::Unanswered | Outcome::Unclear => ProofState::Untraced { reason },
        Outcome::InvalidLate => ProofState::Rejected { reason: format!("invalid (late): {words}") },
        _ => ProofState::Rejected { reason },
    }
}
