//! Reads what a loader would read of a library, without loading it, and checks that a loader could.
//!
//! Everything is read by offset with bounds of our own; no count of the file is trusted. ELF and Mach-O are both read
//! on every system. See [`elf`] and [`macho`].
#![forbid(unsafe_code)]

mod elf;
mod macho;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::reason::Reason;

/// The most bytes that are read at once, whatever the file says.
const READ_MAX: u64 = 4 << 20;

/// A file of known length, read by offset.
#[derive(Debug)]
pub struct Bytes<'a> {
    source: Source<'a>,
    /// Where the part that counts begins: not 0 within a Mach-O file for several machines.
    start: u64,
    len: u64,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    File(&'a File),
    #[cfg(test)]
    Memory(&'a [u8]),
}

/// Why bytes could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file ends before them, or they are more than is ever read.
    Outside,
    /// The disk failed.
    Disk(io::Error),
}

impl<'a> Bytes<'a> {
    /// The bytes of `file`, which has `len` of them.
    pub fn of_file(file: &'a File, len: u64) -> Self {
        Self { source: Source::File(file), start: 0, len }
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub fn of_memory(bytes: &'a [u8]) -> Self {
        Self { source: Source::Memory(bytes), start: 0, len: bytes.len() as u64 }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has the `len` bytes at `offset`.
    pub fn has(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// `len` bytes at `offset`.
    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        if len > READ_MAX || !self.has(offset, len) {
            return Err(ReadError::Outside);
        }
        let at = self.start + offset;
        match self.source {
            Source::File(file) => {
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, at).map_err(|err| match err.kind() {
                    // It was cut after its length was asked for.
                    io::ErrorKind::UnexpectedEof => ReadError::Outside,
                    _ => ReadError::Disk(err),
                })?;
                Ok(bytes)
            }
            #[cfg(test)]
            Source::Memory(bytes) => Ok(bytes[at as usize..(at + len) as usize].to_vec()),
        }
    }

    /// The part of `len` bytes at `offset`, as a file of its own.
    fn part(&self, offset: u64, len: u64) -> Option<Self> {
        self.has(offset, len).then(|| Self { source: self.source, start: self.start + offset, len })
    }
}

/// What a library says of itself by its structure.
#[derive(Debug, Default)]
pub struct Object {
    /// The format and machine in words, such as `ELF x86-64`.
    pub kind: String,
    /// Why this system cannot load it, if it was built for another.
    pub foreign: Option<Reason>,
    /// Why no loader should be given it.
    pub broken: Option<Reason>,
    /// Which entry symbols it exports. `None` where that could not be read.
    pub entries: Option<Entries>,
    /// The bytes of the section with the manifest.
    pub manifest: Option<Section>,
    /// The libraries that it needs; of ELF alone.
    pub needs: Needs,
}

/// Which other libraries a library needs, and where it says that they lie. Bytes as they are in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Their names, or paths.
    pub libraries: Vec<Vec<u8>>,
    /// Lists of folders that count for what they need in turn, where there are none of the other kind.
    pub rpath: Vec<Vec<u8>>,
    /// Lists of folders that count for itself alone.
    pub runpath: Vec<Vec<u8>>,
}

/// The entry symbols that a library exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// abi_stable's root module, of a plugin in Rust.
    pub root_module: bool,
    /// The C function, of a plugin in another language.
    pub door: bool,
}

/// A section of the file.
#[derive(Debug)]
pub enum Section {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// It claims more bytes than any manifest has.
    TooLong(u64),
    /// It lies outside the file.
    Outside,
}

/// Reads `bytes` as a library. `Err` where it is none of the formats that are known.
pub fn read(bytes: &Bytes<'_>) -> Result<Object, Reason> {
    if bytes.len() == 0 {
        return Err(Reason::new("empty", "the file is empty", "download or build it again"));
    }
    let head = bytes.read(0, bytes.len().min(64)).map_err(disk)?;
    match head.first_chunk::<4>() {
        Some(b"\x7fELF") => Ok(elf::read(bytes)),
        Some([0xcf | 0xce, 0xfa, 0xed, 0xfe] | [0xfe, 0xed, 0xfa, 0xcf | 0xce]) => Ok(macho::read(bytes)),
        // The same four bytes begin a Java class, whose version follows where a count of machines would.
        Some([0xca, 0xfe, 0xba, 0xbe | 0xbf]) if head.get(4..7) == Some(&[0, 0, 0]) => {
            Ok(macho::read_fat(bytes))
        }
        Some([b'M', b'Z', ..]) => Err(Reason::new(
            "wrong-os",
            "it is built for Windows",
            format!("get the build for {}", pearlbed_plugin_api::manifest::PLATFORM),
        )),
        Some([b'!', b'<', b'a', b'r']) => Err(Reason::new(
            "not-a-library",
            "it is a static archive, not a shared library",
            "link it as a shared library",
        )),
        _ => {
            let text = head.iter().all(|&byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
            let what = if text { "it is a text file" } else { "it is neither an ELF nor a Mach-O file" };
            Err(Reason::new(
                "not-a-library",
                format!("{what}, not a shared library"),
                "remove it, or put the library in its place",
            ))
        }
    }
}

/// A reason for a read that failed where the file should have been long enough.
fn disk(err: ReadError) -> Reason {
    match err {
        ReadError::Outside => Reason::new("changed", "it was cut while it was read", "run the command again"),
        ReadError::Disk(err) => {
            Reason::new("unreadable", format!("it cannot be read: {err}"), "check the disk")
        }
    }
}

/// A reason for a file that ends too early.
fn truncated(needed: u64, len: u64) -> Reason {
    Reason::new(
        "truncated",
        format!("the file is cut off: it has {len} bytes and needs {needed}"),
        "download or build it again",
    )
}

/// A reason for structures that contradict each other.
fn broken(what: impl std::fmt::Display) -> Reason {
    Reason::new("broken", format!("the file is damaged: {what}"), "download or build it again")
}

fn wrong_machine(of: &str) -> Reason {
    Reason::new(
        "wrong-machine",
        format!(
            "it is built for {of}, this machine is {}",
            std::env::consts::ARCH.replace("x86_64", "x86-64")
        ),
        format!("get the build for {}", pearlbed_plugin_api::manifest::PLATFORM),
    )
}

fn wrong_os(of: &str) -> Reason {
    let this = if cfg!(target_os = "macos") { "macOS" } else { "Linux" };
    Reason::new(
        "wrong-os",
        format!("it is built for {of}, this system is {this}"),
        format!("get the build for {}", pearlbed_plugin_api::manifest::PLATFORM),
    )
}

/// The section at `offset`, if it may be a manifest.
fn section(offset: u64, size: u64, bytes: &Bytes<'_>) -> Section {
    if size > pearlbed_plugin_api::manifest::MAX_BYTES as u64 {
        Section::TooLong(size)
    } else {
        bytes.read(offset, size).map_or(Section::Outside, Section::Bytes)
    }
}

/// Up to the first NUL.
fn text_until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
