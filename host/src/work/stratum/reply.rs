//! What a pool's reply to a request means (pool protocol section 3.6).
//!
//! A code means different things at different pools, so the text decides first and the code only where the text says
//! nothing. The order of the rules is the order of the table; the first that fits wins.

use serde_json::Value;

use crate::text::foreign;

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The pool says that it took the share, or the login.
    Accepted,
    /// The pool wants nothing of us for a while.
    Banned {
        /// For how many seconds, where it says so.
        seconds: Option<u64>,
    },
    /// The program's name is not on the pool's list. No retry cures it.
    AgentRefused,
    /// The wallet address does not please the pool. No retry cures it.
    AddressRefused,
    /// The pool does not know who we are.
    Unauthorized,
    /// The pool does not understand the form of the request: the dialect is wrong, not the proof.
    Malformed,
    /// The job is over, for the pool.
    Stale,
    /// The pool has seen this share.
    Duplicate,
    /// The pool's verifier says no.
    Invalid,
    /// The share is above the pool's target.
    LowDifficulty,
    /// No, and nothing else.
    Unexplained,
    /// Neither yes nor no.
    Unclear,
}

impl Class {
    /// One word for tables, JSON and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Banned { .. } => "banned",
            Self::AgentRefused => "agent_refused",
            Self::AddressRefused => "address_refused",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Invalid => "invalid",
            Self::LowDifficulty => "low_difficulty",
            Self::Unexplained => "rejected_unexplained",
            Self::Unclear => "unclear",
        }
    }
}

/// A reply's meaning with what it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The meaning.
    pub class: Class,
    /// The pool's code, where it gave one.
    pub code: Option<i64>,
    /// The pool's words: one line, cleaned, at most 200 characters, perhaps empty.
    pub text: String,
}

impl Verdict {
    /// The pool's words for a sentence, or what their absence means.
    pub fn words(&self) -> String {
        match (self.text.is_empty(), self.code) {
            (false, Some(code)) => format!("{} ({code})", self.text),
            (false, None) => self.text.clone(),
            (true, Some(code)) => format!("code {code} without a text"),
            (true, None) => match self.class {
                Class::Unexplained => "no, without a reason".to_owned(),
                Class::Unclear => "neither yes nor no".to_owned(),
                _ => "yes".to_owned(),
            },
        }
    }
}

/// Judges a reply by its members. `beside` is a text at the top level, which some pools put beside a success and others
/// in the place of an error.
pub fn judge(result: Option<&Value>, error: Option<&Value>, beside: Option<&str>) -> Verdict {
    let error = error.filter(|error| !is_nothing(error));
    let yes = is_yes(result);
    if error.is_none() && yes {
        return Verdict { class: Class::Accepted, code: None, text: foreign(beside.unwrap_or_default()) };
    }
    let (code, text) = match error {
        Some(error) => read_error(error, 0),
        None => (None, beside.unwrap_or_default().to_owned()),
    };
    let class = if error.is_none() && text.is_empty() {
        match result {
            Some(Value::Bool(false)) => Class::Unexplained,
            _ => Class::Unclear,
        }
    } else {
        by_text(&text.to_lowercase(), code)
    };
    Verdict { class, code, text: foreign(&text) }
}

fn is_nothing(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn is_yes(result: Option<&Value>) -> bool {
    let good = |text: &str| text.eq_ignore_ascii_case("ok") || text.eq_ignore_ascii_case("accepted");
    match result {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => good(text),
        Some(Value::Object(members)) => members.get("status").and_then(Value::as_str).is_some_and(good),
        _ => false,
    }
}

/// Code and text of an error: `[code, text, …]`, an object with `message` or `msg`, a text, or one inside the other.
fn read_error(error: &Value, depth: u8) -> (Option<i64>, String) {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let nested = |value: &Value| match value {
        Value::String(text) => (None, text.clone()),
        Value::Array(_) | Value::Object(_) if depth < 3 => read_error(value, depth + 1),
        _ => (None, String::new()),
    };
    match error {
        Value::String(text) => (None, text.clone()),
        Value::Array(items) => {
            let code = items.first().and_then(number);
            let words = match code {
                Some(_) => items.get(1),
                None => items.first(),
            };
            let (inner, text) = words.map(nested).unwrap_or_default();
            (code.or(inner), text)
        }
        Value::Object(members) => {
            let code = members.get("code").and_then(number);
            let (inner, text) =
                members.get("message").or_else(|| members.get("msg")).map(nested).unwrap_or_default();
            (code.or(inner), text)
        }
        other => (number(other), String::new()),
    }
}

/// The rules 2 to 10, on a lower-case text.
fn by_text(text: &str, code: Option<i64>) -> Class {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_word = |wanted: &str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == wanted);
    if is_word("ban") || is_word("banned") {
        return Class::Banned { seconds: seconds_in(text) };
    }
    if text.contains("agent") && has(&["allow", "not supported"]) {
        return Class::AgentRefused;
    }
    if text.contains("address") && text.contains("invalid") {
        return Class::AddressRefused;
    }
    if has(&["authoriz", "authoris", "wallet is missing", "not subscribed"]) {
        return Class::Unauthorized;
    }
    let form = [
        "params must be",
        "unsupported submit",
        "missing plain",
        "bad submit",
        "unknown method",
        "invalid params",
    ];
    if has(&form) || code.is_some_and(|code| (-32799..=-32600).contains(&code) || code == 25) {
        return Class::Malformed;
    }
    if has(&["stale", "job not found", "unknown job", "old job", "chain advanced", "expired"]) {
        return Class::Stale;
    }
    if has(&["duplicate", "already"]) {
        return Class::Duplicate;
    }
    if has(&["jackpot condition", "mismatch", "invalid share", "invalid proof", "below_target"]) {
        return Class::Invalid;
    }
    if has(&["low diff", "above target", "difficulty too low"]) {
        return Class::LowDifficulty;
    }
    match code {
        Some(21) => Class::Stale,
        Some(22) => Class::Duplicate,
        Some(23) => Class::LowDifficulty,
        Some(24) => Class::Unauthorized,
        _ => Class::Invalid,
    }
}

/// The longest ban that is believed: a pool that says more is asked again after a day.
const BAN_SECONDS_MAX: u64 = 86_400;

/// A time in a text, such as "3600 seconds" or "for 10 min", in seconds.
fn seconds_in(text: &str) -> Option<u64> {
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = word.split_at(digits);
        let Ok(number) = number.parse::<u64>() else { continue };
        let unit = if unit.is_empty() { words.peek().copied().unwrap_or_default() } else { unit };
        let factor = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            _ => continue,
        };
        return Some(number.saturating_mul(factor).min(BAN_SECONDS_MAX));
    }
    None
}
