//! The jobs of a session, numbered, and which of them still pay.

use std::sync::Arc;

use crate::miner::Work;
use crate::work::WorkJob;

/// The jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    last: u64,
    current: Option<Arc<Work>>,
}

impl Jobs {
    /// A new job, which takes the place of every earlier one.
    pub fn replace(&mut self, job: WorkJob) -> Arc<Work> {
        self.last += 1;
        let work = Arc::new(Work { number: self.last, job });
        self.current = Some(Arc::clone(&work));
        work
    }

    /// The job that pays.
    pub fn current(&self) -> Option<&Arc<Work>> {
        self.current.as_ref()
    }

    /// Whether a proof for job `number` is still worth handing over.
    pub fn pays(&self, number: u64) -> bool {
        self.current.as_ref().is_some_and(|work| work.number == number)
    }
}
