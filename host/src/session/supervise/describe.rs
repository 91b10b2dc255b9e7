//! The session in numbers and words, from its parts at one moment.
//!
//! Owns whether the session earns, and why not. It only looks: asking changes nothing.

use std::time::{Instant, SystemTime};

use super::course::Course;
use super::jobs::Jobs;
use super::record::{Record, providers};
use crate::container::report::ContainerReport;
use crate::miner::report::{JobReport, MinerReport, Windows};
use crate::miner::vardiff::work_of;
use crate::session::pools::PoolReport;
use crate::session::report::{EndpointReport, Expected, Report, SCHEMA, TroubleReport, WorkReport};
use crate::session::totals::{self, Totals};
use crate::sidecar::unix_seconds;
use crate::work::{Trouble, WorkStatus};

/// What there is to look at beside the miners.
pub(super) struct View<'a> {
    pub work: &'a WorkStatus,
    pub jobs: &'a Jobs,
    pub course: &'a Course,
    /// Miners that rest while the gateway proves.
    pub resting: usize,
    /// A stop waits for what the gateway proves.
    pub stop_waits: bool,
    pub record: &'a Record,
    pub last_error: Option<String>,
    pub log: Vec<String>,
    /// The addresses of the miner port.
    pub port: Vec<EndpointReport>,
    /// The containers.
    pub containers: Vec<ContainerReport>,
}

/// Whether the session earns, and why not.
struct Earning {
    earning: bool,
    condition: String,
    reason: Option<String>,
    hint: Option<String>,
}

impl Earning {
    fn as_miner(miner: &MinerReport, many: bool) -> Self {
        let whose = if many { format!("{}: ", miner.name) } else { String::new() };
        let reason = miner.reason.as_ref().map(|reason| format!("{whose}{reason}"));
        Self { earning: false, condition: miner.condition.clone(), reason, hint: miner.hint.clone() }
    }
}

/// The container for whose sake nothing is mined, where there is one: without the others' miners, it is what matters.
fn in_the_way<'a>(view: &'a View<'_>, miners: &[MinerReport]) -> Option<&'a ContainerReport> {
    let of_container =
        |miner: &MinerReport| miner.program.as_ref().is_some_and(|one| one.address.starts_with("container:"));
    let serves = |one: &&ContainerReport| matches!(&*one.phase, "serving" | "small-steps");
    // Without the session's own gateway nobody has work.
    if let Some(gateway) = view.containers.iter().find(|one| one.role == "gateway" && !serves(one)) {
        return Some(gateway);
    }
    let mut mine = view.containers.iter().filter(|one| one.role != "gateway").peekable();
    if !miners.iter().all(of_container) {
        return None;
    }
    let first = mine.peek().copied();
    // Loading, it asks for work already, and mines nothing.
    if mine.any(|one| serves(&one)) { None } else { first }
}

