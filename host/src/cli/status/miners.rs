//! The miners of a session, and the devices of each.

use std::time::Duration;

use super::page::Page;
use crate::cli::render::{BOLD, DIM, WARN};
use crate::session::report::{
    ConfinementReport, DeviceProofs, DeviceReport, MinerReport, ProgramReport, ProofReport, RateReport,
    Windows,
};
use crate::text::{duration, hashrate};

/// One of several miners.
pub(super) fn miner(page: &mut Page, miner: &MinerReport) {
    let version = miner.plugin.as_ref().map(|plugin| format!(" {}", plugin.version)).unwrap_or_default();
    let process = miner.provider_pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let style = match miner.condition.as_str() {
        "mining" => BOLD,
        "gone" => DIM,
        _ => WARN,
    };
    page.labelled("miner", style, &format!("{}: {}", miner.name, miner.condition));
    if miner.condition == "removed" {
        // Its counts are in the totals still.
        return page.row("", &counts(miner));
    }
    match &miner.program {
        Some(program) => page.row("", &program_text(program)),
        None => page.row("", &format!("{}{version}{process}", miner.provider)),
    }
    if let Some(reason) = &miner.reason {
        page.labelled("", WARN, reason);
    }
    if let Some(hint) = &miner.hint {
        page.row("", hint);
    }
    if miner.program.is_none() {
        page.row("", &windows(&miner.hashrate));
    }
    let verified = miner.hashrate.verified.map(|rate| {
        let (low, high) = (hashrate(rate.low), hashrate(rate.high));
        format!("verified {} (95 %: {low} to {high})", hashrate(rate.hashrate))
    });
    let verdict = miner.hashrate.verdict.clone();
    let claims: Vec<String> = verified.into_iter().chain(verdict).collect();
    if !claims.is_empty() {
        page.row("", &claims.join("; "));
    }
    page.row("", &counts(miner));
    devices(page, miner);
    if !miner.confinement.withheld.is_empty() {
        page.row("", &format!("not granted: {}", miner.confinement.withheld.join(", ")));
    }
    for (what, count) in miner.confinement.denied.iter().take(3) {
        page.labelled("", WARN, &format!("denied: {what} ({count} times)"));
    }
    if let Some(error) = &miner.last_error {
        page.row("", &format!("last error: {error}"));
    }
}

/// What one miner found, and how often it was started again.
fn counts(miner: &MinerReport) -> String {
    let ProofReport { found, verified, late, refused, .. } = &miner.proofs;
    let restarts = match miner.restarts {
        0 => String::new(),
        restarts => format!("; {restarts} restarts"),
    };
    format!("{found} found, {verified} verified, {late} late, {refused} refused{restarts}")
}

/// Which program it is, where, and when it was heard last.
fn program_text(program: &ProgramReport) -> String {
    let ProgramReport { dialect, agent, address, pid, connections, last_request_at, .. } = program;
    let agent = if agent.is_empty() { "a program" } else { agent };
    let process = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let now = crate::sidecar::unix_seconds(std::time::SystemTime::now());
    let heard = last_request_at
        .filter(|_| *connections > 0)
        .map(|at| format!(", heard {} ago", duration(Duration::from_secs(now.saturating_sub(at)))))
        .unwrap_or_default();
    let many = if *connections > 1 { format!(", {connections} connections") } else { String::new() };
    format!("{agent} over the {dialect} dialect ({address}{process}){many}{heard}")
}

/// What it mines on, device by device.
pub(super) fn devices(page: &mut Page, miner: &MinerReport) {
    for device in &miner.devices {
        let mut names = vec![device.name.clone()];
        names.extend(device.address.clone());
        names.extend(device.temperature_celsius.map(|degrees| format!("{degrees:.0} °C")));
        names.extend(device.power_watts.map(|watts| format!("{watts:.0} W")));
        page.row("device", &names.join(", "));
        let shown = |rate: Option<f64>| rate.map_or("-".to_owned(), hashrate);
        let Windows { s10, s60, m15 } = device.raw;
        let claim = match device.hashrate {
            // It counts no hashes that a window could be made of.
            Some(rate) if s10.is_none() => format!("; {} by its own word", hashrate(rate)),
            _ => String::new(),
        };
        let rates = format!("10 s {}, 60 s {}, 15 m {}{claim}", shown(s10), shown(s60), shown(m15));
        page.row("", &rates);
        // What a single device found stands above: it is the miner's.
        if miner.devices.len() > 1 {
            let accused = device.judgement.as_ref().is_some_and(|judgement| judgement.verdict.accuses());
            page.labelled("", if accused { WARN } else { anstyle::Style::new() }, &finds(device));
        }
        if let Some(error) = &device.last_error {
            page.labelled("", WARN, error);
        }
    }
}

/// What one of several devices found, as far as that is known.
fn finds(device: &DeviceReport) -> String {
    let restarts = device.restarts.filter(|restarts| *restarts > 0);
    let restarts = restarts.map_or_else(String::new, |restarts| format!("; {restarts} restarts"));
    let verdict = device.verdict.as_ref().map(|verdict| format!("; {verdict}")).unwrap_or_default();
    let Some(DeviceProofs { found, verified, late, refused }) = &device.proofs else {
        return format!("its proofs are not told{verdict}{restarts}");
    };
    let rate = device.verified.map(|rate| {
        let (low, high) = (hashrate(rate.low), hashrate(rate.high));
        format!("; verified {} (95 %: {low} to {high})", hashrate(rate.hashrate))
    });
    let rate = rate.unwrap_or_default();
    format!("{found} found, {verified} verified, {late} late, {refused} refused{rate}{verdict}{restarts}")
}

/// What holds the process of the only miner.
pub(super) fn confinement(page: &mut Page, confinement: &ConfinementReport) {
    if let Some(summary) = &confinement.summary {
        let granted = match confinement.granted.as_slice() {
            [] => "nothing granted".to_owned(),
            granted => format!("granted {}", granted.join(", ")),
        };
        page.row("confined", &format!("{summary}; {granted}"));
    }
    if !confinement.withheld.is_empty() {
        page.row("withheld", &confinement.withheld.join(", "));
    }
    for (index, (what, count)) in confinement.denied.iter().take(5).enumerate() {
        let times = if *count == 1 { String::new() } else { format!(" ({count} times)") };
        page.labelled(if index == 0 { "denied" } else { "" }, WARN, &format!("{what}{times}"));
    }
}

/// Its claimed rate by window.
pub(super) fn windows(rate: &RateReport) -> String {
    let raw = &rate.raw;
    if let Some(so_far) = rate.so_far {
        return format!("{} so far", hashrate(so_far));
    }
    let shown = |rate: Option<f64>| rate.map_or("n/a".to_owned(), hashrate);
    format!("10 s {}, 60 s {}, 15 m {}", shown(raw.s10), shown(raw.s60), shown(raw.m15))
}
