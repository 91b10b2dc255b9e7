//! Who vouches for a file: its signature, what was seen of it before, and what the user has blocked.
//!
//! A signature is minisign's, detached, beside the library: `FILE.minisig`. It is checked against the keys that the user
//! has named, and against the one that the provider was installed or first used with. What was seen is kept in
//! `<home>/plugins.json`, written by whoever uses or installs a plugin and by nobody who only looks.
//!
//! # Limitations
//!
//! - Whoever may write to the home folder may change what was seen; the file's owner and mode are the look's business.
//! - A file of more than `FILE_BYTES_MAX` is not hashed: where a hash is asked for, it is refused.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use minisign_verify::{Error as SignatureError, PublicKey, Signature};
use serde::{Deserialize, Serialize};

use super::file_identity::Identity;
use super::look::Look;
use super::reason::Reason;
use crate::config::PluginsSection;
use crate::home::Home;
use crate::text;

/// The longest library that is hashed, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// The longest signature, in bytes; minisign's have some 300.
const SIGNATURE_BYTES_MAX: u64 = 8 << 10;
/// The suffix of a signature's file.
pub const SIGNATURE_SUFFIX: &str = "minisig";

/// By whom a library is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Signed {
    /// There is no signature beside it.
    #[default]
    Unsigned,
    /// By a key that the user has named, or that it was first used with.
    By {
        /// The key, as it is written in the configuration.
        key: String,
        /// What the signer says of the file; it is signed as well. One printable line.
        comment: String,
    },
    /// By a key that nobody here has named, so that it says nothing.
    Unknown {
        /// The id of the key, as minisign prints it.
        key_id: String,
    },
    /// The signature is not one of this file.
    Wrong,
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned => f.write_str("unsigned"),
            Self::By { key, comment } if comment.is_empty() => write!(f, "signed by {key}"),
            Self::By { key, comment } => write!(f, "signed by {key} ({comment})"),
            Self::Unknown { key_id } => write!(f, "signed by key {key_id}, which is not in [plugins] keys"),
            Self::Wrong => f.write_str("signed wrongly"),
        }
    }
}

/// What the user trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    keys: Vec<String>,
    require: bool,
    memory: Memory,
}

/// What is known of the plugins that were used, and of those that must not be: `<home>/plugins.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    schema: u32,
    /// By provider id.
    seen: BTreeMap<String, Seen>,
    /// Ids and hashes that the user has blocked.
    blocked: BTreeSet<String>,
}

/// A plugin as it was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    version: String,
    /// BLAKE3 of the file, in hexadecimal.
    hash: String,
    /// Who had signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// What was found of one file.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// By whom it is signed.
    pub signed: Signed,
    /// What a user should know though it is used: a phrase.
    pub note: Option<String>,
    /// Why it is not used.
    pub refusal: Option<Reason>,
}

/// Whether `text` is a minisign public key.
pub fn is_key(text: &str) -> bool {
    PublicKey::from_base64(text).is_ok()
}

/// BLAKE3 of the file at `path`, in hexadecimal; `None` where it cannot be read or is too long.
pub fn hash(path: &Path) -> Option<String> {
    let (bytes, _) = read_file(path, FILE_BYTES_MAX).ok()?;
    Some(blake3::hash(&bytes).to_hex().to_string())
}

impl Memory {
    fn file(home: &Home) -> PathBuf {
        home.root().join("plugins.json")
    }

