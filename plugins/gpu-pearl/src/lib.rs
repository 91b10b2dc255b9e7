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
//! `detect` opens no driver; a kernel mines only after it agreed with `pow` on its device. `unsafe` is in `device` alone.
//!
//! The README beside this has the kernels, the settings and what is known of their speed.
#![deny(unsafe_code)]

mod cards;
mod detect;
#[expect(unsafe_code, reason = "shaders without run-time checks, and the environment of drivers")]
mod device;
mod draw;
mod heat;
mod kernel;
mod matrices;
mod opening;
mod operand;
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
}
