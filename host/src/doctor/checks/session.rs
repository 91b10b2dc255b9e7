//! The session that runs, or what the last one left behind.

use std::time::Duration;

use super::super::{Facts, Verdict};
use crate::explain::Explain;
use crate::session::look::look;
use crate::session::report::{OtherWallet, Report, TroubleReport};
use crate::session::state::State;
use crate::sidecar::Sidecar;
use crate::text::{duration, printable};

pub fn session(facts: &Facts) -> Vec<Verdict> {
    let report = look(facts.home(), &facts.scope().env);
    if report.supervisor_pid.is_none()
        && let Err(err) = Sidecar::read(&facts.home().sidecar_file())
    {
        let fix = err.hint().unwrap_or_else(|| "make it readable for you, or remove it".into());
        return vec![Verdict::warn(printable(&format!("nothing runs, and {err}")), fix)];
    }
    if let Some(other) = &report.other_wallet {
        return vec![Verdict::warn(printable(&other.sentence()), OtherWallet::FIX)];
    }
    let mut verdicts = vec![judge(&report)];
    verdicts.extend(pool(&report).map(|verdict| verdict.of("pool")));
    verdicts.extend(port(facts).map(|verdict| verdict.of("port")));
    verdicts.extend(troubles(&report));
    verdicts
}

/// What is wrong beside the session's own work: a record that is another program's, a node that does not answer.
fn troubles(report: &Report) -> Vec<Verdict> {
    let troubled = report.endpoints.iter().filter_map(|one| Some((&*one.purpose, one.trouble.as_ref()?)));
    // Without its gateway a session does not earn, and that was said.
    let beside = troubled.filter(|(purpose, _)| *purpose != "gateway");
    let verdict = |(purpose, trouble): (&str, &TroubleReport)| {
        let fix = trouble.hint.as_deref().unwrap_or("see `pearlbed status`, and `pearlbed logs`");
        Verdict::warn(printable(&trouble.text), printable(fix)).of(printable(purpose))
    };
    beside.map(verdict).collect()
}

/// The pool that is mined for: since when, how safely, why it is not the first, and what a share takes.
fn pool(report: &Report) -> Option<Verdict> {
    let pool = report.pool.as_ref()?;
    let Some(row) = pool.pools.iter().find(|row| row.in_use) else {
        let trouble = pool.pools.iter().find_map(|row| row.trouble.as_deref());
        let because = trouble.map(|trouble| format!(": {}", printable(trouble))).unwrap_or_default();
        return Some(Verdict::warn(format!("no pool is mined for{because}"), POOL_TEST));
    };
    let time = |seconds: f64| duration(Duration::try_from_secs_f64(seconds.floor()).unwrap_or(Duration::MAX));
    let mut text = format!("{}, {}", printable(&row.address), printable(&row.security));
    if let Some(seconds) = pool.since_seconds {
        text.push_str(&format!(", for {}", time(seconds)));
    }
    let share = report.expected_seconds.share;
    if let Some(seconds) = share {
        text.push_str(&format!("; a share every {}", time(seconds)));
    }
    if let Some(why) = &pool.why_not_first {
        text.push_str(&format!("; not the first of them: {}", printable(why)));
        return Some(Verdict::warn(text, POOL_TEST));
    }
    Some(match share.and_then(|seconds| pool.easier(seconds)) {
        Some(advice) => Verdict::warn(text, printable(advice).into_owned()),
        None => Verdict::ok(text),
    })
}

/// What to do about a pool that is not mined for.
const POOL_TEST: &str =
    "`pearlbed pool test` asks each of them what is wrong; a better one is returned to by itself";

/// A miner port that the network reaches, as it is configured.
fn port(facts: &Facts) -> Option<Verdict> {
    let port = &facts.config().ok()?.mining.port;
    let address = port.listen.filter(|address| !address.ip().is_loopback())?;
    let variable = port.password_env.as_deref().unwrap_or_default();
    if facts.scope().env.var(variable).is_none() {
        let finding = format!(
            "the miner port is to listen on {address}, and the variable `{}` holds no password",
            printable(variable)
        );
        return Some(Verdict::warn(
            finding,
            "set it where `pearlbed start` runs, or listen on 127.0.0.1 only",
        ));
    }
    let finding = format!(
        "the miner port listens on {address}: others than this machine can reach it, and nothing there is encrypted"
    );
    Some(Verdict::warn(finding, "listen on 127.0.0.1 where no other machine mines here"))
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
    fn the_pool_in_use_has_a_row_with_its_safety_its_shares_and_what_to_do() {
        use crate::session::pools::PoolReport;
        use crate::work::pool::{PoolRow, PoolStatus};
        let check = super::super::CHECKS.iter().find(|check| check.id == "session-state").unwrap();
        let row = |report: &Report| {
            let row = pool(report).unwrap().of("pool").into_row(check, Duration::ZERO);
            (row.state, row.finding, row.fix.unwrap_or_default())
        };
        let mut report = Report::without_session(State::Running);
        assert!(pool(&report).is_none());
        let one = PoolRow { address: "stratum+tcp://a:1".into(), ..PoolRow::default() };
        let status = PoolStatus { pools: vec![one], ..PoolStatus::default() };
        report.pool = Some(PoolReport::of(&status, std::time::Instant::now()));
        let told = row(&report);
        assert_eq!((told.0, told.1.as_str()), (Outcome::Warn, "no pool is mined for"));
        let used = report.pool.as_mut().unwrap();
        used.pools[0].in_use = true;
        used.pools[0].security = "plain, unauthenticated".into();
        used.since_seconds = Some(75.5);
        report.expected_seconds.share = Some(90.2);
        let told = row(&report);
        let text = "stratum+tcp://a:1, plain, unauthenticated, for 1 m 15 s; a share every 1 m 30 s";
        assert_eq!((told.0, told.1.as_str()), (Outcome::Ok, text));
        report.expected_seconds.share = Some(90_000.0);
        let told = row(&report);
        assert_eq!(
            (told.0, told.2.as_str()),
            (Outcome::Warn, "ask the pool for a port with a lower difficulty")
        );
        report.pool.as_mut().unwrap().why_not_first = Some("b:2 refused\x1b".into());
        let told = row(&report);
        assert!(told.1.ends_with("not the first of them: b:2 refused\\u{1b}"), "{told:?}");
        assert!(told.2.contains("pool test"), "{told:?}");
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
