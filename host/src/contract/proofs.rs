//! What the proofs of a trial tell: whether each verifies, and whether as many came as the reported work makes due.

use std::collections::BTreeSet;

use pearl_pow::{CertificateVersion, Header, Rejection, Target, verify};

use super::trial::Record;
use super::words::Event;
use super::{Findings, past};

/// How improbable proofs must be at the rate that is told before it counts as untrue.
const IMPROBABLE: f64 = 1e-6;

/// What was seen under one job.
#[derive(Default)]
struct Tally {
    total: u64,
    good: u64,
    twice: u64,
    bad: Vec<String>,
}

/// Verifies every proof, and holds them against what was reported.
pub fn judge(record: &Record, found: &mut Findings) {
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
}
