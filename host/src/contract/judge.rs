//! From what was seen in a trial to verdicts: plain functions of a record. What proofs tell is in `proofs`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::trial::Record;
use super::words::{Event, Refusal, Step};
use super::{Findings, proofs};
use crate::sandbox::Crash;
use crate::text;

/// The longest that `start` may take, in milliseconds.
const START_MS: u64 = 10_000;
/// The longest that `stop` may take.
const STOP_MS: u64 = 5_000;
/// The longest that a stale job may be worked on.
const LEAVE_MS: u64 = 2_000;
/// The longest that `stats` may take.
const STATS_MS: u64 = 250;
/// The longest time without progress.
const SILENCE_MS: u64 = 2_000;
/// The most reports of progress in a second.
const REPORTS_PER_SECOND: f64 = 1000.0;
/// Log lines that are fine at once, and in a second from then on.
const LINES: (u64, u64) = (200, 20);
/// The longest reason of a refusal, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Judges one trial under which `memory_bytes` were allowed. `manifest` is what the file shows.
pub fn judge(record: &Record, memory_bytes: u64, manifest: Option<&Value>, found: &mut Findings) {
    for event in &record.events {
        of_event(event, manifest, found);
    }
    proofs::judge(record, found);
    late(record, found);
    let panicked = record.stderr.text.lines().find(|line| line.contains(" panicked at "));
    ending(record, memory_bytes, panicked.is_some(), found);
    if let Some(line) = panicked.filter(|_| reached(record, Step::Offer)) {
        let message =
            record.stderr.text.lines().skip_while(|other| *other != line).nth(1).unwrap_or_default();
        found.fail("P26", format!("{}: {}", line.trim(), message.trim()));
    } else if reached(record, Step::Offer) {
        found.pass("P26", "no panic was seen");
    }
    if record.violations.is_empty() {
        if reached(record, Step::Offer) {
            found.pass("P27", "it tried nothing else");
        }
    } else {
        let tried: Vec<_> = record.violations.iter().take(3).map(String::as_str).collect();
        found.fail("P27", format!("it {}", tried.join(", ")));
    }
    let printed = &record.stdout;
    let printed = if printed.is_empty() && panicked.is_none() { &record.stderr } else { printed };
    if !printed.is_empty() && record.ending.is_none() {
        let line = printed.text.lines().next().unwrap_or_default();
        found.fail("P28", format!("it printed `{}`", cut(line, 80)));
    } else if record.rubbish > 0 {
        found.fail("P28", "it wrote to a channel that is not its own".to_owned());
    } else if reached(record, Step::Offer) {
        found.pass("P28", "it printed nothing");
    }
}

fn reached(record: &Record, step: Step) -> bool {
    record.step.is_some_and(|last| last >= step && last != Step::Settings)
}

/// How the process ended, where it did not come to its own end.
fn ending(record: &Record, memory_bytes: u64, panicked: bool, found: &mut Findings) {
    let words = record.step.map_or("before it was loaded", Step::words);
    let limit = text::bytes(memory_bytes);
    let peak = text::bytes(record.memory_peak_bytes);
    let starved = record.overdrawn
        || record.ending.is_some_and(|_| {
            record.memory_peak_bytes >= memory_bytes / 10 * 8
                || record.stderr.text.contains("memory allocation of ")
        });
    if starved {
        return found.fail("P24", format!("it used up its {limit} {words}"));
    }
    if record.timed_out {
        let id = match record.step {
            Some(Step::Make) | None => "P6",
            Some(Step::Start | Step::Settings) => "P9",
            Some(Step::Stats) => "P21",
            Some(Step::Again) => "P18",
            Some(Step::StopUnstarted) => "P19",
            Some(Step::Stop | Step::End | Step::Settle) => "P16",
            Some(_) => "P10",
        };
        return found.fail(id, format!("it did not return {words}"));
    }
    if let Some(ending) = record.ending {
        let id = match record.step {
            Some(Step::Make) | None => "P8",
            Some(Step::Undeclared) => "P22",
            Some(Step::Settings) => "P23",
            _ if panicked => "P26",
            _ => "P25",
        };
        return found
            .fail(id, format!("its process ended {words}: {}", Crash::words(record.crash.as_ref(), ending)));
    }
    if reached(record, Step::Offer) {
        found.pass("P24", format!("at most {peak} of {limit}"));
        found.pass("P25", "its process came to its own end");
    }
}

