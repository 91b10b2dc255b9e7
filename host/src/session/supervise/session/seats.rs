//! Puts another provider on a device where the one that has it does less than that one expects.

use std::time::Instant;

use super::Session;
use crate::miner::{Miner, MinerPlan};
use crate::plugins::trust;
use crate::session::log::Level;
use crate::session::supervise::contest::Proved;
use crate::session::supervise::crew::{Crew, Told};
use crate::session::supervise::reload::{self, Changes};

impl Session {
    /// Looks at every device on which several could mine.
    pub(super) fn reseat(&mut self, now: Instant) -> Vec<Told> {
        if self.course.is_ending() {
            return Vec::new();
        }
        let crew = &self.crew;
        let changes = self.contest.judge(|name| {
            let miner = crew.present().find(|miner| miner.plan().name == name)?;
            let (shares, exposure) = miner.proved(now);
            Some(Proved { shares, exposure })
        });
        let mut told = Vec::new();
        for change in changes {
            self.herald.line(Level::Warn, &change.why);
            let plan = MinerPlan { name: free_name(&self.crew, &change.comes.name), ..change.comes.clone() };
            self.contest.seated(&change, &plan.name);
            let (chosen, home) = (&plan.chosen, &self.options.home);
            let (id, version) = (&chosen.manifest.id, &chosen.manifest.version);
            // As when a session begins: where it cannot be kept, the next use is the first.
            let _ = trust::remember(home, id, version, &chosen.path, &chosen.signed, false);
            let changes = Changes { removed: vec![change.leaves], added: vec![plan], ..Changes::default() };
            let (current, grace) = (self.jobs.current().cloned(), self.settings.tunables.stop_grace);
            told.extend(reload::apply(changes, &mut self.crew, &self.paused, current.as_ref(), grace, now));
        }
        told
    }
}

/// `name`, or that with a number where a miner that is present has it. Who had it and left may come back to it.
fn free_name(crew: &Crew, name: &str) -> String {
    let is_free = |name: &str| !crew.present().map(Miner::plan).any(|plan| plan.name == name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| is_free(name))
        .expect("the numbers do not end")
}
