//! `pearlbed status --watch`: one look after another, drawn in place on a terminal, until a key ends it.
//!
//! It owns the terminal's mode while it draws, and gives it back however it ends. What is drawn is `status.rs`'s. The
//! history is of what this watch has seen: nothing is read back from anywhere.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read as _};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::render::{DIM, padded, styled};
use crate::text::{duration, hashrate};

/// Looks that the history holds, and so the columns that it is drawn in.
const PAST: usize = 48;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const CTRL_C: u8 = 3;
const CTRL_Z: u8 = 26;

/// Rates of the looks so far, newest last, in hashes per second; nothing where there was none to tell.
#[derive(Debug, Default)]
pub struct History(VecDeque<Option<f64>>);

impl History {
    /// Takes the rate of one more look.
    pub fn push(&mut self, rate: Option<f64>) {
        if self.0.len() == PAST {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// The line of the history; none before there are two rates to compare.
    pub fn line(&self, label_columns: usize) -> Option<String> {
        let known = || self.0.iter().flatten().copied();
        if known().count() < 2 {
            return None;
        }
        let most = known().fold(0.0, f64::max);
        let bar = |rate: &Option<f64>| match rate {
            None => ' ',
            // From nothing at all to the most that was seen.
            Some(rate) if most > 0.0 => BARS[((rate / most * 7.0).round() as usize).min(7)],
            Some(_) => BARS[0],
        };
        let bars: String = self.0.iter().map(bar).collect();
        let seconds = Duration::from_secs(self.0.len() as u64);
        let label = padded(DIM, "history", label_columns);
        Some(format!("{label}{bars} {}, up to {}\n", duration(seconds), hashrate(most)))
    }
}

/// `text` drawn over what stands there, in a terminal of `rows` rows: each line wiped to its end as it is written, and
/// what is left below wiped, so that nothing flickers. Lines that have no room are counted instead of scrolled away.
pub fn frame(text: &str, rows: usize, keys: bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let foot = usize::from(keys);
    // The cursor stands below the last line.
    let room = rows.saturating_sub(1 + foot).max(1);
    let mut drawn = "\x1b[H".to_owned();
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    for line in &lines[..shown] {
        let _ = writeln!(drawn, "{line}\x1b[K");
    }
    if shown < lines.len() {
        let more = styled(DIM, &format!("{} more lines have no room here", lines.len() - shown));
        let _ = writeln!(drawn, "{more}\x1b[K");
    }
    if keys {
        let _ = writeln!(drawn, "{}\x1b[K", styled(DIM, "q ends the watch; the session goes on"));
    }
    drawn + "\x1b[J"
}

/// Rows of the terminal that stdout is.
pub fn rows() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(24)
}

/// A terminal whose keys come one by one and unseen, for as long as this lives.
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Takes the keys where stdin is a terminal; nothing elsewhere.
    pub fn take() -> Option<Self> {
        let before = io::stdin().is_terminal().then(|| tcgetattr(io::stdin()).ok()).flatten()?;
        let keys = Self { before };
        keys.set().then_some(keys)
    }

    fn set(&self) -> bool {
        let mut now = self.before.clone();
        // Ctrl-C and Ctrl-Z come as keys, too: the mode is given back before either does what it does.
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        now.special_codes[SpecialCodeIndex::VMIN] = 0;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &now).is_ok()
    }

    fn give_back(&self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Waits for `time`, or for a key that ends the watch: whether there was one.
    pub fn ends_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let stdin = io::stdin();
            let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut wanted, Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return true,
            }
            let mut pressed = [0; 16];
            match stdin.lock().read(&mut pressed) {
                // The terminal has gone.
                Ok(0) | Err(_) => return true,
                Ok(count) if pressed[..count].iter().any(|key| matches!(key, b'q' | b'Q' | &CTRL_C)) => {
                    return true;
                }
                Ok(count) if pressed[..count].contains(&CTRL_Z) => {
                    self.give_back();
                    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::TSTP);
                    // Here it goes on again, after `fg`.
                    self.set();
                }
                Ok(_) => {}
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_drawn_from_nothing_to_the_most_and_forgets_what_is_old() {
        let mut history = History::default();
        history.push(None);
        history.push(Some(7e9));
        assert_eq!(history.line(11), None, "one rate is no history");
        history.push(Some(0.0));
        history.push(Some(3.5e9));
        let line = history.line(11).unwrap();
        assert!(line.contains(" █▁▅ 4 s, up to 7.00 GH/s"), "{line}");
        for _ in 0..PAST {
            history.push(Some(0.0));
        }
        let line = history.line(11).unwrap();
        assert!(line.contains(&format!("{} 48 s, up to 0 H/s", "▁".repeat(PAST))), "{line}");
    }

    #[test]
    fn a_frame_keeps_to_the_rows_that_there_are_and_counts_what_it_leaves_out() {
        let text: String = (1..=9).map(|line| format!("line {line}\n")).collect();
        let all = frame(&text, 24, true);
        assert!(all.contains("line 9") && !all.contains("no room") && all.contains("q ends"), "{all}");
        let few = frame(&text, 6, true);
        assert!(few.contains("line 3\x1b[K\n") && !few.contains("line 4"), "{few:?}");
        assert!(few.contains("6 more lines have no room here"), "{few:?}");
        assert_eq!(few.matches('\n').count(), 5, "the cursor stands on the last row");
        assert!(!frame(&text, 24, false).contains("q ends"));
    }
}
