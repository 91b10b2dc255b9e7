//! The smallest useful provider: copy it, and put your kernel where `search` is.

use std::hash::{BuildHasher, RandomState};
use std::{sync::Mutex, thread::JoinHandle, time::Duration};

use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{CertificateVersion, Header, Matrix, MiningConfiguration, PeriodicPattern, Target};
use pearlbed_plugin_api::*;

#[derive(Default)]
struct Minimal(Mutex<Option<JoinHandle<()>>>);

impl MiningProvider for Minimal {
    fn detect(&self, _: &HardwareInfo, _engine_id: &str, _model: &str) -> MiningCapabilities {
        MiningCapabilities::supported().with_reason("slow on purpose: one thread, no kernel")
    }
    fn start(&self, _: &MiningConfig, host: Host) -> Result<(), ProviderError> {
        let mine = move || while search(&host).is_some() {};
        *self.0.lock().expect("no panic holds it") = Some(std::thread::spawn(mine));
        Ok(())
    }
    fn stop(&self) -> Result<(), ProviderError> {
        let miner = self.0.lock().expect("no panic holds it").take();
        miner.map_or(Ok(()), |miner| miner.join().map_err(|_| "the miner panicked".into()))
    }
    fn is_running(&self) -> bool {
        self.0.lock().expect("no panic holds it").as_ref().is_some_and(|miner| !miner.is_finished())
    }
    fn stats(&self) -> MiningStats {
        MiningStats::default() // the host counts what `progress` tells it
    }
}

/// Takes a job and tries one tile of random matrices after the other until it is stale; `None` ends mining.
fn search(host: &Host) -> Option<()> {
    let NextJob::Job(job) = host.next_job(Duration::MAX) else { return None };
    let header = Header::try_from(&job.header[..]).ok()?;
    let rule = CertificateVersion::try_from(job.certificate_version).ok()?.seed_rule();
    let tile = PeriodicPattern::contiguous(16).expect("16 rows are a pattern");
    let config = MiningConfiguration::dense(2048, 128, tile, tile);
    let bound = Target::from_le_bytes(job.target).bound(&config, job.rank_penalty);
    for number in (1_u64..).take_while(|_| !host.is_stale(job.id)) {
        let [a, bt] = [0; 2].map(|_| test_matrix(RandomState::new().hash_one(0) | 1, 16 * 2048));
        let [a, bt] = [&a, &bt].map(|entries| Matrix::new(entries, 2048).expect("16 rows of 2048"));
        let product = Product::new(&header, &config, rule, a, bt);
        if let Some(attempt) = product.mine(bound) {
            _ = host.submit(job.id, &product.prove(&attempt).encode()); // an error means: stale by now
        }
        if number % 8 == 0 {
            host.progress(8 * config.hashes_per_attempt() as u64); // ten times a second would be enough
        }
    }
    Some(())
}

export_provider! {
    provider: Minimal, id: "minimal-provider", vendor: "The pearlbed developers", license: "MIT OR Apache-2.0",
    homepage: "", summary: "The text to copy.", certificate_versions: [1, 2, 3], engines: [], permissions: [],
}
