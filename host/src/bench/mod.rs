//! Measures a provider: the process that a session would run, on jobs that cannot be solved.
//!
//! ```text
//! job |turn| |turn| |turn| ... |turn| withdrawn |    and again, for each window
//!    look   look   look   look      look       look
//! ```
//!
//! Each window is one job whose target nobody reaches, so that all of the work is done and none of it is handed in.
//! Within it the provider's process has turns of some hundredths of a second. Between two of them it stands still for a
//! millisecond, in which [`limit`] tells what its processors could do at most; [`account`] holds both together, by
//! processor time, which stays the same when another program takes half the machine. The hashrate itself is by the wall
//! clock, as in a session, without the time that the process stood still.
//!
//! With an easy target instead, the proofs that the provider finds are checked with the verifier that a session uses.
//!
//! No provider is named here, and nothing of what a provider says is needed but its hashes; its threads, shape, split of
//! time and kernel are shown where it tells them.

pub mod account;
pub mod devices;
pub mod limit;
mod process_time;
pub mod report;
mod subject;

use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Target, U256, verify};

use self::account::Account;
use self::limit::Meter;
pub use self::report::{Proofs, Report, Window};
use self::subject::{Lost, Subject};
use crate::config::Config;
use crate::explain::Explain;
use crate::miner::Options;
use crate::miner::frame::WireJob;
use crate::miner::plan as miner_plan;
use crate::miner::plugin::{self, ChooseError};
use crate::sandbox::SpawnError;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many windows; none to only verify.
    pub windows: u32,
    /// How long each is.
    pub window: Duration,
    /// How many proofs to find and check.
    pub verify: Option<u64>,
    /// Settings of the provider's that take the place of the configuration's.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Plan {
    /// The longest that a window gets.
    pub const WINDOW_MAX: Duration = Duration::from_secs(10);

    /// Measures for `seconds` in all, in windows of at most ten seconds.
    pub fn of_seconds(seconds: u64) -> Self {
        let windows = seconds.div_ceil(Self::WINDOW_MAX.as_secs()) as u32;
        let window = if windows == 0 { Duration::ZERO } else { Duration::from_secs(seconds) / windows };
        Self { windows, window, verify: None, extra: serde_json::Map::new() }
    }
}

/// What happened, for whoever watches.
#[derive(Debug)]
pub enum Event<'a> {
    /// The provider mines.
    Started {
        /// Its id.
        provider: &'a str,
        /// How long it took from nothing to the first job.
        took: Duration,
    },
    /// A line from its log.
    Log(&'a str),
    /// A window is over.
    Window(&'a Window),
    /// A proof was verified; so many were accepted so far, and so many were not.
    Verified {
        /// Those that hold.
        accepted: u64,
        /// Those that do not.
        rejected: u64,
    },
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum BenchError {
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error("the provider process could not be started")]
    Spawn(#[source] SpawnError),
    #[error("the provider {0}")]
    Provider(String),
    #[error("the provider `{id}` speaks no certificate version that this build can verify")]
    Certificate { id: String },
    #[error("the provider did no work in {}", crate::text::duration(*.0))]
    NoWork(Duration),
    #[error("the provider found {found} of {wanted} proofs and then none for {} s", patience.as_secs())]
    NoProofs { found: u64, wanted: u64, patience: Duration },
    #[error("failed to prepare the measurement")]
    Runtime(#[source] std::io::Error),
}

impl Explain for BenchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Choose(err) => err.hint(),
            Self::Provider(_) => Some(
                "its documentation says which `--extra` it takes; `pearlbed plugins inspect` asks it what it can do here"
                    .into(),
            ),
            Self::NoWork(_) => Some("give it longer with `--seconds`, or a smaller shape".into()),
            _ => None,
        }
    }

    fn exit(&self) -> crate::exit::Exit {
        match self {
            Self::Choose(err) => err.exit(),
            _ => crate::exit::Exit::Failed,
        }
    }
}

impl From<Lost> for BenchError {
    fn from(lost: Lost) -> Self {
        Self::Provider(lost.0)
    }
}

/// How long a provider may take to start, to take a job, or to answer for its numbers.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a provider may be without a proof at the easy target.
const PROOF_PATIENCE: Duration = Duration::from_secs(60);
/// Work before the first window, so that memory and clocks are warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long a turn of the provider's is, between two looks at the limit: what changes slower than this is seen.
const TURN: Duration = Duration::from_millis(20);
/// How long a piece is, of which the spread is told: long against what a provider counts at a time.
const PIECE: Duration = Duration::from_secs(1);

/// Measures the configured provider, or the fastest one.
///
/// # Errors
///
/// [`BenchError`]; no process is left then.
pub fn run(
    options: &Options,
    config: &Config,
    plan: &Plan,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Report, BenchError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Runtime)?;
    runtime.block_on(measure(options, config, plan, watch))
}

