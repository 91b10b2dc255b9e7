//! The line to one miner: its link, what makes the next one, and how the last one ended.
//!
//! Owns the link. It sends what it is told to send and says what came of it; what follows is decided in
//! [`super::machine`].

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::frame::ToProvider;
use super::link::{Event, Launch, LaunchError, Link, Look, MinerId};
use crate::sandbox::Waits;

/// How long a process whose pipe has ended may take to end by itself, so that its own ending is seen and not ours.
const LEAVING_TIME: Duration = Duration::from_millis(100);
/// Between two looks at one that is leaving.
const LEAVING_LOOK: Duration = Duration::from_millis(2);

/// The line.
#[derive(Debug)]
pub struct Line {
    miner: MinerId,
    launch: Option<Box<dyn Launch>>,
    events: mpsc::Sender<Event>,
    link: Option<Box<dyn Link>>,
    generation: u64,
    /// The newest link has not ended: something may still come over it.
    open: bool,
    /// It has ended, and how the miner behind it did is not known yet.
    leaving: Option<(Instant, Option<String>)>,
}

/// How a link ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// Why it was ended from our side, if it was.
    pub why: Option<String>,
    /// How the miner behind it ended.
    pub ending: String,
}

impl Line {
    /// A line without a link. `launch` makes links; what comes over them goes to `events`.
    pub fn new(miner: MinerId, launch: Option<Box<dyn Launch>>, events: mpsc::Sender<Event>) -> Self {
        Self { miner, launch, events, link: None, generation: 0, open: false, leaving: None }
    }

    /// Whose it is.
    pub fn id(&self) -> MinerId {
        self.miner
    }

    /// Makes a new link; answers whether there is something that makes any.
    ///
    /// # Errors
    ///
    /// Why there is none; nothing is left running then.
    pub fn connect(&mut self) -> Result<bool, LaunchError> {
        let Some(launch) = &self.launch else { return Ok(false) };
        let link = launch.launch(self.miner, self.generation + 1, &self.events)?;
        self.take(link);
        Ok(true)
    }

    /// Makes its next link by `launch`.
    pub fn set_launch(&mut self, launch: Option<Box<dyn Launch>>) {
        self.launch = launch;
    }

    /// Takes a link that somebody else made, with the next number.
    pub fn take(&mut self, link: Box<dyn Link>) {
        self.generation += 1;
        self.open = true;
        self.leaving = None;
        self.link = Some(link);
    }

    /// The number of the newest link, counted from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether there is a link, be it one that is leaving.
    pub fn is_up(&self) -> bool {
        self.link.is_some()
    }

    /// Whether something may still come over the newest link.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the link has ended, and how the miner did is not known yet.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// The process behind the link, while there is one of ours.
    pub fn pid(&self) -> Option<u32> {
        self.link.as_ref()?.process().map(|process| process.pid)
    }

    /// What its threads have waited for a processor, where the system tells.
    pub fn waits(&self) -> Option<Waits> {
        self.link.as_ref()?.waits()
    }

    /// How that process is confined: a line for each thing that this machine lacks.
    pub fn confinement(&self) -> Option<&[String]> {
        self.link.as_ref()?.confinement()
    }

    /// What there is to see beside the frames.
    pub fn look(&mut self) -> Look {
        self.link.as_mut().map(|link| link.look()).unwrap_or_default()
    }

    /// Sends a frame, if there is a link. A miner that does not read is ended, and the answer is false; the end of its link
    /// comes as an event then.
    pub fn send(&mut self, frame: ToProvider) -> bool {
        let Some(link) = &mut self.link else { return true };
        if link.send(frame) || !self.open {
            return true;
        }
        link.end();
        false
    }

    /// Ends the miner now.
    pub fn end(&mut self) {
        if let Some(mut link) = self.link.take() {
            link.end();
        }
        self.leaving = None;
    }

    /// The newest link has ended: nothing more comes over it.
    pub fn closed(&mut self, why: Option<String>, now: Instant) {
        self.open = false;
        if self.link.is_some() {
            self.leaving = Some((now, why));
        }
    }

    /// How the link that has ended did, once that can be seen, with a last look at what came beside it. Once.
    pub fn left(&mut self, now: Instant) -> Option<(Left, Look)> {
        let (since, why) = self.leaving.as_ref()?;
        let link = self.link.as_mut()?;
        let overdue = why.is_some() || now.saturating_duration_since(*since) >= LEAVING_TIME;
        let ending = match link.try_ended() {
            Some(ending) => ending,
            None if overdue => link.end(),
            None => return None,
        };
        let look = link.look();
        let why = self.leaving.take().and_then(|(_, why)| why);
        self.link = None;
        Some((Left { why, ending }, look))
    }

    /// When [`Self::left`] is to be asked again, if ever.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.leaving.as_ref().map(|_| now + LEAVING_LOOK)
    }
}
