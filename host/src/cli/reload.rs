//! `pearlbed reload`: the running session reads its configuration again, and says what came of it.

use std::time::Duration;

use serde::Deserialize;

use super::{Context, Error};
use crate::exit::Exit;
use crate::session::control::Request;

/// How long reading the configuration and looking for the plugins again may take.
const RELOAD_TIME: Duration = Duration::from_secs(20);

/// Have the running session read its configuration again
///
/// Miners that are new are started, those that are gone stopped, those that are different started again, and the others left
/// alone. Says what is in force now and what only after a restart. A configuration that cannot be used changes nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed reload   after a change to config.toml; `systemctl reload` does the same

Exit status: 0 if it was read, 6 if it cannot be used, 1 if no session answers.")]
pub struct Args {}

/// What the session answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused {
        error: String,
    },
    #[serde(rename_all = "snake_case")]
    Done {
        in_force: Vec<String>,
        after_restart: Vec<String>,
        /// Miners by name.
        added: Vec<String>,
        changed: Vec<String>,
        removed: Vec<String>,
    },
}

/// Runs the command.
pub fn run(_: &Args, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let answer = super::miners::reach(&home, &Request::Reload, RELOAD_TIME)?;
    match serde_json::from_value(answer) {
        Ok(Answer::Refused { error }) => Err(Error::new(error)
            .with_exit(Exit::Futile)
            .with_hint("nothing has changed; correct the file, then reload again")),
        Ok(Answer::Done { mut in_force, after_restart, added, changed, removed }) => {
            for (names, what) in
                [(added, "added"), (changed, "changed and started again"), (removed, "removed")]
            {
                in_force.extend(names.iter().map(|name| format!("miner {name} {what}")));
            }
            let list = |keys: &[String]| if keys.is_empty() { "nothing".into() } else { keys.join(", ") };
            let mut text = format!("read again; changed: {}\n", crate::text::printable(&list(&in_force)));
            if !after_restart.is_empty() {
                text.push_str(&format!("in force after a restart only: {}\n", list(&after_restart)));
            }
            context.print(&text)?;
            Ok(Exit::Ok)
        }
        Err(err) => Err(Error::caused_by("the session answered something that is not an answer", err)),
    }
}
