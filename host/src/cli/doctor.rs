//! `pearlbed doctor`: what this machine can mine with, and what stands in the way.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use super::{Context, Error, PluginDirs, report};
use crate::doctor::{self, CHECKS, Facts, Report, Row, Scope, Section, Selection, State};
use crate::exit::Exit;
use crate::home::Home;
use crate::session::look;
use crate::text::{columns, duration};

const EXAMPLES: &str = "\
Examples:
  pearlbed doctor                        every check, with what to do about it
  pearlbed doctor --only gpu,providers   some checks, by id or by section
  pearlbed doctor --plugin-dir ./out     the plugins of one folder only
  pearlbed doctor --json | jq .ok        for scripts
  pearlbed doctor --report               one file for a report of a fault

Exit status: 0 if nothing failed, else 1; with --report 0 if it was written.";

/// Check this machine, its plugins and its configuration, and say what to do
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Run only these checks, by id or by section
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,

    /// List the checks and what each finds out
    #[arg(long)]
    list_checks: bool,

    /// Also show what is fine in detail, and how long each check took
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    /// Write one file to attach to a report of a fault: everything that doctor sees, the configuration without secrets,
    /// and the last log lines; `-` prints it
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "pearlbed-report.txt",
          conflicts_with_all = ["json", "only", "list_checks", "verbose"])]
    report: Option<PathBuf>,

    #[command(flatten)]
    plugins: PluginDirs,

    /// How long one plugin may take to answer, such as 500ms or 5s [default: as configured, else 2s]
    #[arg(long, allow_negative_numbers = true, value_name = "TIME", value_parser = super::time::parse)]
    probe_timeout: Option<Duration>,
}

/// Runs the checks and prints what they found.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let selection = match &args.only[..] {
        [] => Selection::all(),
        only => Selection::only(only.iter().map(String::as_str))?,
    };
    if args.list_checks {
        list(args.json, &selection, context)?;
        return Ok(Exit::Ok);
    }
    let mut scope = Scope::new(context.home()?, context.env().clone());
    scope.plugin_dirs.clone_from(&args.plugins.dirs);
    scope.relaxed = args.plugins.relax_file_checks;
    scope.probe_timeout = args.probe_timeout;
    let facts = Arc::new(Facts::new(scope));
    let mut examined = doctor::examine(&selection, &facts);
    if let Some(path) = &args.report {
        let show = Show { verbose: true, all: true, width: usize::MAX };
        let answer = Answer { checks: &[], ..Answer::new(&examined, &facts) };
        let answer = serde_json::to_string_pretty(&answer)
            .map_err(|err| Error::caused_by("failed to write the facts as JSON", err))?;
        report::write(context, path, &report::text(context, &render(&examined, show, None), &answer))?;
        return Ok(Exit::Ok);
    }
    if args.json {
        context.print_json(&Answer::new(&examined, &facts))?;
    } else {
        let show = Show {
            verbose: args.verbose,
            all: args.verbose || !args.only.is_empty(),
            width: context.width(),
        };
        for fix in examined.rows.iter_mut().filter_map(|row| row.fix.as_mut()) {
            *fix = context.addressed(fix);
        }
        let home = context.home()?;
        let runs = || look::live_holder(&home).is_some();
        let next = args.only.is_empty().then(|| next_step(&examined, &home, runs())).flatten();
        context.print(&render(&examined, show, next.as_deref()))?;
    }
    Ok(if examined.ok() { Exit::Ok } else { Exit::Failed })
}

/// The whole answer as JSON, version 1 of its schema.
#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    ok: bool,
    checks: &'a [Row],
    plugins: Vec<Value>,
    hardware: Value,
}

impl<'a> Answer<'a> {
    fn new(report: &'a Report, facts: &Facts) -> Self {
        let survey = facts.survey_if_known();
        let hardware = facts.hardware_if_known().map(|inventory| serde_json::to_value(&inventory.info));
        Self {
            schema: 1,
            ok: report.ok(),
            checks: &report.rows,
            plugins: survey
                .map(|survey| survey.entries.iter().map(super::plugins::entry_json).collect())
                .unwrap_or_default(),
            // Nobody asked for it, or it never answered: nothing is known, and that is an object, too.
            hardware: hardware.and_then(Result::ok).unwrap_or_else(|| Value::Object(Default::default())),
        }
    }
}

