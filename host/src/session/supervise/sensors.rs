//! How hot the cards are and what they draw, asked now and then beside everything else.
//!
//! Drivers may hang, so a child of this program asks them (see [`crate::hardware`]), and a session only looks at what was
//! said last. Where no miner was granted a device, nobody is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::hardware::{self, Sensors};
use crate::miner::report::MinerReport;

/// Between two questions; between two where a limit is to be held; and how many times longer than its answer took the next
/// one waits at least.
const EVERY: Duration = Duration::from_secs(15);
const EVERY_WITH_LIMIT: Duration = Duration::from_secs(5);
const REST: u32 = 20;
/// How long the drivers may take: nobody waits for them.
const LIMIT: Duration = Duration::from_secs(5);
/// What was said longer ago is not told any more.
const FRESH: Duration = Duration::from_secs(150);

/// A card's address on the bus and its temperature in degrees Celsius; nothing where no card tells one.
pub(super) type Hottest = Option<(String, f64)>;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Readings {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    asking: bool,
    next_at: Option<Instant>,
    said_at: Option<Instant>,
    /// By the card's address on the bus.
    cards: HashMap<String, Sensors>,
}

impl Readings {
    /// Asks again if it is time, and `wanted`; more often where there is a limit to hold. Must be called in a tokio runtime.
    pub fn look(&self, wanted: bool, limited: bool, now: Instant) {
        if !wanted || !lock(&self.known).begins(now) {
            return;
        }
        let every = if limited { EVERY_WITH_LIMIT } else { EVERY };
        let known = Arc::clone(&self.known);
        tokio::task::spawn_blocking(move || {
            let options = hardware::Options { limit: LIMIT, ..hardware::Options::default() };
            let said = hardware::sensors(&options);
            lock(&known).said(said, (now, every), Instant::now());
        });
    }

    /// The hottest of `cards`, or of all where none is named; nothing where nothing was said yet, or too long ago.
    pub fn hottest(&self, cards: &[String], now: Instant) -> Option<Hottest> {
        lock(&self.known).hottest(cards, now)
    }

    /// Puts what is known of each card into the rows of those who mine on it.
    pub fn fill(&self, miners: &mut [MinerReport], now: Instant) {
        lock(&self.known).fill(miners, now);
    }
}

/// Nothing here is left half-changed by a panic.
fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Whether it is time to ask, in which case somebody does from now on.
    fn begins(&mut self, now: Instant) -> bool {
        let begins = !self.asking && self.next_at.is_none_or(|at| at <= now);
        self.asking |= begins;
        begins
    }

    /// What was asked at `asked` is said `now`.
    fn said(&mut self, said: Vec<(String, Sensors)>, (asked, every): (Instant, Duration), now: Instant) {
        let took = now.saturating_duration_since(asked);
        self.asking = false;
        self.next_at = Some(now + every.max(took * REST));
        let since =
            self.said_at.replace(now).map(|before| now.saturating_duration_since(before).as_secs_f64());
        let before = std::mem::take(&mut self.cards);
        self.cards = said
            .into_iter()
            .map(|(address, mut sensors)| {
                // A card that tells what it has used up draws what came to that since the last time.
                let used = |before: &Sensors| Some(sensors.energy_joules? - before.energy_joules?);
                let drawn = before.get(&address).and_then(used).zip(since);
                let drawn = drawn.filter(|(joules, seconds)| *joules >= 0.0 && *seconds > 0.0);
                sensors.power_watts = sensors.power_watts.or(drawn.map(|(joules, seconds)| joules / seconds));
                (address, sensors)
            })
            .collect();
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.said_at.is_some_and(|at| now.saturating_duration_since(at) <= FRESH)
    }

    fn hottest(&self, cards: &[String], now: Instant) -> Option<Hottest> {
        if !self.is_fresh(now) {
            return None;
        }
        let meant = self.cards.iter().filter(|(address, _)| cards.is_empty() || cards.contains(address));
        let told = meant.filter_map(|(address, sensors)| Some((sensors.temperature_celsius?, address)));
        Some(
            told.max_by(|one, other| one.0.total_cmp(&other.0))
                .map(|(degrees, card)| (card.clone(), degrees)),
        )
    }

    fn fill(&self, miners: &mut [MinerReport], now: Instant) {
        if !self.is_fresh(now) {
            return;
        }
        for device in miners.iter_mut().flat_map(|miner| &mut miner.devices) {
            let Some(sensors) = device.address.as_ref().and_then(|address| self.cards.get(address)) else {
                continue;
            };
            // What the machine says comes before what the miner does.
            device.temperature_celsius = sensors.temperature_celsius.or(device.temperature_celsius);
            device.power_watts = sensors.power_watts.or(device.power_watts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::report::DeviceReport;

    fn sensors(degrees: f64, power_watts: Option<f64>, energy_joules: Option<f64>) -> Sensors {
        Sensors { temperature_celsius: Some(degrees), power_watts, energy_joules }
    }

    #[test]
    fn the_machines_word_on_a_card_comes_before_the_miners_and_grows_old() {
        let start = Instant::now();
        let mut known = Known::default();
        assert!(known.begins(start) && !known.begins(start), "one question at a time");
        known.said(vec![("0000:01:00.0".into(), sensors(61.0, Some(300.0), None))], (start, EVERY), start);
        let device = |address: Option<&str>| DeviceReport {
            address: address.map(str::to_owned),
            temperature_celsius: Some(20.0),
            ..DeviceReport::default()
        };
        let mut miner = MinerReport::named("a");
        miner.devices = vec![device(Some("0000:01:00.0")), device(Some("0000:02:00.0")), device(None)];
        let of = |known: &Known, now| {
            let mut miners = vec![miner.clone()];
            known.fill(&mut miners, now);
            miners[0].devices.iter().map(|one| (one.temperature_celsius, one.power_watts)).collect::<Vec<_>>()
        };
        let own = (Some(20.0), None);
        assert_eq!(of(&known, start), [(Some(61.0), Some(300.0)), own, own]);
        assert_eq!(of(&known, start + FRESH * 2), [own; 3]);
    }

    #[test]
    fn a_card_that_counts_energy_draws_what_came_to_it_and_slow_drivers_are_asked_less_often() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let card = |joules| vec![("x".to_owned(), sensors(50.0, None, Some(joules)))];
        let mut known = Known::default();
        known.said(card(1000.0), (start, EVERY), start);
        assert_eq!(known.cards["x"].power_watts, None);
        known.said(card(4000.0), (at(19), EVERY), at(20));
        assert_eq!(known.cards["x"].power_watts, Some(150.0));
        assert!(!known.begins(at(35)) && known.begins(at(40)), "one second to answer, twenty to rest");
        known.said(card(10.0), (at(40), EVERY), at(40));
        assert_eq!(known.cards["x"].power_watts, None, "it counts from the beginning again");
    }
}
