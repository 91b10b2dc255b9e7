//! `pearlbed start`: brings a provider up, and returns when it mines or has failed.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Error, PluginDirs, first};
use crate::exit::Exit;
use crate::miner::Options;
use crate::progress::Progress;
use crate::session::announce::{Announcement, Announcer, MinerNote};
use crate::session::control::{self, Request};
use crate::session::launch;
use crate::session::lock::Holder;
use crate::session::look;
use crate::session::report::Report;
use crate::session::service;
use crate::session::supervise::{self, Outcome, SuperviseError};
use crate::work::SourceConfig;

/// Start mining, and return when the provider has taken its first job
///
/// Mines with what `config.toml` says, or on the built-in test network with `--devnet`, which needs no configuration,
/// no wallet and no node. The session goes on in the background until `pearlbed stop`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed start                        mine as configured
  pearlbed start --devnet               try it: a network of your own, worth nothing
  pearlbed start --provider my-miner    with this provider
  pearlbed start --port                 serve miners that you have already
  pearlbed start --foreground           stay attached, for systemd and containers

To use fewer cores, set what the provider has for that under [mining.extra], such
as `threads` (how many), `cpu_percent` (a share of each) or `pin` (which ones);
`pearlbed config keys --provider ID` lists its settings. Miners stand back for
other programs by `nice` 10; [[mining.miners]] asks for more than one.")]
pub struct Args {
    /// Mine on the built-in test network, whatever the configuration says
    #[arg(long)]
    devnet: bool,

    /// Serve programs that mine already, at the miner port; alone, where no provider is configured
    #[arg(long)]
    port: bool,

    /// Mine with this provider, whatever the configuration says
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    /// Start the provider also where it says that it does not support this machine
    #[arg(long)]
    anyway: bool,

    /// Stay attached: log to stderr, end with SIGINT or SIGTERM, tell systemd when ready
    #[arg(long)]
    foreground: bool,

    /// Wait at most this long for the first job; the session goes on trying
    #[arg(long, value_name = "SECONDS", default_value_t = 30, conflicts_with = "foreground",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(0..=86400))]
    wait: u64,

    #[command(flatten)]
    plugins: PluginDirs,
}

