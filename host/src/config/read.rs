//! Gathers the settings from the file, the environment and the flags, and builds the [`Config`].

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use pearlbed_plugin_api::Permission;
use toml_edit::{Document, Item, Table, TableLike};

use crate::home::Env;

use super::keys::{self, KEYS, Key, OPEN_TABLES};
use super::types::*;
use super::value::{self, Raw, Refusal, expand};
use super::{ConfigError, Origin, Place, Setting, Value, nearest};

/// Sections of the file that are ours. All others belong to other programs.
const SECTIONS: &[&str] = &["mining", "plugins"];

/// Words in the names of keys that hold secrets.
const SECRET_WORDS: &[&str] =
    &["password", "passphrase", "secret", "token", "api_key", "private_key", "mnemonic"];

/// A value from the command line, above everything else.
#[derive(Debug, Clone)]
pub struct Override {
    /// The key, for instance `mining.provider`.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// The flag that gave it, as the user wrote it, for instance `--provider`.
    pub flag: String,
}

impl Override {
    /// An override of `key` by `flag`.
    pub fn new(key: impl Into<String>, value: impl Into<String>, flag: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), flag: flag.into() }
    }
}

/// Everything that a configuration is made of.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The configuration file; it need not exist.
    pub file: &'a Path,
    /// Its text, where the caller has it already; `None` reads the file.
    pub text: Option<&'a str>,
    /// The environment. Only `PEARLBED_…` variables are looked at.
    pub env: &'a Env,
    /// Values from the command line.
    pub flags: &'a [Override],
}

impl Config {
    /// Reads, checks and resolves the configuration. A file that does not exist is an empty one.
    ///
    /// # Errors
    ///
    /// The first mistake found, with its place and a way to put it right.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let read;
        let text = match sources.text {
            Some(text) => text,
            None => {
                read = read_file(sources.file)?;
                &read
            }
        };
        let mut reader =
            Reader { file: sources.file, text, settings: BTreeMap::new(), grants: BTreeMap::new() };
        let mut configured = reader.file()?;
        configured |= reader.environment(sources.env)?;
        configured |= reader.flags(sources.flags)?;
        reader.defaults();
        let config = reader.build(configured);
        config.check_payout()?;
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|err| ConfigError::NotText {
            path: path.to_owned(),
            offset: err.utf8_error().valid_up_to(),
        }),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(err) => Err(ConfigError::Read { path: path.to_owned(), err }),
    }
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    settings: BTreeMap<String, Setting>,
    grants: BTreeMap<String, Vec<Permission>>,
}

