//! Processor, memory, graphics processors.

use pearlbed_plugin_api::{CpuInfo, GpuInfo, HardwareInfo, Permission};

use super::super::{Facts, Verdict};
use crate::hardware::Inventory;
use crate::text::{bytes, hashrate, printable};

/// What a CPU provider multiplies int8 numbers with.
const FAST: [&str; 6] = ["avx-vnni", "avx-vnni-int8", "avx512-vnni", "amx-int8", "dotprod", "i8mm"];
/// Less memory than this and a plugin, its matrices and this program get in each other's way.
const MEMORY_WANTED_BYTES: u64 = 1 << 30;

pub fn cpu(facts: &Facts) -> Vec<Verdict> {
    let Inventory { info, .. } = facts.hardware();
    let cpu = &info.cpu;
    if cpu.logical_cores == 0 && cpu.brand.is_empty() {
        return vec![Verdict::warn("the processor cannot be read", "make /proc/cpuinfo and /sys readable")];
    }
    // Of one that nobody may look at nothing is missing.
    if cpu.brand.is_empty() && cpu.features.is_empty() {
        let finding = format!("{}; what it can do cannot be read", describe_cpu(cpu));
        return vec![Verdict::warn(finding, "make /proc/cpuinfo readable")];
    }
    let mut finding = describe_cpu(cpu);
    let detail = |name| info.details.get(name);
    if let Some(usable) = detail("usable_threads").and_then(serde_json::Value::as_u64)
        && usable < cpu.logical_cores.into()
    {
        finding.push_str(&format!("; this process may use {usable} of {} threads", cpu.logical_cores));
    }
    if let Some(quota) = detail("processor_quota").and_then(serde_json::Value::as_f64) {
        finding.push_str(&format!("; its control group gives it the time of {quota:.2} of them"));
    }
    let mut verdict = if cpu.features.iter().any(|feature| FAST.contains(&feature.as_str())) {
        Verdict::ok(finding)
    } else if cpu.features.iter().any(|feature| feature == "avx2" || feature == "neon") {
        Verdict::ok(format!("{finding} (no int8 dot products: slower)"))
    } else {
        let fix = "expect very little from this processor; in a virtual machine, pass the host's features on";
        Verdict::warn(format!("{finding}; no vector instructions for int8 products"), fix)
    };
    let caches = [("L1d", cpu.l1d_bytes), ("L2", cpu.l2_bytes), ("L3", cpu.l3_bytes)];
    for (name, size) in caches.into_iter().filter(|(_, size)| *size > 0) {
        verdict = verdict.more(format!("{name} cache: {}", bytes(size)));
    }
    vec![verdict]
}

/// Which part of what the processors could do is left to this process by its control group: 1 where there is no bound.
fn processor_share(info: &HardwareInfo) -> f64 {
    let detail = |name| info.details.get(name).and_then(serde_json::Value::as_f64);
    let threads = detail("usable_threads").unwrap_or_else(|| f64::from(info.cpu.logical_cores)).max(1.0);
    detail("processor_quota").map_or(1.0, |quota| (quota / threads).min(1.0))
}

/// What a control group leaves of `rate`, in hashes per second, as the end of a sentence; empty where it leaves all.
pub fn left_of(rate: f64, info: &HardwareInfo) -> String {
    match processor_share(info) {
        share if share < 1.0 => {
            format!(", of which this control group leaves about {}", hashrate(rate * share))
        }
        _ => String::new(),
    }
}

/// A processor on one line.
fn describe_cpu(cpu: &CpuInfo) -> String {
    let mut parts = vec![];
    if !cpu.brand.is_empty() {
        parts.push(printable(&cpu.brand).into_owned());
    }
    let count = |count: u32, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    if cpu.physical_cores > 0 {
        parts.push(count(cpu.physical_cores, "core"));
    }
    if cpu.logical_cores > 0 && cpu.logical_cores != cpu.physical_cores {
        parts.push(count(cpu.logical_cores, "thread"));
    }
    if cpu.l3_bytes > 0 {
        parts.push(format!("{} L3", bytes(cpu.l3_bytes)));
    }
    let mut line = parts.join(", ");
    if !cpu.features.is_empty() {
        line.push_str("; ");
        line.push_str(&printable(&cpu.features.join(" ")));
    }
    line
}

