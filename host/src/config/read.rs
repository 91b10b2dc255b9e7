//! Gathers the settings from the file, the environment and the flags, the stronger over the weaker.
//!
//! Owns where each value came from, and what is refused on the way: an unknown key, a value of the wrong kind, a secret in
//! the place of a name. What a single value may be is `value`'s; what the values make together is `build`'s.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use pearlbed_plugin_api::Permission;
use toml_edit::{Document, Item, TableLike};

use crate::home::Env;

use super::build::build;
use super::keys::{self, BACKUP, KEYS, Key, Kind, MINERS, OPEN_TABLES};
use super::miner::Written;
use super::raw::{Raw, raw, raw_value};
use super::suggest::distance;
use super::types::Config;
use super::value::{self, Refusal};
use super::{ConfigError, Origin, Place, Setting, Value, nearest};

/// Sections of the file that are ours. All others belong to other programs.
const SECTIONS: &[&str] = &["mining", "plugins"];

/// Words of their own that resemble ours: what a provider calls so is no slip.
const OWN_NAMES: &[&str] =
    &["mode", "modes", "models", "metrics_host", "metrics_path", "gateway_path", "gateway_hosts"];

/// Words in the names of keys that hold secrets.
const SECRET_WORDS: &[&str] =
    &["password", "passphrase", "secret", "token", "api_key", "private_key", "mnemonic"];

const BACKUP_URL: Key = Key {
    path: "mining.pool.backup.url",
    kind: Kind::PoolUrl,
    default: None,
    example: r#""stratum+ssl://pool.example:3333""#,
    help: "Where the pool listens.",
};
const BACKUP_WALLET: Key = Key {
    path: "mining.pool.backup.wallet_address",
    kind: Kind::Address,
    default: None,
    example: r#""prl1p…""#,
    help: "Who is paid there, where it is not `wallet_address`.",
};

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
        let mut reader = Reader {
            file: sources.file,
            text,
            settings: BTreeMap::new(),
            grants: BTreeMap::new(),
            miners: Vec::new(),
        };
        let mut configured = reader.file()?;
        configured |= reader.environment(sources.env)?;
        configured |= reader.flags(sources.flags)?;
        reader.defaults();
        let config = build(reader.file, reader.settings, reader.grants, reader.miners, configured);
        config.check_payout()?;
        config.check_port()?;
        Ok(config)
    }
}

/// A configuration is written by hand: no larger one is, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The text of the file at `path`; none where there is no file. Whatever somebody has put in its place, nobody is waited for.
///
/// # Errors
///
/// [`ConfigError::Read`] and [`ConfigError::NotText`].
pub fn read_file(path: &Path) -> Result<String, ConfigError> {
    match crate::owned::read_at_most(path, FILE_BYTES_MAX) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|err| ConfigError::NotText {
            path: path.to_owned(),
            offset: err.utf8_error().valid_up_to(),
        }),
        // A link that leads nowhere is the way to a file that somebody has: it is not on this machine, or not mounted.
        Err(err) if err.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(String::new()),
        Err(err) => Err(ConfigError::Read { path: path.to_owned(), err }),
    }
}

