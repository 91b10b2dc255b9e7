//! Lines over a byte stream, bounded.
//!
//! A thin driver of `LinesCodec` that is safe to cancel: a line that was half-read when a `select!` went another way
//! is continued by the next call.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder as _, LinesCodec, LinesCodecError};

/// Reads lines of at most a given length.
#[derive(Debug)]
pub struct LineReader<R> {
    read: R,
    codec: LinesCodec,
    buffer: BytesMut,
    ended: bool,
}

/// What was found instead of a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The rest of the line is skipped by the next call.
    #[error("a line of more than {max} bytes")]
    TooLong {
        /// Bytes that a line may have.
        max: usize,
    },
    /// The line is gone.
    #[error("a line that is not UTF-8")]
    NotText,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `max` bytes, without the newline, from `read`.
    pub fn new(read: R, max: usize) -> Self {
        Self { read, codec: LinesCodec::new_with_max_length(max), buffer: BytesMut::new(), ended: false }
    }

    /// The stream, without what was read of it already.
    pub fn into_inner(self) -> R {
        self.read
    }

    /// The next line without its newline; `None` at the end of the stream. Safe to cancel.
    ///
    /// # Errors
    ///
    /// [`LineError`]. After [`LineError::TooLong`] the stream goes on with the next line.
    pub async fn next(&mut self) -> Result<Option<String>, LineError> {
        let max = self.codec.max_length();
        let failed = |err| match err {
            LinesCodecError::MaxLineLengthExceeded => LineError::TooLong { max },
            LinesCodecError::Io(err) if err.kind() == io::ErrorKind::InvalidData => LineError::NotText,
            LinesCodecError::Io(err) => LineError::Io(err),
        };
        loop {
            if let Some(line) = self.codec.decode(&mut self.buffer).map_err(failed)? {
                return Ok(Some(line));
            }
            if self.ended {
                // A last line without a newline was cut off: half a reply is none.
                return Ok(None);
            }
            self.buffer.reserve(8 * 1024);
            self.ended = self.read.read_buf(&mut self.buffer).await? == 0;
        }
    }
}

/// Writes a line and its newline.
///
/// # Errors
///
/// What writing met.
pub async fn write_line(write: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    write.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn lines_come_one_by_one_and_half_a_line_at_the_end_is_dropped() {
        block_on(async {
            let mut lines = LineReader::new(&b"one\r\ntwo\n\nhalf"[..], 10);
            for expected in ["one", "two", ""] {
                assert_eq!(lines.next().await.unwrap().as_deref(), Some(expected));
            }
            assert_eq!(lines.next().await.unwrap(), None);
        });
    }

    #[test]
    fn an_overlong_line_is_named_and_skipped() {
        block_on(async {
            let bytes = [&b"x".repeat(100_000)[..], b"\nnext\n"].concat();
            let mut lines = LineReader::new(&bytes[..], 1000);
            assert!(matches!(lines.next().await, Err(LineError::TooLong { max: 1000 })));
            assert_eq!(lines.next().await.unwrap().as_deref(), Some("next"));
        });
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        block_on(async {
            let mut lines = LineReader::new(&b"\xff\xfe\nnext\n"[..], 1000);
            assert!(matches!(lines.next().await, Err(LineError::NotText)));
            assert_eq!(lines.next().await.unwrap().as_deref(), Some("next"));
        });
    }
}
