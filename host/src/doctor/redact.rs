//! What a report to others must not hold: values of secrets, whole wallet addresses, names of people in paths.
//!
//! A plain function of text. It knows the secrets that the configuration and the environment name, and the shapes of
//! those that nobody named: a key that calls itself a password, what stands before the `@` of an address, the query
//! behind one.
//!
//! # Limitations
//!
//! A secret that nobody named, in a place that has no shape, is not recognised: whoever sends a report reads it first.

use std::borrow::Cow;

use crate::config::Config;
use crate::home::Env;

/// Shorter values are not blotted out: they would tear holes into ordinary text.
const SECRET_BYTES_MIN: usize = 4;
/// Words in the name of a variable or a key that say that its value is nobody else's business.
const TELLTALES: [&str; 8] =
    ["password", "passwd", "secret", "token", "apikey", "api_key", "private", "credential"];
/// What stands in the place of something hidden.
const HIDDEN: &str = "[hidden]";
/// Shortest run of letters and digits after the prefix that is taken for an address.
const ADDRESS_CHARS_MIN: usize = 20;
/// What addresses begin with, on every network.
const ADDRESS_PREFIXES: [&str; 4] = ["prl1", "tprl1", "rprl1", "sprl1"];

/// Takes out of text what is nobody else's business.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
    home: Option<String>,
}

impl Redactor {
    /// Knows the secrets in `env`: those that `config` names, and those whose variable calls itself one.
    pub fn new(env: &Env, config: Option<&Config>) -> Self {
        let mining = config.map(|config| &config.mining);
        let node = mining.and_then(|mining| mining.node.as_ref()).map(|node| node.password_env.as_str());
        let pools = mining.into_iter().flat_map(|mining| {
            let backups = mining.pool.backups.iter().map(|backup| &backup.manner);
            std::iter::once(&mining.pool.manner).chain(backups)
        });
        let pools = pools.filter_map(|manner| manner.password_env.as_deref());
        let named = node.into_iter().chain(pools).filter_map(|name| env.var(name));
        let telling = env.with_prefix("").filter(|(name, _)| is_telltale(name)).map(|(_, value)| value);
        let mut secrets: Vec<String> =
            named.chain(telling).filter(|value| value.len() >= SECRET_BYTES_MIN).map(str::to_owned).collect();
        // The longest first: one may hold another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        let home =
            env.var("HOME").filter(|home| home.len() > 1).map(|home| home.trim_end_matches('/').to_owned());
        Self { secrets, home }
    }

    /// `text` without what it must not hold, line by line as it was.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let mut line: Cow<'_, str> = line.into();
            for secret in &self.secrets {
                if line.contains(secret.as_str()) {
                    line = line.replace(secret.as_str(), HIDDEN).into();
                }
            }
            let line = without_values_of_secret_keys(&line);
            let line = without_parts_of_addresses(&line);
            let line = with_short_wallets(&line);
            out.push_str(&match &self.home {
                Some(home) => with_tilde(&line, home),
                None => line,
            });
        }
        out
    }
}

/// Whether something of this name is a secret. What ends in `_env` is the name of a variable, and no secret.
fn is_telltale(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.ends_with("_env") && TELLTALES.iter().any(|word| name.contains(word))
}

/// `password = "…"` and `"password": "…"` without their values; one such key a line, as files of settings have it.
fn without_values_of_secret_keys(line: &str) -> String {
    let Some(at) = line.find(['=', ':']) else { return line.to_owned() };
    let key = line[..at].trim().trim_matches(['"', '\'']);
    let key = key.rsplit(['.', ' ', '{', ',', '"']).next().unwrap_or_default();
    let value = &line[at + 1..];
    if key.is_empty() || !is_telltale(key) || value.trim().is_empty() {
        return line.to_owned();
    }
    let end = if line.ends_with('\n') { "\n" } else { "" };
    format!("{} {HIDDEN}{end}", &line[..=at])
}

