//! The provider under measurement: the confined process of a session, with the bench in the supervisor's place.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::{BenchError, process_time};
use crate::config::Config;
use crate::miner::MinerPlan;
use crate::miner::frame::{FromProvider, Receipt, ToProvider, WireJob};
use crate::miner::link::{Event, Link, MinerId, Submission, What};
use crate::miner::plugin::Chosen;
use crate::miner::process::Child;

/// Frames that wait to be looked at; a provider that sends more is slowed down.
const EVENTS_MAX: usize = 256;
/// A provider is asked to tell its progress ten times a second, and its process to pass it on four times: what was
/// done is known for sure after this.
const SETTLE: Duration = Duration::from_millis(400);

/// The provider failed; a phrase that follows its name.
#[derive(Debug)]
pub(super) struct Lost(pub String);

/// A proof that was handed in.
#[derive(Debug)]
pub(super) struct Found {
    pub job: u64,
    pub bytes: Vec<u8>,
}

/// A running provider process.
pub(super) struct Subject {
    child: Child,
    events: mpsc::Receiver<Event>,
    /// Hashes it has told of.
    pub hashes: u64,
    /// Lines it has logged.
    pub logs: Vec<String>,
    proofs: VecDeque<Found>,
    stats: Option<serde_json::Value>,
    started: bool,
    took: u64,
    stopped: bool,
    job: u64,
}

impl Subject {
    /// Starts the process with what the user has granted; `with` replaces settings of the configuration's.
    pub(super) fn start(
        config: &Config,
        chosen: &Chosen,
        with: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, BenchError> {
        let id = &chosen.manifest.id;
        let user = config.mining.grants.get(id).cloned().unwrap_or_default();
        let plan = MinerPlan::new(id.clone(), chosen.clone(), &user, &config.mining.extra);
        let mut launcher = plan.launcher();
        launcher.order.extra.extend(with.clone());
        // What is measured does not stand back.
        launcher.policy.limits.nice = None;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let child = Child::spawn(MinerId(1), 1, &launcher, sender).map_err(BenchError::Spawn)?;
        Ok(Self {
            child,
            events,
            hashes: 0,
            logs: Vec::new(),
            proofs: VecDeque::new(),
            stats: None,
            started: false,
            took: 0,
            stopped: false,
            job: 0,
        })
    }

    /// Waits until the provider mines.
    pub(super) async fn started(&mut self, patience: Duration) -> Result<(), Lost> {
        self.until(patience, "did not start in time", |subject| subject.started).await
    }

    /// Gives it a job and waits until it has taken it.
    pub(super) async fn work(&mut self, job: WireJob, patience: Duration) -> Result<(), Lost> {
        self.job = job.id;
        let id = job.id;
        self.send(ToProvider::Job(job))?;
        self.until(patience, "took no job in time", |subject| subject.took >= id).await
    }

    /// Withdraws the job and waits until all that was done on it is told.
    pub(super) async fn rest(&mut self, patience: Duration) -> Result<(), Lost> {
        self.send(ToProvider::Stale(self.job))?;
        self.pump(SETTLE).await?;
        self.details(patience).await.map(|_| ())
    }

    /// Listens for `time`.
    pub(super) async fn pump(&mut self, time: Duration) -> Result<(), Lost> {
        let until = Instant::now() + time;
        while self.event(until).await? {}
        Ok(())
    }

    /// The next proof, if one comes by `until`.
    pub(super) async fn proof(&mut self, until: Instant) -> Result<Option<Found>, Lost> {
        while self.proofs.is_empty() {
            if !self.event(until).await? {
                return Ok(None);
            }
        }
        Ok(self.proofs.pop_front())
    }

    /// What the provider tells of itself beyond its hashes: an object, or null.
    pub(super) async fn details(&mut self, patience: Duration) -> Result<serde_json::Value, Lost> {
        let mut stats = self.numbers(patience).await?;
        Ok(stats.get_mut("details").map(serde_json::Value::take).unwrap_or_default())
    }

    /// The hashes that the provider has counted by now.
    pub(super) async fn counted(&mut self, patience: Duration) -> Result<u64, Lost> {
        Ok(self.numbers(patience).await?.get("hashes").and_then(serde_json::Value::as_u64).unwrap_or(0))
    }

    async fn numbers(&mut self, patience: Duration) -> Result<serde_json::Value, Lost> {
        self.stats = None;
        self.send(ToProvider::AskStats)?;
        self.until(patience, "did not answer for its numbers in time", |subject| subject.stats.is_some())
            .await?;
        Ok(self.stats.take().unwrap_or_default())
    }

    /// Makes the process stand still until what is returned is dropped.
    pub(super) fn pause(&self) -> process_time::Paused<'_> {
        process_time::Paused::of(self.child.identity())
    }

