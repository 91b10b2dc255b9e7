//! Runs a provider and tells the truth about it.
//!
//! ```text
//! pearlbed start --spawns--> supervisor --spawns--> provider process (confined; loads the plugin)
//!                               |   \______ frames over one socket pair ______/
//!                               +-- work source     jobs in, verified proofs out
//!                               +-- lock, sidecar, log, control socket, metrics
//! ```
//!
//! The supervisor owns the wallet, the network and the numbers; the provider process owns nothing and dies with the
//! supervisor. Every proof passes `pearl_pow`'s verifier and is on disk before it leaves.
//!
//! Decisions are plain functions of facts and of `now` ([`restart`], [`stall`], [`state`], [`rate`]); one task owns
//! the state and takes requests from channels.

pub mod announce;
pub mod control;
pub mod end;
pub mod frame;
pub mod launch;
pub mod ledger;
pub mod lock;
pub mod log;
pub mod look;
pub mod metrics;
pub mod notify;
pub mod plugin;
pub mod provider;
pub mod rate;
pub mod report;
pub mod restart;
pub mod stall;
pub mod state;
pub mod supervise;
