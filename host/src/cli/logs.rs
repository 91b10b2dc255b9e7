//! `pearlbed logs`: the session log, its end or as it grows.

use std::time::Duration;

use super::{Context, Error};
use crate::exit::Exit;
use crate::session::log::{self, Follower, Tail};

/// Show what the session wrote
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed logs              the last 50 lines
  pearlbed logs -f           and what comes, until Ctrl-C
  pearlbed logs --provider   what the provider said, and nothing else")]
pub struct Args {
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Show the last N lines
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "N", default_value_t = 50)]
    lines: usize,

    /// Only what the provider said, or its process printed
    #[arg(long)]
    provider: bool,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let path = context.home()?.log_file();
    let unreadable = |path: &std::path::Path, err| {
        Error::of_file(format!("failed to read the log {}", crate::text::printable_path(path)), err, path)
    };
    let keep = |line: &str| !args.provider || log::is_from_provider(line);
    // Opened before the tail is read, so that nothing falls between the two.
    let mut follower = if args.follow {
        Some(Follower::from_end(&path).map_err(|err| unreadable(&path, err))?)
    } else {
        None
    };
    let Tail { lines, unread } = log::tail(&path, args.lines, keep);
    match unread {
        Some((part, err)) if lines.is_empty() => return Err(unreadable(&part, err)),
        Some((part, err)) => context.report(&unreadable(&part, err)),
        None => {}
    }
    if lines.is_empty() && follower.is_none() {
        context.note("there is no log yet: `pearlbed start` begins one");
    }
    print(context, lines.iter().map(String::as_str))?;
    while let Some(follower) = &mut follower {
        std::thread::sleep(Duration::from_millis(200));
        let lines = follower.read().map_err(|err| unreadable(&path, err))?;
        print(context, lines.iter().map(String::as_str).filter(|line| keep(line)))?;
        if context.output_closed() {
            break;
        }
    }
    Ok(Exit::Ok)
}

fn print<'a>(context: &Context, lines: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    // Lines of ours are harmless already; a file that somebody else wrote to need not be.
    let text: String = lines.flat_map(|line| [crate::text::printable(line), "\n".into()]).collect();
    if text.is_empty() { Ok(()) } else { context.print(&text) }
}
