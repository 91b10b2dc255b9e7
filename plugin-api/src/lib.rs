//! The stable contract between pearlbed and the mining providers it loads.
//!
//! A provider is a shared library that gets jobs from its host and gives back proofs. The host owns the network, the
//! wallet, the work and the verification; the provider owns nothing but the fastest way to compute. To write one,
//! implement [`MiningProvider`] and name it in [`export_provider!`]: no `unsafe`, no knowledge of the boundary. The
//! example `minimal-provider` is the text to begin with.
//!
//! ```text
//!  your code                 this crate                      the host
//!  MiningProvider  <--  export_provider!  -- library -->  host_side::Provider
//!  Host            <------ jobs in, proofs out ------->   host_side::HostServices
//! ```
//!
//! # What is promised
//!
//! - Everything published here as version 1.0 stays. The table behind the trait ([`abi::v1`]) is frozen; growth is a
//!   new table beside it, and hosts speak every version they ever spoke.
//! - "Since" names the version that introduced an item; its fields, variants and methods are as old as itself unless
//!   they say otherwise.
//! - A panic in a provider becomes an error with its message, as long as the plugin is compiled with unwinding
//!   (`panic = "abort"` ends the process instead, and the host reports a crash).
//! - This crate does nothing: no I/O, no clock (but in [`testing`]), no threads, no logging.
//!
//! # Modules
//!
//! | module | for |
//! | --- | --- |
//! | (root) | the trait, its types, the macro: all that most authors read |
//! | [`manifest`], [`permission`], [`setting`] | what a plugin says of itself, asks for and can be set to |
//! | [`host_side`] | hosts, and tests that act as one |
//! | [`testing`] | a provider's own tests: a host whose jobs come from the test |
//! | [`abi`] | hosts, and plugins in other languages |

pub mod abi;
mod export;
mod hardware;
mod host;
pub mod host_side;
pub mod manifest;
pub mod permission;
mod provider;
pub mod setting;
pub mod testing;

pub use hardware::{CpuInfo, GpuInfo, HardwareInfo};
pub use host::{Host, Job, LogLevel, NextJob, SubmitError};
pub use manifest::Manifest;
pub use permission::Permission;
pub use provider::{
    MiningCapabilities, MiningConfig, MiningProvider, MiningStats, ProviderError, SubmitTarget,
};
pub use serde_json;

/// What [`export_provider!`] expands to; nothing here is for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::library::{LibHeader, RootModuleResult};

    pub use crate::abi::exported::{answer, entry, header};
    pub use crate::abi::{Entry, TableAnswer, v1};
    pub use crate::export::table;
    pub use crate::manifest::{SettingSpec, Spec};
}