/// `scheme://user:password@host/path?query` without user, password and query.
fn without_parts_of_addresses(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        out.push_str(before);
        let end = behind.find(|c: char| c.is_whitespace() || "\"'`)<>,".contains(c)).unwrap_or(behind.len());
        let (address, after) = behind.split_at(end);
        let address = match address.split_once('?') {
            Some((address, _)) => format!("{address}?{HIDDEN}"),
            None => address.to_owned(),
        };
        let host_end = address.find('/').unwrap_or(address.len());
        match address[..host_end].rfind('@') {
            Some(at) => {
                out.push_str(HIDDEN);
                out.push_str(&address[at..]);
            }
            None => out.push_str(&address),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Every wallet address shortened to its ends, which is enough to tell it from another.
fn with_short_wallets(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let lower = word.to_ascii_lowercase();
        let address = ADDRESS_PREFIXES
            .iter()
            .any(|prefix| lower.starts_with(prefix) && word.len() >= prefix.len() + ADDRESS_CHARS_MIN);
        match address {
            true => out.extend([&word[..8], "…", &word[word.len() - 5..]]),
            false => out.push_str(word),
        }
        let next = after.chars().next().map_or(0, char::len_utf8);
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

/// Paths below `home` with `~` in its place.
fn with_tilde(line: &str, home: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(home) {
        let after = &rest[at + home.len()..];
        let whole = after.chars().next().is_none_or(|c| !(c.is_alphanumeric() || "-_.".contains(c)));
        out.push_str(&rest[..at]);
        out.push_str(if whole { "~" } else { home });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let env = Env::of([
            ("HOME", "/home/alice"),
            ("PEARLD_RPC_PASSWORD", "hunter2"),
            ("HF_TOKEN", "hunter2-and-more"),
            ("PEARLBED_HOME", "/srv"),
            ("SHORT_SECRET", "abc"),
        ]);
        Redactor::new(&env, None).text(text)
    }

    #[test]
    fn values_of_secrets_are_gone_wherever_they_stand() {
        assert_eq!(
            redacted("a hunter2-and-more b\nhunter2hunter2\nabc /srv"),
            "a [hidden] b\n[hidden][hidden]\nabc /srv"
        );
    }

    #[test]
    fn a_key_that_calls_itself_a_secret_has_no_value() {
        for (line, shown) in [
            ("hf_token = \"xyz\"  # file line 3\n", "hf_token = [hidden]\n"),
            ("  \"api_key\": \"xyz\",\n", "  \"api_key\": [hidden]\n"),
            ("mining.pool.password = x", "mining.pool.password = [hidden]"),
            (
                "pearld_rpc_password_env = \"PEARLD_RPC_PASSWORD\"",
                "pearld_rpc_password_env = \"PEARLD_RPC_PASSWORD\"",
            ),
            ("tokens = 3 # per second", "tokens = [hidden]"),
            ("12:00:00 info the token is refused", "12:00:00 info the token is refused"),
            ("threads = 2", "threads = 2"),
        ] {
            assert_eq!(redacted(line), shown);
        }
    }

    #[test]
    fn addresses_keep_their_host_and_lose_who_asks() {
        for (line, shown) in [
            (
                "url = \"https://me:pw@node.example:44107/x?key=1\", and",
                "url = \"https://[hidden]@node.example:44107/x?[hidden]\", and",
            ),
            ("pool:stratum+tcp://worker@pool.example", "pool:stratum+tcp://[hidden]@pool.example"),
            ("http://127.0.0.1:9/metrics unix:/run/x", "http://127.0.0.1:9/metrics unix:/run/x"),
            ("http://a/b@c http://u@d", "http://a/b@c http://[hidden]@d"),
        ] {
            assert_eq!(redacted(line), shown);
        }
    }

    #[test]
    fn wallets_keep_their_ends_and_paths_lose_whose_they_are() {
        let wallet = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";
        assert_eq!(redacted(&format!("({wallet})")), "(prl1pqqq…8729k)");
        assert_eq!(redacted(&wallet.to_uppercase()), "PRL1PQQQ…8729K");
        assert_eq!(redacted("prl1 is short, ünïcode too"), "prl1 is short, ünïcode too");
        assert_eq!(redacted("/home/alice/x, /home/alicea, \"/home/alice\""), "~/x, /home/alicea, \"~\"");
    }
}
