//! Ends the processes of a session's own gateway where the session was killed and could not.
//!
//! A process of ours that does nothing: it waits until its stdin ends, which is when the process that started it is gone, however
//! it went, and then ends the group that it was told of, in order first. It is ended itself before the gateway's group is.
//!
//! # Limitations
//!
//! A process that left the group, with `setsid` for instance, is nobody's to find.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

/// The hidden subcommand of this process.
pub const SUBCOMMAND: &str = "__keep";

/// How long the group has to end in order.
const GRACE: Duration = Duration::from_secs(3);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// The program that is to be started for this, where the system can say which it is.
pub fn this_program() -> Option<PathBuf> {
    // On Linux the link leads to the file that runs here, even after an update replaced it.
    if cfg!(target_os = "linux") { Some("/proc/self/exe".into()) } else { std::env::current_exe().ok() }
}

/// Starts `program` to look after the group of `leader`. Whoever drops the answer ends it.
///
/// # Errors
///
/// Where no process can be made. The gateway works without.
pub(super) fn start(program: &Path, leader: Pid) -> std::io::Result<Child> {
    Command::new(program)
        .arg0("pearlbed")
        .arg(SUBCOMMAND)
        .arg(leader.as_raw_nonzero().to_string())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What is meant for the session is not meant for it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits for the end of stdin, and then ends the group of `leader`.
pub fn keep(leader: i32) {
    let Some(leader) = Pid::from_raw(leader).filter(|leader| leader.as_raw_nonzero().get() > 1) else {
        return;
    };
    let mut bytes = [0; 64];
    // Nothing is ever written to it.
    while std::io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
    let began = Instant::now();
    if kill_process_group(leader, Signal::TERM).is_err() {
        return;
    }
    while began.elapsed() < GRACE {
        std::thread::sleep(LOOK);
        if test_kill_process_group(leader).is_err() {
            return;
        }
    }
    let _ = kill_process_group(leader, Signal::KILL);
}
