//! Probing: plugins are loaded and asked in confined children, under a deadline, each blamed for itself alone.
//!
//! ```text
//! jobs ──> worker thread ──request, nonce──> child: load, detect
//!             │        <──loaded──answered──done──
//!             ├─ the child died, or was left with traces: a new one goes on with the next job
//!             └─ slow: another worker is started, so that the others do not wait
//! ```
//!
//! A packet is believed only with the nonce of the request that is being served; anything else is somebody else's.
//! A crash in a child that has served others before is tried once more in a fresh one: what an earlier plugin left
//! behind must not be laid on a later one.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use pearlbed_plugin_api::{HardwareInfo, MiningCapabilities};
use rustix::event::{PollFd, PollFlags};
use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};

use super::look::Identity;
use super::probe_child::{CHANNEL_GONE, PRIORITY, plausible};
use super::reason::Reason;
use crate::sandbox::{self, Captured, Command, Confined, Ending, Limits, Policy, Reading, Report};
use crate::text;

/// The largest packet in either direction, in bytes.
pub(super) const PACKET_BYTES_MAX: usize = 160 * 1024;
/// The longest text that a plugin may answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024;
/// After so long a plugin is slow, and others no longer wait for it.
const SLOW: Duration = Duration::from_millis(60);
/// The most children side by side that are not slow.
const WORKERS_MAX: usize = 4;
/// The most children side by side in all.
const CHILDREN_MAX: usize = 16;
/// After so many plugins a child has earned its rest.
const SERVED_MAX: usize = 200;
/// The most memory that a plugin may allocate while it is probed.
const MEMORY_BYTES: u64 = 512 << 20;
/// The most lines on what one plugin tried.
const IMPURITIES_MAX: usize = 16;
/// How much of the output of one plugin is kept, in bytes.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// How plugins are probed.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// The machine, as `detect` is told.
    pub hardware: HardwareInfo,
    /// The inference engine that is asked about; empty for none.
    pub engine_id: String,
    /// The model that is asked about; empty for none.
    pub model: String,
    /// How long one plugin may take, loading included.
    pub timeout: Duration,
    /// When all must be done, whatever each still had left.
    pub deadline: Option<Instant>,
    /// The `pearlbed` that is run as the child, instead of this program: for tests and benchmarks.
    pub program: Option<PathBuf>,
}

impl ProbeOptions {
    /// How long one plugin may take unless somebody says otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(2);

    /// The options that need no thought, for `hardware`.
    pub fn new(hardware: HardwareInfo) -> Self {
        Self {
            hardware,
            engine_id: String::new(),
            model: String::new(),
            timeout: Self::TIMEOUT,
            deadline: None,
            program: None,
        }
    }
}

/// What became of the probe of one plugin.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What `detect` answered, or why there is no answer.
    pub answer: Result<MiningCapabilities, Reason>,
    /// What it did that an inspection must not do; empty for a pure one.
    pub impurities: Vec<Impurity>,
    /// What it wrote to standard output. Escape it before it is shown.
    pub stdout: Captured,
    /// What it wrote to standard error. Escape it before it is shown.
    pub stderr: Captured,
    /// How long it took.
    pub times: ProbeTimes,
    /// What of the confinement was in force.
    pub confinement: Report,
}

/// Something that `detect`, or a constructor, did though it must be pure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Impurity {
    /// A stable name, such as `run-program`.
    pub kind: String,
    /// What it did, as the end of the sentence "it …": one printable line.
    pub finding: String,
}

/// How long the steps of a probe took.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeTimes {
    /// Loading the library and making its provider.
    pub load: Option<Duration>,
    /// The call of `detect`.
    pub detect: Option<Duration>,
    /// From the request to the end, as its asker saw it.
    pub total: Duration,
}

/// One plugin to probe.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub path: PathBuf,
    pub identity: Identity,
    pub id: String,
}

