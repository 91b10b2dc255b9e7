//! The jobs that one miner was given: the one on offer, and those before, so that a late proof is told from one for no
//! job at all.
//!
//! A miner knows its jobs by numbers of its own. One job of the session may be given out more than once, at another
//! target each time. A proof that meets several of those targets would be worth the most as one for the hardest: so that
//! nobody chooses after the find, a miner takes its jobs in their order, and a while after it took one the proofs for those
//! before it, of the same job of the session, count as proofs for that one. Nothing here is sent: who offers sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::effect::Work;
use super::frame::WireJob;
use super::vardiff::work_of;

/// Jobs that are remembered: ten seconds of a network with a job every 50 ms.
const GIVEN_MAX: usize = 200;

/// How long after it took the next one a miner may hand in what it found for a job: longer than the contract lets it work on
/// one that is stale.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// A job as it was given to a miner.
#[derive(Debug, Clone)]
pub struct Given {
    /// The miner's number for it.
    pub id: u64,
    /// The job.
    pub work: Arc<Work>,
    /// The target that it was asked to meet, an unscaled little-endian number.
    pub target: [u8; 32],
    /// Hashes that a proof at this target takes on average.
    pub each: f64,
    /// When the miner took it first, if it did.
    pub taken: Option<Instant>,
}

/// The job that a miner may work on.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// The miner's number for it.
    pub id: u64,
    /// Since when.
    pub at: Instant,
    /// Whether it was taken.
    pub taken: bool,
    /// How long it took the miner to take it, the first time.
    pub took: Option<Duration>,
}

/// Jobs of one miner.
#[derive(Debug, Default)]
pub struct Offers {
    last: u64,
    /// The last one that was taken.
    taken: u64,
    given: VecDeque<Given>,
    current: Option<Offer>,
}

impl Offers {
    /// Puts a job on offer at `target`; answers it as it is to be sent.
    pub fn put(&mut self, work: &Arc<Work>, target: [u8; 32], now: Instant) -> WireJob {
        self.last += 1;
        if self.given.len() == GIVEN_MAX {
            self.given.pop_front();
        }
        let each = work_of(&target).unwrap_or(f64::INFINITY);
        let given = Given { id: self.last, work: Arc::clone(work), target, each, taken: None };
        let wire = wire(&given);
        self.given.push_back(given);
        self.current = Some(Offer { id: self.last, at: now, taken: false, took: None });
        wire
    }

    /// Puts the job that is on offer there again, for a miner that begins anew; answers it as it is to be sent.
    pub fn again(&mut self, now: Instant) -> Option<WireJob> {
        let offer = self.current.as_mut()?;
        *offer = Offer { at: now, taken: false, took: None, ..*offer };
        let id = offer.id;
        self.find(id).map(wire)
    }

    /// Takes the job off; answers its number.
    pub fn withdraw(&mut self) -> Option<u64> {
        self.current.take().map(|offer| offer.id)
    }

    /// The miner says that it has taken the job `id`. Answers what it works on from now on, and whether that is the job on
    /// offer; nothing where it took a later one before, or `id` is none of its jobs.
    pub fn take(&mut self, id: u64, now: Instant) -> Option<(&Given, bool)> {
        let at = self.place(id).filter(|_| id >= self.taken)?;
        self.taken = id;
        let given = &mut self.given[at];
        given.taken.get_or_insert(now);
        let offer = self.current.as_mut().filter(|offer| offer.id == id);
        let is_on_offer = offer.is_some();
        if let Some(offer) = offer {
            offer.taken = true;
            offer.took.get_or_insert(now.saturating_duration_since(offer.at));
        }
        Some((given, is_on_offer))
    }

    /// Whether the job `id` was given out after the last one that was taken.
    pub fn is_ahead(&self, id: u64) -> bool {
        id > self.taken && self.place(id).is_some()
    }

    /// The job that a proof for the job `id` counts for, if it comes now.
    pub fn counts_for(&self, id: u64, now: Instant) -> Option<&Given> {
        let given = self.find(id)?;
        let has_left = |at: Instant| now.saturating_duration_since(at) > LEAVES_WITHIN;
        let later = self.given.iter().rev().take_while(|later| later.id > id);
        let mut same = later.filter(|later| later.work.number == given.work.number);
        Some(same.find(|later| later.taken.is_some_and(has_left)).unwrap_or(given))
    }

    /// The job on offer.
    pub fn current(&self) -> Option<Offer> {
        self.current
    }

    /// The job on offer, as it was given.
    pub fn on_offer(&self) -> Option<&Given> {
        self.find(self.current?.id)
    }

    /// The job that was given out last, on offer or not.
    pub fn newest(&self) -> Option<&Given> {
        self.given.back()
    }

    /// The last `max` jobs before the one on offer, as they were sent, oldest first.
    pub fn earlier(&self, max: usize) -> Vec<WireJob> {
        let on_offer = self.current.map(|offer| offer.id);
        let earlier = self.given.iter().filter(|given| Some(given.id) != on_offer);
        earlier.clone().skip(earlier.count().saturating_sub(max)).map(wire).collect()
    }

