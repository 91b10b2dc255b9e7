//! One provider process, as the supervisor holds it.
//!
//! The process is confined before any foreign code runs in it. What comes out of it arrives as [`Event`]s, in order
//! and bounded: a reader that is not served leaves the pipe full and the provider waiting, and one that is served
//! reads at most [`FRAMES_PER_SECOND`].

use std::os::unix::net::UnixStream as StdStream;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::identity::ProcessIdentity;
use crate::sandbox::{self, Captured, Channel, Command, Ending, Policy, Report, Violation};
use crate::session::frame::{Decoder, Frame, FromProvider, ToProvider, VERSION};
use crate::session::log::Gate;
use crate::session::provider::Order;

/// Frames read per second in the long run. An honest provider needs a few.
pub const FRAMES_PER_SECOND: u32 = 2000;
/// Frames read at once before that.
const FRAMES_BURST: u32 = 4000;
/// Frames that may wait to be written. A process that does not read is not served for ever.
const UNREAD_MAX: usize = 64;
/// What the process prints is kept up to so many bytes between two looks.
const OUTPUT_BYTES_MAX: usize = 8 << 10;

/// The hidden subcommand of the provider process.
pub const SUBCOMMAND: &str = "__provider";

/// What came from a provider process.
#[derive(Debug)]
pub struct Event {
    /// Which process, counted from 1 in a session.
    pub epoch: u64,
    /// What came.
    pub what: What,
}

/// What came from a provider process.
#[derive(Debug)]
pub enum What {
    /// A frame.
    Frame(FromProvider),
    /// Reading was slowed down, because too much came at once.
    Throttled,
    /// The pipe has ended: nothing more comes. Says why if it was ended from our side.
    Closed(Option<String>),
}

/// A running provider process. Dropping it ends it.
#[derive(Debug)]
pub struct Child {
    epoch: u64,
    confined: sandbox::Confined,
    identity: ProcessIdentity,
    frames: mpsc::Sender<ToProvider>,
    violations_seen: u64,
}

impl Child {
    /// Starts a provider process, confined to `policy`, with `order`.
    ///
    /// Blocks until the confinement is in force, milliseconds as a rule. The calling thread must outlive the process.
    ///
    /// # Errors
    ///
    /// [`sandbox::SpawnError`]; nothing is left running then.
    pub fn spawn(
        epoch: u64,
        order: &Order,
        policy: &Policy,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, sandbox::SpawnError> {
        let start = |err| sandbox::SpawnError::Start { program: "pearlbed".into(), err };
        let command = Command::this_program(SUBCOMMAND)
            .map_err(start)?
            .channel(Channel::Stream)
            .capture_bytes(OUTPUT_BYTES_MAX);
        let confined = sandbox::spawn(&command, policy)?;
        let pid = confined.pid().unsigned_abs();
        let identity =
            ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, start_time: 0, boot_id: None });
        let pipe = StdStream::from(confined.channel().try_clone_to_owned().map_err(start)?);
        pipe.set_nonblocking(true).map_err(start)?;
        let (reader, writer) = tokio::net::UnixStream::from_std(pipe).map_err(start)?.into_split();
        let (frames, outgoing) = mpsc::channel(UNREAD_MAX);
        tokio::spawn(write(writer, outgoing));
        tokio::spawn(read(epoch, reader, events));
        let child = Self { epoch, confined, identity, frames, violations_seen: 0 };
        child.send(ToProvider::Hello { version: VERSION });
        let order = serde_json::to_string(order).expect("an order has text keys and plain values");
        child.send(ToProvider::Start(order));
        Ok(child)
    }

    /// Which process of the session it is, counted from 1.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who it is.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// What of the confinement is in force.
    pub fn report(&self) -> &Report {
        self.confined.report()
    }

    /// Queues a frame; answers whether there was room. There is none only if the process has stopped reading.
    pub fn send(&self, frame: ToProvider) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// What the process has printed since the last look, standard output first.
    pub fn output(&mut self) -> [Captured; 2] {
        self.confined.stdout.drain();
        self.confined.stderr.drain();
        [self.confined.stdout.take(), self.confined.stderr.take()]
    }

    /// What it has tried and was refused since the last look.
    pub fn violations(&mut self) -> Vec<Violation> {
        let generation = self.confined.violations().generation();
        if generation == self.violations_seen {
            return Vec::new();
        }
        self.violations_seen = generation;
        self.confined.violations().take()
    }

    /// Ends the process, if it has not ended, and says how it did.
    pub fn end(&mut self) -> Ending {
        self.confined.kill()
    }

    /// Waits a moment for a process whose pipe has ended to end by itself, so that its own ending is seen and not
    /// ours; then ends it.
    pub async fn ended(&mut self) -> Ending {
        for _ in 0..50 {
            if let Some(ending) = self.confined.try_wait() {
                return ending;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.end()
    }
}

async fn write(mut pipe: OwnedWriteHalf, mut frames: mpsc::Receiver<ToProvider>) {
    while let Some(frame) = frames.recv().await {
        if pipe.write_all(&frame.encode()).await.is_err() {
            // The reader sees the end of the pipe, too, and tells.
            return;
        }
    }
}

async fn read(epoch: u64, mut pipe: OwnedReadHalf, events: mpsc::Sender<Event>) {
    let why = read_frames(epoch, &mut pipe, &events).await;
    // Without a listener the session is over.
    let _ = events.send(Event { epoch, what: What::Closed(why) }).await;
}

/// Reads until the pipe ends or makes no sense; says which, for the latter.
async fn read_frames(epoch: u64, pipe: &mut OwnedReadHalf, events: &mpsc::Sender<Event>) -> Option<String> {
    let mut decoder = Decoder::<FromProvider>::default();
    let mut gate = Gate::new(FRAMES_PER_SECOND, FRAMES_BURST, Instant::now());
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return decoder.is_midway().then(|| "its last frame was cut".to_owned()),
            Ok(count) => count,
        };
        decoder.feed(&buffer[..count]);
        loop {
            let frame = match decoder.take() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(err) => return Some(format!("it sent {err}")),
            };
            if !gate.pass(Instant::now()) {
                events.send(Event { epoch, what: What::Throttled }).await.ok()?;
                // A tenth of a second's worth at a time: a timer per frame would cost more than the frame.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                gate.pass(Instant::now());
            }
            events.send(Event { epoch, what: What::Frame(frame) }).await.ok()?;
        }
    }
}
