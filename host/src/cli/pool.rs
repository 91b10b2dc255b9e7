//! `pearlbed pool test`: what a pool wants, without mining for it.

use std::time::Duration;

use serde_json::json;

use super::render::{BAD, GOOD, hanging, styled};
use super::{Context, Error};
use crate::config::{Config, PoolUrl, SubmitTarget};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::text;
use crate::work::pool::resolver::Resolver;
use crate::work::pool::settings::Pool;
use crate::work::pool::tls::Roots;
use crate::work::pool::trial::{Findings, Stage, ask};
use crate::work::stratum::target::difficulty_text;
use crate::work::{SpawnError, pools};

/// Ask pools what they want
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed pool test                                  every configured pool
  pearlbed pool test stratum+ssl://pool.example:3333  this one")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Test(TestArgs),
}

/// Connect, log in and wait for the first job, without mining
///
/// Says how the pool is secured, who would be paid, which form of login and which encoding it understands, which
/// certificate version and difficulty its jobs have, and how long a share takes at this machine's rate.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed pool test                                  every configured pool
  pearlbed pool test stratum+ssl://pool.example:3333  this one
  pearlbed pool test --rate 200e9 --json              with the time per share at 200 GH/s

Exit status: 0 if every pool gave a job, 10 not reached, 11 not trusted, 12 login refused, 13 no job,
5 if the job needs a certificate version that this build does not know.")]
struct TestArgs {
    /// The pool; without it, every one that is configured
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// Who would be paid, where none is configured
    #[arg(long, value_name = "ADDRESS")]
    wallet: Option<String>,

    /// Hashes per second of this machine, for the time per share
    #[arg(long, value_name = "H/S", value_parser = rate)]
    rate: Option<f64>,

    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or("a number above 0".into())
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let Command::Test(args) = &args.command;
    let config = context.config(&[])?;
    let pools = chosen(args, &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Error::caused_by("failed to start", err))?;
    let mut exit = Exit::Ok;
    let mut rows = Vec::new();
    for pool in &pools {
        let asking = format!("asking {}", text::printable(&pool.address));
        let progress = Progress::waiting(context.wants_progress(), &asking);
        let findings = runtime.block_on(ask(pool, &Resolver::System, &Roots::Platform));
        progress.end();
        let status = status_of(&findings);
        if exit == Exit::Ok {
            exit = status;
        }
        if args.json {
            rows.push(as_json(pool, &findings, args.rate, status));
        } else {
            context.print(&as_text(pool, &findings, args.rate, context.width()))?;
        }
    }
    if args.json {
        context.print_json(&json!({ "schema": 1, "pools": rows }))?;
    }
    // A name that is still being looked up must not keep us.
    runtime.shutdown_background();
    Ok(exit)
}

/// What a pool answers now to a wallet and a worker, as text; for `init`.
pub fn ask_now(url: &str, wallet: &str, worker: &str, width: usize) -> String {
    let url = match PoolUrl::parse(url) {
        Ok(url) => url,
        Err((problem, right)) => return format!("the address {problem}; write it like this: {right}"),
    };
    let pool = Pool::new(url, wallet, worker);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return format!("the pool cannot be asked: {err}"),
    };
    let findings = runtime.block_on(ask(&pool, &Resolver::System, &Roots::Platform));
    runtime.shutdown_background();
    // The questions of `init` are plain text, and so are their answers.
    anstream::adapter::strip_str(&as_text(&pool, &findings, None, width.min(80))).to_string()
}

fn chosen(args: &TestArgs, config: &Config) -> Result<Vec<Pool>, Error> {
    let mut mining = config.mining.clone();
    if let Some(wallet) = &args.wallet {
        mining.wallet_address = Some(wallet.clone());
    }
    let configured = match &mining.submit_target {
        SubmitTarget::Pool(url) => Some(url.clone()),
        _ => None,
    };
    let url = match (&args.url, configured) {
        (Some(url), _) => url.strip_prefix("pool:").unwrap_or(url).to_owned(),
        (None, Some(url)) => url,
        (None, None) => {
            return Err(Error::new("no pool is configured")
                .with_hint("name one: `pearlbed pool test stratum+ssl://pool.example:3333`")
                .with_exit(Exit::Futile));
        }
    };
    if mining.wallet_address.is_none() && mining.pool.manner.account.is_none() {
        return Err(Error::new("no wallet is configured, and pools give nobody a job without one")
            .with_hint("give one: `pearlbed pool test --wallet prl1p…`")
            .with_exit(Exit::Futile));
    }
    let all = pools(&mining, &url).map_err(|err| match err {
        SpawnError::Pool { url, problem, right } => {
            let exit = if args.url.is_some() { Exit::Usage } else { Exit::Futile };
            Error::new(format!("the pool's address `{}` {problem}", text::printable(&url)))
                .with_hint(format!("`pearlbed pool test {right}`"))
                .with_exit(exit)
        }
        other => Error::from(other),
    })?;
    // A pool that is named stands for itself; one that is also a backup keeps the manner that is configured for it.
    Ok(match &args.url {
        None => all,
        Some(_) => {
            let backup = all.iter().skip(1).find(|pool| *pool.address == *url).cloned();
            backup.map_or_else(|| all.into_iter().take(1).collect(), |pool| vec![pool])
        }
    })
}

