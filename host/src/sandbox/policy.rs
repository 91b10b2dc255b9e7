//! What a confined process is granted, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a confined process may do besides computing. The default grants nothing but reading the system's files.
///
/// Paths are absolute. A path that does not exist grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The files it may read.
    pub reading: Reading,
    /// Files it may write, and folders below which it may write, create, rename and remove.
    pub write: Vec<PathBuf>,
    /// Device nodes, or folders of them, that it may open and control.
    pub devices: Vec<PathBuf>,
    /// Folders whose names it may list, without opening what is in them: drivers look for their devices so.
    pub listings: Vec<PathBuf>,
    /// Where it may open TCP connections to.
    pub network: Vec<HostPort>,
    /// Unix stream sockets that it may connect to.
    pub unix_sockets: Vec<PathBuf>,
    /// Programs that it may run. What it runs is confined in the same way.
    pub programs: Vec<PathBuf>,
    /// The process that is started may make copies of itself, which may not. Only where the kernel lets the parent tell
    /// them apart.
    pub copies_itself: bool,
    /// How much it may use.
    pub limits: Limits,
}

/// The files that a confined process may read and map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// Every file that its user may read, except devices.
    Everything,
    /// The system's own folders (`/usr`, `/lib`, `/etc`, `/opt`, `/proc`, `/sys`, …) and these files and folders.
    System(Vec<PathBuf>),
}

impl Default for Reading {
    fn default() -> Self {
        Self::System(vec![])
    }
}

/// A host, by name or address, and a TCP port; either may be any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// A host name, an IPv4 address, or an IPv6 address without brackets; `None` for any host.
    pub host: Option<String>,
    /// The TCP port; `None` for any.
    pub port: Option<u16>,
}

/// How much a confined process may use. `None` leaves a limit as it was inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory that it may allocate, in bytes (`RLIMIT_DATA`).
    pub memory_bytes: Option<u64>,
    /// Address space, in bytes (`RLIMIT_AS`). GPU drivers reserve far more of it than they use.
    pub address_space_bytes: Option<u64>,
    /// The largest file that it may write, in bytes (`RLIMIT_FSIZE`).
    pub file_bytes: Option<u64>,
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub open_files: u64,
    /// Threads at once, where the kernel lets the parent count them.
    pub threads: Option<u32>,
    /// Files in memory (`memfd_create`) that it may make in all, which count for no limit of the kernel; none where the
    /// kernel does not let the parent count them.
    pub memory_files: Option<u32>,
    /// The first to be ended when the system runs out of memory.
    pub dies_first: bool,
    /// How far it stands back for other programs: at least so far as this, 0 to 19.
    pub nice: Option<u8>,
    /// Processor time of all threads together (`RLIMIT_CPU`, whole seconds).
    pub cpu_time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: None,
            address_space_bytes: None,
            file_bytes: None,
            open_files: 1024,
            threads: None,
            memory_files: None,
            dies_first: false,
            nice: None,
            cpu_time: None,
        }
    }
}
