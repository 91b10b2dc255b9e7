//! The devnet behind a gateway's face: the miner RPC of protocol section 10, errors and framing included.
//!
//! Other miners, and our own gateway client, can be tested against it. As with a real gateway, `"submitted"` only says
//! that a proof could be decoded; what becomes of it is told to whoever runs the server, as [`ServerEvent`]s.
//!
//! ```text
//! line --miner_rpc::read--> Request --answer--> reply line
//!                                    \--> submission --check--> block | stale | rejected --> ServerEvent
//! ```
//!
//! # Limitations
//!
//! It never goes deaf: proofs are checked beside the connections. `ancestor_headers` of certificate 4 are not served.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pearl_pow::PlainProof;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};

use super::{Devnet, Refused, check};
use crate::work::lines::{LineError, LineReader, write_line};
use crate::work::miner_rpc::{self, Asked, LINE_BYTES_MAX, Request, Submitted};
use crate::work::{WorkJob, block_hash_text};

/// Connections at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// Proofs that are checked or wait for it.
const SUBMISSIONS_MAX: usize = 64;
/// Events that wait for a reader before the oldest work waits for it.
const EVENTS_MAX: usize = 256;
/// When nobody has asked for work for this long, nobody mines: the time until then says nothing about their speed.
const IDLE: Duration = Duration::from_secs(10);

/// Something that happened on the devnet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ServerEvent {
    /// A new job is on offer.
    Job {
        /// Height of the block in the making.
        height: u64,
        /// Its compact target.
        nbits: String,
        /// Expected hashes for a block.
        hashes: f64,
    },
    /// A proof became a block.
    Block {
        /// Its height.
        height: u64,
        /// Its hash as explorers print it.
        hash: String,
        /// Seconds since the block before.
        seconds: f64,
    },
    /// A proof came for a header that is no longer on offer.
    Stale,
    /// A proof failed verification.
    Rejected {
        /// The verifier's reason.
        reason: String,
    },
    /// Something worth a line.
    Note {
        /// The line.
        text: String,
    },
}

/// Where the server listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, removed when the server ends.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on a TCP address. The RPC knows no authentication: only loopback addresses are taken.
    ///
    /// # Errors
    ///
    /// The address is not loopback, or is in use.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the miner RPC has no authentication; it only listens on a loopback address",
            ));
        }
        Ok(Self::Tcp(TcpListener::bind(address).await?))
    }

    /// Listens on a Unix socket with mode 0600. A socket that nobody answers on is replaced; anything else is not.
    ///
    /// # Errors
    ///
    /// The path is taken, or its folder cannot be written.
    pub fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is no socket"));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on it"));
                }
                Err(_) => std::fs::remove_file(path)?,
            }
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener, path.to_owned()))
    }

    /// The address as it can be connected to.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or("tcp".to_owned(), |address| format!("tcp:{address}"))
            }
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What connections share.
struct Shared {
    state: Mutex<State>,
    events: mpsc::Sender<ServerEvent>,
    submissions: Arc<Semaphore>,
}

struct State {
    network: Devnet,
    /// When work was last asked for.
    asked: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves `network` on `listener` until the returned future is dropped or the receiver of the events is.
pub fn serve(network: Devnet, listener: Listener) -> (impl Future<Output = ()>, mpsc::Receiver<ServerEvent>) {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        state: Mutex::new(State { network, asked: Instant::now() }),
        events,
        submissions: Arc::new(Semaphore::new(SUBMISSIONS_MAX)),
    });
    (accept(shared, listener), receiver)
}

