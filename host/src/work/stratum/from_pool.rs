//! What a line from a pool says (pool protocol sections 3.3, 3.5, 3.8).

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::JOB_ID_BYTES_MAX;
use super::reply::{Verdict, judge};
use crate::text::foreign;
use pearl_pow::{Header, Target};

/// One line of a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum FromPool {
    /// An answer to a request of ours.
    Reply(Reply),
    /// `mining.notify`: a job, or why it is none.
    Job(Result<JobLine, JobError>),
    /// `mining.set_difficulty`: the pool's label, or what it was instead.
    SetDifficulty(Result<f64, String>),
    /// `mining.set_target`: another target for the current job, or what it was instead.
    SetTarget(Result<Target, String>),
    /// A request of the pool's, to be answered under its id (a JSON token).
    Request {
        /// The id to answer under, as JSON text.
        id: String,
        /// What it asks for.
        what: Asked,
    },
    /// A text for people, from `client.show_message` or `pool.info`; cleaned.
    Message(String),
    /// `client.reconnect`: wants us to go to another place.
    Reconnect,
    /// The pool speaks family B: a challenge, or jobs as arrays.
    Positional(&'static str),
    /// A notification that means nothing here; its method, cleaned.
    Unknown(String),
}

/// What a pool asks of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `mining.ping`: wants `"pong"`.
    Ping,
    /// `client.get_version`: wants the agent.
    Version,
    /// Anything else; its method, cleaned.
    Other(String),
}

/// An answer to a request of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's id; `None` where it is null, absent or no number of ours.
    pub id: Option<u64>,
    /// What it means.
    pub verdict: Verdict,
    /// The member `type`, which says in an acknowledgement how proofs are encoded; cleaned.
    pub kind: Option<String>,
}

/// A job as a pool writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobLine {
    /// The pool's name for it: the JSON token as it came, to be echoed byte for byte.
    pub id: String,
    /// The header's 76 bytes.
    pub header: Header,
    /// The unscaled share target, as it was sent.
    pub target: Target,
    /// Height of the block in the making.
    pub height: Option<u64>,
    /// The certificate version, where the pool says it.
    pub certificate_version: Option<u32>,
    /// The pool's label for the difficulty. Labels lie.
    pub label: Option<f64>,
    /// Whether `proof_encodings` lists `gzip`.
    pub takes_gzip: bool,
}

/// Why a job cannot be worked on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum JobError {
    #[error("a job without members")]
    NoMembers,
    #[error("a job without a job_id")]
    NoId,
    #[error("a job whose job_id has {bytes} bytes, more than {JOB_ID_BYTES_MAX}")]
    LongId { bytes: usize },
    #[error("a job whose header has {digits} hex digits instead of 152")]
    HeaderLength { digits: usize },
    #[error("a job whose header is {0}")]
    Header(&'static str),
    #[error("a job whose target is {0}")]
    Target(&'static str),
    #[error("a job whose cert_version is no whole number")]
    CertificateVersion,
}

/// A line that is no message at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotALine(pub String);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    msg: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct JobText<'a> {
    #[serde(borrow, default)]
    job_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    header: Option<&'a RawValue>,
    #[serde(borrow, default)]
    target: Option<&'a RawValue>,
    #[serde(borrow, default)]
    height: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cert_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    diff: Option<&'a RawValue>,
    #[serde(borrow, default)]
    difficulty: Option<&'a RawValue>,
    #[serde(borrow, default)]
    proof_encodings: Option<&'a RawValue>,
}

