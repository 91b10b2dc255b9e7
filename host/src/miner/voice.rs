//! What a miner says and what it was denied, each bounded: nobody fills the log of a session.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::effect::{Effect, Level, Speaker};
use super::gate::Gate;
use super::link::Look;
use super::report::FloodReport;

/// Lines of its log that pass per second, and the burst before that.
const LOG_LINES: (u32, u32) = (40, 400);
/// Lines of print that are logged per second, and the burst before that.
const PRINTED_LINES: (u32, u32) = (20, 100);
/// Between two lines about what was held back.
const FLOOD_LINE_EVERY: Duration = Duration::from_secs(10);
/// Different denials that are kept of each kind, so that none is hidden behind many of another.
const DENIALS_OF_A_KIND_MAX: usize = 8;
/// Different denials that are kept in all.
const DENIALS_MAX: usize = 256;
/// Bytes of print that were left out and count as one line.
const LINE_BYTES: u64 = 80;

/// One miner's voice.
#[derive(Debug)]
pub struct Voice {
    log: Gate,
    printed: Gate,
    flood: Flood,
    denied: BTreeMap<String, u64>,
    last_error: Option<String>,
}

impl Voice {
    /// Nothing was said yet.
    pub fn new(now: Instant) -> Self {
        Self {
            log: Gate::new(LOG_LINES.0, LOG_LINES.1, now),
            printed: Gate::new(PRINTED_LINES.0, PRINTED_LINES.1, now),
            flood: Flood::new(now),
            denied: BTreeMap::new(),
            last_error: None,
        }
    }

    /// The miner logs a line.
    pub fn logs(&mut self, level: u8, message: String, now: Instant, out: &mut Vec<Effect>) {
        if self.log.pass(now) {
            out.push(Effect::Line(Level::from_wire(level), Speaker::Provider, message));
        } else {
            self.flood.lines_dropped += 1;
        }
    }

    /// Lines were dropped where they were written.
    pub fn dropped(&mut self, lines: u64) {
        self.flood.lines_dropped = self.flood.lines_dropped.saturating_add(lines);
    }

    /// Reading was slowed down.
    pub fn throttled(&mut self) {
        self.flood.throttled += 1;
    }

    /// What its link saw beside the frames.
    pub fn looked(&mut self, look: Look, now: Instant, out: &mut Vec<Effect>) {
        for line in look.printed {
            if self.printed.pass(now) {
                out.push(Effect::Line(Level::Info, Speaker::Output, line));
            } else {
                self.flood.lines_dropped += 1;
            }
        }
        self.flood.lines_dropped += look.bytes_left_out.div_ceil(LINE_BYTES);
        for (what, count) in look.denied {
            self.denied(what, count, out);
        }
    }

    /// It tried something and was denied it.
    pub fn denied(&mut self, what: String, count: u64, out: &mut Vec<Effect>) {
        if let Some(known) = self.denied.get_mut(&what) {
            *known += count;
            return;
        }
        let kind = |what: &str| what.split_once(':').map_or(what, |(kind, _)| kind).to_owned();
        let own = kind(&what);
        let of_kind = self.denied.keys().filter(|known| kind(known) == own).count();
        if of_kind < DENIALS_OF_A_KIND_MAX && self.denied.len() < DENIALS_MAX {
            let told = format!("denied: the provider {what}");
            if crate::sandbox::is_harmless(&what) {
                out.push(Effect::Line(Level::Info, Speaker::Supervisor, told));
            } else {
                self.trouble(told, out);
            }
            self.denied.insert(what, count);
        } else {
            *self.denied.entry(format!("{own}, and others of the kind")).or_default() += count;
        }
    }

    /// A warning that `status` shows as the last error.
    pub fn trouble(&mut self, text: String, out: &mut Vec<Effect>) {
        out.push(Effect::Trouble(text.clone()));
        self.last_error = Some(text);
    }

    /// A warning that may come often: it is shown in any case, and logged as often as the gate lets it, or where `first`
    /// says so.
    pub fn nuisance(&mut self, text: String, first: bool, now: Instant, out: &mut Vec<Effect>) {
        if first || self.log.pass(now) {
            out.push(Effect::Trouble(text.clone()));
        } else {
            self.flood.lines_dropped += 1;
        }
        self.last_error = Some(text);
    }

    /// Says from time to time what was held back.
    pub fn say_flood(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let lines = self.flood.due(now).into_iter();
        out.extend(lines.map(|text| Effect::Line(Level::Warn, Speaker::Supervisor, text)));
    }

    /// The last thing that went wrong.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// What was denied, with how often.
    pub fn denials(&self) -> &BTreeMap<String, u64> {
        &self.denied
    }

    /// What was too much.
    pub fn flood(&self) -> FloodReport {
        FloodReport { log_lines_dropped: self.flood.lines_dropped, pipe_throttled: self.flood.throttled }
    }
}

/// What was held back because there was too much of it.
#[derive(Debug)]
struct Flood {
    lines_dropped: u64,
    lines_said: u64,
    throttled: u64,
    throttled_said: u64,
    said_at: Instant,
}

impl Flood {
    fn new(now: Instant) -> Self {
        Self { lines_dropped: 0, lines_said: 0, throttled: 0, throttled_said: 0, said_at: now }
    }

    /// Lines about what came since the last time, where it is time for them.
    fn due(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        if now.saturating_duration_since(self.said_at) < FLOOD_LINE_EVERY {
            return told;
        }
        self.said_at = now;
        let lines = self.lines_dropped - self.lines_said;
        let throttled = self.throttled - self.throttled_said;
        (self.lines_said, self.throttled_said) = (self.lines_dropped, self.throttled);
        if lines > 0 {
            told.push(format!("{lines} log lines of the provider were dropped: it writes too many"));
        }
        if throttled > 0 {
            told.push(format!("the provider floods its pipe; it was slowed down {throttled} times"));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_back_is_said_once_and_not_too_often() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        flood.lines_dropped = 7;
        assert_eq!(flood.due(start), Vec::<String>::new());
        let said = flood.due(start + FLOOD_LINE_EVERY);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("7 log lines"), "{said:?}");
        flood.lines_dropped = 9;
        flood.throttled = 1;
        assert_eq!(flood.due(start + FLOOD_LINE_EVERY), Vec::<String>::new());
        let said = flood.due(start + FLOOD_LINE_EVERY * 2);
        assert!(said[0].starts_with("2 log lines") && said[1].contains("1 times"), "{said:?}");
        assert_eq!(flood.due(start + FLOOD_LINE_EVERY * 3), Vec::<String>::new());
    }

    #[test]
    fn a_denial_is_told_once_and_counted_and_there_are_not_endlessly_many() {
        let mut voice = Voice::new(Instant::now());
        let mut out = Vec::new();
        for _ in 0..3 {
            voice.denied("tried to read `/etc/shadow`".into(), 2, &mut out);
        }
        assert_eq!((out.len(), voice.denials()["tried to read `/etc/shadow`"]), (1, 6));
        for number in 0..1000 {
            voice.denied(format!("tried to write a file: /{number}"), 1, &mut out);
        }
        assert_eq!(
            (out.len(), voice.denials().len()),
            (1 + DENIALS_OF_A_KIND_MAX, 2 + DENIALS_OF_A_KIND_MAX)
        );
        assert_eq!(voice.denials()["tried to write a file, and others of the kind"], 992);
        voice.denied("tried to open a network connection: 192.0.2.1:25".into(), 1, &mut out);
        assert!(voice.denials().contains_key("tried to open a network connection: 192.0.2.1:25"));
    }
}