pub fn memory(facts: &Facts) -> Vec<Verdict> {
    let info = &facts.hardware().info;
    if info.memory_bytes == 0 {
        return vec![Verdict::warn("the size of the memory cannot be read", "make /proc/meminfo readable")];
    }
    let detail = |name| info.details.get(name).and_then(serde_json::Value::as_u64);
    let mut finding = bytes(info.memory_bytes);
    if let Some(available) = detail("memory_available_bytes") {
        finding.push_str(&format!(", {} available", bytes(available)));
    }
    let limit = memory_limit(info);
    if let Some(limit) = limit {
        finding.push_str(&format!("; this container may use {}", bytes(limit)));
    }
    if limit.unwrap_or(info.memory_bytes) < MEMORY_WANTED_BYTES {
        return vec![Verdict::warn(finding, more_memory())];
    }
    vec![Verdict::ok(finding)]
}

/// What a control group lets this program and what it starts use of the memory, in bytes.
fn memory_limit(info: &HardwareInfo) -> Option<u64> {
    info.details.get("memory_limit_bytes").and_then(serde_json::Value::as_u64)
}

fn more_memory() -> String {
    format!("give this machine or container at least {}", bytes(MEMORY_WANTED_BYTES))
}

/// `finding`, which says that somebody can mine here, as far as the memory allows that.
pub(super) fn as_far_as_memory_goes(finding: String, info: &HardwareInfo) -> Verdict {
    match memory_limit(info).filter(|&limit| limit < MEMORY_WANTED_BYTES) {
        Some(limit) => Verdict::warn(
            format!(
                "{finding}; but this container may use {} of memory, and the system ends what uses more",
                bytes(limit)
            ),
            more_memory(),
        ),
        None => Verdict::ok(finding),
    }
}

pub fn gpu(facts: &Facts) -> Vec<Verdict> {
    let info = &facts.hardware().info;
    if info.gpus.is_empty() {
        return vec![Verdict::ok("none found; providers for the CPU need none")];
    }
    info.gpus.iter().enumerate().map(|(index, gpu)| one_gpu(facts, index, gpu)).collect()
}

fn one_gpu(facts: &Facts, index: usize, gpu: &GpuInfo) -> Verdict {
    let thing =
        gpu.pci_address.as_deref().or(gpu.uuid.as_deref()).map_or_else(|| index.to_string(), clean_id);
    let finding = describe_gpu(gpu);
    let mut verdict = match gpu.driver.as_deref() {
        Some(driver) if driver.starts_with("vfio") => {
            let fix = "give the card back to its own driver, if it is meant to mine here";
            Verdict::skip(format!("{finding}; lent to a virtual machine"), fix)
        }
        None => {
            let fix = "install the card's driver, if it is meant to mine";
            let finding = format!("{finding}; no driver");
            // Somebody who mines with something else wants no yellow row about a card that lies idle.
            match facts.chosen_provider() {
                Some(_) => Verdict::skip(finding, fix),
                None => Verdict::warn(finding, fix),
            }
        }
        Some(_) => within_reach(facts, gpu, finding),
    };
    for (name, value) in [("UUID", &gpu.uuid), ("PCI", &gpu.pci_address)] {
        if let Some(value) = value {
            verdict = verdict.more(format!("{name}: {}", printable(value)));
        }
    }
    verdict.of(thing)
}

/// A card with a driver: whether a program could compute with it, or what is missing.
fn within_reach(facts: &Facts, gpu: &GpuInfo, finding: String) -> Verdict {
    let missing = crate::hardware::missing(&facts.scope().hardware.root, gpu);
    let Some(first) = missing.first() else { return Verdict::ok(finding) };
    let told = format!("{finding}; {}", first.finding);
    let (verdict, others) = match needs_a_card(facts) {
        Some(true) => (Verdict::fail(told, &first.fix), &missing[1..]),
        None => (Verdict::warn(told, &first.fix), &missing[1..]),
        // Somebody who mines with the processor wants no coloured row about a card.
        Some(false) => (Verdict::ok(finding), &missing[..]),
    };
    let also = others.iter().map(|missing| format!("{}: {}", missing.finding, missing.fix));
    also.fold(verdict, Verdict::more)
}

