//! What a provider may ask to be allowed beyond computing.
//!
//! A permission is one text of the form `kind:value`. The manifest lists those that a provider wants, the user's
//! configuration those that are granted; the provider process gets exactly what is in both. The probe grants none.
//!
//! | text | what it allows |
//! | --- | --- |
//! | `device:/dev/dri/renderD*` | opening the device nodes that the pattern names, for reading and writing |
//! | `network:pool.example:3360` | connecting to that host and port; `*` for any host or any port |
//! | `unix-socket:/run/docker.sock` | connecting to that socket |
//! | `program:/usr/bin/docker` | running that program |
//! | `read:/opt/models` | reading below that folder |
//! | `write:/var/cache/provider` | reading and writing below that folder |
//! | `threads-hint:16` | nothing; says how many threads the provider will use at most |
//! | `memory-hint:8589934592` | nothing; says how many bytes of memory it will use at most |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One permission, wanted or granted. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Permission {
    /// Device nodes below `/dev`; `*` in the last component stands for any run of characters.
    Device(String),
    /// A host and port; either may be `*`.
    Network {
        /// A host name or address, or `*`.
        host: String,
        /// A port, or `None` for any.
        port: Option<u16>,
    },
    /// A Unix socket, by its absolute path.
    UnixSocket(String),
    /// A program, by its absolute path.
    Program(String),
    /// A folder or file to read, by its absolute path.
    Read(String),
    /// A folder or file to read and write, by its absolute path.
    Write(String),
    /// At most so many threads will be used.
    ThreadsHint(u32),
    /// At most so many bytes of memory will be used.
    MemoryHint(u64),
}

/// Why a text is not a permission. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum PermissionError {
    #[error(
        "`{0}` names no permission; the kinds are device, network, unix-socket, program, read, write, threads-hint, memory-hint"
    )]
    UnknownKind(String),
    #[error("`{0}`: {1}")]
    Value(String, &'static str),
}

/// The kinds that a text may begin with, in the order of the page above.
const KINDS: [&str; 8] =
    ["device:", "network:", "unix-socket:", "program:", "read:", "write:", "threads-hint:", "memory-hint:"];

impl Permission {
    /// Whether the permission asks for anything; hints do not.
    pub fn is_hint(&self) -> bool {
        matches!(self, Self::ThreadsHint(_) | Self::MemoryHint(_))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{path}"),
            Self::Network { host, port: Some(port) } => write!(f, "network:{host}:{port}"),
            Self::Network { host, port: None } => write!(f, "network:{host}:*"),
            Self::UnixSocket(path) => write!(f, "unix-socket:{path}"),
            Self::Program(path) => write!(f, "program:{path}"),
            Self::Read(path) => write!(f, "read:{path}"),
            Self::Write(path) => write!(f, "write:{path}"),
            Self::ThreadsHint(threads) => write!(f, "threads-hint:{threads}"),
            Self::MemoryHint(bytes) => write!(f, "memory-hint:{bytes}"),
        }
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what| PermissionError::Value(text.to_owned(), what);
        let (kind, value) =
            text.split_once(':').ok_or_else(|| PermissionError::UnknownKind(text.to_owned()))?;
        if value.chars().any(char::is_control) {
            return Err(wrong("control characters are not allowed"));
        }
        let path = || {
            let absolute = value.starts_with('/');
            let climbs = value.split('/').any(|part| part == "..");
            if absolute && !climbs {
                Ok(value.to_owned())
            } else {
                Err(wrong("the path must be absolute and without `..`"))
            }
        };
        match kind {
            "device" => {
                let path = path()?;
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                if !path.starts_with("/dev/") {
                    return Err(wrong("device nodes are below /dev"));
                }
                if folder.contains('*') {
                    return Err(wrong("`*` may stand in the last component only"));
                }
                Ok(Self::Device(path))
            }
            "network" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| wrong("write host:port"))?;
                if host.is_empty() {
                    return Err(wrong("the host is missing; `*` stands for any"));
                }
                let port = match port {
                    "*" => None,
                    port => match port.parse() {
                        Ok(0) | Err(_) => return Err(wrong("the port is a number from 1 to 65535, or `*`")),
                        Ok(port) => Some(port),
                    },
                };
                Ok(Self::Network { host: host.to_owned(), port })
            }
            "unix-socket" => Ok(Self::UnixSocket(path()?)),
            "program" => Ok(Self::Program(path()?)),
            "read" => Ok(Self::Read(path()?)),
            "write" => Ok(Self::Write(path()?)),
            "threads-hint" => Ok(Self::ThreadsHint(value.parse().map_err(|_| wrong("not a number"))?)),
            "memory-hint" => Ok(Self::MemoryHint(value.parse().map_err(|_| wrong("not a number"))?)),
            _ => Err(PermissionError::UnknownKind(text.to_owned())),
        }
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.to_string()
    }
}

