//! The threads: workers that do tasks, and one that waits for jobs.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Target};
use pearl_pow::{Digest, Header, Side, U256, job_key};
use pearlbed_plugin_api::{Host, Job, LogLevel, NextJob, SubmitError};

use crate::board::{Board, Order};
use crate::calibrate::thread_time;
use crate::fill;
use crate::operand::{Keys, Operand, PackRoom};
use crate::plan::{Counts, Plan, Step, Task, Which};
use crate::search::{self, SearchRoom};
use crate::shape::Shape;
use crate::stats::{Part, Totals};
use crate::throttle::Throttle;

/// What the workers know about a job.
pub(crate) struct Problem {
    id: u64,
    keys: Keys,
    /// What a jackpot must not exceed.
    bound: U256,
}

impl Problem {
    /// Prepares a job.
    ///
    /// # Errors
    ///
    /// The certificate version is none that this build knows.
    pub(crate) fn new(shape: &Shape, job: &Job) -> Result<Self, String> {
        let version = CertificateVersion::try_from(job.certificate_version).map_err(|err| err.to_string())?;
        let header = Header::from_bytes(job.header);
        let keys = Keys {
            job_key: job_key(&header, &shape.config),
            rule: version.seed_rule(),
            secret: fill::secret(),
        };
        let bound = Target::from_le_bytes(job.target).bound(&shape.config, job.rank_penalty);
        Ok(Self { id: job.id, keys, bound })
    }
}

/// All that the threads of one session share.
pub(crate) struct Session {
    pub shape: Shape,
    b: Operand,
    a: [Operand; 2],
    pub board: Board<Problem>,
    pub totals: Totals,
    pub host: Host,
    cpu_percent: u32,
}

impl Session {
    /// Allocates everything that mining needs.
    pub(crate) fn new(shape: Shape, workers: usize, cpu_percent: u32, host: Host) -> Self {
        let (b, a) = (Operand::new(&shape, Side::BT), [(); 2].map(|()| Operand::new(&shape, Side::A)));
        let counts = |operand: &Operand| Counts { pieces: operand.pieces(), blocks: operand.blocks() };
        let items = shape.a.blocks() * shape.b.blocks();
        let board = Board::new(Plan::new(counts(&a[0]), counts(&b), items));
        Self { shape, b, a, board, totals: Totals::new(workers), host, cpu_percent }
    }

    fn operand(&self, which: Which) -> &Operand {
        match which {
            Which::B => &self.b,
            Which::A(a) => &self.a[a],
        }
    }
}

/// A worker's memory and clock.
struct Worker<'a> {
    session: &'a Session,
    index: usize,
    pack: PackRoom,
    search: SearchRoom,
    hits: Vec<search::Hit>,
    last: Duration,
}

/// Runs worker `index` until the board sends it home.
pub(crate) fn work(session: &Session, index: usize, pin: Option<usize>) {
    if let Some(cpu) = pin
        && let Err(err) = bind(cpu)
    {
        session
            .host
            .log(LogLevel::Warn, &format!("thread {index} could not be bound to processor {cpu}: {err}"));
    }
    let mut worker = Worker {
        session,
        index,
        pack: PackRoom::default(),
        search: SearchRoom::default(),
        hits: Vec::new(),
        last: thread_time(),
    };
    let mut throttle = Throttle::new(session.cpu_percent, Instant::now(), worker.last);
    let mut done = None;
    while let Order::Work(task, problem) = session.board.next(done.take()) {
        if session.host.is_stale(problem.id) {
            // Not worth doing any more: it is handed back undone, and with it the plan of a dead job.
            session.board.drop_job(task);
        } else if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.step(task, &problem))) {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            session.totals.fail(format!("a worker stopped: {}", what.unwrap_or_default()));
            session.board.stop();
            return;
        }
        drop(problem);
        done = Some(task);
        let pause = throttle.pause(Instant::now(), worker.last);
        if !pause.is_zero() {
            // What was done is handed in before the pause: others may wait for it.
            done.take().into_iter().for_each(|task| session.board.hand_in(task));
            rest(session, pause);
        }
    }
}

/// Binds this thread to one processor.
#[cfg(target_os = "linux")]
fn bind(cpu: usize) -> rustix::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
}

#[cfg(not(target_os = "linux"))]
fn bind(_cpu: usize) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The processors that this process may use, in order.
pub(crate) fn processors() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    }
    (0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get)).collect()
}

/// Sleeps for `pause`, in pieces so that the end of the session is noticed.
fn rest(session: &Session, pause: Duration) {
    let until = Instant::now() + pause;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        if session.board.is_stopping() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(10)));
    }
}

