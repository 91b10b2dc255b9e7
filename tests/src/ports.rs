//! Ports of this machine that nobody listens on, and nobody will by chance.
//!
//! A port that was bound and given up again is the next that the system gives to whoever asks for any: another test's
//! listener, or a connection to somewhere. So these are below those that the system chooses from.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what systems choose from (Linux from 32768 on), and above what has a name.
const FIRST: u16 = 18_000;
const COUNT: u32 = 14_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on loopback that nobody listens on, and that this process has not given out before.
pub fn free() -> u16 {
    // Test programs run side by side: each begins elsewhere.
    let begin = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + u16::try_from(at).expect("it is below the count");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("somebody listens on every port from {FIRST} on");
}
