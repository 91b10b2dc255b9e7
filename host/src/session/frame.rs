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
//! [`super::supervise`].
//!
//! # Limitations
//!
//! There is one version. A supervisor only ever speaks with a process of its own executable.

/// Version of the words below, carried by both greetings.
pub const VERSION: u16 = 1;

/// Largest proof that is passed on, in bytes.
///
/// A larger one could not be handed to any gateway, whose lines are bounded (protocol section 10).
pub const PROOF_BYTES_MAX: usize = crate::work::proofs::PROOF_BYTES_MAX;

/// Longest log message that a frame may carry, in bytes.
pub const LOG_BYTES_MAX: usize = 4 << 10;

const JSON_BYTES_MAX: usize = 1 << 20;
const STATS_BYTES_MAX: usize = 256 << 10;
const TEXT_BYTES_MAX: usize = 16 << 10;
const MAGIC: [u8; 8] = *b"pearlbed";

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
    /// The plugin could not be loaded or refused to start: one phrase.
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

mod kind {
    pub const HELLO: u8 = 0x01;
    pub const START: u8 = 0x02;
    pub const JOB: u8 = 0x03;
    pub const STALE: u8 = 0x04;
    pub const RECEIPT: u8 = 0x05;
    pub const ASK_STATS: u8 = 0x06;
    pub const STOP: u8 = 0x07;

    pub const PROVIDER_HELLO: u8 = 0x81;
    pub const CONFINED: u8 = 0x82;
    pub const STARTED: u8 = 0x83;
    pub const FAILED: u8 = 0x84;
    pub const TOOK: u8 = 0x85;
    pub const SUBMIT: u8 = 0x86;
    pub const PROGRESS: u8 = 0x87;
    pub const LOG: u8 = 0x88;
    pub const LOG_DROPPED: u8 = 0x89;
    pub const STATS: u8 = 0x8a;
    pub const DENIED: u8 = 0x8b;
    pub const STOPPED: u8 = 0x8c;
}

/// A direction of the pipe: which frames travel it, and how long each may be.
pub trait Frame: Sized {
    /// Longest body of a kind in bytes, or nothing for a kind that does not travel this way.
    fn limit(kind: u8) -> Option<usize>;

    /// Reads one body.
    ///
    /// # Errors
    ///
    /// [`FrameError::Malformed`] where the bytes do not fit the kind, [`FrameError::Version`] for a greeting of
    /// another version.
    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError>;

    /// Kind byte and body.
    fn parts(&self) -> (u8, Vec<u8>);

    /// Whether this is the frame that must come first.
    fn is_greeting(&self) -> bool;

    /// The frame as it travels, length first.
    fn encode(&self) -> Vec<u8> {
        let (kind, body) = self.parts();
        let length = u32::try_from(body.len() + 1).expect("bodies are bounded far below 4 GiB");
        let mut bytes = Vec::with_capacity(body.len() + 5);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&body);
        bytes
    }
}

fn malformed(kind: u8, body: &[u8]) -> FrameError {
    FrameError::Malformed { kind, length: body.len() }
}

fn text(kind: u8, body: &[u8]) -> Result<String, FrameError> {
    std::str::from_utf8(body).map(str::to_owned).map_err(|_| malformed(kind, body))
}

fn empty(kind: u8, body: &[u8]) -> Result<(), FrameError> {
    if body.is_empty() { Ok(()) } else { Err(malformed(kind, body)) }
}

fn number(kind: u8, body: &[u8]) -> Result<u64, FrameError> {
    Ok(u64::from_le_bytes(body.try_into().map_err(|_| malformed(kind, body))?))
}

fn greeting(kind: u8, body: &[u8]) -> Result<u16, FrameError> {
    let version = body.strip_prefix(&MAGIC[..]).ok_or_else(|| malformed(kind, body))?;
    let found = u16::from_le_bytes(version.try_into().map_err(|_| malformed(kind, body))?);
    if found == VERSION { Ok(found) } else { Err(FrameError::Version { found }) }
}

fn greeting_body(version: u16) -> Vec<u8> {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&version.to_le_bytes());
    body
}

