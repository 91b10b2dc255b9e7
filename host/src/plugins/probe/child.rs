//! The parent's side of one probing child: asks it, follows it, and says what became of the plugin in flight.

use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use pearlbed_plugin_api::MiningCapabilities;
use rustix::event::{PollFd, PollFlags};
use rustix::net::RecvFlags;

use super::super::reason::Reason;
use super::super::units::UNITS_MAX;
use super::limits::MEMORY_BYTES;
use super::queue::{self, OnSlow};
use super::serve::{OUTPUT_BYTES_MAX, isolates, plausible};
use super::trace::from_outside;
use super::wire::{Change, Event, Message, Order, PACKET_BYTES_MAX, Request, Word};
use super::words::{
    REPORT, check, count, explain_ending, held_up, is_full, lack, left_behind, overdrawn, starved, timed_out,
    with_attempts,
};
use super::{Impurity, Job, Probe, ProbeOptions, ProbeTimes, no_time_left};
use crate::hardware::group;
use crate::sandbox::{self, Captured, Command, Confined, Crash, Ending, Limits, Policy, Reading};
use crate::text;

/// A child that was cut off is waited for at most so long.
const KILL_MOST: Duration = Duration::from_secs(1);
/// A child that was cut off is waited for so long, whatever the deadline is.
const KILL_LEAST: Duration = Duration::from_millis(50);
/// Who has answered by its deadline has so much longer to be looked at, and is held to nothing before so much has gone by.
const LOOK: Duration = Duration::from_secs(1);
/// After so long a plugin that has used so much of the processor gets only what others leave of it. One that is slow because
/// the machine is busy has used little, and would starve.
const HOG: Duration = Duration::from_millis(300);
const HOG_USED: Duration = Duration::from_millis(100);
/// How often the memory of a plugin that is slow is looked at, and what part of the time that may take: the list of its
/// mappings is as long as it wants.
const MEMORY_LOOK: Duration = Duration::from_millis(20);
const MEMORY_LOOK_PART: u32 = 50;
/// The most lines on what one plugin tried.
const IMPURITIES_MAX: usize = 16;
/// The threads of a probe beside two for each processor: a driver has its own, a pool one for each processor.
const THREADS_MORE: u32 = 32;
/// Files in memory that a probe may make, and the largest file of any kind, in bytes: together not more than its memory.
const MEMORY_FILES_MAX: u32 = 32;
const FILE_BYTES_MAX: u64 = MEMORY_BYTES / MEMORY_FILES_MAX as u64;

/// What becomes of a child after a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It serves the next.
    Serves,
    /// It is replaced: something was left in it, or it did not answer in time.
    Retires,
    /// It died.
    Died,
    /// Its plugin is tried again, with this turn, when the others have had theirs; it has used so much of the processor. The
    /// child is replaced unless it still serves.
    PutAside { turn: usize, used: Duration, serves: bool },
    /// There was nothing to probe the plugin with: others may give it back.
    Lacks,
    /// The system ended its process because others, and it, had used up the memory: they may give it back.
    Starved,
}

/// A running child.
pub struct Child {
    confined: Confined,
    /// How many threads each of them may have.
    threads_max: u32,
    /// How many plugins it has been asked about.
    pub served: usize,
    /// Each plugin is loaded in a process of its own.
    pub isolates: bool,
    /// For a packet.
    room: Vec<u8>,
}

/// How far the child has come with the plugin in flight.
#[derive(Default)]
struct Progress {
    load: Option<Duration>,
    detect: Option<Duration>,
    answer: Option<Result<MiningCapabilities, Reason>>,
    answered: Option<Instant>,
    /// The answers for each device by itself, as far as they came.
    units: Vec<Result<MiningCapabilities, Reason>>,
    done: Option<(Vec<Change>, u32)>,
    forged: u64,
    /// What the process of its own printed.
    printed: [Captured; 2],
    /// There was nothing to make that process with.
    lack: Option<i32>,
    /// It was slow for long, and its priority lowered.
    lowered: bool,
    /// The process that it is loaded in, where it has one of its own.
    process: Option<i32>,
    /// That process has ended.
    ended: Option<Ending>,
    /// It used more memory than a probe may, past the limits that the kernel holds.
    overdrawn: bool,
    /// The most threads that were seen of it where nobody counts them as they are made.
    threads_seen: u32,
    /// It was slow while others had not had as long a turn: which turn it waits for, and what it has used of the processor.
    put_aside: Option<(usize, Duration)>,
}

