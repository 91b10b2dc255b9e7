//! A plugin's file, held open from the comparison with what was looked at until it is loaded.
//!
//! A path may lead elsewhere from one call to the next: its folder is renamed, a link is changed. So the file is opened
//! once, compared by what the open file is, and loaded through its descriptor. A library that says where its own libraries
//! lie relative to itself (`$ORIGIN`) is loaded by its name in the folder that is held open: the loader takes the folder's
//! part of the name for the origin.
//!
//! # Limitations
//!
//! - Systems without `/proc` load by path, and so does a library with `$ORIGIN` within its own folder: whoever may rename
//!   files there can exchange it between the comparison and the load. It is compared again after it was loaded.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::file_identity::Identity;

/// How much of a file is searched for `$ORIGIN` at either end: linkers put the table of names at the beginning, and tools that
/// give a finished library other paths (`patchelf`) move it to the end.
const SEARCHED_BYTES: u64 = 1 << 20;

/// Why a file was not taken hold of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpinned {
    /// It is not there, or another one.
    Changed,
    /// This process may not read it, although whoever looked at it might: root's own power to pass every folder is not the
    /// confined process's.
    OutOfReach,
}

/// A file that stays the same file.
#[derive(Debug)]
pub struct Pinned {
    file: File,
    identity: Option<Identity>,
    /// Held open because the name leads through it.
    _folder: Option<File>,
    name: PathBuf,
}

impl Pinned {
    /// Opens `path`.
    ///
    /// # Errors
    ///
    /// [`Unpinned`]: it is not there, not the file with `identity`, or out of this process's reach.
    pub fn new(path: &Path, identity: Option<&Identity>) -> Result<Self, Unpinned> {
        let file = open(path, OFlags::NONBLOCK)?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file).ok_or(Unpinned::Changed)?;
        if identity.is_some_and(|expected| Identity::of(&metadata) != *expected) {
            return Err(Unpinned::Changed);
        }
        let mut pinned = Self { file, identity: identity.copied(), _folder: None, name: path.to_owned() };
        if !cfg!(target_os = "linux") {
            return Ok(pinned);
        }
        if !pinned.names_origin() {
            pinned.name = through(&pinned.file);
            return Ok(pinned);
        }
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let folder = open(folder, OFlags::DIRECTORY)?;
            pinned.name = through(&folder).join(name);
            pinned._folder = Some(folder);
        }
        Ok(pinned)
    }

    /// What the loader is given.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Whether the file, and what the name leads to, are still what was compared.
    pub fn is_unchanged(&self) -> bool {
        let Some(expected) = self.identity else { return true };
        let is_same = |metadata: std::io::Result<std::fs::Metadata>| {
            metadata.is_ok_and(|metadata| Identity::of(&metadata) == expected)
        };
        is_same(self.file.metadata()) && is_same(std::fs::metadata(&self.name))
    }

    /// Whether it holds the words by which a library says that others lie relative to it.
    fn names_origin(&self) -> bool {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        // Both ends of a short file overlap, so that no word is cut.
        let searched = [0, length.saturating_sub(SEARCHED_BYTES).max(SEARCHED_BYTES / 2)];
        searched.into_iter().filter(|from| *from < length).any(|from| {
            let mut bytes = Vec::new();
            let mut file = &self.file;
            // What cannot be read is not there to be found.
            let _ = file
                .seek(SeekFrom::Start(from))
                .and_then(|_| file.take(SEARCHED_BYTES).read_to_end(&mut bytes));
            let holds = |words: &[u8]| memchr::memmem::find(&bytes, words).is_some();
            holds(b"$ORIGIN") || holds(b"${ORIGIN}")
        })
    }

    /// [`noexec_mount`] of the file.
    pub fn noexec_mount(&self, path: &Path) -> Option<PathBuf> {
        noexec_mount(&self.file, path)
    }
}

/// The mount point of a file system from which no code may be loaded, if `file`, which is at `path`, lies on one.
#[cfg(target_os = "linux")]
pub fn noexec_mount(file: &File, path: &Path) -> Option<PathBuf> {
    // `ST_NOEXEC`, in Linux's own number.
    const NOEXEC: u64 = 8;
    let flags = rustix::fs::fstatvfs(file).ok()?.f_flag.bits();
    let mounts = || crate::text::read_lossy("/proc/self/mounts").unwrap_or_default();
    (flags & NOEXEC != 0).then(|| mount_point(path, &mounts()))
}

/// Nothing: elsewhere this is not known.
#[cfg(not(target_os = "linux"))]
pub fn noexec_mount(_: &File, _: &Path) -> Option<PathBuf> {
    None
}

fn open(path: &Path, flags: OFlags) -> Result<File, Unpinned> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(|err| match err {
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => Unpinned::OutOfReach,
        _ => Unpinned::Changed,
    })
}

/// A path that leads to an open file whatever becomes of its name.
fn through(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// The longest mount point of `mounts` (as in `/proc/mounts`) that `path` lies below.
#[cfg(target_os = "linux")]
fn mount_point(path: &Path, mounts: &str) -> PathBuf {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // Blanks are written as their number in base eight.
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    points
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.as_os_str().len())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_holds_a_file_is_the_deepest_above_it() {
        let mounts = "a / ext4 rw 0 0\nb /home ext4 rw 0 0\nc /home/me/my\\040disk vfat rw,noexec 0 0\n";
        let at = |path: &str| mount_point(Path::new(path), mounts);
        assert_eq!(at("/home/me/my disk/plugins/x.so"), Path::new("/home/me/my disk"));
        assert_eq!(at("/home/me/x.so"), Path::new("/home"));
        assert_eq!(at("/homes/x.so"), Path::new("/"));
    }

    #[test]
    fn a_library_that_names_its_origin_is_loaded_by_a_name_in_its_folder_wherever_its_names_lie() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.so");
        let some = usize::try_from(SEARCHED_BYTES).unwrap();
        let name = |before: usize, words: &str, after: usize| {
            std::fs::write(&path, [&vec![0; before][..], words.as_bytes(), &vec![0; after]].concat())
                .unwrap();
            Pinned::new(&path, None).unwrap().name().to_owned()
        };
        for (before, words, after) in [
            (0, "$ORIGIN", 0),
            (100, "${ORIGIN}/lib", 3 * some),
            (3 * some, "$ORIGIN/lib", 100),
            (some - 3, "$ORIGIN", 0),
        ] {
            assert!(name(before, words, after).ends_with("x.so"), "{before} {words} {after}");
        }
        for (before, words) in [(0, ""), (100, "ORIGIN"), (some, "$ORIGI")] {
            assert!(!name(before, words, 0).ends_with("x.so"), "{before} {words}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_by_now_does_not_change_what_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let (looked_at, other) = (folder.path().join("a"), folder.path().join("b"));
        for (place, words) in [(&looked_at, "looked at"), (&other, "another")] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("x.so"), words).unwrap();
        }
        let path = looked_at.join("x.so");
        let identity = Identity::of(&std::fs::metadata(&path).unwrap());
        let pinned = Pinned::new(&path, Some(&identity)).unwrap();
        std::fs::rename(&looked_at, folder.path().join("c")).unwrap();
        std::fs::rename(&other, &looked_at).unwrap();
        assert_eq!(std::fs::read_to_string(pinned.name()).unwrap(), "looked at");
        assert!(pinned.is_unchanged());
        // The name now leads to another file.
        assert_eq!(Pinned::new(&path, Some(&identity)).unwrap_err(), Unpinned::Changed);
        std::fs::write(folder.path().join("c/x.so"), "changed").unwrap();
        assert!(!pinned.is_unchanged());
    }
}
