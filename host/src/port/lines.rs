//! Lines out of the bytes of a stranger, of which any may be missing, endless or no text.
//!
//! Owns the bytes that have come and make no whole line yet: never more than the longest line and what was fed last. Of a
//! line that is too long the beginning is kept, so that whoever sent it can be told what it was.

/// Bytes of a line that is too long that are kept.
const HEAD_BYTES: usize = 4 << 10;

/// A line, or what came instead.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its newline.
    Text(String),
    /// Bytes that are no UTF-8; gone.
    NotText,
    /// A line of too many bytes; its beginning.
    TooLong(Vec<u8>),
}

/// The lines of one connection.
#[derive(Debug)]
pub struct Lines {
    max: usize,
    buffer: Vec<u8>,
    /// Bytes at the front that were looked at and hold no newline.
    searched: usize,
    /// The beginning of a line that is being skipped.
    skipping: Option<Vec<u8>>,
}

impl Lines {
    /// Lines of at most `max` bytes, without the newline.
    pub fn new(max: usize) -> Self {
        Self { max, buffer: Vec::new(), searched: 0, skipping: None }
    }

    /// Adds bytes that were read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line; nothing until more is fed.
    pub fn take(&mut self) -> Option<Line> {
        let found = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
        let Some(end) = found.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            if self.buffer.len() > self.max {
                let head = &self.buffer[..HEAD_BYTES.min(self.buffer.len())];
                self.skipping.get_or_insert_with(|| head.to_vec());
            }
            if self.skipping.is_some() {
                self.clear();
            }
            return None;
        };
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        if let Some(head) = self.skipping.take() {
            return Some(Line::TooLong(head));
        }
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.len() > self.max {
            line.truncate(HEAD_BYTES);
            return Some(Line::TooLong(line));
        }
        Some(String::from_utf8(line).map_or(Line::NotText, Line::Text))
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.buffer.len()
    }

    fn clear(&mut self) {
        self.buffer = Vec::new();
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Line> {
        Some(Line::Text(text.into()))
    }

    #[test]
    fn lines_come_one_by_one_however_they_are_cut() {
        let bytes = b"one\r\ntwo\n\n\xff\nthree\nhalf";
        for size in 1..bytes.len() {
            let mut lines = Lines::new(10);
            let mut all = Vec::new();
            for part in bytes.chunks(size) {
                lines.feed(part);
                all.extend(std::iter::from_fn(|| lines.take()));
            }
            let expected = [text("one"), text("two"), text(""), Some(Line::NotText), text("three")];
            assert_eq!(all.into_iter().map(Some).collect::<Vec<_>>(), expected, "{size}");
            assert_eq!(lines.kept(), 4);
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_no_memory_and_is_told_by_its_beginning() {
        let mut lines = Lines::new(100);
        lines.feed(b"head");
        for _ in 0..10_000 {
            lines.feed(&[b'x'; 1000]);
            assert!(lines.take().is_none());
            assert!(lines.kept() <= 1100);
        }
        lines.feed(b"\nnext\n");
        let Some(Line::TooLong(head)) = lines.take() else { panic!("it was longer") };
        assert!(head.starts_with(b"headxxx") && head.len() <= HEAD_BYTES);
        assert_eq!(lines.take(), text("next"));
        // One that comes at once.
        lines.feed(&[b"y".repeat(101), b"\n".to_vec(), b"z".repeat(100), b"\n".to_vec()].concat());
        assert_eq!(lines.take(), Some(Line::TooLong(b"y".repeat(101))));
        assert_eq!(lines.take(), text(&"z".repeat(100)));
    }
}
