//! `pearlbed status`: how the session stands, in text or as JSON.

mod containers;
mod miners;
mod page;
mod pools;
mod session;

use std::time::Duration;

use self::page::{LABEL, Page};
use super::render::DIM;
use super::watch::{self, History, Keys};
use super::{Context, Error};
use crate::exit::Exit;
use crate::session::look;
use crate::session::report::{ProofReport, Report};

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
            let hint = report.hint.as_deref().map(|hint| context.addressed(hint));
            let mut text = render(&Report { hint, ..report.clone() }, context.width());
            if is_drawn {
                history.push(report.hashrate.so_far.or(report.hashrate.raw.s10));
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
    session::troubles(&mut page, report);
    // The same advice once: with the trouble, which says more.
    let said =
        |hint: &&String| session::troubled(report).any(|(_, trouble)| trouble.hint.as_ref() == Some(hint));
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
        session::running(&mut page, report);
    }
    for (index, line) in report.log.iter().rev().take(3).rev().enumerate() {
        page.labelled(if index == 0 { "log" } else { "" }, DIM, &short(line));
    }
    page.out
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::luck::VerifiedRate;
    use crate::session::report::*;
    use crate::session::state::State;
    use crate::text::columns;

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
