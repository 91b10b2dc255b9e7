//! The shares of one connection: sent one line at a time, each with one outcome, and what follows from it (pool protocol
//! sections 3.6, 7.3, 8.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    ANSWERED_MAX, Conversation, End, FLYING_MAX, Flight, INVALID_MAX, Phase, RECENT, REPLY_MAX, Said,
    Settled, Share,
};
use crate::work::KeptProof;
use crate::work::pool::ledger::{Dropped, Outcome};
use crate::work::pool::life::Failure;
use crate::work::pool::numbers::Numbers;
use crate::work::pool::offer::{Fitness, Offer};
use crate::work::stratum::to_pool::{self, Dialect, Signature, Submit};
use crate::work::stratum::{Class, Encoding, MINER_LINE_BYTES_MAX, Verdict};

impl Conversation {
    /// A proof for a job of this connection. It is sent when there is room, or dropped for a reason that is said.
    pub fn submit(&mut self, proof: KeptProof, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        self.queue.push_back(proof);
        self.pump(now, numbers, out);
    }

    /// Whether a proof of this job would be sent now; else why not.
    pub fn fitness(&self, serial: u64) -> Result<Arc<Offer>, Dropped> {
        match self.jobs.fitness(serial) {
            Fitness::Fresh(offer) | Fitness::Late(offer) => Ok(offer),
            Fitness::Dropped(why) => Err(why),
        }
    }

    /// The job of a serial number, whatever became of it.
    pub fn offer_of(&self, serial: u64) -> Option<Arc<Offer>> {
        self.jobs.of(serial)
    }

    /// Gives the next share to the connection. One line is under way at a time: a slow pool must not have ten of them
    /// in memory, and what waits can still be dropped when the chain moves on.
    pub(super) fn pump(&mut self, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        loop {
            let writing = self.flights.values().any(|flight| flight.written.is_none());
            if !matches!(self.phase, Phase::Ready { .. }) || writing || self.flights.len() >= FLYING_MAX {
                return;
            }
            let Some(proof) = self.queue.pop_front() else { return };
            let serial = proof.found.job.origin.as_ref().map_or(0, |origin| origin.serial);
            let (offer, late) = match self.jobs.fitness(serial) {
                Fitness::Fresh(offer) => (offer, false),
                Fitness::Late(offer) => (offer, true),
                Fitness::Dropped(why) => {
                    out.push(Said::Dropped { proof, why });
                    continue;
                }
            };
            let id = numbers.request();
            let gzip = self.encoding == Encoding::Plain && self.manner.names_encoding && offer.takes_gzip;
            let line = to_pool::submit(&Submit {
                id,
                login: &self.manner.login,
                signature: match self.manner.dialect {
                    Dialect::Object => self.manner.signature,
                    Dialect::Array => Signature::Joined,
                },
                job_id: &offer.job_id,
                proof: &proof.found.proof,
                encoding: if gzip { Encoding::Gzip } else { self.encoding },
                names_encoding: gzip,
            });
            if line.len() > MINER_LINE_BYTES_MAX {
                out.push(Said::Dropped { proof, why: Dropped::TooLarge });
                continue;
            }
            let share = Share { id: proof.id.clone(), offer: Arc::clone(&offer), late };
            let tip = offer.tip();
            let bytes = proof.found.proof.clone();
            self.flights.insert(id, Flight { share, proof: bytes, given: now, written: None, tip });
            out.push(Said::Sent { proof, offer });
            out.push(Said::Send { line, tag: Some(id) });
        }
    }

    /// The line with this tag is written to its last byte.
    pub fn written(&mut self, tag: u64, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        if let Some(flight) = self.flights.get_mut(&tag) {
            flight.written = Some(now);
        }
        self.pump(now, numbers, out);
    }

