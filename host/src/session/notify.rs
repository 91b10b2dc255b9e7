//! Readiness for systemd and others that speak its protocol: one datagram to `$NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;

/// Sends `state` (such as `READY=1`) to the socket that `address` names; does nothing without one.
///
/// An address that begins with `@` is in Linux' abstract name space. What was sent is never answered, so an error
/// matters to nobody but the log.
///
/// # Errors
///
/// Where the socket cannot be reached or the address is not one.
pub fn notify(address: Option<&OsStr>, state: &str) -> io::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(address).strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let abstract_name = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(state.as_bytes(), &abstract_name).map(drop);
    }
    socket.send_to(state.as_bytes(), std::path::Path::new(address)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_arrives_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        notify(Some(path.as_os_str()), "READY=1\nSTATUS=mining").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=mining");

        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("pearlbed-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            notify(Some(OsStr::new(&format!("@{name}"))), "STOPPING=1").unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"STOPPING=1");
        }
    }

    #[test]
    fn without_an_address_nothing_happens() {
        notify(None, "READY=1").unwrap();
    }
}
