//! `pearlbed plugins`: which plugins there are, what they say of themselves, and why one is not used.

mod inspect;
mod manage;
mod new;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::verify::trial;
use super::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use super::{Context, Error, PluginDirs};
use crate::exit::Exit;
use crate::home::NoHome;
use crate::plugins::{Entry, FolderState, Options, Probe, Survey, survey};
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
    Inspect(inspect::Args),
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

/// Lists or inspects.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    // Where nothing names a home the other folders are there still; one that cannot be used is no such case.
    if let Err(err @ NoHome::NotText { .. }) = context.home() {
        return Err(err.into());
    }
    match &args.command {
        Command::List(args) => list(args, context),
        Command::Inspect(args) => inspect::run(args, context),
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
        "container": entry.container().map(|file| json!({ "image": file.image.name })),
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
                FolderState::Listed { hidden: 0, .. } => {
                    "no file with the suffix .so, .dylib or .container.toml"
                }
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
        let kind = match entry.container() {
            Some(file) => format!("a container of the image {}", file.image.name),
            None => format!("plugin API {}", numbers(&manifest.plugin_api)),
        };
        under("", &format!("{kind}, certificate versions {}", numbers(&manifest.certificate_versions)));
        let wants: Vec<String> = manifest.permissions.iter().map(ToString::to_string).collect();
        under(
            "wants",
            &if entry.container().is_some() {
                "your docker or podman to run it; it gets jobs, and neither wallet nor node".into()
            } else if wants.is_empty() {
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
    let err = Error::new(format!("there is no provider `{}`", printable_path(wanted)));
    Err(err.with_hint(hint).with_exit(Exit::Futile))
}
