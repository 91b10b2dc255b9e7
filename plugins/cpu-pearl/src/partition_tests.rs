//! How the work of rounds falls to many threads, by the plan that the workers follow and a clock that is only counted:
//! whether each part is done once, and whether anybody waits. What threads cost each other in caches it does not know.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use pearl_pow::Side;

use crate::kernel::cpu::Caches;
use crate::kernel::{self, Kernel};
use crate::plan::{Counts, Plan, Step, Task};
use crate::shape::{Settings, Shape};

/// What a round costs, as measured on one thread with `avx512-vnni-8x32`: thousandths of the limit's time for its product.
const PRODUCT: u64 = 1110;
const FILL: u64 = 12;
const COMMIT: u64 = 4;
const PACK: u64 = 13;
/// So that a part of a part is no fraction.
const FINE: u64 = 1_000_000;

/// The share of their time that so many threads had work for, and how many products each of them did.
struct Outcome {
    busy: f64,
    products: Vec<u64>,
}

/// Mines `rounds` rounds of one job on `threads` threads, each step as long as its share of the above.
fn simulate(shape: &Shape, threads: usize, rounds: usize) -> Outcome {
    let pieces = |side| shape.raw_bytes(side).div_ceil(crate::operand::PIECE_BYTES);
    let (a, b) = (Side::A, Side::BT);
    let counts = |side| Counts { pieces: pieces(side), blocks: shape.dimension(side).blocks() };
    let items = shape.a.blocks() * shape.b.blocks();
    let mut plan = Plan::new(counts(a), counts(b), items);
    plan.begin();
    let cost = |step: Step| match step {
        Step::Recycle(_) => 1,
        Step::Fill(..) => FILL * FINE / counts(a).pieces as u64,
        Step::Commit(_) => COMMIT * FINE,
        Step::Pack(..) => PACK * FINE / counts(a).blocks as u64,
        Step::Multiply(..) => PRODUCT * FINE / items as u64,
    };
    let mut done: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    let mut products = vec![0; threads];
    // Threads at work, soonest first, and those that found nothing to do.
    let mut at_work: BinaryHeap<(std::cmp::Reverse<u64>, usize, Task)> = BinaryHeap::new();
    let mut idle: Vec<usize> = (0..threads).collect();
    let (mut now, mut begun, mut worked, mut whole) = (0, None, 0, 0);
    loop {
        idle.retain(|&thread| {
            let Some(task) = plan.next() else { return true };
            at_work.push((std::cmp::Reverse(now + cost(task.step)), thread, task));
            false
        });
        let (end, thread, task) = at_work.pop().expect("somebody always has work");
        now = end.0;
        plan.done(task);
        idle.push(thread);
        if let Step::Multiply(_, item) = task.step {
            let own = done.entry(task.stream).or_default();
            assert!(own.insert(item) && shape.blocks_of(item).is_some(), "each item once: {task:?}");
            whole += usize::from(own.len() == items);
            // From the first product on: what comes before it happens once in a job.
            begun.get_or_insert(now - cost(task.step));
            products[thread] += 1;
        }
        if begun.is_some() {
            worked += cost(task.step);
        }
        if whole == rounds {
            let time = (now - begun.expect("products were done")) * threads as u64;
            return Outcome { busy: (worked as f64 / time as f64).min(1.0), products };
        }
    }
}

#[test]
fn the_work_falls_evenly_to_many_threads_each_part_once_and_hardly_anybody_waits() {
    for name in kernel::available().filter(|kernel| !kernel.is_slow()).map(Kernel::name) {
        for l2 in [512 << 10, 1 << 20, 2 << 20] {
            let settings = Settings { kernel: Some(name.to_owned()), ..Settings::default() };
            let shape = Shape::new(&settings, Caches { l1: 48 << 10, l2, l3: 0 }).expect("the default shape");
            for threads in [1, 2, 4, 8, 16] {
                let Outcome { busy, products } = simulate(&shape, threads, 20);
                println!("{name}, {} KiB of L2, {threads} threads: {:.1} %", l2 >> 10, busy * 100.0);
                assert!(busy >= 0.995, "{name} {l2}: {threads} threads had work for {busy}");
                let mean = products.iter().sum::<u64>() as f64 / threads as f64;
                let even = products.iter().all(|&own| (own as f64 / mean - 1.0).abs() < 0.08);
                assert!(even, "{name} {l2}: {products:?}");
            }
        }
    }
}
