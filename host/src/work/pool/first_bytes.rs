//! What a peer is that speaks something else than lines of JSON: told by the first bytes it sends.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, ReadBuf};

use super::wire::Closed;
use crate::work::stratum::from_pool::looks_like;

/// The first bytes that came, to say what they look like where they never became a line.
#[derive(Clone, Debug, Default)]
pub struct FirstBytes(Arc<Mutex<Vec<u8>>>);

/// How many are looked at.
const FIRST_BYTES: usize = 48;

impl FirstBytes {
    /// Why a connection ended: by what its first bytes look like, where no line was `heard`; else `otherwise`.
    pub fn judge(&self, heard: bool, otherwise: String) -> Closed {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes.first() {
            Some(first) if !heard && !matches!(first, b'{' | b'\r' | b'\n' | b' ') => {
                Closed::Garbled(looks_like(&bytes))
            }
            _ => Closed::Lost(otherwise),
        }
    }
}

/// A reader that keeps the first bytes it reads.
#[derive(Debug)]
pub struct Watched<R> {
    read: R,
    first: FirstBytes,
}

impl<R> Watched<R> {
    /// A reader of `read`, and what it keeps.
    pub fn new(read: R) -> (Self, FirstBytes) {
        let first = FirstBytes::default();
        (Self { read, first: first.clone() }, first)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.read).poll_read(context, buffer);
        let mut first = self.first.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < FIRST_BYTES {
            let room = FIRST_BYTES - first.len();
            first.extend(buffer.filled()[before..].iter().take(room));
        }
        drop(first);
        polled
    }
}