    /// Processor time that the process has used.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        process_time::of(self.child.identity().pid)
    }

    /// Bytes of it that lie in memory.
    pub(super) fn resident(&self) -> Option<u64> {
        process_time::resident(self.child.identity().pid)
    }

    /// Stops the provider in order.
    pub(super) async fn stop(mut self, patience: Duration) -> Result<(), Lost> {
        self.send(ToProvider::Stop)?;
        self.until(patience, "did not stop in time", |subject| subject.stopped).await?;
        self.child.ended().await;
        Ok(())
    }

    fn send(&mut self, frame: ToProvider) -> Result<(), Lost> {
        if self.child.send(frame) { Ok(()) } else { Err(Lost("does not read its pipe".into())) }
    }

    async fn until(
        &mut self,
        patience: Duration,
        otherwise: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Lost> {
        let until = Instant::now() + patience;
        while !done(self) {
            if !self.event(until).await? {
                return Err(Lost(otherwise.into()));
            }
        }
        Ok(())
    }

    /// Takes one event in, if one comes by `until`.
    async fn event(&mut self, until: Instant) -> Result<bool, Lost> {
        let Ok(event) = timeout_at(until.into(), self.events.recv()).await else { return Ok(false) };
        let Some(event) = event else { return Err(Lost("has gone".into())) };
        match event.what {
            What::Frame(frame) => self.frame(frame)?,
            What::Proof(Submission { sequence, job, proof, place: _ }) => {
                self.proofs.push_back(Found { job, bytes: proof });
                let receipt = if job == self.job { Receipt::Kept } else { Receipt::Stale };
                self.send(ToProvider::Receipt { sequence, receipt, reason: String::new() })?;
            }
            What::Note(text) => self.logs.push(text),
            What::Throttled => self.logs.push("sends more than it should, and is slowed down".into()),
            What::Closed(_) if self.stopped => {}
            What::Closed(why) => {
                let ending = self.child.ended().await;
                let why = why.map(|why| format!(" after {why}")).unwrap_or_default();
                return Err(Lost(format!("ended{why}: {}", ending)));
            }
        }
        Ok(true)
    }

    fn frame(&mut self, frame: FromProvider) -> Result<(), Lost> {
        match frame {
            FromProvider::Started => self.started = true,
            FromProvider::Took(job) => self.took = job,
            FromProvider::Progress(hashes) => self.hashes = self.hashes.saturating_add(hashes),
            FromProvider::Log { message, .. } => self.logs.push(message),
            FromProvider::Denied(what) => self.logs.push(what),
            FromProvider::Stats(json) => self.stats = Some(serde_json::from_str(&json).unwrap_or_default()),
            FromProvider::Failed(why) => return Err(Lost(why)),
            FromProvider::Stopped(_) => self.stopped = true,
            FromProvider::Hello { .. }
            | FromProvider::Confined(_)
            | FromProvider::LogDropped(_)
            | FromProvider::Submit { .. } => {}
        }
        Ok(())
    }
}
