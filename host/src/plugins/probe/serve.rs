//! The confined child that probes: loads what it is told to load, asks it, and says what it left behind.
//!
//! One child serves many plugins, one after the other. Each is loaded by a process of its own, a copy of the child that
//! is made for it and ended with it: the child itself never holds foreign code, it alone speaks with the parent, and
//! nothing of one plugin reaches the next.
//!
//! ```text
//! parent <──Word── child <──Message── copy: load, detect, look for traces
//!        ──Order─>       ──SIGKILL─>
//! ```
//!
//! Where refused system calls cannot be shown to the parent, nobody can tell the child's own copy from a process that a
//! plugin makes, and so there is no copy: the child loads the plugins itself, as long as none leaves a trace in it. A
//! child with a trace says so and ends.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pearlbed_plugin_api::{HardwareInfo, ProviderError};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::super::failure::Failure;
use super::super::load;
use super::super::units::units;
use super::limits::CHANNEL_GONE;
use super::trace::{DESCRIPTORS_LEFT_MAX, Trace, descriptors, from_outside, output_state};
use super::wire::{Answer, Change, Event, Message, Order, PACKET_BYTES_MAX, Request, Word};
use crate::exit::Exit;
use crate::sandbox::{self, Capture, Captured, EnterError};

/// How much of the output of one plugin is kept, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// The most descriptors that a copy has of its own.
const OWN_DESCRIPTORS_MAX: usize = 8;

/// The whole life of a probing child: confines itself and serves until its parent has no more for it.
///
/// # Errors
///
/// Where it cannot be confined, or a person ran it.
pub fn run() -> Result<Exit, EnterError> {
    let entered = sandbox::enter()?;
    let isolates = isolates(&entered.report);
    serve(entered.channel, isolates)
}

/// Whether a child with this confinement loads each plugin in a process of its own.
pub fn isolates(report: &sandbox::Report) -> bool {
    report.notify
}

fn serve(channel: OwnedFd, isolates: bool) -> ! {
    let parent = rustix::process::getppid();
    let Some(hardware) =
        receive(&channel, parent).and_then(|bytes| serde_json::from_slice::<HardwareInfo>(&bytes).ok())
    else {
        end(0)
    };
    if isolates {
        serve_in_copies(channel, parent, &hardware);
    }
    let Some(mut before) = Trace::take() else { end(0) };
    loop {
        let Some(request) =
            receive(&channel, parent).and_then(|bytes| serde_json::from_slice::<Request>(&bytes).ok())
        else {
            end(0)
        };
        let send = |event| send(&channel, &Message { nonce: request.nonce.clone(), event });
        probe(&request, &hardware, send);
        let Some(after) = Trace::take() else {
            send(Event::Done { changes: vec![Change::Exhausted], threads: 1 });
            end(0);
        };
        let changes = before.changes(&after);
        send(Event::Done { changes: changes.clone(), threads: after.threads });
        if !changes.is_empty() || after.threads > 1 {
            end(0);
        }
        before = after;
    }
}

/// Serves each request in a process of its own.
fn serve_in_copies(channel: OwnedFd, parent: Option<Pid>, hardware: &HardwareInfo) -> ! {
    // Looked at once: a copy begins with the same, but for its descriptors.
    let Some(mut before) = Trace::take() else { end(0) };
    let mut room = vec![0; PACKET_BYTES_MAX];
    loop {
        let Some(bytes) = receive(&channel, parent) else { end(0) };
        if serde_json::from_slice::<Order>(&bytes).is_ok() {
            // Sent about one that had ended in the meantime.
            continue;
        }
        let Ok(request) = serde_json::from_slice::<Request>(&bytes) else { end(0) };
        let lack = |err: &std::io::Error| {
            say(&channel, &Word::Lack(err.raw_os_error().unwrap_or(libc::ENOMEM)));
        };
        let ((ours, theirs), output) = match sandbox::pair().and_then(|pair| Ok((pair, Output::new()?))) {
            Ok(made) => made,
            Err(err) => {
                lack(&err);
                continue;
            }
        };
        let child = std::process::id();
        // SAFETY: this process has one thread, so its copy is whole.
        match unsafe { libc::fork() } {
            -1 => lack(&std::io::Error::last_os_error()),
            0 => {
                // What leads to the parent is not for the plugin, and what it can change of its output is its own.
                drop((channel, ours));
                if sandbox::die_with(child).is_err() || output.take_over().is_err() {
                    end(0);
                }
                before.descriptors = descriptors().unwrap_or_default();
                before.output = output_state();
                serve_one(&theirs, &request, hardware, &before);
            }
            copy => {
                drop(theirs);
                attend((&channel, parent), &request.nonce, &ours, copy, output, &mut room);
            }
        }
    }
}