impl Frame for ToProvider {
    fn limit(kind: u8) -> Option<usize> {
        Some(match kind {
            kind::HELLO => 10,
            kind::START => JSON_BYTES_MAX,
            kind::JOB => 8 + 76 + 32 + 4 + 1,
            kind::STALE => 8,
            kind::RECEIPT => 9 + TEXT_BYTES_MAX,
            kind::ASK_STATS | kind::STOP => 0,
            _ => return None,
        })
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        Ok(match kind {
            kind::HELLO => Self::Hello { version: greeting(kind, body)? },
            kind::START => Self::Start(text(kind, body)?),
            kind::JOB => Self::Job(decode_job(body).ok_or_else(|| malformed(kind, body))?),
            kind::STALE => Self::Stale(number(kind, body)?),
            kind::RECEIPT => {
                let (sequence, rest) = body.split_first_chunk::<8>().ok_or_else(|| malformed(kind, body))?;
                let (&code, reason) = rest.split_first().ok_or_else(|| malformed(kind, body))?;
                let receipt = match code {
                    0 => Receipt::Kept,
                    1 => Receipt::Stale,
                    2 => Receipt::Refused,
                    3 => Receipt::Busy,
                    _ => return Err(malformed(kind, body)),
                };
                let reason = text(kind, reason)?;
                Self::Receipt { sequence: u64::from_le_bytes(*sequence), receipt, reason }
            }
            kind::ASK_STATS => empty(kind, body).map(|()| Self::AskStats)?,
            kind::STOP => empty(kind, body).map(|()| Self::Stop)?,
            _ => return Err(FrameError::UnknownKind(kind)),
        })
    }

    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Hello { version } => (kind::HELLO, greeting_body(*version)),
            Self::Start(order) => (kind::START, order.clone().into_bytes()),
            Self::Job(job) => (kind::JOB, encode_job(job)),
            Self::Stale(job) => (kind::STALE, job.to_le_bytes().to_vec()),
            Self::Receipt { sequence, receipt, reason } => {
                let mut body = sequence.to_le_bytes().to_vec();
                body.push(match receipt {
                    Receipt::Kept => 0,
                    Receipt::Stale => 1,
                    Receipt::Refused => 2,
                    Receipt::Busy => 3,
                });
                body.extend_from_slice(clip(reason, TEXT_BYTES_MAX).as_bytes());
                (kind::RECEIPT, body)
            }
            Self::AskStats => (kind::ASK_STATS, Vec::new()),
            Self::Stop => (kind::STOP, Vec::new()),
        }
    }

    fn is_greeting(&self) -> bool {
        matches!(self, Self::Hello { .. })
    }
}

impl Frame for FromProvider {
    fn limit(kind: u8) -> Option<usize> {
        Some(match kind {
            kind::PROVIDER_HELLO => 10,
            kind::CONFINED | kind::FAILED | kind::DENIED | kind::STOPPED => TEXT_BYTES_MAX,
            kind::STARTED => 0,
            kind::TOOK | kind::PROGRESS | kind::LOG_DROPPED => 8,
            kind::SUBMIT => 16 + PROOF_BYTES_MAX,
            kind::LOG => 1 + LOG_BYTES_MAX,
            kind::STATS => STATS_BYTES_MAX,
            _ => return None,
        })
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        Ok(match kind {
            kind::PROVIDER_HELLO => Self::Hello { version: greeting(kind, body)? },
            kind::CONFINED => Self::Confined(text(kind, body)?),
            kind::STARTED => empty(kind, body).map(|()| Self::Started)?,
            kind::FAILED => Self::Failed(text(kind, body)?),
            kind::TOOK => Self::Took(number(kind, body)?),
            kind::SUBMIT => {
                let (sequence, rest) = body.split_first_chunk::<8>().ok_or_else(|| malformed(kind, body))?;
                let (job, proof) = rest.split_first_chunk::<8>().ok_or_else(|| malformed(kind, body))?;
                Self::Submit {
                    sequence: u64::from_le_bytes(*sequence),
                    job: u64::from_le_bytes(*job),
                    proof: proof.to_vec(),
                }
            }
            kind::PROGRESS => Self::Progress(number(kind, body)?),
            kind::LOG => {
                let (&level, message) = body.split_first().ok_or_else(|| malformed(kind, body))?;
                if !(1..=5).contains(&level) {
                    return Err(malformed(kind, body));
                }
                Self::Log { level, message: text(kind, message)? }
            }
            kind::LOG_DROPPED => Self::LogDropped(number(kind, body)?),
            kind::STATS => Self::Stats(text(kind, body)?),
            kind::DENIED => Self::Denied(text(kind, body)?),
            kind::STOPPED => Self::Stopped(text(kind, body)?),
            _ => return Err(FrameError::UnknownKind(kind)),
        })
    }

