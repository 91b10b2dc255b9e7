//! `pearlbed plugins inspect`: everything about one plugin, step by step.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Chosen, chosen, entry_json, render_entry};
use crate::cli::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use crate::cli::{Context, Error, PluginDirs};
use crate::exit::Exit;
use crate::plugins::{CheckState, Entry, Options, Probe, ProbeOptions, survey_file, trust};
use crate::text::{self, printable, printable_path};

const INSPECT_EXAMPLES: &str = "\
The plugin is loaded and asked in a confined process: it can read and compute,
nothing else.

Examples:
  pearlbed plugins inspect my-provider
  pearlbed plugins inspect ./libmy_provider.so --probe-timeout 10s

Exit status: 0 if the plugin can be used, else 1.";

/// Look at one plugin closely: its file, what it says of itself, what it answers
#[derive(clap::Args, Debug)]
#[command(after_help = INSPECT_EXAMPLES)]
pub(super) struct Args {
    /// The id of a provider, or the path of a file
    #[arg(value_name = "ID|PATH")]
    plugin: PathBuf,

    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    plugins: PluginDirs,

    /// How long the plugin may take to answer, such as 500ms or 5s [default: as configured, else 2s]
    #[arg(long, allow_negative_numbers = true, value_name = "TIME", value_parser = crate::cli::time::parse)]
    probe_timeout: Option<Duration>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let hardware = crate::hardware::inspect(&crate::hardware::Options::default()).info;
    let mut probe = ProbeOptions::new(hardware);
    // As in `search_path`: a slip elsewhere in the configuration does not keep anyone from looking.
    let configured = context.config(&[]).ok();
    probe.model = configured.as_ref().and_then(|config| config.mining.model.clone()).unwrap_or_default();
    let configured = configured.map(|config| config.plugins);
    probe.debug = configured.as_ref().is_some_and(|plugins| plugins.debug);
    let configured = configured.map(|plugins| plugins.probe_timeout);
    if let Some(timeout) = args.probe_timeout.or(configured) {
        probe.timeout = timeout;
    }
    let options = Options {
        relaxed: args.plugins.relaxed(context),
        probe: Some(probe),
        trust: args.plugins.trust(context),
    };
    let entry = match chosen(&args.plugin, &args.plugins, context)? {
        Chosen::File(path) => survey_file(&path, &options),
        // A duplicate keeps its reason: asked by itself it would seem usable.
        Chosen::Skipped(entry) => *entry,
    };
    if args.json {
        context.print_json(&inspect_json(&entry))?;
    } else {
        context.print(&render_inspection(&entry, context.width()))?;
    }
    Ok(match entry.skipped() {
        None if entry.is_usable() => Exit::Ok,
        Some(reason) if reason.code == "missing" => Exit::Futile,
        _ => Exit::Failed,
    })
}

#[derive(Serialize)]
struct Confinement<'a> {
    landlock: bool,
    seccomp: bool,
    attempts_named: bool,
    missing: &'a [String],
}

fn inspect_json(entry: &Entry) -> Value {
    let mut plugin = entry_json(entry);
    if let Some(look) = &entry.look {
        plugin["real_path"] = printable_path(&look.real_path).into();
        plugin["checks"] = serde_json::to_value(&look.checks).unwrap_or_default();
        plugin["hash"] = trust::hash(&look.real_path).into();
    }
    plugin["look_milliseconds"] = (entry.look_time.as_secs_f64() * 1e3).into();
    if let Some(probe) = &entry.probe {
        plugin["probe"]["stdout"] = serde_json::to_value(&probe.stdout).unwrap_or_default();
        plugin["probe"]["stderr"] = serde_json::to_value(&probe.stderr).unwrap_or_default();
        let report = &probe.confinement;
        let confinement = Confinement {
            landlock: report.landlock,
            seccomp: report.seccomp,
            attempts_named: report.notify,
            missing: &report.failed,
        };
        plugin["probe"]["confinement"] = serde_json::to_value(confinement).unwrap_or_default();
    }
    json!({ "schema": 1, "plugin": plugin })
}

