//! A pool that misbehaves by name, on loopback, scriptable per connection.
//!
//! The honest part is the reference pool's own rules ([`Core`]), which verify every share; a [`Fault`] bends what goes in
//! and out. Connection number `n` has the faults of row `n` of the script, and those after the last row none. Everything
//! that happens is kept as a list of texts, and the ledger can be read at any moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pearl_pow::Header;
use pearlbed::work::devnet::pace;
use pearlbed::work::devnet::pool::core::{Act, Candidate, Checked, Core, Row, Settings, Task, check};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a pool does wrong on one connection. The groups are those of the pool protocol's section 11.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// connect: accepts and says nothing.
    Silent,
    /// connect: closes at once.
    CloseAtOnce,
    /// connect: resets at once.
    Reset,
    /// connect: says this before anything else, and closes.
    Says(Vec<u8>),
    /// authorize: answers with this `error` member.
    RefuseLogin(&'static str),
    /// authorize: never answers.
    NoAck,
    /// authorize: answers so much later.
    AckLate(Duration),
    /// authorize: understands arrays only, and says nothing to an object.
    HangsOnObject,
    /// authorize: answers after the first job.
    AckAfterJob,
    /// authorize: answers yes and closes.
    AckThenDrop,
    /// authorize: understands arrays only.
    ArrayOnly,
    /// authorize: says this encoding.
    AckType(&'static str),
    /// jobs: none.
    NoJobs,
    /// jobs: so many, as fast as they are taken.
    Flood(usize),
    /// jobs: this member is that in every job.
    JobMember(&'static str, &'static str),
    /// jobs: each comes after another of the same name with another header.
    RepeatId,
    /// jobs: this text instead of that in every job.
    InJob(&'static str, &'static str),
    /// replies: none to shares.
    NoReplies,
    /// replies: twice.
    Twice,
    /// replies: under an id that nobody asked with, and then under the right one.
    WrongId,
    /// replies: the id as text.
    TextId,
    /// replies: of two, the later first.
    Reversed,
    /// replies: yes to everything, without looking.
    YesOnly,
    /// replies: yes first, and then the verdict.
    YesFirst,
    /// replies: this `error` member for every share.
    RefuseShares(&'static str),
    /// framing: one byte at a time.
    OneByte,
    /// framing: nothing until the first job, and then all in one piece.
    Merged,
    /// framing: CRLF and blank lines.
    Crlf,
    /// framing: a line of this many bytes after the first job.
    LongLine(usize),
    /// framing: a line without end after the first job.
    Endless,
    /// framing: this line after the first job.
    Line(Vec<u8>),
    /// link: reads nothing after the login.
    ReadNothing,
    /// link: closes in the middle of the first share.
    EofInShare,
    /// link: resets in the middle of the first share.
    ResetInShare,
    /// hostile: asks for the version so many times.
    AsksVersion(usize),
    /// policy: so many shares are judged; the next one is answered with this `error` member, and the connection closed.
    BansAfter(usize, &'static str),
    /// policy: closes the connection of whoever says nothing for so long.
    DropsIdle(Duration),
    /// policy: every second job is 64 times harder.
    Jumps,
}

/// A running pool.
#[derive(Debug)]
pub struct TestPool {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    core: Core,
    events: Vec<String>,
    sessions: std::collections::BTreeMap<u64, mpsc::UnboundedSender<String>>,
    connections: u64,
    serial: u8,
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
        flush(&mut state);
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

/// Lets the rules' lines go to their sessions; answers what is to be verified.
fn flush(state: &mut State) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for act in state.core.acts() {
        match act {
            Act::Send { session, line } => {
                if let Some(lines) = state.sessions.get(&session) {
                    let _ = lines.send(line);
                }
            }
            Act::Verify(candidate) => candidates.push(*candidate),
            Act::Tell(event) => state.events.push(format!("{event:?}")),
            Act::Rate(_) => {}
        }
    }
    candidates
}

async fn serve(listener: TcpListener, script: Vec<Vec<Fault>>, tls: Acceptor, state: Arc<Mutex<State>>) {
    let mut script = script.into_iter();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let faults = script.next().unwrap_or_default();
        let session = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.connections += 1;
            let number = state.connections;
            state.events.push(format!("connection {number} with {faults:?}"));
            number
        };
        if faults.contains(&Fault::Reset) {
            reset(&stream);
            continue;
        }
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(session, stream, faults, state).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => converse(session, stream, faults, state).await,
                    Err(err) => {
                        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                        state.events.push(format!("handshake: {err}"));
                    }
                },
            }
        });
    }
}

