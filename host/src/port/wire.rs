//! The words that the supervisor and the port process exchange: those of a provider's pipe, each with the seat that it is
//! about, and a few of their own.
//!
//! The framing is [`crate::miner::frame`]'s, with its bounds and its refusals; the port process parses what strangers send,
//! so what comes from it is decoded as if it were hostile.

use serde::{Deserialize, Serialize};

use crate::miner::frame::{Frame, FrameError, FromProvider, ToProvider, VERSION, WireJob};

/// A program, as the port process knows it. Never used twice in the life of one process.
pub type SeatId = u32;

/// Which language a program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// The gateway's miner RPC.
    GatewayRpc,
    /// The pool dialect.
    Pool,
}

impl Dialect {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::GatewayRpc => "gateway-rpc",
            Self::Pool => "pool",
        }
    }
}

/// What is known of a program when it sits down. Cleaned text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sitter {
    /// Its language.
    pub dialect: Dialect,
    /// The worker's name that it gave; may be empty.
    pub worker: String,
    /// Name and version that it gave; may be empty.
    pub agent: String,
    /// Where it is: `unix`, `container:NAME`, or an address.
    pub address: String,
    /// Its process, where the socket tells.
    pub pid: Option<u32>,
}

impl Sitter {
    /// The container that it is in, where it came in by the door of one.
    pub fn container(&self) -> Option<&str> {
        self.address.strip_prefix(CONTAINER)
    }
}

/// How the address of whoever is in a container begins.
pub const CONTAINER: &str = "container:";

/// What the port process is told of one listener that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// A Unix socket, not TCP.
    pub unix: bool,
    /// What it is called, where it is for one container alone: then that is where its guests are.
    #[serde(default)]
    pub container: Option<String>,
    /// Others than this machine can come in: only those who know the password, in the dialect that has one.
    pub guarded: bool,
}

/// What the port process is to do, beside its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The listeners, in the order in which they come.
    pub doors: Vec<Door>,
    /// BLAKE3 of the password for guarded doors, in hex.
    pub password: Option<String>,
}

/// Frames to the port process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToPort {
    /// First frame, with the sender's protocol version.
    Hello {
        /// The sender's [`VERSION`].
        version: u16,
    },
    /// What to do; JSON of an [`Order`].
    Open(String),
    /// What a provider would be told.
    Tell(SeatId, ToProvider),
    /// A job that a program was given before it had this seat, over another connection: known, and not given out.
    Earlier(SeatId, WireJob),
    /// A program has its row, and was told all that it knew before.
    Seated(SeatId),
    /// This program gets no work, and why; a job takes that back.
    Bar(SeatId, String),
    /// End its connections.
    Close(SeatId),
}

/// Frames from the port process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPort {
    /// First frame, with the sender's protocol version.
    Hello {
        /// The sender's [`VERSION`].
        version: u16,
    },
    /// A program has sat down; JSON of a [`Sitter`].
    Sat(SeatId, String),
    /// What a provider would say.
    Said(SeatId, FromProvider),
    /// It was slowed down.
    Throttled(SeatId),
    /// It has left: nothing more comes from this seat.
    Left(SeatId),
}

mod kind {
    pub const HELLO: u8 = 0x11;
    pub const OPEN: u8 = 0x12;
    pub const TELL: u8 = 0x13;
    pub const BAR: u8 = 0x14;
    pub const CLOSE: u8 = 0x15;
    pub const EARLIER: u8 = 0x16;
    pub const SEATED: u8 = 0x17;

    pub const PORT_HELLO: u8 = 0x91;
    pub const SAT: u8 = 0x92;
    pub const SAID: u8 = 0x93;
    pub const THROTTLED: u8 = 0x94;
    pub const LEFT: u8 = 0x95;
}

const TEXT_BYTES_MAX: usize = 4 << 10;
const MAGIC: [u8; 8] = *b"pearport";

fn greeting(version: u16) -> Vec<u8> {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&version.to_le_bytes());
    body
}

