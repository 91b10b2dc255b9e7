//! Every share in exactly one place, in numbers and in work (pool protocol section 8.5).
//!
//! ```text
//! found = waiting + dropped (why) + sent
//! sent  = in flight + accepted + stale + duplicate + … + unanswered
//! ```
//!
//! Both lines hold after every call; [`Ledger::adds_up`] says so. Work is `W = 2^256 / T` with the target of the share's
//! own job. "Accepted" is what the pool said: only the pool's own statistics tell what it paid.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::work::stratum::Class;

/// What became of a share that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The pool says that it took it.
    Accepted,
    /// Over, for the pool.
    Stale,
    /// Seen before.
    Duplicate,
    /// Above the pool's target.
    LowDifficulty,
    /// Refused by the pool's verifier.
    Invalid,
    /// Refused by the pool's verifier, and its job had been replaced when it was sent.
    InvalidLate,
    /// The pool did not understand the form.
    Malformed,
    /// The pool wants nothing of us: unauthorised, banned, agent or address refused.
    Refused,
    /// No, without a reason.
    Unexplained,
    /// Neither yes nor no.
    Unclear,
    /// No reply within the time, or the connection ended before it.
    Unanswered,
}

impl Outcome {
    /// Every outcome, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::Invalid,
        Self::InvalidLate,
        Self::Malformed,
        Self::Refused,
        Self::Unexplained,
        Self::Unclear,
        Self::Unanswered,
    ];

    /// The outcome that a reply means; `late` where the job had been replaced when the share was sent.
    pub fn of(class: Class, late: bool) -> Self {
        match class {
            Class::Accepted => Self::Accepted,
            Class::Stale => Self::Stale,
            Class::Duplicate => Self::Duplicate,
            Class::LowDifficulty => Self::LowDifficulty,
            Class::Invalid if late => Self::InvalidLate,
            Class::Invalid => Self::Invalid,
            Class::Malformed => Self::Malformed,
            Class::Banned { .. } | Class::AgentRefused | Class::AddressRefused | Class::Unauthorized => {
                Self::Refused
            }
            Class::Unexplained => Self::Unexplained,
            Class::Unclear => Self::Unclear,
        }
    }

    /// One word for JSON and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::Invalid => "invalid",
            Self::InvalidLate => "invalid_late",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Unexplained => "unexplained",
            Self::Unclear => "unclear",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Why a share was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// The connection that issued its job has ended.
    ConnectionEnded,
    /// The chain's tip changed before it could be sent.
    TipChanged,
    /// The pool gave its job's name to another job, or gave out so many that this one is forgotten.
    JobReplaced,
    /// The pool made the target of its job harder.
    TargetHarder,
    /// More shares than are sent to a pool.
    TooMany,
    /// Its line would be longer than pools read.
    TooLarge,
    /// Its job is none of this pool's.
    UnknownJob,
    /// An earlier process found it, and its job did not come back.
    EarlierProcess,
}

impl Dropped {
    /// Whether the share's job was good: it was kept back for another reason than its age.
    pub const fn in_time(self) -> bool {
        matches!(self, Self::TooMany | Self::TooLarge | Self::TargetHarder)
    }

    /// Why, in a phrase without full stop.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ConnectionEnded => {
                "the connection that issued its job has ended, and no other pool may have it"
            }
            Self::TipChanged => "the chain moved on before it could be sent",
            Self::JobReplaced => "the pool put other jobs in its job's place before it could be sent",
            Self::TargetHarder => "the pool made the target of its job harder before it could be sent",
            Self::TooMany => {
                "shares come faster than they are sent (2 a second, 60 a minute): ask for a higher difficulty"
            }
            Self::TooLarge => {
                "its line would be longer than 1 MiB, which pools do not read: mine a smaller tile"
            }
            Self::UnknownJob => "its job was issued by no connection of this session",
            Self::EarlierProcess => {
                "it was found before pearlbed ended, and the pool did not offer its job again"
            }
        }
    }

    /// One word for JSON and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConnectionEnded => "connection_ended",
            Self::TipChanged => "tip_changed",
            Self::JobReplaced => "job_replaced",
            Self::TargetHarder => "target_harder",
            Self::TooMany => "too_many",
            Self::TooLarge => "too_large",
            Self::UnknownJob => "unknown_job",
            Self::EarlierProcess => "earlier_process",
        }
    }
}

