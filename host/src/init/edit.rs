//! Changes to the text of `config.toml`: comments, order and other programs' sections stay, byte for byte.
//!
//! `toml_edit` makes the change and forgets line endings, a byte order mark and a missing last newline. So its
//! result is only the plan: every line that it left as it was is taken from the old text, with all its bytes.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::diff::{self, Edit};
use crate::config::{Change, keys};
use crate::text::wrap;

/// The columns that the text of a comment takes at most.
const COMMENT_WIDTH: usize = 74;

/// `old` with `changes` made; of two for the same key the later one wins.
///
/// # Errors
///
/// [`EditError`] where `old` is not TOML, or where a value stands in the way of a section.
pub fn apply(old: &str, changes: &[Change]) -> Result<String, EditError> {
    let (mark, body) = match old.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", old),
    };
    let mut document: DocumentMut = body.parse().map_err(EditError::Syntax)?;
    let at_the_end = ends_with_ours(&document);
    let mut added = Vec::new();
    // New keys stand in the order of the reference, whatever order they were given in.
    let mut changes: Vec<&Change> = changes.iter().collect();
    changes.sort_by_key(|change| {
        keys::KEYS.iter().position(|key| key.path == change.key()).unwrap_or(keys::KEYS.len())
    });
    for change in changes {
        match change {
            Change::Set { key, value } => set(&mut document, key, value, &mut added)?,
            Change::Unset { key } => unset(&mut document, key),
            Change::Append { key, table } => append(&mut document, key, table, &mut added)?,
        }
    }
    if at_the_end {
        comments_stay_in_front(&mut document, &added);
    }
    let new = document.to_string();
    Ok(format!("{mark}{}", with_old_bytes(body, &new)))
}

/// Why a change cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum EditError {
    #[error("the file is not TOML: {}", .0.message().trim())]
    Syntax(toml_edit::TomlError),
    #[error("`{0}` is a value in the file, but must be a section")]
    NotASection(String),
}

impl crate::explain::Explain for EditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax(_) => Some("`pearlbed config show` names the line".to_owned()),
            Self::NotASection(section) => {
                Some(format!("remove the line that sets `{section}`, then try again"))
            }
        }
    }

    fn exit(&self) -> crate::exit::Exit {
        crate::exit::Exit::Futile
    }
}

/// The section `tables`, made where it is not there, which goes to `added`; also answers whether its keys stand on lines of
/// their own.
fn section<'a>(
    document: &'a mut DocumentMut,
    tables: &str,
    added: &mut Vec<String>,
) -> Result<(&'a mut dyn TableLike, bool), EditError> {
    let mut table: &mut dyn TableLike = document.as_table_mut();
    let mut so_far = String::new();
    // Whether the keys stand on lines of their own, where a comment can go before one.
    let mut on_lines = true;
    for part in tables.split('.') {
        if !so_far.is_empty() {
            so_far.push('.');
        }
        so_far.push_str(part);
        if !table.contains_key(part) {
            let mut fresh = Table::new();
            // Only a section with keys of its own gets a header: `[mining.extra]` needs no empty `[mining]`.
            fresh.set_implicit(true);
            table.insert(part, Item::Table(fresh));
            added.push(so_far.clone());
        }
        let item = table.get_mut(part).expect("it was put there");
        on_lines &= matches!(item, Item::Table(table) if !table.is_dotted());
        table = item.as_table_like_mut().ok_or_else(|| EditError::NotASection(so_far.clone()))?;
    }
    Ok((table, on_lines))
}

/// Sets `path`; adds the sections that this took to `added`.
fn set(
    document: &mut DocumentMut,
    path: &str,
    value: &Value,
    added: &mut Vec<String>,
) -> Result<(), EditError> {
    let (tables, name) = path.rsplit_once('.').expect("every key lies in a section");
    let (table, on_lines) = section(document, tables, added)?;
    if let Some(Item::Value(old)) = table.get_mut(name) {
        // A comment behind the value stays.
        let decor = old.decor().clone();
        *old = value.clone();
        *old.decor_mut() = decor;
        return Ok(());
    }
    table.insert(name, Item::Value(value.clone()));
    if let (true, Some(known)) = (on_lines, keys::find(path)) {
        let comment: String =
            wrap(known.help, COMMENT_WIDTH).iter().map(|line| format!("# {line}\n")).collect();
        let mut key = table.key_mut(name).expect("it was put there");
        key.leaf_decor_mut().set_prefix(comment);
    }
    Ok(())
}

