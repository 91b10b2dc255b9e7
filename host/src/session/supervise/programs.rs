//! The programs at the miner port: which seat is which miner, and the port process that serves them.
//!
//! A program that comes again has its row again: told by the name of its worker, else of its process, else of its agent.
//! The addresses stay open while port processes come and go; one that ends is started anew, and whoever was connected
//! connects again.

mod doors;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

pub(super) use self::doors::Doors;
pub use self::doors::PortError;
use self::doors::{EXPOSED, EXPOSED_HINT};
use self::names::{ROWS_MAX, introduction, row};
use super::containers::Containers;
use super::crew::{Crew, Told};
use crate::miner::frame::FromProvider;
use crate::miner::link::{Place, Submission, What};
use crate::miner::plan::Program;
use crate::miner::{Effect, MinerId, MinerPlan, Work};
use crate::port::listen::Listener;
use crate::port::process::{self, Event, Process};
use crate::port::seat::Seat;
use crate::port::wire::{FromPort, SeatId, Sitter, ToPort};
use crate::session::log::{Level, Speaker};
use crate::session::report::{EndpointReport, TroubleReport};
use crate::sidecar::unix_seconds;

/// Earlier jobs of a program that comes again that its seat is told: what it found for one of them is late, and no invention.
const EARLIER_MAX: usize = 32;
/// Longest wait before a port process that ended is started again.
const RESTART_MAX: Duration = Duration::from_secs(30);
/// A port process that lived for so long is none that cannot live.
const LIVED: Duration = Duration::from_secs(60);

/// What follows from something that happened at the port.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What follows for miners.
    pub told: Vec<Told>,
    /// Lines for the log.
    pub lines: Vec<(Level, String)>,
}

/// The programs.
#[derive(Debug)]
pub(super) struct Programs {
    doors: Doors,
    events: mpsc::Sender<Event>,
    process: Option<Process>,
    generation: u64,
    seats: BTreeMap<SeatId, MinerId>,
    began: Option<Instant>,
    started: Option<Instant>,
    failures: u32,
    restart_at: Option<Instant>,
}

impl Programs {
    /// Nobody yet. What the port process says goes to `events`.
    pub fn new(doors: Doors, events: mpsc::Sender<Event>) -> Self {
        Self {
            doors,
            events,
            process: None,
            generation: 0,
            seats: BTreeMap::new(),
            began: None,
            started: None,
            failures: 0,
            restart_at: None,
        }
    }

    /// Whether programs may come.
    pub fn may_come(&self) -> bool {
        self.doors.are_open()
    }

    /// Whether others than our own containers may come.
    pub fn strangers_may_come(&self) -> bool {
        self.doors.strangers
    }

    /// Where they may come to.
    pub fn addresses(&self) -> Vec<String> {
        self.doors.addresses()
    }

    /// Starts the port process, where there is something to serve.
    pub fn start(&mut self, now: Instant) -> Vec<(Level, String)> {
        if !self.doors.are_open() {
            return Vec::new();
        }
        self.generation += 1;
        self.restart_at = None;
        self.started = Some(now);
        self.began.get_or_insert(now);
        let Doors { listeners, password, .. } = &self.doors;
        match Process::spawn(self.generation, listeners, password.clone(), self.events.clone()) {
            Ok(process) => {
                let at = self.doors.addresses().join(", ");
                let whom = match self.doors.strangers {
                    true => format!("programs can mine here, at {at}"),
                    false => "the miner port serves the session's containers".to_owned(),
                };
                let line = format!("{whom} (process {})", process.pid());
                let lacks = process.lacks().iter();
                let mut lines: Vec<(Level, String)> = lacks
                    .map(|lack| (Level::Warn, format!("the port process is confined by less: {lack}")))
                    .collect();
                lines.insert(0, (Level::Info, line));
                self.process = Some(process);
                lines
            }
            Err(err) => {
                let why = super::verifier::chain(&err);
                vec![(Level::Warn, self.again(&format!("could not be started: {why}"), now))]
            }
        }
    }

