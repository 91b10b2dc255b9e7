//! What a miner and the host have between them, whatever the miner is.
//!
//! ```text
//! Launch --launch--> Link  --ToProvider-->  the miner
//!                          <--Event-------  (on the channel that was given to its maker)
//! ```
//!
//! Only who makes a [`Link`] knows of which kind it is: a process of our own ([`super::process`]), or a connection that
//! somebody else made, many of which may share one pipe. A link sends and ends; what comes back arrives as [`Event`]s,
//! each with the number of the miner and of the link, so that a late word of an earlier link is told from one of today's.

use std::fmt;

use tokio::sync::OwnedSemaphorePermit;

use super::frame::{FromProvider, ToProvider};
use crate::identity::ProcessIdentity;
use crate::sandbox::Waits;

/// Number of a miner in its session; never used twice in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinerId(pub u32);

/// What came from a miner.
#[derive(Debug)]
pub struct Event {
    /// From which.
    pub miner: MinerId,
    /// Over which of its links, counted from 1.
    pub generation: u64,
    /// What came.
    pub what: What,
}

/// What came from a miner.
#[derive(Debug)]
pub enum What {
    /// A frame, but for those that have a form of their own here.
    Frame(FromProvider),
    /// A proof: [`FromProvider::Submit`], with its place in the queue of the verifier.
    Proof(Submission),
    /// Reading was slowed down, because too much came at once.
    Throttled,
    /// Something about the link that a person should know.
    Note(String),
    /// The link has ended: nothing more comes over it. Says why if it was ended from our side.
    Closed(Option<String>),
}

/// A proof that a miner handed in.
#[derive(Debug)]
pub struct Submission {
    /// Its number on this link.
    pub sequence: u64,
    /// The job it is for, by the number that this miner knows.
    pub job: u64,
    /// Plain proof bytes (protocol section 9.1).
    pub proof: Vec<u8>,
    /// Dropped when it is judged: until then it counts against what this one miner may have waiting.
    pub place: Place,
}

/// A place among the proofs of one miner that wait to be judged. A miner that has used up its places is not read from
/// until one is free, so that it holds up nobody but itself.
#[derive(Debug, Default)]
pub struct Place(#[expect(dead_code, reason = "held to be dropped")] Option<OwnedSemaphorePermit>);

impl Place {
    /// A place of a bounded number.
    pub fn of(permit: OwnedSemaphorePermit) -> Self {
        Self(Some(permit))
    }
}

/// The way to a miner. Dropping it ends the miner.
pub trait Link: fmt::Debug {
    /// Queues a frame; answers whether there was room. There is none only if the miner has stopped reading.
    fn send(&mut self, frame: ToProvider) -> bool;

    /// Ends the miner, if it has not ended, and says how it did.
    fn end(&mut self) -> String;

    /// How the miner ended, once it has by itself. Asked after [`What::Closed`].
    fn try_ended(&mut self) -> Option<String>;

    /// What there is to see beside the frames since the last look.
    fn look(&mut self) -> Look {
        Look::default()
    }

    /// The process behind it, where there is one of ours.
    fn process(&self) -> Option<&ProcessIdentity> {
        None
    }

    /// What the threads of that process have waited for a processor, where the system tells.
    fn waits(&self) -> Option<Waits> {
        None
    }

    /// How the process is confined, where there is one of ours: a line for each thing that this machine lacks.
    fn confinement(&self) -> Option<&[String]> {
        None
    }
}

/// What a link saw beside the frames.
#[derive(Debug, Default)]
pub struct Look {
    /// Lines that the miner printed.
    pub printed: Vec<String>,
    /// Bytes of print that were left out.
    pub bytes_left_out: u64,
    /// What it tried and was refused, with how often.
    pub denied: Vec<(String, u64)>,
}

/// Makes links to one miner, again and again. A miner that comes by itself has none.
pub trait Launch: fmt::Debug {
    /// Makes the link with the number `generation`; what comes over it goes to `events`.
    ///
    /// # Errors
    ///
    /// Why there is none; nothing is left running then.
    fn launch(
        &self,
        miner: MinerId,
        generation: u64,
        events: &tokio::sync::mpsc::Sender<Event>,
    ) -> Result<Box<dyn Link>, LaunchError>;
}

/// Why a miner's process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("could not be started")]
pub struct LaunchError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
