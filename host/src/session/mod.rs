//! Runs miners and tells the truth about them.
//!
//! ```text
//! pearlbed start --spawns--> supervisor
//!                               +-- work source     jobs in, verified proofs out
//!                               +-- miners          each with a confined process of its own (see `miner`)
//!                               +-- verifier        every proof, before it leaves
//!                               +-- lock, sidecar, log, control socket, metrics
//! ```
//!
//! The supervisor owns the wallet, the network and the numbers; a provider process owns nothing and dies with the
//! supervisor. Every proof passes `pearl_pow`'s verifier and is on disk before it leaves.
//!
//! What belongs to one miner is a floor below. Here are what all of them share, and what is told: one task owns it and
//! takes requests from channels.

pub mod announce;
pub mod control;
pub mod end;
pub mod launch;
pub mod lock;
pub mod log;
pub mod look;
pub mod metrics;
pub mod notify;
pub mod past;
pub mod paused;
pub mod pools;
pub mod report;
pub mod service;
pub mod socket;
pub mod state;
pub mod supervise;
pub mod totals;