    fn parts(&self) -> (u8, Vec<u8>) {
        let words = |text: &str, limit| clip(text, limit).as_bytes().to_vec();
        match self {
            Self::Hello { version } => (kind::PROVIDER_HELLO, greeting_body(*version)),
            Self::Confined(report) => (kind::CONFINED, words(report, TEXT_BYTES_MAX)),
            Self::Started => (kind::STARTED, Vec::new()),
            Self::Failed(why) => (kind::FAILED, words(why, TEXT_BYTES_MAX)),
            Self::Took(job) => (kind::TOOK, job.to_le_bytes().to_vec()),
            Self::Submit { sequence, job, proof } => {
                let mut body = Vec::with_capacity(16 + proof.len());
                body.extend_from_slice(&sequence.to_le_bytes());
                body.extend_from_slice(&job.to_le_bytes());
                body.extend_from_slice(proof);
                (kind::SUBMIT, body)
            }
            Self::Progress(hashes) => (kind::PROGRESS, hashes.to_le_bytes().to_vec()),
            Self::Log { level, message } => {
                let mut body = vec![*level];
                body.extend_from_slice(clip(message, LOG_BYTES_MAX).as_bytes());
                (kind::LOG, body)
            }
            Self::LogDropped(lines) => (kind::LOG_DROPPED, lines.to_le_bytes().to_vec()),
            Self::Stats(stats) => (kind::STATS, words(stats, STATS_BYTES_MAX)),
            Self::Denied(what) => (kind::DENIED, words(what, TEXT_BYTES_MAX)),
            Self::Stopped(why) => (kind::STOPPED, words(why, TEXT_BYTES_MAX)),
        }
    }

    fn is_greeting(&self) -> bool {
        matches!(self, Self::Hello { .. })
    }
}

fn encode_job(job: &WireJob) -> Vec<u8> {
    let mut body = Vec::with_capacity(121);
    body.extend_from_slice(&job.id.to_le_bytes());
    body.extend_from_slice(&job.header);
    body.extend_from_slice(&job.target);
    body.extend_from_slice(&job.certificate_version.to_le_bytes());
    body.push(u8::from(job.rank_penalty));
    body
}

fn decode_job(body: &[u8]) -> Option<WireJob> {
    let (id, rest) = body.split_first_chunk::<8>()?;
    let (header, rest) = rest.split_first_chunk::<76>()?;
    let (target, rest) = rest.split_first_chunk::<32>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let [flag @ (0 | 1)] = rest else { return None };
    Some(WireJob {
        id: u64::from_le_bytes(*id),
        header: *header,
        target: *target,
        certificate_version: u32::from_le_bytes(*version),
        rank_penalty: *flag == 1,
    })
}

/// The longest prefix of `text` of at most `limit` bytes that ends between two characters.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Turns the bytes of one direction into its frames.
///
/// Once an error was returned the stream has no meaning any more: the caller ends the peer.
#[derive(Debug)]
pub struct Decoder<F> {
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that were already decoded.
    taken: usize,
    greeted: bool,
    frames: std::marker::PhantomData<fn() -> F>,
}

impl<F: Frame> Default for Decoder<F> {
    fn default() -> Self {
        Self { buffer: Vec::new(), taken: 0, greeted: false, frames: std::marker::PhantomData }
    }
}

impl<F: Frame> Decoder<F> {
    /// Adds bytes that were read.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and not ended: what is left at the end of the stream was cut.
    pub fn is_midway(&self) -> bool {
        self.taken < self.buffer.len()
    }

    /// The next whole frame, or nothing until more bytes are fed.
    ///
    /// # Errors
    ///
    /// The first [`FrameError`] of the stream; a frame that is too long is refused as soon as its kind is known.
    pub fn take(&mut self) -> Result<Option<F>, FrameError> {
        let Some((length, rest)) = self.buffer[self.taken..].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            return Err(FrameError::Empty);
        }
        let Some((&kind, rest)) = rest.split_first() else { return Ok(None) };
        let limit = F::limit(kind).ok_or(FrameError::UnknownKind(kind))?;
        if length - 1 > limit {
            return Err(FrameError::TooLong { kind, length: length - 1, limit });
        }
        let Some(body) = rest.get(..length - 1) else { return Ok(None) };
        let frame = F::decode(kind, body)?;
        if !self.greeted && !frame.is_greeting() {
            return Err(FrameError::NoGreeting { kind });
        }
        self.greeted = true;
        self.taken += 4 + length;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
            // A proof of megabytes must not leave its room behind for the life of the session.
            self.buffer.shrink_to(64 << 10);
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(frames: &[FromProvider], chunk: usize) -> Vec<FromProvider> {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(chunk) {
            decoder.feed(piece);
            while let Some(frame) = decoder.take().unwrap() {
                out.push(frame);
            }
        }
        assert!(!decoder.is_midway());
        out
    }

