//! Containers that mine: run by the user's own `docker` or `podman`, and served at the miner port.
//!
//! ```text
//!  data file, settings, machine --recipe--> Recipe --command--> argument vectors --engine--> docker | podman
//!                                                                                    |
//!  session <--Event-- keeper (a thread for each container) <--what was seen-- engine, /health, /metrics, the log
//!          --Order-->         |
//!                             life: what follows, a plain function of what was seen and `now`
//! ```
//!
//! The host starts the engine's program with arguments of its own making, waits for it for a bounded time and reads a bounded
//! answer; it speaks no engine's API and needs no engine's socket. What is started is told again by its labels, never by a
//! name. The container gets the folder with the miner port's socket, a cache and, where one is configured, a model; the
//! wallet, the node and every secret of the host's stay outside.
//!
//! [`recipe`] resolves what is to be run, [`command`] writes the argument vectors, [`trouble`] turns an engine's complaint
//! into a sentence and a remedy, [`serving`] reads what the container answers by HTTP, [`printed`] what it prints, [`words`]
//! says how it stands, [`validation`] whether its model mines, [`remembered`] which image it was last, and [`keeper`] does what [`life`] decides.
//!
//! # Limitations
//!
//! - An engine decides what its user may do. Who may run containers with Docker is as good as root on the machine.
//! - A container is confined by its engine and not by this host: what it may reach is in `docs/security.md`.

pub mod child;
pub mod command;
pub mod engine;
pub mod keeper;
pub mod life;
pub mod printed;
pub mod recipe;
pub mod remembered;
pub mod report;
pub mod serving;
pub mod trouble;
pub mod validation;
pub mod words;
