//! What the file becomes, checked before it is written, and the writing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::edit::{self, EditError};
use crate::config::{Change, Config, ConfigError, Sources};
use crate::exit::Exit;
use crate::explain::Explain;
use crate::home::Env;

/// A change to a configuration file that has passed every check and is not yet made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The file as the user names it.
    pub file: PathBuf,
    /// Its text now; empty where it does not exist.
    pub old: String,
    /// The text that it is to have.
    pub new: String,
    /// What the new text means, by itself: without environment and flags.
    pub config: Config,
}

/// What a new file begins with.
const HEADING: &str = "# Settings of pearlbed and OpenJarvis; `pearlbed config keys` lists ours.\n";

/// Why a configuration cannot be changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum InitError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{} was changed by somebody else meanwhile", .0.display())]
    ChangedMeanwhile(PathBuf),
    #[error("failed to write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
}

impl Explain for InitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Edit(err) => err.hint(),
            Self::Config(err) => err.hint(),
            Self::ChangedMeanwhile(_) => Some("nothing was written; run the command again".to_owned()),
            Self::Write { err, path } if err.kind() == ErrorKind::PermissionDenied => {
                let folder = path.parent().unwrap_or(path);
                Some(format!(
                    "make {} writable for you, or choose another home with --home",
                    folder.display()
                ))
            }
            Self::Write { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(err) => err.exit(),
            Self::Edit(err) => err.exit(),
            Self::ChangedMeanwhile(_) | Self::Write { .. } => Exit::Failed,
        }
    }
}

impl Plan {
    /// Makes `changes` to the text of `file` in memory, and checks what comes out.
    ///
    /// # Errors
    ///
    /// [`InitError::Config`] where the result would not be a configuration: nothing wrong is ever written.
    pub fn new(file: &Path, changes: &[Change]) -> Result<Self, InitError> {
        let old = match fs::read(file) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|err| ConfigError::NotText {
                path: file.to_owned(),
                offset: err.utf8_error().valid_up_to(),
            })?,
            Err(err) if err.kind() == ErrorKind::NotFound => String::new(),
            Err(err) => return Err(ConfigError::Read { path: file.to_owned(), err }.into()),
        };
        let base = if old.is_empty() { HEADING } else { &old };
        let new = match edit::apply(base, changes) {
            Ok(new) => new,
            Err(EditError::Syntax(err)) => {
                // The reader says it with the line.
                load(file, &old)?;
                return Err(EditError::Syntax(err).into());
            }
            Err(err) => return Err(err.into()),
        };
        let new = if old.is_empty() && new == HEADING { String::new() } else { new };
        let config = load(file, &new)?;
        Ok(Self { file: file.to_owned(), old, new, config })
    }

    /// Whether there is anything to write.
    pub fn changes_anything(&self) -> bool {
        self.old != self.new
    }

    /// Writes the new text, after a copy of the old one where there is one, and returns the path of that copy.
    ///
    /// The file is replaced in one step, so that no reader ever sees half of it, and keeps its mode; a new one is for
    /// its owner alone. Where the file is a symbolic link, what it points to is replaced.
    ///
    /// # Errors
    ///
    /// [`InitError::ChangedMeanwhile`] where the file is no longer what the plan was made for; otherwise what writing
    /// met. In each case the file is as it was.
    pub fn write(&self) -> Result<Option<PathBuf>, InitError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |err| InitError::Write { path, err }
        };
        let target = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        let folder = target.parent().expect("the file lies in the home folder");
        create_private(folder).map_err(failed(folder))?;
        let now = match fs::read(&target) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == ErrorKind::NotFound => Vec::new(),
            Err(err) => return Err(failed(&target)(err)),
        };
        if now != self.old.as_bytes() {
            return Err(InitError::ChangedMeanwhile(self.file.clone()));
        }
        let backup = if target.exists() { Some(backup(&target).map_err(failed(&target))?) } else { None };
        let mut file =
            tempfile::Builder::new().prefix(".config.toml.").tempfile_in(folder).map_err(failed(folder))?;
        let write = |file: &mut File| {
            file.write_all(self.new.as_bytes())?;
            if let Ok(metadata) = fs::metadata(&target) {
                file.set_permissions(metadata.permissions())?;
            }
            file.sync_all()
        };
        write(file.as_file_mut()).map_err(failed(&target))?;
        file.persist(&target).map_err(|err| failed(&target)(err.error))?;
        // The name is only safe once the folder is on disk, too; without that nothing is lost but the change.
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
        Ok(backup)
    }
}

fn load(file: &Path, text: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources { file, text: Some(text), env: &Env::default(), flags: &[] })
}

fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Copies `file` to `<file>.bak-N`, with the first N that is free: an older backup is never overwritten.
fn backup(file: &Path) -> io::Result<PathBuf> {
    let bytes = fs::read(file)?;
    let permissions = fs::metadata(file)?.permissions();
    for number in 1.. {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".bak-{number}"));
        let path = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut copy) => {
                copy.set_permissions(permissions)?;
                copy.write_all(&bytes)?;
                copy.sync_all()?;
                return Ok(path);
            }
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err),
        }
    }
    unreachable!("the numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;

    fn provider(id: &str) -> Change {
        Change::set("mining.provider", id, &Place::Flag("--provider".into())).unwrap()
    }

    #[test]
    fn the_first_writing_makes_a_private_file_and_the_second_keeps_the_first_as_a_backup() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("home/config.toml");
        let plan = Plan::new(&file, &[provider("one")]).unwrap();
        assert_eq!(plan.write().unwrap(), None);
        let first = fs::read_to_string(&file).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for (id, backup) in [("two", "config.toml.bak-1"), ("three", "config.toml.bak-2")] {
            let written = Plan::new(&file, &[provider(id)]).unwrap().write().unwrap();
            assert_eq!(written, Some(file.with_file_name(backup)));
        }
        assert_eq!(fs::read_to_string(file.with_file_name("config.toml.bak-1")).unwrap(), first);
        assert!(fs::read_to_string(&file).unwrap().contains("provider = \"three\""));
    }

    #[test]
    fn nothing_wrong_is_written_and_a_wrong_file_can_be_put_right() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "[mining]\nsubmit_target = \"pool:\"\n").unwrap();
        assert!(matches!(Plan::new(&file, &[provider("one")]), Err(InitError::Config(_))));
        let right = Change::set("mining.submit_target", "solo", &Place::Flag("--set".into())).unwrap();
        assert!(Plan::new(&file, &[provider("one"), right]).is_ok());
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "[a]\n").unwrap();
        let plan = Plan::new(&file, &[provider("one")]).unwrap();
        fs::write(&file, "[b]\n").unwrap();
        assert!(matches!(plan.write(), Err(InitError::ChangedMeanwhile(_))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "[b]\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("config.toml"));
        fs::write(&real, "# mine\n").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Plan::new(&link, &[provider("one")]).unwrap().write().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("one"));
    }
}
