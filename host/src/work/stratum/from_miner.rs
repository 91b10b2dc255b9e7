//! What a line from a client of a pool says: the server's half of the dialect (pool protocol sections 3.2, 3.6, 3.8).
//!
//! Every form that clients are known to use is read; what a server refuses is the server's decision.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::JOB_ID_BYTES_MAX;
use super::from_pool::NotALine;
use super::to_pool::Dialect;
use crate::text::foreign;

/// One line of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromMiner {
    /// The id to answer under, as JSON text; `null` where it has none.
    pub id: String,
    /// What it asks for.
    pub what: Request,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `mining.authorize`.
    Authorize(Credentials),
    /// `mining.submit`.
    Submit(Share),
    /// `mining.subscribe`, with the agent where it was given; cleaned.
    Subscribe(String),
    /// `mining.ping`.
    Ping,
    /// The method is known and the parameters are not; why.
    Malformed(String),
    /// Anything else; its method, cleaned.
    Other(String),
}

/// Who a client says it is. As it was given: not cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// How it was said.
    pub dialect: Dialect,
    /// Who is to be paid; with the worker, in the array form.
    pub wallet: String,
    /// Name of the machine; may be empty.
    pub worker: String,
    /// Name and version of the program; may be empty.
    pub agent: String,
    /// Password or options; may be empty.
    pub password: String,
    /// The encoding that it asks for (`type`).
    pub wants: Option<String>,
}

/// A share. As it was given: not cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whether the parameters were an array, as family B and older clients have them.
    pub positional: bool,
    /// The wallet, where it was given.
    pub wallet: Option<String>,
    /// The worker, where it was given; in some profiles `wallet.worker`.
    pub worker: Option<String>,
    /// The job's name, as JSON text.
    pub job_id: String,
    /// The proof as text.
    pub proof: String,
    /// `proof_encoding`, where it was given.
    pub encoding: Option<String>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct LoginText {
    wallet: Option<String>,
    #[serde(default)]
    worker: String,
    #[serde(default)]
    agent: String,
    #[serde(default)]
    pass: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct ShareText<'a> {
    wallet: Option<String>,
    worker: Option<String>,
    #[serde(borrow)]
    job_id: Option<&'a RawValue>,
    plain_proof: Option<String>,
    proof_encoding: Option<String>,
}

/// Reads one line of a client.
///
/// # Errors
///
/// [`NotALine`] with what it is instead.
pub fn read(line: &str) -> Result<FromMiner, NotALine> {
    let envelope: Envelope<'_> = serde_json::from_str(line)
        .map_err(|err| NotALine(format!("not a request: {}", foreign(&err.to_string()))))?;
    let id = match envelope.id.map(RawValue::get) {
        Some(id) if id.len() <= 64 && !id.starts_with(['[', '{']) => id.to_owned(),
        None => "null".to_owned(),
        Some(_) => return Err(NotALine("an id that is no number and no short text".to_owned())),
    };
    let params = envelope.params.map_or("", RawValue::get);
    let positional = params.trim_start().starts_with('[');
    let what = match envelope.method.as_str() {
        "mining.authorize" => read_authorize(params, positional),
        "mining.submit" => read_share(params, positional),
        "mining.subscribe" => {
            let words: Vec<String> = serde_json::from_str(params).unwrap_or_default();
            Request::Subscribe(words.first().map(|word| foreign(word)).unwrap_or_default())
        }
        "mining.ping" => Request::Ping,
        other => Request::Other(foreign(other)),
    };
    Ok(FromMiner { id, what })
}

fn read_authorize(params: &str, positional: bool) -> Request {
    if positional {
        let words: Vec<String> = serde_json::from_str(params).unwrap_or_default();
        let mut words = words.into_iter();
        let Some(user) = words.next() else { return Request::Malformed("no user".to_owned()) };
        let password = words.next().unwrap_or_default();
        return Request::Authorize(Credentials {
            dialect: Dialect::Array,
            wallet: user,
            worker: String::new(),
            agent: String::new(),
            password,
            wants: None,
        });
    }
    match serde_json::from_str::<LoginText>(params) {
        Err(_) => Request::Malformed("params must be an object".to_owned()),
        Ok(LoginText { wallet: None, .. }) => Request::Malformed("Wallet is missing".to_owned()),
        Ok(LoginText { wallet: Some(wallet), worker, agent, pass, kind }) => {
            Request::Authorize(Credentials {
                dialect: Dialect::Object,
                wallet,
                worker,
                agent,
                password: pass,
                wants: kind,
            })
        }
    }
}

fn read_share(params: &str, positional: bool) -> Request {
    let missing = |what: &str| Request::Malformed(format!("Missing {what}"));
    if positional {
        let items: Vec<&RawValue> = serde_json::from_str(params).unwrap_or_default();
        let [user, job_id, proof, ..] = items.as_slice() else { return missing("plain_proof") };
        let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
        let Some(proof) = text(proof) else { return missing("plain_proof") };
        return Request::Submit(Share {
            positional,
            wallet: None,
            worker: text(user),
            job_id: job_id.get().to_owned(),
            proof,
            encoding: None,
        });
    }
    let Ok(share) = serde_json::from_str::<ShareText<'_>>(params) else {
        return Request::Malformed("Unsupported submit format".to_owned());
    };
    let Some(job_id) = share.job_id.filter(|id| id.get().len() <= JOB_ID_BYTES_MAX) else {
        return missing("job_id");
    };
    let Some(proof) = share.plain_proof else { return missing("plain_proof") };
    Request::Submit(Share {
        positional,
        wallet: share.wallet,
        worker: share.worker,
        job_id: job_id.get().to_owned(),
        proof,
        encoding: share.proof_encoding,
    })
}
