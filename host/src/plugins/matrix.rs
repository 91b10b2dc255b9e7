//! What each provider says of each device of the machine, and which one would mine on it.
#![forbid(unsafe_code)]

use pearlbed_plugin_api::{HardwareInfo, MiningCapabilities};

use super::survey::{Entry, Survey};
use super::units::{asks_one_by_one, reaches_cards, units};
use crate::config::Device;
use crate::text;

/// What one provider says of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinion {
    /// The provider.
    pub provider: String,
    /// Whether it can mine on the device.
    pub supported: bool,
    /// Hashes per second that it expects.
    pub estimate: Option<f64>,
    /// A remark, or why not; always there where it cannot.
    pub reason: Option<String>,
}

/// One device, and who would mine on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The device.
    pub device: Device,
    /// What it is, for a person.
    pub label: String,
    /// Every provider that could be asked, the one that would mine first where there is one.
    pub opinions: Vec<Opinion>,
}

impl Row {
    /// The provider that would mine on the device.
    pub fn best(&self) -> Option<&Opinion> {
        self.opinions.first().filter(|opinion| opinion.supported)
    }
}

/// A row for each device of `machine`, from what the usable plugins of `survey` answered.
///
/// Of those that support a device the one that expects most comes first; without an estimate it comes after those with
/// one, in the order of the search path.
pub fn matrix(machine: &HardwareInfo, survey: &Survey) -> Vec<Row> {
    let rows = units(machine).into_iter().enumerate().map(|(index, unit)| {
        let mut opinions: Vec<Opinion> =
            survey.usable().filter_map(|entry| opinion(entry, index, machine)).collect();
        // Stable: the search path decides between equals.
        opinions.sort_by(|a, b| {
            let rate = |one: &Opinion| one.estimate.unwrap_or(-1.0);
            b.supported.cmp(&a.supported).then_with(|| rate(b).total_cmp(&rate(a)))
        });
        Row { device: unit.device, label: unit.label, opinions }
    });
    rows.collect()
}

fn opinion(entry: &Entry, unit: usize, machine: &HardwareInfo) -> Option<Opinion> {
    // A container is nobody's to start unasked: it is chosen by its name alone.
    if entry.container().is_some() {
        return None;
    }
    let manifest = entry.manifest()?;
    let whole = entry.capabilities()?;
    let no = |reason: &str| MiningCapabilities::unsupported(reason);
    let is_card = unit > 0;
    let answer = if is_card && !reaches_cards(manifest) {
        no("it asks for no device, so it mines on the processor alone")
    } else if !asks_one_by_one(manifest, machine) {
        whole.clone()
    } else {
        match entry.probe.as_ref()?.units.get(unit) {
            Some(Ok(answer)) => answer.clone(),
            Some(Err(reason)) => no(&reason.reason),
            None => no("it was not asked about this device"),
        }
    };
    Some(Opinion {
        provider: manifest.id.clone(),
        supported: answer.supported,
        estimate: answer.estimated_hashrate,
        reason: answer.reason.map(|reason| text::printable(&reason).into_owned()),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Plugins that need no file.

    use std::path::PathBuf;
    use std::time::Duration;

    use pearlbed_plugin_api::{GpuInfo, Manifest};

    use super::*;
    use crate::plugins::{Look, Probe, ProbeTimes, Reason, State};

    type Answer = Result<MiningCapabilities, Reason>;

    /// A usable plugin that asks for `permissions` and answers `card` about each card, and `processor` about the rest.
    fn entry(
        machine: &HardwareInfo,
        id: &str,
        permissions: &[&str],
        processor: MiningCapabilities,
        card: impl Fn(&GpuInfo) -> Answer,
    ) -> Entry {
        let manifest = serde_json::json!({
            "id": id, "version": "1.0.0", "plugin_api": [1], "certificate_versions": [1, 2, 3],
            "permissions": permissions,
            "settings": [{"key": "threads", "kind": "integer:0..64"}, {"key": "devices", "kind": "list:text"}],
        });
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).expect("it is one");
        let answer: Answer = Ok(processor.clone());
        let units: Vec<Answer> =
            std::iter::once(Ok(processor)).chain(machine.gpus.iter().map(card)).collect();
        let whole = units.iter().filter_map(|unit| unit.as_ref().ok()).find(|unit| unit.supported).cloned();
        Entry {
            path: PathBuf::from(format!("{id}.so")),
            state: State::Usable,
            look: Some(Look {
                real_path: PathBuf::from(format!("{id}.so")),
                identity: None,
                checks: vec![],
                manifest: Some(manifest),
                section: None,
                container: None,
                refusal: None,
                relaxed: false,
            }),
            look_time: Duration::ZERO,
            probe: Some(Probe {
                answer: whole.map_or(answer, Ok),
                units,
                impurities: vec![],
                stdout: Default::default(),
                stderr: Default::default(),
                times: ProbeTimes::default(),
                confinement: Default::default(),
            }),
            judgement: Default::default(),
        }
    }

    /// Five providers: one for the processor, one for NVIDIA, one for any card but Intel's, one for AMD that does not say
    /// how fast it is, and one that supports nothing.
    pub(crate) fn survey(machine: &HardwareInfo) -> Survey {
        let yes = |rate: f64| MiningCapabilities::supported().with_estimate(rate);
        let no = |why: &str| MiningCapabilities::unsupported(why);
        let no_card = || no("there is no graphics processor");
        let green = |gpu: &GpuInfo| match (&*gpu.vendor, &gpu.uuid) {
            ("nvidia", Some(_)) => Ok(yes(1.6e14)),
            ("nvidia", None) => {
                Err(Reason::new("detect-failed", "the driver does not know the card", "reboot"))
            }
            _ => Ok(no("no NVIDIA card")),
        };
        let any = |gpu: &GpuInfo| match &*gpu.vendor {
            "intel" => Ok(no("no Vulkan driver for Intel cards; install mesa-vulkan-drivers")),
            _ => Ok(yes(2e13)),
        };
        let red = |gpu: &GpuInfo| match &*gpu.vendor {
            "amd" => Ok(MiningCapabilities::supported()),
            _ => Ok(no("no AMD card")),
        };
        let devices = ["device:/dev/dri/renderD*"];
        let entries = vec![
            entry(machine, "cores", &[], yes(4e11), |_| Ok(yes(4e11))),
            entry(machine, "green", &["device:/dev/nvidia*"], no_card(), green),
            entry(machine, "any-card", &devices, no_card(), any),
            entry(machine, "red", &devices, no_card(), red),
            entry(machine, "none", &devices, no("not today"), |_| Ok(no("not today"))),
        ];
        Survey { folders: vec![], entries }
    }
}
