//! What a report to others must not hold: values of secrets, whole wallet addresses, names of people in paths.
//!
//! A plain function of text. It knows the secrets that the configuration and the environment name, in each form that text
//! has them in, and the shapes of those that nobody named: a key that calls itself a password, what stands before the `@` of
//! an address, the query behind one, and what is in `shapes`.
//!
//! # Limitations
//!
//! A secret that nobody named, in a place that has no shape, is not recognised: whoever sends a report reads it first.

mod shapes;

use crate::config::Config;
use crate::home::Env;

/// Shorter values are not blotted out: they would tear holes into ordinary text.
const SECRET_BYTES_MIN: usize = 4;
/// Words in the name of a variable or a key, written without its dashes, that say that its value is nobody else's business.
const TELLTALES: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "authkey",
    "private",
    "credential",
    "authorization",
    "cookie",
    "mnemonic",
];
/// Such names are short, and only ends of longer ones.
const TELLTALE_ENDS: [&str; 4] = ["pass", "pwd", "rpcuser", "rpcauth"];
/// The name that pearld gives whoever asks it, where nobody has chosen another.
const DEFAULT_USER: &str = "rpcuser";
/// Names that only look like it.
const HARMLESS: [&str; 1] = ["tokeniz"];
/// Words in front of a secret that is called nothing else.
const SCHEMES: [&str; 3] = ["Basic", "Bearer", "Digest"];
/// What stands in the place of something hidden.
const HIDDEN: &str = "[hidden]";
/// Shortest run of letters and digits after the prefix that is taken for an address.
const ADDRESS_CHARS_MIN: usize = 20;
/// What addresses begin with, on every network.
const ADDRESS_PREFIXES: [&str; 4] = ["prl1", "tprl1", "rprl1", "sprl1"];
/// Where the homes of people are.
const HOMES: [&str; 2] = ["/home/", "/Users/"];
/// Names of accounts that are nobody's own.
const ROLES: [&str; 14] = [
    "root", "pearlbed", "pearl", "miner", "mining", "user", "admin", "ubuntu", "debian", "nobody", "gateway",
    "node", "pool", "home",
];
/// Whom files may belong to and who is nobody.
const NOBODIES: [&str; 7] = ["root", "pearlbed", "nobody", "you", "this", "user", "another"];

/// Takes out of text what is nobody else's business.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// Gone wherever they stand, the longest first.
    secrets: Vec<String>,
    /// Who is paid, in whatever form: shortened wherever it stands.
    payees: Vec<String>,
    home: Option<String>,
    /// Whose account this is, where that is a person's.
    user: Option<String>,
}

impl Redactor {
    /// Knows the secrets in `env`: those that `config` names, and those whose variable calls itself one; and from `config`
    /// who is paid, and who the node takes us for.
    pub fn new(env: &Env, config: Option<&Config>) -> Self {
        let names = config.map(Config::secret_names).unwrap_or_default();
        let named = names.into_iter().filter_map(|name| env.var(name));
        let telling = env.with_prefix("").filter(|(name, _)| is_telltale(name)).map(|(_, value)| value);
        let telling = telling.filter(|value| !is_plain(value));
        let node = config.and_then(|config| config.mining.node.as_ref());
        let user = node.map(|node| node.user.as_str()).filter(|user| *user != DEFAULT_USER);
        let secrets = longest_first(named.chain(telling).chain(user));
        let home =
            env.var("HOME").filter(|home| home.len() > 1).map(|home| home.trim_end_matches('/').to_owned());
        let person = |name: &&str| name.len() >= SECRET_BYTES_MIN && !ROLES.contains(name);
        let user = env.var("USER").or_else(|| env.var("LOGNAME")).filter(person).map(str::to_owned);
        let payees = longest_first(config.map(payees).unwrap_or_default().into_iter());
        Self { secrets: in_each_form(secrets), payees, home, user }
    }

    /// `text` without what it must not hold, line by line as it was.
    pub fn text(&self, text: &str) -> String {
        let mut text = without_values_of_secret_keys(&shapes::without_armoured_keys(text));
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        for payee in &self.payees {
            text = text.replace(payee.as_str(), &shortened(payee));
        }
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let line = shapes::without_shapes(line);
            let line = without_parts_of_addresses(&line);
            let line = with_short_wallets(&line);
            let line = without_users_of_mail(&line);
            let line = match &self.home {
                Some(home) => with_tilde(&line, home),
                None => line,
            };
            let line = HOMES.iter().fold(line, |line, homes| without_words_behind(&line, homes, &[]));
            let line = without_words_behind(&line, "sudo -u ", &NOBODIES);
            let line = match &self.user {
                Some(user) => with_other_word(&line, user, HIDDEN),
                None => line,
            };
            out.push_str(&without_words_behind(&line, " belongs to ", &NOBODIES));
        }
        out
    }
}

