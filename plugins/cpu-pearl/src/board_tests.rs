//! The board under loom, which runs every order in which threads can meet at it.

/// What [`board`] stands on, replaced by loom's.
mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex};
}

#[path = "board.rs"]
#[allow(clippy::duplicate_mod, reason = "the same text over another `sync` is the point")]
#[expect(dead_code, reason = "a second copy of the module, of which a test needs a part")]
mod board;

use std::sync::Arc as StdArc;

use board::{Board, Order};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::plan::{Counts, Plan, Step};

/// The memory of an operand, as far as loom is concerned: a cell that must never be written while it is read.
type Cell = loom::cell::UnsafeCell<u32>;

fn plan() -> Plan {
    let counts = Counts { pieces: 1, blocks: 1 };
    Plan::new(counts, counts, 1)
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Enough to find what two threads can do to each other, in seconds.
    builder.preemption_bound = Some(2);
    builder.check(check);
}

/// A worker of the model: does `tasks` tasks, then announces the end.
fn work(board: &Board<u64>, b: &Cell, products: &AtomicUsize, most: usize) {
    let mut done = None;
    while let Order::Work(task, job) = board.next(done.take()) {
        assert_eq!(*job, task.job, "a task comes with its own job");
        match task.step {
            // What is done to B happens before what is done with B.
            Step::Pack(crate::plan::Which::B, _) => b.with_mut(|_| ()),
            Step::Multiply(..) => {
                b.with(|_| ());
                if products.fetch_add(1, Ordering::Relaxed) + 1 >= most {
                    board.stop();
                }
            }
            _ => {}
        }
        done = Some(task);
    }
}

#[test]
fn two_workers_share_a_job_without_a_race_or_a_lost_wake_up() {
    model(|| {
        let board = Arc::new(Board::new(plan()));
        let b = Arc::new(Cell::new(0));
        let products = Arc::new(AtomicUsize::new(0));
        board.begin(1);
        let other = {
            let (board, b, products) = (Arc::clone(&board), Arc::clone(&b), Arc::clone(&products));
            thread::spawn(move || work(&board, &b, &products, 1))
        };
        work(&board, &b, &products, 1);
        other.join().expect("the worker ends");
        assert!(products.load(Ordering::Relaxed) >= 1);
    });
}

#[test]
fn a_job_that_changes_under_way_is_taken_up() {
    model(|| {
        let board = Arc::new(Board::new(plan()));
        let b = Arc::new(Cell::new(0));
        let products = Arc::new(AtomicUsize::new(0));
        board.begin(1);
        let other = {
            let (board, b, products) = (Arc::clone(&board), Arc::clone(&b), Arc::clone(&products));
            thread::spawn(move || work(&board, &b, &products, 2))
        };
        board.begin(2);
        other.join().expect("the worker ends");
        assert!(products.load(Ordering::Relaxed) >= 2);
    });
}

#[test]
fn a_worker_without_a_job_wakes_for_the_first_one_and_for_the_end() {
    model(|| {
        let board = StdArc::new(Arc::new(Board::new(plan())));
        let other = {
            let board = Arc::clone(&board);
            thread::spawn(move || {
                let mut done = None;
                while let Order::Work(task, _) = board.next(done.take()) {
                    board.drop_job(task);
                    done = Some(task);
                }
            })
        };
        board.begin(1);
        board.stop();
        other.join().expect("the worker ends");
    });
}
