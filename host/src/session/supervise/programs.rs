//! The programs at the miner port: which seat is which miner, and the port process that serves them.
//!
//! A program that comes again has its row again: told by the name of its worker, else of its process, else of its agent.
//! The addresses stay open while port processes come and go; one that ends is started anew, and whoever was connected
//! connects again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::containers::Containers;
use super::crew::{Crew, Told};
use crate::config::{Config, PortSocket};
use crate::container::recipe;
use crate::explain::Explain;
use crate::home::{Env, Home};
use crate::miner::frame::FromProvider;
use crate::miner::link::{Place, Submission, What};
use crate::miner::plan::Program;
use crate::miner::{Effect, Miner, MinerId, MinerPlan, Work};
use crate::port::listen::Listener;
use crate::port::process::{self, Event, Process};
use crate::port::seat::Seat;
use crate::port::wire::{FromPort, SeatId, Sitter, ToPort};
use crate::session::log::{Level, Speaker};
use crate::session::report::{EndpointReport, TroubleReport};
use crate::sidecar::unix_seconds;

/// Programs that have a row, those that have gone included.
const ROWS_MAX: usize = 256;
/// Earlier jobs of a program that comes again that its seat is told: what it found for one of them is late, and no invention.
const EARLIER_MAX: usize = 32;
/// Longest wait before a port process that ended is started again.
const RESTART_MAX: Duration = Duration::from_secs(30);
/// A port process that lived for so long is none that cannot live.
const LIVED: Duration = Duration::from_secs(60);

/// What is to be known of an address that the network reaches.
const EXPOSED: &str =
    "others than this machine can reach it, and what they say, the password included, is not encrypted";
/// What to do about it.
const EXPOSED_HINT: &str = "listen on 127.0.0.1 where no other machine mines here";

/// Why an address of the port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum PortError {
    #[error("the miner port cannot listen on {address}")]
    Listen {
        address: String,
        #[source]
        err: io::Error,
    },
    #[error("the miner port is open to the network, and the variable `{variable}` holds no password")]
    NoPassword { variable: String },
}

impl Explain for PortError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Listen { err, .. } if err.kind() == io::ErrorKind::AddrInUse => {
                "another program, or another session, listens there: choose another in [mining.port]".into()
            }
            Self::Listen { err, .. } if err.kind() == io::ErrorKind::InvalidInput => {
                "a socket's path has at most 107 bytes: set `unix` in [mining.port] to a shorter one".into()
            }
            Self::Listen { .. } => "set another address in [mining.port]".into(),
            Self::NoPassword { variable } => format!("set {variable}, or listen on 127.0.0.1 only"),
        })
    }
}

/// The open addresses of the port; none where it is not asked for.
#[derive(Debug, Default)]
pub(super) struct Doors {
    listeners: Vec<Listener>,
    /// Whether anybody else than our own containers may come.
    strangers: bool,
    password: Option<String>,
    share_every: Duration,
}

impl Doors {
    /// Opens what `config` asks for, and a door for each of the miners `containers`.
    ///
    /// # Errors
    ///
    /// [`PortError`]; nothing is left open then.
    pub fn open(config: &Config, home: &Home, env: &Env, containers: &[&str]) -> Result<Self, PortError> {
        let port = &config.mining.port;
        let mut listeners = Vec::new();
        if let Some(socket) = &port.unix {
            let path = match socket {
                PortSocket::OfHome => home.miner_socket(),
                PortSocket::At(path) => path.clone(),
            };
            let failed = |err| PortError::Listen { address: crate::text::printable_path(&path), err };
            listeners.push(Listener::unix(&path).map_err(failed)?);
        }
        let mut password = None;
        if let Some(address) = port.listen {
            if !address.ip().is_loopback() {
                let variable = port.password_env.clone().unwrap_or_default();
                let Some(secret) = env.var(&variable) else { return Err(PortError::NoPassword { variable }) };
                password = Some(blake3::hash(secret.as_bytes()).to_hex().to_string());
            }
            let failed = |err| PortError::Listen { address: address.to_string(), err };
            listeners.push(Listener::tcp(address).map_err(failed)?);
        }
        let strangers = !listeners.is_empty();
        for name in containers {
            let path = recipe::socket(home, name);
            let failed = |err| PortError::Listen { address: crate::text::printable_path(&path), err };
            listeners.push(Listener::container(&path, name).map_err(failed)?);
        }
        Ok(Self { listeners, strangers, password, share_every: port.share_every })
    }