    #[test]
    fn every_frame_survives_its_encoding_however_the_bytes_arrive() {
        let frames = [
            FromProvider::Hello { version: VERSION },
            FromProvider::Confined("{}".into()),
            FromProvider::Started,
            FromProvider::Failed("no".into()),
            FromProvider::Took(7),
            FromProvider::Submit { sequence: 1, job: 7, proof: vec![9; 100_000] },
            FromProvider::Progress(u64::MAX),
            FromProvider::Log { level: 2, message: "höh".into() },
            FromProvider::LogDropped(3),
            FromProvider::Stats("{}".into()),
            FromProvider::Denied("tried to run a program".into()),
            FromProvider::Stopped(String::new()),
        ];
        for chunk in [1, 3, 4096, usize::MAX] {
            assert_eq!(round_trip(&frames, chunk), frames);
        }
        let job =
            WireJob { id: 5, header: [1; 76], target: [2; 32], certificate_version: 3, rank_penalty: true };
        for frame in [
            ToProvider::Hello { version: VERSION },
            ToProvider::Start("{}".into()),
            ToProvider::Job(job),
            ToProvider::Stale(5),
            ToProvider::Receipt { sequence: 9, receipt: Receipt::Refused, reason: "below target".into() },
            ToProvider::AskStats,
            ToProvider::Stop,
        ] {
            let (kind, body) = frame.parts();
            assert_eq!(ToProvider::decode(kind, &body), Ok(frame));
        }
    }

    #[test]
    fn a_frame_that_promises_too_much_is_refused_before_its_body_comes() {
        let mut decoder = Decoder::<FromProvider>::default();
        decoder.feed(&u32::MAX.to_le_bytes());
        assert_eq!(decoder.take(), Ok(None));
        decoder.feed(&[kind::LOG]);
        assert!(
            matches!(decoder.take(), Err(FrameError::TooLong { limit, .. }) if limit == LOG_BYTES_MAX + 1)
        );
    }

    #[test]
    fn a_stream_that_does_not_greet_or_speaks_another_version_is_refused() {
        let mut decoder = Decoder::<FromProvider>::default();
        decoder.feed(&FromProvider::Progress(1).encode());
        assert_eq!(decoder.take(), Err(FrameError::NoGreeting { kind: kind::PROGRESS }));
        let mut decoder = Decoder::<FromProvider>::default();
        decoder.feed(&FromProvider::Hello { version: 9 }.encode());
        assert_eq!(decoder.take(), Err(FrameError::Version { found: 9 }));
    }

    #[test]
    fn frames_of_the_other_direction_are_unknown() {
        let mut decoder = Decoder::<FromProvider>::default();
        decoder.feed(&ToProvider::Stop.encode());
        assert_eq!(decoder.take(), Err(FrameError::UnknownKind(kind::STOP)));
    }

    #[test]
    fn over_long_text_is_clipped_between_characters() {
        let message = "é".repeat(LOG_BYTES_MAX);
        let (_, body) = FromProvider::Log { level: 3, message }.parts();
        assert!(body.len() <= LOG_BYTES_MAX + 1);
        assert!(std::str::from_utf8(&body[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_keep_more_than_it_was_given(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32),
        ) {
            let mut decoder = Decoder::<FromProvider>::default();
            let mut given = 0;
            for piece in pieces {
                given += piece.len();
                decoder.feed(&piece);
                match decoder.take() {
                    Ok(_) => prop_assert!(decoder.buffer.len() <= given),
                    Err(_) => break,
                }
            }
        }

        #[test]
        fn any_body_of_any_kind_decodes_or_is_refused(kind: u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(frame) = FromProvider::decode(kind, &body) {
                prop_assert_eq!(frame.parts(), (kind, body.clone()));
            }
            if let Ok(frame) = ToProvider::decode(kind, &body) {
                prop_assert_eq!(frame.parts(), (kind, body));
            }
        }
    }
}
