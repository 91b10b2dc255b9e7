//! A provider that really mines, slowly, and misbehaves on order while it does.
//!
//! The order is `odd` in `[mining.extra]`; without one it is an honest miner with one thread. `odd_after_ms` is how long
//! it stays honest first (0 by default).
//!
//! | order | what it does |
//! | --- | --- |
//! | `refuse` | refuses to start |
//! | `hang-in-start` | never returns from `start` |
//! | `crash`, `abort`, `exit`, `kill` | ends its process by SIGSEGV, SIGABRT, `exit(0)`, SIGKILL |
//! | `give-up` | ends its thread and says that it does not run |
//! | `idle` | takes no job |
//! | `barren` | takes jobs, claims ten times the work of a proof each tenth of a second, and finds nothing |
//! | `mute` | takes jobs and is never heard of again |
//! | `take` | takes every job at once, claims a little, and finds nothing: all that is left is what the host costs |
//! | `garbage` | submits bytes that are no proof |
//! | `wrong-job` | mines the job before, and submits that for the new one |
//! | `no-job` | submits each proof for a job that was never given out |
//! | `below-target` | submits tiles that miss the target |
//! | `twice` | submits each proof twice |
//! | `boast` | claims a million times the work it does |
//! | `ignore-stop` | never returns from `stop` |
//! | `reach-out` | tries the network, a file, a program and to stop its process, then mines on |
//! | `try` | tries everything in the list `tries` (such as `open:/dev/full`), logs what came of it, then mines on |
//! | `flood-log`, `flood-print`, `flood-progress` | writes without end, and mines |
//! | `rubbish-on-pipe` | writes rubbish to every socket that it finds open |
//! | `misses`, `corrupt` | hands in no proof, spoils each proof |
//! | `quiet` | reports no progress |
//! | `stubborn` | is busy for four seconds with a job that became stale |
//! | `any-version` | mines also for certificate versions that it does not know |
//! | `leave-thread`, `keep-host`, `panic-beside` | leaves a thread, keeps its host, has a thread that panics |
//! | `once` | cannot be started again |
//! | `stop-fails` | calls it an error to be stopped where nothing is started |
//! | `says-running`, `bad-stats` | says always that it runs, answers numbers that are none |
//! | `panic-on-settings` | panics in `start` on settings that it does not know |
//! | `cards` | mines, as three cards that take turns: the first two tell which proofs are theirs, and the second spoils its own |
//! | `card-lies` | the same, and all tell and spoil nothing; but the second claims a thousand times what it does |
//! | `serve` | mines, and says that it serves a model meanwhile, at the address `serve_at` |
//! | `hoard` | takes all the memory that it gets |

mod attempt;

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{CertificateVersion, Header, Matrix, MiningConfiguration, PeriodicPattern, Target};
use pearlbed_plugin_api::*;

#[derive(Default)]
struct Odd {
    miner: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
    ignores_stop: AtomicBool,
    gave_up: Arc<AtomicBool>,
    /// The order, for what has none of its own.
    told: Mutex<String>,
    /// Where it says that it serves.
    serve_at: Mutex<String>,
    starts: AtomicU32,
    cards: Arc<Cards>,
}

/// What three cards have done, where it plays them.
#[derive(Default)]
struct Cards {
    turn: AtomicU32,
    hashes: [AtomicU64; 3],
    found: [Mutex<Vec<String>>; 3],
}

impl Cards {
    /// Whose turn it is now.
    fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) as usize % 3
    }

    /// What each tells. One that `lies` is the second, and then all tell what they found.
    fn details(&self, lies: bool) -> serde_json::Value {
        let devices: Vec<serde_json::Value> = (0..3)
            .map(|card| {
                let factor = if lies && card == 1 { 1000 } else { 1 };
                let mut told = serde_json::json!({
                    "name": format!("Odd card {card}"), "address": format!("0000:0{card}:00.0"),
                    "hashes": self.hashes[card].load(Ordering::Relaxed).saturating_mul(factor),
                });
                let found = self.found[card].lock().unwrap_or_else(PoisonError::into_inner);
                if card < 2 || lies {
                    told["proofs"] = found.iter().rev().take(64).cloned().collect();
                }
                told
            })
            .collect();
        serde_json::json!({ "devices": devices })
    }
}

