//! What to do next with a device: numbers only, so that it can be tried without one.
//!
//! B is multiplied with one A after the other, in chunks. Two A's take turns: while the chunks of one run, the next is
//! drawn, committed to and packed behind them in the same queue, so that the device hardly ever waits for the processor.
//! Two things are queued at most, a chunk or an A each: a job that changes waits for all that is.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::product::{CHUNK_MAX, IN_FLIGHT_MAX, Slot};

/// The next thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Make a new A in this slot.
    Prepare(Slot),
    /// Submit these blocks of the product of the A in this slot, with the memory of this place.
    Submit { place: usize, slot: Slot, items: Range<u32> },
    /// Wait for the oldest chunk in flight.
    Land,
}

/// The chunk that was waited for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Landed {
    pub slot: Slot,
    pub items: Range<u32>,
}

/// The rounds of one job.
pub(crate) struct Rounds {
    /// Blocks of a product.
    items: u32,
    prepared: [bool; 2],
    current: Slot,
    next: u32,
    queue: VecDeque<Queued>,
}

/// What the device was given and is not known to have done.
enum Queued {
    /// An A, which is done when a chunk behind it is.
    A,
    Chunk {
        place: usize,
        slot: Slot,
        items: Range<u32>,
    },
}

impl Rounds {
    /// Rounds of `items` blocks each, before the first A.
    pub(crate) fn new(items: u32) -> Self {
        Self { items, prepared: [false; 2], current: 0, next: 0, queue: VecDeque::new() }
    }

    /// Decides, for chunks of `chunk` blocks, and takes it as done; `None` where `leaving` and no chunk is in flight.
    pub(crate) fn step(&mut self, chunk: u32, leaving: bool) -> Option<Step> {
        let flying = self.chunks().count() > 0;
        if !leaving && self.queue.len() < IN_FLIGHT_MAX {
            let (current, other) = (self.current, 1 - self.current);
            if !self.prepared[current] && !self.flies(current) {
                return Some(self.prepare(current));
            }
            // Behind a chunk, so that the device has something to do until the processor comes back.
            if self.prepared[current] && flying && !self.prepared[other] && !self.flies(other) {
                return Some(self.prepare(other));
            }
            if self.prepared[current] {
                return Some(self.submit(chunk));
            }
        }
        flying.then_some(Step::Land)
    }

    /// The oldest chunk in flight, which has landed.
    pub(crate) fn landed(&mut self) -> Option<Landed> {
        loop {
            if let Queued::Chunk { slot, items, .. } = self.queue.pop_front()? {
                return Some(Landed { slot, items });
            }
        }
    }

    fn chunks(&self) -> impl Iterator<Item = (usize, Slot)> {
        self.queue.iter().filter_map(|queued| match queued {
            Queued::A => None,
            Queued::Chunk { place, slot, .. } => Some((*place, *slot)),
        })
    }

    fn flies(&self, slot: Slot) -> bool {
        self.chunks().any(|(_, flying)| flying == slot)
    }

    fn prepare(&mut self, slot: Slot) -> Step {
        self.prepared[slot] = true;
        self.queue.push_back(Queued::A);
        Step::Prepare(slot)
    }

    fn submit(&mut self, chunk: u32) -> Step {
        let slot = self.current;
        let items = self.next..self.items.min(self.next.saturating_add(chunk.clamp(1, CHUNK_MAX)));
        self.next = items.end;
        if self.next == self.items {
            self.prepared[slot] = false;
            (self.current, self.next) = (1 - slot, 0);
        }
        let place = (0..IN_FLIGHT_MAX).find(|place| self.chunks().all(|(taken, _)| taken != *place));
        let place = place.expect("fewer chunks are in flight than there are places");
        self.queue.push_back(Queued::Chunk { place, slot, items: items.clone() });
        Step::Submit { place, slot, items }
    }
}

/// How many blocks make a chunk of the wanted length.
///
/// A job that changes waits for what is in flight, for a B and an A to be made, and for its own first chunk. The length
/// that was asked for is the most: where making them takes long on a device, its chunks are shorter, so that all of it
/// stays within [`CHANGE`].
#[derive(Debug)]
pub(crate) struct Pace {
    most: Duration,
    /// What a device needs to make a B and an A, as it was the last time.
    making: Duration,
    /// How long a block takes; zero before the first.
    block: Duration,
    chunk: f64,
}

