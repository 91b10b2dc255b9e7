//! What the processor says of itself: caches, and threads that share a core.

use std::sync::OnceLock;

/// Sizes in bytes, as far as the processor tells; else those of a modest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caches {
    /// Level 1 data cache of a core.
    pub l1: usize,
    /// Level 2 cache of a core.
    pub l2: usize,
    /// Level 3 cache that a core can reach; 0 if there is none.
    pub l3: usize,
}

impl Default for Caches {
    fn default() -> Self {
        Self { l1: 32 << 10, l2: 512 << 10, l3: 4 << 20 }
    }
}

/// The caches of the processor that this runs on, asked once: under a hypervisor each question takes long.
pub(crate) fn caches() -> Caches {
    static CACHES: OnceLock<Caches> = OnceLock::new();
    *CACHES.get_or_init(|| detected_caches().unwrap_or_default())
}

/// Cores that this process may use: hardware threads that share a core count once.
pub(crate) fn physical_cores() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    logical.div_ceil(threads_per_core())
}

/// Bytes of memory in the machine, where the system tells.
pub(crate) fn physical_memory() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut info = std::mem::MaybeUninit::<libc::sysinfo>::uninit();
        // SAFETY: the call fills the structure it is given, and it is only looked at where the call succeeded.
        let info = unsafe { (libc::sysinfo(info.as_mut_ptr()) == 0).then(|| info.assume_init())? };
        (info.totalram as u64).checked_mul(u64::from(info.mem_unit))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "the intrinsics became safe at some version of the compiler")]
fn leaf(leaf: u32, index: u32) -> Option<std::arch::x86_64::CpuidResult> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // SAFETY: every x86-64 processor has the instruction, and a leaf is only asked for when it is said to be there.
    unsafe {
        let last = __cpuid(leaf & 0xf000_0000).eax;
        (leaf <= last).then(|| __cpuid_count(leaf, index))
    }
}

#[cfg(target_arch = "x86_64")]
fn detected_caches() -> Option<Caches> {
    let mut found = Caches { l1: 0, l2: 0, l3: 0 };
    // AMD and Intel describe caches alike, one under each number; the other's number answers nothing.
    for number in [0x8000_001d, 4] {
        for index in 0..8 {
            // A processor of the one maker does not have the other's number: that is no answer, and not the end.
            let Some(answer) = leaf(number, index) else { break };
            let (kind, level) = (answer.eax & 31, answer.eax >> 5 & 7);
            if kind == 0 {
                break;
            }
            let field = |value: u32, shift: u32, bits: u32| (value >> shift & ((1 << bits) - 1)) as usize + 1;
            let bytes = field(answer.ebx, 22, 10)
                * field(answer.ebx, 12, 10)
                * field(answer.ebx, 0, 12)
                * (answer.ecx as usize + 1);
            match (level, kind) {
                (1, 1) => found.l1 = bytes,
                (2, _) => found.l2 = bytes,
                (3, _) => found.l3 = bytes,
                _ => {}
            }
        }
        if found.l1 > 0 && found.l2 > 0 {
            return Some(found);
        }
    }
    None
}

#[cfg(target_arch = "x86_64")]
fn threads_per_core() -> usize {
    // Leaf 0xb: the first level is that of threads within a core.
    match leaf(0xb, 0) {
        Some(answer) if answer.ecx >> 8 & 0xff == 1 => (answer.ebx as usize & 0xffff).max(1),
        _ => 1,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected_caches() -> Option<Caches> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn threads_per_core() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_and_cores_are_plausible() {
        let caches = caches();
        assert!((8 << 10..=1 << 20).contains(&caches.l1), "{caches:?}");
        assert!((64 << 10..=64 << 20).contains(&caches.l2), "{caches:?}");
        assert!((1..=4096).contains(&physical_cores()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn whichever_makers_number_describes_the_caches_is_understood() {
        for number in [0x8000_001d, 4] {
            if leaf(number, 0).is_some_and(|answer| answer.eax & 31 == 1) {
                assert!(detected_caches().is_some(), "leaf {number:x} describes them");
            }
        }
    }
}
