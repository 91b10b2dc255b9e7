//! `pearlbed plugins`: which plugins there are, what they say of themselves, and why one is not used.

mod manage;
mod new;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

pub use self::verify::trial;
use super::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use super::{Context, Error, PluginDirs};
use crate::exit::Exit;
use crate::plugins::trust;
use crate::plugins::{
    CheckState, Entry, FolderState, Options, Probe, ProbeOptions, Survey, survey, survey_file,
};
use crate::text::{self, columns, printable, printable_path};

const EXAMPLES: &str = "\
Examples:
  pearlbed plugins list                  every plugin, and why one is skipped
  pearlbed plugins list --json           the same for scripts
  pearlbed plugins inspect my-provider   everything known about one of them
  pearlbed plugins inspect ./my.so       the same for a file anywhere
  pearlbed plugins verify ./my.so        whether it keeps the contract
  pearlbed plugins new --lang c mine     a project for one of your own
  pearlbed plugins install ./my.so       copy it to where it is found";

/// List plugins, or look at one of them closely
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(List),
    Inspect(Inspect),
    Verify(verify::Args),
    New(new::Args),
    Install(manage::Install),
    Remove(manage::Remove),
    Trust(manage::TrustArgs),
    Block(manage::Block),
}

const LIST_EXAMPLES: &str = "\
Nothing of any plugin runs: what is shown is read from the files.

Examples:
  pearlbed plugins list
  pearlbed plugins list --plugin-dir ./out
  pearlbed plugins list --json | jq '.plugins[] | select(.state == \"skipped\")'";

/// List every plugin that is found, and why one is skipped
#[derive(clap::Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    plugins: PluginDirs,
}

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
struct Inspect {
    /// The id of a provider, or the path of a file
    #[arg(value_name = "ID|PATH")]
    plugin: PathBuf,

    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    plugins: PluginDirs,

    /// How long the plugin may take to answer, such as 500ms or 5s [default: as configured, else 2s]
    #[arg(long, allow_negative_numbers = true, value_name = "TIME", value_parser = super::time::parse)]
    probe_timeout: Option<Duration>,
}

/// Lists or inspects.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    match &args.command {
        Command::List(args) => list(args, context),
        Command::Inspect(args) => inspect(args, context),
        Command::Verify(args) => verify::run(args, context),
        Command::New(args) => new::run(args, context),
        Command::Install(args) => manage::install(args, context),
        Command::Remove(args) => manage::remove(args, context),
        Command::Trust(args) => manage::trust(args, context),
        Command::Block(args) => manage::block(args, context),
    }
}

fn list(args: &List, context: &Context) -> Result<Exit, Error> {
    let relaxed = args.plugins.relaxed(context);
    let found = survey(
        &args.plugins.search_path(context),
        &Options { relaxed, probe: None, trust: args.plugins.trust(context) },
    );
    if args.json {
        let plugins: Vec<Value> = found.entries.iter().map(entry_json).collect();
        context.print_json(&json!({ "schema": 1, "plugins": plugins }))?;
    } else {
        context.print(&render_list(&found, relaxed, context.width()))?;
    }
    Ok(Exit::Ok)
}

/// One entry of `plugins list --json`, which `doctor --json` shows as well.
pub fn entry_json(entry: &Entry) -> Value {
    let mut value = json!({
        "path": printable_path(&entry.path),
        "id": entry.id(),
        "version": entry.manifest().map(|manifest| &manifest.version),
        "state": if entry.is_usable() { "usable" } else { "skipped" },
        "code": entry.skipped().map(|reason| reason.code),
        "reason": entry.skipped().map(|reason| &reason.reason),
        "fix": entry.skipped().map(|reason| &reason.fix),
        "vendor": Value::Null,
        "license": Value::Null,
        "homepage": Value::Null,
        "summary": Value::Null,
        "plugin_api": [],
        "certificate_versions": [],
        "platforms": [],
        "engines": [],
        "permissions": [],
        "relaxed": entry.look.as_ref().is_some_and(|look| look.relaxed),
        "signature": entry.judgement.signed,
        "note": entry.judgement.note,
    });
    if let Some(Value::Object(manifest)) =
        entry.manifest().and_then(|manifest| serde_json::to_value(manifest).ok())
    {
        for (name, member) in manifest {
            value[name] = member;
        }
    }
    if let Some(probe) = &entry.probe {
        value["probe"] = probe_json(probe);
    }
    value
}

