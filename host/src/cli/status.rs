//! `pearlbed status`: how the session stands, in text or as JSON.

mod containers;

use std::time::Duration;

use super::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use super::watch::{self, History, Keys};
use super::{Context, Error};
use crate::exit::Exit;
use crate::session::look;
use crate::session::report::{
    ConfinementReport, DeviceProofs, DeviceReport, MinerReport, ProgramReport, ProofReport, RateReport,
    Report, TroubleReport, Windows,
};
use crate::session::state::State;
use crate::text::{columns, duration, hashrate, printable, wrap};

/// Columns of the labels on the left.
const LABEL: usize = 11;
/// Between two looks of a watch.
const EVERY: Duration = Duration::from_secs(1);

/// Show how mining goes
///
/// Ends with status 0 while the session earns, 3 when none runs, 4 when one runs and does not earn, 5 when the network
/// wants a newer plugin, and 1 where nothing can be told.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed status                                  once
  pearlbed status --watch                          every second, until q
  pearlbed status --watch --json | jq .hashes      an object a line, each second
  pearlbed status --json | jq .hashrate.raw        for scripts
  pearlbed status >/dev/null || echo 'not earning' the exit status alone")]
pub struct Args {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    /// Show it again every second, until `q` or Ctrl-C; with --json an object a line
    #[arg(long)]
    watch: bool,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let is_drawn = args.watch && !args.json && context.is_terminal();
    let keys = if is_drawn { Keys::take() } else { None };
    let mut history = History::default();
    loop {
        let report = look::look(&home, context.env());
        if args.json && args.watch {
            context.print_json_line(&report)?;
        } else if args.json {
            context.print_json(&report)?;
        } else {
            let mut text = render(&report, context.width());
            if is_drawn {
                history.push(report.hashrate.raw.s10.or(report.hashrate.so_far));
                text.extend(history.line(LABEL));
                text = watch::frame(&text, watch::rows(), keys.is_some());
            } else if args.watch {
                text.push('\n');
            }
            context.print(&text)?;
        }
        if !args.watch || context.output_closed() {
            return Ok(report.exit());
        }
        match &keys {
            Some(keys) if keys.ends_within(EVERY) => return Ok(report.exit()),
            Some(_) => {}
            None => std::thread::sleep(EVERY),
        }
    }
}

/// The report as text of at most `width` columns.
fn render(report: &Report, width: usize) -> String {
    let mut page = Page { out: String::new(), width };
    page.heading(report);
    troubles(&mut page, report);
    // The same advice once: with the trouble, which says more.
    let said = |hint: &&String| troubled(report).any(|(_, trouble)| trouble.hint.as_ref() == Some(hint));
    if let Some(hint) = report.hint.as_ref().filter(|hint| !said(hint)) {
        page.row("hint", hint);
    }
    let many = report.miners.len() > 1;
    let many = many || report.miners.iter().any(|miner| miner.program.is_some());
    if let Some(provider) = report.provider.as_ref().filter(|id| !many && !id.is_empty()) {
        let version = report.plugin.as_ref().map(|plugin| format!(" {}", plugin.version)).unwrap_or_default();
        let process = report.provider_pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        page.row("provider", &format!("{provider}{version}{process}"));
    }
    if let Some(plugin) = report.plugin.as_ref().filter(|_| !many) {
        page.row("plugin", &plugin.path);
    }
    if let Some(device) = &report.device {
        page.row("device", device);
    }
    if report.supervisor_pid.is_none() && report.proofs == Default::default() {
        if let Some(last) = &report.last_session {
            let counts = |proofs: &ProofReport| {
                let ProofReport { found, verified, late, submitted, accepted, .. } = proofs;
                format!(
                    "{found} proofs found, {verified} verified, {late} late, {submitted} submitted, {accepted} accepted"
                )
            };
            page.row("then", &counts(&last.proofs));
            for miner in last.miners.iter().filter(|_| last.miners.len() > 1) {
                page.row("", &format!("{}: {}", miner.name, counts(&miner.proofs)));
            }
        }
    } else {
        running(&mut page, report);
    }
    for (index, line) in report.log.iter().rev().take(3).rev().enumerate() {
        page.labelled(if index == 0 { "log" } else { "" }, DIM, &short(line));
    }
    page.out
}

fn troubled(report: &Report) -> impl Iterator<Item = (&str, &TroubleReport)> {
    report
        .endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint.purpose.as_str(), endpoint.trouble.as_ref()?)))
}

