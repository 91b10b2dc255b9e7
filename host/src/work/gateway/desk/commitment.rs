//! By what a proof's block is known, before there is one.
//!
//! Several miners may work on one header, each with a proof of its own: the header alone does not tell whose became the
//! block. Its last 32 bytes do (protocol section 12.1), and they follow from the proof.

use ring::digest::{SHA256, digest};

use crate::work::FoundProof;

/// What the header of `found`'s block commits to; nothing for a proof that would not become one.
pub fn of(found: &FoundProof) -> Option<[u8; 32]> {
    let (proof, _) = pearl_pow::PlainProof::decode(&found.proof).ok()?;
    let mut job = found.job.to_pow().ok()?;
    // Whether it pays was judged when it was found.
    (job.target, job.rank_penalty) = (Some(pearl_pow::Target::from_le_bytes([0xff; 32])), false);
    let verified = pearl_pow::verify(&job, &proof).ok()?;
    let version = found.job.certificate_version.to_le_bytes();
    let text = [&version[..], &verified.public_data(&proof)].concat();
    digest(&SHA256, digest(&SHA256, &text).as_ref()).as_ref().try_into().ok()
}

/// Whether a node that says `said` means `commitment`. Both orders of the bytes are taken: no two proofs are that alike.
pub fn is(commitment: &[u8; 32], said: &[u8; 32]) -> bool {
    commitment == said || commitment.iter().eq(said.iter().rev())
}
