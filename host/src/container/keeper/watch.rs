//! Looks after a container that runs.

use std::convert::Infallible;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::run::{Kept, Out};
use crate::container::engine::{Engine, Standing};
use crate::container::keeper::{Event, LOOK, What};
use crate::container::life::{Next, Seen};
use crate::container::printed::Follower;
use crate::container::recipe::Ready;
use crate::container::serving::{self, Numbers};
use crate::container::trouble::{Trouble, of_ending};
use crate::work::gateway::command::matters;

/// Between two questions to the engine how a container stands; its end is seen at once by the end of what it prints.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Questions in a row where it may have ended.
const ASKS: u32 = 5;
/// Between two tries to read what it prints, where reading ends before it does.
const FOLLOW_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at its numbers.
const NUMBERS_EVERY: Duration = Duration::from_secs(10);

impl Kept {
    /// Looks after the container that runs until it is to end or something is wrong.
    pub(super) fn watch(&mut self, engine: &Engine, id: &str) -> Result<Infallible, Out> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|err| {
            Trouble::passing("host", format!("the container cannot be looked at: {err}"), "free some memory")
        })?;
        let mut follower = self.follow(engine, id, false);
        let (mut asked, mut looked) = (Instant::now(), None::<Instant>);
        let (mut followed, mut asks) = (Instant::now(), 0);
        let mut steps = None;
        loop {
            if self.is_to_end() || !self.sleep_until(Instant::now() + LOOK) {
                return Err(Out::Asked);
            }
            if self.rests {
                return Err(Out::Rests);
            }
            if std::mem::take(&mut self.again) {
                return Err(Out::Again);
            }
            let now = Instant::now();
            if follower.as_mut().is_some_and(Follower::has_ended) {
                if let Some(mut reading) = follower.take() {
                    reading.finish();
                }
                // As a rule the container has ended, and its engine may take a moment to say so.
                asks = ASKS;
            }
            if asks > 0 || now.saturating_duration_since(asked) >= ASK_EVERY {
                asked = now;
                match engine.standing(id, || self.printed.last())? {
                    Standing::Runs => asks = asks.saturating_sub(1),
                    Standing::Ended(ending) => return Err(of_ending(&ending).into()),
                    Standing::Gone => {
                        let what = "somebody removed its container";
                        return Err(Trouble::passing("gone", what, "it is made again").into());
                    }
                }
            }
            if follower.is_none() && now.saturating_duration_since(followed) >= FOLLOW_EVERY {
                followed = now;
                follower = self.follow(engine, id, true);
            }
            let (recipe, gateway) = (&self.charge.recipe, self.charge.recipe.is_gateway());
            let healthy = match &recipe.ready {
                Ready::Http(path) => {
                    matches!(runtime.block_on(serving::get(recipe.port, path)), Ok((200, _)))
                }
                // Each connection is a turn of its one event loop: that it has answered once is enough.
                Ready::Socket(path) => {
                    self.life.phase().serves() || std::os::unix::net::UnixStream::connect(path).is_ok()
                }
            };
            let due = looked.is_none_or(|at| now.saturating_duration_since(at) >= NUMBERS_EVERY);
            if let (true, true, Some(path)) = (healthy, due, &recipe.metrics) {
                looked = Some(now);
                if let Ok((200, page)) = runtime.block_on(serving::get(recipe.port, path)) {
                    steps = self.take_numbers(&Numbers::read(&String::from_utf8_lossy(&page)));
                }
            }
            let polled = match gateway {
                // It asks nobody for work.
                true => healthy.then_some(now),
                false => *self.port.polled.lock().unwrap_or_else(PoisonError::into_inner),
            };
            let seen = Seen { healthy, polled, printed: self.printed.at(), steps };
            let served = self.life.phase().serves();
            let next = self.life.see(&seen, now);
            let serves = self.life.phase().serves();
            let endpoint = self.charge.recipe.endpoint();
            if serves && !served {
                self.line(false, format!("it serves at {endpoint}"));
            }
            self.report.endpoint = serves.then_some(endpoint);
            let held_back = self.printed.take_held_back();
            if held_back > 0 {
                self.line(true, format!("it printed too much: {held_back} lines were left out"));
            }
            self.tell();
            if let Next::Again(trouble) = next {
                return Err(trouble.into());
            }
        }
    }

    fn take_numbers(&mut self, numbers: &Numbers) -> Option<(u64, u64)> {
        let names = &self.charge.recipe.numbers;
        let number = |key: &str| numbers.sum(names.get(key)?);
        let report = &mut self.report;
        report.requests_running = number("requests_running");
        report.requests_waiting = number("requests_waiting");
        report.prompt_tokens = number("prompt_tokens");
        report.generation_tokens = number("generation_tokens");
        let (histogram, tokens) = self.charge.recipe.steps.as_ref()?;
        let steps = numbers.steps(histogram, *tokens);
        report.steps_large = steps.map(|(large, _)| large);
        report.steps = steps.map(|(_, all)| all);
        steps
    }

    /// Reads what the container prints, from its beginning, or from now on.
    fn follow(&self, engine: &Engine, id: &str, from_now: bool) -> Option<Follower> {
        let passed_on = (self.events.clone(), self.charge.recipe.miner.clone());
        let gateway = self.charge.recipe.is_gateway();
        Follower::start(engine.log_command(id, from_now), &self.printed, move |line| {
            if gateway && !matters(line) {
                return true;
            }
            let event = Event { miner: passed_on.1.clone(), what: What::Printed(line.to_owned()) };
            // A session that has too much to do loses lines, never time.
            passed_on.0.try_send(event).is_ok()
        })
    }
}
