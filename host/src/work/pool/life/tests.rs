//! The life of pools, played through without clocks and sockets.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn passing() -> Failure {
    Failure::Passing("connection refused".to_owned())
}

/// A life and its time.
struct Play {
    life: Life,
    start: Instant,
    now: Instant,
}

impl Play {
    fn new(pools: usize) -> Self {
        let start = Instant::now();
        Self { life: Life::new(pools, 7, start), start, now: start }
    }

    /// The next thing to do, with the time moved to when it is due.
    fn next(&mut self) -> Step {
        for _ in 0..1000 {
            if let Some(step) = self.life.step(self.now) {
                return step;
            }
            let at = self.life.deadline(self.now).expect("something is always due");
            self.now = at.max(self.now + Duration::from_millis(1));
        }
        panic!("nothing happens: {:?}", self.life);
    }

    fn seconds(&self) -> f64 {
        self.now.duration_since(self.start).as_secs_f64()
    }

    fn fail(&mut self) {
        self.life.failed(&passing(), self.now);
    }
}

#[test]
fn waits_grow_to_a_minute_with_a_random_factor_of_a_half_to_one() {
    let mut play = Play::new(1);
    let mut last = play.now;
    for step in [0, 1, 2, 5, 10, 30, 60, 60, 60] {
        assert_eq!(play.next(), Step::Connect(0));
        let wait = play.now.duration_since(last).as_secs_f64();
        assert!((0.5 * f64::from(step) - 0.01..=f64::from(step) + 0.01).contains(&wait), "{step}: {wait}");
        last = play.now;
        play.fail();
    }
    // It works for a minute: the waits begin anew.
    assert_eq!(play.next(), Step::Connect(0));
    play.life.works(play.now);
    play.now += SECOND * 61;
    assert_eq!(play.life.step(play.now), None);
    play.fail();
    last = play.now;
    assert_eq!(play.next(), Step::Connect(0));
    assert!(play.now.duration_since(last) <= SECOND);
}

#[test]
fn a_refusal_leads_to_the_backup_within_two_seconds_and_three_attempts() {
    for seed in 0..100 {
        let mut play = Play::new(2);
        play.life = Life::new(2, seed, play.now);
        for _ in 0..3 {
            assert_eq!(play.next(), Step::Connect(0));
            play.fail();
        }
        assert_eq!(play.next(), Step::Connect(1));
        assert!(play.seconds() < 2.0, "{}", play.seconds());
    }
}

#[test]
fn silence_leads_to_the_backup_after_thirty_seconds() {
    let mut play = Play::new(2);
    assert_eq!(play.next(), Step::Connect(0));
    assert_eq!(play.next(), Step::Abandon);
    assert_eq!(play.next(), Step::Connect(1));
    assert!((30.0..31.0).contains(&play.seconds()), "{}", play.seconds());
    // Without another pool there is no reason to give an attempt up.
    let mut play = Play::new(1);
    assert_eq!(play.next(), Step::Connect(0));
    assert_eq!(play.life.deadline(play.now), None);
}

#[test]
fn a_refused_login_is_skipped_at_once_and_not_hammered() {
    let mut play = Play::new(2);
    assert_eq!(play.next(), Step::Connect(0));
    play.life.failed(&Failure::Hopeless("miner agent not allowed".to_owned()), play.now);
    assert_eq!(play.next(), Step::Connect(1));
    assert_eq!(play.seconds(), 0.0);
    assert!(play.life.bar(0, play.now).is_some());
    // Alone, it is asked again after 10, 20, 40 and then 60 minutes each.
    let mut play = Play::new(1);
    let mut last = play.now;
    for minutes in [0, 10, 20, 40, 60, 60, 60] {
        assert_eq!(play.next(), Step::Connect(0));
        assert_eq!(play.now.duration_since(last).as_secs() / 60, minutes);
        last = play.now;
        play.life.failed(&Failure::Hopeless("Invalid Pearl address".to_owned()), play.now);
    }
}

#[test]
fn a_ban_lasts_as_long_as_the_pool_says_else_ten_minutes() {
    for (time, seconds) in [(Some(SECOND * 60), 60), (None, 600)] {
        let mut play = Play::new(1);
        assert_eq!(play.next(), Step::Connect(0));
        play.life.failed(&Failure::Banned { time, text: "banned".to_owned() }, play.now);
        assert_eq!(play.next(), Step::Connect(0));
        assert_eq!(play.seconds().round() as u64, seconds);
    }
}

