//! `pearlbed stop`: ends the session in order, or says that there is none.

use super::{Context, Error};
use crate::exit::Exit;
use crate::session::end::{self, Ended};

/// Stop mining, in order
///
/// Asks the session to stop and waits until it has ended. Found proofs are kept. Where the
/// session's own gateway makes a block of one, it waits for that, four minutes at most; stopping again does not. A provider that does not stop within
/// its grace period is ended. Stopping what does not run is no error.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed stop   end the session of this home folder")]
pub struct Args {
    /// Also remove the record of a session that another program started, where nobody can tell whether it runs
    #[arg(long)]
    forget: bool,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let mut tell = |line: &str| context.note(&crate::text::printable(line));
    let ended = end::end(&home, context.env(), args.forget, &mut tell)?;
    for note in &ended.notes {
        context.note(&crate::text::printable(note));
    }
    let answer = match &ended.what {
        Ended::Nothing => "nothing was running".to_owned(),
        Ended::Stopped { provider, pid } => format!("stopped {provider} (process {pid})"),
        Ended::Killed { provider, pid } => {
            format!("stopped {provider} by force: process {pid} did not end in time")
        }
        Ended::Forgotten { what } => format!("nothing was running; removed {what}"),
        Ended::Detached { provider } => format!("forgot the attached miner {provider}; it was left alone"),
    };
    context.print(&format!("{}\n", crate::text::printable(&answer)))?;
    Ok(Exit::Ok)
}
