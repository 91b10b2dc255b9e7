//! Frames out of a stream of bytes, of which any may be missing, hostile or still on its way.
//!
//! Owns the bytes that have come and make no whole frame yet. It never waits and never reads: it is fed. A frame that
//! promises too much is refused as soon as its kind is known, so what is kept is bounded by the largest frame.

use super::{Frame, FrameError};

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

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.buffer.len()
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
