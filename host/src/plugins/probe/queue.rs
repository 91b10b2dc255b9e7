//! Whose turn it is among plugins that wait to be probed.
//!
//! ```text
//! turn 0: 30 ms  -->  turn 1: 120 ms  -->  turn 2: 480 ms  -->  the rest of its time
//!          done            done                done                done, or timed out
//! ```
//!
//! A plugin goes on while nobody waits who has had fewer turns. Where somebody does, and no further child can be started
//! for them, it is put aside and asked anew, for four times as long, when those have had their turn; among those with as
//! many turns, who has used the processor least comes first. So one that is slow and comes to an end is done before any
//! that never does has had more than its share, and one that only waits does not stand behind those that spin.
//!
//! Plain functions of what waits; nothing here knows a clock or a process.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long the turns are after which a plugin may be put aside, one after the other, each from its own beginning: it
/// begins anew.
const TURNS: [Duration; 3] =
    [Duration::from_millis(30), Duration::from_millis(120), Duration::from_millis(480)];

/// Differences of processor time below this do not tell two plugins apart.
const USED_ALIKE: Duration = Duration::from_millis(20);

/// What to do about a plugin whose turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSlow {
    /// Wait for it.
    GoOn,
    /// Let others have their turn first.
    PutAside,
}

/// How long turn `turn` is; nothing for one that lasts until the plugin's time is over.
pub fn length(turn: usize) -> Option<Duration> {
    TURNS.get(turn).copied()
}

/// Those that wait: who has had the fewest turns first, then who used the processor least in the last one, then who came
/// first.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: BTreeMap<(usize, u64, u64), T>,
    last: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), last: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds one that waits for its turn `turn`, counted from 0, and has used `used` of the processor in the one before.
    pub fn push(&mut self, turn: usize, used: Duration, item: T) {
        self.last += 1;
        // Coarse: what two need for being loaded is no difference between them.
        let used = (used.as_millis() / USED_ALIKE.as_millis()).try_into().unwrap_or(u64::MAX);
        self.waiting.insert((turn, used, self.last), item);
    }

    /// The next, with which turn it is.
    pub fn pop(&mut self) -> Option<(usize, T)> {
        self.waiting.pop_first().map(|((turn, ..), item)| (turn, item))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Turn `turn` of a plugin is over and it has not come to an end. `helped` says whether a further child was started for
    /// those that wait.
    pub fn after_turn(&self, turn: usize, helped: bool) -> OnSlow {
        let due = self.waiting.first_key_value().is_some_and(|((first, ..), _)| *first <= turn);
        if due && !helped { OnSlow::PutAside } else { OnSlow::GoOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    /// What each may take, at most.
    const LIMIT: Duration = Duration::from_secs(2);

    /// A plugin that needs so much time, and whether it spends it on the processor.
    #[derive(Clone, Copy)]
    struct Plugin(Duration, bool);

    /// `plugins` in so many children side by side, on a clock of their own: when each came to its end or to that of its
    /// time, by its place.
    fn play(plugins: &[Plugin], children: usize) -> Vec<Duration> {
        let mut queue = Queue::default();
        for index in 0..plugins.len() {
            queue.push(0, Duration::ZERO, index);
        }
        let mut ended = vec![Duration::ZERO; plugins.len()];
        // Each child: until when it is busy, in which turn, with what, since when.
        let mut busy: Vec<(Duration, usize, usize, Duration)> = vec![];
        let mut now = Duration::ZERO;
        let slice = |turn: usize, index: usize| length(turn).unwrap_or(LIMIT).min(plugins[index].0);
        loop {
            while busy.len() < children
                && let Some((turn, index)) = queue.pop()
            {
                busy.push((now + slice(turn, index), turn, index, now));
            }
            let Some(at) = (0..busy.len()).min_by_key(|at| busy[*at].0) else { return ended };
            let (until, turn, index, since) = busy.swap_remove(at);
            now = until;
            let Plugin(need, works) = plugins[index];
            if now - since >= need.min(LIMIT) {
                ended[index] = now;
            } else if queue.after_turn(turn, false) == OnSlow::PutAside {
                let used = if works { now - since } else { Duration::ZERO };
                queue.push(turn + 1, used, index);
            } else {
                busy.push((since + slice(turn + 1, index), turn + 1, index, since));
            }
        }
    }

    const SPINS: Plugin = Plugin(Duration::MAX, true);

    #[test]
    fn those_that_are_slow_and_come_to_an_end_do_so_before_those_that_spin_have_used_up_their_time() {
        // The worst order: every one that spins comes first.
        let mut plugins = vec![SPINS; 20];
        plugins.extend([Plugin(300 * MS, false); 10]);
        plugins.extend([Plugin(300 * MS, true); 10]);
        plugins.extend([Plugin(5 * MS, true); 10]);
        let ended = play(&plugins, 4);
        let last = |range: std::ops::Range<usize>| ended[range].iter().max().copied().unwrap();
        let first_spinner = ended[..20].iter().min().copied().unwrap();
        assert!(last(40..50) < 400 * MS, "the quick wait for one short turn of the others: {ended:?}");
        // Two turns of all, and then they alone: 40 slow ones for 30 ms, for 120 ms, and ten for 300 ms, in four children.
        assert!(last(20..30) <= 2700 * MS, "who only waits comes before those that spin: {ended:?}");
        assert!(
            last(30..40) < first_spinner,
            "who works does so before they have used up their time: {ended:?}"
        );
        assert!(ended.iter().all(|at| *at > Duration::ZERO), "everybody has their turn");
    }

    #[test]
    fn whoever_is_alone_or_makes_nobody_wait_goes_on_and_nobody_is_put_aside_for_ever() {
        let slow = |ms: u32| Plugin(ms * MS, true);
        assert_eq!(play(&[slow(300)], 1), [300 * MS], "nothing begins anew");
        assert_eq!(play(&[slow(300), slow(400)], 2), [300 * MS, 400 * MS]);
        let mut queue = Queue::default();
        assert_eq!(queue.after_turn(0, false), OnSlow::GoOn, "nobody waits");
        queue.push(1, Duration::ZERO, ());
        assert_eq!(queue.after_turn(0, false), OnSlow::GoOn, "who waits has had as much");
        assert_eq!(queue.after_turn(1, true), OnSlow::GoOn, "who waits is served by another child");
        assert_eq!(queue.after_turn(1, false), OnSlow::PutAside);
        assert_eq!(length(TURNS.len()), None, "the last turn has no end of its own");
        let ended = play(&[SPINS; 5], 1);
        let lost: Duration = TURNS.iter().sum();
        assert!(ended.iter().max() <= Some(&((LIMIT + lost) * 5)), "{ended:?}");
    }
}
