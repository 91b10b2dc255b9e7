//! Values by kind: parsed from TOML or from one line of text, and written back as TOML.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pearl_pow::address::Address;
use pearlbed_plugin_api::Permission;

use super::keys::Kind;
use super::miner::Device;
use super::pool::{Pin, PoolUrl};
use super::raw::{Raw, quote, raw_value};
use crate::url::{Url, UrlError, is_host};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// The configuration file, at this line (counted from 1).
    File {
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { line } => write!(out, "file line {line}"),
            Self::Environment(variable) => write!(out, "environment {variable}"),
            Self::Flag(flag) => write!(out, "flag {flag}"),
        }
    }
}

/// A value that passed its kind's check.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// One line of text.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// Yes or no.
    Flag(bool),
    /// A list of texts.
    List(Vec<String>),
    /// A length of time.
    Duration(Duration),
    /// A number of bytes.
    Bytes(u64),
    /// A value of an open table, kept as JSON.
    Json(serde_json::Value),
}

impl Value {
    /// The value as TOML would write it.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(", "))
            }
            Self::Duration(duration) => quote(&duration_text(*duration)),
            Self::Bytes(bytes) => quote(&size_text(*bytes)),
            Self::Json(json) => json.to_string(),
        }
    }

    /// The value as JSON: durations and sizes as the text that the file holds.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::List(items) => items.clone().into(),
            Self::Duration(duration) => duration_text(*duration).into(),
            Self::Bytes(bytes) => size_text(*bytes).into(),
            Self::Json(json) => json.clone(),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Why a raw value is not of its kind.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The TOML type is wrong; what it should be.
    Type(&'static str),
    /// The type is right and the value is not: what is wrong, and what to do.
    Value { problem: String, fix: String },
}

fn refuse<T>(problem: impl Into<String>, fix: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Value { problem: problem.into(), fix: fix.into() })
}

/// Checks `raw` against `kind`. `Ok(None)` is an empty text where empty means "not set".
pub(super) fn check(kind: Kind, raw: &Raw) -> Result<Option<Value>, Refusal> {
    match kind {
        Kind::Fee => fee(raw),
        Kind::Port => port(raw).map(Some),
        Kind::Flag => flag(raw).map(Some),
        Kind::CertificateVersion => match integer(raw) {
            Some(number @ 1..=0xffff_ffff) => Ok(Some(Value::Integer(number as u64))),
            Some(number) => refuse(format!("is {number}, which is no certificate version"), "today's is 3"),
            None => Err(Refusal::Type("a whole number without quotes")),
        },
        Kind::Nice => nice(raw).map(Some),
        Kind::Temperature => temperature(raw).map(Some),
        Kind::Seconds => match integer(raw) {
            Some(number @ 1..=600) => Ok(Some(Value::Integer(number as u64))),
            Some(number) => refuse(
                format!("is {number}, and shares are to come every 1 to 600 seconds"),
                "write a number from 1 to 600; 10 is the default",
            ),
            None => Err(Refusal::Type("a number of seconds without quotes")),
        },
        Kind::SwitchOrPath => match raw {
            Raw::Word(word) if word != "true" && word != "false" => {
                Ok(Some(Value::Text(text(raw)?.to_owned())))
            }
            Raw::Text(_) => match text(raw)? {
                "" => refuse("is empty", "write `true`, `false` or a path in quotes"),
                path => Ok(Some(Value::Text(path.to_owned()))),
            },
            raw => flag(raw).map(Some),
        },
        Kind::Devices => devices(&listed(raw, false)).map(Some),
        Kind::Permissions => permissions(&listed(raw, false)).map(Some),
        Kind::Settings => match raw {
            Raw::Table(_) => Ok(Some(Value::Json(raw.to_json()))),
            _ => Err(Refusal::Type("a table of settings")),
        },
        Kind::Paths => Ok(Some(Value::List(list(&listed(raw, true), "a list of paths in quotes")?))),
        Kind::PublicKeys => {
            let keys = list(&listed(raw, false), "a list of minisign public keys in quotes")?;
            match keys.iter().find(|key| minisign_verify::PublicKey::from_base64(key).is_err()) {
                None => Ok(Some(Value::List(keys))),
                Some(wrong) => refuse(
                    format!("holds {}, which is no minisign public key", quote(wrong)),
                    "a key is the second line of a `.pub` file: 56 characters that begin with `RW`",
                ),
            }
        }
        Kind::Command => {
            let words = list(&listed(raw, false), "a list of a program and its arguments, each in quotes")?;
            if words.first().is_none_or(String::is_empty) {
                return refuse("names no program", "put the program first, or remove the key");
            }
            Ok(Some(Value::List(words)))
        }
        _ => {
            let text = text(raw)?;
            // OpenJarvis writes `fee_payout_address = ""` where it has none.
            if text.is_empty()
                && matches!(kind, Kind::ProviderId | Kind::Address | Kind::Text | Kind::Path | Kind::HttpUrl)
            {
                return Ok(None);
            }
            scalar(kind, text).map(Some)
        }
    }
}

