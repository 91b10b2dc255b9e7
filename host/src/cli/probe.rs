//! The hidden command behind every probe: a confined process that loads plugins and asks them.

use super::{Context, Error};
use crate::exit::Exit;

/// Probe plugins for the process that started this one
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Confines itself and serves until its parent is done.
pub fn run(_args: &Args, _context: &Context) -> Result<Exit, Error> {
    Ok(crate::plugins::run_probe_child()?)
}