impl Progress {
    /// It has answered, and lives on without having shown what it left behind.
    fn is_held_up(&self, ending: Option<Ending>) -> bool {
        self.done.is_none()
            && ending.is_none()
            && self.put_aside.is_none()
            && matches!(self.answer, Some(Ok(_)))
    }

    fn phase(&self) -> &'static str {
        if self.load.is_none() { "while it was loaded" } else { "in detect" }
    }
}

impl Child {
    /// Starts one.
    pub fn start(options: &ProbeOptions) -> Result<Self, Reason> {
        let no_probe = |err: &(dyn std::error::Error + 'static)| {
            let mut causes = std::iter::successors(Some(err), |err| err.source());
            let system = causes.find_map(|err| err.downcast_ref::<std::io::Error>()?.raw_os_error());
            if let Some(system) = system {
                return lack(system);
            }
            let cause = err.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Reason::new("no-probe", format!("it was not probed: {err}{cause}"), "run the command again")
        };
        let mut command =
            Command::this_program(super::super::PROBE_SUBCOMMAND).map_err(|err| no_probe(&err))?;
        command = command.capture_bytes(OUTPUT_BYTES_MAX);
        if let Some(program) = &options.program {
            command = command.program(program);
        }
        // Where libraries are found is no secret, and a plugin's own libraries may need it.
        for name in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command = command.env(name, value);
            }
        }
        if options.debug {
            command = command.env("RUST_BACKTRACE", "1");
        }
        let threads_max = options.threads_max.unwrap_or_else(threads_max);
        let confined = sandbox::spawn(&command, &policy(threads_max)).map_err(|err| no_probe(&err))?;
        let mut hardware = serde_json::to_vec(&options.hardware).map_err(|err| no_probe(&err))?;
        if hardware.len() > PACKET_BYTES_MAX {
            // What may grow without bound is left out before anything else is.
            let mut lean = options.hardware.clone();
            lean.details = serde_json::Value::Null;
            lean.gpus.truncate(64);
            hardware = serde_json::to_vec(&lean).map_err(|err| no_probe(&err))?;
        }
        confined.send(&hardware).map_err(|err| no_probe(&err))?;
        let isolates = isolates(confined.report());
        Ok(Self { confined, threads_max, served: 0, isolates, room: vec![0; PACKET_BYTES_MAX] })
    }

    /// Asks it about one plugin. `on_slow` is called at the end of each turn from `first` on, with its number; all plugins
    /// have had their chance since `begun`.
    pub fn probe(
        &mut self,
        job: &Job,
        options: &ProbeOptions,
        begun: Instant,
        first: usize,
        on_slow: &mut dyn FnMut(usize) -> OnSlow,
    ) -> (Probe, Fate) {
        self.served += 1;
        let started = Instant::now();
        let own_deadline = started + options.timeout;
        let deadline = options.deadline.map_or(own_deadline, |all| all.min(own_deadline));
        // What it can be held to: a plugin that comes late, because others were slow, has less than that.
        let share = deadline.saturating_duration_since(begun).min(options.timeout);
        let nonce = nonce();
        let request = Request {
            nonce: nonce.clone(),
            path: job.path.as_os_str().as_bytes().to_vec(),
            identity: job.identity,
            id: job.id.clone(),
            engines: job.engines.clone(),
            model: options.model.clone(),
            each_device: job.each_device,
        };
        let mut progress = Progress::default();
        let kills = group::memory_kills();
        let request = serde_json::to_vec(&request).expect("texts and numbers are JSON");
        // A child that has gone already is described by its ending.
        let _ = self.confined.send(&request);
        let until = (deadline, options.deadline.map_or(deadline + LOOK, |all| all.min(deadline + LOOK)));
        let ending = self.follow(&nonce, job, &mut progress, (started, until), first, on_slow);
        let memory = self.memory_bytes(&progress);
        let over = Instant::now();
        let waited = over.duration_since(started);
        let is_stopped = ending.is_none() && progress.done.is_none() && self.confined.is_stopped();
        let is_over = if self.isolates { progress.ended.is_some() } else { progress.done.is_some() };
        if let Some(errno) = progress.lack {
            let probe = Probe { confinement: self.confined.report().clone(), ..Probe::failed(lack(errno)) };
            return (probe, Fate::Lacks);
        }
        if ending.is_none() && !is_over {
            // Memory takes its time to be given back, and whoever asked has a deadline.
            let left =
                options.deadline.map_or(KILL_MOST, |all| all.saturating_duration_since(Instant::now()));
            self.cut_off(&nonce, job, &mut progress, left.clamp(KILL_LEAST, KILL_MOST));
        }
        self.confined.stdout.drain();
        self.confined.stderr.drain();
        let (mut stdout, mut stderr) = (self.confined.stdout.take(), self.confined.stderr.take());
        if self.isolates {
            [stdout, stderr] = std::mem::take(&mut progress.printed);
        }
        let crash = Crash::take(&mut stderr);
        let impurities = self.impurities(&mut progress, ending);
        // A process of a probe dies first where memory is short, whoever has used it up.
        let is_killed = ending.is_some_and(|ending| ending.signal == Some(libc::SIGKILL));
        if is_killed
            && progress.answer.is_none()
            && ending.is_some_and(|ending| !is_full(ending.memory_peak_bytes))
            && group::memory_kills() > kills
        {
            let reason = starved(group::memory_limit(), progress.phase());
            let probe = Probe { confinement: self.confined.report().clone(), ..Probe::failed(reason) };
            return (probe, Fate::Starved);
        }
        let fate = match (&progress.done, ending, progress.put_aside) {
            (.., Some((turn, used))) => Fate::PutAside { turn, used, serves: progress.ended.is_some() },
            // What it did, it did to a process that is gone.
            _ if progress.ended.is_some() => Fate::Serves,
            (_, Some(_), _) if progress.answer.is_none() => Fate::Died,
            (Some((changes, threads)), None, _)
                if !self.isolates
                    && changes.is_empty()
                    && *threads <= 1
                    && progress.threads_seen <= self.threads_max
                    && progress.forged == 0
                    && !progress.lowered =>
            {
                Fate::Serves
            }
            _ => Fate::Retires,
        };
        let phase = progress.phase();
        // Whose process was never seen after its answer is not known to have left it alone.
        let is_held_up = progress.is_held_up(ending);
        let answer = progress.answer.take().filter(|_| !is_held_up).unwrap_or_else(|| {
            let reason = match ending {
                Some(ending) => explain_ending(ending, crash.as_ref(), phase, &stderr),
                None if progress.overdrawn => overdrawn(phase),
                None if is_stopped => {
                    Reason::new("stopped", format!("it stopped its own process {phase}"), REPORT)
                }
                None if waited < share * 3 / 4 || progress.answered.is_some_and(|at| at + LOOK > over) => {
                    no_time_left()
                }
                None if is_held_up => held_up(waited.min(options.timeout)),
                None => timed_out(waited.min(options.timeout), phase, memory),
            };
            Err(with_attempts(reason, &impurities))
        });
        let times = ProbeTimes {
            load: progress.load.map(|claimed| plausible(claimed, waited)),
            detect: progress.detect.map(|claimed| plausible(claimed, waited)),
            total: waited,
        };
        let confinement = self.confined.report().clone();
        let units = progress.units;
        (Probe { answer, units, impurities, stdout, stderr, times, confinement }, fate)
    }

    /// Ends the plugin in flight, and the child with it where they are one or where it does not go.
    fn cut_off(&mut self, nonce: &str, job: &Job, progress: &mut Progress, limit: Duration) {
        let until = Instant::now() + limit;
        let had_answered = progress.answer.is_some();
        if self.isolates && self.order(Order::CutOff) {
            while progress.ended.is_none() {
                let left = until.saturating_duration_since(Instant::now());
                let timeout = left.try_into().expect("a second is a timespec");
                let mut fds = [PollFd::from_borrowed_fd(self.confined.channel(), PollFlags::IN)];
                if matches!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(0)) || left.is_zero() {
                    break;
                }
                if !self.receive(nonce, job, progress) {
                    break;
                }
            }
            // What it says when it is too late is not believed.
            progress.answer.take_if(|_| !had_answered);
        }
        if progress.ended.is_none() {
            self.confined.kill_within(until.saturating_duration_since(Instant::now()).max(KILL_LEAST));
        }
    }

    /// The process that the plugin in flight is loaded in.
    fn process(&self, progress: &Progress) -> i32 {
        progress.process.unwrap_or(self.confined.pid())
    }

    /// What the plugin in flight has used of the processor, where that can be told: a child without copies has used some for
    /// others, too.
    fn used(&self, progress: &Progress) -> Option<Duration> {
        let process = progress.process.filter(|_| self.isolates)?;
        sandbox::processor_time(process.unsigned_abs())
    }

    /// Whether the plugin in flight may be told to stand back: it, and not the child, of which all that come after it are
    /// copies and would starve with it.
    fn hogs(&self, progress: &Progress) -> bool {
        let is_there = !self.isolates || progress.process.is_some();
        is_there && self.used(progress).is_none_or(|used| used >= HOG_USED)
    }

    /// The memory that the plugin in flight has in use.
    fn memory_bytes(&self, progress: &Progress) -> u64 {
        sandbox::memory_bytes(self.process(progress), MEMORY_BYTES)
    }

    /// Tells the child what to do with the plugin in flight.
    fn order(&self, order: Order) -> bool {
        let order = serde_json::to_vec(&order).expect("a word is JSON");
        self.confined.send(&order).is_ok()
    }

    /// Follows the plugin in flight until it is done, dead or out of time. Returns its ending where it died.
    fn follow(
        &mut self,
        nonce: &str,
        job: &Job,
        progress: &mut Progress,
        (started, (answer_by, done_by)): (Instant, (Instant, Instant)),
        first: usize,
        on_slow: &mut dyn FnMut(usize) -> OnSlow,
    ) -> Option<Ending> {
        let hog_at = started + HOG;
        let mut look_at_memory = started + MEMORY_LOOK;
        let mut turn = first;
        let mut channel_open = true;
        loop {
            let now = Instant::now();
            let deadline = if progress.answered.is_some() { done_by } else { answer_by };
            if now >= deadline {
                return None;
            }
            if now >= look_at_memory {
                let memory = self.memory_bytes(progress);
                look_at_memory = now + MEMORY_LOOK.max(now.elapsed() * MEMORY_LOOK_PART);
                if memory > MEMORY_BYTES + MEMORY_BYTES / 4 {
                    progress.overdrawn = true;
                    return None;
                }
                if !self.isolates {
                    progress.threads_seen = progress.threads_seen.max(from_outside(self.process(progress)).0);
                }
                // Again and again: a thread that is started has the priority of the one that starts it.
                if now >= hog_at && self.hogs(progress) {
                    progress.lowered = true;
                    sandbox::lower_priority(self.process(progress));
                }
            }
            let over_at = queue::length(turn).map(|length| started + length);
            if over_at.is_some_and(|at| now >= at) {
                if on_slow(turn) == OnSlow::PutAside {
                    progress.put_aside = Some((turn + 1, self.used(progress).unwrap_or_default()));
                    return None;
                }
                turn += 1;
                continue;
            }
            // A death is seen on the channel; where a forked process keeps that open, by looking now and then.
            let look_again = if channel_open { MEMORY_LOOK } else { Duration::from_millis(2) };
            let until = deadline.min(over_at.unwrap_or(deadline)).min(now + look_again);
            let timeout =
                until.saturating_duration_since(now).try_into().expect("a deadline of seconds is a timespec");
            let channel = self.confined.channel();
            let mut fds: Vec<PollFd<'_>> = vec![];
            if channel_open {
                fds.push(PollFd::from_borrowed_fd(channel, PollFlags::IN));
            }
            for stream in [&self.confined.stdout, &self.confined.stderr] {
                fds.extend(stream.stream().map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)));
            }
            // Errors of `poll` are interruptions; the loop has its deadline.
            let ready = rustix::event::poll(&mut fds, Some(&timeout)).unwrap_or(0);
            let readable = channel_open && !fds[0].revents().is_empty();
            drop(fds);
            self.confined.stdout.drain();
            self.confined.stderr.drain();
            if readable {
                channel_open = self.receive(nonce, job, progress);
                if progress.lack.is_some() {
                    return None;
                }
                match progress.ended {
                    // Its process was to end then.
                    Some(_) if progress.done.is_some() => return None,
                    Some(ending) => return Some(ending),
                    None if progress.done.is_some() && !self.isolates => return None,
                    None => {}
                }
            }
            if (!channel_open || ready == 0)
                && let Some(ending) = self.confined.try_wait()
            {
                return Some(ending);
            }
        }
    }

    /// Takes one packet. Returns whether the channel is still open.
    fn receive(&mut self, nonce: &str, job: &Job, progress: &mut Progress) -> bool {
        let count = match rustix::net::recv(self.confined.channel(), &mut self.room[..], RecvFlags::DONTWAIT)
        {
            Ok((_, 0)) => return false,
            Ok((_, count)) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
            Err(_) => return false,
        };
        let bytes = &self.room[..count];
        let said = if self.isolates {
            match serde_json::from_slice::<Word>(bytes) {
                Ok(Word::Said(message)) => Some(message),
                Ok(Word::Rubbish) | Err(_) => None,
                Ok(Word::Started(process)) => {
                    progress.process = Some(process);
                    return true;
                }
                Ok(Word::Printed { first, text, bytes_left_out }) => {
                    progress.printed[usize::from(!first)] = Captured { text, bytes_left_out };
                    return true;
                }
                Ok(Word::Lack(errno)) => {
                    progress.lack = Some(errno);
                    return true;
                }
                Ok(Word::Ended { status, signal, memory_peak_bytes }) => {
                    progress.ended = Some(Ending { status, signal, memory_peak_bytes });
                    return true;
                }
            }
        } else {
            serde_json::from_slice::<Message>(bytes).ok()
        };
        let message = match said {
            Some(message) if message.nonce == nonce => message,
            // Nobody asked for that.
            _ => {
                progress.forged += 1;
                return true;
            }
        };
        match message.event {
            Event::Loaded { after } => progress.load = Some(after),
            Event::Answered { answer, after } => {
                progress.detect = Some(after);
                progress.answer.get_or_insert(check(answer));
                progress.answered.get_or_insert_with(Instant::now);
            }
            Event::Failed { failure, after } => {
                if progress.load.is_some() {
                    progress.detect = Some(after);
                } else {
                    progress.load = Some(after);
                }
                progress.answer.get_or_insert(Err(failure.reason(&job.id)));
            }
            // In their order and no more than there are; anything else is not what was asked for.
            Event::OfDevice { unit, answer } if unit == progress.units.len() && unit < UNITS_MAX => {
                progress.units.push(answer.map_err(|failure| failure.reason(&job.id)).and_then(check));
            }
            Event::OfDevice { .. } => progress.forged += 1,
            Event::Done { changes, threads } => progress.done = Some((changes, threads)),
        }
        true
    }

    /// What the plugin in flight did that it must not do.
    fn impurities(&self, progress: &mut Progress, ending: Option<Ending>) -> Vec<Impurity> {
        let mut impurities: Vec<Impurity> = vec![];
        let (_, left_out) = self.confined.violations().snapshot();
        // What another did whose process was ended while it was judged is not this one's.
        for violation in self.confined.violations().take_of(self.process(progress).unsigned_abs()) {
            let kind = serde_json::to_value(violation.kind).ok();
            let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("other").to_owned();
            impurities.push(Impurity { kind, finding: violation.to_string() });
        }
        let mut note = |kind: &str, finding: String| {
            impurities.push(Impurity { kind: kind.into(), finding: text::printable(&finding).into_owned() });
        };
        if let Some((changes, threads)) = &progress.done {
            for change in changes
                .iter()
                .filter(|&&change| change != Change::Priority || !progress.lowered)
                .take(IMPURITIES_MAX)
            {
                note("left-behind", left_behind(*change));
            }
            if *threads > 1 {
                note("left-behind", format!("left {} running", count(u64::from(threads - 1), "thread")));
            }
        }
        if progress.threads_seen > self.threads_max {
            note("start-thread", format!("had more than {} threads", self.threads_max));
        }
        if progress.forged > 0 {
            note(
                "forged",
                format!("wrote {} to a channel that is not its own", count(progress.forged, "message")),
            );
        }
        if let (Some(ending), Some(_)) = (ending, &progress.answer) {
            note("died-later", format!("ended its process after it had answered: {ending}"));
        }
        let more = impurities.len().saturating_sub(IMPURITIES_MAX) as u64 + left_out;
        // The first of each kind before the second of any, so that none is hidden behind many of another.
        let mut seen = std::collections::HashMap::<String, usize>::new();
        impurities.sort_by_cached_key(|impurity| {
            let rank = seen.entry(impurity.kind.clone()).or_default();
            *rank += 1;
            *rank
        });
        impurities.truncate(IMPURITIES_MAX);
        if more > 0 {
            let finding = format!("tried {}", count(more, "other thing"));
            impurities.push(Impurity { kind: "more".into(), finding });
        }
        impurities
    }
}

/// How many threads a probe may have where nothing is short.
pub fn threads_max() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    THREADS_MORE + 2 * u32::try_from(cores).unwrap_or(512).min(512)
}

/// Nothing but reading, computing, and a bounded amount of memory.
fn policy(threads: u32) -> Policy {
    Policy {
        reading: Reading::Everything,
        copies_itself: true,
        limits: Limits {
            memory_bytes: Some(MEMORY_BYTES),
            // GPU libraries reserve address space without using it.
            address_space_bytes: Some(64 << 30),
            file_bytes: Some(FILE_BYTES_MAX),
            open_files: 1024,
            threads: Some(threads),
            memory_files: Some(MEMORY_FILES_MAX),
            // Memory that is shared counts for no limit above; what `follow` sees of it comes late where it grows fast.
            dies_first: true,
            nice: None,
            // A child is ended by its parent; this is for a parent that cannot.
            cpu_time: Some(Duration::from_secs(120)),
        },
        ..Policy::default()
    }
}

/// Something that nobody can guess.
fn nonce() -> String {
    let bytes: [u8; 16] = sandbox::random_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