impl TryFrom<String> for Permission {
    type Error = PermissionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What is wrong with `text` as a permission, by the rules of [`Permission`]'s `FromStr`, while the plugin compiles;
/// empty where it is one.
pub(crate) const fn mistake(text: &str) -> &'static str {
    let text = text.as_bytes();
    if has_control_characters(text) {
        return "control characters are not allowed";
    }
    let mut kind = 0;
    while kind < KINDS.len() && !starts_with(text, KINDS[kind].as_bytes()) {
        kind += 1;
    }
    if kind == KINDS.len() {
        return "each begins with device:, network:, unix-socket:, program:, read:, write:, threads-hint: or memory-hint:";
    }
    let (_, value) = text.split_at(KINDS[kind].len());
    match kind {
        0 => device_mistake(value),
        1 => network_mistake(value),
        2..=5 => path_mistake(value),
        6 if !is_number(value, u32::MAX as u64) => "a threads-hint is a number of threads",
        7 if !is_number(value, u64::MAX) => "a memory-hint is a number of bytes",
        _ => "",
    }
}

/// As `char::is_control` sees them: the C1 controls are two bytes each in UTF-8.
pub(crate) const fn has_control_characters(text: &[u8]) -> bool {
    let mut i = 0;
    while i < text.len() {
        let is_c1 = text[i] == 0xc2 && i + 1 < text.len() && text[i + 1] < 0xa0;
        if text[i] < 0x20 || text[i] == 0x7f || is_c1 {
            return true;
        }
        i += 1;
    }
    false
}

const fn device_mistake(path: &[u8]) -> &'static str {
    let mistake = path_mistake(path);
    if !mistake.is_empty() {
        return mistake;
    }
    if !starts_with(path, b"/dev/") {
        return "device nodes are below /dev";
    }
    let mut is_above = false;
    let mut i = path.len();
    while i > 0 {
        i -= 1;
        if path[i] == b'/' {
            is_above = true;
        } else if path[i] == b'*' && is_above {
            return "`*` may stand in the last component only";
        }
    }
    ""
}

const fn path_mistake(path: &[u8]) -> &'static str {
    const RULE: &str = "a path must be absolute and without `..`";
    if path.is_empty() || path[0] != b'/' {
        return RULE;
    }
    let mut i = 0;
    while i + 2 < path.len() {
        let ends = i + 3 == path.len() || path[i + 3] == b'/';
        if path[i] == b'/' && path[i + 1] == b'.' && path[i + 2] == b'.' && ends {
            return RULE;
        }
        i += 1;
    }
    ""
}

const fn network_mistake(value: &[u8]) -> &'static str {
    let mut colon = value.len();
    while colon > 0 && value[colon - 1] != b':' {
        colon -= 1;
    }
    if colon == 0 {
        return "network: is followed by host:port";
    }
    if colon == 1 {
        return "the host is missing after network:; `*` stands for any";
    }
    let (_, port) = value.split_at(colon);
    let any = port.len() == 1 && port[0] == b'*';
    if any || (is_number(port, 65535) && !is_number(port, 0)) {
        return "";
    }
    "the port is a number from 1 to 65535, or `*`"
}

