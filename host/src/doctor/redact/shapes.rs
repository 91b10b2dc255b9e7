//! Secrets that are known by their shape or by the words before them, where neither a variable nor a key names them.
//!
//! # Limitations
//!
//! Guesses, each of which would rather hide a harmless word than show a secret. A private key that is a plain number looks
//! like a hash, and is shown.

use super::HIDDEN;

/// What tokens begin with that somebody gives out, and how long they are at least.
const TOKENS: [(&str, usize); 14] = [
    ("hf_", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("sk-", 20),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("AKIA", 20),
    ("eyJ", 30),
    ("xprv", 50),
    ("zprv", 50),
    ("tprv", 50),
];
/// Shortest word that is taken for a secret where a word before it says so; shorter ones are English.
const TOLD_CHARS_MIN: usize = 6;
/// Flags whose value is `user:password`.
const USER_FLAGS: [&str; 6] = ["-u", "-U", "--user", "--proxy-user", "--auth", "--userpass"];
/// Flags whose value is a password, or a port.
const PASSWORD_FLAGS: [&str; 2] = ["-p", "-P"];
/// Words that a person is led back to his keys by, to the end of the line.
const PHRASES: [&str; 6] =
    ["mnemonic", "seed phrase", "recovery phrase", "seed words", "passphrase", "wallet seed"];

/// What stands between the words of a line.
fn is_edge(c: char) -> bool {
    c.is_whitespace() || "\"'`,;()[]{}<>".contains(c)
}

/// `text` without private keys in their armour.
pub fn without_armoured_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        match inside || begins {
            true if begins => out.extend([HIDDEN, "\n"]),
            true => {}
            false => out.push_str(line),
        }
        inside = (inside || begins) && !line.contains("-----END");
    }
    out
}

/// `line` without what its shape, or a word or a flag before it, says is a secret.
pub fn without_shapes(line: &str) -> String {
    let line = without_phrases(line);
    let line = without_told(&line);
    let line = without_flags(&line);
    words(&without_params(&line), |_, word| is_token(word).then(|| HIDDEN.to_owned()).or_else(|| login(word)))
}

/// Goes through the words of `line`; `change` says what stands in the place of one, given those before it.
fn words(line: &str, mut change: impl FnMut(&[&str], &str) -> Option<String>) -> String {
    let mut out = String::with_capacity(line.len());
    let mut before: Vec<&str> = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c| !is_edge(c)) {
        let (edge, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(is_edge).unwrap_or(from.len()));
        out.push_str(edge);
        match change(&before, word) {
            Some(other) => out.push_str(&other),
            None => out.push_str(word),
        }
        before.push(word);
        rest = after;
    }
    out + rest
}

/// Whether a word is a token that somebody gave out, or a wallet's key as programs exchange it.
fn is_token(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':']);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let token = TOKENS.iter().any(|(start, chars)| word.starts_with(start) && word.len() >= *chars);
    let base58 = |c: char| c.is_ascii_alphanumeric() && !"0OIl".contains(c);
    let mixed = word.chars().any(|c| c.is_ascii_uppercase()) && word.chars().any(|c| c.is_ascii_lowercase());
    let key = (51..=52).contains(&word.len()) && word.starts_with(['5', 'K', 'L', 'c', '9']) && mixed;
    token && word.chars().all(plain) || key && word.chars().all(base58)
}

/// `user:password@host`, without a scheme before it and whatever the password holds.
fn login(word: &str) -> Option<String> {
    let (who, host) = word.rsplit_once('@')?;
    let (user, password) = who.rsplit_once("://").map_or(who, |(_, who)| who).split_once(':')?;
    // A port, and a path with an `@` in it.
    let port = password.split('/').next().is_some_and(|port| port.parse::<u16>().is_ok());
    // An image by its name, its tag and its sum.
    let image = host.starts_with("sha256:");
    let is_login = ![user, password, host].contains(&"") && !port && !image;
    let scheme = &who[..who.rfind("://").map_or(0, |at| at + 3)];
    is_login.then(|| format!("{scheme}{HIDDEN}@{host}"))
}

/// `the password is hunter2`, `token abc123`: a word that nobody would say for anything else.
fn without_told(line: &str) -> String {
    words(line, |before, word| {
        let mut names = before.iter().rev();
        let mut name = names.next()?;
        if ["is", "was", "are", "to", "with", "of"].contains(name) {
            name = names.next()?;
        }
        let told = super::is_telltale(name.trim_end_matches([':', '='])) && looks_made(word);
        told.then(|| HIDDEN.to_owned())
    })
}

