//! A card's temperature, and whether it is too hot to go on.
//!
//! Reads what the kernel's sensors say of a PCI device (`hwmon`, which AMD's and Intel's drivers fill); NVIDIA's driver
//! tells temperatures through its own library ([`crate::nvml`]). Nothing is ever set: no clock, no fan, no power limit.

use std::path::{Path, PathBuf};

/// How far below the limit a card has to come before it goes on, in degrees.
const REST: f64 = 5.0;

/// The judgement over one card.
#[derive(Debug)]
pub(crate) struct Heat {
    limit: Option<f64>,
    pausing: bool,
}

impl Heat {
    /// With a limit in degrees Celsius, or none.
    pub(crate) fn new(limit: Option<f64>) -> Self {
        Self { limit, pausing: false }
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether to pause, now that the card has `degrees`; one that cannot be read goes on.
    pub(crate) fn must_pause(&mut self, degrees: Option<f64>) -> bool {
        if let (Some(limit), Some(degrees)) = (self.limit, degrees) {
            self.pausing = degrees >= if self.pausing { limit - REST } else { limit };
        } else {
            self.pausing = false;
        }
        self.pausing
    }
}

/// The temperature of the card at `pci` in degrees Celsius: the hottest of its sensors; below the root folder `root`.
pub(crate) fn degrees(root: &Path, pci: &str) -> Option<f64> {
    if pci.is_empty() || pci.contains('/') {
        return None;
    }
    let folder = root.join("sys/bus/pci/devices").join(pci).join("hwmon");
    let inputs = |sensor: PathBuf| {
        std::fs::read_dir(sensor).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("temp") && name.ends_with("_input")
        })
    };
    std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .flat_map(|sensor| inputs(sensor.path()))
        .filter_map(|input| std::fs::read_to_string(input).ok()?.trim().parse::<f64>().ok())
        .map(|thousandths| thousandths / 1000.0)
        .reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_pauses_at_its_limit_and_goes_on_some_degrees_below() {
        let mut heat = Heat::new(Some(80.0));
        let judged = [70.0, 79.9, 80.0, 78.0, 75.0, 74.9, 79.0, 81.0].map(|now| heat.must_pause(Some(now)));
        assert_eq!(judged, [false, false, true, true, true, false, false, true]);
        assert!(!heat.must_pause(None), "a sensor that is gone stops nobody");
        assert!(!Heat::new(None).must_pause(Some(200.0)));
    }

    #[test]
    fn the_hottest_sensor_counts() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/bus/pci/devices/0000:03:00.0/hwmon/hwmon4");
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("temp1_input", "61000\n"),
            ("temp2_input", "74500\n"),
            ("temp2_crit", "99000\n"),
            ("fan1_input", "9000000"),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        assert_eq!(degrees(root.path(), "0000:03:00.0"), Some(74.5));
        assert_eq!(degrees(root.path(), "0000:04:00.0"), None);
        assert_eq!(degrees(root.path(), ""), None);
    }
}
