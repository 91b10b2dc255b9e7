//! The provider for CPUs.
#![deny(unsafe_code)]

mod blocks;
mod board;
mod calibrate;
mod fill;
#[expect(unsafe_code, reason = "instructions and memory: the one place that answers for them")]
mod kernel;
mod operand;
mod pack;
mod plan;
mod provider;
mod search;
mod shape;
mod stats;
mod throttle;
mod worker;

#[cfg(test)]
mod board_tests;
#[cfg(test)]
mod tests;

/// What [`board`] stands on; its test replaces it.
mod sync {
    pub(crate) use std::sync::{Condvar, Mutex};
}

pearlbed_plugin_api::export_provider! {
    provider: provider::CpuPearl,
    id: "cpu-pearl",
    vendor: "pearlbed",
    license: "MIT OR Apache-2.0",
    homepage: "https://github.com/pearlbed/pearlbed",
    summary: "Mines on the processor's int8 units.",
    certificate_versions: [1, 2, 3],
    engines: [],
    permissions: [],
}