/// Whether a word is none of a language: it has a digit, or capitals behind its first letter.
fn looks_made(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':']);
    let digits = word.chars().any(|c| c.is_ascii_digit());
    let letters = word.chars().any(char::is_alphabetic);
    let capitals = word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase);
    word.chars().count() >= TOLD_CHARS_MIN && !word.starts_with('-') && letters && (digits || capitals)
}

/// `-u me:secret`, `-P secret`, also as a list of words.
fn without_flags(line: &str) -> String {
    words(line, |before, word| {
        let flag = before.last()?;
        let numbers = word.split(':').all(|part| part.parse::<u32>().is_ok());
        let login = USER_FLAGS.contains(flag) && word.contains(':') && !word.contains("://") && !numbers;
        let password =
            PASSWORD_FLAGS.contains(flag) && word.parse::<u32>().is_err() && !word.starts_with('-');
        (login || password && !word.contains(['/', ':'])).then(|| HIDDEN.to_owned())
    })
}

/// The end of a line behind words that lead somebody back to his keys.
fn without_phrases(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    for phrase in PHRASES {
        let Some(at) = lower.find(phrase) else { continue };
        let behind = at + phrase.len();
        let Some(colon) = lower[behind..].find([':', '=']).filter(|gap| *gap <= 6) else { continue };
        let value = &line[behind + colon + 1..];
        let ends = value.len() - value.trim_end_matches(['\n', '\r']).len();
        if value.split_whitespace().count() > 1 {
            return format!("{} {HIDDEN}{}", &line[..=behind + colon], &value[value.len() - ends..]);
        }
    }
    line.to_owned()
}

/// What a pool is asked with: `"method":"mining.authorize","params":[…]`.
fn without_params(line: &str) -> String {
    let Some(start) =
        line.find("params").filter(|_| line.contains("authorize") || line.contains("\"login\""))
    else {
        return line.to_owned();
    };
    let Some(open) = line[start..].find(['[', '{']).map(|at| start + at) else { return line.to_owned() };
    let end = line[open..].find([']', '}']).map_or(line.len(), |at| open + at);
    format!("{}{HIDDEN}{}", &line[..=open], &line[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_secrets_shape_is_hidden_and_what_has_another_is_not() {
        for (line, shown) in [
            ("me:p@localhost:44107", "[hidden]@localhost:44107"),
            ("--url=http://u:CMD/SECRET3@localhost:3", "--url=http://[hidden]@localhost:3"),
            ("http://127.0.0.1:9/x@y", "http://127.0.0.1:9/x@y"),
            ("http://a/b@c", "http://a/b@c"),
            ("password is hunter2", "password is [hidden]"),
            ("the token is refused", "the token is refused"),
            ("the secret of this file", "the secret of this file"),
            ("the password was \"hunter2\".", "the password was \"[hidden]\"."),
            ("AWS_SECRET_ACCESS_KEY abc123xyz", "AWS_SECRET_ACCESS_KEY [hidden]"),
            ("curl -u me:hunter2 http://x", "curl -u [hidden] http://x"),
            (
                "[\"gw\", \"-P\", \"hunter\", \"-p\", \"8337\"]",
                "[\"gw\", \"-P\", \"[hidden]\", \"-p\", \"8337\"]",
            ),
            ("docker run -u 1000:1000 x:1@sha256:0a", "docker run -u 1000:1000 x:1@sha256:0a"),
            ("a/b:latest@sha256:0a", "a/b:latest@sha256:0a"),
            ("mnemonic: one two three\n", "mnemonic: [hidden]\n"),
            ("has a mnemonic: yes", "has a mnemonic: yes"),
            (
                "{\"method\":\"mining.authorize\",\"params\":[\"w.rig\",\"pw\"]}",
                "{\"method\":\"mining.authorize\",\"params\":[[hidden]]}",
            ),
            ("key hf_abcdefghijklmnopqrstuvwxyz012345.", "key [hidden]"),
            ("hf_token_env = \"HF\"", "hf_token_env = \"HF\""),
            ("L1aW4aubDFB7yfras2S1mN3bqg9nwySY8nkoLmJebSLD5BWv3ENZ", "[hidden]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w", "[hidden]"),
            ("sha256:96208438a7405a096d8f46e87b0386a7", "sha256:96208438a7405a096d8f46e87b0386a7"),
            (
                "12 tokens, secrets none needed, kernel avx512",
                "12 tokens, secrets none needed, kernel avx512",
            ),
        ] {
            assert_eq!(without_shapes(line), shown);
        }
    }

    #[test]
    fn an_armoured_key_is_gone_whole() {
        let text = "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\nCAQ\n-----END EC PRIVATE KEY-----\nb\n";
        assert_eq!(without_armoured_keys(text), "a\n[hidden]\nb\n");
        let public = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        assert_eq!(without_armoured_keys(public), public);
    }
}
