//! `pearlbed config show`: the resolved settings, and where each came from.

use pearlbed_plugin_api::setting::Setting;
use serde_json::json;

use super::{Context, Error, PluginDirs, render};
use crate::config::keys::{self, KEYS, MINER_KEYS};
use crate::config::{Config, MinerSection, Origin};
use crate::exit::Exit;
use crate::plugins;
use crate::text::{columns, printable, printable_path};

const EXAMPLES: &str = "\
Examples:
  pearlbed config show             every setting in force
  pearlbed config show --origin    and which file line or variable set it
  pearlbed config show --json      for scripts
  pearlbed config keys             every key there is, with its meaning
  pearlbed config keys --provider ID   the settings of one provider";

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
    #[command(
        after_help = "Examples:\n  pearlbed config keys\n  pearlbed config keys --provider some-provider"
    )]
    Keys(Keys),
}

#[derive(clap::Args, Debug)]
struct Keys {
    /// Print the settings of this provider instead, such as how many threads it may use
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    #[command(flatten)]
    plugins: PluginDirs,
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
        Command::Keys(Keys { provider: None, .. }) => context.print(&reference(context.width()))?,
        Command::Keys(Keys { provider: Some(id), plugins }) => {
            context.print(&provider_keys(id, plugins, context)?)?;
        }
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
                "known": key.is_some() || path.starts_with("mining.grants."),
            })
        })
        .collect();
    let miners: Vec<_> = config
        .mining
        .miners
        .iter()
        .map(|miner| {
            json!({
                "name": miner.name,
                "provider": miner.provider,
                "devices": miner.devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "extra": own_settings(miner),
                "grants": miner.grants.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "nice": miner.nice,
                "temperature_limit": miner.temperature_limit,
                "enabled": miner.enabled,
                "line": miner.line,
            })
        })
        .collect();
    json!({
        "schema": 1,
        "file": config.path,
        "configured": config.configured,
        "settings": settings,
        "miners": miners,
    })
}

/// A miner's settings that are its provider's own.
fn own_settings(miner: &MinerSection) -> serde_json::Map<String, serde_json::Value> {
    let own = miner.extra.iter().filter(|(key, _)| !keys::is_own_extra(key));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// `[[mining.miners]]` as they could stand in a file.
fn miners_text(config: &Config, origin: bool) -> String {
    let mut out = String::new();
    let quoted = |items: Vec<String>| {
        let items: Vec<String> =
            items.iter().map(|item| toml_edit::Value::from(item.as_str()).to_string()).collect();
        format!("[{}]", items.join(", "))
    };
    for miner in config.mining.miners.iter().filter(|miner| miner.line.is_some()) {
        out.push('\n');
        out.push_str(&render::styled(render::BOLD, &format!("[[{}]]", keys::MINERS)));
        if let (true, Some(line)) = (origin, miner.line) {
            out.push_str(&render::styled(render::DIM, &format!("  # file line {line}")));
        }
        out.push('\n');
        let extra = own_settings(miner);
        let mut line = |name: &str, value: String| out.push_str(&format!("{name} = {}\n", printable(&value)));
        line("name", format!("\"{}\"", miner.name));
        line("provider", format!("\"{}\"", miner.provider.as_deref().unwrap_or(keys::AUTO)));
        line("devices", quoted(miner.devices.iter().map(ToString::to_string).collect()));
        if let Ok(toml_edit::Value::InlineTable(extra)) = inline(&extra).parse() {
            line("extra", extra.to_string().trim().to_owned());
        }
        line("grants", quoted(miner.grants.iter().map(ToString::to_string).collect()));
        line("nice", miner.nice.to_string());
        if let Some(degrees) = miner.temperature_limit {
            line("temperature_limit", degrees.to_string());
        }
        line("enabled", miner.enabled.to_string());
    }
    out
}

/// A JSON object as TOML writes it on one line.
fn inline(object: &serde_json::Map<String, serde_json::Value>) -> String {
    fn value(json: &serde_json::Value) -> String {
        match json {
            serde_json::Value::Object(object) => inline(object),
            serde_json::Value::Array(items) => {
                format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", "))
            }
            serde_json::Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
            other => other.to_string(),
        }
    }
    let key = |key: &str| toml_edit::Key::new(key).to_string();
    let pairs: Vec<String> =
        object.iter().map(|(name, json)| format!("{} = {}", key(name), value(json))).collect();
    if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) }
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
    out.push_str(&miners_text(config, origin));
    out
}

/// The settings of one provider, as its manifest lists them.
fn provider_keys(id: &str, dirs: &PluginDirs, context: &Context) -> Result<String, Error> {
    let options =
        plugins::Options { relaxed: dirs.relaxed(context), probe: None, trust: dirs.trust(context) };
    let found = plugins::survey(&dirs.search_path(context), &options);
    let Some(manifest) = found.find(id).and_then(plugins::Entry::manifest) else {
        let known: Vec<&str> = found.entries.iter().filter_map(plugins::Entry::id).collect();
        let hint = match &known[..] {
            [] => "no plugin was found; `pearlbed plugins list` says where they are looked for".to_owned(),
            known => format!("the ids here are {}", known.join(", ")),
        };
        let err = Error::new(format!("there is no provider `{}`", printable(id)));
        return Err(err.with_hint(hint).with_exit(Exit::Futile));
    };
    let width = context.width();
    let mut out = settings_text(&manifest.settings, width);
    let then = match out.is_empty() {
        true => format!("`{}` says nothing of its settings; its documentation may.", printable(&manifest.id)),
        false => {
            out.push('\n');
            format!(
                "They stand under [mining.extra] for the first miner, and in `extra` of one of [[{}]] for another; \
                 `pearlbed bench {} --extra KEY=VALUE` tries them.",
                keys::MINERS,
                printable(&manifest.id)
            )
        }
    };
    render::hanging(&mut out, "", 0, &then, width);
    Ok(out)
}

/// A provider's settings, each with what it may be and what it is for.
pub(super) fn settings_text(settings: &[Setting], width: usize) -> String {
    let mut out = String::new();
    for setting in settings {
        let default = match &*setting.default {
            "" => "not set".to_owned(),
            default => format!("default {}", printable(default)),
        };
        let per_device = if setting.per_device { "; also per device" } else { "" };
        let text = format!("{}; {default}{per_device}", plugins::settings::describe(setting));
        let name = format!("{}  ", render::styled(render::BOLD, &printable(&setting.key)));
        render::hanging(&mut out, &name, columns(&setting.key) + 2, &text, width);
        render::hanging(&mut out, "    ", 4, &printable(&setting.help), width);
    }
    out
}

/// The reference of all keys, as the terminal shows it.
fn reference(width: usize) -> String {
    let mut out = String::new();
    for key in KEYS.iter().chain(MINER_KEYS) {
        out.push_str(&render::styled(render::BOLD, key.path));
        let default = key.default.map_or("not set".to_owned(), |default| format!("default {default}"));
        out.push_str(&format!("  {}; {default}\n", key.kind.describe()));
        render::hanging(&mut out, "    ", 4, key.help, width);
        if key.table() == keys::MINERS {
            continue;
        }
        render::hanging(&mut out, "    ", 4, &render::styled(render::DIM, &key.env()), usize::MAX);
    }
    out
}
