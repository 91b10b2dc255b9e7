//! The words that the supervisor and a provider process exchange, and nothing else that may pass between them.
//!
//! ```text
//! frame = length u32 LE (of what follows) | kind u8 | body
//! ```
//!
//! Both sides open with [`ToProvider::Hello`] or [`FromProvider::Hello`], which carry [`VERSION`]. Integers are
//! little-endian, text is UTF-8 and runs to the end of its frame, and what may grow crosses as JSON.
//!
//! The provider process holds foreign code, so whatever arrives from there is hostile until decoded: each kind has
//! its own length limit, checked before the body is waited for, and memory grows with the bytes that came, never
//! with the bytes that were promised. This module decodes and never acts: what an error costs is decided by
//! [`super::machine`]. Here are the words, `encoding` makes bodies of them and back, and `decoder` finds the frames in
//! a stream.
//!
//! # Limitations
//!
//! There is one version. A supervisor only ever speaks with a process of its own executable.

mod decoder;
mod encoding;

pub use decoder::Decoder;
pub use encoding::Frame;
pub(crate) use encoding::clip;

/// Version of the words below, carried by both greetings.
pub const VERSION: u16 = 1;

/// Largest proof that is passed on, in bytes.
///
/// A larger one could not be handed to any gateway, whose lines are bounded (protocol section 10).
pub const PROOF_BYTES_MAX: usize = crate::work::proofs::PROOF_BYTES_MAX;

/// Longest log message that a frame may carry, in bytes.
pub const LOG_BYTES_MAX: usize = 4 << 10;

/// What keeps bytes from being a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum FrameError {
    #[error("a frame of no length")]
    Empty,
    #[error("an unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    #[error("a frame of kind {kind:#04x} with {length} bytes, where {limit} are allowed")]
    TooLong { kind: u8, length: usize, limit: usize },
    #[error("a frame of kind {kind:#04x} whose {length} bytes do not fit its form")]
    Malformed { kind: u8, length: usize },
    #[error("pipe protocol version {found}, where this host speaks {VERSION}")]
    Version { found: u16 },
    #[error("a frame of kind {kind:#04x} before the greeting")]
    NoGreeting { kind: u8 },
}

/// One unit of work as it crosses to the provider. Ids are the session's own and are never used twice in it.
#[derive(Clone, PartialEq, Eq)]
pub struct WireJob {
    /// The session's number for the job.
    pub id: u64,
    /// The 76 header bytes (protocol section 1).
    pub header: [u8; 76],
    /// Unscaled target, a little-endian number.
    pub target: [u8; 32],
    /// Certificate version that the network wants.
    pub certificate_version: u32,
    /// Whether the rank-penalty rule holds (protocol section 6.2).
    pub rank_penalty: bool,
}

impl std::fmt::Debug for WireJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WireJob").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What became of a submission, as the provider hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// Verified and kept on disk until the work source has taken or refused it.
    Kept,
    /// The job is no longer wanted.
    Stale,
    /// The host's verifier refused the proof.
    Refused,
    /// The host could not keep the proof now.
    Busy,
}

/// Frames from the supervisor to the provider process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToProvider {
    /// First frame, with the sender's protocol version.
    Hello {
        /// The sender's [`VERSION`].
        version: u16,
    },
    /// What to load and how to run it: a JSON `Order` of [`super::provider`].
    Start(String),
    /// A job that replaces the one before.
    Job(WireJob),
    /// The job with this id is no longer wanted, and no other takes its place yet.
    Stale(u64),
    /// Answer to the submission with the same sequence number; text says why for all but [`Receipt::Kept`].
    Receipt {
        /// Sequence number of the submission.
        sequence: u64,
        /// What became of it.
        receipt: Receipt,
        /// One phrase on why, empty for a kept proof.
        reason: String,
    },
    /// Asks for a [`FromProvider::Stats`].
    AskStats,
    /// Asks the provider to stop, and its process to end.
    Stop,
}

/// Frames from the provider process to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromProvider {
    /// First frame, with the sender's protocol version.
    Hello {
        /// The sender's [`VERSION`].
        version: u16,
    },
    /// The process is confined; JSON says by what, and what is missing on this machine.
    Confined(String),
    /// The plugin is loaded and `start` has returned without an error.
    Started,
    /// The plugin could not be loaded, refused to start, or stopped: JSON says how.
    Failed(String),
    /// The job with this id was handed to the provider.
    Took(u64),
    /// A plain proof for a job.
    Submit {
        /// Number of this submission, answered by a [`ToProvider::Receipt`].
        sequence: u64,
        /// Job that the proof is for.
        job: u64,
        /// Plain proof bytes (protocol section 9.1).
        proof: Vec<u8>,
    },
    /// Hashes done since the last such frame.
    Progress(u64),
    /// One line for the session log; level 1 (error) to 5 (trace).
    Log {
        /// 1 error, 2 warning, 3 information, 4 debug, 5 trace.
        level: u8,
        /// The message, of at most [`LOG_BYTES_MAX`] bytes.
        message: String,
    },
    /// Log lines that were dropped at the source since the last such frame.
    LogDropped(u64),
    /// The provider's `stats`, as JSON.
    Stats(String),
    /// Something that the confinement denied: one phrase such as `tried to open a network connection`.
    Denied(String),
    /// `stop` has returned; the text is its error, or empty.
    Stopped(String),
}

#[cfg(test)]
mod tests;
