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

mod asked;
mod outlets;
mod proofs;
mod seats;
mod source;
mod told;

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::outlets::{Outlets, terminal_is_there};
use super::containers::{Containers, Planned};
use super::contest::Contest;
use super::course::Course;
use super::crew::{Crew, Told};
use super::errors::SuperviseError;
use super::expecting::Expecting;
use super::heat::Heat;
use super::herald::Herald;
use super::inbox::{Inbox, Turn};
use super::jobs::Jobs;
use super::programs::{Doors, Programs};
use super::proving::{self, Rest};
use super::record::Record;
use super::sensors::Readings;
use super::settings::Tunables;
use super::verifier::{Case, Verifier, chain};
use crate::config::Config;
use crate::miner::link::Event;
use crate::miner::{Effect, MinerId, MinerPlan, Options};
use crate::session::announce::Announcement;
use crate::session::control::ControlSocket;
use crate::session::log::{Level, Speaker};
use crate::session::paused::Paused;
use crate::work::{WorkHandle, WorkStatus};

/// How long the work source may take to end.
const WORK_STOP_TIME: Duration = Duration::from_secs(10);
/// How long an engine may take to remove a container, beyond its grace.
const CONTAINER_STOP_TIME: Duration = Duration::from_secs(30);

/// Everything that a session is made of before it runs.
pub(super) struct Setup {
    pub options: Options,
    pub config: Config,
    pub plans: Vec<MinerPlan>,
    pub herald: Herald,
    pub record: Record,
    pub paused: Paused,
    pub doors: Doors,
    pub containers: Vec<Planned>,
    /// The gateway that the session runs for itself.
    pub gateway: Option<Planned>,
}

