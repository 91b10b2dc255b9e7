//! Listeners and connections of either kind, none of which is ever waited for.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::port::desk::Peer;
use crate::port::wire::{CONTAINER, Door};

/// Where connections come in.
pub enum Entrance {
    /// For this user's programs, or one container's; how it is called.
    Unix(UnixListener, String),
    /// And whether the door is guarded.
    Tcp(TcpListener, bool),
}

impl Entrance {
    /// An inherited listener, as what `door` says it is.
    ///
    /// # Errors
    ///
    /// Where it cannot be made non-blocking.
    pub fn new(listener: OwnedFd, door: Door) -> io::Result<Self> {
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

    /// The next connection, and who is at its other end.
    ///
    /// # Errors
    ///
    /// Those of the system; `WouldBlock` where nobody waits.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
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

/// A connection.
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// As [`Read::read`], without waiting.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }

    /// As [`Write::write`], without waiting.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
pub struct Outgoing {
    parts: VecDeque<Vec<u8>>,
    written: usize,
    /// How many.
    pub bytes: usize,
}

impl Outgoing {
    /// Adds bytes.
    pub fn push(&mut self, part: Vec<u8>) {
        self.bytes += part.len();
        self.parts.push_back(part);
    }

    /// Writes what can be written without waiting.
    pub fn write(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
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