    /// Whether there is any.
    pub fn are_open(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// The addresses.
    pub fn addresses(&self) -> Vec<String> {
        let strangers = self.listeners.iter().filter(|one| one.door().container.is_none());
        strangers.map(Listener::address).collect()
    }

    /// What a person should know of them.
    pub fn warning(&self) -> Option<String> {
        let guarded = self.listeners.iter().find(|listener| listener.door().guarded)?;
        Some(format!("the miner port listens on {}: {EXPOSED}", guarded.address()))
    }
}

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

/// A line about a program that has come.
fn introduction(name: &str, program: &Program) -> String {
    let Program { dialect, agent, address, pid } = program;
    let agent = if agent.is_empty() { "a program without a name" } else { agent };
    let process = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    format!("{agent} connected over the {dialect} dialect ({address}{process}): it mines as {name}")
}

/// The row of a program: its name, and its miner where it was here before. Nothing where there are too many.
fn row(crew: &mut Crew, sitter: &Sitter) -> Option<(String, Option<MinerId>)> {
    let own = [sitter.worker.clone(), command(sitter.pid).unwrap_or_default(), sitter.agent.clone()];
    let container = sitter.container().map(str::to_owned);
    let base =
        container.or_else(|| own.iter().find_map(|text| slug(text))).unwrap_or_else(|| "program".into());
    (1..=ROWS_MAX).find_map(|number| {
        let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let Some(id) = crew.called(&name) else { return Some((name, None)) };
        let free = |miner: &Miner| {
            let program = miner.plan().program.as_ref();
            program.is_some_and(|program| program.dialect == sitter.dialect.word()) && miner.is_down()
        };
        crew.get_mut(id).is_some_and(|miner| free(miner)).then_some((name, Some(id)))
    })
}

/// What a process calls itself, where the system says.
fn command(pid: Option<u32>) -> Option<String> {
    let text = crate::text::read_lossy(format!("/proc/{}/comm", pid?)).ok()?;
    Some(text.trim().to_owned())
}

/// The name of a miner out of a stranger's text.
fn slug(text: &str) -> Option<String> {
    const CHARS_MAX: usize = 28;
    let text = text.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let slug: String = text.chars().map(plain).take(CHARS_MAX).collect();
    let slug = slug.trim_matches(|c| c == '-' || c == '_');
    match slug.chars().next()? {
        first if first.is_ascii_digit() => Some(format!("m{slug}")),
        _ => Some(slug.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::wire::Dialect;

    fn sitter(worker: &str, agent: &str) -> Sitter {
        Sitter {
            dialect: Dialect::Pool,
            worker: worker.into(),
            agent: agent.into(),
            address: "127.0.0.1".into(),
            pid: None,
        }
    }

    #[test]
    fn a_strangers_text_makes_a_name_that_commands_take() {
        for (text, name) in [
            ("Rig 1", Some("rig-1")),
            ("lpminer/1.2.3", Some("lpminer")),
            ("7", Some("m7")),
            ("\u{1b}[2J", Some("m2j")),
            ("--", None),
            ("", None),
            ("ü", None),
        ] {
            assert_eq!(slug(text).as_deref(), name, "{text}");
        }
        assert!(slug(&"x".repeat(1000)).unwrap().len() <= 28);
    }

    #[test]
    fn a_program_that_comes_again_has_its_row_again_and_one_beside_it_another() {
        let (events, _kept) = mpsc::channel(1);
        let mut crew = Crew::new(events);
        let now = Instant::now();
        let program = |dialect| Program { dialect, agent: String::new(), address: "unix".into(), pid: None };
        assert_eq!(row(&mut crew, &sitter("rig1", "x/1")), Some(("rig1".into(), None)));
        let plan = |name: &str, dialect| {
            MinerPlan::of_program(name.into(), program(dialect), Duration::from_secs(10))
        };
        let gone = crew.add_program(plan("rig1", "pool"), now);
        assert_eq!(row(&mut crew, &sitter("rig1", "")), Some(("rig1".into(), Some(gone))));
        crew.add_program(plan("x", "gateway-rpc"), now);
        assert_eq!(row(&mut crew, &sitter("", "x/1")), Some(("x-2".into(), None)), "of another language");
        assert_eq!(row(&mut crew, &sitter("", "")), Some(("program".into(), None)));
    }
}
