//! How a question is put: on a terminal in the program, by a script in the tests.

/// Puts questions to a person.
pub trait Ask {
    /// Why there was no answer; most often the person left.
    type Error;

    /// Tells something.
    fn tell(&mut self, text: &str);

    /// One of `items`, by its index; `default` is offered.
    fn choose(&mut self, prompt: &str, items: &[String], default: usize) -> Result<usize, Self::Error>;

    /// A text; an empty one is allowed where `check` takes it. `check` says what is wrong with an answer.
    fn text(
        &mut self,
        prompt: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Self::Error>;

    /// Yes or no.
    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool, Self::Error>;
}

/// Answers for tests.
#[cfg(test)]
pub mod testing {
    use super::Ask;

    /// Answers by the words of the prompt; what is not scripted takes the default.
    pub struct Script {
        answers: Vec<(&'static str, &'static str)>,
        /// What it was told.
        pub told: Vec<String>,
        /// What it was asked.
        pub asked: Vec<String>,
    }

    impl Script {
        /// One with `answers`, each to the first question with its word.
        pub fn new(answers: &[(&'static str, &'static str)]) -> Self {
            Self { answers: answers.to_vec(), told: vec![], asked: vec![] }
        }

        fn answer(&mut self, prompt: &str) -> Option<&'static str> {
            self.asked.push(prompt.to_owned());
            let found = self.answers.iter().position(|(word, _)| prompt.contains(word))?;
            Some(self.answers.remove(found).1)
        }
    }

    impl Ask for Script {
        type Error = String;

        fn tell(&mut self, text: &str) {
            self.told.push(text.to_owned());
        }

        fn choose(&mut self, prompt: &str, items: &[String], default: usize) -> Result<usize, String> {
            match self.answer(prompt) {
                Some(word) => items
                    .iter()
                    .position(|item| item.starts_with(word))
                    .ok_or_else(|| format!("no item {word}")),
                None => Ok(default),
            }
        }

        fn text(
            &mut self,
            prompt: &str,
            default: &str,
            check: &dyn Fn(&str) -> Result<(), String>,
        ) -> Result<String, String> {
            // A wrong answer is refused and asked again, as on a terminal.
            loop {
                let answer = self.answer(prompt).map_or(default.to_owned(), str::to_owned);
                match check(&answer) {
                    Ok(()) => return Ok(answer),
                    Err(problem) if answer == default => return Err(problem),
                    Err(problem) => self.told.push(problem),
                }
            }
        }

        fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool, String> {
            Ok(self.answer(prompt).map_or(default, |answer| answer == "y"))
        }
    }
}
