//! What the test programs say, line by line: counts, what was skipped, which tests failed and why.
//!
//! It reads the text of libtest, whose lines cargo passes on as they are. It never judges: that is `test.rs`.

use std::collections::BTreeSet;

/// Lines of a failed test's output that are kept for the end of the run.
const LINES_KEPT: usize = 30;

/// What the test programs said, as their lines go by.
#[derive(Default)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
    pub ignored: u32,
    /// The reasons that tests gave for having skipped something, each once.
    pub skipped: Vec<String>,
    /// The names of the tests that failed.
    pub failures: BTreeSet<String>,
    /// What the failed tests said, without the stack: name and lines.
    pub said: Vec<(String, Vec<String>)>,
    /// The tests that libtest called slow and that have not ended.
    pub slow: BTreeSet<String>,
    begun: u32,
    ended: u32,
    section: Section,
    is_stack: bool,
}

/// The part of a test program's output that its lines are in.
#[derive(Default, PartialEq)]
enum Section {
    #[default]
    Results,
    Successes,
    Failures,
}

impl Tally {
    /// Takes one line and says whether to show it: what passing tests printed is not shown.
    pub fn take(&mut self, line: &str) -> bool {
        let text = line.trim();
        match text {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ => {}
        }
        if text.starts_with("running ") && (text.ends_with(" tests") || text.ends_with(" test")) {
            self.begun += 1;
        }
        if let Some(result) = text.strip_prefix("test result: ") {
            self.result(result);
        }
        if self.section == Section::Results
            && let Some(test) = text.strip_prefix("test ")
        {
            self.test(test);
        }
        if self.section == Section::Successes
            && text.starts_with("skipped: ")
            && !self.skipped.iter().any(|line| line == text)
        {
            self.skipped.push(text.to_owned());
        }
        if self.section == Section::Failures {
            self.failure(line, text);
        }
        self.section != Section::Successes
    }

    /// Both together, of runs that have ended.
    pub fn with(mut self, other: &Self) -> Self {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        for reason in &other.skipped {
            if !self.skipped.contains(reason) {
                self.skipped.push(reason.clone());
            }
        }
        self.failures.extend(other.failures.iter().cloned());
        self.said.extend(other.said.iter().cloned());
        self.slow.extend(other.slow.iter().cloned());
        self.begun += other.begun;
        self.ended += other.ended;
        self
    }

    /// Whether every test program that began told its result, and every failure has a name.
    pub fn is_whole(&self) -> bool {
        self.begun > 0 && self.begun == self.ended && self.failures.len() == self.failed as usize
    }

    fn test(&mut self, test: &str) {
        if let Some(name) = test.strip_suffix(" has been running for over 60 seconds") {
            self.slow.insert(name.to_owned());
        } else if let Some((name, outcome)) = test.split_once(" ... ") {
            self.slow.remove(name);
            if outcome == "FAILED" {
                self.failures.insert(name.to_owned());
            }
        }
    }

    fn result(&mut self, result: &str) {
        self.section = Section::Results;
        self.ended += 1;
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u32>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    fn failure(&mut self, line: &str, text: &str) {
        if let Some(name) = text.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.said.push((name.to_owned(), Vec::new()));
            self.is_stack = false;
        } else if text == "failures:" || text == "stack backtrace:" {
            // The list of names that comes last says nothing new.
            self.is_stack = true;
        } else if !self.is_stack
            && !text.is_empty()
            && let Some((_, said)) = self.said.last_mut()
            && said.len() < LINES_KEPT
        {
            said.push(line.trim_end().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> (Tally, usize) {
        let mut tally = Tally::default();
        let shown = lines.iter().filter(|line| tally.take(line)).count();
        (tally, shown)
    }

    #[test]
    fn results_are_counted_and_what_passing_tests_printed_is_hidden_but_for_skips() {
        let (tally, shown) = tally(&[
            "running 6 tests",
            "test a ... ok",
            "test b::c ... FAILED",
            "successes:",
            "---- a stdout ----",
            "skipped: no docker here",
            "test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.05s",
        ]);
        assert_eq!(shown, 4);
        assert_eq!((tally.passed, tally.failed, tally.ignored), (3, 1, 2));
        assert_eq!(tally.skipped, ["skipped: no docker here"]);
        assert_eq!(tally.failures, BTreeSet::from(["b::c".to_owned()]));
        assert!(tally.is_whole());
    }

    #[test]
    fn what_a_failed_test_said_is_kept_without_its_stack() {
        let (tally, _) = tally(&[
            "running 1 test",
            "test b ... FAILED",
            "failures:",
            "---- b stdout ----",
            "",
            "thread 'b' panicked at src/b.rs:1:1:",
            "it is 3",
            "stack backtrace:",
            "   0: somewhere",
            "failures:",
            "    b",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s",
        ]);
        let said = vec!["thread 'b' panicked at src/b.rs:1:1:".to_owned(), "it is 3".to_owned()];
        assert_eq!(tally.said, [("b".to_owned(), said)]);
    }

    #[test]
    fn two_runs_are_counted_together_and_a_reason_once() {
        let run = |name: &str| {
            let failed = format!("test {name} ... FAILED");
            let ended = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
            tally(&["running 2 tests", &failed, "successes:", "skipped: no docker here", ended]).0
        };
        let both = run("a").with(&run("b"));
        assert_eq!((both.passed, both.failed, both.ignored), (2, 2, 0));
        assert_eq!(both.failures, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(both.skipped, ["skipped: no docker here"]);
        assert!(both.is_whole());
        assert!(!both.with(&tally(&["running 2 tests"]).0).is_whole());
    }

    #[test]
    fn what_a_program_that_hangs_was_at_is_known() {
        let (hung, _) = tally(&[
            "running 3 tests",
            "test a has been running for over 60 seconds",
            "test b::c has been running for over 60 seconds",
            "test a ... ok",
        ]);
        assert_eq!(hung.slow, BTreeSet::from(["b::c".to_owned()]));
        assert!(hung.failures.is_empty() && !hung.is_whole());
    }

    #[test]
    fn a_program_that_ends_without_a_result_is_noticed() {
        let (died, _) = tally(&["running 2 tests", "test a ... ok"]);
        assert!(!died.is_whole());
    }
}
