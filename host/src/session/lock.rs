//! `runtime/mining.lock`: whoever holds it may run a session.
//!
//! The lock is the kernel's (`File::try_lock`), so it goes with the process that holds it, however that ends. Only
//! a supervisor ever takes it: a reader that tried it for a moment could make a start fail that has nothing in its
//! way. What the holder writes into the file is who it is, and readers judge that by process identity.
//!
//! A file can be removed, and then its lock is one that nobody meets. So the home folder itself is locked besides, which
//! lasts for as long as the folder does, and the holder makes the file again ([`SessionLock::keep`]).
//!
//! # Limitations
//!
//! Whoever may read the home folder can lock it, too. On Linux the kernel says who has: what is no pearlbed of this user, of
//! the folder's owner or of root is passed over. Elsewhere, and on file systems that lock no folders, the file alone counts
//! for the seconds until its holder looks.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::explain::Explain;
use crate::home::Home;
use crate::identity::ProcessIdentity;
use crate::owned;

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
    #[error("the session's lock {} cannot be used", crate::text::printable_path(path))]
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

    fn exit(&self) -> crate::exit::Exit {
        match self {
            Self::Held { .. } => crate::exit::Exit::Failed,
            Self::Unusable { err, .. } => crate::remedy::exit_for(err),
        }
    }
}

/// The lock, held until it is released or the process ends, whatever becomes of its file.
#[derive(Debug, Clone)]
pub struct SessionLock(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    holder: Holder,
    /// The home folder, where it can be locked.
    folder: Option<File>,
    file: Mutex<File>,
}

impl SessionLock {
    /// Takes the lock of `home` and writes down who holds it. The runtime folder must exist.
    ///
    /// # Errors
    ///
    /// - [`LockError::Held`]: another process has it.
    /// - [`LockError::Unusable`]: the file cannot be made or written.
    pub fn take(home: &Home, holder: &Holder) -> Result<Self, LockError> {
        let path = home.lock_file();
        let folder = lock_folder(home)?;
        let file = take_file(&path, holder)?;
        Ok(Self(Arc::new(Held { path, holder: holder.clone(), folder, file: Mutex::new(file) })))
    }

    /// Sees to it that the lock's file is there and says who holds it; answers whether it had to be made or written again.
    ///
    /// # Errors
    ///
    /// As [`Self::take`]: another process that has locked the file meanwhile has taken the home.
    pub fn keep(&self) -> Result<bool, LockError> {
        let Held { path, holder, file: held, .. } = &*self.0;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if owned::file_id(path).is_none_or(|id| owned::id_of(&held) != Some(id)) {
            *held = take_file(path, holder)?;
            return Ok(true);
        }
        if read_from(&mut held).as_ref() == Some(holder) {
            return Ok(false);
        }
        write_to(&mut held, holder).map_err(|err| LockError::Unusable { path: path.clone(), err })?;
        Ok(true)
    }

    /// Wipes the holder's name, so that nobody reads it after an orderly end, and lets go.
    pub fn release(self) {
        let file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A stale name is recognised by its start time.
        let _ = file.set_len(0);
        // The lock would go with the file, but a child that is just being made has a copy of it for a moment.
        let _ = file.unlock();
        if let Some(folder) = &self.0.folder {
            let _ = folder.unlock();
        }
    }
}

fn take_file(path: &Path, holder: &Holder) -> Result<File, LockError> {
    let unusable = |err| LockError::Unusable { path: path.to_owned(), err };
    let mut file = owned::open_or_make(path, File::options().read(true).write(true)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held { holder: read_from(&mut file) }),
        Err(TryLockError::Error(err)) => return Err(unusable(err)),
    }
    write_to(&mut file, holder).map_err(unusable)?;
    Ok(file)
}

fn write_to(file: &mut File, holder: &Holder) -> io::Result<()> {
    let line = serde_json::to_string(holder).expect("a holder is text and numbers");
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{line}")
}

/// Locks the home folder, where its file system can.
fn lock_folder(home: &Home) -> Result<Option<File>, LockError> {
    let Ok(folder) = File::open(home.root()) else { return Ok(None) };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::Error(_)) => Ok(None),
        Err(TryLockError::WouldBlock) => match lockers::of(&folder) {
            // Let go a moment ago, or by somebody whom the kernel does not tell us of.
            None => Err(LockError::Held { holder: holder(&home.lock_file()) }),
            Some(pids) => match pids.into_iter().find_map(|pid| lockers::pearlbed(pid, home)) {
                Some(found) => Err(LockError::Held { holder: Some(found) }),
                None => Ok(None),
            },
        },
    }
}

/// Who holds the lock of `home` as its file says it, alive or not.
pub fn holder(path: &Path) -> Option<Holder> {
    read_from(&mut owned::open(path).ok()?)
}

/// Who holds the lock of `home` and lives: as its file says it, or, where that was removed, as the kernel does.
pub fn live_holder(home: &Home) -> Option<Holder> {
    let written = holder(&home.lock_file()).filter(|holder| holder.supervisor.is_alive());
    written.or_else(|| {
        let pids = lockers::of(&File::open(home.root()).ok()?)?;
        pids.into_iter().find_map(|pid| lockers::pearlbed(pid, home))
    })
}

