//! A stand-in for pearl-gateway, written from the protocol document (section 10) and nothing else, that can misbehave
//! as real ones do (section 10.6) and worse.
//!
//! It has one event loop, as the original: while it proves, no connection is answered, though new ones are accepted.
//! Everything it sees is recorded for the test to look at.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::network::Network;

/// The longest line that is read, without its newline.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How often a blocked thread looks up.
const LOOK: Duration = Duration::from_millis(5);

/// One wrong thing done in place of the next answer to `getMiningInfo`.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// Half of the answer, then the connection ends: a restart in the middle of a line.
    HalfLine,
    /// The connection ends without an answer.
    Close,
    /// A line of this many bytes.
    Overlong(usize),
    /// This line instead of the answer.
    Line(String),
    /// This line before the answer.
    Before(String),
    /// The answer under another id.
    WrongId,
}

/// How the stand-in behaves; change it while it runs with [`Gateway::behave`].
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Wait before every answer.
    pub delay: Duration,
    /// How long it proves after it took a proof, and is deaf meanwhile. Less than it has taken already ends it at once: a test
    /// that has seen what it is about need not hit a moment.
    pub proving: Duration,
    /// It has no template.
    pub paused: bool,
    /// It does not see what happens on the network: the job stays.
    pub frozen: bool,
    /// How many of the next blocks the node refuses.
    pub failing_submits: u32,
    /// It takes proofs and makes nothing of them, fast.
    pub poisoned: bool,
    /// Its queue of proofs is full.
    pub queue_full: bool,
    /// It closes every connection as soon as it is made.
    pub closes_at_once: bool,
    /// Done one after the other.
    pub mishaps: VecDeque<Mishap>,
    /// It proves in worker processes: it answers meanwhile.
    pub in_workers: bool,
    /// It is killed while it proves: every connection is closed, and the proof is gone. [`Gateway::restart`] brings it back.
    pub dies_proving: bool,
    /// Answers that it gives with its old template after it was deaf, before it looks at the network again.
    pub old_answers: u32,
    /// It answers hand-overs with an error that has no id, this often.
    pub nameless_errors: u32,
    /// It is of a release that knows no certificate beyond this one: it follows the network's blocks, with jobs for this one.
    pub outdated: Option<u32>,
}

/// A proof as it came in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The job's header.
    pub header: [u8; 76],
    /// The proof's bytes.
    pub proof: Vec<u8>,
    /// The version that was sent back, if any.
    pub certificate_version: Option<u64>,
    /// The target's digits as they were sent back.
    pub target: String,
    /// When it came.
    pub at: Instant,
}

/// What the stand-in has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections made.
    pub connections: u64,
    /// Calls of `getMiningInfo`.
    pub polls: u64,
    /// The headers that were on offer, in order, and since when.
    pub headers: Vec<(Instant, [u8; 76])>,
    /// Proofs handed over, those of full queues included.
    pub submissions: Vec<Submission>,
    /// Proofs that it set out to prove: for the header on offer, and not solved.
    pub proved: u64,
    /// Requests that break a rule of the protocol.
    pub wrong: Vec<String>,
}

