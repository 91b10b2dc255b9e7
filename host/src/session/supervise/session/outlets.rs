//! What a session has made for others, kept there while it lives: metrics, the control socket, the record.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Session;
use crate::config::Config;
use crate::home::Home;
use crate::miner::Miner;
use crate::session::control::{Call, ControlSocket};
use crate::session::metrics::{self, Listener};
use crate::session::socket::OwnSocket;
use crate::session::supervise::errors::SuperviseError;
use crate::session::supervise::herald::Herald;
use crate::session::supervise::make_folders;
use crate::session::supervise::record::Record;
use crate::session::supervise::verifier::chain;
use crate::url::Url;

/// For the owner and the group; who may come to it is what its folder says.
const METRICS_SOCKET_MODE: u32 = 0o660;

/// Where others ask, and when it was seen last that they can.
pub(super) struct Outlets {
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) control: tokio::task::JoinHandle<()>,
    pub(super) looked_at: Instant,
    /// The session has a terminal, and ends with it.
    pub(super) terminal: bool,
}

impl Outlets {
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
                        "metrics cannot be served on {address}, and it is tried again: {err}"
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
                let path = path.display();
                herald.trouble(&format!("metrics cannot be served at {path}, and it is tried again: {err}"));
            }
            Err(_) => {}
        }
    }

    /// Makes the runtime folder and the control socket again where somebody has removed them, so that nobody takes the
    /// session for one that has ended.
    fn restore(&mut self, home: &Home, record: &Record, herald: &mut Herald) {
        if home.control_socket().exists() && home.lock_file().exists() {
            return;
        }
        let made = make_folders(home).and_then(|()| {
            record.holder.take_name_again(&home.lock_file()).map_err(SuperviseError::Lock)?;
            let path = home.control_socket();
            ControlSocket::bind(&path).map_err(|err| SuperviseError::Control { path, err })
        });
        match made {
            Ok(socket) => {
                self.control.abort();
                self.control = tokio::spawn(socket.serve(self.calls.clone()));
                herald.trouble(
                    "somebody removed files of the session in the runtime folder; they were made again",
                );
            }
            Err(err) => herald.trouble(&format!(
                "files of the session were removed and cannot be made again: {}",
                chain(&err)
            )),
        }
    }
}

/// Whether this process has a terminal that answers.
pub(super) fn terminal_is_there() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Between two looks at what a session has made for others.
const LOOK_EVERY: Duration = Duration::from_secs(3);

impl Session {
    /// Keeps true what others find: files, metrics, the record.
    pub(super) async fn look_after_outlets(&mut self, now: Instant) {
        if now.saturating_duration_since(self.outlets.looked_at) < LOOK_EVERY || self.course.is_ending() {
            return;
        }
        self.outlets.looked_at = now;
        self.outlets.restore(&self.options.home, &self.record, &mut self.herald);
        self.outlets.serve_metrics(&self.settings.config, &mut self.record, &mut self.herald).await;
        self.outlets.serve_metrics_socket(&self.settings.config, &mut self.record, &mut self.herald);
        let served = self.crew.present().find_map(Miner::serves).map(|(endpoint, _)| endpoint);
        self.record.serving = match served {
            Some(endpoint) if somebody_answers(&endpoint).await => Some(endpoint),
            _ => None,
        };
        self.write_record();
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
