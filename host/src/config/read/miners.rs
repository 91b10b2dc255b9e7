//! `[[mining.miners]]`: each a table of its own, checked as the sections are.

use pearlbed_plugin_api::Permission;
use toml_edit::{InlineTable, Item, Table, TableLike, Value as Toml};

use super::Reader;
use crate::config::keys::{self, MINER_KEYS, MINERS};
use crate::config::miner::{MinerSection, Written};
use crate::config::raw::raw;
use crate::config::value::Value;
use crate::config::{ConfigError, Origin, nearest};

/// More miners than any machine has devices.
const MINERS_MAX: usize = 64;

impl Reader<'_> {
    /// Reads all of them.
    pub(super) fn miners(&mut self, item: &Item, line: usize) -> Result<(), ConfigError> {
        let tables: Vec<(&dyn TableLike, usize)> = match item {
            Item::ArrayOfTables(tables) => {
                tables.iter().map(|table| (table as &dyn TableLike, self.table_line(table, line))).collect()
            }
            Item::Value(Toml::Array(items)) if items.iter().all(Toml::is_inline_table) => items
                .iter()
                .filter_map(Toml::as_inline_table)
                .map(|table| (table as &dyn TableLike, self.inline_line(table, line)))
                .collect(),
            other => {
                return Err(ConfigError::Invalid {
                    key: MINERS.to_owned(),
                    problem: format!("is {}, but must be a list of miners", raw(other).describe()),
                    fix: format!("start each miner with a line [[{MINERS}]]"),
                    place: self.place(line),
                });
            }
        };
        if tables.len() > MINERS_MAX {
            return Err(ConfigError::Invalid {
                key: MINERS.to_owned(),
                problem: format!("asks for {} miners, more than {MINERS_MAX}", tables.len()),
                fix: "let one provider mine on several devices".to_owned(),
                place: self.place(line),
            });
        }
        for (table, line) in tables {
            let written = self.miner(table, line)?;
            if let (Some(name), Some(other)) = (
                &written.name,
                self.miners.iter().find(|other| other.name.is_some() && other.name == written.name),
            ) {
                return Err(ConfigError::Invalid {
                    key: format!("{MINERS}.name"),
                    problem: format!(
                        "is `{name}`, as that of the miner in line {}",
                        other.section.line.unwrap_or_default()
                    ),
                    fix: "give each miner a name of its own".to_owned(),
                    place: self.place(line),
                });
            }
            self.miners.push(written);
        }
        Ok(())
    }

    fn miner(&self, table: &dyn TableLike, line: usize) -> Result<Written, ConfigError> {
        let mut written = Written {
            name: None,
            section: MinerSection {
                name: String::new(),
                provider: None,
                devices: Vec::new(),
                extra: serde_json::Map::new(),
                grants: Vec::new(),
                nice: keys::NICE,
                temperature_limit: None,
                enabled: true,
                line: Some(line),
            },
        };
        let section = &mut written.section;
        for (name, item) in table.iter() {
            let line = self.key_line(table, name);
            let Some(key) = MINER_KEYS.iter().find(|key| key.name() == name) else {
                return Err(self.unknown_of_miner(name, line));
            };
            match (key.name(), self.checked(key, key.path, &raw(item), &Origin::File { line })?) {
                ("name", Some(Value::Text(text))) => written.name = Some(text),
                ("provider", Some(Value::Text(text))) => {
                    section.provider = Some(text).filter(|id| id != keys::AUTO);
                }
                ("devices", Some(Value::List(items))) => {
                    section.devices = items.iter().filter_map(|item| item.parse().ok()).collect();
                }
                ("grants", Some(Value::List(items))) => {
                    section.grants =
                        items.iter().filter_map(|item| item.parse::<Permission>().ok()).collect();
                }
                ("nice", Some(Value::Integer(number))) => {
                    section.nice = u8::try_from(number).unwrap_or(keys::NICE);
                }
                ("temperature_limit", Some(Value::Integer(degrees))) => {
                    section.temperature_limit = u8::try_from(degrees).ok();
                }
                ("enabled", Some(Value::Flag(flag))) => section.enabled = flag,
                ("extra", Some(Value::Json(serde_json::Value::Object(own)))) => {
                    self.own_settings(item, line)?;
                    section.extra = own;
                }
                _ => {}
            }
        }
        Ok(written)
    }

    /// A miner's `extra` is the provider's alone: what the session reads stands in `[mining.extra]`, and secrets nowhere.
    fn own_settings(&self, item: &Item, line: usize) -> Result<(), ConfigError> {
        let Some(table) = item.as_table_like() else { return Ok(()) };
        for (name, item) in table.iter() {
            let line = table.get_key_value(name).map_or(line, |_| self.key_line(table, name));
            let full = format!("{MINERS}.extra.{name}");
            if keys::is_own_extra(name) {
                return Err(ConfigError::Invalid {
                    key: full,
                    problem: "is a setting of the whole session, not of one miner".to_owned(),
                    fix: "put it under [mining.extra]".to_owned(),
                    place: self.place(line),
                });
            }
            self.secret(&full, name, &raw(item), line)?;
        }
        Ok(())
    }

    fn unknown_of_miner(&self, name: &str, line: usize) -> ConfigError {
        let known: Vec<&'static str> = MINER_KEYS.iter().map(|key| key.name()).collect();
        ConfigError::UnknownKey {
            key: name.to_owned(),
            table: format!("[{MINERS}]"),
            nearest: nearest(name, known.iter().copied()).map(str::to_owned),
            known,
            place: self.place(line),
        }
    }

    fn table_line(&self, table: &Table, otherwise: usize) -> usize {
        table.span().map_or(otherwise, |span| self.line(&span))
    }

    fn inline_line(&self, table: &InlineTable, otherwise: usize) -> usize {
        table.span().map_or(otherwise, |span| self.line(&span))
    }
}