fn greeted(body: &[u8]) -> Option<Result<u16, FrameError>> {
    let found = u16::from_le_bytes(body.strip_prefix(&MAGIC[..])?.try_into().ok()?);
    Some(if found == VERSION { Ok(found) } else { Err(FrameError::Version { found }) })
}

fn with_seat(seat: SeatId, rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + rest.len());
    body.extend_from_slice(&seat.to_le_bytes());
    body.extend_from_slice(rest);
    body
}

fn seated(body: &[u8]) -> Option<(SeatId, &[u8])> {
    let (seat, rest) = body.split_first_chunk::<4>()?;
    Some((SeatId::from_le_bytes(*seat), rest))
}

fn wrapped<F: Frame>(seat: SeatId, frame: &F) -> Vec<u8> {
    let (kind, inner) = frame.parts();
    let mut body = Vec::with_capacity(5 + inner.len());
    body.extend_from_slice(&seat.to_le_bytes());
    body.push(kind);
    body.extend_from_slice(&inner);
    body
}

fn unwrapped<F: Frame>(rest: &[u8]) -> Result<F, FrameError> {
    let (&kind, body) = rest.split_first().ok_or(FrameError::Empty)?;
    let limit = F::limit(kind).ok_or(FrameError::UnknownKind(kind))?;
    if body.len() > limit {
        return Err(FrameError::TooLong { kind, length: body.len(), limit });
    }
    F::decode(kind, body)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn clipped(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

impl Frame for ToPort {
    fn limit(kind: u8) -> Option<usize> {
        Some(match kind {
            kind::HELLO => MAGIC.len() + 2,
            kind::OPEN => TEXT_BYTES_MAX,
            kind::TELL | kind::EARLIER => 5 + (17 << 10),
            kind::BAR => 4 + TEXT_BYTES_MAX,
            kind::CLOSE | kind::SEATED => 4,
            _ => return None,
        })
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed { kind, length: body.len() };
        if kind == kind::HELLO {
            return greeted(body).ok_or(malformed)?.map(|version| Self::Hello { version });
        }
        if kind == kind::OPEN {
            return text(body).map(Self::Open).ok_or(malformed);
        }
        let Some((seat, rest)) = seated(body) else { return Err(malformed) };
        match kind {
            kind::TELL => Ok(Self::Tell(seat, unwrapped(rest)?)),
            kind::EARLIER => match unwrapped(rest)? {
                ToProvider::Job(job) => Ok(Self::Earlier(seat, job)),
                _ => Err(malformed),
            },
            kind::SEATED if rest.is_empty() => Ok(Self::Seated(seat)),
            kind::BAR => text(rest).map(|why| Self::Bar(seat, why)).ok_or(malformed),
            kind::CLOSE if rest.is_empty() => Ok(Self::Close(seat)),
            _ => Err(malformed),
        }
    }

    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Hello { version } => (kind::HELLO, greeting(*version)),
            Self::Open(order) => (kind::OPEN, clipped(order).to_vec()),
            Self::Tell(seat, frame) => (kind::TELL, wrapped(*seat, frame)),
            Self::Earlier(seat, job) => (kind::EARLIER, wrapped(*seat, &ToProvider::Job(job.clone()))),
            Self::Seated(seat) => (kind::SEATED, with_seat(*seat, &[])),
            Self::Bar(seat, why) => (kind::BAR, with_seat(*seat, clipped(why))),
            Self::Close(seat) => (kind::CLOSE, with_seat(*seat, &[])),
        }
    }

    fn is_greeting(&self) -> bool {
        matches!(self, Self::Hello { .. })
    }
}

