//! A stand-in for pearld's JSON-RPC: HTTP or HTTPS, basic authentication, one request a connection.
//!
//! It answers from a [`Network`] and can be down, unauthorised, behind, or without templates.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::network::{Block, Network};

/// How the stand-in behaves; change it while it runs with [`Node::behave`].
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// It accepts connections and closes them.
    pub down: bool,
    /// It answers 503 to everything.
    pub unavailable: bool,
    /// Headers that it knows beyond its blocks.
    pub headers_ahead: u64,
    /// It has no template: "not connected".
    pub no_template: bool,
    /// It does not name a block's successor.
    pub no_next_hash: bool,
    /// How its answers travel.
    pub shape: Shape,
}

/// How an answer travels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As pearld sends it.
    #[default]
    Plain,
    /// In chunks of five bytes, with an extension and a trailer.
    Chunked,
    /// As HTTP/1.0.
    OldVersion,
    /// Without a length: it ends when the connection does.
    NoLength,
    /// After a `100 Continue` that nobody waits for.
    Continue,
    /// With two headers of one name, equal lengths among them.
    Twins,
    /// With two lengths that differ.
    TwoLengths,
    /// With a folded header, a blank before a colon and a line that is no header.
    OddHeaders,
    /// Said to be compressed.
    Gzip,
    /// A redirect to this address.
    Redirect(String),
    /// Preceded by so many blanks, with a length.
    Padded(usize),
    /// The same, in one chunk.
    PaddedChunk(usize),
    /// One byte after the other, each in a packet of its own.
    Slow,
    /// Its head, and a byte from time to time for ever, until the client leaves.
    Endless,
    /// Cut off a byte before its end.
    Cut,
}

impl Shape {
    /// The bytes of an answer with this `body`.
    fn bytes(&self, body: &str) -> Vec<u8> {
        let length = body.len();
        let with = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n{body}");
        let answer = match self {
            Self::Plain | Self::Slow => with(&format!("Content-Length: {length}\r\n")),
            Self::Cut => with(&format!("Content-Length: {}\r\n", length + 1)),
            Self::Chunked => {
                let mut answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
                for chunk in body.as_bytes().chunks(5) {
                    let text = std::str::from_utf8(chunk).expect("the answers are ASCII");
                    answer.push_str(&format!("{:X};a=b\r\n{text}\r\n", text.len()));
                }
                answer + "0\r\nX-Trailer: 1\r\n\r\n"
            }
            Self::OldVersion => format!("HTTP/1.0 200 OK\r\n\r\n{body}"),
            Self::NoLength | Self::Endless => with(""),
            Self::Continue => {
                format!("HTTP/1.1 100 Continue\r\n\r\n{}", with(&format!("Content-Length: {length}\r\n")))
            }
            Self::Twins => with(&format!(
                "Content-Length: {length}\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: {length}\r\n"
            )),
            Self::TwoLengths => {
                with(&format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length - 1))
            }
            Self::OddHeaders => {
                with(&format!("X-Long: one\r\n  two\r\nContent-Length : {length}\r\nno header\r\n"))
            }
            Self::Gzip => with(&format!("Content-Encoding: gzip\r\nContent-Length: {length}\r\n")),
            Self::Redirect(to) => format!(
                "HTTP/1.1 301 Moved Permanently\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            Self::Padded(blanks) => format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}{body}",
                length + blanks,
                " ".repeat(*blanks)
            ),
            Self::PaddedChunk(blanks) => format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}{body}\r\n0\r\n\r\n",
                length + blanks,
                " ".repeat(*blanks)
            ),
        };
        answer.into_bytes()
    }
}

/// A running stand-in; it ends when dropped.
#[derive(Debug)]
pub struct Node {
    port: u16,
    tls: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    network: Network,
    authorization: String,
    behaviour: Mutex<Behaviour>,
    requests: Mutex<Vec<(Instant, String)>>,
    stopping: AtomicBool,
}

impl Node {
    /// A node over plain HTTP.
    pub fn http(network: &Network, user: &str, password: &str) -> Self {
        Self::start(network, user, password, None)
    }

