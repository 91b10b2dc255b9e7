//! Measures a provider: the process that a session would run, on jobs that cannot be solved.
//!
//! ```text
//! limit  |  job ............ window ............ withdrawn  |  limit     and again
//! (registers only, provider idle)                 (registers only, provider idle)
//! ```
//!
//! Each window is one job whose target nobody reaches, so that all of the work is done and none of it is handed in.
//! Right before and right after it, while the provider idles, [`limit`] tells what the processor could do at most; the
//! ratio of both is taken per second of processor time, which stays the same when another program takes half the machine.
//! Clocks change within a window, and a virtual machine's neighbours come and go: for two thousandths of the time the same
//! is measured within it, beside the provider, and told apart. The hashrate itself is by the wall clock, as in a session.
//!
//! With an easy target instead, the proofs that the provider finds are checked with the verifier that a session uses.
//!
//! No provider is named here, and nothing of what a provider says is needed but its hashes; its threads, shape, split of
//! time and kernel are shown where it tells them.

pub mod devices;
pub mod limit;
mod process_time;
pub mod report;
mod subject;

use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Target, U256, verify};

use self::limit::Looks;
pub use self::report::{Proofs, Report, Window};
use self::subject::{Lost, Subject};
use crate::config::Config;
use crate::explain::Explain;
use crate::miner::Options;
use crate::miner::frame::WireJob;
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
/// How long the limit is measured before and after each window.
const LIMIT_TIME: Duration = Duration::from_millis(20);

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
    let begun = Instant::now();
    let mut subject = Subject::start(config, &chosen, &plan.extra)?;
    let mut jobs = Jobs { next: 1, version };
    subject.started(PATIENCE).await?;

    // Warm up, and let it tell how many threads it has.
    subject.work(jobs.next(UNREACHABLE), PATIENCE).await?;
    watch(Event::Started { provider: &id, took: begun.elapsed() });
    subject.pump(WARM_UP).await?;
    subject.rest(PATIENCE).await?;
    let details = subject.details(PATIENCE).await?;
    subject.logs.drain(..).for_each(|line| watch(Event::Log(&line)));

    let mut report = Report::new(&id, &chosen, version, &details);
    if let Some(wanted) = plan.verify {
        report.proofs = Some(verify_proofs(&mut subject, &mut jobs, wanted, watch).await?);
    }
    let kernel = details.get("kernel").and_then(serde_json::Value::as_str);
    // What the processor could do says nothing about a device, which measures its own limit.
    let scheme = if devices::are_told(&details) { None } else { limit::scheme_for(kernel) };
    let threads = report.threads_at_once();
    let limit = || scheme.map(|scheme| limit::measure(scheme, threads, LIMIT_TIME)).unwrap_or_default();
    let mut windows = Vec::new();
    let before = subject.details(PATIENCE).await?;
    let mut limit_before = if plan.windows > 0 { limit() } else { Looks::default() };
    for _ in 0..plan.windows {
        let beside = scheme.map(|scheme| limit::Beside::start(scheme, threads));
        let window = one_window(&mut subject, &mut jobs, plan.window).await?;
        let during = beside.map(limit::Beside::finish).unwrap_or_default();
        let limit_after = limit();
        let around = Looks::default().with([&limit_before, &limit_after]);
        let window = Window { limit: around.median(), limit_within: during.median(), ..window };
        watch(Event::Window(&window));
        windows.push(window);
        limit_before = limit_after;
    }
    let after = subject.details(PATIENCE).await?;
    report.memory_bytes = subject.resident();
    report.measured(&windows, scheme.map(limit::Scheme::name), &before, &after);
    subject.stop(PATIENCE).await?;
    Ok(report)
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

async fn one_window(subject: &mut Subject, jobs: &mut Jobs, length: Duration) -> Result<Window, BenchError> {
    let hashes = subject.hashes;
    let processor = subject.processor_time();
    let begun = Instant::now();
    subject.work(jobs.next(UNREACHABLE), PATIENCE).await?;
    subject.pump(length.saturating_sub(begun.elapsed())).await?;
    let took = begun.elapsed();
    subject.rest(PATIENCE).await?;
    let processor =
        subject.processor_time().zip(processor).map(|(after, before)| after.saturating_sub(before));
    let hashes = subject.hashes - hashes;
    if hashes == 0 {
        return Err(BenchError::NoWork(took));
    }
    Ok(Window { hashes, took, processor, limit: None, limit_within: None })
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