/// Adds a table of `entries` to the end of the list `path`; adds the list to `added` where it is new.
fn append(
    document: &mut DocumentMut,
    path: &str,
    entries: &[(String, Value)],
    added: &mut Vec<String>,
) -> Result<(), EditError> {
    let (tables, name) = path.rsplit_once('.').expect("every list lies in a section");
    let (section, on_lines) = section(document, tables, added)?;
    let entries = || entries.iter().map(|(key, value)| (key.as_str(), value.clone()));
    if !section.contains_key(name) {
        let list = match on_lines {
            true => Item::ArrayOfTables(ArrayOfTables::new()),
            false => Item::Value(Value::Array(Array::new())),
        };
        section.insert(name, list);
        added.push(path.to_owned());
    }
    match section.get_mut(name) {
        Some(Item::ArrayOfTables(list)) => {
            let mut table = Table::new();
            entries().for_each(|(key, value)| _ = table.insert(key, Item::Value(value)));
            list.push(table);
            Ok(())
        }
        Some(Item::Value(Value::Array(list))) => {
            list.push(InlineTable::from_iter(entries()));
            Ok(())
        }
        _ => Err(EditError::NotASection(path.to_owned())),
    }
}

fn unset(document: &mut DocumentMut, path: &str) {
    let (tables, name) = path.rsplit_once('.').expect("every key lies in a section");
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in tables.split('.') {
        match table.get_mut(part).and_then(Item::as_table_like_mut) {
            Some(inner) => table = inner,
            None => return,
        }
    }
    table.remove(name);
}

/// Whether a new section of ours would be the last one of the file.
fn ends_with_ours(document: &DocumentMut) -> bool {
    let mut last = (isize::MIN, true);
    for (name, item) in document.iter() {
        if let Some(position) = last_position(item)
            && position >= last.0
        {
            last = (position, name == "mining" || name == "plugins");
        }
    }
    // A section that does not exist yet goes to the end of all.
    last.1 || !(document.contains_key("mining") || document.contains_key("plugins"))
}

fn last_position(item: &Item) -> Option<isize> {
    match item {
        Item::Table(table) => {
            let inner = table.iter().filter_map(|(_, item)| last_position(item)).max();
            table.position().max(inner)
        }
        Item::ArrayOfTables(tables) => tables.iter().filter_map(Table::position).max(),
        _ => None,
    }
}

/// Comments at the end of the file belong to what they follow: new sections go behind them.
fn comments_stay_in_front(document: &mut DocumentMut, added: &[String]) {
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    if trailing.trim().is_empty() {
        return;
    }
    for path in added {
        let mut item = document.as_item_mut();
        for part in path.split('.') {
            item = &mut item[part];
        }
        // The first one that has keys is the first one that has a header.
        let table = match item {
            Item::Table(table) => Some(table),
            Item::ArrayOfTables(list) => list.get_mut(0),
            _ => None,
        };
        if let Some(table) = table
            && table.iter().any(|(_, item)| item.is_value())
        {
            let gap = if trailing.ends_with('\n') { "\n" } else { "\n\n" };
            table.decor_mut().set_prefix(format!("{trailing}{gap}"));
            document.set_trailing("");
            return;
        }
    }
}

