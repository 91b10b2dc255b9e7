//! Who does what next: the order of the work on one job, as a plain state machine.
//!
//! Two A's take turns. While the product of one with B is being computed, the other is drawn, committed to and packed,
//! and whoever asks for work prepares first and multiplies else, so that the next A is ready long before the last
//! block of the present one is handed out:
//!
//! ```text
//! B    recycle fill commit pack | ready until the job changes ...
//! A 0  recycle fill      commit pack | multiply ................ | recycle fill commit pack
//! A 1                                | recycle fill commit pack  | multiply ...............
//! ```
//!
//! The machine knows numbers only, no memory and no threads: [`crate::board`] puts a lock around it. A new job begins
//! when the last task of the old one has come back; until then there is nothing to do, for as long as a task takes.

/// Which operand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) enum Which {
    /// The one B.
    B,
    /// One of the two A's.
    A(usize),
}

/// One piece of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) enum Step {
    /// Take the operand's raw matrix apart.
    Recycle(Which),
    /// Draw and hash a piece.
    Fill(Which, usize),
    /// Commit to the operand.
    Commit(Which),
    /// Noise and pack a block.
    Pack(Which, usize),
    /// Multiply: item number so and so of this A's product.
    Multiply(usize, usize),
}

/// A step of a certain job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct Task {
    /// Which job, counted from 1.
    pub job: u64,
    /// The number of the matrix drawn, never used twice.
    pub stream: u64,
    /// What to do.
    pub step: Step,
}

/// How many steps of each kind an operand takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub pieces: usize,
    pub blocks: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Recycle,
    Fill,
    Commit,
    Pack,
    /// Waits for its turn; B rests here.
    Ready,
    Multiply,
}

#[derive(Debug)]
struct Stage {
    which: Which,
    counts: Counts,
    /// Steps of the last phase, for an A.
    items: usize,
    phase: Phase,
    /// The next step of this phase to hand out.
    next: usize,
    /// Steps of this phase that have not come back.
    left: usize,
    stream: u64,
}

impl Stage {
    fn new(which: Which, counts: Counts, items: usize) -> Self {
        Self { which, counts, items, phase: Phase::Recycle, next: 0, left: 1, stream: 0 }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.next = 0;
        self.left = match phase {
            Phase::Recycle | Phase::Commit => 1,
            Phase::Fill => self.counts.pieces,
            Phase::Pack => self.counts.blocks,
            Phase::Ready => 0,
            Phase::Multiply => self.items,
        };
    }

    /// The next step of the present phase, if one is left to hand out.
    fn hand_out(&mut self) -> Option<Step> {
        if self.next == self.left_at_start() {
            return None;
        }
        let index = self.next;
        self.next += 1;
        Some(match (self.phase, self.which) {
            (Phase::Recycle, which) => Step::Recycle(which),
            (Phase::Fill, which) => Step::Fill(which, index),
            (Phase::Commit, which) => Step::Commit(which),
            (Phase::Pack, which) => Step::Pack(which, index),
            (Phase::Multiply, Which::A(a)) => Step::Multiply(a, index),
            (Phase::Ready | Phase::Multiply, _) => unreachable!("nothing to hand out in this phase"),
        })
    }

    fn left_at_start(&self) -> usize {
        match self.phase {
            Phase::Recycle | Phase::Commit => 1,
            Phase::Fill => self.counts.pieces,
            Phase::Pack => self.counts.blocks,
            Phase::Ready => 0,
            Phase::Multiply => self.items,
        }
    }

    /// Takes a step back; whether that ended the phase.
    fn came_back(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let next = match self.phase {
            Phase::Recycle => Phase::Fill,
            Phase::Fill => Phase::Commit,
            Phase::Commit => Phase::Pack,
            Phase::Pack => Phase::Ready,
            Phase::Ready => unreachable!("nothing was handed out in this phase"),
            Phase::Multiply => Phase::Recycle,
        };
        self.enter(next);
        true
    }
}

/// The order of the work.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The present job; 0 before the first.
    job: u64,
    /// Whether there is work to do on it.
    active: bool,
    /// Tasks handed out that have not come back, of the present job or the one before.
    out: usize,
    /// The stages are to be reset once `out` is 0.
    reset: bool,
    streams: u64,
    b: Stage,
    a: [Stage; 2],
}

