//! What a graphics driver is asked, and what it answers: the words between the child and whoever waits for it.

use pearlbed_plugin_api::GpuInfo;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Somebody to ask, in the order in which they are asked: who hangs most often comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The attributes that the kernel's own graphics drivers publish below `/sys`.
    Drm,
    /// AMD's compute driver.
    Kfd,
    /// What NVIDIA's kernel module publishes below `/proc`.
    NvidiaProc,
    /// NVIDIA's management library.
    Nvml,
    /// The sensors that the kernel's own graphics drivers publish below `/sys`.
    Hwmon,
}

/// What a child is to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What the cards are.
    Inventory,
    /// How hot they are, and what they draw.
    Sensors,
}

impl Source {
    /// Who it is, for a person.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Drm | Self::Hwmon => "the kernel's graphics driver",
            Self::Kfd => "AMD's compute driver",
            Self::NvidiaProc | Self::Nvml => "the NVIDIA driver",
        }
    }
}

/// One line from the child.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// `source` is asked next.
    Asking(Source),
    /// What it said.
    Said(Answer),
    /// There is nobody left to ask.
    Done,
}

/// What one source said.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// What it knows of each card; fields that it does not know are empty.
    pub gpus: Vec<Seen>,
    /// What it knows besides.
    pub details: Map<String, Value>,
    /// What went wrong, and what to do about it.
    pub trouble: Option<Trouble>,
}

/// One card as a source sees it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// The fields that this source knows.
    pub gpu: GpuInfo,
    /// What has no field.
    pub details: Map<String, Value>,
    /// What it measures.
    pub sensors: Sensors,
}

/// What a card's own sensors say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sensors {
    /// The hottest of them, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// What it draws, in watts.
    pub power_watts: Option<f64>,
    /// What it has used up since some moment of its past, in joules: where it tells that instead of what it draws.
    pub energy_joules: Option<f64>,
}

/// Something about the hardware that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is the matter.
    pub finding: String,
    /// What to do about it.
    pub fix: String,
}

/// `text` in the one form in which addresses are compared, such as `0000:01:00.0`. NVIDIA writes the domain with
/// eight digits.
pub fn pci_address(text: &str) -> Option<String> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok();
    Some(format!("{:04x}:{:02x}:{:02x}.{:x}", hex(domain)?, hex(bus)?, hex(device)?, hex(function)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        assert_eq!(pci_address("00000000:0A:00.0").as_deref(), Some("0000:0a:00.0"));
        assert_eq!(pci_address("0000:0a:00.0").as_deref(), Some("0000:0a:00.0"));
        for wrong in ["", "0:0", "x:0:0.0", "0000:0a:00", "0000:0a:00.0.0"] {
            assert_eq!(pci_address(wrong), None, "{wrong}");
        }
    }
}
