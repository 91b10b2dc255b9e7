//! The connections: made, used for mining, looked at, drained and left (pool protocol sections 4.5, 8.3 and 8.4).

use std::time::Instant;

use super::{Action, Connection, DRAIN_MAX, Desk, Role};
use crate::work::pool::conversation::{Conversation, End, Manner};
use crate::work::pool::life::Failure;
use crate::work::stratum::to_pool::Dialect;

impl Desk {
    pub(super) fn connect(&mut self, pool: usize, role: Role, now: Instant) {
        let connection = self.next_connection;
        self.next_connection += 1;
        self.reconnects += u64::from(connection > 1);
        let seat = &self.seats[pool];
        let settings = &seat.settings;
        let manner = Manner {
            login: settings.login.clone(),
            dialect: seat.locked.unwrap_or(seat.next),
            detecting: seat.locked.is_none(),
            signature: settings.profile.signature,
            wants: settings.wants,
            names_encoding: settings.profile.names_encoding,
            pings: settings.pings,
            certificate_version: settings.certificate_version,
        };
        let conversation = Conversation::new(manner, now);
        self.connections.insert(connection, Connection { pool, role, conversation, times: None });
        self.actions.push_back(Action::Connect { connection, pool });
    }

    /// The probe becomes the main connection; the old one may still hear its last replies.
    pub(super) fn switch(&mut self, now: Instant) {
        let old = self.with_role(Role::Main);
        let Some(new) = self.with_role(Role::Probe) else { return };
        if let Some(line) = self.connections.get_mut(&new) {
            line.role = Role::Main;
            let text = format!("back on pool {}: {}", line.pool + 1, self.seats[line.pool].settings.address);
            // The new job first: every moment on the old one is lost.
            self.offer_of(new);
            self.note(text);
        }
        if let Some(old) = old {
            let mut out = Vec::new();
            if let Some(line) = self.connections.get_mut(&old) {
                line.role = Role::Draining { until: now + DRAIN_MAX };
                line.conversation.drain(&mut out);
            }
            self.hear(old, out, now);
        }
    }

    /// Offers the job that a connection has already.
    pub(super) fn offer_of(&mut self, connection: u64) {
        let offer = self.connections.get(&connection).and_then(|line| line.conversation.offer().cloned());
        if let Some(offer) = offer {
            self.pending = None;
            self.offer(connection, &offer, false);
        }
    }

    pub(super) fn with_role(&self, role: Role) -> Option<u64> {
        self.connections.iter().find(|(_, line)| line.role == role).map(|(connection, _)| *connection)
    }

    pub(super) fn leave(&mut self, connection: u64, now: Instant) {
        let mut out = Vec::new();
        if let Some(line) = self.connections.get_mut(&connection) {
            line.conversation.leave(&mut out);
        }
        self.hear(connection, out, now);
        if self.connections.remove(&connection).is_some() {
            self.actions.push_back(Action::Close { connection });
        }
    }

    pub(super) fn authorized(&mut self, connection: u64, pool: usize) {
        let Some(line) = self.connections.get(&connection) else { return };
        let seat = &mut self.seats[pool];
        seat.locked = Some(line.conversation.dialect());
        seat.tried.clear();
    }

    pub(super) fn ended(&mut self, connection: u64, pool: usize, role: Role, end: End, now: Instant) {
        self.seats[pool].cadence.interrupted();
        let failure = match end {
            End::Failed(failure) => Some(failure),
            End::Form { text, silent } => self.another_form(pool, text, silent),
        };
        match (role, failure) {
            (Role::Draining { .. }, _) => {}
            (Role::Probe, failure) => {
                let failure =
                    failure.unwrap_or_else(|| Failure::Passing("wants another form of login".to_owned()));
                self.life.probe_failed(&failure, now);
            }
            (Role::Main, None) => self.life.try_again_at_once(now),
            (Role::Main, Some(failure)) => self.main_failed(connection, pool, &failure, now),
        }
    }

    pub(super) fn main_failed(&mut self, connection: u64, pool: usize, failure: &Failure, now: Instant) {
        let worked = self.life.working_since().is_some();
        let text = format!("pool {}: {}: {}", pool + 1, self.seats[pool].settings.address, failure.text());
        // The same failure again and again is no news.
        if self.said_barred.get(&pool).is_none_or(|said| *said != text) {
            self.said_barred.insert(pool, text.clone());
            self.note(text);
        }
        self.pending = self
            .pending
            .take()
            .filter(|job| job.origin.as_ref().is_none_or(|origin| origin.connection != connection));
        if worked && self.life.promote_probe() {
            if let Some(probe) = self.with_role(Role::Probe)
                && let Some(line) = self.connections.get_mut(&probe)
            {
                line.role = Role::Main;
                self.offer_of(probe);
            }
            return;
        }
        if worked && let Some(probe) = self.with_role(Role::Probe) {
            self.leave(probe, now);
            self.life.probe_failed(&Failure::Passing("the backup failed first".to_owned()), now);
        }
        self.life.failed(failure, now);
        if worked || self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    /// A form of login was refused: the other one next, at once; or nothing is left to try.
    fn another_form(&mut self, pool: usize, text: String, silent: bool) -> Option<Failure> {
        let seat = &mut self.seats[pool];
        if let Some(locked) = seat.locked {
            // It understood the login and does not understand a share.
            if seat.settings.dialect.is_some() || std::mem::replace(&mut seat.redetected, true) {
                return Some(Failure::Hopeless(format!("does not understand our shares: {text}")));
            }
            seat.locked = None;
            seat.next = other(locked);
            return None;
        }
        seat.tried.insert(seat.next.word(), (text, silent));
        seat.next = other(seat.next);
        if seat.tried.len() < 2 {
            return None;
        }
        let tried = std::mem::take(&mut seat.tried);
        let words: Vec<String> = tried.iter().map(|(form, (text, _))| format!("as {form}: {text}")).collect();
        let words = words.join("; ");
        Some(if tried.values().all(|(_, silent)| *silent) {
            Failure::QuickClose(format!("does not answer a login ({words})"))
        } else {
            Failure::Hopeless(format!("understands neither form of login ({words})"))
        })
    }
}

fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::Object => Dialect::Array,
        Dialect::Array => Dialect::Object,
    }
}