/// Reads one line of a pool.
///
/// # Errors
///
/// [`NotALine`] with what it is instead: nothing of it is known then.
pub fn read(line: &str) -> Result<FromPool, NotALine> {
    let text = line.trim();
    if !text.starts_with('{') {
        return Err(NotALine(looks_like(text.as_bytes())));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|err| NotALine(format!("a line that is not JSON: {}", foreign(&err.to_string()))))?;
    let Some(method) = envelope.method else {
        if envelope.result.is_none() && envelope.error.is_none() && envelope.id.is_none() {
            return Err(NotALine("a message that is neither a reply nor a notification".to_owned()));
        }
        return Ok(FromPool::Reply(read_reply(&envelope)));
    };
    let Some(method) = text_of(method) else {
        return Err(NotALine("a message whose method is no text".to_owned()));
    };
    let params = envelope.params.map_or("", RawValue::get);
    let message = match method.as_str() {
        "mining.notify" => read_job(params),
        "mining.set_difficulty" => FromPool::SetDifficulty(read_difficulty(params)),
        "mining.set_target" => FromPool::SetTarget(read_set_target(params)),
        "pearl.challenge" => FromPool::Positional("it opens with a challenge"),
        "pearl.set_mining_params" => FromPool::Positional("it dictates the shape of the product"),
        "client.reconnect" => FromPool::Reconnect,
        "client.show_message" | "pool.info" => FromPool::Message(foreign(&words_in(params))),
        _ => match envelope.id {
            None => FromPool::Unknown(foreign(&method)),
            Some(id) => FromPool::Request {
                id: id.get().to_owned(),
                what: match method.as_str() {
                    "mining.ping" => Asked::Ping,
                    "client.get_version" => Asked::Version,
                    other => Asked::Other(foreign(other)),
                },
            },
        },
    };
    // An id that is larger than any of ours would be echoed at length.
    match message {
        FromPool::Request { id, .. } if id.len() > 256 => {
            Err(NotALine("a request with an endless id".to_owned()))
        }
        message => Ok(message),
    }
}

/// What the first bytes of something that is no message look like.
pub fn looks_like(bytes: &[u8]) -> String {
    match bytes {
        [] => "an empty line".to_owned(),
        [0x15 | 0x16, 3, ..] => "this port speaks TLS".to_owned(),
        [b'<', ..] | [b'H', b'T', b'T', b'P', ..] => {
            "this is a web server (HTTP), not a pool's mining port".to_owned()
        }
        [0x1f, 0x8b, ..] => "compressed bytes, not lines".to_owned(),
        [b'[', ..] => "a JSON array, not an object".to_owned(),
        _ => match std::str::from_utf8(&bytes[..bytes.len().min(40)]) {
            Ok(text) => format!("not JSON: {}", foreign(text)),
            Err(_) => "binary bytes, not JSON".to_owned(),
        },
    }
}

fn read_reply(envelope: &Envelope<'_>) -> Reply {
    let value = |raw: Option<&RawValue>| {
        raw.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap_or(Value::Null))
    };
    let beside = envelope.message.or(envelope.msg).and_then(text_of);
    let (result, error) = (value(envelope.result), value(envelope.error));
    Reply {
        id: envelope.id.and_then(read_id),
        verdict: judge(result.as_ref(), error.as_ref(), beside.as_deref()),
        kind: envelope.kind.map(|kind| foreign(&text_of(kind).unwrap_or_else(|| kind.get().to_owned()))),
    }
}

/// An id of ours: a number, also as text or with a point.
fn read_id(raw: &RawValue) -> Option<u64> {
    whole_number(raw)
}

/// A whole number of at most 2^53, whether it is written `7`, `7.0` or `"7"`.
fn whole_number(raw: &RawValue) -> Option<u64> {
    let text = raw.get();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Ok(number) = text.parse::<u64>() {
        return Some(number);
    }
    let number = text.parse::<f64>().ok()?;
    let fits = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    fits.then_some(number as u64)
}

fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The text among a message's parameters, wherever it is.
fn words_in(params: &str) -> String {
    fn first(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => items.iter().find_map(first),
            Value::Object(members) => members.values().find_map(first),
            _ => None,
        }
    }
    serde_json::from_str(params).ok().and_then(|value| first(&value)).unwrap_or_default()
}

