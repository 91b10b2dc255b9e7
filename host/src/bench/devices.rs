//! Devices that measure their own limit: what each did, and what it reached of that.
//!
//! A graphics card's limit is not the processor's. A provider that runs its kernel's instruction on registers alone, on the
//! device itself, tells it as `limit_hashrate` of each of its `details.devices`; for a device that tells none, none is made up.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// One device, as the JSON of `pearlbed bench` has it. Rates are hashes per second by the wall clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Device {
    /// What it is called.
    pub name: String,
    /// Where it sits on the bus.
    pub pci: Option<String>,
    /// The kernel that it runs.
    pub kernel: Option<String>,
    /// Its hashes within the windows, per second of them; null where it does not count its own.
    pub hashrate: Option<f64>,
    /// The limit that it measured of itself.
    pub peak: Option<f64>,
    /// What it reached of that.
    pub ratio: Option<f64>,
}

/// The devices in `after`, with what they did since `before` within windows of `took` in all.
pub fn measured(before: &Value, after: &Value, took: Duration) -> Vec<Device> {
    let list =
        |details: &Value| details.get("devices").and_then(Value::as_array).cloned().unwrap_or_default();
    let earlier = list(before);
    let device = |(index, device): (usize, &Value)| {
        let text = |key: &str| device.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let hashes = |device: &Value| device.get("hashes").and_then(Value::as_u64);
        let done =
            hashes(device).map(|now| now.saturating_sub(earlier.get(index).and_then(hashes).unwrap_or(0)));
        let hashrate = done.filter(|_| !took.is_zero()).map(|done| done as f64 / took.as_secs_f64());
        let peak = device.get("limit_hashrate").and_then(Value::as_f64).filter(|peak| *peak > 0.0);
        Device {
            name: text("name").unwrap_or_else(|| "a device without a name".into()),
            pci: text("pci"),
            kernel: text("kernel"),
            hashrate,
            peak,
            ratio: hashrate.zip(peak).map(|(rate, peak)| rate / peak),
        }
    };
    list(after).iter().enumerate().map(device).collect()
}

/// Whether a provider lists devices: then the processor's limit says nothing about it.
pub fn are_told(details: &Value) -> bool {
    details.get("devices").and_then(Value::as_array).is_some_and(|devices| !devices.is_empty())
}

/// The limit of all of them together; none where one tells none.
pub fn peak(devices: &[Device]) -> Option<f64> {
    if devices.is_empty() {
        return None;
    }
    devices.iter().map(|device| device.peak).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_device_is_held_against_its_own_limit_and_none_is_made_up() {
        let before = json!({"devices": [{"name": "A", "hashes": 100}, {"name": "B", "hashes": 50}]});
        let after = json!({"devices": [
            {"name": "A", "pci": "0000:01:00.0", "kernel": "dot4", "hashes": 1100, "limit_hashrate": 200.0},
            {"name": "B", "hashes": 1050},
        ]});
        let devices = measured(&before, &after, Duration::from_secs(10));
        assert_eq!((devices[0].hashrate, devices[0].ratio), (Some(100.0), Some(0.5)));
        assert_eq!((devices[1].hashrate, devices[1].peak, devices[1].ratio), (Some(100.0), None, None));
        assert_eq!(peak(&devices), None, "of one the limit is not known");
        assert_eq!(peak(&devices[..1]), Some(200.0));
        assert!(are_told(&after) && !are_told(&json!({"kernel": "avx2"})) && peak(&[]).is_none());
    }
}
