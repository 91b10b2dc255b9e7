//! Which cards a container is given.

use pearlbed_plugin_api::HardwareInfo;

use super::Unfit;
use super::arguments::Settings;
use crate::config::Device;
use crate::plugins::container::{DataFile, fitting};
use crate::text::printable;

/// What is wrong with `text` as a choice of cards for `file`, and what to do; nothing where it is none.
pub fn check_cards(file: &DataFile, text: &str, hardware: &HardwareInfo) -> Result<(), Unfit> {
    let extra = serde_json::Map::from_iter([("cuda_visible_devices".to_owned(), text.into())]);
    cards(file, &Settings { file, extra: &extra }, &[], hardware).map(drop)
}

/// The cards to use, as NVIDIA's runtime calls them: those that the user chose, else all that fit.
pub(super) fn cards(
    file: &DataFile,
    settings: &Settings<'_>,
    devices: &[Device],
    hardware: &HardwareInfo,
) -> Result<Vec<String>, Unfit> {
    if file.requires.vendor.is_empty() {
        return Ok(Vec::new());
    }
    let fit = fitting(&file.requires, hardware);
    let text = settings.text("cuda_visible_devices").filter(|text| text != "all");
    let nvidia: Vec<usize> = (0..hardware.gpus.len())
        .filter(|index| hardware.gpus[*index].vendor == file.requires.vendor)
        .collect();
    let mut chosen = Vec::new();
    let mut choose = |name: &str, index: Option<usize>| match index {
        Some(index) if fit.contains(&index) => {
            chosen.push(index);
            Ok(())
        }
        Some(index) => Err(Unfit::new(
            format!("cannot mine on {} ({})", printable(name), printable(&hardware.gpus[index].name)),
            "choose a card that `pearlbed doctor` says it can mine on",
        )),
        None => Err(Unfit::new(
            format!("is to mine on {}, and there is no such card", printable(name)),
            "`pearlbed doctor` lists the cards with their addresses",
        )),
    };
    let found = |device: &Device| {
        hardware.gpus.iter().enumerate().find(|(index, gpu)| device.is(*index, gpu)).map(|(index, _)| index)
    };
    for device in devices.iter().filter(|device| **device != Device::Processor) {
        choose(&device.to_string(), found(device))?;
    }
    for name in text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        // A bare number counts NVIDIA's cards alone, as its own tools do.
        let index = match name.parse::<usize>() {
            Ok(number) => nvidia.get(number).copied(),
            Err(_) => name.parse::<Device>().ok().and_then(|device| found(&device)),
        };
        choose(name, index)?;
    }
    if chosen.is_empty() {
        chosen = fit;
    }
    chosen.dedup();
    let name = |index: &usize| {
        let number = nvidia.iter().position(|one| one == index).unwrap_or_default();
        hardware.gpus[*index].uuid.clone().unwrap_or_else(|| number.to_string())
    };
    Ok(chosen.iter().map(name).collect())
}
