//! One miner: whoever takes jobs of a session and hands in proofs.
//!
//! Here lies what a miner is held to: [`luck`] holds its claims against the shares that it found, and [`vardiff`]
//! chooses how hard a share is for it. Both are plain functions of what they were told and of `now`; neither talks to
//! anybody, reads a clock or knows what kind of miner it deals with.

pub mod luck;
pub mod vardiff;
