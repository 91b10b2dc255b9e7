//! What comes from a miner over its link, and the verdicts on what it handed in.

use std::sync::Arc;
use std::time::Instant;

use super::{Miner, Stats, info};
use crate::miner::effect::{Candidate, Effect, Judged, Level, Speaker, Verdict};
use crate::miner::fault::{Told, told};
use crate::miner::frame::{FromProvider, Receipt, ToProvider};
use crate::miner::link::{Submission, What};
use crate::miner::vardiff::work_of;
use crate::work::{ProofId, ProofState};

/// Refused proofs in a row that are logged in full.
const REFUSALS_LOGGED: u64 = 10;

/// The most characters that are quoted of what a provider says of its stop.
const QUOTED_MAX: usize = 400;

impl Miner {
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
            FromProvider::Failed(text) => match told(&text, &self.plan.chosen.manifest.id) {
                Told::Failed(why) => self.life.pulse.failed = Some(why),
                Told::Lacked(why) => self.life.pulse.lacked = Some(why),
            },
            FromProvider::Took(id) => self.took(id, now, out),
            FromProvider::Progress(hashes) => {
                self.account.claimed(hashes, now);
                self.life.pulse.progress_at = Some(now);
            }
            FromProvider::Log { level, message } => self.voice.logs(level, message, now, out),
            FromProvider::LogDropped(lines) => self.voice.dropped(lines),
            FromProvider::Stats(json) => {
                self.stats.json = serde_json::from_str(&json).ok();
                let Stats { json, devices, .. } = &mut self.stats;
                devices.told(json.as_ref().unwrap_or(&serde_json::Value::Null), self.account.sums(now), now);
            }
            // Its own word for it: what it was denied is told by whoever denied it, and nothing honest sends this.
            FromProvider::Denied(_) => self.voice.throttled(),
            FromProvider::Stopped(problem) => {
                self.life.pulse.stopped = true;
                if !problem.is_empty() {
                    let problem = crate::text::quotation(&problem, QUOTED_MAX);
                    let text = format!("the provider could not stop in order: {problem}");
                    self.voice.trouble(text, out);
                }
            }
        }
    }

    fn took(&mut self, id: u64, now: Instant, out: &mut Vec<Effect>) {
        // What it does from here on is done at this job's target, also where a newer job is on its way already.
        let Some((given, is_on_offer)) = self.offers.take(id, now) else { return };
        self.account.took(given, now);
        if is_on_offer && self.life.took(now) {
            out.push(Effect::FirstJob);
        }
    }

    fn submitted(&mut self, generation: u64, submission: Submission, now: Instant, out: &mut Vec<Effect>) {
        let Submission { sequence, job, proof, place } = submission;
        // Who has a proof for a job has taken it.
        if self.offers.is_ahead(job) && generation == self.line.generation() {
            self.took(job, now, out);
        }
        let Some(given) = self.offers.counts_for(job, now) else {
            let why = format!("it is for job {job}, which was never given out");
            self.account.invented("job");
            self.refused(generation, sequence, "job", &why, now, out);
            return;
        };
        self.account.handed_in(given);
        self.stats.devices.handed_in(generation, sequence, &proof, given.each);
        let (work, target) = (Arc::clone(&given.work), given.target);
        out.push(Effect::Judge(Candidate { generation, sequence, work, target, proof, place }));
    }

    /// One of its proofs was judged.
    pub fn judged(&mut self, judged: Judged, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let Judged { generation, sequence, work, target, verdict } = judged;
        let [each, paid] = [&target, &work.job.target].map(|target| work_of(target).unwrap_or_default());
        self.account.judged(&verdict, each, paid, now);
        self.stats.devices.judged(generation, sequence, &verdict);
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
}
