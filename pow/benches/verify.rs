//! Times the verifier stage by stage, and the commitment: `cargo bench -p pearl-pow`.
//!
//! Prints medians, and for the commitment the ratio to BLAKE3 alone. The goals stand in the last column: a 4
//! × 8 proof at k = 2048 in less than 1 ms, a 16 × 16 proof at k = 4096 in less than 5 ms. Nothing fails when
//! they are missed, because a busy machine would miss them too.
#![allow(clippy::print_stdout, reason = "a benchmark's answer")]

use std::time::{Duration, Instant};

use pearl_pow::opening::Matrix;
use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::verify::{Job, Stage, verify_bytes, verify_bytes_staged};
use pearl_pow::{
    CertificateVersion, Header, MatrixOpening, MiningConfiguration, PeriodicPattern, Target, Tree,
};

struct Case {
    name: &'static str,
    config: MiningConfiguration,
    rows: usize,
    goal: Duration,
}

fn pattern(offsets: &[u64]) -> PeriodicPattern {
    PeriodicPattern::from_offsets(offsets).expect("a canonical pattern")
}

fn main() {
    let contiguous = |length| PeriodicPattern::contiguous(length).expect("at most 256");
    let cases = [
        Case {
            name: "4x8 at k=2048, r=128",
            config: MiningConfiguration::dense(
                2048,
                128,
                pattern(&[0, 8, 64, 72]),
                pattern(&[0, 1, 8, 9, 32, 33, 40, 41]),
            ),
            rows: 1024,
            goal: Duration::from_millis(1),
        },
        Case {
            name: "16x16 at k=4096, r=128",
            config: MiningConfiguration::dense(4096, 128, contiguous(16), contiguous(16)),
            rows: 1024,
            goal: Duration::from_millis(5),
        },
    ];
    for case in cases {
        run(&case);
    }
    commitment();
}

/// What a tree that can be opened costs more than the root alone, and what opening a tile's rows costs.
fn commitment() {
    const ROUNDS: usize = 15;
    let k = 4096;
    let matrix = test_matrix(3, 4096 * k);
    let bytes: Vec<u8> = matrix.iter().map(|&entry| entry as u8).collect();
    let key = [7; 32];
    let matrix = Matrix::new(&matrix, k).expect("whole rows");
    let rows: Vec<u64> = (512..528).collect();
    let (mut plain, mut tree, mut opening) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(blake3::keyed_hash(&key, &bytes));
        plain.push(start.elapsed());

        let start = Instant::now();
        let built = std::hint::black_box(Tree::new(&key, matrix.entries()));
        tree.push(start.elapsed());

        let start = Instant::now();
        std::hint::black_box(MatrixOpening::new(&built, matrix, &rows));
        opening.push(start.elapsed());
    }
    let (plain, tree) = (median(&mut plain), median(&mut tree));
    println!("commitment of 16 MiB");
    println!("  {:<14}{:>10.1} us", "blake3 alone", micros(plain));
    let ratio = tree.as_secs_f64() / plain.as_secs_f64();
    println!("  {:<14}{:>10.1} us   {ratio:.2} times", "tree", micros(tree));
    println!("  {:<14}{:>10.1} us", "open 16 rows", micros(median(&mut opening)));
}

fn run(case: &Case) {
    let job = Job {
        header: Header::new(0x2000_0000, [1; 32], [2; 32], 1_790_000_000, 0x1d00_ffff),
        target: Some(Target::MAX),
        certificate: CertificateVersion::V3,
        rank_penalty: true,
    };
    let k = case.config.common_dim as usize;
    let (a, bt) = (test_matrix(1, case.rows * k), test_matrix(2, case.rows * k));
    let product = Product::new(
        &job.header,
        &case.config,
        job.certificate.seed_rule(),
        Matrix::new(&a, k).expect("whole rows"),
        Matrix::new(&bt, k).expect("whole rows"),
    );
    let bytes = product.prove(&product.attempt(0, 0)).encode();

    const ROUNDS: usize = 201;
    let mut whole = Vec::new();
    let mut stages = vec![Vec::new(); Stage::ALL.len()];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        verify_bytes(&job, &bytes).expect("every jackpot meets this target");
        whole.push(start.elapsed());

        let mut last = Instant::now();
        verify_bytes_staged(&job, &bytes, &mut |passed| {
            let now = Instant::now();
            stages[passed.stage() as usize].push(now - last);
            last = now;
        })
        .expect("every jackpot meets this target");
    }

    println!("{} ({} bytes)", case.name, bytes.len());
    for (stage, times) in Stage::ALL.iter().zip(&mut stages) {
        println!("  {:<14}{:>10.1} us", stage.name(), micros(median(times)));
    }
    let total = median(&mut whole);
    let verdict = if total < case.goal { "met" } else { "missed" };
    println!("  {:<14}{:>10.1} us   goal {:?}: {verdict}", "all", micros(total), case.goal);
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