/// What a child is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub nonce: String,
    /// The path's bytes, which need not be UTF-8.
    pub path: Vec<u8>,
    pub identity: Identity,
    pub id: String,
    pub engine_id: String,
    pub model: String,
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub nonce: String,
    pub event: Event,
}

/// How far it has come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    Loaded { after: Duration },
    Answered { answer: Answer, after: Duration },
    Failed { reason: FailedReason, after: Duration },
    Done { changes: Vec<String>, threads: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub supported: bool,
    pub reason: Option<String>,
    pub estimated_hashrate: Option<f64>,
}

/// A [`Reason`] on its way: its code is one of ours only once it has been compared.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailedReason {
    code: String,
    reason: String,
    fix: String,
}

impl From<Reason> for FailedReason {
    fn from(reason: Reason) -> Self {
        Self { code: reason.code.into(), reason: reason.reason, fix: reason.fix }
    }
}

/// The codes that a child may give.
const CHILD_CODES: [&str; 13] = [
    "changed",
    "missing-library",
    "undefined-symbol",
    "load-failed",
    "other-layout",
    "declined",
    "panicked",
    "broken-table",
    "not-created",
    "other-id",
    "bad-answer",
    "detect-failed",
    "no-answer",
];

impl From<FailedReason> for Reason {
    fn from(told: FailedReason) -> Self {
        let code = CHILD_CODES.iter().find(|code| **code == told.code).copied().unwrap_or("no-answer");
        Reason::new(code, cut(&told.reason, ANSWER_BYTES_MAX), cut(&told.fix, ANSWER_BYTES_MAX))
    }
}

/// Probes every job. The answers come in the order of the jobs.
pub(super) fn probe(jobs: Vec<Job>, options: &ProbeOptions) -> Vec<Probe> {
    let count = jobs.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(WORKERS_MAX).min(count);
    let pool = Pool {
        options,
        queue: Mutex::new(jobs.into_iter().enumerate().collect()),
        done: Mutex::new((0..count).map(|_| None).collect()),
        children: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            pool.start_worker(scope);
        }
    });
    let done = pool.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lost = || {
        Probe::failed(Reason::new(
            "no-probe",
            "it was not probed: no process could be started",
            "free some memory and run the command again",
        ))
    };
    done.into_iter().map(|probe| probe.unwrap_or_else(lost)).collect()
}

struct Pool<'a> {
    options: &'a ProbeOptions,
    queue: Mutex<VecDeque<(usize, Job)>>,
    done: Mutex<Vec<Option<Probe>>>,
    children: AtomicUsize,
}

impl<'a> Pool<'a> {
    /// Starts one more worker, unless there are enough. Each lives on the thread that starts its children: they die
    /// with it.
    fn start_worker<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        if self.children.fetch_add(1, Ordering::Relaxed) >= CHILDREN_MAX
            || std::thread::Builder::new()
                .name("probe".into())
                .spawn_scoped(scope, move || self.work(scope))
                .is_err()
        {
            self.children.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let mut child: Option<Child> = None;
        loop {
            let next = lock(&self.queue).pop_front();
            let Some((index, job)) = next else { break };
            let probe = self.serve(&job, &mut child, || {
                if !lock(&self.queue).is_empty() {
                    self.start_worker(scope);
                }
            });
            lock(&self.done)[index] = Some(probe);
        }
        drop(child);
        self.children.fetch_sub(1, Ordering::Relaxed);
    }

