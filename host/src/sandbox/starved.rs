//! How long a process wanted to run and had no processor, and limits that do not count such time.
//!
//! A limit on what a process does is meant for one that hangs. On a machine that is busy with other things, or behind
//! others that come first, a process may have to wait for minutes, and that is not its doing. Linux counts for each
//! thread how long it was ready to run and did not (`/proc/PID/task/TID/schedstat`). Elsewhere nothing is excused.
//!
//! # Limitations
//!
//! Which of its threads a process depends on nobody can see, so the one that waited longest counts from look to look. A
//! process that keeps more threads busy than there are processors is excused, too; so what is excused has an end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many times [`Patience`] is excused at most: somebody may be waiting for the answer.
const EXCUSED_MOST: u32 = 3;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Nanoseconds that each thread has waited for a processor since it began, by its number.
pub type Waits = BTreeMap<u32, u64>;

/// What the threads of process `pid` have waited; nothing where the system does not tell.
pub fn waits(pid: u32) -> Option<Waits> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let one = |task: std::fs::DirEntry| {
        let number = task.file_name().to_str()?.parse().ok()?;
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some((number, wait(&text)?))
    };
    let waits: Waits = tasks.flatten().filter_map(one).collect();
    (!waits.is_empty()).then_some(waits)
}

/// The nanoseconds that a thread waited, of its three numbers: on a processor, waiting for one, turns. A kernel that does not
/// count says that it never had a turn.
fn wait(text: &str) -> Option<u64> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    let [_, wait, turns] = [(); 3].map(|()| numbers.next());
    let (wait, turns) = (wait?.ok()?, turns?.ok()?);
    (turns > 0).then_some(wait)
}

/// Adds up how long a process waits, from look to look.
#[derive(Debug, Default)]
pub struct Starved {
    last: Option<(Instant, Waits)>,
    total: Duration,
}

impl Starved {
    /// What its threads had waited at `now`; answers what is new since the last look: what the one that waited longest did,
    /// and never more than has passed.
    pub fn seen(&mut self, waits: Option<Waits>, now: Instant) -> Duration {
        let Some(waits) = waits else { return Duration::ZERO };
        let new = self.last.as_ref().map_or(Duration::ZERO, |(at, before)| {
            // A thread that was not there before has waited since.
            let since =
                |(thread, wait): (&u32, &u64)| wait.saturating_sub(before.get(thread).copied().unwrap_or(0));
            let longest = waits.iter().map(since).max().unwrap_or(0);
            Duration::from_nanos(longest).min(now.saturating_duration_since(*at))
        });
        self.last = Some((now, waits));
        self.total += new;
        new
    }

    /// All that was seen.
    pub fn total(&self) -> Duration {
        self.total
    }
}

/// A limit on what a process does. The first half of it is plain time, so that nobody has to look while all goes well.
#[derive(Debug)]
pub struct Patience {
    pid: u32,
    begun: Instant,
    limit: Duration,
    starved: Starved,
    looked: Option<Instant>,
}

impl Patience {
    /// Process `pid` may take `limit` from `now` on.
    pub fn new(pid: u32, limit: Duration, now: Instant) -> Self {
        Self { pid, begun: now, limit, starved: Starved::default(), looked: None }
    }

    /// Whether it has had its time.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let pid = self.pid;
        self.judge(now, || waits(pid))
    }

    fn judge(&mut self, now: Instant, read: impl FnOnce() -> Option<Waits>) -> bool {
        let lasts = now.saturating_duration_since(self.begun);
        if lasts < self.limit / 2 {
            return false;
        }
        let is_over =
            |starved: &Starved| lasts >= self.limit + starved.total().min(self.limit * EXCUSED_MOST);
        if self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK) || is_over(&self.starved) {
            self.looked = Some(now);
            self.starved.seen(read(), now);
        }
        is_over(&self.starved)
    }
}

/// How long something took this process, without the time in which it waited for a processor.
#[derive(Debug)]
pub struct Stopwatch {
    begun: Instant,
    starved: Starved,
}

