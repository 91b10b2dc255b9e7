//! What a container's data file requires, held against a machine: a comparison, and nothing else.
#![forbid(unsafe_code)]

use pearlbed_plugin_api::{GpuInfo, HardwareInfo, MiningCapabilities};

use super::data::{DataFile, Requires};
use crate::text;

/// Whether the container of `file` can mine on `hardware`, serving `model` with `engine`; empty texts ask for none.
///
/// Reads nothing but its arguments.
pub fn detect(file: &DataFile, hardware: &HardwareInfo, engine: &str, model: &str) -> MiningCapabilities {
    match verdict(file, hardware, engine, model) {
        Ok(remark) if remark.is_empty() => MiningCapabilities::supported(),
        Ok(remark) => {
            let mut answer = MiningCapabilities::supported();
            answer.reason = Some(remark);
            answer
        }
        Err(why) => MiningCapabilities::unsupported(why),
    }
}

/// The cards of `hardware`, by their numbers, that `requires` is content with.
pub fn fitting(requires: &Requires, hardware: &HardwareInfo) -> Vec<usize> {
    let cards = hardware.gpus.iter().enumerate();
    cards.filter(|(_, gpu)| unfit(requires, gpu).is_none()).map(|(index, _)| index).collect()
}

fn verdict(file: &DataFile, hardware: &HardwareInfo, engine: &str, model: &str) -> Result<String, String> {
    let DataFile { manifest, requires, .. } = file;
    if !manifest.platforms.is_empty() && !manifest.platforms.contains(&hardware.platform) {
        return Err(format!(
            "its image runs on {}, and this machine is {}",
            manifest.platforms.join(" and "),
            hardware.platform
        ));
    }
    if !engine.is_empty() && !manifest.engines.is_empty() && !manifest.engines.iter().any(|one| one == engine)
    {
        return Err(format!("it serves with {}, and not with {engine}", manifest.engines.join(", ")));
    }
    let endings = &requires.model_endings;
    if !model.is_empty() && !endings.is_empty() && !endings.iter().any(|ending| model.ends_with(ending)) {
        return Err(format!(
            "it mines with models whose names end in {} only, and not with {model}: other weights are served and never \
             mine",
            endings.join(" or ")
        ));
    }
    if requires.vendor.is_empty() {
        return Ok(String::new());
    }
    let wanted = wanted(requires);
    if hardware.gpus.is_empty() {
        return Err(format!("it needs {wanted}; this machine has no graphics processor"));
    }
    let fit = fitting(requires, hardware);
    let left: Vec<String> = hardware.gpus.iter().filter_map(|gpu| unfit(requires, gpu)).collect();
    match (&fit[..], &left[..]) {
        ([], left) => Err(format!("it needs {wanted}; {}", left.join("; "))),
        (fit, []) => {
            Ok(if fit.len() > 1 { format!("it uses all {} cards", fit.len()) } else { String::new() })
        }
        (fit, left) => {
            Ok(format!("it uses {} of {} cards; {}", fit.len(), hardware.gpus.len(), left.join("; ")))
        }
    }
}

fn wanted(requires: &Requires) -> String {
    let mut words = format!("a graphics processor of {}", maker(&requires.vendor));
    if !requires.compute_capability.is_empty() {
        words.push_str(&format!(" of compute capability {}", requires.compute_capability.join(" or ")));
    }
    if requires.memory_bytes > 0 {
        words.push_str(&format!(" with {} of memory", text::bytes(requires.memory_bytes)));
    }
    if !requires.such_as.is_empty() {
        words.push_str(&format!(" ({})", requires.such_as));
    }
    words
}

/// Why a card does not do, in a phrase that names it.
fn unfit(requires: &Requires, gpu: &GpuInfo) -> Option<String> {
    let name = match &*gpu.name {
        "" => format!("a card of {}", maker(&gpu.vendor)),
        name => text::printable(name).into_owned(),
    };
    if gpu.vendor != requires.vendor {
        return Some(format!("{name} is one of {}", maker(&gpu.vendor)));
    }
    let wanted = &requires.compute_capability;
    match &gpu.compute_capability {
        _ if wanted.is_empty() => {}
        Some(capability) if wanted.contains(capability) => {}
        Some(capability) => {
            return Some(format!("{name} has compute capability {}", text::printable(capability)));
        }
        None => return Some(format!("no driver says which compute capability {name} has")),
    }
    match gpu.vram_bytes {
        Some(bytes) if bytes < requires.memory_bytes => {
            Some(format!("{name} has {} of memory", text::bytes(bytes)))
        }
        _ => None,
    }
}

fn maker(vendor: &str) -> String {
    match vendor {
        "nvidia" => "NVIDIA".into(),
        "amd" => "AMD".into(),
        "intel" => "Intel".into(),
        "apple" => "Apple".into(),
        "" => "an unknown maker".into(),
        other => text::printable(other).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(vendor: &str, name: &str, capability: Option<&str>, gib: u64) -> serde_json::Value {
        serde_json::json!({
            "vendor": vendor, "name": name, "compute_capability": capability, "vram_bytes": gib << 30,
        })
    }

    fn machine(platform: &str, gpus: &[serde_json::Value]) -> HardwareInfo {
        serde_json::from_value(serde_json::json!({ "platform": platform, "gpus": gpus })).unwrap()
    }

    /// The file that is shipped, whatever it is called.
    fn shipped() -> DataFile {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../containers");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let path = &files[0];
        let name = path.file_name().unwrap().to_string_lossy();
        DataFile::parse(&name, &std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn eight_machines_hear_in_words_whether_the_shipped_container_mines_there() {
        let h100 = || card("nvidia", "NVIDIA H100 80GB HBM3", Some("9.0"), 80);
        let rtx = || card("nvidia", "NVIDIA GeForce RTX 4090", Some("8.9"), 24);
        let linux = "linux-x86_64";
        let machines = [
            ("none", machine(linux, &[])),
            ("4090", machine(linux, &[rtx()])),
            ("h100", machine(linux, &[h100()])),
            ("h200", machine(linux, &vec![card("nvidia", "NVIDIA H200", Some("9.0"), 141); 8])),
            ("b200", machine(linux, &[card("nvidia", "NVIDIA B200", Some("10.0"), 180)])),
            ("mixed", machine(linux, &[h100(), rtx(), card("nvidia", "NVIDIA H100 PCIe", None, 80)])),
            ("amd", machine(linux, &[card("amd", "AMD Instinct MI300X", None, 192)])),
            ("apple", machine("macos-aarch64", &[card("apple", "Apple M4 Max", None, 64)])),
        ];
        let file = shipped();
        let engine = file.manifest.engines[0].clone();
        let said = machines.iter().map(|(name, machine)| {
            let answer = detect(&file, machine, &engine, "");
            let word = if answer.supported { "yes" } else { "no" };
            format!("{name}: {word}: {}", answer.reason.unwrap_or_default())
        });
        insta::assert_snapshot!("verdicts", said.collect::<Vec<_>>().join("\n"));

        let ending = file.requires.model_endings[0].clone();
        let on = |engine: &str, model: &str| detect(&file, &machine(linux, &[h100()]), engine, model);
        assert!(on("", &format!("anybody/anything{ending}")).supported);
        let other = on("", "anybody/anything");
        assert!(!other.supported && other.reason.unwrap().contains("are served and never mine"));
        assert!(on("another-engine", "").reason.unwrap().contains("and not with another-engine"));
    }
}
