//! The page: labels on the left, and lines that end at its width.

use std::time::Duration;

use crate::cli::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use crate::session::report::Report;
use crate::session::state::State;
use crate::text::{columns, duration, printable, wrap};

/// Columns of the labels on the left.
pub(super) const LABEL: usize = 11;

/// The text as far as it is written.
pub(super) struct Page {
    /// What is written.
    pub out: String,
    /// Columns of a line.
    pub width: usize,
}

impl Page {
    /// The first line: the state, and a sentence.
    pub fn heading(&mut self, report: &Report) {
        let style = match report.state {
            _ if report.condition == "unknown" => WARN,
            State::Running if report.earning => GOOD,
            State::Failed => BAD,
            State::Running | State::Starting | State::Stopping => WARN,
            State::NotConfigured | State::Configured | State::Stopped => BOLD,
        };
        let state = if report.condition == "unknown" { "UNKNOWN".into() } else { report.state.to_string() };
        let since = report
            .since_seconds
            .map(|seconds| format!(", for {}", duration(Duration::from_secs_f64(seconds.max(0.0).floor()))))
            .unwrap_or_default();
        let devnet = report.work.as_ref().is_some_and(|work| work.source == "devnet");
        let what = match (&report.reason, report.earning) {
            // Nothing is earned with a block of a network of one's own.
            (None, true) if devnet => format!("mining{since}, on a test network: worth nothing"),
            (Some(reason), true) if devnet => {
                format!("mining{since}, on a test network: worth nothing; {reason}")
            }
            (None, true) => format!("earning{since}"),
            (Some(reason), true) => format!("earning{since}: {reason}"),
            (Some(reason), false) => reason.clone(),
            (None, false) => report.condition.clone(),
        };
        let first = format!("{}  ", styled(style, &state));
        hanging(&mut self.out, &first, columns(&state) + 2, &printable(&what), self.width);
    }

    /// A line with a label, or one that goes on with the label above.
    pub fn row(&mut self, label: &str, text: &str) {
        self.labelled(label, anstyle::Style::new(), text);
    }

    /// The same, in a style.
    pub fn labelled(&mut self, label: &str, style: anstyle::Style, text: &str) {
        let mut label = label;
        for line in wrap(&printable(text), self.width.saturating_sub(LABEL).max(20)) {
            self.out.push_str(&padded(DIM, label, LABEL));
            self.out.push_str(&styled(style, &line));
            self.out.push('\n');
            label = "";
        }
    }
}
