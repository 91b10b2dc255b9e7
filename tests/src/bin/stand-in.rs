//! A stand-in for the image of an inference server that mines: what the host can see of one, without a model and a GPU.
//!
//! It serves `/health`, `/v1/models` and `/metrics` on the address that its arguments give, asks the gateway at
//! `$MINER_RPC_SOCKET_PATH` for work once a second over one connection, as such a worker does, and hands each proof in over
//! a connection of its own. With an error to its first question it ends; a lost connection it never makes again.
//!
//! `$STAND_IN` makes it odd, in words with commas: `exit=N` (at once, with that status), `exit-after=N` (seconds),
//! `health-after=N` (seconds), `silent` (asks for no work once it serves), `small` (its steps are too small to mine),
//! `old-seeds` (mines under the seed rule of the other certificates), `rubbish` (submits what is none), `flood` (prints
//! without end), `secret` (prints the token that it was given).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::opening::Matrix;
use pearl_pow::{
    CertificateVersion, Header, Job, MiningConfiguration, PeriodicPattern, SeedRule, Target, U256, reference,
};
use serde_json::{Value, json};

/// Steps of the engine: all, and those that were large enough to mine.
static STEPS: AtomicU64 = AtomicU64::new(0);
static LARGE: AtomicU64 = AtomicU64::new(0);
static HEALTHY: AtomicBool = AtomicBool::new(false);

/// What it was told by `$STAND_IN`.
fn is(word: &str) -> bool {
    std::env::var("STAND_IN").unwrap_or_default().split(',').any(|one| one == word)
}

fn number(word: &str) -> Option<u64> {
    let all = std::env::var("STAND_IN").unwrap_or_default();
    all.split(',').find_map(|one| one.strip_prefix(word)?.strip_prefix('=')?.parse().ok())
}

fn say(text: &str) {
    // Whoever does not listen any more has ended, and this with it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() {
    say("stand-in: begins");
    if is("secret") {
        let path = std::env::var("HF_TOKEN_PATH").unwrap_or_default();
        say(&format!("the token is {}", std::fs::read_to_string(path).unwrap_or_default()));
    }
    std::thread::spawn(end_when_told);
    if let Some(code) = number("exit") {
        say("ends at once, as it was told");
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    std::thread::spawn(serve);
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(number("health-after").unwrap_or(0)));
        HEALTHY.store(true, Ordering::Relaxed);
        say("serves");
    });
    if is("flood") {
        std::thread::spawn(|| {
            loop {
                say("stand-in: a line of very many, each of which says nothing at all\u{1b}[2J");
            }
        });
    }
    if let Some(seconds) = number("exit-after") {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            say("CUDA out of memory, as it was told");
            std::process::exit(1);
        });
    }
    mine();
    // The miner has lost its gateway, and the server goes on.
    loop {
        say("Failed to get mining info");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Ends on SIGTERM, which the first process of a container does not by itself.
fn end_when_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        if let Ok(mut told) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            told.recv().await;
            say("ends, as it was told");
            std::process::exit(0);
        }
    });
}

/// The value of a flag among the arguments.
fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn serve() {
    let host = argument("--host").unwrap_or_else(|| "0.0.0.0".into());
    let port = argument("--port").unwrap_or_else(|| "8000".into());
    let listener = match TcpListener::bind(format!("{host}:{port}")) {
        Ok(listener) => listener,
        Err(err) => {
            say(&format!("cannot serve on {host}:{port}: {err}"));
            std::process::exit(1);
        }
    };
    for stream in listener.incoming().flatten() {
        answer(stream);
    }
}

fn answer(mut stream: TcpStream) {
    let mut head = String::new();
    let mut lines = BufReader::new(&stream);
    if lines.read_line(&mut head).is_err() {
        return;
    }
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|count| count > 2) {
        line.clear();
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/health" if HEALTHY.load(Ordering::Relaxed) => ("200 OK", String::new()),
        "/health" => ("503 Service Unavailable", String::new()),
        "/v1/models" => {
            let model = argument("--served-model-name").unwrap_or_default();
            ("200 OK", json!({ "object": "list", "data": [{ "id": model }] }).to_string())
        }
        "/metrics" => {
            let (all, large) = (STEPS.load(Ordering::Relaxed), LARGE.load(Ordering::Relaxed));
            let small = all - large;
            let body = format!(
                "vllm:num_requests_running{{engine=\"0\"}} 1.0\nvllm:prompt_tokens_total{{engine=\"0\"}} 4096\n\
                 vllm:iteration_tokens_total_bucket{{engine=\"0\",le=\"1024.0\"}} {small}\n\
                 vllm:iteration_tokens_total_bucket{{engine=\"0\",le=\"+Inf\"}} {all}\n\
                 vllm:iteration_tokens_total_count{{engine=\"0\"}} {all}\n"
            );
            ("200 OK", body)
        }
        _ => ("404 Not Found", String::new()),
    };
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    // A peer that has gone asks again.
    let _ = stream.write_all(answer.as_bytes());
}

