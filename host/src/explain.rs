//! Errors that know what a person can do about them.
//!
//! A library error says what happened ([`Display`](std::fmt::Display), without its cause) and keeps the cause
//! as `source()`. Where a person can act, it says that too. Printing happens in one place, `cli::Error`.

use crate::exit::Exit;

/// An error of ours, as the command line shows it: what happened, what to do, how the process ends.
///
/// Every error type that can reach the command line implements this, and then `?` turns it into `cli::Error`.
pub trait Explain: std::error::Error + Send + Sync + 'static {
    /// What the user can do about it, as a phrase without a full stop, where there is something.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The status that the process ends with when this error ends it.
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

impl Explain for std::io::Error {}

/// An error and its causes, outermost first.
pub fn causes(err: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(err), |err| err.source()).map(ToString::to_string).collect()
}

/// An error and its causes on one line.
pub fn chain(err: &dyn std::error::Error) -> String {
    causes(err).join(": ")
}
