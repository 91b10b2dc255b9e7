//! One thread for each device: rounds of one job after the other, hits, and what to do when the device fails.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pearl_pow::{Tree, job_key};
use pearlbed_plugin_api::{LogLevel, SubmitError};

use crate::adapter::{self, Adapter};
use crate::device::DeviceError;
use crate::draw::DrawKey;
use crate::engine::Engine;
use crate::heat::{Heat, degrees};
use crate::opening::{Opened, open};
use crate::operand::Keys;
use crate::product::{Hit, Slot, Which};
use crate::proof;
use crate::rounds::{Pace, Rounds, Step};
use crate::session::{Problem, Session};
use crate::settings::Wishes;

/// Hits that the processor did not confirm, after which a device is switched off.
const REFUSED_MAX: u64 = 3;
/// Losses of a device within [`LOSSES_WITHIN`] after which it is given up.
const LOSSES_MAX: usize = 3;
const LOSSES_WITHIN: Duration = Duration::from_secs(3600);
/// How long to wait before a lost device is opened again, for each time that it was lost.
const LOST_PAUSE: Duration = Duration::from_secs(2);
/// How long a chunk takes where nobody says otherwise.
const CHUNK: Duration = Duration::from_millis(10);
/// How often a card's temperature is looked at, and how long it rests where it is too hot.
const LOOK: Duration = Duration::from_secs(2);

/// A device and its thread.
pub(crate) struct Worker {
    session: Arc<Session>,
    index: usize,
    adapter: Adapter,
    wishes: Wishes,
    heat: Heat,
    looked: Instant,
    /// Number of the next matrix to draw.
    matrices: u64,
    losses: Vec<Instant>,
    /// The job of the last chunk.
    worked_on: Option<u64>,
}

/// Why a device's thread ends, or mines no more.
enum Over {
    /// Everybody goes home.
    Stopped,
    /// The device is switched off.
    Off(String),
    /// The device was lost.
    Lost(String),
}

impl From<DeviceError> for Over {
    fn from(err: DeviceError) -> Self {
        match err {
            DeviceError::Lost(_) => Self::Lost(err.to_string()),
            DeviceError::Failed(why) => Self::Off(why),
        }
    }
}

/// What is kept of a job while it is mined.
struct Mine {
    problem: Arc<Problem>,
    bound: pearl_pow::U256,
    trees: [Option<(Tree, DrawKey)>; 2],
    tree_b: Option<(Tree, DrawKey)>,
}

impl Worker {
    /// The worker of device `index`.
    pub(crate) fn new(session: Arc<Session>, index: usize, adapter: Adapter, wishes: Wishes) -> Self {
        let heat = Heat::new(wishes.temperature_limit);
        let looked = Instant::now();
        Self {
            session,
            index,
            adapter,
            wishes,
            heat,
            looked,
            matrices: 0,
            losses: Vec::new(),
            worked_on: None,
        }
    }

