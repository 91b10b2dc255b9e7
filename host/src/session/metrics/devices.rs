//! The devices of the miners, as numbers with names.

use std::collections::HashMap;

use super::page::{Family, Sample, Value};
use crate::session::report::{DeviceReport, MinerReport};

/// What is known of one device, under one name.
type Number = fn(&DeviceReport) -> Option<Value>;

/// What is published of each device: the name, what it means, and the number where there is one.
const NUMBERS: [(&str, &str, Number); 8] = [
    ("pearlbed_device_proofs_found_total", "Proofs of the device that were not refused.", |device| {
        device.proofs.as_ref().map(|proofs| proofs.found.into())
    }),
    ("pearlbed_device_proofs_refused_total", "Proofs of the device that the verifier refused.", |device| {
        device.proofs.as_ref().map(|proofs| proofs.refused.into())
    }),
    (
        "pearlbed_device_shares_due_total",
        "Proofs that the hashes claimed for the device should have brought, on average.",
        |device| device.judgement.as_ref().map(|judgement| judgement.due.into()),
    ),
    ("pearlbed_device_accused", "1 where the proofs do not bear out the device's claim, else 0.", |device| {
        device.judgement.as_ref().map(|judgement| u64::from(judgement.verdict.accuses()).into())
    }),
    (
        "pearlbed_device_hashrate",
        "Hashes per second that are claimed for the device, over a minute.",
        |device| device.raw.s60.or(device.hashrate).map(Value::from),
    ),
    (
        "pearlbed_device_verified_hashrate",
        "Hashes per second that the verified proofs of the device show.",
        |device| device.verified.map(|rate| rate.hashrate.into()),
    ),
    ("pearlbed_device_temperature_celsius", "How hot the device is.", |device| {
        device.temperature_celsius.map(Value::from)
    }),
    ("pearlbed_device_power_watts", "What the device draws.", |device| device.power_watts.map(Value::from)),
];

/// All of that, with the labels `miner`, `device` and `address`.
pub(super) fn families(miners: &[MinerReport]) -> Vec<Family> {
    let rows: Vec<(Vec<(&'static str, String)>, &DeviceReport)> = miners.iter().flat_map(labelled).collect();
    let family = |(name, help, number): (&'static str, &'static str, Number)| {
        let samples = rows
            .iter()
            .filter_map(|(labels, device)| Some(Sample { labels: labels.clone(), value: number(device)? }));
        Family { name, help, samples: samples.collect() }
    };
    NUMBERS.into_iter().map(family).collect()
}

/// The devices of a miner, each with labels that no other has.
fn labelled(miner: &MinerReport) -> Vec<(Vec<(&'static str, String)>, &DeviceReport)> {
    let mut seen: HashMap<(&str, &str), u32> = HashMap::new();
    let mut rows = Vec::with_capacity(miner.devices.len());
    for device in &miner.devices {
        let DeviceReport { name, address, .. } = device;
        let address = address.as_deref().unwrap_or_default();
        let namesakes = seen.entry((name.as_str(), address)).or_default();
        *namesakes += 1;
        let name = if *namesakes > 1 { format!("{name} #{namesakes}") } else { name.clone() };
        let labels = vec![("miner", miner.name.clone()), ("device", name), ("address", address.to_owned())];
        rows.push((labels, device));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::metrics::page::page;
    use crate::session::report::DeviceProofs;

    #[test]
    fn each_device_has_labels_of_its_own_and_only_what_is_known() {
        let mut miner = MinerReport::named("rig");
        let card = DeviceReport { name: "Card".into(), ..DeviceReport::default() };
        let proofs = DeviceProofs { found: 7, ..DeviceProofs::default() };
        miner.devices = vec![
            DeviceReport { address: Some("0000:01:00.0".into()), proofs: Some(proofs), ..card.clone() },
            DeviceReport { temperature_celsius: Some(61.5), ..card.clone() },
            DeviceReport { temperature_celsius: Some(60.0), ..card },
        ];
        let page = page(families(&[miner]));
        for line in [
            "pearlbed_device_proofs_found_total{miner=\"rig\",device=\"Card\",address=\"0000:01:00.0\"} 7\n",
            "pearlbed_device_temperature_celsius{miner=\"rig\",device=\"Card\",address=\"\"} 61.5\n",
            "pearlbed_device_temperature_celsius{miner=\"rig\",device=\"Card #2\",address=\"\"} 60.0\n",
        ] {
            assert!(page.contains(line), "{line}\nis not in\n{page}");
        }
        assert!(!page.contains("power") && !page.contains("accused"), "{page}");
    }
}
