//! Whether a program was left behind by the network: its proofs passed under one certificate version and fail under the
//! next.
//!
//! A provider says which versions it speaks; a program at the port says nothing, so its proofs have to. Plain functions of
//! what was judged. What follows (no more work of that version) is the miner's to do.

/// Proofs in a row that must fail before a program is held to be behind: one may have been on its way.
const FAILURES: u32 = 3;

/// A program that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// The version under which its proofs passed last.
    pub mines: u32,
    /// The version that is wanted.
    pub wanted: u32,
}

impl Behind {
    /// What is wrong, in words that may follow a program's name.
    pub fn sentence(self) -> String {
        let Self { mines, wanted } = self;
        format!(
            "mines certificate version {mines}, and the network wants version {wanted}: its proofs fail since the change"
        )
    }
}

/// What is known of one program.
#[derive(Debug, Clone, Default)]
pub struct Fork {
    passed: Option<u32>,
    failing: Option<(u32, u32)>,
    behind: Option<Behind>,
}

impl Fork {
    /// A proof for a job of `version` passed.
    pub fn passed(&mut self, version: u32) {
        *self = Self { passed: Some(version), ..Self::default() };
    }

    /// One was refused at `stage`; answers whether the program is held to be behind from now on.
    pub fn refused(&mut self, version: u32, stage: &str) -> bool {
        let Some(mines) = self.passed.filter(|passed| *passed != version) else { return false };
        // What the seeds and the certificate decide shows in the keyed roots and in the tile's hash.
        if !matches!(stage, "hash_a" | "hash_b" | "difficulty" | "rank_penalty" | "certificate") {
            return false;
        }
        let before = self.failing.filter(|(failing, _)| *failing == version).map_or(0, |(_, times)| times);
        self.failing = Some((version, before + 1));
        let news = before + 1 >= FAILURES && self.behind.is_none();
        if news {
            self.behind = Some(Behind { mines, wanted: version });
        }
        news
    }

    /// Whether the program is behind where jobs of `version` are wanted.
    pub fn is_behind(&self, version: u32) -> Option<Behind> {
        self.behind.filter(|behind| behind.wanted == version)
    }

    /// The program is another: nothing is known of it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_behind_once_three_proofs_in_a_row_fail_after_the_version_changed() {
        let mut fork = Fork::default();
        for _ in 0..9 {
            assert!(!fork.refused(3, "difficulty"), "it never was better: it is merely wrong");
        }
        fork.passed(2);
        assert!(!fork.refused(2, "difficulty"), "the version did not change");
        assert_eq!([(); 4].map(|()| fork.refused(3, "difficulty")), [false, false, true, false]);
        let behind = fork.is_behind(3).unwrap();
        assert_eq!(behind, Behind { mines: 2, wanted: 3 });
        assert!(behind.sentence().contains("version 2") && behind.sentence().contains("version 3"));
        assert_eq!((fork.is_behind(2), fork.is_behind(4)), (None, None), "for any other it may try");
        fork.passed(3);
        assert_eq!(fork.is_behind(3), None);
        // What has nothing to do with a fork says nothing of one.
        for _ in 0..9 {
            assert!(!fork.refused(4, "duplicate") && !fork.refused(4, "decode"));
        }
        fork.refused(4, "hash_a");
        fork.refused(4, "hash_a");
        fork.forget();
        assert!(!fork.refused(4, "hash_a"));
    }
}