/// Those that are long enough, the longest first: one may hold another.
fn longest_first<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut values: Vec<String> =
        values.filter(|value| value.len() >= SECRET_BYTES_MIN).map(str::to_owned).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    values
}

/// Secrets as other texts have them as well: JSON and lists of words write some characters in another way, and so do
/// addresses.
fn in_each_form(secrets: Vec<String>) -> Vec<String> {
    let mut all = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let quoted = serde_json::to_string(&secret).unwrap_or_default();
        let quoted = quoted.trim_matches('"').to_owned();
        let percent = secret.bytes().fold(String::new(), |out, byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out + &char::from(byte).to_string()
            }
            _ => out + &format!("%{byte:02X}"),
        });
        let forms = [percent.to_lowercase(), percent, secret.escape_default().to_string(), quoted, secret];
        all.extend(forms);
    }
    all.sort_by_key(|form| std::cmp::Reverse(form.len()));
    all.dedup();
    all
}

/// Who is paid by `config`: wallets that no address's form tells, and accounts at pools.
fn payees(config: &Config) -> Vec<&str> {
    let mining = &config.mining;
    let manners =
        std::iter::once(&mining.pool.manner).chain(mining.pool.backups.iter().map(|one| &one.manner));
    let wallets = [mining.wallet_address.as_deref(), mining.fee_payout_address.as_deref()];
    wallets.into_iter().flatten().chain(manners.filter_map(|manner| manner.account.as_deref())).collect()
}

/// The ends of `name`, which tell it from another; nothing of a short one.
fn shortened(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() < 16 {
        return HIDDEN.to_owned();
    }
    let (first, last) = (&chars[..8], &chars[chars.len() - 5..]);
    first.iter().chain(['…'].iter()).chain(last).collect()
}

/// Whether a value is an ordinary word or number, which stands in any text.
fn is_plain(value: &str) -> bool {
    let number = value.len() < 6 && value.chars().all(|c| c.is_ascii_digit());
    number || ["true", "false", "null", "none", DEFAULT_USER].contains(&value.to_ascii_lowercase().as_str())
}

/// Whether something of this name is a secret. What ends in `_env` is the name of a variable, and no secret.
fn is_telltale(name: &str) -> bool {
    let name: String = name.to_ascii_lowercase().chars().filter(|c| !"-_.".contains(*c)).collect();
    let tells = |name: &str| {
        TELLTALES.iter().any(|word| name.contains(word))
            || TELLTALE_ENDS.iter().any(|end| name.ends_with(end))
    };
    !name.ends_with("env") && tells(&name) && !HARMLESS.iter().any(|word| name.contains(word))
}

/// What follows a key that calls itself a secret: `password = "…"`, `"password": "…"`, `password=…` in the middle of a line,
/// `["--password", "…"]` over two lines, `Authorization: Basic …`.
fn without_values_of_secret_keys(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        out.push_str(before);
        out.push_str(word);
        rest = after;
        if let Some((kept, hidden)) = value_behind(word, after) {
            out.push_str(&after[..kept]);
            out.push_str(HIDDEN);
            rest = &after[kept + hidden..];
        }
    }
    out + rest
}

