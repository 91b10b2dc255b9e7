//! The session that runs, or what the last one left behind.

use super::super::{Facts, Verdict};
use crate::explain::Explain;
use crate::session::look::look;
use crate::session::report::Report;
use crate::session::state::State;
use crate::sidecar::Sidecar;
use crate::text::printable;

pub fn session(facts: &Facts) -> Vec<Verdict> {
    let report = look(facts.home(), &facts.scope().env);
    if report.supervisor_pid.is_none()
        && let Err(err) = Sidecar::read(&facts.home().sidecar_file())
    {
        let fix = err.hint().unwrap_or_else(|| "make it readable for you, or remove it".into());
        return vec![Verdict::warn(printable(&format!("nothing runs, and {err}")), fix)];
    }
    if report.supervisor_pid.is_some()
        && let Some(drift) = other_wallet(facts)
    {
        return vec![drift];
    }
    vec![judge(&report)]
}

/// The session that runs pays another address than the configuration says by now.
fn other_wallet(facts: &Facts) -> Option<Verdict> {
    let mining = &facts.config().ok()?.mining;
    let wanted = mining.wallet_address.as_deref()?;
    let record = Sidecar::read(&facts.home().sidecar_file()).ok()??;
    let paid = record.wallet_address.filter(|paid| !paid.is_empty() && paid != wanted)?;
    record.pearlbed.filter(|own| !own.attached)?;
    (mining.submit_target != crate::config::SubmitTarget::Devnet).then(|| {
        Verdict::warn(
            format!(
                "the session that runs pays {}, and the configuration says {}",
                printable(&paid),
                printable(wanted)
            ),
            "`pearlbed stop` and `pearlbed start`: a session keeps the address that it began with",
        )
    })
}

/// What a person should make of a report.
fn judge(report: &Report) -> Verdict {
    let said = report.reason.as_deref().map(printable);
    let because = said.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let hint = |otherwise: &str| {
        report.hint.as_deref().map_or_else(|| otherwise.into(), |hint| printable(hint).into_owned())
    };
    let provider = printable(report.provider.as_deref().unwrap_or("a provider"));
    let programs = programs(report);
    match report.state {
        _ if report.condition == "unknown" => {
            Verdict::fail(said.unwrap_or_else(|| "nothing can be told".into()), hint("see `pearlbed logs`"))
        }
        _ if report.condition == "needs-update" => {
            Verdict::fail(format!("{provider} runs and cannot mine{because}"), hint("update its plugin"))
        }
        State::Running if report.earning => Verdict::ok(format!("{provider} runs and earns{programs}")),
        State::Running => Verdict::warn(
            format!("{provider} runs and does not earn{because}{programs}"),
            hint("see `pearlbed status`"),
        ),
        State::Starting => Verdict::ok(format!("{provider} is starting")),
        State::Stopping => Verdict::ok(format!("{provider} is stopping")),
        State::Failed => {
            let reason = report.last_session.as_ref().map(|last| format!(": {}", printable(&last.reason)));
            let because = reason.unwrap_or(because);
            Verdict::warn(format!("the last session failed{because}"), hint("see `pearlbed logs`"))
        }
        State::NotConfigured | State::Configured | State::Stopped => Verdict::ok("none is running"),
    }
}

/// The programs at the miner port, each by its name and where it is.
fn programs(report: &Report) -> String {
    let named: Vec<String> = report
        .miners
        .iter()
        .filter_map(|miner| {
            let program = miner.program.as_ref()?;
            let agent = if program.agent.is_empty() { "a program" } else { &program.agent };
            let process = program.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
            let text = format!("{} ({agent}, {}{process})", miner.name, program.address);
            Some(printable(&text).into_owned())
        })
        .collect();
    if named.is_empty() { String::new() } else { format!("; at the miner port: {}", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::State as Outcome;
    use super::*;

    fn row(report: &Report) -> (Outcome, String) {
        let check = super::super::CHECKS.iter().find(|check| check.id == "session-state").unwrap();
        let row = judge(report).into_row(check, Duration::ZERO);
        (row.state, row.finding)
    }

    #[test]
    fn a_session_is_judged_by_whether_it_earns() {
        let mut report = Report::without_session(State::Running);
        report.provider = Some("cpu".into());
        report.earning = true;
        assert_eq!(row(&report), (Outcome::Ok, "cpu runs and earns".into()));
        report.earning = false;
        report.reason = Some("the gateway\x1b[2J is deaf".into());
        assert_eq!(
            row(&report),
            (Outcome::Warn, "cpu runs and does not earn: the gateway\\u{1b}[2J is deaf".into())
        );
        report.condition = "needs-update".into();
        assert_eq!(row(&report).0, Outcome::Fail);
        report.condition = "unknown".into();
        assert_eq!(row(&report).0, Outcome::Fail);
    }

    #[test]
    fn no_session_is_fine_and_what_one_left_behind_is_told() {
        assert_eq!(row(&Report::without_session(State::Stopped)), (Outcome::Ok, "none is running".into()));
        let mut report = Report::without_session(State::Failed);
        report.reason = Some("the supervisor (process 7) ended without a word".into());
        let said = "the last session failed: the supervisor (process 7) ended without a word";
        assert_eq!(row(&report), (Outcome::Warn, said.into()));
    }
}
