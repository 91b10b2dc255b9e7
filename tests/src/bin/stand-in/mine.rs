//! The worker in it: one connection that asks for work, and one for each proof.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::opening::Matrix;
use pearl_pow::{
    CertificateVersion, Header, Job, MiningConfiguration, PeriodicPattern, SeedRule, Target, U256, reference,
};
use serde_json::{Value, json};

use super::{HEALTHY, LARGE, LONG, STEPS, is, say};

fn connect() -> Option<UnixStream> {
    UnixStream::connect(std::env::var("MINER_RPC_SOCKET_PATH").ok()?).ok()
}

/// Asks and is answered, over `stream`.
fn ask(mut stream: &UnixStream, request: &str) -> Option<String> {
    stream.write_all(format!("{request}\n").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).take(4 << 20).read_line(&mut line).ok()?;
    (!line.is_empty()).then_some(line)
}

/// A job, as it is told.
struct Info {
    /// What is echoed: the job's own text, so that no digit of its target is lost.
    text: String,
    header: String,
    target: Target,
    version: u32,
}

impl Info {
    fn read(answer: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(answer).ok()?;
        let job = value.get("result")?;
        let (_, from) = answer.split_once("\"target\":")?;
        let digits: String = from.trim_start().chars().take_while(char::is_ascii_digit).collect();
        let number: U256 = digits.parse().ok()?;
        let header = job.get("incomplete_header_bytes")?.as_str()?.to_owned();
        let version = u32::try_from(job.get("cert_version")?.as_u64()?).ok()?;
        let text =
            format!(r#"{{"incomplete_header_bytes":"{header}","target":{digits},"cert_version":{version}}}"#);
        Some(Self { text, header, target: Target::from_le_bytes(number.to_le_bytes()), version })
    }
}

/// Mines until the gateway is lost.
pub fn mine() {
    let Some(stream) = connect() else {
        say("cannot connect to the gateway: Permission denied, or nobody is there");
        std::process::exit(1);
    };
    let mut first = true;
    for round in 0.. {
        let question = json!({ "jsonrpc": "2.0", "id": round, "method": "getMiningInfo", "params": {} });
        let asked = Instant::now();
        let Some(answer) = ask(&stream, &question.to_string()) else { return };
        let Some(info) = Info::read(&answer) else {
            say(&format!("no work: {answer}"));
            if first {
                std::process::exit(1);
            }
            return;
        };
        if first {
            if is("asks-once") {
                say(&format!("its first question was answered after {} ms", asked.elapsed().as_millis()));
            }
            say("Mining state initalized");
            first = false;
        }
        if is("silent") && HEALTHY.load(Ordering::Relaxed) {
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        let begun = Instant::now();
        let mines = match is("on-prompt") || is("no-layers") {
            // What was multiplied meanwhile, it says itself.
            true => LONG.swap(0, Ordering::Relaxed) > 0 && !is("no-layers"),
            false => {
                STEPS.fetch_add(1, Ordering::Relaxed);
                LARGE.fetch_add(u64::from(!is("small")), Ordering::Relaxed);
                !is("small")
            }
        };
        // Of rubbish there is always some: whether a step has a proof in it is chance.
        let proof = || if is("rubbish") { Some(vec![7; 1000]) } else { step(&info, round) };
        if mines && let Some(proof) = proof() {
            say("Block found!");
            submit(&info, &proof, round);
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
}

fn submit(info: &Info, proof: &[u8], round: u64) {
    let Some(stream) = connect() else { return };
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":{round},"method":"submitPlainProof","params":{{"plain_proof":"{}","mining_job":{}}}}}"#,
        BASE64.encode(proof),
        info.text
    );
    match ask(&stream, &request) {
        Some(answer) if !answer.contains("\"error\"") => {
            say(&format!("Submitted plain proof to gateway, {} characters", BASE64.encode(proof).len()));
        }
        answer => say(&format!("the gateway refused a proof: {}", answer.unwrap_or_default())),
    }
}

/// One large step: a product of two matrices that nobody has multiplied before, and the proof in it, where there is one.
fn step(info: &Info, round: u64) -> Option<Vec<u8>> {
    let Info { header, target, version, .. } = info;
    let header = BASE64.decode(header).ok()?;
    let header = Header::from_bytes(header.try_into().ok()?);
    let certificate = CertificateVersion::try_from(*version).ok()?;
    let rows = 256;
    let pairs: Vec<u64> = (0..32).flat_map(|pair| [8 * pair, 8 * pair + 1]).collect();
    let (k, left, right) = match is("large") {
        // The hidden size of a model of 70 billion parameters, and what Pearl's kernels open of it.
        true => (8192, &[0, 8][..], &pairs[..]),
        false => (2048, &[0, 8, 64, 72][..], &[0, 1, 8, 9, 32, 33, 40, 41][..]),
    };
    let config = MiningConfiguration::dense(
        k as u32,
        128,
        PeriodicPattern::from_offsets(left).ok()?,
        PeriodicPattern::from_offsets(right).ok()?,
    );
    let job = Job { header, target: Some(*target), certificate, rank_penalty: true };
    let bound = job.effective_target().bound(&config, true);
    let seeds = match (is("old-seeds"), certificate.seed_rule()) {
        (false, rule) => rule,
        (true, SeedRule::Salted) => SeedRule::Legacy,
        (true, _) => SeedRule::Salted,
    };
    let seed = u64::from(std::process::id()) * 1_000_003 + round * 2;
    let matrix = |side: u64| reference::test_matrix(seed + side + 1, rows * k);
    let (a, bt) = (matrix(0), matrix(1));
    let left = Matrix::new(&a, k).ok()?;
    let right = Matrix::new(&bt, k).ok()?;
    let product = reference::Product::new(&job.header, &config, seeds, left, right);
    let attempt = product.mine(bound)?;
    Some(product.prove(&attempt).encode())
}