#[test]
fn three_connections_in_a_row_that_close_right_after_authorize_are_a_ban() {
    let mut play = Play::new(1);
    let mut ten = 0;
    for _ in 0..10 {
        assert_eq!(play.next(), Step::Connect(0));
        ten += 1;
        play.life.failed(&Failure::QuickClose("closed".to_owned()), play.now);
    }
    assert_eq!(ten, 10);
    assert!(play.seconds() > 1800.0, "three bans of ten minutes: {}", play.seconds());
}

#[test]
fn when_all_are_out_each_is_tried_by_its_own_waits_and_nothing_spins() {
    let mut play = Play::new(3);
    let mut attempts = [0; 3];
    while play.seconds() < 3600.0 {
        match play.next() {
            Step::Connect(pool) => {
                attempts[pool] += 1;
                play.fail();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(play.life.is_all_out());
    for count in attempts {
        assert!((40..150).contains(&count), "{attempts:?}");
    }
    // The second comes back: it is used, and its failures before are no reason to leave it.
    loop {
        let Step::Connect(pool) = play.next() else { panic!() };
        if pool == 1 {
            break;
        }
        play.fail();
    }
    play.life.works(play.now);
    assert!(!play.life.is_all_out());
    assert_eq!(play.life.current(), 1);
}

/// A life on the backup, right after it began to work.
fn on_backup() -> Play {
    let mut play = Play::new(2);
    for _ in 0..3 {
        play.next();
        play.fail();
    }
    assert_eq!(play.next(), Step::Connect(1));
    play.life.works(play.now);
    play
}

#[test]
fn the_first_pool_is_looked_at_every_five_minutes_and_returned_to_after_a_good_minute() {
    let mut play = on_backup();
    let began = play.now;
    assert_eq!(play.next(), Step::Probe(0));
    assert_eq!(play.now.duration_since(began).as_secs(), 300);
    play.life.probe_failed(&passing(), play.now);
    assert_eq!(play.next(), Step::Probe(0));
    assert_eq!(play.now.duration_since(began).as_secs(), 600);
    play.life.probe_works(play.now);
    assert_eq!(play.next(), Step::Switch);
    assert_eq!(play.now.duration_since(began).as_secs(), 660);
    assert_eq!(play.life.current(), 0);
    assert_eq!(play.life.next_probe(), None, "there is nothing better than the first");
}

#[test]
fn a_first_pool_that_is_good_for_five_seconds_at_a_time_is_not_returned_to() {
    let mut play = on_backup();
    for _ in 0..50 {
        assert_eq!(play.next(), Step::Probe(0));
        play.life.probe_works(play.now);
        play.now += SECOND * 5;
        assert_eq!(play.life.step(play.now), None);
        play.life.probe_failed(&passing(), play.now);
        assert_eq!(play.life.current(), 1);
    }
}

#[test]
fn a_good_probe_takes_over_when_the_backup_fails() {
    let mut play = on_backup();
    assert_eq!(play.next(), Step::Probe(0));
    assert!(!play.life.promote_probe(), "it has no job yet");
    play.life.probe_works(play.now);
    assert!(play.life.promote_probe());
    assert_eq!((play.life.current(), play.life.is_probing()), (0, false));
}

#[test]
fn a_backup_that_fails_has_its_three_attempts_before_the_first_pool_is_tried() {
    let mut play = on_backup();
    play.now += SECOND * 100;
    play.fail();
    let mut tried = Vec::new();
    for _ in 0..4 {
        let Step::Connect(pool) = play.next() else { panic!() };
        tried.push(pool);
        play.fail();
    }
    assert_eq!(tried, [1, 1, 1, 0]);
}

#[test]
fn another_form_of_login_is_tried_at_once_and_costs_no_attempt() {
    let mut play = Play::new(2);
    assert_eq!(play.next(), Step::Connect(0));
    play.life.try_again_at_once(play.now);
    let before = play.now;
    assert_eq!(play.next(), Step::Connect(0));
    assert_eq!(play.now, before);
    for _ in 0..2 {
        play.fail();
        assert_eq!(play.next(), Step::Connect(0));
    }
    play.fail();
    assert_eq!(play.next(), Step::Connect(1));
}
