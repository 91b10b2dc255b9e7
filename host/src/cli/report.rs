//! `pearlbed doctor --report`: one file to attach to a report of something that is wrong.
//!
//! It holds what whoever reads it will ask for, and none of what is nobody else's business: every line passes
//! [`Redactor`]. It is text, so that whoever sends it can read it first.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use super::{Context, Error, config};
use crate::config::Config;
use crate::doctor::redact::Redactor;
use crate::session::{log, look};
use crate::text::{bytes, printable_path};

/// Last lines of the log.
const LOG_LINES: usize = 200;
/// Files that are listed, and how deep.
const FILES_MAX: usize = 200;
const DEPTH_MAX: usize = 3;
/// Variables whose values are shown: they decide where things lie.
const PLACES: [&str; 5] =
    ["PEARLBED_HOME", "OPENJARVIS_HOME", "XDG_DATA_HOME", "PEARLBED_PLUGIN_PATH", "LD_LIBRARY_PATH"];

const HEADING: &str = "\
# pearlbed report

Made by `pearlbed doctor --report`, to be attached to a report of a fault. Left out: values of secrets, user names and
queries of addresses, names of people in paths. Shortened: wallets and accounts, and the home folder to `~`. Read it before
you send it.
";

/// The whole report, with `checks` (rendered as text) and `facts` (as JSON) in their place.
pub fn text(context: &Context, checks: &str, facts: &str) -> String {
    let config = context.config(&[]);
    let redactor = Redactor::new(context.env(), config.as_ref().ok());
    let mut out = String::from(HEADING);
    section(&mut out, "Versions", &versions());
    section(&mut out, "Environment", &environment(context));
    section(&mut out, "Checks", &anstream::adapter::strip_str(checks).to_string());
    section(&mut out, "Configuration", &configuration(&config, context));
    section(&mut out, "Files", &files(context));
    section(&mut out, "Session", &session(context));
    section(&mut out, "Log", &last_lines(context));
    section(&mut out, "Hardware and plugins", facts);
    redactor.text(&out)
}

fn section(out: &mut String, name: &str, text: &str) {
    let text = text.trim_end();
    write!(out, "\n## {name}\n\n{}\n", if text.is_empty() { "nothing" } else { text })
        .expect("writing to a String never fails");
}

/// Writes `text` to `path`, readable by its owner, or to stdout for `-`; a file that is there is left as it is.
///
/// # Errors
///
/// Where the file is there already, or cannot be written.
pub fn write(context: &Context, path: &Path, text: &str) -> Result<(), Error> {
    if path == Path::new("-") {
        return context.print(text);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|err| {
        let there = err.kind() == io::ErrorKind::AlreadyExists;
        let err = Error::of_other_file(format!("failed to write {}", printable_path(path)), err, path);
        match there {
            true if path.is_dir() => err.with_hint("it is a folder: name a file in it"),
            true => err.with_hint("remove it, or name another file: `pearlbed doctor --report FILE`"),
            false => err,
        }
    })?;
    context.note(&format!(
        "wrote {} ({}): read it before you send it; secrets are left out, and wallet addresses shortened",
        printable_path(path),
        bytes(text.len() as u64)
    ));
    Ok(())
}

fn versions() -> String {
    let system = rustix::system::uname();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let there = |path: &str| Path::new(path).exists();
    let container = match (crate::remedy::container(), std::process::id()) {
        (Some(engine), _) => format!("in a container of {engine}"),
        (None, 1 | 2) => "in a container".into(),
        _ => "no container that says so".into(),
    };
    format!(
        "pearlbed     {} ({} {})\nplugin API   {}\nsystem       {}\nkernel       {} {}\nsystemd      {}\n\
         container    {container}\nuser         {}\nmade at      {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        pearlbed_plugin_api::abi::VERSIONS.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        release.trim_matches('"'),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        if there("/run/systemd/system") { "runs" } else { "does not run" },
        if rustix::process::geteuid().is_root() { "root" } else { "not root" },
        log::timestamp(std::time::SystemTime::now()),
    )
}

/// Places with their values; of everything else that is ours, the names.
fn environment(context: &Context) -> String {
    let env = context.env();
    let mut out = String::new();
    for (name, value) in env.with_prefix("").filter(|(name, _)| PLACES.contains(name)) {
        writeln!(out, "{name}={value}").expect("writing to a String never fails");
    }
    for (name, _) in env.with_prefix("PEARLBED_").filter(|(name, _)| !PLACES.contains(name)) {
        writeln!(out, "{name} is set").expect("writing to a String never fails");
    }
    out
}

