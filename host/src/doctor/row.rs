//! What a check says.

use std::time::Duration;

use serde::Serialize;

use super::Check;

/// A part of the report. The order is the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Section {
    /// Processor, memory, graphics processors.
    Hardware,
    /// The files that were looked at.
    Plugins,
    /// What the plugins that can be used say about this machine.
    Providers,
    /// What plugins are kept from doing.
    Confinement,
    /// Room and rights for our files.
    Disk,
    /// `config.toml`.
    Configuration,
    /// The session that runs, or what it left behind.
    Session,
    /// The user's own node.
    Node,
}

impl Section {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Hardware,
        Self::Plugins,
        Self::Providers,
        Self::Confinement,
        Self::Disk,
        Self::Configuration,
        Self::Session,
        Self::Node,
    ];

    /// Its name in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hardware => "Hardware",
            Self::Plugins => "Plugins",
            Self::Providers => "Providers",
            Self::Confinement => "Confinement",
            Self::Disk => "Disk",
            Self::Configuration => "Configuration",
            Self::Session => "Session",
            Self::Node => "Node",
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, but something should be known or done.
    Warn,
    /// Must be put right.
    Fail,
    /// Does not apply here, or cannot be asked yet.
    Skip,
}

impl State {
    /// Its name in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// What a check says, before it is known under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    of: Option<String>,
    state: State,
    finding: String,
    fix: Option<String>,
    more: Vec<String>,
    quiet: bool,
}

impl Verdict {
    /// As it should be.
    pub fn ok(finding: impl Into<String>) -> Self {
        Self { of: None, state: State::Ok, finding: finding.into(), fix: None, more: vec![], quiet: false }
    }

    /// Works, but `fix` would make it better.
    pub fn warn(finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Warn, fix: Some(fix.into()), ..Self::ok(finding) }
    }

    /// Must be put right by `fix`.
    pub fn fail(finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(finding, fix) }
    }

    /// Does not apply; `fix` says when it would.
    pub fn skip(finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Skip, ..Self::warn(finding, fix) }
    }

    /// The same about one of several things.
    #[must_use]
    pub fn of(mut self, thing: impl Into<String>) -> Self {
        self.of = Some(thing.into());
        self
    }

    /// The same, but not worth a line to a person who did not ask for it: shown with `--verbose` and `--only`.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The same with a line that `--verbose` shows.
    #[must_use]
    pub fn more(mut self, line: impl Into<String>) -> Self {
        self.more.push(line.into());
        self
    }

    /// The row of `check` that this is.
    pub(super) fn into_row(self, check: &Check, took: Duration) -> Row {
        let id = match self.of {
            Some(thing) => format!("{}/{thing}", check.id),
            None => check.id.into(),
        };
        let Self { state, finding, fix, more, quiet, .. } = self;
        Row { id, section: check.section, state, finding, fix, more, quiet, took }
    }
}

/// One row of the report. Its serialised form is part of the `doctor` schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The check's id, with `/thing` where it speaks of one of several.
    pub id: String,
    /// Where it stands.
    pub section: Section,
    /// How it ended.
    pub state: State,
    /// What was found, in one sentence without a full stop.
    pub finding: String,
    /// What to do; nothing only where all is well.
    pub fix: Option<String>,
    /// What `--verbose` adds.
    #[serde(skip)]
    pub more: Vec<String>,
    /// Not worth a line to a person who did not ask for it.
    #[serde(skip)]
    pub quiet: bool,
    /// When the answer came, counted from the start of all checks.
    #[serde(skip)]
    pub took: Duration,
}

impl Row {
    /// What to call it in its section: the thing alone where the section's name says the rest.
    pub fn label(&self) -> &str {
        match self.id.split_once('/') {
            Some((family, thing)) if self.section.name().to_lowercase().starts_with(family) => thing,
            _ => &self.id,
        }
    }
}
