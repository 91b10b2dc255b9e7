//! The port process: gives the desk sockets and a clock.
//!
//! By the time that [`run`] is called the process is confined. It has the pipe, receives the listeners over it, and opens
//! nothing by itself. One thread waits for everything; nothing it does waits for anybody. It ends with the pipe.

mod streams;

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use self::streams::{Entrance, Outgoing, Stream};
use super::desk::{Act, Desk, GuestId};
use super::wire::{FromPort, Order, ToPort};
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
mod tests;