fn status_of(findings: &Findings) -> Exit {
    match (findings.stage, &findings.job) {
        (Stage::Done, Some(job))
            if pearl_pow::CertificateVersion::try_from(job.certificate_version).is_err() =>
        {
            Exit::NeedsUpdate
        }
        (Stage::Done, _) => Exit::Ok,
        (Stage::Connect, _) => Exit::PoolUnreachable,
        (Stage::Trust, _) => Exit::PoolUntrusted,
        (Stage::Login, _) => Exit::PoolRefused,
        (Stage::Job, _) => Exit::PoolNoJob,
    }
}

fn as_text(pool: &Pool, findings: &Findings, rate: Option<f64>, width: usize) -> String {
    let mut lines = String::new();
    let mut row = |name: &str, value: String| {
        hanging(&mut lines, &format!("  {name:<12} "), 15, &text::printable(&value), width);
    };
    let login = &pool.login;
    let worker = if login.worker.is_empty() { String::new() } else { format!(", worker {}", login.worker) };
    row("pays", format!("{}{worker}", login.wallet));
    if let Some(times) = &findings.times {
        let tls = times.tls.map(|tls| format!(", handshake {}", text::duration(tls))).unwrap_or_default();
        row(
            "connection",
            format!("{} in {}; {}{tls}", times.peer, text::duration(times.tcp), times.security),
        );
    }
    if let (Some(login), Some(dialect), Some(encoding)) =
        (findings.login, findings.dialect, findings.encoding)
    {
        let took = text::duration(login);
        row("login", format!("accepted in {took}; form: {dialect}; proofs: {encoding}"));
    }
    if let Some(job) = &findings.job {
        let guess = if job.guessed { " (the pool does not say it)" } else { "" };
        let height = job.height.map(|height| format!("height {height}, ")).unwrap_or_default();
        row("job", format!("{height}certificate version {}{guess}", job.certificate_version));
        let label = job
            .label
            .filter(|label| (label / job.difficulty - 1.0).abs() > 0.01)
            .map(|label| format!("; the pool says {}", difficulty_text(label)))
            .unwrap_or_default();
        let work = text::si(job.work, "H");
        row("share", format!("difficulty {}, {work} on average{label}", difficulty_text(job.difficulty)));
        match rate {
            Some(rate) => {
                let seconds = job.work / rate;
                let advice = if seconds > 3600.0 {
                    format!("; {}", pool.profile.easier.unwrap_or("ask the pool for an easier port"))
                } else {
                    String::new()
                };
                row(
                    "time",
                    format!("a share in {} at {}{advice}", seconds_text(seconds), text::hashrate(rate)),
                );
            }
            None => {
                row("time", "give this machine's rate with --rate; `pearlbed bench` measures it".to_owned())
            }
        }
    }
    for note in findings.notes.iter().take(5) {
        row("note", note.clone());
    }
    if let Some(warning) = pool.profile.warning(pool.url.port) {
        row("warning", warning.to_owned());
    }
    if let Some(failure) = &findings.failure {
        row("failed", format!("{}: {failure}", findings.stage.word()));
    }
    let head = match findings.failure {
        None => styled(GOOD, "ok"),
        Some(_) => styled(BAD, "failed"),
    };
    // Whole, and by itself: what is folded into a paragraph is not copied without a mistake.
    if let Some((table, pin)) = findings.failure.as_deref().and_then(pin_line) {
        lines.push_str(&format!("\n{table}\n{pin}\n"));
    }
    format!("{head} {}\n{}", text::printable(&pool.address), lines)
}

/// The line of the configuration that a failure speaks of, and the table that it belongs into.
fn pin_line(failure: &str) -> Option<(&str, &str)> {
    let pin = &failure[failure.find("pin = \"sha256/")?..];
    let (pin, rest) = pin.split_once(" under ")?;
    Some((rest.split_once(". ")?.0, pin))
}

fn seconds_text(seconds: f64) -> String {
    if seconds > 1e9 {
        "more than 30 years".to_owned()
    } else {
        text::duration(Duration::from_secs_f64(seconds))
    }
}

fn as_json(pool: &Pool, findings: &Findings, rate: Option<f64>, status: Exit) -> serde_json::Value {
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let job = findings.job.as_ref().map(|job| {
        json!({
            "cert_version": job.certificate_version,
            "cert_version_guessed": job.guessed,
            "height": job.height,
            "difficulty": job.difficulty,
            "label": job.label,
            "hashes_per_share": job.work,
            "seconds_per_share": rate.map(|rate| job.work / rate),
        })
    });
    json!({
        "address": &*pool.address,
        "wallet": pool.login.wallet,
        "worker": pool.login.worker,
        "stage": findings.stage.word(),
        "failure": findings.failure,
        "exit": status.code(),
        "peer": findings.times.as_ref().map(|times| &times.peer),
        "security": findings.times.as_ref().map(|times| &times.security),
        "connect_ms": findings.times.as_ref().map(|times| millis(times.tcp)),
        "tls_ms": findings.times.as_ref().and_then(|times| times.tls).map(millis),
        "login_ms": findings.login.map(millis),
        "dialect": findings.dialect,
        "encoding": findings.encoding,
        "job": job,
        "notes": findings.notes,
    })
}