fn of_event(event: &Event, manifest: Option<&Value>, found: &mut Findings) {
    let slow = |took: u64, most: u64| took > most;
    match event {
        Event::NotMade(failure) => found.fail("P3", failure.reason("").reason),
        Event::Manifest(text) => {
            found.pass("P3", "it was loaded, and made its provider");
            let answered: Option<Value> = serde_json::from_str(text.trim_end_matches('\0')).ok();
            match (answered, manifest) {
                (Some(answered), Some(shown)) if answered == *shown => found.pass("P2", "both say the same"),
                (None, _) => found.fail("P2", "its code answers what is no JSON".to_owned()),
                (Some(answered), shown) => found.fail("P2", difference(&answered, shown)),
            }
        }
        Event::Running { told, is } if told == is => found.pass("P20", "it told what was true"),
        Event::Running { told: true, .. } => {
            found.fail("P20", "it told that it mines while nothing was started".to_owned());
        }
        Event::Running { .. } => found.fail("P20", "it told that it does not mine after `start`".to_owned()),
        Event::Stopped { step: Step::StopUnstarted, error, .. } => match error {
            None => found.pass("P19", "it answered OK"),
            Some(why) => found.fail("P19", format!("with nothing started it answered: {}", quoted(why))),
        },
        Event::Stopped { error: Some(why), .. } => {
            found.fail("P16", format!("it answered: {}", quoted(why)));
        }
        Event::Stopped { took_ms, .. } if slow(*took_ms, STOP_MS) => {
            found.fail("P16", format!("it took {}", seconds(*took_ms)));
        }
        Event::Stopped { took_ms, .. } => found.pass("P16", format!("it took {}", seconds(*took_ms))),
        Event::Started { step, error, took_ms } => {
            let id = if *step == Step::Again { "P18" } else { "P9" };
            match error {
                Some(refusal) => found.fail(id, format!("it answered: {}", quoted(&refusal.reason))),
                None if slow(*took_ms, START_MS) => found.fail(id, format!("it took {}", seconds(*took_ms))),
                None if id == "P9" => found.pass(id, format!("it took {}", seconds(*took_ms))),
                None => {}
            }
        }
        Event::Took { step: Step::Offer, after_ms } => match after_ms {
            Some(after) => found.pass("P10", format!("after {}", seconds(*after))),
            None => found.fail("P10", "it took none".to_owned()),
        },
        Event::Took { after_ms, .. } => match after_ms {
            Some(after) if *after <= LEAVE_MS => {
                found.pass("P14", format!("the next was taken after {}", seconds(*after)))
            }
            Some(after) => found.fail("P14", format!("it took the next job after {}", seconds(*after))),
            None => found.fail("P14", "it did not take the next job".to_owned()),
        },
        Event::Idle { hashes, rate } if *hashes as f64 > rate * 0.1 + 1.0 => {
            found.fail(
                "P14",
                format!(
                    "with no job left it went on at {:.0} % of its speed",
                    *hashes as f64 / rate.max(1.0) * 100.0
                ),
            );
        }
        Event::Proved { took_ms, longest_silence_ms, reports, .. } => {
            // Where a proof came in milliseconds there were a few: what counts is how many a whole second has.
            let per_second = *reports as f64 / (*took_ms as f64 / 1000.0).max(1.0);
            if *longest_silence_ms > SILENCE_MS {
                found.fail("P32", format!("it reported nothing for {}", seconds(*longest_silence_ms)));
            } else if per_second > REPORTS_PER_SECOND {
                found.fail("P32", format!("it reported {per_second:.0} times a second"));
            } else if *reports > 0 {
                found.pass("P32", format!("{per_second:.0} times a second"));
            }
        }
        Event::Stats { error: Some(why), .. } => {
            found.fail("P21", format!("it answered: {}", quoted(why)));
        }
        Event::Stats { took_ms, .. } if slow(*took_ms, STATS_MS) => {
            found.fail("P21", format!("it took {}", seconds(*took_ms)));
        }
        Event::Stats { took_ms, .. } => found.pass("P21", format!("it took {}", seconds(*took_ms))),
        Event::Undeclared { proofs: 0 } => found.pass("P22", "it handed in nothing"),
        Event::Undeclared { proofs } => found.fail("P22", format!("it handed in {proofs} proofs")),
        Event::Threads { before, after, names } if after > before => {
            found.fail("P17", format!("{} left: {}", after - before, names.join(", ")));
        }
        Event::Threads { .. } => found.pass("P17", "none is left"),
        Event::Held(0) => found.pass("P30", "nothing is held"),
        Event::Held(count) => found.fail("P30", format!("{count} references are held")),
        Event::Again { took: false, .. } => found.fail("P18", "started again, it took no job".to_owned()),
        Event::Again { hashes: 0, proofs: 0, .. } => {
            found.fail("P18", "started again, it did no work".to_owned())
        }
        Event::Again { .. } => found.pass("P18", "it mined again"),
        Event::Settings { given, error, running } => strange(given, error.as_ref(), *running, found),
        Event::Logged { lines, most_a_second, some } => {
            if *most_a_second > LINES.0 {
                let first = some.first().map(|line| cut(line, 60)).unwrap_or_default();
                found.fail("P29", format!("it logged {most_a_second} lines in a second, such as `{first}`"));
            } else {
                found.pass("P29", format!("{lines} lines"));
            }
        }
        _ => {}
    }
}