/// `new` with the lines that `old` has, too, taken from `old`: with its line endings, byte for byte.
fn with_old_bytes(old: &str, new: &str) -> String {
    let end = if old.contains("\r\n") { "\r\n" } else { "\n" };
    let bare = |line: &str| line.trim_end_matches(['\r', '\n']).to_owned();
    let raw: Vec<&str> = old.split_inclusive('\n').collect();
    let old_lines: Vec<String> = raw.iter().map(|line| bare(line)).collect();
    let new_lines: Vec<String> = new.lines().map(bare).collect();
    let mut out = String::with_capacity(old.len() + 256);
    for edit in diff::lines(&old_lines, &new_lines) {
        match edit {
            Edit::Both(line, _) => out.push_str(raw[line]),
            Edit::New(line) => {
                if !out.is_empty() && !out.ends_with('\n') {
                    out.push_str(end);
                }
                out.push_str(&new_lines[line]);
                out.push_str(end);
            }
            Edit::Old(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: impl Into<Value>) -> Change {
        Change::Set { key: key.to_owned(), value: value.into() }
    }

    const OTHERS: &str = "# mine\n[engine]\ndefault = 'vllm'   # single quotes\n\n\t[engine.vllm]\n\
                          \thost=\"x\"\n[server]\nport = 8000\n# the end\n";

    #[test]
    fn a_new_section_goes_to_the_end_and_leaves_the_rest_byte_for_byte() {
        let new = apply(OTHERS, &[change("mining.fee_bps", 0), change("mining.extra.m", 256)]).unwrap();
        let ours = new.strip_prefix(OTHERS).expect("the old text comes first, unchanged");
        assert!(ours.contains("\n[mining]\n# The fee in basis points."), "{ours}");
        assert!(ours.ends_with("\nfee_bps = 0\n\n[mining.extra]\nm = 256\n"), "{ours}");
    }

    #[test]
    fn a_value_is_replaced_and_its_comment_kept() {
        let old = "[mining]\nprovider  =  \"a\"  # why\n[z]\n";
        assert_eq!(
            apply(old, &[change("mining.provider", "b")]).unwrap(),
            "[mining]\nprovider  =  \"b\"  # why\n[z]\n"
        );
    }

    #[test]
    fn line_endings_mark_and_missing_last_newline_survive() {
        let old = "\u{feff}# c\r\n[a]\r\nx = 1\r\n[mining.extra]\r\nm = 1\r\n[z]\r\nq=1";
        let new = apply(old, &[change("mining.extra.n", 2)]).unwrap();
        assert_eq!(new, old.replace("m = 1\r\n", "m = 1\r\nn = 2\r\n"));
        let new = apply("[z]\nq=1", &[change("mining.extra.n", 2)]).unwrap();
        assert_eq!(new, "[z]\nq=1\n\n[mining.extra]\nn = 2\n");
    }

    #[test]
    fn inline_and_dotted_forms_are_added_to_in_their_own_way() {
        for old in ["mining = { provider = \"x\" } # c\n", "mining.provider = \"x\"\n[z]\n"] {
            let new = apply(old, &[change("mining.extra.n", 2), change("mining.fee_bps", 0)]).unwrap();
            let read: DocumentMut = new.parse().unwrap();
            assert_eq!(read["mining"]["extra"]["n"].as_integer(), Some(2), "{new}");
            assert_eq!(read["mining"]["fee_bps"].as_integer(), Some(0), "{new}");
            assert_eq!(read["mining"]["provider"].as_str(), Some("x"), "{new}");
        }
    }

    #[test]
    fn tables_go_to_the_end_of_their_list_in_the_form_that_it_has() {
        let append = |name: &str| Change::Append {
            key: "mining.miners".to_owned(),
            table: vec![("name".to_owned(), name.into()), ("nice".to_owned(), 3.into())],
        };
        let new = apply(OTHERS, &[change("mining.fee_bps", 0), append("b"), append("c")]).unwrap();
        let ours = new.strip_prefix(OTHERS).expect("the old text comes first, unchanged");
        let lists = "fee_bps = 0\n\n[[mining.miners]]\nname = \"b\"\nnice = 3\n\n[[mining.miners]]\nname = \"c\"\nnice = 3\n";
        assert!(ours.ends_with(lists), "{ours}");
        // Comments at the end belong to what they follow, also where a list is all that is new.
        let old = "[mining]\nfee_bps = 0\n# the end\n";
        let new = apply(old, &[append("b")]).unwrap();
        assert!(
            new.starts_with(old) && new.ends_with("[[mining.miners]]\nname = \"b\"\nnice = 3\n"),
            "{new}"
        );
        for old in [
            "[mining]\nx = 1\n\n[[mining.miners]] # first\nname = \"a\"\n\n[mining.extra]\nm = 1\n[z]\n",
            "[mining]\nminers = [{ name = \"a\" }] # first\n[z]\n",
            "mining = { miners = [{ name = \"a\" }] }\n[z]\n",
            "mining.fee_bps = 0\nmining.miners = [{ name = \"a\" }]\n[z]\n",
        ] {
            let new = apply(old, &[append("b")]).unwrap();
            let read: DocumentMut = new.parse().unwrap();
            let list = &read["mining"]["miners"];
            let name = |index: usize| match list {
                Item::ArrayOfTables(list) => list.get(index)?.get("name")?.as_str(),
                other => other.as_array()?.get(index)?.as_inline_table()?.get("name")?.as_str(),
            };
            assert_eq!((name(0), name(1), name(2)), (Some("a"), Some("b"), None), "{new}");
            assert!(read.contains_key("z"), "{new}");
        }
        for old in ["mining = { provider = \"x\" }\n", "mining.provider = \"x\"\n[z]\n"] {
            let new = apply(old, &[append("b")]).unwrap();
            let read: DocumentMut = new.parse().unwrap();
            assert_eq!(read["mining"]["miners"].as_array().map(Array::len), Some(1), "{new}");
        }
        let err = apply("[mining]\nminers = 3\n", &[append("b")]).unwrap_err();
        assert_eq!(err.to_string(), "`mining.miners` is a value in the file, but must be a section");
    }

    #[test]
    fn a_key_is_removed_and_one_that_is_not_there_is_no_matter() {
        let old = "[mining]\nprovider = \"a\"\n# about the fee\nfee_bps = 0\n";
        let unset = |key: &str| Change::Unset { key: key.to_owned() };
        let new = apply(old, &[unset("mining.provider"), unset("mining.nothing.here")]).unwrap();
        assert_eq!(new, "[mining]\n# about the fee\nfee_bps = 0\n");
    }

    #[test]
    fn a_value_in_the_place_of_a_section_is_named() {
        let err = apply("[mining]\nextra = 3\n", &[change("mining.extra.m", 1)]).unwrap_err();
        assert_eq!(err.to_string(), "`mining.extra` is a value in the file, but must be a section");
    }
}