/// Prints the table of checks.
fn list(json: bool, selection: &Selection, context: &Context) -> Result<(), Error> {
    let chosen =
        || CHECKS.iter().enumerate().filter(|(index, _)| selection.includes(*index)).map(|(_, check)| check);
    if json {
        let checks: Vec<_> = chosen()
            .map(|check| serde_json::json!({ "id": check.id, "section": check.section, "question": check.question }))
            .collect();
        return context.print_json(&serde_json::json!({ "schema": 1, "checks": checks }));
    }
    let wide = chosen().map(|check| check.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut section = None;
    for check in chosen() {
        heading(&mut out, &mut section, check.section);
        let first = format!("  {}  ", padded(BOLD, check.id, wide));
        hanging(&mut out, &first, wide + 4, check.question, context.width());
    }
    context.print(&out)
}

/// Starts a section where the last row was in another one.
fn heading(out: &mut String, last: &mut Option<Section>, section: Section) {
    if *last != Some(section) {
        if last.is_some() {
            out.push('\n');
        }
        out.push_str(&styled(BOLD, section.name()));
        out.push('\n');
        *last = Some(section);
    }
}

/// The widest that the column of names gets; a longer name has a line of its own.
const NAME_COLUMNS_MAX: usize = 24;

/// Where systemd is the service manager.
const SERVICE_MANAGER: &str = "/run/systemd/system";

/// How much is shown.
#[derive(Clone, Copy)]
struct Show {
    /// What is fine in detail, too.
    verbose: bool,
    /// Quiet rows, too.
    all: bool,
    width: usize,
}

/// The report as text.
fn render(report: &Report, show: Show, next: Option<&str>) -> String {
    let Show { verbose, all, width } = show;
    let rows: Vec<_> = report.rows.iter().filter(|row| all || !row.quiet).collect();
    let names = rows.iter().map(|row| columns(row.label())).filter(|&wide| wide <= NAME_COLUMNS_MAX);
    let wide = names.max().unwrap_or(NAME_COLUMNS_MAX);
    // Two spaces, the state's four letters, two spaces, the name, two spaces.
    let indent = 2 + 4 + 2 + wide + 2;
    let mut out = String::new();
    let mut section = None;
    for row in rows {
        heading(&mut out, &mut section, row.section);
        let state = format!("  {}  ", padded(style(row.state), row.state.name(), 4));
        let mut first = format!("{state}{}  ", padded(BOLD, row.label(), wide));
        if columns(row.label()) > wide {
            hanging(&mut out, &state, 8, row.label(), width);
            first = " ".repeat(indent);
        }
        hanging(&mut out, &first, indent, &row.finding, width);
        let mut under = |label: &str, style, text: &str| {
            let first = format!("{:indent$}{}", "", styled(style, label));
            hanging(&mut out, &first, indent + columns(label), text, width);
        };
        if let Some(fix) = &row.fix {
            under("fix: ", if row.state == State::Skip { DIM } else { BOLD }, fix);
        }
        if verbose {
            for line in &row.more {
                under("", DIM, line);
            }
        }
    }
    out.push('\n');
    hanging(&mut out, "", 0, &summary(report), width);
    if verbose {
        hanging(&mut out, &styled(DIM, "answered after: "), 16, &times(report), width);
    }
    if let Some(next) = next {
        hanging(&mut out, &styled(BOLD, "next: "), 6, next, width);
    }
    out
}

/// When each check answered.
fn times(report: &Report) -> String {
    let mut times: Vec<(&str, Duration)> = vec![];
    for row in &report.rows {
        let check = row.id.split('/').next().unwrap_or_default();
        if times.last().is_none_or(|(last, _)| *last != check) {
            times.push((check, row.took));
        }
    }
    let times: Vec<_> =
        times.into_iter().map(|(check, took)| format!("{check} {}", duration(took))).collect();
    times.join(", ")
}

fn style(state: State) -> anstyle::Style {
    match state {
        State::Ok => GOOD,
        State::Warn => WARN,
        State::Fail => BAD,
        State::Skip => DIM,
    }
}

/// One line that counts.
fn summary(report: &Report) -> String {
    let mut line = String::new();
    let counts =
        [(State::Fail, "failed"), (State::Warn, "to look at"), (State::Ok, "fine"), (State::Skip, "skipped")];
    for (state, words) in counts {
        // What is not shown is not counted either: nobody could look for it.
        let shown = |row: &&Row| row.state == state && (state != State::Skip || !row.quiet);
        let count = report.rows.iter().filter(shown).count();
        if count > 0 {
            let comma = if line.is_empty() { "" } else { ", " };
            write!(line, "{comma}{count} {words}").expect("writing to a String never fails");
        }
    }
    write!(line, " ({})", duration(report.took)).expect("writing to a String never fails");
    line
}

/// What a newcomer does next, whose session in `home` `runs` already or does not.
fn next_step(report: &Report, home: &Home, runs: bool) -> Option<String> {
    if !report.ok() {
        return None;
    }
    let configured = report.rows.iter().any(|row| row.id == "config" && row.state == State::Ok);
    Some(home.addressed(match (runs, configured) {
        (true, _) => "`pearlbed status` shows how the session goes",
        // What root starts by hand there would be no service.
        (false, true) if home.is_a_services() && Path::new(SERVICE_MANAGER).exists() => {
            "`sudo systemctl start pearlbed` mines"
        }
        (false, true) => "`pearlbed start` mines",
        (false, false) => {
            "`pearlbed start --devnet` mines on a test network inside this machine, `pearlbed init` sets up real mining"
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, state: State, finding: &str, fix: Option<&str>) -> Row {
        Row {
            id: id.into(),
            section: if id == "cpu" { Section::Hardware } else { Section::Plugins },
            state,
            finding: finding.into(),
            fix: fix.map(Into::into),
            more: vec!["more".into()],
            quiet: false,
            took: Duration::from_millis(3),
        }
    }

    #[test]
    fn the_next_step_is_one_from_where_this_home_stands() {
        let rows = |config| Report { rows: vec![row("config", config, "", None)], took: Duration::ZERO };
        let home = Home::at("/h");
        let next = |config, runs| next_step(&rows(config), &home, runs).unwrap_or_default();
        assert_eq!(next(State::Ok, true), "`pearlbed --home /h status` shows how the session goes");
        assert_eq!(next(State::Skip, true), "`pearlbed --home /h status` shows how the session goes");
        assert_eq!(next(State::Ok, false), "`pearlbed --home /h start` mines");
        assert!(next(State::Skip, false).contains("`pearlbed --home /h init` sets up"));
        assert_eq!(next(State::Fail, false), "");
    }

    #[test]
    fn a_report_is_aligned_and_fits_the_width() {
        let rows = vec![
            row("cpu", State::Ok, "AMD EPYC, 2 cores; avx2", None),
            row(
                "plugin/broken.so",
                State::Warn,
                "it is cut off after 4096 bytes, where 16 KiB follow",
                Some("copy it again"),
            ),
            row("plugin/a-name-that-is-too-long-for-the-column.so", State::Fail, "no", Some("yes")),
        ];
        let report = Report { rows, took: Duration::from_millis(12) };
        let text = render(&report, Show { verbose: false, all: false, width: 60 }, Some("go on"));
        let plain = anstream::adapter::strip_str(&text).to_string();
        let expected = "\
Hardware
  ok    cpu        AMD EPYC, 2 cores; avx2

Plugins
  warn  broken.so  it is cut off after 4096 bytes, where 16
                   KiB follow
                   fix: copy it again
  fail  a-name-that-is-too-long-for-the-column.so
                   no
                   fix: yes

1 failed, 1 to look at, 1 fine (12 ms)
next: go on
";
        assert_eq!(plain, expected);
        assert!(text.contains('\u{1b}'));
    }
}
