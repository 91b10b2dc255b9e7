//! The one task that owns a session's state: everything that happens comes in here, one event at a time.
//!
//! ```text
//! provider frames --\
//! judged proofs -----\
//! work events -------->  Session  --> frames to the provider, receipts, log, sidecar, announcements
//! control calls -----/
//! signals, clock ---/
//! ```
//!
//! Here are the state, its beginning and end, and the loop that takes one event after the other. What an event changes
//! is in a module for each kind: `process` (the provider), `proofs`, `jobs` (the work source), `requests` (control
//! socket and signals), `story` (what is told), `describe` (the status). They share the state and take turns: while one
//! works, every other event waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc as sync_mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::SuperviseError;
use super::child::{Child, Event};
use super::grants::Grants;
use super::settings::{Options, Tunables};
use super::verifier::{self, Candidate, Judged, WAITING_MAX};
use crate::config::Config;
use crate::hardware;
use crate::sandbox::Policy;
use crate::session::announce::Announcer;
use crate::session::control::{Call, ControlSocket};
use crate::session::frame::ToProvider;
use crate::session::ledger::Ledger;
use crate::session::lock::Holder;
use crate::session::log::{Gate, Level, SessionLog};
use crate::session::plugin::Chosen;
use crate::session::provider::Order;
use crate::session::rate::Hashrate;
use crate::session::restart::RestartPolicy;
use crate::session::{metrics, stall};
use crate::work::{ProofStore, WorkEvent, WorkHandle, WorkJob, WorkStatus};

mod describe;
mod jobs;
mod process;
mod proofs;
mod requests;
mod story;

use jobs::{Offer, Unfit};
use process::Pulse;
use requests::Stopping;
use story::Flood;

/// Between two questions for the provider's own numbers.
const STATS_EVERY: Duration = Duration::from_secs(10);
/// How long the work source may take to end.
const WORK_STOP_TIME: Duration = Duration::from_secs(5);
/// Lines of output of the provider process that are logged per second, and the burst before that.
const OUTPUT_LINES: (u32, u32) = (20, 100);

/// Everything that a session is made of before it runs.
pub(super) struct Setup {
    pub options: Options,
    pub config: Config,
    pub tunables: Tunables,
    pub log: SessionLog,
    pub announcer: Announcer,
    pub chosen: Chosen,
    pub grants: Grants,
    pub order: Order,
    pub store: Arc<ProofStore>,
    pub holder: Holder,
}

/// A session's state. Every module below works on it, each for its own kind of event.
pub(super) struct Session {
    setup: Setup,
    policy: Policy,
    handle: Option<WorkHandle>,
    work: tokio::sync::watch::Receiver<WorkStatus>,
    began: Instant,
    began_at: SystemTime,
    child: Option<Child>,
    pulse: Pulse,
    epoch: u64,
    /// The pipe of the newest provider process has not ended.
    events_open: bool,
    events_in: mpsc::Sender<Event>,
    restart: RestartPolicy,
    restart_at: Option<Instant>,
    restart_why: Option<String>,
    jobs: VecDeque<(u64, WorkJob)>,
    next_job: u64,
    offer: Option<Offer>,
    unfit: Option<Unfit>,
    /// When the first job of the session was taken.
    running_since: Option<(Instant, SystemTime)>,
    stopping: Option<Stopping>,
    candidates: Option<sync_mpsc::SyncSender<Candidate>>,
    judging: usize,
    ledger: Ledger,
    hashrate: Hashrate,
    /// Hashes that were claimed when the last proof passed.
    claimed_at_proof: u64,
    last_proof_at: Option<SystemTime>,
    last_error: Option<String>,
    denied: BTreeMap<String, u64>,
    flood: Flood,
    provider_gate: Gate,
    output_gate: Gate,
    provider_stats: Option<serde_json::Value>,
    stats_asked_at: Instant,
    metrics_address: Option<(std::net::SocketAddr, bool)>,
    /// What is mined on, as soon as it is known.
    device: Arc<OnceLock<String>>,
    calls: mpsc::Receiver<Call>,
    events: mpsc::Receiver<Event>,
    judged: mpsc::UnboundedReceiver<Judged>,
    signals: Signals,
}

