//! What came of every share, by the client's word and by its pool's.

use pearlbed::work::ProofState;
use pearlbed::work::devnet::pool::core::Fate;
use pearlbed::work::pool::ledger::Outcome;

use super::World;

/// What is known of one share.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    /// Bits of its way: given to a connection, arrived at the pool.
    pub sent: bool,
    pub arrived: u32,
    /// What its pool said last.
    pub credited: Option<bool>,
    /// What the client says.
    pub state: Option<ProofState>,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Shares that the miner found.
    pub found: u64,
    /// Credited by a pool, and known to be.
    pub credited: u64,
    /// Refused by a pool, and known to be.
    pub refused: u64,
    /// Kept back by the client.
    pub kept_back: u64,
    /// Sent, and never answered as far as the client knows.
    pub unanswered: u64,
    /// Of these, credited all the same.
    pub unanswered_and_credited: u64,
}

impl World {
    /// Compares, share by share, what the client says with what the pools said.
    ///
    /// # Errors
    ///
    /// Everything that does not fit, a line each.
    pub fn judge(&self) -> Result<Outcomes, Vec<String>> {
        let mut wrong = self.wrong.clone();
        let mut sums = Outcomes { found: self.shares.len() as u64, ..Outcomes::default() };
        for (number, share) in &self.shares {
            let fits = match &share.state {
                Some(ProofState::Credited) => {
                    sums.credited += 1;
                    share.credited == Some(true)
                }
                Some(ProofState::Stale { .. } | ProofState::Rejected { .. }) if share.sent => {
                    sums.refused += 1;
                    share.credited == Some(false)
                }
                Some(ProofState::Stale { .. } | ProofState::NotSent { .. }) => {
                    sums.kept_back += 1;
                    share.arrived == 0
                }
                Some(ProofState::Untraced { .. }) => {
                    sums.unanswered += 1;
                    sums.unanswered_and_credited += u64::from(share.credited == Some(true));
                    share.sent
                }
                _ => false,
            };
            if !fits {
                wrong.push(format!("share {number}: {share:?}"));
            }
            if share.arrived > 1 {
                wrong.push(format!("share {number} came {} times", share.arrived));
            }
        }
        let ours = self.ledger();
        let theirs: u64 = self
            .sides
            .iter()
            .flat_map(|side| side.core.ledger().values())
            .filter_map(|row| row.shares.get(&Fate::Accepted))
            .sum();
        let (credited, unanswered) = (ours.of(Outcome::Accepted).shares, ours.of(Outcome::Unanswered).shares);
        if (credited, unanswered) != (sums.credited, sums.unanswered) {
            wrong.push(format!("the ledger says {credited} and {unanswered}, the shares {sums:?}"));
        }
        if theirs != credited + sums.unanswered_and_credited {
            wrong.push(format!("the pools credited {theirs}, and {sums:?}"));
        }
        if wrong.is_empty() { Ok(sums) } else { Err(wrong) }
    }
}