fn scalar(kind: Kind, text: &str) -> Result<Value, Refusal> {
    let kept = || Ok(Value::Text(text.to_owned()));
    match kind {
        Kind::ProviderId if is_provider_id(text) => kept(),
        Kind::ProviderId => refuse(
            format!("is {}, which is not a provider id", quote(text)),
            "an id is 1 to 64 lower-case letters, digits and `-`; `pearlbed plugins list` shows them",
        ),
        Kind::MinerName if is_miner_name(text) => kept(),
        Kind::MinerName => refuse(
            format!("is {}, which is no name of a miner", quote(text)),
            "a name is 1 to 32 lower-case letters, digits, `-` and `_`, and begins with a letter",
        ),
        Kind::Address => match text.parse::<Address>() {
            Ok(_) => kept(),
            Err(err) => {
                let fix = err.hint().unwrap_or_else(|| "copy the address from your wallet".to_owned());
                refuse(format!("is no Pearl address: {err}"), fix)
            }
        },
        Kind::SubmitTarget => submit_target(text),
        Kind::PoolUrl => match PoolUrl::parse(text) {
            Ok(_) => kept(),
            Err((problem, right)) => refuse(problem, format!("write it like this: {}", quote(&right))),
        },
        Kind::Pin if Pin::parse(text).is_some() => kept(),
        Kind::Pin => refuse(
            format!("is {}, which is no fingerprint", quote(text)),
            "write `sha256/` and 64 hex digits, as `pearlbed pool test` shows them for the certificate that it sees",
        ),
        Kind::Encoding => one_of(text, &["plain", "v2"]),
        Kind::Dialect => one_of(text, &["auto", "object", "array"]),
        Kind::EnvName if is_env_name(text) => kept(),
        // The text is not repeated: it may be the secret itself.
        Kind::EnvName => refuse(
            "is not the name of an environment variable",
            "give the variable's name (capitals, digits, `_`), never the secret itself, and set the variable",
        ),
        Kind::Host if is_host(text) => kept(),
        Kind::Host => refuse(
            format!("is {}, which is not a host name or IP address", quote(text)),
            "give the host alone, without scheme, port or path: \"127.0.0.1\"",
        ),
        Kind::HttpUrl => url(text).map(|()| Value::Text(text.to_owned())),
        Kind::Duration => duration(text).map(Value::Duration),
        Kind::Size => size(text).map(Value::Bytes),
        Kind::LoopbackAddress => loopback(text),
        Kind::ListenAddress => match text.parse::<SocketAddr>() {
            Ok(_) => kept(),
            Err(_) => refuse(
                format!("is {}, which is no address and port", quote(text)),
                "write it like this: \"127.0.0.1:3333\"",
            ),
        },
        Kind::Reach => one_of(text, &["loopback", "network"]),
        Kind::Engine => one_of(text, &["auto", "docker", "podman"]),
        Kind::Network => one_of(text, &["bridge", "host"]),
        _ => kept(),
    }
}

fn text(raw: &Raw) -> Result<&str, Refusal> {
    let (Raw::Text(text) | Raw::Word(text)) = raw else { return Err(Refusal::Type("text in quotes")) };
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return refuse(
            format!("holds a control character (U+{:04X})", u32::from(bad)),
            "write one line without line breaks or tabs",
        );
    }
    if text.trim() != text {
        return refuse("begins or ends with a blank", "remove the blank inside the quotes");
    }
    Ok(text)
}

/// A list that a variable holds: as TOML writes one, or else paths with `:` between them.
fn listed(raw: &Raw, paths: bool) -> Raw {
    let Raw::Word(text) = raw else { return raw.clone() };
    if text.trim_start().starts_with('[') {
        return text.parse().map_or_else(|_| raw.clone(), |value| raw_value(&value));
    }
    if !paths {
        return raw.clone();
    }
    Raw::List(
        text.split(':').filter(|path| !path.is_empty()).map(|path| Raw::Text(path.to_owned())).collect(),
    )
}

fn list(raw: &Raw, expected: &'static str) -> Result<Vec<String>, Refusal> {
    let Raw::List(items) = raw else { return Err(Refusal::Type(expected)) };
    items
        .iter()
        .map(|item| match item {
            Raw::Text(_) => text(item).map(str::to_owned),
            _ => Err(Refusal::Type(expected)),
        })
        .collect()
}

