//! Everything that comes in to a session, one thing at a time.

use std::io;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, sleep_until};

use super::reload::Read;
use crate::container::keeper;
use crate::miner::MinerId;
use crate::miner::effect::Judged;
use crate::miner::link::Event;
use crate::port::process as port;
use crate::session::control::Call;
use crate::work::{WorkEvent, WorkHandle};

/// Events that may wait, of all miners together.
const EVENTS_MAX: usize = 64;

/// Where everything comes in.
pub(super) struct Inbox {
    calls: mpsc::Receiver<Call>,
    /// What comes from the miners.
    pub events: mpsc::Receiver<Event>,
    /// What comes from the port process.
    pub port: mpsc::Receiver<port::Event>,
    /// Verdicts on their proofs.
    pub judged: mpsc::UnboundedReceiver<(MinerId, Judged)>,
    /// What comes from the keepers of containers.
    pub containers: mpsc::Receiver<keeper::Event>,
    planned: mpsc::Receiver<Planned>,
    planned_in: mpsc::Sender<Planned>,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// The ways in, for whoever has something to say.
pub(super) struct Ways {
    /// For the miners.
    pub events: mpsc::Sender<Event>,
    /// For the port process.
    pub port: mpsc::Sender<port::Event>,
    /// For the verifier.
    pub judged: mpsc::UnboundedSender<(MinerId, Judged)>,
}

/// A configuration that was read again, with the plans for its miners, and whoever asked for that.
pub(super) struct Planned {
    /// What was read, or why it cannot be used.
    pub read: Result<Read, String>,
    /// Who asked.
    pub asker: Option<oneshot::Sender<serde_json::Value>>,
}

/// One thing that came in.
pub(super) enum Turn {
    Miner(Event),
    Port(port::Event),
    Container(keeper::Event),
    Judged(MinerId, Judged),
    Work(Option<WorkEvent>),
    Call(Call),
    Stop(&'static str),
    Reload,
    Planned(Box<Planned>),
    Wake,
    Tick,
}

impl Inbox {
    /// An inbox for `calls`, what keepers of containers say, and everything else, from now on.
    ///
    /// # Errors
    ///
    /// Where the signals cannot be heeded.
    pub fn open(
        calls: mpsc::Receiver<Call>,
        containers: mpsc::Receiver<keeper::Event>,
    ) -> io::Result<(Self, Ways)> {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (port_in, port) = mpsc::channel(port::EVENTS_MAX);
        let (judged_in, judged) = mpsc::unbounded_channel();
        let (planned_in, planned) = mpsc::channel(1);
        let inbox = Self {
            calls,
            events,
            port,
            judged,
            containers,
            planned,
            planned_in,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        };
        Ok((inbox, Ways { events: events_in, port: port_in, judged: judged_in }))
    }

    /// The way in for a configuration that was read again.
    pub fn planned_in(&self) -> mpsc::Sender<Planned> {
        self.planned_in.clone()
    }

    /// The next thing; at `wake_at` at the latest, if there is such a moment.
    pub async fn next(
        &mut self,
        work: &mut WorkHandle,
        wake_at: Option<Instant>,
        tick: &mut Interval,
    ) -> Turn {
        tokio::select! {
            Some(event) = self.events.recv() => Turn::Miner(event),
            Some(event) = self.port.recv() => Turn::Port(event),
            Some(event) = self.containers.recv() => Turn::Container(event),
            Some((miner, judged)) = self.judged.recv() => Turn::Judged(miner, judged),
            event = work.events.recv() => Turn::Work(event),
            Some(call) = self.calls.recv() => Turn::Call(call),
            Some(planned) = self.planned.recv() => Turn::Planned(Box::new(planned)),
            _ = self.interrupt.recv() => Turn::Stop("interrupted (SIGINT)"),
            _ = self.terminate.recv() => Turn::Stop("told to end (SIGTERM)"),
            _ = self.hangup.recv() => Turn::Reload,
            () = sleep_until_some(wake_at) => Turn::Wake,
            _ = tick.tick() => Turn::Tick,
        }
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
