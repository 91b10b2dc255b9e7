//! Pools in numbers and words, for `status`, its JSON and the metrics.
//!
//! "Credited" is what a pool said that it took; only its own statistics tell what it paid.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::work::pool::ledger::{Dropped, Ledger, Outcome, StaleCause};
use crate::work::{PoolRow, PoolStatus};

/// The pools of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolReport {
    /// The address of the pool that is mined for.
    pub in_use: Option<String>,
    /// Seconds for which it has been.
    pub since_seconds: Option<f64>,
    /// Why it is not the first of the configuration, where it is not.
    pub why_not_first: Option<String>,
    /// Seconds until a better one is looked at.
    pub next_probe_seconds: Option<f64>,
    /// What a share must meet.
    pub share: Option<ShareReport>,
    /// The rate that the pools' credit stands for.
    pub credited: Option<CreditedRate>,
    /// Shares of this session, all pools together.
    pub shares: ShareCounts,
    /// Every pool, in the order of preference.
    pub pools: Vec<PoolRowReport>,
}

/// What a share must meet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareReport {
    /// The difficulty that the target says.
    pub difficulty: f64,
    /// Hashes that a share takes on average.
    pub hashes: f64,
}

/// A rate with its error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CreditedRate {
    /// Credited hashes per second since the session began.
    pub hashrate: f64,
    /// Relative standard error: 1/√n.
    pub relative_error: f64,
}

/// Shares, each in exactly one place: `found = waiting + dropped + sent`, `sent = in_flight + outcomes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareCounts {
    /// Found.
    pub found: u64,
    /// Found, and neither sent nor dropped.
    pub waiting: u64,
    /// Sent.
    pub sent: u64,
    /// Sent, and not answered yet.
    pub in_flight: u64,
    /// Sent, by what became of them.
    pub outcomes: BTreeMap<String, u64>,
    /// Not sent, by why.
    pub dropped: BTreeMap<String, u64>,
    /// Stale ones, by whose fault: `ours`, `pool`, `network`.
    pub stale_by: BTreeMap<String, u64>,
    /// Sent ones that meet the network's own target, too: whether they became blocks, only the pools know.
    #[serde(default)]
    pub block_candidates: u64,
    /// Hashes that the pools credited: the sum of W.
    pub credited_hashes: f64,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolRowReport {
    /// Its address.
    pub address: String,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Who is paid there.
    pub wallet: String,
    /// `TLS 1.3`, `plain, unauthenticated`.
    pub security: String,
    /// Whether it is mined for.
    pub in_use: bool,
    /// What is wrong with it.
    pub trouble: Option<String>,
    /// Seconds for which it is left alone.
    pub barred_seconds: Option<f64>,
    /// Milliseconds that the connection took.
    pub connect_ms: Option<f64>,
    /// Milliseconds that the TLS handshake took.
    pub tls_ms: Option<f64>,
    /// The form of login, and the encoding of proofs.
    pub dialect: Option<String>,
    /// Median and 95th percentile of the replies' latency, in milliseconds.
    pub latency_ms: Option<(f64, f64)>,
    /// How to get an easier target here.
    pub easier: Option<String>,
    /// Shares of this session.
    pub shares: ShareCounts,
    /// Shares of all sessions.
    pub all: ShareCounts,
}

impl PoolReport {
    /// The pools at `now`.
    pub fn of(status: &PoolStatus, now: Instant) -> Self {
        let until = |at: Instant| at.saturating_duration_since(now).as_secs_f64();
        let shares = ShareCounts::of(&status.ledger);
        let elapsed = status.began.map(|began| now.saturating_duration_since(began).as_secs_f64());
        let accepted = status.ledger.of(Outcome::Accepted);
        let credited =
            elapsed.filter(|seconds| accepted.shares > 0 && *seconds > 0.0).map(|seconds| CreditedRate {
                hashrate: accepted.work / seconds,
                relative_error: 1.0 / (accepted.shares as f64).sqrt(),
            });
        Self {
            in_use: status.current.and_then(|pool| status.pools.get(pool)).map(|row| row.address.clone()),
            since_seconds: status.since.map(|since| now.saturating_duration_since(since).as_secs_f64()),
            why_not_first: status.why_not_first.clone(),
            next_probe_seconds: status.next_probe.map(until),
            share: status.share.map(|share| ShareReport { difficulty: share.difficulty, hashes: share.work }),
            credited,
            shares,
            pools: status.pools.iter().map(|row| PoolRowReport::of(row, now)).collect(),
        }
    }

