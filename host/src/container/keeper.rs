//! Keeps one container: a thread that asks the engine, looks at what is served and does what [`super::life`] says.
//!
//! Asking an engine takes tenths of a second and fetching an image hours, so none of it is done by the session's own task.
//! What happens is told over a bounded channel. What it prints is [`super::printed`]'s, and what is said of it [`super::words`]'.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::engine::{Engine, Image, Standing};
use super::life::{Life, Next, Phase, Seen};
use super::printed::{Follower, Printed};
use super::recipe::{Recipe, token_file};
use super::report::ContainerReport;
use super::serving::{self, Numbers};
use super::trouble::{Trouble, of_ending};
use super::words;
use crate::config::ContainerSection;
use crate::home::Env;

/// Between two looks at a container.
const LOOK: Duration = Duration::from_secs(1);
/// Between two questions to the engine how a container stands; its end is seen at once by the end of what it prints.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Questions in a row where it may have ended.
const ASKS: u32 = 5;
/// Between two tries to read what it prints, where reading ends before it does.
const FOLLOW_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at its numbers.
const NUMBERS_EVERY: Duration = Duration::from_secs(10);

/// What a keeper tells.
#[derive(Debug)]
pub struct Event {
    /// Of which miner.
    pub miner: String,
    /// What.
    pub what: What,
}

/// What a keeper tells.
#[derive(Debug)]
pub enum What {
    /// A line for the log; one of gravity or not.
    Line(bool, String),
    /// A line that the container printed.
    Printed(String),
    /// How it stands, where that has changed.
    Stands(Box<ContainerReport>),
    /// It is given up, and why.
    GivenUp(Trouble),
    /// It has ended and is removed: the keeper is done.
    Ended,
}

/// What a keeper is told.
#[derive(Debug)]
enum Order {
    /// There is a job, and the port listens.
    Go,
    /// End it, and start it again.
    Again,
    /// End it, within this time.
    Stop(Duration),
}

/// What the session sees at the port of a container's workers.
#[derive(Debug, Default)]
struct Port {
    workers: AtomicU64,
    polled: Mutex<Option<Instant>>,
}

/// What a keeper is made of.
#[derive(Debug)]
pub struct Charge {
    /// What is to be run.
    pub recipe: Recipe,
    /// The provider's id.
    pub provider: String,
    /// `[mining.container]`.
    pub section: ContainerSection,
    /// The environment.
    pub env: Env,
    /// Variables that no engine's program may see.
    pub secrets: Vec<OsString>,
    /// Every miner of the session that is a container: what others left behind is ended.
    pub miners: Vec<String>,
}

/// The way to a keeper. Dropping it ends the container.
#[derive(Debug)]
pub struct Keeper {
    orders: Sender<Order>,
    port: Arc<Port>,
    called_off: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts a keeper; what it has to tell goes to `events`.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(charge: Charge, events: tokio::sync::mpsc::Sender<Event>) -> std::io::Result<Self> {
        let (orders, ordered) = channel();
        let port = Arc::new(Port::default());
        let called_off = Arc::new(AtomicBool::new(false));
        let mut kept = Kept {
            life: Life::new(charge.section.ready_within, Instant::now()),
            report: ContainerReport {
                miner: charge.recipe.miner.clone(),
                provider: charge.provider.clone(),
                image: charge.recipe.image.clone(),
                name: charge.recipe.name.clone(),
                model: charge.recipe.model.clone(),
                ..ContainerReport::default()
            },
            charge,
            events,
            ordered,
            port: Arc::clone(&port),
            called_off: Arc::clone(&called_off),
            stop: None,
            again: false,
            engine: None,
            told: None,
            printed: Arc::new(Printed::default()),
        };
        std::thread::Builder::new().name("container".into()).spawn(move || kept.run())?;
        Ok(Self { orders, port, called_off })
    }

    /// There is a job, and the port listens.
    pub fn go(&self) {
        // A keeper that is done needs no orders.
        let _ = self.orders.send(Order::Go);
    }

    /// The container is to be ended and started again, also where it was given up.
    pub fn restart(&self) {
        let _ = self.orders.send(Order::Again);
    }

