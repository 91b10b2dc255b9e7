//! The port process, as the supervisor holds it.
//!
//! It is this program again, confined before it hears anybody: it may read nothing of the user's, write nothing, connect
//! nowhere and run nothing. The listeners cross the pipe as open descriptors once it is confined.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::listen::Listener;
use super::serve::LISTENERS_MAX;
use super::wire::{FromPort, Order, ToPort};
use crate::miner::frame::{Decoder, Frame, VERSION};
use crate::sandbox::{self, Channel, Command, Confined, Limits, Policy};

/// The hidden subcommand of the port process.
pub const SUBCOMMAND: &str = "__port";

/// Frames that may wait to be written: jobs and verdicts for every seat, many times over.
const UNREAD_MAX: usize = 4096;
/// Frames from it that may wait to be heeded.
pub const EVENTS_MAX: usize = 16;
/// Memory that it may allocate: a longest line for each connection, twice, and proofs under way.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// What came from a port process.
#[derive(Debug)]
pub struct Event {
    /// From which, counted from 1.
    pub generation: u64,
    /// What.
    pub what: What,
}

/// What came from a port process.
#[derive(Debug)]
pub enum What {
    /// A frame.
    Frame(FromPort),
    /// The pipe has ended; why it was ended from our side, if it was.
    Ended(Option<String>),
}

/// A running port process. Dropping it ends it, and every connection with it.
#[derive(Debug)]
pub struct Process {
    confined: Confined,
    frames: mpsc::Sender<ToPort>,
}

impl Process {
    /// Starts one that serves `listeners`; what it says goes to `events`. Must be called in a tokio runtime, by a thread
    /// that outlives the process.
    ///
    /// # Errors
    ///
    /// [`sandbox::SpawnError`]; nothing is left running then.
    pub fn spawn(
        generation: u64,
        listeners: &[Listener],
        password: Option<String>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, sandbox::SpawnError> {
        let start = |err| sandbox::SpawnError::Start { program: "pearlbed".into(), err };
        let command = Command::this_program(SUBCOMMAND)
            .map_err(start)?
            .title("pearlbed-port")
            .channel(Channel::Stream)
            .capture_bytes(8 << 10);
        let limits = Limits {
            memory_bytes: Some(MEMORY_BYTES_MAX),
            file_bytes: Some(0),
            open_files: 256,
            threads: Some(8),
            memory_files: Some(0),
            nice: Some(0),
            ..Limits::default()
        };
        let confined = sandbox::spawn(&command, &Policy { limits, ..Policy::default() })?;
        send_listeners(confined.channel(), listeners).map_err(start)?;
        let pipe = StdStream::from(confined.channel().try_clone_to_owned().map_err(start)?);
        pipe.set_nonblocking(true).map_err(start)?;
        let (reader, writer) = tokio::net::UnixStream::from_std(pipe).map_err(start)?.into_split();
        let (frames, outgoing) = mpsc::channel(UNREAD_MAX);
        tokio::spawn(write(writer, outgoing));
        tokio::spawn(read(reader, generation, events));
        let order = Order { doors: listeners.iter().map(Listener::door).collect(), password };
        let order = serde_json::to_string(&order).expect("texts and flags become JSON");
        for frame in [ToPort::Hello { version: VERSION }, ToPort::Open(order)] {
            frames.try_send(frame).expect("the queue was just made");
        }
        Ok(Self { confined, frames })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.confined.pid().unsigned_abs()
    }

    /// The way to it.
    pub fn frames(&self) -> mpsc::Sender<ToPort> {
        self.frames.clone()
    }

    /// Whether it took a frame. It does not only if it has stopped reading.
    pub fn send(&self, frame: ToPort) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// Ends it and says how it ended.
    pub fn end(&mut self) -> String {
        self.confined.kill().to_string()
    }

    /// What it was denied since the last look, in words, and what it printed: both should be nothing.
    pub fn strange(&mut self) -> Vec<String> {
        self.confined.stdout.drain();
        self.confined.stderr.drain();
        let mut lines: Vec<String> = self
            .confined
            .violations()
            .take()
            .iter()
            .map(|violation| format!("denied: it {violation}"))
            .collect();
        for output in [self.confined.stdout.take(), self.confined.stderr.take()] {
            let said = output.text.lines().filter(|line| !line.trim().is_empty());
            lines.extend(said.map(|line| format!("it printed: {}", crate::text::foreign(line))));
        }
        lines
    }

    /// What its confinement lacks on this machine.
    pub fn lacks(&self) -> &[String] {
        &self.confined.report().failed
    }
}

/// Sends open listeners, with one byte.
fn send_listeners(channel: BorrowedFd<'_>, listeners: &[Listener]) -> io::Result<()> {
    let rights: Vec<BorrowedFd<'_>> = listeners.iter().take(LISTENERS_MAX).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&rights));
    rustix::net::sendmsg(channel, &[IoSlice::new(b"L")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

async fn write(mut pipe: OwnedWriteHalf, mut frames: mpsc::Receiver<ToPort>) {
    while let Some(frame) = frames.recv().await {
        if pipe.write_all(&frame.encode()).await.is_err() {
            // The reader sees the end of the pipe, too, and tells.
            return;
        }
    }
}

async fn read(mut pipe: OwnedReadHalf, generation: u64, events: mpsc::Sender<Event>) {
    let why = read_frames(&mut pipe, generation, &events).await;
    // Without a listener the session is over.
    let _ = events.send(Event { generation, what: What::Ended(why) }).await;
}

/// Reads until the pipe ends or makes no sense; says which, for the latter.
async fn read_frames(
    pipe: &mut OwnedReadHalf,
    generation: u64,
    events: &mpsc::Sender<Event>,
) -> Option<String> {
    let mut decoder = Decoder::<FromPort>::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return decoder.is_midway().then(|| "its last frame was cut".to_owned()),
            Ok(count) => count,
        };
        decoder.feed(&buffer[..count]);
        loop {
            match decoder.take() {
                Ok(Some(frame)) => events.send(Event { generation, what: What::Frame(frame) }).await.ok()?,
                Ok(None) => break,
                Err(err) => return Some(format!("it sent {err}")),
            }
        }
    }
}