/// Where in `after`, the text behind the name `word`, its value stands if that is a secret: how many bytes are before it,
/// and how many it has.
fn value_behind(word: &str, after: &str) -> Option<(usize, usize)> {
    let scheme = SCHEMES[1..].contains(&word);
    if !scheme && !is_telltale(word) {
        return None;
    }
    let blanks = |text: &str, which: &[char]| text.len() - text.trim_start_matches(which).len();
    let quoted = after.starts_with(['"', '\'']);
    let mut at = usize::from(quoted);
    let gap = blanks(&after[at..], &[' ', '\t']);
    let flag = scheme || word.starts_with('-');
    match after[at + gap..].chars().next()? {
        ':' if after[at + gap..].starts_with("://") => return None,
        '=' | ':' => at += gap + 1,
        ',' if flag && quoted => {
            at += gap + 1;
            at += blanks(&after[at..], &['\n']);
        }
        _ if flag && gap > 0 && !quoted => at += gap,
        _ => return None,
    }
    at += blanks(&after[at..], &[' ', '\t', '>']);
    let value = &after[at..];
    // What follows a value ends it, and what stands within one does not: `a,b` is one, and so is `a"b`.
    let separates = |c: char| ",;)}]\"'`".contains(c);
    let bare = |text: &str| {
        let word = &text[..text.find(char::is_whitespace).unwrap_or(text.len())];
        word.trim_end_matches(separates).len()
    };
    let length = match value.chars().next()? {
        '\n' | '#' | '{' | ',' => return None,
        quote @ ('"' | '\'') => {
            let line = &value[1..value.find('\n').unwrap_or(value.len()).max(1)];
            let mut escaped = false;
            let end = line.char_indices().find(|&(_, c)| {
                let ends = c == quote && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let length = end.map_or(line.len() + 1, |(end, _)| end + 2);
            if is_plain(value[..length].trim_matches(quote)) {
                return None;
            }
            length
        }
        '[' => value
            .find([']', '\n'])
            .map_or(value.len(), |end| end + usize::from(value[end..].starts_with(']'))),
        _ => {
            let first = bare(value);
            let (name, behind) = value.split_at(first);
            // A count of tokens is none of them.
            if is_plain(name) || name.is_empty() || (word.ends_with("tokens") && name.parse::<f64>().is_ok())
            {
                return None;
            }
            let space = blanks(behind, &[' ']);
            if SCHEMES.contains(&name) { first + space + bare(&behind[space..]) } else { first }
        }
    };
    Some((at, length))
}

/// `somebody@host.example` without who it is.
fn without_users_of_mail(line: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || "._+-".contains(c);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('@') {
        let (before, behind) = rest.split_at(at);
        let name = before.len() - before.trim_end_matches(is_name).len();
        let host = &behind[1..behind[1..].find(|c| !is_name(c)).map_or(behind.len(), |end| end + 1)];
        match name > 0 && host.trim_end_matches('.').contains('.') {
            true => out.extend([&before[..before.len() - name], HIDDEN]),
            false => out.push_str(before),
        }
        out.push('@');
        rest = &behind[1..];
    }
    out + rest
}

/// `line` without the name that follows each `mark`, unless it is one of `known`.
fn without_words_behind(line: &str, mark: &str, known: &[&str]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(mark) {
        let (before, behind) = rest.split_at(at + mark.len());
        out.push_str(before);
        let end = behind.find(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).unwrap_or(behind.len());
        let (name, after) = behind.split_at(end);
        out.push_str(if name.is_empty() || known.contains(&name) { name } else { HIDDEN });
        rest = after;
    }
    out + rest
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
    replaced(line, home, "~", |_, after| !after.is_some_and(|c| c.is_alphanumeric() || "-_.".contains(c)))
}

/// `line` with `other` in the place of the word `name`.
fn with_other_word(line: &str, name: &str, other: &str) -> String {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "-_".contains(c));
    replaced(line, name, other, |before, after| !joins(before) && !joins(after))
}

/// `line` with `other` in the place of `what`, where the characters before and after it allow that.
fn replaced(
    line: &str,
    what: &str,
    other: &str,
    fits: impl Fn(Option<char>, Option<char>) -> bool,
) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(what) {
        let after = &rest[at + what.len()..];
        out.push_str(&rest[..at]);
        let fits = fits(out.chars().next_back(), after.chars().next());
        out.push_str(if fits { other } else { what });
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
    fn a_secret_is_known_in_each_form_and_a_person_by_the_name_of_the_account() {
        let env = Env::of([("MY_PASSWORD", "we\"ird\\pä1"), ("USER", "alice"), ("LOGNAME", "bob")]);
        let redactor = Redactor::new(&env, None);
        let forms = ["we\"ird\\pä1", "we\\\"ird\\\\pä1", "we%22ird%5Cp%C3%A41", "we%22ird%5cp%c3%a41"];
        for form in forms {
            assert_eq!(redactor.text(&format!("says {form}, again")), "says [hidden], again", "{form}");
        }
        assert_eq!(
            redactor.text("user alice, not alices, in /mnt/alice"),
            "user [hidden], not alices, in /mnt/[hidden]"
        );
        let miner = Redactor::new(&Env::of([("USER", "miner")]), None);
        assert_eq!(miner.text("the miner mines"), "the miner mines");
    }

    #[test]
    fn a_key_that_calls_itself_a_secret_has_no_value() {
        for (line, shown) in [
            ("hf_token = \"xyz\"  # file line 3\n", "hf_token = [hidden]  # file line 3\n"),
            ("  \"api_key\": \"x\\\"yz\",\n", "  \"api_key\": [hidden],\n"),
            ("mining.pool.password = x", "mining.pool.password = [hidden]"),
            (
                "pearld_rpc_password_env = \"PEARLD_RPC_PASSWORD\"  # file",
                "pearld_rpc_password_env = \"PEARLD_RPC_PASSWORD\"  # file",
            ),
            ("secrets = [\"a\", \"b\"] # two", "secrets = [hidden] # two"),
            ("12:00:00 info the token is refused", "12:00:00 info the token is refused"),
            ("max_num_batched_tokens = 8192", "max_num_batched_tokens = 8192"),
            ("tokenizer: tokenizer.json", "tokenizer: tokenizer.json"),
            ("threads = 2", "threads = 2"),
            ("pearld_rpc_user = \"rpcuser\"", "pearld_rpc_user = \"rpcuser\""),
            ("pearld_rpc_user = \"me\"", "pearld_rpc_user = [hidden]"),
            ("  ok    secrets      none needed", "  ok    secrets      none needed"),
        ] {
            assert_eq!(redacted(line), shown);
        }
    }

    #[test]
    fn what_others_wrote_into_a_log_has_no_secret_either() {
        for (line, shown) in [
            (
                "2026-11-30T10:12:45Z info  provider    rpcuser=me rpcpass=xyz, again",
                "2026-11-30T10:12:45Z info  provider    rpcuser=[hidden] rpcpass=[hidden], again",
            ),
            ("{ url = \"x\", password = \"a b\", n = 1 }", "{ url = \"x\", password = [hidden], n = 1 }"),
            ("> Authorization: Basic bWU6cHc= sent", "> Authorization: [hidden] sent"),
            ("curl -H 'Bearer abc.def' x", "curl -H 'Bearer [hidden]' x"),
            (
                "command = [\"gw\", \"--rpc-password\", \"xyz\"]",
                "command = [\"gw\", \"--rpc-password\", [hidden]]",
            ),
            (
                "\"vllm_args\": [\n  \"--api-key\",\n  \"xyz\"\n]",
                "\"vllm_args\": [\n  \"--api-key\",\n  [hidden]\n]",
            ),
            ("gw --rpcpass xyz --port 7", "gw --rpcpass [hidden] --port 7"),
            ("password: a,b\"c rpcauth=me:xyz", "password: [hidden] rpcauth=[hidden]"),
            ("write to alice@pool.example.", "write to [hidden]@pool.example."),
            (
                "/home/bob/x belongs to bob: `sudo -u bob`",
                "/home/[hidden]/x belongs to [hidden]: `sudo -u [hidden]`",
            ),
            ("/var/lib/x belongs to root", "/var/lib/x belongs to root"),
        ] {
            assert_eq!(redacted(line), shown);
        }
    }

    #[test]
    fn who_is_paid_and_who_the_node_takes_us_for_come_from_the_configuration() {
        let text = "[mining]\nprovider = \"cpu-pearl\"\nsubmit_target = \"pool:stratum+tcp://h:1\"\n\
             [mining.pool]\naccount = \"alice-of-the-exchange\"\nwallet_unchecked = true\npassword_env = \"POOLPW\"\n\
             [mining.port]\npassword_env = \"PORTPW\"\n[mining.extra]\nhf_token_env = \"MINE\"\n\
             pearld_rpc_url = \"http://127.0.0.1:4\"\npearld_rpc_user = \"alice-rpc\"\n";
        let env = Env::of([("POOLPW", "seven77"), ("PORTPW", "eight88"), ("MINE", "nine999")]);
        let file = std::path::Path::new("/config.toml");
        let config = Config::load(&crate::config::Sources { file, text: Some(text), env: &env, flags: &[] });
        let redactor = Redactor::new(&env, Some(&config.unwrap()));
        assert_eq!(
            redactor.text("seven77 eight88 nine999 alice-rpc alice-of-the-exchange POOLPW"),
            "[hidden] [hidden] [hidden] [hidden] alice-of…hange POOLPW"
        );
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
        assert_eq!(redacted("/home/alice/x, /home/alicea, \"/home/alice\""), "~/x, /home/[hidden], \"~\"");
    }
}
