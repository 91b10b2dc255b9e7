//! One miner: whoever takes jobs of a session and hands in proofs.
//!
//! ```text
//!            offer, pause, restart, judged
//!   session  ----------------------------->  Miner  --frames-->  Link  -->  provider process (confined)
//!   | bench  <-----------------------------         <--events--        <--
//!            Effect: a line, a proof to be judged, it gave up
//! ```
//!
//! A miner owns what belongs to one source of proofs: its process, what it may, the job that it is offered, when it is
//! started again and when no more, what it claims, what it has proved, what it says and what it was denied. None can
//! hurt another. Who owns the network, the wallet and the log is a floor above.
//!
//! [`machine`] is the miner itself, a plain function of events, requests and `now`. [`link`] is what it has between
//! itself and whatever mines; [`process`] makes links to plugins, and [`provider`] is the other end, in the confined
//! process. [`plan`] says what a miner is to be. What it is held to is in [`luck`], which holds its claims against the
//! shares that it found, and [`vardiff`], which chooses how hard a share is for it.

pub mod account;
mod choice;
mod devices;
pub mod effect;
mod excuse;
mod fault;
pub mod finds;
pub mod fork;
pub mod frame;
pub mod gate;
pub mod grants;
pub mod ledger;
pub mod life;
pub mod line;
pub mod link;
pub mod luck;
pub mod machine;
pub mod offers;
pub mod options;
pub mod plan;
pub mod plugin;
mod poisson;
pub mod process;
pub mod provider;
pub mod rate;
pub mod report;
pub mod restart;
pub mod stall;
pub mod standing;
pub mod vardiff;
pub mod voice;

pub use effect::{Effect, Work};
pub use link::MinerId;
pub use machine::Miner;
pub use options::Options;
pub use plan::MinerPlan;