fn integer(raw: &Raw) -> Option<i64> {
    match raw {
        Raw::Integer(number) => Some(*number),
        Raw::Word(word) => word.parse().ok(),
        _ => None,
    }
}

fn fee(raw: &Raw) -> Result<Option<Value>, Refusal> {
    match integer(raw) {
        Some(0) => Ok(Some(Value::Integer(0))),
        Some(other) => refuse(
            format!("is {other}, but pearlbed takes no fee and pays none: 0 % always"),
            "write fee_bps = 0, or remove the key",
        ),
        None => Err(Refusal::Type("the number 0")),
    }
}

fn port(raw: &Raw) -> Result<Value, Refusal> {
    match integer(raw) {
        Some(number @ 1..=65535) => Ok(Value::Integer(number as u64)),
        Some(number) => {
            refuse(format!("is {number}, which is no port"), "a port is a number from 1 to 65535")
        }
        None => Err(Refusal::Type("a port number without quotes")),
    }
}

fn nice(raw: &Raw) -> Result<Value, Refusal> {
    match integer(raw) {
        Some(number @ 0..=19) => Ok(Value::Integer(number as u64)),
        Some(number) => refuse(
            format!("is {number}, and a miner never stands before other programs nor behind the last"),
            "write a number from 0 (not at all) to 19 (the most); 10 is the default",
        ),
        None => Err(Refusal::Type("a number from 0 to 19 without quotes")),
    }
}

fn temperature(raw: &Raw) -> Result<Value, Refusal> {
    match integer(raw) {
        Some(number @ 30..=120) => Ok(Value::Integer(number as u64)),
        Some(number) => refuse(
            format!("is {number}, and no card is to be kept at that"),
            "write degrees Celsius, a number from 30 to 120; many cards slow down by themselves from about 85",
        ),
        None => Err(Refusal::Type("a number of degrees Celsius without quotes")),
    }
}

fn devices(raw: &Raw) -> Result<Value, Refusal> {
    let expected = "a list of devices in quotes";
    let Raw::List(items) = raw else { return Err(Refusal::Type(expected)) };
    let mut devices = Vec::with_capacity(items.len());
    for item in items {
        let written = match item {
            Raw::Text(text) => text.clone(),
            Raw::Integer(number) => number.to_string(),
            _ => return Err(Refusal::Type(expected)),
        };
        match written.parse::<Device>() {
            Ok(device) if devices.contains(&device.to_string()) => {
                return refuse(format!("names {} twice", quote(&written)), "name each device once");
            }
            Ok(device) => devices.push(device.to_string()),
            Err(err) => {
                return refuse(format!("names {}, which is no device", quote(&written)), err.to_string());
            }
        }
    }
    Ok(Value::List(devices))
}

fn permissions(raw: &Raw) -> Result<Value, Refusal> {
    let texts = list(raw, "a list of permissions in quotes")?;
    for text in &texts {
        if let Err(err) = text.parse::<Permission>() {
            return refuse(
                format!("grants nothing that exists: {err}"),
                "write them like this: [\"device:/dev/dri/renderD128\"]",
            );
        }
    }
    Ok(Value::List(texts))
}

fn flag(raw: &Raw) -> Result<Value, Refusal> {
    match raw {
        Raw::Flag(flag) => Ok(Value::Flag(*flag)),
        Raw::Word(word) if word == "true" || word == "1" => Ok(Value::Flag(true)),
        Raw::Word(word) if word == "false" || word == "0" => Ok(Value::Flag(false)),
        _ => Err(Refusal::Type("true or false without quotes")),
    }
}

fn submit_target(text: &str) -> Result<Value, Refusal> {
    let fix = "write \"solo\", \"devnet\" or \"pool:stratum+ssl://pool.example:3333\"";
    match text.split_once(':') {
        None if text == "solo" || text == "devnet" => {}
        None if text == "pool" => return refuse("says `pool` but not which", fix),
        Some(("pool", "")) => return refuse("says `pool:` without a URL", fix),
        // OpenJarvis' own example names a web address. It is read, and refused when it is to be mined for.
        Some(("pool", address)) if address.starts_with("http://") || address.starts_with("https://") => {
            url(address)?;
        }
        Some(("pool", address)) => {
            if let Err((problem, right)) = PoolUrl::parse(address) {
                let right = quote(&format!("pool:{right}"));
                let secret = problem.contains("password");
                let env =
                    if secret { "; secrets belong into a variable that `password_env` names" } else { "" };
                return refuse(problem, format!("write it like this: {right}{env}"));
            }
        }
        _ => return refuse(format!("is {}, which is no place to submit to", quote(text)), fix),
    }
    Ok(Value::Text(text.to_owned()))
}

