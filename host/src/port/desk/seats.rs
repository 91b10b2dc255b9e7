//! Seats: who takes which, and the jobs that go out over them.

use std::time::Instant;

use serde_json::Value;

use super::chair::Chair;
use super::guest::Peer;
use super::{Desk, GuestId};
use crate::miner::frame::FromProvider;
use crate::port::wire::{Dialect, FromPort, SeatId, Sitter};
use crate::port::{pool, rpc};
use crate::work::miner_rpc::{self, Asked};

/// Seats at a time, those without a connection included.
const SEATS_MAX: usize = 128;

impl Desk {
    /// The seat of a connection whose first request is `what`.
    pub(super) fn sit_down(&mut self, id: GuestId, what: &Asked, now: Instant) -> Option<SeatId> {
        let peer = self.guests.get(&id)?.peer.clone();
        let own = |chair: &Chair| {
            chair.dialect == Dialect::GatewayRpc
                && if peer.unix {
                    chair.pid == peer.pid && chair.address == peer.address
                } else {
                    chair.address == peer.address
                }
        };
        let mut own: Vec<(&SeatId, &Chair)> = self.chairs.iter().filter(|(_, chair)| own(chair)).collect();
        let found = match what {
            _ if peer.pid.is_some() => own.first(),
            // Whoever polls is a program of its own; whoever only hands in belongs to one of those who poll.
            Asked::Job => own.iter().find(|(_, chair)| chair.guests == 0),
            Asked::Proof(submitted) => {
                let knows = |chair: &Chair| chair.job_of(&submitted.header, submitted.target).is_some();
                own.sort_by_key(|(_, chair)| (knows(chair), chair.heard));
                own.last()
            }
        };
        if let Some(seat) = found.map(|(seat, _)| **seat) {
            self.join(id, seat);
            return Some(seat);
        }
        let Peer { address, pid, .. } = peer;
        let sitter = Sitter {
            dialect: Dialect::GatewayRpc,
            worker: String::new(),
            agent: String::new(),
            address,
            pid,
        };
        self.take_seat(id, &sitter, now)
    }

    pub(super) fn take_seat(&mut self, id: GuestId, sitter: &Sitter, now: Instant) -> Option<SeatId> {
        if self.chairs.len() >= SEATS_MAX {
            return None;
        }
        self.last_seat += 1;
        let seat = self.last_seat;
        self.chairs.insert(seat, Chair::new(sitter.dialect, sitter.pid, sitter.address.clone(), now));
        let text = serde_json::to_string(sitter).expect("texts and numbers become JSON");
        self.tell(FromPort::Sat(seat, text));
        self.join(id, seat);
        Some(seat)
    }

    pub(super) fn join(&mut self, id: GuestId, seat: SeatId) {
        let (Some(guest), Some(chair)) = (self.guests.get_mut(&id), self.chairs.get_mut(&seat)) else {
            return;
        };
        guest.seat = Some(seat);
        chair.guests += 1;
        chair.empty_since = None;
    }

    /// The supervisor has told all that it knows of a program: what waited for that goes on.
    pub(super) fn seated(&mut self, seat: SeatId, now: Instant) {
        if let Some(chair) = self.chairs.get_mut(&seat) {
            chair.seat();
            self.each_of(seat).into_iter().for_each(|id| self.serve(id, now));
        }
    }

    pub(super) fn each_of(&self, seat: SeatId) -> Vec<GuestId> {
        self.guests.iter().filter(|(_, guest)| guest.seat == Some(seat)).map(|(id, _)| *id).collect()
    }

    /// Gives the seat's job to a connection: in answer to its questions, or unasked where that is the language's way.
    pub(super) fn give_out(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(seat) = guest.seat else { return };
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        let mut lines = Vec::new();
        match (chair.dialect, &chair.bar, chair.job()) {
            (Dialect::GatewayRpc, Some(why), _) => {
                lines.extend(guest.parked.drain(..).map(|(question, _)| rpc::no_job(&question, why)));
            }
            (_, None, None) | (Dialect::Pool, Some(_), _) => return,
            (Dialect::GatewayRpc, None, Some(job)) => {
                let answer = |(question, _): (Value, Instant)| {
                    miner_rpc::mining_info(&question, &job.header, &job.target, job.certificate_version)
                };
                lines.extend(guest.parked.drain(..).map(answer));
            }
            (Dialect::Pool, None, Some(_)) if guest.unsent > 0 => {
                guest.behind = true;
                return;
            }
            (Dialect::Pool, None, Some(job)) => {
                let news = guest.target.replace(job.target) != Some(job.target);
                lines.extend(pool::job(job, news));
            }
        }
        let took = if lines.is_empty() || chair.bar.is_some() { None } else { chair.took() };
        lines.into_iter().for_each(|line| self.send(id, line));
        if let Some(job) = took {
            self.tell(FromPort::Said(seat, FromProvider::Took(job)));
        }
    }

    pub(super) fn bar(&mut self, seat: SeatId, why: &str) {
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        chair.bar = Some(why.to_owned());
        let dialect = chair.dialect;
        for id in self.each_of(seat) {
            match dialect {
                Dialect::GatewayRpc => self.give_out(id),
                Dialect::Pool => self.send(id, pool::message(why)),
            }
        }
    }

    pub(super) fn tell_stats(&mut self, seat: SeatId, now: Instant, unix: u64) {
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        let quiet = now.saturating_duration_since(chair.heard).as_secs();
        let stats = serde_json::json!({
            "connections": chair.guests,
            "requests": chair.requests,
            "polls_10s": chair.polls(now),
            "last_request_at": unix.saturating_sub(quiet),
        });
        self.tell(FromPort::Said(seat, FromProvider::Stats(stats.to_string())));
    }
}
