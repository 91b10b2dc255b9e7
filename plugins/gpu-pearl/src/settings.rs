//! `[mining.extra]`: what a user may ask for, in general and for each device.

use std::collections::BTreeMap;
use std::time::Duration;

use pearlbed_plugin_api::serde_json::{Map, Value};

use crate::kernel::{KERNELS, Kernel};

/// The keys that hold for every device, and that a device's own table may hold.
const DEVICE_KEYS: [&str; 6] = ["kernel", "m", "n", "k", "chunk_ms", "temperature_limit"];
/// The keys that do not.
const OTHER_KEYS: [&str; 2] = ["devices", "software"];

/// What is asked of one device, each where it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wishes {
    pub kernel: Option<String>,
    pub m: Option<u32>,
    pub n: Option<u32>,
    pub k: Option<u32>,
    /// How long a chunk is to take.
    pub chunk: Option<Duration>,
    /// Degrees Celsius at which it pauses.
    pub temperature_limit: Option<f64>,
}

/// What a user asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// The devices to mine with, by PCI address, or `software`; empty for all hardware.
    pub devices: Vec<String>,
    /// Whether software devices count where none is named.
    pub software: bool,
    general: Wishes,
    own: BTreeMap<String, Wishes>,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("[mining.extra] has no setting `{0}`; there are {known}, and a table for each PCI address", known = known())]
    UnknownKey(String),
    #[error("[mining.extra.\"{device}\"] has no setting `{key}`; there are {known}", known = DEVICE_KEYS.join(", "))]
    UnknownDeviceKey { device: String, key: String },
    #[error("[mining.extra] {key} = {found} is not {wanted}")]
    Value { key: String, found: String, wanted: &'static str },
    #[error("[mining.extra] kernel: there is no `{0}`; there are {kernels}", kernels = kernels())]
    Kernel(String),
}

fn known() -> String {
    [&OTHER_KEYS[..], &DEVICE_KEYS[..]].concat().join(", ")
}

fn kernels() -> String {
    KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(", ")
}

impl Settings {
    /// Reads `[mining.extra]`.
    ///
    /// # Errors
    ///
    /// The first setting that is unknown or has a value that it cannot have.
    pub(crate) fn parse(extra: &Map<String, Value>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        for (key, value) in extra {
            let wrong = |wanted| SettingsError::Value { key: key.clone(), found: value.to_string(), wanted };
            match key.as_str() {
                "devices" => {
                    let list = value.as_array().map(|list| list.iter().map(device).collect());
                    settings.devices = list.flatten().ok_or_else(|| {
                        wrong("a list of PCI addresses such as \"0000:01:00.0\", or \"software\"")
                    })?;
                }
                "software" => settings.software = value.as_bool().ok_or_else(|| wrong("true or false"))?,
                key if DEVICE_KEYS.contains(&key) => settings.general.set(key, value)?,
                key if is_pci_address(key) && value.is_object() => {
                    let own = settings.own.entry(key.to_ascii_lowercase()).or_default();
                    for (name, value) in value.as_object().into_iter().flatten() {
                        if !DEVICE_KEYS.contains(&name.as_str()) {
                            let (device, key) = (key.to_owned(), name.clone());
                            return Err(SettingsError::UnknownDeviceKey { device, key });
                        }
                        own.set(name, value)?;
                    }
                }
                _ => return Err(SettingsError::UnknownKey(key.clone())),
            }
        }
        Ok(settings)
    }

    /// What is asked of the device at `pci`: its own wishes before the general ones.
    pub(crate) fn of(&self, pci: &str) -> Wishes {
        let (own, general) = (self.own.get(pci).cloned().unwrap_or_default(), self.general.clone());
        Wishes {
            kernel: own.kernel.or(general.kernel),
            m: own.m.or(general.m),
            n: own.n.or(general.n),
            k: own.k.or(general.k),
            chunk: own.chunk.or(general.chunk),
            temperature_limit: own.temperature_limit.or(general.temperature_limit),
        }
    }
}