#[derive(Clone)]
struct Order {
    what: String,
    from: Instant,
}

impl Order {
    fn is(&self, what: &str) -> bool {
        self.what == what && Instant::now() >= self.from
    }
}

impl MiningProvider for Odd {
    fn detect(&self, _: &HardwareInfo, _engine_id: &str, model: &str) -> MiningCapabilities {
        match model {
            "model-of-nobody" => MiningCapabilities::unsupported("it was told of a model of nobody"),
            // More than any processor does, and no more than a card.
            "model-of-boasters" => MiningCapabilities::supported().with_estimate(1e13),
            _ => MiningCapabilities::supported(),
        }
    }

    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        let text = |key: &str| config.extra.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let after = config.extra.get("odd_after_ms").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let order =
            Order { what: text("odd").to_owned(), from: Instant::now() + Duration::from_millis(after) };
        if order.is("refuse") {
            return Err("it was told to refuse".into());
        }
        if order.is("hang-in-start") {
            sleep_for_ever();
        }
        if order.is("panic-on-settings") && config.extra.keys().any(|key| key.contains("verify")) {
            panic!("told to panic on settings");
        }
        if order.is("tell") {
            let told =
                format!("told of the wallet `{}` and {:?}", config.wallet_address, config.submit_target);
            host.log(LogLevel::Info, &told);
        }
        if order.is("keep-host") {
            std::mem::forget(host.clone());
        }
        if order.is("leave-thread") {
            std::thread::spawn(|| sleep_for_ever());
        }
        self.ignores_stop.store(order.what == "ignore-stop", Ordering::Relaxed);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&order.what);
        *self.serve_at.lock().unwrap_or_else(PoisonError::into_inner) = text("serve_at").to_owned();
        self.gave_up.store(false, Ordering::Relaxed);
        let is_first = self.starts.fetch_add(1, Ordering::Relaxed) == 0;
        if order.what != "once" || is_first {
            self.stopping.store(false, Ordering::Relaxed);
        }
        let tries = match config.extra.get("tries") {
            Some(serde_json::Value::Array(tries)) if order.is("try") => tries.clone(),
            _ => vec![],
        };
        let (stopping, gave_up) = (Arc::clone(&self.stopping), Arc::clone(&self.gave_up));
        let cards = Arc::clone(&self.cards);
        let mine = move || {
            let mut last = None;
            for attempt in tries.iter().filter_map(serde_json::Value::as_str) {
                let outcome =
                    attempt::attempt(attempt).map_or_else(|err| err.to_string(), |()| "done".to_owned());
                host.log(LogLevel::Info, &format!("tried {attempt}: {outcome}"));
            }
            while !stopping.load(Ordering::Relaxed) {
                if order.is("give-up") {
                    gave_up.store(true, Ordering::Relaxed);
                    return;
                }
                if misbehave(&order, &host, &stopping) || mine(&order, &host, &cards, &mut last).is_none() {
                    return;
                }
            }
        };
        *self.miner.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::spawn(mine));
        Ok(())
    }

    fn stop(&self) -> Result<(), ProviderError> {
        if self.ignores_stop.load(Ordering::Relaxed) {
            sleep_for_ever();
        }
        self.stopping.store(true, Ordering::Relaxed);
        let miner = self.miner.lock().unwrap_or_else(PoisonError::into_inner).take();
        match miner {
            Some(miner) => miner.join().map_err(|_| "the miner panicked".into()),
            None if self.is_told("stop-fails") => Err("nothing is started".into()),
            None => Ok(()),
        }
    }

    fn is_running(&self) -> bool {
        let miner = self.miner.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = miner.as_ref().is_some_and(|miner| !miner.is_finished());
        (lives && !self.gave_up.load(Ordering::Relaxed)) || self.is_told("says-running")
    }

    fn stats(&self) -> MiningStats {
        let gave_up = self.gave_up.load(Ordering::Relaxed);
        let mut stats = MiningStats::default();
        stats.last_error = gave_up.then(|| "it was told to give up".to_owned());
        if self.is_told("serve") {
            let endpoint = self.serve_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
            stats.details = serde_json::json!({ "endpoint": endpoint, "model": "odd-model" });
        }
        if self.is_told("cards") || self.is_told("card-lies") {
            stats.details = self.cards.details(self.is_told("card-lies"));
        }
        if self.is_told("bad-stats") {
            stats.hashrate = f64::NAN;
        }
        stats
    }
}

