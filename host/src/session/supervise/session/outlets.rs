//! What a session has made for others, kept there while it lives: metrics, the control socket, the record.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Session;
use crate::config::Config;
use crate::home::Home;
use crate::miner::Miner;
use crate::session::control::{Call, ControlSocket};
use crate::session::lock::LockError;
use crate::session::log::Level;
use crate::session::metrics::{self, Listener};
use crate::session::socket::{OwnSocket, file_id};
use crate::session::supervise::errors::SuperviseError;
use crate::session::supervise::herald::Herald;
use crate::session::supervise::make_folder;
use crate::session::supervise::record::Record;
use crate::session::supervise::verifier::chain;
use crate::url::Url;

/// For the owner and the group; who may come to it is what its folder says.
const METRICS_SOCKET_MODE: u32 = 0o660;

/// Where others ask, and when it was seen last that they can.
pub(super) struct Outlets {
    calls: mpsc::Sender<Call>,
    control: tokio::task::JoinHandle<()>,
    /// The control socket's file, as it was made.
    control_file: Option<(u64, u64)>,
    looked_at: Instant,
    /// How often in a row files that were removed could not be made again, and why not.
    lacking: (u32, String),
    /// What was told last of a log that cannot be written.
    log_refused: Option<String>,
    /// The session has a terminal, and ends with it.
    pub(super) terminal: bool,
}

impl Outlets {
    /// Answers at `socket`, by way of `calls`.
    pub(super) fn open(socket: ControlSocket, calls: mpsc::Sender<Call>, now: Instant) -> Self {
        let control_file = socket.id();
        let control = tokio::spawn(socket.serve(calls.clone()));
        Self {
            calls,
            control,
            control_file,
            looked_at: now,
            lacking: Default::default(),
            log_refused: None,
            terminal: terminal_is_there(),
        }
    }

    /// Serves metrics, unless that is done: on the configured address, else on any free port of this machine.
    pub(super) async fn serve_metrics(&self, config: &Config, record: &mut Record, herald: &mut Herald) {
        let address = config.mining.session.metrics_listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let first = match record.metrics {
            Some((_, true)) => return,
            before => before.is_none(),
        };
        match metrics::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(address);
                record.metrics = Some((bound, true));
                tokio::spawn(metrics::serve(Listener::Port(listener), self.calls.clone()));
                if !first {
                    herald.info(&format!("metrics are served on {bound} now"));
                }
            }
            Err(err) => {
                record.metrics = Some((address, false));
                if first {
                    herald.trouble(&format!(
                        "metrics cannot be served on {address}, and it is tried again: {err}; {}",
                        crate::remedy::for_address(&err, "set another metrics_listen in [mining.session]")
                    ));
                }
            }
        }
    }

    /// Serves metrics at the configured Unix socket, too, unless its file is there.
    pub(super) fn serve_metrics_socket(&self, config: &Config, record: &mut Record, herald: &mut Herald) {
        let Some(path) = &config.mining.session.metrics_socket else { return };
        let before = record.metrics_socket.as_ref().map(|(_, bound)| *bound);
        if before == Some(true) && path.exists() {
            return;
        }
        let made = OwnSocket::bind_at_chosen(path, METRICS_SOCKET_MODE);
        record.metrics_socket = Some((path.clone(), made.is_ok()));
        match made {
            Ok(socket) => {
                tokio::spawn(metrics::serve(Listener::Socket(socket), self.calls.clone()));
                if before.is_some() {
                    herald.info(&format!("metrics are served at {} now", path.display()));
                }
            }
            Err(err) if before != Some(false) => {
                let fix =
                    crate::remedy::for_file(&err, path).map(|fix| format!("; {fix}")).unwrap_or_default();
                let path = path.display();
                herald.trouble(&format!(
                    "metrics cannot be served at {path}, and it is tried again: {err}{fix}"
                ));
            }
            Err(_) => {}
        }
    }

    /// Makes the runtime folder, the lock's file and the control socket again where somebody has removed or replaced them,
    /// so that nobody takes the session for one that has ended, and none begins beside it.
    ///
    /// # Errors
    ///
    /// Where another session has taken the home meanwhile, and where the files cannot be made again: nobody would find this
    /// session then. A disk without room is waited for.
    fn restore(&mut self, home: &Home, record: &Record, herald: &mut Herald) -> Result<(), SuperviseError> {
        match self.make_again(home, record) {
            Ok(made) => {
                self.lacking = Default::default();
                if made {
                    herald.trouble(
                        "somebody removed files of the session in the runtime folder; they were made again",
                    );
                }
                Ok(())
            }
            Err(SuperviseError::Lock(LockError::Held { holder })) => {
                Err(SuperviseError::Taken { pid: holder.map(|holder| holder.supervisor.pid) })
            }
            Err(err) => {
                let why = chain(&err);
                if why != self.lacking.1 {
                    herald.trouble(&format!(
                        "files of the session were removed and cannot be made again: {why}"
                    ));
                }
                self.lacking = (self.lacking.0 + u32::from(!is_full(&err)), why);
                match self.lacking.0 >= LACKING_MAX {
                    true => Err(SuperviseError::Removed(Box::new(err))),
                    false => Ok(()),
                }
            }
        }
    }

    fn make_again(&mut self, home: &Home, record: &Record) -> Result<bool, SuperviseError> {
        let runtime = home.runtime_dir();
        if !runtime.is_dir() {
            make_folder(&runtime)?;
        }
        let mut made = record.lock.keep().map_err(SuperviseError::Lock)?;
        let path = home.control_socket();
        if self.control_file.is_none() || file_id(&path) != self.control_file {
            let socket = ControlSocket::bind(&path).map_err(|err| SuperviseError::Control { path, err })?;
            self.control.abort();
            self.control_file = socket.id();
            self.control = tokio::spawn(socket.serve(self.calls.clone()));
            made = true;
        }
        Ok(made)
    }

    /// Goes on in a new log where somebody has removed or moved the old one, and says in `status` where none can be written.
    fn keep_log(&mut self, herald: &mut Herald) {
        if !herald.log().is_there() {
            herald.log().reopen();
            herald.line(Level::Info, "the log was moved away or removed: it goes on in a new file");
        }
        let refused = herald.log().refused().map(str::to_owned);
        if let Some(why) = refused.as_ref().filter(|_| refused != self.log_refused) {
            herald.trouble(&format!("the log cannot be written: {why}"));
        }
        self.log_refused = refused;
    }
}

