//! From what was seen to verdicts: plain functions of a record.

use std::collections::BTreeSet;

use pearl_pow::{CertificateVersion, Header, Rejection, Target, verify};
use serde_json::Value;

use super::trial::Record;
use super::words::{Event, Refusal, Step};
use super::{Findings, past};
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
/// How improbable proofs must be at the rate that is told before it counts as untrue.
const IMPROBABLE: f64 = 1e-6;
/// The longest reason of a refusal, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Judges one trial under which `memory_bytes` were allowed. `manifest` is what the file shows.
pub fn judge(record: &Record, memory_bytes: u64, manifest: Option<&Value>, found: &mut Findings) {
    for event in &record.events {
        of_event(event, manifest, found);
    }
    proofs(record, found);
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
        Event::NotMade(why) => found.fail("P3", why.clone()),
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
            Some(why) => found.fail("P19", format!("with nothing started: {why}")),
        },
        Event::Stopped { error: Some(why), .. } => found.fail("P16", format!("it answered: {why}")),
        Event::Stopped { took_ms, .. } if slow(*took_ms, STOP_MS) => {
            found.fail("P16", format!("it took {}", seconds(*took_ms)));
        }
        Event::Stopped { took_ms, .. } => found.pass("P16", format!("it took {}", seconds(*took_ms))),
        Event::Started { step, error, took_ms } => {
            let id = if *step == Step::Again { "P18" } else { "P9" };
            match error {
                Some(refusal) => found.fail(id, format!("it answered: {}", refusal.reason)),
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
            let per_second = *reports as f64 / (*took_ms as f64 / 1000.0).max(0.001);
            if *reports == 0 || *longest_silence_ms > SILENCE_MS {
                found.fail("P32", format!("it reported nothing for {}", seconds(*longest_silence_ms)));
            } else if per_second > REPORTS_PER_SECOND {
                found.fail("P32", format!("it reported {per_second:.0} times a second"));
            } else {
                found.pass("P32", format!("{per_second:.0} times a second"));
            }
        }
        Event::Stats { error: Some(why), .. } => found.fail("P21", why.clone()),
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
        Some(refusal) if !refusal.in_order => found.fail("P23", format!("on {given}: {}", refusal.reason)),
        Some(refusal) if text::printable(&refusal.reason) != refusal.reason => {
            found.fail("P23", format!("its reason on {given} holds control characters"));
        }
        Some(refusal) if refusal.reason.len() > REASON_BYTES_MAX => {
            found.fail("P23", format!("its reason on {given} has {} bytes", refusal.reason.len()));
        }
        Some(_) if running => found.fail("P23", format!("it refused {given}, and runs")),
        Some(refusal) => found.pass("P23", format!("it refused them: {}", refusal.reason)),
    }
}

/// What was seen under one job.
#[derive(Default)]
struct Tally {
    total: u64,
    good: u64,
    twice: u64,
    bad: Vec<String>,
}

/// Verifies every proof, and holds them against what was reported.
fn proofs(record: &Record, found: &mut Findings) {
    let mut job = None;
    let mut tally = Tally::default();
    let mut seen = BTreeSet::new();
    // Without one proof at all, nothing says whether the speed or the search is wrong.
    let mut barren: Option<String> = None;
    let mut came = 0;
    for event in &record.events {
        match event {
            Event::Job { id, header, target, certificate } => {
                job = read_job(header, target, *certificate).map(|job| (*id, job));
                tally = Tally::default();
            }
            Event::Proof { job: of, bytes } => {
                let Some((_, job)) = job.as_ref().filter(|(id, _)| id == of) else { continue };
                tally.total += 1;
                if !seen.insert(bytes) {
                    tally.twice += 1;
                    continue;
                }
                let Some(bytes) = unhex(bytes) else {
                    tally.bad.push("its bytes were lost".to_owned());
                    continue;
                };
                match verify::verify_canonical(job, &bytes) {
                    Ok(_) => tally.good += 1,
                    Err(refused) => tally.bad.push(refusal_words(job, &bytes, &refused)),
                }
            }
            Event::Proved { hashes, work, .. } => {
                let expected = *hashes as f64 / work;
                came += tally.total;
                if tally.total == 0 {
                    barren =
                        Some(format!("none came, where {expected:.0} were due at the speed that it tells"));
                    continue;
                }
                of_job(&tally, found);
                match barren.take() {
                    Some(words) => found.fail("P13", words),
                    None if *hashes > 0 && tally.bad.is_empty() => honest(expected, tally.good, found),
                    None => {}
                }
            }
            _ => {}
        }
    }
    match barren {
        Some(words) => found.fail("P11", words),
        None if came > 0 => found.pass("P11", format!("{came} came")),
        None => {}
    }
}

