//! TOML as it was read, in the few forms that the checks of [`value`](super::value) tell apart.
//!
//! Those forms, the conversion into them, and how a text is written back; nothing is judged here.

use toml_edit::{Item, Table};

/// A value as it was written, before its kind was asked.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    Date(String),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
    /// From a flag or a variable: text that may stand for any kind.
    Word(String),
}

impl Raw {
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Word(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a point",
            Self::Flag(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Word(text) | Self::Date(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Table(rows) => rows
                .iter()
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// An item of a file: a value, a table, or several of them.
pub(super) fn raw(item: &Item) -> Raw {
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

/// A value by itself, also one from a default or a command line.
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

/// `text` in TOML's basic quotes.
pub(super) fn quote(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
