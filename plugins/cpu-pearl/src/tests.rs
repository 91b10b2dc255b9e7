//! The whole way from a header to a proof, against the reference miner and the verifier.

use std::collections::BTreeSet;

use pearl_pow::reference::Product;
use pearl_pow::{
    CertificateVersion, Digest, Header, Job, Matrix, PeriodicPattern, Side, Target, U256, job_key, verify,
};

use crate::kernel::cpu::Caches;
use crate::kernel::tests::Noise;
use crate::kernel::{self, Kernel};
use crate::operand::{Keys, Operand, PackRoom};
use crate::search::{self, Hit, SearchRoom};
use crate::shape::{Settings, Shape};

/// Does what the workers do, on one thread, and returns the operands with the hits.
fn mine(shape: &Shape, keys: &Keys, bound: &U256) -> (Operand, Operand, Digest, BTreeSet<Hit>) {
    let (b, a) = (Operand::new(shape, Side::BT), Operand::new(shape, Side::A));
    let mut room = PackRoom::default();
    let mut seed_b = None;
    for (stream, operand) in [(1, &b), (2, &a)] {
        // Twice, as in a second round: what the first one left behind must not show.
        for stream in [stream + 10, stream] {
            operand.recycle();
            (0..operand.pieces()).for_each(|piece| operand.fill(shape, keys, stream, piece));
            operand.commit(shape, keys, seed_b.as_ref());
            (0..operand.blocks()).for_each(|block| operand.pack(shape, block, &mut room));
        }
        seed_b = seed_b.or(Some(operand.committed().seed));
    }
    let seed_a = a.committed().seed;
    let (mut room, mut hits) = (SearchRoom::default(), Vec::new());
    for row in 0..shape.a.blocks() {
        for column in 0..shape.b.blocks() {
            let next = (row + 1 < shape.a.blocks()).then_some(row + 1);
            search::multiply(shape, (&a, row), (&b, column), (next, None), &mut room);
            search::jackpots(shape, (row, column), &seed_a, bound, &mut room, &mut hits);
        }
    }
    (a, b, seed_a, hits.into_iter().collect())
}

/// A pattern of `even` size up to `most`, contiguous or with up to three strides.
fn pattern(rng: &mut Noise, most: u64) -> PeriodicPattern {
    loop {
        let mut offsets = vec![0u64];
        let mut extent = 1;
        for _ in 0..1 + rng.next() % 3 {
            let (stride, length) = (extent * (1 + rng.next() % 3), 1 + rng.next() % 8);
            offsets =
                (0..length).flat_map(|i| offsets.iter().map(move |offset| offset + i * stride)).collect();
            extent = stride * length;
        }
        if offsets.len() % 2 == 0
            && offsets.len() as u64 <= most
            && extent <= 96
            && let Ok(pattern) = PeriodicPattern::from_offsets(&offsets)
        {
            return pattern;
        }
    }
}

/// A random shape that obeys the rules, small enough for the reference.
fn shape(rng: &mut Noise, kernel: &Kernel) -> Shape {
    loop {
        let (rows, columns) = (pattern(rng, 64), pattern(rng, 64));
        let rank = 32 << (rng.next() % 3);
        let settings = Settings {
            kernel: Some(kernel.name().to_owned()),
            tile: Some((rows, columns)),
            rank: Some(rank),
            // Also k that is no multiple of the rank, whose last columns take no part.
            k: Some((16 * u32::from(rank)).max(1024) + 64 * (rng.next() % 5) as u32),
            // Also rows that belong to no whole period.
            m: Some(u64::from(rows.period()) + rng.next() % 100),
            n: Some(u64::from(columns.period()) + rng.next() % 100),
            ..Settings::default()
        };
        let caches = Caches { l1: 1 << (11 + rng.next() % 6), l2: 1 << (14 + rng.next() % 6), l3: 0 };
        if let Ok(shape) = Shape::new(&settings, caches) {
            return shape;
        }
    }
}

/// Mines random shapes until `wanted` proofs were found and compared.
fn compare(seed: u64, wanted: usize) {
    let mut rng = Noise(seed);
    let kernels: Vec<_> = kernel::available().collect();
    let (mut proofs, mut rounds) = (0, 0);
    while proofs < wanted {
        let kernel = kernels[rounds % kernels.len()];
        rounds += 1;
        let shape = shape(&mut rng, kernel);
        let certificate = CertificateVersion::ALL[(rng.next() % 3) as usize];
        let rank_penalty = shape.config.rank >= 128 && rng.next().is_multiple_of(2);
        let mut header = [0; 76];
        header.iter_mut().for_each(|byte| *byte = rng.next() as u8);
        let header = Header::from_bytes(header);
        // Between one tile in sixteen and all of them.
        let target =
            Target((U256::MAX >> (rng.next() % 5) as usize) / U256::from(shape.config.hashes_per_attempt()));
        let bound = target.bound(&shape.config, rank_penalty);
        let keys = Keys {
            job_key: job_key(&header, &shape.config),
            rule: certificate.seed_rule(),
            secret: [rng.next(), rng.next()],
        };
        let (a, b, seed_a, hits) = mine(&shape, &keys, &bound);

        let k = shape.config.common_dim as usize;
        let (raw_a, raw_b) = (a.entries(&shape), b.entries(&shape));
        let matrix = |raw| Matrix::new(raw, k).expect("whole rows");
        let product = Product::new(&header, &shape.config, keys.rule, matrix(&raw_a), matrix(&raw_b));
        assert_eq!(product.seeds().a, seed_a, "{} {shape}", kernel.name());
        let expected: BTreeSet<Hit> = product
            .attempts()
            .filter(|attempt| attempt.number() <= bound)
            .map(|attempt| Hit { row: attempt.rows[0] as u32, column: attempt.cols[0] as u32 })
            .collect();
        assert_eq!(hits, expected, "{} {shape} by {certificate}", kernel.name());

        let job = Job { header, target: Some(target), certificate, rank_penalty };
        for &hit in &hits {
            let proof = search::prove(&shape, &a, &b, hit);
            let verified = verify::verify_canonical(&job, &proof);
            assert!(verified.is_ok(), "{} {shape} at {hit:?}: {verified:?}", kernel.name());
        }
        proofs += hits.len();
    }
    println!("{proofs} proofs of {rounds} products");
}

#[test]
fn the_proofs_found_are_those_of_the_reference_and_the_verifier_accepts_each() {
    let wanted = std::env::var("PEARL_PROOFS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000);
    compare(0x7065_6172_6c62_6564, wanted);
}
