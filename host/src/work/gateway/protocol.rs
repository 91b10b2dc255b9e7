//! The lines of the miner RPC (protocol section 10): what is asked, and what an answer says.
//!
//! Text in, types out; nothing here does I/O. Unknown members are tolerated everywhere. The target is a JSON integer
//! of up to 256 bits, which no number type of a JSON library holds, so it is read from its digits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::U256;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use crate::text::foreign as bounded;

/// The longest line that the gateway reads, without its newline.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What `getMiningInfo` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiningInfo {
    /// The 76 header bytes.
    pub header: [u8; 76],
    /// The unscaled target as a little-endian number.
    pub target: [u8; 32],
    /// The certificate version; the oldest gateways do not say, and mean 1.
    pub certificate_version: u32,
}

/// One reply, matched by its id by whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// The request's id; `None` when the gateway could not tell which request it answers.
    pub id: Option<u64>,
    /// The result, or the gateway's refusal.
    pub outcome: Result<T, RpcError>,
}

/// A refusal of the gateway (protocol section 10.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// The code.
    pub code: i64,
    /// The text, made harmless and bounded.
    pub message: String,
}

impl RpcError {
    /// Whether the gateway merely has no work just now.
    pub fn is_paused(&self) -> bool {
        self.code == -32001
    }

    /// Whether the same request may well succeed later.
    pub fn is_passing(&self) -> bool {
        self.is_paused() || self.code == -32000 && self.message.contains("queue full")
    }
}

/// A line that is not what the protocol says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Garbled(pub String);

/// The request for the job on offer.
pub fn get_mining_info(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"getMiningInfo","params":{{}},"id":{id}}}"#)
}

/// The hand-over of a proof. The job is echoed whole: every gateway since the second certificate wants its version.
pub fn submit_plain_proof(id: u64, info: &MiningInfo, proof: &[u8]) -> String {
    format!(
        concat!(
            r#"{{"jsonrpc":"2.0","method":"submitPlainProof","id":{id},"params":{{"plain_proof":"{proof}","#,
            r#""mining_job":{{"incomplete_header_bytes":"{header}","target":{target},"cert_version":{version}}}}}}}"#
        ),
        id = id,
        proof = BASE64.encode(proof),
        header = BASE64.encode(info.header),
        target = U256::from_le_bytes(info.target),
        version = info.certificate_version,
    )
}

#[derive(Deserialize)]
struct Envelope<'a> {
    // Present but null, and absent, are the same to us.
    #[serde(default)]
    id: serde_json::Value,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct MiningInfoText<'a> {
    incomplete_header_bytes: String,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    cert_version: Option<u32>,
}

/// Reads a reply to `getMiningInfo`.
///
/// # Errors
///
/// [`Garbled`] when the line is no such reply.
pub fn read_mining_info(line: &str) -> Result<Reply<MiningInfo>, Garbled> {
    read(line, |result| {
        let text: MiningInfoText<'_> = serde_json::from_str(result.get())
            .map_err(|err| Garbled(format!("a job that is none: {err}")))?;
        let header: [u8; 76] = BASE64
            .decode(&text.incomplete_header_bytes)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Garbled("a header that is not 76 bytes in base64".to_owned()))?;
        let target = match text.target {
            Some(digits) => read_target(digits.get())?,
            // The gateway guarantees the two to be equal.
            None => pearl_pow::Header::from_bytes(header).nbits().target().to_le_bytes(),
        };
        Ok(MiningInfo { header, target, certificate_version: text.cert_version.unwrap_or(1) })
    })
}

/// Reads a reply to `submitPlainProof`. Any result counts as taken: today's gateways say `"submitted"`.
///
/// # Errors
///
/// [`Garbled`] when the line is no reply at all.
pub fn read_submitted(line: &str) -> Result<Reply<()>, Garbled> {
    read(line, |_| Ok(()))
}

fn read<T>(line: &str, result: impl FnOnce(&RawValue) -> Result<T, Garbled>) -> Result<Reply<T>, Garbled> {
    let envelope: Envelope<'_> =
        serde_json::from_str(line).map_err(|err| Garbled(format!("a line that is not a reply: {err}")))?;
    let id = envelope.id.as_u64();
    let outcome = match (envelope.error, envelope.result) {
        (Some(error), _) => Err(RpcError { code: error.code, message: bounded(&error.message) }),
        (None, Some(value)) => Ok(result(value)?),
        (None, None) => return Err(Garbled("a reply without result and error".to_owned())),
    };
    Ok(Reply { id, outcome })
}

