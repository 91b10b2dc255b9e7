//! `pearlbed completions`: the script that completes our command line in a shell.

use clap_complete::Shell;

use super::{Context, Error};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  pearlbed completions bash > ~/.local/share/bash-completion/completions/pearlbed
  pearlbed completions zsh  > ~/.zfunc/_pearlbed    (with fpath+=~/.zfunc)
  pearlbed completions fish > ~/.config/fish/completions/pearlbed.fish";

/// Print the completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Option<Shell>,
}

/// Prints the script.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let Some(shell) = args.shell else {
        return Err(Error::usage("completions for which shell?")
            .with_hint("name one of bash, elvish, fish, powershell and zsh: `pearlbed completions bash`"));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "pearlbed", &mut script);
    context.print(&String::from_utf8(script).expect("the generator writes UTF-8"))?;
    Ok(Exit::Ok)
}