fn earning(view: &View<'_>, miners: &[MinerReport], now: Instant) -> Earning {
    let not = |condition: &str, reason: &str| Earning {
        earning: false,
        condition: condition.into(),
        reason: Some(reason.into()),
        hint: None,
    };
    if let Some(proving) = view.work.proving.filter(|_| view.course.is_ending() && view.stop_waits) {
        let time = now.saturating_duration_since(proving.since).as_secs();
        let text =
            format!("the gateway has been making a block of our proof for {time} s, which a stop waits for");
        let hint = Some("`pearlbed stop` again ends it at once, and the block is lost".to_owned());
        return Earning { hint, ..not("stopping", &text) };
    }
    if view.course.is_ending() {
        return not("stopping", "the provider is being stopped");
    }
    if let Some(container) = in_the_way(view, miners) {
        let condition = match &*container.phase {
            "silent" => "not-mining",
            phase => phase,
        };
        let sentence = format!("{}: {}", container.miner, container.sentence);
        return Earning { hint: container.hint.clone(), ..not(condition, &sentence) };
    }
    if miners.is_empty() && !view.port.is_empty() {
        let hint = "docs/use-your-miner.md says how programs are pointed at it".to_owned();
        return Earning {
            hint: Some(hint),
            ..not("waiting-for-program", "no program has come to the miner port yet")
        };
    }
    let many = miners.len() > 1;
    let down = |miner: &&MinerReport| miner.is_down();
    if let Some(first) = miners.first().filter(|_| miners.iter().all(|miner| down(&miner))) {
        return Earning::as_miner(first, many);
    }
    let condition = &view.work.condition;
    if !condition.is_earning() {
        // What is known of the address that the work comes from says more than what is known of its kind.
        let gateway = view.work.endpoints.iter().find(|endpoint| endpoint.purpose == "gateway");
        let hint = gateway.and_then(|endpoint| endpoint.trouble.as_ref()?.hint.clone());
        let hint = hint.or_else(|| condition.hint().map(str::to_owned));
        return Earning { hint, ..not(condition.word(), &condition.sentence(now)) };
    }
    if view.jobs.current().is_none() {
        return not("waiting-for-job", &format!("no job from the {} yet", view.work.source));
    }
    let mines = |miner: &MinerReport| miner.condition == "mining";
    let resting = view.resting;
    if let Some(proving) = view.work.proving.filter(|_| resting > 0) {
        let time = now.saturating_duration_since(proving.since).as_secs();
        let text = format!(
            "the gateway has been making a block of our proof for {time} s; {} on its processor {} meanwhile",
            if resting == 1 { "the miner".to_owned() } else { format!("{resting} miners") },
            if resting == 1 { "rests" } else { "rest" },
        );
        return Earning { earning: true, condition: "earning".into(), reason: Some(text), hint: None };
    }
    if !miners.iter().any(mines) {
        // The first of those that could: the others are told of in their rows.
        let Some(first) = miners.iter().find(|miner| !miner.is_down()).or(miners.first()) else {
            return not("no-miner", "there is no miner");
        };
        return Earning::as_miner(first, many);
    }
    // Who has left is missed by nobody.
    let present = || miners.iter().filter(|miner| miner.condition != "removed");
    let idle = present().filter(|miner| !mines(miner)).count();
    let reason = match (condition.word() != "healthy", idle) {
        (true, _) => Some(condition.sentence(now)),
        (false, 0) => None,
        (false, idle) => Some(format!("{idle} of {} miners do not mine", present().count())),
    };
    Earning { earning: true, condition: "earning".into(), reason, hint: None }
}

