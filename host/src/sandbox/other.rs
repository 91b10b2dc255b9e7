//! Systems without Landlock and seccomp: a process of its own, resource limits and an empty environment remain.
//!
//! Written for macOS by inspection; it was never run there.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Pid;

use super::{Channel, Policy, Report, Support, Violations};

pub fn support() -> Support {
    Support {
        landlock_abi: None,
        seccomp: false,
        seccomp_notify: false,
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
    }
    Ok((ours, theirs))
}

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

pub fn resolver_env(_policy: &Policy) -> Option<(&'static str, &'static str)> {
    None
}