async fn accept(shared: Arc<Shared>, listener: Listener) {
    let mut connections = tokio::task::JoinSet::new();
    announce(&shared).await;
    loop {
        let full = connections.len() >= CONNECTIONS_MAX;
        let ease_at = shared.lock().network.ease_at();
        tokio::select! {
            () = shared.events.closed() => return,
            Some(_) = connections.join_next() => {}
            () = super::until(ease_at) => {
                {
                    let mut state = shared.lock();
                    let now = Instant::now();
                    if now.saturating_duration_since(state.asked) < IDLE {
                        state.network.ease(SystemTime::now(), now);
                    } else {
                        state.network.reissue(SystemTime::now(), now);
                    }
                }
                announce(&shared).await;
            }
            accepted = accept_one(&listener), if !full => {
                let shared = Arc::clone(&shared);
                match accepted {
                    Ok(Stream::Tcp(stream)) => {
                        let (read, write) = stream.into_split();
                        connections.spawn(converse(shared, read, write));
                    }
                    Ok(Stream::Unix(stream)) => {
                        let (read, write) = stream.into_split();
                        connections.spawn(converse(shared, read, write));
                    }
                    // Out of descriptors, most often: give the others time to close theirs.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept_one(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
        Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
    }
}

async fn announce(shared: &Shared) {
    let event = job_event(shared.lock().network.job());
    // Nobody left to tell: the server is ending.
    let _ = shared.events.send(event).await;
}

fn job_event(job: &WorkJob) -> ServerEvent {
    let nbits = u32::from_le_bytes(job.header[72..].try_into().expect("4 bytes"));
    ServerEvent::Job {
        height: job.height.unwrap_or(0),
        nbits: format!("{nbits:#010x}"),
        hashes: super::pace::work_of(nbits),
    }
}

async fn converse(shared: Arc<Shared>, read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) {
    let mut lines = LineReader::new(read, LINE_BYTES_MAX);
    loop {
        let reply = match lines.next().await {
            Ok(Some(line)) => answer_line(&shared, &line),
            Ok(None) | Err(LineError::Io(_)) => return,
            Err(LineError::TooLong { max }) => miner_rpc::error(
                &Value::Null,
                miner_rpc::REFUSED,
                &format!("a line is limited to {max} bytes"),
                None,
            ),
            Err(LineError::NotText) => {
                miner_rpc::error(&Value::Null, -32700, "Parse error", Some("not UTF-8"))
            }
        };
        if write_line(&mut write, &reply).await.is_err() {
            return;
        }
    }
}

fn answer_line(shared: &Arc<Shared>, line: &str) -> String {
    match miner_rpc::read(line) {
        Err(reply) => reply,
        Ok(Request { id, what: Asked::Job }) => mining_info(shared, &id),
        Ok(Request { id, what: Asked::Proof(submitted) }) => take_submission(shared, &id, *submitted),
    }
}

fn mining_info(shared: &Shared, id: &Value) -> String {
    let mut state = shared.lock();
    let now = Instant::now();
    if now.saturating_duration_since(state.asked) >= IDLE {
        state.network.reissue(SystemTime::now(), now);
    }
    state.asked = now;
    let job = state.network.job();
    miner_rpc::mining_info(id, &job.header, &job.target, job.certificate_version)
}

fn take_submission(shared: &Arc<Shared>, id: &Value, submitted: Submitted) -> String {
    let Submitted { header, proof, .. } = submitted;
    if let Err(err) = PlainProof::decode(&proof) {
        return miner_rpc::error(id, miner_rpc::REFUSED, &err.to_string(), None);
    }
    let Ok(permit) = Arc::clone(&shared.submissions).try_acquire_owned() else {
        return miner_rpc::error(id, miner_rpc::REFUSED, "proof submission queue full", None);
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let event = settle(&shared, header, proof).await;
        let is_block = matches!(event, ServerEvent::Block { .. });
        let _ = shared.events.send(event).await;
        if is_block {
            announce(&shared).await;
        }
        drop(permit);
    });
    miner_rpc::submitted(id)
}

async fn settle(shared: &Shared, header: [u8; 76], proof: Vec<u8>) -> ServerEvent {
    let Some(job) = shared.lock().network.job_of(&header) else { return ServerEvent::Stale };
    let checked = tokio::task::spawn_blocking(move || check(&job, &proof).map(|()| proof)).await;
    let extended = match checked {
        Ok(Ok(proof)) => shared.lock().network.extend(&header, &proof, SystemTime::now(), Instant::now()),
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(Refused::Invalid("the verifier failed on it".to_owned())),
    };
    match extended {
        Ok((block, note)) => {
            if let Some(text) = note {
                let _ = shared.events.send(ServerEvent::Note { text }).await;
            }
            let seconds = f64::from(block.interval_ms) / 1000.0;
            ServerEvent::Block { height: block.height, hash: block_hash_text(&block.hash()), seconds }
        }
        Err(Refused::Stale) => ServerEvent::Stale,
        Err(Refused::Invalid(reason)) => ServerEvent::Rejected { reason },
    }
}

#[cfg(test)]
mod tests;