/// The exact number behind up to 78 decimal digits.
fn read_target(digits: &str) -> Result<[u8; 32], Garbled> {
    let plain = !digits.is_empty() && digits.len() <= 78 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| U256::from_str_radix(digits, 10).ok())
        .flatten()
        .map(|target| target.to_le_bytes::<32>())
        .ok_or_else(|| Garbled(format!("a target that is no 256-bit integer: {}", bounded(digits))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of protocol section 10.1, as a gateway writes it.
    const EXAMPLE: &str = r#"{"jsonrpc": "2.0", "result": {"incomplete_header_bytes": "AABAIBkLoJo6y6KU2P2ZDRDHWeA2BTcWqK4cSsgNU3ldAc7q61G355Vb8viQk7P+X7w58vugaZOm1MQoulfCohMnySk/wBpqstEBGA==", "target": 44604749363024789530216165987013076233559287272579268608, "cert_version": 3}, "id": 1}"#;

    fn example() -> MiningInfo {
        let reply = read_mining_info(EXAMPLE).unwrap();
        assert_eq!(reply.id, Some(1));
        reply.outcome.unwrap()
    }

    #[test]
    fn the_protocols_example_is_read_to_the_last_digit_of_its_target() {
        let info = example();
        assert_eq!(info.certificate_version, 3);
        let target = U256::from_le_bytes(info.target).to_string();
        assert_eq!(target, "44604749363024789530216165987013076233559287272579268608");
        assert_eq!(pearl_pow::Header::from_bytes(info.header).nbits().target().to_le_bytes(), info.target);
    }

    #[test]
    fn unknown_members_and_a_missing_certificate_version_are_tolerated() {
        let line = EXAMPLE
            .replace(r#""cert_version": 3"#, r#""ancestor_headers": [], "new": {"a": [1]}"#)
            .replace(r#""id": 1"#, r#""id": 1, "extra": null"#);
        let info = read_mining_info(&line).unwrap().outcome.unwrap();
        assert_eq!(info.certificate_version, 1);
    }

    #[test]
    fn any_certificate_version_is_carried() {
        let line = EXAMPLE.replace(r#""cert_version": 3"#, r#""cert_version": 4294967295"#);
        assert_eq!(read_mining_info(&line).unwrap().outcome.unwrap().certificate_version, u32::MAX);
    }

    #[test]
    fn a_target_that_is_no_256_bit_integer_is_named() {
        for target in ["-1", "1.5", "1e70", "\"12\"", "null0", &"9".repeat(78), &"1".repeat(5000), "{}"] {
            let line = EXAMPLE.replace("44604749363024789530216165987013076233559287272579268608", target);
            let err = read_mining_info(&line).unwrap_err();
            assert!(err.0.len() < 400, "{target}: {err}");
        }
        assert_eq!(read_target(&U256::MAX.to_string()).unwrap(), [0xff; 32]);
    }

    #[test]
    fn refusals_keep_their_code_and_lose_their_teeth() {
        let line = r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"mining_paused: no block template available","data":1},"id":7}"#;
        let reply = read_mining_info(line).unwrap();
        assert_eq!(reply.id, Some(7));
        assert!(reply.outcome.unwrap_err().is_paused());

        let line =
            format!(r#"{{"error":{{"code":-32000,"message":"{}\u001b[2J"}},"id":null}}"#, "x".repeat(9999));
        let reply = read_submitted(&line).unwrap();
        assert_eq!(reply.id, None);
        let err = reply.outcome.unwrap_err();
        assert!(err.message.chars().count() <= 201 && !err.message.contains('\u{1b}'));
        assert!(!err.is_passing());

        let full = RpcError { code: -32000, message: "proof submission queue full".to_owned() };
        assert!(full.is_passing());
    }

    #[test]
    fn what_is_no_reply_is_garbled() {
        for line in [
            "",
            "{",
            "[]",
            "null",
            r#"{"id":1}"#,
            r#"{"id":1,"result":null}"#,
            "<html>",
            r#"{"result":{},"id":1}"#,
        ] {
            assert!(read_mining_info(line).is_err(), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_readers_panic(line in ".{0,300}", cut in 0..EXAMPLE.len(), byte in 0..128_u8) {
            let _ = (read_mining_info(&line), read_submitted(&line));
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            bytes[cut] = byte;
            let altered = String::from_utf8(bytes).unwrap();
            let _ = (read_mining_info(&altered), read_mining_info(&EXAMPLE[..cut]));
        }

        #[test]
        fn every_target_survives(digits in proptest::array::uniform32(0_u8..)) {
            let target = U256::from_le_bytes(digits);
            proptest::prop_assert_eq!(read_target(&target.to_string()).unwrap(), digits);
        }
    }

    #[test]
    fn a_submission_echoes_the_job_and_stays_under_the_line_limit() {
        let info = example();
        let line = submit_plain_proof(2, &info, &[0xfb; 100]);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["params"]["mining_job"]["cert_version"], 3);
        assert_eq!(value["params"].as_object().unwrap().len(), 2);
        assert!(line.contains(r#""target":44604749363024789530216165987013076233559287272579268608,"#));
        let largest = vec![0; crate::work::proofs::PROOF_BYTES_MAX];
        let line = submit_plain_proof(u64::MAX, &MiningInfo { target: [0xff; 32], ..info }, &largest);
        assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
    }
}
