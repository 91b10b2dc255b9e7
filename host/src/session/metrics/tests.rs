//! What the server makes of requests, good and bad.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::session::state::State;

/// What a session that does not earn answers to `request`, of which only the first half of the connection is open.
async fn ask(request: &[u8]) -> String {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls, mut called) = mpsc::channel::<Call>(1);
    let serving = tokio::spawn(serve(Listener::Port(listener), calls));
    let session = tokio::spawn(async move {
        while let Some(call) = called.recv().await {
            let report =
                Report { reason: Some("no job yet".into()), ..Report::without_session(State::Running) };
            call.answer.send(serde_json::to_value(report).unwrap()).unwrap();
        }
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serving.abort();
    session.abort();
    answer
}

#[tokio::test]
async fn there_are_two_pages_and_each_connection_ends_with_its_answer() {
    let page =
        ask(b"GET /metrics?x=y HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("connection: close\r\n"), "{page}");
    assert_eq!(page.matches("\npearlbed_earning 0\n").count(), 1, "{page}");
    let health = ask(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.0 503 ") && health.ends_with("\r\n\r\nno job yet\n"), "{health}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_and_a_head_has_no_body() {
    let head = ask(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    let post = ask(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
}

#[tokio::test]
async fn what_is_no_request_or_too_long_gets_no_page() {
    assert!(!ask(b"\x16\x03\x01\r\n\r\n").await.contains(" 200 "));
    assert_eq!(ask(b"").await, "");
    let endless = [&b"GET /metrics HTTP/1.1\r\nx: "[..], &[b'y'; REQUEST_BYTES_MAX]].concat();
    let answer = ask(&endless).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
}

#[tokio::test]
async fn only_a_loopback_address_is_listened_on() {
    assert!(bind("0.0.0.0:0".parse().unwrap()).await.is_err());
    let _: TcpListener = bind("[::1]:0".parse().unwrap()).await.unwrap();
}
