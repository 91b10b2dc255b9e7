//! The one task that owns a session: everything that happens comes in here, one event at a time.
//!
//! ```text
//! miners' events ---\
//! judged proofs -----\
//! work events -------->  Session  --> effects: the log, the verifier, the record, announcements
//! control calls -----/
//! signals, clock ---/
//! ```
//!
//! The state is in its parts, each of which knows itself alone: the miners (`crew`), the jobs, the verifier, what is told
//! (`herald`), how long it has lived and whether it is to end (`course`). Here they meet: an event goes to the part that
//! it concerns, and what follows from it to the others.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::course::Course;
use super::crew::{Crew, Told};
use super::describe;
use super::errors::SuperviseError;
use super::herald::Herald;
use super::inbox::{Inbox, Planned, Turn};
use super::jobs::Jobs;
use super::programs::{Doors, Programs};
use super::proving::{self, Rest};
use super::record::Record;
use super::reload;
use super::requests::{self, Order};
use super::sensors::Readings;
use super::settings::Tunables;
use super::verifier::{Case, Verifier, chain};
use super::words;
use crate::config::Config;
use crate::home::Home;
use crate::miner::effect::{Judged, Verdict};
use crate::miner::link::{Event, What};
use crate::miner::{Effect, MinerId, MinerPlan, Options, plugin};
use crate::session::announce::Announcement;
use crate::session::control::{Call, ControlSocket, Request};
use crate::session::log::Level;
use crate::session::metrics;
use crate::session::past;
use crate::session::paused::Paused;
use crate::session::report::Report;
use crate::work::{Condition, ProofState, WorkEvent, WorkHandle, WorkStatus};

/// How long the work source may take to end.
const WORK_STOP_TIME: Duration = Duration::from_secs(10);
/// How long found proofs may take to be judged once the miners have ended.
const JUDGING_TIME: Duration = Duration::from_secs(10);

/// Everything that a session is made of before it runs.
pub(super) struct Setup {
    pub options: Options,
    pub config: Config,
    pub plans: Vec<MinerPlan>,
    pub herald: Herald,
    pub record: Record,
    pub paused: Paused,
    pub doors: Doors,
}

/// A running session.
pub(super) struct Session {
    options: Options,
    settings: Settings,
    source: Source,
    crew: Crew,
    programs: Programs,
    jobs: Jobs,
    verifier: Option<Verifier>,
    course: Course,
    herald: Herald,
    record: Record,
    readings: Readings,
    paused: Paused,
    rest: Rest,
    /// Whether it was said that the stop waits for a block, and whether it was asked for again since.
    stop_waits: (bool, bool),
    inbox: Inbox,
    outlets: Outlets,
}

/// Where others ask, and when it was seen last that they can.
struct Outlets {
    calls: mpsc::Sender<Call>,
    control: tokio::task::JoinHandle<()>,
    looked_at: Instant,
    /// The session has a terminal, and ends with it.
    terminal: bool,
}

impl Outlets {
    /// Serves metrics, unless that is done: on the configured address, else on any free port of this machine.
    async fn serve_metrics(&self, config: &Config, record: &mut Record, herald: &mut Herald) {
        let address = config.mining.session.metrics_listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let first = match record.metrics {
            Some((_, true)) => return,
            before => before.is_none(),
        };
        match metrics::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(address);
                record.metrics = Some((bound, true));
                tokio::spawn(metrics::serve(listener, self.calls.clone()));
                if !first {
                    herald.info(&format!("metrics are served on {bound} now"));
                }
            }
            Err(err) => {
                record.metrics = Some((address, false));
                if first {
                    herald.trouble(&format!(
                        "metrics cannot be served on {address}, and it is tried again: {err}"
                    ));
                }
            }
        }
    }

    /// Makes the runtime folder and the control socket again where somebody has removed them, so that nobody takes the
    /// session for one that has ended.
    fn restore(&mut self, home: &Home, record: &Record, herald: &mut Herald) {
        if home.control_socket().exists() && home.lock_file().exists() {
            return;
        }
        let made = super::make_folders(home).and_then(|()| {
            record.holder.take_name_again(&home.lock_file()).map_err(SuperviseError::Lock)?;
            let path = home.control_socket();
            ControlSocket::bind(&path).map_err(|err| SuperviseError::Control { path, err })
        });
        match made {
            Ok(socket) => {
                self.control.abort();
                self.control = tokio::spawn(socket.serve(self.calls.clone()));
                herald.trouble(
                    "somebody removed files of the session in the runtime folder; they were made again",
                );
            }
            Err(err) => herald.trouble(&format!(
                "files of the session were removed and cannot be made again: {}",
                chain(&err)
            )),
        }
    }
}