/// `text` as a part of an id: what does not belong into one is left out.
fn clean_id(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-' | '_')).collect()
}

/// A card on one line.
fn describe_gpu(gpu: &GpuInfo) -> String {
    let name = if gpu.name.is_empty() { "a card without a name" } else { &gpu.name };
    let mut parts = vec![];
    // Most makers put themselves into the name.
    if name.to_lowercase().contains(&gpu.vendor.to_lowercase()) {
        parts.push(printable(name).into_owned());
    } else {
        parts.push(format!("{} {}", printable(&gpu.vendor), printable(name)));
    }
    if let Some(size) = gpu.vram_bytes {
        parts.push(bytes(size));
    }
    if let Some(capability) = &gpu.compute_capability {
        parts.push(format!("compute {}", printable(capability)));
    }
    if let Some(driver) = &gpu.driver {
        parts.push(format!("driver {}", printable(driver)));
    }
    parts.join(", ")
}

pub fn gpu_driver(facts: &Facts) -> Vec<Verdict> {
    let inventory = facts.hardware();
    if inventory.troubles.is_empty() {
        if inventory.info.gpus.iter().all(|gpu| gpu.driver.is_none()) {
            let fix = "nothing, unless a card is meant to mine here";
            return vec![Verdict::skip("no driver to ask", fix).quiet()];
        }
        return vec![Verdict::ok("the drivers answer")];
    }
    let needed = needs_a_card(facts);
    let troubles = inventory.troubles.iter();
    let verdicts = troubles.map(|trouble| {
        let (finding, fix) = (printable(&trouble.finding), trouble.fix.as_str());
        match needed {
            Some(true) => Verdict::fail(finding, fix),
            None => Verdict::warn(finding, fix),
            // Somebody who mines with the processor wants no coloured row about a card.
            Some(false) => Verdict::skip(format!("{finding}; the configured provider needs no card"), fix),
        }
    });
    verdicts.collect()
}