/// The variables of ours that are no settings.
const PLACES: [&str; 2] = ["PEARLBED_HOME", "PEARLBED_PLUGIN_PATH"];

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    settings: BTreeMap<String, Setting>,
    grants: BTreeMap<String, Vec<Permission>>,
    miners: Vec<Written>,
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
            } else if full == BACKUP {
                self.backups(item, line)?;
            } else if full == MINERS {
                self.miners(item, line)?;
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
        let close = meant.is_some_and(|meant| distance(name, meant) <= 2);
        let close = close && !OWN_NAMES.contains(&name);
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

    /// `[[mining.pool.backup]]`: kept as settings with a number in their path, counted from 1.
    fn backups(&mut self, item: &Item, line: usize) -> Result<(), ConfigError> {
        let Some(tables) = item.as_array_of_tables() else {
            return Err(ConfigError::Invalid {
                key: BACKUP.to_owned(),
                problem: format!("is {}, but must be a list of sections", raw(item).describe()),
                fix: format!("start each pool with a line [[{BACKUP}]]"),
                place: self.place(line),
            });
        };
        for (at, table) in tables.iter().enumerate() {
            let number = at + 1;
            for (name, item) in table.iter() {
                let line = self.key_line(table, name);
                let key = match name {
                    "url" => Some(&BACKUP_URL),
                    "wallet_address" => Some(&BACKUP_WALLET),
                    "wallet_unchecked" => None,
                    _ => keys::find(&format!("mining.pool.{name}")),
                };
                let Some(key) = key else {
                    let mut known = names_in("mining.pool");
                    known.retain(|known| !matches!(*known, "backup" | "wallet_unchecked"));
                    known.extend(["url", "wallet_address"]);
                    return Err(ConfigError::UnknownKey {
                        key: name.to_owned(),
                        table: BACKUP.to_owned(),
                        nearest: nearest(name, known.iter().copied()).map(str::to_owned),
                        known,
                        place: self.place(line),
                    });
                };
                let path = format!("{BACKUP}.{number}.{name}");
                self.value(key, path, &raw(item), Origin::File { line })?;
            }
            if !table.contains_key("url") {
                return Err(ConfigError::Invalid {
                    key: format!("{BACKUP}.url"),
                    problem: "is missing".to_owned(),
                    fix: format!("write url = {}", BACKUP_URL.example),
                    place: self.place(table.span().map_or(line, |span| self.line(&span))),
                });
            }
        }
        Ok(())
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
        let ours: Vec<String> = ours.collect();
        let is_ours = |variable: &str| ours.iter().any(|prefix| variable.starts_with(prefix.as_str()));
        for (variable, text) in ours.iter().flat_map(|prefix| env.with_prefix(prefix).collect::<Vec<_>>()) {
            let key = KEYS.iter().find(|key| key.env() == variable);
            let Some(key) = key else {
                let known: Vec<String> = KEYS.iter().map(Key::env).collect();
                return Err(ConfigError::UnknownVariable {
                    variable: variable.to_owned(),
                    nearest: nearest(variable, known.iter().map(String::as_str)).map(str::to_owned),
                });
            };
            self.known(key, &Raw::Word(text.to_owned()), Origin::Environment(variable.to_owned()))?;
            configured |= key.path.starts_with("mining.");
        }
        // Of other names of ours nothing is known here, but that one of them is a slip of a setting's.
        let others = env.with_prefix("PEARLBED_").map(|(variable, _)| variable);
        let slip =
            others.filter(|variable| !is_ours(variable) && !PLACES.contains(variable)).find_map(|variable| {
                let named = KEYS.iter().map(Key::env).chain(PLACES.map(str::to_owned));
                let near = named.into_iter().find(|known| distance(variable, known) <= 2)?;
                Some((variable.to_owned(), near))
            });
        if let Some((variable, near)) = slip {
            return Err(ConfigError::UnknownVariable { variable, nearest: Some(near) });
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
        self.value(key, key.path.to_owned(), raw, origin)
    }

    /// Takes a value of the kind of `key` as the setting `path`.
    fn value(&mut self, key: &Key, path: String, raw: &Raw, origin: Origin) -> Result<(), ConfigError> {
        match self.checked(key, &path, raw, &origin)? {
            Some(value) => self.settings.insert(path, Setting { value, origin }),
            // Set to nothing: the layers below must not shine through.
            None => self.settings.remove(&path),
        };
        Ok(())
    }

    /// What `raw` means as a value of the kind of `key`, set as `path`; `None` where it is set to nothing.
    fn checked(
        &self,
        key: &Key,
        path: &str,
        raw: &Raw,
        origin: &Origin,
    ) -> Result<Option<Value>, ConfigError> {
        value::check(key.kind, raw).map_err(|refusal| {
            let place = match origin {
                Origin::File { line } => self.place(*line),
                Origin::Environment(variable) => Place::Environment(variable.clone()),
                Origin::Flag(flag) => Place::Flag(flag.clone()),
                Origin::Default => unreachable!("defaults are checked by a test"),
            };
            let key_path = path.to_owned();
            match refusal {
                Refusal::Type(expected) => ConfigError::WrongType {
                    key: key_path,
                    expected: expected.to_owned(),
                    found: raw.describe(),
                    example: key.example.to_owned(),
                    place,
                },
                Refusal::Value { problem, fix } => {
                    ConfigError::Invalid { key: key_path, problem, fix, place }
                }
            }
        })
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
        names.extend(["grants", "miners"]);
    }
    if table == "mining.pool" {
        names.push("backup");
    }
    names
}

fn is_table_of_keys(path: &str) -> bool {
    OPEN_TABLES.contains(&path) || KEYS.iter().any(|key| key.table() == path)
}

mod miners;

#[cfg(test)]
mod tests;
