//! The provider for processors: mines dense Int7 jobs with the int8 instructions that there are.
//!
//! ```text
//! worker threads --task done, next task--> board --> plan        who does what, numbers only
//!       |                                    ^
//!       |                              jobs thread <-- host      the one that waits for jobs
//!       +--> operand   a matrix: fill -> commit -> pack          blocks of panels, in the kernel's layout
//!       +--> search    kernel over two blocks -> jackpots -> proofs
//! ```
//!
//! A job is worked on in rounds: B stays, and a new A is drawn, committed to, noised and packed while the one before is
//! multiplied (`plan`). Everything that mining needs is allocated at the start. `unsafe` lives in `kernel` alone.
//!
//! The README beside this has the kernels, the settings and what was measured.
#![deny(unsafe_code)]

mod blocks;
mod board;
mod calibrate;
mod cut;
mod fill;
#[expect(unsafe_code, reason = "instructions and memory: the one place that answers for them")]
mod kernel;
mod operand;
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
mod partition_tests;
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
    settings: [
        { key: "threads", kind: "integer:0..1024", default: "0", help: "Worker threads; 0 for one per physical core." },
        { key: "cpu_percent", kind: "integer:1..100", default: "100", help: "Share of each thread's time to use." },
        {
            key: "pin", kind: "flag|list:integer", default: "false",
            help: "true: bind the threads to processors in order; or a list of processors to bind them to.",
        },
        {
            key: "kernel", kind: "text", default: "",
            help: "The kernel, such as avx2; without it, the fastest that this processor can run.",
        },
        { key: "m", kind: "integer:1..16777216", default: "1024", help: "Rows of A." },
        { key: "n", kind: "integer:1..16777216", default: "8192", help: "Columns of B." },
        { key: "k", kind: "depth", default: "2048", help: "Depth of the product." },
        {
            key: "rank", kind: "rank", default: "128",
            help: "Rank of the noise: a higher one only costs, and of a lower one the rank-penalty rule refuses every proof.",
        },
        {
            key: "tile", kind: "tile", default: "",
            help: "The tile, as \"16x16\" or {rows = [offsets], columns = [offsets]}; without it, what the kernel likes best.",
        },
    ],
}
