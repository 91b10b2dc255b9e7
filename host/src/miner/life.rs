//! Whether a miner runs, what it was asked, and what it is to do next.
//!
//! ```text
//!            +--> restarting --+        paused <---- asked to
//!            |                 v          |
//!  given up <+--- it ended <-- runs <-----+
//!                  (also: stalled, does not read, cannot be started)
//! ```
//!
//! Plain functions of what happened and of `now`. Nothing here starts or ends anything.

use std::time::{Duration, Instant};

use super::line::Left;
use super::restart::{Next, RestartPolicy};
use super::standing::Standing;

/// Failures in a row that are borne before a miner has taken its first job.
const FAILURES_BEFORE_FIRST_JOB: u32 = 3;

/// A miner's life.
#[derive(Debug)]
pub struct Life {
    /// What is known of the process that runs now.
    pub pulse: Pulse,
    restart: RestartPolicy,
    restarts: u64,
    restart_at: Option<Instant>,
    /// Why it ended the last time: a phrase that follows the provider's name.
    ended: Option<String>,
    asked: Option<Asked>,
    paused: bool,
    given_up: bool,
    /// It belongs to the session no more, and does not come back.
    dismissed: bool,
    took_a_job: bool,
    /// It comes and goes as it likes, and has gone.
    departed: bool,
}

/// What is known of the process that runs now.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it was started.
    pub since: Option<Instant>,
    /// When it first took a job, without a break since.
    pub mining_since: Option<Instant>,
    /// When it last reported work.
    pub progress_at: Option<Instant>,
    /// When its last share passed.
    pub share_at: Option<Instant>,
    /// `start` has returned.
    pub started: bool,
    /// Why it says that it failed.
    pub failed: Option<String>,
    /// What the system kept from it, so that it could not run.
    pub lacked: Option<String>,
    /// It says that it has stopped.
    pub stopped: bool,
}

/// It was asked to stop.
#[derive(Debug)]
struct Asked {
    since: Instant,
    deadline: Instant,
    then: Then,
}

/// What a miner does once it has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It stays as it is until it is asked to start.
    Rest,
    /// It starts again.
    StartAgain,
}

/// What is said of a program that has gone.
const PROGRAM_IS: &str = "the program is gone";

/// What follows from the end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It may come again by itself: a line.
    Departed(String),
    /// It was asked to, and does this now; a line where it did not end in order.
    AsAsked(Then, Option<String>),
    /// It is started again when it is time: a line on what was wrong, and one on what follows.
    Restarts(String, String),
    /// It is not started again: a line on what was wrong, and why for whoever wants to know.
    GivenUp(String, String),
}

impl Life {
    /// A miner that has not run yet, and waits `restart_wait` before it is started again the first time.
    pub fn new(restart_wait: Duration) -> Self {
        Self {
            pulse: Pulse::default(),
            restart: RestartPolicy::new(restart_wait, RestartPolicy::FAILURES_MAX),
            restarts: 0,
            restart_at: None,
            ended: None,
            asked: None,
            paused: false,
            given_up: false,
            dismissed: false,
            took_a_job: false,
            departed: false,
        }
    }

    /// Waits `restart_wait` before it is started again the first time, from here on.
    pub fn set_restart_wait(&mut self, restart_wait: Duration) {
        self.restart.set_first_wait(restart_wait);
    }

    /// Whether it may be started.
    pub fn may_run(&self) -> bool {
        !self.paused && !self.given_up && !self.dismissed
    }

    /// Whether it is not to run until it is asked to.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// It is not to run until it is asked to, or may run again.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// It is to leave the session.
    pub fn dismiss(&mut self) {
        self.dismissed = true;
    }

    /// It is to be of the session again.
    pub fn recall(&mut self) {
        self.dismissed = false;
    }

    /// Whether it has left the session, or is about to.
    pub fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Whether nothing but a person can make it mine again.
    pub fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Whether it was asked to stop and has not yet.
    pub fn is_stopping(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether it has taken a job in its life.
    pub fn took_a_job(&self) -> bool {
        self.took_a_job
    }

    /// Why it ended the last time: a phrase that follows the provider's name.
    pub fn last_words(&self) -> &str {
        self.ended.as_deref().unwrap_or("has not run")
    }

    /// Restarts so far.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Failures in a row, and the number at which it is given up.
    pub fn failures(&self) -> (u32, u32) {
        self.restart.in_a_row()
    }

    /// A process is being started.
    pub fn begins(&mut self, now: Instant) {
        self.departed = false;
        self.pulse = Pulse { since: Some(now), ..Pulse::default() };
        self.restart_at = None;
        self.restart.started(now);
    }

    /// It took a job; answers whether it is the first of its life.
    pub fn took(&mut self, now: Instant) -> bool {
        self.pulse.mining_since.get_or_insert(now);
        !std::mem::replace(&mut self.took_a_job, true)
    }

    /// A person has asked for it: whatever went wrong is forgotten.
    pub fn begin_afresh(&mut self) {
        self.given_up = false;
        self.restart_at = None;
        self.restart.forgive();
    }

    /// It is asked to stop within `grace`. Answers whether it has to be told: it was not asked before.
    pub fn ask_to_stop(&mut self, grace: Duration, then: Then, now: Instant) -> bool {
        self.restart_at = None;
        match &mut self.asked {
            Some(asked) => {
                asked.then = then;
                false
            }
            None => {
                self.asked = Some(Asked { since: now, deadline: now + grace, then });
                true
            }
        }
    }

    /// It is to start again once it has stopped, if it is stopping; answers whether it is.
    pub fn start_again(&mut self) -> bool {
        match &mut self.asked {
            Some(asked) => {
                asked.then = Then::StartAgain;
                true
            }
            None => false,
        }
    }

    /// It was asked to stop and has taken too long.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.deadline <= now)
    }