impl Plan {
    /// A plan for operands that take so many steps, and products of `items` steps.
    pub(crate) fn new(a: Counts, b: Counts, items: usize) -> Self {
        assert!(a.pieces > 0 && a.blocks > 0 && b.pieces > 0 && b.blocks > 0 && items > 0, "there is work");
        Self {
            job: 0,
            active: false,
            out: 0,
            reset: false,
            streams: 0,
            b: Stage::new(Which::B, b, 0),
            a: [Stage::new(Which::A(0), a, items), Stage::new(Which::A(1), a, items)],
        }
    }

    /// Drops the present job and begins another; returns its number.
    pub(crate) fn begin(&mut self) -> u64 {
        self.job += 1;
        self.active = true;
        self.reset = true;
        self.job
    }

    /// Drops the present job, if it is `job`.
    pub(crate) fn drop_job(&mut self, job: u64) {
        if job == self.job {
            self.active = false;
        }
    }

    /// Whether there is a job to work on.
    #[cfg(test)]
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// What to do next; `None` if nothing can be done until a task comes back or a job arrives.
    pub(crate) fn next(&mut self) -> Option<Task> {
        if !self.active {
            return None;
        }
        if self.reset {
            if self.out > 0 {
                return None;
            }
            self.reset = false;
            for stage in std::iter::once(&mut self.b).chain(&mut self.a) {
                stage.enter(Phase::Recycle);
            }
        }
        let (stream, step) = self.prepare().or_else(|| self.multiply())?;
        self.out += 1;
        Some(Task { job: self.job, stream, step })
    }

    /// A step that prepares an operand: B's first.
    fn prepare(&mut self) -> Option<(u64, Step)> {
        let seed_b = matches!(self.b.phase, Phase::Pack | Phase::Ready);
        for stage in std::iter::once(&mut self.b).chain(&mut self.a) {
            let waits = stage.phase == Phase::Commit && stage.which != Which::B && !seed_b;
            if stage.phase == Phase::Multiply || waits {
                continue;
            }
            if let Some(step) = stage.hand_out() {
                if let Step::Recycle(_) = step {
                    self.streams += 1;
                    stage.stream = self.streams;
                }
                return Some((stage.stream, step));
            }
        }
        None
    }

    /// A step of the product under way, or of the next one.
    fn multiply(&mut self) -> Option<(u64, Step)> {
        if self.b.phase != Phase::Ready {
            return None;
        }
        // The older one first: it was drawn earlier.
        let older = usize::from(self.a[1].stream < self.a[0].stream);
        for index in [older, 1 - older] {
            let stage = &mut self.a[index];
            if stage.phase == Phase::Ready {
                stage.enter(Phase::Multiply);
            }
            if stage.phase == Phase::Multiply
                && let Some(step) = stage.hand_out()
            {
                return Some((stage.stream, step));
            }
        }
        None
    }