fn configuration(config: &Result<Config, Error>, context: &Context) -> String {
    match config {
        Ok(config) => {
            let text = config::as_text(config, true, usize::MAX);
            anstream::adapter::strip_str(&text).to_string()
        }
        Err(err) => {
            let why = err.chain().collect::<Vec<_>>().join(": ");
            format!("cannot be used: {why}\n{}", unused(context))
        }
    }
}

/// The keys of a configuration that cannot be used, without what might be anybody's business: what a wrong key means nobody
/// knows.
fn unused(context: &Context) -> String {
    let file = context.home().map(|home| home.config_file());
    let text = file.ok().and_then(|file| crate::config::read_file(&file).ok()).unwrap_or_default();
    let Ok(table) = text.parse::<toml::Table>() else { return String::new() };
    let mut out = String::from("\nits keys, and texts by their length alone:\n\n");
    for section in ["mining", "plugins"] {
        if let Some(value) = table.get(section) {
            keys(section, value, &mut out);
        }
    }
    out
}

fn keys(path: &str, value: &toml::Value, out: &mut String) {
    let path = &crate::text::printable(path);
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| keys(&format!("{path}.{key}"), value, out));
        }
        toml::Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                keys(&format!("{path}.{at}"), value, out);
            }
        }
        toml::Value::String(text) => {
            writeln!(out, "{path} (a text of {} characters)", text.chars().count())
                .expect("writing to a String never fails");
        }
        plain => writeln!(out, "{path} = {plain}").expect("writing to a String never fails"),
    }
}

/// What is ours in a home folder that others share.
const OURS: [&str; 5] = ["config.toml", "logs", "plugins", "runtime", "pearlbed"];

/// The home folder: the mode, owner and size of each of our files, and no content. Of what others keep there the number.
fn files(context: &Context) -> String {
    let Ok(home) = context.home() else { return "there is no home folder".into() };
    let mut out = format!("{} ({})\n", printable_path(home.root()), home.origin().describe());
    let mut left = FILES_MAX;
    let others = list(home.root(), 1, &mut left, &mut out);
    if others > 0 {
        writeln!(out, "  and {others} of other programs").expect("writing to a String never fails");
    }
    if left == 0 {
        out.push_str("… and more\n");
    }
    out
}

/// Lists `folder`; of the home itself, at depth 1, ours alone. Answers how many others there are.
fn list(folder: &Path, depth: usize, left: &mut usize, out: &mut String) -> usize {
    use std::os::unix::fs::MetadataExt;
    let mut entries: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().collect(),
        Err(err) => {
            writeln!(out, "{:indent$}{err}", "", indent = depth * 2)
                .expect("writing to a String never fails");
            return 0;
        }
    };
    let all = entries.len();
    entries.retain(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        depth > 1 || OURS.iter().any(|ours| name.trim_start_matches('.').starts_with(ours))
    });
    let others = all - entries.len();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if *left == 0 {
            break;
        }
        *left -= 1;
        let name = crate::text::printable_os(&entry.file_name());
        let facts = match entry.metadata() {
            Ok(meta) => {
                let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
                format!("{mode:04o} {uid}:{gid} {:>9}", bytes(meta.len()))
            }
            Err(err) => err.to_string(),
        };
        writeln!(out, "{:indent$}{facts}  {name}", "", indent = depth * 2)
            .expect("writing to a String never fails");
        if depth < DEPTH_MAX && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), depth + 1, left, out);
        }
    }
    others
}

fn session(context: &Context) -> String {
    let Ok(home) = context.home() else { return String::new() };
    serde_json::to_string_pretty(&look::look(&home, context.env())).unwrap_or_default()
}

fn last_lines(context: &Context) -> String {
    let Ok(home) = context.home() else { return String::new() };
    let log::Tail { lines, unread } = log::tail(&home.log_file(), LOG_LINES, |_| true);
    // A log may have been written to by others.
    let mut text: String = lines.iter().map(|line| crate::text::printable(line) + "\n").collect();
    match unread {
        Some((part, err)) => {
            text.push_str(&format!("{} cannot be read: {err}\n", printable_path(&part)));
        }
        None if lines.is_empty() => text.push_str("there is no log"),
        None => {}
    }
    text
}
