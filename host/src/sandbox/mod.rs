//! Runs code that is not trusted in a child process that can do only what its caller granted.
//!
//! The child is this program again, under a hidden subcommand. The caller says what is granted ([`Policy`]); this
//! module knows no plugin, no provider and no default. Nothing is ever granted that the policy does not name.
//!
//! ```text
//! parent: spawn(Command, &Policy) ──fork, exec──> child: enter()
//!    │  sends the policy ─────────────────────────>  closes descriptors, sets limits, drops privileges,
//!    │                                               Landlock, seccomp
//!    │  <──────────────────────── Report, listener
//!    │  go ───────────────────────────────────────>  from here on the foreign code may run
//!    └─ listener thread: sees each forbidden attempt with its arguments, refuses it, records a Violation
//! ```
//!
//! A forbidden system call stops in the kernel until the parent has seen it, so that the [`Violation`] is on
//! record before the child goes on, and its words ("tried to run a program: /bin/sh") come from the arguments
//! themselves. What is refused fails with `EACCES` or `EPERM`; the child is not killed for trying.
//!
//! Layers, each of which holds where the others are missing:
//!
//! - seccomp with user notification: names attempts, and lets the parent connect a socket in the child's stead;
//! - Landlock: files, devices, TCP, signals and abstract sockets, enforced by path in the kernel;
//! - no new privileges, no capabilities, resource limits, no inherited descriptors, an empty environment, a session
//!   of its own, death with its parent, output that is captured and bounded.
//!
//! # Limitations
//!
//! - Linux on x86-64 and aarch64. Elsewhere a process of its own, resource limits and the empty environment
//!   remain, and [`Support`] says so; that code compiles and links for macOS but was never run there.
//! - A thread of the child may change a path or an address after the parent read it. What is refused stays refused;
//!   what is granted is either done by the parent (connections) or checked again by Landlock (files). On a kernel
//!   without Landlock a hostile child can win that race for files.
//! - The parent must not let the thread that called [`spawn`] end while the child lives: the kernel's parent-death
//!   signal is bound to that thread.

mod capture;
mod child;
mod clock;
mod crash;
mod ending;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "on Linux only its channel is tested"))]
mod other;
mod policy;
mod spawn;
mod starved;
mod support;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod violation;

pub use self::capture::{Capture, Captured};
pub use self::child::{EnterError, Entered, enter};
pub use self::clock::processor_time;
pub use self::crash::Crash;
pub use self::ending::Ending;
pub use self::policy::{HostPort, Limits, Policy, Reading};
pub use self::spawn::{
    Channel, Command, Confined, SpawnError, die_with, lower_priority, memory_bytes, pair, reap, spawn,
};
pub use self::starved::{Patience, Starved, Stopwatch, Waits, waits};
pub use self::support::{Lack, Missing, Report, Support, is_privileged_for_another, support};
pub use self::violation::{Violation, ViolationKind, Violations, is_harmless};

#[cfg(target_os = "linux")]
use self::linux as platform;
#[cfg(not(target_os = "linux"))]
use self::other as platform;

/// Bytes that nobody can guess.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    use std::io::Read;
    let mut bytes = [0; N];
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    filled.expect("every Unix has /dev/urandom, and it never ends");
    bytes
}