fn difference(answered: &Value, shown: Option<&Value>) -> String {
    let Some(shown) = shown else { return "its file shows none".to_owned() };
    let names: BTreeSet<_> = [answered, shown]
        .iter()
        .filter_map(|value| value.as_object())
        .flatten()
        .map(|(name, _)| name)
        .collect();
    let other = names.into_iter().find(|name| answered.get(name.as_str()) != shown.get(name.as_str()));
    match other {
        Some(name) => format!(
            "`{name}` is {} in its code and {} in its file",
            brief(answered.get(name)),
            brief(shown.get(name))
        ),
        None => "its code answers no object".to_owned(),
    }
}

fn brief(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| cut(&value.to_string(), 40))
}

fn strange(given: &str, error: Option<&Refusal>, running: bool, found: &mut Findings) {
    match error {
        None => found.pass("P23", "it ignored them"),
        Some(refusal) if !refusal.in_order => {
            found.fail("P23", format!("on {given}: {}", quoted(&refusal.reason)))
        }
        Some(refusal) if text::printable(&refusal.reason) != refusal.reason => {
            found.fail("P23", format!("its reason on {given} holds control characters"));
        }
        Some(refusal) if refusal.reason.len() > REASON_BYTES_MAX => {
            found.fail("P23", format!("its reason on {given} has {} bytes", refusal.reason.len()));
        }
        Some(_) if running => found.fail("P23", format!("it refused {given}, and runs")),
        Some(refusal) => found.pass("P23", format!("it refused them: {}", quoted(&refusal.reason))),
    }
}

fn late(record: &Record, found: &mut Findings) {
    for event in &record.events {
        if let Event::Late { unknown, .. } = event {
            if *unknown > 0 {
                found.fail("P31", format!("{unknown} were for jobs that nobody gave out"));
            } else if reached(record, Step::Stop) {
                found.pass("P31", "all were for its own");
            }
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    text::duration(std::time::Duration::from_millis(milliseconds))
}

/// What the plugin's code says, as its own words.
fn quoted(words: &str) -> String {
    text::quotation(words, REASON_BYTES_MAX)
}

fn cut(text: &str, characters: usize) -> String {
    let short: String = text.chars().take(characters).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_was_doing_decides_what_its_end_is_held_against() {
        let ending = |step, signal, peak| {
            let ending = sandbox_ending(signal, peak);
            let record = Record {
                step: Some(step),
                ending: Some(ending),
                memory_peak_bytes: peak,
                ..Record::default()
            };
            let mut found = Findings::default();
            judge(&record, 1000, None, &mut found);
            found.failed()
        };
        assert_eq!(ending(Step::Make, 11, 0), ["P8"]);
        assert_eq!(ending(Step::Prove, 11, 0), ["P25"]);
        assert_eq!(ending(Step::Undeclared, 6, 0), ["P22"]);
        assert_eq!(ending(Step::Settings, 6, 0), ["P23"]);
        assert_eq!(ending(Step::Prove, 9, 900), ["P24"]);
        let record = Record { step: Some(Step::Stop), timed_out: true, ..Record::default() };
        let mut found = Findings::default();
        judge(&record, 1000, None, &mut found);
        assert_eq!(found.failed(), ["P16"]);
    }

    #[test]
    fn reports_are_counted_by_whole_seconds_and_missed_after_two() {
        let failed = |took_ms, longest_silence_ms, reports| {
            let proved = Event::Proved { hashes: 1, work: 1e6, took_ms, longest_silence_ms, reports };
            let mut found = Findings::default();
            judge(&Record { events: vec![proved], ..Record::default() }, 1000, None, &mut found);
            found.has_failed("P32")
        };
        // The first proof came after five milliseconds, with six reports or before any.
        assert!(!failed(5, 5, 6) && !failed(5, 5, 0));
        assert!(failed(5, 5, 1001) && failed(3000, 1, 3003) && !failed(3000, 1, 3000));
        assert!(failed(3000, 2001, 1) && failed(3000, 3000, 0));
    }

    fn sandbox_ending(signal: i32, memory_peak_bytes: u64) -> crate::sandbox::Ending {
        crate::sandbox::Ending { status: None, signal: Some(signal), memory_peak_bytes }
    }
}
