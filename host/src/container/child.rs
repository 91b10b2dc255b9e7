//! One short-lived child: an engine's program, with a deadline and a bound on what it may say.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What a child said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, as far as it was kept.
    pub out: String,
    /// Its standard error, as far as it was kept.
    pub err: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum ChildError {
    #[error("cannot run {program}")]
    Start {
        program: String,
        #[source]
        err: io::Error,
    },
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
    #[error("it was called off")]
    CalledOff,
}

/// A program with arguments, in a process group of its own, that hears nothing and is told no secret.
pub fn command(program: &Path, arguments: &[String], secrets: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    for name in secrets {
        command.env_remove(name);
    }
    // What is read is matched: an engine speaks its user's language otherwise.
    command.env("LC_ALL", "C").env("DOCKER_CLI_HINTS", "false");
    command
}

/// How often it is looked whether a child is called off.
const LOOK: Duration = Duration::from_millis(100);

/// Runs `command` to its end, or until `called_off` is set.
///
/// # Errors
///
/// [`ChildError`]; the child and what it started in its group have ended then.
pub fn run(
    mut command: Command,
    limit: Duration,
    bytes_max: usize,
    called_off: &AtomicBool,
) -> Result<Said, ChildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start = |err| ChildError::Start { program: crate::text::printable(&program).into_owned(), err };
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(start)?;
    let (done, finished) = mpsc::channel();
    let pipes: [(bool, Option<Box<dyn Read + Send>>); 2] = [
        (true, child.stdout.take().map(|pipe| Box::new(pipe) as _)),
        (false, child.stderr.take().map(|pipe| Box::new(pipe) as _)),
    ];
    let mut readers = Vec::new();
    for (is_out, pipe) in pipes {
        let Some(pipe) = pipe else { continue };
        let done = done.clone();
        readers.push(std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What cannot be read is the end of what was said.
            let _ = pipe.take(bytes_max as u64 + 1).read_to_end(&mut bytes);
            // Nobody listens any more once the time is over.
            let _ = done.send((is_out, bytes));
        }));
    }
    let mut said = [String::new(), String::new()];
    let mut ended = 0;
    let over = |child: &mut Child| {
        let why = match called_off.load(Ordering::Relaxed) {
            true => ChildError::CalledOff,
            false if begun.elapsed() >= limit => ChildError::TimedOut(limit),
            false => return Ok(()),
        };
        end(child);
        Err(why)
    };
    while ended < readers.len() {
        match finished.recv_timeout(LOOK.min(limit.saturating_sub(begun.elapsed()))) {
            Ok((_, bytes)) if bytes.len() > bytes_max => {
                end(&mut child);
                return Err(ChildError::TooLong(bytes_max));
            }
            Ok((is_out, bytes)) => {
                said[usize::from(!is_out)] = String::from_utf8_lossy(&bytes).into_owned();
                ended += 1;
            }
            Err(RecvTimeoutError::Timeout) => over(&mut child)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = loop {
        // It has closed what it speaks with; a moment later it has ended, as a rule.
        match child.try_wait().map_err(start)? {
            Some(status) => break status,
            None => over(&mut child)?,
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let [out, err] = said;
    Ok(Said { status, out, err })
}

/// Ends a child and whatever else is in its group.
pub fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

/// Where `program` lies, by a search path.
pub fn find(program: &str, path: &OsStr) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &std::path::PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        command(Path::new("/bin/sh"), &["-c".into(), script.into()], &["SECRET".into()])
    }

    #[test]
    fn a_child_is_heard_to_its_end_and_bounded_in_time_and_bytes() {
        let go_on = AtomicBool::new(false);
        let run = |command, limit, bytes| run(command, limit, bytes, &go_on);
        let said = run(sh("echo out; echo err >&2; exit 3"), Duration::from_secs(60), 100).unwrap();
        assert_eq!((said.status.code(), &*said.out, &*said.err), (Some(3), "out\n", "err\n"));
        let late = run(sh("sleep 600 & wait"), Duration::from_millis(100), 100);
        assert!(matches!(late, Err(ChildError::TimedOut(_))), "{late:?}");
        let long = run(sh("while :; do echo xxxxxxxxxxxxxxxx; done"), Duration::from_secs(60), 1000);
        assert!(matches!(long, Err(ChildError::TooLong(1000))), "{long:?}");
        let none = run(command(Path::new("/no/such"), &[], &[]), Duration::from_secs(1), 10);
        assert!(matches!(none, Err(ChildError::Start { .. })), "{none:?}");
        go_on.store(true, Ordering::Relaxed);
        let off = run(sh("sleep 600"), Duration::from_secs(60), 100);
        assert!(matches!(off, Err(ChildError::CalledOff)), "{off:?}");
    }

    #[test]
    fn a_program_is_found_where_it_can_be_run() {
        assert!(find("sh", OsStr::new("relative:/no/such:/usr/bin:/bin")).is_some());
        assert!(find("sh", OsStr::new("")).is_none() && find("passwd", OsStr::new("/etc")).is_none());
    }
}
