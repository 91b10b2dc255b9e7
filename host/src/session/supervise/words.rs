//! What a session says of proofs.

use crate::work::{ProofId, ProofState};

/// A line on where a proof is; nothing where that is no news. `ours` says whether it was found in this session.
pub(super) fn of_proof(id: &ProofId, state: &ProofState, ours: bool) -> Option<String> {
    let whose = if ours { "" } else { " of an earlier session" };
    let what = match state {
        ProofState::Kept => return None,
        ProofState::HandedOver { attempt: 1 } => "was handed over".to_owned(),
        ProofState::HandedOver { attempt } => format!("was handed over again (time {attempt})"),
        ProofState::InBlock { hash, height } => format!("is in block {height} ({hash})"),
        ProofState::Confirmed { height, confirmations, .. } => {
            format!("is confirmed: block {height} has {confirmations} confirmations")
        }
        ProofState::Credited => "was credited by the pool".to_owned(),
        ProofState::Stale { reason } => format!("is stale: {reason}"),
        // Shares that come too fast are many: the work source says it once for all of them.
        ProofState::NotSent { .. } => return None,
        ProofState::Rejected { reason } => format!("was rejected: {reason}"),
        ProofState::Untraced { reason } => format!("cannot be followed further: {reason}"),
    };
    Some(format!("proof {id}{whose} {what}"))
}