    /// It is ended because it did not stop: how long it had, and what it does now.
    pub fn stop_waiting(&mut self, now: Instant) -> Option<(Duration, Then)> {
        let asked = self.asked.take()?;
        self.pulse = Pulse::default();
        Some((now.saturating_duration_since(asked.since), asked.then))
    }

    /// Whether it is time to start it again. Once.
    pub fn is_restart_due(&mut self, now: Instant) -> bool {
        self.restart_at.take_if(|at| *at <= now).is_some()
    }

    /// When there is something to do, if ever.
    pub fn wake_at(&self) -> Option<Instant> {
        let deadline = self.asked.as_ref().map(|asked| asked.deadline);
        [deadline, self.restart_at].into_iter().flatten().min()
    }

    /// Its process has ended.
    pub fn ended(&mut self, left: Left, now: Instant) -> Fate {
        let Left { why, ending } = left;
        if let Some(asked) = self.asked.take() {
            let pulse = std::mem::take(&mut self.pulse);
            let untold = format!("the provider process ended while it stopped: {ending}");
            return Fate::AsAsked(asked.then, (!pulse.stopped).then_some(untold));
        }
        let refused = !self.pulse.started && self.pulse.failed.is_some();
        let said = self.pulse.failed.take().or(self.pulse.lacked.take());
        let reason = match (said, why) {
            (Some(said), _) => said,
            (None, Some(why)) => format!("was ended: {why}"),
            (None, None) => format!("ended unasked: {ending}"),
        };
        if refused && !self.took_a_job {
            // It has said itself that it cannot: asking again would only ask again.
            self.pulse = Pulse::default();
            return self.give_up(format!("the provider {reason}"), reason);
        }
        self.failed(reason, now)
    }

    /// A program that comes and goes as it likes has gone.
    pub fn departed(&mut self, left: Left) -> Fate {
        self.pulse = Pulse::default();
        self.departed = true;
        let why = left.why.unwrap_or(left.ending);
        let line = format!("{PROGRAM_IS}: {why}");
        self.ended = Some(why);
        match self.asked.take() {
            Some(asked) => Fate::AsAsked(asked.then, None),
            None => Fate::Departed(line),
        }
    }

    /// It is gone without having been asked to: decides what follows. `why` follows the provider's name.
    pub fn failed(&mut self, why: String, now: Instant) -> Fate {
        self.pulse = Pulse::default();
        let line = format!("the provider {why}");
        let next = self.restart.ended(now);
        let (failures, failures_max) = self.restart.in_a_row();
        match next {
            Next::RestartAt(at) if self.took_a_job || failures < FAILURES_BEFORE_FIRST_JOB => {
                self.restarts += 1;
                self.restart_at = Some(at);
                self.ended = Some(why);
                let wait = crate::text::duration(at.saturating_duration_since(now));
                let follows = format!(
                    "the provider starts again in {wait} (failure {failures} in a row; given up at {})",
                    self.failures_borne(failures_max)
                );
                Fate::Restarts(line, follows)
            }
            _ => self.give_up(line, format!("failed {failures} times in a row and was given up: it {why}")),
        }
    }

    /// How many failures in a row are borne: fewer of one that has never mined.
    fn failures_borne(&self, most: u32) -> u32 {
        if self.took_a_job { most } else { most.min(FAILURES_BEFORE_FIRST_JOB) }
    }

    fn give_up(&mut self, line: String, why: String) -> Fate {
        self.given_up = true;
        self.ended = Some(why.clone());
        Fate::GivenUp(line, why)
    }