    pub(super) fn verdict(
        &mut self,
        id: u64,
        verdict: Verdict,
        now: Instant,
        numbers: &mut Numbers,
        out: &mut Vec<Said>,
    ) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let latency = flight.written.map(|written| now.saturating_duration_since(written));
        let outcome = Outcome::of(verdict.class, flight.share.late);
        self.unanswered = 0;
        self.remember(id, flight.share.clone(), outcome);
        let overtaken = self.jobs.tip().is_some_and(|tip| tip != flight.tip);
        out.push(Said::Settled(Box::new(Settled {
            share: flight.share.clone(),
            proof: flight.proof,
            outcome,
            verdict: Some(verdict.clone()),
            latency,
            overtaken,
        })));
        self.consequences(&flight.share, &verdict, outcome, now, numbers, out);
    }

    fn remember(&mut self, id: u64, share: Share, outcome: Outcome) {
        if self.answered.len() == ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back((id, share, outcome));
    }

    /// The pool says something else of a share than before: the last word counts.
    pub(super) fn second_word(&mut self, id: u64, verdict: Verdict, out: &mut Vec<Said>) {
        let Some((_, share, outcome)) = self.answered.iter_mut().find(|(known, ..)| *known == id) else {
            return;
        };
        let is = Outcome::of(verdict.class, share.late);
        let was = std::mem::replace(outcome, is);
        if was != is {
            out.push(Said::Corrected { share: share.clone(), was, is, verdict });
        }
    }

    fn consequences(
        &mut self,
        share: &Share,
        verdict: &Verdict,
        outcome: Outcome,
        now: Instant,
        numbers: &mut Numbers,
        out: &mut Vec<Said>,
    ) {
        self.replies += 1;
        if outcome != Outcome::InvalidLate {
            let invalid = outcome == Outcome::Invalid;
            self.invalid = if invalid { self.invalid + 1 } else { 0 };
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(invalid);
        }
        let words = verdict.words();
        match verdict.class {
            Class::Banned { seconds } => {
                let time = seconds.map(Duration::from_secs);
                return self.end(End::Failed(Failure::Banned { time, text: words }), out);
            }
            Class::AgentRefused | Class::AddressRefused => {
                return self.end(End::Failed(Failure::Hopeless(format!("refuses our shares: {words}"))), out);
            }
            Class::Unauthorized => {
                if std::mem::replace(&mut self.reauthorizing, true) {
                    let text = format!("does not know us after two logins: {words}");
                    return self.end(End::Failed(Failure::Passing(text)), out);
                }
                out.push(Said::Note(format!(
                    "the pool does not know us any more ({words}); logging in again"
                )));
                self.authorize(now, numbers, out);
            }
            Class::Malformed => return self.end(End::Form { text: words, silent: false }, out),
            Class::Accepted => self.reauthorizing = false,
            _ => {}
        }
        if share.offer.guessed && self.replies == 2 && self.invalid == 2 {
            let text = "the pool does not say which certificate version its jobs need, and refused the first two \
                        shares: set `cert_version`";
            return self.end(End::Failed(Failure::Hopeless(text.to_owned())), out);
        }
        let many = self.recent.iter().filter(|invalid| **invalid).count();
        if self.invalid >= INVALID_MAX || self.recent.len() == RECENT && many > RECENT / 2 {
            let text = format!("our verifier accepts our shares, and the pool refuses them: {words}");
            self.end(End::Failed(Failure::Hopeless(text)), out);
        }
    }

    /// Shares that were not answered in time, and a line that the pool does not take.
    pub(super) fn give_up_waiting(&mut self, now: Instant, out: &mut Vec<Said>) {
        let late: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| {
                flight.written.is_some_and(|at| now.saturating_duration_since(at) >= REPLY_MAX)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.unanswered += 1;
            self.lose(id, true, out);
        }
        let stuck = |flight: &Flight| {
            flight.written.is_none() && now.saturating_duration_since(flight.given) >= REPLY_MAX
        };
        if self.flights.values().any(stuck) {
            let text = format!("takes no more bytes for {} s", REPLY_MAX.as_secs());
            self.end(End::Failed(Failure::Passing(text)), out);
        }
    }

    pub(super) fn lose(&mut self, id: u64, remember: bool, out: &mut Vec<Said>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        if remember {
            self.remember(id, flight.share.clone(), Outcome::Unanswered);
        }
        out.push(Said::Settled(Box::new(Settled {
            share: flight.share,
            proof: flight.proof,
            outcome: Outcome::Unanswered,
            verdict: None,
            latency: None,
            overtaken: false,
        })));
    }

    pub(super) fn drop_queue(&mut self, out: &mut Vec<Said>) {
        while let Some(proof) = self.queue.pop_front() {
            out.push(Said::Dropped { proof, why: Dropped::ConnectionEnded });
        }
    }

    /// Forgets what waits without a word: it is on disk, and a later process looks after it.
    pub fn keep_queue(&mut self) {
        self.queue.clear();
    }
}