fn probe_json(probe: &Probe) -> Value {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let answer = probe.answer.as_ref().ok();
    json!({
        "supported": answer.map(|answer| answer.supported),
        "reason": answer.and_then(|answer| answer.reason.as_ref()),
        "estimated_hashrate": answer.and_then(|answer| answer.estimated_hashrate),
        "pure": probe.impurities.is_empty(),
        "impurities": probe.impurities,
        "milliseconds": {
            "load": probe.times.load.map(milliseconds),
            "detect": probe.times.detect.map(milliseconds),
            "total": milliseconds(probe.times.total),
        },
    })
}

fn render_list(found: &Survey, relaxed: bool, width: usize) -> String {
    let mut out = String::new();
    for entry in &found.entries {
        render_entry(&mut out, entry, width);
    }
    if relaxed {
        hanging(
            &mut out,
            &styled(WARN, "note: "),
            6,
            "owner and mode of files are not held against them, as you asked",
            width,
        );
    }
    for folder in &found.folders {
        if folder.state == FolderState::Ignored {
            let text = format!(
                "{} is not searched: this program runs with raised privileges",
                printable_path(&folder.path)
            );
            hanging(&mut out, &styled(WARN, "note: "), 6, &text, width);
        }
    }
    if found.entries.is_empty() {
        hanging(&mut out, "", 0, "No plugins found. These folders were searched:", width);
        for folder in &found.folders {
            let state = match &folder.state {
                FolderState::Listed { hidden: 0, .. } => "no file with the suffix .so or .dylib",
                FolderState::Listed { .. } => "hidden files alone, which are passed over",
                FolderState::Missing => "does not exist",
                FolderState::Repeated => "is one of the above",
                FolderState::Ignored => "not searched",
                FolderState::Failed(reason) => &reason.reason,
            };
            hanging(
                &mut out,
                "  ",
                2,
                &format!("{} ({}): {state}", printable_path(&folder.path), folder.origin.describe()),
                width,
            );
        }
        let next = "put a plugin into one of them, or name its folder with --plugin-dir";
        hanging(&mut out, &styled(BOLD, "next: "), 6, next, width);
        return out;
    }
    let usable = found.usable().count();
    let skipped = found.entries.len() - usable;
    out.push('\n');
    let mut summary = format!("{usable} usable, {skipped} skipped");
    if usable > 0 {
        summary.push_str("; `pearlbed doctor` asks them what they can do on this machine");
    }
    hanging(&mut out, "", 0, &summary, width);
    out
}

/// The columns that everything below the first line of an entry stands at.
const INDENT: usize = 9;

fn render_entry(out: &mut String, entry: &Entry, width: usize) {
    let (style, word) = if entry.is_usable() { (GOOD, "usable") } else { (BAD, "skipped") };
    let name = match entry.manifest() {
        Some(manifest) => format!("{} {}", printable(&manifest.id), printable(&manifest.version)),
        None => entry.path.file_name().map_or_else(|| printable_path(&entry.path), text::printable_os),
    };
    hanging(out, &format!("{}  ", padded(style, word, INDENT - 2)), INDENT, &name, width);
    let mut under = |label: &str, text: &str| {
        let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
        let first = format!("{:INDENT$}{}", "", styled(DIM, &label));
        hanging(out, &first, INDENT + columns(&label), text, width);
    };
    if let Some(reason) = entry.skipped() {
        under("", &format!("{} [{}]", reason.reason, reason.code));
        under("fix", &reason.fix);
    } else if let Some(manifest) = entry.manifest() {
        let numbers = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        if !manifest.summary.is_empty() {
            under("", &printable(&manifest.summary));
        }
        let vendor = if manifest.vendor.is_empty() { "an unnamed vendor" } else { &manifest.vendor };
        let license = if manifest.license.is_empty() { "no licence stated" } else { &manifest.license };
        under("", &printable(&format!("by {vendor}, {license}")));
        under(
            "",
            &format!(
                "plugin API {}, certificate versions {}",
                numbers(&manifest.plugin_api),
                numbers(&manifest.certificate_versions)
            ),
        );
        let wants: Vec<String> = manifest.permissions.iter().map(ToString::to_string).collect();
        under(
            "wants",
            &if wants.is_empty() {
                "nothing but to compute".into()
            } else {
                printable(&wants.join(", ")).into_owned()
            },
        );
    }
    if entry.manifest().is_some() {
        under("", &printable(&entry.judgement.signed.to_string()));
    }
    if let Some(note) = &entry.judgement.note {
        under("note", note);
    }
    if entry.look.as_ref().is_some_and(|look| look.relaxed) {
        under("note", "its owner or mode was let through as you asked");
    }
    under("", &printable_path(&entry.path));
}

