//! Miners whose cards are too hot have no work until these have cooled down.
//!
//! The host reads the sensors itself ([`super::sensors`]), so the limit holds for every provider, and needs nothing of it.
//! Nothing is ever set: no clock, no fan, no power limit. Only the job is taken away; the process stays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::crew::{Crew, Told};
use super::sensors::{Hottest, Readings};
use crate::miner::effect::{Level, Speaker};
use crate::miner::{Effect, Miner, MinerId, Work};

/// How far below the limit the hottest card has to come before its miner works again, in degrees.
const MARGIN: f64 = 5.0;

/// Who rests, and of whom it was said that nothing can be read.
#[derive(Debug, Default)]
pub(super) struct Heat {
    hot: BTreeSet<MinerId>,
    unread: BTreeSet<MinerId>,
}

/// What is to be done about one miner.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It rests, from now on or still, because of this.
    Rests(String),
    /// It works again, because of this.
    WorksAgain(String),
    /// Its limit is without effect.
    Unread,
    /// Everything is as it was.
    AsItWas,
}

impl Heat {
    /// Whether anybody has a limit to be held to.
    pub fn is_watched(crew: &Crew) -> bool {
        crew.present().any(|miner| miner.plan().temperature_limit.is_some())
    }

    /// Takes the job from those whose cards are too hot, and gives `job` to those whose cards are not any more.
    pub fn follow(
        &mut self,
        readings: &Readings,
        crew: &mut Crew,
        job: Option<&Arc<Work>>,
        now: Instant,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        let limited = |miner: &&mut Miner| {
            !miner.is_dismissed() && (miner.plan().temperature_limit.is_some() || miner.rests())
        };
        for miner in crew.iter_mut().filter(limited) {
            let (id, plan) = (miner.id(), miner.plan());
            // What a program in a container mines on is known by its configuration alone.
            let has_cards = !plan.cards.is_empty() || plan.grants.has_devices() || miner.is_program();
            let hottest = if has_cards { readings.hottest(&plan.cards, now) } else { Some(None) };
            let limit = plan.temperature_limit.map(f64::from);
            let line = |level, text| (id, Effect::Line(level, Speaker::Supervisor, text));
            match judge(limit, self.hot.contains(&id), hottest) {
                Verdict::Rests(why) => {
                    if self.hot.insert(id) {
                        told.push(line(Level::Warn, format!("it rests: {why}")));
                    }
                    miner.rest(why, now);
                }
                Verdict::WorksAgain(why) => {
                    self.hot.remove(&id);
                    told.push(line(Level::Info, format!("it works again: {why}")));
                    let effects = miner.work_again(job, now);
                    told.extend(effects.into_iter().map(|effect| (id, effect)));
                }
                Verdict::Unread => {
                    if self.unread.insert(id) {
                        let text = "no temperature of its cards can be read, so `temperature_limit` is without effect";
                        told.push(line(Level::Warn, text.to_owned()));
                    }
                }
                Verdict::AsItWas => {}
            }
        }
        told
    }
}

/// What follows for a miner with this limit, that rests or not, from what is known of its hottest card.
fn judge(limit: Option<f64>, rests: bool, hottest: Option<Hottest>) -> Verdict {
    match (limit, hottest) {
        (None, _) if rests => Verdict::WorksAgain("it has no limit any more".into()),
        (None, _) | (_, None) if !rests => Verdict::AsItWas,
        (Some(limit), Some(Some((card, degrees)))) => {
            if degrees >= limit || (rests && degrees >= limit - MARGIN) {
                let until = limit - MARGIN;
                Verdict::Rests(format!(
                    "its card {card} is at {degrees:.0} °C, and its limit is {limit:.0} °C; it works again below {until:.0} °C"
                ))
            } else if rests {
                Verdict::WorksAgain(format!("its hottest card, {card}, is at {degrees:.0} °C"))
            } else {
                Verdict::AsItWas
            }
        }
        // A sensor that is gone stops nobody.
        _ if rests => Verdict::WorksAgain("no temperature of its cards can be read any more".into()),
        _ => Verdict::Unread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(degrees: f64) -> Option<Hottest> {
        Some(Some(("0000:03:00.0".into(), degrees)))
    }

    #[test]
    fn a_miner_rests_at_its_limit_and_works_again_some_degrees_below() {
        let mut rests = false;
        let judged = [70.0, 79.9, 80.0, 78.0, 75.0, 74.9, 79.0, 81.0].map(|degrees| {
            match judge(Some(80.0), rests, at(degrees)) {
                Verdict::Rests(_) => rests = true,
                Verdict::WorksAgain(_) => rests = false,
                Verdict::AsItWas => {}
                Verdict::Unread => panic!("it was read"),
            }
            rests
        });
        assert_eq!(judged, [false, false, true, true, true, false, false, true]);
    }

    #[test]
    fn what_cannot_be_read_stops_nobody_and_is_told_once_it_is_known() {
        assert_eq!(judge(Some(80.0), false, None), Verdict::AsItWas, "nobody was asked yet");
        assert_eq!(judge(Some(80.0), false, Some(None)), Verdict::Unread);
        for gone in [None, Some(None)] {
            assert!(matches!(judge(Some(80.0), true, gone), Verdict::WorksAgain(_)));
        }
        assert_eq!(judge(None, false, at(110.0)), Verdict::AsItWas);
        assert!(matches!(judge(None, true, at(110.0)), Verdict::WorksAgain(_)), "the limit was taken away");
        let Verdict::Rests(why) = judge(Some(80.0), false, at(83.4)) else { panic!() };
        assert_eq!(
            why,
            "its card 0000:03:00.0 is at 83 °C, and its limit is 80 °C; it works again below 75 °C"
        );
    }
}