/// Whether this process has a terminal that answers.
fn terminal_is_there() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Between two looks at what a session has made for others.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What was configured, and what of it may change.
struct Settings {
    config: Config,
    tunables: Tunables,
}

/// The work source.
struct Source {
    handle: Option<WorkHandle>,
    status: watch::Receiver<WorkStatus>,
}

impl Session {
    pub(super) async fn new(
        setup: Setup,
        handle: WorkHandle,
        socket: ControlSocket,
    ) -> Result<Self, SuperviseError> {
        let now = Instant::now();
        let runtime = SuperviseError::Runtime;
        let Setup { options, config, plans, mut herald, mut record, paused, doors } = setup;
        let (calls_in, calls) = mpsc::channel(16);
        let control = tokio::spawn(socket.serve(calls_in.clone()));
        let outlets = Outlets { calls: calls_in, control, looked_at: now, terminal: terminal_is_there() };
        outlets.serve_metrics(&config, &mut record, &mut herald).await;
        let (inbox, ways) = Inbox::open(calls).map_err(runtime)?;
        let verifier = Verifier::start(handle.proofs.clone(), options.home.refused_dir(), ways.judged)
            .map_err(runtime)?;
        let mut crew = Crew::new(ways.events);
        for plan in plans {
            let rests = paused.contains(&plan.name);
            let id = crew.add(plan, now);
            if let Some(miner) = crew.get_mut(id).filter(|_| rests) {
                miner.pause(Duration::ZERO, now);
            }
        }
        let tunables = Tunables::of(&config);
        Ok(Self {
            options,
            settings: Settings { config, tunables },
            source: Source { status: handle.status.clone(), handle: Some(handle) },
            crew,
            programs: Programs::new(doors, ways.port),
            jobs: Jobs::default(),
            verifier: Some(verifier),
            course: Course::begin(now),
            herald,
            record,
            readings: Readings::default(),
            paused,
            rest: Rest::default(),
            stop_waits: (false, false),
            inbox,
            outlets,
        })
    }

    /// Runs to the end. The provider processes have ended then, and every proof that was handed in is judged.
    pub(super) async fn run(mut self) -> (Self, Result<String, SuperviseError>) {
        let result = self.turns().await;
        self.crew.iter_mut().for_each(crate::miner::Miner::end);
        self.programs.end();
        self.read_the_rest().await;
        self.judge_the_rest().await;
        self.verifier = None;
        let result = result.map(|()| self.course.reason().unwrap_or_default().to_owned());
        match &result {
            Ok(reason) => self.herald.info(&format!("session ends: {reason}")),
            Err(err) => self.herald.line(Level::Error, &format!("session ends: {}", chain(err))),
        }
        (self, result)
    }

    /// Ends the work source.
    pub(super) async fn tidy_up(mut self) {
        if let Some(handle) = self.source.handle.take() {
            let _ = timeout(WORK_STOP_TIME, handle.stop()).await;
        }
    }