    /// Mines until everybody goes home or the device is given up.
    pub(crate) fn run(&mut self, opened: Opened) {
        let mut opened = Some(opened);
        loop {
            let over = match opened.take() {
                Some(Opened { mut engine, .. }) => self.serve(&mut *engine),
                // What was lost is looked for anew: a driver that was reset may list it elsewhere.
                None => match self.open_again() {
                    Ok(again) => {
                        opened = Some(again);
                        continue;
                    }
                    Err(over) => over,
                },
            };
            match over {
                Over::Stopped => return,
                Over::Off(why) => return self.switch_off(why),
                Over::Lost(why) => {
                    let now = Instant::now();
                    self.losses.retain(|then| now.duration_since(*then) < LOSSES_WITHIN);
                    self.losses.push(now);
                    let times = self.losses.len();
                    if times >= LOSSES_MAX {
                        return self
                            .switch_off(format!("given up after {times} losses within an hour; {why}"));
                    }
                    self.tell(LogLevel::Warn, &format!("{why}; it is opened again"));
                    self.session.rest(LOST_PAUSE * times as u32);
                    if self.session.is_stopping() {
                        return;
                    }
                    self.counters().reopened.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn counters(&self) -> &crate::stats::Counters {
        &self.session.totals.devices[self.index]
    }

    fn tell(&self, level: LogLevel, what: &str) {
        let line = format!("{}: {what}", self.adapter.title());
        self.session.host.log(level, &line);
        if level <= LogLevel::Warn {
            self.session.totals.fail(line);
        }
    }

    fn switch_off(&self, why: String) {
        self.tell(LogLevel::Error, &format!("switched off: {why}"));
        self.counters().update(|facts| facts.off = Some(why));
    }

    fn open_again(&mut self) -> Result<Opened, Over> {
        let same = |other: &Adapter| other.pci == self.adapter.pci && other.name == self.adapter.name;
        let found = adapter::adapters().into_iter().find(same);
        self.adapter = found.ok_or_else(|| Over::Lost("the drivers do not list it any more".into()))?;
        let opened = open(&self.adapter, &self.wishes).map_err(Over::from)?;
        self.counters().update(|facts| opened.describe(&self.adapter, facts));
        Ok(opened)
    }

    fn serve(&mut self, engine: &mut dyn Engine) -> Over {
        #[cfg(test)]
        self.session.faults.opened(self.index, engine);
        if self.heat.is_limited() && self.degrees().is_none() {
            self.tell(
                LogLevel::Warn,
                "its temperature cannot be read, so temperature_limit is without effect",
            );
        }
        let mut pace = Pace::new(self.wishes.chunk.unwrap_or(CHUNK));
        loop {
            if self.session.is_stopping() {
                return Over::Stopped;
            }
            self.cool_down();
            let Some(problem) = self.session.job(LOOK) else { continue };
            if let Err(over) = self.mine(engine, problem, &mut pace) {
                return over;
            }
        }
    }

    /// Looks at the temperature now and then, and waits while it is too high.
    fn cool_down(&mut self) {
        while self.too_hot() && !self.session.is_stopping() {
            self.session.rest(LOOK);
        }
    }

    /// The card's temperature. NVIDIA's library is asked only where there is a limit to hold.
    fn degrees(&self) -> Option<f64> {
        let its = degrees(Path::new("/"), &self.adapter.pci);
        #[cfg(target_os = "linux")]
        let its = its.or_else(|| {
            let is_asked = self.adapter.is_nvidia && self.heat.is_limited();
            if is_asked { crate::nvml::degrees(&self.adapter.pci) } else { None }
        });
        its
    }

    /// Whether the card is to pause; looks at it every two seconds.
    fn too_hot(&mut self) -> bool {
        let was_pausing = self.counters().facts().is_pausing;
        if self.adapter.pci.is_empty() || (self.looked.elapsed() < LOOK && !was_pausing) {
            return was_pausing;
        }
        self.looked = Instant::now();
        let now = self.degrees();
        let pauses = self.heat.must_pause(now);
        if pauses != was_pausing {
            let degrees = now.unwrap_or_default();
            let what = if pauses { "pauses" } else { "goes on" };
            self.tell(LogLevel::Info, &format!("{what} at {degrees:.0} °C"));
        }
        self.counters().update(|facts| (facts.temperature, facts.is_pausing) = (now, pauses));
        pauses
    }

    fn draw(&mut self) -> DrawKey {
        self.matrices += 1;
        self.session.secret.key(self.index as u32, self.matrices)
    }

    /// Mines one job until it is over, or the card is too hot.
    fn mine(&mut self, engine: &mut dyn Engine, problem: Arc<Problem>, pace: &mut Pace) -> Result<(), Over> {
        let config = engine.shape().config;
        let keys = Keys {
            job_key: job_key(&problem.job.header, &config),
            rule: problem.job.certificate.seed_rule(),
        };
        let bound = problem.target.bound(&config, problem.job.rank_penalty);
        let mut mine = Mine { problem, bound, trees: [None, None], tree_b: None };
        let begun = Instant::now();
        engine.prepare(Which::B, keys, self.draw())?;
        let mut rounds = Rounds::new(engine.items());
        let mut flights: VecDeque<(usize, Instant)> = VecDeque::new();
        let mut last = None;
        loop {
            let leaving = self.session.is_over(mine.problem.id) || self.too_hot();
            let chunk = if last.is_some() { pace.chunk() } else { pace.first() };
            match rounds.step(chunk, leaving) {
                None => return Ok(()),
                Some(Step::Prepare(slot)) => {
                    mine.trees[slot] = None;
                    engine.prepare(Which::A(slot), keys, self.draw())?;
                }
                Some(Step::Submit { place, slot, items }) => {
                    engine.submit(place, slot, items, &mine.bound)?;
                    flights.push_back((place, Instant::now()));
                }
                Some(Step::Land) => {
                    let ((place, submitted), landed) =
                        flights.pop_front().zip(rounds.landed()).expect("something flies where one lands");
                    let found = engine.land(place)?;
                    let now = Instant::now();
                    let items = landed.items.len() as u32;
                    match last.replace(now) {
                        Some(last) => pace.took(items, now.duration_since(submitted.max(last))),
                        None => pace.changed(items, now.duration_since(begun)),
                    }
                    if self.worked_on.replace(mine.problem.id) != Some(mine.problem.id) {
                        let took = now.duration_since(mine.problem.taken);
                        self.counters().update(|facts| facts.job_to_work = Some(took));
                    }
                    self.counters().hashes.fetch_add(engine.hashes(landed.items), Relaxed);
                    self.counters().lost.fetch_add(u64::from(found.lost), Relaxed);
                    for hit in found.hits {
                        self.hand_in(engine, &mut mine, landed.slot, hit)?;
                    }
                }
            }
        }
    }

    /// Confirms a hit and submits it.
    fn hand_in(&self, engine: &mut dyn Engine, mine: &mut Mine, slot: Slot, hit: Hit) -> Result<(), Over> {
        if mine.tree_b.is_none() {
            mine.tree_b = Some(engine.tree(Which::B)?);
        }
        if mine.trees[slot].is_none() {
            mine.trees[slot] = Some(engine.tree(Which::A(slot))?);
        }
        let (Some(a), Some(b)) = (&mine.trees[slot], &mine.tree_b) else { return Ok(()) };
        #[cfg(test)]
        let hit = self.session.faults.spoil(hit);
        match proof::confirm(
            engine.shape(),
            &mine.problem.job,
            &hit,
            &proof::Opened::new(a),
            &proof::Opened::new(b),
        ) {
            Ok(proof) => {
                self.counters().found(&proof);
                match self.session.host.submit(mine.problem.id, &proof) {
                    Ok(()) => _ = self.session.totals.proofs.fetch_add(1, Relaxed),
                    // It comes too late, and so does what else was found for this job.
                    Err(SubmitError::Stale | SubmitError::UnknownJob | SubmitError::Stopped) => {}
                    Err(err) => self.tell(LogLevel::Warn, &format!("a proof was not taken: {err}")),
                }
            }
            Err(why) => self.refuse(engine, &why)?,
        }
        Ok(())
    }

    /// Counts a hit that is none, and judges the device.
    fn refuse(&self, engine: &dyn Engine, why: &str) -> Result<(), Over> {
        let times = self.counters().refused.fetch_add(1, Relaxed) + 1;
        if times == 1 {
            let what = format!("the processor does not confirm a hit: {why}; is the card overclocked?");
            self.tell(LogLevel::Warn, &what);
        }
        if times >= REFUSED_MAX {
            return Err(Over::Off(format!(
                "the processor did not confirm {times} of its hits, the last because {why}"
            )));
        }
        engine.test()?;
        Ok(())
    }
}
