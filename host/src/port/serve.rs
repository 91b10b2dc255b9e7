//! The port process: gives the desk sockets and a clock.
//!
//! By the time that [`run`] is called the process is confined. It has the pipe, receives the listeners over it, and opens
//! nothing by itself. One thread waits for everything; nothing it does waits for anybody. It ends with the pipe.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::desk::{Act, Desk, GuestId, Peer};
use super::wire::{CONTAINER, Door, FromPort, Order, ToPort};
use crate::miner::frame::{Decoder, Frame, VERSION};

/// Listeners that are taken over.
pub const LISTENERS_MAX: usize = 8;
/// Bytes that are read from one connection at a time.
const READ_BYTES: usize = 64 << 10;
/// The longest sleep, and the one while somebody is slowed down.
const SLEEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(20));
/// Bytes to the supervisor that may wait before nobody is read from.
const PIPE_BYTES_MAX: usize = 16 << 20;

/// Serves programs until the pipe ends. Ends the process; never returns.
pub fn run(pipe: OwnedFd) -> ! {
    // Whatever went wrong, nobody is there to be told but the supervisor, who sees the end.
    let status = i32::from(serve(pipe).is_err());
    std::process::exit(status)
}

fn serve(pipe: OwnedFd) -> io::Result<()> {
    let listeners = receive_listeners(&pipe)?;
    let pipe = UnixStream::from(pipe);
    pipe.set_nonblocking(true)?;
    let mut hall = Hall {
        pipe,
        incoming: Decoder::default(),
        outgoing: Outgoing::default(),
        doors: Vec::new(),
        guests: BTreeMap::new(),
        last: 0,
        desk: Desk::new(None),
    };
    hall.outgoing.push(FromPort::Hello { version: VERSION }.encode());
    let order = loop {
        match hall.incoming.take().map_err(io::Error::other)? {
            Some(ToPort::Open(order)) => break order,
            // One that came with another is in hand already: only where nothing is, is more waited for.
            Some(ToPort::Hello { .. }) => {}
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => {
                hall.wait_for_pipe()?;
                hall.read_pipe()?;
            }
        }
    };
    let order: Order = serde_json::from_str(&order)?;
    let password = order.password.as_deref().map(blake3::Hash::from_hex);
    hall.desk = Desk::new(password.transpose().map_err(io::Error::other)?);
    for (listener, door) in listeners.into_iter().zip(order.doors) {
        hall.doors.push(Entrance::new(listener, door)?);
    }
    loop {
        hall.turn()?;
    }
}

/// The listeners, which come as descriptors with one byte before everything else.
fn receive_listeners(pipe: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(pipe, &mut into, &mut ancillary, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut listeners = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            listeners.extend(descriptors);
        }
    }
    Ok(listeners)
}

/// Where connections come in.
enum Entrance {
    Unix(UnixListener, String),
    Tcp(TcpListener, bool),
}

impl Entrance {
    fn new(listener: OwnedFd, door: Door) -> io::Result<Self> {
        if door.unix {
            let listener = UnixListener::from(listener);
            listener.set_nonblocking(true)?;
            let address = door.container.map_or_else(|| "unix".into(), |name| format!("{CONTAINER}{name}"));
            return Ok(Self::Unix(listener, address));
        }
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener, door.guarded))
    }

    fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Unix(listener, address) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let pid = pid_of(&stream);
                Ok((Stream::Unix(stream), Peer { unix: true, guarded: false, address: address.clone(), pid }))
            }
            Self::Tcp(listener, guarded) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                // What is sent is short and wanted at once. Where this fails, it is merely slower.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                let address = address.ip().to_canonical().to_string();
                Ok((Stream::Tcp(stream), Peer { unix: false, guarded: *guarded, address, pid: None }))
            }
        }
    }
}

impl AsFd for Entrance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener, _) => listener.as_fd(),
        }
    }
}

/// The process at the other end, as the kernel knows it.
#[cfg(target_os = "linux")]
fn pid_of(stream: &UnixStream) -> Option<u32> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
}