    /// Takes a task back; whether others that found nothing to do should ask again.
    pub(crate) fn done(&mut self, task: Task) -> bool {
        self.out -= 1;
        if task.job != self.job || self.reset {
            return self.out == 0;
        }
        match task.step {
            Step::Recycle(which) | Step::Fill(which, _) | Step::Commit(which) | Step::Pack(which, _) => {
                match which {
                    Which::B => self.b.came_back(),
                    Which::A(a) => self.a[a].came_back(),
                }
            }
            Step::Multiply(a, _) => self.a[a].came_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    /// Follows the tasks and objects to any that comes too early.
    #[derive(Default)]
    struct Witness {
        done: HashMap<(u64, u64), HashSet<Step>>,
        out: Vec<Task>,
        products: usize,
    }

    impl Witness {
        fn handed_out(&mut self, task: Task, plan: &Plan) {
            let done = |which: Which| {
                let stream = match which {
                    Which::B => plan.b.stream,
                    Which::A(a) => plan.a[a].stream,
                };
                self.done.get(&(task.job, stream)).cloned().unwrap_or_default()
            };
            let filled = |which, counts: Counts| {
                (0..counts.pieces).all(|i| done(which).contains(&Step::Fill(which, i)))
            };
            let packed = |which, counts: Counts| {
                (0..counts.blocks).all(|i| done(which).contains(&Step::Pack(which, i)))
            };
            assert!(
                self.out.iter().all(|other| other.job == task.job),
                "a job begins after the last task of the old one"
            );
            match task.step {
                Step::Recycle(which) => {
                    let busy = |step: Step| match step {
                        Step::Multiply(a, _) => Which::A(a) == which || which == Which::B,
                        Step::Recycle(w) | Step::Fill(w, _) | Step::Commit(w) | Step::Pack(w, _) => {
                            w == which
                        }
                    };
                    assert!(!self.out.iter().any(|other| busy(other.step)), "nobody uses what is recycled");
                }
                Step::Fill(which, _) => assert!(done(which).contains(&Step::Recycle(which))),
                Step::Commit(which) => {
                    let counts = if which == Which::B { plan.b.counts } else { plan.a[0].counts };
                    assert!(filled(which, counts), "every piece is filled before the commitment");
                    assert!(
                        which == Which::B || done(Which::B).contains(&Step::Commit(Which::B)),
                        "A needs B's seed"
                    );
                }
                Step::Pack(which, _) => assert!(done(which).contains(&Step::Commit(which))),
                Step::Multiply(a, _) => {
                    assert!(packed(Which::A(a), plan.a[a].counts) && packed(Which::B, plan.b.counts));
                    self.products += 1;
                }
            }
            self.out.push(task);
        }

        fn came_back(&mut self, task: Task) {
            let first = self.done.entry((task.job, task.stream)).or_default().insert(task.step);
            assert!(first, "no step is done twice: {task:?}");
        }
    }

    proptest! {
        #[test]
        fn every_order_of_threads_keeps_the_steps_in_order_and_never_stops(
            choices in proptest::collection::vec(0u8..=255, 200..600),
            sizes in (1usize..4, 1usize..4, 1usize..4, 1usize..4, 1usize..6),
            threads in 1usize..5,
        ) {
            let (a, b) = (Counts { pieces: sizes.0, blocks: sizes.1 }, Counts { pieces: sizes.2, blocks: sizes.3 });
            let mut plan = Plan::new(a, b, sizes.4);
            let mut witness = Witness::default();
            plan.begin();
            for choice in choices {
                if choice == 255 {
                    plan.begin();
                } else if choice == 254 {
                    plan.drop_job(plan.job);
                    plan.begin();
                }
                let full = witness.out.len() == threads;
                match (!full && choice % 2 == 0).then(|| plan.next()).flatten() {
                    Some(task) => witness.handed_out(task, &plan),
                    None if witness.out.is_empty() => {
                        let task = plan.next().expect("with nothing handed out there is always something to do");
                        witness.handed_out(task, &plan);
                    }
                    None => {
                        let task = witness.out.swap_remove(usize::from(choice) % witness.out.len());
                        witness.came_back(task);
                        plan.done(task);
                    }
                }
            }
        }
    }

    #[test]
    fn one_a_is_prepared_while_the_other_is_multiplied() {
        let counts = Counts { pieces: 2, blocks: 2 };
        let mut plan = Plan::new(counts, counts, 4);
        plan.begin();
        let mut steps = Vec::new();
        for _ in 0..60 {
            let task = plan.next().expect("one thread always finds work");
            steps.push(task.step);
            plan.done(task);
        }
        // Both are prepared before the first product, and each again right after its own.
        let first =
            steps.iter().position(|step| matches!(step, Step::Multiply(0, 0))).expect("it multiplies");
        assert!(steps[..first].contains(&Step::Pack(Which::A(1), 1)));
        let second = steps.iter().position(|step| matches!(step, Step::Multiply(1, 0))).expect("and again");
        assert!(steps[first..second].contains(&Step::Pack(Which::A(0), 1)));
    }

    #[test]
    fn a_dropped_job_gives_no_work_and_an_old_drop_does_not_touch_the_new_one() {
        let counts = Counts { pieces: 1, blocks: 1 };
        let mut plan = Plan::new(counts, counts, 1);
        assert_eq!(plan.next(), None);
        let first = plan.begin();
        let task = plan.next().expect("there is a job");
        plan.drop_job(first);
        assert_eq!(plan.next(), None);
        plan.begin();
        plan.drop_job(first);
        assert!(plan.is_active());
        assert_eq!(plan.next(), None, "a task of the old job is out");
        assert!(plan.done(task), "whoever waits is told");
        assert!(plan.next().is_some());
    }
}
