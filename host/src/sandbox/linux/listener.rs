//! The parent's eye: a thread that sees each refused system call before the child goes on.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Pid;

use super::super::{Policy, Violations};
use super::attempt::Judge;
use super::desk::Desk;

/// Watches `listener` on a thread of its own until the child and all that it started have ended.
///
/// # Errors
///
/// Where no thread can be started.
pub fn watch(
    listener: OwnedFd,
    child: Pid,
    policy: &Policy,
    landlock: bool,
    violations: Violations,
) -> io::Result<()> {
    let judge = Judge::new(child, policy.clone(), landlock, violations);
    let name = format!("watch-{}", child.as_raw_nonzero());
    std::thread::Builder::new().name(name).stack_size(256 * 1024).spawn(move || {
        let desk = Desk::new(listener);
        while let Some(notification) = desk.next() {
            judge.answer(notification, &desk);
        }
    })?;
    Ok(())
}
