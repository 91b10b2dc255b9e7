//! The command line: parse, call one function, render.
//!
//! Each command is one file with `Args` (its flags and its help, with an example) and
//! `run(&Args, &Context) -> Result<Exit, Error>`. A new command is a file, a `mod` line and a line in
//! `commands!`. Decisions live in the floors below; here they are only asked for and shown.
//!
//! stdout is the answer ([`Context::print`], [`Context::print_json`]); stderr is the story ([`Context::note`]).

mod context;
mod elsewhere;
mod error;
mod first;
mod keep;
mod left_open;
pub mod render;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

pub use self::context::Context;
pub use self::error::Error;
use crate::config::PluginsSection;
use crate::exit::Exit;
use crate::plugins::SearchPath;
use crate::plugins::trust::Trust;

/// Lists the commands once: each becomes a variant of `Command` that calls its module.
///
/// The help of a command is the documentation of its `Args`.
macro_rules! commands {
    ($($(#[$attribute:meta])* $variant:ident($module:ident),)*) => {
        #[derive(clap::Subcommand, Debug)]
        #[allow(clippy::large_enum_variant, reason = "there is one, and it lives as long as the process")]
        enum Command {
            $($(#[$attribute])* $variant($module::Args),)*
        }

        impl Command {
            /// The module's name, for crash reports.
            fn name(&self) -> &'static str {
                match *self {
                    $(Self::$variant(_) => stringify!($module),)*
                }
            }

            fn run(&self, context: &Context) -> Result<Exit, Error> {
                match self {
                    $(Self::$variant(args) => $module::run(args, context),)*
                }
            }
        }
    };
}

mod attach;
mod bench;
mod completions;
mod config;
mod devnet;
mod doctor;
mod drivers;
mod init;
mod inspect_model;
mod logs;
mod man;
mod miners;
mod models;
pub mod plugins;
mod pool;
mod probe;
mod reload;
mod report;
mod start;
mod status;
mod stop;
mod time;
mod validate_model;
mod verify;
mod watch;

use self::miners::{pause, restart, resume};
use self::plugins::trial;
use self::start::{background as supervise, port, provider};

// In the order of `pearlbed --help`.
commands! {
    Doctor(doctor),
    Plugins(plugins),
    Init(init),
    Start(start),
    Status(status),
    Stop(stop),
    Pause(pause),
    Resume(resume),
    Restart(restart),
    Logs(logs),
    Reload(reload),
    Attach(attach),
    Config(config),
    Pool(pool),
    Devnet(devnet),
    Models(models),
    InspectModel(inspect_model),
    ValidateModel(validate_model),
    Bench(bench),
    Verify(verify),
    Completions(completions),
    #[command(name = "__man", hide = true)]
    Man(man),
    #[command(name = "__drivers", hide = true)]
    Drivers(drivers),
    #[command(name = "__probe", hide = true)]
    Probe(probe),
    #[command(name = "__trial", hide = true)]
    Trial(trial),
    #[command(name = "__supervise", hide = true)]
    Supervise(supervise),
    #[command(name = "__provider", hide = true)]
    Provider(provider),
    #[command(name = "__port", hide = true)]
    Port(port),
    #[command(name = "__keep", hide = true)]
    Keep(keep),
}

const START: &str = "\
Start here:
  pearlbed doctor           what can mine here, and what is in the way
  pearlbed start --devnet   mine on a test network inside this machine
  pearlbed init             set up mining that pays you

`pearlbed <command> --help` shows examples of each command.";

/// Mine Pearl (PRL) with providers that come as shared libraries: untrusted kernels, trusted wallet.
#[derive(Parser, Debug)]
#[command(name = "pearlbed", version, arg_required_else_help = true, max_term_width = 80)]
#[command(after_help = START)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// The flags that every command takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Global {
    /// Home folder [default: $PEARLBED_HOME, $OPENJARVIS_HOME, $XDG_DATA_HOME/openjarvis or ~/.openjarvis]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub home: Option<PathBuf>,
}

/// Where to look for plugins: flatten it into the `Args` of a command that does.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PluginDirs {
    /// Look for plugins in DIR instead of the search path (repeatable)
    #[arg(long = "plugin-dir", value_name = "DIR")]
    pub dirs: Vec<PathBuf>,

    /// Use plugins whatever user owns them or may write to them
    #[arg(long)]
    pub relax_file_checks: bool,
}

impl PluginDirs {
    /// The folders to search: the flags alone, or else the search path with `[plugins] dirs`.
    ///
    /// Without a home folder, or with a configuration that cannot be read, the other parts are still there: a list of
    /// plugins must not fail for a slip in another section.
    pub fn search_path(&self, context: &Context) -> SearchPath {
        let configured = context.config(&[]).map(|config| config.plugins.dirs).unwrap_or_default();
        SearchPath::new(&self.dirs, context.env(), context.home().ok().as_ref()).with_configured(&configured)
    }

    /// Whom the user trusts, by the configuration and by what was used before.
    pub fn trust(&self, context: &Context) -> Trust {
        let section =
            context.config(&[]).map(|config| config.plugins).unwrap_or_else(|_| PluginsSection::none());
        Trust::of(&section, context.home().ok().as_ref())
    }

    /// Whether files may be used that others own or may write to: by the flag or by `[plugins] relax_trust`.
    pub fn relaxed(&self, context: &Context) -> bool {
        self.relax_file_checks || context.config(&[]).is_ok_and(|config| config.plugins.relax_trust)
    }
}

/// Runs the command line that this process was given. This is all that `main` calls.
pub fn main() -> ExitCode {
    left_open::close_for_others();
    left_open::keep_own_rights();
    let args: Vec<OsString> = std::env::args_os().collect();
    // What a confined process may have was set by whoever started it.
    if args.get(1).is_none_or(|word| !word.as_encoded_bytes().starts_with(b"__")) {
        left_open::survive_large_files();
        crate::limits::raise_open_files();
        if let Some(shortage) = crate::limits::may_end_without_a_word() {
            let words =
                format!("{}, and this command may end for want of it; {}", shortage.finding, shortage.fix);
            Context::of_process(&Global::default()).note(&words);
        }
    }
    if first::is_this() {
        call_process("first");
        return match first::run(&args) {
            Ok(code) => code.into(),
            Err(err) => {
                let err = Error::caused_by("failed to start the command beside the first process", err)
                    .with_hint("give the container an init of its own: `docker run --init`");
                Context::of_process(&Global::default()).report(&err);
                err.exit().into()
            }
        };
    }
    run(args).into()
}

/// Parses `args` (the program's name first), runs the command, prints its error, and says how to exit.
fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<_> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(err) => {
            let words: Vec<String> =
                args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            if let Some(err) = wrong_value(&err).or_else(|| elsewhere::explain(&err, &words)) {
                Context::of_process(&Global::default()).report(&err);
                return err.exit();
            }
            return answer_without_command(&err, args.len());
        }
    };
    let context = Context::of_process(&cli.global);
    call_process(cli.command.name());
    crate::panic::install(cli.command.name(), context.home().ok().map(|home| home.runtime_dir()));
    match cli.command.run(&context) {
        Ok(exit) => exit,
        Err(err) => {
            context.report(&err);
            err.exit()
        }
    }
}

