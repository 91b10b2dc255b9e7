//! Where plugins are looked for, in which order, and which files there might be plugins.
//!
//! Searching reads names and opens nothing, so a hostile file gains nothing by lying in a folder.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::container::SUFFIX as DATA_SUFFIX;
use super::reason::Reason;
use crate::home::{Env, Home};

/// The endings of files that are looked at, on every system: a plugin for another one is named as such.
const SUFFIXES: [&str; 2] = ["so", "dylib"];
/// Where distributions put plugins.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/local/lib/pearlbed/plugins", "/usr/lib/pearlbed/plugins"];

/// Which part of the search path a folder comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The flag `--plugin-dir`.
    Flag,
    /// The variable `PEARLBED_PLUGIN_PATH`.
    Variable,
    /// `[plugins] dirs` of the configuration.
    Configuration,
    /// The user's home folder.
    Home,
    /// Beside this program.
    Program,
    /// The system's folders.
    System,
}

impl Origin {
    /// The origin in words a person knows.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Flag => "--plugin-dir",
            Self::Variable => "$PEARLBED_PLUGIN_PATH",
            Self::Configuration => "[plugins] dirs",
            Self::Home => "the home folder",
            Self::Program => "beside this program",
            Self::System => "the system",
        }
    }

    /// Whether a person named the folder, so that its absence is worth a line.
    const fn is_named(self) -> bool {
        matches!(self, Self::Flag | Self::Variable | Self::Configuration)
    }
}

/// The folders that are searched, first wins.
#[derive(Clone, Debug, Default)]
pub struct SearchPath {
    folders: Vec<(PathBuf, Origin)>,
    ignored: Vec<(PathBuf, Origin)>,
}

/// One folder of the search path, after it was listed.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Why it is searched.
    pub origin: Origin,
    /// What was found there.
    pub state: FolderState,
}

/// What became of a folder of the search path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderState {
    /// It was listed and holds so many files with the suffix of a plugin, and so many hidden ones, which are passed over.
    Listed {
        /// Files that are looked at.
        files: usize,
        /// Files whose name begins with a dot: what editors, synchronisers and unpackers leave.
        hidden: usize,
    },
    /// It does not exist, and nobody said that it would.
    Missing,
    /// It is the same folder as one before it.
    Repeated,
    /// It was not searched, because this program runs with raised privileges.
    Ignored,
    /// It cannot be used.
    Failed(Reason),
}

