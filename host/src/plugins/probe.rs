//! Probing: plugins are loaded and asked in confined children, under a deadline, each blamed for itself alone.
//!
//! ```text
//! jobs ──> worker thread ──request, nonce──> child: load, detect
//!             │        <──loaded──answered──done──
//!             ├─ the child died, or was left with traces: a new one goes on with the next job
//!             └─ slow: another worker is started, so that the others do not wait; where there are enough of them,
//!                the plugin is put aside until all others have had as long a turn ([`queue`])
//! ```
//!
//! In the child each plugin has a process of its own, a copy of the child that ends with it. Only the child speaks with the
//! parent, and a packet is believed only with the nonce of the request that is being served. Where the kernel cannot show
//! the parent what is refused, the child has no copies and loads the plugins itself; a crash or a failure in one that has
//! served others before is then tried once more in a fresh one.
//!
//! # Limitations
//!
//! - Without copies, plugins that are probed by the same child share its memory: a library that is written for it can
//!   answer in the place of those that come after it. `pearlbed plugins inspect` probes one alone.

mod child;
mod limits;
mod queue;
mod serve;
mod trace;
mod wire;
mod words;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use pearlbed_plugin_api::{HardwareInfo, MiningCapabilities};
use serde::Serialize;

use self::child::{Child, Fate};
use self::limits::MEMORY_BYTES;
use self::queue::Queue;
pub use self::serve::run as run_probe_child;
use super::file_identity::Identity;
use super::reason::Reason;
use crate::sandbox::{Captured, Report};

/// The most children side by side that are not slow.
const WORKERS_MAX: usize = 4;
/// The most children side by side in all, those that wait for a slow plugin among them.
const CHILDREN_MAX: usize = 64;
/// How often a plugin is tried again for which there was nothing to make a process with, and how long lies between.
const LACKS_MAX: u32 = 100;
const LACK_PAUSE: Duration = Duration::from_millis(50);
/// The same where its process was ended for the memory of all: each try may use up that of the others again.
const STARVED_COST: u32 = LACKS_MAX / 2;
const STARVED_PAUSE: Duration = Duration::from_millis(200);
/// The code of what had no time.
const NO_TIME: &str = "not-probed";
/// After so many plugins a child has earned its rest.
const SERVED_MAX: usize = 200;

/// How plugins are probed.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// The machine, as `detect` is told.
    pub hardware: HardwareInfo,
    /// The inference engine that is asked about; empty for each that the manifest names.
    pub engine_id: String,
    /// The model that is asked about; empty for none.
    pub model: String,
    /// How long one plugin may take, loading included.
    pub timeout: Duration,
    /// When all must be done, whatever each still had left.
    pub deadline: Option<Instant>,
    /// How many threads one plugin may have; a number that fits the machine unless said otherwise.
    pub threads_max: Option<u32>,
    /// Have panics bring a backtrace, which the plugin prints.
    pub debug: bool,
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
            threads_max: None,
            debug: false,
            program: None,
        }
    }
}

/// What became of the probe of one plugin.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What `detect` answered, or why there is no answer.
    pub answer: Result<MiningCapabilities, Reason>,
    /// What it answered for each device of the machine by itself, in the order of [`units`](super::units::units); fewer
    /// where it was not asked, or had no time left.
    pub units: Vec<Result<MiningCapabilities, Reason>>,
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
    /// The engines that it is asked about.
    pub engines: Vec<String>,
    /// Whether it is asked about each device by itself as well.
    pub each_device: bool,
}

/// Probes every job. The answers come in the order of the jobs; `on_done` hears of each as it comes.
pub(super) fn probe(
    jobs: Vec<Job>,
    options: &ProbeOptions,
    on_done: &(dyn Fn(usize, &Probe) + Sync),
) -> Vec<Probe> {
    let count = jobs.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(WORKERS_MAX).min(count);
    // Each may come to the limit of its memory before it is stopped.
    let memory = options.hardware.details.get("memory_available_bytes").and_then(serde_json::Value::as_u64);
    let room = memory.map_or(CHILDREN_MAX, |bytes| (bytes / MEMORY_BYTES) as usize);
    let mut queue = Queue::default();
    for (index, job) in jobs.into_iter().enumerate() {
        queue.push(0, Duration::ZERO, Waiting { index, job, lacks: 0, lacked: None });
    }
    let pool = Pool {
        options,
        on_done,
        begun: Instant::now(),
        children_max: room.clamp(workers + 1, CHILDREN_MAX),
        queue: Mutex::new(queue),
        done: Mutex::new((0..count).map(|_| None).collect()),
        children: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            pool.start_worker(scope);
        }
        // Where there may be no more threads, this one does it all.
        if pool.children.fetch_add(1, Ordering::Relaxed) == 0 {
            pool.work(scope);
        } else {
            pool.children.fetch_sub(1, Ordering::Relaxed);
        }
    });
    let done = pool.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_iter().map(|probe| probe.unwrap_or_else(at_fault)).collect()
}

/// A job that is not done.
struct Waiting {
    index: usize,
    job: Job,
    /// How often there was nothing to probe it with.
    lacks: u32,
    /// What was lacking then.
    lacked: Option<Probe>,
}

/// What became of one turn of a plugin.
enum Turn {
    Done(Probe),
    /// It was put aside, and waits for this turn; how much of the processor it has used.
    Aside(usize, Duration),
    /// There was nothing to probe it with, and why; what that counts for, and when it is tried again.
    Lacked(Probe, u32, Duration),
}

struct Pool<'a> {
    options: &'a ProbeOptions,
    on_done: &'a (dyn Fn(usize, &Probe) + Sync),
    begun: Instant,
    children_max: usize,
    queue: Mutex<Queue<Waiting>>,
    done: Mutex<Vec<Option<Probe>>>,
    children: AtomicUsize,
}

