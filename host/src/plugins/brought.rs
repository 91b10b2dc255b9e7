//! The libraries that a plugin brings along: who may change them may change what runs under its name.
//!
//! A library says which others it needs and may say where they lie, relative to itself (`$ORIGIN`) or by a path. Those are
//! found here as the system's loader finds them, and are held to what the plugin itself is held to. Those of the system's own
//! folders are the system's business.
//!
//! # Limitations
//!
//! - ELF alone: what a Mach-O file brings along is not looked at.
//! - What a plugin loads by itself (`dlopen`) nobody can know beforehand, and neither is what `LD_LIBRARY_PATH` leads to: whoever
//!   sets that has chosen it.
//! - Of more than [`LIBRARIES_MAX`], or in more than [`PATHS_MAX`] places, the rest is not looked at. They are looked at, and
//!   not held open until they are loaded.
//! - Nothing is looked for where a file system would first be mounted, or asked over a network: that takes as long as it likes.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::object::{self, Bytes, Needs};
use super::owner;
use super::reason::Reason;
use crate::text::in_shell;

/// The most libraries that are looked at for one plugin.
const LIBRARIES_MAX: usize = 64;
/// The most folders in which one library is looked for.
const FOLDERS_MAX: usize = 64;
/// The most places that are looked at for one plugin.
const PATHS_MAX: u32 = 10_000;
/// File systems that are mounted when somebody looks, or lie behind a network.
const REMOTE: [&str; 8] = ["autofs", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs"];
/// Where in each folder the loader looks first, by what the processor can do.
const VARIANTS: [&str; 4] =
    ["glibc-hwcaps/x86-64-v4", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v2", ""];
/// What `$LIB` means on one system or the other.
const LIB: [&str; 3] = [
    "lib64",
    "lib",
    if cfg!(target_arch = "aarch64") { "lib/aarch64-linux-gnu" } else { "lib/x86_64-linux-gnu" },
];

/// A library whose needs are to be followed.
struct Follow {
    needs: Needs,
    /// The folder that it is loaded from.
    origin: PathBuf,
    /// The folders of those that need it, which count for it as well unless it has its own.
    inherited: Vec<PathBuf>,
}

/// Looks at what the plugin at `real_path` with these `needs` brings along. Answers what is to be added to the finding.
///
/// # Errors
///
/// The first of them that somebody else may change or put there, and what to do.
pub fn check(needs: &Needs, real_path: &Path) -> Result<String, Reason> {
    let origin = real_path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut seen = HashSet::new();
    let mut places = Places { left: PATHS_MAX, remote: None, own: origin.clone() };
    let mut follow = vec![Follow { needs: needs.clone(), origin, inherited: vec![] }];
    while let Some(next) = follow.pop() {
        let own = if next.needs.runpath.is_empty() { &next.needs.rpath } else { &next.needs.runpath };
        let own: Vec<PathBuf> =
            own.iter().flat_map(|list| folders(list, &next.origin)).take(FOLDERS_MAX).collect();
        let mut inherited = if next.needs.runpath.is_empty() { own.clone() } else { vec![] };
        inherited.extend(next.inherited.iter().take(FOLDERS_MAX).cloned());
        let searched = if next.needs.runpath.is_empty() { &inherited } else { &own };
        for name in &next.needs.libraries {
            for path in places.find(name, searched, &next.origin)? {
                let Some((file, metadata)) = open(&path) else { continue };
                if seen.len() >= LIBRARIES_MAX || !seen.insert((metadata.dev(), metadata.ino())) {
                    continue;
                }
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                // The plugin chose the name.
                let shown = in_shell(Path::new(OsStr::from_bytes(last(name))));
                let what = format!("the library {shown} that it brings along");
                owner::check(&what, &real, &metadata)?;
                // What is no library is the loader's to refuse.
                let Ok(object) = object::read(&Bytes::of_file(&file, metadata.len())) else { continue };
                let origin = path.parent().unwrap_or(Path::new("/")).to_owned();
                follow.push(Follow { needs: object.needs, origin, inherited: inherited.clone() });
            }
        }
    }
    Ok(match seen.len() {
        0 => String::new(),
        1 => ", and so does the library that it brings along".into(),
        count => format!(", and so do the {count} libraries that it brings along"),
    })
}

/// Where may still be looked.
struct Places {
    left: u32,
    /// Where file systems are mounted that are not asked; read when it is needed.
    remote: Option<Vec<PathBuf>>,
    /// The plugin's own folder, which was asked already.
    own: PathBuf,
}

impl Places {
    /// Where the loader would find `name`: by itself where it is a path, else in the first of `searched` that has it, for every
    /// kind of processor. None where it is left to the system's own folders.
    fn find(&mut self, name: &[u8], searched: &[PathBuf], origin: &Path) -> Result<Vec<PathBuf>, Reason> {
        if name.contains(&b'/') {
            return Ok(expand(name, origin).into_iter().filter(|path| self.may_ask(path)).collect());
        }
        let name = OsStr::from_bytes(name);
        for folder in searched {
            if !self.may_ask(folder) {
                continue;
            }
            owner::check_search(folder)?;
            let found: Vec<PathBuf> = VARIANTS
                .iter()
                .map(|variant| folder.join(variant).join(name))
                .filter(|path| path.exists())
                .collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![])
    }

    fn may_ask(&mut self, path: &Path) -> bool {
        let Some(left) = self.left.checked_sub(VARIANTS.len() as u32) else { return false };
        self.left = left;
        if path.starts_with(&self.own) {
            return true;
        }
        let remote = self.remote.get_or_insert_with(|| {
            remote_mounts(&crate::text::read_lossy("/proc/self/mounts").unwrap_or_default())
        });
        !remote.iter().any(|mount| path.starts_with(mount) && !self.own.starts_with(mount))
    }
}

/// The mount points in `mounts` (as in `/proc/mounts`) whose file systems are not asked.
fn remote_mounts(mounts: &str) -> Vec<PathBuf> {
    let parts = mounts.lines().filter_map(|line| {
        let mut parts = line.split(' ').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    parts
        .filter(|(_, kind)| REMOTE.contains(kind))
        .map(|(point, _)| PathBuf::from(point.replace("\\040", " ")))
        .collect()
}

/// The folders of a list between colons.
fn folders(list: &[u8], origin: &Path) -> Vec<PathBuf> {
    list.split(|&byte| byte == b':').flat_map(|entry| expand(entry, origin)).collect()
}

/// `path` with the loader's own words filled in; a relative one is relative to where the confined processes work.
fn expand(path: &[u8], origin: &Path) -> Vec<PathBuf> {
    let replace = |text: &[u8], word: &str, with: &[u8]| {
        let braced = format!("${{{word}}}");
        let text = replaced(text, braced.as_bytes(), with);
        replaced(&text, format!("${word}").as_bytes(), with)
    };
    let path = replace(path, "ORIGIN", origin.as_os_str().as_bytes());
    let machine = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let path = replace(&path, "PLATFORM", machine.as_bytes());
    let mut all: Vec<PathBuf> = vec![];
    for lib in LIB {
        let one = Path::new("/").join(OsStr::from_bytes(&replace(&path, "LIB", lib.as_bytes())));
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

fn replaced(text: &[u8], word: &[u8], with: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, word) {
        made.extend_from_slice(&rest[..at]);
        made.extend_from_slice(with);
        rest = &rest[at + word.len()..];
    }
    made.extend_from_slice(rest);
    made
}

fn last(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)
}

/// Opens `path` where it leads to a regular file; neither a named pipe nor a terminal may hold us.
fn open(path: &Path) -> Option<(File, std::fs::Metadata)> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = rustix::fs::open(path, flags, Mode::empty()).ok()?.into();
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((file, metadata))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn needs(libraries: &[&str], rpath: &[&str], runpath: &[&str]) -> Needs {
        let list = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Needs { libraries: list(libraries), rpath: list(rpath), runpath: list(runpath) }
    }

    /// A folder of this user's own with a plugin and a library beside it, a library below it, and one elsewhere.
    fn ground() -> (tempfile::TempDir, PathBuf) {
        let ground = tempfile::tempdir().unwrap();
        let root = ground.path().canonicalize().unwrap();
        for folder in ["plugins/deps", "plugins/glibc-hwcaps/x86-64-v3", "elsewhere"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in
            ["plugins/x.so", "plugins/libbeside.so", "plugins/deps/libbelow.so", "elsewhere/libfar.so"]
        {
            std::fs::write(root.join(file), "no library").unwrap();
            std::fs::set_permissions(root.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        (ground, root)
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_library_that_is_brought_along_is_held_to_what_the_plugin_is_held_to() {
        let (_ground, root) = ground();
        let plugin = root.join("plugins/x.so");
        let far = root.join("elsewhere").to_str().unwrap().to_owned();
        let ways = [
            ("plugins/libbeside.so", needs(&["libbeside.so"], &[], &["$ORIGIN"])),
            ("plugins/libbeside.so", needs(&["libbeside.so"], &["/nowhere:${ORIGIN}"], &[])),
            ("plugins/libbeside.so", needs(&["$ORIGIN/libbeside.so"], &[], &[])),
            ("plugins/deps/libbelow.so", needs(&["libc.so.6", "libbelow.so"], &[], &["$ORIGIN/deps"])),
            ("plugins/deps/libbelow.so", needs(&["libbelow.so"], &[], &["$ORIGIN/../plugins/deps"])),
            ("elsewhere/libfar.so", needs(&["libfar.so"], &[], &[&far])),
            ("elsewhere/libfar.so", needs(&[&format!("{far}/libfar.so")], &[], &[])),
        ];
        for (library, needs) in ways {
            let library = root.join(library);
            let said = check(&needs, &plugin).unwrap();
            assert_eq!(said, ", and so does the library that it brings along", "{needs:?}");
            for (bits, who) in [(0o666, "everybody"), (0o664, "its group")] {
                mode(&library, bits);
                let reason = check(&needs, &plugin).unwrap_err();
                let name = library.file_name().unwrap().to_str().unwrap();
                assert_eq!(reason.code, "writable-by-others");
                assert_eq!(
                    reason.reason,
                    format!("{who} may write to the library {name} that it brings along (mode 0{bits:o})")
                );
                assert_eq!(
                    reason.fix,
                    format!("`chmod go-w {}`, or pass --relax-file-checks", library.display())
                );
            }
            mode(&library, 0o644);
        }
        // What it does not bring along is the system's, whatever lies beside it.
        mode(&root.join("plugins/libbeside.so"), 0o666);
        for needs in
            [needs(&["libbeside.so"], &[], &[]), needs(&["libbeside.so"], &["$ORIGIN"], &["/nowhere"])]
        {
            assert_eq!(check(&needs, &plugin).unwrap(), "", "{needs:?}");
        }
    }

    #[test]
    fn where_everybody_may_put_a_library_none_is_looked_for() {
        let (_ground, root) = ground();
        let plugin = root.join("plugins/x.so");
        let open = root.join("elsewhere");
        let text = open.to_str().unwrap();
        mode(&open, 0o1777);
        for (list, words) in [
            (text.to_owned(), format!("everybody may put a library into {text}, where it looks for its own")),
            (
                format!("{text}/lib"),
                format!("everybody may make {text}/lib, where it looks for its libraries"),
            ),
        ] {
            // Whatever lies in the next folder: it would come first.
            let reason = check(&needs(&["libbeside.so"], &[], &[&list, "$ORIGIN"]), &plugin).unwrap_err();
            assert_eq!((reason.code, reason.reason), ("folder-writable-by-others", words));
        }
        // Found before it comes to that, it is not asked.
        let first = needs(&["libbeside.so"], &[], &[&format!("$ORIGIN:{text}")]);
        assert!(check(&first, &plugin).is_ok());
    }

    #[test]
    fn a_variant_for_another_processor_is_looked_at_as_well() {
        let (_ground, root) = ground();
        let variant = root.join("plugins/glibc-hwcaps/x86-64-v3/libbeside.so");
        std::fs::write(&variant, "no library").unwrap();
        mode(&variant, 0o646);
        let reason =
            check(&needs(&["libbeside.so"], &[], &["$ORIGIN"]), &root.join("plugins/x.so")).unwrap_err();
        assert_eq!(reason.code, "writable-by-others");
        assert!(reason.fix.contains("x86-64-v3"), "{reason:?}");
    }

    #[test]
    fn nothing_is_asked_of_a_network_and_not_more_than_is_right() {
        let mounts = "/dev/a / ext4 rw 0 0\nmap /net autofs rw 0 0\nx:/y /srv/far\\040away nfs4 rw 0 0\n";
        let remote = remote_mounts(mounts);
        assert_eq!(remote, ["/net", "/srv/far away"].map(PathBuf::from));
        let mut places = Places { left: 40, remote: Some(remote), own: "/srv/far away/plugins".into() };
        for (path, asked) in [
            ("/net/somewhere/lib", false),
            ("/srv/far away/lib", true),
            ("/srv/far away/plugins/lib", true),
            ("/opt/lib", true),
        ] {
            assert_eq!(places.may_ask(Path::new(path)), asked, "{path}");
        }
        assert!((0..100).filter(|_| places.may_ask(Path::new("/opt/lib"))).count() < 10);
    }

    #[test]
    fn the_loaders_words_are_filled_in_as_the_loader_does() {
        let at = Path::new("/a/b");
        assert_eq!(
            folders(b"$ORIGIN:${ORIGIN}/../c::x", at),
            ["/a/b", "/a/b/../c", "/", "/x"].map(PathBuf::from)
        );
        assert_eq!(expand(b"$ORIGIN/$LIB", at), LIB.map(|lib| at.join(lib)));
    }
}