impl Frame for FromPort {
    fn limit(kind: u8) -> Option<usize> {
        Some(match kind {
            kind::PORT_HELLO => MAGIC.len() + 2,
            kind::SAT => 4 + TEXT_BYTES_MAX,
            kind::SAID => 5 + 16 + crate::miner::frame::PROOF_BYTES_MAX,
            kind::THROTTLED | kind::LEFT => 4,
            _ => return None,
        })
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed { kind, length: body.len() };
        if kind == kind::PORT_HELLO {
            return greeted(body).ok_or(malformed)?.map(|version| Self::Hello { version });
        }
        let Some((seat, rest)) = seated(body) else { return Err(malformed) };
        match kind {
            kind::SAT => text(rest).map(|sitter| Self::Sat(seat, sitter)).ok_or(malformed),
            kind::SAID => Ok(Self::Said(seat, unwrapped(rest)?)),
            kind::THROTTLED if rest.is_empty() => Ok(Self::Throttled(seat)),
            kind::LEFT if rest.is_empty() => Ok(Self::Left(seat)),
            _ => Err(malformed),
        }
    }

    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Hello { version } => (kind::PORT_HELLO, greeting(*version)),
            Self::Sat(seat, sitter) => (kind::SAT, with_seat(*seat, clipped(sitter))),
            Self::Said(seat, frame) => (kind::SAID, wrapped(*seat, frame)),
            Self::Throttled(seat) => (kind::THROTTLED, with_seat(*seat, &[])),
            Self::Left(seat) => (kind::LEFT, with_seat(*seat, &[])),
        }
    }

    fn is_greeting(&self) -> bool {
        matches!(self, Self::Hello { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::miner::frame::{Decoder, PROOF_BYTES_MAX, Receipt};

    fn back<F: Frame + PartialEq + Debug>(greeting: F, frames: Vec<F>) {
        let mut decoder = Decoder::<F>::default();
        decoder.feed(&greeting.encode());
        assert_eq!(decoder.take().unwrap().unwrap(), greeting);
        for frame in frames {
            decoder.feed(&frame.encode());
            assert_eq!(decoder.take().unwrap().unwrap(), frame);
        }
        assert!(!decoder.is_midway());
    }

    #[test]
    fn every_word_comes_back_as_it_went() {
        let job =
            WireJob { id: 5, header: [1; 76], target: [2; 32], certificate_version: 3, rank_penalty: true };
        let receipt = ToProvider::Receipt { sequence: 1, receipt: Receipt::Refused, reason: "x".repeat(99) };
        back(
            ToPort::Hello { version: VERSION },
            vec![
                ToPort::Open("{}".into()),
                ToPort::Tell(7, ToProvider::Job(job.clone())),
                ToPort::Earlier(7, job),
                ToPort::Seated(7),
                ToPort::Tell(8, receipt),
                ToPort::Bar(1, "no".into()),
                ToPort::Close(u32::MAX),
            ],
        );
        let proof = FromProvider::Submit { sequence: 1, job: 2, proof: vec![9; PROOF_BYTES_MAX] };
        back(
            FromPort::Hello { version: VERSION },
            vec![
                FromPort::Sat(1, "{}".into()),
                FromPort::Said(1, proof),
                FromPort::Throttled(1),
                FromPort::Left(1),
            ],
        );
    }

    #[test]
    fn what_is_inside_is_bounded_by_its_own_kind() {
        // A frame of `Took` with nine bytes.
        let mut body = with_seat(1, &[0x85]);
        body.extend_from_slice(&[0; 9]);
        assert!(matches!(FromPort::decode(kind::SAID, &body), Err(FrameError::TooLong { limit: 8, .. })));
        for body in [&[][..], &[1, 2, 3], &[0; 4], &[0; 5]] {
            assert!(FromPort::decode(kind::SAID, body).is_err(), "{body:?}");
        }
        // Only a job can be an earlier one.
        let (stop, body) = ToProvider::Stop.parts();
        let body = [&1_u32.to_le_bytes()[..], &[stop], &body].concat();
        assert!(ToPort::decode(kind::TELL, &body).is_ok() && ToPort::decode(kind::EARLIER, &body).is_err());
        assert!(FromPort::limit(kind::TELL).is_none() && ToPort::limit(kind::SAID).is_none());
    }
}
