//! How far a container is, and what follows: a plain function of what was seen and `now`.
//!
//! ```text
//! waiting --job--> looking --> pulling --> starting --> loading --200--> serving <--> silent | small-steps
//!    ^                                                    |                |             |
//!    +-------- restarting (later and later) <-------------+----------------+-------------+   or failed
//!    +-------- paused, until it is woken <--- from each of them
//! ```
//!
//! A miner inside that has lost its gateway never comes back by itself and goes on serving, so a container that serves
//! and asks for no work is started again, once; if that does not help, it is left to serve, and said.

use std::time::{Duration, Instant};

use super::trouble::Trouble;

/// How long a container that serves may ask for no work.
pub const SILENCE: Duration = Duration::from_secs(60);
/// How long no step may be large enough to mine before that is said.
pub const SMALL_STEPS: Duration = Duration::from_secs(3600);
/// Failures in a row at which it is given up.
pub const FAILURES_MAX: u32 = 5;
/// The longest wait before it is started again.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Serving for so long, it is not one that cannot be started.
const LIVED: Duration = Duration::from_secs(60);

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// There is no job to mine yet.
    Waiting,
    /// It was told to rest.
    Paused,
    /// The network wants proofs for this certificate version, which its image does not make.
    Unfit(u32),
    /// The engine and the image are being looked for.
    Looking,
    /// The image is being fetched.
    Pulling,
    /// It is being made and started.
    Starting,
    /// It runs and does not serve yet.
    Loading,
    /// It serves, and its workers ask for work.
    Serving,
    /// It serves, and nobody in it asks for work.
    Silent,
    /// It serves, and no step was large enough to mine for long.
    SmallSteps,
    /// It is started again at this moment.
    Restarting(Instant),
    /// It is given up.
    Failed,
    /// It is being ended.
    Stopping,
    /// It has ended, as it was to.
    Stopped,
}

impl Phase {
    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Unfit(_) => "needs-update",
            Self::Looking => "looking",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Serving => "serving",
            Self::Silent => "silent",
            Self::SmallSteps => "small-steps",
            Self::Restarting(_) => "restarting",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it answers requests.
    pub const fn serves(&self) -> bool {
        matches!(self, Self::Serving | Self::Silent | Self::SmallSteps)
    }
}

/// What was seen of a container that runs.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `/health` answered 200.
    pub healthy: bool,
    /// When one of its workers asked for work last.
    pub polled: Option<Instant>,
    /// When it printed something last.
    pub printed: Option<Instant>,
    /// Steps large enough to mine, and all.
    pub steps: Option<(u64, u64)>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    GoOn,
    /// It is ended and started again, because of this.
    Again(Trouble),
}

/// The life of one container, over all its restarts.
#[derive(Debug)]
pub struct Life {
    ready_within: Duration,
    phase: Phase,
    since: Instant,
    /// When the container that runs was started.
    started: Option<Instant>,
    /// When it was seen serving first.
    served: Option<Instant>,
    /// It was started again because it was silent, and has not asked for work since.
    restarted_for_silence: bool,
    /// Large steps, and when their number changed last.
    large: Option<(u64, Instant)>,
    failures: u32,
    restarts: u64,
    trouble: Option<Trouble>,
}

impl Life {
    /// A container that does not run yet. It may say nothing for `ready_within` while it loads.
    pub fn new(ready_within: Duration, now: Instant) -> Self {
        Self {
            ready_within,
            phase: Phase::Waiting,
            since: now,
            started: None,
            served: None,
            restarted_for_silence: false,
            large: None,
            failures: 0,
            restarts: 0,
            trouble: None,
        }
    }

    /// How far it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// What went wrong last, while it is not well.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// It is so far.
    pub fn is(&mut self, phase: Phase, now: Instant) {
        if phase == Phase::Loading {
            self.started = Some(now);
            self.served = None;
            self.large = None;
        }
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
    }

