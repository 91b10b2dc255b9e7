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
//! - Where many are judged at once, those that there was no time for are refused, too, the longest first.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

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
/// The longest library whose signature is of the old kind, which takes all of it at once.
const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// So many bytes are read between two looks at the clock.
const READ_BYTES: usize = 1 << 20;
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
    /// There was no time to read the file.
    Unchecked,
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned => f.write_str("unsigned"),
            Self::By { key, comment } if comment.is_empty() => write!(f, "signed by {key}"),
            Self::By { key, comment } => write!(f, "signed by {key} ({comment})"),
            Self::Unknown { key_id } => write!(f, "signed by key {key_id}, which is not in [plugins] keys"),
            Self::Wrong => f.write_str("signed wrongly"),
            Self::Unchecked => f.write_str("not checked"),
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
    /// Why what is there cannot be read: what was blocked is not known then.
    #[serde(skip)]
    unread: Option<String>,
}

/// The record of some plugins is small, in bytes.
const MEMORY_BYTES_MAX: u64 = 4 << 20;

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
    Some(read_contents(path, None, None).ok()?.0.hash)
}

impl Memory {
    /// The file that it is kept in.
    pub fn file(home: &Home) -> PathBuf {
        home.root().join("plugins.json")
    }

    /// What is known; nothing where nothing was kept or it cannot be read.
    pub fn read(home: &Home) -> Self {
        Self::open(home).unwrap_or_else(|err| Self { unread: Some(err.to_string()), ..Self::default() })
    }

    /// The file and why it cannot be read, where that is so.
    pub fn unread(home: &Home) -> Option<(PathBuf, io::Error)> {
        Self::open(home).err().map(|err| (Self::file(home), err))
    }

