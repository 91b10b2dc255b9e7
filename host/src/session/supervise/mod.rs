//! The supervisor: sets a session up, runs it, and leaves nothing behind.
//!
//! ```text
//! run: folders -> lock -> configuration -> plugin -> proofs, control socket, metrics -> Session::run -> tidy up
//! ```
//!
//! The lock is taken first and let go last, so that whatever lies in the runtime folder in between belongs to the
//! holder. Whatever ends a session (a signal, the control socket, a provider that cannot be kept alive) ends it by the
//! same road, in `Session::run`.

pub mod child;
pub mod grants;
mod session;
pub mod settings;
pub mod verifier;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use self::grants::Grants;
use self::session::{Session, Setup};
use self::settings::{Options, SettingsError, Tunables};
use self::verifier::chain;
use super::announce::{Announcement, Announcer};
use super::control::ControlSocket;
use super::lock::{Holder, LockError, SessionLock};
use super::log::{Level, SessionLog, Speaker};
use super::plugin::{self, ChooseError};
use super::provider::Order;
use super::report::LastSession;
use crate::config::Config;
use crate::exit::Exit;
use crate::explain::Explain;
use crate::home::Home;
use crate::identity::ProcessIdentity;
use crate::sandbox;
use crate::sidecar::{self, Sidecar, SidecarError};
use crate::work::{self, ProofStore, StoreError};

pub use self::child::SUBCOMMAND as PROVIDER_SUBCOMMAND;