    /// Probes one plugin, in `child` where there is one.
    fn serve(&self, job: &Job, child: &mut Option<Child>, mut on_slow: impl FnMut()) -> Probe {
        let out_of_time = || {
            Probe::failed(Reason::new(
                "not-probed",
                "there was no time left to probe it: others took too long",
                "`pearlbed plugins inspect` on it alone says more",
            ))
        };
        loop {
            if self.options.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return out_of_time();
            }
            let mut serving = match child.take() {
                Some(serving) => serving,
                None => match Child::start(self.options) {
                    Ok(started) => started,
                    Err(reason) => return Probe::failed(reason),
                },
            };
            let was_fresh = serving.served == 0;
            let (probe, fate) = serving.probe(job, self.options, &mut on_slow);
            match fate {
                Fate::Serves if serving.served < SERVED_MAX => *child = Some(serving),
                Fate::Serves | Fate::Retires => {}
                // Not its fault, perhaps: once more, where nobody was before.
                Fate::Died if !was_fresh => continue,
                Fate::Died => {}
            }
            return probe;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole between any two statements that hold it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe {
    fn failed(reason: Reason) -> Self {
        Self {
            answer: Err(reason),
            impurities: vec![],
            stdout: Captured::default(),
            stderr: Captured::default(),
            times: ProbeTimes::default(),
            confinement: Report::default(),
        }
    }
}

/// What becomes of a child after a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It serves the next.
    Serves,
    /// It is replaced: something was left in it, or it did not answer in time.
    Retires,
    /// It died.
    Died,
}

struct Child {
    confined: Confined,
    served: usize,
}

/// How far the child has come with the plugin in flight.
#[derive(Default)]
struct Progress {
    load: Option<Duration>,
    detect: Option<Duration>,
    answer: Option<Result<MiningCapabilities, Reason>>,
    done: Option<(Vec<String>, u32)>,
    forged: u64,
    /// It was slow, and its priority lowered.
    slow: bool,
}

impl Progress {
    fn phase(&self) -> &'static str {
        if self.load.is_none() { "while it was loaded" } else { "in detect" }
    }
}

impl Child {
    fn start(options: &ProbeOptions) -> Result<Self, Reason> {
        let no_probe = |err: &dyn std::error::Error| {
            let cause = err.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Reason::new(
                "no-probe",
                format!("it was not probed: {err}{cause}"),
                "free some memory and run the command again",
            )
        };
        let mut command = Command::this_program(super::PROBE_SUBCOMMAND).map_err(|err| no_probe(&err))?;
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
        let confined = sandbox::spawn(&command, &policy()).map_err(|err| no_probe(&err))?;
        let mut hardware = serde_json::to_vec(&options.hardware).map_err(|err| no_probe(&err))?;
        if hardware.len() > PACKET_BYTES_MAX {
            // What may grow without bound is left out before anything else is.
            let mut lean = options.hardware.clone();
            lean.details = serde_json::Value::Null;
            lean.gpus.truncate(64);
            hardware = serde_json::to_vec(&lean).map_err(|err| no_probe(&err))?;
        }
        confined.send(&hardware).map_err(|err| no_probe(&err))?;
        Ok(Self { confined, served: 0 })
    }