    /// It will be started again; a line that says so.
    fn again(&mut self, why: &str, now: Instant) -> String {
        let lived = self.started.is_some_and(|at| now.saturating_duration_since(at) >= LIVED);
        self.failures = if lived { 1 } else { self.failures.saturating_add(1) };
        // The first time at once: whoever was connected connects again as soon as he can.
        let wait = match self.failures {
            1 => Duration::ZERO,
            more => Duration::from_secs(1 << more.min(6).saturating_sub(2)).min(RESTART_MAX),
        };
        self.restart_at = Some(now + wait);
        format!("the port process {why}; it starts again in {} s", wait.as_secs())
    }

    /// When there is something to do, if ever.
    pub fn wake_at(&self) -> Option<Instant> {
        self.restart_at
    }

    /// Does what is due at `now`.
    pub fn wake(&mut self, now: Instant) -> Vec<(Level, String)> {
        if self.restart_at.is_some_and(|at| at <= now) { self.start(now) } else { Vec::new() }
    }

    /// Looks after the process; about once a second.
    pub fn look(&mut self) -> Vec<(Level, String)> {
        let strange = self.process.as_mut().map(Process::strange).unwrap_or_default();
        strange.into_iter().take(8).map(|what| (Level::Warn, format!("the port process: {what}"))).collect()
    }

    /// Nobody is to be served any more.
    pub fn end(&mut self) {
        self.doors = Doors::default();
        self.restart_at = None;
        self.process = None;
    }

    /// Something came from the port process. `current` is the job on offer; nobody is let in where `ending`.
    pub fn heed(
        &mut self,
        event: Event,
        crew: &mut Crew,
        containers: &Containers,
        current: Option<&Arc<Work>>,
        ending: bool,
        now: Instant,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if event.generation != self.generation {
            return outcome;
        }
        match event.what {
            process::What::Ended(why) => self.ended(why, crew, &mut outcome, now),
            process::What::Frame(FromPort::Hello { .. }) => {}
            process::What::Frame(FromPort::Sat(seat, text)) => {
                let Ok(sitter) = serde_json::from_str::<Sitter>(&text) else { return outcome };
                if ending || !self.sit(seat, &sitter, (crew, containers), current, &mut outcome, now) {
                    self.send(ToPort::Close(seat));
                }
            }
            process::What::Frame(FromPort::Said(seat, frame)) => {
                let what = match frame {
                    FromProvider::Submit { sequence, job, proof } => {
                        What::Proof(Submission { sequence, job, proof, place: Place::default() })
                    }
                    frame @ (FromProvider::Took(_) | FromProvider::Stats(_) | FromProvider::Stopped(_)) => {
                        What::Frame(frame)
                    }
                    // Nothing else is said at the port.
                    _ => return outcome,
                };
                self.pass_on(seat, what, crew, &mut outcome, now);
            }
            process::What::Frame(FromPort::Throttled(seat)) => {
                self.pass_on(seat, What::Throttled, crew, &mut outcome, now);
            }
            process::What::Frame(FromPort::Left(seat)) => {
                self.pass_on(seat, What::Closed(None), crew, &mut outcome, now);
                self.seats.remove(&seat);
            }
        }
        outcome
    }

    fn pass_on(&self, seat: SeatId, what: What, crew: &mut Crew, outcome: &mut Outcome, now: Instant) {
        let Some(id) = self.seats.get(&seat) else { return };
        outcome.told.extend(crew.one(*id, |miner| {
            let generation = miner.generation();
            miner.event(generation, what, now)
        }));
    }

    fn ended(&mut self, why: Option<String>, crew: &mut Crew, outcome: &mut Outcome, now: Instant) {
        let ending = self.process.take().map(|mut process| process.end()).unwrap_or_default();
        let why = why.map_or_else(|| format!("ended unasked: {ending}"), |why| format!("was ended: {why}"));
        for id in std::mem::take(&mut self.seats).into_values() {
            outcome.told.extend(crew.one(id, |miner| {
                let generation = miner.generation();
                let why = "the port process ended, and with it the connection".to_owned();
                miner.event(generation, What::Closed(Some(why)), now)
            }));
        }
        if self.doors.are_open() {
            outcome.lines.push((Level::Warn, self.again(&why, now)));
        }
    }

    /// A program is to be given no work, and told why; the next job that it is offered takes that back.
    pub fn bar(&self, miner: MinerId, why: &str) {
        for (seat, _) in self.seats.iter().filter(|(_, id)| **id == miner) {
            self.send(ToPort::Bar(*seat, why.to_owned()));
        }
    }