/// The session at `now`.
pub(super) fn report(view: &View<'_>, mut miners: Vec<MinerReport>, now: Instant) -> Report {
    let unfit = |miner: &&mut MinerReport| miner.condition == "needs-update" && miner.hint.is_none();
    for miner in miners.iter_mut().filter(unfit) {
        miner.hint = view.course.advice().map(str::to_owned);
    }
    let Earning { earning, condition, reason, hint } = earning(view, &miners, now);
    let (state, since) = view.course.state();
    let totals = Totals::of(&miners);
    let job = view.jobs.current().filter(|_| miners.iter().any(|miner| miner.job.is_some())).map(|work| {
        let of_miners = || miners.iter().filter_map(|miner| miner.job.as_ref());
        let after = of_miners().filter_map(|job| job.taken_after_seconds).reduce(f64::max);
        JobReport {
            height: work.job.height,
            certificate_version: work.job.certificate_version,
            age_seconds: work.job.age(now).as_secs_f64(),
            taken: of_miners().any(|job| job.taken),
            taken_after_seconds: after,
            hashes_per_proof: work_of(&work.job.target),
            hashes_per_share: None,
        }
    });
    let each = job.as_ref().and_then(|job| job.hashes_per_proof);
    // Of programs that claim nothing, what their shares show, once there are a few.
    let claims = miners
        .iter()
        .any(|miner| miner.hashrate.raw != Windows::default() || miner.hashrate.so_far.is_some());
    let shown = totals.hashrate.verified.filter(|_| !claims && totals.proofs.verified >= 4);
    let rate = totals::expected(&miners).or(shown.map(|rate| rate.hashrate).filter(|rate| *rate > 0.0));
    let find = each.zip(rate).map(|(each, rate)| each / rate);
    let pool = view.work.pool.as_ref().map(|pool| PoolReport::of(pool, now));
    let expected_seconds = match view.jobs.current().filter(|_| pool.is_some()) {
        None => Expected { share: None, block: find },
        // A pool's target is a share's; the block's is in the header.
        Some(work) => {
            let block = pearl_pow::Header::from_bytes(work.job.header).nbits().target().to_le_bytes();
            let block = work_of(&block);
            Expected { share: find, block: block.zip(rate).map(|(each, rate)| each / rate) }
        }
    };
    let first = miners.first();
    let mut proofs = totals.proofs;
    proofs.pending = view.record.store.len() as u64;
    Report {
        schema: SCHEMA,
        state,
        earning,
        condition,
        reason,
        hint,
        since: Some(unix_seconds(since.wall)),
        since_seconds: Some(now.saturating_duration_since(since.at).as_secs_f64()),
        started_at: Some(unix_seconds(view.course.began().wall)),
        provider: Some(providers(miners.iter().map(|miner| miner.provider.as_str()))),
        plugin: first.and_then(|miner| miner.plugin.clone()),
        supervisor_pid: Some(view.record.holder.supervisor.pid),
        provider_pid: miners.iter().find_map(|miner| miner.provider_pid),
        device: view.record.device(),
        work: Some(WorkReport {
            source: view.work.source.into(),
            condition: view.work.condition.word().into(),
            sentence: view.work.condition.sentence(now),
            reconnects: view.work.reconnects,
        }),
        job,
        hashrate: totals.hashrate,
        hashes: totals.hashes,
        proofs,
        last_proof_at: totals.last_proof_at,
        expected_seconds,
        restarts: totals.restarts,
        failures: totals.failures,
        last_error: view.last_error.clone(),
        confinement: totals.confinement,
        flood: totals.flood,
        endpoints: endpoints(view, now),
        provider_stats: first.and_then(|miner| miner.provider_stats.clone()),
        log: view.log.clone(),
        last_session: None,
        other_wallet: None,
        pool,
        miners,
        containers: view.containers.clone(),
    }
}

fn endpoints(view: &View<'_>, now: Instant) -> Vec<EndpointReport> {
    let of_work = view.work.endpoints.iter().map(|endpoint| EndpointReport {
        purpose: endpoint.purpose.into(),
        address: endpoint.address.clone(),
        reachable: endpoint.reachable,
        trouble: endpoint.trouble.as_ref().map(|trouble| trouble_report(trouble, now)),
    });
    let metrics = view.record.metrics.map(|(address, bound)| EndpointReport {
        purpose: "metrics".into(),
        address: format!("http://{address}/metrics"),
        reachable: Some(bound),
        trouble: None,
    });
    let socket = view.record.metrics_socket.iter().map(|(path, bound)| EndpointReport {
        purpose: "metrics".into(),
        address: format!("unix:{}", path.display()),
        reachable: Some(*bound),
        trouble: None,
    });
    let control = EndpointReport {
        purpose: "control".into(),
        address: format!("unix:{}", view.record.holder.socket.display()),
        reachable: Some(true),
        trouble: None,
    };
    let record = view.record.trouble().map(|trouble| EndpointReport {
        purpose: "record".into(),
        address: format!("file:{}", view.record.file().display()),
        reachable: Some(false),
        trouble: Some(trouble_report(trouble, now)),
    });
    let control = record.into_iter().chain([control]);
    of_work.chain(view.port.iter().cloned()).chain(metrics).chain(socket).chain(control).collect()
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
