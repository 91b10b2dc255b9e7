//! Where workers take their tasks, and where the job changes hands.
//!
//! One lock around the [`Plan`] and one condition to wait on. A worker hands its last task in and takes the next in the
//! same visit, every half millisecond or so; whoever finds nothing to do sleeps until a task that was out comes back,
//! a job arrives, or the end is announced. Data does not pass through here: tasks are numbers, and what they stand for
//! has locks of its own that are never contended ([`crate::operand`]).

use super::sync::{Condvar, Mutex};
use crate::plan::{Plan, Task};

/// What a worker is to do.
pub(crate) enum Order<J> {
    /// This task of that job.
    Work(Task, std::sync::Arc<J>),
    /// End.
    Stop,
}

struct State<J> {
    plan: Plan,
    job: Option<std::sync::Arc<J>>,
    stopping: bool,
}

/// The board that all threads of a provider stand around; `J` is what they know about a job.
pub(crate) struct Board<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

impl<J> Board<J> {
    /// A board without a job.
    pub(crate) fn new(plan: Plan) -> Self {
        Self { state: Mutex::new(State { plan, job: None, stopping: false }), changed: Condvar::new() }
    }

    /// Hands in a task without asking for another.
    pub(crate) fn hand_in(&self, task: Task) {
        if self.state.lock().expect("nobody panics at the board").plan.done(task) {
            self.changed.notify_all();
        }
    }

    /// Hands in the task `done` and waits for the next order.
    pub(crate) fn next(&self, done: Option<Task>) -> Order<J> {
        let mut state = self.state.lock().expect("nobody panics at the board");
        if let Some(task) = done
            && state.plan.done(task)
        {
            self.changed.notify_all();
        }
        loop {
            if state.stopping {
                return Order::Stop;
            }
            if let Some(task) = state.plan.next() {
                let job = state.job.as_ref().expect("the plan has tasks only where there is a job");
                return Order::Work(task, std::sync::Arc::clone(job));
            }
            state = self.changed.wait(state).expect("nobody panics at the board");
        }
    }

    /// Replaces the job.
    pub(crate) fn begin(&self, job: J) {
        let mut state = self.state.lock().expect("nobody panics at the board");
        state.plan.begin();
        state.job = Some(std::sync::Arc::new(job));
        self.changed.notify_all();
    }

    /// Ends work on the job that `task` belongs to, unless a new one has begun.
    pub(crate) fn drop_job(&self, task: Task) {
        self.state.lock().expect("nobody panics at the board").plan.drop_job(task.job);
    }

    /// Sends everybody home.
    pub(crate) fn stop(&self) {
        self.state.lock().expect("nobody panics at the board").stopping = true;
        self.changed.notify_all();
    }

    /// Whether everybody is to go home.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().expect("nobody panics at the board").stopping
    }
}
