//! The processor and the memory of a Linux machine, from `/proc` and `/sys`.
//!
//! What the kernel says counts, not what the `cpuid` instruction says: an instruction set that the kernel has
//! switched off is of no use. Nothing is measured and nothing waits.

use std::collections::BTreeSet;

use pearlbed_plugin_api::CpuInfo;
use serde_json::{Map, Value};

use super::read::{Root, clean};

/// The kernel's names (x86 flags, Arm features) of what matters for int8 products, and ours.
const FEATURES: [(&str, &str); 11] = [
    ("avx2", "avx2"),
    ("avx_vnni", "avx-vnni"),
    ("avx_vnni_int8", "avx-vnni-int8"),
    ("avx512f", "avx512f"),
    ("avx512bw", "avx512bw"),
    ("avx512_vnni", "avx512-vnni"),
    ("amx_int8", "amx-int8"),
    ("asimd", "neon"),
    ("asimddp", "dotprod"),
    ("i8mm", "i8mm"),
    ("sve", "sve"),
];

/// The processor, as far as it can be found out. `details` receives what has no field.
pub fn cpu(root: &Root, details: &mut Map<String, Value>) -> CpuInfo {
    let mut cpu = CpuInfo::default();
    // The first processor speaks for all; a big machine's file is a megabyte long.
    let text = root.text("proc/cpuinfo", 64 << 10).unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let field = |names: &[&str]| {
        let mut fields = first.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| names.contains(&name.trim())).map(|(_, value)| clean(value))
    };
    // Arm writes its vendor and part as numbers, and `model name` only on some systems.
    let (implementer, part) = (field(&["CPU implementer"]), field(&["CPU part"]));
    cpu.vendor = field(&["vendor_id"]).or_else(|| arm_vendor(implementer.as_deref()?)).unwrap_or_default();
    cpu.brand = field(&["model name", "cpu model", "Processor"])
        .or_else(|| arm_brand(implementer.as_deref()?, part.as_deref()?))
        .or_else(|| root.line("proc/device-tree/model"))
        .unwrap_or_default();
    // The list is longer than one cleaned line may be.
    let flags: BTreeSet<_> = first
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| matches!(name.trim(), "flags" | "Features"))
        .flat_map(|(_, value)| value.split_whitespace())
        .collect();
    cpu.features =
        FEATURES.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, f)| (*f).into()).collect();
    (cpu.physical_cores, cpu.logical_cores) = cores(root, &text);
    for index in root.names("sys/devices/system/cpu/cpu0/cache") {
        let dir = std::path::Path::new("sys/devices/system/cpu/cpu0/cache").join(index);
        let Some(size) = root.line(dir.join("size")).and_then(|size| cache_size(&size)) else { continue };
        match (root.number(dir.join("level")), root.line(dir.join("type")).as_deref()) {
            (Some(1), Some("Data" | "Unified")) => cpu.l1d_bytes = size,
            (Some(2), Some("Data" | "Unified")) => cpu.l2_bytes = size,
            (Some(3), Some("Data" | "Unified")) => cpu.l3_bytes = size,
            _ => {}
        }
    }
    if let Some(quota) = super::group::processors(root).filter(|&quota| quota < f64::from(cpu.logical_cores))
    {
        details.insert("processor_quota".into(), quota.into());
    }
    if root.is_real()
        && let Ok(usable) = std::thread::available_parallelism()
    {
        details.insert("usable_threads".into(), usable.get().into());
    }
    cpu
}

/// Physical memory in bytes, 0 if unknown. `details` receives what is free and what a container allows.
pub fn memory(root: &Root, details: &mut Map<String, Value>) -> u64 {
    let text = root.text("proc/meminfo", 64 << 10).unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    if let Some(available) = kib("MemAvailable") {
        details.insert("memory_available_bytes".into(), available.into());
    }
    // A limit that is larger than the machine is how some systems write "none".
    let total = kib("MemTotal").unwrap_or(0);
    if let Some(limit) = super::group::memory(root).filter(|&limit| limit < total) {
        details.insert("memory_limit_bytes".into(), limit.into());
    }
    total
}

/// Cores and hardware threads that are switched on. `cpuinfo` is the fallback where `/sys` is missing.
fn cores(root: &Root, cpuinfo: &str) -> (u32, u32) {
    let online = root.line("sys/devices/system/cpu/online").map(|list| cpu_list(&list)).unwrap_or_default();
    if online.is_empty() {
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32;
        return (0, processors);
    }
    // One file per core, not per thread: a thread that was named as a sibling is not asked again.
    let mut seen = BTreeSet::new();
    let mut physical = 0;
    for &cpu in &online {
        if !seen.insert(cpu) {
            continue;
        }
        physical += 1;
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        let siblings = root
            .line(format!("{topology}/core_cpus_list"))
            .or_else(|| root.line(format!("{topology}/thread_siblings_list")));
        seen.extend(siblings.map(|list| cpu_list(&list)).unwrap_or_default());
    }
    (physical, online.len() as u32)
}

