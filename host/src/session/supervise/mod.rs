//! The supervisor: sets a session up, runs it, and leaves nothing behind.
//!
//! ```text
//! run: folders -> lock -> configuration -> miners' plans -> proofs, control socket, metrics -> Session::run -> tidy up
//! ```
//!
//! The lock is taken first and let go last, so that whatever lies in the runtime folder in between belongs to the
//! holder. Whatever ends a session (a signal, the control socket, a provider that cannot be kept alive) ends it by the
//! same road, in `Session::run`.

mod containers;
mod contest;
mod course;
mod crew;
mod describe;
mod errors;
mod expecting;
mod heat;
mod herald;
mod inbox;
mod jobs;
mod own_gateway;
mod programs;
mod proving;
mod record;
mod reload;
mod requests;
mod sensors;
mod session;
pub mod settings;
pub mod verifier;
mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::containers::ContainerError;
pub use self::errors::SuperviseError;
use self::herald::Herald;
pub use self::programs::PortError;
use self::record::Record;
use self::session::{Session, Setup};
use self::settings::Tunables;
use self::verifier::chain;
use super::announce::{Announcement, Announcer, MinerNote};
use super::control::ControlSocket;
use super::lock::{Holder, LockError, SessionLock};
use super::log::{Echo, Level, SessionLog};
use super::past;
use super::paused::Paused;
use crate::explain::Explain;
use crate::home::Home;
use crate::identity::ProcessIdentity;
use crate::journal;
use crate::miner::{MinerPlan, Options, plan};
use crate::owned;
use crate::plugins::trust;
use crate::sidecar::{Life, Sidecar, SidecarError, unix_seconds};
use crate::work::{self, ProofStore};

pub use crate::miner::process::SUBCOMMAND as PROVIDER_SUBCOMMAND;

/// How a supervisor ended without an error.
#[derive(Debug)]
pub enum Outcome {
    /// It was asked to stop, and did.
    Stopped,
    /// Another one runs already.
    AlreadyRunning(Option<Holder>),
}

/// Makes the folders that a session needs, private to the user.
///
/// # Errors
///
/// [`SuperviseError::Folder`] where one cannot be made, or nothing can be written in it.
pub fn make_folders(home: &Home) -> Result<(), SuperviseError> {
    make_folder(&home.runtime_dir())?;
    make_folder(&home.logs_dir())
}

fn make_folder(path: &Path) -> Result<(), SuperviseError> {
    let failed = |err| SuperviseError::Folder { path: path.to_owned(), err };
    owned::create_private(path).map_err(failed)?;
    // A read-only file system lets the call above pass where the folder is there already.
    tempfile::tempfile_in(path).map(drop).map_err(|err| failed(owned::plain(err)))
}

