//! The one error type of the command line: what failed, why, what to do, how to exit.

use std::error::Error as StdError;
use std::fmt;

use crate::exit::Exit;
use crate::explain::Explain;

/// Why a command failed. Printed once, as `error: …`, `caused by: …`, `hint: …`.
///
/// Any [`Explain`] error turns into one with `?`. It is deliberately no [`std::error::Error`] itself: it is the end
/// of the way.
#[derive(Debug)]
pub struct Error {
    what: Box<dyn StdError + Send + Sync>,
    hint: Option<String>,
    exit: Exit,
}

impl Error {
    /// An error that only the command line knows, with status 1.
    pub fn new(what: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { what: what.into(), hint: None, exit: Exit::Failed }
    }

    /// `what` failed because of `cause`. An error of the system brings its remedy, and tells whether trying again may help.
    pub fn caused_by(what: impl Into<String>, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause = cause.into();
        let of_system = cause.downcast_ref::<std::io::Error>();
        let exit = of_system.map_or(Exit::Failed, crate::remedy::exit_for);
        let hint = of_system.and_then(crate::remedy::for_process);
        Self { hint, ..Self::new(Context { what: what.into(), cause }).with_exit(exit) }
    }

    /// `what` failed because of `err`, which was met at `path`: what helps follows from its number.
    pub fn of_file(what: impl Into<String>, err: std::io::Error, path: &std::path::Path) -> Self {
        let hint = crate::remedy::for_file(&err, path);
        Self { hint, ..Self::caused_by(what, err) }
    }

    /// The same where `path` is none of a home's.
    pub fn of_other_file(what: impl Into<String>, err: std::io::Error, path: &std::path::Path) -> Self {
        let hint = crate::remedy::for_file_elsewhere(&err, path);
        Self { hint, ..Self::caused_by(what, err) }
    }

    /// A wrong command line that clap cannot see, with status 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(what.into()).with_exit(Exit::Usage)
    }

    /// The same with this hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with this exit status.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// What failed and then its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = String> {
        let first: &(dyn StdError + 'static) = &*self.what;
        std::iter::successors(Some(first), |err: &&(dyn StdError + 'static)| (*err).source())
            .map(ToString::to_string)
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The status that the process ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl<E: Explain> From<E> for Error {
    fn from(err: E) -> Self {
        Self { hint: err.hint(), exit: err.exit(), what: Box::new(err) }
    }
}

/// A message in front of a cause.
#[derive(Debug)]
struct Context {
    what: String,
    cause: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Context {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.cause)
    }
}