impl Worker<'_> {
    fn step(&mut self, task: Task, problem: &Problem) {
        let session = self.session;
        let shape = &session.shape;
        match task.step {
            Step::Recycle(which) => {
                session.operand(which).recycle();
                self.took(Part::Commitment);
            }
            Step::Fill(which, index) => {
                session.operand(which).fill(shape, &problem.keys, task.stream, index);
                self.took(Part::Commitment);
            }
            Step::Commit(Which::B) => {
                session.b.commit(shape, &problem.keys, None);
                self.took(Part::Commitment);
            }
            Step::Commit(Which::A(a)) => {
                let seed_b: Digest = session.b.committed().seed;
                session.a[a].commit(shape, &problem.keys, Some(&seed_b));
                self.took(Part::Commitment);
            }
            Step::Pack(which, index) => {
                session.operand(which).pack(shape, index, &mut self.pack);
                self.took(Part::Noise);
            }
            Step::Multiply(a, item) => {
                self.multiply(problem, &session.a[a], item);
            }
        }
    }

    fn multiply(&mut self, problem: &Problem, a: &Operand, item: usize) {
        let session = self.session;
        let shape = &session.shape;
        let blocks = shape.blocks_of(item).expect("the plan has as many items as there are pairs of blocks");
        let next = shape.blocks_after(item, session.totals.workers.len());
        search::multiply(shape, (a, blocks.0), (&session.b, blocks.1), next, &mut self.search);
        self.took(Part::Product);
        let seed_a = a.committed().seed;
        self.hits.clear();
        search::jackpots(shape, blocks, &seed_a, &problem.bound, &mut self.search, &mut self.hits);
        self.took(Part::Hashing);
        let counters = &session.totals.workers[self.index];
        counters.add_hashes(shape.block_hashes(blocks.0, blocks.1));
        counters.bytes.store(self.search.bytes() as u64, Relaxed);
        for &hit in &self.hits {
            let proof = search::prove(shape, a, &session.b, hit);
            match session.host.submit(problem.id, &proof) {
                Ok(()) => _ = session.totals.proofs.fetch_add(1, Relaxed),
                // Nobody takes anything any more.
                Err(SubmitError::Stopped) if session.board.is_stopping() => break,
                // What kept this one from being taken says nothing of the next: the host judges each by itself, and counts
                // those that come late.
                Err(_) => {}
            }
        }
        if !self.hits.is_empty() {
            self.took(Part::Proofs);
        }
    }

    /// Books the time since the last call.
    fn took(&mut self, part: Part) {
        let now = thread_time();
        self.session.totals.workers[self.index].add_time(part, now.saturating_sub(self.last));
        self.last = now;
    }
}

/// How long the thread that waits for jobs waits at a time: so often progress is reported and the end is noticed.
const TURN: Duration = Duration::from_millis(50);

/// Takes jobs from the host and puts them on the board, until either ends.
pub(crate) fn take_jobs(session: &Session) {
    let mut reported = 0;
    while take_job(session).is_continue() {
        let hashes = session.totals.hashes();
        if hashes > reported {
            session.host.progress(hashes - reported);
            reported = hashes;
        }
        session.totals.sample(Instant::now());
    }
    session.board.stop();
}

fn take_job(session: &Session) -> ControlFlow<()> {
    if session.board.is_stopping() {
        return ControlFlow::Break(());
    }
    match session.host.next_job(TURN) {
        NextJob::Job(job) => match Problem::new(&session.shape, &job) {
            Ok(problem) => {
                session.totals.jobs.fetch_add(1, Relaxed);
                session.board.begin(problem);
            }
            Err(err) => {
                session.host.log(LogLevel::Error, &format!("job {} cannot be mined: {err}", job.id));
                session.totals.fail(err);
            }
        },
        NextJob::TimedOut => {}
        NextJob::Stopped => return ControlFlow::Break(()),
    }
    ControlFlow::Continue(())
}

/// Names and starts the threads of `session`.
///
/// # Errors
///
/// The system has no room for another thread; those that were started are sent home.
pub(crate) fn spawn(
    session: &Arc<Session>,
    pin: &[usize],
) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
    let mut threads = Vec::new();
    let count = session.totals.workers.len();
    for index in 0..=count {
        let own = Arc::clone(session);
        let pin = (!pin.is_empty()).then(|| pin[index % pin.len()]);
        let name = if index < count { format!("pearl-cpu-{index}") } else { "pearl-jobs".to_owned() };
        let run = move || if index < count { work(&own, index, pin) } else { take_jobs(&own) };
        match std::thread::Builder::new().name(name).spawn(run) {
            Ok(thread) => threads.push(thread),
            Err(err) => {
                session.board.stop();
                threads.into_iter().for_each(|thread| _ = thread.join());
                return Err(err);
            }
        }
    }
    Ok(threads)
}
