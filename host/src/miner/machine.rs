//! One miner: what it is given, what it does with it, and what follows.
//!
//! Everything here follows from what came over its line ([`What`]), from what its session asks, and from `now`. What the
//! session has to do about it comes back as [`Effect`]s. What a frame says is the miner's word: it fills numbers that are
//! shown as claims and moves nothing else.
//!
//! The parts know their own affairs: [`Life`] when it runs, [`Line`] the link, [`Offers`] the jobs, [`Account`] the
//! numbers, [`Voice`] what it says. Here is how they depend on each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::account::Account;
use super::devices::Devices;
use super::effect::{Candidate, Effect, Judged, Level, Speaker, Verdict, Work};
use super::fork::{Behind, Fork};
use super::frame::{FromProvider, Receipt, ToProvider};
use super::life::{Fate, Life, Then};
use super::line::Line;
use super::link::{Event, Launch, Link, MinerId, Submission, What};
use super::offers::Offers;
use super::plan::{MinerPlan, Program};
use super::report::{ConfinementReport, JobReport, MinerReport, PluginReport, ProgramReport, RateReport};
use super::stall;
use super::standing::{Standing, Unfit};
use super::vardiff::work_of;
use super::voice::Voice;
use crate::work::{ProofId, ProofState};

/// Between two questions for the provider's own numbers.
const STATS_EVERY: Duration = Duration::from_secs(10);
/// Refused proofs in a row that are logged in full.
const REFUSALS_LOGGED: u64 = 10;

/// One miner.
#[derive(Debug)]
pub struct Miner {
    plan: MinerPlan,
    line: Line,
    life: Life,
    offers: Offers,
    unfit: Option<Unfit>,
    /// Of a program: whether the network left it behind.
    fork: Fork,
    account: Account,
    voice: Voice,
    stats: Stats,
    /// Whether it was said that it finds more than can be used.
    spares_told: bool,
}

