//! `pearlbed` as the first process of a container.
//!
//! The kernel gives that process two duties: it is sent no signal that it has not asked for, so that Ctrl-C and an
//! orderly stop would go past most commands; and every orphan of the container becomes its child, to be collected when
//! it ends. So the first process runs the command as a child of its own, hands signals on, and collects. It opens
//! nothing, and ends as the command ends.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Signals that are meant for the command.
const HANDED_ON: [(SignalKind, Signal); 6] = [
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// Whether this process is the first one.
pub fn is_this() -> bool {
    cfg!(target_os = "linux") && std::process::id() == 1
}

/// What a container's first process may be that ends with the command it runs: this program, and what engines are asked for
/// an init (`--init`).
const ENDS_WITH_ITS_COMMAND: [&str; 7] =
    ["pearlbed", "docker-init", "podman-init", "catatonit", "tini", "tini-static", "dumb-init"];

/// Whether this process is the command that a container was made for: what it leaves running ends with it.
pub fn is_command() -> bool {
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get);
    let name = || std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    cfg!(target_os = "linux") && parent == Some(1) && ENDS_WITH_ITS_COMMAND.contains(&name().trim_end())
}

/// Runs the command line `args` (the program's name first) as a child, and returns its status as a shell counts it: 128
/// and the signal's number where one ended it.
///
/// # Errors
///
/// Where there can be no child: no `/proc`, or a limit on processes.
pub fn run(args: &[OsString]) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the child is there, so that none of its signals and not its end are missed.
        let mut ended = signal(SignalKind::child())?;
        let mut handed_on = Vec::new();
        for (kind, name) in HANDED_ON {
            handed_on.push((signal(kind)?, name));
        }
        let child = start(args)?;
        loop {
            while let Some((pid, status)) = wait(WaitOptions::NOHANG)? {
                if pid == child {
                    return Ok(as_a_shell_counts(status));
                }
            }
            let told = std::future::poll_fn(|context| {
                for (signal, name) in &mut handed_on {
                    if signal.poll_recv(context).is_ready() {
                        return std::task::Poll::Ready(*name);
                    }
                }
                std::task::Poll::Pending
            });
            tokio::select! {
                _ = ended.recv() => {}
                // It may have ended a moment ago; then that is what comes next.
                name = told => drop(kill_process(child, name)),
            }
        }
    })
}

/// Starts this program again, as the foreground of the terminal where there is one: what is typed there reaches it once.
fn start(args: &[OsString]) -> io::Result<Pid> {
    let stdin = io::stdin();
    let terminal = rustix::termios::isatty(&stdin);
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pearlbed").args(args.get(1..).unwrap_or_default());
    if terminal {
        command.process_group(0);
    }
    let child = Pid::from_raw(command.spawn()?.id().cast_signed()).expect("a child has a number");
    if terminal {
        // Where the terminal refuses, the command runs beside it. It may have been stopped for asking too early.
        let _ = rustix::termios::tcsetpgrp(&stdin, child);
        let _ = kill_process(child, Signal::CONT);
    }
    Ok(child)
}

fn as_a_shell_counts(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
