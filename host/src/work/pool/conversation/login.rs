//! Who we are on one connection: the login, its acknowledgement, and what a pool may ask of us (pool protocol sections 3.2,
//! 3.3, 3.8 and 4.5).

use std::time::{Duration, Instant};

use super::{ANSWERS_PER_SECOND, Conversation, End, Phase, Said};
use crate::text::foreign;
use crate::work::pool::life::Failure;
use crate::work::pool::numbers::Numbers;
use crate::work::stratum::from_pool::Asked;
use crate::work::stratum::{Class, Encoding, Verdict, to_pool};

impl Conversation {
    pub(super) fn authorize(&mut self, now: Instant, numbers: &mut Numbers, out: &mut Vec<Said>) {
        let id = numbers.request();
        self.phase = Phase::Authorizing { id, since: now };
        self.authorize_sent = Some(now);
        let line = to_pool::authorize(id, self.manner.dialect, &self.manner.login, self.manner.wants);
        out.push(Said::Send { line, tag: None });
    }

    pub(super) fn acknowledged(
        &mut self,
        verdict: &Verdict,
        kind: Option<&str>,
        now: Instant,
        out: &mut Vec<Said>,
    ) {
        let words = verdict.words();
        let hopeless = |what: &str| End::Failed(Failure::Hopeless(format!("{what}: {words}")));
        match verdict.class {
            Class::Accepted => {
                match Encoding::from_word(kind.unwrap_or("plain")) {
                    Some(encoding) => self.encoding = encoding,
                    None => {
                        let kind = foreign(kind.unwrap_or_default());
                        let text = format!("wants proofs encoded as `{kind}`, which pearlbed does not know");
                        return self.end(End::Failed(Failure::Hopeless(text)), out);
                    }
                }
                self.phase = Phase::Ready { since: now };
                if !self.reauthorizing {
                    out.push(Said::Authorized);
                }
                self.offer_job(out);
            }
            Class::Banned { seconds } => {
                let time = seconds.map(Duration::from_secs);
                self.end(End::Failed(Failure::Banned { time, text: words }), out);
            }
            Class::AgentRefused => self.end(hopeless("refuses this program"), out),
            Class::AddressRefused => self.end(hopeless("refuses the wallet address"), out),
            _ if self.manner.detecting && is_about_form(verdict) => {
                self.end(End::Form { text: words, silent: false }, out)
            }
            Class::Malformed => self.end(hopeless("does not understand the login"), out),
            _ => self.end(hopeless("refuses the login"), out),
        }
    }

    /// A reply without an id can only be meant for the one request that is open.
    pub(super) fn only_open_request(&self) -> Option<u64> {
        let authorizing = match self.phase {
            Phase::Authorizing { id, .. } => Some(id),
            _ => None,
        };
        let mut open = self.flights.keys().copied().chain(authorizing);
        match (open.next(), open.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, id: &str, what: &Asked, now: Instant, out: &mut Vec<Said>) {
        if now.saturating_duration_since(self.answers.1) >= Duration::from_secs(1) {
            self.answers = (0, now);
        }
        self.answers.0 += 1;
        if self.answers.0 > ANSWERS_PER_SECOND {
            if !std::mem::replace(&mut self.said_flood, true) {
                out.push(Said::Note(format!(
                    "the pool asks more than {ANSWERS_PER_SECOND} questions a second; the others stay unanswered"
                )));
            }
            return;
        }
        let line = match what {
            Asked::Ping => to_pool::answer(id, "pong"),
            Asked::Version => to_pool::answer(id, &self.manner.login.agent),
            Asked::Other(_) => to_pool::unsupported(id),
        };
        out.push(Said::Send { line, tag: None });
    }
}

/// Whether a refusal of authorize is about its form, so that another form is worth a try (section 4.5).
fn is_about_form(verdict: &Verdict) -> bool {
    let text = verdict.text.to_lowercase();
    matches!(verdict.code, Some(20 | 25 | -32602))
        || verdict.class == Class::Malformed
        || ["array", "unsupported", "method"].iter().any(|word| text.contains(word))
}