/// The numbers of a list such as `0-3,8`. What is no number, or beyond any machine, is left out.
fn cpu_list(list: &str) -> BTreeSet<u32> {
    const CPUS_MAX: u32 = 1 << 16;
    let mut cpus = BTreeSet::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            cpus.extend(first..=last.min(CPUS_MAX));
        }
    }
    cpus
}

/// A size such as `32K` in bytes.
fn cache_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// The maker's name for the number that Arm gave it.
fn arm_vendor(implementer: &str) -> Option<String> {
    let name = match implementer {
        "0x41" => "ARM",
        "0x42" => "Broadcom",
        "0x43" => "Cavium",
        "0x46" => "Fujitsu",
        "0x48" => "HiSilicon",
        "0x4e" => "NVIDIA",
        "0x51" => "Qualcomm",
        "0x61" => "Apple",
        "0x6d" => "Microsoft",
        "0xc0" => "Ampere",
        other => other,
    };
    Some(name.into())
}

/// The name of an Arm core for its number, or the number.
fn arm_brand(implementer: &str, part: &str) -> Option<String> {
    let core = match (implementer, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse N1",
        ("0x41", "0xd40") => "Neoverse V1",
        ("0x41", "0xd49") => "Neoverse N2",
        ("0x41", "0xd4f") => "Neoverse V2",
        ("0xc0", "0xac3") => "Ampere-1",
        _ => return Some(format!("{} core {part}", arm_vendor(implementer)?)),
    };
    Some(core.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::fake::Machine;

    #[test]
    fn a_desktop_with_two_threads_a_core() {
        let machine = Machine::new();
        machine.file(
            "proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R)  Core(TM) i7\nflags\t\t: fpu avx2 avx_vnni\n\n\
             processor\t: 1\nflags\t\t: fpu\n",
        );
        machine.cpus("0-3", &["0-1", "0-1", "2-3", "2-3"]);
        for (index, level, kind, size) in [
            (0, "1", "Data", "48K"),
            (1, "1", "Instruction", "32K"),
            (2, "2", "Unified", "2048K"),
            (3, "3", "Unified", "36M"),
        ] {
            let dir = format!("sys/devices/system/cpu/cpu0/cache/index{index}");
            machine.file(format!("{dir}/level"), level);
            machine.file(format!("{dir}/type"), kind);
            machine.file(format!("{dir}/size"), size);
        }
        let mut details = Map::new();
        let cpu = cpu(&machine.root(), &mut details);
        assert_eq!(cpu.brand, "Intel(R) Core(TM) i7");
        assert_eq!(cpu.vendor, "GenuineIntel");
        assert_eq!((cpu.physical_cores, cpu.logical_cores), (2, 4));
        assert_eq!((cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes), (48 << 10, 2 << 20, 36 << 20));
        assert_eq!(cpu.features, ["avx2", "avx-vnni"]);
    }

    #[test]
    fn an_arm_server_says_its_name_by_numbers() {
        let machine = Machine::new();
        machine.file(
            "proc/cpuinfo",
            "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n",
        );
        let cpu = cpu(&machine.root(), &mut Map::new());
        assert_eq!((cpu.brand.as_str(), cpu.vendor.as_str()), ("Neoverse V2", "ARM"));
        assert_eq!(cpu.features, ["neon", "dotprod", "i8mm"]);
        assert_eq!((cpu.physical_cores, cpu.logical_cores), (0, 1));
    }

    #[test]
    fn garbage_and_nothing_are_unknown() {
        let machine = Machine::new();
        assert_eq!(cpu(&machine.root(), &mut Map::new()), CpuInfo::default());
        machine.file("proc/cpuinfo", [0xff, 0, b':', b'\n', b'f', b'l', b'a', b'g', b's', b':']);
        machine.file("proc/meminfo", "MemTotal: lots kB\n");
        machine.file("sys/devices/system/cpu/online", "7-,-,4294967295-1,x");
        machine.file("sys/devices/system/cpu/cpu0/cache/index0/size", "99999999999999999999K");
        assert_eq!(cpu(&machine.root(), &mut Map::new()), CpuInfo::default());
        assert_eq!(memory(&machine.root(), &mut Map::new()), 0);
    }

    #[test]
    fn memory_knows_what_a_container_may_use() {
        let machine = Machine::new();
        machine.file("proc/meminfo", "MemTotal:       1024 kB\nMemAvailable:    512 kB\n");
        machine.file("sys/fs/cgroup/memory.max", "max\n");
        let mut details = Map::new();
        assert_eq!(memory(&machine.root(), &mut details), 1 << 20);
        assert_eq!(details["memory_available_bytes"], 512 << 10);
        assert!(!details.contains_key("memory_limit_bytes"));
        machine.file("sys/fs/cgroup/memory.max", "65536\n");
        memory(&machine.root(), &mut details);
        assert_eq!(details["memory_limit_bytes"], 65536);
    }
}