/// A running stand-in; it ends when dropped.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    address: Address,
    listener: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(u16),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Shared {
    network: Network,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Seen>,
    template: Mutex<Template>,
    /// Whoever has it runs on the event loop.
    turn: Mutex<()>,
    stopping: AtomicBool,
    /// Answers that still come from the template that it had before it proved.
    old_answers: AtomicU32,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Template {
    header: [u8; 76],
    certificate_version: u32,
    solved: bool,
}

impl Gateway {
    /// Listens on a free TCP port.
    pub fn tcp(network: &Network) -> Self {
        Self::start(network, Address::Tcp(0))
    }

    /// Listens on a Unix socket.
    pub fn unix(network: &Network, path: &Path) -> Self {
        Self::start(network, Address::Unix(path.to_owned()))
    }

    fn start(network: &Network, address: Address) -> Self {
        let template = Template {
            header: network.template(),
            certificate_version: network.certificate_version(),
            solved: false,
        };
        let shared = Arc::new(Shared {
            network: network.clone(),
            behaviour: Mutex::default(),
            seen: Mutex::default(),
            template: Mutex::new(template),
            turn: Mutex::default(),
            stopping: AtomicBool::new(false),
            old_answers: AtomicU32::new(0),
            connections: Mutex::default(),
        });
        let mut gateway = Self { shared, address, listener: None };
        gateway.listen();
        gateway
    }

    fn listen(&mut self) {
        self.shared.stopping.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        let accept: Box<dyn Fn() -> io::Result<Stream> + Send> = match &self.address {
            Address::Tcp(port) => {
                let listener = bind(*port);
                listener.set_nonblocking(true).unwrap();
                self.address = Address::Tcp(listener.local_addr().unwrap().port());
                Box::new(move || listener.accept().map(|(stream, _)| Stream::Tcp(stream)))
            }
            Address::Unix(path) => {
                // A real one leaves its socket behind when it is killed.
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path).unwrap();
                listener.set_nonblocking(true).unwrap();
                Box::new(move || listener.accept().map(|(stream, _)| Stream::Unix(stream)))
            }
        };
        self.listener = Some(thread::spawn(move || {
            while !shared.stopping.load(Ordering::SeqCst) {
                match accept() {
                    Ok(stream) => {
                        shared.seen.lock().unwrap().connections += 1;
                        let conversation = Arc::clone(&shared);
                        let thread = thread::spawn(move || conversation.converse(stream));
                        shared.connections.lock().unwrap().push(thread);
                    }
                    Err(_) => thread::sleep(LOOK),
                }
            }
        }));
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(port) => port,
            Address::Unix(_) => panic!("it listens on a Unix socket"),
        }
    }

    /// Changes how it behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The header on offer.
    pub fn header(&self) -> [u8; 76] {
        self.shared.refresh();
        self.shared.template.lock().unwrap().header
    }

    /// Ends as by SIGTERM: every connection is closed, a Unix socket stays behind.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        loop {
            // One that ends may have started another.
            let threads = std::mem::take(&mut *self.shared.connections.lock().unwrap());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                thread.join().unwrap();
            }
        }
    }

    /// Comes back: same tip, another header.
    pub fn restart(&mut self) {
        self.stop();
        let mut template = self.shared.template.lock().unwrap();
        template.header = self.shared.network.template();
        template.certificate_version = self.shared.network.certificate_version();
        template.solved = false;
        drop(template);
        self.listen();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds a port; one that was just given up may take a moment.
fn bind(port: u16) -> TcpListener {
    for _ in 0..500 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("port {port} stays in use")
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn set_timeout(&self) {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(LOOK)).unwrap();
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(LOOK)).unwrap();
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

/// What to do with a request.
enum Act {
    Reply(String),
    ReplyThenProve(String, Submission),
    HalfThenClose(String),
    Close,
}

impl Shared {
    fn converse(self: &Arc<Self>, mut stream: Stream) {
        stream.set_timeout();
        if self.behaviour.lock().unwrap().closes_at_once {
            return;
        }
        let mut buffer = Vec::new();
        while let Some(line) = self.next_line(&mut stream, &mut buffer) {
            // The event loop: one request at a time over all connections.
            let Some(turn) = self.take_turn() else { return };
            let delay = self.behaviour.lock().unwrap().delay;
            if !self.sleep(delay) {
                return;
            }
            let written = match self.answer(&line) {
                Act::Reply(reply) => write_line(&mut stream, &reply),
                Act::ReplyThenProve(reply, submission) => {
                    let written = write_line(&mut stream, &reply);
                    if self.behaviour.lock().unwrap().in_workers {
                        let gateway = Arc::clone(self);
                        let worker = thread::spawn(move || gateway.prove(&submission));
                        self.connections.lock().unwrap().push(worker);
                    } else {
                        // It is carried through even if the client leaves; an interrupt loses the block.
                        self.prove(&submission);
                        let mut behaviour = self.behaviour.lock().unwrap();
                        let old = behaviour.old_answers;
                        behaviour.old_answers = 0;
                        self.old_answers.store(old, Ordering::SeqCst);
                    }
                    written
                }
                Act::HalfThenClose(reply) => {
                    let _ = stream.write_all(&reply.as_bytes()[..reply.len() / 2]);
                    return;
                }
                Act::Close => return,
            };
            drop(turn);
            if written.is_err() {
                return;
            }
        }
    }

    fn take_turn(&self) -> Option<MutexGuard<'_, ()>> {
        while !self.stopping.load(Ordering::SeqCst) {
            if let Ok(turn) = self.turn.try_lock() {
                return Some(turn);
            }
            thread::sleep(LOOK);
        }
        None
    }

    /// False when the stand-in is ending.
    fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.stopping.load(Ordering::SeqCst) {
                return false;
            }
            thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        !self.stopping.load(Ordering::SeqCst)
    }

    fn next_line(&self, stream: &mut Stream, buffer: &mut Vec<u8>) -> Option<String> {
        let mut chunk = [0; 64 * 1024];
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if end > LINE_BYTES_MAX {
                    self.seen.lock().unwrap().wrong.push(format!("a line of {end} bytes"));
                }
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            match stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => buffer.extend_from_slice(&chunk[..read]),
                Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sees a new tip, as the real one does once a second: the header changes only with the block before it.
    fn refresh(&self) {
        let behaviour = self.behaviour.lock().unwrap();
        let old = &self.old_answers;
        if old.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return;
        }
        let mut template = self.template.lock().unwrap();
        if !behaviour.frozen && template.header[4..36] != self.network.tip().hash {
            template.header = self.network.template();
            template.certificate_version = self.network.certificate_version();
            template.solved = false;
        }
    }

    fn prove(&self, submission: &Submission) {
        let header = submission.header;
        let mut template = self.template.lock().unwrap();
        if template.header != header || template.solved {
            // "Submitted block with old header. Skipping submission."
            return;
        }
        drop(template);
        self.seen.lock().unwrap().proved += 1;
        if self.behaviour.lock().unwrap().dies_proving {
            self.stopping.store(true, Ordering::SeqCst);
            return;
        }
        if self.behaviour.lock().unwrap().poisoned {
            return;
        }
        let began = Instant::now();
        while began.elapsed() < self.behaviour.lock().unwrap().proving {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            thread::sleep(LOOK);
        }
        let mut behaviour = self.behaviour.lock().unwrap();
        if behaviour.failing_submits > 0 {
            behaviour.failing_submits -= 1;
            return;
        }
        drop(behaviour);
        template = self.template.lock().unwrap();
        // In a worker it may have moved on meanwhile; it hands the block in all the same.
        let solved = self.network.submit_proved(&header, commitment(submission));
        template.solved |= solved && template.header == header;
    }

    fn answer(&self, line: &str) -> Act {
        let wrong = |what: String| self.seen.lock().unwrap().wrong.push(what);
        let request: Value = match serde_json::from_str(line) {
            Ok(request) => request,
            Err(err) => {
                wrong(format!("not JSON: {err}"));
                return Act::Reply(error(&Value::Null, -32700, "Parse error"));
            }
        };
        let id = request["id"].clone();
        let known = ["jsonrpc", "method", "id", "params"];
        let members =
            request.as_object().map(|members| members.keys().all(|name| known.contains(&name.as_str())));
        if members != Some(true)
            || request["jsonrpc"] != "2.0"
            || !request["method"].is_string()
            || id.is_object()
        {
            wrong(format!("not an envelope: {}", &line[..line.len().min(200)]));
            return Act::Reply(error(&id, -32600, "Invalid Request"));
        }
        match request["method"].as_str() {
            Some("getMiningInfo") => self.mining_info(&id, &request["params"]),
            Some("submitPlainProof") => self.submission(&id, &request["params"], line),
            method => {
                wrong(format!("method {method:?}"));
                Act::Reply(error(&id, -32601, "Method not found"))
            }
        }
    }

    fn mining_info(&self, id: &Value, params: &Value) -> Act {
        self.seen.lock().unwrap().polls += 1;
        if params.as_object().is_some_and(|params| !params.is_empty()) {
            self.seen.lock().unwrap().wrong.push("getMiningInfo with parameters".to_owned());
            return Act::Reply(error(id, -32602, "Invalid params"));
        }
        self.refresh();
        let mut behaviour = self.behaviour.lock().unwrap();
        if behaviour.paused {
            return Act::Reply(error(id, -32001, "mining_paused: no block template available"));
        }
        let template = self.template.lock().unwrap();
        let headers = &mut self.seen.lock().unwrap().headers;
        if headers.last().is_none_or(|(_, last)| *last != template.header) {
            headers.push((Instant::now(), template.header));
        }
        // Spaces as the original writes them; the target is a bare integer of many digits.
        let outdated = behaviour.outdated;
        let reply = |id: &Value| {
            format!(
                "{{\"jsonrpc\": \"2.0\", \"result\": {{\"incomplete_header_bytes\": \"{}\", \"target\": {}, \
                 \"cert_version\": {}, \"ancestor_headers\": []}}, \"id\": {id}}}",
                BASE64.encode(template.header),
                target_digits(&template.header),
                outdated
                    .map_or(template.certificate_version, |known| template.certificate_version.min(known)),
            )
        };
        match behaviour.mishaps.pop_front() {
            None => Act::Reply(reply(id)),
            Some(Mishap::HalfLine) => Act::HalfThenClose(reply(id)),
            Some(Mishap::Close) => Act::Close,
            Some(Mishap::Overlong(bytes)) => Act::Reply("x".repeat(bytes)),
            Some(Mishap::Line(line)) => Act::Reply(line),
            Some(Mishap::Before(line)) => Act::Reply(format!("{line}\n{}", reply(id))),
            Some(Mishap::WrongId) => Act::Reply(reply(&json!("somebody else's"))),
        }
    }

    fn submission(&self, id: &Value, params: &Value, line: &str) -> Act {
        let wrong = |what: &str| {
            self.seen.lock().unwrap().wrong.push(what.to_owned());
            Act::Reply(error(id, -32602, "Invalid params"))
        };
        let job = &params["mining_job"];
        let Some(header) = job["incomplete_header_bytes"].as_str().and_then(|text| BASE64.decode(text).ok())
        else {
            return wrong("a header that is not base64");
        };
        let Ok(header) = <[u8; 76]>::try_from(header) else { return wrong("a header that is not 76 bytes") };
        let Some(proof) = params["plain_proof"].as_str().and_then(|text| BASE64.decode(text).ok()) else {
            return wrong("a proof that is not base64");
        };
        if params.as_object().map(|params| params.len()) != Some(2) {
            return wrong("parameters besides the two");
        }
        let digits = line.split("\"target\":").nth(1).unwrap_or_default();
        let digits: String = digits.trim_start().chars().take_while(char::is_ascii_digit).collect();
        let submission = Submission {
            header,
            proof,
            certificate_version: job["cert_version"].as_u64(),
            target: digits,
            at: Instant::now(),
        };
        if submission.certificate_version.is_none() {
            return wrong("no cert_version");
        }
        self.seen.lock().unwrap().submissions.push(submission.clone());
        let mut behaviour = self.behaviour.lock().unwrap();
        if behaviour.queue_full {
            return Act::Reply(error(id, -32000, "proof submission queue full"));
        }
        if behaviour.nameless_errors > 0 {
            behaviour.nameless_errors -= 1;
            return Act::Reply(error(
                &Value::Null,
                -32000,
                "Separator is found, but chunk is longer than limit",
            ));
        }
        drop(behaviour);
        Act::ReplyThenProve(
            format!("{{\"jsonrpc\": \"2.0\", \"result\": \"submitted\", \"id\": {id}}}"),
            submission,
        )
    }
}