/// The whole life of a copy.
fn serve_one(channel: &OwnedFd, request: &Request, hardware: &HardwareInfo, before: &Trace) -> ! {
    let send = |event| send(channel, &Message { nonce: request.nonce.clone(), event });
    probe(request, hardware, send);
    let (changes, threads) = match Trace::take() {
        Some(after) => (before.changes(&after), after.threads),
        None => (vec![Change::Exhausted], 1),
    };
    send(Event::Done { changes, threads });
    end(0)
}

/// Where a copy writes to: pipes of its own, that this process reads.
struct Output {
    read: [OwnedFd; 2],
    write: [OwnedFd; 2],
}

impl Output {
    fn new() -> std::io::Result<Self> {
        let ((out, to_out), (err, to_err)) = (std::io::pipe()?, std::io::pipe()?);
        Ok(Self { read: [out.into(), err.into()], write: [to_out.into(), to_err.into()] })
    }

    /// In the copy: writes there from now on.
    fn take_over(self) -> std::io::Result<()> {
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&self.write[0])?;
        Ok(rustix::stdio::dup2_stderr(&self.write[1])?)
    }

    /// In the process that made the copy: what is written, bounded.
    fn captures(self) -> std::io::Result<[Capture; 2]> {
        let [out, err] = self.read;
        Ok([Capture::new(out, OUTPUT_BYTES_MAX)?, Capture::new(err, OUTPUT_BYTES_MAX)?])
    }
}

fn say(channel: &OwnedFd, word: &Word) {
    send_bytes(channel, &serde_json::to_vec(word).expect("numbers and texts are JSON"));
}

/// Passes on what the process `copy` says and prints, until it has ended. It was asked with `nonce`; `room` is for a packet.
fn attend(
    (channel, parent): (&OwnedFd, Option<Pid>),
    nonce: &str,
    copy_channel: &OwnedFd,
    copy: i32,
    output: Output,
    room: &mut [u8],
) {
    let say = |word: &Word| say(channel, word);
    let Ok(mut output) = output.captures() else { end(CHANNEL_GONE) };
    say(&Word::Started(copy));
    let mut killed = false;
    let mut listens = true;
    while listens && !killed {
        let mut fds = vec![PollFd::new(copy_channel, PollFlags::IN), PollFd::new(channel, PollFlags::IN)];
        let streams = output.iter().filter_map(Capture::stream);
        fds.extend(streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => end(CHANNEL_GONE),
        }
        let [from_copy, from_parent] = [0, 1].map(|index| !fds[index].revents().is_empty());
        drop(fds);
        output.iter_mut().for_each(Capture::drain);
        if from_copy {
            // Its end closes by its own doing or by its death; without an end there is nothing more to hear.
            match rustix::net::recv(copy_channel, &mut *room, RecvFlags::DONTWAIT) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                Ok((_, 0)) | Err(_) => listens = false,
                Ok((_, count)) => match serde_json::from_slice::<Message>(&room[..count]) {
                    // What it says without that is not the host's half of it.
                    Ok(message) if message.nonce != nonce => say(&Word::Rubbish),
                    Ok(mut message) => {
                        // Nothing that it does after this is asked for.
                        let is_last = matches!(message.event, Event::Done { .. });
                        see_for_oneself(&mut message.event, copy);
                        say(&Word::Said(message));
                        if is_last {
                            kill(copy);
                            killed = true;
                        }
                    }
                    Err(_) => say(&Word::Rubbish),
                },
            }
        }
        killed |= from_parent && follow_order(channel, parent, copy) == Order::CutOff;
    }
    // It may live on without a voice, and its parent may still have something to say about that.
    while !killed && !has_ended(copy) {
        output.iter_mut().for_each(Capture::drain);
        let mut fds = [PollFd::new(channel, PollFlags::IN)];
        let look_again = rustix::time::Timespec { tv_sec: 0, tv_nsec: 200_000 };
        let spoken = rustix::event::poll(&mut fds, Some(&look_again)) == Ok(1);
        killed = spoken && follow_order(channel, parent, copy) == Order::CutOff;
    }
    let ending = sandbox::reap(copy);
    for (index, stream) in output.iter_mut().enumerate() {
        stream.drain();
        let Captured { text, bytes_left_out } = stream.take();
        if !text.is_empty() || bytes_left_out > 0 {
            say(&Word::Printed { first: index == 0, text, bytes_left_out });
        }
    }
    say(&Word::Ended {
        status: ending.status,
        signal: ending.signal,
        memory_peak_bytes: ending.memory_peak_bytes,
    });
}

/// Corrects what `copy` says that it leaves behind by what can be seen of it: it holds foreign code, which may say it.
fn see_for_oneself(event: &mut Event, copy: i32) {
    let Event::Done { changes, threads } = event else { return };
    let (seen, open) = from_outside(copy);
    *threads = seen.max(*threads);
    // Beside standard input, output and error it has its channel and what it was loaded through.
    let left = open.saturating_sub(OWN_DESCRIPTORS_MAX);
    let is_told = |change: &Change| {
        matches!(change, Change::LeftDescriptors(_) | Change::Exhausted | Change::ClosedDescriptors)
    };
    if left > DESCRIPTORS_LEFT_MAX && !changes.iter().any(is_told) {
        changes.push(Change::LeftDescriptors(left));
    }
}

