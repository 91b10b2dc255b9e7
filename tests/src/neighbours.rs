//! An honest program at a miner port, measured by what it sends and what is answered, and the neighbours that it may have
//! there.
//!
//! The honest one sends valid proofs by a timetable, which no neighbour and no busy machine changes, so that the share of
//! them that was answered in time says how much of its rate it keeps.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{CertificateVersion, Header, Job, Matrix, MiningConfiguration, PeriodicPattern, Target};
use serde_json::Value;

/// A job as the pool dialect tells it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub id: String,
    job: Job,
}

impl Task {
    fn of(params: &Value) -> Self {
        let unhex = |name: &str| -> Vec<u8> {
            let text = params[name].as_str().unwrap();
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let mut target: [u8; 32] = unhex("target").try_into().unwrap();
        target.reverse();
        let version = u32::try_from(params["cert_version"].as_u64().unwrap()).unwrap();
        let job = Job {
            header: Header::from_bytes(unhex("header").try_into().unwrap()),
            target: Some(Target::from_le_bytes(target)),
            certificate: CertificateVersion::try_from(version).unwrap(),
            rank_penalty: true,
        };
        Self { id: params["job_id"].as_str().unwrap().to_owned(), job }
    }

    /// The certificate version of its network.
    pub fn certificate(&self) -> CertificateVersion {
        self.job.certificate
    }

    /// So many different proofs for it, in base64. Its target must be an easy one.
    pub fn mine(&self, count: usize) -> Vec<String> {
        self.mine_by(self.job.certificate, count)
    }

    /// The same by the rules of another certificate version.
    pub fn mine_by(&self, version: CertificateVersion, count: usize) -> Vec<String> {
        const K: usize = 2048;
        let tile = PeriodicPattern::contiguous(16).unwrap();
        let config = MiningConfiguration::dense(K as u32, 128, tile, tile);
        let bound = self.job.effective_target().bound(&config, true);
        let mut proofs = Vec::new();
        for seed in 0.. {
            if proofs.len() == count {
                break;
            }
            let [a, bt] = [1, 2].map(|side| test_matrix(2 * seed + side, 16 * K));
            let [a, bt] = [&a, &bt].map(|entries| Matrix::new(entries, K).unwrap());
            let product = Product::new(&self.job.header, &config, version.seed_rule(), a, bt);
            if let Some(attempt) = product.mine(bound) {
                let proof = product.prove(&attempt);
                // At an easy target, what was found by other rules may be good by luck.
                if version == self.job.certificate || pearl_pow::verify(&self.job, &proof).is_err() {
                    proofs.push(BASE64.encode(proof.encode()));
                }
            }
        }
        proofs
    }
}

/// How long a login and the first job may take, on the busiest machine.
const LOGIN_TIME: Duration = Duration::from_secs(120);

/// What came of an honest program's timetable.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Proofs that were sent.
    pub sent: usize,
    /// Those that were accepted.
    pub accepted: usize,
    /// Those that were accepted before so much time had passed since they were due.
    pub in_time: usize,
    /// From when a proof was due to its answer: in the middle, and the longest.
    pub latency: (Duration, Duration),
}

/// An honest program of the pool dialect.
#[derive(Debug)]
pub struct Honest {
    stream: TcpStream,
    replies: mpsc::Receiver<(u64, bool, Instant)>,
    tasks: mpsc::Receiver<Task>,
    said: mpsc::Receiver<String>,
    /// The job that it works on: the first that it was given.
    pub task: Task,
    last: u64,
}

impl Honest {
    /// Logs in at `address` and waits for its first job.
    pub fn log_in(address: &str, worker: &str) -> Self {
        Self::of_version(address, worker, 1)
    }

