//! What can be wrong with a configuration, in words that name the key, the place and a right value.

use std::fmt;
use std::path::PathBuf;

use crate::exit::Exit;
use crate::explain::Explain;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A line of the file, counted from 1.
    File {
        /// The configuration file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
    /// A change that was asked for and not made.
    Unwritten,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(out, "{} line {line}", path.display()),
            Self::Environment(variable) => write!(out, "environment variable {variable}"),
            Self::Flag(flag) => write!(out, "flag {flag}"),
            Self::Unwritten => out.write_str("as it was to be set; nothing was written"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("{} is not UTF-8 text (byte {offset})", path.display())]
    NotText { path: PathBuf, offset: usize },
    #[error("{} line {line} is not TOML: {problem}", path.display())]
    Syntax { path: PathBuf, line: usize, problem: String },
    #[error("unknown key `{key}` in [{table}] ({place})")]
    UnknownKey { key: String, table: String, nearest: Option<String>, known: Vec<&'static str>, place: Place },
    #[error("unknown section [{section}] ({place})")]
    UnknownSection { section: String, nearest: String, place: Place },
    #[error("unknown environment variable {variable}")]
    UnknownVariable { variable: String, nearest: Option<String> },
    #[error("`{key}` must be {expected}, but is {found} ({place})")]
    WrongType { key: String, expected: String, found: &'static str, example: String, place: Place },
    #[error("`{key}` {problem} ({place})")]
    Invalid { key: String, problem: String, fix: String, place: Place },
    #[error("`{key}` is not set, and {reason}")]
    Missing { key: &'static str, reason: &'static str, fix: String },
}

impl Explain for ConfigError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, err } => crate::remedy::for_file(err, path),
            Self::NotText { .. } => Some("save the file as UTF-8".to_owned()),
            Self::Syntax { problem, .. } if problem.contains("duplicate") => {
                Some("a key or a section may be written once only: remove one of the two".to_owned())
            }
            Self::Syntax { .. } => {
                Some("text stands in quotes, lists in brackets: `provider = \"…\"`".to_owned())
            }
            Self::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKey { known, .. } if known.is_empty() => {
                Some("`pearlbed config keys` lists the settings".to_owned())
            }
            Self::UnknownKey { known, .. } => Some(format!("known here: {}", known.join(", "))),
            Self::UnknownSection { nearest, .. } => Some(format!("did you mean [{nearest}]?")),
            Self::UnknownVariable { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest}?")),
            Self::UnknownVariable { .. } => {
                Some("`pearlbed config show --origin` lists the variables".to_owned())
            }
            Self::WrongType { key, example, place, .. } => Some(match place {
                Place::Environment(variable) => {
                    format!("write it like this: {variable}={}", as_a_word(example))
                }
                Place::Flag(flag) if flag == "--set" => {
                    format!("write it like this: --set {key}={}", as_a_word(example))
                }
                _ => format!("write it like this: {} = {example}", last(key)),
            }),
            Self::Invalid { fix, .. } | Self::Missing { fix, .. } => Some(fix.clone()),
        }
    }

    /// What is wrong stays wrong until somebody changes it; on the command line that is a wrong command line.
    fn exit(&self) -> Exit {
        match self {
            Self::UnknownKey { place: Place::Flag(_), .. }
            | Self::UnknownSection { place: Place::Flag(_), .. }
            | Self::WrongType { place: Place::Flag(_), .. }
            | Self::Invalid { place: Place::Flag(_), .. } => Exit::Usage,
            _ => Exit::Futile,
        }
    }
}

impl ConfigError {
    /// The same mistake, made at another place.
    #[must_use]
    pub fn at(mut self, other: Place) -> Self {
        match &mut self {
            Self::UnknownKey { place, .. }
            | Self::UnknownSection { place, .. }
            | Self::WrongType { place, .. }
            | Self::Invalid { place, .. } => *place = other,
            _ => {}
        }
        self
    }

    /// The key at fault, where it is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::WrongType { key, .. } | Self::Invalid { key, .. } | Self::UnknownKey { key, .. } => {
                Some(key)
            }
            Self::Missing { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// A value of TOML as it is typed in a shell.
fn as_a_word(example: &str) -> String {
    let text = example.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(example);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{text}'") }
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}