impl Wishes {
    fn set(&mut self, key: &str, value: &Value) -> Result<(), SettingsError> {
        let wrong = |wanted| SettingsError::Value { key: key.to_owned(), found: value.to_string(), wanted };
        let number = |wanted, range: std::ops::RangeInclusive<u64>| {
            value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| wrong(wanted))
        };
        match key {
            "kernel" => {
                let name = value.as_str().ok_or_else(|| wrong("the name of a kernel"))?;
                if Kernel::named(name).is_none() {
                    return Err(SettingsError::Kernel(name.to_owned()));
                }
                self.kernel = Some(name.to_owned());
            }
            "m" => self.m = Some(number("a number from 1 to 524288", 1..=524_288)? as u32),
            "n" => self.n = Some(number("a number from 1 to 524288", 1..=524_288)? as u32),
            "k" => self.k = Some(number("a number from 2048 to 65536", 2048..=65536)? as u32),
            "chunk_ms" => {
                self.chunk = Some(Duration::from_millis(number("a number from 1 to 1000", 1..=1000)?));
            }
            _ => {
                self.temperature_limit = Some(number("a number of degrees from 30 to 120", 30..=120)? as f64)
            }
        }
        Ok(())
    }
}

fn device(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (text == "software" || is_pci_address(text)).then(|| text.to_ascii_lowercase())
}

/// Whether `text` has the form `0000:01:00.0`.
fn is_pci_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [4, 2, 2, 1] && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use pearlbed_plugin_api::serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<Settings, String> {
        Settings::parse(value.as_object().expect("settings are an object")).map_err(|err| err.to_string())
    }

    #[test]
    fn a_device_s_own_wishes_come_before_the_general_ones() {
        let settings = parse(&json!({
            "devices": ["0000:01:00.0", "0000:0A:00.0"], "k": 4096, "chunk_ms": 8,
            "0000:0A:00.0": {"k": 2048, "temperature_limit": 80, "kernel": "dot4"},
        }))
        .unwrap();
        assert_eq!(settings.devices, ["0000:01:00.0", "0000:0a:00.0"]);
        assert_eq!(settings.of("0000:01:00.0").k, Some(4096));
        let own = settings.of("0000:0a:00.0");
        assert_eq!((own.k, own.chunk), (Some(2048), Some(Duration::from_millis(8))));
        assert_eq!((own.temperature_limit, own.kernel.as_deref()), (Some(80.0), Some("dot4")));
    }

    #[test]
    fn the_manifest_lists_every_setting_and_says_which_a_device_may_have() {
        let provider = pearlbed_plugin_api::host_side::Provider::of_static(crate::PEARLBED_PROVIDER).unwrap();
        let manifest = pearlbed_plugin_api::Manifest::parse(&provider.manifest().unwrap()).unwrap();
        let of = |per_device| {
            let listed = manifest.settings.iter().filter(move |setting| setting.per_device == per_device);
            listed.map(|setting| setting.key.as_str()).collect::<Vec<_>>()
        };
        assert_eq!((of(false), of(true)), (OTHER_KEYS.to_vec(), DEVICE_KEYS.to_vec()));
        // What it says of numbers is what is taken.
        for setting in &manifest.settings {
            let Some((low, high)) =
                setting.kind.strip_prefix("integer:").and_then(|kind| kind.split_once(".."))
            else {
                continue;
            };
            let (low, high): (i64, i64) = (low.parse().unwrap(), high.parse().unwrap());
            for (number, is_taken) in [(low - 1, false), (low, true), (high, true), (high + 1, false)] {
                let settings = json!({ &setting.key: number });
                assert_eq!(parse(&settings).is_ok(), is_taken, "{settings}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_could() {
        for (settings, said) in [
            (json!({"colour": 1}), "no setting `colour`; there are devices, software, kernel, m"),
            (json!({"devices": "all"}), "devices = \"all\" is not a list"),
            (json!({"devices": ["card0"]}), "is not a list of PCI addresses"),
            (json!({"software": 1}), "software = 1 is not true or false"),
            (json!({"kernel": "abacus"}), "there is no `abacus`; there are dot4"),
            (json!({"k": 1024}), "k = 1024 is not a number from 2048"),
            (json!({"chunk_ms": 0}), "chunk_ms = 0"),
            (json!({"temperature_limit": 300}), "degrees from 30 to 120"),
            (json!({"0000:01:00.0": {"n2": 1}}), "[mining.extra.\"0000:01:00.0\"] has no setting `n2`"),
            (json!({"0000:01:00.0": 5}), "no setting `0000:01:00.0`"),
        ] {
            let err = parse(&settings).unwrap_err();
            assert!(err.contains(said), "{settings}: {err}");
        }
    }
}
