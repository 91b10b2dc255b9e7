//! What a session is to others: who holds it, where it answers, and its public record, kept true while it lives.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::crew::Crew;
use crate::config::Config;
use crate::container::report::ContainerReport;
use crate::hardware;
use crate::miner::Miner;
use crate::miner::plan::PROGRAM;
use crate::session::lock::{Holder, SessionLock};
use crate::sidecar::{Life, Own, OwnPool, Sidecar, SidecarError, unix_seconds};
use crate::work::{PoolStatus, ProofStore, Trouble, WorkStatus};

/// Between two times that the counts are left where they outlive this process.
const REMEMBER_EVERY: Duration = Duration::from_secs(5);

/// The session as others see it.
#[derive(Debug)]
pub(super) struct Record {
    /// Who holds the lock: this process.
    pub holder: Holder,
    /// The lock itself.
    pub lock: SessionLock,
    /// The store of found proofs.
    pub store: Arc<ProofStore>,
    /// Where metrics are served, and whether they can be.
    pub metrics: Option<(SocketAddr, bool)>,
    /// The Unix socket that serves them besides, and whether it does.
    pub metrics_socket: Option<(PathBuf, bool)>,
    file: PathBuf,
    /// The address of a served model at which somebody answered when it was tried last.
    pub serving: Option<String>,
    /// What keeps the record from being there, and since when; nothing while it is.
    trouble: Option<Trouble>,
    began: (SystemTime, Instant),
    device: Arc<OnceLock<String>>,
    /// When the counts were last left where they outlive this process.
    remembered: Option<Instant>,
}

impl Record {
    /// A session that begins now; its record goes to `file`. `graphics` says whether any of its miners may use graphics
    /// processors. Must be called in a tokio runtime.
    pub fn new(
        holder: Holder,
        lock: SessionLock,
        store: Arc<ProofStore>,
        file: PathBuf,
        graphics: bool,
    ) -> Self {
        let device = look_for_device(graphics);
        Self {
            holder,
            lock,
            store,
            metrics: None,
            metrics_socket: None,
            file,
            serving: None,
            trouble: None,
            began: (SystemTime::now(), Instant::now()),
            device,
            remembered: None,
        }
    }

    /// What is mined on, as soon as it is known.
    pub fn device(&self) -> Option<String> {
        self.device.get().cloned()
    }

    /// Whether the counts are to be left where they outlive this process.
    pub fn is_due(&self, now: Instant) -> bool {
        self.remembered.is_none_or(|at| now.saturating_duration_since(at) >= REMEMBER_EVERY)
    }

    /// They were, or could not be: the next time they are due comes as late either way.
    pub fn remembered(&mut self, now: Instant) {
        self.remembered = Some(now);
    }

    /// What keeps the record from being there, if anything does.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Where it lies.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is wrong with the record now, if anything, with what to do; answers whether that is news.
    pub fn follow(&mut self, found: Option<(String, Option<String>)>, now: Instant) -> bool {
        let before = self.trouble.take();
        let news = found.as_ref().map(|(text, _)| text) != before.as_ref().map(|trouble| &trouble.text);
        let since = before.map_or(now, |trouble| trouble.since);
        self.trouble = found.map(|(text, hint)| Trouble { text, hint, since });
        news
    }