impl Odd {
    fn is_told(&self, what: &str) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) == what
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// What is done beside mining, or instead of it; answers whether that was all.
fn misbehave(order: &Order, host: &Host, stopping: &AtomicBool) -> bool {
    if order.is("idle") {
        while !stopping.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        return true;
    }
    if order.is("crash") {
        // SAFETY: none: the fault is what was ordered, and it ends the process.
        unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
    }
    if order.is("abort") {
        std::process::abort();
    }
    if order.is("exit") {
        std::process::exit(0);
    }
    if order.is("kill") {
        signal_itself(libc::SIGKILL);
    }
    if order.is("reach-out") {
        reach_out();
    }
    if order.is("panic-beside") {
        let _ = std::thread::spawn(|| panic!("told to panic beside the miner")).join();
    }
    if order.is("hoard") {
        let mut hoard = vec![];
        loop {
            hoard.push(vec![1_u8; 1 << 20]);
        }
    }
    if order.is("flood-log") {
        (0..10_000)
            .for_each(|line| host.log(LogLevel::Info, &format!("line {line} of a flood\nand \x1b[31mmore")));
    }
    if order.is("flood-print") {
        let line = "a line of a flood\n".repeat(1000);
        // Among them one that says, in the words of the host's own handler, that it crashed, at a place of any length.
        for letters in [81, 82] {
            let place = format!("{}{}", "x".repeat(letters), "é".repeat(20));
            let line = format!("\npearlbed-crash signal=11 address={place} at={place}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        // A full pipe makes this wait, and that is the host's right.
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
    if order.is("flood-progress") {
        (0..1_000_000).for_each(|_| host.progress(0));
    }
    if order.is("rubbish-on-pipe") {
        rubbish_on_every_socket();
    }
    false
}

fn signal_itself(signal: i32) {
    // SAFETY: a signal to this very process, as ordered.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn reach_out() {
    let _ = std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], 9).into(), Duration::from_millis(100));
    let _ = std::fs::write("/tmp/odd-miner-was-here", "it should not be");
    let _ = std::process::Command::new("/bin/true").status();
    signal_itself(libc::SIGSTOP);
}

fn rubbish_on_every_socket() {
    for fd in 3..2048 {
        // SAFETY: `fstat` writes to a buffer of its own type, and `write` reads a buffer of the length given; a number
        // that is no open descriptor makes them fail and no more.
        unsafe {
            let mut status = std::mem::zeroed::<libc::stat>();
            if libc::fstat(fd, &raw mut status) == 0 && status.st_mode & libc::S_IFMT == libc::S_IFSOCK {
                let rubbish = [0xa5_u8; 256];
                libc::write(fd, rubbish.as_ptr().cast(), rubbish.len());
            }
        }
    }
}

