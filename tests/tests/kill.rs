//! SIGKILL to the supervisor or a miner's process at random moments of a session's life, with one miner and with several.
//!
//! After each kill: no process is left within two seconds, `status` is true, the miners that were not hit go on where they
//! were, `start` works, and no proof that was found is lost unless its job is over. The moments are drawn from a seed that
//! is printed; `PEARLBED_TEST_SEED` sets it, and `PEARLBED_TEST_KILLS` how many kills there are of each kind of session.
//! This is the only test of its binary: it looks at every process below its own.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pearlbed::work::devnet::chain::Chain;
use pearlbed_tests::session::{Bed, children, reap_orphans};
use rustix::process::Signal;

/// Kills for one miner and for several, without `PEARLBED_TESTS_SLOW`, and with it.
const KILLS: [usize; 2] = [10, 100];
/// Two more miners beside the first.
const SEVERAL: &str = "[mining]\nprovider = \"odd-miner\"\n\
    [[mining.miners]]\nname = \"two\"\nprovider = \"odd-miner\"\n\
    [[mining.miners]]\nname = \"three\"\nprovider = \"odd-miner\"\n";
const PATIENCE: Duration = Duration::from_secs(90);
/// What the contract gives the processes of a killed supervisor.
const ORPHAN_TIME: Duration = Duration::from_secs(2);

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// xorshift64*: the moments need not be good, only repeatable.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let seed = number("PEARLBED_TEST_SEED", (now % 1_000_000_007) as usize) as u64 | 1;
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Supervisor,
    /// One of its miners, whichever.
    Miner,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    Start,
    Mining,
    Stop,
}

#[test]
fn whatever_is_killed_nothing_is_orphaned_and_no_proof_is_lost() {
    if !adopt_orphans() {
        println!("skipped: this system does not hand orphans to a process of our choice");
        return;
    }
    let mut dice = Dice::new();
    println!("PEARLBED_TEST_SEED={}", dice.0);
    let kills =
        number("PEARLBED_TEST_KILLS", KILLS[usize::from(std::env::var_os("PEARLBED_TESTS_SLOW").is_some())]);
    for sections in ["", SEVERAL] {
        let bed = Bed::with("", sections);
        let hits = rounds(&bed, kills, &mut dice);
        println!("kills that hit: {hits:?}");
        assert!(hits.values().sum::<usize>() * 3 >= kills, "kills hit somebody: {hits:?}");
        assert_eq!(bed.run(&["stop"]).code, 0);
        assert_eq!(bed.start().code, 0);
        bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
        assert_eq!(bed.run(&["stop"]).code, 0);
        nothing_is_lost(&bed, "at the end");
    }
}

/// So many kills, each at a moment of its own; answers whom they hit, and how often.
fn rounds(bed: &Bed, kills: usize, dice: &mut Dice) -> BTreeMap<String, usize> {
    let mut hits = BTreeMap::new();
    for round in 0..kills {
        let victim = if dice.below(3) == 0 { Victim::Miner } else { Victim::Supervisor };
        let moment = [Moment::Start, Moment::Mining, Moment::Mining, Moment::Stop][dice.below(4) as usize];
        let at = format!("round {round}: {victim:?} at {moment:?}");
        let mut helper: Option<Child> = None;
        if moment != Moment::Start {
            let answer = bed.start();
            assert_eq!(
                answer.code,
                0,
                "{at}: start works after all that came before: {answer:?}\n{}",
                bed.log()
            );
        }
        match moment {
            Moment::Start => {
                helper = Some(background(bed, &["start", "--devnet", "--plugin-dir", bed.plugins()]));
                std::thread::sleep(Duration::from_millis(dice.below(200)));
            }
            Moment::Mining => std::thread::sleep(Duration::from_millis(dice.below(1500))),
            Moment::Stop => {
                helper = Some(background(bed, &["stop"]));
                std::thread::sleep(Duration::from_millis(dice.below(60)));
            }
        }
        // Asked only where it matters: it takes its time, and moments are what is drawn.
        let before = (victim == Victim::Miner && moment == Moment::Mining).then(|| miners(bed));
        let hit = kill(bed, victim, dice);
        if hit.is_some() {
            *hits.entry(format!("{victim:?} at {moment:?}")).or_insert(0) += 1;
        }
        let killed = Instant::now();
        if victim == Victim::Supervisor {
            while !session_processes(helper.as_ref()).is_empty() {
                // A kill before the supervisor was there kills nobody: that session goes on, and is stopped below.
                if killed.elapsed() > ORPHAN_TIME {
                    assert!(
                        bed.processes().len() > 1,
                        "{at}: orphans {:?}",
                        session_processes(helper.as_ref())
                    );
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        } else if let (Some(before), Some(hit)) = (before, hit) {
            others_go_on(bed, &before, hit, &at);
        }
        if let Some(mut helper) = helper {
            helper.wait().expect("it is our own child");
        }
        true_status(bed, &at);
        if bed.processes().is_empty() {
            nothing_is_lost(bed, &at);
        }
        if dice.below(2) == 0 {
            let answer = bed.run(&["stop"]);
            assert_eq!(answer.code, 0, "{at}: {answer:?}");
            assert_eq!(session_processes(None), Vec::<u32>::new(), "{at}");
            nothing_is_lost(bed, &at);
        }
    }
    hits
}

/// The process of each miner that has one, by its name.
fn miners(bed: &Bed) -> BTreeMap<String, u64> {
    let status = bed.status();
    let rows = status["miners"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["provider_pid"].as_u64()?))).collect()
}

