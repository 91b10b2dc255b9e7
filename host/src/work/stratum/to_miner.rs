//! The lines that a pool sends to its clients: the server's half of the dialect (pool protocol sections 3.3, 3.5, 3.6,
//! 3.8). None ends with a newline.

use pearl_pow::{Header, Target};

use super::quoted;

/// A job for a client.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The job's name.
    pub id: &'a str,
    /// The header that is mined.
    pub header: &'a Header,
    /// The unscaled share target.
    pub target: Target,
    /// Height of the block in the making.
    pub height: Option<u64>,
    /// The certificate version.
    pub certificate_version: u32,
    /// The pool's label for the difficulty.
    pub label: f64,
}

/// `mining.notify`.
pub fn notify(job: &Job<'_>) -> String {
    let height = job.height.map(|height| format!(r#""height":{height},"#)).unwrap_or_default();
    format!(
        r#"{{"id":null,"method":"mining.notify","params":{{"job_id":{},"header":"{}","target":"{}",{height}"cert_version":{},"diff":{}}}}}"#,
        quoted(job.id),
        job.header,
        job.target,
        job.certificate_version,
        super::target::difficulty_text(job.label),
    )
}

/// `mining.set_difficulty`.
pub fn set_difficulty(difficulty: f64) -> String {
    let number = super::target::difficulty_text(difficulty);
    format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{number}]}}"#)
}

/// The acknowledgement of an authorize; `encoding` says how proofs are to travel, where the server says so.
pub fn acknowledge(id: &str, encoding: Option<&str>) -> String {
    let kind = encoding.map(|kind| format!(r#","type":{}"#, quoted(kind))).unwrap_or_default();
    format!(r#"{{"id":{id},"error":null,"result":true{kind}}}"#)
}

/// A yes.
pub fn accept(id: &str) -> String {
    format!(r#"{{"id":{id},"result":true,"error":null}}"#)
}

/// A text as a result, such as `pong`.
pub fn answer(id: &str, text: &str) -> String {
    format!(r#"{{"id":{id},"result":{},"error":null}}"#, quoted(text))
}

/// A no, with a code and a text, in the form that most pools use.
pub fn refuse(id: &str, code: i64, text: &str) -> String {
    format!(r#"{{"id":{id},"result":null,"error":[{code},{},null]}}"#, quoted(text))
}
