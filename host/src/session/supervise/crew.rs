//! The miners of a session: who they are, and one question put to all of them.
//!
//! Owns the miners and their numbers. It decides nothing for any of them, and what follows goes back to the session with
//! the name of whom it follows from.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::miner::link::Event;
use crate::miner::{Effect, Miner, MinerId, MinerPlan};

/// What follows, and from which miner.
pub(super) type Told = (MinerId, Effect);

/// The miners.
#[derive(Debug)]
pub(super) struct Crew {
    miners: BTreeMap<MinerId, Miner>,
    last: u32,
    events: mpsc::Sender<Event>,
}

impl Crew {
    /// No miners yet; what comes from them will go to `events`.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { miners: BTreeMap::new(), last: 0, events }
    }

    /// Adds a miner that is a plugin; it does not run yet.
    pub fn add(&mut self, plan: MinerPlan, now: Instant) -> MinerId {
        self.last += 1;
        let id = MinerId(self.last);
        let launcher = Box::new(plan.launcher());
        self.miners.insert(id, Miner::new(id, plan, Some(launcher), self.events.clone(), now));
        id
    }

    /// Adds a miner that is a program which came by itself.
    pub fn add_program(&mut self, plan: MinerPlan, now: Instant) -> MinerId {
        self.last += 1;
        let id = MinerId(self.last);
        self.miners.insert(id, Miner::new(id, plan, None, self.events.clone(), now));
        id
    }

    /// How many programs have a row.
    pub fn programs(&self) -> usize {
        self.miners.values().filter(|miner| miner.is_program()).count()
    }

    /// Forgets a program that has gone and never handed in anything, so that no number is lost; answers whether there was
    /// one.
    pub fn forget_one(&mut self) -> bool {
        let idle = |miner: &Miner| miner.is_program() && miner.is_down() && !miner.has_handed_in();
        let found = self.miners.iter().find(|(_, miner)| idle(miner)).map(|(id, _)| *id);
        found.is_some_and(|id| self.miners.remove(&id).is_some())
    }

    /// One of them.
    pub fn get_mut(&mut self, id: MinerId) -> Option<&mut Miner> {
        self.miners.get_mut(&id)
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Miner> {
        self.miners.values()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Miner> {
        self.miners.values_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.miners.len()
    }

    /// The id of a miner's provider.
    pub fn provider(&self, id: MinerId) -> String {
        self.miners.get(&id).map_or_else(String::new, |miner| miner.plan().provider().to_owned())
    }

    /// A miner's name.
    pub fn name(&self, id: MinerId) -> &str {
        self.miners.get(&id).map_or("a miner that has left", |miner| &miner.plan().name)
    }

    /// `text`, which speaks of a provider, as it is to be said of this miner.
    pub fn in_its_words(&self, id: MinerId, text: String) -> String {
        match self.miners.get(&id) {
            Some(miner) => miner.plan().in_its_words(text),
            None => text,
        }
    }

    /// Puts one question to all.
    pub fn each(&mut self, mut ask: impl FnMut(&mut Miner) -> Vec<Effect>) -> Vec<Told> {
        let mut told = Vec::new();
        for (id, miner) in &mut self.miners {
            told.extend(ask(miner).into_iter().map(|effect| (*id, effect)));
        }
        told
    }

    /// Puts a question to one.
    pub fn one(&mut self, id: MinerId, ask: impl FnOnce(&mut Miner) -> Vec<Effect>) -> Vec<Told> {
        let effects = self.miners.get_mut(&id).map(ask).unwrap_or_default();
        effects.into_iter().map(|effect| (id, effect)).collect()
    }

    /// When somebody has something to do, if ever.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.miners.values().filter_map(|miner| miner.wake_at(now)).min()
    }

    /// Those that belong to the session still.
    pub fn present(&self) -> impl Iterator<Item = &Miner> {
        self.miners.values().filter(|miner| !miner.is_dismissed())
    }

    /// The one of that name that belongs to the session still.
    pub fn called(&self, name: &str) -> Option<MinerId> {
        let mut ids = self.miners.iter().filter(|(_, miner)| !miner.is_dismissed());
        ids.find(|(_, miner)| miner.plan().name == name).map(|(id, _)| *id)
    }

    /// The one of that name that has left the session, or is about to.
    pub fn left(&self, name: &str) -> Option<MinerId> {
        let mut ids = self.miners.iter().filter(|(_, miner)| miner.is_dismissed());
        ids.find(|(_, miner)| miner.plan().name == name).map(|(id, _)| *id)
    }

    /// Those meant by a name, or all where there is none.
    ///
    /// # Errors
    ///
    /// A sentence where nobody is called so.
    pub fn meant(&self, name: Option<&str>) -> Result<Vec<MinerId>, String> {
        match name {
            None => {
                let all = self.miners.iter().filter(|(_, miner)| !miner.is_dismissed());
                Ok(all.map(|(id, _)| *id).collect())
            }
            Some(name) => self.called(name).map(|id| vec![id]).ok_or_else(|| {
                let names: Vec<&str> = self.present().map(|miner| miner.plan().name.as_str()).collect();
                format!("no miner is called `{name}`; here are {}", names.join(", "))
            }),
        }
    }

    /// Whether none of them can go on without a person.
    pub fn is_lost(&self) -> bool {
        let mut present = self.present().peekable();
        present.peek().is_some() && present.all(Miner::has_given_up)
    }
}