impl<'a> Pool<'a> {
    /// Starts one more worker, unless there are enough; returns whether it did. Each lives on the thread that starts its
    /// children: they die with it.
    fn start_worker<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> bool {
        let started = self.children.fetch_add(1, Ordering::Relaxed) < self.children_max
            && std::thread::Builder::new()
                .name("probe".into())
                .spawn_scoped(scope, move || self.work(scope))
                .is_ok();
        if !started {
            self.children.fetch_sub(1, Ordering::Relaxed);
        }
        started
    }

    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let mut child: Option<Child> = None;
        loop {
            let next = lock(&self.queue).pop();
            let Some((first, Waiting { index, job, lacks, lacked })) = next else { break };
            let serve = || {
                self.serve(&job, first, &mut child, |turn| {
                    let others = !lock(&self.queue).is_empty();
                    // One more worker for each that is slow: where there is room for others, whoever waits is served by those.
                    let helped = match turn == first {
                        true => others && self.start_worker(scope),
                        false => self.children.load(Ordering::Relaxed) < self.children_max,
                    };
                    lock(&self.queue).after_turn(turn, helped)
                })
            };
            // Everything it says is made to be harmless; a mistake in that costs this one, and none after it.
            let turn =
                std::panic::catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(|_| Turn::Done(at_fault()));
            match turn {
                // What kept it from being asked says more than that there was no time to try again.
                Turn::Done(probe) if probe.had_no_time() => self.finish(index, lacked.unwrap_or(probe)),
                Turn::Done(probe) => self.finish(index, probe),
                Turn::Aside(turn, used) => {
                    lock(&self.queue).push(turn, used, Waiting { index, job, lacks, lacked });
                }
                // What a limit forbids is not given back by anybody.
                Turn::Lacked(probe, ..)
                    if lacks >= LACKS_MAX || self.is_over() || crate::limits::forbids(1).is_some() =>
                {
                    self.finish(index, probe);
                }
                // Others may give back what is short, and its own turn is none of its doing.
                Turn::Lacked(probe, cost, pause) => {
                    drop(child.take());
                    std::thread::sleep(pause);
                    let waiting = Waiting { index, job, lacks: lacks + cost, lacked: Some(probe) };
                    lock(&self.queue).push(first, Duration::ZERO, waiting);
                }
            }
        }
        drop(child);
        self.children.fetch_sub(1, Ordering::Relaxed);
    }

    fn finish(&self, index: usize, probe: Probe) {
        (self.on_done)(index, &probe);
        lock(&self.done)[index] = Some(probe);
    }

    /// Whether the time for all is over.
    fn is_over(&self) -> bool {
        self.options.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Probes one plugin, in `child` where there is one; `first` is the turn that it begins with.
    fn serve(
        &self,
        job: &Job,
        first: usize,
        child: &mut Option<Child>,
        mut on_slow: impl FnMut(usize) -> queue::OnSlow,
    ) -> Turn {
        loop {
            if self.is_over() {
                return Turn::Done(Probe::failed(no_time_left()));
            }
            let mut serving = match child.take() {
                Some(serving) => serving,
                None => match Child::start(self.options) {
                    Ok(started) => started,
                    Err(reason) => return Turn::Lacked(Probe::failed(reason), 1, LACK_PAUSE),
                },
            };
            let was_fresh = serving.served == 0;
            let isolates = serving.isolates;
            let (probe, fate) = serving.probe(job, self.options, self.begun, first, &mut on_slow);
            match fate {
                Fate::PutAside { turn, used, serves } => {
                    *child = serves.then_some(serving);
                    return Turn::Aside(turn, used);
                }
                Fate::Lacks => return Turn::Lacked(probe, 1, LACK_PAUSE),
                Fate::Starved => return Turn::Lacked(probe, STARVED_COST, STARVED_PAUSE),
                // Not its fault, perhaps: once more, where nobody was before.
                Fate::Serves if !was_fresh && !isolates && probe.answer.is_err() => continue,
                Fate::Serves if serving.served < SERVED_MAX => *child = Some(serving),
                Fate::Serves | Fate::Retires => {}
                Fate::Died if !was_fresh => continue,
                Fate::Died => {}
            }
            return Turn::Done(probe);
        }
    }
}

/// What is said where the host met a fault of its own.
fn at_fault() -> Probe {
    let words = "pearlbed met a fault of its own while it was probed";
    Probe::failed(Reason::new(
        "no-answer",
        words,
        "send the report that was named; remove the plugin if you doubt it",
    ))
}

/// Why there is no answer of a plugin that had no time, or not its share of it.
pub(super) fn no_time_left() -> Reason {
    Reason::new(
        NO_TIME,
        "there was no time left to probe it: others took too long",
        "`pearlbed plugins inspect` on it alone says more",
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole between any two statements that hold it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe {
    /// The answer of a provider that has no code to be asked, found within `time`.
    pub(super) fn compared(answer: MiningCapabilities, time: Duration) -> Self {
        Self {
            answer: Ok(answer),
            units: vec![],
            impurities: vec![],
            stdout: Captured::default(),
            stderr: Captured::default(),
            times: ProbeTimes { load: None, detect: Some(time), total: time },
            confinement: Report::default(),
        }
    }

    fn had_no_time(&self) -> bool {
        self.answer.as_ref().is_err_and(|reason| reason.code == NO_TIME)
    }

    fn failed(reason: Reason) -> Self {
        Self {
            answer: Err(reason),
            units: vec![],
            impurities: vec![],
            stdout: Captured::default(),
            stderr: Captured::default(),
            times: ProbeTimes::default(),
            confinement: Report::default(),
        }
    }
}
