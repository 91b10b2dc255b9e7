//! A Unix socket of the session's: private while it is made, and removed again when the session lets go of it.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket, removed again when dropped.
#[derive(Debug)]
pub struct OwnSocket {
    path: PathBuf,
    /// The file as it was made: one that somebody has put in its place is not ours to remove.
    file: Option<(u64, u64)>,
    listener: tokio::net::UnixListener,
}

impl OwnSocket {
    /// Binds the socket at `path` with this mode. What lies there is replaced: only who owns the name may.
    ///
    /// # Errors
    ///
    /// Where the folder refuses.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            // An empty folder is in the way of nobody else.
            Err(err) if path.is_dir() => std::fs::remove_dir(path).map_err(|_| err)?,
            removed => removed?,
        }
        // Private from the first moment: nobody else can connect before the mode is set.
        let before = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let bound = reachable(path).and_then(|way| UnixListener::bind(&way.path));
        rustix::process::umask(before);
        let listener = bound?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(Self { path: path.to_owned(), file: file_id(path), listener })
    }

    /// The same at a name that somebody chose: only a socket that nobody answers at is replaced.
    ///
    /// # Errors
    ///
    /// Where something else lies there, somebody answers, or the folder refuses.
    pub fn bind_at_chosen(path: &Path, mode: u32) -> io::Result<Self> {
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            let taken = |what| Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            if !metadata.file_type().is_socket() {
                return taken("what lies there is no socket");
            }
            if reachable(path).and_then(|way| UnixStream::connect(&way.path)).is_ok() {
                return taken("another program answers there");
            }
        }
        Self::bind(path, mode)
    }

    /// The next peer.
    ///
    /// # Errors
    ///
    /// What the system says, such as that there are no descriptors left.
    pub async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    /// The file as it was made, to be compared with [`file_id`].
    pub fn id(&self) -> Option<(u64, u64)> {
        self.file
    }

    /// Whether the file is still the one that was made.
    pub fn is_there(&self) -> bool {
        file_id(&self.path) == self.file
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What tells the file at `path`, itself and not where it leads, from another of its name; nothing where there is none.
pub fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A path that fits into a socket address, and what must stay open while it is used.
pub struct Way {
    /// The path.
    pub path: PathBuf,
    _dir: Option<std::fs::File>,
}

/// A socket address holds 107 bytes of path. A deeper one is reached through an open descriptor of its folder.
///
/// # Errors
///
/// Where the folder cannot be opened.
pub fn reachable(path: &Path) -> io::Result<Way> {
    if path.as_os_str().len() <= 103 || cfg!(not(target_os = "linux")) {
        return Ok(Way { path: path.to_owned(), _dir: None });
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = std::fs::File::open(dir)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&dir);
    Ok(Way { path: Path::new(&format!("/proc/self/fd/{fd}")).join(name), _dir: Some(dir) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn at_a_chosen_name_only_a_socket_without_an_owner_is_replaced_and_it_goes_with_the_session() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        std::fs::write(&path, "a letter").unwrap();
        let refused = OwnSocket::bind_at_chosen(&path, 0o660).unwrap_err();
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a letter");
        std::fs::remove_file(&path).unwrap();

        drop(UnixListener::bind(&path).unwrap());
        let socket = OwnSocket::bind_at_chosen(&path, 0o660).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let refused = OwnSocket::bind_at_chosen(&path, 0o660).unwrap_err();
        assert!(refused.to_string().contains("another program"), "{refused}");
        drop(socket);
        assert!(!path.exists());

        let socket = OwnSocket::bind_at_chosen(&path, 0o600).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a letter").unwrap();
        assert!(!socket.is_there());
        drop(socket);
        assert!(path.exists(), "what somebody put there is not ours to remove");
    }
}
