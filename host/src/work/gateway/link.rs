//! The connections to a gateway: one that polls for ever, and a short one for each hand-over.
//!
//! Nothing is decided here but when to connect again. What comes is passed on as a [`Signal`], with the moment.
//! A gateway that proves answers nothing for minutes (protocol section 10.6), so silence ends a connection only after
//! [`GatewayTiming::deaf`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, UnixStream, lookup_host};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::desk::Submitted;
use super::protocol::{
    Garbled, LINE_BYTES_MAX, MiningInfo, Reply, RpcError, get_mining_info, read_mining_info, read_submitted,
    submit_plain_proof,
};
use crate::config::GatewayEndpoint;
use crate::work::lines::{LineError, LineReader, write_line};
use crate::work::{GatewayTiming, ProofId};

/// Time for a connection to come about; a local one takes no time, a lost packet a second.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Lines that answer nothing we asked, before the peer is taken for something else than a gateway.
const UNASKED_MAX: u32 = 32;

/// What the connections report.
#[derive(Debug)]
pub enum Signal {
    /// The polling connection is being made, for the `n`th time since one worked.
    Connecting(u32),
    /// It stands.
    Connected,
    /// `getMiningInfo` was sent.
    Asked(Instant),
    /// It was answered.
    Answered {
        /// The job, or a refusal.
        outcome: Result<MiningInfo, RpcError>,
        /// When it was sent.
        asked: Instant,
    },
    /// The polling connection ended or could not be made.
    Lost {
        /// Tries since one worked.
        attempt: u32,
        /// When the next is due.
        next_try: Instant,
        /// Why.
        error: String,
        /// Whether that was because what came is not the protocol.
        garbled: bool,
    },
    /// A hand-over ended.
    Submitted {
        /// Of which proof.
        id: ProofId,
        /// How.
        outcome: Submitted,
    },
}

type Read = Box<dyn AsyncRead + Send + Unpin>;
type Write = Box<dyn AsyncWrite + Send + Unpin>;

/// Why a conversation ended.
struct End {
    error: String,
    garbled: bool,
}

impl End {
    fn lost(error: impl ToString) -> Self {
        Self { error: error.to_string(), garbled: false }
    }

    fn garbled(error: impl ToString) -> Self {
        Self { error: error.to_string(), garbled: true }
    }
}

async fn connect(endpoint: &GatewayEndpoint) -> io::Result<(Read, Write)> {
    let connecting = async {
        match endpoint {
            GatewayEndpoint::Unix(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                Ok((Box::new(read) as Read, Box::new(write) as Write))
            }
            GatewayEndpoint::Tcp { host, port } => {
                let (read, write) = connect_tcp(host, *port).await?.into_split();
                Ok((Box::new(read) as Read, Box::new(write) as Write))
            }
        }
    };
    timeout(CONNECT_MAX, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<tokio::net::TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A gateway that is proving and one whose machine is gone are both silent; the kernel can tell them apart.
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(err) => failed = err,
        }
    }
    Err(failed)
}

/// Keeps a connection and asks for the job on it once per [`GatewayTiming::poll`], and soon after each `nudge`: a proof
/// that was just taken may make a new job. Ends when nobody listens.
pub async fn poll_forever(
    endpoint: GatewayEndpoint,
    timing: GatewayTiming,
    nudge: Arc<Notify>,
    out: mpsc::Sender<Signal>,
) {
    let mut backoff = Backoff::new(timing.retry);
    // Ids go on over reconnects, so that a late reply never fits a new question.
    let mut id = 0;
    loop {
        if out.send(Signal::Connecting(backoff.failures() + 1)).await.is_err() {
            return;
        }
        let end = match connect(&endpoint).await {
            Err(err) => End::lost(err),
            Ok((read, write)) => {
                if out.send(Signal::Connected).await.is_err() {
                    return;
                }
                match poll(read, write, &timing, &nudge, &mut id, &mut backoff, &out).await {
                    Some(end) => end,
                    None => return,
                }
            }
        };
        let wait = backoff.failed();
        let lost = Signal::Lost {
            attempt: backoff.failures(),
            next_try: Instant::now() + wait,
            error: end.error,
            garbled: end.garbled,
        };
        if out.send(lost).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}

/// Polls until the connection ends; `None` when nobody listens any more.
async fn poll(
    read: Read,
    mut write: Write,
    timing: &GatewayTiming,
    nudge: &Notify,
    id: &mut u64,
    backoff: &mut Backoff,
    out: &mpsc::Sender<Signal>,
) -> Option<End> {
    let mut lines = LineReader::new(read, LINE_BYTES_MAX);
    loop {
        *id += 1;
        let asked = Instant::now();
        out.send(Signal::Asked(asked)).await.ok()?;
        match timeout(timing.deaf, write_line(&mut write, &get_mining_info(*id))).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => return Some(End::lost(err)),
            Err(_) => return Some(End::lost("it takes no more requests")),
        }
        let outcome = match reply(&mut lines, *id, timing, read_mining_info).await {
            Ok(outcome) => outcome,
            Err(end) => return Some(end),
        };
        backoff.worked();
        out.send(Signal::Answered { outcome, asked }).await.ok()?;
        // While nothing is asked, nothing should come. An end of the stream is news at once.
        tokio::select! {
            () = sleep(timing.poll) => {}
            // Not at once: the gateway has to look at the proof first.
            () = async { nudge.notified().await; sleep(timing.poll / 10).await } => {}
            end = only_end(&mut lines) => return Some(end),
        }
    }
}