/// The next close is a reset.
fn reset(stream: &tokio::net::TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

async fn converse<S: AsyncRead + AsyncWrite + Send + 'static>(
    session: u64,
    stream: S,
    faults: Vec<Fault>,
    state: Arc<Mutex<State>>,
) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let has = |fault: &Fault| faults.contains(fault);
    let (mut read, mut write) = tokio::io::split(stream);
    if has(&Fault::CloseAtOnce) {
        return;
    }
    if let Some(Fault::Says(bytes)) = faults.iter().find(|fault| matches!(fault, Fault::Says(_))) {
        let _ = write.write_all(bytes).await;
        let _ = write.flush().await;
        // Closed with what was said in it read by the other side.
        let mut rest = [0; 4096];
        let _ = tokio::time::timeout(Duration::from_secs(5), read.read(&mut rest)).await;
        return;
    }
    if has(&Fault::Silent) {
        let mut rest = [0; 4096];
        while matches!(read.read(&mut rest).await, Ok(1..)) {}
        return;
    }
    let (lines, mut queue) = mpsc::unbounded_channel();
    {
        let mut state = lock();
        state.core.open(session, Instant::now());
        state.sessions.insert(session, lines);
    }
    let mut out = Outgoing { faults: faults.clone(), jobs: 0, held: None, merged: Vec::new() };
    let idle =
        faults.iter().find_map(|fault| if let Fault::DropsIdle(time) = fault { Some(*time) } else { None });
    let shares = std::sync::atomic::AtomicUsize::new(0);
    let writing = async {
        while let Some(line) = queue.recv().await {
            for bytes in out.bend(line) {
                let sent = if out.faults.contains(&Fault::OneByte) {
                    let mut all = Ok(());
                    for byte in bytes {
                        all = write.write_all(&[byte]).await;
                        let _ = write.flush().await;
                    }
                    all
                } else {
                    write.write_all(&bytes).await
                };
                if sent.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
            if out.faults.contains(&Fault::AckThenDrop) {
                return;
            }
            if out.faults.contains(&Fault::Endless) && out.jobs > 0 {
                let chunk = vec![b'x'; 64 * 1024];
                while write.write_all(&chunk).await.is_ok() {}
                return;
            }
        }
    };
    let reading = async {
        let mut buffer = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let logged_in = lock().core.is_in(session);
            if logged_in && has(&Fault::ReadNothing) {
                std::future::pending::<()>().await;
            }
            let next = read.read(&mut chunk);
            let next = match idle.filter(|_| logged_in) {
                Some(time) => match tokio::time::timeout(time, next).await {
                    Ok(next) => next,
                    Err(_) => return lock().events.push("dropped for saying nothing".to_owned()),
                },
                None => next.await,
            };
            let Ok(count @ 1..) = next else { return };
            buffer.extend_from_slice(&chunk[..count]);
            if logged_in && (has(&Fault::EofInShare) || has(&Fault::ResetInShare)) && buffer.len() > 100 {
                lock().events.push("closed in the middle of a share".to_owned());
                return;
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                heed(session, &line, &faults, &shares, &state).await;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    let mut state = lock();
    state.core.close(session);
    state.sessions.remove(&session);
}

async fn heed(
    session: u64,
    line: &str,
    faults: &[Fault],
    shares: &std::sync::atomic::AtomicUsize,
    state: &Arc<Mutex<State>>,
) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let id = value["id"].clone();
    let method = value["method"].as_str().unwrap_or_default().to_owned();
    let say = |line: String| {
        if let Some(lines) = lock().sessions.get(&session) {
            let _ = lines.send(line);
        }
    };
    for fault in faults {
        match (fault, method.as_str()) {
            (Fault::NoAck, "mining.authorize") => return,
            (Fault::AckLate(time), "mining.authorize") => tokio::time::sleep(*time).await,
            (Fault::HangsOnObject, "mining.authorize") if value["params"].is_object() => return,
            (Fault::YesOnly, "mining.submit") => {
                return say(format!(r#"{{"id":{id},"result":true,"error":null}}"#));
            }
            (Fault::BansAfter(free, error), "mining.submit")
                if shares.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= *free =>
            {
                say(format!(r#"{{"id":{id},"result":null,"error":{error}}}"#));
                // What was said is written; then the connection is closed.
                lock().sessions.remove(&session);
                return;
            }
            (Fault::RefuseLogin(error), "mining.authorize") => {
                return say(format!(r#"{{"id":{id},"result":null,"error":{error}}}"#));
            }
            (Fault::ArrayOnly, "mining.authorize") if value["params"].is_object() => {
                return say(format!(
                    r#"{{"id":{id},"result":null,"error":[20,"params must be an array",null]}}"#
                ));
            }
            (Fault::RefuseShares(error), "mining.submit") => {
                return say(format!(r#"{{"id":{id},"result":null,"error":{error}}}"#));
            }
            (Fault::YesFirst, "mining.submit") => {
                say(format!(r#"{{"id":{id},"result":true,"error":null}}"#));
            }
            _ => {}
        }
    }
    let candidates = {
        let mut state = lock();
        state.core.line(session, line, Instant::now());
        flush(&mut state)
    };
    for candidate in candidates {
        let checked = {
            let candidate = candidate.clone();
            tokio::task::spawn_blocking(move || check(&candidate.job, &candidate.proof)).await
        };
        let checked = checked.unwrap_or(Checked::Invalid);
        let mut state = lock();
        let worker = state.core.worker(session).unwrap_or_else(|| "gone".to_owned());
        state.core.verified(&candidate, &worker, checked, Instant::now());
        flush(&mut state);
    }
}

/// What the honest lines become on their way out.
struct Outgoing {
    faults: Vec<Fault>,
    jobs: usize,
    held: Option<String>,
    merged: Vec<u8>,
}

impl Outgoing {
    fn bend(&mut self, line: String) -> Vec<Vec<u8>> {
        let mut lines = vec![line.clone()];
        let is_job = line.contains("mining.notify");
        let is_ack = line.contains(r#""result":true"#) && line.contains(r#""type""#);
        let is_reply = !is_job && !is_ack && line.starts_with(r#"{"id":"#) && line.contains("result");
        let mut extra: Vec<Vec<u8>> = Vec::new();
        for fault in self.faults.clone() {
            match fault {
                Fault::NoJobs if is_job => lines.clear(),
                // Counted by the pool and never told.
                Fault::NoReplies if is_reply => lines.clear(),
                Fault::AckAfterJob if is_ack => self.held = lines.pop(),
                Fault::AckAfterJob if is_job => lines.extend(self.held.take()),
                Fault::AckType(kind) if is_ack => {
                    lines = vec![line.replace(r#""type":"plain""#, &format!(r#""type":"{kind}""#))];
                }
                Fault::JobMember(name, text) if is_job => {
                    lines = vec![with_member(&line, name, |_| text.to_owned())];
                }
                // The hour in the header's own words is another.
                Fault::RepeatId if is_job => lines.insert(0, with_member(&line, "header", another_time)),
                Fault::Jumps if is_job && self.jobs % 2 == 1 => {
                    lines = vec![with_member(&line, "target", a_64th)];
                }
                Fault::Reversed if is_reply => match self.held.take() {
                    Some(first) => lines.push(first),
                    None => self.held = lines.pop(),
                },
                Fault::InJob(what, with) if is_job => {
                    lines = lines.into_iter().map(|line| line.replace(what, with)).collect();
                }
                Fault::Flood(count) if is_job => {
                    for number in 0..count {
                        extra.push(
                            line.replacen("\"diff\"", &format!("\"n\":{number},\"diff\""), 1).into_bytes(),
                        );
                    }
                }
                Fault::Twice if is_reply => lines.push(line.clone()),
                Fault::WrongId if is_reply => {
                    let end = line.find(',').unwrap_or(0);
                    lines.insert(0, format!(r#"{{"id":987654{}"#, &line[end..]));
                }
                Fault::TextId if is_reply => {
                    let end = line.find(',').unwrap_or(0);
                    lines = vec![format!(r#"{{"id":"{}"{}"#, &line[6..end], &line[end..])];
                }
                Fault::LongLine(bytes) if is_job && self.jobs == 0 => extra.push(vec![b'x'; bytes]),
                Fault::Line(bytes) if is_job && self.jobs == 0 => extra.push(bytes),
                Fault::AsksVersion(count) if is_job && self.jobs == 0 => {
                    for number in 0..count {
                        extra.push(
                            format!(r#"{{"id":{number},"method":"client.get_version","params":[]}}"#).into(),
                        );
                    }
                }
                _ => {}
            }
        }
        self.jobs += usize::from(is_job);
        let end: &[u8] = if self.faults.contains(&Fault::Crlf) { b"\r\n\r\n\n" } else { b"\n" };
        let lines = lines.into_iter().map(String::into_bytes).chain(extra);
        let lines: Vec<Vec<u8>> = lines.map(|line| [&line[..], end].concat()).collect();
        if !self.faults.contains(&Fault::Merged) {
            return lines;
        }
        self.merged.extend(lines.concat());
        if self.jobs == 0 { Vec::new() } else { vec![std::mem::take(&mut self.merged)] }
    }
}

/// A line whose parameter `name`, a text, is changed.
fn with_member(line: &str, name: &str, change: impl Fn(&str) -> String) -> String {
    let mut value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = change(value["params"][name].as_str().unwrap_or_default());
    value["params"][name] = text.into();
    value.to_string()
}

/// A header in hex, made at another moment.
fn another_time(header: &str) -> String {
    let mut text = header.to_owned();
    let (at, digit) = (136, if text.ends_with('0') { "1" } else { "0" });
    text.replace_range(at..=at, digit);
    text
}

/// A 64th of a number in 64 hex digits.
fn a_64th(number: &str) -> String {
    let mut carried = 0_u32;
    number
        .chars()
        .map(|digit| {
            // Six bits to the right: one digit and two bits.
            let bits = carried << 4 | digit.to_digit(16).unwrap_or(0);
            carried = bits & 0xff;
            char::from_digit(bits >> 6 & 0xf, 16).unwrap_or('0')
        })
        .collect()
}

/// Hashes that the easiest share takes: what every share of an honest test pool is worth.
pub fn easiest_work() -> f64 {
    pace::work_of(pace::EASIEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_64th_is_six_bits_to_the_right() {
        for number in [0x40_u64, 0x1234_5678_9abc_def0, 0xffff_ffff_ffff_ffff, 0x3f] {
            assert_eq!(a_64th(&format!("{number:016x}")), format!("{:016x}", number / 64));
        }
    }
}
