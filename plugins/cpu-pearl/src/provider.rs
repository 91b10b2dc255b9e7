//! The provider as its host sees it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pearlbed_plugin_api::serde_json::{Value, json};
use pearlbed_plugin_api::{
    HardwareInfo, Host, LogLevel, MiningCapabilities, MiningConfig, MiningProvider, MiningStats,
    ProviderError,
};

use crate::calibrate;
use crate::kernel::cpu;
use crate::shape::{Pin, Settings, Shape};
use crate::stats::Part;
use crate::worker::{self, Session};

/// The share of the product's rate that is left of it when all else is counted, as measured: the estimate is the
/// product's rate times this.
const WHOLE_ROUND: f64 = 0.94;

/// The provider; idle until it is started.
#[derive(Default)]
pub(crate) struct CpuPearl {
    running: Mutex<Option<Running>>,
}

struct Running {
    session: Arc<Session>,
    threads: Vec<JoinHandle<()>>,
    fold_share: f64,
}

impl MiningProvider for CpuPearl {
    fn detect(&self, _hardware: &HardwareInfo, _engine_id: &str, _model: &str) -> MiningCapabilities {
        let kernel = match Settings::default().kernel() {
            Ok(kernel) => kernel,
            Err(err) => return MiningCapabilities::unsupported(err.to_string()),
        };
        if let Err(err) = calibrate::self_test(kernel) {
            return MiningCapabilities::unsupported(err);
        }
        let cores = cpu::physical_cores();
        let rate = calibrate::speed(kernel, Duration::from_millis(6));
        MiningCapabilities::supported().with_estimate(rate * cores as f64 * WHOLE_ROUND).with_reason(format!(
            "kernel {}, {cores} thread{}",
            kernel.family(),
            if cores == 1 { "" } else { "s" }
        ))
    }

    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        let mut running = self.running.lock().map_err(|_| "an earlier start panicked")?;
        if running.as_ref().is_some_and(Running::works) {
            return Err("it is mining already".into());
        }
        let refused = |err: crate::shape::ShapeError| ProviderError::new(err.to_string());
        let settings = Settings::parse(&config.extra).map_err(refused)?;
        let shape = Shape::new(&settings, cpu::caches()).map_err(refused)?;
        calibrate::self_test(shape.kernel)?;
        let fold_share = calibrate::fold_share(shape.kernel, shape.depth, Duration::from_millis(8));
        let workers = settings.worker_threads();
        host.log(
            LogLevel::Info,
            &format!(
                "kernel {}, {workers} thread{}, shape {shape}, {} MiB for matrices",
                shape.kernel.name(),
                if workers == 1 { "" } else { "s" },
                shape.memory_bytes().div_ceil(1 << 20),
            ),
        );
        let pin = match settings.pin {
            Pin::Free => Vec::new(),
            Pin::InOrder => worker::processors(),
            Pin::To(processors) => {
                let usable = worker::processors();
                if let Some(other) = processors.iter().find(|cpu| !usable.contains(cpu)) {
                    let usable: Vec<_> = usable.iter().map(usize::to_string).collect();
                    return Err(format!(
                        "[mining.extra] pin: processor {other} is none of this process's: {}",
                        usable.join(", ")
                    )
                    .into());
                }
                processors
            }
        };
        let session = Arc::new(Session::new(shape, workers, settings.cpu_percent.unwrap_or(100), host));
        let threads =
            worker::spawn(&session, &pin).map_err(|err| format!("a thread could not be started: {err}"))?;
        *running = Some(Running { session, threads, fold_share });
        Ok(())
    }

    fn stop(&self) -> Result<(), ProviderError> {
        let Some(running) = self.running.lock().map_err(|_| "start panicked")?.take() else { return Ok(()) };
        running.session.board.stop();
        let panicked = running.threads.into_iter().filter_map(|thread| thread.join().err()).count();
        match panicked {
            0 => Ok(()),
            _ => Err(format!("{panicked} of the threads had panicked").into()),
        }
    }

    fn is_running(&self) -> bool {
        self.running.lock().is_ok_and(|running| running.as_ref().is_some_and(Running::works))
    }

    fn stats(&self) -> MiningStats {
        let Ok(running) = self.running.lock() else { return MiningStats::default() };
        running.as_ref().map_or_else(MiningStats::default, Running::stats)
    }
}

impl Running {
    fn works(&self) -> bool {
        !self.session.board.is_stopping() && self.threads.iter().all(|thread| !thread.is_finished())
    }

    fn stats(&self) -> MiningStats {
        let (session, totals) = (&self.session, &self.session.totals);
        let rates = totals.rates(Instant::now());
        let mut stats = MiningStats::default();
        stats.hashes = totals.hashes();
        stats.hashrate = rates.iter().sum();
        stats.proofs_found = totals.proofs.load(Relaxed);
        stats.jobs_taken = totals.jobs.load(Relaxed);
        stats.uptime = totals.uptime();
        stats.last_error = totals.last_error.lock().ok().and_then(|error| error.clone());
        stats.details = self.details(session, &rates);
        stats
    }

    /// What has no field of its own. Times are processor seconds of all threads since the start; rates are hashes per
    /// second over the last ten seconds.
    fn details(&self, session: &Session, rates: &[f64]) -> Value {
        let (shape, totals) = (&session.shape, &session.totals);
        let own: u64 = totals.workers.iter().map(|worker| worker.bytes.load(Relaxed)).sum();
        let product = totals.seconds(Part::Product);
        let threads: Vec<Value> = rates
            .iter()
            .zip(&totals.workers)
            .enumerate()
            .map(|(i, (rate, worker))| {
                json!({"name": format!("pearl-cpu-{i}"), "hashrate": rate, "hashes": worker.hashes()})
            })
            .collect();
        json!({
            "kernel": shape.kernel.name(),
            "shape": {
                "m": shape.a.rows, "n": shape.b.rows, "k": shape.config.common_dim, "rank": shape.config.rank,
                "tile": format!("{}x{}", shape.a.offsets.len(), shape.b.offsets.len()),
                "rows": shape.a.offsets, "columns": shape.b.offsets,
            },
            "threads": threads,
            "memory_bytes": shape.memory_bytes() + own,
            "split": {
                "product": product * (1.0 - self.fold_share),
                "folding": product * self.fold_share,
                "hashing": totals.seconds(Part::Hashing),
                "noise": totals.seconds(Part::Noise),
                "commitment": totals.seconds(Part::Commitment),
                "proofs": totals.seconds(Part::Proofs),
            },
        })
    }
}

impl Drop for CpuPearl {
    fn drop(&mut self) {
        // A host that forgets to stop leaves no thread behind.
        _ = self.stop();
    }
}
