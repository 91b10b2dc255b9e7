//! The time that a pool's share takes, said in the log: as soon as it can be told, and whenever the pool makes it another
//! (pool protocol section 6.3).
//!
//! It never asks for anything: a share of which nobody knows how fast it is looked for waits for its line.

use std::time::Duration;

use crate::session::report::Report;
use crate::text::{duration, si};
use crate::work::stratum::target::difficulty_text;

/// How much harder or easier a share must be to be news: pools that follow a miner's speed never stand still.
const NEWS: f64 = 1.25;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Expecting {
    /// Hashes of a share.
    told: Option<f64>,
}

impl Expecting {
    /// Whether a share of so many hashes is another than the one that was spoken of last.
    pub fn is_news(&self, hashes: f64) -> bool {
        self.told.is_none_or(|told| !(told / NEWS..=told * NEWS).contains(&hashes))
    }

    /// The line for the log, where it can be said by now.
    pub fn line(&mut self, report: &Report) -> Option<String> {
        let pool = report.pool.as_ref()?;
        let (share, seconds) = (pool.share?, report.expected_seconds.share?);
        let changed = if self.told.replace(share.hashes).is_some() { " now" } else { "" };
        let advice = pool.easier(seconds).map(|advice| format!("; {advice}")).unwrap_or_default();
        let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Some(format!(
            "a share of this pool{changed} has difficulty {}, {} on average: one in {}{advice}",
            difficulty_text(share.difficulty),
            si(share.hashes, "H"),
            duration(time)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::pools::{PoolReport, ShareReport};
    use crate::session::state::State;
    use crate::work::pool::PoolStatus;

    #[test]
    fn the_time_of_a_share_is_said_once_it_is_known_and_again_when_the_pool_changes_it() {
        let mut expecting = Expecting::default();
        let mut report = Report::without_session(State::Running);
        assert_eq!(expecting.line(&report), None);
        let mut pool = PoolReport::of(&PoolStatus::default(), std::time::Instant::now());
        pool.share = Some(ShareReport { difficulty: 2.0, hashes: 8.6e9 });
        report.pool = Some(pool);
        assert!(expecting.is_news(8.6e9));
        assert_eq!(expecting.line(&report), None, "nobody knows how fast");
        report.expected_seconds.share = Some(90.0);
        let line = expecting.line(&report).unwrap();
        assert_eq!(line, "a share of this pool has difficulty 2, 8.60 GH on average: one in 1 m 30 s");
        assert!(!expecting.is_news(8.6e9) && !expecting.is_news(9.0e9));
        assert!(expecting.is_news(64.0 * 8.6e9) && expecting.is_news(8.6e9 / 2.0));
        let line = expecting.line(&report).unwrap();
        assert!(line.starts_with("a share of this pool now has"), "{line}");
    }
}