    /// The container is to end within `grace`.
    pub fn stop(&self, grace: Duration) {
        let _ = self.orders.send(Order::Stop(grace));
        self.called_off.store(true, Ordering::Relaxed);
    }

    /// What is seen of its workers at the port: how many there are, and when one asked for work last.
    pub fn seen_at_port(&self, workers: u64, polled: Option<Instant>) {
        self.port.workers.store(workers, Ordering::Relaxed);
        let mut last = self.port.polled.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(polled);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.called_off.store(true, Ordering::Relaxed);
    }
}

struct Kept {
    charge: Charge,
    life: Life,
    report: ContainerReport,
    events: tokio::sync::mpsc::Sender<Event>,
    ordered: Receiver<Order>,
    port: Arc<Port>,
    called_off: Arc<AtomicBool>,
    /// It is to end within this time.
    stop: Option<Duration>,
    /// It is to be started again.
    again: bool,
    engine: Option<Engine>,
    told: Option<ContainerReport>,
    printed: Arc<Printed>,
}

/// Why a container does not run any more.
enum Out {
    /// It was to end.
    Asked,
    /// It was to be started again.
    Again,
    /// Something went wrong.
    Trouble(Trouble),
}

impl From<Trouble> for Out {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Kept {
    fn run(&mut self) {
        if self.wait_for_job() {
            loop {
                let Err(out) = self.once();
                let trouble = match out {
                    _ if self.is_to_end() => break,
                    Out::Asked => break,
                    Out::Again => {
                        self.life.begin_afresh();
                        continue;
                    }
                    Out::Trouble(trouble) => trouble,
                };
                self.line(true, format!("{}; {}", trouble.what, trouble.fix));
                let next = self.life.failed(trouble.clone(), Instant::now());
                self.tell();
                match next {
                    Some(at) if self.sleep_until(at) => {}
                    Some(_) => break,
                    None => {
                        self.say(What::GivenUp(trouble));
                        // Until it is told to end: the session goes on, perhaps with others.
                        while !self.is_to_end() && !self.again && self.sleep_until(Instant::now() + LOOK) {}
                        if self.is_to_end() || !std::mem::take(&mut self.again) {
                            break;
                        }
                        self.life.begin_afresh();
                    }
                }
            }
        }
        self.leave();
    }