/// The provider's own numbers, as it gives them.
#[derive(Debug)]
struct Stats {
    json: Option<serde_json::Value>,
    devices: Devices,
    asked_at: Instant,
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
            account: Account::new(plan.estimate, plan.share_every),
            plan,
            line: Line::new(id, launch, events),
            life: Life::new(),
            offers: Offers::default(),
            unfit: None,
            fork: Fork::default(),
            voice: Voice::new(now),
            stats: Stats { json: None, devices: Devices::default(), asked_at: now },
            spares_told: false,
        }
    }

    /// The address at which it serves a model meanwhile, and the model, as it says itself: a claim, of the right form.
    pub fn serves(&self) -> Option<(String, Option<String>)> {
        /// Longer ones are none.
        const BYTES_MAX: usize = 512;
        if !self.line.is_up() {
            return None;
        }
        let details = self.stats.json.as_ref()?.get("details")?;
        let text = |name: &str| {
            let text =
                details.get(name)?.as_str().filter(|text| !text.is_empty() && text.len() <= BYTES_MAX)?;
            text.chars().all(|c| c.is_ascii_graphic()).then(|| text.to_owned())
        };
        let endpoint =
            text("endpoint").filter(|url| url.starts_with("http://") || url.starts_with("https://"))?;
        (!endpoint.contains('@')).then(|| (endpoint, text("model")))
    }

    /// Its plan.
    pub fn plan(&self) -> &MinerPlan {
        &self.plan
    }

    /// Whether it is a program that comes and goes as it likes.
    pub fn is_program(&self) -> bool {
        self.plan.program.is_some()
    }

    /// Whether it has ever handed in a proof.
    pub fn has_handed_in(&self) -> bool {
        let proofs = self.account.proof_report();
        proofs.found > 0 || proofs.refused > 0
    }

    /// It is the same program, as it says of itself now.
    pub fn is_now(&mut self, plan: MinerPlan) {
        if self.plan.program != plan.program {
            self.fork.forget();
        }
        self.plan = plan;
    }

    /// The network left it behind, where it is a program of which that is so.
    fn behind(&self) -> Option<Behind> {
        self.offers.newest().and_then(|given| self.fork.is_behind(given.work.job.certificate_version))
    }

    /// Whether a job is on offer to it.
    pub fn has_an_offer(&self) -> bool {
        self.offers.current().is_some()
    }

    /// The number of its newest link.
    pub fn generation(&self) -> u64 {
        self.line.generation()
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.line.pid()
    }

    /// Whether something may still come from it.
    pub fn is_open(&self) -> bool {
        self.line.is_open()
    }

    /// What its session calls it.
    pub fn id(&self) -> MinerId {
        self.line.id()
    }

    /// Whether a job is on offer to it.
    pub fn has_job(&self) -> bool {
        self.offers.current().is_some()
    }

    /// Whether it has no link.
    pub fn is_down(&self) -> bool {
        !self.line.is_up()
    }

    /// Whether nothing but a person can make it mine again.
    pub fn has_given_up(&self) -> bool {
        self.life.has_given_up()
    }

    /// Whether it has left the session, or is about to.
    pub fn is_dismissed(&self) -> bool {
        self.life.is_dismissed()
    }

    /// Whether it is not to run until it is asked to.
    pub fn is_paused(&self) -> bool {
        self.life.is_paused()
    }

    /// Why it ended the last time: a phrase that follows the provider's name.
    pub fn last_words(&self) -> &str {
        self.life.last_words()
    }

    /// Why it is not mining for what the network wants, if that is so.
    pub fn unfit(&self) -> Option<Unfit> {
        self.unfit
    }

    // What its session asks.

    /// Starts it, unless it runs or may not.
    pub fn start(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.line.is_up() && self.life.may_run() {
            self.launch(now, &mut out);
        }
        out
    }

    /// Gives it a link that somebody else made: a program that came by itself.
    pub fn connected(&mut self, link: Box<dyn Link>, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.begin(now);
        self.line.take(link);
        self.greet(now, &mut out);
        out
    }

    /// There is a new job: every earlier one is over.
    pub fn offer(&mut self, work: &Arc<Work>, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let version = work.job.certificate_version;
        let host_speaks = pearl_pow::CertificateVersion::try_from(version).is_ok();
        if !host_speaks || !self.plan.chosen.manifest.certificate_versions.contains(&version) {
            self.withdraw(now);
            self.unfit = Some(Unfit { version, host_speaks });
            return out;
        }
        if let Some(unfit) = self.unfit.take() {
            out.push(info(format!(
                "the network wants certificate version {version} (it wanted {}): mining resumes",
                unfit.version
            )));
        }
        if let Some(behind) = self.fork.is_behind(version) {
            self.withdraw(now);
            out.push(Effect::Behind(behind.sentence()));
            return out;
        }
        self.put(work, now);
        out
    }

    fn put(&mut self, work: &Arc<Work>, now: Instant) {
        let target = self.account.target(&work.job.target, now);
        let wire = self.offers.put(work, target, now);
        self.send(ToProvider::Job(wire));
    }

    /// There is no job for it any more, and no other takes its place yet.
    pub fn withdraw(&mut self, now: Instant) {
        if let Some(id) = self.offers.withdraw() {
            self.send(ToProvider::Stale(id));
        }
        self.life.pulse.mining_since = None;
        self.account.idles(now);
    }

    /// Asks it to stop within `grace`, and to stay so until it is asked to start.
    pub fn pause(&mut self, grace: Duration, now: Instant) {
        self.life.set_paused(true);
        self.ask_to_stop(grace, Then::Rest, now);
    }

    /// Lets it run again.
    pub fn resume(&mut self, now: Instant) -> Vec<Effect> {
        self.life.set_paused(false);
        self.life.begin_afresh();
        if self.life.start_again() { Vec::new() } else { self.start(now) }
    }

    /// Asks it to stop within `grace`, and starts it again. One that was given up gets another chance, one that is paused
    /// runs again.
    pub fn restart(&mut self, grace: Duration, now: Instant) -> Vec<Effect> {
        self.life.set_paused(false);
        self.life.begin_afresh();
        if !self.line.is_up() {
            return self.start(now);
        }
        self.ask_to_stop(grace, Then::StartAgain, now);
        Vec::new()
    }

    /// Asks it to stop within `grace`, for good: it is not configured any more.
    pub fn dismiss(&mut self, grace: Duration, now: Instant) {
        self.life.dismiss();
        self.ask_to_stop(grace, Then::Rest, now);
    }

    /// It is to be something else: from its next start, which is now or as soon as it has stopped within `grace`.
    pub fn replan(
        &mut self,
        plan: MinerPlan,
        launch: Option<Box<dyn Launch>>,
        grace: Duration,
        now: Instant,
    ) -> Vec<Effect> {
        self.line.set_launch(launch);
        self.plan = plan;
        if self.life.is_paused() { Vec::new() } else { self.restart(grace, now) }
    }

    /// It was dismissed, and is configured again: it comes back with its counts, as `plan` says, and rests where it `rests`.
    pub fn recall(
        &mut self,
        plan: MinerPlan,
        launch: Option<Box<dyn Launch>>,
        rests: bool,
        grace: Duration,
        now: Instant,
    ) -> Vec<Effect> {
        self.life.recall();
        self.life.set_paused(rests);
        self.replan(plan, launch, grace, now)
    }

    /// Ends it now if it was asked to stop and has not: it was asked twice.
    pub fn insist(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.end_what_does_not_stop(now, &mut out);
        out
    }

    /// Ends it without asking.
    pub fn end(&mut self) {
        self.line.end();
    }

    fn ask_to_stop(&mut self, grace: Duration, then: Then, now: Instant) {
        if self.line.is_up() {
            if self.life.ask_to_stop(grace, then, now) {
                self.send(ToProvider::Stop);
            }
        } else {
            self.life.begin_afresh();
        }
    }

    // What comes from it.

    /// Something came over one of its links.
    pub fn event(&mut self, generation: u64, what: What, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let is_current = generation == self.line.generation();
        match what {
            // A proof that it handed in before it ended is as good as any.
            What::Proof(submission) => self.submitted(generation, submission, now, &mut out),
            What::Closed(why) if is_current => {
                self.line.closed(why, now);
                self.leave(now, &mut out);
            }
            What::Frame(frame) if is_current && self.line.is_up() => self.frame(frame, now, &mut out),
            What::Throttled if is_current => self.voice.throttled(),
            What::Note(text) if is_current => out.push(Effect::Line(Level::Warn, Speaker::Supervisor, text)),
            What::Frame(_) | What::Throttled | What::Note(_) | What::Closed(_) => {}
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
                self.account.claimed(hashes, now);
                self.life.pulse.progress_at = Some(now);
            }
            FromProvider::Log { level, message } => self.voice.logs(level, message, now, out),
            FromProvider::LogDropped(lines) => self.voice.dropped(lines),
            FromProvider::Stats(json) => {
                self.stats.json = serde_json::from_str(&json).ok();
                self.stats.devices.told(self.stats.json.as_ref().unwrap_or(&serde_json::Value::Null), now);
            }
            // Its own word for it: what it was denied is told by whoever denied it, and nothing honest sends this.
            FromProvider::Denied(_) => self.voice.throttled(),
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
        // What it does from here on is done at this job's target, also where a newer job is on its way already.
        if let Some(given) = self.offers.find(id) {
            self.account.took(given, now);
        }
        if self.offers.taken(id, now) && self.life.took(now) {
            out.push(Effect::FirstJob);
        }
    }

    fn submitted(&mut self, generation: u64, submission: Submission, now: Instant, out: &mut Vec<Effect>) {
        let Submission { sequence, job, proof, place } = submission;
        let Some(given) = self.offers.find(job) else {
            let why = format!("it is for job {job}, which was never given out");
            self.account.invented("job");
            self.refused(generation, sequence, "job", &why, now, out);
            return;
        };
        self.account.handed_in(given);
        let (work, target) = (Arc::clone(&given.work), given.target);
        out.push(Effect::Judge(Candidate { generation, sequence, work, target, proof, place }));
    }

    /// One of its proofs was judged.
    pub fn judged(&mut self, judged: Judged, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let Judged { generation, sequence, work, target, verdict } = judged;
        let [each, paid] = [&target, &work.job.target].map(|target| work_of(target).unwrap_or_default());
        self.account.judged(&verdict, each, paid, now);
        let version = work.job.certificate_version;
        // What passed was found, whoever takes it.
        if !matches!(verdict, Verdict::Refused { .. } | Verdict::NotJudged(_)) {
            self.life.pulse.share_at = Some(now);
            self.fork.passed(version);
        }
        if let Verdict::Refused { stage, .. } = &verdict
            && self.is_program()
            && self.fork.refused(version, stage)
            && let Some(behind) = self.fork.is_behind(version)
        {
            self.withdraw(now);
            self.voice.trouble(format!("the program {}", behind.sentence()), &mut out);
            out.push(Effect::Behind(behind.sentence()));
        }
        match verdict {
            Verdict::Passed { id, not_kept } => {
                let height =
                    work.job.height.map(|height| format!(" for height {height}")).unwrap_or_default();
                out.push(info(format!("proof {id}{height} found and verified")));
                if let Some(why) = not_kept {
                    let text = format!("proof {id} is not on disk, so a crash would lose it: {why}");
                    self.voice.trouble(text, &mut out);
                }
                self.receipt(generation, sequence, Receipt::Kept, "");
            }
            Verdict::Share => self.receipt(generation, sequence, Receipt::Kept, ""),
            Verdict::Spare => {
                if !std::mem::replace(&mut self.spares_told, true) {
                    let text = "more proofs are found than blocks can be made of: a few are kept for each block, the \
                                others are counted";
                    out.push(info(text.into()));
                }
                self.receipt(generation, sequence, Receipt::Kept, "");
            }
            Verdict::Late => self.receipt(generation, sequence, Receipt::Stale, "the job is over"),
            Verdict::Refused { stage, why, kept } => {
                self.refused(generation, sequence, &stage, &why, now, &mut out);
                if let Some(path) = kept {
                    let path = crate::text::printable_path(&path);
                    out.push(info(format!("it is kept: `pearlbed verify {path}` says more of it")));
                }
            }
            Verdict::NotTaken(why) | Verdict::NotJudged(why) => {
                let text = format!("a proof was not taken: {why}");
                self.voice.nuisance(text, false, now, &mut out);
                self.receipt(generation, sequence, Receipt::Busy, &why);
            }
        }
        out
    }

    fn refused(
        &mut self,
        generation: u64,
        sequence: u64,
        stage: &str,
        why: &str,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let text = format!("a proof was refused at stage {stage}: {why}");
        // The first few in full; a provider that goes on like this shall not write our log.
        let first = self.account.refused_in_a_row() <= REFUSALS_LOGGED;
        self.voice.nuisance(text, first, now, out);
        self.receipt(generation, sequence, Receipt::Refused, &format!("{stage}: {why}"));
    }

    fn receipt(&mut self, generation: u64, sequence: u64, receipt: Receipt, reason: &str) {
        if generation == self.line.generation() {
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
        [self.line.wake_at(now), self.life.wake_at()].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn wake(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.leave(now, &mut out);
        if self.life.is_overdue(now) {
            self.end_what_does_not_stop(now, &mut out);
        }
        if self.life.is_restart_due(now) {
            self.launch(now, &mut out);
        }
        out
    }

    /// Looks after it; to be called about once a second. `patience` is how long it may do nothing.
    pub fn tick(&mut self, patience: Duration, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let look = self.line.look();
        self.voice.looked(look, now, &mut out);
        self.voice.say_flood(now, &mut out);
        if !self.line.is_up() || self.line.is_leaving() || self.life.is_stopping() {
            return out;
        }
        if now.saturating_duration_since(self.stats.asked_at) >= STATS_EVERY {
            self.stats.asked_at = now;
            self.send(ToProvider::AskStats);
        }
        // A program reports no work, and may have other things to do for days.
        if !self.is_program()
            && let Some(why) = stall::judge(&self.stall_facts(patience, now))
        {
            self.line.end();
            self.gone(now);
            let fate = self.life.failed(format!("is stalled: it {why}"), now);
            self.meet(fate, now, &mut out);
            return out;
        }
        self.retarget(now);
        out
    }

    /// Offers the job in work anew where its shares come far too fast or too slowly.
    fn retarget(&mut self, now: Instant) {
        if self.offers.current().is_none_or(|offer| !offer.taken) {
            return;
        }
        let Some(work) = self.offers.on_offer().map(|given| Arc::clone(&given.work)) else { return };
        if self.account.wants_other_target(&work.job.target, now) {
            self.put(&work, now);
        }
    }

    fn stall_facts(&self, patience: Duration, now: Instant) -> stall::Facts {
        let since = |at: Instant| now.saturating_duration_since(at);
        let (pulse, offer) = (&self.life.pulse, self.offers.current());
        let mining = pulse.mining_since.map(since);
        let barren = match (pulse.share_at.map(since), mining) {
            (Some(share), Some(mining)) => share.min(mining),
            (share, mining) => share.or(mining).unwrap_or_default(),
        };
        stall::Facts {
            patience,
            // A plugin that never returns from `start` keeps its job waiting, too.
            job_waits: offer.filter(|offer| !offer.taken).map(|offer| since(offer.at)),
            progress: pulse.progress_at.map(since),
            mining: mining.filter(|_| offer.is_some_and(|offer| offer.taken)),
            barren,
            barren_due: self.account.due_since_share(),
            proofs: self.account.shares(),
            borne_out: self.account.borne_out(),
        }
    }

    // Its process.

    fn launch(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.begin(now);
        match self.line.connect() {
            Ok(true) => self.greet(now, out),
            Ok(false) => {}
            Err(err) => {
                let causes = std::iter::successors(std::error::Error::source(&err), |err| err.source());
                let causes: Vec<String> = causes.map(ToString::to_string).collect();
                let fate = self.life.failed(format!("{err}: {}", causes.join(": ")), now);
                self.meet(fate, now, out);
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        self.life.begins(now);
        self.account.begin_anew();
    }

    fn greet(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.line.generation() == 1 {
            for lack in self.line.confinement().unwrap_or_default() {
                let text = format!("the provider process is confined by less: {lack}");
                out.push(Effect::Line(Level::Warn, Speaker::Supervisor, text));
            }
        }
        if let Some(wire) = self.offers.again(now) {
            self.send(ToProvider::Job(wire));
        }
        out.push(Effect::Moved);
    }

    fn send(&mut self, frame: ToProvider) {
        if !self.line.send(frame) {
            self.life.pulse.failed.get_or_insert_with(|| "does not read what it is sent".into());
        }
    }

    /// Sees how a link that has ended did, as soon as that can be seen.
    fn leave(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some((left, look)) = self.line.left(now) else { return };
        self.voice.looked(look, now, out);
        self.gone(now);
        let fate = if self.is_program() { self.life.departed(left) } else { self.life.ended(left, now) };
        self.meet(fate, now, out);
    }

    /// It has no process any more.
    fn gone(&mut self, now: Instant) {
        self.stats.devices.begin_anew();
        self.account.idles(now);
    }

    fn meet(&mut self, fate: Fate, now: Instant, out: &mut Vec<Effect>) {
        out.push(Effect::Moved);
        match fate {
            Fate::Departed(line) => out.push(info(line)),
            Fate::AsAsked(then, line) => {
                out.extend(line.map(|text| Effect::Line(Level::Warn, Speaker::Supervisor, text)));
                if then == Then::StartAgain {
                    self.launch(now, out);
                }
            }
            Fate::Restarts(line, follows) => {
                self.voice.trouble(line, out);
                out.push(info(follows));
            }
            Fate::GivenUp(line, why) => {
                self.voice.trouble(line, out);
                out.push(Effect::GaveUp(why));
            }
        }
    }

    fn end_what_does_not_stop(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some((waited, then)) = self.life.stop_waiting(now) else { return };
        if self.line.is_up() {
            let process = self.pid().map(|pid| format!(" process {pid}")).unwrap_or_default();
            self.line.end();
            self.gone(now);
            let waited = crate::text::duration(waited);
            let text = format!("the provider{process} did not stop within {waited} and was ended");
            self.voice.trouble(text, out);
        }
        self.meet(Fate::AsAsked(then, None), now, out);
    }

    // What is told of it.

    /// How it stands.
    pub fn standing(&self, now: Instant) -> Standing {
        let unfit =
            self.unfit.map(|unfit| Standing::not("needs-update", unfit.sentence(&self.plan.chosen.manifest)));
        let unfit = unfit.or_else(|| {
            let behind = self.behind()?;
            let hint =
                "install a newer version of it; it gets work again when it, or the network, has changed";
            Some(Standing::not("needs-update", format!("the program {}", behind.sentence())).hint(hint))
        });
        // Whatever became of its process, it could not mine: that comes first, unless somebody wanted it so.
        let of_life = self.life.standing(self.line.is_up(), now);
        match (of_life, unfit) {
            (Some(standing), Some(unfit)) if standing.condition == "restarting" => return unfit,
            (Some(standing), _) | (None, Some(standing)) => return standing,
            (None, None) => {}
        }
        let Some(offer) = self.offers.current() else {
            return Standing::not("waiting-for-job", "it has no job yet");
        };
        Standing::of_runner(
            self.life.took_a_job(),
            (!offer.taken).then(|| now.saturating_duration_since(offer.at)),
            self.life.pulse.mining_since.is_some(),
            self.account.refused_in_a_row(),
        )
    }

    /// The miner at this moment. `fates` says whether the work source can tell now what became of proofs.
    pub fn report(&mut self, fates: bool, now: Instant) -> MinerReport {
        let Standing { mines: _, condition, reason, hint } = self.standing(now);
        let reason = reason.map(|reason| self.plan.in_its_words(reason));
        let manifest = &self.plan.chosen.manifest;
        MinerReport {
            name: self.plan.name.clone(),
            condition,
            reason,
            hint,
            provider: manifest.id.clone(),
            program: self.program_report(),
            plugin: (!self.is_program()).then(|| PluginReport {
                path: crate::text::printable_path(&self.plan.chosen.path),
                version: manifest.version.clone(),
                certificate_versions: manifest.certificate_versions.clone(),
            }),
            provider_pid: self.pid(),
            job: self.job_report(now),
            hashrate: self.rates(fates, now),
            hashes: self.account.hashes(),
            proofs: self.account.proof_report(),
            last_proof_at: self.account.last_share_unix(),
            restarts: self.life.restarts(),
            failures: self.life.failures(),
            last_error: self.voice.last_error().map(str::to_owned),
            confinement: ConfinementReport {
                summary: self.line.confinement().map(confinement_text),
                granted: self.plan.grants.granted_text(),
                withheld: self.plan.grants.withheld_text(),
                denied: self.voice.denials().clone(),
            },
            flood: self.voice.flood(),
            devices: self.stats.devices.report(),
            provider_stats: self.stats.json.clone().filter(|_| !self.is_program()),
        }
    }

    /// Its rates. Of a program, which claims nothing, there is nothing to judge.
    fn rates(&mut self, fates: bool, now: Instant) -> RateReport {
        let rates = self.account.rates(fates, now);
        if self.is_program() { RateReport { judgement: None, verdict: None, ..rates } } else { rates }
    }

    fn program_report(&self) -> Option<ProgramReport> {
        let Program { dialect, agent, address, pid } = self.plan.program.as_ref()?;
        let number = |key: &str| self.stats.json.as_ref().and_then(|stats| stats.get(key)?.as_u64());
        let is_up = self.line.is_up();
        Some(ProgramReport {
            dialect: (*dialect).into(),
            agent: agent.clone(),
            address: address.clone(),
            pid: *pid,
            connections: number("connections").filter(|_| is_up).unwrap_or(u64::from(is_up)),
            polls: number("polls_10s").filter(|_| is_up).unwrap_or(0),
            last_request_at: number("last_request_at"),
        })
    }

    fn job_report(&self, now: Instant) -> Option<JobReport> {
        let (given, offer) = (self.offers.on_offer()?, self.offers.current()?);
        let job = &given.work.job;
        Some(JobReport {
            height: job.height,
            certificate_version: job.certificate_version,
            age_seconds: job.age(now).as_secs_f64(),
            taken: offer.taken,
            taken_after_seconds: offer.took.map(|took| took.as_secs_f64()),
            hashes_per_proof: work_of(&job.target),
            hashes_per_share: Some(given.each),
        })
    }
}

fn confinement_text(lacking: &[String]) -> String {
    match lacking {
        [] => "in force: files, network, programs and system calls".to_owned(),
        lacking => format!("less than complete: {}", lacking.join("; ")),
    }
}

fn info(text: String) -> Effect {
    Effect::Line(Level::Info, Speaker::Supervisor, text)
}

#[cfg(test)]
mod tests;
