//! The devnet as a pool, for other programs: the object dialect of the pool protocol, with every share verified.
//!
//! It is a reference, to be tested against: what it credits was verified by `pearl_pow`, and its ledger can be compared
//! to the last share with what a miner counted. The rules are in [`core`]; here are the sockets, the verifier's threads
//! and the network.
//!
//! ```text
//! connections --lines--> one task: Core, Devnet --lines--> connections
//!                           |        ^
//!                        shares   verdicts
//!                           v        |
//!                        verifier threads
//! ```
//!
//! The same port answers `GET /ledger` over HTTP. Its blocks are worth nothing, and so are its shares.
//!
//! # Limitations
//!
//! Plain TCP on loopback only. The ledger lives as long as the process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Devnet, until};
use crate::work::lines::{LineError, LineReader, write_line};
use crate::work::stratum::{MINER_LINE_BYTES_MAX, to_miner};
use crate::work::{WorkJob, block_hash_text};

pub mod core;

use core::{Act, Candidate, Checked, Core, PoolEvent, Settings, Task};

/// Connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 256;
/// Events that wait for a reader before the pool waits for it.
const EVENTS_MAX: usize = 1024;
/// Lines that wait to be written to one connection, before it is closed.
const LINES_MAX: usize = 64;
/// Time to log in.
const LOGIN_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the sessions' speed.
const TICK: Duration = Duration::from_secs(1);
/// When nobody has sent a share for this long, nobody mines.
const IDLE: Duration = Duration::from_secs(10);
/// Hashes per second that a new network expects before anybody has shown what he does: shares are then easier than blocks,
/// and a block does not take the job from under every share.
const RATE_EXPECTED: f64 = 1e10;

/// A listener on a loopback address.
///
/// # Errors
///
/// The address is not loopback, or is in use.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the test pool knows no passwords; it only listens on a loopback address",
        ));
    }
    TcpListener::bind(address).await
}

/// Serves `network` as a pool on `listener` until the returned future is dropped or the receiver of the events is.
pub fn serve(
    network: Devnet,
    listener: TcpListener,
    settings: Settings,
) -> (impl Future<Output = ()>, mpsc::Receiver<PoolEvent>) {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let (inputs_in, inputs) = mpsc::channel(256);
    let server = Server {
        network,
        core: Core::new(settings),
        events,
        inputs_in,
        inputs,
        sessions: BTreeMap::new(),
        next: 1,
        connections: JoinSet::new(),
        verifying: JoinSet::new(),
        share_at: Instant::now(),
        found_block: false,
    };
    (server.run(listener), receiver)
}

/// What connections report.
enum Input {
    Line(u64, String),
    /// A line that cannot be read; the answer to it.
    Bad(u64, String),
    Ledger(tokio::sync::oneshot::Sender<String>),
    Gone(u64),
}

struct Server {
    network: Devnet,
    core: Core,
    events: mpsc::Sender<PoolEvent>,
    inputs_in: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    sessions: BTreeMap<u64, mpsc::Sender<String>>,
    next: u64,
    connections: JoinSet<()>,
    verifying: JoinSet<(Box<Candidate>, String, Checked)>,
    /// When the last share came.
    share_at: Instant,
    /// Whether blocks say how fast the sessions are: what is expected of them counts no more.
    found_block: bool,
}

