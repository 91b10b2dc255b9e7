//! The devnet's server as other miners meet it: lines over a socket, in the codes and framing of a gateway.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::work::DevnetConfig;
use crate::work::testing::{block_on, mine};

struct Client {
    lines: LineReader<tokio::net::tcp::OwnedReadHalf>,
    write: tokio::net::tcp::OwnedWriteHalf,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let (read, write) = TcpStream::connect(address).await.unwrap().into_split();
        Self { lines: LineReader::new(read, LINE_BYTES_MAX), write }
    }

    async fn reply(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().await.unwrap().unwrap()).unwrap()
    }

    async fn ask(&mut self, line: &str) -> Value {
        write_line(&mut self.write, line).await.unwrap();
        self.reply().await
    }
}

/// Runs `body` against a server with a fresh chain.
fn with_server<F: Future<Output = ()>>(body: impl FnOnce(SocketAddr, mpsc::Receiver<ServerEvent>) -> F) {
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let (network, _) = Devnet::open(&DevnetConfig::new(home.path().to_owned())).unwrap();
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Listener::Tcp(tcp) = &listener else { unreachable!() };
        let address = tcp.local_addr().unwrap();
        let (server, events) = serve(network, listener);
        let server = tokio::spawn(server);
        body(address, events).await;
        server.abort();
    });
}

#[test]
fn errors_have_the_codes_of_the_protocol_and_keep_the_connection() {
    with_server(|address, events| async move {
        let _events = events;
        let mut client = Client::connect(address).await;
        let header = BASE64.encode([0; 76]);
        let submit = |proof: &str, job: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":"s","method":"submitPlainProof","params":{{"plain_proof":"{proof}","mining_job":{job}}}}}"#
            )
        };
        let job = format!(r#"{{"incomplete_header_bytes":"{header}","target":1,"cert_version":3}}"#);
        let no_version = format!(r#"{{"incomplete_header_bytes":"{header}","target":1}}"#);
        for (line, code, id) in [
            ("{".to_owned(), -32700, Value::Null),
            ("[1]".to_owned(), -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","method":"getMiningInfo"}"#.to_owned(), -32600, Value::Null),
            (r#"{"jsonrpc":"1.0","method":"getMiningInfo","id":5}"#.to_owned(), -32600, json!(5)),
            (r#"{"jsonrpc":"2.0","method":"getMiningInfo","id":5,"more":1}"#.to_owned(), -32600, json!(5)),
            (r#"{"jsonrpc":"2.0","method":"getMiningInfo","id":5,"params":[]}"#.to_owned(), -32600, json!(5)),
            (
                r#"{"jsonrpc":"2.0","method":"getMiningInfo","id":5,"params":{"a":1}}"#.to_owned(),
                -32602,
                json!(5),
            ),
            (r#"{"jsonrpc":"2.0","method":"mine","id":null}"#.to_owned(), -32601, Value::Null),
            (submit("AAAA", &job), -32000, json!("s")),
            (submit("?", &job), -32602, json!("s")),
            (submit("AAAA", &no_version), -32602, json!("s")),
            (submit("AAAA", "7"), -32602, json!("s")),
        ] {
            let reply = client.ask(&line).await;
            assert_eq!((&reply["error"]["code"], &reply["id"]), (&json!(code), &id), "{line}");
        }
        // A line over the limit: at least one error without id, and the connection goes on.
        let mut line = vec![b'x'; LINE_BYTES_MAX + 10];
        line.push(b'\n');
        client.write.write_all(&line).await.unwrap();
        let reply = client.reply().await;
        assert_eq!((&reply["error"]["code"], &reply["id"]), (&json!(-32000), &Value::Null));
        let reply = client.ask(r#"{"jsonrpc":"2.0","method":"getMiningInfo","id":1}"#).await;
        assert_eq!(reply["result"]["cert_version"], 3);
    });
}

#[test]
fn a_miner_on_the_socket_makes_blocks_and_late_or_wrong_proofs_are_told_apart() {
    with_server(|address, mut events| async move {
        let mut client = Client::connect(address).await;
        let line = r#"{"jsonrpc":"2.0","method":"getMiningInfo","params":{},"id":"any"}"#;
        write_line(&mut client.write, line).await.unwrap();
        let text = client.lines.next().await.unwrap().unwrap();
        let reply = crate::work::gateway::protocol::read_mining_info(&text).unwrap();
        let info = reply.outcome.unwrap();
        let job = WorkJob {
            header: info.header,
            target: info.target,
            certificate_version: info.certificate_version,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
            origin: None,
            keeps_earlier: false,
        };
        let good = mine(&job, 1);
        let mut wrong = good.clone();
        wrong[5000] ^= 1;
        let mut told = Vec::new();
        for proof in [&wrong, &good, &good] {
            let reply =
                client.ask(&crate::work::gateway::protocol::submit_plain_proof(3, &info, proof)).await;
            assert_eq!(reply["result"], "submitted");
            loop {
                match events.recv().await.unwrap() {
                    ServerEvent::Job { .. } | ServerEvent::Note { .. } => {}
                    other => break told.push(other),
                }
            }
        }
        assert!(matches!(told[0], ServerEvent::Rejected { .. }), "{told:?}");
        assert!(matches!(told[1], ServerEvent::Block { height: 1, .. }), "{told:?}");
        assert_eq!(told[2], ServerEvent::Stale);
    });
}

#[test]
fn only_loopback_is_listened_on() {
    block_on(async {
        let err = Listener::tcp("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
        assert!(err.to_string().contains("loopback"));
    });
}

#[test]
fn a_left_over_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("gw.sock");
    block_on(async {
        // As SIGTERM leaves it behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, b"mine").unwrap();
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    });
}