#[cfg(not(target_os = "linux"))]
fn pid_of(_: &UnixStream) -> Option<u32> {
    None
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// Bytes that wait to be written.
#[derive(Default)]
struct Outgoing {
    parts: VecDeque<Vec<u8>>,
    written: usize,
    bytes: usize,
}

impl Outgoing {
    fn push(&mut self, part: Vec<u8>) {
        self.bytes += part.len();
        self.parts.push_back(part);
    }

    /// Writes what can be written without waiting.
    fn write(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while let Some(part) = self.parts.front() {
            match write(&part[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.bytes -= count;
                    if self.written == part.len() {
                        self.parts.pop_front();
                        self.written = 0;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

struct Guest {
    stream: Stream,
    outgoing: Outgoing,
    /// It is closed once everything is written, or at this moment.
    leaving: Option<Instant>,
}

struct Hall {
    pipe: UnixStream,
    incoming: Decoder<ToPort>,
    outgoing: Outgoing,
    doors: Vec<Entrance>,
    guests: BTreeMap<GuestId, Guest>,
    last: GuestId,
    desk: Desk,
}

/// What was found ready.
struct Ready {
    pipe: bool,
    doors: Vec<usize>,
    readable: Vec<GuestId>,
    writable: Vec<GuestId>,
}

impl Hall {
    fn turn(&mut self) -> io::Result<()> {
        let ready = self.wait()?;
        if ready.pipe {
            self.read_pipe()?;
        }
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        while let Some(frame) = self.incoming.take().map_err(io::Error::other)? {
            self.desk.frame(frame, now, unix);
        }
        self.desk.tick(now);
        for id in ready.writable {
            self.write(id, now);
        }
        for id in ready.readable {
            self.read(id, now);
        }
        for door in ready.doors {
            self.accept(door, now);
        }
        self.act(now);
        let mut pipe = &self.pipe;
        self.outgoing.write(|bytes| pipe.write(bytes))
    }

    fn wait(&mut self) -> io::Result<Ready> {
        let now = Instant::now();
        let busy = self.outgoing.bytes > PIPE_BYTES_MAX;
        let sleep = if self.desk.holds_somebody_up(now) { SLEEP.1 } else { SLEEP.0 };
        let mut fds = vec![PollFd::new(
            &self.pipe,
            if self.outgoing.bytes > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN },
        )];
        let room = self.desk.has_room(now);
        fds.extend(
            self.doors
                .iter()
                .map(|door| PollFd::new(door, if room { PollFlags::IN } else { PollFlags::empty() })),
        );
        let ids: Vec<GuestId> = self.guests.keys().copied().collect();
        for id in &ids {
            let guest = &self.guests[id];
            let mut flags = PollFlags::empty();
            if guest.leaving.is_none() && !busy && self.desk.wants(*id, now) {
                flags |= PollFlags::IN;
            }
            if guest.outgoing.bytes > 0 {
                flags |= PollFlags::OUT;
            }
            fds.push(PollFd::new(&guest.stream, flags));
        }
        let limit = sleep.try_into().expect("a second is a timespec");
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let (doors, guests) = happened[1..].split_at(self.doors.len());
        // An end is news also of one that is not read from.
        let reads = PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let of_guests = |wanted: PollFlags| -> Vec<GuestId> {
            let ready = ids.iter().zip(guests).filter(|(_, flags)| flags.intersects(wanted));
            ready.map(|(id, _)| *id).collect()
        };
        Ok(Ready {
            pipe: happened[0].intersects(reads),
            doors: doors
                .iter()
                .enumerate()
                .filter(|(_, flags)| !flags.is_empty())
                .map(|(at, _)| at)
                .collect(),
            readable: of_guests(reads),
            writable: of_guests(PollFlags::OUT),
        })
    }

    fn wait_for_pipe(&mut self) -> io::Result<()> {
        let mut pipe = &self.pipe;
        self.outgoing.write(|bytes| pipe.write(bytes))?;
        let mut fds = [PollFd::new(&self.pipe, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }

    fn read_pipe(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        match (&self.pipe).read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.incoming.feed(&buffer[..count]);
                Ok(())
            }
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(err) => Err(err),
        }
    }

    fn accept(&mut self, door: usize, now: Instant) {
        while self.desk.has_room(now) {
            // Whatever else it is, such as no descriptors left, it is tried again soon.
            let Ok((stream, peer)) = self.doors[door].accept() else { return };
            self.last += 1;
            self.guests.insert(self.last, Guest { stream, outgoing: Outgoing::default(), leaving: None });
            self.desk.opened(self.last, peer, now);
        }
    }

    fn read(&mut self, id: GuestId, now: Instant) {
        let mut buffer = [0; READ_BYTES];
        let Some(guest) = self.guests.get_mut(&id) else { return };
        match guest.stream.read(&mut buffer) {
            Ok(0) => self.lost(id, now),
            // Who is leaving has said what he had to say.
            Ok(_) if guest.leaving.is_some() => {}
            Ok(count) => self.desk.bytes(id, &buffer[..count], now),
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.lost(id, now),
        }
    }

    fn write(&mut self, id: GuestId, now: Instant) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let stream = &mut guest.stream;
        if guest.outgoing.write(|bytes| stream.write(bytes)).is_err() {
            return self.lost(id, now);
        }
        let left = guest.outgoing.bytes;
        let done = guest.leaving.is_some_and(|until| left == 0 || until <= now);
        if done {
            self.guests.remove(&id);
        } else {
            self.desk.unsent(id, left, now);
        }
    }

    fn lost(&mut self, id: GuestId, now: Instant) {
        self.guests.remove(&id);
        self.desk.closed(id, now);
    }

    fn act(&mut self, now: Instant) {
        /// How long somebody who is sent away may take to read why.
        const LEAVING: Duration = Duration::from_secs(1);
        while let Some(act) = self.desk.act() {
            match act {
                Act::Tell(frame) => self.outgoing.push(frame.encode()),
                Act::Send(id, line) => {
                    let Some(guest) = self.guests.get_mut(&id) else { continue };
                    let mut bytes = line.into_bytes();
                    bytes.push(b'\n');
                    guest.outgoing.push(bytes);
                    self.write(id, now);
                }
                Act::Close(id) => {
                    if let Some(guest) = self.guests.get_mut(&id) {
                        guest.leaving = Some(now + LEAVING);
                        self.write(id, now);
                    }
                }
            }
        }
        let overdue = |guest: &Guest| guest.leaving.is_some_and(|until| until <= now);
        self.guests.retain(|_, guest| !overdue(guest));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, IoSlice};

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
        let listeners =
            [Listener::unix(&path).unwrap(), Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap()];
        let address = listeners[1].address().strip_prefix("tcp:").unwrap().to_owned();
        let mut supervisor = Supervisor::new(&listeners);
        let job =
            WireJob { id: 1, header: [1; 76], target: [9; 32], certificate_version: 3, rank_penalty: true };

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
        let FromPort::Said(whose, FromProvider::Submit { sequence, job: 1, proof: arrived }) =
            supervisor.hear()
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
}
