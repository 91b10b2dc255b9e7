//! Which pool is tried, used, left and returned to, and when (pool protocol sections 7.4, 8.3).
//!
//! Knows nothing of lines, sockets or proofs. It is told what happened to an attempt and when, and says what to do next:
//!
//! ```text
//!            +------ retry (1, 2, 5, 10, 30, 60 s) ------+
//!            v                                           |
//! Idle --Connect--> Trying --worked--> Working --failed--+--3 failures or 30 s--> the next pool
//!                     ^                   |
//!                     |                   +-- on a backup: Probe the better ones every 5 min,
//!                     +---- Switch ------------ return after 60 good seconds
//! ```
//!
//! The order of the pools is the order of the configuration. A pool that refuses the login, or bans us, is barred for a
//! time and skipped at once. When every pool was tried in vain the turn begins anew with one attempt for each, by its own
//! back-off. All times come from the caller; the random factor comes from a seed.

use std::time::{Duration, Instant};

/// Waits between failed attempts, before the random factor.
const STEPS: [u64; 6] = [1, 2, 5, 10, 30, 60];
/// Attempts on a pool before the next one has its turn.
const ATTEMPTS_MAX: u32 = 3;
/// Time without work before the next pool has its turn.
const TURN_MAX: Duration = Duration::from_secs(30);
/// The longest wait between attempts while another pool is ready: a refusal shall cost no more than two seconds.
const QUICK_WAIT: Duration = Duration::from_millis(600);
/// Work without trouble after which earlier failures are forgotten.
const STABLE: Duration = Duration::from_secs(60);
/// Between two looks at a better pool.
const PROBE_EVERY: Duration = Duration::from_secs(300);
/// How long a better pool must have been good before it is returned to.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// A ban without a time.
const BAN: Duration = Duration::from_secs(600);
/// A refused login, the first time; twice as long each time after that, up to [`HOPELESS_MAX`].
const HOPELESS: Duration = Duration::from_secs(600);
const HOPELESS_MAX: Duration = Duration::from_secs(3600);
/// Connections in a row that were closed right after authorize, before that counts as a ban.
const QUICK_CLOSES_MAX: u32 = 3;

/// What became of an attempt, or of a connection that worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may well work the next time.
    Passing(String),
    /// Closed within two seconds of authorize.
    QuickClose(String),
    /// The pool says that it wants nothing of us for a time.
    Banned {
        /// For how long, where it says so.
        time: Option<Duration>,
        /// Its words.
        text: String,
    },
    /// No retry cures it: the login or the program is refused, the certificate is not trusted, nothing here is spoken.
    Hopeless(String),
}

impl Failure {
    /// What happened, in a phrase.
    pub fn text(&self) -> &str {
        match self {
            Self::Passing(text)
            | Self::QuickClose(text)
            | Self::Hopeless(text)
            | Self::Banned { text, .. } => text,
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Connect to this pool, to mine there.
    Connect(usize),
    /// Give the attempt that is under way up; the next pool has its turn.
    Abandon,
    /// Connect to this better pool, to see whether it is good again.
    Probe(usize),
    /// The probe has been good for long enough: mine there.
    Switch,
}

/// Why a pool is not used for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Until when.
    pub until: Instant,
    /// Why.
    pub why: String,
}

/// One pool.
#[derive(Clone, Debug)]
struct Seat {
    failures: u32,
    retry_at: Instant,
    bar: Option<Bar>,
    /// Hopeless failures in a row.
    hopeless: u32,
    quick_closes: u32,
    /// Had its turn in this round.
    done: bool,
    last: Option<(String, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Trying,
    Working { since: Instant },
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Off { next: Instant },
    On { pool: usize, good_since: Option<Instant> },
}

/// The life of all pools together.
#[derive(Clone, Debug)]
pub struct Life {
    seats: Vec<Seat>,
    current: usize,
    state: State,
    attempts: u32,
    turn_since: Instant,
    /// Every pool was tried in vain.
    all_out: bool,
    probe: Probe,
    random: u64,
}

impl Life {
    /// `pools` pools, of which none was tried. The seed decides the random factors.
    pub fn new(pools: usize, seed: u64, now: Instant) -> Self {
        let seat = Seat {
            failures: 0,
            retry_at: now,
            bar: None,
            hopeless: 0,
            quick_closes: 0,
            done: false,
            last: None,
        };
        Self {
            seats: vec![seat; pools.max(1)],
            current: 0,
            state: State::Idle,
            attempts: 0,
            turn_since: now,
            all_out: false,
            probe: Probe::Off { next: now },
            random: seed | 1,
        }
    }

    /// The pool that is tried or used.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Since when the present connection has worked.
    pub fn working_since(&self) -> Option<Instant> {
        match self.state {
            State::Working { since } => Some(since),
            _ => None,
        }
    }

