//! The devices of a machine, each by itself.
//!
//! A provider that asks for no device node can only compute on the processor, so it is not asked about cards; one that
//! asks for some is asked about each device by itself, with a [`HardwareInfo`] that holds that device alone.
#![forbid(unsafe_code)]

use pearlbed_plugin_api::{CpuInfo, GpuInfo, HardwareInfo, Manifest, Permission};
use serde_json::Value;

use crate::config::Device;
use crate::text;

/// More devices than a provider is asked about one by one.
pub const UNITS_MAX: usize = 32;

/// One device of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The name that a configuration calls it by.
    pub device: Device,
    /// What it is, for a person.
    pub label: String,
    /// The machine with this device alone.
    pub alone: HardwareInfo,
}

/// The devices of `machine`: the processor, then the cards in their order.
pub fn units(machine: &HardwareInfo) -> Vec<Unit> {
    let mut units = vec![Unit {
        device: Device::Processor,
        label: match &*machine.cpu.brand {
            "" => "the processor".to_owned(),
            brand => text::printable(brand).into_owned(),
        },
        alone: without_cards(machine),
    }];
    let cards = machine.gpus.iter().enumerate();
    units.extend(cards.map(|(index, gpu)| Unit {
        device: Device::of(index, gpu),
        label: label(gpu),
        alone: one_card(machine, index),
    }));
    units.truncate(UNITS_MAX);
    units
}

/// Whether the provider of `manifest` can reach a graphics processor at all.
pub fn reaches_cards(manifest: &Manifest) -> bool {
    // Whoever runs programs or talks to others may have somebody else compute.
    manifest.permissions.iter().any(|wanted| {
        matches!(
            wanted,
            Permission::Device(_)
                | Permission::Program(_)
                | Permission::UnixSocket(_)
                | Permission::Network { .. }
        )
    })
}

/// The machine without its graphics processors.
fn without_cards(machine: &HardwareInfo) -> HardwareInfo {
    let mut alone = machine.clone();
    alone.gpus.clear();
    set_card_details(&mut alone.details, Vec::new());
    alone
}

/// The machine with the card number `index` and nothing else that could mine.
fn one_card(machine: &HardwareInfo, index: usize) -> HardwareInfo {
    let mut alone = machine.clone();
    alone.cpu = CpuInfo::default();
    alone.gpus = vec![machine.gpus[index].clone()];
    let own = machine.details.get("gpus").and_then(|cards| cards.get(index)).cloned();
    set_card_details(&mut alone.details, own.into_iter().collect());
    alone
}

/// The details of the cards lie in a list beside them, in the same order.
fn set_card_details(details: &mut Value, cards: Vec<Value>) {
    if let Some(details) = details.as_object_mut().filter(|details| details.contains_key("gpus")) {
        details.insert("gpus".into(), cards.into());
    }
}

fn label(gpu: &GpuInfo) -> String {
    let name = match &*gpu.name {
        "" => format!("a card of {}", if gpu.vendor.is_empty() { "an unknown maker" } else { &gpu.vendor }),
        name => name.to_owned(),
    };
    let memory = gpu.vram_bytes.map(|bytes| format!(", {}", text::bytes(bytes))).unwrap_or_default();
    text::printable(&format!("{name}{memory}")).into_owned()
}

/// Whether the provider of `manifest` has to be asked about each device of `machine` by itself: elsewhere its answer for
/// the whole machine is the one for the only device that it could have meant.
pub fn asks_one_by_one(manifest: &Manifest, machine: &HardwareInfo) -> bool {
    reaches_cards(manifest) && !machine.gpus.is_empty()
}