/// From a new job to the end of its first chunk, at most: four fifths of the goal of 50 ms, for the rest is the host's.
const CHANGE: Duration = Duration::from_millis(40);
/// A job's first chunks are this much shorter, and no chunk is shorter than that for the sake of [`CHANGE`].
const SHORT: u32 = 4;

impl Pace {
    /// Begins small: what a device can do is not known yet, and a desktop's driver resets it after seconds.
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, making: Duration::ZERO, block: Duration::ZERO, chunk: 1.0 }
    }

    /// How long a chunk is to take: of what [`CHANGE`] leaves, the same for each one in flight, and a short one.
    fn target(&self) -> Duration {
        let left = CHANGE.saturating_sub(self.making);
        (left * SHORT / (IN_FLIGHT_MAX as u32 * SHORT + 1)).max(self.most / SHORT).min(self.most)
    }

    /// Blocks of the next chunk.
    pub(crate) fn chunk(&self) -> u32 {
        self.chunk as u32
    }

    /// Blocks of a chunk before the first of a job has landed.
    pub(crate) fn first(&self) -> u32 {
        (self.chunk as u32 / SHORT).max(1)
    }

    /// Takes into account that `items` blocks took `took`. At most twice as many are next, and at least half.
    pub(crate) fn took(&mut self, items: u32, took: Duration) {
        self.block = took / items.max(1);
        let wanted = f64::from(items) * self.target().as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.chunk = wanted.clamp(self.chunk / 2.0, self.chunk * 2.0).clamp(1.0, f64::from(CHUNK_MAX));
    }

    /// Takes into account that a job's B, its first A and a chunk of `items` blocks took `took` together.
    pub(crate) fn changed(&mut self, items: u32, took: Duration) {
        let making = took.saturating_sub(self.block * items);
        // Half of it is the time before: once may have been a neighbour's doing.
        self.making = if self.making.is_zero() { making } else { (self.making + making) / 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_every_round_is_computed_once_with_an_a_that_nobody_replaces() {
        for (items, chunk) in [(1, 1), (2, 5), (7, 3), (100, 1), (100, 33), (5, 4)] {
            let mut rounds = Rounds::new(items);
            let mut made = [0_u32; 2];
            let mut flying: VecDeque<(usize, Slot, u32)> = VecDeque::new();
            let mut done = vec![0_u32; 40];
            for _ in 0..2000 {
                match rounds.step(chunk, false).expect("there is always something to do") {
                    Step::Prepare(slot) => {
                        assert!(flying.iter().all(|(_, used, _)| *used != slot), "an A in use was replaced");
                        made[slot] += 1;
                    }
                    Step::Submit { place, slot, items } => {
                        assert!(flying.iter().all(|(taken, ..)| *taken != place));
                        flying.push_back((place, slot, made[slot]));
                        assert!(flying.len() <= IN_FLIGHT_MAX);
                        let round = (2 * (made[slot] - 1) + slot as u32) as usize;
                        if let Some(done) = done.get_mut(round) {
                            assert_eq!(*done, items.start, "in order and without a gap");
                            *done = items.end;
                        }
                    }
                    Step::Land => {
                        let landed = rounds.landed().expect("something flies");
                        let (_, slot, made_then) = flying.pop_front().expect("something flies");
                        assert_eq!((landed.slot, made[slot]), (slot, made_then));
                    }
                }
            }
            let whole = done.iter().take_while(|done| **done == items).count();
            assert!(whole > 5, "{items} by {chunk}: {done:?}");
        }
    }

    #[test]
    fn the_next_a_is_made_behind_a_chunk_of_the_first_and_two_things_are_queued_at_most() {
        let mut rounds = Rounds::new(10);
        let submit = |place, items| Step::Submit { place, slot: 0, items };
        let expected = [
            Step::Prepare(0),
            submit(0, 0..2),
            Step::Land,
            submit(0, 2..4),
            Step::Prepare(1),
            Step::Land,
            submit(0, 4..6),
            Step::Land,
            submit(0, 6..8),
            submit(1, 8..10),
            Step::Land,
            Step::Submit { place: 0, slot: 1, items: 0..2 },
            Step::Land,
            // The first A's last chunk has landed: another takes its place behind what flies.
            Step::Prepare(0),
        ];
        for step in expected {
            assert_eq!(rounds.step(2, false), Some(step.clone()));
            assert!(rounds.queue.len() <= IN_FLIGHT_MAX);
            if step == Step::Land {
                rounds.landed().expect("a chunk flies");
            }
        }
    }

    #[test]
    fn whoever_leaves_waits_for_what_flies_and_begins_nothing() {
        let mut rounds = Rounds::new(10);
        while rounds.chunks().count() < 2 {
            if rounds.step(1, false) == Some(Step::Land) {
                rounds.landed();
            }
        }
        for _ in 0..2 {
            assert_eq!(rounds.step(1, true), Some(Step::Land));
            rounds.landed();
        }
        assert_eq!(rounds.step(1, true), None);
        // An A in the queue is nothing to wait for.
        let mut rounds = Rounds::new(10);
        assert_eq!(rounds.step(1, false), Some(Step::Prepare(0)));
        assert_eq!(rounds.step(1, true), None);
    }

    #[test]
    fn chunks_come_to_the_wanted_length_and_stay_there() {
        let mut pace = Pace::new(Duration::from_millis(10));
        for _ in 0..20 {
            let items = pace.chunk();
            pace.took(items, Duration::from_micros(7) * items);
        }
        assert!((1300..1500).contains(&pace.chunk()), "{pace:?}");
        pace.took(pace.chunk(), Duration::from_secs(3));
        assert!((650..750).contains(&pace.chunk()), "one slow chunk halves it at most: {pace:?}");
        let mut slow = Pace::new(Duration::from_millis(10));
        slow.took(1, Duration::from_secs(1));
        assert_eq!((slow.chunk(), slow.first()), (1, 1));
    }

    #[test]
    fn what_is_in_flight_what_is_made_and_the_first_chunk_stay_within_the_goal_wherever_they_can() {
        const BLOCK: Duration = Duration::from_micros(10);
        for most in [1, 5, 10, 20].map(Duration::from_millis) {
            for making in [0, 1, 5, 10, 20, 30, 39, 50, 2000].map(Duration::from_millis) {
                let mut pace = Pace::new(most);
                for _ in 0..30 {
                    pace.took(pace.chunk(), BLOCK * pace.chunk());
                    pace.changed(pace.first(), making + BLOCK * pace.first());
                }
                let (chunk, first) = (BLOCK * pace.chunk(), BLOCK * pace.first());
                let change = chunk * IN_FLIGHT_MAX as u32 + making + first;
                assert!(chunk <= most && chunk + BLOCK >= most / SHORT, "{most:?} {making:?}: {pace:?}");
                let can = making + most * (IN_FLIGHT_MAX as u32) / SHORT + most / SHORT / SHORT <= CHANGE;
                assert!(!can || change <= CHANGE, "{most:?} {making:?}: {change:?}, {pace:?}");
                // No shorter than it has to be: what makes nothing has all that was asked for, up to its share.
                if making.is_zero() && most <= Duration::from_millis(10) {
                    assert!(chunk + BLOCK >= most, "{most:?}: {pace:?}");
                }
            }
        }
    }

    #[test]
    fn one_slow_change_moves_the_length_of_chunks_half_way_and_the_next_ones_bring_it_back() {
        let mut pace = Pace::new(Duration::from_millis(10));
        pace.took(1, Duration::from_millis(1));
        for _ in 0..20 {
            pace.changed(1, Duration::from_millis(3));
        }
        let before = pace.target();
        pace.changed(1, Duration::from_millis(61));
        assert_eq!((pace.making, pace.target()), (Duration::from_millis(31), Duration::from_millis(4)));
        for _ in 0..20 {
            pace.changed(1, Duration::from_millis(3));
        }
        assert_eq!((pace.target(), before), (pace.most, pace.most));
    }
}