/// Does what the parent says about `copy`, which has not been reaped.
fn follow_order(channel: &OwnedFd, parent: Option<Pid>, copy: i32) -> Order {
    let order = receive(channel, parent).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(order) = order else {
        kill(copy);
        end(0)
    };
    match order {
        Order::CutOff => kill(copy),
    }
    order
}

fn kill(copy: i32) {
    if let Some(copy) = Pid::from_raw(copy) {
        // It can only have ended already.
        let _ = rustix::process::kill_process(copy, Signal::KILL);
    }
}

/// Whether `copy` has ended and waits to be reaped.
fn has_ended(copy: i32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let Some(copy) = Pid::from_raw(copy) else { return true };
    !matches!(rustix::process::waitid(WaitId::Pid(copy), options), Ok(None))
}

fn probe(request: &Request, hardware: &HardwareInfo, send: impl Fn(Event)) {
    let started = Instant::now();
    // SAFETY: this process is confined and expendable.
    let loaded = unsafe {
        load::open(Path::new(OsStr::from_bytes(&request.path)), Some(&request.identity), Some(&request.id))
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(err) => return send(Event::Failed { failure: err.failure(), after: started.elapsed() }),
    };
    send(Event::Loaded { after: started.elapsed() });
    let ask = |hardware: &HardwareInfo, engine: &str| -> Result<Answer, Failure> {
        match loaded.provider.detect(hardware, engine, &request.model) {
            Ok(answer) => Ok(Answer {
                supported: answer.supported,
                reason: answer.reason,
                estimated_hashrate: answer.estimated_hashrate,
            }),
            Err(err) => Err(failure(&err)),
        }
    };
    let asked = Instant::now();
    // With the first engine that it supports; where it supports none, what it said of the first.
    let mut engine = request.engines.first().map_or("", String::as_str);
    let mut answer = ask(hardware, engine);
    for other in request.engines.iter().skip(1) {
        if !matches!(&answer, Ok(answer) if !answer.supported) {
            break;
        }
        if let Ok(next) = ask(hardware, other)
            && next.supported
        {
            (answer, engine) = (Ok(next), other);
        }
    }
    let after = asked.elapsed();
    match answer {
        Ok(answer) => {
            send(Event::Answered { answer, after });
            let units = if request.each_device { units(hardware) } else { Vec::new() };
            for (unit, one) in units.iter().enumerate() {
                send(Event::OfDevice { unit, answer: ask(&one.alone, engine) });
            }
        }
        Err(failure) => send(Event::Failed { failure, after }),
    }
    // Its destructor is foreign code that nobody asked for, and the library stays anyway.
    std::mem::forget(loaded);
}

fn failure(err: &ProviderError) -> Failure {
    match err {
        ProviderError::Panicked(message) => Failure::PanickedInDetect(message.clone()),
        ProviderError::Contract(what) => Failure::BadAnswer(what.clone()),
        err => Failure::DetectFailed(err.to_string()),
    }
}

/// The next packet; `None` once the parent has closed its end or is no more.
fn receive(channel: &OwnedFd, parent: Option<Pid>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    loop {
        match rustix::net::recv(channel, &mut bytes[..], RecvFlags::empty()) {
            Ok((_, 0)) => return None,
            Ok((_, count)) => {
                bytes.truncate(count);
                return Some(bytes);
            }
            Err(Errno::INTR) => {}
            // Where a channel does not tell that the parent has ended, it gives up waiting now and then.
            Err(Errno::AGAIN) if rustix::process::getppid() == parent => {}
            Err(Errno::BADF | Errno::NOTSOCK) => end(CHANNEL_GONE),
            Err(_) => return None,
        }
    }
}

fn send(channel: &OwnedFd, message: &Message) {
    send_bytes(channel, &serde_json::to_vec(message).expect("numbers and texts are JSON"));
}

fn send_bytes(channel: &OwnedFd, bytes: &[u8]) {
    loop {
        match rustix::net::send(channel, bytes, SendFlags::empty()) {
            Ok(_) => return,
            Err(Errno::INTR) => {}
            // A plugin closed the channel, or put another file in its place.
            Err(_) => end(CHANNEL_GONE),
        }
    }
}

/// Ends the process without running what a plugin registered for its end.
fn end(status: i32) -> ! {
    // SAFETY: the call only ends the process.
    unsafe { libc::_exit(status) }
}

/// How long serialised durations are taken seriously: what a child claims cannot exceed what was waited for.
pub fn plausible(claimed: Duration, waited: Duration) -> Duration {
    claimed.min(waited)
}
