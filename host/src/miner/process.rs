//! One provider process, as the host holds it: the link to a miner that is a plugin.
//!
//! The process is confined before any foreign code runs in it. What comes out of it arrives as [`Event`]s, in order
//! and bounded: a reader that is not served leaves the pipe full and the provider waiting, and one that is served
//! reads at most [`FRAMES_PER_SECOND`]. Of its proofs at most [`PROOFS_WAITING`] wait to be judged at a time.

use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};

use super::frame::{Decoder, Frame, FromProvider, ToProvider, VERSION};
use super::gate::Gate;
use super::link::{Event, Launch, LaunchError, Link, Look, MinerId, Place, Submission, What};
use super::provider::Order;
use crate::identity::ProcessIdentity;
use crate::plugins::trust::Trust;
use crate::plugins::{self, Reason};
use crate::sandbox::{self, Channel, Command, Crash, Ending, Policy, Violation, Waits};

/// Frames read per second in the long run. An honest provider needs a few.
pub const FRAMES_PER_SECOND: u32 = 2000;
/// Frames read at once before that.
const FRAMES_BURST: u32 = 4000;
/// Frames that may wait to be written. A process that does not read is not served for ever.
const UNREAD_MAX: usize = 64;
/// What the process prints is kept up to so many bytes between two looks.
const OUTPUT_BYTES_MAX: usize = 8 << 10;
/// The same where backtraces are asked for, which are long.
const DEBUG_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Proofs of one process that may wait to be judged; beyond that nothing is read from it.
pub const PROOFS_WAITING: usize = 8;

/// The hidden subcommand of the provider process.
pub const SUBCOMMAND: &str = "__provider";

/// Starts provider processes with one order, confined to one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Launcher {
    /// What the process calls itself where processes are listed; visible to every user of the machine.
    pub title: String,
    /// What to run.
    pub order: Order,
    /// What it may.
    pub policy: Policy,
    /// Have panics bring a backtrace, which the plugin prints.
    pub debug: bool,
    /// Use the file whatever user owns it or may write to it.
    pub relaxed: bool,
    /// Who is trusted to vouch for a file that takes its place.
    pub trust: Trust,
}

impl Launch for Launcher {
    fn launch(
        &self,
        miner: MinerId,
        generation: u64,
        events: &mpsc::Sender<Event>,
    ) -> Result<Box<dyn Link>, LaunchError> {
        let (order, note) = self.look_again().map_err(|err| LaunchError(Box::new(err)))?;
        let launcher = Self { order, ..self.clone() };
        match Child::spawn(miner, generation, &launcher, events.clone()) {
            Ok(child) => {
                // Where there is no room for it, more was said than anybody reads.
                let note = note.map(|text| Event { miner, generation, what: What::Note(text) });
                note.into_iter().for_each(|note| _ = events.try_send(note));
                Ok(Box::new(child))
            }
            Err(err) => Err(LaunchError(Box::new(err))),
        }
    }
}

/// A plugin's file that was replaced since the session began by one that may not be used, or that may itself not be used any
/// more.
#[derive(Debug, thiserror::Error)]
#[error("its plugin {} {what} ({}): {}; {}", crate::text::printable_path(path), reason.code, reason.reason, reason.fix)]
pub struct Replaced {
    path: std::path::PathBuf,
    what: &'static str,
    reason: Reason,
}

impl Launcher {
    /// The order for the file that is there now: updates replace files, and touch them. With a line about a new one.
    fn look_again(&self) -> Result<(Order, Option<String>), Replaced> {
        let mut order = self.order.clone();
        let Some(before) = order.identity else { return Ok((order, None)) };
        let look = plugins::look(&order.plugin, self.relaxed);
        let is_same = look.identity == Some(before);
        // The file alone does not tell: others may have been let into its folder, or to what it brings along.
        if is_same && look.refusal.is_none() {
            return Ok((order, None));
        }
        let what = match is_same {
            true => "may not be used any more",
            false => "was replaced, and the new one is refused",
        };
        let refused = |reason| Replaced { path: order.plugin.clone(), what, reason };
        let judged = || self.trust.judge(&order.plugin, &look, None).refusal;
        if let Some(reason) = look.refusal.clone().or_else(judged) {
            return Err(refused(reason));
        }
        let manifest = look.manifest.as_ref();
        let id = manifest.map(|manifest| manifest.id.as_str()).unwrap_or_default();
        if id != order.provider {
            return Err(refused(Reason::of_replacement(&order.provider, id)));
        }
        let version = manifest.map(|manifest| manifest.version.as_str()).unwrap_or_default();
        let note = format!(
            "the plugin of `{id}` was replaced since the session began: from here on it is version {version}, {}",
            fingerprint(&order.plugin)
        );
        order.identity = look.identity;
        Ok((order, Some(note)))
    }
}