/// A running session.
pub(super) struct Session {
    options: Options,
    settings: Settings,
    source: Source,
    crew: Crew,
    programs: Programs,
    containers: Containers,
    jobs: Jobs,
    verifier: Option<Verifier>,
    course: Course,
    herald: Herald,
    record: Record,
    readings: Readings,
    heat: Heat,
    paused: Paused,
    rest: Rest,
    expecting: Expecting,
    contest: Contest,
    /// Whether it was said that the stop waits for a block, and whether it was asked for again since.
    stop_waits: (bool, bool),
    inbox: Inbox,
    outlets: Outlets,
}

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
        let Setup { options, config, plans, mut herald, mut record, paused, doors, containers, gateway } =
            setup;
        let (calls_in, calls) = mpsc::channel(16);
        let outlets = Outlets::open(socket, calls_in, now);
        outlets.serve_metrics(&config, &mut record, &mut herald).await;
        outlets.serve_metrics_socket(&config, &mut record, &mut herald);
        let secrets = config.secret_names();
        let containers = Containers::new(containers, gateway, &options, &config, &secrets, &paused);
        let (containers, kept) = containers.map_err(SuperviseError::Container)?;
        let (inbox, ways) = Inbox::open(calls, kept).map_err(runtime)?;
        let verifier = Verifier::start(handle.proofs.clone(), options.home.refused_dir(), ways.judged)
            .map_err(runtime)?;
        let mut crew = Crew::new(ways.events);
        let mut contest = Contest::default();
        for plan in contest.settle(plans) {
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
            containers,
            jobs: Jobs::default(),
            verifier: Some(verifier),
            course: Course::begin(now),
            herald,
            record,
            readings: Readings::default(),
            heat: Heat::default(),
            paused,
            rest: Rest::default(),
            expecting: Expecting::default(),
            contest,
            stop_waits: (false, false),
            inbox,
            outlets,
        })
    }

    /// Runs to the end. The provider processes have ended then, and every proof that was handed in is judged.
    pub(super) async fn run(mut self) -> (Self, Result<String, SuperviseError>) {
        let result = self.turns().await;
        self.end_containers().await;
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

    /// Ends the containers that run still: where the session fails, nobody has told them to.
    async fn end_containers(&mut self) {
        let grace = self.settings.config.mining.container.stop_grace;
        self.containers.stop(grace);
        let deadline = tokio::time::Instant::now() + grace + CONTAINER_STOP_TIME;
        while !self.containers.are_down() {
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.inbox.containers.recv()).await
            else {
                return;
            };
            for (level, speaker, line) in self.containers.heed(event).lines {
                self.herald.say(level, speaker, &line);
            }
        }
    }

    /// Ends the work source, and then the gateway that the session ran for it.
    pub(super) async fn tidy_up(mut self) {
        if let Some(handle) = self.source.handle.take() {
            let _ = timeout(WORK_STOP_TIME, handle.stop()).await;
        }
        let deadline = tokio::time::Instant::now() + CONTAINER_STOP_TIME;
        while self.containers.stop_gateway() {
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.inbox.containers.recv()).await
            else {
                return;
            };
            for (level, speaker, line) in self.containers.heed(event).lines {
                self.herald.say(level, speaker, &line);
            }
        }
    }

    async fn turns(&mut self) -> Result<(), SuperviseError> {
        // Whoever asks is answered from here on. Jobs may be long in coming, and a boot waits for nobody's gateway.
        self.herald.notify("READY=1");
        self.tell_manager();
        let begin = Instant::now();
        self.remember(begin);
        self.containers.go_gateway();
        let told = self.crew.each(|miner| miner.start(begin));
        self.follow(told, begin)?;
        let lines = self.programs.start(begin);
        self.say(lines);
        if self.programs.strangers_may_come() {
            let alone = self.crew.len() == 0 && self.containers.is_empty();
            self.herald.announce(&Announcement::Listening { at: self.programs.addresses(), alone });
            if alone {
                self.herald.hush();
            }
        }
        let some = self.crew.len() > 0 || !self.containers.is_empty();
        let all_rest =
            self.crew.present().all(|miner| miner.is_paused()) && self.containers.all_rest(&self.paused);
        if some && all_rest {
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
                Turn::Container(event) => {
                    self.container_event(event, now)?;
                    Vec::new()
                }
                Turn::Judged(miner, judged) => self.judged(miner, judged, now),
                Turn::Work(Some(event)) => self.work_event(event, now),
                Turn::Work(None) => return Err(SuperviseError::WorkEnded),
                Turn::Call(call) => self.call(call, now),
                Turn::Stop(why) => self.stop(&self.herald.behind(why, now), now),
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
                    self.herald.awake();
                    self.tell_manager();
                    self.remember(now);
                    let cards = self.crew.present().any(|miner| miner.plan().grants.has_devices());
                    let limited = Heat::is_watched(&self.crew);
                    self.readings.look(cards || limited, limited, now);
                    self.look_after_outlets(now).await?;
                    self.containers.look(&self.crew, now);
                    self.say_what_a_share_takes(now);
                    let lines = self.programs.look();
                    self.say(lines);
                    let patience = self.settings.tunables.stall_after;
                    let mut told = self.heat.follow(&self.readings, &mut self.crew, self.jobs.current(), now);
                    told.extend(self.crew.each(|miner| miner.tick(patience, now)));
                    told.extend(self.reseat(now));
                    told
                }
            };
            self.follow(told, now)?;
            let told = self.rest_while_proving(now);
            self.follow(told, now)?;
            if self.course.is_ending()
                && self.containers.are_down()
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

    /// Says how long a share of the pool takes here, where that is news.
    fn say_what_a_share_takes(&mut self, now: Instant) {
        let share = self.source.status.borrow().pool.as_ref().and_then(|pool| pool.share);
        if share.is_some_and(|share| self.expecting.is_news(share.work)) {
            let report = self.report(now);
            if let Some(line) = self.expecting.line(&report) {
                self.herald.info(&line);
            }
        }
    }

    /// Something came from the port process.
    fn port_event(&mut self, event: crate::port::process::Event, now: Instant) -> Vec<Told> {
        let ending = self.course.is_ending();
        let outcome =
            self.programs.heed(event, &mut self.crew, &self.containers, self.jobs.current(), ending, now);
        self.say(outcome.lines);
        outcome.told
    }

    /// Something came from the keeper of a container.
    fn container_event(
        &mut self,
        event: crate::container::keeper::Event,
        now: Instant,
    ) -> Result<(), SuperviseError> {
        let outcome = self.containers.heed(event);
        for (level, speaker, line) in outcome.lines {
            if speaker == Speaker::Output {
                self.herald.say(level, speaker, &line);
                continue;
            }
            self.say(vec![(level, line.clone())]);
            if self.course.running_since().is_none() {
                self.herald.announce(&Announcement::Note { text: line });
            }
        }
        if let Some(text) = outcome.doing
            && self.course.running_since().is_none()
        {
            self.herald.announce(&Announcement::Doing { text });
        }
        if let Some(name) = outcome.down {
            self.programs.dismiss(&name, &mut self.crew);
        }
        if outcome.moved {
            self.write_record();
        }
        if outcome.ended && self.containers.are_down() {
            // Nobody is left who could hand in anything.
            let grace = self.settings.tunables.stop_grace;
            let inside = |miner: &&mut crate::miner::Miner| {
                miner.plan().program.as_ref().is_some_and(|program| program.container().is_some())
            };
            self.crew.iter_mut().filter(inside).for_each(|miner| miner.pause(grace, now));
        }
        let alone = (self.crew.present().all(|miner| miner.is_program()) || self.crew.is_lost())
            && !self.programs.strangers_may_come();
        if outcome.gave_up
            && (alone || outcome.is_gateway)
            && !self.course.is_ending()
            && let Some(err) = self.containers.given_up()
        {
            return Err(SuperviseError::Container(err));
        }
        Ok(())
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
        let after =
            self.crew.get_mut(id).and_then(|miner| miner.runs_for(now)).unwrap_or_default().as_millis();
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
}
