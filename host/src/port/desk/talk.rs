//! What programs say, in either language: requests read, and each answered, or made a seat or a proof of.

use std::time::Instant;

use super::guest::{Named, Reply, Waiting};
use super::{Desk, FIRST_JOB, GuestId};
use crate::miner::frame::PROOF_BYTES_MAX;
use crate::port::wire::{Dialect, Sitter};
use crate::port::{pool, rpc};
use crate::text::foreign;
use crate::work::miner_rpc::{self, Asked};
use crate::work::stratum::from_miner::{self, Credentials, Request, Share};
use crate::work::stratum::{Encoding, to_miner};

impl Desk {
    pub(super) fn rpc_line(&mut self, id: GuestId, line: &str, now: Instant) {
        let request = match miner_rpc::read(line) {
            Ok(request) => request,
            Err(answer) => {
                if let Some(guest) = self.guests.get_mut(&id) {
                    guest.was_senseless(now);
                }
                return self.send(id, answer);
            }
        };
        let miner_rpc::Request { id: question, what } = request;
        let Some(guest) = self.guests.get(&id) else { return };
        if guest.peer.guarded {
            let why = "this address asks for a password, which the miner RPC has no word for";
            self.send(id, rpc::no_job(&question, why));
            return self.send_away(id, now);
        }
        let Some(seat) = guest.seat.or_else(|| self.sit_down(id, &what, now)) else {
            return self.send(id, rpc::no_job(&question, "too many programs are here already"));
        };
        let Some(chair) = self.chairs.get_mut(&seat) else { return };
        chair.heard(what == Asked::Job, now);
        match what {
            Asked::Job => {
                if let Some(guest) = self.guests.get_mut(&id) {
                    guest.parked.push((question, now + FIRST_JOB));
                }
                self.give_out(id);
            }
            Asked::Proof(submitted) => {
                let proof = submitted.proof;
                if proof.len() > PROOF_BYTES_MAX {
                    return self.send(id, rpc::too_large(&question, &about_proof(&proof)));
                }
                let job = Named::Header(submitted.header, submitted.target);
                self.take_proof(id, Waiting { seat, job, proof, reply: Reply::Rpc(question) });
            }
        }
    }

    pub(super) fn pool_line(&mut self, id: GuestId, line: &str, now: Instant) {
        let from_miner::FromMiner { id: question, what } = match from_miner::read(line) {
            Ok(request) => request,
            Err(err) => return self.senseless(id, &err.to_string(), now),
        };
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if let Some(chair) = guest.seat.and_then(|seat| self.chairs.get_mut(&seat)) {
            chair.heard(false, now);
        }
        match what {
            Request::Subscribe(agent) => {
                guest.agent = agent;
                self.send(id, to_miner::accept(&question));
            }
            Request::Authorize(login) => self.log_in(id, &question, &login, now),
            Request::Submit(share) => self.share(id, question, &share),
            Request::Ping => self.send(id, to_miner::answer(&question, "pong")),
            Request::Malformed(why) => {
                guest.was_senseless(now);
                self.send(id, to_miner::refuse(&question, pool::WRONG, &why));
            }
            Request::Other(method) => {
                let why = format!("unknown method {method}");
                self.send(id, to_miner::refuse(&question, pool::UNKNOWN, &why));
            }
        }
    }

    pub(super) fn log_in(&mut self, id: GuestId, question: &str, login: &Credentials, now: Instant) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        // Hashes are compared in a time that says nothing of where they differ.
        if guest.peer.guarded && self.password != Some(blake3::hash(login.password.as_bytes())) {
            guest.was_senseless(now);
            let why = "Not authorized: the password of this port is wanted";
            self.send(id, to_miner::refuse(question, pool::STRANGER, why));
            return self.send_away(id, now);
        }
        if guest.seat.is_some() {
            return self.send(id, to_miner::accept(question));
        }
        // Who is paid is the host's business: of `wallet.worker` the name of the machine alone is looked at.
        let worker = match login.wallet.split_once(['.', '/']) {
            Some((_, rig)) if login.worker.is_empty() => rig,
            _ => &login.worker,
        };
        let agent = if login.agent.is_empty() { guest.agent.clone() } else { foreign(&login.agent) };
        let wanted = login.wants.as_deref().map(|word| Encoding::from_word(word).unwrap_or(Encoding::Plain));
        guest.encoding = wanted.unwrap_or(Encoding::Plain);
        let sitter = Sitter {
            dialect: Dialect::Pool,
            worker: foreign(worker),
            agent,
            address: guest.peer.address.clone(),
            pid: guest.peer.pid,
        };
        if self.take_seat(id, &sitter, now).is_none() {
            return self
                .send(id, to_miner::refuse(question, pool::WRONG, "too many programs are here already"));
        }
        self.send(id, to_miner::acknowledge(question, wanted.map(Encoding::word)));
    }

    pub(super) fn share(&mut self, id: GuestId, question: String, share: &Share) {
        let Some(guest) = self.guests.get(&id) else { return };
        let Some(seat) = guest.seat else {
            return self.send(id, to_miner::refuse(&question, pool::STRANGER, "Not authorized"));
        };
        let encoding = match share.encoding.as_deref() {
            Some("gzip") => Encoding::Gzip,
            _ => guest.encoding,
        };
        let proof = match encoding.decode(&share.proof, PROOF_BYTES_MAX) {
            Ok(proof) => proof,
            Err(err) => {
                let about =
                    shape_of_text(&share.proof).map(|shape| format!(" ({shape})")).unwrap_or_default();
                let why = format!("Invalid proof: {err}{about}");
                return self.send(id, to_miner::refuse(&question, pool::WRONG, &why));
            }
        };
        let job = Named::Number(pool::job_number(&share.job_id));
        self.take_proof(id, Waiting { seat, job, proof, reply: Reply::Pool(question) });
    }
}

fn about_proof(proof: &[u8]) -> String {
    let shape = rpc::shape(proof).map(|shape| format!(": {shape}")).unwrap_or_default();
    format!("a proof of {} bytes, where {PROOF_BYTES_MAX} are taken{shape}", proof.len())
}

fn shape_of_text(text: &str) -> Option<String> {
    use base64::Engine as _;
    let start = text.get(..56)?;
    rpc::shape(&base64::engine::general_purpose::STANDARD.decode(start).ok()?)
}
