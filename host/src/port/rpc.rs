//! The gateway's miner RPC at the port: what a program is told (protocol section 10).
//!
//! The requests are read by [`crate::work::miner_rpc`]. Here is what the port says: a verdict in the protocol's own error
//! form, so that the program's own log tells the truth.

use serde_json::Value;

use crate::miner::frame::Receipt;
use crate::work::miner_rpc;

/// The answer to a proof that was judged. A stale one is `"submitted"`, as with every gateway.
pub fn verdict(id: &Value, receipt: Receipt, reason: &str) -> String {
    match receipt {
        Receipt::Kept | Receipt::Stale => miner_rpc::submitted(id),
        Receipt::Refused => {
            miner_rpc::error(id, miner_rpc::REFUSED, &format!("proof refused: {reason}"), None)
        }
        Receipt::Busy => miner_rpc::error(
            id,
            miner_rpc::REFUSED,
            &format!("proof submission queue full: {reason}; hand it in again"),
            None,
        ),
    }
}

/// The answer while there is no job to give, and why.
pub fn no_job(id: &Value, why: &str) -> String {
    miner_rpc::error(id, miner_rpc::PAUSED, why, None)
}

/// The answer to a proof of which `about` says how large it is.
pub fn too_large(id: &Value, about: &str) -> String {
    miner_rpc::error(id, miner_rpc::REFUSED, about, None)
}

/// What is known of a line that is too long: the shape of the proof that made it so, where it can be seen in `head`.
pub fn about_line(head: &[u8], max: usize) -> String {
    let limit = format!("a line is limited to {max} bytes");
    match shape_in_text(head) {
        Some(shape) => format!("{limit}, and this proof's shape makes it longer: {shape}"),
        None => limit,
    }
}

/// The shape that a proof's bytes begin with (protocol section 9.1).
pub fn shape(proof: &[u8]) -> Option<String> {
    let mut numbers =
        proof.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
    let mut next = || numbers.next();
    let (m, n, k, rank) = (next()?, next()?, next()?, next()?);
    let leaves = next()?;
    Some(format!("m = {m}, n = {n}, k = {k}, rank {rank}, {leaves} leaves of A"))
}

/// The same of a line that carries a proof in base64.
fn shape_in_text(head: &[u8]) -> Option<String> {
    use base64::Engine as _;
    /// Characters that the five numbers take.
    const CHARS: usize = 56;
    let name = b"\"plain_proof\"";
    let at = head.windows(name.len()).position(|window| window == name)? + name.len();
    let rest = &head[at..];
    let quote = rest.iter().take(8).position(|&byte| byte == b'"')?;
    let text = rest.get(quote + 1..quote + 1 + CHARS)?;
    shape(&base64::engine::general_purpose::STANDARD.decode(text).ok()?)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn the_answer_is_the_verdict() {
        let id = Value::from(7);
        let code = |receipt| {
            let answer: Value = serde_json::from_str(&verdict(&id, receipt, "difficulty: above")).unwrap();
            assert_eq!(answer["id"], 7);
            answer["error"]["code"].as_i64()
        };
        assert_eq!([Receipt::Kept, Receipt::Stale].map(code), [None, None]);
        assert_eq!([Receipt::Refused, Receipt::Busy].map(code), [Some(-32000), Some(-32000)]);
        assert!(
            verdict(&id, Receipt::Refused, "difficulty: above").contains("proof refused: difficulty: above")
        );
    }

    #[test]
    fn the_shape_of_a_proof_is_read_from_the_beginning_of_a_line_that_is_too_long() {
        let mut proof = Vec::new();
        for number in [131_072_u64, 4096, 28_672, 128, 448] {
            proof.extend_from_slice(&number.to_le_bytes());
        }
        proof.extend_from_slice(&[7; 999]);
        let text = base64::engine::general_purpose::STANDARD.encode(&proof);
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"params":{{"plain_proof": "{text}"#);
        let about = about_line(line.as_bytes(), 1 << 20);
        assert!(about.ends_with("m = 131072, n = 4096, k = 28672, rank 128, 448 leaves of A"), "{about}");
        assert_eq!(about_line(b"xxxx", 5), "a line is limited to 5 bytes");
        assert_eq!(about_line(br#"{"plain_proof":"AAAA"#, 5), "a line is limited to 5 bytes");
    }
}