    /// The container of the miner `name` has ended: whoever came from it comes no more, and its rows are free for the next one.
    pub fn dismiss(&self, name: &str, crew: &mut Crew) {
        for (seat, id) in &self.seats {
            let program = crew.get_mut(*id).and_then(|miner| miner.plan().program.as_ref());
            if program.and_then(Program::container) == Some(name) {
                self.send(ToPort::Close(*seat));
            }
        }
    }

    fn send(&self, frame: ToPort) {
        if let Some(process) = &self.process {
            // One that does not read any more ends with its pipe.
            let _ = process.send(frame);
        }
    }

    /// Gives a program its row; answers whether it got one.
    fn sit(
        &mut self,
        seat: SeatId,
        sitter: &Sitter,
        (crew, containers): (&mut Crew, &Containers),
        current: Option<&Arc<Work>>,
        outcome: &mut Outcome,
        now: Instant,
    ) -> bool {
        let Some(process) = &self.process else { return false };
        let Some((name, known)) = row(crew, sitter) else { return false };
        if known.and_then(|id| crew.get_mut(id)).is_some_and(|miner| miner.is_paused()) {
            return false;
        }
        let program = Program {
            dialect: sitter.dialect.word(),
            agent: sitter.agent.clone(),
            address: sitter.address.clone(),
            pid: sitter.pid,
        };
        let line = introduction(&name, &program);
        let earlier = known.and_then(|id| crew.get_mut(id)).map(|miner| miner.earlier_jobs(EARLIER_MAX));
        let file = program.container().and_then(|container| containers.file(container));
        let mut plan = MinerPlan::of_program(name, program, self.doors.share_every);
        if let Some(file) = file {
            plan.chosen.manifest = file.manifest.clone();
        }
        let container = plan.program.as_ref().and_then(Program::container);
        if let Some(limit) = container.and_then(|container| containers.limit(container)) {
            (plan.cards, plan.temperature_limit) = (limit.cards.clone(), limit.degrees);
        }
        let id = match known {
            Some(id) => {
                if let Some(miner) = crew.get_mut(id) {
                    miner.is_now(plan);
                }
                id
            }
            None if crew.programs() >= ROWS_MAX && !crew.forget_one() => return false,
            None => crew.add_program(plan, now),
        };
        self.seats.insert(seat, id);
        outcome.told.push((id, Effect::Line(Level::Info, Speaker::Supervisor, line)));
        for job in earlier.unwrap_or_default() {
            self.send(ToPort::Earlier(seat, job));
        }
        let link = Box::new(Seat::new(seat, process.frames()));
        outcome.told.extend(crew.one(id, |miner| miner.connected(link, now)));
        if let Some(work) = current {
            // Also for one that was here before: another program of its name may be given what that was not.
            outcome.told.extend(
                crew.one(id, |miner| if miner.has_an_offer() { Vec::new() } else { miner.offer(work, now) }),
            );
        }
        // Last: what waits for it may be for the job that was just sent.
        self.send(ToPort::Seated(seat));
        true
    }

    /// The addresses, for whoever asks.
    pub fn endpoints(&self, now: Instant) -> Vec<EndpointReport> {
        let up = self.process.is_some();
        let report = |listener: &Listener| EndpointReport {
            purpose: "port".into(),
            address: listener.address(),
            reachable: Some(up),
            trouble: listener.door().guarded.then(|| self.exposed(now)),
        };
        let strangers = self.doors.listeners.iter().filter(|one| one.door().container.is_none());
        strangers.map(report).collect()
    }

    /// What there is to say of an address that the network reaches, for as long as it is open.
    fn exposed(&self, now: Instant) -> TroubleReport {
        let lasts = self.began.map(|began| now.saturating_duration_since(began)).unwrap_or_default();
        TroubleReport {
            text: EXPOSED.into(),
            hint: Some(EXPOSED_HINT.into()),
            since: unix_seconds(SystemTime::now().checked_sub(lasts).unwrap_or(SystemTime::UNIX_EPOCH)),
            since_seconds: lasts.as_secs_f64(),
        }
    }
}