    /// Waits for the first order; answers whether it is to go.
    fn wait_for_job(&mut self) -> bool {
        self.tell();
        loop {
            match self.ordered.recv_timeout(LOOK) {
                Ok(Order::Go) => return true,
                // It is about to be started.
                Ok(Order::Again) => {}
                Ok(Order::Stop(grace)) => {
                    self.stop = Some(grace);
                    return false;
                }
                Err(RecvTimeoutError::Timeout) => self.tell(),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// One life of the container, from the search for its engine to its end.
    fn once(&mut self) -> Result<Infallible, Out> {
        self.phase(Phase::Looking);
        self.again = false;
        let (engine, image) = self.find()?;
        self.clear_away(&engine)?;
        self.phase(Phase::Starting);
        self.make_folders()?;
        let id = engine.run(&self.charge.recipe, &image)?;
        self.report.container_id = Some(id.clone());
        self.line(
            false,
            format!(
                "container {} runs ({}); its image is {} ({})",
                self.charge.recipe.name,
                &id[..12],
                image.name,
                image.digest
            ),
        );
        self.printed = Arc::default();
        self.phase(Phase::Loading);
        let out = self.watch(&engine, &id);
        self.report.endpoint = None;
        self.report.container_id = None;
        let grace = match self.stop {
            Some(grace) => {
                self.phase(Phase::Stopping);
                grace
            }
            None => self.charge.section.stop_grace,
        };
        if let Err(trouble) = engine.end(&id, grace) {
            self.line(true, format!("the container could not be removed: {}; {}", trouble.what, trouble.fix));
        }
        out
    }

    fn find(&mut self) -> Result<(Engine, Image), Out> {
        let cards = !self.charge.recipe.cards.is_empty();
        let Charge { section, env, secrets, .. } = &self.charge;
        let engine = Engine::find(section.engine, env, secrets, cards, &self.called_off)?;
        if self.report.engine.is_none() {
            self.line(false, format!("containers are run by {}", engine.describe()));
        }
        self.report.engine = Some(engine.describe());
        self.engine = Some(engine.clone());
        let image = match engine.image(&self.charge.recipe)? {
            Some(image) => image,
            None => {
                self.phase(Phase::Pulling);
                let name = engine.fetch(&self.charge.recipe)?;
                self.line(false, format!("the image {name} was fetched"));
                match engine.image(&self.charge.recipe)? {
                    Some(image) => image,
                    None => {
                        let what = format!("the image {name} was fetched and is not there");
                        return Err(
                            Trouble::passing("engine-failed", what, "look into the engine's log").into()
                        );
                    }
                }
            }
        };
        if image.name != self.charge.recipe.image && self.report.digest.is_none() {
            let asked = &self.charge.recipe.image;
            self.line(
                true,
                format!("no image {asked} is on this machine, and {} takes its place", image.name),
            );
        }
        self.report.image.clone_from(&image.name);
        self.report.digest = Some(image.digest.clone());
        self.tell_moved_tag(&image);
        Ok((engine, image))
    }

    /// A name that leads to another image than when it was used last is told.
    fn tell_moved_tag(&mut self, image: &Image) {
        let recipe = &self.charge.recipe;
        let file = recipe.home.join("runtime/container").join(format!("{}.image", recipe.miner));
        let now = format!("{} {}\n", image.name, image.digest);
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        if before == now {
            return;
        }
        if let Some(digest) = before.strip_prefix(&format!("{} ", image.name)) {
            self.line(
                true,
                format!(
                    "{} is another image than last time: {} then, {} now",
                    image.name,
                    digest.trim(),
                    image.digest
                ),
            );
        }
        // Where it cannot be kept, a later move is not told.
        let _ = crate::owned::replace(&file, now.as_bytes());
    }

    /// Ends what an earlier session left: its miner has lost the port for good.
    fn clear_away(&mut self, engine: &Engine) -> Result<(), Out> {
        let known: BTreeSet<&String> = self.charge.miners.iter().collect();
        let own = self.charge.recipe.miner.clone();
        let mut ended = Vec::new();
        for id in engine.ours(&self.charge.recipe.home)? {
            let miner = engine.miner_of(&id).unwrap_or_default();
            if miner == own || !known.contains(&miner) {
                engine.end(&id, self.charge.section.stop_grace)?;
                ended.push(id);
            }
        }
        for id in ended {
            self.line(true, format!("a container of an earlier session was ended ({})", &id[..12]));
        }
        Ok(())
    }

    fn make_folders(&mut self) -> Result<(), Out> {
        let recipe = &self.charge.recipe;
        let failed = |path: &PathBuf, err: std::io::Error| {
            let what = format!("{} cannot be made: {err}", crate::text::printable_path(path));
            let fix = crate::remedy::for_file(&err, path).unwrap_or_else(|| "look at the home folder".into());
            Trouble::lasting("folder", what, fix)
        };
        for mount in recipe.mounts.iter().filter(|mount| !mount.read_only) {
            crate::owned::create_private(&mount.source).map_err(|err| failed(&mount.source, err))?;
        }
        if let Some(variable) = &recipe.token_variable {
            let path = token_file(&recipe.home, &recipe.miner);
            // It may be there from a session that was killed, and cannot be written then.
            let _ = std::fs::remove_file(&path);
            let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
            let token = self.charge.env.var(variable).unwrap_or_default();
            written
                .and_then(|mut file| file.write_all(token.as_bytes()))
                .map_err(|err| failed(&path, err))?;
        }
        Ok(())
    }

    /// Looks after the container that runs until it is to end or something is wrong.
    fn watch(&mut self, engine: &Engine, id: &str) -> Result<Infallible, Out> {
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
            let recipe = &self.charge.recipe;
            let health = runtime.block_on(serving::get(recipe.port, &recipe.health));
            let healthy = matches!(health, Ok((200, _)));
            let due = looked.is_none_or(|at| now.saturating_duration_since(at) >= NUMBERS_EVERY);
            if let (true, true, Some(path)) = (healthy, due, &recipe.metrics) {
                looked = Some(now);
                if let Ok((200, page)) = runtime.block_on(serving::get(recipe.port, path)) {
                    steps = self.take_numbers(&Numbers::read(&String::from_utf8_lossy(&page)));
                }
            }
            let polled = *self.port.polled.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = Seen { healthy, polled, printed: self.printed.at(), steps };
            let next = self.life.see(&seen, now);
            let serves = self.life.phase().serves();
            let endpoint = serves
                .then(|| format!("http://127.0.0.1:{}{}", self.charge.recipe.port, self.charge.recipe.api));
            if endpoint.is_some() && self.report.endpoint.is_none() {
                self.line(false, format!("it serves at {}", endpoint.clone().unwrap_or_default()));
            }
            self.report.endpoint = endpoint;
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
        Follower::start(engine.log_command(id, from_now), &self.printed, move |line| {
            let event = Event { miner: passed_on.1.clone(), what: What::Printed(line.to_owned()) };
            // A session that has too much to do loses lines, never time.
            passed_on.0.try_send(event).is_ok()
        })
    }

    fn is_to_end(&mut self) -> bool {
        while let Ok(order) = self.ordered.try_recv() {
            match order {
                Order::Go => {}
                Order::Again => self.again = true,
                Order::Stop(grace) => self.stop = Some(grace),
            }
        }
        self.stop.is_some() || self.called_off.load(Ordering::Relaxed)
    }

    /// Sleeps; answers whether nothing was ordered meanwhile.
    fn sleep_until(&mut self, at: Instant) -> bool {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match self.ordered.recv_timeout(left) {
                Ok(Order::Go) => {}
                Ok(Order::Again) => {
                    self.again = true;
                    return true;
                }
                Ok(Order::Stop(grace)) => {
                    self.stop = Some(grace);
                    return false;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn leave(&mut self) {
        // One that was being made when it was called off.
        if let Some(engine) = self.engine.take().map(|engine| engine.undisturbed()) {
            let own = engine.ours(&self.charge.recipe.home).unwrap_or_default();
            for id in own {
                if engine.miner_of(&id).as_ref() == Some(&self.charge.recipe.miner) {
                    // The next session tries again.
                    let _ = engine.end(&id, self.stop.unwrap_or_default());
                }
            }
        }
        let path = token_file(&self.charge.recipe.home, &self.charge.recipe.miner);
        // There is none where no token was wanted.
        let _ = std::fs::remove_file(path);
        self.phase(Phase::Stopped);
        self.say(What::Ended);
    }

    fn phase(&mut self, phase: Phase) {
        self.life.is(phase, Instant::now());
        self.tell();
    }

    fn line(&mut self, grave: bool, text: String) {
        self.say(What::Line(grave, text));
    }

    /// Tells how it stands, where that is news.
    fn tell(&mut self) {
        let now = Instant::now();
        let (sentence, hint) = words::sentence(&self.life, &self.charge.recipe, self.printed.newest(), now);
        self.report.phase = self.life.phase().word().into();
        self.report.sentence = sentence;
        self.report.hint = hint;
        self.report.since_seconds = now.saturating_duration_since(self.life.since()).as_secs_f64().floor();
        self.report.restarts = self.life.restarts();
        self.report.workers = self.port.workers.load(Ordering::Relaxed);
        let polled = *self.port.polled.lock().unwrap_or_else(PoisonError::into_inner);
        self.report.last_poll_seconds =
            polled.map(|at| now.saturating_duration_since(at).as_secs_f64().floor());
        if self.told.as_ref() != Some(&self.report) {
            self.told = Some(self.report.clone());
            self.say(What::Stands(Box::new(self.report.clone())));
        }
    }

    fn say(&self, what: What) {
        let event = Event { miner: self.charge.recipe.miner.clone(), what };
        // Without a listener the session is over.
        let _ = self.events.blocking_send(event);
    }
}