/// Gives this process the name that it is found by where processes are listed. A process that was started through
/// `/proc/self/exe` would be called `exe`; what a miner computes is never hidden behind another name.
fn call_process(command: &str) {
    #[cfg(target_os = "linux")]
    {
        let name = match command {
            "provider" => c"pearlbed-miner",
            "probe" => c"pearlbed-probe",
            "port" => c"pearlbed-port",
            _ => c"pearlbed",
        };
        // Without it the process works as well.
        let _ = rustix::thread::set_name(name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// A value that its option does not take, in a sentence that is folded like any other; `None` for any other error.
fn wrong_value(err: &clap::Error) -> Option<Error> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if err.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let text = |kind| match err.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (option, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let why = std::error::Error::source(err)?;
    let why = match why.is::<std::num::ParseIntError>() {
        true => "write a whole number".to_owned(),
        false => why.to_string(),
    };
    Some(Error::usage(format!("`{value}` is no value for `{option}`: {why}")))
}

/// Prints what clap has to say: help and version on stdout, a wrong command line on stderr.
///
/// Whoever types the program's name alone (`words` is 1) asks what it is, and has done nothing wrong.
fn answer_without_command(err: &clap::Error, words: usize) -> Exit {
    let says = |text: clap::builder::StyledStr| format!("{}\n", text.ansi().to_string().trim_end());
    // Where a stream is closed (`pearlbed --help | head -1`) there is nobody to tell.
    if words <= 1 {
        let _ = anstream::stdout().write_all(says(command().render_help()).as_bytes());
        return Exit::Ok;
    }
    let text = says(err.render());
    if err.use_stderr() {
        let _ = anstream::stderr().write_all(text.as_bytes());
        return Exit::Usage;
    }
    let _ = anstream::stdout().write_all(text.as_bytes());
    Exit::Ok
}

/// The command line as clap describes it, for completions and man pages.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        for command in command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("pearlbed "), "`pearlbed {}` shows no example", command.get_name());
            assert!(
                command.get_about().is_some(),
                "`pearlbed {}` says nothing of itself",
                command.get_name()
            );
        }
    }
}