/// Whose fault a stale share was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleCause {
    /// It was found or handed over after the new job had come.
    Ours,
    /// The pool called stale what by its own jobs was current.
    Pool,
    /// The chain moved on while the share was on its way.
    Network,
}

/// A number of shares and the work that they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// Shares.
    pub shares: u64,
    /// Work in multiply-accumulates.
    pub work: f64,
}

impl Sum {
    fn add(&mut self, work: f64) {
        self.shares += 1;
        self.work += work;
    }

    fn take(&mut self, work: f64) {
        self.shares -= 1;
        self.work = if self.shares == 0 { 0.0 } else { self.work - work };
    }
}

/// The counts of one pool, or of all together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    found: Sum,
    dropped: BTreeMap<Dropped, Sum>,
    outcomes: BTreeMap<Outcome, Sum>,
    stale_by: BTreeMap<StaleCause, u64>,
    #[serde(default)]
    block_candidates: u64,
    /// Found and neither sent nor dropped.
    #[serde(skip)]
    waiting: Sum,
    /// Sent and not answered.
    #[serde(skip)]
    flying: Sum,
}

impl Ledger {
    /// A share was found and waits to be sent.
    pub fn found(&mut self, work: f64) {
        self.found.add(work);
        self.waiting.add(work);
    }

    /// A waiting share will not be sent.
    pub fn dropped(&mut self, why: Dropped, work: f64) {
        self.waiting.take(work);
        self.dropped.entry(why).or_default().add(work);
        if why == Dropped::TipChanged {
            self.stale(StaleCause::Ours);
        }
    }

    /// A waiting share was given to the connection.
    pub fn sent(&mut self, work: f64) {
        self.waiting.take(work);
        self.flying.add(work);
    }

    /// A share that was sent meets the network's own target, too. Whether it became a block, only the pool knows.
    pub fn block_candidate(&mut self) {
        self.block_candidates += 1;
    }

    /// Shares sent that meet the network's own target, too.
    pub fn block_candidates(&self) -> u64 {
        self.block_candidates
    }

    /// A share in flight has its outcome.
    pub fn settled(&mut self, outcome: Outcome, work: f64) {
        self.flying.take(work);
        self.outcomes.entry(outcome).or_default().add(work);
    }

    /// A share that has its outcome gets another: the pool's last word counts.
    pub fn corrected(&mut self, was: Outcome, is: Outcome, work: f64) {
        if was != is {
            self.outcomes.entry(was).or_default().take(work);
            self.outcomes.entry(is).or_default().add(work);
        }
    }

    /// A share of an earlier process, which was found, sent and never answered.
    pub fn lost_with_the_process(&mut self, work: f64) {
        self.found.add(work);
        self.outcomes.entry(Outcome::Unanswered).or_default().add(work);
    }

    /// Whose fault a stale share was.
    pub fn stale(&mut self, cause: StaleCause) {
        *self.stale_by.entry(cause).or_default() += 1;
    }

    /// The same without what is under way: what may be written to disk, because a process that ends leaves nothing
    /// under way.
    pub fn settled_part(&self) -> Self {
        let mut part = self.clone();
        part.found.shares -= self.waiting.shares + self.flying.shares;
        part.found.work -= self.waiting.work + self.flying.work;
        (part.waiting, part.flying) = (Sum::default(), Sum::default());
        part
    }

    /// Shares found.
    pub fn all_found(&self) -> Sum {
        self.found
    }

    /// Shares sent: in flight, and with an outcome.
    pub fn all_sent(&self) -> Sum {
        self.outcomes
            .values()
            .fold(self.flying, |sum, one| Sum { shares: sum.shares + one.shares, work: sum.work + one.work })
    }

    /// Shares in flight.
    pub fn in_flight(&self) -> Sum {
        self.flying
    }

    /// Shares that wait to be sent.
    pub fn all_waiting(&self) -> Sum {
        self.waiting
    }

