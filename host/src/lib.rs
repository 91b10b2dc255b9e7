//! The host behind the `pearlbed` command: finds providers, confines them, feeds them work and checks what
//! they hand back.
//!
//! The modules are floors of a house; each knows only those below it.
//!
//! ```text
//! cli                                     pearlbed <command>: parse, call one function, render
//! doctor  init  session  bench            what a person asks for
//! miner  port                             one miner: its process, what it is offered, claims and proves | programs
//! plugins  work                           providers | jobs and proofs
//! config  hardware  sidecar  sandbox      plain services, no policy
//! home  text  exit  explain  http  url  journal  limits  owned  remedy  what everything stands on
//! ```

// What a person types.
pub mod cli;

// What a person asks for.
pub mod bench;
pub mod doctor;
pub mod init;
pub mod session;

// One source of proofs.
pub mod container;
pub mod miner;
pub mod port;

// Providers, and the work for them.
pub mod plugins;
pub mod work;

// Plain services.
pub mod config;
pub mod contract;
pub mod hardware;
pub mod models;
pub mod sandbox;
pub mod sidecar;

// What everything stands on.
pub mod exit;
pub mod explain;
pub mod home;
pub mod http;
pub mod identity;
pub mod journal;
pub mod limits;
pub mod owned;
pub mod panic;
pub mod progress;
pub mod remedy;
pub mod text;
pub mod url;
