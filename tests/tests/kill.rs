//! SIGKILL to the supervisor or the provider process at random moments of a session's life.
//!
//! After each kill: no process is left within two seconds, `status` is true, `start` works, and no proof that was
//! found is lost unless its job is over. The moments are drawn from a seed that is printed; `PEARLBED_TEST_SEED` sets
//! it, and `PEARLBED_TEST_KILLS` how many kills there are. This is the only test of its binary: it looks at every process
//! below its own.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pearlbed::work::devnet::chain::Chain;
use pearlbed_tests::session::{Bed, children, reap_orphans};
use rustix::process::Signal;

/// Kills without `PEARLBED_TESTS_SLOW`, and with it.
const KILLS: [usize; 2] = [20, 100];
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
    Provider,
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
    let bed = Bed::new("");
    let mut dice = Dice::new();
    println!("PEARLBED_TEST_SEED={}", dice.0);
    let kills =
        number("PEARLBED_TEST_KILLS", KILLS[usize::from(std::env::var_os("PEARLBED_TESTS_SLOW").is_some())]);
    let mut hits = BTreeMap::new();
    for round in 0..kills {
        let victim = if dice.below(3) == 0 { Victim::Provider } else { Victim::Supervisor };
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
                helper = Some(background(&bed, &["start", "--devnet", "--plugin-dir", bed.plugins()]));
                std::thread::sleep(Duration::from_millis(dice.below(200)));
            }
            Moment::Mining => std::thread::sleep(Duration::from_millis(dice.below(1500))),
            Moment::Stop => {
                helper = Some(background(&bed, &["stop"]));
                std::thread::sleep(Duration::from_millis(dice.below(60)));
            }
        }
        if kill(&bed, victim) {
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
        }
        if let Some(mut helper) = helper {
            helper.wait().unwrap();
        }
        true_status(&bed, &at);
        if bed.processes().is_empty() {
            nothing_is_lost(&bed, &at);
        }
        if dice.below(2) == 0 {
            let answer = bed.run(&["stop"]);
            assert_eq!(answer.code, 0, "{at}: {answer:?}");
            assert_eq!(session_processes(None), Vec::<u32>::new(), "{at}");
            nothing_is_lost(&bed, &at);
        }
    }
    println!("kills that hit: {hits:?}");
    assert!(hits.values().sum::<i32>() * 2 >= kills as i32, "most kills hit somebody: {hits:?}");
    assert_eq!(bed.run(&["stop"]).code, 0);
    assert_eq!(bed.start().code, 0);
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
    assert_eq!(bed.run(&["stop"]).code, 0);
    nothing_is_lost(&bed, "at the end");
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

/// Kills the supervisor or its child; answers whether there was one.
fn kill(bed: &Bed, victim: Victim) -> bool {
    let Some(&supervisor) = bed.processes().first() else { return false };
    let pid = match victim {
        Victim::Supervisor => supervisor,
        Victim::Provider => match children(supervisor).first() {
            Some(&provider) => provider,
            None => return false,
        },
    };
    bed.signal(pid, Signal::KILL);
    true
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
