//! What a container prints: read to its end, the last lines kept, and passed on at a bounded rate.
//!
//! It is the container's word and a stranger's text: nothing here reads a meaning into it, and who shows it cleans it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::child;
use crate::miner::gate::Gate;

/// Lines a second that are passed on of what it prints, and the burst before that.
const LINES: (u32, u32) = (20, 200);
/// Bytes of one line.
const LINE_BYTES_MAX: u64 = 4096;
/// A shorter secret is not looked for.
const SECRET_BYTES_MIN: usize = 4;
/// Lines that are kept for the case that it ends.
const LAST_LINES: usize = 20;

/// What a container printed.
#[derive(Debug, Default)]
pub struct Printed {
    last: Mutex<VecDeque<String>>,
    at: Mutex<Option<Instant>>,
    held_back: AtomicU64,
    hidden: Vec<String>,
}

impl Printed {
    /// Nothing yet; `hidden` are secrets that stand in no line of it.
    pub fn hiding(hidden: Vec<String>) -> Self {
        // One of a few letters would take words out of every line.
        let hidden = hidden.into_iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN).collect();
        Self { hidden, ..Self::default() }
    }

    fn without_secrets(&self, line: &str) -> String {
        self.hidden.iter().fold(line.to_owned(), |line, secret| line.replace(secret, "[hidden]"))
    }

    /// The last lines, oldest first.
    pub fn last(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// When the last line came.
    pub fn at(&self) -> Option<Instant> {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last line.
    pub fn newest(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    /// Lines that were not passed on since this was asked last.
    pub fn take_held_back(&self) -> u64 {
        self.held_back.swap(0, Ordering::Relaxed)
    }

    fn heard(&self, line: &str) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
}

/// A program that prints what the container prints. Dropping it ends the program.
pub struct Follower {
    program: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Follower {
    /// Runs `command`, which prints what the container prints. Each line is kept in `printed`, and goes to `passed_on`, which
    /// answers whether it was taken, at a bounded rate.
    pub fn start(
        mut command: Command,
        printed: &Arc<Printed>,
        passed_on: impl Fn(&str) -> bool + Clone + Send + 'static,
    ) -> Option<Self> {
        let mut program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            program.stdout.take().map(|pipe| Box::new(pipe) as _),
            program.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        let mut readers = Vec::new();
        for pipe in pipes.into_iter().flatten() {
            let (printed, passed_on) = (Arc::clone(printed), passed_on.clone());
            let reader = move || read_lines(pipe, &printed, &passed_on);
            // Without a thread what it prints is not seen; it mines all the same.
            readers.extend(std::thread::Builder::new().name("container-log".into()).spawn(reader).ok());
        }
        Some(Self { program, readers })
    }

    /// Whether it has ended: then the container has, as a rule.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.program.try_wait(), Ok(None))
    }

    /// Whether it has ended, and well.
    pub fn has_succeeded(&mut self) -> bool {
        matches!(self.program.try_wait(), Ok(Some(status)) if status.success())
    }

    /// Reads to the end, once it has ended.
    pub fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            // One that panicked has read what it has.
            let _ = reader.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        child::end(&mut self.program);
    }
}

/// Passes on what is printed, line by line, until it ends. A bar of progress is its last state.
fn read_lines(pipe: Box<dyn Read + Send>, printed: &Printed, passed_on: impl Fn(&str) -> bool) {
    let mut reader = BufReader::new(pipe);
    let mut gate = Gate::new(LINES.0, LINES.1, Instant::now());
    loop {
        let mut bytes = Vec::new();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.trim().is_empty() {
            continue;
        }
        let line = printed.without_secrets(line);
        printed.heard(&line);
        if !gate.pass(Instant::now()) || !passed_on(&line) {
            printed.held_back.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_its_last_state_and_what_comes_too_fast_is_counted() {
        let printed = Arc::new(Printed::hiding(vec!["secret-word".into(), "%".into()]));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let take = {
            let taken = Arc::clone(&taken);
            move |line: &str| {
                taken.lock().unwrap().push(line.to_owned());
                true
            }
        };
        let mut command = Command::new("sh");
        command.args(["-c", "printf '1 %%\\r50 %%\\r100 %%\\nsecret-word=secret-words\\n\\n'; seq 1 1000"]);
        let mut follower = Follower::start(command, &printed, take).unwrap();
        follower.finish();
        let taken = taken.lock().unwrap();
        assert_eq!(taken[..2], ["100 %", "[hidden]=[hidden]s"]);
        assert!(taken.len() >= LINES.1 as usize && taken.len() < 1002, "{}", taken.len());
        assert_eq!(taken.len() as u64 + printed.take_held_back(), 1002);
        assert_eq!((printed.take_held_back(), printed.newest().as_deref()), (0, Some("1000")));
        assert_eq!(printed.last().len(), LAST_LINES);
        assert!(printed.at().is_some());
    }
}
