//! What time brings a miner: deadlines, and a look about once a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Miner;
use crate::miner::effect::Effect;
use crate::miner::frame::ToProvider;
use crate::miner::stall;

/// Between two questions for the provider's own numbers.
const STATS_EVERY: Duration = Duration::from_secs(10);

impl Miner {
    /// When [`Self::wake`] has something to do, if ever.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        [self.line.wake_at(now), self.life.wake_at()].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn wake(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.leave(now, &mut out);
        if self.life.is_overdue(now) {
            self.end_what_does_not_stop(now, &mut out);
        }
        if self.life.is_restart_due(now) {
            self.launch(now, &mut out);
        }
        out
    }

    /// Looks after it; to be called about once a second. `patience` is how long it may do nothing.
    pub fn tick(&mut self, patience: Duration, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let look = self.line.look();
        self.voice.looked(look, now, &mut out);
        self.voice.say_flood(now, &mut out);
        if !self.line.is_up() || self.line.is_leaving() || self.life.is_stopping() {
            return out;
        }
        if now.saturating_duration_since(self.stats.asked_at) >= STATS_EVERY {
            self.stats.asked_at = now;
            self.send(ToProvider::AskStats);
        }
        // A program reports no work, and may have other things to do for days.
        if !self.is_program()
            && let Some(why) = self.stall(patience, now)
        {
            self.line.end();
            self.gone(now);
            let fate = self.life.failed(format!("is stalled: it {why}"), now);
            self.meet(fate, now, &mut out);
            return out;
        }
        self.retarget(now);
        out
    }

    /// Offers the job in work anew where its shares come far too fast or too slowly.
    fn retarget(&mut self, now: Instant) {
        if self.offers.current().is_none_or(|offer| !offer.taken) {
            return;
        }
        let Some(work) = self.offers.on_offer().map(|given| Arc::clone(&given.work)) else { return };
        if self.account.wants_other_target(&work.job.target, now) {
            self.put(&work, now);
        }
    }

    /// Why it is stalled; nothing if it is not.
    fn stall(&mut self, patience: Duration, now: Instant) -> Option<String> {
        let facts = self.stall_facts(patience, now);
        let line = &self.line;
        let excused = self.excuse.look(stall::is_near(&facts), now, || line.waits());
        stall::judge(&stall::Facts { excused, ..facts })
    }

    fn stall_facts(&self, patience: Duration, now: Instant) -> stall::Facts {
        let since = |at: Instant| now.saturating_duration_since(at);
        let (pulse, offer) = (&self.life.pulse, self.offers.current());
        let mining = pulse.mining_since.map(since);
        let barren = match (pulse.share_at.map(since), mining) {
            (Some(share), Some(mining)) => share.min(mining),
            (share, mining) => share.or(mining).unwrap_or_default(),
        };
        stall::Facts {
            patience,
            excused: Duration::ZERO,
            // A plugin that never returns from `start` keeps its job waiting, too.
            job_waits: offer.filter(|offer| !offer.taken).map(|offer| since(offer.at)),
            progress: pulse.progress_at.map(since),
            mining: mining.filter(|_| offer.is_some_and(|offer| offer.taken)),
            barren,
            barren_due: self.account.due_since_share(),
            proofs: self.account.shares(),
            borne_out: self.account.borne_out(),
        }
    }
}