    async fn turns(&mut self) -> Result<(), SuperviseError> {
        // Whoever asks is answered from here on. Jobs may be long in coming, and a boot waits for nobody's gateway.
        self.herald.notify("READY=1");
        self.tell_manager();
        let begin = Instant::now();
        self.remember(begin);
        let told = self.crew.each(|miner| miner.start(begin));
        self.follow(told, begin)?;
        let lines = self.programs.start(begin);
        self.say(lines);
        if self.programs.may_come() {
            let alone = self.crew.len() == 0;
            self.herald.announce(&Announcement::Listening { at: self.programs.addresses(), alone });
            if alone {
                self.herald.hush();
            }
        }
        if self.crew.len() > 0 && self.crew.present().all(|miner| miner.is_paused()) {
            self.nobody_wants_to();
        }
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake_at = [self.crew.wake_at(Instant::now()), self.programs.wake_at()];
            let wake_at = wake_at.into_iter().flatten().min();
            let work = self.source.handle.as_mut().expect("the work source is ended after the last turn");
            let turn = self.inbox.next(work, wake_at, &mut tick).await;
            let now = Instant::now();
            let told = match turn {
                Turn::Miner(Event { miner, generation, what }) => {
                    self.crew.one(miner, |miner| miner.event(generation, what, now))
                }
                Turn::Port(event) => self.port_event(event, now),
                Turn::Judged(miner, judged) => self.judged(miner, judged, now),
                Turn::Work(Some(event)) => self.work_event(event, now),
                Turn::Work(None) => return Err(SuperviseError::WorkEnded),
                Turn::Call(call) => self.call(call, now),
                Turn::Stop(why) => self.stop(why, now),
                // What a closed terminal sends is no wish for a reload.
                Turn::Reload if self.outlets.terminal && !terminal_is_there() => {
                    self.stop("its terminal was closed (SIGHUP)", now)
                }
                Turn::Reload => {
                    self.read_again(None);
                    Vec::new()
                }
                Turn::Planned(planned) => self.planned(*planned, now),
                Turn::Wake => {
                    let lines = self.programs.wake(now);
                    self.say(lines);
                    self.crew.each(|miner| miner.wake(now))
                }
                Turn::Tick => {
                    self.tell_manager();
                    self.remember(now);
                    let cards = self.crew.present().any(|miner| miner.plan().grants.has_devices());
                    self.readings.look(cards, now);
                    self.look_after_outlets(now).await;
                    let lines = self.programs.look();
                    self.say(lines);
                    let patience = self.settings.tunables.stall_after;
                    self.crew.each(|miner| miner.tick(patience, now))
                }
            };
            self.follow(told, now)?;
            let told = self.rest_while_proving(now);
            self.follow(told, now)?;
            if self.course.is_ending()
                && self.crew.iter().all(|miner| miner.is_down())
                && !self.waits_for_block(now)
            {
                return Ok(());
            }
        }
    }

    /// Whoever shares the gateway's processor rests while it makes a block of a proof.
    fn rest_while_proving(&mut self, now: Instant) -> Vec<Told> {
        let proving = self.source.status.borrow().proving;
        let wanted = self.settings.config.mining.gateway.rest_while_proving && !self.course.is_ending();
        self.rest.follow(proving, wanted, &mut self.crew, self.jobs.current(), now)
    }

    /// Whether a stop waits for what the session's own gateway works on. Says so once.
    fn waits_for_block(&mut self, now: Instant) -> bool {
        let Some(since) = self.course.ending_since() else { return false };
        let proving = self.source.status.borrow().proving;
        let (told, insisted) = self.stop_waits;
        match proving::waits_for(proving, since, insisted, now) {
            Some(why) => {
                if !told {
                    self.stop_waits.0 = true;
                    self.herald.line(Level::Warn, &why);
                    self.herald.notify(&format!("EXTEND_TIMEOUT_USEC={}", proving::STOP_WAIT.as_micros()));
                }
                true
            }
            None => {
                if proving.is_some_and(|proving| proving.ours) {
                    self.herald
                        .line(Level::Warn, "the gateway is ended with a proof of ours: its block is lost");
                }
                false
            }
        }
    }

    /// Keeps true what others find: files, metrics, the record.
    async fn look_after_outlets(&mut self, now: Instant) {
        if now.saturating_duration_since(self.outlets.looked_at) < LOOK_EVERY || self.course.is_ending() {
            return;
        }
        self.outlets.looked_at = now;
        self.outlets.restore(&self.options.home, &self.record, &mut self.herald);
        self.outlets.serve_metrics(&self.settings.config, &mut self.record, &mut self.herald).await;
        self.write_record();
    }

    /// Something came from the port process.
    fn port_event(&mut self, event: crate::port::process::Event, now: Instant) -> Vec<Told> {
        let ending = self.course.is_ending();
        let outcome = self.programs.heed(event, &mut self.crew, self.jobs.current(), ending, now);
        self.say(outcome.lines);
        outcome.told
    }

    fn say(&mut self, lines: Vec<(Level, String)>) {
        for (level, line) in lines {
            if level == Level::Warn { self.herald.trouble(&line) } else { self.herald.line(level, &line) }
        }
    }

    /// Does what follows from what happened to the miners.
    fn follow(&mut self, told: Vec<Told>, now: Instant) -> Result<(), SuperviseError> {
        let (mut moved, mut lost) = (false, false);
        for (id, effect) in told {
            match effect {
                Effect::Line(level, speaker, text) => {
                    let text = self.named(id, text);
                    self.herald.say(level, speaker, &text);
                }
                Effect::Trouble(text) => {
                    let text = self.named(id, text);
                    self.herald.trouble(&text);
                }
                Effect::Judge(candidate) => {
                    let pays = self.jobs.pays(candidate.work.number);
                    let provider = self.crew.provider(id);
                    self.submit(Case { miner: id, provider, candidate, pays }, now)?;
                }
                Effect::FirstJob => self.first_job(id, now),
                Effect::Moved => moved = true,
                Effect::Behind(why) => self.programs.bar(id, &why),
                Effect::GaveUp(why) => {
                    lost = true;
                    if self.crew.len() > 1 {
                        let text = format!("{} {why}", self.crew.name(id));
                        self.herald.announce(&Announcement::Note { text });
                    }
                }
            }
        }
        if moved {
            self.write_record();
        }
        if lost && self.crew.is_lost() && !self.programs.may_come() && !self.course.is_ending() {
            return Err(self.nobody_left());
        }
        Ok(())
    }

    /// A line about a miner says which, where there is more than one.
    fn named(&self, id: MinerId, text: String) -> String {
        let text = self.crew.in_its_words(id, text);
        if self.crew.len() > 1 { format!("[{}] {text}", self.crew.name(id)) } else { text }
    }

    fn nobody_left(&self) -> SuperviseError {
        let mut whys: Vec<(String, String)> = Vec::new();
        for miner in self.crew.present() {
            whys.push((miner.plan().provider().to_owned(), miner.last_words().to_owned()));
        }
        match whys.as_slice() {
            [(provider, why)] => SuperviseError::Provider { provider: provider.clone(), why: why.clone() },
            _ => {
                let names = self.crew.present().map(|miner| miner.plan().name.clone());
                let whys = names.zip(whys).map(|(name, (_, why))| format!("{name} {why}")).collect();
                SuperviseError::NoMinerLeft { whys }
            }
        }
    }

    fn first_job(&mut self, id: MinerId, now: Instant) {
        let after = self.course.age(now).as_millis();
        let text = self.named(id, format!("the provider took its first job after {after} ms"));
        self.herald.info(&text);
        if !self.course.first_job(now) {
            return;
        }
        self.write_record();
        let provider_pid = self.crew.get_mut(id).and_then(|miner| miner.pid()).unwrap_or_default();
        let pid = self.record.holder.supervisor.pid;
        let miner = self.crew.name(id).to_owned();
        self.herald.announce(&Announcement::Ready { pid, provider_pid, miner });
        self.herald.hush();
        self.tell_manager();
    }

    /// What the service manager shows of the session: the worst that is known, in a phrase that stays while it lasts.
    fn tell_manager(&mut self) {
        let work = self.source.status.borrow().clone();
        let names: Vec<&str> = self.crew.present().map(|miner| miner.plan().name.as_str()).collect();
        let names = names.join(", ");
        let unfit = |miner: &crate::miner::Miner| {
            miner.unfit().map(|unfit| unfit.sentence(&miner.plan().chosen.manifest))
        };
        let all_unfit = self.crew.present().map(unfit).collect::<Option<Vec<_>>>();
        let line = match (self.course.reason(), all_unfit, work.condition.trouble()) {
            (Some(reason), ..) => format!("stopping: {reason}"),
            (_, Some(unfit), _) if !unfit.is_empty() => unfit.join("; "),
            (.., Some(trouble)) => {
                let at = work.endpoints.iter().find(|endpoint| endpoint.purpose == work.source);
                let at = at.map(|endpoint| format!(" at {}", endpoint.address)).unwrap_or_default();
                format!("{}{at} {trouble}", work.source)
            }
            _ if self.crew.len() == 0 => "waiting for programs at the miner port".to_owned(),
            _ if self.crew.present().all(|miner| miner.is_paused()) => "every miner is paused".to_owned(),
            _ if self.course.running_since().is_some() => format!("mining with {names}"),
            _ => format!("starting {names}"),
        };
        self.herald.status(&line);
    }

    /// Every miner rests, and was told so in an earlier session: nothing is to be waited for.
    fn nobody_wants_to(&mut self) {
        let reason = "every miner is paused".to_owned();
        let hint = Some("`pearlbed resume` lets them mine".to_owned());
        let exit = crate::exit::Exit::NotEarning.code();
        self.herald.announce(&Announcement::Resting { reason, hint, exit });
        self.herald.hush();
    }

    /// Leaves the counts where they outlive this process.
    fn remember(&mut self, now: Instant) {
        if !self.record.is_due(now) {
            return;
        }
        let report = self.report(now);
        // A disk that refuses costs the past, never the session.
        let _ = past::write_alive(&self.options.home, &report, &self.record.holder.supervisor);
        self.record.remembered(now);
    }

    fn write_record(&mut self) {
        if self.course.running_since().is_none() {
            return;
        }
        let written = self.record.write(&self.settings.config, &self.crew, &self.source.status.borrow());
        let trouble = match written {
            Ok(None) => None,
            Ok(Some(foreign)) => Some(foreign),
            // Status, stop and the lock do without it; OpenJarvis does not see the session.
            Err(err) => Some(chain(&err)),
        };
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.record.is_news(trouble)) {
            self.herald.trouble(trouble);
        }
        self.record.told(trouble);
    }

    // Proofs.

    fn submit(&mut self, case: Case, now: Instant) -> Result<(), SuperviseError> {
        let Some(verifier) = &mut self.verifier else { return Ok(()) };
        let Err(case) = verifier.submit(case) else { return Ok(()) };
        let crate::miner::effect::Candidate { generation, sequence, work, target, .. } = case.candidate;
        let verdict = Verdict::NotJudged("too many of its proofs wait to be verified".into());
        let judged = Judged { generation, sequence, work, target, verdict };
        let told = self.crew.one(case.miner, |miner| miner.judged(judged, now));
        self.follow(told, now)
    }

    fn judged(&mut self, miner: MinerId, judged: Judged, now: Instant) -> Vec<Told> {
        if let Some(verifier) = &mut self.verifier {
            verifier.has_judged();
        }
        self.crew.one(miner, |miner| miner.judged(judged, now))
    }

    /// Takes the proofs that were handed in when the miners were ended.
    async fn read_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.crew.iter().any(|miner| miner.is_open()) {
            let event = tokio::select! {
                event = self.inbox.events.recv() => event,
                Some(event) = self.inbox.port.recv() => {
                    let now = Instant::now();
                    let told = self.port_event(event, now);
                    let _ = self.follow(told, now);
                    continue;
                }
                Some((miner, judged)) = self.inbox.judged.recv() => {
                    let told = self.judged(miner, judged, Instant::now());
                    let _ = self.follow(told, Instant::now());
                    continue;
                }
                () = sleep_until(deadline) => return,
            };
            let Some(Event { miner, generation, what }) = event else { return };
            if matches!(what, What::Proof(_) | What::Closed(_)) {
                let now = Instant::now();
                let told = self.crew.one(miner, |miner| miner.event(generation, what, now));
                let _ = self.follow(told, now);
            }
        }
    }

    /// Waits for the verdicts on what was handed in: until then it is on nobody's disk.
    async fn judge_the_rest(&mut self) {
        let deadline = tokio::time::Instant::now() + JUDGING_TIME;
        while self.verifier.as_ref().is_some_and(Verifier::is_busy) {
            match tokio::time::timeout_at(deadline, self.inbox.judged.recv()).await {
                Ok(Some((miner, judged))) => {
                    let told = self.judged(miner, judged, Instant::now());
                    let _ = self.follow(told, Instant::now());
                }
                _ => break,
            }
        }
    }

    // The work source.

    fn work_event(&mut self, event: WorkEvent, now: Instant) -> Vec<Told> {
        match event {
            WorkEvent::Job(job) => {
                let work = self.jobs.replace(job);
                self.rest.over();
                let told = self.crew.each(|miner| miner.offer(&work, now));
                self.look_for_unfit();
                return told;
            }
            WorkEvent::NoJob { reason } => {
                self.jobs.clear();
                self.rest.over();
                for miner in self.crew.iter_mut() {
                    miner.withdraw(now);
                }
                self.herald.info(&reason);
            }
            WorkEvent::Condition(condition) => self.new_condition(&condition, now),
            WorkEvent::Proof { id, state } => {
                // Each may be the one that handed it in, also one whose verdict is still on its way.
                let ours = self.crew.iter_mut().any(|miner| miner.proof_moved(&id, &state));
                // What this session found is no earlier one's, whoever of its miners it was.
                let ours = ours || !self.record.store.was_left(&id);
                match words::of_proof(&id, &state, ours) {
                    Some(text) if matches!(state, ProofState::Rejected { .. }) => self.herald.trouble(&text),
                    Some(text) => self.herald.info(&text),
                    None => {}
                }
            }
            WorkEvent::Note(text) => self.herald.info(&text),
        }
        Vec::new()
    }

    /// The network wants what some miners, or this host, do not speak: says so, once for each version.
    fn look_for_unfit(&mut self) {
        let Some(unfit) = self.crew.iter().find_map(|miner| miner.unfit()) else { return };
        if !self.course.is_news(unfit) {
            return;
        }
        let speakers = plugin::speakers(&self.options, &self.settings.config, unfit.version);
        let hint = unfit.advice(&speakers);
        self.course.advise(unfit, hint.clone());
        let mut all = true;
        let mut told = Vec::new();
        for miner in self.crew.iter() {
            match miner.unfit() {
                Some(unfit) => {
                    told.push((miner.plan().name.clone(), unfit.sentence(&miner.plan().chosen.manifest)))
                }
                None => all = false,
            }
        }
        let many = self.crew.len() > 1;
        for (name, sentence) in &told {
            let whose = if many { format!("[{name}] ") } else { String::new() };
            self.herald.trouble(&format!("{whose}{sentence}; {hint}"));
        }
        if all && let Some((_, reason)) = told.into_iter().next() {
            let exit = crate::exit::Exit::NeedsUpdate.code();
            self.herald.announce(&Announcement::Waiting { reason, hint: Some(hint), exit });
        }
    }

    fn new_condition(&mut self, condition: &Condition, now: Instant) {
        let sentence = condition.sentence(now);
        let level = if condition.is_earning() { Level::Info } else { Level::Warn };
        let source = self.source.status.borrow().source;
        self.herald.line(level, &format!("{source}: {sentence}"));
        if !condition.is_earning() && self.course.running_since().is_none() {
            let needs_update = matches!(condition, Condition::NeedsUpdate { .. });
            let exit =
                if needs_update { crate::exit::Exit::NeedsUpdate } else { crate::exit::Exit::NotEarning };
            // Why the gateway does not run says more than that it does not answer.
            let work = self.source.status.borrow();
            let trouble = work.endpoints.iter().find(|one| one.purpose == work.source && !needs_update);
            let trouble = trouble.and_then(|one| one.trouble.clone());
            drop(work);
            let (reason, hint) = match trouble.filter(|trouble| trouble.text.contains("command")) {
                Some(trouble) => (trouble.text, trouble.hint),
                None => (sentence, condition.hint().map(str::to_owned)),
            };
            self.herald.announce(&Announcement::Waiting { reason, hint, exit: exit.code() });
        }
    }

    // What is asked.

    fn call(&mut self, call: Call, now: Instant) -> Vec<Told> {
        let grace = self.settings.tunables.stop_grace;
        let (answer, told) = match call.request {
            Request::Status => (serde_json::to_value(self.report(now)).unwrap_or_default(), Vec::new()),
            Request::Stop => {
                let told = self.stop("asked to by `pearlbed stop`", now);
                (serde_json::json!({ "stopping": true }), told)
            }
            Request::Reload => {
                self.read_again(Some(call.answer));
                return Vec::new();
            }
            Request::Pause { miner, keep } => self.order(Order::Pause, miner.as_deref(), keep, |crew, id| {
                crew.one(id, |miner| {
                    miner.pause(grace, now);
                    Vec::new()
                })
            }),
            Request::Resume { miner, keep } => {
                self.order(Order::Resume, miner.as_deref(), keep, |crew, id| {
                    crew.one(id, |miner| miner.resume(now))
                })
            }
            Request::Restart { miner } => self.order(Order::Restart, Some(&miner), false, |crew, id| {
                crew.one(id, |miner| miner.restart(grace, now))
            }),
        };
        // Who asked may have gone meanwhile.
        let _ = call.answer.send(answer);
        told
    }

    fn order(
        &mut self,
        order: Order,
        name: Option<&str>,
        keep: bool,
        give: impl FnMut(&mut Crew, MinerId) -> Vec<Told>,
    ) -> (serde_json::Value, Vec<Told>) {
        if self.course.is_ending() {
            return (serde_json::json!({ "error": "the session is being stopped" }), Vec::new());
        }
        let (answer, told) = requests::give(&mut self.crew, &mut self.paused, order, name, keep, give);
        match answer["error"].as_str() {
            Some(why) => self.herald.line(Level::Warn, why),
            None => {
                let whom = name.map_or("every miner".to_owned(), |name| format!("miner {name}"));
                let kept = if keep { ", also in later sessions" } else { "" };
                self.herald.info(&format!("{whom} is {} by request{kept}", order.done()));
            }
        }
        (answer, told)
    }

    fn stop(&mut self, reason: &str, now: Instant) -> Vec<Told> {
        if self.course.is_ending() {
            self.stop_waits.1 = true;
            // Asked twice by a signal: the second time is meant.
            let meant = reason.contains("SIG");
            return if meant { self.crew.each(|miner| miner.insist(now)) } else { Vec::new() };
        }
        self.herald.info(&format!("stopping: {reason}"));
        self.herald.notify("STOPPING=1");
        self.course.end(reason, now);
        self.tell_manager();
        let grace = self.settings.tunables.stop_grace;
        self.crew.iter_mut().for_each(|miner| miner.pause(grace, now));
        Vec::new()
    }

    /// Reads the configuration again and looks for its plugins, beside everything else.
    fn read_again(&mut self, asker: Option<oneshot::Sender<serde_json::Value>>) {
        self.herald.notify("RELOADING=1");
        self.herald.log().reopen();
        let (options, old) = (self.options.clone(), self.settings.config.clone());
        let planned = self.inbox.planned_in();
        tokio::task::spawn_blocking(move || {
            // Without a listener the session is over.
            let _ = planned.blocking_send(Planned { read: reload::read(&options, &old), asker });
        });
    }

    /// The configuration was read again.
    fn planned(&mut self, planned: Planned, now: Instant) -> Vec<Told> {
        let Planned { read, asker } = planned;
        let (answer, told) = match read {
            _ if self.course.is_ending() => {
                (serde_json::json!({ "error": "the session is being stopped" }), Vec::new())
            }
            Ok((config, plans)) => self.change(&config, plans, now),
            Err(why) => {
                let text = format!("the configuration was not reloaded: {why}");
                self.herald.trouble(&text);
                (serde_json::json!({ "error": text }), Vec::new())
            }
        };
        self.herald.notify("READY=1");
        if let Some(asker) = asker {
            // Who asked may have gone meanwhile.
            let _ = asker.send(answer);
        }
        told
    }

    fn change(
        &mut self,
        config: &Config,
        plans: Vec<MinerPlan>,
        now: Instant,
    ) -> (serde_json::Value, Vec<Told>) {
        let tunables = Tunables::of(config);
        let changes = reload::compare(
            (&self.settings.config, &self.settings.tunables),
            (config, &tunables),
            self.crew.present().filter(|miner| !miner.is_program()).map(crate::miner::Miner::plan),
            plans,
        );
        self.settings.tunables = tunables;
        self.herald.log().set_size_max(tunables.log_bytes_max);
        for (level, line) in changes.lines() {
            self.herald.line(level, &line);
        }
        let answer = changes.json();
        let current = self.jobs.current().cloned();
        let grace = tunables.stop_grace;
        let told = reload::apply(changes, &mut self.crew, &self.paused, current.as_ref(), grace, now);
        self.settings.config = reload::in_force(&self.settings.config, config);
        (answer, told)
    }

    /// The session at this moment.
    pub(super) fn report(&mut self, now: Instant) -> Report {
        let work = self.source.status.borrow().clone();
        let fates = work.knows_fates();
        let mut miners: Vec<_> = self.crew.iter_mut().map(|miner| miner.report(fates, now)).collect();
        self.readings.fill(&mut miners, now);
        let view = describe::View {
            work: &work,
            jobs: &self.jobs,
            course: &self.course,
            resting: self.rest.len(),
            stop_waits: self.stop_waits.0,
            record: &self.record,
            last_error: self.herald.last_error().map(str::to_owned),
            log: self.herald.log().recent().map(str::to_owned).collect(),
            port: self.programs.endpoints(),
        };
        describe::report(&view, miners, now)
    }
}