    /// A job by the miner's number, unless it is long over or was never given out.
    pub fn find(&self, id: u64) -> Option<&Given> {
        self.given.get(self.place(id)?)
    }

    /// Where the job `id` stands among those that are remembered.
    fn place(&self, id: u64) -> Option<usize> {
        let first = self.given.front()?.id;
        let at = usize::try_from(id.checked_sub(first)?).ok()?;
        (at < self.given.len()).then_some(at)
    }
}

fn wire(given: &Given) -> WireJob {
    let job = &given.work.job;
    WireJob {
        id: given.id,
        header: job.header,
        target: given.target,
        certificate_version: job.certificate_version,
        rank_penalty: job.rank_penalty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::WorkJob;

    fn work(number: u64) -> Arc<Work> {
        let job = WorkJob {
            header: [number as u8; 76],
            target: [1; 32],
            certificate_version: 3,
            rank_penalty: true,
            height: None,
            received: Instant::now(),
            origin: None,
            keeps_earlier: false,
        };
        Arc::new(Work { number, job })
    }

    #[test]
    fn jobs_are_known_by_number_until_they_are_long_over() {
        let mut offers = Offers::default();
        let now = Instant::now();
        assert!(offers.find(1).is_none() && offers.again(now).is_none());
        for number in 1..=GIVEN_MAX as u64 + 3 {
            assert_eq!(offers.put(&work(number), [9; 32], now).id, number);
        }
        assert!(offers.find(3).is_none() && offers.find(0).is_none());
        assert_eq!(offers.find(4).unwrap().work.number, 4);
        assert!(offers.find(GIVEN_MAX as u64 + 4).is_none(), "never given out");
        assert_eq!(offers.on_offer().unwrap().id, GIVEN_MAX as u64 + 3);
        let ids = |jobs: Vec<WireJob>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
        let last = GIVEN_MAX as u64 + 3;
        assert_eq!(ids(offers.earlier(2)), [last - 2, last - 1], "not the one on offer");
        offers.withdraw();
        assert_eq!(ids(offers.earlier(2)), [last - 1, last]);
        assert_eq!(offers.earlier(1000).len(), GIVEN_MAX);
    }

    #[test]
    fn what_a_proof_counts_for_is_not_chosen_after_it_was_found() {
        let mut offers = Offers::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        offers.put(&work(1), [9; 32], start);
        offers.put(&work(1), [8; 32], start);
        let counts_for = |offers: &Offers, id, now| offers.counts_for(id, now).map(|given| given.id);
        offers.take(1, start);
        assert_eq!(counts_for(&offers, 1, at(60_000)), Some(1), "it has not left that yet");
        assert!(offers.is_ahead(2) && !offers.is_ahead(1) && !offers.is_ahead(3));
        offers.take(2, at(60_000));
        assert_eq!(counts_for(&offers, 1, at(65_000)), Some(1), "what it was busy with");
        assert_eq!(counts_for(&offers, 1, at(65_001)), Some(2));
        assert_eq!(counts_for(&offers, 2, at(65_001)), Some(2));
        // Of another job of the session there is nothing to choose from.
        offers.put(&work(2), [7; 32], at(70_000));
        offers.take(3, at(70_000));
        assert_eq!(counts_for(&offers, 2, at(99_000)), Some(2));
        assert_eq!(counts_for(&offers, 1, at(99_000)), Some(2));
        assert_eq!(counts_for(&offers, 4, at(99_000)), None);
    }

    #[test]
    fn only_the_job_on_offer_can_be_taken_and_an_earlier_one_is_taken_in_vain() {
        let mut offers = Offers::default();
        let now = Instant::now();
        offers.put(&work(1), [9; 32], now);
        offers.put(&work(1), [8; 32], now);
        let take =
            |offers: &mut Offers, id, at| offers.take(id, at).map(|(given, on_offer)| (given.id, on_offer));
        assert_eq!(take(&mut offers, 1, now), Some((1, false)), "its offer crossed the next one");
        assert_eq!(take(&mut offers, 2, now + Duration::from_millis(3)), Some((2, true)));
        assert_eq!(take(&mut offers, 2, now + Duration::from_secs(3)), Some((2, true)), "told twice");
        assert_eq!(take(&mut offers, 1, now), None, "nobody goes back");
        assert_eq!(take(&mut offers, 3, now), None, "nobody was given that");
        assert_eq!(offers.current().unwrap().took, Some(Duration::from_millis(3)));
        assert_eq!(offers.again(now).unwrap().target, [8; 32]);
        assert!(!offers.current().unwrap().taken);
        assert_eq!(offers.withdraw(), Some(2));
        assert!(offers.current().is_none() && offers.find(2).is_some(), "a late proof is still known");
    }
}