/// The signals that a session heeds.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What one turn of the loop found.
enum Turn {
    Provider(Event),
    Judged(Judged),
    Work(Option<WorkEvent>),
    Call(Call),
    Stop(&'static str),
    Reload,
    RestartDue,
    StopOverdue,
    Tick,
}

impl Session {
    pub(super) async fn new(
        setup: Setup,
        handle: WorkHandle,
        socket: ControlSocket,
    ) -> Result<Self, SuperviseError> {
        let now = Instant::now();
        let runtime = SuperviseError::Runtime;
        let signals = Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(runtime)?,
            terminate: signal(SignalKind::terminate()).map_err(runtime)?,
            hangup: signal(SignalKind::hangup()).map_err(runtime)?,
        };
        let (calls_in, calls) = mpsc::channel(16);
        tokio::spawn(socket.serve(calls_in.clone()));
        let metrics_address = match setup.config.mining.session.metrics_listen {
            None => None,
            Some(address) => match metrics::bind(address).await {
                Ok(listener) => {
                    let bound = listener.local_addr().unwrap_or(address);
                    tokio::spawn(metrics::serve(listener, calls_in));
                    Some((bound, true))
                }
                Err(_) => Some((address, false)),
            },
        };
        let (judged_in, judged) = mpsc::unbounded_channel();
        let candidates = verifier::spawn(handle.proofs.clone(), judged_in).map_err(runtime)?;
        let (events_in, events) = mpsc::channel(64);
        let policy = setup.grants.policy(&setup.chosen.path);
        let mut session = Self {
            policy,
            work: handle.status.clone(),
            handle: Some(handle),
            began: now,
            began_at: SystemTime::now(),
            child: None,
            pulse: Pulse::default(),
            epoch: 0,
            events_open: false,
            events_in,
            restart: RestartPolicy::new(RestartPolicy::FAILURES_MAX),
            restart_at: None,
            restart_why: None,
            jobs: VecDeque::new(),
            next_job: 1,
            offer: None,
            unfit: None,
            running_since: None,
            stopping: None,
            candidates: Some(candidates),
            judging: 0,
            ledger: Ledger::default(),
            hashrate: Hashrate::default(),
            claimed_at_proof: 0,
            last_proof_at: None,
            last_error: None,
            denied: BTreeMap::new(),
            flood: Flood::new(now),
            provider_gate: Gate::new(40, 400, now),
            output_gate: Gate::new(OUTPUT_LINES.0, OUTPUT_LINES.1, now),
            provider_stats: None,
            stats_asked_at: now,
            metrics_address,
            device: look_for_device(setup.grants.has_devices()),
            calls,
            events,
            judged,
            signals,
            setup,
        };
        if let Some((address, false)) = session.metrics_address {
            session.trouble(&format!("metrics cannot be served on {address}: the address cannot be used"));
        }
        Ok(session)
    }

    /// Runs to the end. The provider process has ended then, and every proof it handed in is judged.
    pub(super) async fn run(mut self) -> (Self, Result<String, SuperviseError>) {
        let result = self.turns().await;
        if let Some(mut child) = self.child.take() {
            child.end();
        }
        self.read_the_rest().await;
        self.judge_the_rest().await;
        self.candidates = None;
        let result = match result {
            Ok(()) => Ok(self.stopping.as_ref().map(|stopping| stopping.reason.clone()).unwrap_or_default()),
            Err(err) => Err(err),
        };
        match &result {
            Ok(reason) => self.info(&format!("session ends: {reason}")),
            Err(err) => {
                let text = format!("session ends: {}", verifier::chain(err));
                self.line(Level::Error, &text);
            }
        }
        (self, result)
    }