/// Where a proof was refused, why, and what is probably behind it.
fn refusal_words(job: &verify::Job, bytes: &[u8], refused: &Rejection) -> String {
    let stage = refused.stage().map(|stage| format!("{stage}: ")).unwrap_or_default();
    let cause = match past::mistake(job, bytes, refused) {
        Some((mistake, true)) => format!("; the cause: {mistake}"),
        Some((mistake, false)) => format!("; likely: {mistake}"),
        None => String::new(),
    };
    format!("{stage}{refused}{cause}")
}

fn of_job(tally: &Tally, found: &mut Findings) {
    let Tally { total, good, twice, bad } = tally;
    if *twice > 0 {
        found.fail("P15", format!("{twice} of {total} had been handed in before"));
    } else {
        found.pass("P15", format!("{total} were different"));
    }
    match bad.first() {
        Some(why) => found.fail("P12", format!("{} of {total} were refused, such as at {why}", bad.len())),
        None => found.pass("P12", format!("{good} verified")),
    }
}

/// Whether `found` proofs are plausible where `expected` were due.
fn honest(expected: f64, found: u64, findings: &mut Findings) {
    let words = format!("{found} proofs came, {expected:.1} were due");
    if poisson_tail(expected, found) < IMPROBABLE {
        findings.fail("P13", words);
    } else {
        findings.pass("P13", words);
    }
}

/// How probable it is that a count with the mean `mean` is at least as far from it as `count`, on its side.
fn poisson_tail(mean: f64, count: u64) -> f64 {
    if mean <= 0.0 {
        return if count == 0 { 1.0 } else { 0.0 };
    }
    let term = |k: u64| {
        let log_factorial: f64 = (1..=k).map(|i| (i as f64).ln()).sum();
        (k as f64 * mean.ln() - mean - log_factorial).exp()
    };
    if (count as f64) < mean {
        // Far below a large mean every term is as good as none.
        if mean > 1e5 {
            return if (mean - count as f64) / mean.sqrt() > 6.0 { 0.0 } else { 1.0 };
        }
        (0..=count).map(term).sum()
    } else {
        let mut sum = 0.0;
        for k in count..count + 500 {
            sum += term(k);
        }
        sum
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

fn read_job(header: &str, target: &str, certificate: u32) -> Option<verify::Job> {
    Some(verify::Job {
        header: Header::from_bytes(unhex(header)?.try_into().ok()?),
        target: Some(Target::from_le_bytes(unhex(target)?.try_into().ok()?)),
        certificate: CertificateVersion::try_from(certificate).ok()?,
        rank_penalty: true,
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

fn seconds(milliseconds: u64) -> String {
    text::duration(std::time::Duration::from_millis(milliseconds))
}

fn cut(text: &str, characters: usize) -> String {
    let short: String = text.chars().take(characters).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_the_table() {
        assert!((poisson_tail(10.0, 3) - 0.010_336).abs() < 1e-5);
        assert!((poisson_tail(10.0, 20) - 0.003_454).abs() < 1e-5);
        assert!(poisson_tail(1000.0, 0) < 1e-100 && poisson_tail(1e9, 5) < IMPROBABLE);
        assert!(poisson_tail(40.0, 35) > IMPROBABLE && poisson_tail(0.0, 0) > 0.5);
    }

    #[test]
    fn hexadecimal_is_read_back_and_nothing_else() {
        assert_eq!(unhex("00ff7a"), Some(vec![0, 255, 0x7a]));
        assert_eq!((unhex("0"), unhex("zz"), unhex("é")), (None, None, None));
    }

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

    fn sandbox_ending(signal: i32, memory_peak_bytes: u64) -> crate::sandbox::Ending {
        crate::sandbox::Ending { status: None, signal: Some(signal), memory_peak_bytes }
    }
}
