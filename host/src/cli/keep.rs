//! The hidden command that outlives a session that was killed, for as long as it takes to end what its gateway left behind.

use super::{Context, Error};
use crate::exit::Exit;
use crate::work::gateway::keeper;

/// Wait for the end of stdin, and end a group of processes then
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The group's number
    leader: i32,
}

/// Waits, and ends the group.
#[expect(clippy::unnecessary_wraps, reason = "a command is one of many of this form")]
pub fn run(args: &Args, _context: &Context) -> Result<Exit, Error> {
    keeper::keep(args.leader);
    Ok(Exit::Ok)
}