impl SearchPath {
    /// The search path of the design: `flags` alone where there are any, else `PEARLBED_PLUGIN_PATH`, the home folder,
    /// beside the executable, the system.
    ///
    /// What only the user vouches for is left out where this process runs privileged on behalf of another user.
    pub fn new(flags: &[PathBuf], env: &Env, home: Option<&Home>) -> Self {
        let beside = std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.parent()?.join("lib/pearlbed/plugins")));
        Self::assemble(flags, env, home, beside, crate::sandbox::is_privileged_for_another())
    }

    /// The same with the folders of the configuration, which come before the home folder's own. They are left out where
    /// flags replace the search path.
    #[must_use]
    pub fn with_configured(mut self, dirs: &[PathBuf]) -> Self {
        if self.folders.iter().any(|(_, origin)| *origin == Origin::Flag) {
            return self;
        }
        let dirs = dirs
            .iter()
            .map(|dir| (std::path::absolute(dir).unwrap_or_else(|_| dir.clone()), Origin::Configuration));
        if crate::sandbox::is_privileged_for_another() {
            self.ignored.extend(dirs);
        } else {
            let at = self.folders.iter().take_while(|(_, origin)| *origin == Origin::Variable).count();
            self.folders.splice(at..at, dirs);
        }
        self
    }

    fn assemble(
        flags: &[PathBuf],
        env: &Env,
        home: Option<&Home>,
        beside: Option<PathBuf>,
        privileged: bool,
    ) -> Self {
        let mut all: Vec<_> = flags.iter().map(|folder| (folder.clone(), Origin::Flag)).collect();
        if flags.is_empty() || privileged {
            let variable =
                env.var_os("PEARLBED_PLUGIN_PATH").map(std::env::split_paths).into_iter().flatten();
            all.extend(
                variable
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .map(|folder| (folder, Origin::Variable)),
            );
            all.extend(home.map(|home| (home.plugins_dir(), Origin::Home)));
            all.extend(beside.map(|folder| (folder, Origin::Program)));
            all.extend(SYSTEM_FOLDERS.map(|folder| (folder.into(), Origin::System)));
        }
        // Without a working directory a relative path stays what it is, and fails where it is used.
        for (folder, _) in &mut all {
            *folder = std::path::absolute(&*folder).unwrap_or_else(|_| folder.clone());
        }
        let of_user = |origin| matches!(origin, Origin::Flag | Origin::Variable | Origin::Home);
        let (ignored, folders) = all.into_iter().partition(|(_, origin)| privileged && of_user(*origin));
        Self { folders, ignored }
    }

    /// The folders, in order, that are searched.
    pub fn folders(&self) -> impl Iterator<Item = (&Path, Origin)> {
        self.folders.iter().map(|(folder, origin)| (&**folder, *origin))
    }

    /// Lists every folder. Returns what became of each, and the files that might be plugins, in order.
    pub(super) fn list(&self) -> (Vec<Folder>, Vec<PathBuf>) {
        let mut seen = vec![];
        let mut folders = vec![];
        let mut files = vec![];
        for (path, origin) in &self.ignored {
            folders.push(Folder { path: path.clone(), origin: *origin, state: FolderState::Ignored });
        }
        for (path, origin) in &self.folders {
            let state = match list_folder(path, &mut seen) {
                Ok(Some((found, hidden))) => {
                    let count = found.len();
                    files.extend(found);
                    FolderState::Listed { files: count, hidden }
                }
                Ok(None) => FolderState::Repeated,
                Err(err) if err.kind() == io::ErrorKind::NotFound && !origin.is_named() => {
                    FolderState::Missing
                }
                Err(err) => FolderState::Failed(explain(path, *origin, &err)),
            };
            folders.push(Folder { path: path.clone(), origin: *origin, state });
        }
        (folders, files)
    }
}

/// The files in `folder` with the suffix of a plugin, by name, and how many hidden ones there are; `None` if the folder is
/// among those in `seen`.
fn list_folder(folder: &Path, seen: &mut Vec<(u64, u64)>) -> io::Result<Option<(Vec<PathBuf>, usize)>> {
    let metadata = std::fs::metadata(folder)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let identity = (metadata.dev(), metadata.ino());
    if seen.contains(&identity) {
        return Ok(None);
    }
    seen.push(identity);
    let mut files = vec![];
    let mut hidden = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !is_candidate(&path) {
            continue;
        }
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            hidden += 1;
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(Some((files, hidden)))
}

/// Whether a file of this name might be a plugin.
fn is_candidate(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
    if name.ends_with(DATA_SUFFIX.as_bytes()) {
        return true;
    }
    let suffix = path.extension().or_else(|| {
        // `.so` is all suffix to us and all name to the standard library.
        path.file_name()
            .and_then(|name| name.as_encoded_bytes().strip_prefix(b"."))
            .and_then(|rest| SUFFIXES.iter().find(|suffix| suffix.as_bytes() == rest).map(OsStr::new))
    });
    suffix.is_some_and(|suffix| SUFFIXES.iter().any(|known| suffix == *known))
}