fn inspect(args: &Inspect, context: &Context) -> Result<Exit, Error> {
    let hardware = crate::hardware::inspect(&crate::hardware::Options::default()).info;
    let mut probe = ProbeOptions::new(hardware);
    // As in `search_path`: a slip elsewhere in the configuration does not keep anyone from looking.
    let configured = || context.config(&[]).ok().map(|config| config.plugins.probe_timeout);
    if let Some(timeout) = args.probe_timeout.or_else(configured) {
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
    Ok(if entry.is_usable() { Exit::Ok } else { Exit::Failed })
}

enum Chosen {
    File(PathBuf),
    Skipped(Box<Entry>),
}

/// The file that the argument means: an id of the search path, else a path, else a file's name there.
fn chosen(wanted: &Path, plugins: &PluginDirs, context: &Context) -> Result<Chosen, Error> {
    let is_path = wanted.components().count() > 1 || wanted.extension().is_some() || wanted.is_absolute();
    let found = survey(
        &plugins.search_path(context),
        &Options { relaxed: plugins.relaxed(context), probe: None, trust: plugins.trust(context) },
    );
    if let Some(entry) = wanted.to_str().filter(|_| !is_path).and_then(|id| found.find(id)) {
        return Ok(Chosen::File(entry.path.clone()));
    }
    // The name that lists show a file by, where there is none of that name here.
    let is_here = wanted.symlink_metadata().is_ok();
    if !is_here && wanted.components().count() == 1 {
        let named = |entry: &&Entry| entry.path.file_name() == Some(wanted.as_os_str());
        if let Some(entry) = found.entries.iter().find(named) {
            return Ok(match entry.skipped() {
                Some(reason) if reason.code.starts_with("same-") => Chosen::Skipped(Box::new(entry.clone())),
                _ => Chosen::File(entry.path.clone()),
            });
        }
    }
    if is_path || is_here {
        let absolute = std::path::absolute(wanted).unwrap_or_else(|_| wanted.to_owned());
        let known = found.entries.into_iter().find(|entry| entry.path == absolute);
        return Ok(match known {
            Some(entry) if entry.skipped().is_some_and(|reason| reason.code.starts_with("same-")) => {
                Chosen::Skipped(Box::new(entry))
            }
            _ => Chosen::File(wanted.to_owned()),
        });
    }
    let ids: Vec<String> = found.entries.iter().filter_map(|entry| entry.id()).map(str::to_owned).collect();
    let hint = if ids.is_empty() {
        "no plugin was found; `pearlbed plugins list` says where they are looked for".into()
    } else {
        format!("the ids here are {}; a path needs a `/`", ids.join(", "))
    };
    Err(Error::new(format!("there is no provider `{}`", printable_path(wanted))).with_hint(hint))
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
            for line in super::config::settings_text(&manifest.settings, width.saturating_sub(2)).lines() {
                out.push_str(&format!("  {line}\n"));
            }
        }
    }
    match &entry.probe {
        Some(probe) => render_probe(&mut out, probe, width),
        None => {
            heading(&mut out, "Probe");
            hanging(&mut out, "  ", 2, "not probed: it is skipped for what was seen of its file", width);
        }
    }
    out
}

fn render_probe(out: &mut String, probe: &Probe, width: usize) {
    heading(out, "Probe");
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
