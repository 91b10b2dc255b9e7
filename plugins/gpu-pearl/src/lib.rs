//! The provider for graphics cards: mines dense Int7 jobs on whatever Vulkan or Metal offers.
//!
//! ```text
//! jobs thread <-- host          one that waits for jobs
//!      |
//! worker, one for each device   rounds (what to do next) -> operand (draw, commit, noise, pack), product (multiply, hits)
//!      |
//! proof                         the processor recomputes a tile that hit, and only then is it handed in
//! ```
//!
//! The whole round runs on the device: matrices are drawn there and lie nowhere else, and nothing comes back but hits.
//! `detect` opens no driver; a kernel mines only after it agreed with `pow` on its device. A device is reached by wgpu or,
//! for one kernel, by NVIDIA's own driver; `engine` is what both are to a worker. `unsafe` is in `adapter`,
//! `pipelines`, `cuda` and `nvml` alone.
//!
//! The README beside this has the kernels, the settings and what is known of their speed.
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "what the kernel by NVIDIA's own driver alone needs")
)]

#[expect(unsafe_code, reason = "the environment of drivers, and what wgpu does not tell of them")]
mod adapter;
mod bound;
mod cards;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "NVIDIA's driver, which is asked in C")]
mod cuda;
mod detect;
mod device;
mod draw;
mod engine;
mod halves;
mod heat;
mod kernel;
mod matrices;
#[cfg(target_os = "linux")]
mod nvidia;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "NVIDIA's library for sensors, which is asked in C")]
mod nvml;
mod opening;
mod operand;
#[expect(unsafe_code, reason = "shaders without run-time checks, and code that is passed through")]
mod pipelines;
mod product;
mod proof;
mod provider;
mod rounds;
mod selftest;
mod session;
mod settings;
mod shaders;
mod shape;
mod stats;
mod worker;

#[cfg(test)]
mod tests;

pearlbed_plugin_api::export_provider! {
    provider: provider::GpuPearl,
    id: "gpu-pearl",
    vendor: "pearlbed",
    license: "MIT OR Apache-2.0",
    homepage: "https://github.com/pearlbed/pearlbed",
    summary: "Mines on graphics cards through Vulkan or Metal.",
    certificate_versions: [1, 2, 3],
    engines: [],
    permissions: ["device:/dev/dri/renderD*", "device:/dev/nvidia*", "device:/dev/nvidia-caps/*"],
    settings: [
        {
            key: "devices", kind: "list:text", default: "[]",
            help: "PCI addresses of the cards to mine with, or \"software\"; without it, all cards.",
        },
        { key: "software", kind: "flag", default: "false", help: "Count software devices where none is named." },
        {
            key: "kernel", kind: "text", default: "",
            help: "The kernel, such as dot4; without it, the fastest that passes its self-test.", per_device: true,
        },
        { key: "m", kind: "integer:1..524288", default: "8192", help: "Rows of A.", per_device: true },
        { key: "n", kind: "integer:1..524288", default: "131072", help: "Columns of B.", per_device: true },
        { key: "k", kind: "depth", default: "4096", help: "Depth of the product.", per_device: true },
        {
            key: "chunk_ms", kind: "integer:1..1000", default: "10",
            help: "Milliseconds that one submission to the card is to take.", per_device: true,
        },
        {
            key: "temperature_limit", kind: "integer:30..120", default: "",
            help: "Degrees Celsius at which a card pauses until it is 5 degrees cooler.", per_device: true,
        },
    ],
}
