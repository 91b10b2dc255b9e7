//! `pearlbed pause`, `resume`, `restart`: what may be asked of a running session about its miners.

use std::time::Duration;

use serde_json::Value;

use super::{Context, Error};
use crate::exit::Exit;
use crate::home::Home;
use crate::session::control::{self, AskError, Request};
use crate::session::look;

/// Asks the session, and answers what it said unless that was an error.
fn ask(context: &Context, request: &Request) -> Result<Value, Error> {
    let answer = reach(&context.home()?, request, look::ANSWER_TIME)?;
    match answer["error"].as_str() {
        Some(why) => Err(Error::new(crate::text::printable(why).into_owned())),
        None => Ok(answer),
    }
}

/// What the session in `home` answers within `limit`; an error that says whether there is one.
pub(super) fn reach(home: &Home, request: &Request, limit: Duration) -> Result<Value, Error> {
    control::ask(&home.control_socket(), request, limit).map_err(|err| {
        if let Some(kept) = kept(home, request.command()) {
            return kept;
        }
        match err {
            AskError::Nobody { .. } if look::live_holder(home).is_none() => {
                Error::new("no session runs").with_hint("`pearlbed start` starts one")
            }
            err @ AskError::Nobody { .. } => {
                Error::from(err).with_hint(format!("`{}` says what runs here", home.command("status")))
            }
            err => err.into(),
        }
    })
}

/// That this user cannot tell whether a session runs, and whose the home is, for whoever typed `pearlbed <words>`.
pub(super) fn kept(home: &Home, words: &str) -> Option<Error> {
    let kept = look::kept_from(home)?;
    let hint = kept.hint(home, words);
    let err = Error::new(kept.reason);
    Some(match hint {
        Some(hint) => err.with_hint(hint),
        None => err,
    })
}

fn names(answer: &Value, key: &str) -> Vec<String> {
    let names = answer[key].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).map(|name| crate::text::printable(name).into_owned()).collect()
}

/// `paused a, b`, and whether that holds for later sessions.
fn tell(context: &Context, answer: &Value, key: &str, note: &str) -> Result<Exit, Error> {
    let whom = names(answer, key);
    let kept = if answer["kept"] == true { ", also in later sessions" } else { "" };
    context.print(&format!("{key} {}{kept}\n", whom.join(", ")))?;
    context.note(note);
    Ok(Exit::Ok)
}

/// `pearlbed pause`.
pub mod pause {
    use super::*;

    /// Let a miner rest, or all of them
    ///
    /// Its process ends in order and gives back what it held: memory, cards, cores. The others mine on.
    #[derive(clap::Args, Debug)]
    #[command(after_help = "\
Examples:
  pearlbed pause                 every miner
  pearlbed pause cpu             the miner called `cpu` in `pearlbed status`
  pearlbed pause cpu --keep      also after the next start")]
    pub struct Args {
        /// Which miner, as `pearlbed status` calls it; all without a name
        #[arg(value_name = "MINER")]
        miner: Option<String>,

        /// Also in later sessions, until `pearlbed resume --keep`
        #[arg(long)]
        keep: bool,
    }

    /// Runs the command.
    pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
        let request = Request::Pause { miner: args.miner.clone(), keep: args.keep };
        let answer = ask(context, &request)?;
        tell(context, &answer, "paused", "`pearlbed resume` lets it mine again")
    }
}

/// `pearlbed resume`.
pub mod resume {
    use super::*;

    /// Let a miner mine again, or all of them
    ///
    /// Undoes `pearlbed pause`. A miner that was given up gets another chance.
    #[derive(clap::Args, Debug)]
    #[command(after_help = "\
Examples:
  pearlbed resume                every miner
  pearlbed resume cpu            the miner called `cpu` in `pearlbed status`
  pearlbed resume cpu --keep     also after the next start")]
    pub struct Args {
        /// Which miner, as `pearlbed status` calls it; all without a name
        #[arg(value_name = "MINER")]
        miner: Option<String>,

        /// Also in later sessions
        #[arg(long)]
        keep: bool,
    }

    /// Runs the command.
    pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
        let request = Request::Resume { miner: args.miner.clone(), keep: args.keep };
        let answer = ask(context, &request)?;
        tell(context, &answer, "resumed", "`pearlbed status` shows how it goes")
    }
}

/// `pearlbed restart`.
pub mod restart {
    use super::*;

    /// End a miner's process in order and start it again
    ///
    /// The others mine on. A miner that was given up gets another chance, one that is paused mines again.
    #[derive(clap::Args, Debug)]
    #[command(after_help = "\
Examples:
  pearlbed restart cpu    the miner called `cpu` in `pearlbed status`")]
    pub struct Args {
        /// Which miner, as `pearlbed status` calls it
        #[arg(value_name = "MINER")]
        miner: String,
    }

    /// Runs the command.
    pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
        let request = Request::Restart { miner: args.miner.clone() };
        let answer = ask(context, &request)?;
        tell(context, &answer, "restarted", "`pearlbed status` shows how it goes")
    }
}
