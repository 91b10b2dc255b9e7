//! Addresses of the form `scheme://host[:port][/path]`, taken apart strictly.
//!
//! Which schemes there are, and what a missing port means, is the caller's to say. Nothing is looked up, decoded or made
//! right: `http://0x7f.1` is not taken for a loopback address here, as a browser would take it. There is no place for
//! a user name or a password, which would be a secret in a file.

use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::Authority;

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The part before `://`, as it was written.
    pub scheme: String,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: Option<u16>,
    /// From the first slash behind the host, with the query; `/` where there is none.
    pub path: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// There is no `://`.
    NoScheme,
    /// A user name or a password stands before the host.
    Secret,
    /// This stands where a host should.
    Host(String),
    /// This stands where a port should.
    Port(String),
    /// Something else is wrong, such as a blank in it.
    Malformed,
}

impl Url {
    /// Takes `text` apart.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::Secret);
        }
        let not_a_host = || UrlError::Host(authority.to_owned());
        let parsed: Authority = authority.parse().map_err(|_| not_a_host())?;
        let host = parsed.host();
        let after = authority.strip_prefix(host).ok_or_else(not_a_host)?;
        let port = match after.strip_prefix(':') {
            None if after.is_empty() => None,
            None => return Err(not_a_host()),
            Some(port) => match port.parse() {
                Ok(number @ 1..) => Some(number),
                _ => return Err(UrlError::Port(port.to_owned())),
            },
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let sound = bare.map_or_else(|| is_host(host), |bare| matches!(bare.parse(), Ok(IpAddr::V6(_))));
        if !sound {
            return Err(UrlError::Host(host.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = bare.unwrap_or(host).to_owned();
        Ok(Self { scheme: scheme.to_owned(), host, port, path: path.to_owned() })
    }

    /// `host:port`, for connecting and for HTTP's `Host`, with `port` where the address names none.
    pub fn authority(&self, port: u16) -> String {
        let port = self.port.unwrap_or(port);
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

/// Whether `text` is an IP address, without brackets, or a host's name.
pub fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    // A name of digits and points that is no address, such as 300.1.1.1, is a slip.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    !numeric
        && text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        for (text, scheme, host, port, path) in [
            ("http://localhost", "http", "localhost", None, "/"),
            ("https://127.0.0.1:44107/", "https", "127.0.0.1", Some(44107), "/"),
            ("stratum+tcp://pool.example:3333", "stratum+tcp", "pool.example", Some(3333), "/"),
            ("http://[::1]:7/a/b?c=d#e", "http", "::1", Some(7), "/a/b?c=d"),
            ("http://[fe80::1]", "http", "fe80::1", None, "/"),
            ("tls://a_b.c-d", "tls", "a_b.c-d", None, "/"),
        ] {
            let url = Url { scheme: scheme.into(), host: host.into(), port, path: path.into() };
            assert_eq!(Url::parse(text), Ok(url), "{text}");
        }
        assert_eq!(Url::parse("http://[::1]").unwrap().authority(80), "[::1]:80");
        assert_eq!(Url::parse("http://a:1").unwrap().authority(80), "a:1");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (text, wrong) in [
            ("localhost:1", UrlError::NoScheme),
            ("http:/localhost", UrlError::NoScheme),
            ("http://user@localhost", UrlError::Secret),
            ("http://user:p w@localhost:1", UrlError::Secret),
            ("http://", UrlError::Host(String::new())),
            ("http:///x", UrlError::Host(String::new())),
            ("http://a b", UrlError::Host("a b".into())),
            ("http://ä.example", UrlError::Host("ä.example".into())),
            ("http://300.1.1.1", UrlError::Host("300.1.1.1".into())),
            ("http://-a.example", UrlError::Host("-a.example".into())),
            ("http://[::1", UrlError::Host("[::1".into())),
            ("http://[::1%eth0]", UrlError::Host("[::1%eth0]".into())),
            ("http://[zz]:1", UrlError::Host("[zz]".into())),
            ("http://a:b:c", UrlError::Host("a:b:c".into())),
            ("http://a:0", UrlError::Port("0".into())),
            ("http://a:", UrlError::Port(String::new())),
            ("http://a:441070", UrlError::Port("441070".into())),
            ("http://a/b c", UrlError::Malformed),
            ("h p://a", UrlError::Malformed),
        ] {
            assert_eq!(Url::parse(text), Err(wrong), "{text}");
        }
    }
}
