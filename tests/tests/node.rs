//! What the client of a node's RPC makes of answers that travel oddly: the same question, the same answer, in every shape
//! that HTTP has for it, over a plain connection and over TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::error::Error as _;
use std::net::TcpListener;
use std::time::Duration;

use pearlbed::config::NodeSection;
use pearlbed::explain::Explain;
use pearlbed::work::node::{ChainInfo, NodeError, examine};
use pearlbed_tests::network::Network;
use pearlbed_tests::node::{Node, Shape};

const USER: &str = "rpcuser";
/// A variable that is set while tests run, and its value.
const PASSWORD_ENV: &str = "CARGO_PKG_NAME";
const PASSWORD: &str = env!("CARGO_PKG_NAME");
const PATIENCE: Duration = Duration::from_secs(60);

struct Bed {
    node: Node,
    section: NodeSection,
    _dir: tempfile::TempDir,
}

impl Bed {
    fn new(tls: bool) -> Self {
        let network = Network::new(0x1d10_0000, 3);
        let dir = tempfile::tempdir().unwrap();
        let certificate = dir.path().join("rpc.cert");
        let node = match tls {
            true => Node::https(&network, USER, PASSWORD, &certificate),
            false => Node::http(&network, USER, PASSWORD),
        };
        let section = NodeSection {
            url: node.url(),
            user: USER.to_owned(),
            password_env: PASSWORD_ENV.to_owned(),
            certificate: tls.then_some(certificate),
        };
        Self { node, section, _dir: dir }
    }

    fn ask(&self, shape: Shape, limit: Duration) -> Result<ChainInfo, NodeError> {
        self.node.behave(|behaviour| behaviour.shape = shape);
        examine(&self.section, limit).unwrap().chain
    }
}

#[test]
fn an_answer_is_the_same_in_every_shape_that_http_has_for_it() {
    for tls in [false, true] {
        let bed = Bed::new(tls);
        let chain = bed.ask(Shape::Plain, PATIENCE).unwrap().chain;
        assert_eq!(chain, "regtest");
        for shape in [
            Shape::Chunked,
            Shape::OldVersion,
            Shape::NoLength,
            Shape::Continue,
            Shape::Twins,
            Shape::OddHeaders,
            Shape::Padded(1 << 20),
            Shape::PaddedChunk(1 << 20),
            Shape::Slow,
        ] {
            let answer = bed.ask(shape.clone(), PATIENCE);
            assert_eq!(
                answer.map(|info| info.chain).map_err(|err| chain_of(&err)),
                Ok(chain.clone()),
                "{shape:?} {tls}"
            );
        }
    }
}

#[test]
fn what_is_too_long_compressed_cut_off_or_ambiguous_is_refused_by_its_name() {
    for tls in [false, true] {
        let bed = Bed::new(tls);
        for (shape, says) in [
            (Shape::Padded(10 << 20), "a response over 8 MiB"),
            (Shape::PaddedChunk(10 << 20), "a response over 8 MiB"),
            (Shape::Gzip, "in the encoding `gzip`, which nobody asked for"),
            (Shape::Cut, "closed in the middle of an answer"),
            (Shape::TwoLengths, "not HTTP"),
        ] {
            let err = bed.ask(shape.clone(), PATIENCE).unwrap_err();
            assert!(matches!(err, NodeError::Exchange { .. }), "{shape:?} {tls}: {err:?}");
            assert!(chain_of(&err).contains(says), "{shape:?} {tls}: {}", chain_of(&err));
            assert!(err.hint().is_some());
        }
    }
}

#[test]
fn a_redirect_is_told_and_never_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let bed = Bed::new(false);
    let to = format!("http://{}/", elsewhere.local_addr().unwrap());
    let err = bed.ask(Shape::Redirect(to), PATIENCE).unwrap_err();
    assert!(matches!(err, NodeError::Status { status: 301, .. }), "{err:?}");
    assert!(elsewhere.accept().is_err(), "somebody came, with the password perhaps");
}

#[test]
fn an_answer_without_end_is_given_up_when_its_time_is_over() {
    let bed = Bed::new(false);
    let err = bed.ask(Shape::Endless, Duration::from_millis(300)).unwrap_err();
    assert!(matches!(err, NodeError::TimedOut { .. }), "{err:?}");
}

/// The error and its causes in one line.
fn chain_of(err: &NodeError) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    text
}
