//! What the client makes of a node's addresses and answers, without a node. Whole exchanges with a stand-in, over TLS too,
//! are tried in the workspace's `tests`.

use super::*;

fn section(url: &str) -> NodeSection {
    NodeSection {
        url: url.to_owned(),
        user: "miner".to_owned(),
        // Any variable that is set while tests run.
        password_env: "CARGO_PKG_NAME".to_owned(),
        certificate: None,
    }
}

#[test]
fn addresses_are_taken_apart_and_plain_http_stays_on_this_machine() {
    for (url, host, port) in [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000),
        ("http://localhost", "localhost", PORT),
        ("http://[::1]:7/", "::1", 7),
        ("http://[::1]", "::1", PORT),
    ] {
        let node = Node::new(&section(url)).unwrap();
        assert_eq!(
            (node.host.as_str(), node.authority.rsplit(':').next()),
            (host, Some(port.to_string().as_str()))
        );
    }
    for url in [
        "127.0.0.1",
        "ftp://127.0.0.1",
        "http://",
        "http://user@localhost",
        "http://localhost:0",
        "http://[::1",
    ] {
        assert!(matches!(Node::new(&section(url)), Err(NodeError::Url { .. })), "{url}");
    }
    assert!(matches!(Node::new(&section("http://10.0.0.1")), Err(NodeError::PlainRemote { .. })));
    assert!(matches!(Node::new(&section("https://10.0.0.1")), Err(NodeError::NoCertificate)));
}

#[test]
fn an_answer_is_its_result_or_its_error() {
    let hash: String = read_answer("x", 200, br#"{"result":"ab","error":null,"id":1}"#).unwrap();
    assert_eq!(hash, "ab");
    let err = read_answer::<String>(
        "x",
        500,
        br#"{"result":null,"error":{"code":-5,"message":"Block not found"},"id":1}"#,
    );
    assert!(matches!(err, Err(NodeError::Refused { code: -5, .. })));
    assert!(matches!(read_answer::<String>("x", 200, b"<html>"), Err(NodeError::Unreadable { .. })));
    assert!(matches!(read_answer::<String>("x", 500, b"<html>"), Err(NodeError::Status { status: 500, .. })));
    assert!(matches!(read_answer::<String>("x", 200, br#"{"result":7}"#), Err(NodeError::Unreadable { .. })));
}

fn examined(blocks: u64, headers: u64, median_time: u64, template: bool) -> Examination {
    let chain = ChainInfo {
        chain: "mainnet".to_owned(),
        blocks,
        headers,
        best_block_hash: String::new(),
        median_time,
        initial_download: false,
    };
    let ok = TemplateInfo {
        height: blocks + 1,
        time: median_time,
        previous: String::new(),
        required_certificate: Some(3),
    };
    let refused =
        NodeError::Refused { method: "getblocktemplate", code: -9, message: "not connected".to_owned() };
    Examination { chain: Ok(chain), template: Some(if template { Ok(ok) } else { Err(refused) }) }
}

#[test]
fn a_node_is_synced_only_when_everything_says_so() {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    assert_eq!(examined(10, 10, 999_000, true).sync(now), Sync::Synced);
    assert_eq!(examined(9, 10, 999_000, true).sync(now), Sync::Behind { blocks: 9, headers: 10 });
    for unsure in [examined(10, 10, 900_000, true), examined(10, 10, 999_000, false)] {
        assert!(matches!(unsure.sync(now), Sync::Unknown { .. }));
    }
    let silent = Examination { chain: Err(NodeError::NoCertificate), template: None };
    assert!(matches!(silent.sync(now), Sync::Unknown { .. }));
    assert_eq!(examined(10, 10, 999_000, true).template_age(now), Some(Duration::from_secs(1000)));
}

#[test]
fn a_node_that_is_busy_is_not_doubted_and_one_that_answers_otherwise_is() {
    let hint = |status| NodeError::Status { method: "getblocktemplate", status }.hint().unwrap();
    for busy in [429, 502, 503, 504] {
        assert!(hint(busy).contains("busy") && !hint(busy).contains("really"), "{busy}");
    }
    assert!(hint(404).contains("really a pearld"));
}

#[test]
fn what_did_not_answer_is_told_with_the_time_that_was_waited() {
    let after = Duration::from_millis(1800);
    let err = NodeError::TimedOut { url: "http://127.0.0.1:1".into(), after };
    assert_eq!(err.to_string(), "the node at http://127.0.0.1:1 did not answer within 1.8 s");
    let place = NodeError::NoCertificate.hint().unwrap();
    assert!(place.contains("`~/.pearld/rpc.cert`"), "{place}");
}

#[test]
fn a_node_that_is_not_there_is_unreachable_and_says_where() {
    // A port that nobody listens on: it was ours until now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let examination = examine(&section(&url), Duration::from_secs(30)).unwrap();
    let err = examination.chain.unwrap_err();
    assert!(matches!(err, NodeError::Connect { .. }), "{err:?}");
    assert!(err.to_string().contains(&url) && err.hint().is_some());
    assert!(examination.template.is_none());
}

#[test]
fn a_password_that_is_not_there_is_named_by_its_variable() {
    let mut section = section("http://127.0.0.1:1");
    section.password_env = "PEARLBED_TEST_NO_SUCH_VARIABLE".to_owned();
    let err = examine(&section, Duration::from_secs(30)).unwrap().chain.unwrap_err();
    assert!(err.to_string().contains("PEARLBED_TEST_NO_SUCH_VARIABLE"), "{err}");
}
