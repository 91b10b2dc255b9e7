//! The port process on real sockets, from the pipe's greeting to its end.

use std::io::{BufRead as _, BufReader, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;

use super::*;
use crate::miner::frame::{FromProvider, Receipt, ToProvider, WireJob};
use crate::port::listen::Listener;
use crate::work::gateway::protocol;

/// The supervisor's end of the pipe.
struct Supervisor {
    pipe: UnixStream,
    decoder: Decoder<FromPort>,
}

impl Supervisor {
    fn new(listeners: &[Listener]) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let rights: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&rights));
        rustix::net::sendmsg(&ours, &[IoSlice::new(b"L")], &mut ancillary, SendFlags::empty()).unwrap();
        std::thread::spawn(move || serve(theirs.into()));
        let mut supervisor = Self { pipe: ours, decoder: Decoder::default() };
        supervisor.say(&ToPort::Hello { version: VERSION });
        let order = Order { doors: listeners.iter().map(Listener::door).collect(), password: None };
        supervisor.say(&ToPort::Open(serde_json::to_string(&order).unwrap()));
        assert_eq!(supervisor.hear(), FromPort::Hello { version: VERSION });
        supervisor
    }

    fn say(&mut self, frame: &ToPort) {
        self.pipe.write_all(&frame.encode()).unwrap();
    }

    fn hear(&mut self) -> FromPort {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.take().unwrap() {
                return frame;
            }
            let count = self.pipe.read(&mut buffer).unwrap();
            assert!(count > 0, "the port process has ended");
            self.decoder.feed(&buffer[..count]);
        }
    }
}

fn ask(stream: &mut (impl Write + Read), line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn programs_on_real_sockets_get_jobs_and_verdicts_and_are_told_apart_by_their_language() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("miner/gateway.sock");
    let listeners = [Listener::unix(&path).unwrap(), Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap()];
    let address = listeners[1].address().strip_prefix("tcp:").unwrap().to_owned();
    let mut supervisor = Supervisor::new(&listeners);
    let job = WireJob { id: 1, header: [1; 76], target: [9; 32], certificate_version: 3, rank_penalty: true };

    let mut polls = UnixStream::connect(&path).unwrap();
    polls.write_all(format!("{}\n", protocol::get_mining_info(4)).as_bytes()).unwrap();
    let FromPort::Sat(seat, sitter) = supervisor.hear() else { panic!("somebody sits down") };
    let sitter: Value = serde_json::from_str(&sitter).unwrap();
    assert_eq!(sitter["dialect"], "gateway-rpc");
    if cfg!(target_os = "linux") {
        assert_eq!(sitter["pid"], std::process::id());
    }
    supervisor.say(&ToPort::Tell(seat, ToProvider::Job(job.clone())));
    let mut answer = String::new();
    BufReader::new(&polls).read_line(&mut answer).unwrap();
    let info = protocol::read_mining_info(&answer).unwrap().outcome.unwrap();
    assert_eq!(supervisor.hear(), FromPort::Said(seat, FromProvider::Took(1)));
    // The largest proof that passes, over a connection of its own.
    let proof = vec![7; crate::miner::frame::PROOF_BYTES_MAX];
    let mut hands_in = UnixStream::connect(&path).unwrap();
    let line = protocol::submit_plain_proof(5, &info, &proof);
    let waits = std::thread::spawn(move || ask(&mut hands_in, &line));
    let FromPort::Said(whose, FromProvider::Submit { sequence, job: 1, proof: arrived }) = supervisor.hear()
    else {
        panic!("a proof was handed in")
    };
    assert!(whose == seat && arrived == proof);
    supervisor.say(&ToPort::Tell(
        seat,
        ToProvider::Receipt { sequence, receipt: Receipt::Kept, reason: String::new() },
    ));
    assert_eq!(protocol::read_submitted(&waits.join().unwrap()).unwrap().outcome, Ok(()));

    let mut pool = TcpStream::connect(&address).unwrap();
    let login = r#"{"id":1,"method":"mining.authorize","params":{"wallet":"w","worker":"rig"}}"#;
    assert!(ask(&mut pool, login).contains(r#""result":true"#));
    let FromPort::Sat(second, _) = supervisor.hear() else { panic!("somebody sits down") };
    supervisor.say(&ToPort::Tell(second, ToProvider::Job(job)));
    let mut lines = BufReader::new(pool.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("mining.set_difficulty"));
    assert!(lines.next().unwrap().unwrap().contains("mining.notify"));
    assert_eq!(supervisor.hear(), FromPort::Said(second, FromProvider::Took(1)));
    // The supervisor ends it, and then everybody.
    supervisor.say(&ToPort::Close(second));
    assert_eq!(supervisor.hear(), FromPort::Left(second));
    assert!(lines.next().is_none(), "its connection was closed");
    drop(supervisor);
    assert_eq!(polls.read(&mut [0; 64]).unwrap(), 0, "the port ends with the pipe");
}