impl Server {
    async fn run(mut self, listener: TcpListener) {
        let mut ticks = tokio::time::interval(TICK);
        self.network.expect_at_first(RATE_EXPECTED, SystemTime::now(), Instant::now());
        self.core.work(task(self.network.job()), Instant::now());
        loop {
            if self.act().await.is_err() {
                return;
            }
            let ease_at = self.network.ease_at();
            tokio::select! {
                () = self.events.closed() => return,
                Some(_) = self.connections.join_next() => {}
                Some(done) = self.verifying.join_next() => {
                    if let Ok((candidate, worker, checked)) = done {
                        self.verified(&candidate, &worker, checked);
                    }
                }
                Some(input) = self.inputs.recv() => self.heed(input),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.accept(stream),
                    // Out of descriptors, most often: give the others time to close theirs.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                () = until(ease_at) => {
                    let now = Instant::now();
                    if now.saturating_duration_since(self.share_at) < IDLE {
                        self.network.ease(SystemTime::now(), now);
                    } else {
                        self.network.reissue(SystemTime::now(), now);
                    }
                    self.core.work(task(self.network.job()), now);
                }
                _ = ticks.tick() => self.core.tick(Instant::now()),
            }
        }
    }

    fn accept(&mut self, stream: TcpStream) {
        if self.sessions.len() >= CONNECTIONS_MAX {
            return;
        }
        let session = self.next;
        self.next += 1;
        let (lines, queue) = mpsc::channel(LINES_MAX);
        self.core.open(session, Instant::now());
        self.sessions.insert(session, lines);
        let inputs = self.inputs_in.clone();
        self.connections.spawn(async move {
            converse(session, stream, queue, &inputs).await;
            // The pool is ending.
            let _ = inputs.send(Input::Gone(session)).await;
        });
    }

    fn heed(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Line(session, line) => self.core.line(session, &line, now),
            Input::Bad(session, answer) => self.send(session, answer),
            Input::Ledger(answer) => drop(answer.send(self.core.ledger_json())),
            Input::Gone(session) => self.close(session),
        }
    }

    fn close(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.core.close(session);
    }

    fn send(&mut self, session: u64, line: String) {
        let full = self.sessions.get(&session).is_some_and(|lines| lines.try_send(line).is_err());
        if full {
            // It reads nothing: what it does not hear would pile up here.
            self.close(session);
        }
    }

    async fn act(&mut self) -> Result<(), ()> {
        loop {
            let acts = self.core.acts();
            if acts.is_empty() {
                return Ok(());
            }
            for act in acts {
                match act {
                    Act::Send { session, line } => self.send(session, line),
                    Act::Tell(event) => self.events.send(event).await.map_err(|_| ())?,
                    Act::Rate(rate) => self.expect(rate),
                    Act::Verify(candidate) => {
                        self.share_at = Instant::now();
                        let worker = self.core.worker(candidate.session).unwrap_or_default();
                        self.verifying.spawn_blocking(move || {
                            let checked = core::check(&candidate.job, &candidate.proof);
                            (candidate, worker, checked)
                        });
                    }
                }
            }
        }
    }

    /// The sessions are so fast together: the first block shall fit that.
    fn expect(&mut self, rate: f64) {
        let now = Instant::now();
        if !self.found_block && self.network.expect(rate, SystemTime::now(), now) {
            self.core.work(task(self.network.job()), now);
        }
    }

    fn verified(&mut self, candidate: &Candidate, worker: &str, checked: Checked) {
        let now = Instant::now();
        self.core.verified(candidate, worker, checked, now);
        if checked != (Checked::Valid { block: true }) {
            return;
        }
        let header = candidate.job.task.header.as_bytes();
        // A block that took its place first makes it a share and no more.
        if let Ok((block, _)) = self.network.extend(header, &candidate.proof, SystemTime::now(), now) {
            self.found_block = true;
            self.core.block(worker, block.height, block_hash_text(&block.hash()));
            self.core.work(task(self.network.job()), now);
        }
    }
}

/// The network's job, as the pool gives it on.
fn task(job: &WorkJob) -> Task {
    Task {
        header: pearl_pow::Header::from_bytes(job.header),
        certificate_version: job.certificate_version,
        height: job.height,
    }
}

async fn converse(
    session: u64,
    stream: TcpStream,
    mut queue: mpsc::Receiver<String>,
    inputs: &mpsc::Sender<Input>,
) {
    // What is sent is short and wanted at once. Where this fails, it is merely slower.
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.into_split();
    let mut lines = LineReader::new(read, MINER_LINE_BYTES_MAX);
    let mut heard = false;
    let reading = async {
        loop {
            let next = if heard {
                lines.next().await
            } else {
                match timeout(LOGIN_MAX, lines.next()).await {
                    Ok(next) => next,
                    Err(_) => return None,
                }
            };
            let input = match next {
                Ok(Some(line)) if !heard && line.starts_with("GET ") => return Some(line),
                Ok(Some(line)) => Input::Line(session, line),
                Ok(None) | Err(LineError::Io(_)) => return None,
                Err(err) => Input::Bad(session, to_miner::refuse("null", -32700, &err.to_string())),
            };
            heard = true;
            if inputs.send(input).await.is_err() {
                return None;
            }
        }
    };
    let writing = async {
        while let Some(line) = queue.recv().await {
            if write_line(&mut write, &line).await.is_err() {
                return;
            }
        }
    };
    let asked = tokio::select! {
        asked = reading => asked,
        () = writing => None,
    };
    if let Some(request) = asked {
        let answer = http(&request, inputs).await;
        let _ = write.write_all(answer.as_bytes()).await;
        let _ = write.shutdown().await;
        // What the client still says is read, so that our end is not a reset that takes the answer with it.
        let mut rest = [0; 1024];
        let mut read = lines.into_inner();
        while let Ok(Ok(1..)) = timeout(Duration::from_millis(200), read.read(&mut rest)).await {}
    }
}

/// The answer to an HTTP request's first line.
async fn http(request: &str, inputs: &mpsc::Sender<Input>) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, body) = if path == "/ledger" {
        let (answer, ledger) = tokio::sync::oneshot::channel();
        let _ = inputs.send(Input::Ledger(answer)).await;
        ("200 OK", ledger.await.unwrap_or_default())
    } else {
        ("404 Not Found", r#"{"error":"only /ledger is served here"}"#.to_owned())
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
