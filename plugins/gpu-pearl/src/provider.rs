//! The provider as its host sees it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use pearlbed_plugin_api::{
    HardwareInfo, Host, LogLevel, MiningCapabilities, MiningConfig, MiningProvider, MiningStats,
    ProviderError,
};

use crate::adapter::{self, Adapter};
use crate::detect;
use crate::draw::Secret;
use crate::opening::open;
use crate::session::Session;
use crate::settings::Settings;
use crate::worker::Worker;

/// The provider; idle until it is started.
#[derive(Default)]
pub(crate) struct GpuPearl {
    running: Mutex<Option<Running>>,
}

/// A session and its threads.
pub(crate) struct Running {
    pub session: Arc<Session>,
    threads: Vec<JoinHandle<()>>,
}

impl MiningProvider for GpuPearl {
    fn detect(&self, hardware: &HardwareInfo, _engine_id: &str, _model: &str) -> MiningCapabilities {
        detect::detect(hardware, std::path::Path::new("/"))
    }

    fn start(&self, config: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        let mut running = self.running.lock().map_err(|_| "an earlier start panicked")?;
        if running.as_ref().is_some_and(Running::works) {
            return Err("it is mining already".into());
        }
        let settings = Settings::parse(&config.extra).map_err(|err| ProviderError::new(err.to_string()))?;
        *running = Some(begin(&settings, host, Secret::new()?)?);
        Ok(())
    }

    fn stop(&self) -> Result<(), ProviderError> {
        let Some(running) = self.running.lock().map_err(|_| "start panicked")?.take() else { return Ok(()) };
        running.end()
    }

    fn is_running(&self) -> bool {
        self.running.lock().is_ok_and(|running| running.as_ref().is_some_and(Running::works))
    }

    fn stats(&self) -> MiningStats {
        let Ok(running) = self.running.lock() else { return MiningStats::default() };
        running.as_ref().map_or_else(MiningStats::default, Running::stats)
    }
}

/// Opens the devices that `settings` ask for and starts a thread for each that works, and one that waits for jobs.
///
/// # Errors
///
/// None of them works, and why.
pub(crate) fn begin(settings: &Settings, host: Host, secret: Secret) -> Result<Running, String> {
    let chosen = choose(settings, adapter::adapters())?;
    let (mut opened, mut reasons) = (Vec::new(), Vec::new());
    for adapter in chosen {
        let wishes = settings.of(&adapter.pci);
        match open(&adapter, &wishes) {
            Ok(its) => opened.push((adapter, wishes, its)),
            Err(err) => {
                let why = format!("{}: {err}", adapter.title());
                host.log(LogLevel::Error, &why);
                reasons.push(why);
            }
        }
    }
    if opened.is_empty() {
        return Err(reasons.join("; "));
    }
    let session = Arc::new(Session::new(host, secret, opened.len()));
    reasons.into_iter().for_each(|why| session.totals.fail(why));
    let mut running = Running { session: Arc::clone(&session), threads: Vec::new() };
    let start = |name: String, run: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(|err| format!("a thread could not be started: {err}"))
    };
    for (index, (adapter, wishes, its)) in opened.into_iter().enumerate() {
        session.totals.devices[index].update(|facts| its.describe(&adapter, facts));
        for why in &its.passed_over {
            session.host.log(LogLevel::Info, &format!("{}: {why}", adapter.title()));
        }
        session.host.log(
            LogLevel::Info,
            &format!(
                "{}: kernel {}, shape {}, {} MiB of its memory",
                adapter.title(),
                its.engine.kernel(),
                its.engine.shape(),
                its.engine.bytes().div_ceil(1 << 20)
            ),
        );
        let mut worker = Worker::new(Arc::clone(&session), index, adapter, wishes);
        match start(format!("pearl-gpu-{index}"), Box::new(move || worker.run(its))) {
            Ok(thread) => running.threads.push(thread),
            Err(err) => return Err(running.end().err().map_or(err, |err| err.to_string())),
        }
    }
    let own = Arc::clone(&session);
    match start("pearl-jobs".into(), Box::new(move || own.take_jobs())) {
        Ok(thread) => running.threads.push(thread),
        Err(err) => return Err(running.end().err().map_or(err, |err| err.to_string())),
    }
    Ok(running)
}

/// The devices that are asked for: those named, in that order, or all hardware.
///
/// # Errors
///
/// One that is named is not there, or there is none.
fn choose(settings: &Settings, adapters: Vec<Adapter>) -> Result<Vec<Adapter>, String> {
    let list = || {
        let titles: Vec<String> = adapters.iter().map(Adapter::title).collect();
        if titles.is_empty() { "none".to_owned() } else { titles.join(", ") }
    };
    if !settings.devices.is_empty() {
        let find = |name: &String| {
            let fits = |adapter: &&Adapter| match name.as_str() {
                "software" => adapter.is_software,
                pci => adapter.pci == pci && !adapter.is_software,
            };
            adapters.iter().find(fits).cloned().ok_or_else(|| {
                format!("[mining.extra] devices: the drivers offer no device {name}; there are {}", list())
            })
        };
        return settings.devices.iter().map(find).collect();
    }
    let chosen: Vec<Adapter> =
        adapters.iter().filter(|adapter| settings.software || !adapter.is_software).cloned().collect();
    if chosen.is_empty() {
        return Err(format!(
            "the drivers offer no graphics card to compute with (there are {}); `pearlbed doctor` says what is missing",
            list()
        ));
    }
    Ok(chosen)
}

impl Running {
    fn works(&self) -> bool {
        self.session.works()
    }

    /// Ends the session and waits for its threads.
    pub(crate) fn end(self) -> Result<(), ProviderError> {
        self.session.stop();
        let panicked = self.threads.into_iter().filter_map(|thread| thread.join().err()).count();
        match panicked {
            0 => Ok(()),
            _ => Err(format!("{panicked} of the threads had panicked").into()),
        }
    }

    /// The numbers.
    pub(crate) fn stats(&self) -> MiningStats {
        let totals = &self.session.totals;
        let rates = totals.rates(Instant::now());
        let mut stats = MiningStats::default();
        stats.hashes = totals.hashes();
        stats.hashrate = rates.iter().sum();
        stats.proofs_found = totals.proofs.load(Relaxed);
        stats.jobs_taken = totals.jobs.load(Relaxed);
        stats.uptime = totals.uptime();
        stats.last_error = totals.last_error();
        stats.details = totals.details(&rates);
        stats
    }
}

impl Drop for GpuPearl {
    fn drop(&mut self) {
        // A host that forgets to stop leaves no thread behind.
        _ = self.stop();
    }
}
