//! What a program at the miner port is called: by its worker, its process or its agent, and never as another that is here.

use crate::miner::plan::Program;
use crate::miner::{Miner, MinerId};
use crate::port::wire::Sitter;
use crate::session::supervise::crew::Crew;

/// Programs that have a row, those that have gone included.
pub(super) const ROWS_MAX: usize = 256;

/// A line about a program that has come.
pub(super) fn introduction(name: &str, program: &Program) -> String {
    let Program { dialect, agent, address, pid } = program;
    let agent = if agent.is_empty() { "a program without a name" } else { agent };
    let process = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    format!("{agent} connected over the {dialect} dialect ({address}{process}): it mines as {name}")
}

/// The row of a program: its name, and its miner where it was here before. Nothing where there are too many.
pub(super) fn row(crew: &mut Crew, sitter: &Sitter) -> Option<(String, Option<MinerId>)> {
    let own = [sitter.worker.clone(), command(sitter.pid).unwrap_or_default(), sitter.agent.clone()];
    let container = sitter.container().map(str::to_owned);
    let base =
        container.or_else(|| own.iter().find_map(|text| slug(text))).unwrap_or_else(|| "program".into());
    (1..=ROWS_MAX).find_map(|number| {
        let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let Some(id) = crew.called(&name) else { return Some((name, None)) };
        let free = |miner: &Miner| {
            let program = miner.plan().program.as_ref();
            program.is_some_and(|program| program.dialect == sitter.dialect.word()) && miner.is_down()
        };
        crew.get_mut(id).is_some_and(|miner| free(miner)).then_some((name, Some(id)))
    })
}

/// What a process calls itself, where the system says.
fn command(pid: Option<u32>) -> Option<String> {
    let text = crate::text::read_lossy(format!("/proc/{}/comm", pid?)).ok()?;
    Some(text.trim().to_owned())
}

/// The name of a miner out of a stranger's text.
fn slug(text: &str) -> Option<String> {
    const CHARS_MAX: usize = 28;
    let text = text.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let slug: String = text.chars().map(plain).take(CHARS_MAX).collect();
    let slug = slug.trim_matches(|c| c == '-' || c == '_');
    match slug.chars().next()? {
        first if first.is_ascii_digit() => Some(format!("m{slug}")),
        _ => Some(slug.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::sync::mpsc;

    use super::*;
    use crate::miner::MinerPlan;
    use crate::port::wire::Dialect;

    fn sitter(worker: &str, agent: &str) -> Sitter {
        Sitter {
            dialect: Dialect::Pool,
            worker: worker.into(),
            agent: agent.into(),
            address: "127.0.0.1".into(),
            pid: None,
        }
    }

    #[test]
    fn a_strangers_text_makes_a_name_that_commands_take() {
        for (text, name) in [
            ("Rig 1", Some("rig-1")),
            ("lpminer/1.2.3", Some("lpminer")),
            ("7", Some("m7")),
            ("\u{1b}[2J", Some("m2j")),
            ("--", None),
            ("", None),
            ("ü", None),
        ] {
            assert_eq!(slug(text).as_deref(), name, "{text}");
        }
        assert!(slug(&"x".repeat(1000)).unwrap().len() <= 28);
    }

    #[test]
    fn a_program_that_comes_again_has_its_row_again_and_one_beside_it_another() {
        let (events, _kept) = mpsc::channel(1);
        let mut crew = Crew::new(events);
        let now = Instant::now();
        let program = |dialect| Program { dialect, agent: String::new(), address: "unix".into(), pid: None };
        assert_eq!(row(&mut crew, &sitter("rig1", "x/1")), Some(("rig1".into(), None)));
        let plan = |name: &str, dialect| {
            MinerPlan::of_program(name.into(), program(dialect), Duration::from_secs(10))
        };
        let gone = crew.add_program(plan("rig1", "pool"), now);
        assert_eq!(row(&mut crew, &sitter("rig1", "")), Some(("rig1".into(), Some(gone))));
        crew.add_program(plan("x", "gateway-rpc"), now);
        assert_eq!(row(&mut crew, &sitter("", "x/1")), Some(("x-2".into(), None)), "of another language");
        assert_eq!(row(&mut crew, &sitter("", "")), Some(("program".into(), None)));
    }
}
