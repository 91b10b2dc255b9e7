//! The confined child that probes: loads what it is told to load, asks it, and says what it left behind.
//!
//! One child serves many plugins, one after the other, as long as none leaves a trace in it: a thread, a signal handler,
//! a changed environment. A child with a trace says so and ends, so that nothing of one plugin reaches the next.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr};
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pearlbed_plugin_api::{HardwareInfo, ProviderError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustix::process::Pid;

use super::super::load;
use super::super::reason::Reason;
use super::wire::{Answer, Event, Message, PACKET_BYTES_MAX, Request};
use crate::exit::Exit;
use crate::sandbox::{self, EnterError};

/// The status of a child whose channel was closed under it.
pub const CHANNEL_GONE: i32 = 81;

/// The most descriptors that a plugin may leave open without a word: the next one needs some, too.
const DESCRIPTORS_LEFT_MAX: usize = 16;

/// What is said where the priority was changed: the parent, which lowers that of slow children, knows it again.
pub const PRIORITY: &str = "changed the priority of the process";

/// What is said where the process is in no state to be looked at.
const EXHAUSTED: &str = "left no memory or descriptor to look at its process with";

/// The whole life of a probing child: confines itself and serves until its parent has no more for it.
///
/// # Errors
///
/// Where it cannot be confined, or a person ran it.
pub fn run() -> Result<Exit, EnterError> {
    let entered = sandbox::enter()?;
    serve(&entered.channel)
}

fn serve(channel: &OwnedFd) -> ! {
    let parent = rustix::process::getppid();
    let Some(hardware) =
        receive(channel, parent).and_then(|bytes| serde_json::from_slice::<HardwareInfo>(&bytes).ok())
    else {
        end(0)
    };
    let Some(mut before) = Trace::take() else { end(0) };
    loop {
        let Some(request) =
            receive(channel, parent).and_then(|bytes| serde_json::from_slice::<Request>(&bytes).ok())
        else {
            end(0)
        };
        let send = |event| send(channel, &Message { nonce: request.nonce.clone(), event });
        probe(&request, &hardware, send);
        let Some(after) = Trace::take() else {
            send(Event::Done { changes: vec![EXHAUSTED.into()], threads: 1 });
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

fn probe(request: &Request, hardware: &HardwareInfo, send: impl Fn(Event)) {
    let started = Instant::now();
    // SAFETY: this process is confined and expendable.
    let loaded = unsafe {
        load::open(Path::new(OsStr::from_bytes(&request.path)), Some(&request.identity), Some(&request.id))
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(err) => return send(Event::Failed { reason: err.reason().into(), after: started.elapsed() }),
    };
    send(Event::Loaded { after: started.elapsed() });
    let asked = Instant::now();
    let answer = loaded.provider.detect(hardware, &request.engine_id, &request.model);
    let after = asked.elapsed();
    match answer {
        Ok(answer) => send(Event::Answered {
            answer: Answer {
                supported: answer.supported,
                reason: answer.reason,
                estimated_hashrate: answer.estimated_hashrate,
            },
            after,
        }),
        Err(err) => send(Event::Failed { reason: explain(&err).into(), after }),
    }
    // Its destructor is foreign code that nobody asked for, and the library stays anyway.
    std::mem::forget(loaded);
}

fn explain(err: &ProviderError) -> Reason {
    const REPORT: &str = "report it to its author";
    match err {
        ProviderError::Panicked(message) => {
            Reason::new("panicked", format!("it panicked in detect: {message}"), REPORT)
        }
        ProviderError::Contract(what) => {
            Reason::new("bad-answer", format!("its answer is none: {what}"), REPORT)
        }
        err => Reason::new("detect-failed", format!("its detect failed: {err}"), REPORT),
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
    let bytes = serde_json::to_vec(message).expect("numbers and texts are JSON");
    loop {
        let sent = rustix::net::sendmsg(
            channel,
            &[IoSlice::new(&bytes)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::empty(),
        );
        match sent {
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

/// What a plugin could leave behind in the process.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    threads: u32,
    signals: Vec<u64>,
    handlers: Vec<usize>,
    umask: Option<String>,
    folder: Option<std::path::PathBuf>,
    environment: BTreeSet<Vec<u8>>,
    locale: Vec<u8>,
    nice: Option<i32>,
    affinity: Option<String>,
    rounding: u64,
    limits: Vec<(Option<u64>, Option<u64>)>,
    /// Each with the file that it leads to.
    descriptors: BTreeMap<i32, (u64, u64)>,
    alarm: bool,
}

impl Trace {
    /// `None` where the process has nothing left to look with.
    fn take() -> Option<Self> {
        use rustix::process::{Resource, getrlimit};
        let status = std::fs::read_to_string("/proc/self/status");
        // macOS has no such file.
        let status = if cfg!(target_os = "linux") { status.ok()? } else { String::new() };
        let line = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let limits = [
            Resource::As,
            Resource::Core,
            Resource::Cpu,
            Resource::Data,
            Resource::Fsize,
            Resource::Nofile,
            Resource::Stack,
        ];
        // SAFETY: with a null pointer the call only answers, with a string that lives until the next call.
        let locale = unsafe {
            let locale = libc::setlocale(libc::LC_ALL, std::ptr::null());
            if locale.is_null() { vec![] } else { CStr::from_ptr(locale).to_bytes().to_vec() }
        };
        Some(Self {
            threads: line("Threads:").and_then(|count| count.parse().ok()).unwrap_or(1),
            signals: ["SigBlk:", "SigIgn:", "SigCgt:"]
                .iter()
                .filter_map(|name| u64::from_str_radix(&line(name)?, 16).ok())
                // The C library takes the first two real-time signals for itself as the first thread starts.
                .map(|set| set & !(0b11 << 31))
                .collect(),
            handlers: (1..32).map(handler).collect(),
            umask: line("Umask:"),
            folder: std::env::current_dir().ok(),
            environment: environment(),
            locale,
            nice: rustix::process::getpriority_process(None).ok(),
            affinity: line("Cpus_allowed:"),
            rounding: rounding(),
            limits: limits.map(getrlimit).iter().map(|limit| (limit.current, limit.maximum)).collect(),
            descriptors: descriptors()?,
            alarm: alarm_is_set(),
        })
    }

    /// What `after` has that this had not, in words: each the end of the sentence "it …".
    fn changes(&self, after: &Self) -> Vec<String> {
        let mut changes = vec![];
        let mut note = |changed: bool, what: &str| {
            if changed {
                changes.push(what.to_owned());
            }
        };
        let signals = (&self.signals, &self.handlers) != (&after.signals, &after.handlers);
        note(signals, "changed the handling of signals");
        note(self.umask != after.umask, "changed the mask of new files");
        note(self.folder != after.folder, "changed the working directory");
        note(self.environment != after.environment, "changed the environment");
        note(self.locale != after.locale, "changed the locale");
        note(self.nice != after.nice, PRIORITY);
        note(self.affinity != after.affinity, "changed on which processors the process runs");
        note(self.rounding != after.rounding, "changed how numbers are rounded");
        note(self.limits != after.limits, "changed resource limits");
        note(!self.alarm && after.alarm, "left an alarm running");
        let closed = self.descriptors.keys().any(|number| !after.descriptors.contains_key(number));
        note(closed, "closed descriptors that it did not open");
        let replaced =
            |(number, file): (&i32, _)| after.descriptors.get(number).is_some_and(|now| now != file);
        note(
            self.descriptors.iter().any(replaced),
            "put other files in the place of those that it found open",
        );
        let left = after.descriptors.keys().filter(|number| !self.descriptors.contains_key(number)).count();
        if left > DESCRIPTORS_LEFT_MAX {
            changes.push(format!("left {left} descriptors open"));
        }
        changes
    }
}

/// The variables as they lie in memory: `std::env` would miss what C code put there in other ways.
fn environment() -> BTreeSet<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut variables = BTreeSet::new();
    // SAFETY: this process has one thread that reads or changes it while no plugin runs; a plugin that left a broken
    // array crashes this process, and is the one that is blamed.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() && variables.len() < 10_000 {
            variables.insert(CStr::from_ptr(*next).to_bytes().to_vec());
            next = next.add(1);
        }
    }
    variables
}

/// The open descriptors from 0 on; `None` where none is left to look with.
fn descriptors() -> Option<BTreeMap<i32, (u64, u64)>> {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let numbers: Vec<i32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    let file = |number: i32| {
        // The listing's own descriptor was in the list and is closed by now.
        // SAFETY: a descriptor that is not open only makes the call fail; it is not kept.
        let status = rustix::fs::fstat(unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }).ok()?;
        #[expect(clippy::useless_conversion, reason = "the widths are not the same everywhere")]
        Some((number, (status.st_dev.try_into().unwrap_or(0), status.st_ino.into())))
    };
    Some(numbers.into_iter().filter_map(file).collect())
}

/// What is called on `signal`, as a number.
fn handler(signal: i32) -> usize {
    // SAFETY: the structure is plain numbers, and the call with a null pointer only answers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action);
        action.sa_sigaction
    }
}

/// How the processor rounds, and whether it takes the smallest numbers for zero.
fn rounding() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut word = 0_u32;
        // SAFETY: the instruction writes four bytes, which live.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack)) };
        // Without the flags of what has happened.
        u64::from(word & !0x3f)
    }
    #[cfg(target_arch = "aarch64")]
    {
        let word: u64;
        // SAFETY: the instruction reads a register that every process may read.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack)) };
        word
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    0
}

/// Whether a timer runs that will signal the process.
fn alarm_is_set() -> bool {
    let interval = |which| {
        let none = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let mut timer = libc::itimerval { it_interval: none, it_value: none };
        // SAFETY: the call writes one structure, which lives.
        let answer = unsafe { libc::getitimer(which, &mut timer) };
        answer == 0 && (timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0)
    };
    [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF].into_iter().any(interval)
        // Where the kernel lists the others.
        || std::fs::read("/proc/self/timers").is_ok_and(|timers| !timers.is_empty())
}

/// How long serialised durations are taken seriously: what a child claims cannot exceed what was waited for.
pub fn plausible(claimed: Duration, waited: Duration) -> Duration {
    claimed.min(waited)
}
