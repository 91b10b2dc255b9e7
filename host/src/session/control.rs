//! The control socket: how other pearlbed processes of the same user speak with the supervisor.
//!
//! One request line of JSON, one answer line of JSON, and the connection closes. The socket file is private (0600)
//! and each peer's user is asked of the kernel besides: root and the session's own user are answered, nobody else.
//! Requests are bounded in length and time, so that a peer that says nothing holds up nobody but itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::socket::{OwnSocket, reachable};

const REQUEST_BYTES_MAX: u64 = 4 << 10;
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How long a peer may take over its request, and over taking the answer. What the session needs in between is its own affair.
const PEER_TIME: Duration = Duration::from_secs(5);
const PEERS_MAX: usize = 32;

/// What may be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// The state: answers a [`Report`](super::report::Report).
    Status,
    /// Stop in order. The answer comes at once; the process ends later.
    Stop,
    /// Read the configuration again: answers what changed, what could not, and why.
    Reload,
    /// Let a miner rest, or all of them: answers whom.
    Pause {
        /// Which; all without a name.
        miner: Option<String>,
        /// Also in later sessions.
        #[serde(default)]
        keep: bool,
    },
    /// Let a miner mine again, or all of them: answers whom.
    Resume {
        /// Which; all without a name.
        miner: Option<String>,
        /// Also in later sessions.
        #[serde(default)]
        keep: bool,
    },
    /// End a miner's process in order and start it again: answers whom.
    Restart {
        /// Which.
        miner: String,
    },
}

impl Request {
    /// The command that asks so.
    pub const fn command(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Restart { .. } => "restart",
        }
    }
}

/// A request with the way back for its answer.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Takes the answer, as JSON.
    pub answer: oneshot::Sender<serde_json::Value>,
}

/// The control socket.
#[derive(Debug)]
pub struct ControlSocket(OwnSocket);

impl ControlSocket {
    /// Binds the socket at `path`. Only the holder of the session lock may: a socket that lies there belongs to
    /// nobody any more and is replaced.
    ///
    /// # Errors
    ///
    /// Where the folder refuses.
    pub fn bind(path: &Path) -> io::Result<Self> {
        OwnSocket::bind(path, 0o600).map(Self)
    }

    /// The socket's file, to be compared with [`super::socket::file_id`].
    pub fn id(&self) -> Option<(u64, u64)> {
        self.0.id()
    }

    /// Answers peers for ever; `calls` is where their requests go.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        self.serve_within(calls, PEER_TIME).await;
    }

    async fn serve_within(self, calls: mpsc::Sender<Call>, peer_time: Duration) {
        let peers = std::sync::Arc::new(tokio::sync::Semaphore::new(PEERS_MAX));
        loop {
            let Ok(permit) = peers.clone().acquire_owned().await else { return };
            match self.0.accept().await {
                Ok(stream) => {
                    let calls = calls.clone();
                    tokio::spawn(async move {
                        // A peer that breaks off has nobody else to complain to.
                        let _ = answer(stream, calls, peer_time).await;
                        drop(permit);
                    });
                }
                // Out of descriptors, most likely: they come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn answer(
    mut stream: tokio::net::UnixStream,
    calls: mpsc::Sender<Call>,
    peer_time: Duration,
) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    if peer != own && peer != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(peer_time, reader.read_line(&mut line)).await??;
    let value = match serde_json::from_str(&line) {
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let gone = |()| io::Error::from(io::ErrorKind::ConnectionAborted);
            calls.send(Call { request, answer }).await.map_err(|_| gone(()))?;
            answered.await.map_err(|_| gone(()))?
        }
        Err(err) => serde_json::json!({ "error": format!("not a request: {err}") }),
    };
    let mut text = value.to_string();
    text.push('\n');
    tokio::time::timeout(peer_time, writer.write_all(text.as_bytes())).await?
}

/// Why a supervisor did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum AskError {
    #[error("no session answers at {}", path.display())]
    Nobody {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("the session does not answer")]
    Silent(#[source] io::Error),
    #[error("the session answered something that is not an answer")]
    Garbled(#[source] serde_json::Error),
}

impl crate::explain::Explain for AskError {}

/// Asks the supervisor behind the socket at `path`, for at most `limit`.
///
/// # Errors
///
/// - [`AskError::Nobody`]: nothing listens there.
/// - [`AskError::Silent`], [`AskError::Garbled`]: something does, and does not answer as it should.
pub fn ask(path: &Path, request: &Request, limit: Duration) -> Result<serde_json::Value, AskError> {
    let nobody = |err| AskError::Nobody { path: path.to_owned(), err };
    let way = reachable(path).map_err(nobody)?;
    let mut stream = UnixStream::connect(&way.path).map_err(nobody)?;
    let mut exchange = || {
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new((&stream).take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
        if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    };
    let answer: String = exchange().map_err(AskError::Silent)?;
    serde_json::from_str(&answer).map_err(AskError::Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    async fn serve(path: &Path) -> tokio::task::JoinHandle<()> {
        let socket = ControlSocket::bind(path).unwrap();
        let (calls, mut called) = mpsc::channel::<Call>(4);
        tokio::spawn(socket.serve(calls));
        tokio::spawn(async move {
            while let Some(call) = called.recv().await {
                let _ = call.answer.send(serde_json::json!({ "asked": call.request }));
            }
        })
    }

    #[test]
    fn a_request_is_answered_also_in_a_home_too_deep_for_a_socket_address() {
        runtime().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let deep = dir.path().join("d".repeat(120));
            std::fs::create_dir(&deep).unwrap();
            for path in [dir.path().join("s"), deep.join("mining.sock")] {
                // What a dead session left is replaced.
                std::fs::write(&path, "").unwrap();
                serve(&path).await;
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
                let limit = Duration::from_secs(20);
                let asked =
                    tokio::task::spawn_blocking(move || ask(&path, &Request::Status, limit)).await.unwrap();
                assert_eq!(asked.unwrap(), serde_json::json!({ "asked": { "command": "status" } }));
            }
        });
    }

    #[test]
    fn a_session_may_take_longer_over_its_answer_than_a_peer_over_its_request() {
        runtime().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s");
            let (calls, mut called) = mpsc::channel::<Call>(4);
            let peer_time = Duration::from_secs(1);
            tokio::spawn(ControlSocket::bind(&path).unwrap().serve_within(calls, peer_time));
            // One that says nothing is left before the other is answered.
            let mut mute = tokio::net::UnixStream::connect(&path).await.unwrap();
            let limit = Duration::from_secs(20);
            let asked = tokio::task::spawn_blocking(move || ask(&path, &Request::Reload, limit));
            let call = called.recv().await.unwrap();
            assert_eq!(mute.read(&mut [0]).await.unwrap(), 0);
            tokio::time::sleep(peer_time).await;
            call.answer.send(serde_json::json!({ "asked": call.request })).unwrap();
            assert_eq!(
                asked.await.unwrap().unwrap(),
                serde_json::json!({ "asked": { "command": "reload" } })
            );
        });
    }

    #[test]
    fn rubbish_is_answered_with_an_error_and_nobody_is_nobody() {
        runtime().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s");
            assert!(matches!(ask(&path, &Request::Stop, PEER_TIME), Err(AskError::Nobody { .. })));
            serve(&path).await;
            let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"{\"command\":\"explode\"}\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("not a request"), "{answer}");
        });
    }
}