fn explain(folder: &Path, origin: Origin, err: &io::Error) -> Reason {
    let from = origin.describe();
    match err.kind() {
        io::ErrorKind::NotFound => Reason::new(
            "folder-missing",
            format!("there is no such folder ({from})"),
            format!("create it (`mkdir -p {}`) or name another", crate::text::in_shell(folder)),
        ),
        io::ErrorKind::NotADirectory => Reason::new(
            "folder-is-file",
            format!("it is not a folder ({from})"),
            "name the folder that holds it; `pearlbed plugins inspect FILE` looks at one file",
        ),
        io::ErrorKind::PermissionDenied => Reason::new(
            "folder-unreadable",
            format!("you may not list this folder ({from})"),
            remedy(err, folder),
        ),
        _ => Reason::new(
            "folder-unreadable",
            format!("it cannot be listed ({from}): {err}"),
            remedy(err, folder),
        ),
    }
}

fn remedy(err: &io::Error, folder: &Path) -> String {
    crate::remedy::for_file(err, folder).unwrap_or_else(|| "name another folder".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn configured_folders_come_before_the_home_folder_and_not_at_all_beside_flags() {
        let env = Env::of([("PEARLBED_PLUGIN_PATH", "/variable")]);
        let home = Home::at("/home");
        let origins = |flags: &[PathBuf]| {
            let path = SearchPath::assemble(flags, &env, Some(&home), None, false);
            let path = path.with_configured(&["/configured".into()]);
            path.folders().map(|(_, origin)| origin).collect::<Vec<_>>()
        };
        assert_eq!(origins(&["/flag".into()]), [Origin::Flag]);
        assert_eq!(origins(&[])[..3], [Origin::Variable, Origin::Configuration, Origin::Home]);
    }

    use super::*;

    fn shown(flags: &[&str], privileged: bool) -> (Vec<String>, usize) {
        let env = Env::of([("PEARLBED_PLUGIN_PATH", "/one::/two")]);
        let flags: Vec<PathBuf> = flags.iter().map(PathBuf::from).collect();
        let path = SearchPath::assemble(
            &flags,
            &env,
            Some(&Home::at("/home/me")),
            Some("/opt/lib/pearlbed/plugins".into()),
            privileged,
        );
        (path.folders().map(|(folder, _)| folder.display().to_string()).collect(), path.ignored.len())
    }

    #[test]
    fn the_search_path_is_in_the_order_of_the_design() {
        let all = ["/one", "/two", "/home/me/plugins", "/opt/lib/pearlbed/plugins"];
        let (folders, ignored) = shown(&[], false);
        assert_eq!(
            (&folders[..4], &folders[4..], ignored),
            (&all.map(String::from)[..], &SYSTEM_FOLDERS.map(String::from)[..], 0)
        );
        assert_eq!(shown(&["/x", "/y"], false), (vec!["/x".into(), "/y".into()], 0));
    }

    #[test]
    fn what_only_the_user_vouches_for_is_ignored_with_raised_privileges() {
        let (folders, ignored) = shown(&[], true);
        assert_eq!((folders[0].as_str(), ignored), ("/opt/lib/pearlbed/plugins", 3));
        let (folders, ignored) = shown(&["/x"], true);
        assert_eq!((folders[0].as_str(), ignored), ("/opt/lib/pearlbed/plugins", 4));
    }

    #[test]
    fn hidden_files_are_passed_over_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["lib.so", "._lib.so", ".#lib.so", ".hidden.so", ".so", ".gitignore"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let (files, hidden) = list_folder(folder.path(), &mut vec![]).unwrap().unwrap();
        assert_eq!((files, hidden), (vec![folder.path().join("lib.so")], 4));
    }

    #[test]
    fn candidates_are_told_by_their_suffix_alone() {
        for name in ["a.so", "lib x\n.so", "-rf.so", ".hidden.so", ".so", "a.dylib"] {
            assert!(is_candidate(&Path::new("/p").join(name)), "{name:?}");
        }
        for name in ["a.so.1", "so", "README", "a.dll", "a.SO"] {
            assert!(!is_candidate(&Path::new("/p").join(name)), "{name:?}");
        }
    }
}
