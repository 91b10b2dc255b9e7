//! A hostile proof costs memory in proportion to its own length, whatever it claims.
//!
//! One test, because it watches all allocations of the process.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::{ValidProofs, vectors};
use pearl_pow::{PlainProof, verify_bytes};

struct Watched;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of the
// caller.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `System` with this layout, because `alloc` is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The most that was allocated at a time while `run` ran, beyond what was there before.
fn peak(run: impl FnOnce()) -> usize {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    run();
    PEAK.load(Relaxed) - before
}

#[test]
fn memory_is_bounded_by_the_input() {
    let vector = vectors::<ValidProofs>("09_proofs_valid.json").proofs.swap_remove(0);
    let job = vector.job(false);
    let bytes = PlainProof::from_base64(&vector.proof_base64).unwrap().0.encode();

    let used = peak(|| drop(verify_bytes(&job, &bytes)));
    assert!(used > bytes.len(), "the watch works: {used}");

    // Every number of the proof becomes every kind of large, and the rest is as it was.
    let numbers =
        (0..bytes.len() / 8).map(|at| 8 * at).filter(|at| at % 1032 < 64 || *at > bytes.len() - 2000);
    for at in numbers {
        for claim in [u64::MAX, 1 << 63, 1 << 40, u64::from(u32::MAX), 1 << 24, 65535, 1_000_000] {
            let mut hostile = bytes.clone();
            hostile[at..at + 8].copy_from_slice(&claim.to_le_bytes());
            let used = peak(|| drop(PlainProof::decode(&hostile)));
            assert!(used <= 3 * hostile.len() + 4096, "reading took {used} bytes: {claim} at {at}");
            let used = peak(|| drop(verify_bytes(&job, &hostile)));
            assert!(used <= 12 * hostile.len() + 65536, "verifying took {used} bytes: {claim} at {at}");
        }
    }

    // A list of rows and nothing else, with a rank of 0 and a k that make each row span millions of leaves.
    let (proof, _) = PlainProof::decode(&bytes).unwrap();
    for (k, noise_rank) in [(u64::from(u32::MAX), 0), (65535, 65535), (1 << 31, 65535), (1, 1), (0, 0)] {
        let mut hostile = proof.clone();
        (hostile.m, hostile.n, hostile.k, hostile.noise_rank) = (1 << 20, 1 << 20, k, noise_rank);
        for side in [&mut hostile.a, &mut hostile.bt] {
            side.row_indices = (0..100_000).collect();
            side.total_leaves = ((1 << 20) * k).div_ceil(1024);
        }
        let hostile = hostile.encode();
        let used = peak(|| drop(verify_bytes(&job, &hostile)));
        assert!(used <= 6 * hostile.len() + 65536, "verifying took {used} bytes: k = {k}, rank {noise_rank}");
    }
}
