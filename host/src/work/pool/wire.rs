//! What is said of a connection by whoever makes it: how it came about, and how it ended.

use std::time::Duration;

/// How long it took to connect, and how it is secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the first attempt to the connection.
    pub tcp: Duration,
    /// The TLS handshake, where there is one.
    pub tls: Option<Duration>,
    /// How it is secured, in words: "TLS 1.3", "plain, unauthenticated".
    pub security: String,
    /// The address that answered.
    pub peer: String,
}

/// Why a connection ended, as its shell saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It could not be made, or broke.
    Lost(String),
    /// What came is not the protocol.
    Garbled(String),
    /// The certificate is not trusted.
    Untrusted(String),
}