    fn probe(&mut self, job: &Job, options: &ProbeOptions, on_slow: &mut dyn FnMut()) -> (Probe, Fate) {
        self.served += 1;
        let started = Instant::now();
        let own_deadline = started + options.timeout;
        let deadline = options.deadline.map_or(own_deadline, |all| all.min(own_deadline));
        let nonce = nonce();
        let request = Request {
            nonce: nonce.clone(),
            path: job.path.as_os_str().as_bytes().to_vec(),
            identity: job.identity,
            id: job.id.clone(),
            engine_id: options.engine_id.clone(),
            model: options.model.clone(),
        };
        let mut progress = Progress::default();
        let request = serde_json::to_vec(&request).expect("texts and numbers are JSON");
        // A child that has gone already is described by its ending.
        let _ = self.confined.send(&request);
        let ending = self.follow(&nonce, &mut progress, started, deadline, on_slow);
        let waited = started.elapsed();
        let is_stopped = ending.is_none() && progress.done.is_none() && self.confined.is_stopped();
        let timed_out = ending.is_none() && progress.done.is_none();
        if timed_out {
            self.confined.kill();
        }
        self.confined.stdout.drain();
        self.confined.stderr.drain();
        let (stdout, stderr) = (self.confined.stdout.take(), self.confined.stderr.take());
        let impurities = self.impurities(&mut progress, ending);
        let fate = match (&progress.done, ending) {
            (Some((changes, threads)), None)
                if changes.is_empty() && *threads <= 1 && progress.forged == 0 =>
            {
                Fate::Serves
            }
            (_, Some(_)) if progress.answer.is_none() => Fate::Died,
            _ => Fate::Retires,
        };
        let phase = progress.phase();
        let answer = progress.answer.take().unwrap_or_else(|| {
            let reason = match ending {
                Some(ending) => explain_ending(ending, phase, &stderr),
                None if is_stopped => {
                    Reason::new("stopped", format!("it stopped its own process {phase}"), REPORT)
                }
                None => Reason::new(
                    "timed-out",
                    format!(
                        "it did not answer within {} {phase}",
                        text::duration(waited.min(options.timeout))
                    ),
                    "report it to its author; `--probe-timeout` gives it longer",
                ),
            };
            Err(with_attempts(reason, &impurities))
        });
        let times = ProbeTimes {
            load: progress.load.map(|claimed| plausible(claimed, waited)),
            detect: progress.detect.map(|claimed| plausible(claimed, waited)),
            total: waited,
        };
        let confinement = self.confined.report().clone();
        (Probe { answer, impurities, stdout, stderr, times, confinement }, fate)
    }

