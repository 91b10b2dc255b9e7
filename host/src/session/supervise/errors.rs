//! Why a session did not run, or ended without having been asked to.

use std::io;
use std::path::PathBuf;

use super::containers::ContainerError;
use super::programs::PortError;
use super::settings::SettingsError;
use crate::config::ConfigError;
use crate::exit::Exit;
use crate::explain::Explain;
use crate::limits::Shortage;
use crate::miner::plugin::ChooseError;
use crate::session::lock::LockError;
use crate::work::{self, StoreError};

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
    #[error("cannot write the session log {}", crate::text::printable_path(path))]
    Log {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("files of the session were removed and cannot be made again")]
    Removed(#[source] Box<SuperviseError>),
    #[error("the files of the session were removed, and another one has taken the home folder since{}", by(*pid))]
    Taken { pid: Option<u32> },
    #[error("found proofs could not be kept")]
    Proofs(#[source] StoreError),
    #[error("cannot open the control socket {}", crate::text::printable_path(path))]
    Control {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error(transparent)]
    Port(PortError),
    #[error(transparent)]
    Container(ContainerError),
    #[error("cannot start the work source")]
    Work(#[source] work::SpawnError),
    #[error("no session can run here: {}", .0.finding)]
    Limit(Shortage),
    #[error("cannot set up the supervisor")]
    Runtime(#[source] io::Error),
    #[error("{whose} is recorded in {} and {}", crate::text::printable_path(path), runs(present))]
    Foreign { path: PathBuf, whose: String, present: Vec<u32>, attached: bool },
    #[error("the provider `{provider}` {why}")]
    Provider { provider: String, why: String },
    #[error("no miner can go on: {}", whys.join("; "))]
    NoMinerLeft { whys: Vec<String> },
    #[error("the work source ended")]
    WorkEnded,
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// What to do about a provider that was given up for `why`: the system may have kept it from running, and not its plugin.
fn about_a_provider(why: &str) -> String {
    if why.contains("control group") {
        return "`pearlbed doctor` shows the limits of this container or unit".into();
    }
    crate::remedy::in_words(why).unwrap_or_else(|| {
        "`pearlbed logs --provider` shows what it said; `pearlbed doctor` looks at the plugin".into()
    })
}

/// Whether it runs, as far as that can be told.
fn runs(present: &[u32]) -> String {
    match present {
        [] => "whether it runs cannot be told from here".into(),
        present => format!("runs{}", pids(present)),
    }
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

impl SuperviseError {
    /// The configuration has a mistake.
    pub fn config(err: ConfigError) -> Self {
        Self::Settings(SettingsError::Config(err))
    }
}

impl Explain for SuperviseError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Lock(err) => err.hint(),
            Self::Settings(err) => err.hint(),
            Self::Choose(err) => err.hint(),
            Self::Proofs(err) => err.hint(),
            Self::Port(err) => err.hint(),
            Self::Container(err) => err.hint(),
            Self::Work(err) => err.hint(),
            Self::Folder { path, err } | Self::Control { path, err } | Self::Log { path, err } => {
                crate::remedy::for_file(err, path)
            }
            Self::Removed(err) => err.hint(),
            Self::Taken { .. } => Some("`pearlbed status` shows that one".into()),
            Self::Foreign { attached: true, .. } => {
                Some("`pearlbed stop` forgets it; the miner itself is left alone".into())
            }
            Self::Foreign { .. } => {
                Some("stop it with the program that started it (`jarvis mine stop`); `pearlbed stop --forget` removes the record of one that has ended".into())
            }
            // It said why, and that is of what it was told.
            Self::Provider { provider, why }
                if why.starts_with("refused to start") && crate::remedy::in_words(why).is_none() =>
            {
                Some(format!(
                    "its own words say why; `pearlbed config keys --provider {provider}` lists its settings"
                ))
            }
            Self::Provider { why, .. } => Some(about_a_provider(why)),
            Self::NoMinerLeft { whys } => Some(about_a_provider(&whys.join("; "))),
            Self::Limit(shortage) => Some(shortage.fix.clone()),
            Self::Runtime(err) => crate::remedy::for_process(err),
            Self::WorkEnded => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Lock(err) => err.exit(),
            Self::Settings(err) => err.exit(),
            Self::Choose(err) => err.exit(),
            Self::Container(err) => err.exit(),
            Self::Proofs(err) => err.exit(),
            Self::Work(err) => err.exit(),
            Self::Limit(_) => Exit::Futile,
            Self::Folder { err, .. } | Self::Control { err, .. } | Self::Log { err, .. } => {
                crate::remedy::exit_for(err)
            }
            _ => Exit::Failed,
        }
    }
}
