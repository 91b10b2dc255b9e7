//! `pearlbed plugins verify`: the contract, tried out obligation by obligation.

use std::path::PathBuf;

use serde_json::json;

use super::{Chosen, chosen};
use crate::cli::bench::setting;
use crate::cli::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use crate::cli::{Context, Error, PluginDirs};
use crate::contract::{self, Plan, Progress, Refused, Report, State, Verdict};
use crate::exit::Exit;
use crate::plugins::ProbeOptions;
use crate::text::{self, printable, printable_path};

const EXAMPLES: &str = "\
The plugin mines for some seconds in confined processes, with what the
configuration grants it and no more. docs/contract.md has the obligations.

Examples:
  pearlbed plugins verify ./libmy_provider.so
  pearlbed plugins verify my-provider --full --json
  pearlbed plugins verify my-provider --extra device=0

Exit status: 0 if no obligation is broken, else 1.";

/// Try whether a plugin keeps the contract, obligation by obligation
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The id of a provider, or the path of a file
    #[arg(value_name = "ID|PATH")]
    plugin: PathBuf,

    /// Look for proofs for twenty seconds with each certificate version, instead of a few, and see how little memory it
    /// mines with
    #[arg(long)]
    full: bool,

    /// A setting of the provider's, over [mining.extra] of the configuration (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    extra: Vec<(String, serde_json::Value)>,

    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    plugins: PluginDirs,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let path = match chosen(&args.plugin, &args.plugins, context)? {
        Chosen::File(path) => path,
        Chosen::Skipped(entry) => entry.path,
    };
    let config = context.config(&[])?;
    let mut probe = ProbeOptions::new(crate::hardware::inspect(&crate::hardware::Options::default()).info);
    probe.timeout = config.plugins.probe_timeout;
    probe.debug = config.plugins.debug;
    probe.model = config.mining.model.clone().unwrap_or_default();
    let plan = Plan {
        full: args.full,
        extra: args.extra.iter().cloned().collect(),
        probe,
        relaxed: args.plugins.relaxed(context),
        trust: args.plugins.trust(context),
    };
    let report = contract::run(&path, &config, &plan, &mut |progress| {
        context.note(&match progress {
            Progress::Probes => "asking it what it can do, twice".to_owned(),
            Progress::Mines(version) => format!("mining with it, certificate version {version}"),
            Progress::Settings => "starting it with settings that nobody knows".to_owned(),
            Progress::LessMemory(bytes) => format!("mining with it in {} of memory", text::bytes(bytes)),
        });
    })?;
    // Without a home there were no sessions.
    let past = match (&report.id, context.home()) {
        (Some(id), Ok(home)) => contract::refused(&home.refused_dir(), id),
        _ => vec![],
    };
    if args.json {
        let mut answer = json!({ "schema": 1, "path": printable_path(&path), "refused": past });
        if let (Some(answer), Ok(serde_json::Value::Object(report))) =
            (answer.as_object_mut(), serde_json::to_value(&report))
        {
            answer.extend(report);
        }
        context.print_json(&answer)?;
    } else {
        let mut text = render(&report, &printable_path(&path), context.width());
        render_panics(&mut text, &report.panics);
        render_past(&mut text, &past, context.width());
        context.print(&text)?;
    }
    // Nothing is broken where nothing could be tried, and nothing is shown either.
    let unusable = |verdict: &Verdict| {
        verdict.state == State::Untried && verdict.finding.starts_with("it cannot be used")
    };
    Ok(match report.ok {
        true if report.obligations.iter().any(unusable) => Exit::Futile,
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

/// The columns at which findings stand.
const INDENT: usize = 14;

fn render(report: &Report, path: &str, width: usize) -> String {
    let mut out = String::new();
    // Many that were not tried for one reason are told in one line.
    let same = |one: &Verdict, other: &Verdict| {
        (one.state, other.state) == (State::Untried, State::Untried) && one.finding == other.finding
    };
    for group in report.obligations.chunk_by(same) {
        let [verdict, .., last] = group else {
            group.iter().for_each(|verdict| obligation(&mut out, verdict, width));
            continue;
        };
        let first = format!("{}  {}  ", padded(WARN, "untried", 7), padded(BOLD, verdict.id, 3));
        let text = format!("to {}: {}", last.id, verdict.finding);
        hanging(&mut out, &first, INDENT, &text, width);
    }
    if !report.withheld.is_empty() {
        let text = format!(
            "it was tried without {}, which it wants and the configuration does not grant",
            printable(&report.withheld.join(", "))
        );
        hanging(&mut out, &styled(WARN, "note: "), 6, &text, width);
    }
    for less in &report.memory {
        let mined = if less.mined { "it mines" } else { "it does not mine" };
        let text = format!("in {} of memory {mined}: {}", text::bytes(less.bytes), less.finding);
        hanging(&mut out, &styled(DIM, "note: "), 6, &text, width);
    }
    out.push('\n');
    let count = |state| report.obligations.iter().filter(|verdict| verdict.state == state).count();
    let name = match (&report.id, &report.version) {
        (Some(id), Some(version)) => printable(&format!("{id} {version}")).into_owned(),
        _ => path.to_owned(),
    };
    let summary = format!(
        "{name}: {} kept, {} broken, {} untried",
        count(State::Pass),
        count(State::Fail),
        count(State::Untried)
    );
    hanging(&mut out, "", 0, &summary, width);
    out
}

/// One obligation, and what was seen of it.
fn obligation(out: &mut String, verdict: &Verdict, width: usize) {
    let (style, word) = match verdict.state {
        State::Pass => (GOOD, "ok"),
        State::Untried => (WARN, "untried"),
        State::Fail => (BAD, "broken"),
    };
    let first = format!("{}  {}  ", padded(style, word, 7), padded(BOLD, verdict.id, 3));
    hanging(out, &first, INDENT, verdict.asked, width);
    // What holds needs no more words; what does not gets them all.
    if verdict.state != State::Pass {
        let first = format!("{:INDENT$}{}", "", styled(DIM, "seen: "));
        hanging(out, &first, INDENT + 6, &verdict.finding, width);
    }
    if let Some(fix) = verdict.fix {
        let first = format!("{:INDENT$}{}", "", styled(DIM, "fix: "));
        hanging(out, &first, INDENT + 5, fix, width);
    }
}

/// Lines of a backtrace that are shown; the first that tell are near its beginning.
const PANIC_LINES_MAX: usize = 60;

/// What it printed where it panicked, where that was asked for.
fn render_panics(out: &mut String, panics: &[String]) {
    let Some(first) = panics.first() else { return };
    out.push_str("\nit panicked, and printed:\n");
    for line in first.lines().take(PANIC_LINES_MAX) {
        out.push_str(&format!("  {}\n", printable(line)));
    }
    if panics.len() > 1 || first.lines().count() > PANIC_LINES_MAX {
        out.push_str("  … and more; --json has all\n");
    }
}

/// Refused proofs that are shown.
const PAST_MAX: usize = 3;

/// What sessions refused: news to whoever has fixed everything above.
fn render_past(out: &mut String, past: &[Refused], width: usize) {
    if past.is_empty() {
        return;
    }
    out.push('\n');
    let count = if past.len() == 1 { "a proof".to_owned() } else { format!("{} proofs", past.len()) };
    hanging(out, "", 0, &format!("sessions in this home refused {count} of its:"), width);
    for one in past.iter().take(PAST_MAX) {
        let text = format!("at `{}`: {}", printable(&one.stage), printable(&one.message));
        hanging(out, "  ", 4, &text, width);
        if let Some(cause) = &one.cause {
            let label = if one.confirmed { "cause: " } else { "likely: " };
            let first = format!("    {}", styled(DIM, label));
            hanging(out, &first, 4 + label.len(), &printable(cause), width);
        }
        out.push_str(&format!("    pearlbed verify {}\n", one.path));
    }
    if past.len() > PAST_MAX {
        let more = format!("… and {} more; --json has all", past.len() - PAST_MAX);
        hanging(out, "  ", 2, &more, width);
    }
}

/// The hidden command behind it: a confined process that tries one plugin.
pub mod trial {
    use super::*;

    /// Try a plugin for the process that started this one
    #[derive(clap::Args, Debug)]
    pub struct Args {}

    /// Confines itself, does what it is told, and ends.
    pub fn run(_: &Args, _: &Context) -> Result<Exit, Error> {
        let entered = crate::sandbox::enter()?;
        contract::run_child(entered.channel.into())
    }
}
