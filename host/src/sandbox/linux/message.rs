//! `sendmsg`, done by the parent in the child's stead: the bytes, and never open files.
//!
//! Open files that are sent and not yet received count for their *user*: enough of them, and no other process of that user
//! can send one. The parts of a message lie in the child's memory, where a filter cannot look and a thread of the child can
//! change them after a look; so the parent copies the bytes and sends them itself, on the child's own socket.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::memory::Waiting;

/// The most bytes that are sent at once: a stream takes the rest with the next call.
const BYTES_MAX: usize = 256 << 10;
/// The most parts of one message (`UIO_MAXIOV`).
const PARTS_MAX: u64 = 1024;

/// A message as it lies in the child's memory.
#[derive(Debug)]
pub enum Message {
    /// Bytes for whom the socket is connected to.
    Bytes(Vec<u8>),
    /// It names whom it is for, where this many bytes at this address say so.
    Addressed(u64, u64),
    /// It carries more than bytes.
    Loaded,
}

/// Reads the `struct msghdr` at `address`.
pub fn read(waiting: &Waiting, address: u64) -> Option<Message> {
    // name, its length, parts, their number, control data, its length: each in eight bytes.
    let head = waiting.bytes(address, 48)?;
    let word = |index: usize| head[index * 8..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let name_len = word(1) & u64::from(u32::MAX);
    if word(5) != 0 && word(4) != 0 {
        return Some(Message::Loaded);
    }
    if word(0) != 0 && name_len != 0 {
        return Some(Message::Addressed(word(0), name_len));
    }
    let (parts, count) = (word(2), word(3));
    if count > PARTS_MAX {
        return None;
    }
    let mut bytes = vec![];
    for part in waiting.bytes(parts, count as usize * 16)?.chunks_exact(16) {
        let number = |at: usize| part[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let room = BYTES_MAX - bytes.len();
        bytes.extend(waiting.bytes(number(0), usize::try_from(number(8)).unwrap_or(room).min(room))?);
    }
    Some(Message::Bytes(bytes))
}

/// Sends `bytes` on `socket` without waiting. `flags` are the child's; of them only those count that change nothing else.
pub fn send(socket: &OwnedFd, bytes: &[u8], flags: u64) -> Result<usize, Errno> {
    let asked = SendFlags::from_bits_retain(flags as u32);
    let kept = asked & (SendFlags::MORE | SendFlags::EOR | SendFlags::OOB);
    rustix::net::send(socket, bytes, kept | SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}

/// Whether the child wants to wait until there is room.
pub fn waits(socket: &OwnedFd, flags: u64) -> bool {
    let asked = SendFlags::from_bits_retain(flags as u32);
    let patient =
        rustix::fs::fcntl_getfl(socket).is_ok_and(|now| !now.contains(rustix::fs::OFlags::NONBLOCK));
    patient && !asked.contains(SendFlags::DONTWAIT)
}
