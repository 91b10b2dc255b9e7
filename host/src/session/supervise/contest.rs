//! Who mines a device on which several could.
//!
//! What a provider expects of itself is its word, and so whoever expects most would win by a word. It is given the device,
//! and from then on its shares are held against what the next one expects. Where they show that it does less, its rate is
//! known, the next one takes its place, and is tried in the same way. Once all that expect more than was shown have been
//! tried, the one that showed most has the device.
//!
//! ```text
//! the most expected --mines--> its shares fall short of the next --> the next mines --> … --> who showed most
//! ```
//!
//! Plain functions of counts; nobody is started or ended here. A provider that says nothing of its rate is never preferred to
//! one that does, and so never takes a place here. What was shown is forgotten with the session.

use crate::miner::MinerPlan;
use crate::text;

/// The evidence at which somebody is held to do less than another expects: the chance that one who does more is ever held
/// to is one in this (see [`crate::miner::luck`]).
const EVIDENCE: f64 = 1e4;

/// "Does so many times less than the other expects", all with the same odds.
const SHORTFALLS: [f64; 4] = [1.25, 2.0, 4.0, 10.0];

/// All devices on which several could mine.
#[derive(Debug, Default)]
pub(super) struct Contest {
    seats: Vec<Seat>,
}

/// One of them.
#[derive(Debug)]
struct Seat {
    candidates: Vec<Candidate>,
    /// Who mines now, and what that miner is called.
    seated: usize,
    name: String,
}

#[derive(Debug)]
struct Candidate {
    plan: MinerPlan,
    /// Hashes per second that its shares showed, where they fell short.
    shown: Option<f64>,
}

/// What a miner has proved: shares, and how many a hash a second would have brought meanwhile, on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proved {
    pub shares: u64,
    pub exposure: f64,
}

/// Somebody else is to mine.
#[derive(Debug)]
pub(super) struct Change {
    /// The miner that leaves.
    pub leaves: String,
    /// Who takes its place; it is to be given a name that is free.
    pub comes: MinerPlan,
    /// Why.
    pub why: String,
    seat: usize,
}

impl Candidate {
    fn expects(&self) -> f64 {
        self.shown.or(self.plan.estimate).unwrap_or(0.0)
    }
}

impl Seat {
    fn is_for(&self, plan: &MinerPlan) -> bool {
        let ids = |plans: &mut dyn Iterator<Item = &MinerPlan>| {
            let mut ids: Vec<String> = plans.map(|plan| plan.provider().to_owned()).collect();
            ids.sort_unstable();
            ids
        };
        let devices = |plan: &MinerPlan| plan.order.extra.get("devices").cloned();
        devices(&self.candidates[0].plan) == devices(plan)
            && ids(&mut self.candidates.iter().map(|one| &one.plan))
                == ids(&mut std::iter::once(plan).chain(&plan.rivals))
    }

    /// The one of the others that expects, or showed, most.
    fn next(&self) -> Option<usize> {
        let others = (0..self.candidates.len()).filter(|&index| index != self.seated);
        others.max_by(|&a, &b| {
            let [a, b] = [a, b].map(|index| self.candidates[index].expects());
            a.total_cmp(&b)
        })
    }

    /// Who takes the place of the one that mines, where it `proved` less than that one expects.
    fn judge(&mut self, proved: Proved) -> Option<usize> {
        let next = self.next()?;
        let wanted = self.candidates[next].expects();
        let seated = &mut self.candidates[self.seated];
        // Whoever was measured is here because nobody else expects more.
        if seated.shown.is_some() || !falls_short(proved.shares, proved.exposure * wanted) {
            return None;
        }
        seated.shown = Some(proved.shares as f64 / proved.exposure);
        Some(next)
    }
}

impl Contest {
    /// Who is to mine according to `plans`, given what is known: where somebody else of a plan's rivals has its place, that
    /// one. Devices that are no longer among them are forgotten.
    pub fn settle(&mut self, plans: Vec<MinerPlan>) -> Vec<MinerPlan> {
        let mut seats = Vec::new();
        let settled = plans.into_iter().map(|plan| {
            if plan.rivals.is_empty() {
                return plan;
            }
            let known = self.seats.iter().position(|seat| seat.is_for(&plan)).map(|at| self.seats.remove(at));
            let rivals = plan.rivals.clone();
            let Some(mut seat) = known else {
                let candidates = std::iter::once(plan.clone()).chain(rivals);
                let candidates = candidates.map(|plan| Candidate { plan, shown: None }).collect();
                seats.push(Seat { candidates, seated: 0, name: plan.name.clone() });
                return plan;
            };
            for plan in std::iter::once(plan).chain(rivals) {
                let of_it = |one: &&mut Candidate| one.plan.provider() == plan.provider();
                if let Some(candidate) = seat.candidates.iter_mut().find(of_it) {
                    candidate.plan = plan;
                }
            }
            let plan = MinerPlan { name: seat.name.clone(), ..seat.candidates[seat.seated].plan.clone() };
            seats.push(seat);
            plan
        });
        let settled = settled.collect();
        self.seats = seats;
        settled
    }

