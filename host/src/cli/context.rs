//! What a command is given besides its flags: home, environment, and the two streams it may write to.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anstream::AutoStream;
use serde::Serialize;

use super::{Error, Global};
use crate::cli::render;
use crate::config::{Config, Override, Sources};
use crate::home::{Env, Home, NoHome};
use crate::journal::{self, Priority};

/// The widest that text ever gets.
const WIDTH_MAX: usize = 80;
/// The narrowest that text is fitted to; a narrower terminal wraps by itself.
const WIDTH_MIN: usize = 40;

/// What a command is given besides its flags.
#[derive(Debug)]
pub struct Context {
    home_flag: Option<PathBuf>,
    env: Env,
    width: usize,
    output_closed: Cell<bool>,
}

impl Context {
    /// The context of this process.
    pub fn of_process(global: &Global) -> Self {
        let env = Env::of_process();
        let width = terminal_width(&env).clamp(WIDTH_MIN, WIDTH_MAX);
        Self { home_flag: global.home.clone(), env, width, output_closed: Cell::new(false) }
    }

    /// The home folder, which need not exist.
    ///
    /// # Errors
    ///
    /// [`NoHome`] where nothing names a folder.
    pub fn home(&self) -> Result<Home, NoHome> {
        Home::find(self.home_flag.as_deref(), &self.env)
    }

    /// The configuration: `flags` over the environment over `config.toml` over the defaults.
    ///
    /// # Errors
    ///
    /// [`NoHome`], or the first mistake in the configuration.
    pub fn config(&self, flags: &[Override]) -> Result<Config, Error> {
        let file = self.home()?.config_file();
        Ok(Config::load(&Sources { file: &file, text: None, env: &self.env, flags })?)
    }

    /// The environment. Commands read it here, never through `std::env`.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The columns that text may take: at most 80.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether stdout is a terminal, for what only makes sense on one. Colour is decided by [`Self::print`].
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether a line of progress may be drawn on stderr; what [`Progress`](crate::progress::Progress) wants to know.
    pub fn wants_progress(&self) -> bool {
        crate::progress::is_wanted(io::stderr().is_terminal(), |name| {
            self.env.var_os(name).map(ToOwned::to_owned)
        })
    }

    /// Whether there is a person to ask: stdin and stderr are terminals.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Prints `text`, styled as by [`render`], to stdout as it is; styles are dropped unless it is a terminal
    /// and `NO_COLOR` is not set. A reader that has gone is not an error: see [`Self::output_closed`].
    ///
    /// # Errors
    ///
    /// What writing met, such as a full disk.
    pub fn print(&self, text: &str) -> Result<(), Error> {
        // One write for the whole answer: a reader sees all of it or nothing.
        let mut plain = AutoStream::new(Vec::with_capacity(text.len()), AutoStream::choice(&io::stdout()));
        plain.write_all(text.as_bytes()).expect("writing to a Vec never fails");
        let mut stdout = io::stdout().lock();
        match stdout.write_all(&plain.into_inner()).and_then(|()| stdout.flush()) {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => {
                self.output_closed.set(true);
                Ok(())
            }
            Err(err) => Err(Error::caused_by("failed to write the answer to stdout", err)),
            Ok(()) => Ok(()),
        }
    }

    /// Prints `value` as indented JSON and a newline to stdout.
    ///
    /// # Errors
    ///
    /// As [`Self::print`].
    pub fn print_json(&self, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|err| Error::caused_by("failed to write the answer as JSON", err))?;
        text.push('\n');
        self.print(&text)
    }

    /// Prints `value` as JSON in one line to stdout, for a command that prints one after another.
    ///
    /// # Errors
    ///
    /// As for [`Self::print`].
    pub fn print_json_line(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value)
            .map_err(|err| Error::caused_by("failed to write the answer as JSON", err))?;
        self.print(&(text + "\n"))
    }

    /// Whether the reader of stdout has gone, so that a command that prints on and on may end.
    pub fn output_closed(&self) -> bool {
        self.output_closed.get()
    }

    /// Tells `text` on stderr, wrapped to the width.
    ///
    /// Commands in it are told as they are typed for this home.
    pub fn note(&self, text: &str) {
        let text = &self.addressed(text);
        let mut stderr = anstream::stderr().lock();
        // The journal folds lines itself, and each line of ours would be an entry of its own.
        if journal::is_stderr(&self.env) {
            let _ = stderr.write_all(journal::marked(Priority::Info, text).as_bytes());
            return;
        }
        for line in crate::text::wrap(text, self.width) {
            // Where stderr is gone there is nobody left to tell.
            let _ = writeln!(stderr, "{line}");
        }
    }

    /// `text` with the commands in it as they are typed for this home; as it is where there is none.
    pub fn addressed(&self, text: &str) -> String {
        self.home().map_or_else(|_| text.to_owned(), |home| home.addressed(text))
    }

    /// Prints an error with its causes and its hint on stderr.
    pub fn report(&self, err: &Error) {
        let hint = err.hint().map(|hint| self.addressed(hint));
        let hint = hint.as_deref();
        let text = match journal::is_stderr(&self.env) {
            true => journal::marked(Priority::Error, &render::error(err, hint, usize::MAX)),
            false => render::error(err, hint, self.width),
        };
        let _ = anstream::stderr().lock().write_all(text.as_bytes());
    }
}

/// The width of the terminal that stdout or stderr is, else `$COLUMNS`, else [`WIDTH_MAX`].
fn terminal_width(env: &Env) -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout())
        .or_else(|_| rustix::termios::tcgetwinsize(io::stderr()))
        .ok()
        .map(|size| usize::from(size.ws_col));
    size.or_else(|| env.var("COLUMNS")?.parse().ok()).filter(|&columns| columns > 0).unwrap_or(WIDTH_MAX)
}
