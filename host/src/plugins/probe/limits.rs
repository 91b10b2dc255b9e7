//! What a plugin may take and say while it is probed.

/// The longest text that a plugin may answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024;
/// The most memory that a plugin may allocate while it is probed.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// The status of a child whose channel was closed under it.
pub const CHANNEL_GONE: i32 = 81;
