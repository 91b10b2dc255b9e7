//! The client of a pool, for whoever finds shares and no blocks (pool protocol).
//!
//! The rules are plain state machines without sockets and clocks: [`life`] (which pool, when), [`conversation`] (one
//! connection), [`offer`] (its jobs), [`ledger`] (every share in one place), and the [`desk`] that holds them together.
//! This file is the thin shell around the desk:
//!
//! ```text
//! talk (a task for each connection) --Signal--\
//! found shares ------------------------------> run -- desk --> Actions: connect, send, close, tell, save, record
//! time --------------------------------------/
//! ```
//!
//! A share belongs to the connection that issued its job and is sent on no other. It is on disk, marked as sent, before
//! its line leaves; the ledger is on disk before its file goes. What a pool sends is bounded and cleaned before it goes
//! anywhere. Nothing that a pool says leads us to another host.
//!
//! # Limitations
//!
//! Families B and C, WebSocket and SOCKS5 are not spoken: a connection of another kind would be another way to make a
//! [`connect::Line`], and another family another conversation.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::{Condition, Context, Stopped, WorkEvent};

pub mod book;
pub mod connect;
pub mod conversation;
pub mod desk;
pub mod first_bytes;
pub mod ledger;
pub mod life;
pub mod numbers;
pub mod offer;
pub mod pace;
pub mod profile;
pub mod rejected;
pub mod resolver;
pub mod settings;
pub mod talk;
pub mod tls;
pub mod trial;
pub mod wallet;
pub mod wire;

use book::Book;
use desk::{Action, Desk};
pub use desk::{PoolRow, PoolStatus, ShareTarget};
pub use settings::{Pool, PoolConfig};
use talk::{Outgoing, Signal};
use wire::Closed;

/// Reports that wait to be looked at. A pool's line may have 256 KiB.
const SIGNALS_MAX: usize = 64;
/// Reports that are looked at in one go, before something is done about them.
const BATCH: usize = 512;
/// Lines that wait to be written on one connection.
const OUTGOING_MAX: usize = 64;
/// At the end, how long shares in flight may still be answered.
const LINGER: Duration = Duration::from_secs(1);

/// Pools as a work source. Ends when the handle is gone.
pub(super) async fn run(config: PoolConfig, mut context: Context) {
    let now = Instant::now();
    let (book, note) = Book::open(&config.book);
    let mut desk = Desk::new(config.pools.clone(), book, RandomState::new().hash_one(now), now);
    let earlier = std::mem::take(&mut context.earlier);
    for note in earlier.notes.into_iter().chain(note) {
        desk.note(note);
    }
    for kept in earlier.proofs {
        desk.take_up(kept);
    }
    let (signals_in, signals) = mpsc::channel(SIGNALS_MAX);
    let mut shell = Shell {
        config,
        context,
        desk,
        signals_in,
        signals,
        lines: BTreeMap::new(),
        tasks: JoinSet::new(),
        told: None,
        save_failed: false,
    };
    // Stopped is the only way out.
    let _ = shell.turns().await;
    shell.linger().await;
}

struct Shell {
    config: PoolConfig,
    context: Context,
    desk: Desk,
    signals_in: mpsc::Sender<Signal>,
    signals: mpsc::Receiver<Signal>,
    lines: BTreeMap<u64, (mpsc::Sender<Outgoing>, AbortHandle)>,
    /// Everything that runs beside; ends with the shell.
    tasks: JoinSet<()>,
    told: Option<Condition>,
    save_failed: bool,
}