/// Runs one session to its end in this process, which should have one thread.
///
/// `foreground` repeats the log on stderr.
///
/// # Errors
///
/// [`SuperviseError`]. Whatever it is, the provider process has ended and the runtime folder is tidy.
pub fn run(options: &Options, announcer: Announcer, foreground: bool) -> Result<Outcome, SuperviseError> {
    let home = &options.home;
    make_folders(home)?;
    let holder = Holder {
        supervisor: ProcessIdentity::own(),
        socket: home.control_socket(),
        since: unix_seconds(SystemTime::now()),
    };
    let lock = match SessionLock::take(home, &holder) {
        Ok(lock) => lock,
        Err(LockError::Held { holder }) => return Ok(Outcome::AlreadyRunning(holder)),
        Err(err) => return Err(SuperviseError::Lock(err)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        // For good: a session that needs a thread again just when its user may have no more would end of it, where one that
        // is there already takes the work.
        .thread_keep_alive(std::time::Duration::from_secs(365 * 24 * 3600))
        .build()
        .map_err(SuperviseError::Runtime)?;
    // Where not even that one can be had nothing can be done here, and the runtime would panic over it.
    let trial = std::thread::Builder::new().spawn(|| {}).map_err(SuperviseError::Runtime)?;
    let _ = trial.join();
    let result = runtime.block_on(runtime.spawn_blocking(|| {}));
    result.map_err(|err| SuperviseError::Runtime(std::io::Error::other(err)))?;
    let result = runtime.block_on(supervise(options, announcer, foreground, holder, lock.clone()));
    // Whoever waits for the lock may look at the folder at once: only now is it tidy.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Sidecar::remove_own(&home.sidecar_file(), &ProcessIdentity::own());
    lock.release();
    result.map(|()| Outcome::Stopped)
}

async fn supervise(
    options: &Options,
    announcer: Announcer,
    foreground: bool,
    holder: Holder,
    lock: SessionLock,
) -> Result<(), SuperviseError> {
    let home = &options.home;
    // A limit of a file's size is an error to whoever writes, as a full disk is, and no reason to die.
    let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(libc::SIGXFSZ));
    let config = options.config().map_err(SuperviseError::config)?;
    if let Some(shortage) = crate::limits::forbids(config.mining.miners_enabled()) {
        return Err(SuperviseError::Limit(shortage));
    }
    let echo = match (foreground, journal::is_stderr(&options.env)) {
        (false, _) => Echo::No,
        (true, false) => Echo::Plain,
        (true, true) => Echo::Journal,
    };
    let mut log = SessionLog::open(&home.log_file(), Tunables::of(&config).log_bytes_max, echo)
        .map_err(|err| SuperviseError::Log { path: home.log_file(), err })?;
    for name in config.secret_names() {
        if let Some(secret) = options.env.var(name) {
            log.hide(secret);
        }
    }
    let mut herald = Herald::new(log, announcer, options.env.clone());
    let mut source = settings::source(home, &config).map_err(SuperviseError::Settings)?;
    for line in look_at_record(&home.sidecar_file())? {
        herald.line(Level::Warn, &line);
        herald.announce(&Announcement::Note { text: line });
    }
    let plan::Plans { miners: plans, containers, left_out } =
        plan::plans(options, &config).map_err(SuperviseError::Choose)?;
    for one in left_out {
        let hint = one.why.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let text = format!("miner `{}` is left out: {}{hint}", one.name, one.why);
        herald.line(Level::Warn, &text);
        herald.announce(&Announcement::Note { text });
    }
    if let work::SourceConfig::Devnet(devnet) = &mut source {
        // Where one does not say, the others' are a beginning.
        devnet.rate = plans.iter().filter_map(|plan| plan.estimate).reduce(|a, b| a + b);
    }
    for plan in &plans {
        // What a plugin is known by from its first use on. Where that cannot be kept, the next use is the first.
        let (chosen, id) = (&plan.chosen, &plan.chosen.manifest.id);
        let _ = trust::remember(home, id, &chosen.manifest.version, &chosen.path, &chosen.signed, false);
    }

    let containers = containers::plan(containers, options, &config).map_err(SuperviseError::Container)?;
    let gateway = own_gateway::plan(&containers, &mut source, options, &config);
    let gateway = gateway.map_err(SuperviseError::Container)?;
    for one in &containers {
        let (chosen, id) = (one.chosen(), &one.chosen().manifest.id);
        let _ = trust::remember(home, id, &chosen.manifest.version, &chosen.path, &chosen.signed, false);
        if let Some(secret) = one.token_variable().and_then(|name| options.env.var(name)) {
            herald.log().hide(secret);
        }
    }

    let store = ProofStore::open(&home.proofs_dir()).map_err(SuperviseError::Proofs)?;
    let socket_path = home.control_socket();
    let socket = ControlSocket::bind(&socket_path)
        .map_err(|err| SuperviseError::Control { path: socket_path.clone(), err })?;
    let names: Vec<&str> = containers.iter().map(containers::Planned::miner).collect();
    let doors = programs::Doors::open(&config, home, &options.env, &names).map_err(SuperviseError::Port)?;
    if let Some(warning) = doors.warning() {
        herald.line(Level::Warn, &warning);
        herald.announce(&Announcement::Note { text: warning });
    }
    herald.announce(&Announcement::Starting {
        source: source_name(&source).into(),
        miners: plans.iter().map(note).chain(containers.iter().map(containers::Planned::note)).collect(),
    });
    for one in &containers {
        let note = one.note();
        herald.info(&format!(
            "session of `{}` {} begins; work from {}; a container of {}, as {} says",
            note.name,
            note.version,
            source_name(&source),
            note.container.unwrap_or_default(),
            note.plugin
        ));
    }
    for plan in &plans {
        herald.info(&format!(
            "session of `{}` {} begins; work from {}; plugin {}",
            plan.name,
            plan.chosen.manifest.version,
            source_name(&source),
            plan.chosen.path.display()
        ));
    }
    // Once for all: they stand in one section, which other programs share.
    let passed_over: BTreeSet<&str> =
        plans.iter().flat_map(|plan| &plan.passed_over).map(String::as_str).collect();
    if !passed_over.is_empty() {
        let keys: Vec<&str> = passed_over.into_iter().collect();
        let text = format!("settings of other programs' are passed over: {}", keys.join(", "));
        herald.info(&text);
        herald.announce(&Announcement::Note { text });
    }
    if let Some(one) = &gateway {
        let text = format!(
            "no gateway is named and none listens: the one in the image {} is run in a container of its own, which pays {}",
            crate::text::printable(&one.recipe().image),
            config.mining.wallet_address.as_deref().unwrap_or_default()
        );
        herald.info(&text);
        herald.announce(&Announcement::Note { text });
    }
    let handle = work::spawn(source, Arc::clone(&store)).map_err(SuperviseError::Work)?;
    let graphics = plans.iter().any(|plan| plan.grants.has_devices());
    let record = Record::new(holder, lock, store, home.sidecar_file(), graphics);
    let paused = Paused::read(home);
    let options = options.clone();
    let setup = Setup { options, config, plans, herald, record, paused, doors, containers, gateway };
    let (mut session, result) = Session::new(setup, handle, socket).await?.run().await;
    let reason = match &result {
        Ok(reason) => reason.clone(),
        Err(err) => chain(err),
    };
    let report = session.report(std::time::Instant::now());
    // Without the record, `status` only says less about the past.
    let _ = past::write_ended(home, &report, &ProcessIdentity::own(), reason, result.is_err());
    session.tidy_up().await;
    result.map(drop)
}

/// What is told of a miner that is about to be started.
fn note(plan: &MinerPlan) -> MinerNote {
    MinerNote {
        name: plan.name.clone(),
        provider: plan.provider().to_owned(),
        version: plan.chosen.manifest.version.clone(),
        plugin: crate::text::printable_path(&plan.chosen.path),
        granted: plan.grants.granted_text(),
        withheld: plan.grants.withheld_text(),
        container: None,
    }
}

/// Looks at a record that lies where ours goes: lines about what was found, or an error where somebody else mines.
fn look_at_record(path: &Path) -> Result<Vec<String>, SuperviseError> {
    let record = match Sidecar::read(path) {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(vec![]),
        Err(err @ SidecarError::Corrupt { .. }) => {
            // Kept beside the new one: it is somebody's, and no longer in anybody's way.
            let aside = path.with_extension("json.corrupt");
            let moved = std::fs::rename(path, &aside).is_ok();
            let fate = if moved { format!("moved to {}", aside.display()) } else { "left".into() };
            return Ok(vec![format!("{err}; {fate}")]);
        }
        Err(err) => return Ok(vec![chain(&err)]),
    };
    let present = record.foreign_pids_present();
    let provider = record.provider.clone().unwrap_or_else(|| "an unnamed provider".into());
    match &record.pearlbed {
        Some(own) if own.attached => Err(SuperviseError::Foreign {
            path: path.to_owned(),
            whose: format!("an attached miner ({provider})"),
            present: vec![],
            attached: true,
        }),
        // We hold the lock, so whatever supervisor wrote this is gone, whoever has its pid now.
        Some(own) => Ok(vec![format!(
            "the session before (process {}) ended without tidying up; its record is replaced",
            own.supervisor.pid
        )]),
        None if record.foreign_life() != Life::Ended => Err(SuperviseError::Foreign {
            path: path.to_owned(),
            whose: format!("another program's session ({provider})"),
            present,
            attached: false,
        }),
        None => Ok(vec![format!(
            "another program left the record of a session ({provider}) whose processes have ended; it is replaced"
        )]),
    }
}

fn source_name(source: &work::SourceConfig) -> &'static str {
    match source {
        work::SourceConfig::Devnet(_) => "devnet",
        work::SourceConfig::Gateway(_) => "gateway",
        work::SourceConfig::Pool(_) => "pool",
    }
}
