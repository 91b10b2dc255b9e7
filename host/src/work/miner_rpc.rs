//! The miner RPC as a server has it (protocol section 10): requests read, answers written.
//!
//! Two stand behind it: the devnet's gateway and the miner port. Text in, types out, and back; nothing here does I/O or
//! decides what a proof is worth. A request that does not fit comes back as the answer that it gets, in the protocol's own
//! codes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::U256;
use serde_json::{Map, Value, json};

/// The longest request line, without its newline.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// The code of a refused proof and of a line that is too long.
pub const REFUSED: i64 = -32000;
/// The code of "there is no work".
pub const PAUSED: i64 = -32001;

/// One request.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The id to answer under.
    pub id: Value,
    /// What it asks for.
    pub what: Asked,
}

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// `getMiningInfo`.
    Job,
    /// `submitPlainProof`.
    Proof(Box<Submitted>),
}

/// A proof, and the job as it was echoed.
#[derive(Debug, PartialEq)]
pub struct Submitted {
    /// The 76 header bytes.
    pub header: [u8; 76],
    /// The target, as near as a floating-point number is.
    pub target: f64,
    /// Plain proof bytes, not decoded.
    pub proof: Vec<u8>,
}

/// Reads one line.
///
/// # Errors
///
/// The answer to a line that is no request, or one that is not known.
pub fn read(line: &str) -> Result<Request, String> {
    let Envelope { id, method, params } = read_envelope(line)?;
    let what = match method.as_str() {
        "getMiningInfo" if params.is_empty() => Asked::Job,
        "getMiningInfo" => return Err(error(&id, -32602, "Invalid params", Some("takes none"))),
        "submitPlainProof" => match read_submission(&params) {
            Ok(submitted) => Asked::Proof(Box::new(submitted)),
            Err(data) => return Err(error(&id, -32602, "Invalid params", Some(&data))),
        },
        method => {
            let method = crate::text::foreign(method);
            return Err(error(&id, -32601, &format!("Method {method} not found"), None));
        }
    };
    Ok(Request { id, what })
}

/// A request that fits the envelope.
struct Envelope {
    id: Value,
    method: String,
    params: Map<String, Value>,
}

/// Checks the envelope: `jsonrpc`, `method` and `id` are required, `params` is optional, nothing else is allowed.
fn read_envelope(line: &str) -> Result<Envelope, String> {
    let value: Value = serde_json::from_str(line)
        .map_err(|err| error(&Value::Null, -32700, "Parse error", Some(&err.to_string())))?;
    let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or(Value::Null);
    let invalid = |data: &str| error(&id, -32600, "Invalid Request", Some(data));
    let Value::Object(mut members) = value else { return Err(invalid("not an object")) };
    if members.remove("jsonrpc") != Some(Value::from("2.0")) {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    let Some(Value::String(method)) = members.remove("method") else {
        return Err(invalid("`method` must be a string"));
    };
    match members.remove("id") {
        Some(Value::String(_) | Value::Number(_) | Value::Null) => {}
        _ => return Err(invalid("`id` must be a string, a number or null")),
    }
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(invalid("`params` must be an object")),
    };
    if let Some(name) = members.keys().next() {
        return Err(invalid(&format!("unknown member `{}`", crate::text::foreign(name))));
    }
    Ok(Envelope { id, method, params })
}

/// Checks the parameters of `submitPlainProof`; the error is what is wrong with them.
fn read_submission(params: &Map<String, Value>) -> Result<Submitted, String> {
    if let Some(name) = params.keys().find(|name| !matches!(name.as_str(), "plain_proof" | "mining_job")) {
        return Err(format!("unknown member `{}`", crate::text::foreign(name)));
    }
    let bytes = |value: Option<&Value>, name: &str| {
        let text = value.and_then(Value::as_str).ok_or_else(|| format!("`{name}` must be a string"))?;
        BASE64.decode(text).map_err(|_| format!("`{name}` is not base64"))
    };
    let proof = bytes(params.get("plain_proof"), "plain_proof")?;
    let job = params.get("mining_job").and_then(Value::as_object).ok_or("`mining_job` must be an object")?;
    let header = bytes(job.get("incomplete_header_bytes"), "incomplete_header_bytes")?;
    let header = header.try_into().map_err(|_| "`incomplete_header_bytes` is not 76 bytes".to_owned())?;
    let integral = |number: &f64| *number >= 0.0 && number.fract() == 0.0;
    let Some(target) = job.get("target").and_then(Value::as_f64).filter(integral) else {
        return Err("`target` must be a non-negative integer".to_owned());
    };
    if job.get("cert_version").and_then(Value::as_u64).is_none_or(|version| version < 1) {
        return Err("`cert_version` must be an integer of at least 1".to_owned());
    }
    Ok(Submitted { header, target, proof })
}

/// The answer to `getMiningInfo`: `target` is an unscaled little-endian number.
pub fn mining_info(id: &Value, header: &[u8; 76], target: &[u8; 32], certificate_version: u32) -> String {
    format!(
        concat!(
            r#"{{"jsonrpc":"2.0","result":{{"incomplete_header_bytes":"{header}","target":{target},"#,
            r#""cert_version":{version}}},"id":{id}}}"#
        ),
        header = BASE64.encode(header),
        target = U256::from_le_bytes(*target),
        version = certificate_version,
        id = id,
    )
}

/// The answer to a proof that was taken.
pub fn submitted(id: &Value) -> String {
    json!({"jsonrpc": "2.0", "result": "submitted", "id": id}).to_string()
}

/// A refusal.
pub fn error(id: &Value, code: i64, message: &str, data: Option<&str>) -> String {
    let mut error = json!({"code": code, "message": message});
    if let Some(data) = data {
        error["data"] = Value::from(data);
    }
    json!({"jsonrpc": "2.0", "error": error, "id": id}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::gateway::protocol;

    #[test]
    fn what_our_own_client_says_is_read_and_what_is_answered_it_reads() {
        let info = protocol::MiningInfo { header: [7; 76], target: [9; 32], certificate_version: 3 };
        let line = protocol::submit_plain_proof(5, &info, b"proof");
        let Request { id, what: Asked::Proof(read_back) } = read(&line).unwrap() else { panic!("{line}") };
        assert_eq!((id, read_back.header, read_back.proof.as_slice()), (json!(5), [7; 76], &b"proof"[..]));
        assert_eq!(read(&protocol::get_mining_info(1)).unwrap(), Request { id: json!(1), what: Asked::Job });
        let reply = protocol::read_mining_info(&mining_info(&json!(1), &[7; 76], &[9; 32], 3)).unwrap();
        assert_eq!((reply.id, reply.outcome), (Some(1), Ok(info)));
        assert_eq!(protocol::read_submitted(&submitted(&json!(5))).unwrap().outcome, Ok(()));
        let refusal = protocol::read_submitted(&error(&json!(5), REFUSED, "no", None)).unwrap();
        assert_eq!(refusal.outcome.unwrap_err().code, REFUSED);
    }
}
