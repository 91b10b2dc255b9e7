//! Systems without Landlock and seccomp: a process of its own, resource limits and an empty environment remain.
//!
//! Meant for macOS. It is compiled for it and its channel is tested on Linux, but it was never run on a Mac.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_send_buffer_size, set_socket_timeout,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Pid;

use super::{Channel, Policy, Report, Support, Violations};

/// What either end of a packet channel has room for, in bytes: several of the longest messages. Unless it is told so,
/// macOS refuses packets of more than 2 KiB.
const PACKETS_BYTES: usize = 1 << 20;
/// How long the child waits for a packet at a time. The end of the other side of a packet channel does not wake it on
/// every system, so it looks now and then whether its parent is there.
const PACKET_WAIT: Duration = Duration::from_secs(10);

pub fn support() -> Support {
    Support {
        landlock_abi: None,
        landlock_lack: None,
        seccomp: false,
        seccomp_notify: false,
        seccomp_lack: None,
        no_new_privs: false,
        parent_death_signal: false,
    }
}

pub fn channel(kind: Channel) -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = match kind {
        Channel::Packets => SocketType::DGRAM,
        Channel::Stream => SocketType::STREAM,
    };
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None)?;
    for end in [&ours, &theirs] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        if kind == SocketType::DGRAM {
            set_socket_send_buffer_size(end, PACKETS_BYTES)?;
            set_socket_recv_buffer_size(end, PACKETS_BYTES)?;
        }
    }
    if kind == SocketType::DGRAM {
        set_socket_timeout(&theirs, Timeout::Recv, Some(PACKET_WAIT))?;
    }
    Ok((ours, theirs))
}

/// Where a process crashes is not told on these systems.
pub fn tell_crashes() {}

/// One process does not read another one's memory here without asking for it.
pub fn hide_from_children() {}

pub fn die_with_parent() -> io::Result<()> {
    Ok(())
}

pub fn confine(_policy: &Policy) -> io::Result<(Report, Option<OwnedFd>)> {
    Ok((
        Report { failed: vec!["this system has neither Landlock nor seccomp".into()], ..Report::default() },
        None,
    ))
}

pub fn watch(_: OwnedFd, _: Pid, _: &Policy, _: bool, _: Violations) -> io::Result<()> {
    Ok(())
}

pub fn make_idle(_: Pid) {}

pub fn fetch(_process: u32, _descriptor: i32) -> Option<OwnedFd> {
    None
}

pub fn resolver_env(_policy: &Policy) -> Option<(&'static str, &'static str)> {
    None
}

#[cfg(test)]
mod tests {
    use rustix::net::{RecvFlags, SendFlags, recv, send};

    use super::*;
    use crate::sandbox::spawn::HANDSHAKE_BYTES_MAX;

    #[test]
    fn the_longest_packets_pass_whole_and_apart() {
        let (ours, theirs) = channel(Channel::Packets).unwrap();
        for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
            for filling in [1, 2] {
                let packet = vec![filling; HANDSHAKE_BYTES_MAX];
                assert_eq!(send(from, &packet, SendFlags::DONTWAIT), Ok(packet.len()));
            }
            for filling in [1, 2] {
                let mut bytes = vec![0; HANDSHAKE_BYTES_MAX + 1];
                let (_, count) = recv(to, &mut bytes[..], RecvFlags::DONTWAIT).unwrap();
                assert_eq!((count, bytes[0]), (HANDSHAKE_BYTES_MAX, filling));
            }
        }
    }

    #[test]
    fn a_child_does_not_wait_for_ever() {
        let (_ours, theirs) = channel(Channel::Packets).unwrap();
        let wait = rustix::net::sockopt::socket_timeout(&theirs, Timeout::Recv).unwrap();
        assert_eq!(wait, Some(PACKET_WAIT));
    }
}