    /// Whether every pool was tried in vain.
    pub fn is_all_out(&self) -> bool {
        self.all_out
    }

    /// Why a pool is barred at `now`.
    pub fn bar(&self, pool: usize, now: Instant) -> Option<&Bar> {
        self.seats[pool].bar.as_ref().filter(|bar| bar.until > now)
    }

    /// What a pool failed with last, and when.
    pub fn last_failure(&self, pool: usize) -> Option<&(String, Instant)> {
        self.seats[pool].last.as_ref()
    }

    /// Attempts that failed since the pool last worked.
    pub fn failures(&self, pool: usize) -> u32 {
        self.seats[pool].failures
    }

    /// When a better pool is looked at next.
    pub fn next_probe(&self) -> Option<Instant> {
        match self.probe {
            Probe::Off { next } if self.better().is_some() => Some(next),
            _ => None,
        }
    }

    /// What to do at `now`; call it until it answers nothing.
    pub fn step(&mut self, now: Instant) -> Option<Step> {
        match self.state {
            State::Idle => {
                if !self.may_stay(now) {
                    self.seats[self.current].done = true;
                    self.next_turn(now);
                }
                if self.bar(self.current, now).is_some() || self.seats[self.current].retry_at > now {
                    return None;
                }
                self.state = State::Trying;
                self.attempts += 1;
                Some(Step::Connect(self.current))
            }
            State::Trying => {
                let over = now.saturating_duration_since(self.turn_since) >= TURN_MAX;
                (over && self.another_ready(now)).then(|| {
                    let text = format!("no work within {} s", TURN_MAX.as_secs());
                    self.mark_failed(self.current, &Failure::Passing(text), now);
                    self.state = State::Idle;
                    self.attempts = ATTEMPTS_MAX;
                    Step::Abandon
                })
            }
            State::Working { since } => {
                if now.saturating_duration_since(since) >= STABLE {
                    self.seats[self.current].failures = 0;
                    self.seats[self.current].hopeless = 0;
                }
                match self.probe {
                    Probe::Off { next } if next <= now => {
                        let better = self.better().filter(|pool| self.bar(*pool, now).is_none());
                        self.probe = match better {
                            Some(pool) => Probe::On { pool, good_since: None },
                            None => Probe::Off { next: now + PROBE_EVERY },
                        };
                        better.map(Step::Probe)
                    }
                    Probe::On { pool, good_since: Some(good) }
                        if now.saturating_duration_since(good) >= GOOD_FOR =>
                    {
                        self.current = pool;
                        self.state = State::Working { since: good };
                        self.seats[pool].failures = 0;
                        self.seats[pool].last = None;
                        self.probe = Probe::Off { next: now + PROBE_EVERY };
                        Some(Step::Switch)
                    }
                    _ => None,
                }
            }
        }
    }

