//! `/metrics` and `/healthz`, for Prometheus and for OpenJarvis, on loopback and on a Unix socket, nowhere else.
//!
//! Two pages, one request per connection, bounded in length and time. What stands on the first is [`page`]'s business.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::control::{self, Call};
use super::report::Report;
use super::socket::OwnSocket;

mod devices;
pub mod page;

/// The longest request head.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// From a connection to its end.
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

/// Where the pages are asked for.
pub enum Listener {
    /// A port of loopback.
    Port(tokio::net::TcpListener),
    /// A file, for whoever shares no loopback with the session, such as a container's neighbour.
    Socket(OwnSocket),
}

/// A peer's connection.
trait Peer: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Peer for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Port(listener) => Box::new(listener.accept().await?.0),
            Self::Socket(socket) => Box::new(socket.accept().await?),
        })
    }
}

/// Serves for ever; the numbers are asked through `calls`, as the control socket asks.
pub async fn serve(listener: Listener, calls: mpsc::Sender<Call>) {
    let peers = std::sync::Arc::new(tokio::sync::Semaphore::new(PEERS_MAX));
    loop {
        let Ok(permit) = peers.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(|request| answer(request, calls.clone()));
                    let connection = http1::Builder::new()
                        // A client may close its half as soon as it has asked.
                        .half_close(true)
                        .keep_alive(false)
                        .max_buf_size(REQUEST_BYTES_MAX)
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = tokio::time::timeout(PEER_TIME, connection).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers one request; its body, if it has one, is not read.
async fn answer<B>(
    request: Request<B>,
    calls: mpsc::Sender<Call>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "GET only".into()));
    }
    if !matches!(path, "/metrics" | "/healthz") {
        return Ok(text(StatusCode::NOT_FOUND, "there are /metrics and /healthz".into()));
    }
    Ok(match report(&calls).await {
        Some(report) if path == "/metrics" => {
            let mut families = page::families(&report);
            families.extend(devices::families(&report.miners));
            let page = page::page(families);
            respond(StatusCode::OK, page::CONTENT_TYPE, page)
        }
        Some(report) if report.earning => text(StatusCode::OK, "earning".into()),
        Some(report) => {
            let why = report.reason.unwrap_or_else(|| "not earning".into());
            text(StatusCode::SERVICE_UNAVAILABLE, why)
        }
        None => text(StatusCode::SERVICE_UNAVAILABLE, "stopping".into()),
    })
}

fn text(status: StatusCode, line: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn report(calls: &mpsc::Sender<Call>) -> Option<Report> {
    let (answer, answered) = oneshot::channel();
    calls.send(Call { request: control::Request::Status, answer }).await.ok()?;
    serde_json::from_value(answered.await.ok()?).ok()
}

#[cfg(test)]
mod tests;