/// The object among parameters: they are one, or a list of nothing but one.
fn object_in(params: &str) -> Option<&str> {
    let params = params.trim();
    match params.as_bytes().first() {
        Some(b'{') => Some(params),
        Some(b'[') => {
            let [only]: [&RawValue; 1] =
                serde_json::from_str::<Vec<&RawValue>>(params).ok()?.try_into().ok()?;
            only.get().starts_with('{').then(|| only.get())
        }
        _ => None,
    }
}

fn read_job(params: &str) -> FromPool {
    let Some(object) = object_in(params) else {
        return if params.trim_start().starts_with('[') && params.trim() != "[]" {
            FromPool::Positional("its jobs are arrays")
        } else {
            FromPool::Job(Err(JobError::NoMembers))
        };
    };
    let job =
        serde_json::from_str(object).map_err(|_| JobError::NoMembers).and_then(|job| read_members(&job));
    FromPool::Job(job)
}

fn read_members(job: &JobText<'_>) -> Result<JobLine, JobError> {
    let id = job.job_id.ok_or(JobError::NoId)?.get();
    // A name that is a list or an object is none.
    if id.starts_with(['[', '{']) {
        return Err(JobError::NoId);
    }
    if id.len() > JOB_ID_BYTES_MAX {
        return Err(JobError::LongId { bytes: id.len() });
    }
    let header = job.header.ok_or(JobError::Header("missing"))?;
    let header = text_of(header).ok_or(JobError::Header("no text"))?;
    if header.len() != 2 * Header::LEN {
        return Err(JobError::HeaderLength { digits: header.len() });
    }
    let header = Header::from_hex(&header).map_err(|_| JobError::Header("not hex"))?;
    let target = job.target.ok_or(JobError::Target("missing"))?;
    let target = read_target(target).map_err(JobError::Target)?;
    let certificate_version = match job.cert_version {
        None => None,
        Some(raw) => {
            let version = whole_number(raw).and_then(|version| u32::try_from(version).ok());
            Some(version.ok_or(JobError::CertificateVersion)?)
        }
    };
    let label = job.diff.or(job.difficulty).and_then(|raw| raw.get().trim_matches('"').parse().ok());
    let encodings: Vec<String> =
        job.proof_encodings.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    Ok(JobLine {
        id: id.to_owned(),
        header,
        target,
        height: job.height.and_then(whole_number),
        certificate_version,
        label: label.filter(|label: &f64| label.is_finite()),
        takes_gzip: encodings.iter().any(|encoding| encoding == "gzip"),
    })
}

/// An unscaled target: 1 to 64 hex digits, most significant first, perhaps after `0x`, and not zero.
fn read_target(raw: &RawValue) -> Result<Target, &'static str> {
    let text = text_of(raw).ok_or("no text")?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    if digits.len() > 64 {
        return Err("longer than 64 hex digits");
    }
    let target = Target::from_hex(digits).map_err(|_| "not hex")?;
    if target.0.is_zero() { Err("zero") } else { Ok(target) }
}

/// `[x]` or `{name: x}`.
fn one_value<'a>(params: &'a str, name: &str) -> Option<&'a RawValue> {
    match params.trim().as_bytes().first()? {
        b'[' => serde_json::from_str::<Vec<&RawValue>>(params).ok()?.into_iter().next(),
        b'{' => {
            let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(params).ok()?;
            members.get(name).copied()
        }
        _ => None,
    }
}

fn read_difficulty(params: &str) -> Result<f64, String> {
    let raw = one_value(params, "difficulty").ok_or("no number")?;
    let number = raw.get().trim_matches('"').parse::<f64>().map_err(|_| foreign(raw.get()))?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err(foreign(raw.get())) }
}

fn read_set_target(params: &str) -> Result<Target, String> {
    let raw = one_value(params, "target").ok_or("missing")?;
    read_target(raw).map_err(str::to_owned)
}