async fn measure(
    options: &Options,
    config: &Config,
    plan: &Plan,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Report, BenchError> {
    let chosen = plugin::choose(options, config)?;
    let id = chosen.manifest.id.clone();
    let version = best_certificate(&chosen.manifest.certificate_versions)
        .ok_or_else(|| BenchError::Certificate { id: id.clone() })?;
    check_settings(config, &chosen, plan)?;
    let begun = Instant::now();
    let mut subject = Subject::start(config, &chosen, &plan.extra)?;
    let mut jobs = Jobs { next: 1, version };
    subject.started(PATIENCE).await?;

    // Warm up, and let it tell how many threads it has.
    subject.work(jobs.next(UNREACHABLE), PATIENCE).await?;
    watch(Event::Started { provider: &id, took: begun.elapsed() });
    let at_work = (Instant::now(), subject.processor_time());
    subject.pump(WARM_UP).await?;
    let busy = busy_threads(at_work.0.elapsed(), at_work.1, subject.processor_time());
    subject.rest(PATIENCE).await?;
    let details = subject.details(PATIENCE).await?;
    subject.logs.drain(..).for_each(|line| watch(Event::Log(&line)));

    let mut report = Report::new(&id, &chosen, version, &details);
    if let Some(wanted) = plan.verify {
        report.proofs = Some(verify_proofs(&mut subject, &mut jobs, wanted, watch).await?);
    }
    // Where it does not say how many threads it has, as many look at the limit as were seen at work.
    let threads = report.threads_at_once().unwrap_or(busy);
    let kernel = details.get("kernel").and_then(serde_json::Value::as_str);
    // What the processor could do says nothing about a device, which measures its own limit.
    let scheme = if devices::are_told(&details) { None } else { limit::scheme_for(kernel) };
    let meter = scheme.filter(|_| plan.windows > 0).and_then(|scheme| Meter::new(scheme, threads));
    let before = subject.details(PATIENCE).await?;
    let mut windows = Vec::new();
    for _ in 0..plan.windows {
        let window = one_window(&mut subject, &mut jobs, plan.window, meter.as_ref()).await?;
        watch(Event::Window(&window));
        windows.push(window);
    }
    let after = subject.details(PATIENCE).await?;
    report.memory_bytes = subject.resident();
    report.measured(&windows, meter.as_ref().map(|meter| meter.scheme().name()), &before, &after);
    subject.stop(PATIENCE).await?;
    Ok(report)
}

/// Holds the settings of the configuration against what the provider says that it takes, as a start does. What a flag sets is
/// tried, and the provider answers for it.
fn check_settings(config: &Config, chosen: &plugin::Chosen, plan: &Plan) -> Result<(), ChooseError> {
    let mut extra = config.mining.extra.clone();
    extra.retain(|key, _| !plan.extra.contains_key(key));
    let Some(mistake) = miner_plan::setting_mistake(chosen, &extra) else { return Ok(()) };
    let key = format!("mining.extra.{}", mistake.key);
    Err(ChooseError::Setting { key, problem: mistake.problem, fix: mistake.fix })
}

/// A target that is only met by a number nobody has seen.
const UNREACHABLE: Target = Target(U256::ONE);

/// The newest certificate version of those that can be verified here.
fn best_certificate(versions: &[u32]) -> Option<CertificateVersion> {
    CertificateVersion::ALL.into_iter().rev().find(|known| versions.contains(&known.number()))
}

/// Makes jobs as the network of today would: rank penalty in force, another header each time.
struct Jobs {
    next: u64,
    version: CertificateVersion,
}

impl Jobs {
    fn next(&mut self, target: Target) -> WireJob {
        let id = self.next;
        self.next += 1;
        let mut header = [0; Header::LEN];
        header[..8].copy_from_slice(&id.to_le_bytes());
        header[8..16].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        WireJob {
            id,
            header,
            target: target.to_le_bytes(),
            certificate_version: self.version.number(),
            rank_penalty: true,
        }
    }
}

/// Threads that were at work on average, rounded up: from the processor time before and after.
fn busy_threads(took: Duration, before: Option<Duration>, after: Option<Duration>) -> usize {
    let spent = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    let busy = spent.map_or(1.0, |spent| spent.as_secs_f64() / took.as_secs_f64().max(1e-9));
    let most = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // A little more than a whole number is a thread that waits and sees.
    ((busy - 0.25).ceil().max(1.0) as usize).min(most)
}

async fn one_window(
    subject: &mut Subject,
    jobs: &mut Jobs,
    length: Duration,
    meter: Option<&Meter>,
) -> Result<Window, BenchError> {
    let hashes = subject.hashes;
    let processor = subject.processor_time();
    let mut turns = match meter {
        Some(meter) => Turns::begin(meter, subject.processor_time()),
        None => None,
    };
    if let Some(turns) = &mut turns {
        turns.account.mark(subject.counted(PATIENCE).await?);
    }
    let begun = Instant::now();
    subject.work(jobs.next(UNREACHABLE), PATIENCE).await?;
    let mut stood = Duration::ZERO;
    match &mut turns {
        None => subject.pump(length.saturating_sub(begun.elapsed())).await?,
        Some(turns) => {
            let mut piece = Instant::now();
            while begun.elapsed() < length {
                subject.pump(TURN).await?;
                let counted = match piece.elapsed() >= PIECE {
                    true => Some(subject.counted(PATIENCE).await?),
                    false => None,
                };
                stood += turns.over(subject);
                if let Some(hashes) = counted {
                    turns.account.mark(hashes);
                    piece = Instant::now();
                }
            }
        }
    }
    let took = begun.elapsed().saturating_sub(stood);
    subject.rest(PATIENCE).await?;
    if let Some(turns) = &mut turns {
        // What was under way when the job was withdrawn is finished, and counted on both sides.
        turns.over(subject);
    }
    let processor =
        subject.processor_time().zip(processor).map(|(after, before)| after.saturating_sub(before));
    let hashes = subject.hashes - hashes;
    if hashes == 0 {
        return Err(BenchError::NoWork(took));
    }
    let account = turns.map(|turns| turns.account).unwrap_or_default();
    Ok(Window { hashes, took, processor, account })
}

/// Turns of the provider's, with a look at the limit between two.
struct Turns<'a> {
    meter: &'a Meter,
    account: Account,
    /// The provider's processor time at the end of the last turn.
    used: Duration,
}

