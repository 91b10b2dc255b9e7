//! A provider that really mines: threads, settings, numbers, and a kernel of its own in `kernel`.
//!
//! Each thread draws two matrices, commits to them, and tries every tile of their product before it draws the next.
//! What is not the product comes from `pearl-pow`: keys, noise, transcript, proof.

mod kernel;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Target};
use pearlbed_plugin_api::{
    HardwareInfo, Host, Job, LogLevel, MiningCapabilities, MiningConfig, MiningProvider, MiningStats,
    NextJob, ProviderError, export_provider,
};

/// More threads than any machine has.
const THREADS_MAX: u64 = 1024;
/// How often the host is told what was done, however many threads do it.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The provider, and what it shares with its threads while it mines.
#[derive(Default)]
struct Provider {
    running: Mutex<Option<Running>>,
}

struct Running {
    threads: Vec<JoinHandle<()>>,
    numbers: Arc<Numbers>,
    since: Instant,
}

#[derive(Default)]
struct Numbers {
    hashes: AtomicU64,
    proofs: AtomicU64,
    jobs: AtomicU64,
    failed: AtomicBool,
    last_error: Mutex<Option<String>>,
    /// What the host was not told of yet, and when it was told last.
    untold: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Numbers {
    fn count(&self, hashes: u64, host: &Host) {
        self.hashes.fetch_add(hashes, Relaxed);
        self.untold.fetch_add(hashes, Relaxed);
        // Whoever comes while another thread tells the host has nothing to do.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            host.progress(self.untold.swap(0, Relaxed));
        }
    }
}

/// The job that all threads work on.
type Board = Mutex<Option<Job>>;

impl Provider {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        // What it guards is whole between any two statements that hold it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MiningProvider for Provider {
    fn detect(&self, hardware: &HardwareInfo, _engine_id: &str, _model: &str) -> MiningCapabilities {
        // A guess that costs nothing: what one thread of this kernel does on a machine of today.
        let cores = hardware.cpu.logical_cores.max(1);
        MiningCapabilities::supported()
            .with_reason("a plain loop: put your kernel in its place")
            .with_estimate(2e8 * f64::from(cores))
    }

    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        let threads = threads(config)?;
        let (numbers, board) = (Arc::new(Numbers::default()), Arc::new(Board::default()));
        let spawn = |index: usize| {
            let (host, numbers, board) = (host.clone(), Arc::clone(&numbers), Arc::clone(&board));
            std::thread::Builder::new().name(format!("miner-{index}")).spawn(move || {
                if let Err(why) = mine(&host, &board, &numbers) {
                    host.log(LogLevel::Error, &why);
                    *numbers.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    numbers.failed.store(true, Relaxed);
                }
            })
        };
        let threads: Result<Vec<_>, _> = (0..threads).map(spawn).collect();
        // Threads that did start end by themselves: the host closes where `start` fails.
        let threads = threads.map_err(|err| format!("no thread could be started: {err}"))?;
        *self.lock() = Some(Running { threads, numbers, since: Instant::now() });
        Ok(())
    }

    fn stop(&self) -> Result<(), ProviderError> {
        let Some(running) = self.lock().take() else { return Ok(()) };
        // The host has closed by now, so every thread is on its way out.
        let ended: Vec<_> = running.threads.into_iter().map(JoinHandle::join).collect();
        if ended.iter().any(Result::is_err) { Err("a thread panicked".into()) } else { Ok(()) }
    }

    fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(|running| {
            !running.numbers.failed.load(Relaxed)
                && running.threads.iter().all(|thread| !thread.is_finished())
        })
    }

    fn stats(&self) -> MiningStats {
        let mut stats = MiningStats::default();
        if let Some(Running { numbers, since, .. }) = &*self.lock() {
            stats.uptime = since.elapsed();
            stats.hashes = numbers.hashes.load(Relaxed);
            stats.proofs_found = numbers.proofs.load(Relaxed);
            stats.jobs_taken = numbers.jobs.load(Relaxed);
            stats.hashrate = stats.hashes as f64 / stats.uptime.as_secs_f64().max(1e-3);
            stats.last_error = numbers.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        stats
    }
}

/// The setting `threads`: how many, or as many as the machine has.
fn threads(config: &MiningConfig) -> Result<usize, ProviderError> {
    match config.extra.get("threads") {
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        Some(given) => match given.as_u64() {
            Some(count @ 1..=THREADS_MAX) => Ok(count as usize),
            _ => Err(format!("`threads` is a number from 1 to {THREADS_MAX}, not {given}").into()),
        },
    }
}

/// The life of one thread, until the host has no more jobs. `Err` says what ended it before.
fn mine(host: &Host, board: &Board, numbers: &Numbers) -> Result<(), String> {
    let mut room = kernel::Room::default();
    let mut last = 0;
    while let Some(job) = next(host, board, numbers, last) {
        last = job.id;
        work(&job, host, numbers, &mut room)?;
    }
    Ok(())
}

/// The job after `last`. Each is handed out once, so one thread waits for it and shows it to the others.
fn next(host: &Host, board: &Board, numbers: &Numbers, last: u64) -> Option<Job> {
    loop {
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = board.as_ref().filter(|job| job.id != last && !host.is_stale(job.id)) {
            return Some(job.clone());
        }
        match host.next_job(Duration::from_millis(100)) {
            NextJob::Job(job) => {
                numbers.jobs.fetch_add(1, Relaxed);
                *board = Some(job);
            }
            NextJob::TimedOut => {}
            NextJob::Stopped => return None,
        }
    }
}

/// Works on `job` until it is stale.
fn work(job: &Job, host: &Host, numbers: &Numbers, room: &mut kernel::Room) -> Result<(), String> {
    let Ok(certificate) = CertificateVersion::try_from(job.certificate_version) else {
        // Hosts offer only what the manifest declares; another job is left alone.
        host.log(
            LogLevel::Warn,
            &format!("certificate version {} is not known here", job.certificate_version),
        );
        return Ok(());
    };
    let header = Header::from_bytes(job.header);
    let bound = Target::from_le_bytes(job.target).bound(&kernel::config(), job.rank_penalty);
    while !host.is_stale(job.id) {
        let product =
            room.draw(&header, certificate.seed_rule()).map_err(|err| format!("no randomness: {err}"))?;
        for (row, column) in kernel::tiles() {
            if host.is_stale(job.id) {
                return Ok(());
            }
            if product.jackpot(row, column) <= bound {
                let proof = product.prove(row, column);
                if host.submit(job.id, &proof).is_ok() {
                    numbers.proofs.fetch_add(1, Relaxed);
                }
            }
            numbers.count(kernel::HASHES_PER_TILE, host);
        }
    }
    Ok(())
}

export_provider! {
    provider: Provider,
    id: "mining-provider",
    vendor: "The pearlbed developers",
    license: "MIT OR Apache-2.0",
    homepage: "",
    summary: "Mines with a plain loop.",
    certificate_versions: [1, 2, 3],
    engines: [],
    permissions: [],
}
