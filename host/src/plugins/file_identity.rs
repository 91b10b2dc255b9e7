//! A plugin's file told from a later one of the same name, and from itself after a change.
//!
//! Nothing is opened or followed here: an identity is made of metadata that somebody has read.
#![forbid(unsafe_code)]

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Which file was looked at, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The device that holds it.
    pub device: u64,
    /// Its number on the device.
    pub inode: u64,
    /// Its length in bytes.
    pub len: u64,
    /// When its contents last changed, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When anything about it last changed, in seconds and nanoseconds. Programs cannot set it.
    pub changed: (i64, i64),
}

impl Identity {
    /// The identity in `metadata`.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