/// Waits for the reply to request `id`, for as long as proving can take.
async fn reply<T>(
    lines: &mut LineReader<Read>,
    id: u64,
    timing: &GatewayTiming,
    read: impl Fn(&str) -> Result<Reply<T>, Garbled>,
) -> Result<Result<T, RpcError>, End> {
    let mut patience = timing.deaf;
    // An error that does not say what it answers is most likely ours, unless the real reply still comes.
    let mut nameless = None;
    for _ in 0..UNASKED_MAX {
        let line = match timeout(patience, lines.next()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Err(End::lost("it closed the connection")),
            Ok(Err(LineError::Io(err))) => return Err(End::lost(err)),
            Ok(Err(err)) => return Err(End::garbled(err)),
            Err(_) => match nameless {
                Some(refusal) => return Ok(Err(refusal)),
                None => return Err(End::lost(format!("no answer for {} min", timing.deaf.as_secs() / 60))),
            },
        };
        match read(&line).map_err(End::garbled)? {
            Reply { id: Some(found), outcome } if found == id => return Ok(outcome),
            Reply { id: None, outcome: Err(refusal) } => {
                nameless = Some(refusal);
                patience = timing.quiet;
            }
            // A late reply to a question of an earlier connection cannot come here, so this is nobody's.
            Reply { .. } => {}
        }
    }
    Err(End::garbled("answers to questions that nobody asked"))
}

/// Reads until the stream ends or says too much.
async fn only_end(lines: &mut LineReader<Read>) -> End {
    for _ in 0..UNASKED_MAX {
        match lines.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return End::lost("it closed the connection"),
            Err(LineError::Io(err)) => return End::lost(err),
            Err(err) => return End::garbled(err),
        }
    }
    End::garbled("answers to questions that nobody asked")
}

/// Hands a proof over on a connection of its own.
pub async fn submit(
    endpoint: GatewayEndpoint,
    timing: GatewayTiming,
    id: ProofId,
    info: MiningInfo,
    proof: Vec<u8>,
    out: mpsc::Sender<Signal>,
) {
    let outcome = match hand_over(&endpoint, &timing, &info, &proof).await {
        Ok(Ok(())) => Submitted::Taken,
        Ok(Err(refusal)) => Submitted::Refused(refusal),
        Err(end) => Submitted::Lost(end.error),
    };
    // Nobody listens: the source is ending, and the proof is on disk.
    let _ = out.send(Signal::Submitted { id, outcome }).await;
}

async fn hand_over(
    endpoint: &GatewayEndpoint,
    timing: &GatewayTiming,
    info: &MiningInfo,
    proof: &[u8],
) -> Result<Result<(), RpcError>, End> {
    let (read, mut write) = connect(endpoint).await.map_err(End::lost)?;
    // The gateway reads nothing while it proves for somebody else, so the writing may take minutes, too.
    let line = submit_plain_proof(1, info, proof);
    timeout(timing.deaf, write_line(&mut write, &line))
        .await
        .map_err(|_| End::lost("it takes no more requests"))?
        .map_err(End::lost)?;
    reply(&mut LineReader::new(read, LINE_BYTES_MAX), 1, timing, read_submitted).await
}
