//! A pool's targets, played with miners of every speed.

use std::time::Duration;

use super::*;
use crate::work::pool::pace::Limiter;
use crate::work::stratum::to_pool::{Login, Signature, Submit, authorize, submit};

/// A miner of a given speed that minds a pool client's manners, and what became of its shares.
struct Miner {
    rate: f64,
    limiter: Limiter,
    /// Hashes until the next share, for one of work 1.
    ahead: f64,
    spread: f64,
    found: u64,
    dropped: u64,
}

impl Miner {
    /// Shares that it finds in a time, at a target.
    fn shares(&mut self, time: Duration, target: Target) -> u64 {
        self.ahead -= self.rate * time.as_secs_f64() / work_f64(target);
        let before = self.found;
        while self.ahead <= 0.0 {
            // A fixed sequence that covers the exponential distribution evenly.
            self.spread = (self.spread + 0.618_033_988_75).fract();
            self.ahead += -(1.0 - self.spread).ln();
            self.found += 1;
        }
        self.found - before
    }
}

/// When the shares of two minutes were credited, and how many shares its manners made the miner drop until then: in all,
/// and of those in the second minute.
fn play(rate: f64) -> (Vec<f64>, u64, u64) {
    const STEP: Duration = Duration::from_millis(1);
    const LATENCY: Duration = Duration::from_millis(5);
    const SWITCH: Duration = Duration::from_millis(60);
    let start = Instant::now();
    let mut core = Core::new(Settings::default());
    let header = Header::new(0x2000_0000, [7; 32], [2; 32], 1_790_000_000, 0x1900_ffff);
    core.work(Task { header, certificate_version: 3, height: None }, start);
    core.open(1, start);
    let login = Login {
        wallet: "solo:me".to_owned(),
        worker: "rig".to_owned(),
        agent: "test/1".to_owned(),
        password: "x".to_owned(),
    };
    core.line(1, &authorize(1, Dialect::Object, &login, Encoding::Plain), start);
    let mut miner =
        Miner { rate, limiter: Limiter::new(start), ahead: 1.0, spread: 0.37, found: 0, dropped: 0 };
    let (mut offers, mut verdicts) = (VecDeque::new(), VecDeque::new());
    let mut work: Option<Job> = None;
    let (mut credited, mut early, mut number) = (Vec::new(), 0, 0_u64);
    let mut now = start;
    while now < start + Duration::from_secs(120) {
        for act in core.acts() {
            match act {
                Act::Send { line, .. } if line.contains("mining.notify") => {
                    let job = core.sessions[&1].jobs.back().expect("it was just sent").clone();
                    offers.push_back((now + SWITCH, job));
                }
                Act::Verify(candidate) => verdicts.push_back((now + LATENCY, candidate)),
                _ => {}
            }
        }
        while offers.front().is_some_and(|(at, _)| *at <= now) {
            work = offers.pop_front().map(|(_, job)| job);
        }
        while verdicts.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, candidate)) = verdicts.pop_front() else { break };
            credited.push(now.duration_since(start).as_secs_f64());
            core.verified(&candidate, "me.rig", Checked::Valid { block: false }, now);
        }
        if let Some(job) = &work {
            for _ in 0..miner.shares(STEP, job.target) {
                if !miner.limiter.pass(now) {
                    miner.dropped += 1;
                    continue;
                }
                number += 1;
                let share = Submit {
                    id: number + 1,
                    login: &login,
                    signature: Signature::Both,
                    job_id: &format!("\"{}\"", job.name),
                    proof: &number.to_le_bytes(),
                    encoding: Encoding::Plain,
                    names_encoding: false,
                };
                core.line(1, &submit(&share), now);
            }
        }
        if now.duration_since(start) == Duration::from_secs(60) {
            early = miner.dropped;
        }
        now += STEP;
        if now.duration_since(start).subsec_millis() == 0 {
            core.tick(now);
        }
    }
    (credited, early, miner.dropped - early)
}

#[test]
fn a_miner_of_any_speed_is_credited_within_ten_seconds_and_soon_drops_no_shares() {
    // From an old processor to a room full of cards.
    for rate in [2e7, 1e8, 1e9, 2e10, 1e11, 4e11, 1e13] {
        let (credited, early, later) = play(rate);
        assert!(credited.first().is_some_and(|first| *first <= 10.0), "{rate}: {credited:?}");
        assert_eq!(later, 0, "{rate}: {credited:?}");
        // Of a processor's shares few are dropped even before its speed is known.
        assert!(rate > 4e11 || early < 150, "{rate}: {early} dropped, {credited:?}");
        let steady = credited.iter().filter(|at| **at >= 60.0).count();
        assert!((10..=50).contains(&steady), "{rate}: {steady} in the second minute, {credited:?}");
    }
}

#[test]
fn the_first_share_alone_is_not_believed_whole_and_a_known_speed_moves_in_small_steps() {
    let start = Instant::now();
    let mut core = Core::new(Settings::default());
    let header = Header::new(0x2000_0000, [7; 32], [2; 32], 1_790_000_000, 0x1900_ffff);
    core.work(Task { header, certificate_version: 3, height: None }, start);
    core.open(1, start);
    core.line(1, r#"{"id":1,"method":"mining.authorize","params":{"wallet":"me","worker":"r"}}"#, start);
    let work = |core: &Core| work_f64(core.sessions[&1].jobs.back().unwrap().target);
    let share = |core: &mut Core, number: u64, now: Instant| {
        let job = core.sessions[&1].jobs.back().unwrap().clone();
        let candidate = Candidate { session: 1, id: number.to_string(), job, proof: vec![], at: now };
        core.verified(&candidate, "me.r", Checked::Valid { block: false }, now);
    };
    let before = work(&core);
    // A tenth of a second for what should take three: thirty times as hard, of which a quarter is believed.
    share(&mut core, 1, start + Duration::from_millis(100));
    let ratio = work(&core) / before;
    assert!((7.4..7.6).contains(&ratio), "{ratio}");
    // Six shares in the time they should take: known from now on, and ten times as fast is four times as hard.
    let mut now = start + Duration::from_millis(100);
    for number in 2..8 {
        now += Duration::from_secs(3);
        share(&mut core, number, now);
    }
    assert!(core.sessions[&1].known);
    let before = work(&core);
    for number in 8..14 {
        now += Duration::from_millis(300);
        share(&mut core, number, now);
    }
    let ratio = work(&core) / before;
    assert!((3.9..4.1).contains(&ratio), "{ratio}");
}
