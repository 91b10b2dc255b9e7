//! The machine as the host describes it to [`MiningProvider::detect`](crate::MiningProvider::detect).
//!
//! Crosses the boundary as JSON, so that it can grow: a reader ignores what it does not know, and what was not found
//! out is `None`, 0 or empty.

use serde::{Deserialize, Serialize};

/// One machine. Since 1.0.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HardwareInfo {
    /// Operating system and architecture, such as `linux-x86_64`.
    pub platform: String,
    /// The processor.
    pub cpu: CpuInfo,
    /// Physical memory in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Every graphics processor, in the order of their PCI addresses.
    pub gpus: Vec<GpuInfo>,
    /// What has no field yet: an object, or null.
    pub details: serde_json::Value,
}

/// The processor. Since 1.0.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CpuInfo {
    /// The name that the processor gives itself.
    pub brand: String,
    /// The maker's id, such as `AuthenticAMD`.
    pub vendor: String,
    /// Cores that do not share an execution unit; 0 if unknown.
    pub physical_cores: u32,
    /// Hardware threads; 0 if unknown.
    pub logical_cores: u32,
    /// First-level data cache of one core in bytes; 0 if unknown.
    pub l1d_bytes: u64,
    /// Second-level cache of one core in bytes; 0 if unknown.
    pub l2_bytes: u64,
    /// Third-level cache that one core sees in bytes; 0 if unknown.
    pub l3_bytes: u64,
    /// Instruction sets that matter for int8 products, such as `avx2`, `avx-vnni`, `avx512-vnni`, `amx-int8`,
    /// `dotprod`, `i8mm`.
    pub features: Vec<String>,
}

/// One graphics processor. Since 1.0.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GpuInfo {
    /// The maker: `nvidia`, `amd`, `intel`, `apple`, or the PCI vendor id in hexadecimal.
    pub vendor: String,
    /// The product's name; empty if unknown.
    pub name: String,
    /// Where it sits on the PCI bus, such as `0000:01:00.0`.
    pub pci_address: Option<String>,
    /// The driver's own identifier.
    pub uuid: Option<String>,
    /// Memory of its own in bytes.
    pub vram_bytes: Option<u64>,
    /// The driver and its version, such as `nvidia 555.42.02`.
    pub driver: Option<String>,
    /// NVIDIA's compute capability, such as `9.0`.
    pub compute_capability: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_from_a_newer_host_is_read_and_what_is_missing_is_empty() {
        let text = r#"{"platform":"linux-x86_64","quantum":7,"gpus":[{"vendor":"amd","qubits":3}]}"#;
        let hardware: HardwareInfo = serde_json::from_str(text).unwrap();
        assert_eq!(hardware.platform, "linux-x86_64");
        assert_eq!(hardware.cpu, CpuInfo::default());
        assert_eq!(hardware.gpus[0].vendor, "amd");
        assert_eq!(hardware.gpus[0].vram_bytes, None);
    }
}
