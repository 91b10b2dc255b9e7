//! What goes wrong between a client and a pool, and the dice that say when.

use std::time::Duration;

/// xorshift64*: moments that need not be good, only repeatable.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something with this probability happens.
    pub fn falls(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A wait with this mean, exponentially distributed.
    pub fn wait(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }
}

/// What goes wrong between the client and one pool.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// The way of a line, at least.
    pub latency: Duration,
    /// What comes on top, at most. Lines do not overtake each other.
    pub jitter: Duration,
    /// Bytes per second from the client to the pool; no limit where it is nothing.
    pub bandwidth: Option<f64>,
    /// Probability that a reply to a share never leaves the pool.
    pub mute: f64,
    /// Probability that a reply comes twice.
    pub twice: f64,
    /// Probability that a share resets the connection before the pool has read it.
    pub reset: f64,
    /// Probability that the connection is reset after the pool has read a share.
    pub reset_after: f64,
    /// For how long the pool is closed at a time, and how often on average: everybody is thrown out and refused.
    pub maintenance: Option<(Duration, Duration)>,
    /// For how long the way to the pool swallows everything at a time, and how often on average: half-open.
    pub hole: Option<(Duration, Duration)>,
}
