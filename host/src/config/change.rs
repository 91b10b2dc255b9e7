//! A change to the file, checked before it is made.

use toml_edit::{Array, Value as Toml};

use super::keys::{self, KEYS};
use super::raw::Raw;
use super::value::{self, Refusal, Value};
use super::{ConfigError, Place, nearest};

/// One change to `config.toml`.
#[derive(Debug, Clone)]
pub enum Change {
    /// Gives a key a value.
    Set {
        /// The path of the key, for instance `mining.provider`.
        key: String,
        /// The value as TOML.
        value: Toml,
    },
    /// Removes a key.
    Unset {
        /// The path of the key.
        key: String,
    },
    /// Adds a table to the end of a list of tables.
    Append {
        /// The path of the list, for instance `mining.miners`.
        key: String,
        /// The table's keys and values, in their order.
        table: Vec<(String, Toml)>,
    },
}

impl Change {
    /// Sets `key` to what `text` says, read by the key's kind. Lists are written as in TOML.
    ///
    /// `place` is where the user wrote it, for the error. Keys of the open tables (`mining.extra`, `mining.grants`) take
    /// any TOML value, or else text.
    ///
    /// # Errors
    ///
    /// An unknown key, or a value that is not of its kind.
    pub fn set(key: &str, text: &str, place: &Place) -> Result<Self, ConfigError> {
        let wrong = |problem: String, fix: &str| ConfigError::Invalid {
            key: key.to_owned(),
            problem,
            fix: fix.to_owned(),
            place: place.clone(),
        };
        let Some(known) = keys::find(key) else {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            if !keys::OPEN_TABLES.contains(&table) || name.is_empty() {
                let names = KEYS.iter().map(|key| key.path);
                // `provider` alone is clear enough to be understood, and not enough to be guessed silently.
                let whole = KEYS.iter().find(|known| known.name() == key).map(|known| known.path);
                return Err(ConfigError::UnknownKey {
                    key: name.to_owned(),
                    table: table.to_owned(),
                    nearest: whole.or_else(|| nearest(key, names)).map(str::to_owned),
                    known: super::read::names_in(table),
                    place: place.clone(),
                });
            }
            let value = text.parse::<Toml>().unwrap_or_else(|_| Toml::from(text));
            return Ok(Self::Set { key: key.to_owned(), value });
        };
        let raw = if known.kind.is_list() {
            let parsed: Toml = text
                .parse()
                .map_err(|_| wrong("is not a list".to_owned(), "write a TOML list: [\"one\", \"two\"]"))?;
            super::raw::raw_value(&parsed)
        } else {
            Raw::Word(text.to_owned())
        };
        match value::check(known.kind, &raw) {
            Ok(Some(value)) => Ok(Self::Set { key: key.to_owned(), value: to_toml(&value) }),
            Ok(None) => Ok(Self::Unset { key: key.to_owned() }),
            Err(Refusal::Type(expected)) => Err(ConfigError::WrongType {
                key: key.to_owned(),
                expected: expected.to_owned(),
                found: raw.describe(),
                example: known.example.to_owned(),
                place: place.clone(),
            }),
            Err(Refusal::Value { problem, fix }) => Err(wrong(problem, &fix)),
        }
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// A key that lies in no section.
    pub fn unset(key: &str, place: &Place) -> Result<Self, ConfigError> {
        let in_ours = keys::find(key).is_some()
            || key.rsplit_once('.').is_some_and(|(table, _)| keys::OPEN_TABLES.contains(&table));
        if in_ours {
            return Ok(Self::Unset { key: key.to_owned() });
        }
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let inside = super::read::names_in(key);
        if !inside.is_empty() {
            return Err(ConfigError::Invalid {
                key: key.to_owned(),
                problem: "is a section, and keys are removed one by one".to_owned(),
                fix: format!("it may hold {}", inside.join(", ")),
                place: place.clone(),
            });
        }
        Err(ConfigError::UnknownKey {
            key: name.to_owned(),
            table: table.to_owned(),
            nearest: nearest(key, KEYS.iter().map(|key| key.path)).map(str::to_owned),
            known: super::read::names_in(table),
            place: place.clone(),
        })
    }

    /// The key that is changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. } | Self::Unset { key } | Self::Append { key, .. } => key,
        }
    }
}

/// The value as the file holds it. Only forms of TOML 1.0 are written.
fn to_toml(value: &Value) -> Toml {
    match value {
        Value::List(items) => Toml::Array(items.iter().map(String::as_str).collect::<Array>()),
        other => other.to_toml().parse().expect("values are written as TOML"),
    }
}
