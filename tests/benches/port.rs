//! What an honest program at the miner port keeps of its rate beside bad neighbours, and what the supervisor costs meanwhile.
//!
//! `cargo xtask bench port` runs it, in release. An honest program sends valid proofs by a timetable. What is printed are
//! ratios of counts of the same run: of what it sent, how much was accepted within a second of its moment.

#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::time::Duration;

use pearlbed_tests::gateway::Gateway;
use pearlbed_tests::neighbours::{ALL, Honest, Measured, Neighbours};
use pearlbed_tests::network::Network;
use pearlbed_tests::port::{PORT, WALLET, address};
use pearlbed_tests::session::Bed;

/// 2^20 hashes: two tiles.
const NBITS: u32 = 0x1e10_0000;
const EVERY: Duration = Duration::from_millis(50);
const PROOFS: usize = 400;
const SOON: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let network = Network::new(NBITS, 3);
    let gateway = Gateway::tcp(&network);
    // One job for all of the run: nothing that is sent is late.
    gateway.behave(|behaviour| (behaviour.frozen, behaviour.poisoned) = (true, true));
    let extra = format!("gateway_port = {}", gateway.port());
    let bed = Bed::with(&extra, &format!("[mining]\nwallet_address = \"{WALLET}\"\n{PORT}"));
    let answer = bed.run(&["start", "--port", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let address = address(&bed);
    let pid = bed.status()["supervisor_pid"].as_u64().expect("a session runs");

    let mut honest = Honest::log_in(&address, "honest");
    let proofs = honest.task.mine(PROOFS * (ALL.len() + 2));
    let mut proofs = proofs.chunks(PROOFS);
    let mut take = || proofs.next().expect("enough were mined");
    println!(
        "an honest program sends {} proofs a second     accepted   within 1 s     median    longest   sent by neighbours",
        1000 / EVERY.as_millis()
    );
    let alone = honest.hand_in(take(), EVERY, SOON, PATIENCE);
    line("alone", alone, alone, 0);
    let mut tried: Vec<Vec<_>> = ALL.iter().map(|bad| vec![*bad]).collect();
    tried.push(ALL.to_vec());
    for which in tried {
        let neighbours = Neighbours::at(&address, &which);
        let measured = honest.hand_in(take(), EVERY, SOON, PATIENCE);
        let name =
            if let [one] = &which[..] { format!("beside {one:?}") } else { "beside all of them".into() };
        line(&name, measured, alone, neighbours.sent());
    }
    println!("supervisor, at most: {:.1} MiB (bound 30 MiB)", peak_mib(pid));
}

fn line(name: &str, measured: Measured, alone: Measured, sent: u64) {
    let of_alone = |count: usize, alone: usize| 100.0 * count as f64 / alone.max(1) as f64;
    println!(
        "{name:<46} {:>8.1} % {:>10.1} % {:>7.1} ms {:>7.1} ms {sent:>20}",
        of_alone(measured.accepted, alone.accepted),
        of_alone(measured.in_time, alone.in_time),
        measured.latency.0.as_secs_f64() * 1e3,
        measured.latency.1.as_secs_f64() * 1e3,
    );
}

fn peak_mib(pid: u64) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
