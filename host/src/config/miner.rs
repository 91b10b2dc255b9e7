//! One miner as the configuration asks for it, and the devices that it may be given.

use std::fmt;
use std::str::FromStr;

use pearlbed_plugin_api::{GpuInfo, Permission};

use super::keys;

/// One miner of a session, before a plugin is chosen for it.
#[derive(Debug, Clone, PartialEq)]
pub struct MinerSection {
    /// What it is called: unique in the configuration.
    pub name: String,
    /// The provider that mines; `None` leaves the choice to the host.
    pub provider: Option<String>,
    /// The devices that it mines on; empty for whatever the provider takes.
    pub devices: Vec<Device>,
    /// The provider's own settings, and those of the host that providers with machinery read.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// What it may do, beyond what `[mining.grants]` grants its provider.
    pub grants: Vec<Permission>,
    /// How far it stands back for other programs: 0 (not at all) to 19.
    pub nice: u8,
    /// Degrees Celsius at which one of its cards has it rest.
    pub temperature_limit: Option<u8>,
    /// Whether it is started with the session.
    pub enabled: bool,
    /// The line of the file that it begins at; `None` for the first miner, which is `[mining]` itself.
    pub line: Option<usize>,
}

/// A device by one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor: `cpu`.
    Processor,
    /// The place of a card on the bus, such as `0000:01:00.0`.
    Pci(String),
    /// The name that a card carries with it, such as `GPU-7e0a…`.
    Uuid(String),
    /// The place of a card in the list that `pearlbed doctor` shows, from 0. It changes when a card is added or fails.
    Index(u32),
}

impl Device {
    /// Whether this names the card `gpu`, which is the `index`th of the machine.
    pub fn is(&self, index: usize, gpu: &GpuInfo) -> bool {
        match self {
            Self::Processor => false,
            Self::Pci(address) => gpu.pci_address.as_deref() == Some(address),
            Self::Uuid(uuid) => gpu.uuid.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(uuid)),
            Self::Index(number) => usize::try_from(*number) == Ok(index),
        }
    }

    /// The name that is written for a card: its identifier, else its place on the bus, else its number.
    pub fn of(index: usize, gpu: &GpuInfo) -> Self {
        let pci = gpu.pci_address.clone().map(Self::Pci);
        let uuid = || gpu.uuid.clone().map(Self::Uuid);
        pci.or_else(uuid).unwrap_or_else(|| Self::Index(u32::try_from(index).unwrap_or(u32::MAX)))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => out.write_str("cpu"),
            Self::Pci(name) | Self::Uuid(name) => out.write_str(name),
            Self::Index(number) => write!(out, "{number}"),
        }
    }
}

/// Text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a device is `cpu`, a PCI address such as 0000:01:00.0, a UUID such as GPU-7e0a1b2c…, or a number from 0"
)]
pub struct NoDevice;

impl FromStr for Device {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Self, NoDevice> {
        if text == "cpu" {
            return Ok(Self::Processor);
        }
        if let Ok(number) = text.parse::<u32>()
            && number < 1024
        {
            return Ok(Self::Index(number));
        }
        if let Some(address) = pci(text) {
            return Ok(Self::Pci(address));
        }
        let is_uuid = (8..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && text.bytes().any(|byte| byte.is_ascii_digit());
        if is_uuid { Ok(Self::Uuid(text.to_owned())) } else { Err(NoDevice) }
    }
}

/// A PCI address in the one form in which they are compared; the domain may be left out where it is 0.
fn pci(text: &str) -> Option<String> {
    let hex = |digits: &str, most: usize| {
        let fits = (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let (domain, bus, device, function) = (hex(domain, 8)?, hex(bus, 2)?, hex(device, 2)?, hex(function, 1)?);
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
}

/// One `[[mining.miners]]` as it was written: its name is given by whoever knows all of them.
#[derive(Debug)]
pub(super) struct Written {
    /// The name, where one was written.
    pub name: Option<String>,
    /// The rest; its name is empty.
    pub section: MinerSection,
}

/// Gives every miner its name: the written one, else the provider's id, else `auto`; with a number where that is taken.
///
/// `first` is what `[mining]` itself asks for.
pub(super) fn named(
    first: Option<MinerSection>,
    written: Vec<Written>,
    inherited: &serde_json::Map<String, serde_json::Value>,
) -> Vec<MinerSection> {
    let mut taken: Vec<String> = written.iter().filter_map(|one| one.name.clone()).collect();
    let mut name = |section: &MinerSection| {
        let base = section.provider.clone().unwrap_or_else(|| keys::AUTO.to_owned());
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name));
        let free = free.expect("the numbers do not end");
        taken.push(free.clone());
        free
    };
    let mut all = Vec::new();
    if let Some(mut section) = first {
        section.name = name(&section);
        all.push(section);
    }
    for Written { name: own, mut section } in written {
        section.name = own.unwrap_or_else(|| name(&section));
        let mut extra = inherited.clone();
        extra.append(&mut section.extra);
        section.extra = extra;
        all.push(section);
    }
    all
}

/// The host's own settings among `extra`, which every miner inherits.
pub(super) fn inherited(
    extra: &serde_json::Map<String, serde_json::Value>,
) -> serde_json::Map<String, serde_json::Value> {
    extra
        .iter()
        .filter(|(key, _)| keys::is_own_extra(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_one_form_however_it_is_written() {
        for (text, written) in [
            ("cpu", "cpu"),
            ("0", "0"),
            ("15", "15"),
            ("0000:01:00.0", "0000:01:00.0"),
            ("00000000:0A:00.0", "0000:0a:00.0"),
            ("c1:00.1", "0000:c1:00.1"),
            ("GPU-7e0a1b2c-0000-4321-9abc-0123456789ab", "GPU-7e0a1b2c-0000-4321-9abc-0123456789ab"),
            ("0x1a2b3c4d5e6f7081", "0x1a2b3c4d5e6f7081"),
        ] {
            let device: Device = text.parse().expect(text);
            assert_eq!(device.to_string(), written);
            assert_eq!(written.parse(), Ok(device));
        }
        for wrong in
            ["", "CPU", "gpu", "gpu0", "-1", "01:00", "0000:01:00.g", "GPU 1234567", "9999999", "0:0:0:0.0"]
        {
            assert_eq!(wrong.parse::<Device>(), Err(NoDevice), "{wrong:?}");
        }
    }

    #[test]
    fn a_card_is_known_by_each_of_its_names() {
        let mut gpu = GpuInfo::default();
        gpu.pci_address = Some("0000:41:00.0".into());
        gpu.uuid = Some("GPU-7e0a1b2c".into());
        for name in ["0000:41:00.0", "41:00.0", "gpu-7E0A1B2C", "3"] {
            assert!(name.parse::<Device>().expect(name).is(3, &gpu), "{name}");
        }
        for name in ["cpu", "0000:42:00.0", "GPU-7e0a1b2d", "2"] {
            assert!(!name.parse::<Device>().expect(name).is(3, &gpu), "{name}");
        }
        assert_eq!(Device::of(3, &gpu).to_string(), "0000:41:00.0");
    }
}
