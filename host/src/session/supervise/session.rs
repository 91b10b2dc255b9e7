//! The one task that owns a session's state: everything that happens comes in here, one event at a time.
//!
//! ```text
//! provider frames --\
//! judged proofs -----\
//! work events -------->  Session  --> frames to the provider, receipts, log, sidecar, announcements
//! control calls -----/
//! signals, clock ---/
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::mpsc as sync_mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::SuperviseError;
use super::child::{Child, Event, What};
use super::grants::Grants;
use super::settings::{Options, Tunables};
use super::verifier::{self, Candidate, Judged, Verdict, WAITING_MAX};
use crate::config::Config;
use crate::hardware;
use crate::sandbox::Policy;
use crate::session::announce::{Announcement, Announcer};
use crate::session::control::{Call, ControlSocket, Request};
use crate::session::frame::{FromProvider, Receipt, ToProvider, WireJob};
use crate::session::ledger::{Ledger, hashes_per_proof};
use crate::session::lock::Holder;
use crate::session::log::{Gate, Level, SessionLog, Speaker};
use crate::session::plugin::{self, Chosen};
use crate::session::provider::Order;
use crate::session::rate::Hashrate;
use crate::session::report::ProofReport;
use crate::session::restart::{Next, RestartPolicy};
use crate::session::{metrics, notify, stall};
use crate::sidecar::{Own, Sidecar};
use crate::work::{Condition, ProofState, ProofStore, WorkEvent, WorkHandle, WorkJob, WorkStatus};

/// Jobs that are remembered, so that a late proof is told from one for no job at all.
const JOBS_MAX: usize = 32;
/// Failures in a row that are borne before a provider has taken its first job.
const FAILURES_BEFORE_FIRST_JOB: u32 = 3;
/// Refused proofs in a row after which the session is not called earning.
pub(super) const REFUSED_MAX: u64 = 3;
/// How long a job may be on offer before a provider that took the one before is not called earning.
pub(super) const TAKING_TIME: Duration = Duration::from_secs(5);
/// Between two questions for the provider's own numbers.
const STATS_EVERY: Duration = Duration::from_secs(10);
/// Between two lines about what was held back.
const FLOOD_LINE_EVERY: Duration = Duration::from_secs(10);
/// How long found proofs may take to be judged once the provider has ended.
const JUDGING_TIME: Duration = Duration::from_secs(10);
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

/// The job that the provider may work on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub id: u64,
    pub at: Instant,
    pub taken: bool,
    /// How long the provider took to take it.
    pub took: Option<Duration>,
}

/// The network wants what this provider, or this host, does not speak.
#[derive(Debug, Clone)]
pub(super) struct Unfit {
    pub version: u32,
    pub speakers: Vec<String>,
    pub host_speaks: bool,
}

/// What is known of the provider process that runs now.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When it first took a job, without a break since.
    pub mining_since: Option<Instant>,
    pub progress_at: Option<Instant>,
    /// When its last proof passed.
    pub proof_at: Option<Instant>,
    /// Proofs that were due since then by the hashes that it has claimed.
    pub due_since_proof: f64,
    /// `start` has returned.
    pub started: bool,
    /// Why it says that it failed.
    pub failed: Option<String>,
    /// It says that it has stopped.
    pub stopped: bool,
}

