//! One miner: what it is given, what it does with it, and what follows.
//!
//! ```text
//!            +--> restarting --+        paused <---- asked to
//!            |                 v          |
//!  given up <+--- it ended <-- runs <-----+
//!                  (also: stalled, does not read, cannot be started)
//! ```
//!
//! Everything here follows from what came over its link ([`Event`]), from what its session asks, and from `now`. What the
//! session has to do about it comes back as [`Effect`]s. What a frame says is the miner's word: it fills numbers that are
//! shown as claims and moves nothing else.
//!
//! The link itself is used for sending and ending; nothing here waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::account::Account;
use super::effect::{Candidate, Effect, Judged, Level, Speaker, Verdict, Work};
use super::frame::{FromProvider, Receipt, ToProvider};
use super::link::{Event, Launch, Link, MinerId, Submission, What};
use super::offers::Offers;
use super::plan::MinerPlan;
use super::report::{ConfinementReport, JobReport, MinerReport, PluginReport, ProofReport};
use super::restart::{Next, RestartPolicy};
use super::stall;
use super::standing::{Standing, Unfit};
use super::voice::Voice;
use crate::work::{ProofId, ProofState};

/// Failures in a row that are borne before a miner has taken its first job.
const FAILURES_BEFORE_FIRST_JOB: u32 = 3;
/// Between two questions for the provider's own numbers.
const STATS_EVERY: Duration = Duration::from_secs(10);
/// How long a process whose pipe has ended may take to end by itself, so that its own ending is seen and not ours.
const LEAVING_TIME: Duration = Duration::from_millis(100);
/// Between two looks at one that is leaving.
const LEAVING_LOOK: Duration = Duration::from_millis(2);
/// Refused proofs in a row that are logged in full.
const REFUSALS_LOGGED: u64 = 10;

/// One miner.
#[derive(Debug)]
pub struct Miner {
    id: MinerId,
    plan: MinerPlan,
    line: Line,
    life: Life,
    offers: Offers,
    unfit: Option<Unfit>,
    account: Account,
    voice: Voice,
    provider_stats: Option<serde_json::Value>,
}

/// The link to a miner, and what makes it.
#[derive(Debug)]
struct Line {
    launch: Option<Box<dyn Launch>>,
    events: mpsc::Sender<Event>,
    link: Option<Box<dyn Link>>,
    generation: u64,
    /// The newest link has not ended: something may still come over it.
    open: bool,
    /// It has ended, and how the process behind it did is not known yet.
    leaving: Option<(Instant, Option<String>)>,
}