fn connect() -> Option<UnixStream> {
    UnixStream::connect(std::env::var("MINER_RPC_SOCKET_PATH").ok()?).ok()
}

/// Asks and is answered, over `stream`.
fn ask(mut stream: &UnixStream, request: &str) -> Option<String> {
    stream.write_all(format!("{request}\n").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).take(4 << 20).read_line(&mut line).ok()?;
    (!line.is_empty()).then_some(line)
}

/// A job, as it is told.
struct Info {
    /// What is echoed: the job's own text, so that no digit of its target is lost.
    text: String,
    header: String,
    target: Target,
    version: u32,
}

impl Info {
    fn read(answer: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(answer).ok()?;
        let job = value.get("result")?;
        let (_, from) = answer.split_once("\"target\":")?;
        let digits: String = from.trim_start().chars().take_while(char::is_ascii_digit).collect();
        let number: U256 = digits.parse().ok()?;
        let header = job.get("incomplete_header_bytes")?.as_str()?.to_owned();
        let version = u32::try_from(job.get("cert_version")?.as_u64()?).ok()?;
        let text =
            format!(r#"{{"incomplete_header_bytes":"{header}","target":{digits},"cert_version":{version}}}"#);
        Some(Self { text, header, target: Target::from_le_bytes(number.to_le_bytes()), version })
    }
}

/// Mines until the gateway is lost.
fn mine() {
    let Some(stream) = connect() else {
        say("cannot connect to the gateway: Permission denied, or nobody is there");
        std::process::exit(1);
    };
    let mut first = true;
    for round in 0.. {
        let question = json!({ "jsonrpc": "2.0", "id": round, "method": "getMiningInfo", "params": {} });
        let Some(answer) = ask(&stream, &question.to_string()) else { return };
        let Some(info) = Info::read(&answer) else {
            say(&format!("no work: {answer}"));
            if first {
                std::process::exit(1);
            }
            return;
        };
        if first {
            say("Mining state initalized");
            first = false;
        }
        if is("silent") && HEALTHY.load(Ordering::Relaxed) {
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        STEPS.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        if !is("small") {
            LARGE.fetch_add(1, Ordering::Relaxed);
            if let Some(proof) = step(&info, round) {
                say("Block found!");
                submit(&info, &proof, round);
            }
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
}

fn submit(info: &Info, proof: &[u8], round: u64) {
    let Some(stream) = connect() else { return };
    let proof = if is("rubbish") { vec![7; 1000] } else { proof.to_vec() };
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":{round},"method":"submitPlainProof","params":{{"plain_proof":"{}","mining_job":{}}}}}"#,
        BASE64.encode(proof),
        info.text
    );
    match ask(&stream, &request) {
        Some(answer) if !answer.contains("\"error\"") => say("Submitted plain proof to gateway"),
        answer => say(&format!("the gateway refused a proof: {}", answer.unwrap_or_default())),
    }
}

/// One large step: a product of two matrices that nobody has multiplied before, and the proof in it, where there is one.
fn step(info: &Info, round: u64) -> Option<Vec<u8>> {
    let Info { header, target, version, .. } = info;
    let header = BASE64.decode(header).ok()?;
    let header = Header::from_bytes(header.try_into().ok()?);
    let certificate = CertificateVersion::try_from(*version).ok()?;
    let (rows, k) = (256, 2048);
    let config = MiningConfiguration::dense(
        k as u32,
        128,
        PeriodicPattern::from_offsets(&[0, 8, 64, 72]).ok()?,
        PeriodicPattern::from_offsets(&[0, 1, 8, 9, 32, 33, 40, 41]).ok()?,
    );
    let job = Job { header, target: Some(*target), certificate, rank_penalty: true };
    let bound = job.effective_target().bound(&config, true);
    let seeds = match (is("old-seeds"), certificate.seed_rule()) {
        (false, rule) => rule,
        (true, SeedRule::Salted) => SeedRule::Legacy,
        (true, _) => SeedRule::Salted,
    };
    let seed = u64::from(std::process::id()) * 1_000_003 + round * 2;
    let matrix = |side: u64| reference::test_matrix(seed + side + 1, rows * k);
    let (a, bt) = (matrix(0), matrix(1));
    let left = Matrix::new(&a, k).ok()?;
    let right = Matrix::new(&bt, k).ok()?;
    let product = reference::Product::new(&job.header, &config, seeds, left, right);
    let attempt = product.mine(bound)?;
    Some(product.prove(&attempt).encode())
}
