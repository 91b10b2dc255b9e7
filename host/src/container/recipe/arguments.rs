//! The settings of a data file, the words that stand for them, and the arguments that come out of both.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Unfit;
use crate::plugins::container::DataFile;

/// The settings, with their defaults.
pub(super) struct Settings<'a> {
    pub file: &'a DataFile,
    pub extra: &'a Map<String, Value>,
}

impl Settings<'_> {
    /// A setting as one text; nothing where it is not set.
    pub fn text(&self, key: &str) -> Option<String> {
        let text = match self.extra.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Some(_) => return None,
            None => {
                let setting = self.file.manifest.settings.iter().find(|setting| setting.key == key)?;
                setting.default.trim_matches('"').to_owned()
            }
        };
        (!text.is_empty()).then_some(text)
    }
}

/// What stands for the words in braces.
pub(super) struct Words<'a> {
    pub settings: &'a Settings<'a>,
    pub own: BTreeMap<&'static str, Option<String>>,
}

impl Words<'_> {
    /// `text` with its words replaced; nothing where one of them is not there.
    pub fn fill(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let word = from[1..].split_once('}').map(|(word, _)| word);
            match word.filter(|word| is_word(word)) {
                Some(word) => {
                    let value = match self.own.get(word) {
                        Some(value) => value.clone(),
                        None => self.settings.text(word),
                    };
                    out.push_str(&value?);
                    rest = &from[word.len() + 2..];
                }
                None => {
                    out.push('{');
                    rest = &from[1..];
                }
            }
        }
        out.push_str(rest);
        Some(out)
    }

    pub fn fill_all(&self, texts: &[String]) -> Option<Vec<String>> {
        texts.iter().map(|text| self.fill(text)).collect()
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `arguments` hold the flag `flag`, alone or with its value.
pub(super) fn gives(arguments: &[String], flag: &str) -> bool {
    arguments
        .iter()
        .any(|one| one == flag || one.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
}

/// What stands after `flag` in `arguments`, the last time that it does.
fn value_of<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let mut found = None;
    for (at, one) in arguments.iter().enumerate() {
        if one == flag {
            found = arguments.get(at + 1).map(String::as_str);
        } else if let Some(value) = one.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            found = Some(value);
        }
    }
    found
}

pub(super) fn check(file: &DataFile, all: &[String], own: &[String]) -> Result<(), Unfit> {
    let key = file.run.more.as_deref().unwrap_or_default();
    for (flag, why) in &file.run.refused {
        if gives(own, flag) {
            return Err(Unfit::new(
                format!("is not given `{flag}`, which stands in `{key}`: {why}"),
                format!("take `{flag}` out of `{key}`"),
            ));
        }
    }
    for (flag, least) in &file.run.at_least {
        let Some(value) = value_of(all, flag) else { continue };
        if value.parse::<u64>().is_ok_and(|value| value < *least) {
            return Err(Unfit::new(
                format!("could never mine with `{flag} {value}`"),
                format!("give at least {least}"),
            ));
        }
    }
    Ok(())
}

/// The user's own arguments: a list, or one text that is split as a shell would.
pub(super) fn own_arguments(value: Option<&Value>) -> Result<Vec<String>, &'static str> {
    match value {
        Some(Value::Array(items)) => Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Some(Value::String(text)) => split(text),
        _ => Ok(Vec::new()),
    }
}

/// Splits a text at blanks; quotation marks and backslashes keep them, as in a shell.
pub(super) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("ends within quotation marks") } else { Ok(words) }
}