/// Whether a miner runs, and what it is to do next.
#[derive(Debug)]
struct Life {
    pulse: Pulse,
    restart: RestartPolicy,
    restart_at: Option<Instant>,
    /// Why it ended the last time.
    ended: Option<String>,
    asked: Option<Asked>,
    /// It is not to run until it is asked to.
    paused: bool,
    given_up: bool,
    /// It has taken a job in its life.
    took_a_job: bool,
    stats_asked_at: Instant,
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
enum Then {
    Rest,
    StartAgain,
}

/// What is known of the process that runs now.
#[derive(Debug, Default)]
struct Pulse {
    /// When it first took a job, without a break since.
    mining_since: Option<Instant>,
    progress_at: Option<Instant>,
    /// When its last proof passed.
    proof_at: Option<Instant>,
    /// The job that it took last: what it does is done on that.
    in_work: Option<u64>,
    /// `start` has returned.
    started: bool,
    /// Why it says that it failed.
    failed: Option<String>,
    /// It says that it has stopped.
    stopped: bool,
}

impl Miner {
    /// A miner that does not run yet. `launch` makes its links; what comes over them goes to `events`.
    pub fn new(
        id: MinerId,
        plan: MinerPlan,
        launch: Option<Box<dyn Launch>>,
        events: mpsc::Sender<Event>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            plan,
            line: Line { launch, events, link: None, generation: 0, open: false, leaving: None },
            life: Life {
                pulse: Pulse::default(),
                restart: RestartPolicy::new(RestartPolicy::FAILURES_MAX),
                restart_at: None,
                ended: None,
                asked: None,
                paused: false,
                given_up: false,
                took_a_job: false,
                stats_asked_at: now,
            },
            offers: Offers::default(),
            unfit: None,
            account: Account::default(),
            voice: Voice::new(now),
            provider_stats: None,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &MinerPlan {
        &self.plan
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.line.link.as_ref()?.process().map(|process| process.pid)
    }

    /// Whether something may still come from it.
    pub fn is_open(&self) -> bool {
        self.line.open
    }

    /// Whether it has neither a link nor one that is about to come.
    pub fn is_down(&self) -> bool {
        self.line.link.is_none()
    }

    /// Whether nothing but a person can make it mine again.
    pub fn has_given_up(&self) -> bool {
        self.life.given_up
    }

    /// Why it ended the last time: a phrase that follows the provider's name.
    pub fn last_words(&self) -> &str {
        self.life.ended.as_deref().unwrap_or("has not run")
    }

    /// Whether it is not to run until it is asked to.
    pub fn is_paused(&self) -> bool {
        self.life.paused
    }

    /// Whether it has taken a job in its life.
    pub fn took_a_job(&self) -> bool {
        self.life.took_a_job
    }

    /// Why it is not mining for what the network wants, if that is so.
    pub fn unfit(&self) -> Option<Unfit> {
        self.unfit
    }

    // What its session asks.

    /// Starts it, unless it runs.
    pub fn start(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.line.link.is_none() && !self.life.paused {
            self.launch(now, &mut out);
        }
        out
    }

    /// There is a new job: every earlier one is over.
    pub fn offer(&mut self, work: &Arc<Work>, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let version = work.job.certificate_version;
        let host_speaks = pearl_pow::CertificateVersion::try_from(version).is_ok();
        if !host_speaks || !self.plan.chosen.manifest.certificate_versions.contains(&version) {
            self.withdraw();
            self.life.pulse.mining_since = None;
            self.unfit = Some(Unfit { version, host_speaks });
            return out;
        }
        if let Some(unfit) = self.unfit.take() {
            let text = format!(
                "the network wants certificate version {version} (it wanted {}): mining resumes",
                unfit.version
            );
            out.push(Effect::Line(Level::Info, Speaker::Supervisor, text));
        }
        let wire = self.offers.put(work, work.job.target, now);
        self.send(ToProvider::Job(wire));
        out
    }

    fn withdraw(&mut self) {
        if let Some(id) = self.offers.withdraw() {
            self.send(ToProvider::Stale(id));
        }
    }

    /// Asks it to stop within `grace`, and to stay so until it is asked to start.
    pub fn pause(&mut self, grace: Duration, now: Instant) {
        self.life.paused = true;
        self.ask_to_stop(grace, Then::Rest, now);
    }

    /// Lets it run again.
    pub fn resume(&mut self, now: Instant) -> Vec<Effect> {
        self.life.paused = false;
        self.begin_afresh();
        match &mut self.life.asked {
            Some(asked) => {
                asked.then = Then::StartAgain;
                Vec::new()
            }
            None => self.start(now),
        }
    }

    /// Asks it to stop within `grace`, and starts it again. One that was given up gets another chance, one that is paused
    /// runs again.
    pub fn restart(&mut self, grace: Duration, now: Instant) -> Vec<Effect> {
        self.life.paused = false;
        self.begin_afresh();
        if self.line.link.is_none() {
            return self.start(now);
        }
        self.ask_to_stop(grace, Then::StartAgain, now);
        Vec::new()
    }

    /// Asks it to stop within `grace`, for good.
    pub fn stop(&mut self, grace: Duration, now: Instant) {
        self.life.paused = true;
        self.ask_to_stop(grace, Then::Rest, now);
    }

    /// Ends it now if it was asked to stop and has not: it was asked twice.
    pub fn insist(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.life.asked.is_some() {
            self.end_what_does_not_stop(now, &mut out);
        }
        out
    }

    /// Ends it without asking.
    pub fn end(&mut self) {
        if let Some(mut link) = self.line.link.take() {
            link.end();
        }
        self.line.leaving = None;
    }

    fn begin_afresh(&mut self) {
        self.life.given_up = false;
        self.life.restart_at = None;
        self.life.restart.forgive();
    }

    fn ask_to_stop(&mut self, grace: Duration, then: Then, now: Instant) {
        self.life.restart_at = None;
        if self.line.link.is_none() {
            return;
        }
        match &mut self.life.asked {
            Some(asked) => asked.then = then,
            None => {
                self.life.asked = Some(Asked { since: now, deadline: now + grace, then });
                self.send(ToProvider::Stop);
            }
        }
    }

    // What comes from it.

    /// Something came over one of its links.
    pub fn event(&mut self, generation: u64, what: What, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let is_current = generation == self.line.generation;
        match what {
            // A proof that it handed in before it ended is as good as any.
            What::Proof(submission) => self.submitted(generation, submission, now, &mut out),
            What::Closed(why) if is_current => {
                self.line.open = false;
                if self.line.link.is_some() {
                    self.line.leaving = Some((now, why));
                    self.leave(now, &mut out);
                }
            }
            _ if !is_current || self.line.link.is_none() => {}
            What::Frame(frame) => self.frame(frame, now, &mut out),
            What::Throttled => self.voice.throttled(),
            What::Closed(_) => {}
        }
        out
    }

    fn frame(&mut self, frame: FromProvider, now: Instant, out: &mut Vec<Effect>) {
        match frame {
            FromProvider::Hello { .. } | FromProvider::Confined(_) | FromProvider::Submit { .. } => {}
            FromProvider::Started => {
                self.life.pulse.started = true;
                let process = self.pid().map(|pid| format!(" (process {pid})")).unwrap_or_default();
                out.push(info(format!("the provider has started{process}")));
            }
            FromProvider::Failed(why) => self.life.pulse.failed = Some(why),
            FromProvider::Took(id) => self.took(id, now, out),
            FromProvider::Progress(hashes) => {
                // At the target of the job that it took: the next may be easier, and what was done before was not.
                let each =
                    self.life.pulse.in_work.and_then(|id| self.offers.find(id)).map(|given| given.each);
                self.account.claimed(hashes, each, now);
                self.life.pulse.progress_at = Some(now);
            }
            FromProvider::Log { level, message } => self.voice.logs(level, message, now, out),
            FromProvider::LogDropped(lines) => self.voice.dropped(lines),
            FromProvider::Stats(json) => self.provider_stats = serde_json::from_str(&json).ok(),
            FromProvider::Denied(what) => self.voice.denied(what, 1, out),
            FromProvider::Stopped(problem) => {
                self.life.pulse.stopped = true;
                if !problem.is_empty() {
                    let text = format!("the provider could not stop in order: {problem}");
                    self.voice.trouble(text, out);
                }
            }
        }
    }

    fn took(&mut self, id: u64, now: Instant, out: &mut Vec<Effect>) {
        self.life.pulse.in_work = Some(id);
        if !self.offers.taken(id, now) {
            return;
        }
        self.account.begin(now);
        self.life.pulse.mining_since.get_or_insert(now);
        if !std::mem::replace(&mut self.life.took_a_job, true) {
            out.push(Effect::FirstJob);
        }
    }

    fn submitted(&mut self, generation: u64, submission: Submission, now: Instant, out: &mut Vec<Effect>) {
        let Submission { sequence, job, proof, place } = submission;
        self.account.handed_in();
        let Some(given) = self.offers.find(job) else {
            let verdict = Verdict::Refused {
                stage: "job".into(),
                why: format!("it is for job {job}, which was never given out"),
            };
            self.account.judged(&verdict, &[0; 32], now);
            self.refused(generation, sequence, "job", &verdict, now, out);
            return;
        };
        let (work, target) = (Arc::clone(&given.work), given.target);
        out.push(Effect::Judge(Candidate { generation, sequence, work, target, proof, place }));
    }

    /// One of its proofs was judged.
    pub fn judged(&mut self, judged: Judged, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let Judged { generation, sequence, work, target, verdict } = judged;
        self.account.judged(&verdict, &target, now);
        match &verdict {
            Verdict::Passed { id, not_kept } => {
                self.life.pulse.proof_at = Some(now);
                let height =
                    work.job.height.map(|height| format!(" for height {height}")).unwrap_or_default();
                out.push(info(format!("proof {id}{height} found and verified")));
                if let Some(why) = not_kept {
                    let text = format!("proof {id} is not on disk, so a crash would lose it: {why}");
                    self.voice.trouble(text, &mut out);
                }
                self.receipt(generation, sequence, Receipt::Kept, "");
            }
            Verdict::Share => {
                self.life.pulse.proof_at = Some(now);
                self.receipt(generation, sequence, Receipt::Kept, "");
            }
            Verdict::Late => {
                let text = format!("a proof for job {} came too late and was dropped", work.number);
                out.push(info(text));
                self.receipt(generation, sequence, Receipt::Stale, "the job is over");
            }
            Verdict::Refused { stage, .. } => {
                self.refused(generation, sequence, stage, &verdict, now, &mut out);
            }
            Verdict::NotTaken(why) => {
                let text = format!("a verified proof was not taken: {why}");
                self.voice.nuisance(text, false, now, &mut out);
                self.receipt(generation, sequence, Receipt::Busy, why);
            }
        }
        out
    }

    fn refused(
        &mut self,
        generation: u64,
        sequence: u64,
        stage: &str,
        verdict: &Verdict,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Verdict::Refused { why, .. } = verdict else { return };
        let text = format!("a proof was refused at stage {stage}: {why}");
        // The first few in full; a provider that goes on like this shall not write our log.
        let first = self.account.refused_in_a_row() <= REFUSALS_LOGGED;
        self.voice.nuisance(text, first, now, out);
        self.receipt(generation, sequence, Receipt::Refused, why);
    }

    fn receipt(&mut self, generation: u64, sequence: u64, receipt: Receipt, reason: &str) {
        if generation == self.line.generation {
            self.send(ToProvider::Receipt { sequence, receipt, reason: reason.into() });
        }
    }

    /// The work source says where a proof is; answers whether it is one of this miner's.
    pub fn proof_moved(&mut self, id: &ProofId, state: &ProofState) -> bool {
        self.account.proof_moved(id, state)
    }

    // What time brings.

    /// When [`Self::wake`] has something to do, if ever.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let leaving = self.line.leaving.as_ref().map(|_| now + LEAVING_LOOK);
        let deadline = self.life.asked.as_ref().map(|asked| asked.deadline);
        [leaving, deadline, self.life.restart_at].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn wake(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.leave(now, &mut out);
        if self.life.asked.as_ref().is_some_and(|asked| asked.deadline <= now) {
            self.end_what_does_not_stop(now, &mut out);
        }
        if self.life.restart_at.is_some_and(|at| at <= now) {
            self.life.restart_at = None;
            self.launch(now, &mut out);
        }
        out
    }

    /// Looks after it; to be called about once a second.
    pub fn tick(&mut self, patience: Duration, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.look(now, &mut out);
        self.voice.say_flood(now, &mut out);
        if self.line.link.is_none() || self.line.leaving.is_some() || self.life.asked.is_some() {
            return out;
        }
        if now.saturating_duration_since(self.life.stats_asked_at) >= STATS_EVERY {
            self.life.stats_asked_at = now;
            self.send(ToProvider::AskStats);
        }
        if let Some(why) = stall::judge(&self.stall_facts(patience, now)) {
            self.end();
            self.failed(format!("is stalled: it {why}"), now, &mut out);
        }
        out
    }

    fn look(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if let Some(link) = &mut self.line.link {
            let look = link.look();
            self.voice.looked(look, now, out);
        }
    }

    // Its process.

    fn launch(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(launch) = &self.line.launch else { return };
        let generation = self.line.generation + 1;
        self.life.pulse = Pulse::default();
        self.account.begin_anew();
        self.life.restart.started(now);
        match launch.launch(self.id, generation, &self.line.events) {
            Ok(link) => self.connected(link, generation, now, out),
            Err(err) => {
                let causes = std::iter::successors(std::error::Error::source(&err), |err| err.source());
                let causes: Vec<String> = causes.map(ToString::to_string).collect();
                self.failed(format!("{err}: {}", causes.join(": ")), now, out);
            }
        }
    }

    fn connected(&mut self, link: Box<dyn Link>, generation: u64, now: Instant, out: &mut Vec<Effect>) {
        if generation == 1 {
            for lack in link.confinement().unwrap_or_default() {
                let text = format!("the provider process is confined by less: {lack}");
                out.push(Effect::Line(Level::Warn, Speaker::Supervisor, text));
            }
        }
        self.line.generation = generation;
        self.line.open = true;
        self.line.link = Some(link);
        if let Some(wire) = self.offers.again(now) {
            self.send(ToProvider::Job(wire));
        }
        out.push(Effect::Moved);
    }

    /// One that does not read is ended; the end of its link comes as an event then.
    fn send(&mut self, frame: ToProvider) {
        let Some(link) = &mut self.line.link else { return };
        if !link.send(frame) && self.line.open {
            self.life.pulse.failed.get_or_insert_with(|| "does not read what it is sent".into());
            link.end();
        }
    }

    /// Its link has ended: sees how the process did, as soon as that can be seen.
    fn leave(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some((since, why)) = &self.line.leaving else { return };
        let Some(link) = &mut self.line.link else { return };
        let overdue = why.is_some() || now.saturating_duration_since(*since) >= LEAVING_TIME;
        let ending = match link.try_ended() {
            Some(ending) => ending,
            None if overdue => link.end(),
            None => return,
        };
        self.look(now, out);
        let why = self.line.leaving.take().and_then(|(_, why)| why);
        self.line.link = None;
        self.ended(why, &ending, now, out);
    }

    fn ended(&mut self, why: Option<String>, ending: &str, now: Instant, out: &mut Vec<Effect>) {
        if let Some(asked) = self.life.asked.take() {
            if !self.life.pulse.stopped {
                let text = format!("the provider process ended while it stopped: {ending}");
                out.push(Effect::Line(Level::Warn, Speaker::Supervisor, text));
            }
            self.rest(asked.then, now, out);
            return;
        }
        let refused = !self.life.pulse.started && self.life.pulse.failed.is_some();
        let reason = match (self.life.pulse.failed.take(), why) {
            (Some(failed), _) => failed,
            (None, Some(why)) => format!("was ended: {why}"),
            (None, None) => format!("ended unasked: {ending}"),
        };
        if refused && !self.life.took_a_job {
            // It has said itself that it cannot: asking again would only ask again.
            self.life.pulse = Pulse::default();
            self.voice.trouble(format!("the provider {reason}"), out);
            self.give_up(reason, out);
            return;
        }
        self.failed(reason, now, out);
    }

    /// It has stopped as it was asked to.
    fn rest(&mut self, then: Then, now: Instant, out: &mut Vec<Effect>) {
        self.life.pulse = Pulse::default();
        out.push(Effect::Moved);
        if then == Then::StartAgain {
            self.launch(now, out);
        }
    }

    fn end_what_does_not_stop(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(asked) = self.life.asked.take() else { return };
        if self.line.link.is_some() {
            let process = self.pid().map(|pid| format!(" process {pid}")).unwrap_or_default();
            self.end();
            let waited = crate::text::duration(now.saturating_duration_since(asked.since));
            let text = format!("the provider{process} did not stop within {waited} and was ended");
            self.voice.trouble(text, out);
        }
        self.rest(asked.then, now, out);
    }

    /// Decides what follows for a miner that is gone without having been asked to.
    fn failed(&mut self, why: String, now: Instant, out: &mut Vec<Effect>) {
        self.life.pulse = Pulse::default();
        self.voice.trouble(format!("the provider {why}"), out);
        let next = self.life.restart.ended(now);
        let (failures, failures_max) = self.life.restart.in_a_row();
        match next {
            Next::RestartAt(at) if self.life.took_a_job || failures < FAILURES_BEFORE_FIRST_JOB => {
                out.push(info(format!(
                    "the provider starts again in {} s (failure {failures} in a row; given up at {failures_max})",
                    at.saturating_duration_since(now).as_secs()
                )));
                self.life.restart_at = Some(at);
                self.life.ended = Some(why);
                out.push(Effect::Moved);
            }
            _ => self.give_up(format!("failed {failures} times in a row and was given up: it {why}"), out),
        }
    }

    fn give_up(&mut self, why: String, out: &mut Vec<Effect>) {
        self.life.given_up = true;
        self.life.ended = Some(why.clone());
        out.push(Effect::Moved);
        out.push(Effect::GaveUp(why));
    }

    fn stall_facts(&self, patience: Duration, now: Instant) -> stall::Facts {
        let since = |at: Instant| now.saturating_duration_since(at);
        let (pulse, offer) = (&self.life.pulse, self.offers.current());
        let mining = pulse.mining_since.map(since);
        let barren = match (pulse.proof_at.map(since), mining) {
            (Some(proof), Some(mining)) => proof.min(mining),
            (proof, mining) => proof.or(mining).unwrap_or_default(),
        };
        // A plugin that never returns from `start` keeps its job waiting, too.
        let waits = offer.filter(|offer| !offer.taken).map(|offer| since(offer.at));
        stall::Facts {
            patience,
            job_waits: waits,
            progress: pulse.progress_at.map(since),
            mining: mining.filter(|_| offer.is_some_and(|offer| offer.taken)),
            barren,
            barren_due: self.account.due_since_proof(),
            proofs: self.account.proofs(),
            borne_out: self.account.borne_out(),
        }
    }

    // What is told of it.

    /// How it stands.
    pub fn standing(&self, now: Instant) -> Standing {
        let ended = self.life.ended.as_deref().unwrap_or("ended");
        if self.life.given_up {
            return Standing::not("given-up", format!("the provider {ended}")).hint(
                "`pearlbed logs --provider` shows what it said; `pearlbed restart` gives it another chance",
            );
        }
        if self.life.asked.is_some() {
            return Standing::not("stopping", "the provider is being stopped");
        }
        if self.life.paused {
            return Standing::not("paused", "it is paused").hint("`pearlbed resume` lets it mine again");
        }
        if let Some(unfit) = self.unfit {
            return Standing::not("needs-update", unfit.sentence(&self.plan.chosen.manifest));
        }
        if self.line.link.is_none() {
            let at = self.life.restart_at;
            let wait = at.map_or(0, |at| at.saturating_duration_since(now).as_secs() + 1);
            let (failures, failures_max) = self.life.restart.in_a_row();
            let sentence = format!(
                "the provider {ended}; it starts again in {wait} s (failure {failures} in a row, given up at {failures_max})"
            );
            return Standing::not("restarting", sentence);
        }
        let Some(offer) = self.offers.current() else {
            return Standing::not("waiting-for-job", "it has no job yet");
        };
        let waits = now.saturating_duration_since(offer.at);
        Standing::of_runner(
            self.life.took_a_job,
            (!offer.taken).then_some(waits),
            self.life.pulse.mining_since.is_some(),
            self.account.refused_in_a_row(),
        )
    }

    /// Its proofs.
    pub fn proofs(&self) -> ProofReport {
        self.account.proof_report()
    }

    /// The miner at this moment. `fates` says whether the work source can tell now what became of proofs.
    pub fn report(&mut self, fates: bool, now: Instant) -> MinerReport {
        let Standing { mines: _, condition, reason, hint } = self.standing(now);
        let manifest = &self.plan.chosen.manifest;
        let offer = self.offers.current();
        let job = self.offers.on_offer().map(|given| JobReport {
            height: given.work.job.height,
            certificate_version: given.work.job.certificate_version,
            age_seconds: given.work.job.age(now).as_secs_f64(),
            taken: offer.is_some_and(|offer| offer.taken),
            taken_after_seconds: offer.and_then(|offer| offer.took).map(|took| took.as_secs_f64()),
            hashes_per_proof: super::ledger::hashes_per_proof(&given.work.job.target),
        });
        let each = job.as_ref().and_then(|job| job.hashes_per_proof);
        let summary =
            self.line.link.as_ref().and_then(|link| link.confinement()).map(|lacking| match lacking {
                [] => "in force: files, network, programs and system calls".to_owned(),
                lacking => format!("less than complete: {}", lacking.join("; ")),
            });
        MinerReport {
            name: self.plan.name.clone(),
            condition,
            reason,
            hint,
            provider: manifest.id.clone(),
            plugin: Some(PluginReport {
                path: crate::text::printable_path(&self.plan.chosen.path),
                version: manifest.version.clone(),
                certificate_versions: manifest.certificate_versions.clone(),
            }),
            provider_pid: self.pid(),
            job,
            hashrate: self.account.rates(each, fates, now),
            hashes: self.account.hashes(),
            proofs: self.account.proof_report(),
            last_proof_at: self.account.last_proof_unix(),
            restarts: self.life.restart.total(),
            failures: self.life.restart.in_a_row(),
            last_error: self.voice.last_error().map(str::to_owned),
            confinement: ConfinementReport {
                summary,
                granted: self.plan.grants.granted_text(),
                withheld: self.plan.grants.withheld_text(),
                denied: self.voice.denials().clone(),
            },
            flood: self.voice.flood(),
            provider_stats: self.provider_stats.clone(),
        }
    }
}

fn info(text: String) -> Effect {
    Effect::Line(Level::Info, Speaker::Supervisor, text)
}
