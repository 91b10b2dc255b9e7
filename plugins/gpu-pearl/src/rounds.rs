//! What to do next with a device: numbers only, so that it can be tried without one.
//!
//! B is multiplied with one A after the other, in chunks. Two A's take turns: while the chunks of one run, the next is
//! drawn, committed to and packed behind them in the same queue, so that the device never waits for the processor.

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
    in_flight: VecDeque<(usize, Slot, Range<u32>)>,
}

impl Rounds {
    /// Rounds of `items` blocks each, before the first A.
    pub(crate) fn new(items: u32) -> Self {
        Self { items, prepared: [false; 2], current: 0, next: 0, in_flight: VecDeque::new() }
    }

    /// Decides, for chunks of `chunk` blocks, and takes it as done; `None` where `leaving` and nothing is in flight.
    pub(crate) fn step(&mut self, chunk: u32, leaving: bool) -> Option<Step> {
        if !leaving {
            let current = self.current;
            if self.in_flight.len() < IN_FLIGHT_MAX {
                if !self.prepared[current] && !self.flies(current) {
                    return Some(self.prepare(current));
                }
                if self.prepared[current] {
                    return Some(self.submit(chunk));
                }
            }
            let other = 1 - current;
            if !self.prepared[other] && !self.flies(other) {
                return Some(self.prepare(other));
            }
        }
        (!self.in_flight.is_empty()).then_some(Step::Land)
    }

    /// The oldest chunk in flight, which has landed.
    pub(crate) fn landed(&mut self) -> Option<Landed> {
        self.in_flight.pop_front().map(|(_, slot, items)| Landed { slot, items })
    }

    fn flies(&self, slot: Slot) -> bool {
        self.in_flight.iter().any(|(_, flying, _)| *flying == slot)
    }

    fn prepare(&mut self, slot: Slot) -> Step {
        self.prepared[slot] = true;
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
        let place = (0..IN_FLIGHT_MAX).find(|place| self.in_flight.iter().all(|(taken, ..)| taken != place));
        let place = place.expect("fewer chunks are in flight than there are places");
        self.in_flight.push_back((place, slot, items.clone()));
        Step::Submit { place, slot, items }
    }
}

/// How many blocks make a chunk of the wanted length.
#[derive(Debug)]
pub(crate) struct Pace {
    target: Duration,
    chunk: f64,
}

impl Pace {
    /// Begins small: what a device can do is not known yet, and a desktop's driver resets it after seconds.
    pub(crate) fn new(target: Duration) -> Self {
        Self { target, chunk: 1.0 }
    }

    /// Blocks of the next chunk.
    pub(crate) fn chunk(&self) -> u32 {
        self.chunk as u32
    }

    /// Takes into account that `items` blocks took `took`. At most twice as many are next, and at least half.
    pub(crate) fn took(&mut self, items: u32, took: Duration) {
        let wanted = f64::from(items) * self.target.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.chunk = wanted.clamp(self.chunk / 2.0, self.chunk * 2.0).clamp(1.0, f64::from(CHUNK_MAX));
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
    fn the_next_a_is_made_while_the_first_is_multiplied() {
        let mut rounds = Rounds::new(10);
        let steps: Vec<_> = (0..5).map(|_| rounds.step(2, false).unwrap()).collect();
        assert_eq!(
            steps,
            [
                Step::Prepare(0),
                Step::Submit { place: 0, slot: 0, items: 0..2 },
                Step::Submit { place: 1, slot: 0, items: 2..4 },
                Step::Prepare(1),
                Step::Land,
            ]
        );
    }

    #[test]
    fn whoever_leaves_waits_for_what_flies_and_begins_nothing() {
        let mut rounds = Rounds::new(10);
        for _ in 0..3 {
            rounds.step(1, false);
        }
        for _ in 0..2 {
            assert_eq!(rounds.step(1, true), Some(Step::Land));
            rounds.landed();
        }
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
        assert_eq!(slow.chunk(), 1);
    }
}
