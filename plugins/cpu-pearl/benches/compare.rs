//! `cargo bench -p cpu-pearl`: this provider against the plain reference miner, and two threads against one.
//!
//! All rates are per second of processor time, so that a busy machine slows both sides alike; what two threads get by
//! the wall clock is printed beside it, and means something on a quiet machine only. Windows of the sides take turns.
//! Against the limit of the processor: `pearlbed bench`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{Header, Matrix, MiningConfiguration, PeriodicPattern, SeedRule};
use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::serde_json::json;
use pearlbed_plugin_api::{Job, LogLevel, MiningConfig, NextJob, SubmitError};
use rustix::time::{ClockId, clock_gettime};

/// A host with one job that nobody solves.
#[derive(Default)]
struct Idle {
    job: Mutex<Option<Job>>,
    current: AtomicU64,
}

impl HostServices for Idle {
    fn next_job(&self, timeout: Duration) -> NextJob {
        if let Some(job) = self.job.lock().unwrap().take() {
            return NextJob::Job(job);
        }
        std::thread::sleep(timeout);
        NextJob::TimedOut
    }
    fn is_stale(&self, job_id: u64) -> bool {
        self.current.load(Ordering::Relaxed) != job_id
    }
    fn submit(&self, _: u64, _: &[u8]) -> Result<(), SubmitError> {
        Ok(())
    }
    fn progress(&self, _: u64) {}
    fn log(&self, _: LogLevel, message: &[u8]) {
        println!("  {}", String::from_utf8_lossy(message));
    }
}

fn process_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// One provider that is given work for a while and then idles.
struct Side {
    provider: Provider,
    host: Arc<Idle>,
    next: u64,
}

impl Side {
    fn start(threads: u32) -> Self {
        let mut extra = json!({"threads": threads});
        if let Ok(kernel) = std::env::var("KERNEL") {
            extra["kernel"] = kernel.into();
        }
        let provider = Provider::of_static(cpu_pearl::PEARLBED_PROVIDER).unwrap();
        let host = Arc::new(Idle::default());
        let config = MiningConfig::compute_only("cpu-pearl", extra.as_object().unwrap().clone());
        provider.start(&config, host.clone()).unwrap();
        Self { provider, host, next: 0 }
    }

    /// Works for `time`; hashes per second of processor time, and per second.
    fn window(&mut self, time: Duration) -> (f64, f64) {
        self.next += 1;
        let job = Job::new(self.next, [self.next as u8; 76], [0; 32], 3, true);
        let before = self.provider.stats().unwrap().hashes;
        let (cpu, begun) = (process_time(), Instant::now());
        self.host.current.store(self.next, Ordering::Relaxed);
        *self.host.job.lock().unwrap() = Some(job);
        std::thread::sleep(time);
        self.host.current.store(0, Ordering::Relaxed);
        let took = begun.elapsed().as_secs_f64();
        // What is under way is finished, and counted on both sides.
        std::thread::sleep(Duration::from_millis(30));
        let hashes = (self.provider.stats().unwrap().hashes - before) as f64;
        (hashes / (process_time() - cpu), hashes / took)
    }
}

/// The reference's whole round, from matrices to the last tile, at the default depth and tile.
fn reference() -> f64 {
    let (rows, k) = (128, 2048);
    let tile = PeriodicPattern::contiguous(16).unwrap();
    let config = MiningConfiguration::dense(k as u32, 128, tile, tile);
    let (a, b) = (test_matrix(1, rows * k), test_matrix(2, rows * k));
    let cpu = process_time();
    let matrix = |entries| Matrix::new(entries, k).unwrap();
    let product =
        Product::new(&Header::from_bytes([7; 76]), &config, SeedRule::Salted, matrix(&a), matrix(&b));
    let sum = product.attempts().fold(0u8, |sum, attempt| sum ^ attempt.jackpot[0]);
    std::hint::black_box(sum);
    (rows * rows * k) as f64 / (process_time() - cpu)
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|share| values[((values.len() - 1) as f64 * share).round() as usize])
}

fn main() {
    let (mut one, mut two) = (Side::start(1), Side::start(2));
    let window = Duration::from_millis(700);
    one.window(window);
    two.window(window);
    let (mut per_thread, mut by_clock, mut times, mut rates) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..15 {
        let plain = reference();
        let (alone, alone_clock) = one.window(window);
        let (both, both_clock) = two.window(window);
        per_thread.push(2.0 * both / alone);
        by_clock.push(both_clock / alone_clock);
        times.push(alone / plain);
        rates.push(alone);
    }
    let [low, rate, high] = quartiles(rates);
    println!(
        "one thread      {:.1} GH/s per processor second ({:.1} to {:.1})",
        rate / 1e9,
        low / 1e9,
        high / 1e9
    );
    let [low, ratio, high] = quartiles(times);
    println!("the reference   {ratio:.0} times slower ({low:.0} to {high:.0})");
    let [low, ratio, high] = quartiles(per_thread);
    println!("two threads     {ratio:.3} times one, by processor time ({low:.3} to {high:.3})");
    let [low, ratio, high] = quartiles(by_clock);
    println!("                {ratio:.3} times one, by the clock ({low:.3} to {high:.3})");
    one.provider.stop().unwrap();
    two.provider.stop().unwrap();
}
