//! A pool that misbehaves by name, on loopback, scriptable per connection.
//!
//! The honest part is the reference pool's own rules ([`Core`]), which verify every share; a [`Fault`] bends what goes in
//! and out. Connection number `n` has the faults of row `n` of the script, and those after the last row none. Everything
//! that happens is kept as a list of texts, and the ledger can be read at any moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pearl_pow::Header;
use pearlbed::work::devnet::pace;
use pearlbed::work::devnet::pool::core::{Core, Row, Settings, Task};
use tokio::net::TcpListener;

mod bend;
mod fault;
mod serve;
mod state;

pub use fault::Fault;
use serve::serve;
use state::State;

/// A running pool.
#[derive(Debug)]
pub struct TestPool {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How a pool's streams are wrapped: a TLS acceptor, or nothing.
pub type Acceptor = Option<tokio_rustls::TlsAcceptor>;

impl TestPool {
    /// An honest pool.
    pub fn honest() -> Self {
        Self::start(Vec::new())
    }

    /// A pool with faults for its first connections.
    pub fn start(script: Vec<Vec<Fault>>) -> Self {
        Self::with(script, None)
    }

    /// The same over TLS.
    pub fn with(script: Vec<Vec<Fault>>, tls: Acceptor) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        listener.set_nonblocking(true).expect("a listener can be made so");
        let address = listener.local_addr().expect("it is bound");
        // The same easiest target for everybody, or a debug build would mine for minutes.
        let mut core = Core::new(Settings { difficulty: Some(f64::MIN_POSITIVE), ..Settings::default() });
        core.work(task(1), Instant::now());
        let state = Arc::new(Mutex::new(State {
            core,
            events: Vec::new(),
            sessions: std::collections::BTreeMap::new(),
            connections: 0,
            serial: 1,
        }));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("it is a listener");
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, script, tls, shared) => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// The address as the configuration has it.
    pub fn url(&self) -> String {
        format!("stratum+tcp://{}", self.address)
    }

    /// What happened so far.
    pub fn events(&self) -> Vec<String> {
        self.lock().events.clone()
    }

    /// How many connections came.
    pub fn connections(&self) -> u64 {
        self.lock().connections
    }

    /// The ledger: all workers together.
    pub fn ledger(&self) -> Row {
        let state = self.lock();
        let mut sum = Row::default();
        for row in state.core.ledger().values() {
            for (fate, count) in &row.shares {
                *sum.shares.entry(*fate).or_default() += count;
            }
            sum.credited += row.credited;
        }
        sum
    }

    /// How many workers have a row in the ledger.
    pub fn workers(&self) -> usize {
        self.lock().core.ledger().len()
    }

    /// The network moves on: a new tip.
    pub fn new_tip(&self) {
        let mut state = self.lock();
        state.serial = state.serial.wrapping_add(1);
        let serial = state.serial;
        state.core.work(task(serial), Instant::now());
        state.flush();
    }

    /// The network moves on, and nobody is told: every share from now on is stale.
    pub fn new_tip_unseen(&self) {
        let mut state = self.lock();
        state.serial = state.serial.wrapping_add(1);
        let serial = state.serial;
        state.core.work(task(serial), Instant::now());
        drop(state.core.acts());
    }

    /// Closes every connection.
    pub fn drop_all(&self) {
        self.lock().sessions.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestPool {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Work on another tip for every number, with a block target that nobody meets.
fn task(number: u8) -> Task {
    Task {
        header: Header::new(0x2000_0000, [number; 32], [2; 32], 1_790_000_000, 0x1a00_ffff),
        certificate_version: 3,
        height: Some(120_000 + u64::from(number)),
    }
}

/// Hashes that the easiest share takes: what every share of an honest test pool is worth.
pub fn easiest_work() -> f64 {
    pace::work_of(pace::EASIEST)
}