    /// What is known; nothing where nothing was kept or it cannot be read.
    pub fn read(home: &Home) -> Self {
        let bytes = std::fs::read(Self::file(home)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn change<T>(home: &Home, change: impl FnOnce(&mut Self) -> T) -> io::Result<T> {
        let mut memory = Self::read(home);
        let before = memory.clone();
        let answer = change(&mut memory);
        memory.schema = 1;
        if memory != before {
            std::fs::create_dir_all(home.root())?;
            let mut text = serde_json::to_vec_pretty(&memory).expect("texts are JSON");
            text.push(b'\n');
            crate::owned::replace(&Self::file(home), &text)?;
        }
        Ok(answer)
    }

    /// Blocks an id or a hash, or lets it be used again. Returns whether that was new.
    ///
    /// # Errors
    ///
    /// Where the home folder cannot be written.
    pub fn block(home: &Home, what: &str, blocked: bool) -> io::Result<bool> {
        Self::change(home, |memory| match blocked {
            true => memory.blocked.insert(what.to_owned()),
            false => memory.blocked.remove(what),
        })
    }

    /// Forgets the provider `id`, but not that it is blocked.
    ///
    /// # Errors
    ///
    /// Where the home folder cannot be written.
    pub fn forget(home: &Home, id: &str) -> io::Result<bool> {
        Self::change(home, |memory| memory.seen.remove(id).is_some())
    }

    /// Everything that is blocked.
    pub fn blocked(&self) -> impl Iterator<Item = &str> {
        self.blocked.iter().map(String::as_str)
    }
}

/// Keeps what the file at `path` is and by whom it is signed, as what the provider `id` is known by from now on.
///
/// With `anew` it takes the place of what was known; without, a provider that is known keeps its key.
///
/// # Errors
///
/// Where the file cannot be read, or the home folder not be written.
pub fn remember(
    home: &Home,
    id: &str,
    version: &str,
    path: &Path,
    signed: &Signed,
    anew: bool,
) -> io::Result<()> {
    let (bytes, _) = read_file(path, FILE_BYTES_MAX)?;
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let key = match signed {
        Signed::By { key, .. } => Some(key.clone()),
        _ => None,
    };
    Memory::change(home, |memory| {
        if !anew && memory.seen.get(id).is_some_and(|seen| seen.version == version) {
            // Another file under the same version goes on being told until somebody confirms it.
            return;
        }
        let kept = memory.seen.get(id).and_then(|seen| seen.key.clone()).filter(|_| !anew);
        let seen = Seen { version: version.to_owned(), hash, key: key.or(kept) };
        memory.seen.insert(id.to_owned(), seen);
    })
}

impl Trust {
    /// What the configuration and the home folder say.
    pub fn of(section: &PluginsSection, home: Option<&Home>) -> Self {
        Self {
            keys: section.keys.clone(),
            require: section.require_signature,
            memory: home.map(Memory::read).unwrap_or_default(),
        }
    }

    /// The same with one more key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.keys.push(key.to_owned());
        self
    }

    /// Whether a signature by a known key is asked for.
    #[must_use]
    pub fn requiring(mut self, require: bool) -> Self {
        self.require |= require;
        self
    }

    /// The same without what was seen before: for a file that is to take the place of another.
    #[must_use]
    pub fn anew(mut self) -> Self {
        self.memory.seen.clear();
        self
    }

    /// Judges the file at `path`, of which `look` was taken. Reads it only where something asks for its contents.
    pub fn judge(&self, path: &Path, look: &Look) -> Judgement {
        let Some((manifest, identity)) = look.manifest.as_ref().zip(look.identity) else {
            return Judgement::default();
        };
        let id = manifest.id.as_str();
        if self.memory.blocked.contains(id) {
            return refused(Signed::Unsigned, blocked(&format!("`{id}`"), id));
        }
        let seen = self.memory.seen.get(id);
        let signature = read_signature(path, &look.real_path);
        let hashes = self.memory.blocked.iter().any(|what| is_hash(what));
        if matches!(signature, Ok(None)) && seen.is_none() && !hashes {
            return self.without_signature(None);
        }
        let bytes = match read_file(&look.real_path, FILE_BYTES_MAX) {
            Ok((bytes, now)) if now == identity => bytes,
            Ok(_) => {
                let words = "it was changed or replaced while it was looked at";
                return refused(Signed::Unsigned, Reason::new("changed", words, "run the command again"));
            }
            Err(err) => {
                let words = format!("its signature and its hash cannot be checked: {err}");
                let fix = "put it back as its author ships it, or remove it";
                return refused(Signed::Wrong, Reason::new("signature-wrong", words, fix));
            }
        };
        let hash = blake3::hash(&bytes).to_hex().to_string();
        if self.memory.blocked.contains(&hash) {
            return refused(Signed::Unsigned, blocked("its very contents", &hash));
        }
        let own = seen.and_then(|seen| seen.key.as_ref());
        let signed = match signature {
            Ok(None) => Signed::Unsigned,
            Ok(Some(signature)) => match check(&signature, &bytes, self.keys.iter().chain(own)) {
                Ok(signed) => signed,
                Err(why) => return wrong(&why),
            },
            Err(why) => return wrong(&why),
        };
        if let Some(own) = own {
            // A key that was taken out of the configuration vouches for nothing any more.
            let revoked = !self.keys.is_empty() && !self.keys.contains(own);
            let same = matches!(&signed, Signed::By { key, .. } if key == own);
            if !same || revoked {
                let now = if revoked && same {
                    "that key is no longer in [plugins] keys".to_owned()
                } else {
                    format!("it is {signed} now")
                };
                let words = format!("it was signed by {own} when it was used first, and {now}");
                let fix =
                    format!("get it from its author; if you meant this one, `pearlbed plugins trust {id}`");
                return refused(signed, Reason::new("other-key", words, fix));
            }
        }
        let changed = seen.is_some_and(|seen| seen.hash != hash && seen.version == manifest.version);
        let note = changed.then(|| {
            format!(
                "it is another file than when it was used first, under the same version {}",
                manifest.version
            )
        });
        match signed {
            Signed::By { .. } => Judgement { signed, note, refusal: None },
            signed => {
                let judged = self.without_signature(Some(signed));
                Judgement { note, ..judged }
            }
        }
    }

    fn without_signature(&self, signed: Option<Signed>) -> Judgement {
        let signed = signed.unwrap_or_default();
        if !self.require {
            return Judgement { signed, ..Judgement::default() };
        }
        let words = format!("it is {signed}, and [plugins] require_signature asks for a signature");
        refused(
            signed,
            Reason::new("unsigned", words, "get a signed one, or add its author's key to [plugins] keys"),
        )
    }
}

fn refused(signed: Signed, reason: Reason) -> Judgement {
    Judgement { signed, note: None, refusal: Some(reason) }
}

fn wrong(why: &str) -> Judgement {
    let words = format!("its signature is wrong: {why}");
    let fix = "download library and signature again from their author; somebody may have changed one of them";
    refused(Signed::Wrong, Reason::new("signature-wrong", words, fix))
}

fn blocked(what: &str, key: &str) -> Reason {
    let fix = format!("`pearlbed plugins block --undo {key}` lets it be used again");
    Reason::new("blocked", format!("you have blocked {what}"), fix)
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Checks `signature` against each key. `Err` says why it is wrong.
fn check<'a>(
    signature: &str,
    bytes: &[u8],
    keys: impl Iterator<Item = &'a String>,
) -> Result<Signed, String> {
    let parsed = Signature::decode(signature).map_err(|_| "it is no minisign signature".to_owned())?;
    for key in keys {
        let Ok(public) = PublicKey::from_base64(key) else { continue };
        match public.verify(bytes, &parsed, true) {
            Ok(()) => {
                let comment = text::printable(parsed.trusted_comment()).chars().take(120).collect();
                return Ok(Signed::By { key: key.clone(), comment });
            }
            Err(SignatureError::UnexpectedKeyId) => {}
            Err(_) => return Err("it was not made for this file, or its comment was changed".to_owned()),
        }
    }
    let line = signature.lines().nth(1).unwrap_or_default();
    let raw = base64::engine::general_purpose::STANDARD.decode(line.trim()).unwrap_or_default();
    // minisign prints the id as a number, most significant byte first.
    let key_id = raw.get(2..10).unwrap_or_default().iter().rev().map(|byte| format!("{byte:02X}")).collect();
    Ok(Signed::Unknown { key_id })
}

/// The signature beside the file, as it was found or with its links followed; `Ok(None)` where there is none.
fn read_signature(path: &Path, real_path: &Path) -> Result<Option<String>, String> {
    for path in [path, real_path] {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(SIGNATURE_SUFFIX);
        match read_file(Path::new(&name), SIGNATURE_BYTES_MAX) {
            Ok((bytes, _)) => {
                let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
                return Ok(Some(text));
            }
            // No file can have a name so long.
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) => {}
            Err(err) => return Err(err.to_string()),
        }
    }
    Ok(None)
}

