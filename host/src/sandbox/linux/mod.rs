//! Confinement by the Linux kernel.

mod attempt;
mod connect;
mod crash;
mod desk;
mod files;
mod filter;
mod listener;
mod memory;
mod message;
mod others;
mod rules;

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

pub use self::connect::fetch;
pub use self::crash::install as tell_crashes;
pub use self::listener::watch;
use super::{Channel, Lack, Policy, Report, Support};

/// Lets a thread run only where nobody else wants to.
pub fn make_idle(thread: rustix::process::Pid) {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads one structure, which lives. Where it fails the thread competes as before.
    let _ = unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), libc::SCHED_IDLE, &none) };
}

/// Asks the kernel which mechanisms it has.
pub fn support() -> Support {
    let (landlock, seccomp) = (files::abi(), filter::supported());
    Support {
        landlock_abi: landlock.as_ref().ok().copied(),
        landlock_lack: landlock.err().map(|err| Lack::of(&err)),
        seccomp: seccomp.is_ok(),
        seccomp_notify: seccomp.is_ok() && filter::can_notify(),
        seccomp_lack: seccomp.err().map(|err| Lack::of(&err)),
        no_new_privs: rustix::thread::no_new_privs().is_ok(),
        parent_death_signal: true,
    }
}

/// The two ends of a new channel, ours first.
pub fn channel(kind: Channel) -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = match kind {
        Channel::Packets => SocketType::SEQPACKET,
        Channel::Stream => SocketType::STREAM,
    };
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// Keeps the memory and the environment of this process from those that it starts, where Landlock does not: they are the
/// same user's.
pub fn hide_from_children() {
    if files::abi().is_err() {
        // Where it fails they can look, as `doctor` says.
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
}

/// Makes the kernel end this process when the thread that started it ends.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Puts everything in force that can be. What cannot is in the report.
///
/// # Errors
///
/// Where the kernel has system call filters and refuses ours: then nothing foreign may run.
pub fn confine(policy: &Policy) -> io::Result<(Report, Option<OwnedFd>)> {
    let mut report = Report::default();
    // Root without capabilities is a user like any other, except for the files that root owns.
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if let Err(err) = rustix::thread::set_capabilities(None, nothing) {
        report.failed.push(format!("capabilities could not be dropped: {err}"));
    }
    match rustix::thread::set_no_new_privs(true) {
        Ok(()) => report.no_new_privs = true,
        Err(err) => report.failed.push(format!("no_new_privs could not be set: {err}")),
    }
    report.landlock = match files::abi() {
        Ok(_) => files::restrict(policy).unwrap_or_else(|err| {
            report.failed.push(format!("Landlock could not be put in force: {err}"));
            false
        }),
        Err(err) => {
            let why = Lack::of(&err).of_landlock();
            report.failed.push(format!("{why}: every readable file can be read"));
            false
        }
    };
    if let Err(err) = filter::supported() {
        let why = Lack::of(&err).of_seccomp();
        report.failed.push(format!("{why}: system calls are not held back"));
        return Ok((report, None));
    }
    // A process that is watched already, as in some containers, cannot be watched a second time.
    let watched = || filter::install(&rules::program(policy, true), true).ok();
    let listener = match filter::can_notify().then(watched).flatten() {
        Some(listener) => listener,
        None => filter::install(&rules::program(policy, false), false)?,
    };
    report.seccomp = true;
    report.notify = listener.is_some();
    if listener.is_none() {
        report
            .failed
            .push("refused system calls cannot be shown here: attempts are refused unnamed, and no connection is granted".into());
    }
    Ok((report, listener))
}

/// What the C library is told where host names are granted: to ask the resolver over TCP, which can be granted.
pub fn resolver_env(policy: &Policy) -> Option<(&'static str, &'static str)> {
    connect::grants_names(policy).then_some(("RES_OPTIONS", "use-vc"))
}

/// Makes this thread one that is watched, though nothing of it is ever refused.
#[cfg(test)]
pub fn install_idle_watcher() -> Option<OwnedFd> {
    let program = filter::assemble(&[], u32::MAX, filter::Action::Allow);
    filter::can_notify().then(|| filter::install(&program, true).ok().flatten()).flatten()
}
