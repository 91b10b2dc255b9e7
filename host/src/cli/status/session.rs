//! What a session does as a whole: its work, its rates and proofs, its trouble.

use std::time::Duration;

use super::page::Page;
use super::{containers, miners, pools};
use crate::cli::render::{BOLD, WARN};
use crate::session::report::{OtherWallet, Report, TroubleReport};
use crate::text::{duration, hashrate};

/// What is wrong with each endpoint, by its purpose.
pub(super) fn troubled(report: &Report) -> impl Iterator<Item = (&str, &TroubleReport)> {
    report
        .endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint.purpose.as_str(), endpoint.trouble.as_ref()?)))
}

/// Writes that.
pub(super) fn troubles(page: &mut Page, report: &Report) {
    for (index, (purpose, trouble)) in troubled(report).enumerate() {
        let since = duration(Duration::from_secs_f64(trouble.since_seconds.max(0.0).floor()));
        let advice = trouble.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        let text = format!("{purpose}, for {since}: {}{advice}", trouble.text);
        page.labelled(if index == 0 { "trouble" } else { "" }, WARN, &text);
    }
}

/// Writes what runs.
pub(super) fn running(page: &mut Page, report: &Report) {
    if let Some(work) = &report.work {
        page.row("work", &format!("{}: {}", work.source, work.sentence));
    }
    if let Some(other) = &report.other_wallet {
        page.labelled("wallet", WARN, &format!("{}; {}", other.sentence(), OtherWallet::FIX));
    }
    if let Some(job) = &report.job {
        let height = job.height.map(|height| format!("height {height}, ")).unwrap_or_default();
        let age = duration(Duration::from_secs_f64(job.age_seconds.max(0.0)));
        let taken = if job.taken { "" } else { ", not taken yet" };
        page.row("job", &format!("{height}certificate {}, {age} old{taken}", job.certificate_version));
    }
    if report.work.is_some() {
        page.row("hashrate", &miners::windows(&report.hashrate));
    }
    if let Some(rate) = &report.hashrate.verified {
        let (low, high) = (hashrate(rate.low), hashrate(rate.high));
        page.row("verified", &format!("{} (95 %: {low} to {high})", hashrate(rate.hashrate)));
    }
    if let Some(verdict) = &report.hashrate.verdict {
        page.row("", verdict);
    }
    let proofs = &report.proofs;
    let mut counts = format!(
        "{} found, {} verified, {} late; {} that pay: {} submitted, {} accepted, {} rejected, {} stale",
        proofs.found,
        proofs.verified,
        proofs.late,
        proofs.paying,
        proofs.submitted,
        proofs.accepted,
        proofs.rejected,
        proofs.stale
    );
    if proofs.spare > 0 {
        counts.push_str(&format!("; {} more than blocks can be made of", proofs.spare));
    }
    if proofs.refused > 0 {
        let stages: Vec<String> =
            proofs.refused_by.iter().map(|(stage, count)| format!("{stage} {count}")).collect();
        counts.push_str(&format!(", {} refused here ({})", proofs.refused, stages.join(", ")));
    }
    if proofs.not_sent > 0 {
        counts.push_str(&format!(", {} not sent", proofs.not_sent));
    }
    if proofs.untraced > 0 {
        counts.push_str(&format!(", {} untraced", proofs.untraced));
    }
    if proofs.pending > 0 {
        counts.push_str(&format!(", {} on disk", proofs.pending));
    }
    page.row("proofs", &counts);
    pools::pools(page, report);
    if let Some(seconds) = report.expected_seconds.share {
        let easier = report.pool.as_ref().and_then(|pool| pool.easier(seconds));
        let advice = easier.map(|advice| format!("; {advice}")).unwrap_or_default();
        page.row("expected", &format!("a share every {}{advice}", about(seconds)));
    }
    if let Some(seconds) = report.expected_seconds.block {
        page.row("expected", &format!("a block every {}", about(seconds)));
    }
    for one in &report.containers {
        for (index, line) in containers::lines(one).iter().enumerate() {
            let style = if one.phase == "serving" { BOLD } else { WARN };
            match index {
                0 => page.labelled("container", style, line),
                _ => page.row("", line),
            }
        }
    }
    match report.miners.as_slice() {
        [one] if one.program.is_none() => {
            miners::confinement(page, &report.confinement);
            miners::devices(page, one);
        }
        many => many.iter().for_each(|one| miners::miner(page, one)),
    }
    if report.restarts > 0 && report.miners.len() <= 1 {
        let (failures, failures_max) = report.failures;
        page.row(
            "restarts",
            &format!("{} ({failures} failures in a row, given up at {failures_max})", report.restarts),
        );
    }
    let flood = &report.flood;
    if flood.log_lines_dropped > 0 || flood.pipe_throttled > 0 {
        page.row(
            "flood",
            &format!(
                "{} log lines dropped, pipe slowed down {} times",
                flood.log_lines_dropped, flood.pipe_throttled
            ),
        );
    }
    if let Some(error) = &report.last_error {
        page.row("last error", error);
    }
    // The record is nothing that is talked to: where it is in trouble, that stands above.
    let endpoints = report.endpoints.iter().filter(|endpoint| endpoint.purpose != "record");
    for (index, endpoint) in endpoints.enumerate() {
        let state = match endpoint.reachable {
            Some(true) => "",
            Some(false) => " (not reachable)",
            None if endpoint.trouble.is_some() => " (cannot be asked)",
            None => " (not tried yet)",
        };
        let label = if index == 0 { "endpoints" } else { "" };
        page.row(label, &format!("{} {}{state}", endpoint.purpose, endpoint.address));
    }
}

/// Expected times range from milliseconds to ages of the universe.
fn about(seconds: f64) -> String {
    const YEAR: f64 = 365.25 * 86_400.0;
    if seconds >= 2.0 * YEAR {
        format!("{} years", crate::text::si(seconds / YEAR, "").trim_end())
    } else {
        duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}
