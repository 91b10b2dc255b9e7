//! Kernels and sessions on a software device, against `pow`.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]
#![allow(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]

mod kernels;
pub(crate) mod ptx;
#[cfg(target_os = "linux")]
mod radv;
mod sessions;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::adapter::{self, Adapter};
use crate::engine::Engine;
use crate::product::Hit;

/// What the next session is to meet: hits that are changed, and losses. A provider is made behind its table, so there is
/// no other way to reach it.
pub(crate) static NEXT: Mutex<(u32, u32)> = Mutex::new((0, 0));

/// What a test makes go wrong.
pub(crate) struct Faults {
    /// So many hits are changed before the processor sees them.
    pub spoiled: AtomicU32,
    /// So many times a device is lost as soon as it is opened.
    pub losses: AtomicU32,
}

impl Default for Faults {
    fn default() -> Self {
        let (spoiled, losses) = std::mem::take(&mut *NEXT.lock().unwrap());
        Self { spoiled: spoiled.into(), losses: losses.into() }
    }
}

impl Faults {
    pub(crate) fn spoil(&self, hit: Hit) -> Hit {
        let any = self.spoiled.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        // A row that is a tile's own and hit nothing, as far as anybody knows.
        if any { Hit { row: hit.row ^ 16, ..hit } } else { hit }
    }

    pub(crate) fn opened(&self, index: usize, engine: &mut dyn Engine) {
        if index == 0 && self.losses.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            engine.lose();
        }
    }
}

/// One test at a time: a software device takes every core there is.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The software device; where there is none, says so.
///
/// With `PEARLBED_NEED_SOFTWARE_GPU` set it must be there.
pub(crate) fn software() -> Option<Adapter> {
    let found = adapter::adapters().into_iter().find(|adapter| adapter.is_software);
    if found.is_none() {
        assert!(std::env::var_os("PEARLBED_NEED_SOFTWARE_GPU").is_none(), "no software Vulkan device here");
        println!("skipped: no software Vulkan device here (mesa-vulkan-drivers)");
    }
    found
}
