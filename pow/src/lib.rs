//! The Pearl proof of work, pure: no I/O, no clock, no threads.
#![forbid(unsafe_code)]
