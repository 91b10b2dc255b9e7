//! `runtime/mining.lock`: whoever holds it may run a session.
//!
//! The lock is the kernel's (`File::try_lock`), so it goes with the process that holds it, however that ends. Only
//! a supervisor ever takes it: a reader that tried it for a moment could make a start fail that has nothing in its
//! way. What the holder writes into the file is who it is, and readers judge that by process identity.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::explain::Explain;
use crate::identity::ProcessIdentity;

/// Who holds the lock, as it writes into the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The supervisor.
    #[serde(flatten)]
    pub supervisor: ProcessIdentity,
    /// Its control socket.
    pub socket: PathBuf,
    /// Unix time at which it took the lock, in seconds.
    pub since: u64,
}

impl Holder {
    /// Takes the lock at `path` for this very holder once more, where somebody has removed its file: the lock that it holds
    /// is on a file without a name, which nobody who starts would meet. It is held to the end of the process.
    ///
    /// # Errors
    ///
    /// As [`SessionLock::take`]; it is no error that this holder has it.
    pub fn take_name_again(&self, path: &Path) -> Result<(), LockError> {
        match SessionLock::take(path, self) {
            Ok(lock) => {
                std::mem::forget(lock);
                Ok(())
            }
            Err(LockError::Held { holder: Some(holder) }) if holder == *self => Ok(()),
            Err(err) => Err(err),
        }
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum LockError {
    #[error("a session runs already{}", holder.as_ref().map(|h| format!(" (process {})", h.supervisor.pid)).unwrap_or_default())]
    Held {
        /// Who holds it, if it has said so yet.
        holder: Option<Holder>,
    },
    #[error("the runtime folder {} cannot be used", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
}

impl Explain for LockError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Held { .. } => Some("`pearlbed status` shows it, `pearlbed stop` ends it".into()),
            Self::Unusable { path, err } => crate::remedy::for_file(err, path),
        }
    }
}

/// The lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct SessionLock {
    file: File,
}

impl SessionLock {
    /// Takes the lock and writes down who holds it. The folder must exist.
    ///
    /// # Errors
    ///
    /// - [`LockError::Held`]: another process has it.
    /// - [`LockError::Unusable`]: the file cannot be made or written.
    pub fn take(path: &Path, holder: &Holder) -> Result<Self, LockError> {
        let dir = path.parent().unwrap_or(path);
        let unusable = |err| LockError::Unusable { path: dir.to_owned(), err };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { holder: read_from(&mut file) }),
            Err(TryLockError::Error(err)) => return Err(unusable(err)),
        }
        let line = serde_json::to_string(holder).expect("a holder is text and numbers");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{line}"))
            .map_err(unusable)?;
        Ok(Self { file })
    }

    /// Wipes the holder's name, so that nobody reads it after an orderly end, and lets go.
    pub fn release(self) {
        // A stale name is recognised by its start time.
        let _ = self.file.set_len(0);
        // The lock would go with the file, but a child that is just being made has a copy of it for a moment.
        let _ = self.file.unlock();
    }
}

/// Who holds the lock at `path`, as far as the file says, alive or not.
pub fn holder(path: &Path) -> Option<Holder> {
    read_from(&mut File::open(path).ok()?)
}

fn read_from(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Holder {
        Holder { supervisor: ProcessIdentity::own(), socket: "/s".into(), since: 1 }
    }

    #[test]
    fn the_second_taker_hears_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.lock");
        let lock = SessionLock::take(&path, &me()).unwrap();
        match SessionLock::take(&path, &me()) {
            Err(LockError::Held { holder }) => assert_eq!(holder, Some(me())),
            other => panic!("{other:?}"),
        }
        assert_eq!(holder(&path), Some(me()));
        lock.release();
        assert_eq!(holder(&path), None);
        SessionLock::take(&path, &me()).unwrap();
    }

    #[test]
    fn a_lock_file_full_of_rubbish_is_taken_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.lock");
        std::fs::write(&path, [0xff; 5000]).unwrap();
        assert_eq!(holder(&path), None);
        let lock = SessionLock::take(&path, &me()).unwrap();
        assert_eq!(holder(&path), Some(me()));
        drop(lock);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let err = SessionLock::take(&dir.path().join("no/mining.lock"), &me()).unwrap_err();
        assert!(matches!(err, LockError::Unusable { .. }), "{err}");
    }
}
