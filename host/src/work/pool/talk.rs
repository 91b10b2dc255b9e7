//! One connection's sockets: bytes become lines, lines become bytes. Nothing is decided here.
//!
//! Reading and writing are two futures of one task: a pool that takes our 370 KB slowly does not keep us from hearing of
//! a new job.

use std::time::Instant;

use tokio::sync::mpsc;

use super::connect::{Line, dial, phrase};
use super::first_bytes::Watched;
use super::resolver::Resolver;
use super::settings::Pool;
use super::tls::Roots;
use super::wire::{Closed, Times};
use crate::work::lines::{LineError, LineReader, write_line};
use crate::work::stratum::POOL_LINE_BYTES_MAX;

/// What a connection reports.
#[derive(Debug)]
pub enum Signal {
    /// It stands.
    Connected {
        /// Which one.
        connection: u64,
        /// How it came about.
        times: Times,
    },
    /// A line came.
    Line {
        /// On which one.
        connection: u64,
        /// Without its newline.
        line: String,
        /// When.
        at: Instant,
    },
    /// A line was written to its last byte.
    Written {
        /// On which one.
        connection: u64,
        /// Its tag.
        tag: u64,
        /// When.
        at: Instant,
    },
    /// It ended, or did not come about.
    Closed {
        /// Which one.
        connection: u64,
        /// Why.
        why: Closed,
    },
}

/// A line to be sent, and what to report when it is.
pub type Outgoing = (String, Option<u64>);

/// Makes a connection and carries its lines until it ends.
pub async fn talk(
    connection: u64,
    pool: Pool,
    resolver: Resolver,
    roots: Roots,
    outgoing: mpsc::Receiver<Outgoing>,
    signals: mpsc::Sender<Signal>,
) {
    let why = match dial(&pool, &resolver, &roots).await {
        Ok(line) => {
            if signals.send(Signal::Connected { connection, times: line.times.clone() }).await.is_err() {
                return;
            }
            carry(connection, line, outgoing, &signals).await
        }
        Err(why) => why,
    };
    // Nobody listens: the source is ending.
    let _ = signals.send(Signal::Closed { connection, why }).await;
}

async fn carry(
    connection: u64,
    line: Line,
    mut outgoing: mpsc::Receiver<Outgoing>,
    signals: &mpsc::Sender<Signal>,
) -> Closed {
    let (read, first) = Watched::new(line.read);
    let mut lines = LineReader::new(read, POOL_LINE_BYTES_MAX);
    let mut write = line.write;
    let ending = || Closed::Lost("the session ends".to_owned());
    let reading = async {
        let mut heard = false;
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return first.judge(heard, "the pool closed the connection".to_owned()),
                Err(LineError::Io(err)) => return first.judge(heard, phrase(&err)),
                Err(LineError::TooLong { max }) => {
                    return Closed::Garbled(format!("a line of more than {max} bytes"));
                }
                // Unlike a line that is no message, it may be the start of anything.
                Err(LineError::NotText) if !heard => return first.judge(false, "not text".to_owned()),
                Err(LineError::NotText) => String::from("\u{fffd}"),
            };
            heard = true;
            if signals.send(Signal::Line { connection, line, at: Instant::now() }).await.is_err() {
                return ending();
            }
        }
    };
    let writing = async {
        while let Some((line, tag)) = outgoing.recv().await {
            if let Err(err) = write_line(&mut write, &line).await {
                // What the pool said before it closed is more telling, and is read first.
                let _ = std::future::pending::<()>().await;
                return Closed::Lost(phrase(&err));
            }
            if let Some(tag) = tag
                && signals.send(Signal::Written { connection, tag, at: Instant::now() }).await.is_err()
            {
                return ending();
            }
        }
        ending()
    };
    tokio::select! {
        why = reading => why,
        why = writing => why,
    }
}
