//! The parent's half of one trial: starts the process, follows it with a deadline for each step, and keeps a record.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::words::{Event, Order, Step};
use crate::sandbox::{self, Captured, Channel, Command, Crash, Ending, Patience, Policy, SpawnError};

/// The longest line that is read: the largest proof in hexadecimal, and some more.
const LINE_BYTES_MAX: usize = 64 << 20;
/// How much of what it prints is kept, in bytes.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// The same where backtraces are asked for, which are long.
const DEBUG_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// How often the memory is looked at, and the deadline.
const LOOK: Duration = Duration::from_millis(50);
/// The most events of one trial: more than any honest one has.
const EVENTS_MAX: usize = 20_000;

/// What was seen of one trial.
#[derive(Debug, Default)]
pub struct Record {
    /// What it told, in order.
    pub events: Vec<Event>,
    /// Lines on its channel that were none of ours.
    pub rubbish: u64,
    /// The step that it was in.
    pub step: Option<Step>,
    /// It did not come to the end of that step, and was ended.
    pub timed_out: bool,
    /// It used more memory than it may, past the limit that the kernel holds.
    pub overdrawn: bool,
    /// How it ended, unless it came to its own end.
    pub ending: Option<Ending>,
    /// Where it crashed, if it did.
    pub crash: Option<Crash>,
    /// The most memory that it had in use, in bytes.
    pub memory_peak_bytes: u64,
    /// What it tried and was refused.
    pub violations: Vec<String>,
    /// What it printed.
    pub stdout: Captured,
    /// What it printed as errors.
    pub stderr: Captured,
}

/// Runs one trial to its end. `memory_bytes` is what the process may use; with `debug` panics in it bring a backtrace.
///
/// # Errors
///
/// Where no confined process could be started.
pub fn run(
    subcommand: &str,
    order: &Order,
    policy: &Policy,
    memory_bytes: u64,
    debug: bool,
) -> Result<Record, SpawnError> {
    let start = |err| SpawnError::Start { program: "pearlbed".into(), err };
    let mut command = Command::this_program(subcommand)
        .map_err(start)?
        .channel(Channel::Stream)
        .capture_bytes(if debug { DEBUG_OUTPUT_BYTES_MAX } else { OUTPUT_BYTES_MAX });
    if debug {
        command = command.env("RUST_BACKTRACE", "1");
    }
    let mut confined = sandbox::spawn(&command, policy)?;
    let mut channel = UnixStream::from(confined.channel().try_clone_to_owned().map_err(start)?);
    let mut line = serde_json::to_vec(order).expect("an order has text keys and plain values");
    line.push(b'\n');
    let mut record = Record::default();
    // A child that has gone already is described by its ending.
    let _ = confined.send(&line);
    let _ = channel.set_nonblocking(true);

    let pid = confined.pid().unsigned_abs();
    let limit = |step: Step| Patience::new(pid, Duration::from_millis(step.limit_ms()), Instant::now());
    let mut patience = limit(Step::Make);
    let (mut pending, mut room) = (Vec::new(), vec![0; 256 << 10]);
    let mut open = true;
    while open {
        let memory = sandbox::memory_bytes(confined.pid(), memory_bytes);
        record.memory_peak_bytes = record.memory_peak_bytes.max(memory);
        if memory > memory_bytes.saturating_add(memory_bytes / 4) {
            record.overdrawn = true;
            break;
        }
        let timeout = LOOK.try_into().expect("a moment is a timespec");
        {
            let mut fds = vec![PollFd::new(&channel, PollFlags::IN)];
            for stream in [&confined.stdout, &confined.stderr] {
                fds.extend(stream.stream().map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)));
            }
            // Errors of `poll` are interruptions; the loop has its deadline.
            let _ = rustix::event::poll(&mut fds, Some(&timeout));
        }
        confined.stdout.drain();
        confined.stderr.drain();
        match channel.read(&mut room) {
            Ok(0) => open = false,
            Ok(count) => pending.extend_from_slice(&room[..count]),
            Err(err)
                if matches!(err.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) =>
            {
                // A process that it left behind may keep the channel open.
                open = confined.try_wait().is_none();
            }
            Err(_) => open = false,
        }
        if pending.len() > LINE_BYTES_MAX {
            record.rubbish += 1;
            break;
        }
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let event = serde_json::from_slice::<Event>(&pending[..end]);
            pending.drain(..=end);
            match event {
                Ok(Event::Begins(step)) => {
                    record.step = Some(step);
                    patience = limit(step);
                }
                Ok(event) if record.events.len() < EVENTS_MAX => record.events.push(event),
                Ok(_) | Err(_) => record.rubbish += 1,
            }
        }
        if open && patience.is_over(Instant::now()) {
            record.timed_out = true;
            break;
        }
    }
    let finished = matches!(record.events.last(), Some(Event::Finished | Event::NotMade(_)));
    let ending =
        if record.timed_out || record.overdrawn { confined.kill() } else { patient_end(&mut confined) };
    if !finished && !record.timed_out {
        record.ending = Some(ending);
    }
    record.memory_peak_bytes = record.memory_peak_bytes.max(ending.memory_peak_bytes);
    confined.stdout.drain();
    confined.stderr.drain();
    (record.stdout, record.stderr) = (confined.stdout.take(), confined.stderr.take());
    record.crash = Crash::take(&mut record.stderr);
    let mut violations = confined.violations().take();
    // A crash ends the other threads, ours too, in the middle of what they may do, and leaves nobody to say what it was.
    if record.ending.is_some() {
        violations.retain(|violation| !violation.is_unknown());
    }
    record.violations = violations.iter().map(ToString::to_string).collect();
    Ok(record)
}

/// Waits a moment for a process whose channel has ended to end by itself, so that its own ending is seen; then ends it.
fn patient_end(confined: &mut sandbox::Confined) -> Ending {
    let deadline = Instant::now() + Duration::from_millis(500);
    while Instant::now() < deadline {
        if let Some(ending) = confined.try_wait() {
            return ending;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    confined.kill()
}