    /// Who is to go and who is to come, where `proved` tells what the miner of a name has proved so far.
    pub fn judge(&mut self, proved: impl Fn(&str) -> Option<Proved>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (seat, place) in self.seats.iter_mut().enumerate() {
            let Some(proved) = proved(&place.name) else { continue };
            let Some(next) = place.judge(proved) else { continue };
            let (old, new) = (&place.candidates[place.seated], &place.candidates[next]);
            let why = format!(
                "`{}` expected {} of itself and does {}, by {} shares where {:.1} were due from {} of `{}`: \
                 `{0}` is put aside, and `{6}` mines in its place",
                old.plan.provider(),
                text::hashrate(old.plan.estimate.unwrap_or(0.0)),
                text::hashrate(old.expects()),
                proved.shares,
                proved.exposure * new.expects(),
                text::hashrate(new.expects()),
                new.plan.provider(),
            );
            changes.push(Change { leaves: place.name.clone(), comes: new.plan.clone(), why, seat });
            place.seated = next;
        }
        changes
    }

    /// The miner that comes by `change` is called `name`.
    pub fn seated(&mut self, change: &Change, name: &str) {
        if let Some(seat) = self.seats.get_mut(change.seat) {
            name.clone_into(&mut seat.name);
        }
    }
}

/// Whether who found so many `shares` where `due` were to be expected does less than that: a likelihood ratio, averaged over
/// [`SHORTFALLS`], which is a martingale where nothing is missing, so that it may be looked at as often as one likes.
fn falls_short(shares: u64, due: f64) -> bool {
    let evidence: f64 = SHORTFALLS
        .iter()
        .map(|factor| (due * (1.0 - 1.0 / factor) - shares as f64 * factor.ln()).exp())
        .sum();
    evidence / SHORTFALLS.len() as f64 >= EVIDENCE
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pearlbed_plugin_api::Manifest;

    use super::*;
    use crate::miner::plugin::Chosen;
    use crate::plugins::trust::{Signed, Trust};

    fn plan(id: &str, estimate: f64) -> MinerPlan {
        let manifest = serde_json::json!({
            "id": id, "version": "1.0.0", "plugin_api": [1], "certificate_versions": [3],
        });
        let chosen = Chosen {
            path: PathBuf::from(id),
            identity: None,
            manifest: Manifest::parse(manifest.to_string().as_bytes()).unwrap(),
            container: None,
            signed: Signed::default(),
            relaxed: false,
            trust: Trust::default(),
            estimate: Some(estimate),
        };
        MinerPlan::new(id.to_owned(), chosen, &[], &serde_json::Map::new())
    }

    fn three() -> MinerPlan {
        let rivals = vec![plan("honest", 4e10), plan("second", 6e10)];
        MinerPlan { rivals, ..plan("boaster", 9e17) }
    }

    /// A minute in which a share takes 4e11 hashes of who does `rate` a second, with even waits, up to `minutes`.
    fn after(minutes: u32, rate: f64) -> Proved {
        let exposure = f64::from(minutes) * 60.0 / 4e11;
        Proved { shares: (exposure * rate) as u64, exposure }
    }

    #[test]
    fn who_wins_by_a_word_keeps_the_device_for_as_long_as_its_shares_bear_out_more_than_the_next_expects() {
        let rates = |id: &str| match id {
            "boaster" => 5e9,
            "second" => 1e10,
            _ => 4e10,
        };
        let mut contest = Contest::default();
        let mut seated = contest.settle(vec![three()]).remove(0).name;
        let mut order = vec![seated.clone()];
        let mut minutes = 0;
        for minute in 1..1000 {
            minutes += 1;
            let changes = contest.judge(|name| (name == seated).then(|| after(minutes, rates(name))));
            let Some(change) = changes.into_iter().next() else { continue };
            assert_eq!(change.leaves, seated, "in minute {minute}");
            seated = change.comes.name.clone();
            contest.seated(&change, &seated);
            order.push(seated.clone());
            minutes = 0;
        }
        assert_eq!(order, ["boaster", "second", "honest"]);
        // Read again, the configuration changes nothing of that.
        assert_eq!(contest.settle(vec![three()])[0].provider(), "honest");
        // Another machine's devices are another matter.
        assert_eq!(contest.settle(vec![plan("boaster", 9e17)])[0].provider(), "boaster");
        assert_eq!(contest.settle(vec![three()])[0].provider(), "boaster");
    }

    #[test]
    fn who_showed_most_has_the_device_where_nobody_does_what_was_expected() {
        let mut contest = Contest::default();
        let mut seated = contest.settle(vec![three()]).remove(0).name;
        for minute in 1..1000 {
            let rate = if seated == "boaster" { 3e10 } else { 1e9 };
            for change in contest.judge(|name| (name == seated).then(|| after(minute, rate))) {
                seated = change.comes.name.clone();
                contest.seated(&change, &seated);
            }
        }
        assert_eq!(seated, "boaster");
    }

    #[test]
    fn who_does_what_the_next_expects_is_not_put_aside_in_a_year_of_looking() {
        // As many shares as are due, one behind all the time.
        assert!((1..200_000_u32).all(|shares| !falls_short(u64::from(shares) - 1, f64::from(shares))));
        assert!(!falls_short(0, 3.0), "three that were due may be late");
        assert!(falls_short(0, 13.0));
        assert!(falls_short(2, 40.0));
    }

    #[test]
    fn a_device_that_one_alone_wants_is_no_contest() {
        let mut contest = Contest::default();
        assert_eq!(contest.settle(vec![plan("alone", 1e9)])[0].name, "alone");
        assert!(contest.judge(|_| Some(after(1000, 0.0))).is_empty());
    }
}
