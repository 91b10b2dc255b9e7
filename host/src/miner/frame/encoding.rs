//! Words as bytes: the kind and the body of each frame, and how long a body may be.
//!
//! One body at a time, whole: streams are `decoder`'s. Nothing here reads, writes or keeps anything. Text that is too
//! long for its frame is clipped when it is written and refused when it is read.

use super::{
    FrameError, FromProvider, LOG_BYTES_MAX, PROOF_BYTES_MAX, Receipt, ToProvider, VERSION, WireJob,
};

const JSON_BYTES_MAX: usize = 1 << 20;
const STATS_BYTES_MAX: usize = 256 << 10;
const TEXT_BYTES_MAX: usize = 16 << 10;
const MAGIC: [u8; 8] = *b"pearlbed";

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

/// The kind bytes; the two directions share none.
pub(super) mod kind {
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
