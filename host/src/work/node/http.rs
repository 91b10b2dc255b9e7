//! One HTTP/1.1 request over a connection of its own, which is how pearld wants its RPC called.
//!
//! Everything is bounded: the response in bytes, and the whole exchange in time by the caller.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of the largest response that is read. A verbose block is far smaller.
const RESPONSE_BYTES_MAX: usize = 8 << 20;
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

/// Sends a POST request and reads the response. `authorization` is the header's value, a secret.
///
/// # Errors
///
/// [`io::ErrorKind::UnexpectedEof`] when the peer closes before a whole response came, with the message `closed` when
/// it said nothing at all; [`io::ErrorKind::InvalidData`] when what came is not HTTP or over a limit.
pub async fn post(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    authorization: Option<&str>,
    body: &str,
) -> io::Result<Response> {
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;

    let mut bytes = Vec::new();
    loop {
        if let Some(response) = read_response(&bytes, false)? {
            return Ok(response);
        }
        if bytes.len() > RESPONSE_BYTES_MAX {
            return Err(invalid("a response over 8 MiB"));
        }
        let read = match stream.read_buf(&mut bytes).await {
            Ok(read) => read,
            // TLS peers that do not say goodbye.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(err) => return Err(err),
        };
        if read == 0 {
            let what = if bytes.is_empty() {
                "closed without an answer"
            } else {
                "closed in the middle of an answer"
            };
            return read_response(&bytes, true)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The response in `bytes`, if it is whole. `ended`: nothing more will come.
fn read_response(bytes: &[u8], ended: bool) -> io::Result<Option<Response>> {
    let Some(head_len) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(invalid("a response head over 32 KiB"));
        }
        return Ok(None);
    };
    let head =
        std::str::from_utf8(&bytes[..head_len]).map_err(|_| invalid("a response head that is not text"))?;
    let body = &bytes[head_len + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("something that is not HTTP"))?;
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().map_err(|_| invalid("a wrong content length"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = if chunked {
        unchunk(body)?
    } else if let Some(length) = length {
        if length > RESPONSE_BYTES_MAX {
            return Err(invalid("a response over 8 MiB"));
        }
        body.get(..length).map(<[u8]>::to_vec)
    } else {
        ended.then(|| body.to_vec())
    };
    Ok(body.map(|body| Response { status, body }))
}

/// The content of a chunked body, if it is whole.
fn unchunk(mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(line_len) = bytes.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..line_len])
            .ok()
            .and_then(|line| usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16).ok())
            .filter(|size| *size <= RESPONSE_BYTES_MAX)
            .ok_or_else(|| invalid("a wrong chunk size"))?;
        if size == 0 {
            return Ok(Some(body));
        }
        let start = line_len + 2;
        let (Some(chunk), Some(rest)) = (bytes.get(start..start + size), bytes.get(start + size + 2..))
        else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Option<Response> {
        read_response(bytes, true).unwrap()
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_with_the_connection() {
        let expected = Some(Response { status: 200, body: b"{\"a\":1}".to_vec() });
        let by_length = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(read_response(by_length, false).unwrap(), expected);
        let by_chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(read_response(by_chunks, false).unwrap(), expected);
        let by_close = b"HTTP/1.0 200 OK\r\n\r\n{\"a\":1}";
        assert_eq!(read_response(by_close, false).unwrap(), None);
        assert_eq!(whole(by_close), expected);
        for bytes in [&by_length[..], by_chunks] {
            for end in 0..bytes.len() - 5 {
                assert_eq!(read_response(&bytes[..end], true).unwrap(), None, "{end}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            head in "HTTP/1[.][01] [0-9]{0,4}(\r\n(content-length|transfer-encoding): ?[a-z0-9;]{0,20}){0,3}\r\n\r\n",
            body in proptest::collection::vec(0_u8.., 0..200),
        ) {
            let bytes = [head.as_bytes(), &body].concat();
            for ended in [false, true] {
                let _ = (read_response(&bytes, ended), read_response(&body, ended));
            }
        }
    }

    #[test]
    fn what_is_not_http_or_has_no_bounds_is_an_error() {
        for bytes in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            &[b'x'; HEAD_BYTES_MAX + 1],
        ] {
            assert!(read_response(bytes, false).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