impl Stopwatch {
    /// From now on.
    pub fn start() -> Self {
        let begun = Instant::now();
        let mut starved = Starved::default();
        starved.seen(waits(std::process::id()), begun);
        Self { begun, starved }
    }

    /// Up to now.
    pub fn elapsed(mut self) -> Duration {
        let now = Instant::now();
        let waited = self.starved.seen(waits(std::process::id()), now);
        now.saturating_duration_since(self.begun).saturating_sub(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn of<const N: usize>(waits: [(u32, u64); N]) -> Option<Waits> {
        Some(waits.map(|(thread, ms)| (thread, ms * 1_000_000)).into())
    }

    #[test]
    fn the_thread_that_waited_longest_counts_and_never_for_more_than_has_passed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut starved = Starved::default();
        assert_eq!(
            starved.seen(of([(1, 70_000), (2, 0)]), start),
            Duration::ZERO,
            "what was before is not known"
        );
        assert_eq!(starved.seen(of([(1, 70_100), (2, 400)]), at(1000)), Duration::from_millis(400));
        assert_eq!(
            starved.seen(of([(2, 400), (3, 250)]), at(2000)),
            Duration::from_millis(250),
            "a new thread"
        );
        assert_eq!(starved.seen(of([(2, 90_000), (3, 0)]), at(3000)), Duration::from_secs(1));
        assert_eq!(starved.seen(None, at(4000)), Duration::ZERO);
        assert_eq!(starved.total(), Duration::from_millis(1650));
    }

    #[test]
    fn a_kernel_that_does_not_count_tells_nothing() {
        assert_eq!(wait("123456 789 3\n"), Some(789));
        for text in ["0 0 0\n", "1 2", "", "1 x 3"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }

    #[test]
    fn a_limit_is_plain_time_for_a_process_that_sleeps_and_stands_still_for_one_that_starves() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let over = |waits: &dyn Fn(u64) -> Option<Waits>| {
            let mut patience = Patience::new(1, LIMIT, start);
            (0..3000).find(|&tenths| patience.judge(at(tenths), || waits(tenths)))
        };
        assert_eq!(over(&|_| None), Some(100), "where nothing is told");
        assert_eq!(over(&|_| of([(1, 5000)])), Some(100), "it sleeps");
        // Three quarters of the time it waits: what is left after the first half takes four times as long.
        let busy = over(&|tenths| of([(1, 75 * tenths)])).unwrap();
        assert!((240..=260).contains(&busy), "{busy}");
        assert_eq!(over(&|tenths| of([(1, 100 * tenths)])), Some(400), "and at four times the limit it ends");
    }

    #[test]
    fn nobody_looks_while_all_goes_well() {
        let start = Instant::now();
        let mut patience = Patience::new(1, LIMIT, start);
        let looks = std::cell::Cell::new(0);
        for ms in 0..10_000 {
            let look = || {
                looks.set(looks.get() + 1);
                of([(1, 0)])
            };
            let over = patience.judge(start + Duration::from_millis(ms), look);
            assert!(!over && (ms >= 5000 || looks.get() == 0));
        }
        assert!(looks.get() <= 51, "{} looks", looks.get());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn two_threads_that_share_a_processor_wait_for_each_other() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let own = std::process::id();
        if waits(own).is_none() {
            println!("skipped: this kernel does not count what threads wait");
            return;
        }
        let over = AtomicBool::new(false);
        let spin = || {
            let mut cpus = rustix::thread::CpuSet::new();
            let allowed = rustix::thread::sched_getaffinity(None).expect("our own affinity");
            let first =
                (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu)).expect("one of them");
            cpus.set(first);
            rustix::thread::sched_setaffinity(None, &cpus).expect("one of those allowed");
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(spin);
            scope.spawn(spin);
            let mut starved = Starved::default();
            while starved.total() < Duration::from_millis(50) {
                starved.seen(waits(own), Instant::now());
                std::thread::sleep(Duration::from_millis(5));
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
