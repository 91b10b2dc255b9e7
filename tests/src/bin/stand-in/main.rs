//! A stand-in for the image of an inference server that mines: what the host can see of one, without a model and a GPU.
//!
//! It serves `/health`, `/v1/models` and `/metrics` on the address that its arguments give, asks the gateway at
//! `$MINER_RPC_SOCKET_PATH` for work once a second over one connection, as such a worker does, and hands each proof in over
//! a connection of its own. With an error to its first question it ends; a lost connection it never makes again.
//!
//! `$STAND_IN` makes it odd, in words with commas: `exit=N` (at once, with that status), `exit-after=N` (seconds),
//! `health-after=N` (seconds), `silent` (asks for no work once it serves), `small` (its steps are too small to mine),
//! `old-seeds` (mines under the seed rule of the other certificates), `rubbish` (submits what is none), `flood` (prints
//! without end), `secret` (prints the token that it was given), `large` (its products are those of a model of 70 billion
//! parameters), `on-prompt` (mines a step for each long prompt, as an inference server does, and no other), `no-layers` (the
//! same, and the model has no layers that mine), `stubborn` (does not end when it is told to), `asks-once` (says when its first question was answered).
//!
//! Called `gateway`, it is a gateway instead: see [`gateway`].

mod gateway;
mod mine;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// Steps of the engine: all, and those that were large enough to mine.
static STEPS: AtomicU64 = AtomicU64::new(0);
static LARGE: AtomicU64 = AtomicU64::new(0);
static HEALTHY: AtomicBool = AtomicBool::new(false);
/// Prompts that were long enough to mine, and tokens of all prompts.
static LONG: AtomicU64 = AtomicU64::new(0);
static TOKENS: AtomicU64 = AtomicU64::new(0);
/// Tokens of a step from which on it is mined.
const STEP_TOKENS: u64 = 1024;
/// The longest prompt, in tokens.
const PROMPT_TOKENS_MAX: u64 = 2560;

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
    if std::env::args().nth(1).as_deref() == Some("gateway") {
        gateway::serve();
    }
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
    mine::mine();
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
            if is("stubborn") {
                say("stays, as it was told");
                std::future::pending::<()>().await;
            }
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
    let mut length = 0;
    while lines.read_line(&mut line).is_ok_and(|count| count > 2) {
        let value = line.to_ascii_lowercase();
        if let Some(value) = value.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut sent = Vec::new();
    if lines.take(length).read_to_end(&mut sent).is_err() {
        return;
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/v1/completions" | "/v1/chat/completions" => complete(&sent),
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
                "vllm:num_requests_running{{engine=\"0\"}} 1.0\nvllm:prompt_tokens_total{{engine=\"0\"}} {}\n\
                 vllm:iteration_tokens_total_bucket{{engine=\"0\",le=\"1024.0\"}} {small}\n\
                 vllm:iteration_tokens_total_bucket{{engine=\"0\",le=\"+Inf\"}} {all}\n\
                 vllm:iteration_tokens_total_count{{engine=\"0\"}} {all}\n",
                TOKENS.load(Ordering::Relaxed)
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

/// Answers a prompt with a word. A word of it is a token.
fn complete(sent: &[u8]) -> (&'static str, String) {
    let asked: Value = serde_json::from_slice(sent).unwrap_or_default();
    let said = [&asked["prompt"], &asked["messages"][0]["content"]].into_iter().find_map(Value::as_str);
    let tokens = said.unwrap_or_default().split_whitespace().count() as u64;
    if tokens > PROMPT_TOKENS_MAX {
        let message = format!("This model's maximum context length is {PROMPT_TOKENS_MAX} tokens.");
        return ("400 Bad Request", json!({ "error": { "message": message } }).to_string());
    }
    TOKENS.fetch_add(tokens, Ordering::Relaxed);
    if is("on-prompt") || is("no-layers") {
        STEPS.fetch_add(1, Ordering::Relaxed);
        if tokens >= STEP_TOKENS && !is("small") {
            LARGE.fetch_add(1, Ordering::Relaxed);
            LONG.fetch_add(1, Ordering::Relaxed);
        }
    }
    let answer = json!({ "choices": [{ "text": " yes" }], "usage": { "prompt_tokens": tokens } });
    ("200 OK", answer.to_string())
}