/// Whether the configured provider wants a device; nothing where none is configured or found.
fn needs_a_card(facts: &Facts) -> Option<bool> {
    let manifest = facts.survey().find(facts.chosen_provider()?)?.manifest()?;
    Some(manifest.permissions.iter().any(|wanted| matches!(wanted, Permission::Device(_))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::{Facts, Scope, State};
    use super::*;
    use crate::hardware::fake::Machine;
    use crate::hardware::{Drivers, Options};
    use crate::home::{Env, Home};

    /// Doctor's view of `machine` by somebody whose configuration is `config`.
    fn facts(machine: &Machine, config: &str) -> Facts {
        machine.file("home/config.toml", config);
        let root = machine.root();
        let mut scope = Scope::new(Home::at(root.join("home")), Env::default());
        // No plugin of this machine has a say here.
        scope.plugin_dirs = vec![root.join("none")];
        scope.hardware =
            Options { nvml: root.join("none"), root, drivers: Drivers::Here, limit: Duration::from_secs(60) };
        Facts::new(scope)
    }

    fn rows(verdicts: Vec<Verdict>) -> Vec<(State, String)> {
        let check = super::super::super::CHECKS.iter().find(|check| check.id == "gpu").unwrap();
        let rows = verdicts.into_iter().map(|verdict| verdict.into_row(check, Duration::ZERO));
        rows.map(|row| (row.state, row.finding)).collect()
    }

    #[test]
    fn a_card_without_a_driver_matters_to_those_who_have_chosen_nothing_else() {
        let machine = Machine::new();
        machine.pci("0000:01:00.0", 0x030000, 0x10de, 0x2684, None);
        let [(state, finding)] = &rows(gpu(&facts(&machine, "")))[..] else { panic!() };
        assert_eq!((*state, finding.as_str()), (State::Warn, "nvidia device 10de:2684; no driver"));
        let [(state, _)] = &rows(gpu(&facts(&machine, "[mining]\nprovider = \"cpu-pearl\"\n")))[..] else {
            panic!()
        };
        assert_eq!(*state, State::Skip);
    }

    #[test]
    fn every_card_has_a_row_and_troubles_are_told() {
        let machine = Machine::new();
        machine.pci("0000:01:00.0", 0x030200, 0x10de, 0x2335, Some("nvidia"));
        machine.pci("0000:41:00.0", 0x030200, 0x10de, 0x2335, Some("vfio-pci"));
        machine.file(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n",
        );
        machine.file("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: NVIDIA H200\n");
        for file in ["dev/nvidiactl", "dev/nvidia-uvm", "usr/lib64/libvulkan.so.1"] {
            machine.file(file, "");
        }
        let bare = rows(gpu(&facts(&machine, "")));
        assert_eq!(bare[0].0, State::Warn);
        assert!(bare[0].1.ends_with("; no Vulkan driver for it is installed"), "{bare:?}");
        machine.file("usr/share/vulkan/icd.d/nvidia_icd.json", "{}");
        let facts = facts(&machine, "");
        let rows_of_cards = rows(gpu(&facts));
        assert_eq!(rows_of_cards[0], (State::Ok, "NVIDIA H200, driver nvidia 550.54.15".into()));
        assert_eq!(rows_of_cards[1].0, State::Skip);
        let [(state, finding)] = &rows(gpu_driver(&facts))[..] else { panic!() };
        assert_eq!(*state, State::Warn);
        assert!(finding.contains("its library cannot be opened"), "{finding}");
    }

    #[test]
    fn a_container_with_little_memory_is_told() {
        let machine = Machine::new();
        machine.file("proc/meminfo", "MemTotal: 8388608 kB\n");
        assert_eq!(rows(memory(&facts(&machine, ""))), [(State::Ok, "8 GiB".into())]);
        machine.file("sys/fs/cgroup/memory.max", "268435456\n");
        let [(state, finding)] = &rows(memory(&facts(&machine, "")))[..] else { panic!() };
        assert_eq!((*state, finding.as_str()), (State::Warn, "8 GiB; this container may use 256 MiB"));
    }

    #[test]
    fn who_can_mine_is_not_promised_what_a_limit_of_memory_forbids() {
        let machine = Machine::new();
        machine.file("proc/meminfo", "MemTotal: 8388608 kB\n");
        let can = |machine: &Machine| {
            let facts = facts(machine, "");
            rows(vec![as_far_as_memory_goes("fast, as configured".into(), &facts.hardware().info)]).remove(0)
        };
        assert_eq!(can(&machine), (State::Ok, "fast, as configured".into()));
        machine.file("sys/fs/cgroup/memory.max", "2147483648\n");
        assert_eq!(can(&machine).0, State::Ok);
        machine.file("sys/fs/cgroup/memory.max", "41943040\n");
        let (state, finding) = can(&machine);
        assert_eq!(state, State::Warn);
        assert!(finding.starts_with("fast, as configured; but this container may use 40 MiB"), "{finding}");
    }

    #[test]
    fn a_share_of_the_processors_is_named_and_what_it_leaves_is_known() {
        let machine = Machine::new();
        machine.file("proc/cpuinfo", "processor: 0\nmodel name: New One\nflags: avx2 avx512_vnni\n");
        machine.cpus("0-3", &["0", "1", "2", "3"]);
        machine.file("proc/self/cgroup", "0::/\n");
        machine.file("sys/fs/cgroup/cpu.max", "2000 100000\n");
        let facts = facts(&machine, "");
        let [(state, finding)] = &rows(cpu(&facts))[..] else { panic!() };
        assert_eq!(*state, State::Ok);
        assert!(finding.ends_with("its control group gives it the time of 0.02 of them"), "{finding}");
        assert_eq!(processor_share(&facts.hardware().info), 0.005);
        let left = left_of(2e12, &facts.hardware().info);
        assert_eq!(left, ", of which this control group leaves about 10.0 GH/s");
    }

    #[test]
    fn nothing_known_of_the_processor_is_a_warning_not_a_crash() {
        let machine = Machine::new();
        assert_eq!(rows(cpu(&facts(&machine, "")))[0].0, State::Warn);
        machine.file("proc/cpuinfo", "processor: 0\nmodel name: Old One\nflags: fpu sse2\n");
        let [(state, finding)] = &rows(cpu(&facts(&machine, "")))[..] else { panic!() };
        assert_eq!(*state, State::Warn);
        assert!(finding.starts_with("Old One, 1 thread; no vector instructions"), "{finding}");
    }
}