/// A regular file of at most `most` bytes, and which it was.
fn read_file(path: &Path, most: u64) -> io::Result<(Vec<u8>, Identity)> {
    use rustix::fs::{Mode, OFlags};
    // Neither a named pipe nor a terminal may hold us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > most {
        let (len, most) = (text::bytes(metadata.len()), text::bytes(most));
        return Err(io::Error::other(format!("it has {len}, more than the {most} that are read")));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, Identity::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn a_key_is_told_from_what_is_none() {
        assert!(is_key(KEY) && !is_key("RWQ") && !is_key(""));
        assert_eq!(check("rubbish", b"", std::iter::empty()), Err("it is no minisign signature".to_owned()));
    }

    #[test]
    fn what_is_blocked_stays_so_until_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        assert!(Memory::block(&home, "some-id", true).unwrap());
        assert!(!Memory::block(&home, "some-id", true).unwrap());
        assert_eq!(Memory::read(&home).blocked().collect::<Vec<_>>(), ["some-id"]);
        assert!(Memory::block(&home, "some-id", false).unwrap());
        assert_eq!(Memory::read(&home).blocked().count(), 0);
        std::fs::write(folder.path().join("plugins.json"), "{\"seen\":7").unwrap();
        assert_eq!(Memory::read(&home), Memory::default());
    }

    #[test]
    fn a_provider_keeps_the_key_that_it_was_first_used_with() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home"));
        let file = folder.path().join("x");
        std::fs::write(&file, "one").unwrap();
        let by = Signed::By { key: KEY.into(), comment: String::new() };
        remember(&home, "x", "1", &file, &by, false).unwrap();
        remember(&home, "x", "2", &file, &Signed::Unsigned, false).unwrap();
        let seen = Memory::read(&home).seen["x"].clone();
        assert_eq!((seen.version.as_str(), seen.key.as_deref()), ("2", Some(KEY)));
        remember(&home, "x", "2", &file, &Signed::Unsigned, true).unwrap();
        assert_eq!(Memory::read(&home).seen["x"].key, None);
        assert!(Memory::forget(&home, "x").unwrap() && !Memory::forget(&home, "x").unwrap());
    }
}
