//! From the files in a folder to providers whose abilities are known: finding, reading, probing, loading.
//!
//! ```text
//! folder --search--> Candidate --look--> manifest --probe (confined child)--> capabilities
//!                        |          |                  |
//!                        +----------+------------------+--> skipped, with one reason
//! ```
//!
//! [`survey`] goes that way for every file and loses none: each becomes an [`Entry`] that is usable or says in one
//! sentence why not, and what to do. Nothing of a plugin runs in the calling process; [`load`] is for the confined
//! children, and for them alone.
//!
//! Entries come in the order of the search path, and within a folder by name, so that two runs print the same list.
//!
//! # Limitations
//!
//! - Two names for one file are found by device and inode; two files with the same id are told apart by the order of
//!   the search path, and the later one is skipped even where the earlier one fails its probe.
//! - A file that is replaced between the look and the probe is noticed by the probe, and reported as changed; what is
//!   loaded is what was looked at, or nothing (`pinned` says where not).

mod brought;
pub mod container;
mod failure;
mod file_identity;
pub mod load;
mod look;
mod manifest;
pub mod matrix;
mod object;
mod owner;
mod pinned;
mod probe;
mod reason;
mod search;
pub mod settings;
mod survey;
pub mod trust;
pub mod units;

pub use self::failure::Failure;
pub use self::file_identity::Identity;
pub use self::look::{Check, CheckState, Look, is_data_file, look};
pub use self::probe::{Impurity, Probe, ProbeOptions, ProbeTimes, run_probe_child};
pub use self::reason::Reason;
pub use self::search::{Folder, FolderState, Origin, SearchPath};
pub use self::survey::{Entry, Options, State, Survey, Watch, survey, survey_file, survey_watched};

/// The hidden subcommand under which this program probes plugins.
pub const PROBE_SUBCOMMAND: &str = "__probe";
