//! What this shell, unit or container lets a process have, where that is too little for a session. A row for each; none where
//! there is enough of all.

use super::super::{Facts, Verdict};
use crate::limits;

pub fn limits(facts: &Facts) -> Vec<Verdict> {
    let miners = facts.config().map_or(1, |config| config.mining.miners_enabled());
    let verdict = |shortage: limits::Shortage| {
        let made = if shortage.forbids { Verdict::fail } else { Verdict::warn };
        made(shortage.finding, shortage.fix).of(shortage.of)
    };
    limits::shortages(miners).into_iter().map(verdict).collect()
}