/// Whether `text` is a number of at most `most`, as `str::parse` reads it.
const fn is_number(text: &[u8], most: u64) -> bool {
    let mut i = if !text.is_empty() && text[0] == b'+' { 1 } else { 0 };
    if i == text.len() {
        return false;
    }
    let mut number = 0_u64;
    while i < text.len() {
        if !text[i].is_ascii_digit() {
            return false;
        }
        let Some(tens) = number.checked_mul(10) else { return false };
        let Some(sum) = tens.checked_add((text[i] - b'0') as u64) else { return false };
        number = sum;
        i += 1;
    }
    number <= most
}

const fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    if text.len() < prefix.len() {
        return false;
    }
    let mut i = 0;
    while i < prefix.len() {
        if text[i] != prefix[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_written_back() {
        for text in [
            "device:/dev/nvidia*",
            "network:pool.example:3360",
            "network:*:*",
            "network:[::1]:80",
            "unix-socket:/var/run/docker.sock",
            "program:/usr/bin/docker",
            "read:/opt/models",
            "write:/var/cache/x",
            "threads-hint:16",
            "memory-hint:8589934592",
        ] {
            assert_eq!(text.parse::<Permission>().unwrap().to_string(), text);
            assert_eq!(mistake(text), "");
        }
    }

    #[test]
    fn a_permission_that_says_too_little_or_too_much_is_refused() {
        for text in [
            "",
            "device",
            "camera:/dev/video0",
            "device:/etc/passwd",
            "device:/dev/*/x",
            "device:/dev/../etc/shadow",
            "network:host",
            "network::80",
            "network:host:0",
            "network:host:99999",
            "read:relative",
            "write:/a/../..",
            "program:/bin/\u{1b}[2J",
            "threads-hint:-1",
            "memory-hint:8GiB",
        ] {
            assert!(text.parse::<Permission>().is_err(), "{text}");
            assert_ne!(mistake(text), "", "{text}");
        }
    }

    #[test]
    fn the_compiler_and_the_reader_agree() {
        let hosts = ["", "*", "a", "[::1]", "a:b"];
        let ports =
            ["", "*", "0", "00", "1", "+1", "65535", "65536", "-1", "1x", "99999999999999999999999", "+"];
        let networks =
            hosts.iter().flat_map(|host| ports.iter().map(move |port| format!("network:{host}:{port}")));
        let paths = [
            "", "/", "x", "/..", "/../x", "/x/..", "/x/...", "/..x", "/x..", "/a*", "/*/a", "/dev", "/dev/",
            "/dev/a*",
        ];
        let kinds = ["device", "unix-socket", "program", "read", "write", "Read", ""];
        let places = kinds.iter().flat_map(|kind| {
            let at = |path: &&str| [format!("{kind}:{path}"), format!("{kind}:/dev{path}")];
            paths.iter().flat_map(at).collect::<Vec<_>>()
        });
        let numbers = [
            "",
            "0",
            "4294967295",
            "4294967296",
            "18446744073709551615",
            "18446744073709551616",
            "-0",
            "+7",
            "7 ",
        ];
        let hints = numbers.iter().flat_map(|n| [format!("threads-hint:{n}"), format!("memory-hint:{n}")]);
        let controls = [
            "read:/\u{7f}",
            "read:/\n",
            "read:/\u{80}",
            "read:/\u{9f}",
            "read:/\u{a0}",
            "read:/é",
            "read:/\u{202e}",
        ];
        let controls = controls.iter().map(|text| (*text).to_owned());
        for text in networks.chain(places).chain(hints).chain(controls) {
            let read = text.parse::<Permission>();
            assert_eq!(
                mistake(&text).is_empty(),
                read.is_ok(),
                "{text:?}: {:?} and {read:?}",
                mistake(&text)
            );
        }
    }
}
