//! What the desk shows of itself: the rows of `status`, `doctor`, metrics and the endpoints.

use std::time::{Duration, Instant};

use super::{Desk, Role};
use crate::text;
use crate::work::pool::ledger::Ledger;
use crate::work::stratum::target::{shown_difficulty, work_f64};
use crate::work::{Endpoint, Trouble};

/// The pools at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolStatus {
    /// Every pool, in the order of preference.
    pub pools: Vec<PoolRow>,
    /// Which one is mined for; `None` where none is.
    pub current: Option<usize>,
    /// Since when.
    pub since: Option<Instant>,
    /// Why the first one is not the one in use, where it is not.
    pub why_not_first: Option<String>,
    /// When a better one is looked at next.
    pub next_probe: Option<Instant>,
    /// What shares must meet now.
    pub share: Option<ShareTarget>,
    /// The counts of this session, all pools together.
    pub ledger: Ledger,
    /// When the session began to look for a pool.
    pub began: Option<Instant>,
}

/// What a share must meet, and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareTarget {
    /// The difficulty that the target says; labels lie.
    pub difficulty: f64,
    /// Multiply-accumulates that a share takes on average.
    pub work: f64,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolRow {
    /// Its address.
    pub address: String,
    /// The pool's name, where it is known.
    pub name: Option<&'static str>,
    /// Who is paid there.
    pub wallet: String,
    /// How the connection is secured: "TLS 1.3", "plain, unauthenticated".
    pub security: String,
    /// Whether it is mined for.
    pub in_use: bool,
    /// What is wrong with it.
    pub trouble: Option<String>,
    /// Until when it is left alone, where it is.
    pub barred_until: Option<Instant>,
    /// Time that the connection and the TLS handshake took.
    pub connect: Option<(Duration, Option<Duration>)>,
    /// How it was understood: the form of the login, and the encoding of proofs.
    pub dialect: Option<(&'static str, &'static str)>,
    /// Median and 95th percentile of the replies' latency.
    pub latency: Option<(Duration, Duration)>,
    /// The counts of this session.
    pub ledger: Ledger,
    /// The counts of all sessions.
    pub all: Ledger,
    /// How to get an easier target here.
    pub easier: Option<&'static str>,
}

impl Desk {
    /// The pools at `now`.
    pub fn status(&self, now: Instant) -> PoolStatus {
        let main = self.connections.values().find(|line| line.role == Role::Main);
        let since = self.life.working_since();
        let current = since.map(|_| self.life.current());
        let share = main.and_then(|line| line.conversation.offer()).map(|offer| ShareTarget {
            difficulty: shown_difficulty(offer.sent),
            work: work_f64(offer.sent),
        });
        let pools: Vec<PoolRow> = (0..self.seats.len()).map(|pool| self.row(pool, current, now)).collect();
        let ledger = self.seats.iter().fold(Ledger::default(), |sum, seat| sum.and(&seat.ledger));
        let why_not_first = current
            .filter(|current| *current > 0)
            .and_then(|_| pools.first().and_then(|first| first.trouble.clone()));
        PoolStatus {
            pools,
            current,
            since,
            why_not_first,
            next_probe: self.life.next_probe(),
            share,
            ledger,
            began: Some(self.began),
        }
    }

    fn row(&self, pool: usize, current: Option<usize>, now: Instant) -> PoolRow {
        let seat = &self.seats[pool];
        let in_use = current == Some(pool);
        let bar = self.life.bar(pool, now);
        let line = self.connections.values().find(|line| line.pool == pool && line.role == Role::Main);
        let bad_job = line.and_then(|line| line.conversation.bad_job()).map(|job| format!("sends {job}"));
        let failure = || self.life.last_failure(pool).map(|(text, _)| text.clone());
        let trouble = match bar {
            Some(bar) => Some(bar.why.clone()),
            None if in_use => bad_job,
            None => bad_job.or_else(failure),
        };
        let plain = if seat.settings.url.tls { "TLS" } else { "plain, unauthenticated" };
        let profile = seat.settings.profile;
        PoolRow {
            address: seat.settings.address.to_string(),
            name: (profile.name != "unknown").then_some(profile.name),
            wallet: seat.settings.login.wallet.clone(),
            security: seat.times.as_ref().map_or_else(|| plain.to_owned(), |times| times.security.clone()),
            in_use,
            trouble,
            barred_until: bar.map(|bar| bar.until),
            connect: seat.times.as_ref().map(|times| (times.tcp, times.tls)),
            dialect: line
                .filter(|line| line.conversation.is_ready())
                .map(|line| (line.conversation.dialect().word(), line.conversation.encoding().word())),
            latency: seat.latencies.percentiles(),
            ledger: seat.ledger.clone(),
            all: self.book.get(&seat.settings.address).cloned().unwrap_or_default(),
            easier: profile.easier,
        }
    }

    /// The pools as addresses that the session talks to. Trouble lasts from its first form to its last.
    pub fn endpoints(&self, before: &[Endpoint], now: Instant) -> Vec<Endpoint> {
        let status = self.status(now);
        let mut endpoints = Vec::with_capacity(status.pools.len());
        for (pool, row) in status.pools.into_iter().enumerate() {
            let tried = row.in_use || row.trouble.is_some();
            let found = row.trouble.map(|trouble| (trouble, self.hint(pool, now)));
            let was = before.get(pool).and_then(|endpoint| endpoint.trouble.clone());
            endpoints.push(Endpoint {
                purpose: if pool == 0 { "pool" } else { "backup pool" },
                address: row.address,
                reachable: tried.then_some(row.in_use),
                trouble: Trouble::follow(was, found, now),
            });
        }
        endpoints
    }

    fn hint(&self, pool: usize, now: Instant) -> Option<String> {
        let seat = &self.seats[pool];
        if let Some(warning) = seat.settings.profile.warning(seat.settings.url.port) {
            return Some(warning.to_owned());
        }
        let address = &seat.settings.address;
        let time = self.life.bar(pool, now).map(|bar| bar.until.saturating_duration_since(now));
        Some(match time {
            // Tens of minutes, so that the hint does not change by the second.
            Some(time) if time > Duration::from_secs(60) => {
                let most = Duration::from_secs(time.as_secs().div_ceil(600) * 600);
                let most = text::duration(most);
                format!("left alone for at most {most}; `pearlbed pool test {address}` asks it now")
            }
            _ => format!("`pearlbed pool test {address}` says more"),
        })
    }
}
