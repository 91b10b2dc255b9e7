//! A stand-in that never mines.
#![deny(unsafe_code)]
use pearlbed_plugin_api::*;
#[derive(Default)]
struct Idle;
impl MiningProvider for Idle {
    fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
        MiningCapabilities::unsupported("this provider never mines")
    }
    fn start(&self, _: &MiningConfig, _: Host) -> Result<(), ProviderError> {
        Err(ProviderError::new("this provider never mines"))
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
    provider: Idle, id: "minimal-provider", vendor: "pearlbed", license: "MIT", homepage: "", summary: "Never mines.",
    certificate_versions: [1, 2, 3], engines: [], permissions: [],
}
