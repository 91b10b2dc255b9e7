//! How long each thing may take on one connection, and how the connection ends (pool protocol sections 8.1 and 8.2).

use std::time::{Duration, Instant};

use super::{
    AUTHORIZE_MAX, CONNECT_MAX, Conversation, DETECT_MAX, End, FIRST_JOB_MAX, PING_EVERY, PINGS_MAX, Phase,
    QUICK, Said, UNANSWERED_MAX,
};
use crate::work::pool::life::Failure;
use crate::work::pool::numbers::Numbers;
use crate::work::stratum::to_pool;

impl Conversation {
    /// The time is `now`; `patience` is how long this pool may be silent.
    pub fn tick(&mut self, now: Instant, patience: Duration, numbers: &mut Numbers, out: &mut Vec<Said>) {
        let since = |at: Instant| now.saturating_duration_since(at);
        let passing = |text: String| End::Failed(Failure::Passing(text));
        match self.phase {
            Phase::Over => return,
            Phase::Connecting => {
                if since(self.began) >= CONNECT_MAX {
                    return self.end(passing("no connection came about".to_owned()), out);
                }
                return;
            }
            Phase::Authorizing { since: at, .. } => {
                let most = if self.manner.detecting { DETECT_MAX } else { AUTHORIZE_MAX };
                if since(at) >= most {
                    let text = format!("no answer to the login within {} s", most.as_secs());
                    let end =
                        if self.manner.detecting { End::Form { text, silent: true } } else { passing(text) };
                    return self.end(end, out);
                }
            }
            Phase::Ready { since: at } => {
                if self.jobs.current().is_none() && since(at) >= FIRST_JOB_MAX {
                    let text = match self.jobs.trouble() {
                        Some(trouble) => {
                            format!("takes us and sends no job that can be worked on: {trouble}")
                        }
                        None => "takes us and sends no work".to_owned(),
                    };
                    return self.end(passing(text), out);
                }
            }
        }
        self.give_up_waiting(now, out);
        if self.phase == Phase::Over {
            return;
        }
        if self.unanswered >= UNANSWERED_MAX {
            return self.end(passing(format!("answers none of {UNANSWERED_MAX} shares in a row")), out);
        }
        if self.manner.pings && matches!(self.phase, Phase::Ready { .. }) && now >= self.next_ping {
            if self.ping.is_some() && self.pings_open >= PINGS_MAX {
                return self.end(passing(format!("answers none of {PINGS_MAX} pings in a row")), out);
            }
            let id = numbers.request();
            self.ping = Some(id);
            self.pings_open += 1;
            self.next_ping = now + PING_EVERY;
            out.push(Said::Send { line: to_pool::ping(id), tag: None });
        }
        if self.heard.is_some_and(|heard| since(heard) >= patience) {
            let text = format!("silent for {}", crate::text::duration(patience));
            self.end(passing(text), out);
        }
    }

    /// The stream has ended, or never began.
    pub fn closed(&mut self, text: String, now: Instant, out: &mut Vec<Said>) {
        if self.phase == Phase::Over {
            return;
        }
        let quick = self.authorize_sent.is_some_and(|at| now.saturating_duration_since(at) < QUICK);
        let end = match self.phase {
            Phase::Authorizing { .. } if self.manner.detecting && self.lines == 0 => {
                End::Form { text, silent: true }
            }
            _ if quick => End::Failed(Failure::QuickClose(text)),
            _ => End::Failed(Failure::Passing(text)),
        };
        self.end(end, out);
    }

    /// The connection cannot be used, for a reason that no retry cures.
    pub fn hopeless(&mut self, text: String, out: &mut Vec<Said>) {
        self.end(End::Failed(Failure::Hopeless(text)), out);
    }

    /// What came is not the protocol: too long, not text.
    pub fn garbled(&mut self, text: String, out: &mut Vec<Said>) {
        self.end(End::Failed(Failure::Passing(format!("does not speak the protocol: {text}"))), out);
    }

    /// Ends it from our side, without a failure: what waits is dropped, what is in flight is lost.
    pub fn leave(&mut self, out: &mut Vec<Said>) {
        self.finish(out);
    }

    pub(super) fn end(&mut self, end: End, out: &mut Vec<Said>) {
        if self.phase == Phase::Over {
            return;
        }
        self.finish(out);
        out.push(Said::Over(end));
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Said>) {
        self.phase = Phase::Over;
        self.drop_queue(out);
        let flying: Vec<u64> = self.flights.keys().copied().collect();
        for id in flying {
            self.lose(id, false, out);
        }
    }
}
