//! A provider that serves models by one of two engines, of which this machine has the second. It mines nothing.

use pearlbed_plugin_api::*;

#[derive(Default)]
struct Serves;

impl MiningProvider for Serves {
    fn detect(&self, _: &HardwareInfo, engine_id: &str, model: &str) -> MiningCapabilities {
        match (engine_id, model) {
            ("second", "") => MiningCapabilities::supported(),
            (engine, "") => MiningCapabilities::unsupported(format!("`{engine}` is not here")),
            (engine, model) => MiningCapabilities::unsupported(format!("`{engine}` serves no {model}")),
        }
    }

    fn start(&self, _: &MiningConfig, _: Host) -> Result<(), ProviderError> {
        Err("it serves, and mines nothing".into())
    }

    fn stop(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    fn is_running(&self) -> bool {
        false
    }

    fn stats(&self) -> MiningStats {
        MiningStats::default()
    }
}

export_provider! {
    provider: Serves, id: "engine-miner", vendor: "The pearlbed developers", license: "MIT OR Apache-2.0",
    homepage: "", summary: "Serves by one of two engines, and mines nothing.", certificate_versions: [3],
    engines: ["first", "second"], permissions: [],
}
