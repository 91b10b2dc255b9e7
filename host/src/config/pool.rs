//! The address of a pool, and the certificate that it must show.

use std::fmt;

use super::raw::quote;
use crate::url::{Url, UrlError, is_host};

/// Schemes of a pool's mining port, and whether each is TLS. A scheme decides once and for all: TLS never falls back to
/// plain TCP, and plain TCP never tries TLS.
const SCHEMES: &[(&str, bool)] = &[
    ("stratum+ssl", true),
    ("stratum+tls", true),
    ("stratum+tcp", false),
    ("ssl", true),
    ("tls", true),
    ("tcp", false),
];

/// Where a pool listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolUrl {
    /// The scheme, as it was written.
    pub scheme: String,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl PoolUrl {
    /// Reads `scheme://host:port`. A path or what follows is ignored.
    ///
    /// # Errors
    ///
    /// What is wrong, as the rest of a sentence, and an address that is right.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(UrlError::NoScheme) => {
                return Err(("has no scheme (the part before `://`)".to_owned(), guess(text, None)));
            }
            // The text is not repeated: it may hold a secret.
            Err(UrlError::Secret) => {
                let right = "stratum+ssl://pool.example:3333".to_owned();
                return Err(("holds a user name or password".to_owned(), right));
            }
            Err(err) => {
                let what = match err {
                    UrlError::Host(host) => format!("has {} where the host should be", quote(&host)),
                    UrlError::Port(port) => format!("has the port {}, a port is 1 to 65535", quote(&port)),
                    _ => "holds a character that stands in no address".to_owned(),
                };
                let (scheme, rest) = text.split_once("://").unwrap_or_default();
                return Err((what, guess(rest, known(scheme))));
            }
        };
        let Some((scheme, tls)) = SCHEMES.iter().find(|(known, _)| *known == url.scheme) else {
            let known: Vec<&str> = SCHEMES.iter().take(3).map(|(known, _)| *known).collect();
            let what = format!(
                "has the scheme {}, and pools are spoken to by {}",
                quote(&url.scheme),
                known.join(", ")
            );
            return Err((what, guess(&url.authority(3333), None)));
        };
        let Some(port) = url.port else {
            return Err(("names no port".to_owned(), guess(&url.host, Some(scheme))));
        };
        Ok(Self { scheme: url.scheme, tls: *tls, host: url.host, port })
    }
}

fn known(scheme: &str) -> Option<&'static str> {
    SCHEMES.iter().map(|(known, _)| *known).find(|known| *known == scheme)
}

/// A right address that is as near as possible to what was written.
fn guess(authority: &str, scheme: Option<&str>) -> String {
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let host = if is_host(host) { host } else { "pool.example" };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).unwrap_or(3333);
    format!("{}://{host}:{port}", scheme.unwrap_or("stratum+ssl"))
}

impl fmt::Display for PoolUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, .. } = self;
        if host.contains(':') {
            write!(out, "{scheme}://[{host}]:{port}")
        } else {
            write!(out, "{scheme}://{host}:{port}")
        }
    }
}

/// The certificate that a pool must show, whatever signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// SHA-256 of the certificate.
    Certificate([u8; 32]),
    /// SHA-256 of its public key (SubjectPublicKeyInfo).
    Key([u8; 32]),
}

impl Pin {
    /// Reads `sha256/` and 64 hex digits, with or without colons (the certificate), or 44 characters of base64 (its
    /// public key).
    pub fn parse(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let digest = text.strip_prefix("sha256/").or_else(|| text.strip_prefix("SHA256/"))?;
        let digits: String = digest.chars().filter(|c| *c != ':').collect();
        if digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
            let mut bytes = [0; 32];
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
            }
            return Some(Self::Certificate(bytes));
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(digest).ok()?;
        bytes.try_into().ok().map(Self::Key)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base64::Engine as _;
        match self {
            Self::Certificate(bytes) => {
                out.write_str("sha256/")?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            Self::Key(bytes) => {
                write!(out, "sha256/{}", base64::engine::general_purpose::STANDARD.encode(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_kind_and_written_back() {
        for (text, tls, host, port) in [
            ("stratum+ssl://pool.example:3333", true, "pool.example", 3333),
            ("stratum+tls://pool.example:1", true, "pool.example", 1),
            ("stratum+tcp://127.0.0.1:65535", false, "127.0.0.1", 65535),
            ("stratum+tcp://[::1]:3333", false, "::1", 3333),
            ("tcp://a-b.c:3333", false, "a-b.c", 3333),
        ] {
            let url = PoolUrl::parse(text).unwrap();
            assert_eq!((url.tls, url.host.as_str(), url.port), (tls, host, port), "{text}");
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn the_hint_for_a_wrong_address_works_when_it_is_typed_back() {
        for text in [
            "",
            "pool.example",
            "pool.example:3333",
            "https://pool.example:3333/x",
            "stratum+udp://pool.example",
            "stratum+ssl://pool.example",
            "stratum+ssl://pool.example:0",
            "stratum+ssl://pool.example:99999",
            "stratum+ssl://:3333",
            "stratum+ssl://user:secret@pool.example:3333",
            "stratum+tcp://bad host:1",
        ] {
            let (problem, right) = PoolUrl::parse(text).unwrap_err();
            assert!(PoolUrl::parse(&right).is_ok(), "{text}: {problem}: {right}");
            assert!(!right.contains("secret") && !problem.contains("secret"));
        }
        let (_, right) = PoolUrl::parse("prl.example.org:7048").unwrap_err();
        assert_eq!(right, "stratum+ssl://prl.example.org:7048", "as near as possible");
        let (_, right) = PoolUrl::parse("stratum+tcp://prl.example.org").unwrap_err();
        assert_eq!(right, "stratum+tcp://prl.example.org:3333");
    }

    #[test]
    fn pins_are_of_a_certificate_in_hex_or_of_a_key_in_base64() {
        let hex = "5CC5FE726BDD0D639AEAB3BC67C08D4B608E387EBED5B174A52CF42353FC41FE";
        let pin = Pin::parse(&format!("sha256/{hex}")).unwrap();
        assert_eq!(pin.to_string(), format!("sha256/{}", hex.to_lowercase()));
        let pairs: Vec<String> =
            hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
        assert_eq!(Pin::parse(&format!("sha256/{}", pairs.join(":"))), Some(pin));
        let key = Pin::Key([7; 32]);
        assert_eq!(Pin::parse(&key.to_string()), Some(key));
        for wrong in ["", "sha256/", hex, "sha1/aa", "sha256/xyz", "sha256/AAAA", &format!("sha256/{hex}00")]
        {
            assert_eq!(Pin::parse(wrong), None, "{wrong}");
        }
    }
}