    fn open(home: &Home) -> io::Result<Self> {
        let path = Self::file(home);
        match crate::owned::read_at_most(&path, MEMORY_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("it is not understood: {err}"))
            }),
            Err(err) if err.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Ok(Self::default()),
            Err(err) => Err(err),
        }
    }

    fn change<T>(home: &Home, change: impl FnOnce(&mut Self) -> T) -> io::Result<T> {
        // What cannot be read is not written over: it says what was blocked.
        let mut memory = Self::open(home)?;
        let before = memory.clone();
        let answer = change(&mut memory);
        memory.schema = 1;
        if memory != before {
            crate::owned::create_private(home.root())?;
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
    let hash = read_contents(path, None, None)?.0.hash;
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

    /// Judges the file at `path`, of which `look` was taken. Reads it only where something asks for its contents, and gives
    /// up at `until`.
    pub fn judge(&self, path: &Path, look: &Look, until: Option<Instant>) -> Judgement {
        let judgement = self.judge_by_memory(path, look, until);
        match &self.memory.unread {
            Some(err) if judgement.refusal.is_none() => {
                let words =
                    "whether you have blocked it, and who signed it when it was used first, is not known";
                let unread = format!("{words}: plugins.json in the home folder cannot be read: {err}");
                let note = judgement.note.map_or(unread.clone(), |note| format!("{note}; {unread}"));
                Judgement { note: Some(note), ..judgement }
            }
            _ => judgement,
        }
    }

    fn judge_by_memory(&self, path: &Path, look: &Look, until: Option<Instant>) -> Judgement {
        let Some((manifest, identity)) = look.manifest.as_ref().zip(look.identity) else {
            return Judgement::default();
        };
        let id = manifest.id.as_str();
        if self.memory.blocked.contains(id) {
            return refused(Signed::Unsigned, blocked(&format!("`{id}`"), id));
        }
        let seen = self.memory.seen.get(id);
        let own = seen.and_then(|seen| seen.key.as_ref());
        let hashes = self.memory.blocked.iter().any(|what| is_hash(what));
        let signature = match read_signature(path, &look.real_path) {
            Ok(None) => None,
            Ok(Some(text)) => match parse(&text, self.keys.iter().chain(own)) {
                Ok(signature) => Some(signature),
                Err(why) => return wrong(&why),
            },
            Err(why) => return wrong(&why),
        };
        // Of a stranger's signature the contents tell nothing.
        let named = signature.as_ref().is_some_and(|signature| signature.by.is_some());
        if !named && seen.is_none() && !hashes {
            let signed = signature.map(|signature| Signed::Unknown { key_id: signature.key_id });
            return self.without_signature(signed);
        }
        let contents = match read_contents(&look.real_path, signature.as_ref(), until) {
            Ok((contents, now)) if now == identity => contents,
            Ok(_) => {
                let words = "it was changed or replaced while it was looked at";
                return refused(Signed::Unsigned, Reason::new("changed", words, "run the command again"));
            }
            Err(err) if err.kind() == io::ErrorKind::TimedOut => return unchecked(identity.len),
            Err(err) => {
                let words = format!("its signature and its hash cannot be checked: {err}");
                let fix = "put it back as its author ships it, or remove it";
                return refused(Signed::Wrong, Reason::new("signature-wrong", words, fix));
            }
        };
        let hash = contents.hash;
        if self.memory.blocked.contains(&hash) {
            return refused(Signed::Unsigned, blocked("its very contents", &hash));
        }
        let signed = match signature {
            None => Signed::Unsigned,
            Some(Parsed { by: None, key_id, .. }) => Signed::Unknown { key_id },
            Some(Parsed { by: Some((key, _)), signature, .. }) if contents.is_signed => {
                let comment = text::printable(signature.trusted_comment()).chars().take(120).collect();
                Signed::By { key, comment }
            }
            Some(_) => return wrong("it was not made for this file, or its comment was changed"),
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

fn unchecked(len: u64) -> Judgement {
    let words = format!("there was no time to read its {} and to check them", text::bytes(len));
    let fix = "`pearlbed plugins inspect` on it alone says more";
    refused(Signed::Unchecked, Reason::new("not-checked", words, fix))
}

/// A signature before the file was read.
struct Parsed {
    signature: Signature,
    /// The key that made it, as it says, as text and to check with: one of those that are known here.
    by: Option<(String, PublicKey)>,
    /// The key's id as minisign prints it.
    key_id: String,
}

/// Reads `text` and finds which of `keys` it says to be of. `Err` says why it is no signature.
fn parse<'a>(text: &str, keys: impl Iterator<Item = &'a String>) -> Result<Parsed, String> {
    let signature = Signature::decode(text).map_err(|_| "it is no minisign signature".to_owned())?;
    let line = text.lines().nth(1).unwrap_or_default();
    let raw = base64::engine::general_purpose::STANDARD.decode(line.trim()).unwrap_or_default();
    // minisign prints the id as a number, most significant byte first.
    let key_id = raw.get(2..10).unwrap_or_default().iter().rev().map(|byte| format!("{byte:02X}")).collect();
    let mut keys = keys.filter_map(|key| Some((key.clone(), PublicKey::from_base64(key).ok()?)));
    // Nothing of the file is looked at until it is known whose key to check with.
    let by =
        keys.find(|(_, key)| !matches!(key.verify_stream(&signature), Err(SignatureError::UnexpectedKeyId)));
    Ok(Parsed { signature, by, key_id })
}

/// What a file's contents say.
struct Contents {
    /// BLAKE3, in hexadecimal.
    hash: String,
    /// The signature is one of them, by the key that it names.
    is_signed: bool,
}

/// Reads the file at `path` once, for its hash and to check `signature`. Answers which file it was, too.
///
/// # Errors
///
/// As [`open`], and [`io::ErrorKind::TimedOut`] at `until`.
fn read_contents(
    path: &Path,
    signature: Option<&Parsed>,
    until: Option<Instant>,
) -> io::Result<(Contents, Identity)> {
    let (mut file, identity) = open(path, FILE_BYTES_MAX)?;
    let signed = signature.and_then(|parsed| Some((&parsed.signature, &parsed.by.as_ref()?.1)));
    let mut stream = signed.and_then(|(signature, key)| key.verify_stream(signature).ok());
    // The old kind of signature is one of the whole file at once.
    let mut whole = (signed.is_some() && stream.is_none()).then(Vec::new);
    if whole.is_some() && identity.len > WHOLE_BYTES_MAX {
        let most = text::bytes(WHOLE_BYTES_MAX);
        return Err(io::Error::other(format!(
            "its signature is of minisign's old kind, which is checked for files of at most {most}"
        )));
    }
    let mut hasher = blake3::Hasher::new();
    let mut left = FILE_BYTES_MAX;
    let mut block = vec![0; READ_BYTES];
    while left > 0 {
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = match file.read(&mut block[..most]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        left -= count as u64;
        let bytes = &block[..count];
        hasher.update(bytes);
        stream.iter_mut().for_each(|stream| stream.update(bytes));
        whole.iter_mut().for_each(|whole| whole.extend_from_slice(bytes));
    }
    let is_signed = match (signed, stream, whole) {
        (Some(_), Some(mut stream), _) => stream.finalize().is_ok(),
        (Some((signature, key)), None, Some(whole)) => key.verify(&whole, signature, true).is_ok(),
        _ => false,
    };
    Ok((Contents { hash: hasher.finalize().to_hex().to_string(), is_signed }, identity))
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
    let (file, identity) = open(path, most)?;
    let mut bytes = Vec::with_capacity(identity.len as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, identity))
}

/// Opens a regular file of at most `most` bytes; which it is.
fn open(path: &Path, most: u64) -> io::Result<(File, Identity)> {
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
    Ok((file, Identity::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn a_key_is_told_from_what_is_none() {
        assert!(is_key(KEY) && !is_key("RWQ") && !is_key(""));
        assert!(parse("rubbish", std::iter::empty()).is_err_and(|why| why == "it is no minisign signature"));
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
        // What cannot be read is told, and what was blocked is not written over.
        std::fs::write(folder.path().join("plugins.json"), "{\"seen\":7").unwrap();
        assert!(Memory::read(&home).unread.is_some() && Memory::unread(&home).is_some());
        assert!(Memory::block(&home, "some-id", true).is_err());
        assert_eq!(std::fs::read(folder.path().join("plugins.json")).unwrap(), b"{\"seen\":7");
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
