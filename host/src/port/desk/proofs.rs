//! Proofs: which may go to the supervisor, and the verdict as the answer.

use std::time::Instant;

use super::guest::{Named, Reply, Waiting};
use super::{Desk, GuestId};
use crate::miner::frame::{FromProvider, Receipt};
use crate::port::wire::{FromPort, SeatId};
use crate::port::{pool, rpc};

/// Bytes of proofs, of all seats, that may be with the supervisor.
const PROOF_BYTES_JUDGING_MAX: usize = 8 << 20;

impl Desk {
    pub(super) fn take_proof(&mut self, id: GuestId, waiting: Waiting) {
        if let Some(why) = self.chairs.get(&waiting.seat).and_then(|chair| chair.bar.clone()) {
            return self.answer(id, &waiting.reply, Receipt::Refused, &format!("needs-update: {why}"));
        }
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.waiting = Some(waiting);
            self.hand_in(id);
        }
    }

    /// Hands in the proof that waits, if there is room for it.
    pub(super) fn hand_in(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(waiting) = guest.waiting.take() else { return };
        let Some(chair) = self.chairs.get_mut(&waiting.seat) else { return };
        let job = match waiting.job {
            Named::Number(number) => Some(number),
            Named::Header(header, target) => chair.job_of(&header, target),
        };
        // Whoever was here before another process served the port has jobs from then.
        if job.is_none() && !chair.is_seated() {
            guest.waiting = Some(waiting);
            return;
        }
        let job = job.unwrap_or(0);
        // One for no job is not looked at: it counts, and its bytes need not travel.
        let bytes = if job == 0 { 0 } else { waiting.proof.len() };
        let fits = self.judging == 0 || self.judging + bytes <= PROOF_BYTES_JUDGING_MAX;
        if !(fits && chair.has_room(bytes)) {
            guest.waiting = Some(waiting);
            return;
        }
        let Waiting { seat, mut proof, reply, .. } = waiting;
        proof.truncate(bytes);
        self.judging += bytes;
        let sequence = chair.hands_in(id, reply, bytes);
        self.tell(FromPort::Said(seat, FromProvider::Submit { sequence, job, proof }));
    }

    pub(super) fn judged(
        &mut self,
        seat: SeatId,
        sequence: u64,
        receipt: Receipt,
        reason: &str,
        now: Instant,
    ) {
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        let Some((guest, reply, bytes)) = chair.judged(sequence) else { return };
        self.judging -= bytes;
        self.answer(guest, &reply, receipt, reason);
        // Whoever waits longest for room is not known: those who come after the one that was just served have their turn.
        let others = self.guests.range(guest + 1..).chain(self.guests.range(..=guest));
        let waits: Vec<GuestId> =
            others.filter(|(_, guest)| guest.waiting.is_some()).map(|(id, _)| *id).collect();
        waits.into_iter().for_each(|id| self.serve(id, now));
    }

    pub(super) fn answer(&mut self, id: GuestId, reply: &Reply, receipt: Receipt, reason: &str) {
        let line = match reply {
            Reply::Rpc(question) => rpc::verdict(question, receipt, reason),
            Reply::Pool(question) => pool::verdict(question, receipt, reason),
        };
        self.send(id, line);
    }
}