    /// A node over HTTPS with a self-made certificate like pearld's, which calls itself an authority. Its PEM file is
    /// written to `certificate`.
    pub fn https(network: &Network, user: &str, password: &str, certificate: &Path) -> Self {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(certificate, made.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.der().clone()], key)
            .unwrap();
        Self::start(network, user, password, Some(Arc::new(config)))
    }

    fn start(network: &Network, user: &str, password: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            network: network.clone(),
            authorization: format!("Basic {}", BASE64.encode(format!("{user}:{password}"))),
            behaviour: Mutex::default(),
            requests: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let is_tls = tls.is_some();
        let thread = thread::spawn(move || {
            while !serving.stopping.load(Ordering::SeqCst) {
                match listener.accept() {
                    // One after the other: nobody needs more.
                    Ok((stream, _)) => drop(serving.serve(stream, tls.as_ref())),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { port, tls: is_tls, shared, thread: Some(thread) }
    }

    /// The address as a configuration has it.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// Changes how it behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// The methods that were called so far.
    pub fn requests(&self) -> Vec<String> {
        self.timeline().into_iter().map(|(_, method)| method).collect()
    }

    /// The same with the moment of each call.
    pub fn timeline(&self) -> Vec<(Instant, String)> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends `body` in this shape.
fn shaped(stream: &mut impl Write, shape: &Shape, body: &str) -> io::Result<()> {
    let bytes = shape.bytes(body);
    let one_by_one = match shape {
        Shape::Slow => &bytes[..],
        Shape::Endless => &[b' '; 60_000],
        _ => &[],
    };
    if *shape != Shape::Slow {
        stream.write_all(&bytes)?;
        stream.flush()?;
    }
    for byte in one_by_one {
        stream.write_all(&[*byte])?;
        stream.flush()?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// As nodes write hashes: reversed, in hex.
fn text(hash: &[u8; 32]) -> String {
    hash.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let mut bytes = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    bytes.reverse();
    bytes.try_into().ok()
}

impl Shared {
    fn serve(&self, stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        if self.behaviour.lock().unwrap().down {
            return Ok(());
        }
        match tls {
            None => self.exchange(stream),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                self.exchange(StreamOwned::new(session, stream))
            }
        }
    }

    fn exchange(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let (head, body) = loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let authorized = head.lines().any(|line| line == format!("Authorization: {}", self.authorization));
        let Behaviour { unavailable, shape, .. } = self.behaviour.lock().unwrap().clone();
        if !unavailable && authorized {
            return shaped(&mut stream, &shape, &self.answer(&body));
        }
        let (status, answer) = if unavailable {
            ("503 Service Unavailable", "busy\n".to_owned())
        } else {
            ("401 Unauthorized", "401 Unauthorized.\n".to_owned())
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        )?;
        stream.flush()
    }

    fn answer(&self, body: &str) -> String {
        let request: Value = serde_json::from_str(body).unwrap_or_default();
        let method = request["method"].as_str().unwrap_or_default();
        self.requests.lock().unwrap().push((Instant::now(), method.to_owned()));
        let behaviour = self.behaviour.lock().unwrap().clone();
        let tip = self.network.tip();
        let result = match method {
            "getbestblockhash" => Ok(json!(text(&tip.hash))),
            "getblock" => hash(request["params"][0].as_str().unwrap_or_default())
                .and_then(|hash| self.network.block(&hash))
                .map(|block| self.verbose(&block, behaviour.no_next_hash))
                .ok_or((-5, "Block not found")),
            "getblockchaininfo" => Ok(json!({
                "chain": "regtest",
                "blocks": tip.height,
                "headers": tip.height + behaviour.headers_ahead,
                "bestblockhash": text(&tip.hash),
                "mediantime": SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
                "softforks": {},
            })),
            "getblocktemplate" if behaviour.no_template => Err((-9, "Pearl is not connected")),
            "getblocktemplate" => Ok(json!({
                "height": tip.height + 1,
                "curtime": SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
                "previousblockhash": text(&tip.hash),
                "bits": "1b00ffff",
                "requiredcertversion": self.network.certificate_version(),
            })),
            _ => Err((-32601, "Method not found")),
        };
        match result {
            Ok(result) => json!({"jsonrpc": "1.0", "result": result, "error": null, "id": request["id"]}),
            Err((code, message)) => {
                json!({"jsonrpc": "1.0", "result": null, "error": {"code": code, "message": message}, "id": request["id"]})
            }
        }
        .to_string()
    }

    fn verbose(&self, block: &Block, no_next: bool) -> Value {
        let chain = self.network.main_chain();
        let confirmations = if block.main { chain.len() as i64 - block.height as i64 } else { -1 };
        let next = chain.iter().find(|one| one.prev == block.hash).filter(|_| block.main && !no_next);
        let mut answer = json!({
            "hash": text(&block.hash),
            "confirmations": confirmations,
            "height": block.height,
            "merkleroot": text(&block.merkle_root),
            "time": block.time,
            "previousblockhash": text(&block.prev),
            "tx": [],
        });
        if let Some(commitment) = block.commitment {
            answer["proofcommitment"] = json!(text(&commitment));
        }
        if let Some(next) = next {
            answer["nextblockhash"] = json!(text(&next.hash));
        }
        answer
    }
}
