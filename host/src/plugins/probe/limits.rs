//! What a plugin may take and say while it is probed.

/// The longest text that a plugin may answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024;
/// The most memory that a plugin may allocate while it is probed.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// The status of a child whose channel was closed under it.
pub const CHANNEL_GONE: i32 = 81;

/// The beginning of `text`, of at most `bytes` bytes.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