fn one_of(text: &str, words: &[&str]) -> Result<Value, Refusal> {
    if words.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    refuse(format!("is {}", quote(text)), format!("write one of: {}", words.join(", ")))
}

/// Checks `http[s]://host[:port][/path]`, without user or password.
fn url(text: &str) -> Result<(), Refusal> {
    let schemes = ["http", "https"];
    let fix = "write it like this: \"https://localhost:44107\"";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(UrlError::NoScheme) => return refuse("has no scheme (the part before `://`)", fix),
        // The text is not repeated: it holds a secret.
        Err(UrlError::Secret) => {
            return refuse(
                "holds a user name or password",
                "keep secrets out of the file: give the name of an environment variable in the `…_password_env` key",
            );
        }
        Err(UrlError::Host(host)) => {
            return refuse(format!("has {} where the host should be", quote(&host)), fix);
        }
        Err(UrlError::Port(port)) => {
            return refuse(format!("has the port {}, a port is 1 to 65535", quote(&port)), fix);
        }
        Err(UrlError::Malformed) => return refuse("holds a character that stands in no address", fix),
    };
    let scheme = url.scheme.as_str();
    if !schemes.contains(&scheme) {
        return refuse(format!("has the scheme {}, known are {}", quote(scheme), schemes.join(", ")), fix);
    }
    Ok(())
}

fn loopback(text: &str) -> Result<Value, Refusal> {
    let fix = "write it like this: \"127.0.0.1:9109\"";
    let address: SocketAddr = match text.replace("localhost:", "127.0.0.1:").parse() {
        Ok(address) => address,
        Err(_) => return refuse(format!("is {}, which is not an address with a port", quote(text)), fix),
    };
    if !address.ip().is_loopback() {
        return refuse(
            format!("is {}, which is not a loopback address, and metrics ask for no password", quote(text)),
            "listen on 127.0.0.1 and let a proxy of yours publish it",
        );
    }
    if address.port() == 0 {
        return refuse("has the port 0, a port is 1 to 65535", fix);
    }
    Ok(Value::Text(address.to_string()))
}

/// The longest time that a setting may be.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Units in which times are written.
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// A size in bytes: a whole number and a unit, which is never left out and never decimal.
fn measured(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    match humantime::parse_duration(text) {
        // Kept in whole milliseconds, which is what can be written back.
        Ok(time) if time < Duration::from_millis(1) => {
            refuse("is no time at all", "give a time above zero: \"10s\"")
        }
        Ok(time) if time > DURATION_MAX => refuse("is longer than a day", "give a shorter time: \"10s\""),
        Ok(time) => Ok(Duration::from_millis(u64::try_from(time.as_millis()).expect("a day at most"))),
        Err(_) => refuse(
            format!("is {}, which is not a length of time", quote(text)),
            "write a number and ms, s, m or h: \"10s\"",
        ),
    }
}

fn size(text: &str) -> Result<u64, Refusal> {
    match measured(text) {
        Some(bytes) if bytes >= 64 << 10 => Ok(bytes),
        Some(_) => refuse("is too small to be of use", "give at least \"64KiB\""),
        None => refuse(
            format!("is {}, which is not a size", quote(text)),
            "write a whole number and KiB, MiB or GiB: \"16MiB\"",
        ),
    }
}

/// The shortest way to write `duration` that reads back as the same.
fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    unit_text(millis, TIME_UNITS)
}

fn size_text(bytes: u64) -> String {
    unit_text(bytes, SIZE_UNITS)
}

fn unit_text(amount: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = units
        .iter()
        .filter(|(_, factor)| amount.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .expect("the smallest unit divides every amount");
    format!("{}{name}", amount / factor)
}

pub(super) fn is_provider_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_miner_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

fn is_env_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// `path` with a leading `~/` replaced by the user's folder.
pub(super) fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_written_as_people_do_and_reads_back_as_it_is_written() {
        for (text, millis, written) in [
            ("10s", 10_000, "10s"),
            ("500ms", 500, "500ms"),
            ("2 m", 120_000, "2m"),
            ("1h30m", 5_400_000, "90m"),
            ("1.5s", 1500, "1500ms"),
            ("1ms 700us", 1, "1ms"),
            ("1 day", 86_400_000, "24h"),
        ] {
            let time = duration(text).expect(text);
            assert_eq!(
                (time, duration_text(time).as_str()),
                (Duration::from_millis(millis), written),
                "{text}"
            );
            assert_eq!(duration(written).ok(), Some(time));
        }
        for text in
            ["", "10", "-1s", "s", "0", "0s", "900us", "25h", "1M", "1e3s", "99999999999999999999h", "10S"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
