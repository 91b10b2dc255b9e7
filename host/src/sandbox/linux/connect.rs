//! Connections that were granted: the parent makes them, on the child's own socket, to the address that it checked.
//!
//! A child that connected by itself could change the address after it was looked at.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use super::super::Policy;

/// Where a child wants to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Network(SocketAddr),
    Unix(PathBuf),
    /// An abstract Unix socket, a datagram socket's reset, or a family that is never granted.
    Other(String),
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(&crate::text::printable_path(path)),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Reads a `struct sockaddr` of any family.
pub fn parse(bytes: &[u8]) -> Destination {
    let family = bytes.first_chunk().map_or(-1, |&family| i32::from(u16::from_ne_bytes(family)));
    let port = |bytes: &[u8]| Some(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?));
    let parsed = match family {
        libc::AF_INET => (|| {
            let address: [u8; 4] = *bytes.get(4..8)?.first_chunk()?;
            Some(Destination::Network(SocketAddr::new(address.into(), port(bytes)?)))
        })(),
        libc::AF_INET6 => (|| {
            let address: [u8; 16] = *bytes.get(8..24)?.first_chunk()?;
            Some(Destination::Network(SocketAddr::new(IpAddr::from(address).to_canonical(), port(bytes)?)))
        })(),
        libc::AF_UNIX => match bytes.get(2..) {
            Some([0, name @ ..]) => Some(Destination::Other(format!("@{}", String::from_utf8_lossy(name)))),
            Some(path) if !path.is_empty() => {
                let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
                Some(Destination::Unix(PathBuf::from(OsStr::from_bytes(path))))
            }
            _ => None,
        },
        libc::AF_NETLINK => Some(Destination::Other("a netlink socket".into())),
        _ => None,
    };
    parsed.unwrap_or_else(|| Destination::Other(format!("address family {family}")))
}

/// Whether `policy` grants `destination`. May ask the resolver, so it may block.
pub fn is_granted(policy: &Policy, destination: &Destination) -> bool {
    match destination {
        Destination::Network(wanted) => {
            let mut by_port =
                policy.network.iter().filter(|granted| granted.port.is_none_or(|p| p == wanted.port()));
            let meets = by_port.any(|granted| match &granted.host {
                None => true,
                Some(host) => match (host.as_str(), wanted.port()).to_socket_addrs() {
                    Ok(mut addresses) => addresses.any(|address| address.ip().to_canonical() == wanted.ip()),
                    Err(_) => false,
                },
            });
            // A granted name must be looked up first; `RES_OPTIONS=use-vc` makes the C library ask over TCP.
            meets || (wanted.port() == 53 && grants_names(policy) && nameservers().contains(&wanted.ip()))
        }
        Destination::Unix(wanted) => granted_socket(policy, wanted).is_some(),
        Destination::Other(_) => false,
    }
}

/// Whether some granted host is a name and not an address.
pub fn grants_names(policy: &Policy) -> bool {
    policy
        .network
        .iter()
        .any(|granted| granted.host.as_ref().is_none_or(|host| host.parse::<IpAddr>().is_err()))
}

/// Connects the child's socket number `descriptor` to `destination`, which was granted.
pub fn connect(
    policy: &Policy,
    thread: u32,
    descriptor: i32,
    destination: &Destination,
) -> Result<(), Errno> {
    let socket = fetch(thread, descriptor).ok_or(Errno::ACCESS)?;
    match destination {
        Destination::Network(address) => {
            // A socket of the newer family takes only addresses of its own.
            let is_v6 = rustix::net::sockopt::socket_domain(&socket)? == rustix::net::AddressFamily::INET6;
            let address = match address.ip() {
                IpAddr::V4(v4) if is_v6 => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
                _ => *address,
            };
            rustix::net::connect(&socket, &address)
        }
        Destination::Unix(path) => {
            let path = granted_socket(policy, path).ok_or(Errno::ACCESS)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
        }
        Destination::Other(_) => Err(Errno::ACCESS),
    }
}

/// The granted socket that `wanted` leads to.
fn granted_socket(policy: &Policy, wanted: &Path) -> Option<PathBuf> {
    let wanted = wanted.canonicalize().ok()?;
    policy
        .unix_sockets
        .iter()
        .filter_map(|granted| granted.canonicalize().ok())
        .find(|granted| *granted == wanted)
}

/// A second descriptor, ours, for a socket of the child.
pub fn fetch(thread: u32, descriptor: i32) -> Option<OwnedFd> {
    let status = crate::text::read_lossy(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    let process = rustix::process::pidfd_open(Pid::from_raw(process)?, PidfdFlags::empty()).ok()?;
    rustix::process::pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()).ok()
}

/// The addresses that `/etc/resolv.conf` names.
fn nameservers() -> Vec<IpAddr> {
    let settings = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut servers: Vec<IpAddr> = settings
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok())
        .collect();
    if servers.is_empty() {
        servers.push(IpAddr::from([127, 0, 0, 1]));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_would_and_never_past_their_end() {
        let mut v4 = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        v4.extend([0, 80, 1, 2, 3, 4]);
        assert_eq!(parse(&v4).to_string(), "1.2.3.4:80");
        let mut unix = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        unix.extend(b"/run/docker.sock\0rest");
        assert_eq!(parse(&unix), Destination::Unix("/run/docker.sock".into()));
        for end in 0..v4.len() {
            assert!(matches!(parse(&v4[..end]), Destination::Other(_)));
        }
    }

    #[test]
    fn an_address_is_granted_by_host_and_port_together() {
        let granted = super::super::super::HostPort { host: Some("127.0.0.1".into()), port: Some(8337) };
        let policy = Policy { network: vec![granted], ..Policy::default() };
        let at = |text: &str| Destination::Network(text.parse().unwrap());
        assert!(is_granted(&policy, &at("127.0.0.1:8337")));
        assert!(!is_granted(&policy, &at("127.0.0.1:8338")));
        assert!(!is_granted(&policy, &at("127.0.0.2:8337")));
        assert!(!is_granted(&policy, &at("127.0.0.1:53")));
    }
}