impl<'a> Turns<'a> {
    /// Begins with a look while the provider idles; none where the system does not tell its processor time.
    fn begin(meter: &'a Meter, used: Option<Duration>) -> Option<Self> {
        let used = used?;
        Some(Self { meter, account: Account::begin(meter.look()?), used })
    }

    /// Ends a turn: the process stands still, and the limit is looked at. Returns for how long it stood.
    fn over(&mut self, subject: &Subject) -> Duration {
        let begun = Instant::now();
        let paused = subject.pause();
        if let Some(used) = paused.processor_time()
            && let Some(look) = self.meter.look()
        {
            self.account.turn(used.saturating_sub(self.used), look);
            self.used = used;
        }
        drop(paused);
        begun.elapsed()
    }
}

/// Finds `wanted` proofs and checks each.
async fn verify_proofs(
    subject: &mut Subject,
    jobs: &mut Jobs,
    wanted: u64,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Proofs, BenchError> {
    // For a tile of 2^20 multiply-accumulates, one in 64 is a hit.
    let target = Target(U256::ONE << 230_usize);
    let mut proofs = Proofs { wanted, ..Proofs::default() };
    let mut last = Instant::now();
    while proofs.accepted + proofs.rejected < wanted {
        // A new job every second or so: proofs of one job alone would show less.
        let wire = jobs.next(target);
        let job = verify::Job {
            header: Header::from_bytes(wire.header),
            target: Some(target),
            certificate: jobs.version,
            rank_penalty: wire.rank_penalty,
        };
        let id = wire.id;
        subject.work(wire, PATIENCE).await?;
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && proofs.accepted + proofs.rejected < wanted {
            let Some(found) = subject.proof(until).await? else { continue };
            last = Instant::now();
            if found.job != id {
                continue;
            }
            let verdict = verify::verify_canonical(&job, &found.bytes);
            proofs.took += last.elapsed();
            match verdict {
                Ok(_) => proofs.accepted += 1,
                Err(rejection) => {
                    proofs.rejected += 1;
                    proofs.reasons.insert(rejection.to_string());
                }
            }
            watch(Event::Verified { accepted: proofs.accepted, rejected: proofs.rejected });
        }
        if last.elapsed() > PROOF_PATIENCE {
            let found = proofs.accepted + proofs.rejected;
            return Err(BenchError::NoProofs { found, wanted, patience: PROOF_PATIENCE });
        }
    }
    subject.rest(PATIENCE).await?;
    Ok(proofs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_windows_of_ten_at_most() {
        let plan = |seconds| {
            let plan = Plan::of_seconds(seconds);
            (plan.windows, plan.window)
        };
        assert_eq!(plan(0), (0, Duration::ZERO));
        assert_eq!(plan(3), (1, Duration::from_secs(3)));
        assert_eq!(plan(10), (1, Duration::from_secs(10)));
        assert_eq!(plan(25), (3, Duration::from_secs(25) / 3));
        assert_eq!(plan(60), (6, Duration::from_secs(10)));
    }

    #[test]
    fn jobs_differ_and_ask_for_the_newest_certificate_that_both_sides_know() {
        assert_eq!(best_certificate(&[1, 2, 3, 4]), Some(CertificateVersion::V3));
        assert_eq!(best_certificate(&[1]), Some(CertificateVersion::V1));
        assert_eq!(best_certificate(&[7]), None);
        let mut jobs = Jobs { next: 1, version: CertificateVersion::V3 };
        let (first, second) = (jobs.next(UNREACHABLE), jobs.next(UNREACHABLE));
        assert!(first.id < second.id && first.header != second.header);
    }
}
