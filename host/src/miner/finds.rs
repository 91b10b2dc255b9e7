//! Which of a miner's devices found a proof, where the miner tells.
//!
//! The contract hands a proof over without saying what found it. A provider of several devices may list the marks of what
//! each has found lately in its own numbers (`details.devices[].proofs`): the first 16 hexadecimal digits of the BLAKE3
//! hash of the proof's bytes. The host keeps its verdicts by that mark until a device is named, so that what a device is
//! credited with was verified, and once.
//!
//! # Limitations
//!
//! That it was this device and not its neighbour is the miner's word. A proof that is named only after so many others that
//! it was forgotten is nobody's.

use std::collections::VecDeque;

use serde_json::Value;

use super::effect::Verdict;
use super::rate::ProvenWork;
use super::report::DeviceProofs;

/// Proofs of one miner that are remembered: those that wait to be judged, and those that no device was named for.
const REMEMBERED_MAX: usize = 256;
/// Marks of one device that are read at a time.
const MARKS_MAX: usize = 256;

/// What a proof is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// The mark of a proof.
    pub fn of(proof: &[u8]) -> Self {
        let hash = blake3::hash(proof);
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        Self(u64::from_be_bytes(*first))
    }

    fn read(text: &Value) -> Option<Self> {
        let text = text.as_str().filter(|text| text.len() == 16)?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

/// The marks that a device tells; nothing where it tells none at all.
pub fn marks(device: &Value) -> Option<Vec<Mark>> {
    Some(device.get("proofs")?.as_array()?.iter().take(MARKS_MAX).filter_map(Mark::read).collect())
}

/// How a proof was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Verified,
    Late,
    Refused,
    Unjudged,
}

/// The proofs of one miner that no device was named for.
#[derive(Debug, Default)]
pub struct Finds {
    /// By link and number on it.
    waiting: VecDeque<((u64, u64), Mark)>,
    judged: VecDeque<(Mark, Outcome, f64)>,
}

impl Finds {
    /// A proof was handed in over link `generation`, as number `sequence`.
    pub fn handed_in(&mut self, generation: u64, sequence: u64, proof: &[u8]) {
        remember(&mut self.waiting, ((generation, sequence), Mark::of(proof)));
    }

    /// It was judged. It stands for `work` hashes where it passed.
    pub fn judged(&mut self, generation: u64, sequence: u64, verdict: &Verdict, work: f64) {
        let Some(at) = self.waiting.iter().position(|(number, _)| *number == (generation, sequence)) else {
            return;
        };
        let Some((_, mark)) = self.waiting.remove(at) else { return };
        let outcome = match verdict {
            Verdict::Passed { .. } | Verdict::Share | Verdict::Spare | Verdict::NotTaken(_) => {
                Outcome::Verified
            }
            Verdict::Late => Outcome::Late,
            Verdict::Refused { .. } => Outcome::Refused,
            Verdict::NotJudged(_) => Outcome::Unjudged,
        };
        remember(&mut self.judged, (mark, outcome, work));
    }
}

fn remember<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() == REMEMBERED_MAX {
        list.pop_front();
    }
    list.push_back(one);
}

/// What one device is credited with.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    proofs: DeviceProofs,
    work: ProvenWork,
}

impl Tally {
    /// Takes from `finds` what the device says that it found, as far as it was judged and is nobody's yet.
    pub fn claim(&mut self, marks: &[Mark], finds: &mut Finds) {
        for mark in marks {
            let Some(at) = finds.judged.iter().position(|(judged, ..)| judged == mark) else { continue };
            let Some((_, outcome, work)) = finds.judged.remove(at) else { continue };
            let proofs = &mut self.proofs;
            if outcome == Outcome::Refused {
                proofs.refused += 1;
                continue;
            }
            proofs.found += 1;
            if outcome != Outcome::Unjudged {
                proofs.verified += 1;
                proofs.late += u64::from(outcome == Outcome::Late);
                self.work.add(work);
            }
        }
    }

    /// Its proofs, counted.
    pub fn proofs(&self) -> &DeviceProofs {
        &self.proofs
    }

    /// The work that its verified proofs stand for.
    pub fn work(&self) -> &ProvenWork {
        &self.work
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(proof: &[u8]) -> Value {
        json!(&blake3::hash(proof).to_hex()[..16])
    }

    fn refused() -> Verdict {
        Verdict::Refused { stage: "shape".into(), why: String::new(), kept: None }
    }

    #[test]
    fn a_device_is_credited_with_what_was_judged_once_and_with_nothing_that_nobody_handed_in() {
        let mut finds = Finds::default();
        for (sequence, proof) in [b"a", b"b", b"c", b"d", b"e"].into_iter().enumerate() {
            finds.handed_in(1, sequence as u64, proof);
        }
        finds.judged(1, 0, &Verdict::Share, 10.0);
        finds.judged(1, 1, &Verdict::Late, 10.0);
        finds.judged(1, 2, &refused(), 10.0);
        finds.judged(2, 3, &Verdict::Share, 10.0);
        finds.judged(1, 4, &Verdict::NotJudged(String::new()), 10.0);
        let device = json!({ "proofs": [told(b"a"), told(b"b"), told(b"d"), told(b"x"), 7, "zz", "é234567890123456"] });
        let (mut first, mut second) = (Tally::default(), Tally::default());
        first.claim(&marks(&device).unwrap(), &mut finds);
        let of = |found, verified, late, refused| DeviceProofs { found, verified, late, refused };
        assert_eq!(*first.proofs(), of(2, 2, 1, 0), "the fourth waits, the rest is invented");
        assert_eq!(first.work().proofs(), 2);
        let all = json!({ "proofs": [told(b"a"), told(b"b"), told(b"c"), told(b"d"), told(b"e")] });
        second.claim(&marks(&all).unwrap(), &mut finds);
        assert_eq!(
            *second.proofs(),
            of(1, 0, 0, 1),
            "two are the other's, one was not judged, and one waits"
        );
        finds.judged(1, 3, &Verdict::Share, 10.0);
        first.claim(&marks(&device).unwrap(), &mut finds);
        assert_eq!(*first.proofs(), of(3, 3, 1, 0));
        first.claim(&marks(&device).unwrap(), &mut finds);
        assert_eq!(*first.proofs(), of(3, 3, 1, 0), "told again, and counted once");
        for silent in [json!({}), json!({ "proofs": 5 })] {
            assert_eq!(marks(&silent), None, "{silent}");
        }
    }

    #[test]
    fn what_no_device_is_named_for_is_forgotten_in_the_end() {
        let mut finds = Finds::default();
        for sequence in 0..10 * REMEMBERED_MAX as u64 {
            finds.handed_in(1, sequence, &sequence.to_le_bytes());
            if sequence % 2 == 0 {
                finds.judged(1, sequence, &Verdict::Share, 1.0);
            }
        }
        assert_eq!((finds.waiting.len(), finds.judged.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }
}
