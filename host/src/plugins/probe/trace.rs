//! What a plugin could leave behind in its process, looked at before and after.
//!
//! Nothing is changed here, and nothing judged: a change is only named.
//!
//! # Limitations
//!
//! Most of it is looked at by the process itself, whose code can lie about it. What is seen from without ([`from_outside`])
//! takes the place of what it says where that is less.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

use super::wire::Change;

/// The most descriptors that a plugin may leave open without a word: the next one needs some, too.
pub const DESCRIPTORS_LEFT_MAX: usize = 16;

/// What a plugin could leave behind in the process.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// How many threads there are.
    pub threads: u32,
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
    /// Open descriptors, each with the file that it leads to.
    pub descriptors: BTreeMap<i32, (u64, u64)>,
    alarm: bool,
    /// How standard input, output and error are written.
    pub output: Vec<(u32, usize)>,
}

impl Trace {
    /// `None` where the process has nothing left to look with.
    pub fn take() -> Option<Self> {
        use rustix::process::{Resource, getrlimit};
        let status = crate::text::read_lossy("/proc/self/status");
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
            output: output_state(),
        })
    }

    /// What `after` has that this had not.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let mut changes = vec![];
        let mut note = |changed: bool, what: Change| {
            if changed {
                changes.push(what);
            }
        };
        let signals = (&self.signals, &self.handlers) != (&after.signals, &after.handlers);
        note(signals, Change::Signals);
        note(self.umask != after.umask, Change::Umask);
        note(self.folder != after.folder, Change::Folder);
        note(self.environment != after.environment, Change::Environment);
        note(self.locale != after.locale, Change::Locale);
        note(self.nice != after.nice, Change::Priority);
        note(self.affinity != after.affinity, Change::Processors);
        note(self.rounding != after.rounding, Change::Rounding);
        note(self.limits != after.limits, Change::Limits);
        note(!self.alarm && after.alarm, Change::Alarm);
        let closed = self.descriptors.keys().any(|number| !after.descriptors.contains_key(number));
        note(closed, Change::ClosedDescriptors);
        let replaced =
            |(number, file): (&i32, _)| after.descriptors.get(number).is_some_and(|now| now != file);
        let replaced = self.descriptors.iter().any(replaced);
        note(replaced, Change::ReplacedDescriptors);
        // What is another file is written in another way.
        note(!closed && !replaced && self.output != after.output, Change::Output);
        let left = after.descriptors.keys().filter(|number| !self.descriptors.contains_key(number)).count();
        if left > DESCRIPTORS_LEFT_MAX {
            changes.push(Change::LeftDescriptors(left));
        }
        changes
    }
}

/// What can be seen of the process `id` from without, where its code has no say: how many threads it has, and how many
/// descriptors. Nothing of one that has gone.
pub fn from_outside(id: i32) -> (u32, usize) {
    let status = crate::text::read_lossy(format!("/proc/{id}/status")).unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
    (threads.unwrap_or(0), descriptors)
}

/// More of an environment is not looked at: a plugin can leave one without an end.
const ENVIRONMENT_BYTES_MAX: usize = 256 << 10;

/// The variables as they lie in memory: `std::env` would miss what C code put there in other ways.
fn environment() -> BTreeSet<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let (mut variables, mut left) = (BTreeSet::new(), ENVIRONMENT_BYTES_MAX);
    // SAFETY: this process has one thread that reads or changes it while no plugin runs; a plugin that left a broken
    // array crashes this process, and is the one that is blamed.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() && left > 0 {
            let length = libc::strnlen(*next, left);
            variables.insert(std::slice::from_raw_parts((*next).cast(), length).to_vec());
            left = left.saturating_sub(length + size_of_val(&*next));
            next = next.add(1);
        }
    }
    variables
}

/// The open descriptors from 0 on; `None` where none is left to look with.
pub fn descriptors() -> Option<BTreeMap<i32, (u64, u64)>> {
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

/// How standard input, output and error are written, flags and room: whoever shares the open file shares them.
pub fn output_state() -> Vec<(u32, usize)> {
    use std::os::fd::{AsFd, BorrowedFd};
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let state = |stream: BorrowedFd<'_>| {
        let flags = rustix::fs::fcntl_getfl(stream).map_or(0, |flags| flags.bits());
        #[cfg(target_os = "linux")]
        let room = rustix::pipe::fcntl_getpipe_size(stream).unwrap_or(0);
        #[cfg(not(target_os = "linux"))]
        let room = 0;
        (flags, room)
    };
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].map(state).to_vec()
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