    /// When [`Self::step`] may answer something that it does not answer now.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Idle => {
                let seat = &self.seats[self.current];
                let own = seat.bar.as_ref().map_or(seat.retry_at, |bar| bar.until.max(seat.retry_at));
                let turn = self.another_ready(now).then(|| self.turn_since + TURN_MAX);
                let others = self.seats.iter().filter_map(|seat| seat.bar.as_ref()).map(|bar| bar.until);
                others.filter(|until| *until > now).chain([own]).chain(turn).min()
            }
            State::Trying => self.another_ready(now).then(|| self.turn_since + TURN_MAX),
            State::Working { since } => {
                let stable = Some(since + STABLE).filter(|at| *at > now);
                let probe = match self.probe {
                    Probe::Off { next } => self.better().map(|_| next),
                    Probe::On { good_since, .. } => good_since.map(|good| good + GOOD_FOR),
                };
                stable.into_iter().chain(probe).min()
            }
        }
    }

    /// The main connection is authorized and has a job.
    pub fn works(&mut self, now: Instant) {
        if matches!(self.state, State::Working { .. }) {
            return;
        }
        self.state = State::Working { since: now };
        self.attempts = 0;
        self.all_out = false;
        self.seats[self.current].quick_closes = 0;
        self.seats[self.current].bar = None;
        for seat in &mut self.seats {
            seat.done = false;
        }
        self.probe = Probe::Off { next: now + PROBE_EVERY };
    }

    /// The main connection, or the attempt at one, came to nothing. Answers whether a probe that was under way is now
    /// without purpose.
    pub fn failed(&mut self, failure: &Failure, now: Instant) {
        if let State::Working { .. } = self.state {
            // A turn begins: this pool first.
            self.turn_since = now;
            self.attempts = 0;
        }
        self.state = State::Idle;
        self.mark_failed(self.current, failure, now);
    }

    /// The form of the login was refused and another is to be tried at once, on the same pool.
    pub fn try_again_at_once(&mut self, now: Instant) {
        self.state = State::Idle;
        self.attempts = self.attempts.saturating_sub(1);
        self.seats[self.current].retry_at = now;
    }

    /// The probe is authorized and has a job.
    pub fn probe_works(&mut self, now: Instant) {
        if let Probe::On { good_since, .. } = &mut self.probe
            && good_since.is_none()
        {
            *good_since = Some(now);
        }
    }

    /// The probe came to nothing.
    pub fn probe_failed(&mut self, failure: &Failure, now: Instant) {
        if let Probe::On { pool, .. } = self.probe {
            self.mark_failed(pool, failure, now);
        }
        self.probe = Probe::Off { next: now + PROBE_EVERY };
    }

    /// The probe becomes the main connection at once, because the main one has failed while it was good. Answers
    /// whether there is such a probe.
    pub fn promote_probe(&mut self) -> bool {
        match self.probe {
            Probe::On { pool, good_since: Some(good) } => {
                self.current = pool;
                self.state = State::Working { since: good };
                self.probe = Probe::Off { next: good + PROBE_EVERY };
                true
            }
            _ => false,
        }
    }

    /// Whether a probe is under way.
    pub fn is_probing(&self) -> bool {
        matches!(self.probe, Probe::On { .. })
    }

    /// The best pool before the current one.
    fn better(&self) -> Option<usize> {
        (self.current > 0).then_some(0)
    }

    fn is_ready(&self, pool: usize, now: Instant) -> bool {
        let seat = &self.seats[pool];
        !seat.done && self.bar(pool, now).is_none()
    }

    fn another_ready(&self, now: Instant) -> bool {
        !self.all_out && (0..self.seats.len()).any(|pool| pool != self.current && self.is_ready(pool, now))
    }

    fn may_stay(&self, now: Instant) -> bool {
        if self.bar(self.current, now).is_some() {
            return false;
        }
        if self.all_out {
            return self.attempts == 0;
        }
        let over = now.saturating_duration_since(self.turn_since) >= TURN_MAX && self.another_ready(now);
        self.attempts < ATTEMPTS_MAX && !over
    }

    /// Chooses the pool whose turn is next.
    fn next_turn(&mut self, now: Instant) {
        let best = |life: &Self| {
            let ready = (0..life.seats.len()).filter(|pool| life.is_ready(*pool, now));
            // The first that may be tried now, else the one that may be tried first.
            ready.min_by_key(|pool| (life.seats[*pool].retry_at.max(now), *pool))
        };
        let mut next = best(self);
        if next.is_none() {
            self.all_out = true;
            for seat in &mut self.seats {
                seat.done = false;
            }
            next = best(self);
        }
        let soonest = |life: &Self| {
            (0..life.seats.len())
                .min_by_key(|pool| (life.seats[*pool].bar.as_ref().map_or(now, |bar| bar.until), *pool))
                .unwrap_or(0)
        };
        let next = next.unwrap_or_else(|| soonest(self));
        if self.current != next || self.all_out {
            self.attempts = 0;
            self.turn_since = now;
        }
        self.current = next;
    }

    fn mark_failed(&mut self, pool: usize, failure: &Failure, now: Instant) {
        let factor = 0.5 + self.random_half();
        let another = pool == self.current && self.another_ready(now) && self.attempts < ATTEMPTS_MAX;
        let seat = &mut self.seats[pool];
        let step = STEPS[(seat.failures as usize).min(STEPS.len() - 1)];
        seat.failures = seat.failures.saturating_add(1);
        let mut wait = Duration::from_secs(step).mul_f64(factor);
        if another {
            wait = wait.min(QUICK_WAIT.mul_f64(factor));
        }
        seat.retry_at = now + wait;
        seat.last = Some((failure.text().to_owned(), now));
        let bar = match failure {
            Failure::Passing(_) => {
                seat.quick_closes = 0;
                None
            }
            Failure::QuickClose(text) => {
                seat.quick_closes += 1;
                (seat.quick_closes >= QUICK_CLOSES_MAX).then(|| {
                    seat.quick_closes = 0;
                    (BAN, format!("closed the connection right after authorize three times in a row: {text}"))
                })
            }
            Failure::Banned { time, text } => Some((time.unwrap_or(BAN), text.clone())),
            Failure::Hopeless(text) => {
                let time = HOPELESS * 2_u32.saturating_pow(seat.hopeless.min(8));
                seat.hopeless += 1;
                Some((time.min(HOPELESS_MAX), text.clone()))
            }
        };
        if let Some((time, why)) = bar {
            seat.bar = Some(Bar { until: now + time, why });
        }
    }

    /// 0 to 0.5.
    fn random_half(&mut self) -> f64 {
        // xorshift: that two clients do not come back in step is all that is asked of it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % 1000) as f64 / 2000.0
    }
}

#[cfg(test)]
mod tests;
