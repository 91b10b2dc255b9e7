//! Which of a miner's devices found a proof, where the miner tells.
//!
//! The contract hands a proof over without saying what found it. A provider of several devices may list the marks of what
//! each has found lately in its own numbers (`details.devices[].proofs`): the first 16 hexadecimal digits of the BLAKE3
//! hash of the proof's bytes. The host keeps each proof by that mark until a device is named, so that what a device is
//! credited with was handed in, judged, and counted once.
//!
//! # Limitations
//!
//! That it was this device and not its neighbour is the miner's word. A proof that is named only after so many others that
//! it was forgotten is nobody's.

use std::collections::VecDeque;

use serde_json::Value;

use super::effect::Verdict;

/// Proofs of one miner that are remembered until a device is named for them.
const REMEMBERED_MAX: usize = 512;
/// Marks of one device that are read at a time.
const MARKS_MAX: usize = 256;
/// A proof that so many answers have not named is named no more, as a rule: the first may have been under way already.
const ANSWERS: u64 = 2;

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
pub enum Outcome {
    /// It passed.
    Verified,
    /// It passed, and its job was over.
    Late,
    /// It did not pass.
    Refused,
    /// It could not be judged, for reasons of the host.
    Unjudged,
}

impl Outcome {
    /// What `verdict` says of the proof itself.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Passed { .. } | Verdict::Share | Verdict::Spare | Verdict::NotTaken(_) => Self::Verified,
            Verdict::Late => Self::Late,
            Verdict::Refused { .. } => Self::Refused,
            Verdict::NotJudged(_) => Self::Unjudged,
        }
    }
}

/// A proof that was handed in.
#[derive(Debug, Clone, Copy)]
pub struct Find {
    /// The link that it came over, and its number on it.
    pub number: (u64, u64),
    /// Hashes that it stands for.
    pub work: f64,
    /// How it was judged, as soon as it is.
    pub outcome: Option<Outcome>,
    mark: Mark,
    /// Answers that had come before it.
    answers: u64,
}

/// The proofs of one miner that no device was named for.
#[derive(Debug, Default)]
pub struct Finds {
    unnamed: VecDeque<Find>,
    /// Of those that were not refused: how many were forgotten.
    forgotten: u64,
    answers: u64,
}

impl Finds {
    /// A proof that stands for `work` hashes was handed in over link `generation`, as number `sequence`.
    pub fn handed_in(&mut self, generation: u64, sequence: u64, proof: &[u8], work: f64) {
        if self.unnamed.len() == REMEMBERED_MAX {
            let oldest = self.unnamed.pop_front();
            self.forgotten += u64::from(oldest.is_some_and(|find| find.outcome != Some(Outcome::Refused)));
        }
        let (mark, answers) = (Mark::of(proof), self.answers);
        self.unnamed.push_back(Find { number: (generation, sequence), work, outcome: None, mark, answers });
    }

    /// The proof `number` was judged; answers whether it is still nobody's.
    pub fn judged(&mut self, number: (u64, u64), outcome: Outcome) -> bool {
        let find = self.unnamed.iter_mut().find(|find| find.number == number);
        find.map(|find| find.outcome = Some(outcome)).is_some()
    }

    /// The miner has said which proofs are whose.
    pub fn answered(&mut self) {
        self.answers += 1;
    }

    /// Gives away the proof that `mark` stands for, to who named it first.
    pub fn take(&mut self, mark: Mark) -> Option<Find> {
        let at = self.unnamed.iter().position(|find| find.mark == mark)?;
        self.unnamed.remove(at)
    }

    /// Proofs that any device may have found: not refused, and named for none so far.
    pub fn unnamed(&self) -> u64 {
        self.forgotten + self.count(|_| true)
    }

    /// Of these, those that had time to be named.
    pub fn left_unnamed(&self) -> u64 {
        self.forgotten + self.count(|find| self.answers - find.answers >= ANSWERS)
    }

    fn count(&self, which: impl Fn(&Find) -> bool) -> u64 {
        let counts = |find: &&Find| find.outcome != Some(Outcome::Refused) && which(find);
        self.unnamed.iter().filter(counts).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proof_is_given_to_who_names_it_first_and_to_nobody_else() {
        let mut finds = Finds::default();
        finds.handed_in(1, 7, b"a", 10.0);
        finds.handed_in(1, 8, b"b", 10.0);
        assert!(finds.judged((1, 7), Outcome::Late) && !finds.judged((2, 8), Outcome::Verified));
        let found = finds.take(Mark::of(b"a")).unwrap();
        assert_eq!((found.number, found.work, found.outcome), ((1, 7), 10.0, Some(Outcome::Late)));
        assert!(finds.take(Mark::of(b"a")).is_none() && finds.take(Mark::of(b"c")).is_none());
        let found = finds.take(Mark::of(b"b")).unwrap();
        assert_eq!(found.outcome, None, "it waits, and is its own already");
        assert!(!finds.judged((1, 8), Outcome::Verified), "whoever has it is told");
    }

    #[test]
    fn what_no_device_is_named_for_is_counted_and_forgotten_in_the_end() {
        let mut finds = Finds::default();
        for sequence in 0..4 {
            finds.handed_in(1, sequence, &[sequence as u8], 1.0);
        }
        finds.judged((1, 0), Outcome::Refused);
        finds.judged((1, 1), Outcome::Verified);
        assert_eq!((finds.unnamed(), finds.left_unnamed()), (3, 0), "what waits may be anyone's, too");
        finds.answered();
        finds.take(Mark::of(&[3]));
        assert_eq!((finds.unnamed(), finds.left_unnamed()), (2, 0));
        finds.answered();
        assert_eq!((finds.unnamed(), finds.left_unnamed()), (2, 2));
        for sequence in 4..10 * REMEMBERED_MAX as u64 {
            finds.handed_in(1, sequence, &sequence.to_le_bytes(), 1.0);
        }
        assert_eq!(finds.unnamed.len(), REMEMBERED_MAX);
        assert_eq!(finds.unnamed(), 10 * REMEMBERED_MAX as u64 - 2, "one was refused, and one is named");
    }

    #[test]
    fn marks_are_read_as_far_as_they_are_some() {
        let told = &blake3::hash(b"a").to_hex()[..16];
        let device = json!({ "proofs": [told, 7, "zz", "é234567890123456"] });
        assert_eq!(marks(&device), Some(vec![Mark::of(b"a")]));
        for silent in [json!({}), json!({ "proofs": 5 })] {
            assert_eq!(marks(&silent), None, "{silent}");
        }
    }
}