    /// Follows the plugin in flight until it is done, dead or out of time. Returns its ending where it died.
    fn follow(
        &mut self,
        nonce: &str,
        progress: &mut Progress,
        started: Instant,
        deadline: Instant,
        on_slow: &mut dyn FnMut(),
    ) -> Option<Ending> {
        let slow_at = started + SLOW;
        let mut is_slow = false;
        let mut channel_open = true;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            if !is_slow && now >= slow_at {
                is_slow = true;
                progress.slow = true;
                // From here on it competes with nobody.
                self.confined.lower_priority();
                on_slow();
            }
            // A death is seen on the channel; where a forked process keeps that open, by looking now and then.
            let look_again = if channel_open { Duration::from_millis(50) } else { Duration::from_millis(2) };
            let until = deadline.min(if is_slow { deadline } else { slow_at }).min(now + look_again);
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
                channel_open = self.receive(nonce, progress);
                if progress.done.is_some() {
                    return None;
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
    fn receive(&self, nonce: &str, progress: &mut Progress) -> bool {
        let mut bytes = vec![0; PACKET_BYTES_MAX];
        let count = match rustix::net::recv(self.confined.channel(), &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return false,
            Ok((_, count)) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
            Err(_) => return false,
        };
        let message = match serde_json::from_slice::<Message>(&bytes[..count]) {
            Ok(message) if message.nonce == nonce => message,
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
            }
            Event::Failed { reason, after } => {
                if progress.load.is_some() {
                    progress.detect = Some(after);
                } else {
                    progress.load = Some(after);
                }
                progress.answer.get_or_insert(Err(reason.into()));
            }
            Event::Done { changes, threads } => progress.done = Some((changes, threads)),
        }
        true
    }

    /// What the plugin in flight did that it must not do.
    fn impurities(&self, progress: &mut Progress, ending: Option<Ending>) -> Vec<Impurity> {
        let mut impurities: Vec<Impurity> = vec![];
        for violation in self.confined.violations().take() {
            let kind = serde_json::to_value(violation.kind).ok();
            let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("other").to_owned();
            impurities.push(Impurity { kind, finding: violation.to_string() });
        }
        let mut note = |kind: &str, finding: String| {
            impurities.push(Impurity { kind: kind.into(), finding: text::printable(&finding).into_owned() });
        };
        if let Some((changes, threads)) = &progress.done {
            for change in
                changes.iter().filter(|&change| change != PRIORITY || !progress.slow).take(IMPURITIES_MAX)
            {
                note("left-behind", cut(change, 200).into());
            }
            if *threads > 1 {
                note("left-behind", format!("left {} running", count(u64::from(threads - 1), "thread")));
            }
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
        impurities.truncate(IMPURITIES_MAX);
        impurities
    }
}

const REPORT: &str = "report it to its author, or remove it";

/// Nothing but reading, computing, and a bounded amount of memory.
fn policy() -> Policy {
    Policy {
        reading: Reading::Everything,
        limits: Limits {
            memory_bytes: Some(MEMORY_BYTES),
            // GPU libraries reserve address space without using it.
            address_space_bytes: Some(64 << 30),
            file_bytes: Some(64 << 20),
            open_files: 1024,
            // A child is ended by its parent; this is for a parent that cannot.
            cpu_time: Some(Duration::from_secs(120)),
        },
        ..Policy::default()
    }
}

/// What `detect` answered, if it is an answer.
fn check(answer: Answer) -> Result<MiningCapabilities, Reason> {
    let wrong = |what: String| {
        Err(Reason::new("bad-answer", format!("its answer is none: {what}"), "report it to its author"))
    };
    if let Some(reason) = &answer.reason {
        if reason.len() > ANSWER_BYTES_MAX {
            return wrong(format!("its reason has {} bytes, more than {ANSWER_BYTES_MAX}", reason.len()));
        }
        if text::printable(reason) != *reason {
            return wrong("its reason holds control characters".into());
        }
    }
    if let Some(rate) = answer.estimated_hashrate.filter(|rate| !rate.is_finite() || *rate < 0.0) {
        return wrong(format!("it estimates a hashrate of {rate}"));
    }
    if !answer.supported && answer.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return wrong("it says no without a reason".into());
    }
    let mut capabilities = MiningCapabilities::supported();
    capabilities.supported = answer.supported;
    capabilities.reason = answer.reason;
    capabilities.estimated_hashrate = answer.estimated_hashrate;
    Ok(capabilities)
}

fn explain_ending(ending: Ending, phase: &str, stderr: &Captured) -> Reason {
    let said =
        last_words(&stderr.text).map(|line| format!(" (it said: {})", cut(line, 120))).unwrap_or_default();
    if ending.memory_peak_bytes >= MEMORY_BYTES / 10 * 8 {
        let limit = text::bytes(MEMORY_BYTES);
        return Reason::new(
            "out-of-memory",
            format!("it used up its {limit} of memory {phase} and died: {ending}"),
            REPORT,
        );
    }
    match (ending.signal, ending.status) {
        (None, Some(CHANNEL_GONE)) => Reason::new(
            "closed-channel",
            format!("it closed descriptors that it did not open {phase}"),
            REPORT,
        ),
        (None, Some(status)) => {
            Reason::new("exited", format!("it ended its process with status {status} {phase}{said}"), REPORT)
        }
        (Some(libc::SIGKILL | libc::SIGTERM), _) => {
            Reason::new("killed", format!("its process was killed {phase}: {ending}{said}"), REPORT)
        }
        _ => Reason::new("crashed", format!("it crashed {phase}: {ending}{said}"), REPORT),
    }
}

/// The line of `stderr` that says most: a panic's message, else the last one.
fn last_words(stderr: &str) -> Option<&str> {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let panicked = lines.clone().skip_while(|line| !line.contains(" panicked at ")).nth(1);
    panicked.or_else(|| lines.next_back())
}

/// The same reason with what it tried before.
fn with_attempts(mut reason: Reason, impurities: &[Impurity]) -> Reason {
    if !impurities.is_empty() {
        let tried: Vec<&str> = impurities.iter().take(3).map(|impurity| &*impurity.finding).collect();
        reason.reason = format!("{}; it {}", reason.reason, tried.join(", "));
    }
    reason
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("a {what}") } else { format!("{number} {what}s") }
}

/// The beginning of `text`, of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Something that nobody can guess.
fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    // Only a kernel without the call, older than any that this runs on, would fail.
    assert!(filled.is_ok_and(|count| count == bytes.len()), "the kernel has random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