impl Args {
    fn options(&self, context: &Context) -> Result<Options, Error> {
        Ok(Options {
            home: context.home()?,
            env: context.env().clone(),
            devnet: self.devnet,
            port: self.port,
            provider: self.provider.clone(),
            plugin_dirs: self.plugins.dirs.clone(),
            relax_file_checks: self.plugins.relax_file_checks,
            anyway: self.anyway,
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let options = args.options(context)?;
    if let Some(shortage) = crate::limits::forbids(1) {
        return Err(SuperviseError::Limit(shortage).into());
    }
    let ends_with_us = !args.foreground && first::is_command();
    if ends_with_us {
        context.note(
            "a container ends with its command: this session stays in the foreground, as with `--foreground`",
        );
    }
    if args.foreground || ends_with_us {
        return match supervise::run(&options, Announcer::default(), true)? {
            Outcome::Stopped => Ok(Exit::Ok),
            // Whoever waits for this process to mine is told that it does not, a service manager above all.
            Outcome::AlreadyRunning(holder) => {
                let hint =
                    format!("one home has one session: `{}` ends that one", options.home.command("stop"));
                Err(Error::new(who_runs(&options, holder)).with_hint(hint))
            }
        };
    }
    if let Some(holder) = look::live_holder(&options.home) {
        // Somebody else's, of which nothing more is known to this user, and which is none that he has started.
        if let Some(kept) = super::miners::kept(&options.home, "status") {
            return Err(kept);
        }
        return already_running(context, &options, Some(holder));
    }
    if service::is_command(context.env(), std::process::id()) {
        context.note(
            "systemd ends what the command of a service leaves running, unless the unit's Type= is forking, or oneshot with \
             RemainAfterExit=yes: `pearlbed start --foreground` is what a service runs",
        );
    }
    // What is wrong with the configuration is said here, before anything is started.
    let config = options.config().map_err(SuperviseError::config)?;
    let source = supervise::settings::source(&options.home, &config).map_err(SuperviseError::Settings)?;
    if let SourceConfig::Pool(pools) = source {
        // Who is paid, before anybody is asked to.
        for pool in &pools.pools {
            context.note(&pool.pays());
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Error::caused_by("failed to wait for the session", err))?;
    runtime.block_on(wait_for_session(args, context, &options))
}

async fn wait_for_session(args: &Args, context: &Context, options: &Options) -> Result<Exit, Error> {
    let failed = |err| Error::caused_by("failed to wait for the session", err);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut launched = launch::launch(options)?;
    let progress = Progress::waiting(context.wants_progress(), "waiting for the first job");
    let note = |text: &str| progress.aside(|| context.note(text));
    let deadline = tokio::time::sleep(Duration::from_secs(args.wait));
    tokio::pin!(deadline);
    let mut waiting: Option<(String, Option<String>, Exit)> = None;
    let mut about: Option<(String, Vec<MinerNote>)> = None;
    let mut doing: Option<String> = None;
    loop {
        let announcement = tokio::select! {
            announcement = launched.next() => announcement,
            () = &mut deadline => {
                let (reason, hint, exit) = waiting.unwrap_or_else(|| {
                    let reason = doing.unwrap_or_else(|| "the provider has not taken a job yet".into());
                    (reason, None, Exit::NotEarning)
                });
                note(&format!("the session runs but does not mine yet: {reason}"));
                note(&hint.unwrap_or_else(|| "`pearlbed status` shows how it goes on".into()));
                return Ok(exit);
            }
            _ = interrupt.recv() => {
                progress.end();
                return interrupted(context, options);
            }
            _ = terminate.recv() => {
                progress.end();
                return interrupted(context, options);
            }
        };
        match announcement {
            Some(Announcement::Note { text }) => note(&text),
            Some(Announcement::Doing { text }) => {
                let text = crate::text::printable(&text).into_owned();
                progress.say(&text);
                doing = Some(text);
            }
            Some(Announcement::Starting { source, miners }) => {
                let exposure = crate::sandbox::support().exposure();
                for miner in &miners {
                    if let Some(image) = &miner.container {
                        note(&format!(
                            "{} runs in a container of the image {}, by your own engine; it gets jobs, and neither wallet \
                             nor node",
                            miner.name,
                            crate::text::printable(image)
                        ));
                        continue;
                    }
                    note(&grants_text(&miner.name, exposure, &miner.granted, &miner.withheld));
                }
                about = Some((source, miners));
            }
            Some(Announcement::Waiting { reason, hint, exit }) => {
                let exit = Exit::from_code(exit);
                if waiting.as_ref().is_none_or(|(said, ..)| *said != reason) {
                    note(&format!("waiting: {reason}"));
                }
                if exit == Exit::NeedsUpdate {
                    note(&hint.unwrap_or_default());
                    note("the session goes on watching, and mines as soon as a fitting job comes");
                    return Ok(exit);
                }
                waiting = Some((reason, hint, exit));
            }
            Some(Announcement::Listening { at, alone }) => {
                let at = crate::text::printable(&at.join(", ")).into_owned();
                if !alone {
                    note(&format!("programs that mine already are served at {at}"));
                    continue;
                }
                progress.end();
                let (source, _) = about.unwrap_or_default();
                context.print(&format!(
                    "waiting for miners at {at}, work from the {source}\n\
                     point your miner there; {}\n",
                    what_next(options)
                ))?;
                return Ok(Exit::Ok);
            }
            Some(Announcement::Resting { reason, hint, exit: _ }) => {
                context.note(&format!("the session runs and mines nothing: {reason}"));
                context.note(&hint.unwrap_or_default());
                return Ok(Exit::NotEarning);
            }
            Some(Announcement::Ready { pid, .. }) => {
                progress.end();
                let (source, miners) = about.unwrap_or_default();
                context.print(&format!(
                    "mining with {}, work from the {source} (process {pid})\n{}\n",
                    miners_text(&miners),
                    what_next(options)
                ))?;
                return Ok(Exit::Ok);
            }
            Some(Announcement::AlreadyRunning { holder }) => {
                progress.end();
                return already_running(context, options, holder);
            }
            Some(Announcement::Failed { chain, hint, exit }) => return Err(relayed(chain, hint, exit)),
            None => {
                let ending =
                    launched.ending().await.map_or("did not end".into(), |status| status.to_string());
                let err = Error::new(format!("the supervisor ended without a word ({ending})"));
                return Err(err.with_hint("`pearlbed logs` shows its last words"));
            }
        }
    }
}

/// The miners, each with its version.
fn miners_text(miners: &[MinerNote]) -> String {
    let named: Vec<String> = miners
        .iter()
        .map(|miner| match miner.name == miner.provider {
            true => format!("{} {}", miner.provider, miner.version),
            false => format!("{} ({} {})", miner.name, miner.provider, miner.version),
        })
        .collect();
    crate::text::printable(&named.join(", ")).into_owned()
}

/// An error that the supervisor met, as if it had been met here.
pub(super) fn relayed(chain: Vec<String>, hint: Option<String>, exit: u8) -> Error {
    let mut causes = chain.into_iter().rev();
    let innermost = causes.next().unwrap_or_else(|| "the session failed".into());
    let whole = causes.fold(Relayed { text: innermost, cause: None }, |cause, text| Relayed {
        text,
        cause: Some(Box::new(cause)),
    });
    let err = Error::new(whole).with_exit(Exit::from_code(exit));
    match hint {
        Some(hint) => err.with_hint(hint),
        None => err,
    }
}

#[derive(Debug)]
struct Relayed {
    text: String,
    cause: Option<Box<Relayed>>,
}

impl std::fmt::Display for Relayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Relayed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

fn grants_text(provider: &str, exposure: Option<&str>, granted: &[String], withheld: &[String]) -> String {
    let mut text = match (exposure, granted) {
        (Some(exposure), _) => format!("{provider} is not fully confined on this system: {exposure}"),
        (None, []) if rustix::process::geteuid().is_root() => format!(
            "{provider} runs confined: no network, no programs, and of files the system's own, as root: mine as another user \
             to keep from it what only root may read"
        ),
        (None, []) => format!("{provider} runs confined: no network, no files of yours, no programs"),
        (None, granted) => {
            format!("{provider} runs confined, and may use what you granted: {}", granted.join(", "))
        }
    };
    if !withheld.is_empty() {
        text.push_str(&format!(
            "; it asks for more that is not granted: {} (grant it in [mining.grants])",
            withheld.join(", ")
        ));
    }
    crate::text::printable(&text).into_owned()
}

fn interrupted(context: &Context, options: &Options) -> Result<Exit, Error> {
    let asked = control::ask(&options.home.control_socket(), &Request::Stop, look::ANSWER_TIME);
    if asked.is_err()
        && let Some(holder) = look::live_holder(&options.home)
    {
        holder.supervisor.signal(rustix::process::Signal::TERM);
    }
    context.note("interrupted: the session is being stopped");
    Ok(Exit::Failed)
}

/// How long a session takes at most to make its files again that somebody has removed.
const AGAIN_TIME: Duration = Duration::from_secs(6);

fn already_running(context: &Context, options: &Options, holder: Option<Holder>) -> Result<Exit, Error> {
    let who = who_runs(options, holder);
    context.print(&format!("{}\n{}\n", crate::text::printable(&who), what_next(options)))?;
    Ok(Exit::Ok)
}

/// The commands for a session that runs.
fn what_next(options: &Options) -> String {
    let [status, stop] = ["status", "stop"].map(|word| options.home.command(word));
    format!("`{status}` shows how it goes, `{stop}` ends it")
}

/// Which session runs already, in a sentence.
fn who_runs(options: &Options, holder: Option<Holder>) -> String {
    let ask = || -> Option<Report> {
        let answer = control::ask(&options.home.control_socket(), &Request::Status, look::ANSWER_TIME);
        serde_json::from_value(answer.ok()?).ok()
    };
    // Whoever removed the session's files finds them made again after a moment.
    let deadline = std::time::Instant::now() + AGAIN_TIME;
    let mut report = ask();
    while report.is_none() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        report = ask();
    }
    match (&report, &holder) {
        (Some(Report { provider: Some(provider), supervisor_pid: Some(pid), since_seconds, .. }), _) => {
            let since = since_seconds.unwrap_or_default().max(0.0);
            let since = crate::text::duration(Duration::from_secs(since as u64));
            format!("already running: {provider}, for {since} (process {pid})")
        }
        (_, Some(holder)) => {
            format!("already running: process {}, which does not answer yet", holder.supervisor.pid)
        }
        (_, None) => "already running: another start was a moment earlier".into(),
    }
}

/// The port process.
pub mod port {
    use super::*;
    use crate::port::serve;
    use crate::sandbox;

    /// For pearlbed itself: the confined process that speaks with programs at the miner port
    #[derive(clap::Args, Debug)]
    pub struct Args {}

    /// Confines itself, then serves until its pipe ends.
    pub fn run(_: &Args, _: &Context) -> Result<Exit, Error> {
        let entered = sandbox::enter()?;
        serve::run(entered.channel)
    }
}

/// The supervisor process of a session in the background.
pub mod background {
    use super::*;
    use crate::explain::Explain;
    use crate::session::supervise::verifier;

    /// For pearlbed itself: the supervisor of a session in the background
    #[derive(clap::Args, Debug)]
    pub struct Args {
        #[arg(long)]
        devnet: bool,
        #[arg(long)]
        port: bool,
        #[arg(long)]
        provider: Option<String>,
        #[arg(long)]
        anyway: bool,
        #[command(flatten)]
        plugins: PluginDirs,
    }

    /// Runs the supervisor to its end. What goes wrong is told to whoever started it, and to the log.
    pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
        let options = Options {
            home: context.home()?,
            env: context.env().clone(),
            devnet: args.devnet,
            port: args.port,
            provider: args.provider.clone(),
            plugin_dirs: args.plugins.dirs.clone(),
            relax_file_checks: args.plugins.relax_file_checks,
            anyway: args.anyway,
        };
        let failed = |err| Error::caused_by("failed to go into the background", err);
        let pipe = launch::detach().map_err(failed)?;
        let mut last_words = pipe.try_clone().map_err(failed)?;
        match supervise::run(&options, pipe, false) {
            Ok(Outcome::Stopped) => Ok(Exit::Ok),
            Ok(Outcome::AlreadyRunning(holder)) => {
                last_words.tell(&Announcement::AlreadyRunning { holder });
                Ok(Exit::Ok)
            }
            Err(err) => {
                last_words.tell(&Announcement::Failed {
                    chain: verifier::causes(&err),
                    hint: err.hint(),
                    exit: err.exit().code(),
                });
                Ok(err.exit())
            }
        }
    }
}

/// The provider process.
pub mod provider {
    use super::*;
    use crate::miner::{plugin, provider as process};
    use crate::sandbox;

    /// For pearlbed itself: the confined process that loads a plugin and mines
    #[derive(clap::Args, Debug)]
    pub struct Args {}

    /// Confines itself, then mines until its pipe ends.
    pub fn run(_: &Args, _: &Context) -> Result<Exit, Error> {
        let entered = sandbox::enter()?;
        process::run(entered.channel.into(), plugin::load)
    }
}
