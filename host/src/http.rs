//! One HTTP/1.1 exchange over a connection that somebody else made: a node's RPC, a page of numbers, a local socket.
//!
//! hyper speaks the protocol. What is ours are the bounds: the head and the body in bytes, while the time is the caller's
//! to bound. One request a connection. Nothing is followed, unpacked or asked again: a redirect is a status like any
//! other, and an answer that is compressed, which nobody asked for, is an error.

use std::io;
use std::pin::pin;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_ENCODING, HeaderValue, TRANSFER_ENCODING};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

pub use hyper::{Request, header};

/// Bytes of the largest response head.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Sends `request`, whose target is a path and which names its `Host`, over `stream` and reads the response, whose body
/// may have `body_bytes_max` bytes.
///
/// # Errors
///
/// [`io::ErrorKind::UnexpectedEof`] when the peer closes before a whole response came; [`io::ErrorKind::InvalidData`] when
/// what came is not HTTP, compressed, or over a limit; what reading and writing meets.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut request: Request<Full<Bytes>>,
    body_bytes_max: usize,
) -> io::Result<Response> {
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        // What old servers write, and what does no harm where nothing follows on the connection.
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        read(response, body_bytes_max).await
    });
    tokio::select! {
        answer = &mut answer => return answer,
        // What it met, it has told to whoever waits for the answer.
        _ = &mut connection => {}
    }
    answer.await
}

async fn read(response: hyper::Response<Incoming>, body_bytes_max: usize) -> io::Result<Response> {
    let too_long = || invalid(format!("a response over {}", crate::text::bytes(body_bytes_max as u64)));
    let (head, mut body) = response.into_parts();
    let codings = head.headers.get_all(CONTENT_ENCODING);
    if let Some(coding) = codings.iter().find(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let coding = String::from_utf8_lossy(coding.as_bytes());
        let coding = crate::text::printable(&coding).into_owned();
        return Err(invalid(format!("a response in the encoding `{coding}`, which nobody asked for")));
    }
    if body.size_hint().lower() > body_bytes_max as u64 {
        return Err(too_long());
    }
    let ends_with_connection =
        body.size_hint().exact().is_none() && !head.headers.contains_key(TRANSFER_ENCODING);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame.map_err(body_failed) {
            Ok(frame) => frame,
            // A TLS peer that does not say goodbye.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof && ends_with_connection => break,
            Err(err) => return Err(err),
        };
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > body_bytes_max {
                return Err(too_long());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Response { status: head.status.as_u16(), body: bytes })
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// What went wrong before the response's head was there.
fn failed(err: hyper::Error) -> io::Error {
    if err.is_parse_too_large() {
        return invalid("a response head over 32 KiB");
    }
    if err.is_parse() {
        return invalid(format!("something that is not HTTP ({err})"));
    }
    if err.is_incomplete_message() || err.is_canceled() || err.is_closed() {
        return io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer");
    }
    cause(&err).unwrap_or_else(|| io::Error::other(err))
}

/// What went wrong after it.
fn body_failed(err: hyper::Error) -> io::Error {
    match cause(&err) {
        Some(cause) if cause.kind() != io::ErrorKind::UnexpectedEof => cause,
        None if !err.is_incomplete_message() => io::Error::other(err),
        _ => io::Error::new(io::ErrorKind::UnexpectedEof, "closed in the middle of an answer"),
    }
}

fn cause(err: &hyper::Error) -> Option<io::Error> {
    let cause = std::error::Error::source(err)?.downcast_ref::<io::Error>()?;
    let plain = || io::Error::new(cause.kind(), cause.to_string());
    Some(crate::remedy::number(cause).map_or_else(plain, io::Error::from_raw_os_error))
}

#[cfg(test)]
mod tests;
