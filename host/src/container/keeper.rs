//! Keeps one container: a thread that asks the engine, looks at what is served and does what [`super::life`] says.
//!
//! Asking an engine takes tenths of a second and fetching an image hours, so none of it is done by the session's own task.
//! What happens is told over a bounded channel. What it prints is [`super::printed`]'s, and what is said of it [`super::words`]'.
//!
//! ```text
//! run: may it? --> prepare: engine, image, folders --> watch, until something is wrong or ordered --> run
//! ```

mod prepare;
mod run;
mod tell;
mod watch;

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::run::Kept;
use super::recipe::Recipe;
use super::report::ContainerReport;
use super::trouble::Trouble;
use crate::config::ContainerSection;
use crate::home::Env;

/// Between two looks at a container.
const LOOK: Duration = Duration::from_secs(1);

/// What a keeper tells.
#[derive(Debug)]
pub struct Event {
    /// Of which miner.
    pub miner: String,
    /// What.
    pub what: What,
}

/// What a keeper tells.
#[derive(Debug)]
pub enum What {
    /// A line for the log; one of gravity or not.
    Line(bool, String),
    /// A line that the container printed.
    Printed(String),
    /// How it stands, where that has changed.
    Stands(Box<ContainerReport>),
    /// It is given up, and why.
    GivenUp(Trouble),
    /// It has ended and is removed: the keeper is done.
    Ended,
}

/// What a keeper is told.
#[derive(Debug)]
enum Order {
    /// There is a job for this certificate version, and the port listens.
    Go(u32),
    /// End it, and start it again.
    Again,
    /// End it, and let it rest.
    Rest,
    /// It rests no longer; one that was given up is tried again.
    Wake,
    /// End it, within this time.
    Stop(Duration),
}

/// What the session sees at the port of a container's workers.
#[derive(Debug, Default)]
struct Port {
    workers: AtomicU64,
    polled: Mutex<Option<Instant>>,
}

/// What a keeper is made of.
#[derive(Debug)]
pub struct Charge {
    /// What is to be run.
    pub recipe: Recipe,
    /// The provider's id.
    pub provider: String,
    /// `[mining.container]`.
    pub section: ContainerSection,
    /// The environment.
    pub env: Env,
    /// Variables that no engine's program may see.
    pub secrets: Vec<OsString>,
    /// What is passed on of nothing that it prints.
    pub hidden: Vec<String>,
    /// Every miner of the session that is a container: what others left behind is ended.
    pub miners: Vec<String>,
    /// It is not to run before it is woken.
    pub rests: bool,
}

/// The way to a keeper. Dropping it ends the container.
#[derive(Debug)]
pub struct Keeper {
    orders: Sender<Order>,
    port: Arc<Port>,
    called_off: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts a keeper; what it has to tell goes to `events`.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(charge: Charge, events: tokio::sync::mpsc::Sender<Event>) -> std::io::Result<Self> {
        let (orders, ordered) = channel();
        let port = Arc::new(Port::default());
        let called_off = Arc::new(AtomicBool::new(false));
        let mut kept = Kept::new(charge, events, ordered, (Arc::clone(&port), Arc::clone(&called_off)));
        std::thread::Builder::new().name("container".into()).spawn(move || kept.run())?;
        Ok(Self { orders, port, called_off })
    }

    /// There is a job for certificate `version`, and the port listens.
    pub fn go(&self, version: u32) {
        self.tell(Order::Go(version));
    }

    /// The container is to be ended and started again, also where it was given up.
    pub fn restart(&self) {
        self.tell(Order::Again);
    }

    /// The container is to be ended, and not to be started before it is woken.
    pub fn rest(&self) {
        self.tell(Order::Rest);
    }

    /// The container rests no longer; one that was given up is tried again.
    pub fn wake(&self) {
        self.tell(Order::Wake);
    }

    /// The container is to end within `grace`.
    pub fn stop(&self, grace: Duration) {
        self.tell(Order::Stop(grace));
        self.called_off.store(true, Ordering::Relaxed);
    }

    fn tell(&self, order: Order) {
        // A keeper that is done needs no orders.
        let _ = self.orders.send(order);
    }

    /// What is seen of its workers at the port: how many there are, and when one asked for work last.
    pub fn seen_at_port(&self, workers: u64, polled: Option<Instant>) {
        self.port.workers.store(workers, Ordering::Relaxed);
        let mut last = self.port.polled.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(polled);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.called_off.store(true, Ordering::Relaxed);
    }
}