/// The hash of the beginning of a file, for the log: which build it is.
fn fingerprint(path: &std::path::Path) -> String {
    use std::io::Read;
    /// Longer files are told by their beginning.
    const READ_MAX: u64 = 64 << 20;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => format!("blake3 {}", &blake3::hash(&bytes).to_hex()[..16]),
        Err(err) => format!("not readable for its hash: {err}"),
    }
}

/// A running provider process. Dropping it ends it.
#[derive(Debug)]
pub struct Child {
    confined: sandbox::Confined,
    identity: ProcessIdentity,
    frames: mpsc::Sender<ToProvider>,
    violations_seen: u64,
    /// How often the kernel had ended somebody for memory before this process began.
    memory_kills: u64,
    /// What was seen since the last look.
    seen: Look,
    /// Where it crashed, if it said so.
    crash: Option<Crash>,
}

impl Child {
    /// Starts a provider process, confined and ordered as `launcher` says.
    ///
    /// Blocks until the confinement is in force, milliseconds as a rule. The calling thread must outlive the process.
    ///
    /// # Errors
    ///
    /// [`sandbox::SpawnError`]; nothing is left running then.
    pub fn spawn(
        miner: MinerId,
        generation: u64,
        launcher: &Launcher,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, sandbox::SpawnError> {
        let Launcher { title, order, policy, debug, .. } = launcher;
        let start = |err| sandbox::SpawnError::Start { program: "pearlbed".into(), err };
        let mut command = Command::this_program(SUBCOMMAND)
            .map_err(start)?
            .title(title)
            .channel(Channel::Stream)
            .capture_bytes(if *debug { DEBUG_OUTPUT_BYTES_MAX } else { OUTPUT_BYTES_MAX });
        if *debug {
            command = command.env("RUST_BACKTRACE", "1");
        }
        let confined = sandbox::spawn(&command, policy)?;
        let pid = confined.pid().unsigned_abs();
        let identity =
            ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, start_time: 0, boot_id: None });
        let pipe = StdStream::from(confined.channel().try_clone_to_owned().map_err(start)?);
        pipe.set_nonblocking(true).map_err(start)?;
        let (reader, writer) = tokio::net::UnixStream::from_std(pipe).map_err(start)?.into_split();
        let (frames, outgoing) = mpsc::channel(UNREAD_MAX);
        tokio::spawn(write(writer, outgoing));
        let outlet = Outlet { miner, generation, events, places: Arc::new(Semaphore::new(PROOFS_WAITING)) };
        tokio::spawn(read(reader, outlet));
        let mut child = Self {
            confined,
            identity,
            frames,
            violations_seen: 0,
            memory_kills: crate::hardware::group::memory_kills(),
            seen: Look::default(),
            crash: None,
        };
        child.send(ToProvider::Hello { version: VERSION });
        let order = serde_json::to_string(order).expect("an order has text keys and plain values");
        child.send(ToProvider::Start(order));
        Ok(child)
    }

    /// Who it is.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Waits a moment for a process whose pipe has ended to end by itself, so that its own ending is seen and not
    /// ours; then ends it.
    pub async fn ended(&mut self) -> Ending {
        for _ in 0..50 {
            if let Some(ending) = self.confined.try_wait() {
                return ending;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.confined.kill()
    }
}

impl Child {
    /// How it ended, with what the kernel says of the cause.
    fn ending(&mut self, ending: Ending) -> String {
        self.read_output();
        if ending.signal != Some(libc::SIGKILL) || crate::hardware::group::memory_kills() <= self.memory_kills
        {
            return Crash::words(self.crash.as_ref(), ending);
        }
        let limit = crate::hardware::group::memory_limit()
            .map_or_else(String::new, |bytes| format!(" ({})", crate::text::bytes(bytes)));
        format!(
            "the system ended it because the memory of its control group{limit} was used up: raise that limit, or give the provider less to hold"
        )
    }

    /// Reads what it has printed.
    fn read_output(&mut self) {
        self.confined.stdout.drain();
        self.confined.stderr.drain();
        let mut outputs = [self.confined.stdout.take(), self.confined.stderr.take()];
        if let Some(crash) = Crash::take(&mut outputs[1]) {
            self.crash = Some(crash);
        }
        for output in outputs {
            let lines = output.text.lines().filter(|line| !line.trim().is_empty());
            self.seen.printed.extend(lines.map(str::to_owned));
            self.seen.bytes_left_out += output.bytes_left_out;
        }
    }
}

impl Link for Child {
    fn send(&mut self, frame: ToProvider) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    fn end(&mut self) -> String {
        let ending = self.confined.kill();
        self.ending(ending)
    }

    fn try_ended(&mut self) -> Option<String> {
        let ending = self.confined.try_wait()?;
        Some(self.ending(ending))
    }

    fn look(&mut self) -> Look {
        self.read_output();
        let mut look = std::mem::take(&mut self.seen);
        let generation = self.confined.violations().generation();
        if generation != self.violations_seen {
            self.violations_seen = generation;
            look.denied = self.confined.violations().take().into_iter().map(denied).collect();
        }
        look
    }

    fn process(&self) -> Option<&ProcessIdentity> {
        Some(&self.identity)
    }

    fn waits(&self) -> Option<Waits> {
        sandbox::waits(self.identity.pid)
    }

    fn confinement(&self) -> Option<&[String]> {
        Some(&self.confined.report().failed)
    }
}

fn denied(violation: Violation) -> (String, u64) {
    let count = violation.count;
    (Violation { count: 1, ..violation }.to_string(), count)
}

async fn write(mut pipe: OwnedWriteHalf, mut frames: mpsc::Receiver<ToProvider>) {
    while let Some(frame) = frames.recv().await {
        if pipe.write_all(&frame.encode()).await.is_err() {
            // The reader sees the end of the pipe, too, and tells.
            return;
        }
    }
}

/// Where what is read goes.
struct Outlet {
    miner: MinerId,
    generation: u64,
    events: mpsc::Sender<Event>,
    places: Arc<Semaphore>,
}

impl Outlet {
    /// Nothing where nobody listens any more.
    async fn tell(&self, what: What) -> Option<()> {
        self.events.send(Event { miner: self.miner, generation: self.generation, what }).await.ok()
    }

    async fn frame(&self, frame: FromProvider) -> Option<()> {
        let what = match frame {
            FromProvider::Submit { sequence, job, proof } => {
                let place = Place::of(Arc::clone(&self.places).acquire_owned().await.ok()?);
                What::Proof(Submission { sequence, job, proof, place })
            }
            frame => What::Frame(frame),
        };
        self.tell(what).await
    }
}

async fn read(mut pipe: OwnedReadHalf, outlet: Outlet) {
    let why = read_frames(&mut pipe, &outlet).await;
    // Without a listener the session is over.
    let _ = outlet.tell(What::Closed(why)).await;
}

/// Reads until the pipe ends or makes no sense; says which, for the latter.
async fn read_frames(pipe: &mut OwnedReadHalf, outlet: &Outlet) -> Option<String> {
    let mut decoder = Decoder::<FromProvider>::default();
    let mut gate = Gate::new(FRAMES_PER_SECOND, FRAMES_BURST, Instant::now());
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return decoder.is_midway().then(|| "its last frame was cut".to_owned()),
            Ok(count) => count,
        };
        decoder.feed(&buffer[..count]);
        loop {
            let frame = match decoder.take() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(err) => return Some(format!("it sent {err}")),
            };
            if !gate.pass(Instant::now()) {
                outlet.tell(What::Throttled).await?;
                // A tenth of a second's worth at a time: a timer per frame would cost more than the frame.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                gate.pass(Instant::now());
            }
            outlet.frame(frame).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_plugin_that_others_were_let_in_to_is_not_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("x.so");
        std::fs::write(&plugin, "no library").unwrap();
        std::fs::set_permissions(&plugin, PermissionsExt::from_mode(0o646)).unwrap();
        let order = Order {
            identity: plugins::look(&plugin, false).identity,
            plugin,
            provider: "x".into(),
            wallet_address: String::new(),
            pearld_rpc_url: String::new(),
            extra: serde_json::Map::new(),
        };
        let launcher = Launcher {
            title: "x".into(),
            order,
            policy: Policy::default(),
            debug: false,
            relaxed: false,
            trust: Trust::default(),
        };
        let said = launcher.look_again().unwrap_err().to_string();
        let words = "x.so may not be used any more (writable-by-others): everybody may write to it (mode 0646); `chmod go-w";
        assert!(said.contains(words), "{said}");
    }
}
