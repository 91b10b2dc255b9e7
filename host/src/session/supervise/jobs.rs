//! The jobs of a session, numbered, and which of them still pay.

use std::sync::Arc;

use crate::miner::Work;
use crate::work::WorkJob;

/// Earlier jobs that may pay beside the one on offer.
const KEPT_MAX: usize = 64;

/// The jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    last: u64,
    current: Option<Arc<Work>>,
    /// Numbers of earlier jobs for which proofs are still worth handing over.
    kept: Vec<u64>,
}

impl Jobs {
    /// A new job, which takes the place of every earlier one, but for those that its source keeps.
    pub fn replace(&mut self, job: WorkJob) -> Arc<Work> {
        match &self.current {
            Some(before) if job.keeps_earlier && is_of_same_origin(&before.job, &job) => {
                if self.kept.len() == KEPT_MAX {
                    self.kept.remove(0);
                }
                self.kept.push(before.number);
            }
            _ => self.kept.clear(),
        }
        self.last += 1;
        let work = Arc::new(Work { number: self.last, job });
        self.current = Some(Arc::clone(&work));
        work
    }

    /// There is no work: every job is over.
    pub fn clear(&mut self) {
        self.current = None;
        self.kept.clear();
    }

    /// The job on offer.
    pub fn current(&self) -> Option<&Arc<Work>> {
        self.current.as_ref()
    }

    /// Whether a proof for job `number` is still worth handing over.
    pub fn pays(&self, number: u64) -> bool {
        self.current.as_ref().is_some_and(|work| work.number == number) || self.kept.contains(&number)
    }
}

/// A pool's jobs live and die with the connection that they came over.
fn is_of_same_origin(a: &WorkJob, b: &WorkJob) -> bool {
    match (&a.origin, &b.origin) {
        (Some(a), Some(b)) => a.pool == b.pool && a.connection == b.connection,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::work::Origin;

    fn job(keeps_earlier: bool, connection: Option<u64>) -> WorkJob {
        WorkJob {
            header: [0; 76],
            target: [1; 32],
            certificate_version: 3,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
            origin: connection.map(|connection| Origin {
                pool: "p".into(),
                connection,
                serial: 1,
                job_id: "1".into(),
            }),
            keeps_earlier,
        }
    }

    #[test]
    fn only_the_newest_job_pays_unless_its_source_keeps_earlier_ones() {
        let mut jobs = Jobs::default();
        assert!(!jobs.pays(1) && jobs.current().is_none());
        assert_eq!(jobs.replace(job(false, None)).number, 1);
        assert_eq!(jobs.replace(job(false, None)).number, 2);
        assert!(jobs.pays(2) && !jobs.pays(1));
        jobs.replace(job(true, None));
        jobs.replace(job(true, None));
        assert!(jobs.pays(4) && jobs.pays(3) && jobs.pays(2) && !jobs.pays(1));
        jobs.replace(job(false, None));
        assert!(jobs.pays(5) && !jobs.pays(4) && !jobs.pays(2));
    }

    #[test]
    fn another_connection_keeps_nothing() {
        let mut jobs = Jobs::default();
        jobs.replace(job(false, Some(1)));
        jobs.replace(job(true, Some(1)));
        assert!(jobs.pays(1));
        jobs.replace(job(true, Some(2)));
        assert!(jobs.pays(3) && !jobs.pays(2) && !jobs.pays(1));
    }

    #[test]
    fn a_source_that_keeps_everything_does_not_fill_the_memory() {
        let mut jobs = Jobs::default();
        for _ in 0..1000 {
            jobs.replace(job(true, None));
        }
        assert_eq!(jobs.kept.len(), KEPT_MAX);
        assert!(jobs.pays(1000) && jobs.pays(999) && !jobs.pays(900));
    }
}
