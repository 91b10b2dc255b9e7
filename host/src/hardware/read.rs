//! Reading small files below a root folder, where anything may lie instead of what is expected.
//!
//! A read never waits: pipes, devices and folders are refused before a byte is read, and no more than a bound is
//! taken. Everything is an `Option`: whoever reads `/sys` must live with what is not there.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The folder that stands for `/`: `/` itself, or the fake machine of a test.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The machine below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether this is the machine that the process runs on.
    pub fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// `path`, which is written without a leading slash, below this root.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// At most `limit` bytes from the start of a regular file.
    pub fn bytes(&self, path: impl AsRef<Path>, limit: u64) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(self.join(path), flags, Mode::empty()).ok()?);
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = vec![];
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// As [`Self::bytes`], as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self, path: impl AsRef<Path>, limit: u64) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes(path, limit)?).into_owned())
    }

    /// The one line of an attribute file, trimmed; nothing if it is empty.
    pub fn line(&self, path: impl AsRef<Path>) -> Option<String> {
        let line = clean(&self.text(path, 4096)?);
        (!line.is_empty()).then_some(line)
    }

    /// An attribute that is a decimal number.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// An attribute that is a hexadecimal number, such as `0x10de`.
    pub fn hex(&self, path: impl AsRef<Path>) -> Option<u32> {
        u32::from_str_radix(self.line(path)?.strip_prefix("0x")?, 16).ok()
    }

    /// The last part of where a link points to, such as the name of the driver that is bound to a device.
    pub fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = std::fs::read_link(self.join(path)).ok()?;
        Some(clean(&target.file_name()?.to_string_lossy()))
    }

    /// The names in a folder, sorted; none where it cannot be read. At most 4096 are looked at.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<OsString> {
        let entries = std::fs::read_dir(self.join(path)).into_iter().flatten();
        let mut names: Vec<_> = entries.take(4096).flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    }
}

/// Text from a file or a driver as one line: control characters are spaces, runs of spaces are one, at most 200
/// characters.
pub fn clean(text: &str) -> String {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let words: Vec<_> = text.split(blank).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_reads_as_nothing_and_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        std::fs::create_dir(root.join("dir")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap();
        assert!(fifo.success());
        std::os::unix::fs::symlink("/dev/zero", root.join("zero")).unwrap();
        for name in ["dir", "fifo", "zero", "missing"] {
            assert_eq!(root.line(name), None, "{name}");
        }
    }

    #[test]
    fn garbage_is_cleaned_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        std::fs::write(root.join("name"), b"\x1b[2J A\0\xffB\n\n C").unwrap();
        assert_eq!(root.line("name").unwrap(), "[2J A \u{fffd}B C");
        std::fs::write(root.join("long"), "x".repeat(1 << 20)).unwrap();
        assert_eq!(root.line("long").unwrap().len(), 200);
        std::fs::write(root.join("hex"), "0x10de\n").unwrap();
        assert_eq!(root.hex("hex"), Some(0x10de));
        assert_eq!(root.number("hex"), None);
    }
}
