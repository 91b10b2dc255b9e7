//! The session in numbers and words, from its state at one moment.
//!
//! Owns whether the session earns, and why not. It only looks: asking changes nothing.

use std::time::{Duration, Instant, SystemTime};

use super::Session;
use crate::session::ledger::hashes_per_proof;
use crate::session::report::{
    ConfinementReport, EndpointReport, Expected, FloodReport, JobReport, PluginReport, RateReport, Report,
    SCHEMA, TroubleReport, Windows, WorkReport,
};
use crate::session::state::{self, LiveFacts};
use crate::session::supervise::unix_seconds;
use crate::work::Trouble;

/// Refused proofs in a row after which the session is not called earning.
const REFUSED_MAX: u64 = 3;
/// How long a job may be on offer before a provider that took the one before is not called earning.
const TAKING_TIME: Duration = Duration::from_secs(5);

/// Whether the session earns, and why not.
struct Standing {
    earning: bool,
    condition: String,
    reason: Option<String>,
    hint: Option<String>,
}

impl Standing {
    fn not(condition: &str, reason: impl Into<String>) -> Self {
        Self { earning: false, condition: condition.into(), reason: Some(reason.into()), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Session {
    fn standing(&self, now: Instant) -> Standing {
        if self.stopping.is_some() {
            return Standing::not("stopping", "the provider is being stopped");
        }
        if let Some(unfit) = &self.unfit {
            let (sentence, hint) = self.unfit_words(unfit);
            return Standing::not("needs-update", sentence).hint(hint);
        }
        if self.child.is_none() {
            let wait = self.restart_at.map_or(0, |at| at.saturating_duration_since(now).as_secs() + 1);
            let why = self.restart_why.as_deref().unwrap_or("ended");
            let (failures, failures_max) = self.restart.in_a_row();
            let sentence = format!(
                "the provider {why}; it starts again in {wait} s (failure {failures} in a row, given up at {failures_max})"
            );
            return Standing::not("restarting", sentence);
        }
        let condition = self.work.borrow().condition.clone();
        if !condition.is_earning() {
            let standing = Standing::not(condition.word(), condition.sentence(now));
            return Standing { hint: condition.hint().map(str::to_owned), ..standing };
        }
        let Some(offer) = self.offer else {
            return Standing::not(
                "waiting-for-job",
                format!("no job from the {} yet", self.work.borrow().source),
            );
        };
        if self.running_since.is_none() {
            return Standing::not("starting", "the provider has not taken its first job yet");
        }
        let waits = now.saturating_duration_since(offer.at);
        if !offer.taken && (waits > TAKING_TIME || self.pulse.mining_since.is_none()) {
            let sentence =
                format!("the provider has not taken the job that is on offer for {} s", waits.as_secs());
            return Standing::not("idle", sentence);
        }
        let refused = self.ledger.refused_in_a_row();
        if refused >= REFUSED_MAX {
            let sentence =
                format!("the last {refused} proofs were refused by the host's verifier and never sent");
            return Standing::not("refused-proofs", sentence)
                .hint("the plugin computes something else than the network wants: look for a newer one");
        }
        Standing {
            earning: true,
            condition: "earning".into(),
            reason: (condition.word() != "healthy").then(|| condition.sentence(now)),
            hint: None,
        }
    }

    /// The session at this moment.
    pub(super) fn report(&mut self, now: Instant) -> Report {
        let Standing { earning, condition, reason, hint } = self.standing(now);
        let state = state::of_live(LiveFacts {
            stopping: self.stopping.is_some(),
            took_a_job: self.running_since.is_some(),
        });
        let (since, since_time) = match (&self.stopping, self.running_since) {
            (Some(stopping), _) => (stopping.since, stopping.since_time),
            (None, Some(running)) => running,
            (None, None) => (self.began, self.began_at),
        };
        let job = self.job_in_work().map(|job| {
            let offer = self.offer;
            JobReport {
                height: job.height,
                certificate_version: job.certificate_version,
                age_seconds: job.age(now).as_secs_f64(),
                taken: offer.is_some_and(|offer| offer.taken),
                taken_after_seconds: offer.and_then(|offer| offer.took).map(|took| took.as_secs_f64()),
                hashes_per_proof: hashes_per_proof(&job.target),
            }
        });
        let each = job.as_ref().and_then(|job| job.hashes_per_proof);
        let raw = Windows {
            s10: self.hashrate.over(10, now),
            s60: self.hashrate.over(60, now),
            m15: self.hashrate.over(900, now),
        };
        let (total, elapsed) = (self.hashrate.total(), self.hashrate.elapsed(now));
        let verified = self.ledger.verified_work().judge(total, elapsed, each);
        let work = self.work.borrow().clone();
        // Where nobody can say just now what became a block, what was accepted is not known, and it would be slander to
        // hold it against the claim: the host's own verifier has the last word.
        let is_told = self.ledger.is_traced() && work.knows_fates();
        let accepted = is_told.then(|| self.ledger.accepted_work().judge(total, elapsed, each)).flatten();
        let deciding = if is_told { &accepted } else { &verified };
        let verdict = deciding.as_ref().map(|rate| rate.words());
        let rate = raw.m15.or(raw.s60).or(raw.s10).filter(|rate| *rate > 0.0);
        let block = each.zip(rate).map(|(each, rate)| each / rate);
        let manifest = &self.setup.chosen.manifest;
        let report = self.child.as_ref().map(|child| child.report().clone());
        let summary = report.map(|report| match report.failed.as_slice() {
            [] => "in force: files, network, programs and system calls".to_owned(),
            lacking => format!("less than complete: {}", lacking.join("; ")),
        });
        let mut endpoints: Vec<EndpointReport> = work
            .endpoints
            .iter()
            .map(|endpoint| EndpointReport {
                purpose: endpoint.purpose.into(),
                address: endpoint.address.clone(),
                reachable: endpoint.reachable,
                trouble: endpoint.trouble.as_ref().map(|trouble| trouble_report(trouble, now)),
            })
            .collect();
        if let Some((address, bound)) = self.metrics_address {
            endpoints.push(EndpointReport {
                purpose: "metrics".into(),
                address: format!("http://{address}/metrics"),
                reachable: Some(bound),
                trouble: None,
            });
        }
        endpoints.push(EndpointReport {
            purpose: "control".into(),
            address: format!("unix:{}", self.setup.holder.socket.display()),
            reachable: Some(true),
            trouble: None,
        });
        Report {
            schema: SCHEMA,
            state,
            earning,
            condition,
            reason,
            hint,
            since: Some(unix_seconds(since_time)),
            since_seconds: Some(now.saturating_duration_since(since).as_secs_f64()),
            started_at: Some(unix_seconds(self.began_at)),
            provider: Some(manifest.id.clone()),
            plugin: Some(PluginReport {
                path: crate::text::printable_path(&self.setup.chosen.path),
                version: manifest.version.clone(),
                certificate_versions: manifest.certificate_versions.clone(),
            }),
            supervisor_pid: Some(self.setup.holder.supervisor.pid),
            provider_pid: self.child.as_ref().map(|child| child.identity().pid),
            device: self.device.get().cloned(),
            work: Some(WorkReport {
                source: work.source.into(),
                condition: work.condition.word().into(),
                sentence: work.condition.sentence(now),
                reconnects: work.reconnects,
            }),
            job,
            hashrate: RateReport { raw, accepted, verified, verdict },
            hashes: total,
            proofs: self.proofs(),
            last_proof_at: self.last_proof_at.map(|at: SystemTime| unix_seconds(at)),
            expected_seconds: Expected { share: None, block },
            restarts: self.restart.total(),
            failures: self.restart.in_a_row(),
            last_error: self.last_error.clone(),
            confinement: ConfinementReport {
                summary,
                granted: self.setup.grants.granted_text(),
                withheld: self.setup.grants.withheld_text(),
                denied: self.denied.clone(),
            },
            flood: FloodReport {
                log_lines_dropped: self.flood.lines_dropped,
                pipe_throttled: self.flood.throttled,
            },
            endpoints,
            provider_stats: self.provider_stats.clone(),
            log: self.setup.log.recent().map(str::to_owned).collect(),
            last_session: None,
        }
    }
}

fn trouble_report(trouble: &Trouble, now: Instant) -> TroubleReport {
    let lasts = now.saturating_duration_since(trouble.since);
    TroubleReport {
        text: trouble.text.clone(),
        hint: trouble.hint.clone(),
        since: unix_seconds(SystemTime::now().checked_sub(lasts).unwrap_or(SystemTime::UNIX_EPOCH)),
        since_seconds: lasts.as_secs_f64(),
    }
}
