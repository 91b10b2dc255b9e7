//! What the file becomes, checked before it is written, and the writing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::edit::{self, EditError};
use crate::config::{Change, Config, ConfigError, Place, Sources, read_file};
use crate::exit::Exit;
use crate::explain::Explain;
use crate::home::Env;
use crate::{owned, remedy};

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
            Self::Write { err, path } => remedy::for_file(err, path),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(err) => err.exit(),
            Self::Edit(err) => err.exit(),
            Self::Write { err, .. } => remedy::exit_for(err),
            Self::ChangedMeanwhile(_) => Exit::Failed,
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
        let old = read_file(file)?;
        let base = if old.is_empty() { HEADING } else { &old };
        let edited = edit::apply(base, &shared(changes)).and_then(|new| complete(&new));
        let new = match edited {
            Ok(new) => new,
            Err(EditError::Syntax(err)) => {
                // The reader says it with the line.
                load(file, &old)?;
                return Err(EditError::Syntax(err).into());
            }
            Err(err) => return Err(err.into()),
        };
        let new = if old.is_empty() && new == HEADING { String::new() } else { new };
        // A line of a text that was never written helps nobody, unless the line is wrong in the file as well.
        let config = load(file, &new).map_err(|err| match load(file, &old) {
            Ok(_) => err.at(Place::Unwritten),
            Err(_) => err,
        })?;
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
        owned::create_private(folder).map_err(failed(folder))?;
        // Also what has come to lie there meanwhile and is no file: root would take a device's place.
        if read_file(&target)? != self.old {
            return Err(InitError::ChangedMeanwhile(self.file.clone()));
        }
        let backup =
            if target.exists() { Some(owned::back_up(&target).map_err(failed(&target))?) } else { None };
        if let Err(err) = owned::replace(&target, self.new.as_bytes()) {
            // The file is as it was, so its copy says nothing.
            backup.into_iter().for_each(|backup| _ = fs::remove_file(backup));
            return Err(failed(&target)(err));
        }
        Ok(backup)
    }
}

/// The key of ours that says what OpenJarvis has no word for, in the place of a `submit_target` that it cannot read.
const DEVNET: &str = "mining.session.devnet";

/// `changes` in the form that OpenJarvis can read, too: the devnet stands in a key of ours.
fn shared(changes: &[Change]) -> Vec<Change> {
    let mut shared = Vec::with_capacity(changes.len() + 1);
    for change in changes {
        match change {
            Change::Set { key, value } if key == "mining.submit_target" => {
                let devnet = value.as_str() == Some("devnet");
                let target = if devnet { "solo".into() } else { value.clone() };
                shared.push(Change::Set { key: key.clone(), value: target });
                shared.push(match devnet {
                    true => Change::Set { key: DEVNET.into(), value: true.into() },
                    false => Change::Unset { key: DEVNET.into() },
                });
            }
            other => shared.push(other.clone()),
        }
    }
    shared
}

/// `text` with what OpenJarvis wants to find in a `[mining]` section, and without what it cannot read, whoever wrote it.
fn complete(text: &str) -> Result<String, EditError> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document: toml_edit::DocumentMut = body.parse().map_err(EditError::Syntax)?;
    let Some(mining) = document.get("mining").and_then(toml_edit::Item::as_table_like) else {
        return Ok(text.to_owned());
    };
    let mut changes = vec![];
    if mining.get("submit_target").and_then(toml_edit::Item::as_str) == Some("devnet") {
        let devnet = Change::Set { key: "mining.submit_target".into(), value: "devnet".into() };
        changes.extend(shared(&[devnet]));
    }
    // Nothing is chosen and nobody is paid, in its words.
    for key in ["provider", "wallet_address"].into_iter().filter(|key| !mining.contains_key(key)) {
        changes.push(Change::Set { key: format!("mining.{key}"), value: "".into() });
    }
    if changes.is_empty() { Ok(text.to_owned()) } else { edit::apply(text, &changes) }
}

fn load(file: &Path, text: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources { file, text: Some(text), env: &Env::default(), flags: &[] })
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

    #[test]
    fn a_mistake_in_a_change_is_told_without_a_line_of_a_file_that_was_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let change = Change::Set { key: "mining.extra.gatewayport".into(), value: 1.into() };
        let err = Plan::new(&file, &[change]).unwrap_err().to_string();
        assert!(err.contains("nothing was written") && !err.contains(" line "), "{err}");
    }

    #[test]
    fn nothing_is_left_behind_where_the_file_cannot_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "[a]\n").unwrap();
        let plan = Plan::new(&file, &[provider("one")]).unwrap();
        // A mount point, as a file that is bound into a container, cannot be replaced, and nor can a folder.
        let path = std::ffi::CString::new(file.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the paths are strings that live; the mount is taken away below.
        let bound = unsafe {
            libc::mount(path.as_ptr(), path.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) == 0
        };
        if !bound {
            eprintln!("skipped: only root may mount");
            return;
        }
        let written = plan.write();
        // SAFETY: as above.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        let hint = written.unwrap_err().hint().unwrap();
        assert!(hint.contains("a mount of its own"), "{hint}");
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["config.toml"]);
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