    /// The advice for shares that take longer than an hour, where there is any.
    pub fn easier(&self, seconds_per_share: f64) -> Option<&str> {
        let row = self.pools.iter().find(|row| row.in_use)?;
        (seconds_per_share > 3600.0)
            .then(|| row.easier.as_deref().unwrap_or("ask the pool for a port with a lower difficulty"))
    }
}

impl ShareCounts {
    /// The counts of a ledger.
    pub fn of(ledger: &Ledger) -> Self {
        let outcomes = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome.word().to_owned(), ledger.of(outcome).shares))
            .filter(|(_, count)| *count > 0);
        let word = |cause: &StaleCause| match cause {
            StaleCause::Ours => "ours",
            StaleCause::Pool => "pool",
            StaleCause::Network => "network",
        };
        Self {
            found: ledger.all_found().shares,
            waiting: ledger.all_waiting().shares,
            sent: ledger.all_sent().shares,
            in_flight: ledger.in_flight().shares,
            outcomes: outcomes.collect(),
            dropped: ledger
                .drops()
                .iter()
                .map(|(why, sum): (&Dropped, _)| (why.word().to_owned(), sum.shares))
                .collect(),
            stale_by: ledger
                .stale_causes()
                .iter()
                .map(|(cause, count)| (word(cause).to_owned(), *count))
                .collect(),
            block_candidates: ledger.block_candidates(),
            credited_hashes: ledger.of(Outcome::Accepted).work,
        }
    }

    /// The counts in a sentence.
    pub fn sentence(&self) -> String {
        let mut text = format!("{} found, {} sent", self.found, self.sent);
        for (outcome, count) in &self.outcomes {
            text.push_str(&format!(", {count} {}", outcome.replace('_', " ")));
        }
        if self.in_flight > 0 {
            text.push_str(&format!(", {} in flight", self.in_flight));
        }
        let dropped: u64 = self.dropped.values().sum();
        if dropped > 0 {
            let why: Vec<String> = self
                .dropped
                .iter()
                .map(|(why, count)| format!("{} {count}", why.replace('_', " ")))
                .collect();
            text.push_str(&format!(", {dropped} not sent ({})", why.join(", ")));
        }
        match self.block_candidates {
            0 => {}
            1 => text.push_str("; 1 block candidate"),
            count => text.push_str(&format!("; {count} block candidates")),
        }
        if !self.stale_by.is_empty() {
            let by: Vec<String> = self.stale_by.iter().map(|(by, count)| format!("{by} {count}")).collect();
            text.push_str(&format!("; stale by: {}", by.join(", ")));
        }
        text
    }
}

impl PoolRowReport {
    fn of(row: &PoolRow, now: Instant) -> Self {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        Self {
            address: row.address.clone(),
            name: row.name.map(str::to_owned),
            wallet: row.wallet.clone(),
            security: row.security.clone(),
            in_use: row.in_use,
            trouble: row.trouble.clone(),
            barred_seconds: row.barred_until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
            connect_ms: row.connect.map(|(tcp, _)| millis(tcp)),
            tls_ms: row.connect.and_then(|(_, tls)| tls).map(millis),
            dialect: row.dialect.map(|(dialect, encoding)| format!("{dialect}, {encoding}")),
            latency_ms: row.latency.map(|(half, most)| (millis(half), millis(most))),
            easier: row.easier.map(str::to_owned),
            shares: ShareCounts::of(&row.ledger),
            all: ShareCounts::of(&row.all),
        }
    }
}
