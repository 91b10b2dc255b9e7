//! The facts of a Mac, from `sysctl`. It compiles; nobody has run it yet.

use std::ffi::CString;

use pearlbed_plugin_api::{GpuInfo, HardwareInfo};
use serde_json::{Map, Value};

use super::read::clean;

/// The kernel's switches for what matters for int8 products, and our names.
const FEATURES: [(&str, &str); 4] = [
    ("hw.optional.avx2_0", "avx2"),
    ("hw.optional.AdvSIMD", "neon"),
    ("hw.optional.arm.FEAT_DotProd", "dotprod"),
    ("hw.optional.arm.FEAT_I8MM", "i8mm"),
];

/// Fills in what `sysctl` knows.
pub fn fill(info: &mut HardwareInfo, details: &mut Map<String, Value>) {
    let cpu = &mut info.cpu;
    cpu.brand = text("machdep.cpu.brand_string").unwrap_or_default();
    cpu.vendor = text("machdep.cpu.vendor").unwrap_or_else(|| "Apple".into());
    let count = |name| number(name).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    cpu.physical_cores = count("hw.physicalcpu");
    cpu.logical_cores = count("hw.logicalcpu");
    // The first performance level is the fast cores; older systems know only one kind.
    let cache = |fast, all| number(fast).or_else(|| number(all)).unwrap_or(0);
    cpu.l1d_bytes = cache("hw.perflevel0.l1dcachesize", "hw.l1dcachesize");
    cpu.l2_bytes = cache("hw.perflevel0.l2cachesize", "hw.l2cachesize");
    cpu.l3_bytes = cache("hw.perflevel0.l3cachesize", "hw.l3cachesize");
    let features = FEATURES.iter().filter(|(name, _)| number(name) == Some(1));
    cpu.features = features.map(|(_, feature)| (*feature).into()).collect();
    info.memory_bytes = number("hw.memsize").unwrap_or(0);
    if cpu.brand.starts_with("Apple") {
        let mut gpu = GpuInfo::default();
        gpu.vendor = "apple".into();
        gpu.name = cpu.brand.clone();
        gpu.driver = Some("metal".into());
        info.gpus.push(gpu);
    }
    if let Ok(usable) = std::thread::available_parallelism() {
        details.insert("usable_threads".into(), usable.get().into());
    }
}

/// A value that is text.
fn text(name: &str) -> Option<String> {
    let bytes = raw(name)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    Some(clean(&String::from_utf8_lossy(&bytes[..end]))).filter(|text| !text.is_empty())
}

/// A value that is a number of four or eight bytes.
fn number(name: &str) -> Option<u64> {
    let bytes = raw(name)?;
    match bytes.len() {
        4 => Some(u32::from_ne_bytes(bytes.try_into().ok()?).into()),
        8 => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// A value as the kernel writes it, at most 256 bytes.
fn raw(name: &str) -> Option<Vec<u8>> {
    let name = CString::new(name).ok()?;
    let mut bytes = vec![0_u8; 256];
    let mut length = bytes.len();
    let (at, length_at) = (bytes.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: the name ends with a zero, the buffer is as long as `length` says, and nothing is set.
    let status = unsafe { libc::sysctlbyname(name.as_ptr(), at, length_at, std::ptr::null_mut(), 0) };
    if status != 0 {
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}
