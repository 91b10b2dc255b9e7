//! What people type who come from OpenJarvis' command line, and what it is called here.
//!
//! Options of the same meaning are taken under its names, by the commands themselves. Here are those that have no meaning here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Error;

/// A command, what its OpenJarvis namesake takes, and what to do instead.
const ROWS: &[(&str, &str, &str)] = &[
    (
        "inspect-model",
        "--hf-token-env",
        "nothing is downloaded: download the checkpoint, and give its folder",
    ),
    ("inspect-model", "--timeout", "nobody is asked over the network: leave it out"),
    ("validate-model", "--vllm-endpoint", ITS_OWN),
    ("validate-model", "--gateway-metrics-url", ITS_OWN),
    (
        "validate-model",
        "--prompt",
        "it sends prompts of its own, long enough to mine; `--prompts NUMBER` says how many",
    ),
    ("validate-model", "--timeout", "`--wait SECONDS` says how long it waits until the model is served"),
];

const ITS_OWN: &str =
    "it asks the model of the session of this home, or of a session that it starts for this: leave it out";

/// What there is to say of a command line that is right for OpenJarvis, where clap knows only that it is wrong; `words` is the
/// line without the program.
pub fn explain(err: &clap::Error, words: &[String]) -> Option<Error> {
    let text = |kind| match err.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match err.kind() {
        ErrorKind::InvalidSubcommand if text(ContextKind::InvalidSubcommand)? == "mine" => {
            let after = words.iter().skip_while(|word| *word != "mine").nth(1);
            let after = after.filter(|word| !word.starts_with('-')).map_or("COMMAND", String::as_str);
            let err = Error::usage("there is no command `mine`: all of pearlbed is about that");
            Some(err.with_hint(format!("leave the word out: `pearlbed {after}`")))
        }
        ErrorKind::UnknownArgument => {
            let wrong = text(ContextKind::InvalidArg)?;
            let found = ROWS.iter().find(|(command, option, _)| {
                wrong.split('=').next() == Some(option) && words.iter().any(|word| word == command)
            });
            let (command, option, instead) = found?;
            Some(Error::usage(format!("`pearlbed {command}` has no `{option}`")).with_hint(*instead))
        }
        _ => None,
    }
}
