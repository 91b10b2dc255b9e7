//! Which plugin each miner of the configuration runs, and on which devices.
//!
//! A miner that names its provider gets it. One that leaves the choice to the host becomes a miner for each device: its
//! own devices, or all that no other miner has. The plugins are looked at once for all of them, and asked only where
//! there is a choice to make.

use pearlbed_plugin_api::HardwareInfo;

use super::options::Options;
use super::plugin::{self, ChooseError, Chosen};
use crate::config::{Config, Device, MinerSection};
use crate::plugins::matrix::{Opinion, Row, matrix};
use crate::plugins::{Entry, Survey, units};

/// A miner and the plugin that was found for it.
#[derive(Debug)]
pub(super) struct Choice {
    /// What the configuration says of it; its name is unique.
    pub section: MinerSection,
    /// Its plugin.
    pub chosen: Chosen,
    /// The cards that it mines on, by their addresses on the bus; empty where nothing was named, or the processor.
    pub devices: Vec<String>,
    /// Who else could mine there and says how fast, where the host chose by that. Their names may be taken.
    pub rivals: Vec<Self>,
}

/// A miner that cannot be run, and why. Others go on without it.
#[derive(Debug)]
pub struct LeftOut {
    /// What it is called.
    pub name: String,
    /// Why not.
    pub why: ChooseError,
}

/// What becomes of every miner that is switched on, in the order of the configuration.
///
/// # Errors
///
/// There is no miner, or no plugin at all.
pub(super) fn choices(
    options: &Options,
    config: &Config,
) -> Result<Vec<Result<Choice, LeftOut>>, ChooseError> {
    let sections: Vec<&MinerSection> = config.mining.miners.iter().filter(|miner| miner.enabled).collect();
    if sections.is_empty() {
        return Err(ChooseError::AllDisabled);
    }
    let listed = plugin::look(options, config, None);
    // A container is nobody's to start unasked: it is chosen by its name alone.
    let libraries = listed.usable().filter(|entry| entry.container().is_none());
    let usable: Vec<&str> = libraries.filter_map(Entry::id).collect();
    // One file needs no question. Of two with one id, the first may be broken.
    let ask = sections.iter().any(|section| match (&section.provider, &usable[..]) {
        (Some(id), _) => listed.is_contested(id),
        (None, [only]) => listed.is_contested(only) || !section.devices.is_empty() || sections.len() > 1,
        (None, _) => true,
    });
    if usable.is_empty() && sections.iter().all(|section| section.provider.is_none()) {
        return Err(ChooseError::None);
    }
    let named = || sections.iter().flat_map(|section| &section.devices);
    let machine = if ask || named().next().is_some() {
        let closely = ask && plugin::want_cards(&listed);
        plugin::machine(closely || named().any(|device| matches!(device, Device::Uuid(_))))
    } else {
        HardwareInfo::default()
    };
    let survey = if ask {
        plugin::look(options, config, Some(plugin::probe_options_for(config, machine.clone())))
    } else {
        listed
    };
    Ok(assign(&sections, &survey, &machine, ask))
}

/// What becomes of each of `sections`, given the plugins and the machine; `asked` says whether the plugins were asked.
fn assign(
    sections: &[&MinerSection],
    survey: &Survey,
    machine: &HardwareInfo,
    asked: bool,
) -> Vec<Result<Choice, LeftOut>> {
    let rows = if asked { matrix(machine, survey) } else { Vec::new() };
    let mut taken: Vec<String> = sections.iter().map(|section| section.name.clone()).collect();
    let mut result = Vec::new();
    for section in sections {
        let left_out = |why| LeftOut { name: section.name.clone(), why };
        match &section.provider {
            Some(id) => result.push(
                plugin::named(id, survey)
                    .and_then(|chosen| with_devices(section, chosen, machine))
                    .map_err(left_out),
            ),
            // The only plugin there is, which was not asked: it says itself what it can do.
            None if !asked => result.push(
                match survey.usable().filter(|entry| entry.container().is_none()).find_map(plugin::chosen) {
                    Some(chosen) => {
                        let section = MinerSection { name: name(&chosen, &mut taken), ..(*section).clone() };
                        Ok(Choice { section, chosen, devices: Vec::new(), rivals: Vec::new() })
                    }
                    None => Err(left_out(ChooseError::None)),
                },
            ),
            None => result.extend(automatic(section, sections, survey, &rows, machine, &mut taken)),
        }
    }
    result
}