pub(super) struct Session {
    pub(super) setup: Setup,
    policy: Policy,
    handle: Option<WorkHandle>,
    pub(super) work: tokio::sync::watch::Receiver<WorkStatus>,
    pub(super) began: Instant,
    pub(super) began_at: SystemTime,
    pub(super) child: Option<Child>,
    pub(super) pulse: Pulse,
    epoch: u64,
    /// The pipe of the newest provider process has not ended.
    events_open: bool,
    events_in: mpsc::Sender<Event>,
    pub(super) restart: RestartPolicy,
    pub(super) restart_at: Option<Instant>,
    pub(super) restart_why: Option<String>,
    jobs: VecDeque<(u64, WorkJob)>,
    next_job: u64,
    pub(super) offer: Option<Offer>,
    pub(super) unfit: Option<Unfit>,
    /// When the first job of the session was taken.
    pub(super) running_since: Option<(Instant, SystemTime)>,
    pub(super) stopping: Option<Stopping>,
    candidates: Option<sync_mpsc::SyncSender<Candidate>>,
    judging: usize,
    pub(super) ledger: Ledger,
    pub(super) hashrate: Hashrate,
    /// Hashes that were claimed when the last proof passed.
    claimed_at_proof: u64,
    pub(super) last_proof_at: Option<SystemTime>,
    pub(super) last_error: Option<String>,
    pub(super) denied: BTreeMap<String, u64>,
    pub(super) log_lines_dropped: u64,
    log_lines_dropped_said: u64,
    pub(super) throttled: u64,
    throttled_said: u64,
    flood_said_at: Instant,
    provider_gate: Gate,
    output_gate: Gate,
    pub(super) provider_stats: Option<serde_json::Value>,
    stats_asked_at: Instant,
    pub(super) metrics_address: Option<(std::net::SocketAddr, bool)>,
    /// What is mined on, as soon as it is known.
    pub(super) device: Arc<OnceLock<String>>,
    calls: mpsc::Receiver<Call>,
    events: mpsc::Receiver<Event>,
    judged: mpsc::UnboundedReceiver<Judged>,
    signals: Signals,
}

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stopping {
    pub since: Instant,
    pub since_time: SystemTime,
    deadline: Instant,
    reason: String,
}

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
            log_lines_dropped: 0,
            log_lines_dropped_said: 0,
            throttled: 0,
            throttled_said: 0,
            flood_said_at: now,
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
        // What was handed in and not judged yet is on nobody's disk.
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.judging > 0 {
            match tokio::time::timeout_at(deadline, self.judged.recv()).await {
                Ok(Some(judged)) => self.judged(judged),
                _ => break,
            }
        }
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

    /// Takes the proofs that a provider process had handed in when it was ended.
    async fn read_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.events_open {
            if self.judging >= WAITING_MAX {
                match tokio::time::timeout_at(deadline, self.judged.recv()).await {
                    Ok(Some(judged)) => self.judged(judged),
                    _ => return,
                }
                continue;
            }
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await else { return };
            match event.what {
                What::Frame(FromProvider::Submit { sequence, job, proof }) => {
                    self.submitted(event.epoch, sequence, job, proof, Instant::now());
                }
                What::Closed(_) if event.epoch == self.epoch => self.events_open = false,
                _ => {}
            }
        }
    }

    /// Ends the work source.
    pub(super) async fn tidy_up(mut self) {
        if let Some(handle) = self.handle.take() {
            let _ = timeout(WORK_STOP_TIME, handle.stop()).await;
        }
    }

    /// The counts so far.
    pub(super) fn proofs(&self) -> ProofReport {
        self.ledger.report(self.setup.store.len())
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

    // The provider process.

    fn start_provider(&mut self) -> Result<(), SuperviseError> {
        self.epoch += 1;
        self.pulse = Pulse::default();
        let now = Instant::now();
        self.restart.started(now);
        let spawned = Child::spawn(self.epoch, &self.setup.order, &self.policy, self.events_in.clone());
        let child = spawned
            .map_err(|err| SuperviseError::Spawn { provider: self.setup.chosen.manifest.id.clone(), err })?;
        self.events_open = true;
        let failed = child.report().failed.clone();
        self.child = Some(child);
        if self.epoch == 1 {
            for lack in failed {
                self.line(Level::Warn, &format!("the provider process is confined by less: {lack}"));
            }
        }
        if let Some(offer) = &mut self.offer {
            offer.taken = false;
            offer.took = None;
            offer.at = now;
        }
        self.send_offer();
        self.write_sidecar();
        Ok(())
    }

    fn send_offer(&mut self) {
        let Some(offer) = self.offer else { return };
        let Some((_, job)) = self.jobs.iter().find(|(id, _)| *id == offer.id) else { return };
        let frame = ToProvider::Job(WireJob {
            id: offer.id,
            header: job.header,
            target: job.target,
            certificate_version: job.certificate_version,
            rank_penalty: job.rank_penalty,
        });
        self.send(frame);
    }

    /// A process that does not read is ended; its pipe's end comes as an event then.
    fn send(&mut self, frame: ToProvider) {
        let Some(child) = &mut self.child else { return };
        if !child.send(frame) {
            self.pulse.failed.get_or_insert_with(|| "does not read what it is sent".into());
            child.end();
        }
    }

    async fn provider_event(&mut self, event: Event, now: Instant) -> Result<(), SuperviseError> {
        if matches!(event.what, What::Closed(_)) && event.epoch == self.epoch {
            self.events_open = false;
        }
        if self.child.as_ref().is_none_or(|child| child.epoch() != event.epoch) {
            // A proof that a process handed in before it ended is as good as any.
            if let What::Frame(FromProvider::Submit { sequence, job, proof }) = event.what {
                self.submitted(event.epoch, sequence, job, proof, now);
            }
            return Ok(());
        }
        match event.what {
            What::Frame(frame) => self.frame(event.epoch, frame, now),
            What::Throttled => self.throttled += 1,
            What::Closed(why) => return self.provider_ended(why, now).await,
        }
        Ok(())
    }

    fn frame(&mut self, epoch: u64, frame: FromProvider, now: Instant) {
        match frame {
            FromProvider::Hello { .. } | FromProvider::Confined(_) => {}
            FromProvider::Started => {
                self.pulse.started = true;
                let pid = self.child.as_ref().map_or(0, |child| child.identity().pid);
                self.info(&format!("the provider has started (process {pid})"));
            }
            FromProvider::Failed(why) => self.pulse.failed = Some(why),
            FromProvider::Took(id) => self.took(id, now),
            FromProvider::Submit { sequence, job, proof } => self.submitted(epoch, sequence, job, proof, now),
            FromProvider::Progress(hashes) => {
                self.hashrate.add(hashes, now);
                self.pulse.progress_at = Some(now);
                // At the target of the moment: the next job may be easier, and what was done before was not.
                if let Some(each) = self.job_in_work().and_then(|job| hashes_per_proof(&job.target)) {
                    self.pulse.due_since_proof += hashes as f64 / each;
                }
            }
            FromProvider::Log { level, message } => {
                if self.provider_gate.pass(now) {
                    self.setup.log.line(Level::from_wire(level), Speaker::Provider, &message);
                } else {
                    self.log_lines_dropped += 1;
                }
            }
            FromProvider::LogDropped(lines) => {
                self.log_lines_dropped = self.log_lines_dropped.saturating_add(lines);
            }
            FromProvider::Stats(json) => self.provider_stats = serde_json::from_str(&json).ok(),
            FromProvider::Denied(what) => self.deny(what, 1),
            FromProvider::Stopped(problem) => {
                self.pulse.stopped = true;
                if !problem.is_empty() {
                    self.trouble(&format!("the provider could not stop in order: {problem}"));
                }
            }
        }
    }

    fn took(&mut self, id: u64, now: Instant) {
        let Some(offer) = self.offer.as_mut().filter(|offer| offer.id == id) else { return };
        offer.taken = true;
        offer.took.get_or_insert(now.saturating_duration_since(offer.at));
        self.hashrate.begin(now);
        self.pulse.mining_since.get_or_insert(now);
        if self.running_since.is_some() {
            return;
        }
        self.running_since = Some((now, SystemTime::now()));
        let taken = format!("the provider took its first job after {} ms", (now - self.began).as_millis());
        self.info(&taken);
        self.write_sidecar();
        let provider_pid = self.child.as_ref().map_or(0, |child| child.identity().pid);
        let pid = self.setup.holder.supervisor.pid;
        self.setup.announcer.tell(&Announcement::Ready { pid, provider_pid });
        self.setup.announcer.close();
        self.notify(&format!("READY=1\nMAINPID={pid}\nSTATUS=mining with {}", self.setup.chosen.manifest.id));
    }

    async fn provider_ended(&mut self, why: Option<String>, now: Instant) -> Result<(), SuperviseError> {
        self.look_at_child(now);
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ending = match &why {
            Some(_) => child.end(),
            None => child.ended().await,
        };
        drop(child);
        let asked = self.stopping.is_some();
        if asked {
            if !self.pulse.stopped {
                self.line(Level::Warn, &format!("the provider process ended while it stopped: {ending}"));
            }
            return Ok(());
        }
        let refused = !self.pulse.started && self.pulse.failed.is_some();
        let reason = match (self.pulse.failed.take(), why) {
            (Some(failed), _) => failed,
            (None, Some(why)) => format!("was ended: {why}"),
            (None, None) => format!("ended unasked: {ending}"),
        };
        if refused && self.running_since.is_none() {
            let provider = self.setup.chosen.manifest.id.clone();
            return Err(SuperviseError::Provider { provider, why: reason });
        }
        self.provider_failed(reason, now)
    }

    /// Decides what follows a provider process that is gone.
    fn provider_failed(&mut self, why: String, now: Instant) -> Result<(), SuperviseError> {
        self.pulse = Pulse::default();
        self.trouble(&format!("the provider {why}"));
        let provider = self.setup.chosen.manifest.id.clone();
        match self.restart.ended(now) {
            Next::RestartAt(at)
                if self.running_since.is_some() || self.restart.in_a_row().0 < FAILURES_BEFORE_FIRST_JOB =>
            {
                let (failures, failures_max) = self.restart.in_a_row();
                self.info(&format!(
                    "the provider starts again in {} s (failure {failures} in a row; given up at {failures_max})",
                    (at - now).as_secs()
                ));
                self.restart_at = Some(at);
                self.restart_why = Some(why);
                self.write_sidecar();
                Ok(())
            }
            Next::RestartAt(_) => {
                let (failures, _) = self.restart.in_a_row();
                Err(SuperviseError::GaveUp { provider, failures, why })
            }
            Next::GiveUp { failures } => Err(SuperviseError::GaveUp { provider, failures, why }),
        }
    }

    // Proofs.

    fn submitted(&mut self, epoch: u64, sequence: u64, id: u64, proof: Vec<u8>, now: Instant) {
        self.ledger.found();
        let Some((_, job)) = self.jobs.iter().find(|(known, _)| *known == id) else {
            self.refused(epoch, sequence, "job", &format!("it is for job {id}, which was never given out"));
            return;
        };
        let job = job.clone();
        if self.offer.is_none_or(|offer| offer.id != id) {
            self.ledger.stale_before_leaving();
            self.info(&format!("a proof for job {id} came too late and was dropped"));
            self.receipt(epoch, sequence, Receipt::Stale, "the job is over");
            return;
        }
        let candidate = Candidate { epoch, sequence, job, proof };
        let sent = self.candidates.as_ref().map(|candidates| candidates.try_send(candidate));
        match sent {
            Some(Ok(())) => self.judging += 1,
            // There is room for as many as are read at once; a thread that has gone has said why.
            _ => {
                self.receipt(epoch, sequence, Receipt::Busy, "the verifier is not there");
                self.trouble_at("a proof could not be verified: the verifier is not there", now);
            }
        }
    }

    fn judged(&mut self, judged: Judged) {
        self.judging -= 1;
        let Judged { epoch, sequence, job, verdict } = judged;
        match verdict {
            Verdict::Passed { id, not_kept } => {
                let now = Instant::now();
                let hashes = hashes_per_proof(&job.target).unwrap_or_default();
                self.ledger.verified(id.clone(), hashes);
                self.last_proof_at = Some(SystemTime::now());
                self.pulse.proof_at = Some(now);
                self.pulse.due_since_proof = 0.0;
                self.claimed_at_proof = self.hashrate.total();
                let height = job.height.map(|height| format!(" for height {height}")).unwrap_or_default();
                self.info(&format!("proof {id}{height} found and verified"));
                if let Some(why) = not_kept {
                    self.trouble(&format!("proof {id} is not on disk, so a crash would lose it: {why}"));
                }
                self.receipt(epoch, sequence, Receipt::Kept, "");
            }
            Verdict::Refused { stage, why } => self.refused(epoch, sequence, &stage, &why),
            Verdict::NotTaken(why) => {
                self.trouble_at(&format!("a verified proof was not taken: {why}"), Instant::now());
                self.receipt(epoch, sequence, Receipt::Busy, &why);
            }
        }
    }

    fn refused(&mut self, epoch: u64, sequence: u64, stage: &str, why: &str) {
        self.ledger.refused(stage);
        let text = format!("a proof was refused at stage {stage}: {why}");
        // The first few in full; a provider that goes on like this shall not write our log.
        if self.ledger.refused_in_a_row() <= 10 || self.provider_gate.pass(Instant::now()) {
            self.line(Level::Warn, &text);
        } else {
            self.log_lines_dropped += 1;
        }
        self.last_error = Some(text);
        self.receipt(epoch, sequence, Receipt::Refused, why);
    }

    fn receipt(&mut self, epoch: u64, sequence: u64, receipt: Receipt, reason: &str) {
        if self.child.as_ref().is_some_and(|child| child.epoch() == epoch) {
            self.send(ToProvider::Receipt { sequence, receipt, reason: reason.into() });
        }
    }

    // Work.

    fn work_event(&mut self, event: WorkEvent, now: Instant) -> Result<(), SuperviseError> {
        match event {
            WorkEvent::Job(job) => self.new_job(job, now),
            WorkEvent::Condition(condition) => self.new_condition(&condition, now),
            WorkEvent::Proof { id, state } => {
                let ours = self.ledger.moved(&id, &state);
                self.proof_line(&id.to_string(), &state, ours);
            }
            WorkEvent::Note(text) => self.info(&text),
        }
        Ok(())
    }

    fn new_job(&mut self, job: WorkJob, now: Instant) {
        let version = job.certificate_version;
        let speaks = self.setup.chosen.manifest.certificate_versions.contains(&version);
        let host_speaks = pearl_pow::CertificateVersion::try_from(version).is_ok();
        let id = self.next_job;
        self.next_job += 1;
        if self.jobs.len() == JOBS_MAX {
            self.jobs.pop_front();
        }
        self.jobs.push_back((id, job));
        if speaks && host_speaks {
            if let Some(unfit) = self.unfit.take() {
                self.info(&format!(
                    "the network wants certificate version {version} (it wanted {}): mining resumes",
                    unfit.version
                ));
            }
            self.offer = Some(Offer { id, at: now, taken: false, took: None });
            self.send_offer();
            return;
        }
        if let Some(offer) = self.offer.take() {
            self.send(ToProvider::Stale(offer.id));
        }
        self.pulse.mining_since = None;
        if self.unfit.as_ref().is_none_or(|unfit| unfit.version != version) {
            let speakers = plugin::speakers(&self.setup.options, &self.setup.config, version);
            let unfit = Unfit { version, speakers, host_speaks };
            let (sentence, hint) = self.unfit_words(&unfit);
            self.trouble(&format!("{sentence}; {hint}"));
            self.setup.announcer.tell(&Announcement::Waiting {
                reason: sentence,
                hint: Some(hint),
                exit: crate::exit::Exit::NeedsUpdate.code(),
            });
            self.unfit = Some(unfit);
        }
    }

    fn new_condition(&mut self, condition: &Condition, now: Instant) {
        let sentence = condition.sentence(now);
        let level = if condition.is_earning() { Level::Info } else { Level::Warn };
        self.line(level, &format!("{}: {sentence}", self.work.borrow().source));
        if !condition.is_earning() && self.running_since.is_none() {
            self.setup.announcer.tell(&Announcement::Waiting {
                reason: sentence,
                hint: condition.hint().map(str::to_owned),
                exit: crate::exit::Exit::NotEarning.code(),
            });
        }
    }

    fn proof_line(&mut self, id: &str, state: &ProofState, ours: bool) {
        let whose = if ours { "" } else { " of an earlier session" };
        let (level, what) = match state {
            ProofState::Kept => return,
            ProofState::HandedOver { attempt: 1 } => (Level::Info, "was handed over".to_owned()),
            ProofState::HandedOver { attempt } => {
                (Level::Info, format!("was handed over again (time {attempt})"))
            }
            ProofState::InBlock { hash, height } => (Level::Info, format!("is in block {height} ({hash})")),
            ProofState::Confirmed { height, confirmations, .. } => {
                (Level::Info, format!("is confirmed: block {height} has {confirmations} confirmations"))
            }
            ProofState::Stale { reason } => (Level::Info, format!("is stale: {reason}")),
            ProofState::Rejected { reason } => (Level::Warn, format!("was rejected: {reason}")),
            ProofState::Untraced { reason } => (Level::Info, format!("cannot be followed further: {reason}")),
        };
        self.line(level, &format!("proof {id}{whose} {what}"));
        if let ProofState::Rejected { .. } = state {
            self.last_error = Some(format!("proof {id} {what}"));
        }
    }

    // Requests and signals.

    fn call(&mut self, call: Call, now: Instant) {
        let answer = match call.request {
            Request::Status => {
                let report = self.report(now);
                serde_json::to_value(report).unwrap_or_default()
            }
            Request::Stop => {
                self.stop("asked to by `pearlbed stop`", now);
                serde_json::json!({ "stopping": true })
            }
            Request::Reload => self.reload(),
        };
        // Who asked may have gone meanwhile.
        let _ = call.answer.send(answer);
    }

    fn stop(&mut self, reason: &str, now: Instant) {
        if self.stopping.is_some() {
            // Asked twice by a signal: the second time is meant.
            if reason.contains("SIG") {
                self.kill_what_does_not_stop();
            }
            return;
        }
        self.info(&format!("stopping: {reason}"));
        self.notify("STOPPING=1");
        self.stopping = Some(Stopping {
            since: now,
            since_time: SystemTime::now(),
            deadline: now + self.setup.tunables.stop_grace,
            reason: reason.into(),
        });
        self.restart_at = None;
        self.send(ToProvider::Stop);
    }

    fn kill_what_does_not_stop(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        let waited = stopping.since.elapsed();
        // The end of its pipe comes as an event; until then nobody asks again.
        stopping.deadline = Instant::now() + Duration::from_secs(3600);
        if let Some(child) = &mut self.child {
            let pid = child.identity().pid;
            child.end();
            let text = format!(
                "the provider process {pid} did not stop within {} and was ended",
                crate::text::duration(waited)
            );
            self.line(Level::Warn, &text);
            self.last_error = Some(text);
            self.child = None;
        }
    }

    fn reload(&mut self) -> serde_json::Value {
        self.notify("RELOADING=1");
        let config = match self.setup.options.config() {
            Ok(config) => config,
            Err(err) => {
                let text = format!("the configuration was not reloaded: {}", verifier::chain(&err));
                self.trouble(&text);
                self.notify("READY=1");
                return serde_json::json!({ "error": text });
            }
        };
        let tunables = Tunables::of(&config);
        let (old, new) = (&self.setup.config.mining, &config.mining);
        let mut later = Vec::new();
        for (key, changed) in [
            ("provider", old.provider != new.provider),
            ("wallet_address", old.wallet_address != new.wallet_address),
            ("submit_target", old.submit_target != new.submit_target),
            ("extra", old.extra != new.extra),
            ("grants", old.grants != new.grants),
            ("gateway", old.gateway != new.gateway),
            ("node", old.node != new.node),
            ("session.metrics_listen", old.session.metrics_listen != new.session.metrics_listen),
        ] {
            if changed {
                later.push(format!("mining.{key}"));
            }
        }
        let mut now = Vec::new();
        let was = self.setup.tunables;
        for (key, changed) in [
            ("stop_grace", was.stop_grace != tunables.stop_grace),
            ("stall_after", was.stall_after != tunables.stall_after),
            ("log_size", was.log_bytes_max != tunables.log_bytes_max),
        ] {
            if changed {
                now.push(format!("mining.session.{key}"));
            }
        }
        self.setup.tunables = tunables;
        self.setup.log.set_size_max(tunables.log_bytes_max);
        let list = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        self.info(&format!("configuration read again; in force now: {}", list(&now)));
        if !later.is_empty() {
            self.line(Level::Warn, &format!("in force after a restart only: {}", list(&later)));
        }
        self.notify("READY=1");
        serde_json::json!({ "in_force": now, "after_restart": later })
    }

    // The clock.

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

    fn stall_facts(&self, now: Instant) -> stall::Facts {
        let since = |at: Instant| now.saturating_duration_since(at);
        let mining = self.pulse.mining_since.map(since);
        let barren = match (self.pulse.proof_at.map(since), mining) {
            (Some(proof), Some(mining)) => proof.min(mining),
            (proof, mining) => proof.or(mining).unwrap_or_default(),
        };
        let waits =
            self.offer.filter(|offer| !offer.taken && self.pulse.started).map(|offer| since(offer.at));
        // A plugin that never returns from `start` keeps its job waiting, too.
        let starts = (!self.pulse.started && self.offer.is_some())
            .then(|| self.offer.map(|offer| since(offer.at)))
            .flatten();
        stall::Facts {
            patience: self.setup.tunables.stall_after,
            job_waits: waits.or(starts),
            progress: self.pulse.progress_at.map(since),
            mining: mining.filter(|_| self.offer.is_some_and(|offer| offer.taken)),
            barren,
            barren_due: self.pulse.due_since_proof,
            proofs: self.ledger.verified_work().proofs(),
            borne_out: self.ledger.verified_work().hashes() / self.claimed_at_proof as f64,
        }
    }

    fn look_at_child(&mut self, now: Instant) {
        let Some(child) = &mut self.child else { return };
        let outputs = child.output();
        let violations = child.violations();
        for output in outputs {
            for line in output.text.lines().filter(|line| !line.trim().is_empty()) {
                if self.output_gate.pass(now) {
                    self.setup.log.line(Level::Info, Speaker::Output, line);
                } else {
                    self.log_lines_dropped += 1;
                }
            }
            if output.bytes_left_out > 0 {
                self.log_lines_dropped += output.bytes_left_out.div_ceil(80);
            }
        }
        for violation in violations {
            let count = violation.count;
            let what = crate::sandbox::Violation { count: 1, ..violation }.to_string();
            self.deny(what, count);
        }
    }

    fn deny(&mut self, what: String, count: u64) {
        /// Different denials that are kept.
        const DENIALS_MAX: usize = 64;
        if let Some(known) = self.denied.get_mut(&what) {
            *known += count;
        } else if self.denied.len() < DENIALS_MAX {
            self.trouble(&format!("denied: the provider {what}"));
            self.denied.insert(what, count);
        }
    }

    fn say_flood(&mut self, now: Instant) {
        if now - self.flood_said_at < FLOOD_LINE_EVERY {
            return;
        }
        self.flood_said_at = now;
        let lines = self.log_lines_dropped - self.log_lines_dropped_said;
        let throttled = self.throttled - self.throttled_said;
        self.log_lines_dropped_said = self.log_lines_dropped;
        self.throttled_said = self.throttled;
        if lines > 0 {
            self.line(
                Level::Warn,
                &format!("{lines} log lines of the provider were dropped: it writes too many"),
            );
        }
        if throttled > 0 {
            self.line(
                Level::Warn,
                &format!("the provider floods its pipe; it was slowed down {throttled} times"),
            );
        }
    }

    // Helpers.

    /// The job that the provider works on.
    pub(super) fn job_in_work(&self) -> Option<&WorkJob> {
        let offer = self.offer?;
        self.jobs.iter().find(|(id, _)| *id == offer.id).map(|(_, job)| job)
    }

    /// What the network wants, and what to do, in words.
    pub(super) fn unfit_words(&self, unfit: &Unfit) -> (String, String) {
        let Unfit { version, speakers, host_speaks } = unfit;
        let manifest = &self.setup.chosen.manifest;
        let spoken: Vec<String> = manifest.certificate_versions.iter().map(u32::to_string).collect();
        if !host_speaks {
            let sentence = format!(
                "the network wants certificate version {version}, which this pearlbed {} cannot verify",
                env!("CARGO_PKG_VERSION")
            );
            return (
                sentence,
                "install a newer pearlbed; mining resumes by itself when a fitting job comes".into(),
            );
        }
        let sentence = format!(
            "the network wants certificate version {version}, and `{}` speaks {}",
            manifest.id,
            spoken.join(", ")
        );
        let hint = match speakers.as_slice() {
            [] => format!("no plugin here speaks version {version}: install a newer one"),
            [one] => format!("`{one}` here speaks it: `pearlbed start --provider {one}`"),
            many => format!("these here speak it: {}", many.join(", ")),
        };
        (sentence, hint)
    }

    fn write_sidecar(&mut self) {
        if self.running_since.is_none() {
            return;
        }
        let metrics = self.metrics_address.filter(|(_, bound)| *bound);
        let metrics = metrics.map(|(address, _)| format!("http://{address}/metrics"));
        let gateway_url =
            self.work.borrow().endpoints.iter().find(|endpoint| endpoint.purpose == "gateway").map(
                |endpoint| match endpoint.address.strip_prefix("tcp:") {
                    Some(address) => format!("http://{address}"),
                    None => endpoint.address.clone(),
                },
            );
        let record = Sidecar {
            provider: Some(self.setup.chosen.manifest.id.clone()),
            model: self.setup.config.mining.model.clone(),
            wallet_address: Some(self.setup.config.mining.wallet_address.clone().unwrap_or_default()),
            started_at: Some(super::unix_seconds(self.began_at)),
            gateway_url,
            gateway_metrics_url: metrics.clone(),
            metrics_url: metrics,
            gateway_pid: Some(self.setup.holder.supervisor.pid),
            miner_loop_pid: self.child.as_ref().map(|child| child.identity().pid),
            container_id: None,
            vllm_endpoint: None,
            pearlbed: Some(Own {
                supervisor: self.setup.holder.supervisor.clone(),
                socket: Some(self.setup.holder.socket.clone()),
                version: env!("CARGO_PKG_VERSION").into(),
                attached: false,
            }),
        };
        if let Err(err) = record.write(&self.setup.options.home.sidecar_file()) {
            // Status, stop and the lock do without it; OpenJarvis does not see the session.
            self.trouble(&verifier::chain(&err));
        }
    }

    fn notify(&mut self, state: &str) {
        let address = self.setup.options.env.var_os("NOTIFY_SOCKET").map(ToOwned::to_owned);
        let sent: io::Result<()> = notify::notify(address.as_deref(), state);
        if let Err(err) = sent {
            self.line(Level::Warn, &format!("the service manager could not be told: {err}"));
        }
    }

    fn line(&mut self, level: Level, text: &str) {
        self.setup.log.line(level, Speaker::Supervisor, text);
    }

    fn info(&mut self, text: &str) {
        self.line(Level::Info, text);
    }

    /// A warning that `status` shows as the last error.
    fn trouble(&mut self, text: &str) {
        self.line(Level::Warn, text);
        self.last_error = Some(text.to_owned());
    }

    fn trouble_at(&mut self, text: &str, now: Instant) {
        if self.provider_gate.pass(now) {
            self.trouble(text);
        }
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
