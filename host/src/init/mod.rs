//! Sets a machine up for mining: finds out what is wanted, shows the change, and writes it. It never starts mining.
//!
//! ```text
//! flags, questions --> changes --edit--> new text --check--> diff --write--> config.toml (and a backup)
//! ```

pub mod diff;
pub mod edit;
