//! One line on stderr that says how far something is, drawn by indicatif and gone when it is over.
//!
//! Progress is for a person who watches: nothing is drawn where stderr is no terminal or [`is_wanted`] says no, and what
//! matters is printed as a line of its own, through [`Progress::aside`]. This file stands on nothing of the host, so that
//! the development commands can use it, too.

use std::ffi::OsString;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two turns of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// Whether progress may be drawn: `terminal` says whether stderr is one, `var` looks up an environment variable.
///
/// `NO_COLOR`, `CLICOLOR=0`, `TERM=dumb` and no `TERM` at all ask for plain text, and so for no line that moves.
pub fn is_wanted(terminal: bool, var: impl Fn(&str) -> Option<OsString>) -> bool {
    let says = |name: &str, value: &str| var(name).is_some_and(|found| found == value);
    let set = |name: &str| var(name).is_some_and(|found| !found.is_empty());
    terminal && !set("NO_COLOR") && !says("CLICOLOR", "0") && set("TERM") && !says("TERM", "dumb")
}

/// A line of progress. It goes away when it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Something that takes as long as it takes: a spinner, `what`, and the time so far.
    pub fn waiting(wanted: bool, what: &str) -> Self {
        Self::start(wanted, None, "{spinner} {wide_msg} {elapsed}", what)
    }

    /// Something that is done in `total` steps.
    pub fn steps(wanted: bool, total: u64, what: &str) -> Self {
        Self::start(wanted, Some(total), "{spinner} {wide_msg} {bar:20} {pos}/{len} {elapsed}", what)
    }

    /// Something that is `total` bytes long.
    pub fn bytes(wanted: bool, total: u64, what: &str) -> Self {
        let template = "{spinner} {wide_msg} {bar:20} {binary_bytes}/{binary_total_bytes} {eta}";
        Self::start(wanted, Some(total), template, what)
    }

    fn start(wanted: bool, total: Option<u64>, template: &str, what: &str) -> Self {
        if !wanted {
            return Self { bar: ProgressBar::hidden() };
        }
        let style = ProgressStyle::with_template(template).expect("the templates above are sound");
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let bar = bar.with_style(style.progress_chars("=> ")).with_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Whether a person sees it.
    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// So much is done now.
    pub fn reach(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// What is done now: text that is safe to print. The line is cut where the terminal ends.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Runs `print`, which writes to the terminal, with the line out of its way.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }

    /// Takes the line away; nothing is drawn from now on.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_drawn_on_a_terminal_that_is_not_asked_to_be_plain() {
        let wanted = |terminal: bool, vars: &[(&str, &str)]| {
            is_wanted(terminal, |name| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            })
        };
        assert!(wanted(true, &[("TERM", "xterm")]));
        assert!(wanted(true, &[("TERM", "xterm"), ("NO_COLOR", ""), ("CLICOLOR", "1")]));
        assert!(!wanted(false, &[("TERM", "xterm"), ("CLICOLOR_FORCE", "1")]));
        for plain in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb"), ("TERM", "")] {
            assert!(!wanted(true, &[plain, ("TERM", "xterm")]), "{plain:?}");
        }
        assert!(!wanted(true, &[]));
    }

    #[test]
    fn what_is_not_wanted_can_be_used_all_the_same() {
        let progress = Progress::steps(false, 3, "steps");
        progress.reach(2);
        progress.say("more");
        assert_eq!(progress.aside(|| 7), 7);
        assert!(!progress.is_shown());
        progress.end();
        drop(Progress::bytes(false, 1 << 30, "pull"));
        drop(Progress::waiting(false, "wait"));
    }
}
