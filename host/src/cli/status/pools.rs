//! The pools of a session: which is mined for, and what became of its shares.

use std::time::Duration;

use super::page::Page;
use crate::session::report::Report;
use crate::text::{duration, hashrate};

/// Writes them, where there are any.
pub(super) fn pools(page: &mut Page, report: &Report) {
    let Some(pool) = &report.pool else { return };
    for (index, row) in pool.pools.iter().enumerate() {
        let state = match (row.in_use, pool.since_seconds, row.barred_seconds) {
            (true, Some(since), _) => {
                format!("in use for {}", duration(Duration::from_secs_f64(since.max(0.0).floor())))
            }
            (true, None, _) => "in use".to_owned(),
            (false, _, Some(left)) => {
                format!("left alone for {}", duration(Duration::from_secs_f64(left.max(0.0).ceil())))
            }
            (false, ..) => "not in use".to_owned(),
        };
        let name = row.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let latency = row
            .latency_ms
            .map(|(half, most)| format!(", replies in {half:.0} ms, 95 % within {most:.0} ms"))
            .unwrap_or_default();
        let label = if index == 0 { "pool" } else { "" };
        page.row(label, &format!("{}{name}: {state}, {}{latency}", row.address, row.security));
    }
    if let Some(why) = &pool.why_not_first {
        let probe = pool
            .next_probe_seconds
            .map(|left| {
                format!("; looked at again in {}", duration(Duration::from_secs_f64(left.max(0.0).ceil())))
            })
            .unwrap_or_default();
        page.row("", &format!("not the first of them: {why}{probe}"));
    }
    if let Some(row) = pool.pools.iter().find(|row| row.in_use).or(pool.pools.first()) {
        page.row("paid", &row.wallet);
    }
    page.row("shares", &pool.shares.sentence());
    if let Some(rate) = &pool.credited {
        let percent = 100.0 * rate.relative_error;
        page.row("credited", &format!("{} (± {percent:.0} %)", hashrate(rate.hashrate)));
    }
    if let Some(share) = &pool.share {
        let difficulty = crate::work::stratum::target::difficulty_text(share.difficulty);
        let hashes = crate::text::si(share.hashes, "H");
        page.row("share", &format!("difficulty {difficulty}, {hashes} on average"));
    }
}
