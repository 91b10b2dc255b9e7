//! `pearlbed config show`: the resolved settings, and where each came from.

use serde_json::json;

use super::{Context, Error, render};
use crate::config::keys::{KEYS, Kind};
use crate::config::{Config, Origin};
use crate::exit::Exit;
use crate::text::{columns, printable, printable_path};

const EXAMPLES: &str = "\
Examples:
  pearlbed config show             every setting in force
  pearlbed config show --origin    and which file line or variable set it
  pearlbed config show --json      for scripts
  pearlbed config keys             every key there is, with its meaning";

/// Show the configuration in force, and where it came from
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Print the resolved settings; secrets as the name of their variable
    #[command(after_help = "Example:\n  pearlbed config show --origin")]
    Show(Show),
    /// Print every key with its kind, default, environment variable and meaning
    #[command(after_help = "Example:\n  pearlbed config keys")]
    Keys,
}

#[derive(clap::Args, Debug)]
struct Show {
    /// Say where each value came from
    #[arg(long)]
    origin: bool,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the settings or the keys.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    match &args.command {
        Command::Keys => context.print(&keys(context.width()))?,
        Command::Show(show) => {
            let config = context.config(&[])?;
            if show.json {
                context.print_json(&as_json(&config))?;
            } else {
                context.print(&as_text(&config, show.origin, context.width()))?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn as_json(config: &Config) -> serde_json::Value {
    let settings: Vec<_> = config
        .rows()
        .into_iter()
        .map(|(path, key, setting)| {
            let (origin, line, name) = match setting.map(|setting| &setting.origin) {
                None => ("unset", None, None),
                Some(Origin::Default) => ("default", None, None),
                Some(Origin::File { line }) => ("file", Some(*line), None),
                Some(Origin::Environment(variable)) => ("environment", None, Some(variable)),
                Some(Origin::Flag(flag)) => ("flag", None, Some(flag)),
            };
            json!({
                "key": path,
                "value": setting.map(|setting| setting.value.to_json()),
                "origin": origin,
                "line": line,
                "name": name,
                "known": key.is_some(),
            })
        })
        .collect();
    json!({ "schema": 1, "file": config.path, "configured": config.configured, "settings": settings })
}

/// TOML that could be put into a file as it is, with the origins as comments.
pub(super) fn as_text(config: &Config, origin: bool, width: usize) -> String {
    let mut out = String::new();
    let state = match (config.path.exists(), config.configured) {
        (false, false) => "does not exist; `pearlbed init` writes it",
        (false, true) => "does not exist; the environment configures mining",
        (true, false) => "has no [mining] section; `pearlbed init` adds it",
        (true, true) => "",
    };
    let mut heading = format!("# {}", printable_path(&config.path));
    if !state.is_empty() {
        heading.push_str(&format!(" {state}"));
    }
    out.push_str(&render::styled(render::DIM, &heading));
    out.push('\n');

    let rows = config.rows();
    let mut tables: Vec<&str> = Vec::new();
    for (path, _, _) in &rows {
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    for table in tables {
        let lines: Vec<(String, Option<String>)> = rows
            .iter()
            .filter_map(|(path, key, setting)| {
                let (of, name) = path.rsplit_once('.')?;
                (of == table).then_some(())?;
                Some(match setting {
                    Some(setting) => {
                        let value = printable(&setting.value.to_toml()).into_owned();
                        (format!("{} = {value}", printable(name)), Some(setting.origin.to_string()))
                    }
                    None => {
                        (*key)?;
                        (format!("# {name} is not set"), None)
                    }
                })
            })
            .collect();
        if lines.is_empty() {
            continue;
        }
        out.push('\n');
        out.push_str(&render::styled(render::BOLD, &format!("[{}]", printable(table))));
        out.push('\n');
        // Where the origin does not fit behind a value, it stands on the line before it.
        let fits = |line: &str, from: &str| columns(line) + 4 + from.len() <= width;
        let behind = |(line, from): &(String, Option<String>)| {
            from.as_ref().filter(|from| fits(line, from)).map(|_| columns(line))
        };
        let widest = lines.iter().filter_map(behind).max().unwrap_or(0);
        for (line, from) in lines {
            match from {
                None => out.push_str(&render::styled(render::DIM, &line)),
                Some(from) if origin && !fits(&line, &from) => {
                    out.push_str(&render::styled(render::DIM, &format!("# {from}")));
                    out.push('\n');
                    out.push_str(&line);
                }
                Some(from) if origin => {
                    let column = widest.min(width.saturating_sub(from.len() + 4));
                    out.push_str(&render::padded(anstyle::Style::new(), &line, column));
                    out.push_str(&render::styled(render::DIM, &format!("  # {from}")));
                }
                Some(_) => out.push_str(&line),
            }
            out.push('\n');
        }
    }
    out
}

/// The reference of all keys, as the terminal shows it.
fn keys(width: usize) -> String {
    let mut out = String::new();
    for key in KEYS {
        out.push_str(&render::styled(render::BOLD, key.path));
        let default = key.default.map_or("not set".to_owned(), |default| format!("default {default}"));
        out.push_str(&format!("  {}; {default}\n", key.kind.describe()));
        render::hanging(&mut out, "    ", 4, key.help, width);
        if key.kind.is_list() || matches!(key.kind, Kind::Fee) {
            continue;
        }
        render::hanging(&mut out, "    ", 4, &render::styled(render::DIM, &key.env()), usize::MAX);
    }
    out
}