fn render_inspection(entry: &Entry, width: usize) -> String {
    let mut out = String::new();
    render_entry(&mut out, entry, width);
    if let Some(look) = &entry.look {
        heading(&mut out, "File");
        if look.real_path != entry.path {
            hanging(&mut out, "  ", 2, &format!("leads to {}", printable_path(&look.real_path)), width);
        }
        for check in &look.checks {
            let (style, word) = match check.state {
                CheckState::Ok => (GOOD, "ok"),
                CheckState::Warn => (WARN, "warn"),
                CheckState::Fail => (BAD, "fail"),
                CheckState::Skip => (DIM, "skip"),
            };
            let first = format!("  {}  {}  ", padded(style, word, 4), padded(BOLD, check.id, 9));
            hanging(&mut out, &first, 19, &check.finding, width);
        }
        if let Some(hash) = trust::hash(&look.real_path) {
            hanging(&mut out, "  ", 2, &format!("BLAKE3 {hash}"), width);
        }
        hanging(&mut out, "  ", 2, &format!("looked at in {}", text::duration(entry.look_time)), width);
    }
    if let Some(manifest) = entry.manifest() {
        heading(&mut out, "Manifest");
        let list = |texts: &[String]| if texts.is_empty() { "none".into() } else { texts.join(", ") };
        let rows = [
            ("homepage", manifest.homepage.clone()),
            ("platforms", list(&manifest.platforms)),
            ("engines", list(&manifest.engines)),
        ];
        for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
            hanging(&mut out, &format!("  {}  ", padded(DIM, name, 9)), 13, &printable(value), width);
        }
        if !manifest.settings.is_empty() {
            heading(&mut out, "Settings");
            for line in crate::cli::config::settings_text(&manifest.settings, width.saturating_sub(2)).lines()
            {
                out.push_str(&format!("  {line}\n"));
            }
        }
    }
    match &entry.probe {
        Some(probe) => render_probe(&mut out, probe, entry.container().is_some(), width),
        None => {
            heading(&mut out, "Probe");
            hanging(&mut out, "  ", 2, "not probed: it is skipped for what was seen of its file", width);
        }
    }
    out
}

fn render_probe(out: &mut String, probe: &Probe, compared: bool, width: usize) {
    heading(out, if compared { "Comparison" } else { "Probe" });
    let mut line = |text: &str| hanging(out, "  ", 2, text, width);
    match &probe.answer {
        Ok(answer) => {
            let word =
                if answer.supported { "can mine on this machine" } else { "cannot mine on this machine" };
            let because =
                answer.reason.as_ref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
            line(&format!("it {word}{because}"));
            if let Some(rate) = answer.estimated_hashrate {
                line(&format!("it expects {}", text::hashrate(rate)));
            }
        }
        Err(reason) => line(&format!("no answer: {}", reason.reason)),
    }
    for impurity in &probe.impurities {
        line(&format!("impure: it {}", impurity.finding));
    }
    if compared {
        return line("there is no code in it: what it requires was compared with this machine");
    }
    let steps = [("loaded", probe.times.load), ("answered", probe.times.detect)];
    let mut times: Vec<String> = steps
        .into_iter()
        .filter_map(|(step, time)| Some(format!("{step} in {}", text::duration(time?))))
        .collect();
    times.push(format!("{} in all", text::duration(probe.times.total)));
    line(&times.join(", "));
    for missing in &probe.confinement.failed {
        line(&format!("confined with less: {}", printable(missing)));
    }
    for (name, captured) in [("Standard output", &probe.stdout), ("Standard error", &probe.stderr)] {
        if captured.is_empty() {
            continue;
        }
        heading(out, name);
        let lines: Vec<&str> = captured.text.lines().collect();
        for text in lines.iter().take(LINES_MAX) {
            hanging(out, "  ", 2, &printable(cut(text)), width);
        }
        let more = lines.len().saturating_sub(LINES_MAX);
        if more > 0 || captured.bytes_left_out > 0 {
            let text = format!(
                "… {more} more lines and {} more; --json has what was kept",
                text::bytes(captured.bytes_left_out)
            );
            hanging(out, "  ", 2, &text, width);
        }
    }
}

/// The most lines of captured output that are shown.
const LINES_MAX: usize = 20;

/// A captured line, of a length that a person reads.
fn cut(line: &str) -> &str {
    line.char_indices().nth(400).map_or(line, |(end, _)| &line[..end])
}

fn heading(out: &mut String, text: &str) {
    out.push('\n');
    out.push_str(&styled(BOLD, text));
    out.push('\n');
}
