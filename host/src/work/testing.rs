//! A miner for the tests: the plain one of `pearl_pow`, with easy targets.

use pearl_pow::{MiningConfiguration, PeriodicPattern, opening::Matrix, reference};

use super::WorkJob;

/// Runs a future on a current-thread runtime, as the supervisor does.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A proof for `job`. Different seeds give different proofs.
pub fn mine(job: &WorkJob, seed: u64) -> Vec<u8> {
    let rules = job.to_pow().unwrap();
    let (rows, k) = (256, 2048);
    let config = MiningConfiguration::dense(
        k as u32,
        128,
        PeriodicPattern::from_offsets(&[0, 8, 64, 72]).unwrap(),
        PeriodicPattern::from_offsets(&[0, 1, 8, 9, 32, 33, 40, 41]).unwrap(),
    );
    let bound = rules.effective_target().bound(&config, true);
    for round in 0.. {
        let matrix = |side: u64| reference::test_matrix(seed * 1000 + round * 2 + side + 1, rows * k);
        let (a, bt) = (matrix(0), matrix(1));
        let product = reference::Product::new(
            &rules.header,
            &config,
            rules.certificate.seed_rule(),
            Matrix::new(&a, k).unwrap(),
            Matrix::new(&bt, k).unwrap(),
        );
        if let Some(attempt) = product.mine(bound) {
            return product.prove(&attempt).encode();
        }
    }
    unreachable!("an easy target is met before the rounds run out")
}
