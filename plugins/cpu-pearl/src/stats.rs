//! What the threads have done, counted without locks and shown on request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a worker's time goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Multiplying and folding.
    Product,
    /// The jackpots' hashes.
    Hashing,
    /// Drawing the noise, adding it, and packing.
    Noise,
    /// Drawing the matrices and hashing them.
    Commitment,
    /// Opening and writing proofs.
    Proofs,
}

/// Number of parts.
const PARTS: usize = 5;

/// One worker's counters; only it writes them.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    hashes: AtomicU64,
    nanos: [AtomicU64; PARTS],
    /// Bytes of memory that are this worker's own.
    pub bytes: AtomicU64,
}

impl Counters {
    /// Adds finished hashes.
    pub(crate) fn add_hashes(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Relaxed);
    }

    /// Adds processor time spent on one part.
    pub(crate) fn add_time(&self, part: Part, time: Duration) {
        self.nanos[part as usize].fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// Hashes so far.
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes.load(Relaxed)
    }
}

/// Seconds over which rates are told.
const RECENT: Duration = Duration::from_secs(10);

/// The counters of all workers, and their recent past.
pub(crate) struct Totals {
    pub workers: Vec<Counters>,
    pub proofs: AtomicU64,
    pub jobs: AtomicU64,
    pub last_error: Mutex<Option<String>>,
    past: Mutex<Vec<(Instant, Vec<u64>)>>,
    since: Instant,
}

impl Totals {
    /// Counters of `workers` workers that start now.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Counters::default()).collect(),
            proofs: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            last_error: Mutex::new(None),
            past: Mutex::new(vec![(Instant::now(), vec![0; workers])]),
            since: Instant::now(),
        }
    }

    /// Hashes of all workers.
    pub(crate) fn hashes(&self) -> u64 {
        self.workers.iter().map(Counters::hashes).sum()
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// Remembers where the workers are; to be called a few times a second.
    pub(crate) fn sample(&self, now: Instant) {
        let mut past = self.past.lock().expect("nobody panics with it");
        if past.last().is_some_and(|(at, _)| now.duration_since(*at) < RECENT / 40) {
            return;
        }
        past.push((now, self.workers.iter().map(Counters::hashes).collect()));
        let old = past.iter().take_while(|(at, _)| now.duration_since(*at) > RECENT).count();
        past.drain(..old.saturating_sub(1));
    }

    /// Hashes per second of each worker over the recent past.
    pub(crate) fn rates(&self, now: Instant) -> Vec<f64> {
        let past = self.past.lock().expect("nobody panics with it");
        let (at, then) = past.first().expect("there is always one");
        let seconds = now.duration_since(*at).as_secs_f64().max(1e-3);
        self.workers
            .iter()
            .zip(then)
            .map(|(worker, then)| (worker.hashes() - then) as f64 / seconds)
            .collect()
    }

    /// Processor seconds of all workers spent on `part`.
    pub(crate) fn seconds(&self, part: Part) -> f64 {
        self.workers.iter().map(|worker| worker.nanos[part as usize].load(Relaxed) as f64 * 1e-9).sum()
    }

    /// Remembers what went wrong.
    pub(crate) fn fail(&self, error: String) {
        *self.last_error.lock().expect("nobody panics with it") = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_recent_past_only() {
        let totals = Totals::new(2);
        let start = Instant::now();
        totals.workers[0].add_hashes(1_000_000);
        for second in 1..=20 {
            totals.workers[1].add_hashes(500);
            totals.sample(start + Duration::from_secs(second));
        }
        let rates = totals.rates(start + Duration::from_secs(20));
        assert_eq!(rates[0], 0.0);
        assert!((rates[1] - 500.0).abs() < 60.0, "{rates:?}");
        assert_eq!(totals.hashes(), 1_010_000);
    }
}
