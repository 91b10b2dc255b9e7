//! The settings of a provider as its manifest lists them, so that a host can show and check them before it starts one.
//!
//! A setting is a key of the user's `[mining.extra]`, or of one miner's `extra`. What its value may be is said in a small
//! language of its own, one text, so that a manifest in any language can say it:
//!
//! ```text
//! kind  = alternative *( "|" alternative )
//! alternative = "flag" | "text" | "table"                       true or false; one line; an open table
//!             | "integer" [":" [low] ".." [high]]               whole numbers, both ends included
//!             | "number" [":" [low] ".." [high]]                with or without a point
//!             | "choice:" word *("," word)                      one of these texts
//!             | "list:" ("integer" | "text")                    any number of them
//!             | "depth" | "rank" | "tile"                       k, r and the tile of a product (protocol, section 7)
//! ```
//!
//! A depth, a rank and a tile are held against the rules of the protocol together, each that is not set by its default, so
//! that a shape whose proofs every node would refuse is refused before anything is started. A tile is `"16x16"`, or a table
//! of two lists of offsets, `rows` and `columns`.
//!
//! An alternative that a host does not know is one from the future: it takes every value, and the provider decides.

use serde::{Deserialize, Serialize};

/// A key is at most so long, in bytes. Since 1.0.0.
pub const MAX_KEY_BYTES: usize = 64;

/// One setting. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Setting {
    /// The key: lower-case letters, digits and `_`, at most 64 bytes.
    pub key: String,
    /// What its value may be, in the language of [this module](self).
    pub kind: String,
    /// The value where nothing sets it, as TOML writes it; empty where there is none.
    #[serde(default)]
    pub default: String,
    /// What it is for, one line.
    #[serde(default)]
    pub help: String,
    /// Whether it may also stand in a table that is named after a device, for that device alone.
    #[serde(default)]
    pub per_device: bool,
}

/// What one alternative of a kind takes. Since 1.0.0.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Alternative {
    /// True or false.
    Flag,
    /// One line of text.
    Text,
    /// A table.
    Table,
    /// A whole number, both ends included.
    Integer(Option<i64>, Option<i64>),
    /// A number with or without a point, both ends included.
    Number(Option<f64>, Option<f64>),
    /// One of these texts.
    Choice(Vec<String>),
    /// A list of whole numbers.
    Integers,
    /// A list of texts.
    Texts,
    /// The depth of a product, k.
    Depth,
    /// The rank of its noise, r.
    Rank,
    /// A tile of it: text or a table.
    Tile,
    /// Something of the future, which takes every value.
    Unknown,
}

impl Setting {
    /// The alternatives of its kind. Since 1.0.0.
    pub fn alternatives(&self) -> Vec<Alternative> {
        self.kind.split('|').map(alternative).collect()
    }
}

fn alternative(text: &str) -> Alternative {
    let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    match (name.trim(), rest) {
        ("flag", None) => Alternative::Flag,
        ("text", None) => Alternative::Text,
        ("table", None) => Alternative::Table,
        ("integer", None) => Alternative::Integer(None, None),
        ("integer", Some(range)) => {
            ends(range).map_or(Alternative::Unknown, |(low, high)| Alternative::Integer(low, high))
        }
        ("number", None) => Alternative::Number(None, None),
        ("number", Some(range)) => {
            ends(range).map_or(Alternative::Unknown, |(low, high)| Alternative::Number(low, high))
        }
        ("choice", Some(words)) => {
            Alternative::Choice(words.split(',').map(|word| word.trim().to_owned()).collect())
        }
        ("list", Some("integer")) => Alternative::Integers,
        ("list", Some("text")) => Alternative::Texts,
        ("depth", None) => Alternative::Depth,
        ("rank", None) => Alternative::Rank,
        ("tile", None) => Alternative::Tile,
        _ => Alternative::Unknown,
    }
}

/// Both ends of `low..high`, each of which may be left out.
fn ends<T: std::str::FromStr>(range: &str) -> Option<(Option<T>, Option<T>)> {
    let (low, high) = range.split_once("..")?;
    let end = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    Some((end(low)?, end(high)?))
}

/// Whether `key` is a setting's key: 1 to 64 lower-case letters, digits and `_`, beginning with a letter. Since 1.0.0.
pub const fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_KEY_BYTES || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'_') {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str) -> Vec<Alternative> {
        let (default, help) = (String::new(), String::new());
        Setting { key: "a".into(), kind: kind.into(), default, help, per_device: false }.alternatives()
    }

    #[test]
    fn a_kind_is_read_into_its_alternatives() {
        assert_eq!(of("flag"), [Alternative::Flag]);
        assert_eq!(of("integer:0..1024"), [Alternative::Integer(Some(0), Some(1024))]);
        assert_eq!(of("integer:-5.."), [Alternative::Integer(Some(-5), None)]);
        assert_eq!(of("number:0.5..1"), [Alternative::Number(Some(0.5), Some(1.0))]);
        assert_eq!(of("flag|list:integer"), [Alternative::Flag, Alternative::Integers]);
        assert_eq!(of("choice:a, b"), [Alternative::Choice(vec!["a".into(), "b".into()])]);
        assert_eq!(of("text|table|list:text"), [Alternative::Text, Alternative::Table, Alternative::Texts]);
        assert_eq!(of("depth|rank|tile"), [Alternative::Depth, Alternative::Rank, Alternative::Tile]);
        for future in
            ["", "depth:1", "colour", "integer:", "integer:a..b", "list:flag", "flag:yes", "number:1"]
        {
            assert_eq!(of(future), [Alternative::Unknown], "{future:?}");
        }
    }

    #[test]
    fn keys_are_those_that_toml_takes_without_quotes() {
        for key in ["a", "cpu_percent", "m2"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "A", "2m", "cpu-percent", "a.b", "_a", "é", &"a".repeat(65)] {
            assert!(!is_key(key), "{key}");
        }
    }
}