fn troubles(page: &mut Page, report: &Report) {
    for (index, (purpose, trouble)) in troubled(report).enumerate() {
        let since = duration(Duration::from_secs_f64(trouble.since_seconds.max(0.0).floor()));
        let advice = trouble.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        let text = format!("{purpose}, for {since}: {}{advice}", trouble.text);
        page.labelled(if index == 0 { "trouble" } else { "" }, WARN, &text);
    }
}

fn running(page: &mut Page, report: &Report) {
    if let Some(work) = &report.work {
        page.row("work", &format!("{}: {}", work.source, work.sentence));
    }
    if let Some(job) = &report.job {
        let height = job.height.map(|height| format!("height {height}, ")).unwrap_or_default();
        let age = duration(Duration::from_secs_f64(job.age_seconds.max(0.0)));
        let taken = if job.taken { "" } else { ", not taken yet" };
        page.row("job", &format!("{height}certificate {}, {age} old{taken}", job.certificate_version));
    }
    if report.work.is_some() {
        page.row("hashrate", &windows(&report.hashrate));
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
    pools(page, report);
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
            confinement(page, &report.confinement);
            devices(page, one);
        }
        many => many.iter().for_each(|one| miner(page, one)),
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
    for (index, endpoint) in report.endpoints.iter().enumerate() {
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

fn pools(page: &mut Page, report: &Report) {
    let Some(pool) = &report.pool else { return };
    for (index, row) in pool.pools.iter().enumerate() {
        let state = match (row.in_use, pool.since_seconds, row.barred_seconds) {
            (true, Some(since), _) => {
                format!("in use for {}", duration(Duration::from_secs_f64(since.max(0.0).floor())))
            }
            (true, None, _) => "in use".to_owned(),
            (false, _, Some(left)) => {
                format!("left alone for {}", duration(Duration::from_secs_f64(left.max(0.0).ceil())))
            }
            (false, ..) => "not in use".to_owned(),
        };
        let name = row.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let latency = row
            .latency_ms
            .map(|(half, most)| format!(", replies in {half:.0} ms, 95 % within {most:.0} ms"))
            .unwrap_or_default();
        let label = if index == 0 { "pool" } else { "" };
        page.row(label, &format!("{}{name}: {state}, {}{latency}", row.address, row.security));
    }
    if let Some(why) = &pool.why_not_first {
        let probe = pool
            .next_probe_seconds
            .map(|left| {
                format!("; looked at again in {}", duration(Duration::from_secs_f64(left.max(0.0).ceil())))
            })
            .unwrap_or_default();
        page.row("", &format!("not the first of them: {why}{probe}"));
    }
    if let Some(row) = pool.pools.iter().find(|row| row.in_use).or(pool.pools.first()) {
        page.row("paid", &row.wallet);
    }
    page.row("shares", &pool.shares.sentence());
    if let Some(rate) = &pool.credited {
        let percent = 100.0 * rate.relative_error;
        page.row("credited", &format!("{} (± {percent:.0} %)", hashrate(rate.hashrate)));
    }
    if let Some(share) = &pool.share {
        let difficulty = crate::work::stratum::target::difficulty_text(share.difficulty);
        let hashes = crate::text::si(share.hashes, "H");
        page.row("share", &format!("difficulty {difficulty}, {hashes} on average"));
    }
}

/// One of several miners.
fn miner(page: &mut Page, miner: &MinerReport) {
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

fn devices(page: &mut Page, miner: &MinerReport) {
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
            page.row("", &finds(device));
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
    let Some(DeviceProofs { found, verified, late, refused }) = &device.proofs else {
        return format!("which proofs are its own is not told{restarts}");
    };
    let rate = device.verified.map(|rate| {
        let (low, high) = (hashrate(rate.low), hashrate(rate.high));
        format!("; verified {} (95 %: {low} to {high})", hashrate(rate.hashrate))
    });
    let rate = rate.unwrap_or_default();
    format!("{found} found, {verified} verified, {late} late, {refused} refused{rate}{restarts}")
}

fn confinement(page: &mut Page, confinement: &ConfinementReport) {
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

fn windows(rate: &RateReport) -> String {
    let raw = &rate.raw;
    if let Some(so_far) = rate.so_far.filter(|_| raw.s10.is_none()) {
        return format!("{} so far", hashrate(so_far));
    }
    let shown = |rate: Option<f64>| rate.map_or("n/a".to_owned(), hashrate);
    format!("10 s {}, 60 s {}, 15 m {}", shown(raw.s10), shown(raw.s60), shown(raw.m15))
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

/// A line of the log without its date, its level and, if it is the supervisor's, its speaker.
fn short(line: &str) -> String {
    let parts = || {
        let (stamp, rest) = line.split_once(' ')?;
        let time = stamp.split(['T', 'Z']).nth(1)?;
        let (_, rest) = rest.split_once(' ')?;
        let (speaker, text) = rest.trim_start().split_once(' ')?;
        Some((time, speaker, text.trim_start()))
    };
    match parts() {
        Some((time, "supervisor", text)) => format!("{time} {text}"),
        Some((time, speaker, text)) => format!("{time} {speaker}: {text}"),
        None => line.to_owned(),
    }
}

struct Page {
    out: String,
    width: usize,
}

impl Page {
    fn heading(&mut self, report: &Report) {
        let style = match report.state {
            _ if report.condition == "unknown" => WARN,
            State::Running if report.earning => GOOD,
            State::Failed => BAD,
            State::Running | State::Starting | State::Stopping => WARN,
            State::NotConfigured | State::Configured | State::Stopped => BOLD,
        };
        let state = if report.condition == "unknown" { "UNKNOWN".into() } else { report.state.to_string() };
        let since = report
            .since_seconds
            .map(|seconds| format!(", for {}", duration(Duration::from_secs_f64(seconds.max(0.0).floor()))))
            .unwrap_or_default();
        let devnet = report.work.as_ref().is_some_and(|work| work.source == "devnet");
        let what = match (&report.reason, report.earning) {
            // Nothing is earned with a block of a network of one's own.
            (None, true) if devnet => format!("mining{since}, on a test network: worth nothing"),
            (Some(reason), true) if devnet => {
                format!("mining{since}, on a test network: worth nothing; {reason}")
            }
            (None, true) => format!("earning{since}"),
            (Some(reason), true) => format!("earning{since}: {reason}"),
            (Some(reason), false) => reason.clone(),
            (None, false) => report.condition.clone(),
        };
        let first = format!("{}  ", styled(style, &state));
        hanging(&mut self.out, &first, columns(&state) + 2, &printable(&what), self.width);
    }

    fn row(&mut self, label: &str, text: &str) {
        self.labelled(label, anstyle::Style::new(), text);
    }

    fn labelled(&mut self, label: &str, style: anstyle::Style, text: &str) {
        let mut label = label;
        for line in wrap(&printable(text), self.width.saturating_sub(LABEL).max(20)) {
            self.out.push_str(&padded(DIM, label, LABEL));
            self.out.push_str(&styled(style, &line));
            self.out.push('\n');
            label = "";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::luck::VerifiedRate;
    use crate::session::report::*;

    fn busy() -> Report {
        Report {
            earning: true,
            condition: "earning".into(),
            since_seconds: Some(192.4),
            provider: Some("cpu-pearl".into()),
            provider_pid: Some(4_194_303),
            plugin: Some(PluginReport {
                path: format!("/{}", "very-long-folder/".repeat(9)),
                version: "0.1.0".into(),
                certificate_versions: vec![1, 2, 3],
            }),
            supervisor_pid: Some(1),
            work: Some(WorkReport {
                source: "devnet".into(),
                condition: "healthy".into(),
                sentence: "jobs come and proofs go".into(),
                reconnects: 0,
            }),
            job: Some(JobReport {
                height: Some(12),
                certificate_version: 3,
                age_seconds: 2.0,
                taken: true,
                taken_after_seconds: Some(0.001),
                hashes_per_proof: Some(1e9),
                hashes_per_share: None,
            }),
            hashrate: RateReport {
                raw: Windows { s10: Some(1.2e9), s60: None, m15: None },
                so_far: None,
                accepted: None,
                verified: Some(VerifiedRate { hashrate: 1e9, low: 5e8, high: 2e9 }),
                judgement: None,
                verdict: Some("within luck: 9 found, 10.0 due".into()),
            },
            expected_seconds: Expected { share: None, block: Some(1e12) },
            last_error: Some("a\x1b[2J line\nof others ".repeat(20)),
            log: vec!["2026-11-23T23:59:59Z info  supervisor  x".into()],
            ..Report::without_session(State::Running)
        }
    }

    #[test]
    fn the_text_never_exceeds_its_width_and_never_acts_on_the_terminal() {
        for width in [40, 60, 80] {
            let text = render(&busy(), width);
            let plain = anstream::adapter::strip_str(&text).to_string();
            for line in plain.lines() {
                assert!(columns(line) <= width, "{} columns: {line}", columns(line));
            }
            assert!(!plain.contains('\x1b') && plain.contains("\\u{1b}[2J"), "{plain}");
        }
    }

    #[test]
    fn trouble_is_told_with_since_when_and_what_to_do_and_its_advice_once() {
        let trouble = |text: &str, hint: &str| {
            let (text, hint) = (text.to_owned(), Some(hint.to_owned()));
            Some(TroubleReport { text, hint, since: 1_700_000_000, since_seconds: 75.9 })
        };
        let endpoint = |purpose: &str, trouble| EndpointReport {
            purpose: purpose.into(),
            address: "tcp:127.0.0.1:8337".into(),
            reachable: Some(false),
            trouble,
        };
        let report = Report {
            hint: Some("start it".into()),
            endpoints: vec![
                endpoint("gateway", trouble("cannot be reached", "start it")),
                endpoint("node", trouble("is away", "look at it")),
                endpoint("metrics", None),
            ],
            ..busy()
        };
        let text = anstream::adapter::strip_str(&render(&report, 80)).to_string();
        let lines: Vec<&str> = text.lines().skip(1).take(3).collect();
        assert_eq!(lines[0], "trouble    gateway, for 1 m 15 s: cannot be reached; start it");
        assert_eq!(lines[1], "           node, for 1 m 15 s: is away; look at it");
        assert!(lines[2].starts_with("provider"), "{text}");
        let report = Report { hint: Some("something else".into()), ..report };
        let text = anstream::adapter::strip_str(&render(&report, 80)).to_string();
        assert!(text.contains("\nhint       something else\n"), "{text}");
    }

    #[test]
    fn a_window_that_is_not_full_is_not_a_number() {
        let text = anstream::adapter::strip_str(&render(&busy(), 80)).to_string();
        assert!(text.contains("10 s 1.20 GH/s, 60 s n/a, 15 m n/a"), "{text}");
        assert!(
            text.starts_with("RUNNING  mining, for 3 m 12 s, on a test network: worth nothing\n"),
            "{text}"
        );
        assert!(text.contains("a block every 31.7 k years"), "{text}");
    }

    #[test]
    fn the_exit_status_says_whether_it_earns() {
        let report = busy();
        assert_eq!(report.exit(), Exit::Ok);
        let idle = Report { earning: false, condition: "idle".into(), ..busy() };
        assert_eq!(idle.exit(), Exit::NotEarning);
        let unfit = Report { earning: false, condition: "needs-update".into(), ..busy() };
        assert_eq!(unfit.exit(), Exit::NeedsUpdate);
        assert_eq!(Report { condition: "unknown".into(), earning: false, ..busy() }.exit(), Exit::Failed);
        for state in [State::NotConfigured, State::Configured, State::Stopped, State::Failed] {
            assert_eq!(Report::without_session(state).exit(), Exit::Stopped);
        }
    }

    #[test]
    fn several_miners_have_a_block_each_under_the_totals() {
        let mut fast = MinerReport::named("card");
        fast.condition = "mining".into();
        fast.hashrate.verified = Some(VerifiedRate { hashrate: 1e12, low: 8e11, high: 1.3e12 });
        fast.hashrate.verdict = Some("within luck: 9 found, 10.0 due".into());
        fast.devices = vec![DeviceReport {
            name: "Some Card\x1b[2J".into(),
            address: Some("0000:01:00.0".into()),
            hashrate: Some(1e12),
            raw: Windows { s10: Some(1.1e12), s60: None, m15: None },
            temperature_celsius: Some(61.4),
            power_watts: Some(312.0),
            ..DeviceReport::default()
        }];
        let mut broken = MinerReport::named("cpu");
        broken.condition = "restarting".into();
        broken.reason = Some("it ended".into());
        broken.restarts = 3;
        let report = Report { miners: vec![fast, broken], ..busy() };
        for width in [40, 80] {
            let text = anstream::adapter::strip_str(&render(&report, width)).to_string();
            assert!(text.lines().all(|line| columns(line) <= width), "{text}");
        }
        let text = anstream::adapter::strip_str(&render(&report, 200)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
        assert!(
            at("hashrate") < at("miner      card: mining") && at("miner      card") < at("miner      cpu")
        );
        assert!(text.contains("verified 1.00 TH/s (95 %: 800 GH/s to 1.30 TH/s); within luck"), "{text}");
        assert!(text.contains("Some Card\\u{1b}[2J, 0000:01:00.0, 61 °C, 312 W\n"), "{text}");
        assert!(text.contains("10 s 1.10 TH/s, 60 s -, 15 m -\n"), "{text}");
        assert!(text.contains("0 found, 0 verified, 0 late, 0 refused; 3 restarts"), "{text}");
        assert!(!text.contains("\nprovider "), "each has its own: {text}");
    }
}
