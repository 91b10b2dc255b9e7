//! Making a connection: names, races between addresses, TLS (pool protocol section 8.1).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::resolver::Resolver;
use super::settings::Pool;
use super::tls::{Client, Roots};
use super::wire::{Closed, Times};

/// Between the starts of two attempts on one name's addresses (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// Time for one address.
const ADDRESS_MAX: Duration = Duration::from_secs(10);
/// Time for the name and all its addresses.
const ALL_MAX: Duration = Duration::from_secs(20);
/// Time for the TLS handshake.
const TLS_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The two directions of a connection.
pub struct Line {
    /// What the pool says.
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    /// What it is told.
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
    /// How it came about.
    pub times: Times,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("times", &self.times).finish_non_exhaustive()
    }
}

/// Connects to a pool.
///
/// # Errors
///
/// Why not, in a phrase, and whether a retry may cure it.
pub async fn dial(pool: &Pool, resolver: &Resolver, roots: &Roots) -> Result<Line, Closed> {
    let began = Instant::now();
    let stream = match timeout(ALL_MAX, race(&pool.url.host, pool.url.port, resolver)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => return Err(Closed::Lost(phrase(&err))),
        Err(_) => return Err(Closed::Lost(format!("no address answers within {} s", ALL_MAX.as_secs()))),
    };
    let tcp = began.elapsed();
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    if !pool.url.tls {
        let (read, write) = stream.into_split();
        let times = Times { tcp, tls: None, security: "plain, unauthenticated".to_owned(), peer };
        return Ok(Line { read: Box::new(read), write: Box::new(write), times });
    }
    // The platform's roots are a hundred files, read anew because they may have changed.
    let (pin, roots) = (pool.pin, roots.clone());
    let client = tokio::task::spawn_blocking(move || Client::new(pin, &roots))
        .await
        .map_err(|_| Closed::Lost("the session ends".to_owned()))?
        .map_err(Closed::Untrusted)?;
    let name = ServerName::try_from(pool.url.host.clone())
        .map_err(|_| Closed::Untrusted("its name can stand in no certificate".to_owned()))?;
    let began = Instant::now();
    let connecting = TlsConnector::from(Arc::clone(&client.config)).connect(name, stream);
    let stream = match timeout(TLS_MAX, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            let (text, about_trust) = client.explain(&err, &pool.table);
            return Err(if about_trust { Closed::Untrusted(text) } else { Closed::Lost(text) });
        }
        Err(_) => return Err(Closed::Lost(format!("no TLS handshake within {} s", TLS_MAX.as_secs()))),
    };
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS 1.3",
    };
    let pinned = if pool.pin.is_some() { ", pinned certificate" } else { "" };
    let times = Times { tcp, tls: Some(began.elapsed()), security: format!("{version}{pinned}"), peer };
    let (read, write) = tokio::io::split(stream);
    Ok(Line { read: Box::new(read), write: Box::new(write), times })
}

/// Connects to the first address of a name that answers: one attempt after the other, and the next begins when one
/// failed or took too long to be worth waiting for.
async fn race(host: &str, port: u16, resolver: &Resolver) -> io::Result<TcpStream> {
    let addresses = interleave(resolver.addresses(host, port).await?);
    let mut waiting = addresses.into_iter().take(ADDRESSES_MAX);
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = tokio::time::Instant::now();
    let mut more = true;
    loop {
        if more && (attempts.is_empty() || tokio::time::Instant::now() >= next) {
            match waiting.next() {
                Some(address) => {
                    attempts.spawn(attempt(address));
                    next = tokio::time::Instant::now() + STAGGER;
                }
                None => more = false,
            }
        }
        if attempts.is_empty() {
            if more {
                continue;
            }
            return Err(last);
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(err)) => {
                    last = err;
                    next = tokio::time::Instant::now();
                }
                Err(_) => next = tokio::time::Instant::now(),
            },
            () = sleep_until(next), if more => {}
        }
    }
}

/// The families in turn, the first one's first (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut two): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    one.reverse();
    two.reverse();
    let mut mixed = Vec::with_capacity(one.len() + two.len());
    while !one.is_empty() || !two.is_empty() {
        mixed.extend(one.pop());
        mixed.extend(two.pop());
    }
    mixed
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    tune(&socket);
    match timeout(ADDRESS_MAX, socket.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A peer whose machine is gone is noticed by the kernel: by probes while nothing is said, and by what is not confirmed
/// while something is. What the kernel refuses is a nicety less.
#[cfg(target_os = "linux")]
fn tune(socket: &TcpSocket) {
    use rustix::net::sockopt;
    let _ = sockopt::set_tcp_keepidle(socket, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(socket, 4);
    let _ = sockopt::set_tcp_user_timeout(socket, 60_000);
}

#[cfg(not(target_os = "linux"))]
fn tune(_socket: &TcpSocket) {}

/// An error of the system as people know it.
pub fn phrase(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection ended in the middle of something".to_owned(),
        _ => crate::text::foreign(&err.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let mixed = |texts: &[&str]| -> Vec<String> {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            interleave(addresses).iter().map(ToString::to_string).collect()
        };
        let (a, b, c) = ("[::1]:1", "[::2]:1", "[::3]:1");
        let (x, y) = ("1.1.1.1:1", "2.2.2.2:1");
        assert_eq!(mixed(&[a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(mixed(&[x, a, y]), [x, a, y]);
        assert_eq!(mixed(&[x, y]), [x, y]);
        assert!(mixed(&[]).is_empty());
    }
}