/// A miner for each device that `section` may have.
fn automatic(
    section: &MinerSection,
    sections: &[&MinerSection],
    survey: &Survey,
    rows: &[Row],
    machine: &HardwareInfo,
    taken: &mut Vec<String>,
) -> Vec<Result<Choice, LeftOut>> {
    let left_out = |why| vec![Err(LeftOut { name: section.name.clone(), why })];
    let is = |device: &Device, row: &Row| names(device, &row.device, machine);
    if let Some(device) = section.devices.iter().find(|device| !rows.iter().any(|row| is(device, row))) {
        return left_out(ChooseError::NoDevice { device: device.to_string() });
    }
    let others = || sections.iter().filter(|other| other.name != section.name);
    let is_free = |row: &Row| {
        let named = others().flat_map(|other| &other.devices).any(|device| is(device, row));
        // A provider that was given no device takes all that it can have.
        let swept = others().any(|other| {
            other.devices.is_empty()
                && other.provider.is_some()
                && row.best().is_some_and(|best| other.provider.as_ref() == Some(&best.provider))
        });
        !named && !swept
    };
    let own: Vec<&Row> = rows
        .iter()
        .filter(|row| match &section.devices[..] {
            [] => is_free(row),
            devices => devices.iter().any(|device| is(device, row)),
        })
        .collect();
    let mut choices = Vec::new();
    for row in &own {
        let Some(best) = row.best() else { continue };
        let Ok(mut chosen) = plugin::named(&best.provider, survey) else { continue };
        chosen.estimate = best.estimate;
        let section = MinerSection {
            name: name(&chosen, taken),
            provider: Some(best.provider.clone()),
            devices: vec![row.device.clone()],
            ..section.clone()
        };
        let choice = with_devices(&section, chosen, machine);
        choices.push(match choice {
            Ok(choice) => Ok(Choice { rivals: rivals(row, &section, survey, machine), ..choice }),
            Err(why) => Err(LeftOut { name: section.name, why }),
        });
    }
    if choices.is_empty() {
        let told = own.iter().flat_map(|row| {
            row.opinions.iter().map(|opinion| {
                let why = opinion.reason.as_deref().unwrap_or("it gives no reason");
                format!("`{}` on {}: {why}", opinion.provider, row.device)
            })
        });
        return left_out(ChooseError::Unsupported { reasons: told.chain(plugin::silent(survey)).collect() });
    }
    choices
}

/// Who could mine in the place of the best of `row`, the most expected first; `section` is that one's.
fn rivals(row: &Row, section: &MinerSection, survey: &Survey, machine: &HardwareInfo) -> Vec<Choice> {
    let others = row.opinions.iter().skip(1).filter(|other| other.supported && other.estimate.is_some());
    let rival = |other: &Opinion| {
        let mut chosen = plugin::named(&other.provider, survey).ok()?;
        chosen.estimate = other.estimate;
        let (name, provider) = (other.provider.clone(), Some(other.provider.clone()));
        with_devices(&MinerSection { name, provider, ..section.clone() }, chosen, machine).ok()
    };
    others.filter_map(rival).collect()
}

/// Checks the devices of `section`, and turns the cards among them into addresses.
fn with_devices(
    section: &MinerSection,
    chosen: Chosen,
    machine: &HardwareInfo,
) -> Result<Choice, ChooseError> {
    let mut devices = Vec::new();
    for device in &section.devices {
        if *device == Device::Processor {
            continue;
        }
        let mut cards = machine.gpus.iter().enumerate();
        let Some((_, gpu)) = cards.find(|(index, gpu)| device.is(*index, gpu)) else {
            return Err(ChooseError::NoDevice { device: device.to_string() });
        };
        if chosen.container.is_none() && !units::reaches_cards(&chosen.manifest) {
            let id = chosen.manifest.id.clone();
            return Err(ChooseError::NoCards { id, device: device.to_string() });
        }
        devices.push(gpu.pci_address.clone().unwrap_or_else(|| device.to_string()));
    }
    Ok(Choice { section: section.clone(), chosen, devices, rivals: Vec::new() })
}

/// Whether `device`, as somebody wrote it, is the one that a row calls `row`.
fn names(device: &Device, row: &Device, machine: &HardwareInfo) -> bool {
    let mut cards = machine.gpus.iter().enumerate();
    device == row || cards.any(|(index, gpu)| Device::of(index, gpu) == *row && device.is(index, gpu))
}

/// A free name for a miner whose provider the host chose.
fn name(chosen: &Chosen, taken: &mut Vec<String>) -> String {
    let base = &chosen.manifest.id;
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let free = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.expect("the numbers do not end");
    taken.push(free.clone());
    free
}

#[cfg(test)]
mod tests;