/// How often in a row, a second apart, removed files may fail to be made again before the session ends.
const LACKING_MAX: u32 = 5;

/// Whether room is what is missing: that comes back, and mining goes on without it.
fn is_full(err: &SuperviseError) -> bool {
    use std::error::Error as _;
    let mut causes = std::iter::successors(err.source(), |&err| err.source());
    causes.any(|err| {
        let number = err.downcast_ref::<std::io::Error>().and_then(crate::remedy::number);
        matches!(number, Some(libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE | libc::ENOMEM))
    })
}

/// Whether this process has a terminal that answers.
pub(super) fn terminal_is_there() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Between two looks at what is served to others, and at the record.
const LOOK_EVERY: Duration = Duration::from_secs(3);

impl Session {
    /// Keeps true what others find: files, metrics, the record.
    ///
    /// # Errors
    ///
    /// Where the session can no longer be found by anybody.
    pub(super) async fn look_after_outlets(&mut self, now: Instant) -> Result<(), SuperviseError> {
        if self.course.is_ending() {
            return Ok(());
        }
        self.outlets.keep_log(&mut self.herald);
        self.outlets.restore(&self.options.home, &self.record, &mut self.herald)?;
        if now.saturating_duration_since(self.outlets.looked_at) < LOOK_EVERY {
            return Ok(());
        }
        self.outlets.looked_at = now;
        self.outlets.serve_metrics(&self.settings.config, &mut self.record, &mut self.herald).await;
        self.outlets.serve_metrics_socket(&self.settings.config, &mut self.record, &mut self.herald);
        let served = self.crew.present().find_map(Miner::serves).map(|(endpoint, _)| endpoint);
        self.record.serving = match served {
            Some(endpoint) if somebody_answers(&endpoint).await => Some(endpoint),
            _ => None,
        };
        self.write_record();
        Ok(())
    }
}

/// Whether somebody takes connections at an address of this machine.
async fn somebody_answers(endpoint: &str) -> bool {
    /// A loopback connection is taken or refused at once.
    const CONNECT_TIME: Duration = Duration::from_millis(300);
    let Ok(url) = Url::parse(endpoint) else { return false };
    let connected = TcpStream::connect(url.authority(if url.scheme == "https" { 443 } else { 80 }));
    matches!(tokio::time::timeout(CONNECT_TIME, connected).await, Ok(Ok(_)))
}