    /// Shares with an outcome.
    pub fn of(&self, outcome: Outcome) -> Sum {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    /// Shares that were not sent, by reason.
    pub fn drops(&self) -> &BTreeMap<Dropped, Sum> {
        &self.dropped
    }

    /// Stale shares by whose fault it was; also those that were dropped before sending.
    pub fn stale_causes(&self) -> &BTreeMap<StaleCause, u64> {
        &self.stale_by
    }

    /// Whether every share is in exactly one place. False is a bug of ours.
    pub fn adds_up(&self) -> bool {
        let dropped: u64 = self.dropped.values().map(|sum| sum.shares).sum();
        self.found.shares == self.waiting.shares + dropped + self.all_sent().shares
    }

    /// Every line of both, added.
    pub fn and(&self, other: &Self) -> Self {
        let add = |one: Sum, two: Sum| Sum { shares: one.shares + two.shares, work: one.work + two.work };
        let mut sum = self.clone();
        sum.found = add(sum.found, other.found);
        sum.waiting = add(sum.waiting, other.waiting);
        sum.flying = add(sum.flying, other.flying);
        sum.block_candidates += other.block_candidates;
        for (key, value) in &other.dropped {
            let entry = sum.dropped.entry(*key).or_default();
            *entry = add(*entry, *value);
        }
        for (key, value) in &other.outcomes {
            let entry = sum.outcomes.entry(*key).or_default();
            *entry = add(*entry, *value);
        }
        for (key, value) in &other.stale_by {
            *sum.stale_by.entry(*key).or_default() += value;
        }
        sum
    }
}

/// Reply latencies that are remembered.
const LATENCIES_MAX: usize = 256;

/// The last latencies of replies.
#[derive(Clone, Debug, Default)]
pub struct Latencies(VecDeque<Duration>);

impl Latencies {
    /// One more.
    pub fn add(&mut self, latency: Duration) {
        if self.0.len() == LATENCIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(latency);
    }

    /// The 50th and the 95th percentile; nothing before the first.
    pub fn percentiles(&self) -> Option<(Duration, Duration)> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort();
        let at = |percent: usize| sorted.get((sorted.len().checked_sub(1)? * percent).div_ceil(100)).copied();
        Some((at(50)?, at(95)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_is_in_one_place_at_every_moment() {
        let mut ledger = Ledger::default();
        for number in 0..5 {
            ledger.found(f64::from(number));
            assert!(ledger.adds_up());
        }
        ledger.dropped(Dropped::TipChanged, 0.0);
        for number in 1..5 {
            ledger.sent(f64::from(number));
        }
        assert!(ledger.adds_up());
        ledger.settled(Outcome::Accepted, 1.0);
        ledger.settled(Outcome::Unanswered, 2.0);
        ledger.corrected(Outcome::Unanswered, Outcome::Accepted, 2.0);
        ledger.settled(Outcome::Accepted, 3.0);
        ledger.corrected(Outcome::Accepted, Outcome::Invalid, 3.0);
        assert!(ledger.adds_up());
        assert_eq!(ledger.of(Outcome::Accepted), Sum { shares: 2, work: 3.0 });
        assert_eq!((ledger.of(Outcome::Invalid).shares, ledger.in_flight().shares), (1, 1));
        assert_eq!((ledger.all_sent().shares, ledger.all_found().shares), (4, 5));
        ledger.lost_with_the_process(9.0);
        assert!(ledger.adds_up());
        let both = ledger.and(&ledger);
        assert!(both.adds_up());
        assert_eq!(both.all_found().shares, 12);
        assert_eq!(both.stale_causes().get(&StaleCause::Ours), Some(&2));
        // What is written to disk comes back, but for what was under way.
        let text = serde_json::to_string(&ledger.settled_part()).unwrap();
        let back: Ledger = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ledger.settled_part());
        assert!(back.adds_up());
    }

    #[test]
    fn percentiles_are_of_the_last_replies_only() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        for millis in (1..=1000).rev() {
            latencies.add(Duration::from_millis(millis));
        }
        let (half, most) = latencies.percentiles().unwrap();
        assert_eq!((half.as_millis(), most.as_millis()), (129, 244));
    }
}
