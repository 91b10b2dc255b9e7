//! What is told of a miner.

use std::net::IpAddr;
use std::time::Instant;

use super::Miner;
use crate::miner::devices::Whole;
use crate::miner::plan::Program;
use crate::miner::report::{
    ConfinementReport, DeviceProofs, JobReport, MinerReport, PluginReport, ProgramReport, ProofReport,
    RateReport,
};
use crate::miner::standing::Standing;
use crate::miner::vardiff::work_of;
use crate::url::Url;

impl Miner {
    /// The address on this machine at which it serves a model meanwhile, and the model, as it says itself: a claim, of the right
    /// form. Another machine's address is none of its to name: whoever reads the record sends there what its user says.
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
        let endpoint = text("endpoint")?;
        let url = Url::parse(&endpoint).ok()?;
        let here = url.host == "localhost" || url.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        (here && matches!(&*url.scheme, "http" | "https")).then(|| (endpoint, text("model")))
    }

    /// Shares that it has found, and how many one hash a second would have brought meanwhile, on average: whatever it claims.
    pub fn proved(&self, now: Instant) -> (u64, f64) {
        self.account.proved(now)
    }

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
        if let Some(why) = &self.rests {
            return Standing::not("too-hot", why.clone()).hint(
                "`temperature_limit` is its limit; more air, or fewer watts by the driver's own tool, help",
            );
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
        let (hashrate, proofs) = (self.rates(fates, now), self.account.proof_report());
        let ProofReport { found, verified, late, refused, .. } = proofs;
        let seconds = self.account.sums(now).seconds;
        let own = DeviceProofs { found, verified, late, refused };
        let devices = self.stats.devices.report(&Whole { proofs: own, rates: &hashrate, seconds });
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
            hashrate,
            hashes: self.account.hashes(),
            proofs,
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
            devices,
            provider_stats: self.stats.json.clone().filter(|_| !self.is_program()),
        }
    }

    /// Its rates. Of a program, which claims nothing, there is nothing to judge.
    fn rates(&mut self, fates: bool, now: Instant) -> RateReport {
        let rates = self.account.rates(fates, now);
        if self.is_program() { RateReport { judgement: None, verdict: None, ..rates } } else { rates }
    }

    /// Questions for work in the last ten seconds, of a program that is here.
    pub fn polls(&self) -> Option<u64> {
        let number = self.stats.json.as_ref().and_then(|stats| stats.get("polls_10s")?.as_u64());
        self.line.is_up().then(|| number.unwrap_or(0))
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