impl Shell {
    async fn turns(&mut self) -> Result<(), Stopped> {
        loop {
            self.act().await?;
            let deadline = self.desk.deadline(Instant::now());
            tokio::select! {
                () = self.context.events.closed() => return Err(Stopped),
                kept = self.context.proofs.recv() => self.desk.found(kept.ok_or(Stopped)?, Instant::now()),
                Some(signal) = self.signals.recv() => self.heed_all(signal),
                Some(_) = self.tasks.join_next() => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    /// Everything that has come by now is looked at before anything is done: of a thousand jobs only the newest counts.
    fn heed_all(&mut self, signal: Signal) {
        self.heed(signal);
        for _ in 0..BATCH {
            match self.signals.try_recv() {
                Ok(signal) => self.heed(signal),
                Err(_) => break,
            }
        }
    }

    fn heed(&mut self, signal: Signal) {
        match signal {
            Signal::Connected { connection, times } => self.desk.connected(connection, times, Instant::now()),
            Signal::Line { connection, line, at } => self.desk.line(connection, &line, at),
            Signal::Written { connection, tag, at } => self.desk.written(connection, tag, at),
            Signal::Closed { connection, why } => self.desk.closed(connection, why, Instant::now()),
        }
    }

    async fn act(&mut self) -> Result<(), Stopped> {
        loop {
            let now = Instant::now();
            let actions = self.desk.actions(now);
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.perform(action).await?;
            }
        }
        self.show().await
    }

    async fn perform(&mut self, action: Action) -> Result<(), Stopped> {
        match action {
            Action::Connect { connection, pool } => {
                let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
                let task = self.tasks.spawn(talk::talk(
                    connection,
                    self.config.pools[pool].clone(),
                    self.config.resolver.clone(),
                    self.config.roots.clone(),
                    queue,
                    self.signals_in.clone(),
                ));
                self.lines.insert(connection, (outgoing, task));
            }
            Action::Send { connection, line, tag } => {
                let full = self
                    .lines
                    .get(&connection)
                    .is_some_and(|(outgoing, _)| outgoing.try_send((line, tag)).is_err());
                if full {
                    let why = Closed::Lost("takes no more lines".to_owned());
                    self.desk.closed(connection, why, Instant::now());
                }
            }
            Action::Close { connection } => {
                if let Some((_, task)) = self.lines.remove(&connection) {
                    task.abort();
                }
            }
            Action::Tell(event) => self.context.emit(event).await?,
            Action::Save => self.save(),
            Action::Record(rejected) => {
                let folder = self.config.rejected.clone();
                self.tasks.spawn_blocking(move || {
                    // A record that the disk refuses is one less: the log has the pool's words.
                    let _ = rejected::Record::of(&rejected, SystemTime::now()).write(&folder);
                });
            }
        }
        Ok(())
    }

    fn save(&mut self) {
        let saved = self.desk.book().save(&self.config.book);
        if let Err(err) = saved
            && !std::mem::replace(&mut self.save_failed, true)
        {
            self.desk.note(format!("the pools' ledger cannot be written: {err}"));
        }
    }

    /// Keeps the status true.
    async fn show(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        let condition = self.desk.condition();
        // That nothing was tried yet is no news.
        let silent = matches!(condition, Condition::NoPool { error: None, .. });
        if !silent && self.told.as_ref() != Some(&condition) {
            self.told = Some(condition.clone());
            self.context.emit(WorkEvent::Condition(condition)).await?;
        }
        let pool = Some(Box::new(self.desk.status(now)));
        let (requests, reconnects) = self.desk.counts();
        let desk = &self.desk;
        self.context.status.send_if_modified(|status| {
            let endpoints = desk.endpoints(&status.endpoints, now);
            let news = status.pool != pool || status.endpoints != endpoints;
            (status.pool, status.endpoints) = (pool, endpoints);
            (status.requests, status.reconnects) = (requests, reconnects);
            news
        });
        Ok(())
    }

    /// The end: replies that are on their way still count, then everything is put where a later process finds it.
    async fn linger(&mut self) {
        let until = tokio::time::Instant::now() + LINGER;
        while self.desk.flying() > 0 {
            match tokio::time::timeout_at(until, self.signals.recv()).await {
                Ok(Some(signal)) => self.heed_all(signal),
                _ => break,
            }
        }
        let now = Instant::now();
        self.desk.stop(now);
        for action in self.desk.last_actions() {
            match action {
                Action::Save => self.save(),
                // Nobody listens any more; the store is kept in step all the same.
                Action::Tell(event) => drop(self.context.emit(event).await),
                _ => {}
            }
        }
        self.tasks.abort_all();
    }
}
