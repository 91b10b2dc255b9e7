//! What this machine can mine with, what stands in the way, and what to do about it.
//!
//! Every question is a [`Check`] in one table, [`CHECKS`]; all run side by side, each in a thread of its own, and
//! share the facts that several need ([`Facts`], each found out once, by whoever asks first). Doctor changes nothing:
//! it reads, and lets plugins be probed in their confined processes.
//!
//! ```text
//! CHECKS ──a thread each──> Facts (hardware, configuration, plugins, …, each once) ──> Row … ──> Report
//!                               └── nobody waits longer than the deadline: silence is a row, too
//! ```
//!
//! A new check is a function and a line in the table.
//!
//! # Limitations
//!
//! A check that is still waiting when time is over is left behind in its thread; the process ends without it.

mod checks;
mod facts;
pub mod redact;
mod row;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::explain::Explain;
use crate::remedy;
use crate::text;

pub use self::checks::CHECKS;
pub use self::facts::{Facts, Scope};
pub use self::row::{Row, Section, State, Verdict};

/// How long all checks may take together, unless plugins were given more time to answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// How long to wait before a thread is asked for again where there was none.
const RETRY_TIME: Duration = Duration::from_millis(5);

/// One question about this machine.
#[derive(Debug)]
pub struct Check {
    /// Its stable name. Rows about one of many things (a plugin, a card) are named `id/thing`.
    pub id: &'static str,
    /// Where it stands in the report.
    pub section: Section,
    /// What it finds out, for `--list-checks`.
    pub question: &'static str,
    /// What to do when it does not answer in time.
    pub if_silent: &'static str,
    /// Finds out. May wait: nobody waits for it longer than the deadline.
    pub run: fn(&Facts) -> Vec<Verdict>,
}

/// What all checks said.
#[derive(Debug)]
pub struct Report {
    /// In the order of the table, and as each check gave them.
    pub rows: Vec<Row>,
    /// How long it took.
    pub took: Duration,
}

/// Why the checks that were asked for cannot be run.
#[derive(Debug, thiserror::Error)]
#[error("there is no check `{0}`")]
pub struct UnknownCheck(String);

impl Explain for UnknownCheck {
    fn hint(&self) -> Option<String> {
        let ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
        Some(format!("known checks: {}", ids.join(", ")))
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Which checks to run.
#[derive(Clone, Debug, Default)]
pub struct Selection(BTreeMap<usize, Vec<String>>);

impl Selection {
    /// All of them.
    pub fn all() -> Self {
        Self((0..CHECKS.len()).map(|index| (index, vec![])).collect())
    }

    /// Those with these ids, as `id`, as `id/thing` for one row of many, or by the name of a section.
    ///
    /// # Errors
    ///
    /// [`UnknownCheck`] for the first name that fits nothing.
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownCheck> {
        let mut selection = Self::default();
        for name in names {
            let family = name.split_once('/').map_or(name, |(family, _)| family);
            let mut found = false;
            for (index, check) in CHECKS.iter().enumerate() {
                if check.section.name().eq_ignore_ascii_case(name) || check.id == name {
                    selection.0.insert(index, vec![]);
                    found = true;
                } else if check.id == family {
                    // A whole family that was asked for already stays whole.
                    match selection.0.get_mut(&index) {
                        Some(rows) if rows.is_empty() => {}
                        Some(rows) => rows.push(name.into()),
                        None => drop(selection.0.insert(index, vec![name.into()])),
                    }
                    found = true;
                }
            }
            if !found {
                return Err(UnknownCheck(name.into()));
            }
        }
        Ok(selection)
    }

    /// Whether anything of the check at `index` of [`CHECKS`] was asked for.
    pub fn includes(&self, index: usize) -> bool {
        self.0.contains_key(&index)
    }

    /// Whether a row of this check was asked for.
    fn wants(&self, index: usize, id: &str) -> bool {
        self.0.get(&index).is_some_and(|rows| rows.is_empty() || rows.iter().any(|row| row == id))
    }
}

/// Runs the selected checks side by side and returns when all have answered, or at the deadline of `facts`.
pub fn examine(selection: &Selection, facts: &Arc<Facts>) -> Report {
    run_table(CHECKS, selection, facts)
}

fn run_table(checks: &'static [Check], selection: &Selection, facts: &Arc<Facts>) -> Report {
    let begin = Instant::now();
    let (answers, inbox) = mpsc::channel();
    let spawn = |index: usize| {
        let (answers, facts) = (answers.clone(), Arc::clone(facts));
        let ask = move || {
            // A bug in one check is that check's row.
            let said = std::panic::catch_unwind(AssertUnwindSafe(|| (checks[index].run)(&facts)));
            // Past the deadline nobody listens any more.
            let _ = answers.send((index, said.ok(), begin.elapsed()));
        };
        thread::Builder::new().name(checks[index].id.into()).spawn(ask)
    };
    let mut waiting: VecDeque<usize> = selection.0.keys().copied().collect();
    let (mut running, mut refused) = (0_usize, None);
    let mut verdicts = BTreeMap::new();
    let deadline = facts.deadline();
    loop {
        // Where there may be few threads, a check begins as another ends.
        while let Some(&index) = waiting.front() {
            match spawn(index) {
                Ok(_) => running += 1,
                Err(err) => {
                    refused = Some(err);
                    break;
                }
            }
            waiting.pop_front();
        }
        if running == 0 && (waiting.is_empty() || Instant::now() >= deadline) {
            break;
        }
        if running == 0 {
            // What answered a moment ago may not be gone yet.
            thread::sleep(RETRY_TIME);
            continue;
        }
        match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((index, said, took)) => {
                running -= 1;
                if let Some(said) = said {
                    verdicts.insert(index, (said, took));
                }
            }
            Err(_) => break,
        }
    }
    let mut rows = vec![];
    for &index in selection.0.keys() {
        let check = &checks[index];
        let (said, took) = verdicts.remove(&index).unwrap_or_else(|| {
            let err = refused.as_ref().filter(|_| waiting.contains(&index));
            (vec![silence(check, begin, deadline, err)], begin.elapsed())
        });
        let made = said.into_iter().map(|verdict| verdict.into_row(check, took));
        rows.extend(made.filter(|row| selection.wants(index, &row.id)));
    }
    Report { rows, took: begin.elapsed() }
}

/// The verdict on a check that did not answer, or never began because of `refused`.
fn silence(check: &Check, begin: Instant, deadline: Instant, refused: Option<&io::Error>) -> Verdict {
    if let Some(err) = refused {
        let fix = remedy::for_process(err).unwrap_or_else(|| check.if_silent.into());
        return Verdict::fail(format!("no thread could be started for it: {err}"), fix);
    }
    if Instant::now() < deadline {
        let fix = "this is a bug in pearlbed: a report was named above, please send it";
        return Verdict::fail("the check ended without an answer", fix);
    }
    // Rounded down to tenths: the deadline, not the scheduler's share.
    let waited =
        Duration::from_millis(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX) / 100 * 100);
    Verdict::fail(format!("no answer within {}", text::duration(waited)), check.if_silent)
}

