//! Reads `<home>/config.toml` into types, once, and remembers where each value came from.
//!
//! Every setting has one row in the table [`KEYS`](keys::KEYS): its path, its kind, its default and what it is for. The
//! reader, the environment variables, `config show`, the nearest-key suggestions and the reference in
//! `docs/configuration.md` all follow from that table.
//!
//! ```text
//! flag > environment > file > default  --parse by kind-->  Setting { value, origin }  --build-->  Config
//! ```
//!
//! The file is shared with OpenJarvis: `[mining]` and `[mining.extra]` keep its names and shapes, and sections of
//! other programs are neither read nor judged. A secret is never a value here: the file holds the *name* of the
//! environment variable that holds it.
//!
//! # Limitations
//!
//! The first mistake is reported, not all of them. Writing is the work of `init`.

mod build;
mod change;
mod error;
pub mod keys;
mod miner;
mod pool;
mod raw;
mod read;
mod suggest;
mod types;
mod value;

pub use change::Change;
pub use error::{ConfigError, Place};
pub use miner::{Device, MinerSection};
pub use pool::{Pin, PoolUrl};
pub use read::{Override, Sources, read_file};
pub use suggest::nearest;
pub use types::{
    BackupSection, Config, ContainerEngine, ContainerNetwork, ContainerSection, GatewayEndpoint,
    GatewaySection, MiningSection, NodeSection, PluginsSection, PoolManner, PoolSection, PortSection,
    PortSocket, SessionSection, SubmitTarget,
};
pub use value::{Origin, Setting, Value};