    /// Writes the record, unless it is there as it is to be. The record of another program's session that may run is left
    /// alone, and said.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn write(
        &self,
        config: &Config,
        crew: &Crew,
        work: &WorkStatus,
        container: Option<&ContainerReport>,
    ) -> Result<Option<String>, SidecarError> {
        let there = Sidecar::read(&self.file).ok().flatten();
        if let Some(other) = there.as_ref().filter(|other| other.pearlbed.is_none())
            && other.foreign_life() != Life::Ended
        {
            let provider = other.provider.as_deref().unwrap_or("an unnamed provider");
            return Ok(Some(format!(
                "another program recorded a session of its own ({provider}) in the place of this one, and it is left there: its \
                 `mine status` and `stop` mean that one; `pearlbed status` and `stop` mean this one"
            )));
        }
        let metrics = self.metrics.filter(|(_, bound)| *bound);
        let metrics = metrics.map(|(address, _)| format!("http://{address}/metrics"));
        let gateway = work.endpoints.iter().find(|endpoint| endpoint.purpose == "gateway");
        let gateway_url = gateway.map(|endpoint| match endpoint.address.strip_prefix("tcp:") {
            Some(address) => format!("http://{address}"),
            None => endpoint.address.clone(),
        });
        // While it answers: an engine that is not there is nobody's to ask.
        let served = crew.present().find_map(Miner::serves);
        let served = served.filter(|(endpoint, _)| self.serving.as_ref() == Some(endpoint));
        let record = Sidecar {
            provider: Some(providers(
                crew.present()
                    .map(|miner| miner.plan().provider())
                    .chain(container.map(|container| container.provider.as_str())),
            )),
            model: served
                .as_ref()
                .and_then(|(_, model)| model.clone())
                .or_else(|| container?.model.clone())
                .or_else(|| config.mining.model.clone()),
            wallet_address: Some(config.mining.wallet_address.clone().unwrap_or_default()),
            started_at: Some(unix_seconds(self.began.0)),
            gateway_url,
            gateway_metrics_url: metrics.as_deref().map(|page| Sidecar::metrics_addresses(page).0),
            metrics_url: metrics,
            gateway_pid: Some(self.holder.supervisor.pid),
            miner_loop_pid: crew.present().find_map(Miner::pid),
            container_id: container.and_then(|container| container.container_id.clone()),
            vllm_endpoint: served
                .as_ref()
                .map(|(endpoint, _)| endpoint.clone())
                .or_else(|| container?.endpoint.clone()),
            pearlbed: Some(Own {
                supervisor: self.holder.supervisor.clone(),
                socket: Some(self.holder.socket.clone()),
                version: env!("CARGO_PKG_VERSION").into(),
                attached: false,
                pool: work.pool.as_ref().and_then(|pool| self.pool(pool)),
                pays: config.mining.paid(),
            }),
            strange: Vec::new(),
        };
        if there.as_ref() == Some(&record) {
            return Ok(None);
        }
        record.write(&self.file).map(|()| None)
    }

    /// The pool in use. Its moment is counted from the session's own, so that it is the same number each time.
    fn pool(&self, pool: &PoolStatus) -> Option<OwnPool> {
        let row = pool.pools.get(pool.current?)?;
        let after = pool.since?.saturating_duration_since(self.began.1);
        Some(OwnPool {
            address: row.address.clone(),
            since: unix_seconds(self.began.0 + after),
            why_not_first: pool.why_not_first.clone(),
        })
    }
}

/// The providers in one text, each once; the miner port's where there are none: it waits for programs then.
pub(super) fn providers<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = Vec::new();
    for id in ids {
        if !known.contains(&id) {
            known.push(id);
        }
    }
    if known.is_empty() { PROGRAM.to_owned() } else { known.join(", ") }
}

/// The graphics processors of providers that may use them, else the processor. Found out beside everything else.
fn look_for_device(graphics: bool) -> Arc<OnceLock<String>> {
    let device = Arc::new(OnceLock::new());
    let found = Arc::clone(&device);
    tokio::task::spawn_blocking(move || {
        let options = hardware::Options { drivers: hardware::Drivers::Skip, ..hardware::Options::default() };
        let info = hardware::inspect(&options).info;
        let names: Vec<String> = info.gpus.iter().map(|gpu| gpu.name.clone()).collect();
        let text = if graphics && !names.is_empty() { names.join(", ") } else { processor(&info.cpu) };
        found.set(crate::text::printable(&text).into_owned())
    });
    device
}

/// A processor with its cores; a service may see neither the name nor the number.
fn processor(cpu: &pearlbed_plugin_api::CpuInfo) -> String {
    let name = Some(cpu.brand.trim()).filter(|name| !name.is_empty()).unwrap_or("the processor");
    let (count, of) = match (cpu.physical_cores, cpu.logical_cores) {
        (0, 0) => return name.to_owned(),
        (0, threads) => (threads, "thread"),
        (cores, _) => (cores, "core"),
    };
    format!("{name}, {count} {of}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_is_not_seen_has_a_name_all_the_same() {
        let cpu = |brand: &str, physical_cores, logical_cores| {
            let mut cpu = pearlbed_plugin_api::CpuInfo::default();
            cpu.brand = brand.into();
            cpu.physical_cores = physical_cores;
            cpu.logical_cores = logical_cores;
            processor(&cpu)
        };
        assert_eq!(cpu("AMD EPYC ", 2, 4), "AMD EPYC, 2 cores");
        assert_eq!(cpu("", 1, 2), "the processor, 1 core");
        assert_eq!(cpu("", 0, 3), "the processor, 3 threads");
        assert_eq!(cpu("", 0, 0), "the processor");
    }

    #[test]
    fn two_miners_of_one_provider_are_one_provider() {
        assert_eq!(providers(["a", "b", "a"].into_iter()), "a, b");
        assert_eq!(providers(std::iter::empty()), PROGRAM);
    }
}
