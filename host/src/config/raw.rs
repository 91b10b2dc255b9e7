//! TOML as it was read, in the few forms that the checks of [`value`](super::value) tell apart.
//!
//! A conversion and nothing else: nothing is judged here.

use toml_edit::{Item, Table};

use super::value::Raw;

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
