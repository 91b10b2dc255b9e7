//! What a child writes to its standard output and error: read to the end, kept up to a bound.

use std::io::Read;
use std::os::fd::OwnedFd;

use serde::Serialize;

/// Text that was captured from one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Captured {
    /// The beginning of what was written, with stray bytes replaced. Not printable: escape it before it is shown.
    pub text: String,
    /// Bytes that were written after the bound was reached.
    pub bytes_left_out: u64,
}

impl Captured {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.bytes_left_out == 0
    }
}

/// One captured stream. It never blocks and never holds more than its bound.
#[derive(Debug)]
pub struct Capture {
    stream: Option<std::fs::File>,
    kept: Vec<u8>,
    bytes_max: usize,
    left_out: u64,
}

impl Capture {
    /// Captures `stream`, keeping at most `bytes_max` bytes between two calls of [`Self::take`].
    ///
    /// # Errors
    ///
    /// Where the stream cannot be made non-blocking.
    pub fn new(stream: OwnedFd, bytes_max: usize) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(Self { stream: Some(stream.into()), kept: vec![], bytes_max, left_out: 0 })
    }

    /// The descriptor to wait on, until the stream has ended.
    pub fn stream(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.stream.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// Reads what is there now, up to 1 MiB, without waiting.
    pub fn drain(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut buffer = [0; 16 * 1024];
        // A child that writes as fast as we read must not keep us here.
        for _ in 0..64 {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.stream = None;
                    return;
                }
                Ok(count) => {
                    let room = self.bytes_max - self.kept.len();
                    self.kept.extend_from_slice(&buffer[..count.min(room)]);
                    self.left_out += count.saturating_sub(room) as u64;
                }
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.stream = None;
                    return;
                }
            }
        }
    }

    /// What was captured since the last call.
    pub fn take(&mut self) -> Captured {
        let kept = std::mem::take(&mut self.kept);
        Captured {
            text: String::from_utf8_lossy(&kept).into_owned(),
            bytes_left_out: std::mem::take(&mut self.left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_over_the_bound_is_counted_and_dropped() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut capture = Capture::new(reader.into(), 4).unwrap();
        capture.drain();
        assert!(capture.take().is_empty());
        writer.write_all(b"abcdefg").unwrap();
        capture.drain();
        assert_eq!(capture.take(), Captured { text: "abcd".into(), bytes_left_out: 3 });
        drop(writer);
        capture.drain();
        assert!(capture.stream().is_none());
    }
}
