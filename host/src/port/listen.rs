//! The addresses of the port: opened by the supervisor, which keeps them while port processes come and go, so that nobody
//! who connects meets a closed door.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::wire::Door;

/// One open address.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket, removed when this is dropped.
    Unix(UnixListener, PathBuf),
    /// The same, for the container of one miner alone.
    Container(UnixListener, PathBuf, String),
    /// A TCP address.
    Tcp(TcpListener, SocketAddr),
}

impl Listener {
    /// Listens on a Unix socket of mode 0600; its folder is made with mode 0700 where it is not there. A socket on which
    /// nobody answers is replaced, anything else is not.
    ///
    /// # Errors
    ///
    /// The path is taken, or its folder cannot be made or written.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(open_socket(path)?, path.to_owned()))
    }

    /// Listens on a Unix socket as [`Self::unix`] does, for the container of the miner `name`.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn container(path: &Path, name: &str) -> io::Result<Self> {
        Ok(Self::Container(open_socket(path)?, path.to_owned(), name.to_owned()))
    }

    /// Listens on a TCP address.
    ///
    /// # Errors
    ///
    /// The address is in use, or none of this machine's.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        Ok(Self::Tcp(listener, bound))
    }

    /// What the port process is told of it.
    pub fn door(&self) -> Door {
        match self {
            Self::Unix(..) => Door { unix: true, container: None, guarded: false },
            Self::Container(_, _, name) => Door { unix: true, container: Some(name.clone()), guarded: false },
            Self::Tcp(_, address) => {
                Door { unix: false, container: None, guarded: !address.ip().is_loopback() }
            }
        }
    }

    /// The address, such as `unix:/run/x.sock` or `tcp:127.0.0.1:3333`.
    pub fn address(&self) -> String {
        match self {
            Self::Unix(_, path) | Self::Container(_, path, _) => {
                format!("unix:{}", crate::text::printable_path(path))
            }
            Self::Tcp(_, address) => format!("tcp:{address}"),
        }
    }
}

/// A socket of mode 0600 in a folder of mode 0700. One on which nobody answers is replaced.
fn open_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        crate::owned::create_private(folder)?;
    }
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is no socket"));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on it"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) | Self::Container(listener, ..) => listener.as_fd(),
            Self::Tcp(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) | Self::Container(_, path, _) = self {
            // Where it cannot be removed, the next session finds that nobody answers on it.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_users_alone_and_takes_the_place_of_a_dead_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("miner/gateway.sock");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let listener = Listener::unix(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(listener.door(), Door { unix: true, container: None, guarded: false });
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind by one that was killed");
        drop(Listener::unix(&path).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn an_address_that_others_reach_is_guarded() {
        let own = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(!own.door().guarded && own.address().starts_with("tcp:127.0.0.1:"));
        assert!(Listener::tcp("0.0.0.0:0".parse().unwrap()).unwrap().door().guarded);
    }
}
