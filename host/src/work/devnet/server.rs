//! The devnet behind a gateway's face: the miner RPC of protocol section 10, errors and framing included.
//!
//! Other miners, and our own gateway client, can be tested against it. As with a real gateway, `"submitted"` only says
//! that a proof could be decoded; what becomes of it is told to whoever runs the server, as [`ServerEvent`]s.
//!
//! ```text
//! line --read_request--> Request --answer--> reply line
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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::{PlainProof, U256};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};

use super::{Devnet, Refused, check};
use crate::work::lines::{LineError, LineReader, write_line};
use crate::work::{WorkJob, block_hash_text};

/// The longest request line, without its newline.
const LINE_BYTES_MAX: usize = 1 << 20;
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
            Err(LineError::TooLong { max }) => {
                error(Value::Null, -32000, &format!("a line is limited to {max} bytes"), None)
            }
            Err(LineError::NotText) => error(Value::Null, -32700, "Parse error", Some("not UTF-8")),
        };
        if write_line(&mut write, &reply).await.is_err() {
            return;
        }
    }
}

/// A request that fits the envelope.
#[derive(Debug)]
struct Request {
    id: Value,
    method: String,
    params: Map<String, Value>,
}

/// Checks the envelope: `jsonrpc`, `method` and `id` are required, `params` is optional, nothing else is allowed.
fn read_request(line: &str) -> Result<Request, String> {
    let value: Value = serde_json::from_str(line)
        .map_err(|err| error(Value::Null, -32700, "Parse error", Some(&err.to_string())))?;
    let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or(Value::Null);
    let invalid = |data: &str| error(id.clone(), -32600, "Invalid Request", Some(data));
    let Value::Object(mut members) = value else { return Err(invalid("not an object")) };
    if members.remove("jsonrpc") != Some(Value::from("2.0")) {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    let Some(Value::String(method)) = members.remove("method") else {
        return Err(invalid("`method` must be a string"));
    };
    match members.remove("id") {
        Some(Value::String(_) | Value::Number(_) | Value::Null) => {}
        _ => return Err(invalid("`id` must be a string, a number or null")),
    }
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(invalid("`params` must be an object")),
    };
    if let Some(name) = members.keys().next() {
        return Err(invalid(&format!("unknown member `{name}`")));
    }
    Ok(Request { id, method, params })
}

fn answer_line(shared: &Arc<Shared>, line: &str) -> String {
    let request = match read_request(line) {
        Ok(request) => request,
        Err(reply) => return reply,
    };
    match request.method.as_str() {
        "getMiningInfo" if request.params.is_empty() => mining_info(shared, &request.id),
        "getMiningInfo" => error(request.id, -32602, "Invalid params", Some("takes none")),
        "submitPlainProof" => match read_submission(&request.params) {
            Ok((header, proof)) => take_submission(shared, request.id, header, proof),
            Err(data) => error(request.id, -32602, "Invalid params", Some(&data)),
        },
        method => error(request.id, -32601, &format!("Method {method} not found"), None),
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
    let target = RawValue::from_string(U256::from_le_bytes(job.target).to_string()).expect("digits are JSON");
    #[derive(Serialize)]
    struct Info<'a> {
        incomplete_header_bytes: String,
        target: &'a RawValue,
        cert_version: u32,
    }
    let info = Info {
        incomplete_header_bytes: BASE64.encode(job.header),
        target: &target,
        cert_version: job.certificate_version,
    };
    let info = serde_json::to_string(&info).expect("strings and digits are JSON");
    format!(r#"{{"jsonrpc":"2.0","result":{info},"id":{id}}}"#)
}

/// Checks the parameters of `submitPlainProof`; the error is what is wrong with them.
fn read_submission(params: &Map<String, Value>) -> Result<([u8; 76], Vec<u8>), String> {
    if let Some(name) = params.keys().find(|name| !matches!(name.as_str(), "plain_proof" | "mining_job")) {
        return Err(format!("unknown member `{name}`"));
    }
    let bytes = |value: Option<&Value>, name: &str| {
        let text = value.and_then(Value::as_str).ok_or_else(|| format!("`{name}` must be a string"))?;
        BASE64.decode(text).map_err(|_| format!("`{name}` is not base64"))
    };
    let proof = bytes(params.get("plain_proof"), "plain_proof")?;
    let job = params.get("mining_job").and_then(Value::as_object).ok_or("`mining_job` must be an object")?;
    let header = bytes(job.get("incomplete_header_bytes"), "incomplete_header_bytes")?;
    let header = header.try_into().map_err(|_| "`incomplete_header_bytes` is not 76 bytes".to_owned())?;
    let integral =
        |value: &Value| value.as_f64().is_some_and(|number| number >= 0.0 && number.fract() == 0.0);
    if !job.get("target").is_some_and(integral) {
        return Err("`target` must be a non-negative integer".to_owned());
    }
    if job.get("cert_version").and_then(Value::as_u64).is_none_or(|version| version < 1) {
        return Err("`cert_version` must be an integer of at least 1".to_owned());
    }
    Ok((header, proof))
}

fn take_submission(shared: &Arc<Shared>, id: Value, header: [u8; 76], proof: Vec<u8>) -> String {
    if let Err(err) = PlainProof::decode(&proof) {
        return error(id, -32000, &err.to_string(), None);
    }
    let Ok(permit) = Arc::clone(&shared.submissions).try_acquire_owned() else {
        return error(id, -32000, "proof submission queue full", None);
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
    json!({"jsonrpc": "2.0", "result": "submitted", "id": id}).to_string()
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

fn error(id: Value, code: i64, message: &str, data: Option<&str>) -> String {
    let mut error = json!({"code": code, "message": message});
    if let Some(data) = data {
        error["data"] = Value::from(data);
    }
    json!({"jsonrpc": "2.0", "error": error, "id": id}).to_string()
}

#[cfg(test)]
mod tests;
