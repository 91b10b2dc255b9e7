//! Sets a machine up for mining: finds out what is wanted, shows the change, and writes it. It never starts mining.
//!
//! ```text
//! flags, questions --> changes --edit--> new text --check--> Plan --write--> config.toml and a backup
//! ```
//!
//! Asking and showing is the command line's; here it is decided what to ask ([`questions`]), what the file becomes
//! ([`Plan`]) and how it is written ([`Plan::write`]).

mod asking;
mod candidate;
mod container;
pub mod diff;
pub mod edit;
mod plan;
mod proposal;
pub mod questions;
mod summary;

pub use candidate::Candidate;
pub use plan::{InitError, Plan};
pub use proposal::Proposal;
pub use summary::sentences;
