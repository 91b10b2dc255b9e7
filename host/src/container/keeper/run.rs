//! The thread of one container: when it runs, and what follows from how a life of it ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Charge, Event, LOOK, Order, Port, What};
use crate::container::engine::Engine;
use crate::container::life::{Life, Phase};
use crate::container::printed::Printed;
use crate::container::report::ContainerReport;
use crate::container::trouble::Trouble;

/// What a keeper's thread owns.
pub(super) struct Kept {
    pub charge: Charge,
    pub life: Life,
    pub report: ContainerReport,
    pub events: tokio::sync::mpsc::Sender<Event>,
    pub port: Arc<Port>,
    pub called_off: Arc<AtomicBool>,
    /// It is to end within this time.
    pub stop: Option<Duration>,
    /// It is to be started again.
    pub again: bool,
    /// It is not to run.
    pub rests: bool,
    pub engine: Option<Engine>,
    pub told: Option<ContainerReport>,
    pub printed: Arc<Printed>,
    ordered: Receiver<Order>,
    /// There is a job for this certificate version, and the port listens.
    job: Option<u32>,
}

/// Why a container does not run any more.
pub(super) enum Out {
    /// It was to end.
    Asked,
    /// It was to be started again.
    Again,
    /// It is to rest.
    Rests,
    /// Something went wrong.
    Trouble(Trouble),
}

impl From<Trouble> for Out {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Kept {
    /// One that has not begun.
    pub fn new(
        charge: Charge,
        events: tokio::sync::mpsc::Sender<Event>,
        ordered: Receiver<Order>,
        (port, called_off): (Arc<Port>, Arc<AtomicBool>),
    ) -> Self {
        Self {
            life: Life::new(charge.section.ready_within, Instant::now()),
            report: ContainerReport {
                miner: charge.recipe.miner.clone(),
                role: charge.recipe.role().into(),
                provider: charge.provider.clone(),
                image: charge.recipe.image.clone(),
                name: charge.recipe.name.clone(),
                model: charge.recipe.model.clone(),
                ..ContainerReport::default()
            },
            rests: charge.rests,
            charge,
            events,
            ordered,
            port,
            called_off,
            stop: None,
            again: false,
            engine: None,
            told: None,
            printed: Arc::default(),
            job: None,
        }
    }

    /// Runs until it is to end; nothing of the container is left then.
    pub fn run(&mut self) {
        while self.may_run() {
            let Err(out) = self.once();
            match out {
                _ if self.is_to_end() => break,
                Out::Asked => break,
                Out::Rests => self.life.rest(),
                Out::Again => self.life.begin_afresh(),
                Out::Trouble(trouble) => {
                    self.line(true, format!("{}; {}", trouble.what, trouble.fix));
                    let next = self.life.failed(trouble.clone(), Instant::now());
                    self.tell();
                    let goes_on = match next {
                        Some(at) => self.sleep_until(at),
                        None => self.is_asked_again(trouble),
                    };
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        self.leave();
    }

    /// Waits until there is a job and it does not rest; answers whether it is to run at all.
    fn may_run(&mut self) -> bool {
        loop {
            if self.is_to_end() {
                return false;
            }
            match (self.rests, self.job) {
                (true, _) => self.phase(Phase::Paused),
                (false, None) => self.phase(Phase::Waiting),
                (false, Some(version)) if self.is_fit(version) => return true,
                // It is not asked to load a model for nothing.
                (false, Some(version)) => self.phase(Phase::Unfit(version)),
            }
            if !self.sleep_until(Instant::now() + LOOK) {
                return false;
            }
        }
    }

    /// Whether what it makes is what the network wants; a gateway makes nothing.
    fn is_fit(&self, version: u32) -> bool {
        let recipe = &self.charge.recipe;
        recipe.is_gateway() || recipe.certificates.contains(&version)
    }

    /// It is given up until somebody asks for it: the session goes on, perhaps with others. Answers whether somebody did.
    fn is_asked_again(&mut self, trouble: Trouble) -> bool {
        self.say(What::GivenUp(trouble));
        while !(self.again || self.rests) {
            if self.is_to_end() || !self.sleep_until(Instant::now() + LOOK) {
                return false;
            }
        }
        self.life.begin_afresh();
        true
    }

    /// One life of the container, from the search for its engine to its end.
    fn once(&mut self) -> Result<Infallible, Out> {
        self.phase(Phase::Looking);
        self.again = false;
        let (engine, image) = self.find()?;
        self.clear_away(&engine)?;
        self.phase(Phase::Starting);
        self.make_folders()?;
        let id = engine.run(&self.charge.recipe, &image)?;
        self.report.container_id = Some(id.clone());
        self.line(
            false,
            format!(
                "container {} runs ({}); its image is {} ({})",
                self.charge.recipe.name,
                &id[..12],
                image.name,
                image.digest
            ),
        );
        self.printed = Arc::new(Printed::hiding(self.charge.hidden.clone()));
        self.phase(Phase::Loading);
        let out = self.watch(&engine, &id);
        self.report.endpoint = None;
        let grace = match self.stop {
            Some(grace) => {
                self.phase(Phase::Stopping);
                grace
            }
            None => self.charge.section.stop_grace,
        };
        if let Err(trouble) = engine.end(&id, grace) {
            self.line(true, format!("the container could not be removed: {}; {}", trouble.what, trouble.fix));
        }
        self.report.container_id = None;
        out
    }

    /// Whether it is to end, whatever else is ordered.
    pub fn is_to_end(&mut self) -> bool {
        while let Ok(order) = self.ordered.try_recv() {
            self.heed(order);
        }
        self.stop.is_some() || self.called_off.load(Ordering::Relaxed)
    }

    fn heed(&mut self, order: Order) {
        match order {
            Order::Go(version) => self.job = Some(version),
            Order::Again => self.again = true,
            Order::Rest => self.rests = true,
            Order::Wake if self.rests => self.rests = false,
            Order::Wake => self.again |= self.life.phase() == &Phase::Failed,
            Order::Stop(grace) => self.stop = Some(grace),
        }
    }

    /// Sleeps, until something is ordered at the latest; answers whether it is not to end.
    pub fn sleep_until(&mut self, at: Instant) -> bool {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match self.ordered.recv_timeout(left) {
                Ok(Order::Go(version)) => self.job = Some(version),
                Ok(order) => {
                    self.heed(order);
                    return self.stop.is_none();
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}