/// What the header of a proof's block commits to, worked out from the text of the protocol (section 12.1); nothing for
/// bytes that are no proof.
fn commitment(submission: &Submission) -> Option<[u8; 32]> {
    use ring::digest::{SHA256, digest};

    let version = u32::try_from(submission.certificate_version?).ok()?;
    let job = pearl_pow::Job {
        header: pearl_pow::Header::from_bytes(submission.header),
        target: Some(pearl_pow::Target::from_le_bytes([0xff; 32])),
        certificate: version.try_into().ok()?,
        rank_penalty: false,
    };
    let (proof, _) = pearl_pow::PlainProof::decode(&submission.proof).ok()?;
    let verified = pearl_pow::verify(&job, &proof).ok()?;
    let mut text = version.to_le_bytes().to_vec();
    text.extend(verified.config.to_bytes());
    text.extend(proof.a.root);
    text.extend(proof.bt.root);
    text.extend(verified.jackpot);
    for number in [proof.m, proof.n, verified.row_base, verified.col_base] {
        text.extend(u32::try_from(number).ok()?.to_le_bytes());
    }
    assert_eq!(text.len(), 4 + 164);
    digest(&SHA256, digest(&SHA256, &text).as_ref()).as_ref().try_into().ok()
}

fn error(id: &Value, code: i64, message: &str) -> String {
    format!(
        "{{\"jsonrpc\": \"2.0\", \"error\": {{\"code\": {code}, \"message\": \"{message}\"}}, \"id\": {id}}}"
    )
}

fn write_line(stream: &mut Stream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

/// The decimal digits of a header's target (protocol section 6.1), by long division: no number type holds it.
fn target_digits(header: &[u8; 76]) -> String {
    let nbits = u32::from_le_bytes(header[72..].try_into().unwrap());
    let (exponent, mantissa) = ((nbits >> 24) as usize, nbits & 0x00ff_ffff);
    // Big-endian bytes: the mantissa, then as many zero bytes as the exponent says.
    let mut number = mantissa.to_be_bytes()[1..].to_vec();
    number.resize(exponent, 0);
    let mut digits = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 10) as u8;
            rest = value % 10;
        }
        digits.push(char::from_digit(rest, 10).unwrap());
    }
    if digits.is_empty() { "0".to_owned() } else { digits.into_iter().rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_the_protocols_example_has_its_digits() {
        let mut header = [0; 76];
        header[72..].copy_from_slice(&0x1801_d1b2_u32.to_le_bytes());
        assert_eq!(target_digits(&header), "44604749363024789530216165987013076233559287272579268608");
    }
}