impl Reader<'_> {
    /// Reads the file's sections; says whether `[mining]` is among them.
    fn file(&mut self) -> Result<bool, ConfigError> {
        let document = Document::parse(self.text).map_err(|err| ConfigError::Syntax {
            path: self.file.to_owned(),
            line: err.span().map_or(1, |span| self.line(&span)),
            problem: err.message().trim().replace('\n', ", "),
        })?;
        let root = document.as_table();
        for (name, item) in root.iter() {
            let line = self.key_line(root, name);
            if SECTIONS.contains(&name) {
                let Some(table) = item.as_table_like() else {
                    return Err(self.section_type(name, item, line));
                };
                self.table(name, table)?;
            } else if let Some(meant) = nearest(name, SECTIONS.iter().copied())
                && item.is_table_like()
            {
                // Another program's section is none of our business, but `[minning]` is a slip.
                return Err(ConfigError::UnknownSection {
                    section: name.to_owned(),
                    nearest: meant.to_owned(),
                    place: self.place(line),
                });
            } else if KEYS.iter().any(|key| key.table() == "mining" && key.name() == name) {
                // A known key above every section header would silently do nothing.
                return Err(ConfigError::Invalid {
                    key: name.to_owned(),
                    problem: "stands outside its section".to_owned(),
                    fix: format!("put it under a line [mining], or write mining.{name}"),
                    place: self.place(line),
                });
            }
        }
        Ok(root.contains_key("mining"))
    }

    fn table(&mut self, path: &str, table: &dyn TableLike) -> Result<(), ConfigError> {
        for (name, item) in table.iter() {
            let line = self.key_line(table, name);
            let full = format!("{path}.{name}");
            if path == "mining.grants" {
                self.grant(name, item, line)?;
            } else if let Some(key) = keys::find(&full) {
                let raw = raw(item);
                self.known(key, &raw, Origin::File { line })?;
            } else if is_table_of_keys(&full) {
                let Some(inner) = item.as_table_like() else {
                    return Err(self.section_type(&full, item, line));
                };
                self.table(&full, inner)?;
            } else {
                let raw = raw(item);
                self.unknown(path, name, line)?;
                self.secret(&full, name, &raw, line)?;
                let value = Value::Json(raw.to_json());
                self.settings.insert(full, Setting { value, origin: Origin::File { line } });
            }
        }
        Ok(())
    }

    /// An unknown key is an error, but for the provider's own keys in an open table that resemble none of ours.
    fn unknown(&self, table: &str, name: &str, line: usize) -> Result<(), ConfigError> {
        let known = names_in(table);
        let meant = nearest(name, known.iter().copied());
        // Short names are a provider's business: `k` and `m` are near to everything.
        let close = meant.is_some_and(|meant| super::suggest::distance(name, meant) <= 2);
        if OPEN_TABLES.contains(&table) && !close {
            return Ok(());
        }
        let elsewhere = KEYS.iter().find(|key| key.name() == name).map(|key| key.path);
        Err(ConfigError::UnknownKey {
            key: name.to_owned(),
            table: table.to_owned(),
            nearest: elsewhere.or(meant).map(str::to_owned),
            known,
            place: self.place(line),
        })
    }

    /// A text that by its name is a secret has no place in the file, nor in a provider's settings.
    fn secret(&self, key: &str, name: &str, raw: &Raw, line: usize) -> Result<(), ConfigError> {
        let lower = name.to_ascii_lowercase();
        let secret = SECRET_WORDS.iter().any(|word| lower.contains(word)) && !lower.ends_with("_env");
        if !(secret && matches!(raw, Raw::Text(text) if !text.is_empty())) {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            key: key.to_owned(),
            problem: "holds a secret by its name, and secrets have no place in this file".to_owned(),
            fix: format!("put it into an environment variable, and the variable's name into `{name}_env`"),
            place: self.place(line),
        })
    }

    fn grant(&mut self, provider: &str, item: &Item, line: usize) -> Result<(), ConfigError> {
        let key = format!("mining.grants.{provider}");
        if !value::is_provider_id(provider) {
            return Err(ConfigError::Invalid {
                key,
                problem: "is not named after a provider id".to_owned(),
                fix: "an id is 1 to 64 lower-case letters, digits and `-`".to_owned(),
                place: self.place(line),
            });
        }
        let example = r#"["network:127.0.0.1:8337"]"#;
        let raw = raw(item);
        let wrong = |found: &Raw| ConfigError::WrongType {
            key: key.clone(),
            expected: "a list of permissions in quotes".to_owned(),
            found: found.describe(),
            example: example.to_owned(),
            place: self.place(line),
        };
        let Raw::List(items) = &raw else { return Err(wrong(&raw)) };
        let mut granted = Vec::with_capacity(items.len());
        for item in items {
            let Raw::Text(text) = item else { return Err(wrong(item)) };
            granted.push(text.parse::<Permission>().map_err(|err| ConfigError::Invalid {
                key: key.clone(),
                problem: format!("grants nothing that exists: {err}"),
                fix: format!("write it like this: {provider} = {example}"),
                place: self.place(line),
            })?);
        }
        let value = Value::List(granted.iter().map(Permission::to_string).collect());
        self.settings.insert(key, Setting { value, origin: Origin::File { line } });
        self.grants.insert(provider.to_owned(), granted);
        Ok(())
    }

    fn environment(&mut self, env: &Env) -> Result<bool, ConfigError> {
        let mut configured = false;
        let ours = SECTIONS.iter().map(|section| format!("PEARLBED_{}_", section.to_ascii_uppercase()));
        for (variable, text) in ours.flat_map(|prefix| env.with_prefix(&prefix).collect::<Vec<_>>()) {
            let key = KEYS.iter().find(|key| key.env() == variable && !key.kind.is_list());
            let Some(key) = key else {
                let known: Vec<String> =
                    KEYS.iter().filter(|key| !key.kind.is_list()).map(Key::env).collect();
                return Err(ConfigError::UnknownVariable {
                    variable: variable.to_owned(),
                    nearest: nearest(variable, known.iter().map(String::as_str)).map(str::to_owned),
                });
            };
            self.known(key, &Raw::Word(text.to_owned()), Origin::Environment(variable.to_owned()))?;
            configured |= key.path.starts_with("mining.");
        }
        Ok(configured)
    }

    fn flags(&mut self, flags: &[Override]) -> Result<bool, ConfigError> {
        let mut configured = false;
        for Override { key, value, flag } in flags {
            let known = keys::find(key).filter(|key| !key.kind.is_list());
            let Some(known) = known else {
                let (table, name) = key.rsplit_once('.').unwrap_or(("mining", key));
                return Err(ConfigError::UnknownKey {
                    key: name.to_owned(),
                    table: table.to_owned(),
                    nearest: nearest(key, KEYS.iter().map(|key| key.path)).map(str::to_owned),
                    known: names_in(table),
                    place: Place::Flag(flag.clone()),
                });
            };
            self.known(known, &Raw::Word(value.clone()), Origin::Flag(flag.clone()))?;
            configured |= known.path.starts_with("mining.");
        }
        Ok(configured)
    }

    fn known(&mut self, key: &Key, raw: &Raw, origin: Origin) -> Result<(), ConfigError> {
        match value::check(key.kind, raw) {
            Ok(Some(value)) => self.settings.insert(key.path.to_owned(), Setting { value, origin }),
            // Set to nothing: the layers below must not shine through.
            Ok(None) => self.settings.remove(key.path),
            Err(refusal) => {
                let place = match origin {
                    Origin::File { line } => self.place(line),
                    Origin::Environment(variable) => Place::Environment(variable),
                    Origin::Flag(flag) => Place::Flag(flag),
                    Origin::Default => unreachable!("defaults are checked by a test"),
                };
                return Err(match refusal {
                    Refusal::Type(expected) => ConfigError::WrongType {
                        key: key.path.to_owned(),
                        expected: expected.to_owned(),
                        found: raw.describe(),
                        example: key.example.to_owned(),
                        place,
                    },
                    Refusal::Value { problem, fix } => {
                        ConfigError::Invalid { key: key.path.to_owned(), problem, fix, place }
                    }
                });
            }
        };
        Ok(())
    }

    fn defaults(&mut self) {
        for key in KEYS {
            let Some(text) = key.default else { continue };
            self.settings.entry(key.path.to_owned()).or_insert_with(|| {
                let item: toml_edit::Value = text.parse().expect("a test parses every default");
                let value = value::check(key.kind, &raw_value(&item));
                let value = value.expect("a test checks every default").expect("a default is not empty");
                Setting { value, origin: Origin::Default }
            });
        }
    }

    fn build(self, configured: bool) -> Config {
        let get = |path: &str| self.settings.get(path).map(|setting| &setting.value);
        let text = |path: &str| match get(path) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let number = |path: &str| match get(path) {
            Some(Value::Integer(number) | Value::Bytes(number)) => Some(*number),
            _ => None,
        };
        let list = |path: &str| match get(path) {
            Some(Value::List(items)) => Some(items.clone()),
            _ => None,
        };
        let duration = |path: &str| match get(path) {
            Some(Value::Duration(duration)) => *duration,
            _ => unreachable!("every duration has a default"),
        };
        let port = |path: &str| number(path).map(|port| u16::try_from(port).expect("a port was checked"));

        let endpoint = match text("mining.gateway.socket") {
            Some(socket) => GatewayEndpoint::Unix(expand(&socket)),
            None => GatewayEndpoint::Tcp {
                host: text("mining.extra.gateway_host").unwrap_or_default(),
                port: port("mining.extra.gateway_port").unwrap_or_default(),
            },
        };
        let node = text("mining.extra.pearld_rpc_url").map(|url| NodeSection {
            url,
            user: text("mining.extra.pearld_rpc_user").unwrap_or_default(),
            password_env: text("mining.extra.pearld_rpc_password_env").unwrap_or_default(),
            certificate: text("mining.node.certificate").map(|path| expand(&path)),
        });
        let metrics_port = port("mining.extra.metrics_port").or(port("mining.extra.gateway_metrics_port"));
        let metrics_listen = text("mining.session.metrics_listen")
            .map(|address| address.parse().expect("an address was checked"))
            .or(metrics_port.map(|port| ([127, 0, 0, 1], port).into()));
        let extra = self
            .settings
            .iter()
            .filter_map(|(path, setting)| {
                Some((path.strip_prefix("mining.extra.")?.to_owned(), setting.value.to_json()))
            })
            .collect();

        Config {
            path: self.file.to_owned(),
            configured,
            mining: MiningSection {
                provider: text("mining.provider"),
                wallet_address: text("mining.wallet_address"),
                submit_target: SubmitTarget::from_checked(&text("mining.submit_target").unwrap_or_default()),
                fee_bps: 0,
                fee_payout_address: text("mining.fee_payout_address"),
                model: text("mining.extra.model"),
                extra,
                grants: self.grants,
                gateway: GatewaySection { endpoint, command: list("mining.gateway.command") },
                node,
                pool: PoolSection {
                    worker: text("mining.pool.worker"),
                    password_env: text("mining.pool.password_env"),
                },
                session: SessionSection {
                    stop_grace: duration("mining.session.stop_grace"),
                    stall_after: duration("mining.session.stall_after"),
                    metrics_listen,
                    log_bytes_max: number("mining.session.log_size").unwrap_or_default(),
                },
            },
            plugins: PluginsSection {
                dirs: list("plugins.dirs").unwrap_or_default().iter().map(|dir| expand(dir)).collect(),
                probe_timeout: duration("plugins.probe_timeout"),
                relax_trust: matches!(get("plugins.relax_trust"), Some(Value::Flag(true))),
            },
            settings: self.settings,
        }
    }

    fn section_type(&self, section: &str, item: &Item, line: usize) -> ConfigError {
        ConfigError::Invalid {
            key: section.to_owned(),
            problem: format!("is {}, but must be a section", raw(item).describe()),
            fix: format!("start the section with a line [{section}]"),
            place: self.place(line),
        }
    }

    fn place(&self, line: usize) -> Place {
        Place::File { path: self.file.to_owned(), line }
    }

    fn key_line(&self, table: &(impl TableLike + ?Sized), name: &str) -> usize {
        let (key, item) = table.get_key_value(name).expect("the name came from the table");
        let span = key.span().or_else(|| item.span());
        span.map_or(1, |span| self.line(&span))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The names of the known keys and sub-tables of `table`.
pub(super) fn names_in(table: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in KEYS {
        if let Some(rest) = key.path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')) {
            let name = rest.split('.').next().unwrap_or(rest);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if table == "mining" {
        names.push("grants");
    }
    names
}

fn is_table_of_keys(path: &str) -> bool {
    OPEN_TABLES.contains(&path) || KEYS.iter().any(|key| key.table() == path)
}

fn raw(item: &Item) -> Raw {
    match item {
        Item::Value(value) => raw_value(value),
        Item::Table(table) => raw_table(table),
        Item::ArrayOfTables(tables) => Raw::List(tables.iter().map(raw_table).collect()),
        Item::None => Raw::Table(Vec::new()),
    }
}

fn raw_table(table: &Table) -> Raw {
    Raw::Table(table.iter().map(|(key, item)| (key.to_owned(), raw(item))).collect())
}

pub(super) fn raw_value(value: &toml_edit::Value) -> Raw {
    match value {
        toml_edit::Value::String(text) => Raw::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Raw::Integer(*number.value()),
        toml_edit::Value::Float(number) => Raw::Float(*number.value()),
        toml_edit::Value::Boolean(flag) => Raw::Flag(*flag.value()),
        toml_edit::Value::Datetime(date) => Raw::Date(date.to_string()),
        toml_edit::Value::Array(items) => Raw::List(items.iter().map(raw_value).collect()),
        toml_edit::Value::InlineTable(table) => {
            Raw::Table(table.iter().map(|(key, value)| (key.to_owned(), raw_value(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Explain;

    fn load(text: &str) -> Result<Config, ConfigError> {
        Config::load(&Sources {
            file: Path::new("config.toml"),
            text: Some(text),
            env: &Env::default(),
            flags: &[],
        })
    }

    #[test]
    fn an_empty_file_gives_the_defaults_and_is_not_configured() {
        let config = load("").unwrap();
        assert!(!config.configured);
        assert_eq!(config.mining.submit_target, SubmitTarget::Solo);
        assert_eq!(config.mining.gateway.endpoint.to_string(), "127.0.0.1:8337");
        assert_eq!(config.mining.node, None);
        assert_eq!(config.mining.session.log_bytes_max, 16 << 20);
        assert_eq!(config, Config::defaults(Path::new("config.toml")));
    }

    #[test]
    fn every_default_passes_its_own_check_and_reads_back_as_written() {
        for key in KEYS {
            let Some(text) = key.default else { continue };
            let value = value::check(key.kind, &raw_value(&text.parse().unwrap())).unwrap().unwrap();
            assert_eq!(value.to_toml(), text, "{}", key.path);
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "[mining]\nprovider = \"from-file\"\n";
        let (none, env) = (Env::default(), Env::of([("PEARLBED_MINING_PROVIDER", "from-env")]));
        let flags = [Override::new("mining.provider", "from-flag", "--provider")];
        let path = Path::new("config.toml");
        let with = |env: &Env, flags: &[_]| {
            let config = Config::load(&Sources { file: path, text: Some(file), env, flags }).unwrap();
            let origin = config.setting("mining.provider").unwrap().origin.clone();
            (config.mining.provider.unwrap(), origin)
        };
        assert_eq!(with(&none, &[]), ("from-file".to_owned(), Origin::File { line: 2 }));
        assert_eq!(
            with(&env, &[]),
            ("from-env".to_owned(), Origin::Environment("PEARLBED_MINING_PROVIDER".to_owned()))
        );
        assert_eq!(with(&env, &flags), ("from-flag".to_owned(), Origin::Flag("--provider".to_owned())));
    }

    #[test]
    fn other_programs_sections_are_not_judged() {
        let config = load("[engine]\ndefault = 3\n[server]\nport = \"x\"\n[memory]\nbackend = 1\n").unwrap();
        assert!(!config.configured);
    }

    #[test]
    fn a_slip_in_a_section_name_is_not_taken_for_another_program() {
        let err = load("[minning]\nprovider = \"x\"\n").unwrap_err();
        assert_eq!(err.to_string(), "unknown section [minning] (config.toml line 1)");
        assert_eq!(err.hint().as_deref(), Some("did you mean [mining]?"));
    }

    #[test]
    fn a_providers_own_keys_reach_it_and_a_slip_in_ours_does_not() {
        let config = load("[mining.extra]\nm = 256\nvllm_args = [\"--x\"]\n").unwrap();
        assert_eq!(config.mining.extra["m"], 256);
        assert_eq!(config.mining.extra["vllm_args"][0], "--x");
        assert_eq!(config.mining.extra["gateway_port"], 8337);
        let err = load("[mining.extra]\npearld_rpc_ulr = \"http://x\"\n").unwrap_err();
        assert_eq!(err.hint().as_deref(), Some("did you mean `pearld_rpc_url`?"));
    }

    #[test]
    fn a_secret_in_the_place_of_a_name_is_never_repeated() {
        let err = load("[mining.extra]\npearld_rpc_password_env = \"hunter2!\"\n").unwrap_err();
        let said = format!("{err} {}", err.hint().unwrap());
        assert!(!said.contains("hunter2"), "{said}");
    }
}