/// Mines one job until it is stale; nothing once the host has ended the session.
fn mine(order: &Order, host: &Host, cards: &Cards, last: &mut Option<Header>) -> Option<()> {
    let job = match host.next_job(Duration::from_millis(if order.is("take") { 250 } else { 50 })) {
        NextJob::Job(_) | NextJob::TimedOut if order.is("take") => {
            host.progress(1000);
            return Some(());
        }
        NextJob::Job(job) => job,
        NextJob::TimedOut => return Some(()),
        NextJob::Stopped => return None,
    };
    let own = Header::try_from(&job.header[..]).ok()?;
    let before = last.replace(own);
    let header = if order.is("wrong-job") { before.unwrap_or(own) } else { own };
    let version = CertificateVersion::try_from(job.certificate_version).ok();
    let rule = version.or(order.is("any-version").then_some(CertificateVersion::V3))?.seed_rule();
    let tile = PeriodicPattern::contiguous(16).expect("16 rows are a pattern");
    let config = MiningConfiguration::dense(2048, 128, tile, tile);
    let bound = Target::from_le_bytes(job.target).bound(&config, job.rank_penalty);
    let due = work_of_a_proof(&job.target);
    while !host.is_stale(job.id) {
        if order.is("mute") {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        if order.is("barren") {
            std::thread::sleep(Duration::from_millis(100));
            host.progress(due.saturating_mul(10));
            continue;
        }
        if misbehave(order, host, &AtomicBool::new(false)) {
            return None;
        }
        if order.is("garbage") {
            let _ = host.submit(job.id, b"this is no proof");
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        let [a, bt] = [0; 2].map(|_| test_matrix(RandomState::new().hash_one(0) | 1, 16 * 2048));
        let [a, bt] = [&a, &bt].map(|entries| Matrix::new(entries, 2048).expect("16 rows of 2048"));
        let product = Product::new(&header, &config, rule, a, bt);
        let attempt = product.attempt(0, 0);
        let hit = attempt.number() <= bound && !order.is("misses");
        if hit || order.is("below-target") {
            let mut proof = product.prove(&attempt).encode();
            // The second card of three spoils what it finds.
            let plays = order.is("cards") || order.is("card-lies");
            let card = plays.then(|| cards.next());
            if order.is("corrupt") || (card == Some(1) && order.is("cards")) {
                let middle = proof.len() / 2;
                proof[middle] ^= 1;
            }
            if let Some(card) = card {
                let mark = blake3::hash(&proof).to_hex()[..16].to_owned();
                cards.found[card].lock().unwrap_or_else(PoisonError::into_inner).push(mark);
            }
            // Errors mean that the job is stale by now, or that the host saw through it.
            let _ = host.submit(job.id, &proof);
            if order.is("twice") {
                let _ = host.submit(job.id, &proof);
            }
            if order.is("no-job") {
                let _ = host.submit(job.id + 1000, &proof);
            }
        }
        let hashes = config.hashes_per_attempt() as u64;
        if order.is("quiet") {
            continue;
        }
        if order.is("cards") || order.is("card-lies") {
            cards.hashes.iter().for_each(|card| _ = card.fetch_add(hashes / 3, Ordering::Relaxed));
        }
        host.progress(if order.is("boast") { hashes.saturating_mul(1_000_000) } else { hashes });
    }
    if order.is("stubborn") {
        std::thread::sleep(Duration::from_secs(4));
    }
    Some(())
}

/// Hashes that a proof at this target takes on average, as far as they fit.
fn work_of_a_proof(target: &[u8; 32]) -> u64 {
    let number = target.iter().rev().fold(0.0_f64, |sum, &byte| sum * 256.0 + f64::from(byte));
    (2.0_f64.powi(256) / number) as u64
}

export_provider! {
    provider: Odd, id: "odd-miner", vendor: "The pearlbed developers", license: "MIT OR Apache-2.0",
    homepage: "", summary: "Mines slowly, and misbehaves on order.", certificate_versions: [1, 2, 3], engines: [],
    permissions: ["program:/bin/true"],
}