    /// The same as another version of the program.
    pub fn of_version(address: &str, worker: &str, version: u32) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        let login = format!(
            r#"{{"id":0,"method":"mining.authorize","params":{{"wallet":"prl1x","worker":"{worker}","agent":"honest/{version}","pass":"x"}}}}"#
        );
        writeln!(stream, "{login}").unwrap();
        stream.set_read_timeout(Some(LOGIN_TIME)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let task = loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert!(line["error"].is_null(), "{line}");
            if line["method"] == "mining.notify" {
                break Task::of(&line["params"]);
            }
        };
        // From here on its reader waits for as long as the connection stands.
        stream.set_read_timeout(None).unwrap();
        let (sender, replies) = mpsc::channel();
        let ((new_tasks, tasks), (saying, said)) = (mpsc::channel(), mpsc::channel());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(reply) = serde_json::from_str::<Value>(&line) else { return };
                match reply["method"].as_str() {
                    Some("mining.notify") => drop(new_tasks.send(Task::of(&reply["params"]))),
                    Some("client.show_message") => drop(saying.send(reply["params"].to_string())),
                    _ => {}
                }
                if let Some(id) = reply["id"].as_u64() {
                    let _ = sender.send((id, reply["result"] == true, Instant::now()));
                }
            }
        });
        Self { stream, replies, tasks, said, task, last: 0 }
    }

    /// Takes up the next job that comes, within `patience`.
    pub fn next_task(&mut self, patience: Duration) {
        self.task = self.tasks.recv_timeout(patience).expect("there is another job");
    }

    /// What it was told for its person's eyes, within `patience`.
    pub fn told(&self, patience: Duration) -> String {
        self.said.recv_timeout(patience).expect("it is told something")
    }

    /// Whether it was given another job since the last look.
    pub fn was_given_more(&self) -> bool {
        self.tasks.try_recv().is_ok()
    }

    /// Sends `proofs`, one each `every`, and waits for the answers; those that came within `soon` were in time.
    ///
    /// # Panics
    ///
    /// Where one is not answered within `patience`.
    pub fn hand_in(
        &mut self,
        proofs: &[String],
        every: Duration,
        soon: Duration,
        patience: Duration,
    ) -> Measured {
        let (began, first) = (Instant::now(), self.last);
        let due = |id: u64| began + every * u32::try_from(id - first).unwrap();
        for proof in proofs {
            self.last += 1;
            std::thread::sleep(due(self.last).saturating_duration_since(Instant::now()));
            let (id, job) = (self.last, &self.task.id);
            let share = format!(
                r#"{{"id":{id},"method":"mining.submit","params":{{"job_id":"{job}","plain_proof":"{proof}"}}}}"#
            );
            writeln!(self.stream, "{share}").unwrap();
        }
        let mut measured = Measured {
            sent: proofs.len(),
            accepted: 0,
            in_time: 0,
            latency: (Duration::ZERO, Duration::ZERO),
        };
        let mut latencies = Vec::new();
        while latencies.len() < proofs.len() {
            let (id, accepted, at) = self.replies.recv_timeout(patience).expect("each proof is answered");
            assert!(id > first, "an answer to nothing that was sent");
            let latency = at.saturating_duration_since(due(id));
            latencies.push(latency);
            measured.accepted += usize::from(accepted);
            measured.in_time += usize::from(accepted && latency <= soon);
        }
        latencies.sort();
        measured.latency = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
        measured
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        // Its reader has the same connection.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// What a bad neighbour does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Sends a thousand lines of rubbish, however often it is sent away, and begins anew.
    Rubbish,
    /// Sends half a line and waits.
    HalfLines,
    /// Sixty-four connections that say nothing.
    Idle,
    /// Asks for work without end and reads nothing.
    NeverReads,
    /// Tries to hand in ten thousand wrong proofs a second.
    WrongProofs,
}

/// All of them.
pub const ALL: [Bad; 5] = [Bad::Rubbish, Bad::HalfLines, Bad::Idle, Bad::NeverReads, Bad::WrongProofs];

/// Bad neighbours, until this is dropped.
#[derive(Debug)]
pub struct Neighbours {
    stop: Arc<AtomicBool>,
    /// Lines that they have got rid of.
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    _kept: Vec<TcpStream>,
}

impl Neighbours {
    /// Those of `which` at the port at `address`.
    pub fn at(address: &str, which: &[Bad]) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut threads, mut kept) = (Vec::new(), Vec::new());
        for bad in which {
            match bad {
                Bad::Idle => kept.extend((0..64).map(|_| TcpStream::connect(address).unwrap())),
                Bad::HalfLines => {
                    for half in ["{\"jsonrpc\":\"2.0\",\"id\":1,\"meth", "{\"id\":1,\"method\":\"mining.auth"]
                    {
                        let mut stream = TcpStream::connect(address).unwrap();
                        stream.write_all(half.as_bytes()).unwrap();
                        kept.push(stream);
                    }
                }
                Bad::Rubbish | Bad::NeverReads | Bad::WrongProofs => {
                    let (bad, address) = (*bad, address.to_owned());
                    let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                    threads.push(std::thread::spawn(move || misbehave(bad, &address, &stop, &sent)));
                }
            }
        }
        Self { stop, sent, threads, _kept: kept }
    }

    /// Lines that they have got rid of so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn misbehave(bad: Bad, address: &str, stop: &AtomicBool, sent: &AtomicU64) {
    let proof = BASE64.encode([9; 3000]);
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        if bad == Bad::WrongProofs {
            let login = r#"{"id":1,"method":"mining.authorize","params":["x.flood","x"]}"#;
            let _ = writeln!(stream, "{login}");
            // Its answers are read, so that nothing but what it sends is in its way.
            let mut answers = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut rest = [0; 64 << 10];
                loop {
                    match answers.read(&mut rest) {
                        Ok(0) => return,
                        Err(err) if err.kind() != std::io::ErrorKind::WouldBlock => return,
                        _ => {}
                    }
                }
            });
        }
        let began = Instant::now();
        for number in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let line = match bad {
                Bad::Rubbish => "\u{0}rubbish \u{1b}[2J\n".to_owned(),
                Bad::NeverReads => "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"getMiningInfo\"}\n".to_owned(),
                _ => format!(
                    "{{\"id\":{number},\"method\":\"mining.submit\",\"params\":{{\"job_id\":\"1\",\"plain_proof\":\"{proof}\"}}}}\n"
                ),
            };
            let pace = Duration::from_micros(if bad == Bad::WrongProofs { 100 } else { 1000 });
            std::thread::sleep((began + pace * number).saturating_duration_since(Instant::now()));
            match stream.write_all(line.as_bytes()) {
                Ok(()) => sent.fetch_add(1, Ordering::Relaxed),
                // Half a line is gone then: what follows is rubbish, too.
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
            };
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}
