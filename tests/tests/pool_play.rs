//! The whole client against whole pools on a clock of the test's own: hours of bad networks, closing times and resets, and
//! the two ledgers compared share by share.
//!
//! `PEARLBED_TEST_SEED` plays one seed instead of the usual ones.
#![expect(clippy::print_stdout, reason = "what came out of a game is worth a line")]

use std::time::Duration;

use pearlbed_tests::pool_world::{Outcomes, Weather, World};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// A proof of the usual tile.
const PROOF: usize = 25_841;
/// One that takes less of the test's own time, where bytes do not matter.
const SHORT: usize = 100;

fn seeds() -> Vec<u64> {
    match std::env::var("PEARLBED_TEST_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => vec![1, 2],
    }
}

fn fair() -> Weather {
    Weather { latency: 40 * MILLI, ..Weather::default() }
}

/// Plays `time` of one weather with every seed; what came out, after all that was under way has arrived.
fn play(
    name: &str,
    weathers: &[Weather],
    every: Duration,
    proof: usize,
    time: Duration,
) -> Vec<(World, Outcomes)> {
    let mut played = Vec::new();
    for seed in seeds() {
        let mut world = World::new(seed, weathers.to_vec(), every, proof);
        world.pass(time);
        world.calm();
        let outcomes = world.judge();
        println!("{name}, seed {seed}: {outcomes:?}, {} connections, idle {:?}", world.connects, world.idle);
        match outcomes {
            Ok(outcomes) => played.push((world, outcomes)),
            Err(wrong) => panic!("{name}, seed {seed}:\n{}\n{:#?}", wrong.join("\n"), world.notes),
        }
    }
    played
}

#[test]
fn on_a_good_line_the_ledgers_are_equal_to_the_last_share() {
    for (_, outcomes) in play("fair", &[fair()], 4 * SECOND, SHORT, HOUR) {
        assert!(outcomes.found > 500, "{outcomes:?}");
        assert_eq!(outcomes.unanswered, 0, "{outcomes:?}");
    }
}

#[test]
fn latency_and_jitter_cost_stale_shares_and_no_answer() {
    let far = Weather { latency: 800 * MILLI, jitter: 2 * SECOND, twice: 0.05, ..Weather::default() };
    for (world, outcomes) in play("far", &[far], 4 * SECOND, SHORT, HOUR) {
        assert_eq!((outcomes.unanswered, world.connects), (0, 1), "{outcomes:?}");
        assert!(outcomes.credited > outcomes.found * 8 / 10, "{outcomes:?}");
    }
}

#[test]
fn a_line_of_64_kilobits_carries_what_it_can_and_new_jobs_all_the_time() {
    // A share takes more than four seconds on it.
    let slow = Weather { latency: 60 * MILLI, bandwidth: Some(8000.0), ..Weather::default() };
    for (world, outcomes) in play("slow", &[slow], 12 * SECOND, PROOF, HOUR) {
        assert_eq!((outcomes.unanswered, world.connects), (0, 1), "{outcomes:?}");
        assert!(outcomes.credited > outcomes.found * 8 / 10, "{outcomes:?}");
    }
}

#[test]
fn more_shares_than_the_line_carries_are_lost_and_not_the_connection_for_good() {
    let slow = Weather { latency: 60 * MILLI, bandwidth: Some(8000.0), ..Weather::default() };
    for (_, outcomes) in play("too slow", &[slow], 2 * SECOND, PROOF, HOUR) {
        assert!(outcomes.credited > 300, "{outcomes:?}");
    }
}

#[test]
fn closing_times_lead_to_the_backup_and_back() {
    let closes = Weather { maintenance: Some((90 * SECOND, 20 * MINUTE)), ..fair() };
    for (world, outcomes) in play("maintenance", &[closes, fair()], 4 * SECOND, SHORT, 3 * HOUR) {
        // The first job's wait, and two seconds for each closing.
        assert!(world.idle < 60 * SECOND, "{:?}", world.idle);
        assert_eq!(world.pauses, 0);
        assert!(world.notes.iter().any(|note| note.contains("back on pool 1")), "{:#?}", world.notes);
        assert!(outcomes.credited > outcomes.found * 9 / 10, "{outcomes:?}");
        assert!(world.connects < 200, "{}", world.connects);
    }
}

#[test]
fn with_the_only_pool_closed_for_an_hour_mining_pauses_and_goes_on() {
    let closes = Weather { maintenance: Some((HOUR, 30 * MINUTE)), ..fair() };
    for (world, outcomes) in play("closed for an hour", &[closes], 4 * SECOND, SHORT, 8 * HOUR) {
        assert!(world.pauses >= 1 && outcomes.credited > 0, "{outcomes:?}");
        // A minute between attempts, and a few more at first.
        assert!(world.connects < 8 * 150, "{}", world.connects);
    }
}

#[test]
fn a_line_that_swallows_everything_is_noticed_and_replaced() {
    let holes = Weather { hole: Some((10 * MINUTE, 30 * MINUTE)), ..fair() };
    for (world, outcomes) in play("half-open", &[holes, fair()], 4 * SECOND, SHORT, 3 * HOUR) {
        // Three shares in a row without a reply, thirty seconds each, are the least that it takes.
        assert!(outcomes.unanswered > 0 && outcomes.credited > outcomes.found * 8 / 10, "{outcomes:?}");
        assert!(world.connects < 400, "{}", world.connects);
    }
}

#[test]
fn with_everything_at_once_the_ledgers_differ_by_exactly_the_unanswered_shares() {
    let bad = Weather {
        latency: 50 * MILLI,
        jitter: 500 * MILLI,
        bandwidth: Some(300.0),
        mute: 0.03,
        twice: 0.05,
        reset: 0.01,
        reset_after: 0.01,
        maintenance: Some((2 * MINUTE, 25 * MINUTE)),
        hole: Some((3 * MINUTE, 40 * MINUTE)),
    };
    let worse = Weather { reset: 0.02, mute: 0.05, ..bad.clone() };
    for (_, outcomes) in play("everything", &[bad, worse], 3 * SECOND, SHORT, 4 * HOUR) {
        assert!(outcomes.unanswered_and_credited > 0 && outcomes.credited > 1500, "{outcomes:?}");
    }
}

#[test]
fn the_same_seed_plays_the_same_hours() {
    let bad = Weather { jitter: SECOND, reset: 0.05, mute: 0.05, ..fair() };
    let run = |seed| {
        let mut world = World::new(seed, vec![bad.clone(), fair()], 2 * SECOND, 100);
        world.pass(HOUR);
        world.calm();
        format!("{:?} {:?}", world.judge(), world.notes)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
