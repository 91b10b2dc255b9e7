//! What is made of answers that are odd, cut off, endless or no answers at all.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const BODY_MAX: usize = 1 << 10;

/// Reads a request to the end of its head and returns it.
async fn request_of(peer: &mut DuplexStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

/// What comes of `answer` when the peer closes after it.
async fn ask(answer: &[u8]) -> io::Result<Response> {
    let (ours, mut peer) = tokio::io::duplex(64 << 10);
    let request = Request::get("/x").header("Host", "h").body(Full::default()).unwrap();
    let serving = async {
        let request = request_of(&mut peer).await;
        // Whoever refuses half of a long answer has closed before the rest is written.
        let _ = peer.write_all(answer).await;
        drop(peer);
        request
    };
    let (response, request) = tokio::join!(exchange(ours, request, BODY_MAX), serving);
    assert_eq!(request, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    response
}

#[tokio::test]
async fn bodies_end_by_length_by_chunks_or_with_the_connection() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1} and more"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\nT: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n{\"a\":1}",
        b"HTTP/1.1 200\r\nConnection: close\r\n\r\n{\"a\":1}",
        // A word in between, two headers of one name, folded, with a blank before the colon, and one that is none.
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX: y\r\n z\r\n\
          Content-Length : 7\r\nnot a header\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        b"HTTP/1.1 200 OK\nContent-Encoding: identity\nContent-Length: 7\n\n{\"a\":1}",
    ] {
        let response = ask(answer).await.map_err(|err| format!("{err}: {}", String::from_utf8_lossy(answer)));
        assert_eq!(response, Ok(Response { status: 200, body: b"{\"a\":1}".to_vec() }));
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_answer() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
    ] {
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        for end in 0..answer.len() {
            let err = ask(&answer[..end]).await.unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof, "{end}: {err}");
            let where_ =
                if end < head { "closed without an answer" } else { "closed in the middle of an answer" };
            assert_eq!(err.to_string(), where_, "{end}");
        }
    }
}

#[tokio::test]
async fn what_is_not_http_or_over_a_bound_is_an_error_that_says_so() {
    let long_body = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; BODY_MAX + 1]].concat();
    let long_head = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; HEAD_BYTES_MAX]].concat();
    for (answer, says) in [
        (&b"SSH-2.0-x\r\n\r\n"[..], "not HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n{\"a\":1}", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "over 1 KiB"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", ""),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
            "encoding `gzip`",
        ),
        (&long_body, "over 1 KiB"),
        (&long_head, "head over 32 KiB"),
    ] {
        let err = ask(answer).await.map(|response| response.status).unwrap_err();
        assert!(
            err.to_string().contains(says),
            "{err} for {}",
            String::from_utf8_lossy(&answer[..answer.len().min(99)])
        );
    }
}

#[tokio::test]
async fn a_redirect_is_a_status_like_any_other() {
    let answer = b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(answer).await.unwrap(), Response { status: 301, body: Vec::new() });
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_the_client_panic_or_wait(
        head in "HTTP/1[.][01] [0-9]{0,4}(\r\n(content-length|transfer-encoding|x): ?[a-z0-9;]{0,20}){0,3}\r\n\r\n",
        body in proptest::collection::vec(0_u8.., 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = [head.as_bytes(), &body].concat();
        let _ = runtime.block_on(async { (ask(&bytes).await, ask(&body).await) });
    }
}