/// Why a session did not run, or ended without having been asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SuperviseError {
    #[error(transparent)]
    Lock(LockError),
    #[error(transparent)]
    Settings(SettingsError),
    #[error(transparent)]
    Choose(ChooseError),
    #[error("cannot make {}", crate::text::printable_path(path))]
    Folder {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot write the session log")]
    Log(#[source] io::Error),
    #[error("found proofs could not be kept")]
    Proofs(#[source] StoreError),
    #[error("cannot open the control socket {}", crate::text::printable_path(path))]
    Control {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot start the work source")]
    Work(#[source] work::SpawnError),
    #[error("cannot set up the supervisor")]
    Runtime(#[source] io::Error),
    #[error("{whose} is recorded in {} and runs{}", crate::text::printable_path(path), pids(present))]
    Foreign { path: PathBuf, whose: String, present: Vec<u32>, attached: bool },
    #[error("the provider process of `{provider}` could not be started")]
    Spawn {
        provider: String,
        #[source]
        err: sandbox::SpawnError,
    },
    #[error("the provider `{provider}` {why}")]
    Provider { provider: String, why: String },
    #[error("the provider `{provider}` failed {failures} times in a row and was given up: it {why}")]
    GaveUp { provider: String, failures: u32, why: String },
    #[error("the work source ended")]
    WorkEnded,
}

fn pids(present: &[u32]) -> String {
    match present {
        [] => String::new(),
        [one] => format!(" (process {one})"),
        many => {
            let all: Vec<String> = many.iter().map(u32::to_string).collect();
            format!(" (processes {})", all.join(", "))
        }
    }
}

impl Explain for SuperviseError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Lock(err) => err.hint(),
            Self::Settings(err) => err.hint(),
            Self::Choose(err) => err.hint(),
            Self::Proofs(err) => err.hint(),
            Self::Work(err) => err.hint(),
            Self::Folder { .. } => Some("make it writable for you, or pass --home DIR".into()),
            Self::Log(_) | Self::Control { .. } => Some("is the home folder writable, and not full?".into()),
            Self::Foreign { attached: true, .. } => {
                Some("`pearlbed stop` forgets it; the miner itself is left alone".into())
            }
            Self::Foreign { .. } => {
                Some("stop it with the program that started it (`jarvis mine stop`)".into())
            }
            Self::Provider { .. } | Self::GaveUp { .. } => Some(
                "`pearlbed logs --provider` shows what it said; `pearlbed doctor` looks at the plugin".into(),
            ),
            Self::Runtime(_) | Self::Spawn { .. } | Self::WorkEnded => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Lock(err) => err.exit(),
            Self::Settings(err) => err.exit(),
            _ => Exit::Failed,
        }
    }
}

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
    use std::os::unix::fs::DirBuilderExt;
    for path in [home.runtime_dir(), home.logs_dir()] {
        let failed = |err| SuperviseError::Folder { path: path.clone(), err };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        // A read-only file system lets the call above pass where the folder is there already.
        tempfile::tempfile_in(&path).map_err(failed)?;
    }
    Ok(())
}

/// The record of how the last session ended.
pub fn last_session_file(home: &Home) -> PathBuf {
    home.runtime_dir().join("last-session.json")
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
    let lock = match SessionLock::take(&home.lock_file(), &holder) {
        Ok(lock) => lock,
        Err(LockError::Held { holder }) => return Ok(Outcome::AlreadyRunning(holder)),
        Err(err) => return Err(SuperviseError::Lock(err)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .build()
        .map_err(SuperviseError::Runtime)?;
    let result = runtime.block_on(supervise(options, announcer, foreground, holder));
    // Whoever waits for the lock may look at the folder at once: only now is it tidy.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Sidecar::remove_own(&home.sidecar_file(), &ProcessIdentity::own());
    lock.release();
    result.map(|()| Outcome::Stopped)
}

async fn supervise(
    options: &Options,
    mut announcer: Announcer,
    foreground: bool,
    holder: Holder,
) -> Result<(), SuperviseError> {
    let home = &options.home;
    let config = options.config().map_err(SuperviseError::Settings)?;
    let tunables = Tunables::of(&config);
    let mut log = SessionLog::open(&home.log_file(), tunables.log_bytes_max, foreground)
        .map_err(SuperviseError::Log)?;
    for name in settings::secret_names(&config) {
        if let Some(secret) = options.env.var(name) {
            log.hide(secret);
        }
    }
    let source = settings::source(home, &config).map_err(SuperviseError::Settings)?;
    for line in look_at_record(&home.sidecar_file())? {
        log.line(Level::Warn, Speaker::Supervisor, &line);
        announcer.tell(&Announcement::Note { text: line });
    }
    let chosen = plugin::choose(options, &config).map_err(SuperviseError::Choose)?;
    let id = chosen.manifest.id.clone();
    let user = config.mining.grants.get(&id).cloned().unwrap_or_default();
    let grants = Grants::new(&chosen.manifest.permissions, &user);
    let machinery = grants.has_machinery();
    let order = Order {
        plugin: chosen.path.clone(),
        identity: chosen.identity,
        provider: id.clone(),
        wallet_address: config.mining.wallet_address.clone().filter(|_| machinery).unwrap_or_default(),
        pearld_rpc_url: config
            .mining
            .node
            .as_ref()
            .filter(|_| machinery)
            .map(|node| node.url.clone())
            .unwrap_or_default(),
        extra: extra(&config, machinery),
    };

    let store = ProofStore::open(&home.proofs_dir()).map_err(SuperviseError::Proofs)?;
    let socket_path = home.control_socket();
    let socket = ControlSocket::bind(&socket_path)
        .map_err(|err| SuperviseError::Control { path: socket_path.clone(), err })?;
    announcer.tell(&Announcement::Starting {
        provider: id.clone(),
        version: chosen.manifest.version.clone(),
        plugin: crate::text::printable_path(&chosen.path),
        source: source_name(&source).into(),
        granted: grants.granted_text(),
        withheld: grants.withheld_text(),
    });
    log.line(
        Level::Info,
        Speaker::Supervisor,
        &format!(
            "session of `{id}` {} begins; work from {}; plugin {}",
            chosen.manifest.version,
            source_name(&source),
            chosen.path.display()
        ),
    );
    let handle = work::spawn(source, Arc::clone(&store)).map_err(SuperviseError::Work)?;
    let setup = Setup {
        options: options.clone(),
        config,
        tunables,
        log,
        announcer,
        chosen,
        grants,
        order,
        store,
        holder,
    };
    let (session, result) = Session::new(setup, handle, socket).await?.run().await;
    let ended = LastSession {
        provider: Some(id),
        ended_at: unix_seconds(SystemTime::now()),
        failed: result.is_err(),
        reason: match &result {
            Ok(reason) => reason.clone(),
            Err(err) => chain(err),
        },
        proofs: session.proofs(),
    };
    let json = serde_json::to_vec_pretty(&ended).expect("plain values");
    // Without the record, `status` only says less about the past.
    let _ = sidecar::write_atomically(&last_session_file(home), &json);
    session.tidy_up().await;
    result.map(drop)
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
        None if !present.is_empty() => Err(SuperviseError::Foreign {
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

/// The provider's own settings: `[mining.extra]` without the keys that are the host's, which only a provider with
/// machinery of its own has a use for.
pub(crate) fn extra(config: &Config, machinery: bool) -> serde_json::Map<String, serde_json::Value> {
    let mut extra = config.mining.extra.clone();
    extra.retain(|key, _| machinery || crate::config::keys::find(&format!("mining.extra.{key}")).is_none());
    extra
}

fn source_name(source: &work::SourceConfig) -> &'static str {
    match source {
        work::SourceConfig::Devnet(_) => "devnet",
        work::SourceConfig::Gateway(_) => "gateway",
    }
}

/// Whole seconds since 1970.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
