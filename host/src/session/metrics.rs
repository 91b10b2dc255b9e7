//! `/metrics` and `/healthz`, for Prometheus and for OpenJarvis, on loopback only.
//!
//! A small HTTP/1.1 server of two pages: one request per connection, bounded in length and time. The names that
//! begin with `pearl_gateway_` are those that OpenJarvis reads; they stand beside our own.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::control::{Call, Request};
use super::report::Report;

const REQUEST_BYTES_MAX: usize = 8 << 10;
const PEER_TIME: Duration = Duration::from_secs(5);
const PEERS_MAX: usize = 16;

/// Binds the listener; `address` must be a loopback address.
///
/// # Errors
///
/// Where the address is not loopback, or taken.
pub async fn bind(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "metrics are served on loopback only"));
    }
    tokio::net::TcpListener::bind(address).await
}

/// Serves for ever; the numbers are asked through `calls`, as the control socket asks.
pub async fn serve(listener: tokio::net::TcpListener, calls: mpsc::Sender<Call>) {
    let peers = std::sync::Arc::new(tokio::sync::Semaphore::new(PEERS_MAX));
    loop {
        let Ok(permit) = peers.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PEER_TIME, answer(stream, calls)).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: tokio::net::TcpStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 || request.len() + read > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..read]);
    }
    let head = String::from_utf8_lossy(&request);
    let mut words = head.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics" | "/healthz") => match report(&calls).await {
            Some(report) if path == "/metrics" => {
                ("200 OK", "text/plain; version=0.0.4; charset=utf-8", page(&report))
            }
            Some(report) if report.earning => ("200 OK", "text/plain; charset=utf-8", "earning\n".into()),
            Some(report) => {
                let why = report.reason.unwrap_or_else(|| "not earning".into());
                ("503 Service Unavailable", "text/plain; charset=utf-8", format!("{why}\n"))
            }
            None => ("503 Service Unavailable", "text/plain; charset=utf-8", "stopping\n".into()),
        },
        ("GET" | "HEAD", _) => {
            ("404 Not Found", "text/plain; charset=utf-8", "there are /metrics and /healthz\n".into())
        }
        _ => ("405 Method Not Allowed", "text/plain; charset=utf-8", "GET only\n".into()),
    };
    let length = body.len();
    let body = if method == "HEAD" { String::new() } else { body };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn report(calls: &mpsc::Sender<Call>) -> Option<Report> {
    let (answer, answered) = oneshot::channel();
    calls.send(Call { request: Request::Status, answer }).await.ok()?;
    serde_json::from_value(answered.await.ok()?).ok()
}

/// The page in Prometheus' text format, version 0.0.4.
pub fn page(report: &Report) -> String {
    let mut page = String::with_capacity(4096);
    let mut metric = |name: &str, kind: &str, help: &str, labels: &str, value: Option<f64>| {
        let Some(value) = value else { return };
        writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}")
            .expect("writing to a String never fails");
    };
    let count = |number: u64| Some(number as f64);
    let proofs = &report.proofs;
    metric(
        "pearl_gateway_shares_submitted_total",
        "counter",
        "Proofs handed to the work source.",
        "",
        count(proofs.submitted),
    );
    metric(
        "pearl_gateway_shares_accepted_total",
        "counter",
        "Proofs that became a block of the chain.",
        "",
        count(proofs.accepted),
    );
    metric(
        "pearl_gateway_blocks_found_total",
        "counter",
        "Blocks of ours on the chain.",
        "",
        count(proofs.accepted),
    );
    metric(
        "pearl_gateway_last_share_timestamp",
        "gauge",
        "Unix time of the last verified proof.",
        "",
        report.last_proof_at.map(|at| at as f64),
    );
    // OpenJarvis shows any number above zero as an error: what its gateway would count as one.
    metric(
        "pearl_gateway_errors_total",
        "counter",
        "Proofs that the work source rejected.",
        "",
        count(proofs.rejected),
    );
    metric(
        "process_start_time_seconds",
        "gauge",
        "Unix time at which the session started.",
        "",
        report.started_at.map(|at| at as f64),
    );

    metric(
        "pearlbed_earning",
        "gauge",
        "1 while the session earns, else 0.",
        "",
        count(u64::from(report.earning)),
    );
    metric(
        "pearlbed_proofs_found_total",
        "counter",
        "Proofs that the provider handed in.",
        "",
        count(proofs.found),
    );
    metric(
        "pearlbed_proofs_verified_total",
        "counter",
        "Proofs that passed the host's verifier.",
        "",
        count(proofs.verified),
    );
    metric(
        "pearlbed_proofs_refused_total",
        "counter",
        "Proofs that the host's verifier refused.",
        "",
        count(proofs.refused),
    );
    metric("pearlbed_proofs_stale_total", "counter", "Proofs whose job was over.", "", count(proofs.stale));
    metric(
        "pearlbed_proofs_pending",
        "gauge",
        "Proofs on disk that are not settled.",
        "",
        count(proofs.pending),
    );
    metric(
        "pearlbed_hashes_total",
        "counter",
        "Hashes (multiply-accumulates) that the provider reported.",
        "",
        count(report.hashes),
    );
    metric(
        "pearlbed_provider_restarts_total",
        "counter",
        "Restarts of the provider process.",
        "",
        count(report.restarts),
    );
    metric(
        "pearlbed_job_age_seconds",
        "gauge",
        "Age of the job in work.",
        "",
        report.job.as_ref().map(|job| job.age_seconds),
    );
    metric(
        "pearlbed_accepted_hashrate",
        "gauge",
        "Hashes per second that accepted proofs stand for.",
        "",
        report.hashrate.accepted.as_ref().map(|accepted| accepted.hashrate),
    );
    let mut first = true;
    for (window, rate) in
        [("10s", report.hashrate.raw.s10), ("60s", report.hashrate.raw.s60), ("15m", report.hashrate.raw.m15)]
    {
        let Some(rate) = rate else { continue };
        if std::mem::take(&mut first) {
            page.push_str("# HELP pearlbed_hashrate Hashes per second that the provider reports.\n# TYPE pearlbed_hashrate gauge\n");
        }
        writeln!(page, "pearlbed_hashrate{{window=\"{window}\"}} {rate}")
            .expect("writing to a String never fails");
    }
    page
}
