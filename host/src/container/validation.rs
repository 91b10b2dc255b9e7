//! Whether a served model mines: the prompts that make it, and what follows from what came.
//!
//! That a model is served says nothing of whether it mines. It is validated when a proof came out of a prompt and passed the
//! host's verifier, and by nothing else that a container says.

/// Words of the first prompt: most are one token, so that one step of the engine holds far more than a thousand.
pub const WORDS: usize = 3000;
/// With fewer words a prompt is no step that mines.
pub const WORDS_MIN: usize = 1100;

/// Common words, each a token to nearly every model.
const COMMON: [&str; 24] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
    "he", "his", "but", "at", "are", "this", "have", "from",
];

/// A prompt of `words` words. `mark` is in its first words, and no two prompts of one run have the same: what an engine has read
/// before it remembers, and does not multiply again.
pub fn prompt(mark: u64, words: usize) -> String {
    let mut state = mark.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("Text {mark}:");
    for _ in 0..words {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(' ');
        text.push_str(COMMON[(state % COMMON.len() as u64) as usize]);
    }
    text
}

/// What came of the prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Prompts that were answered.
    pub prompts: u64,
    /// Their tokens, as the server counts them.
    pub prompt_tokens: u64,
    /// Why a prompt was not answered, or why the model is not served.
    pub trouble: Option<String>,
    /// Steps large enough to mine since the first prompt, about; nothing where the server does not count them.
    pub steps_large: Option<u64>,
    /// Proofs since the first prompt that passed the host's verifier.
    pub verified: u64,
    /// Proofs since then that did not.
    pub refused: u64,
    /// What the session said of the last of these.
    pub last_refusal: Option<String>,
    /// Whether anybody in the container asks for work.
    pub polled: bool,
}

impl Evidence {
    /// Whether the model mines, as far as that can be known: a proof of it passed the verifier.
    pub fn is_validated(&self) -> bool {
        self.verified > 0
    }

    /// The verdict in a sentence, which says why where it is the wrong one.
    pub fn sentence(&self) -> String {
        let count = |number: u64, one: &str, more: &str| {
            if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
        };
        let prompts = count(self.prompts, "long prompt was", "long prompts were");
        if self.is_validated() {
            return format!(
                "validated: {prompts} answered, and {} passed the verifier",
                count(self.verified, "proof", "proofs")
            );
        }
        let why = if let Some(trouble) = &self.trouble {
            trouble.clone()
        } else if self.refused > 0 {
            let last = self.last_refusal.as_deref().map(|last| format!(": {last}")).unwrap_or_default();
            format!("{} came, and none passed the verifier{last}", count(self.refused, "proof", "proofs"))
        } else if !self.polled {
            format!("{prompts} answered, and nobody in the container asks for work")
        } else if self.steps_large == Some(0) {
            format!("{prompts} answered, and no step was large enough to mine")
        } else {
            format!("{prompts} answered, and no proof came: the checkpoint may have no layers that mine")
        };
        format!("not validated: {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_long_and_no_two_begin_alike() {
        let (one, two) = (prompt(1, WORDS), prompt(2, WORDS));
        assert!(one.split(' ').count() > WORDS && one != two);
        assert_ne!(one.split(' ').nth(1), two.split(' ').nth(1));
        let same = one.split(' ').skip(2).zip(two.split(' ').skip(2)).filter(|(a, b)| a == b).count();
        assert!(same < WORDS / 5, "{same}");
    }

    #[test]
    fn only_a_verified_proof_validates_and_each_other_case_has_its_reason() {
        let answered = Evidence { prompts: 2, polled: true, ..Evidence::default() };
        let sentences: Vec<String> = [
            Evidence { verified: 1, refused: 3, ..answered.clone() },
            Evidence { trouble: Some("its container is given up".into()), ..Evidence::default() },
            Evidence { refused: 2, last_refusal: Some("the wrong seeds".into()), ..answered.clone() },
            Evidence { polled: false, ..answered.clone() },
            Evidence { steps_large: Some(0), ..answered.clone() },
            Evidence { steps_large: Some(4), prompts: 1, ..answered },
        ]
        .iter()
        .map(|evidence| format!("{} {}", evidence.is_validated(), evidence.sentence()))
        .collect();
        insta::assert_snapshot!("verdicts", sentences.join("\n"));
    }
}