    /// It is started again by request: what was before counts no more.
    pub fn begin_afresh(&mut self) {
        self.rest();
        self.restarts += 1;
    }

    /// It has ended to rest: what was before counts no more.
    pub fn rest(&mut self) {
        self.failures = 0;
        self.restarted_for_silence = false;
        self.trouble = None;
        self.started = None;
    }

    /// Something went wrong: when it is tried again, or nothing where it is given up.
    pub fn failed(&mut self, trouble: Trouble, now: Instant) -> Option<Instant> {
        if self.served.is_some_and(|at| now.saturating_duration_since(at) >= LIVED) {
            self.failures = 0;
        }
        self.failures += 1;
        self.started = None;
        let lasting = !trouble.passes;
        self.trouble = Some(trouble);
        if lasting || self.failures >= FAILURES_MAX {
            self.is(Phase::Failed, now);
            return None;
        }
        self.restarts += 1;
        // 2, 4, 8 … seconds.
        let at = now + Duration::from_secs(1 << self.failures.min(16)).min(WAIT_MAX);
        self.is(Phase::Restarting(at), now);
        Some(at)
    }

    /// The container runs, and this was seen of it.
    pub fn see(&mut self, seen: &Seen, now: Instant) -> Next {
        let Some(started) = self.started else { return Next::GoOn };
        if !seen.healthy && self.served.is_none() {
            let heard = seen.printed.map_or(started, |at| at.max(started));
            if now.saturating_duration_since(heard) < self.ready_within {
                return Next::GoOn;
            }
            return Next::Again(Trouble::passing(
                "not-ready",
                format!("it has not served and said nothing for {} s", self.ready_within.as_secs()),
                "`pearlbed logs --provider` shows how far it came; [mining.container] ready_within gives it more time",
            ));
        }
        let served = *self.served.get_or_insert(now);
        let heard = seen.polled.filter(|at| *at >= started);
        let last = heard.map_or(served, |at| at.max(served));
        if now.saturating_duration_since(last) >= SILENCE {
            if !self.restarted_for_silence {
                self.restarted_for_silence = true;
                return Next::Again(Trouble::passing(
                    "silent",
                    format!(
                        "it serves, and nobody in it has asked for work for {} s: its miner has lost the port and does not \
                         come back by itself",
                        SILENCE.as_secs()
                    ),
                    "it is started again once; look whether its model has mining layers",
                ));
            }
            self.is(Phase::Silent, now);
            return Next::GoOn;
        }
        if heard.is_some() {
            self.restarted_for_silence = false;
        }
        let mut small = false;
        if let Some((large, _)) = seen.steps {
            let (known, at) = *self.large.get_or_insert((large, now));
            if known != large {
                self.large = Some((large, now));
            } else {
                small = now.saturating_duration_since(at) >= SMALL_STEPS;
            }
        }
        self.trouble = None;
        self.is(if small { Phase::SmallSteps } else { Phase::Serving }, now);
        Next::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    fn loading(now: Instant) -> Life {
        let mut life = Life::new(HALF_AN_HOUR, now);
        for phase in [Phase::Looking, Phase::Starting, Phase::Loading] {
            life.is(phase, now);
        }
        life
    }

    #[test]
    fn loading_may_take_any_time_while_something_is_said() {
        let now = Instant::now();
        let mut life = loading(now);
        let seen = |printed| Seen { printed: Some(printed), ..Seen::default() };
        assert_eq!(life.see(&seen(after(now, 7000)), after(now, 8000)), Next::GoOn);
        assert_eq!(life.phase(), &Phase::Loading);
        let Next::Again(trouble) = life.see(&seen(after(now, 7000)), after(now, 8800)) else { panic!() };
        assert_eq!(trouble.code, "not-ready");
    }

    #[test]
    fn one_that_serves_and_asks_for_no_work_is_started_again_once_and_then_left_to_serve() {
        let now = Instant::now();
        let mut life = loading(now);
        let mut seen = Seen { healthy: true, polled: Some(after(now, 1)), ..Seen::default() };
        assert_eq!(life.see(&seen, after(now, 2)), Next::GoOn);
        assert_eq!(life.phase(), &Phase::Serving);
        let Next::Again(trouble) = life.see(&seen, after(now, 70)) else { panic!() };
        assert_eq!(trouble.code, "silent");
        assert!(life.failed(trouble, after(now, 70)).is_some());
        assert_eq!((life.restarts(), life.phase().word()), (1, "restarting"));
        life.is(Phase::Loading, after(now, 80));
        assert_eq!(life.see(&seen, after(now, 90)), Next::GoOn);
        assert_eq!(life.see(&seen, after(now, 200)), Next::GoOn, "once is enough");
        assert_eq!(life.phase(), &Phase::Silent);
        seen.polled = Some(after(now, 210));
        life.see(&seen, after(now, 211));
        assert_eq!(life.phase(), &Phase::Serving);
    }

    #[test]
    fn a_slow_answer_of_health_does_not_undo_that_it_serves() {
        let now = Instant::now();
        let mut life = loading(now);
        life.see(&Seen { healthy: true, ..Seen::default() }, now);
        let busy = Seen { healthy: false, polled: Some(after(now, 99_999)), ..Seen::default() };
        assert_eq!(life.see(&busy, after(now, 100_000)), Next::GoOn);
        assert_eq!(life.phase(), &Phase::Serving);
    }

    #[test]
    fn an_hour_without_a_step_that_can_mine_is_said_and_one_takes_it_back() {
        let now = Instant::now();
        let mut life = loading(now);
        let seen = |at: Instant, large| Seen {
            healthy: true,
            polled: Some(at),
            steps: Some((large, 9999)),
            ..Seen::default()
        };
        for (seconds, large, phase) in [
            (0, 5, Phase::Serving),
            (3599, 5, Phase::Serving),
            (3600, 5, Phase::SmallSteps),
            (3700, 6, Phase::Serving),
        ] {
            let at = after(now, seconds);
            life.see(&seen(at, large), at);
            assert_eq!(life.phase(), &phase, "{seconds}");
        }
    }

    #[test]
    fn it_is_started_again_later_and_later_and_given_up_and_having_served_begins_anew() {
        let now = Instant::now();
        let mut life = loading(now);
        let trouble = || Trouble::passing("exited", "it ended", "look");
        let waits = (0..4).map(|_| life.failed(trouble(), now).map(|at| (at - now).as_secs()));
        assert_eq!(waits.collect::<Vec<_>>(), [Some(2), Some(4), Some(8), Some(16)]);
        life.is(Phase::Loading, now);
        life.see(&Seen { healthy: true, ..Seen::default() }, now);
        assert!(life.failed(trouble(), after(now, 61)).is_some(), "it had served");
        for _ in 0..3 {
            life.is(Phase::Loading, now);
            assert!(life.failed(trouble(), now).is_some());
        }
        assert_eq!(life.failed(trouble(), now), None);
        assert_eq!(life.phase(), &Phase::Failed);

        life.begin_afresh();
        life.is(Phase::Loading, now);
        assert!(life.failed(trouble(), now).is_some(), "by request it has another chance");

        let mut life = loading(now);
        assert_eq!(life.failed(Trouble::lasting("no-image", "there is none", "get it"), now), None);
    }

    #[test]
    fn having_rested_it_has_every_chance_again_and_that_is_no_restart() {
        let now = Instant::now();
        let mut life = loading(now);
        while life.failed(Trouble::passing("exited", "it ended", "look"), now).is_some() {}
        let restarts = life.restarts();
        life.rest();
        life.is(Phase::Paused, now);
        assert_eq!((life.phase().word(), life.trouble(), life.restarts()), ("paused", None, restarts));
        life.is(Phase::Loading, now);
        assert!(life.failed(Trouble::passing("exited", "it ended", "look"), now).is_some());
    }
}