fn read_from(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// What the kernel says of who has locked a folder.
mod lockers {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt as _;

    use super::Holder;
    use crate::home::Home;
    use crate::identity::ProcessIdentity;

    /// The processes that have locked `folder`; nothing where the kernel does not say.
    pub fn of(folder: &File) -> Option<Vec<u32>> {
        let folder = folder.metadata().ok()?;
        let (device, inode) = (folder.dev(), folder.ino());
        let file = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let pids: Vec<u32> = locks.lines().filter_map(|line| pid(line, &file)).collect();
        (!pids.is_empty()).then_some(pids)
    }

    /// The process of a line such as `1: FLOCK  ADVISORY  WRITE 812 fe:00:1205 0 EOF`, where it is about the file
    /// `fe:00:1205`. Some file systems name their device otherwise to programs, and of those nothing is known here.
    pub fn pid(line: &str, file: &str) -> Option<u32> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, _, way) = (words.next()?, words.next()?, words.next()?);
        let (pid, same) = (words.next()?.parse().ok()?, words.next()? == file);
        (kind == "FLOCK" && way == "WRITE" && same).then_some(pid)
    }

    /// The process `pid` as the holder of the session of `home`, where it is a pearlbed that may be one.
    pub fn pearlbed(pid: u32, home: &Home) -> Option<Holder> {
        let process = format!("/proc/{pid}");
        let uid = std::fs::metadata(&process).ok()?.uid();
        let me = rustix::process::geteuid().as_raw();
        let owner = home.root().metadata().ok()?.uid();
        if ![0, me, owner].contains(&uid) {
            return None;
        }
        let line = std::fs::read(format!("{process}/cmdline")).ok()?;
        let program = line.split(|byte| *byte == 0).next()?.rsplit(|byte| *byte == b'/').next()?;
        if !program.starts_with(b"pearlbed") {
            return None;
        }
        Some(Holder {
            supervisor: ProcessIdentity::of(pid)?,
            socket: home.control_socket(),
            since: ProcessIdentity::started_unix(pid).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Holder {
        Holder { supervisor: ProcessIdentity::own(), socket: "/s".into(), since: 1 }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::create_dir(home.runtime_dir()).unwrap();
        (dir, home)
    }

    #[test]
    fn the_second_taker_hears_who_was_first() {
        let (_dir, home) = home();
        let lock = SessionLock::take(&home, &me()).unwrap();
        // What the folder's lock says depends on the name of this program; the file's says who it is.
        match take_file(&home.lock_file(), &me()) {
            Err(LockError::Held { holder }) => assert_eq!(holder, Some(me())),
            other => panic!("{other:?}"),
        }
        assert_eq!(holder(&home.lock_file()), Some(me()));
        assert_eq!(live_holder(&home), Some(me()));
        lock.release();
        assert_eq!(holder(&home.lock_file()), None);
        SessionLock::take(&home, &me()).unwrap();
    }

    #[test]
    fn a_lock_file_that_was_removed_replaced_or_emptied_is_made_again_and_let_go_at_the_end() {
        let (_dir, home) = home();
        let path = home.lock_file();
        let lock = SessionLock::take(&home, &me()).unwrap();
        assert!(!lock.keep().unwrap());
        for spoil in [
            &(|| std::fs::remove_file(&path).unwrap()) as &dyn Fn(),
            &|| {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "").unwrap();
            },
            &|| std::fs::write(&path, "").unwrap(),
            &|| std::fs::write(&path, [0xff; 5000]).unwrap(),
        ] {
            spoil();
            assert!(lock.keep().unwrap());
            assert_eq!(holder(&path), Some(me()));
            assert!(matches!(take_file(&path, &me()), Err(LockError::Held { .. })));
            assert!(!lock.keep().unwrap());
        }
        lock.release();
        assert_eq!(holder(&path), None, "nobody is named after an orderly end");
        // Whoever has taken the name meanwhile has taken the home.
        let lock = SessionLock::take(&home, &me()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = take_file(&path, &Holder { since: 2, ..me() }).unwrap();
        assert!(matches!(lock.keep(), Err(LockError::Held { .. })));
    }

    #[test]
    fn who_has_locked_a_folder_is_read_from_the_kernels_list() {
        let line = "4: FLOCK  ADVISORY  WRITE 812 fe:00:1205 0 EOF";
        assert_eq!(lockers::pid(line, "fe:00:1205"), Some(812));
        assert_eq!(lockers::pid(line, "fe:01:1205"), None);
        assert_eq!(lockers::pid("4: -> FLOCK  ADVISORY  WRITE 812 fe:00:1205 0 EOF", "fe:00:1205"), None);
        assert_eq!(lockers::pid("4: POSIX  ADVISORY  WRITE 812 fe:00:1205 0 EOF", "fe:00:1205"), None);
        assert_eq!(lockers::pid("4: FLOCK  ADVISORY  READ 812 fe:00:1205 0 EOF", "fe:00:1205"), None);
    }

    #[test]
    fn a_lock_file_full_of_rubbish_is_taken_all_the_same() {
        let (_dir, home) = home();
        std::fs::write(home.lock_file(), [0xff; 5000]).unwrap();
        assert_eq!(holder(&home.lock_file()), None);
        let lock = SessionLock::take(&home, &me()).unwrap();
        assert_eq!(holder(&home.lock_file()), Some(me()));
        drop(lock);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let err = SessionLock::take(&Home::at(dir.path().join("no")), &me()).unwrap_err();
        assert!(matches!(err, LockError::Unusable { .. }), "{err}");
    }
}