/// The miner that was hit is told as what it is, and the others have the processes that they had.
fn others_go_on(bed: &Bed, before: &BTreeMap<String, u64>, hit: u32, at: &str) {
    let hit = u64::from(hit);
    let is_told = |status: &serde_json::Value| {
        let rows = status["miners"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().all(|row| row["provider_pid"].as_u64() != Some(hit))
            && rows.iter().any(|row| row["last_error"].as_str().is_some_and(|why| why.contains("SIGKILL")))
    };
    bed.wait_for(PATIENCE, is_told);
    let after = miners(bed);
    for (name, pid) in before.iter().filter(|(_, pid)| **pid != hit) {
        assert_eq!(after.get(name), Some(pid), "{at}: {name} was left alone; before {before:?}");
    }
}

/// Makes whatever loses its parent a child of this process: an orphan cannot hide.
fn adopt_orphans() -> bool {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("Linux has subreapers");
    cfg!(target_os = "linux")
}

fn background(bed: &Bed, args: &[&str]) -> Child {
    let quiet = || Stdio::null();
    bed.command(args)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn()
        .expect("the binary was just built")
}

/// Kills the supervisor or one of its children; answers whom, where there was one.
fn kill(bed: &Bed, victim: Victim, dice: &mut Dice) -> Option<u32> {
    let &supervisor = bed.processes().first()?;
    let pid = match victim {
        Victim::Supervisor => supervisor,
        Victim::Miner => {
            let children = children(supervisor);
            *children.get(dice.below(children.len().max(1) as u64) as usize)?
        }
    };
    bed.signal(pid, Signal::KILL);
    Some(pid)
}

/// Every process below this test but the command that it runs itself.
fn session_processes(helper: Option<&Child>) -> Vec<u32> {
    reap_orphans(helper.map(Child::id));
    let mut found = Vec::new();
    let mut look_at = vec![std::process::id()];
    while let Some(pid) = look_at.pop() {
        for child in children(pid) {
            if helper.is_none_or(|helper| helper.id() != child) {
                found.push(child);
            }
            look_at.push(child);
        }
    }
    found
}

/// What `status` says agrees with what runs.
fn true_status(bed: &Bed, at: &str) {
    let status = bed.status();
    let state = status["state"].as_str().unwrap_or_default();
    let runs = !bed.processes().is_empty();
    let says_it_runs = matches!(state, "STARTING" | "RUNNING" | "STOPPING");
    // A session may begin or end between the two looks, never the other way round for longer than that.
    if says_it_runs != runs {
        let again = bed.status()["state"].clone();
        let runs = !bed.processes().is_empty();
        let says_it_runs = matches!(again.as_str(), Some("STARTING" | "RUNNING" | "STOPPING"));
        assert_eq!(says_it_runs, runs, "{at}: {again} (before: {status:#})");
    }
    if !runs {
        assert_eq!(bed.run(&["status"]).code, 3, "{at}");
    }
}

/// Each proof that was found is settled in the log, or on disk, or its height has a block. Nothing runs meanwhile.
fn nothing_is_lost(bed: &Bed, at: &str) {
    let log = bed.log();
    let mut found = BTreeMap::new();
    let mut settled = BTreeSet::new();
    for line in log.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "proof") else { continue };
        let Some(id) = words.get(at + 1) else { continue };
        if line.ends_with("found and verified") {
            let height: u64 = words[at + 4].parse().unwrap_or_else(|_| panic!("{line}"));
            found.insert(id.to_string(), height);
        } else if [" is in block ", " is stale: ", " was rejected: "].iter().any(|end| line.contains(end)) {
            settled.insert(id.to_string());
        }
    }
    let open: Vec<_> = found.iter().filter(|(id, _)| !settled.contains(*id)).collect();
    if open.is_empty() {
        return;
    }
    let (chain, _) = Chain::open(&bed.home().join("runtime/devnet")).expect("nobody else has it open");
    let tip = chain.tip().map_or(0, |block| block.height);
    for (id, &height) in open {
        let kept =
            ["proof", "sent"].map(|end| bed.home().join(format!("runtime/proofs/{id}.{end}")).exists());
        assert!(
            kept.contains(&true) || height <= tip,
            "{at}: proof {id} for height {height} is lost; tip {tip}\n{log}"
        );
    }
}
