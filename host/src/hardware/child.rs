//! Asking the drivers from a short-lived child, so that one that hangs holds nobody up.
//!
//! A thread would not do: one that waits inside a driver cannot be killed, and keeps its process from ending. The
//! child is this program under a hidden command; it writes a line for each source ([`super::answer::Line`]) and is
//! killed when its time is over. What it had said by then counts.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answer::{Answer, Line, Question, Source, Trouble};
use super::read::Root;

/// The hidden command that becomes the child.
pub const COMMAND: &str = "__drivers";

/// More than any honest child says.
const SAID_BYTES_MAX: usize = 4 << 20;

/// Asks the drivers of the machine below `root` what `question` is about, through a child made from `program`, for at
/// most `limit`.
///
/// Returns what they said, and what a person should know about those that did not answer.
pub fn ask(
    question: Question,
    program: &Path,
    root: &Root,
    nvml: &Path,
    limit: Duration,
) -> (Vec<Answer>, Option<Trouble>) {
    let deadline = Instant::now() + limit;
    let mut command = Command::new(program);
    command.arg(COMMAND).arg("--root").arg(root.path()).arg("--nvml").arg(nvml);
    if question == Question::Sensors {
        command.arg("--sensors");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A driver's library has no business with our environment, except where it needs it to find itself.
    command.env_clear();
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(err) => {
            let finding = format!("the graphics drivers could not be asked: {err}");
            let fix = "check that this user may start more processes (`ulimit -u`)".into();
            return (vec![], Some(Trouble { finding, fix }));
        }
    };
    let pipe = OwnedFd::from(child.stdout.take().expect("stdout was asked to be a pipe"));
    let (said, ended) = listen(pipe, deadline);
    bury(&mut child, ended);

    let mut answers = vec![];
    let mut asking = None;
    for line in said.split(|&byte| byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Asking(source)) => asking = Some(source),
            Ok(Line::Said(answer)) => {
                asking = None;
                answers.push(answer);
            }
            Ok(Line::Done) => return (answers, None),
            // The line that was being written when time was over.
            Err(_) => break,
        }
    }
    (answers, Some(silence(asking, ended, limit)))
}

/// Reads until the other end closes, says too much, or `deadline`. Also returns whether it closed.
fn listen(pipe: OwnedFd, deadline: Instant) -> (Vec<u8>, bool) {
    let mut said = vec![];
    let mut pipe = File::from(pipe);
    let mut buffer = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => return (said, false),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return (said, false),
            Ok(_) => {}
        }
        match pipe.read(&mut buffer) {
            Ok(0) => return (said, true),
            Ok(count) if said.len() + count <= SAID_BYTES_MAX => said.extend_from_slice(&buffer[..count]),
            _ => return (said, false),
        }
    }
}

/// Kills the child unless it has ended, and waits for it only as long as an end takes.
fn bury(child: &mut Child, ended: bool) {
    if !ended {
        // It may have ended meanwhile; then there is nothing to kill.
        let _ = child.kill();
    }
    // A process inside a hanging driver does not even die when killed. It is left to `init`.
    let deadline = Instant::now() + Duration::from_millis(100);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What to say of a child that did not come to its end.
fn silence(asking: Option<Source>, ended: bool, limit: Duration) -> Trouble {
    let who = asking.map_or("a graphics driver", Source::describe);
    if ended {
        let fix =
            "see what `dmesg` says about the graphics driver, and install it again if nothing else helps"
                .into();
        return Trouble { finding: format!("{who} crashed when it was asked about its cards"), fix };
    }
    let finding = format!("{who} did not answer within {}", crate::text::duration(limit));
    let fix = match asking {
        Some(Source::NvidiaProc | Source::Nvml) => {
            "start `nvidia-persistenced`, which keeps the driver ready; if it still hangs, see `dmesg` and reboot"
        }
        _ => "see what `dmesg` says about the graphics driver; a reboot often helps",
    };
    Trouble { finding, fix: fix.into() }
}

/// The running program itself, by a name that holds even when its file is being replaced.
pub fn this_program() -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    return Some("/proc/self/exe".into());
    #[cfg(not(target_os = "linux"))]
    return std::env::current_exe().ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    /// A program of a few lines that stands for the child.
    fn program(machine: &Machine, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = machine.root().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn ask_program(script: &str, limit: Duration) -> (Vec<Answer>, Option<Trouble>) {
        let machine = Machine::new();
        let program = program(&machine, script);
        loop {
            let answer = ask(Question::Inventory, &program, &machine.root(), Path::new("nvml"), limit);
            // A neighbour that forked while the script was written holds it open for a moment.
            match &answer.1 {
                Some(trouble) if trouble.finding.contains("Text file busy") => continue,
                _ => return answer,
            }
        }
    }

    #[test]
    fn what_was_said_before_a_driver_hung_counts() {
        let script = r#"echo '{"asking":"drm"}'; echo '{"said":{"gpus":[{"gpu":{"name":"A"}}]}}'
            echo '{"asking":"nvml"}'; exec sleep 100"#;
        let begin = Instant::now();
        let (answers, trouble) = ask_program(script, Duration::from_millis(300));
        // Far from the 100 s that the child would take, and far enough from 0.3 s for a busy machine.
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert_eq!(answers[0].gpus[0].gpu.name, "A");
        assert_eq!(trouble.unwrap().finding, "the NVIDIA driver did not answer within 300 ms");
    }

    #[test]
    fn a_driver_that_kills_the_child_is_named() {
        let (answers, trouble) =
            ask_program(r#"echo '{"asking":"kfd"}'; kill -SEGV $$"#, Duration::from_secs(60));
        assert!(answers.is_empty());
        assert_eq!(
            trouble.unwrap().finding,
            "AMD's compute driver crashed when it was asked about its cards"
        );
    }

    #[test]
    fn a_child_that_babbles_is_stopped() {
        let (answers, trouble) = ask_program("exec yes", Duration::from_secs(60));
        assert!(answers.is_empty());
        assert!(trouble.is_some());
    }

    #[test]
    fn no_child_at_all_is_told() {
        let machine = Machine::new();
        let (_, trouble) = ask(
            Question::Inventory,
            Path::new("/nonexistent"),
            &machine.root(),
            Path::new("nvml"),
            Duration::from_secs(1),
        );
        assert!(trouble.unwrap().finding.starts_with("the graphics drivers could not be asked"));
    }
}