    /// Ends the work source.
    pub(super) async fn tidy_up(mut self) {
        if let Some(handle) = self.handle.take() {
            let _ = timeout(WORK_STOP_TIME, handle.stop()).await;
        }
    }

    async fn turns(&mut self) -> Result<(), SuperviseError> {
        self.start_provider()?;
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = self.next_turn(&mut tick).await;
            let now = Instant::now();
            match turn {
                Turn::Provider(event) => self.provider_event(event, now).await?,
                Turn::Judged(judged) => self.judged(judged),
                Turn::Work(Some(event)) => self.work_event(event, now)?,
                Turn::Work(None) => return Err(SuperviseError::WorkEnded),
                Turn::Call(call) => self.call(call, now),
                Turn::Stop(why) => self.stop(why, now),
                Turn::Reload => drop(self.reload()),
                Turn::RestartDue => {
                    self.restart_at = None;
                    if let Err(err) = self.start_provider() {
                        self.provider_failed(verifier::chain(&err), now)?;
                    }
                }
                Turn::StopOverdue => self.kill_what_does_not_stop(),
                Turn::Tick => self.tick(now)?,
            }
            if self.stopping.is_some() && self.child.is_none() {
                return Ok(());
            }
        }
    }

    async fn next_turn(&mut self, tick: &mut tokio::time::Interval) -> Turn {
        let restart_at = self.restart_at.filter(|_| self.stopping.is_none());
        let overdue_at = self.stopping.as_ref().map(|stopping| stopping.deadline);
        let handle = self.handle.as_mut().expect("the work source is ended after the last turn");
        // Where the verifier has its hands full, the provider waits.
        let room = self.judging < WAITING_MAX;
        tokio::select! {
            Some(event) = self.events.recv(), if room => Turn::Provider(event),
            Some(judged) = self.judged.recv() => Turn::Judged(judged),
            event = handle.events.recv() => Turn::Work(event),
            Some(call) = self.calls.recv() => Turn::Call(call),
            _ = self.signals.interrupt.recv() => Turn::Stop("interrupted (SIGINT)"),
            _ = self.signals.terminate.recv() => Turn::Stop("told to end (SIGTERM)"),
            _ = self.signals.hangup.recv() => Turn::Reload,
            () = sleep_until_some(restart_at) => Turn::RestartDue,
            () = sleep_until_some(overdue_at) => Turn::StopOverdue,
            _ = tick.tick() => Turn::Tick,
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), SuperviseError> {
        self.look_at_child(now);
        self.say_flood(now);
        if self.stopping.is_some() {
            return Ok(());
        }
        if self.child.is_some() && now - self.stats_asked_at >= STATS_EVERY {
            self.stats_asked_at = now;
            self.send(ToProvider::AskStats);
        }
        if self.child.is_some()
            && let Some(why) = stall::judge(&self.stall_facts(now))
        {
            if let Some(mut child) = self.child.take() {
                child.end();
            }
            return self.provider_failed(format!("is stalled: it {why}"), now);
        }
        Ok(())
    }
}

/// The graphics processors of a provider that may use them, else the processor. Found out beside everything else.
fn look_for_device(graphics: bool) -> Arc<OnceLock<String>> {
    let device = Arc::new(OnceLock::new());
    let found = Arc::clone(&device);
    tokio::task::spawn_blocking(move || {
        let options = hardware::Options { drivers: hardware::Drivers::Skip, ..hardware::Options::default() };
        let info = hardware::inspect(&options).info;
        let names: Vec<String> = info.gpus.iter().map(|gpu| gpu.name.clone()).collect();
        let text = if graphics && !names.is_empty() {
            names.join(", ")
        } else {
            format!("{}, {} cores", info.cpu.brand.trim(), info.cpu.physical_cores)
        };
        found.set(crate::text::printable(&text).into_owned())
    });
    device
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