    /// How it stands, where that does not depend on its job: nothing while it runs.
    pub fn standing(&self, is_up: bool, now: Instant) -> Option<Standing> {
        let ended = self.last_words();
        if self.dismissed && self.asked.is_none() {
            return Some(Standing::not("removed", "it is not configured any more"));
        }
        if self.given_up {
            let hint =
                "`pearlbed logs --provider` shows what it said; `pearlbed restart` gives it another chance";
            return Some(Standing::not("given-up", format!("the provider {ended}")).hint(hint));
        }
        if self.asked.is_some() {
            return Some(Standing::not("stopping", "the provider is being stopped"));
        }
        if self.paused {
            return Some(
                Standing::not("paused", "it is paused").hint("`pearlbed resume` lets it mine again"),
            );
        }
        if is_up {
            return None;
        }
        if self.departed {
            let hint = "it has its row again, and its numbers go on, when it connects";
            return Some(Standing::not("gone", format!("{PROGRAM_IS}: {ended}")).hint(hint));
        }
        let at = self.restart_at;
        let wait = at.map_or(0, |at| at.saturating_duration_since(now).as_secs() + 1);
        let (failures, failures_max) = self.restart.in_a_row();
        let failures_max = self.failures_borne(failures_max);
        let sentence = format!(
            "the provider {ended}; it starts again in {wait} s (failure {failures} in a row, given up at {failures_max})"
        );
        Some(Standing::not("restarting", sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(ending: &str) -> Left {
        Left { why: None, ending: ending.into() }
    }

    #[test]
    fn one_that_never_took_a_job_is_given_up_soon_and_one_that_did_gets_its_ten() {
        let now = Instant::now();
        let mut life = Life::new(RestartPolicy::FIRST_WAIT);
        for _ in 0..2 {
            life.begins(now);
            assert!(matches!(life.ended(left("SIGSEGV"), now), Fate::Restarts(..)));
        }
        life.begins(now);
        let Fate::GivenUp(line, why) = life.ended(left("SIGSEGV"), now) else { panic!() };
        assert_eq!(line, "the provider ended unasked: SIGSEGV");
        assert_eq!(why, "failed 3 times in a row and was given up: it ended unasked: SIGSEGV");
        assert!(!life.may_run() && life.wake_at().is_none());
        assert_eq!(life.standing(false, now).unwrap().condition, "given-up");
        life.begin_afresh();
        assert!(life.may_run());
        life.begins(now);
        assert!(life.took(now) && !life.took(now));
        for _ in 0..9 {
            assert!(matches!(life.ended(left("exit status 0"), now), Fate::Restarts(..)));
            life.begins(now);
        }
        assert!(matches!(life.ended(left("exit status 0"), now), Fate::GivenUp(..)));
        assert_eq!(life.restarts(), 2 + 9);
    }

    /// H8: what it lacks may be there soon, and it is not its plugin's doing.
    #[test]
    fn one_that_the_system_gave_no_thread_is_tried_again() {
        let now = Instant::now();
        let mut life = Life::new(RestartPolicy::FIRST_WAIT);
        life.begins(now);
        life.pulse.lacked = Some("was given no thread by the system".into());
        let Fate::Restarts(line, _) = life.ended(left("exit status 0"), now) else { panic!() };
        assert_eq!(line, "the provider was given no thread by the system");
    }

    #[test]
    fn one_that_refuses_to_start_is_not_asked_again() {
        let now = Instant::now();
        let mut life = Life::new(RestartPolicy::FIRST_WAIT);
        life.begins(now);
        life.pulse.failed = Some("refused to start: no card".into());
        let Fate::GivenUp(line, why) = life.ended(left("exit status 0"), now) else { panic!() };
        assert_eq!(
            (line.as_str(), why.as_str()),
            ("the provider refused to start: no card", "refused to start: no card")
        );
    }

    #[test]
    fn what_was_asked_for_is_no_failure_and_the_last_wish_counts() {
        let now = Instant::now();
        let grace = Duration::from_secs(10);
        let mut life = Life::new(RestartPolicy::FIRST_WAIT);
        life.begins(now);
        assert!(life.ask_to_stop(grace, Then::Rest, now));
        assert!(!life.ask_to_stop(grace, Then::StartAgain, now), "it is told once");
        assert!(!life.is_overdue(now) && life.is_overdue(now + grace));
        life.pulse.stopped = true;
        assert_eq!(life.ended(left("exit status 0"), now), Fate::AsAsked(Then::StartAgain, None));
        assert_eq!(life.failures().0, 0);
        life.begins(now);
        life.ask_to_stop(grace, Then::Rest, now);
        let fate = life.ended(left("SIGKILL"), now);
        assert!(matches!(fate, Fate::AsAsked(Then::Rest, Some(line)) if line.contains("SIGKILL")));
    }

    #[test]
    fn a_restart_is_due_once() {
        let now = Instant::now();
        let mut life = Life::new(RestartPolicy::FIRST_WAIT);
        life.begins(now);
        life.ended(left("SIGSEGV"), now);
        assert_eq!(life.standing(false, now).unwrap().condition, "restarting");
        let at = life.wake_at().unwrap();
        assert!(!life.is_restart_due(now) && life.is_restart_due(at) && !life.is_restart_due(at));
    }
}
