//! The target of each session follows its speed: in leaps until that is known, and then in small steps.

use std::time::Instant;

use pearl_pow::CompactTarget;

use super::{Act, Candidate, Core};
use crate::work::devnet::pace;
use crate::work::stratum::target::work_f64;

/// Most that a session's target changes at once.
const STEP: f64 = 4.0;
/// The same while its speed is not known yet.
const LEAP: f64 = 64.0;
/// Shares after which a session's speed is looked at.
const SHARES: u32 = 6;
/// How much of the speed that the first, second, third share of a job show is believed: one share may be luck.
const BELIEVED: [f64; 3] = [0.25, 0.5, 0.75];
/// Intervals without a share after which a target is made easier.
const PATIENCE: f64 = 6.0;
/// The same while the session's speed is not known yet.
const PATIENCE_AT_FIRST: f64 = 2.0;
/// The shortest time that a speed is measured over: the way of a line through both programs.
const MOMENT: f64 = 0.005;

impl Core {
    /// What a share says of a session whose speed is not known yet: the first ones come all at once where its target is
    /// far too easy, and a miner that minds its manners then sends no more than two a second, which say nothing.
    pub(super) fn impression(&mut self, candidate: &Candidate, now: Instant) {
        let interval = self.settings.interval.as_secs_f64();
        let Some(row) = self.sessions.get_mut(&candidate.session) else { return };
        let Some(job) = row.jobs.iter_mut().find(|job| job.name == candidate.job.name) else { return };
        job.credited += 1;
        let shares = job.credited;
        let seconds = candidate.at.saturating_duration_since(job.issued).as_secs_f64().max(MOMENT);
        let shown = f64::from(shares) * work_f64(job.target) / seconds;
        let believed = BELIEVED.get(shares as usize - 1).copied().unwrap_or(1.0);
        let Some(present) = row.jobs.back().map(|job| work_f64(job.target)) else { return };
        let wanted = (shown * believed * interval).min(present * LEAP);
        if row.fixed || row.known || wanted < 2.0 * present {
            return;
        }
        row.rate = Some(shown * believed);
        self.retarget(candidate.session, wanted, now);
    }

    /// Follows a session's speed.
    pub(super) fn adjust(&mut self, session: u64, now: Instant) {
        let interval = self.settings.interval.as_secs_f64();
        let Some(row) = self.sessions.get_mut(&session) else { return };
        let Some(job) = row.jobs.back() else { return };
        if row.fixed {
            return;
        }
        let elapsed = now.saturating_duration_since(row.since).as_secs_f64().max(1e-3);
        let present = work_f64(job.target);
        let patience = if row.known { PATIENCE } else { PATIENCE_AT_FIRST };
        let idle = row.shares == 0 && elapsed > patience * interval;
        if row.shares < SHARES && !idle {
            return;
        }
        let wanted = if idle {
            row.rate = None;
            present / STEP
        } else {
            row.known = true;
            row.rate = Some(row.work / elapsed);
            row.work / elapsed * interval
        };
        let wanted = wanted.clamp(present / STEP, present * STEP);
        row.since = now;
        (row.work, row.shares) = (0.0, 0);
        // A change that nobody would notice is none.
        if (wanted / present - 1.0).abs() >= 0.2 {
            self.retarget(session, wanted, now);
        } else {
            self.tell_rate();
        }
    }

    fn tell_rate(&mut self) {
        let rates: f64 = self.sessions.values().filter_map(|row| row.rate).sum();
        if rates > 0.0 {
            self.acts.push(Act::Rate(rates));
        }
    }

    /// A share of a session shall take `work` from now on.
    fn retarget(&mut self, session: u64, work: f64, now: Instant) {
        let Some(row) = self.sessions.get_mut(&session) else { return };
        row.target = CompactTarget(pace::compact(work.max(pace::work_of(pace::EASIEST)))).target();
        self.tell_rate();
        self.notify(session, now);
    }
}