impl Report {
    /// Whether nothing failed.
    pub fn ok(&self) -> bool {
        self.count(State::Fail) == 0
    }

    /// How many rows are in this state.
    pub fn count(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.state == state).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::home::{Env, Home};

    #[test]
    fn ids_are_unique_and_every_check_says_what_it_is_for() {
        let ids: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
        for check in CHECKS {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(check.id.chars().all(plain), "{}", check.id);
            assert!(!check.question.is_empty() && !check.if_silent.is_empty(), "{}", check.id);
            assert!(
                Section::ALL.iter().all(|section| !section.name().eq_ignore_ascii_case(check.id)),
                "{}",
                check.id
            );
        }
        let sections: Vec<_> = CHECKS.iter().map(|check| check.section).collect();
        assert!(sections.is_sorted(), "the table is in the order of the sections");
    }

    #[test]
    fn a_selection_takes_ids_rows_and_sections_and_refuses_what_is_unknown() {
        let count =
            |names: &[&str]| Selection::only(names.iter().copied()).map(|selection| selection.0.len()).ok();
        assert_eq!(count(&["cpu"]), Some(1));
        assert_eq!(count(&["cpu", "cpu/x", "memory"]), Some(2));
        let hardware = CHECKS.iter().filter(|check| check.section == Section::Hardware).count();
        assert_eq!(count(&["hardware"]), Some(hardware));
        assert_eq!(count(&["cpu", "moon"]), None);
        let err = Selection::only(["moon"]).unwrap_err();
        assert!(err.hint().unwrap().contains("cpu"));
    }

    fn facts(limit: Duration) -> Arc<Facts> {
        let home = tempfile::tempdir().unwrap();
        let mut facts = Facts::new(Scope::new(Home::at(home.path()), Env::default()));
        facts.set_limit(limit);
        Arc::new(facts)
    }

    fn check(id: &'static str, run: fn(&Facts) -> Vec<Verdict>) -> Check {
        Check { id, section: Section::Hardware, question: "?", if_silent: "wake it", run }
    }

    #[test]
    fn a_check_that_hangs_is_a_row_and_holds_no_other_up() {
        let table: &'static [Check] = Box::leak(Box::new([
            check("hangs", |_| {
                loop {
                    thread::park();
                }
            }),
            check("answers", |_| vec![Verdict::ok("fine")]),
        ]));
        let selection = Selection([(0, vec![]), (1, vec![])].into());
        let report = run_table(table, &selection, &facts(Duration::from_millis(300)));
        assert_eq!(report.rows[0].state, State::Fail);
        assert!(report.rows[0].finding.starts_with("no answer within"), "{}", report.rows[0].finding);
        assert_eq!(report.rows[0].fix.as_deref(), Some("wake it"));
        assert_eq!((report.rows[1].state, report.rows[1].finding.as_str()), (State::Ok, "fine"));
        assert!(!report.ok());
    }

    #[test]
    fn a_check_that_panics_is_a_row_and_is_not_waited_for() {
        let table: &'static [Check] = Box::leak(Box::new([check("panics", |_| panic!("on purpose"))]));
        let begin = Instant::now();
        let report = run_table(table, &Selection([(0, vec![])].into()), &facts(Duration::from_secs(600)));
        assert!(begin.elapsed() < Duration::from_secs(300));
        assert_eq!(report.rows[0].finding, "the check ended without an answer");
        assert!(!report.ok());
    }

    #[test]
    fn one_row_of_many_can_be_asked_for() {
        let table: &'static [Check] = Box::leak(Box::new([check("gpu", |_| {
            vec![Verdict::ok("one").of("1"), Verdict::fail("two", "mend it").of("2")]
        })]));
        let selection = Selection([(0, vec!["gpu/1".into()])].into());
        let report = run_table(table, &selection, &facts(Duration::from_secs(60)));
        assert_eq!(report.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["gpu/1"]);
        assert!(report.ok());
    }
}
