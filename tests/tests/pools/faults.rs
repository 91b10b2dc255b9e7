//! Every misbehaviour of the pool protocol's section 11 by its name: mining goes on, or the reason is told.

use super::*;

/// What must follow from a fault on the first connection.
enum Then {
    /// A share is credited, on this connection or the next.
    Mines,
    /// The reason is told, and a share is credited on the next connection.
    Tells(&'static str),
    /// The reason is told, and the pool is left alone for a time.
    Leaves(&'static str),
    /// The reason is told, and a share is credited on this very connection.
    Credits(&'static str),
    /// A share has this outcome, and the connection stays.
    Settles(Outcome),
}

#[test]
fn after_every_misbehaviour_mining_goes_on_or_the_reason_is_told() {
    use Fault::*;
    use Then::{Credits, Leaves, Mines, Settles, Tells};
    let deep = format!("{{\"method\":\"mining.notify\",\"params\":{}", "[".repeat(10_000));
    let escapes = r#"{"id":null,"method":"client.show_message","params":["\u001b[2J\u202eevil"]}"#;
    let megabyte = format!("{{\"id\":null,\"method\":\"x\",\"params\":[\"{}\"]}}", "A".repeat(200_000));
    let reconnect = r#"{"id":null,"method":"client.reconnect","params":["evil.example",1]}"#;
    let bytes = |text: &str| text.as_bytes().to_vec();
    let cases: Vec<(&str, Fault, Then)> = vec![
        ("connect: closes at once", CloseAtOnce, Mines),
        ("connect: resets", Reset, Mines),
        ("connect: slow to accept", SlowAccept(Duration::from_secs(1)), Mines),
        ("connect: says HTTP", Says(bytes("HTTP/1.1 400 Bad Request\r\n\r\n")), Tells("web server")),
        ("connect: says a TLS alert", Says(vec![0x15, 3, 1, 0, 2, 2, 40]), Tells("this port speaks TLS")),
        ("connect: says garbage", Says(bytes("SSH-2.0-x\r\n")), Tells("not JSON")),
        (
            "connect: family B",
            Says(bytes("{\"id\":null,\"method\":\"pearl.challenge\",\"params\":{}}\n")),
            Leaves("another family"),
        ),
        ("authorize: array only", ArrayOnly, Mines),
        ("authorize: object only", ObjectOnly, Mines),
        ("authorize: late", AckLate(Duration::from_secs(1)), Mines),
        (
            "authorize: refused as an object with a message",
            RefuseLogin(r#"{"code":24,"message":"Invalid Pearl address"}"#),
            Leaves("Invalid Pearl address"),
        ),
        (
            "authorize: refused in a list in a message",
            RefuseLogin(r#"{"message":[24,"Invalid Pearl address",null]}"#),
            Leaves("Invalid Pearl address"),
        ),
        ("authorize: refused as text", RefuseLogin(r#""no""#), Leaves("no")),
        (
            "authorize: agent",
            RefuseLogin(r#"{"code":24,"msg":"miner agent not allowed"}"#),
            Leaves("agent not allowed"),
        ),
        (
            "authorize: wallet",
            RefuseLogin(r#"[24,"Invalid Pearl address",null]"#),
            Leaves("Invalid Pearl address"),
        ),
        ("authorize: banned", RefuseLogin(r#"[24,"banned for 600 seconds",null]"#), Leaves("banned")),
        ("authorize: ack after the job", AckAfterJob, Mines),
        ("authorize: ack, then closed", AckThenDrop, Mines),
        ("authorize: unknown encoding", AckType("v3"), Leaves("`v3`")),
        ("jobs: a flood", Flood(2000), Mines),
        ("jobs: 80-byte header", InJob("\"header\":\"", "\"header\":\"00000000"), Tells("160 hex digits")),
        ("jobs: target not hex", InJob("\"target\":\"", "\"target\":\"xyz"), Tells("target")),
        ("jobs: no target", InJob("\"target\"", "\"tragt\""), Tells("target is missing")),
        ("jobs: too easy", JobMember("target", EASY), Tells("easier than a tile can express")),
        ("jobs: of a test network", TestNetwork, Credits("a test network")),
        ("jobs: a name comes again with another header", RepeatId, Mines),
        ("jobs: no name", InJob("\"job_id\"", "\"jobid\""), Tells("without a job_id")),
        ("jobs: certificate as text", InJob("\"cert_version\":3", "\"cert_version\":\"3\""), Mines),
        ("jobs: certificate as a fraction", InJob("\"cert_version\":3", "\"cert_version\":3.0"), Mines),
        ("jobs: no certificate", InJob("\"cert_version\":3,", ""), Mines),
        ("jobs: a label that lies", InJob("\"diff\":", "\"diff\":4000000,\"x\":"), Mines),
        ("replies: late", LateReplies(Duration::from_secs(2)), Mines),
        ("replies: twice", Twice, Mines),
        ("replies: wrong id first", WrongId, Mines),
        ("replies: id as text", TextId, Mines),
        ("replies: yes, then the verdict", YesFirst, Mines),
        ("replies: yes without looking", YesOnly, Settles(Outcome::Accepted)),
        ("replies: 21", RefuseShares(r#"[21,"Job not found",null]"#), Settles(Outcome::Stale)),
        ("replies: 22", RefuseShares(r#"{"code":22,"msg":"dup"}"#), Settles(Outcome::Duplicate)),
        ("replies: 23", RefuseShares(r#"{"code":23,"message":"?"}"#), Settles(Outcome::LowDifficulty)),
        ("replies: invalid as text", RefuseShares(r#""Invalid share""#), Settles(Outcome::Invalid)),
        ("replies: refused without a reason", RefuseShares("null"), Settles(Outcome::Unclear)),
        ("replies: banned", RefuseShares(r#""banned for 600 s""#), Leaves("banned")),
        ("framing: one byte a segment", OneByte, Mines),
        ("framing: CRLF and blank lines", Crlf, Mines),
        ("framing: all in one piece", Merged, Mines),
        ("framing: gzip", Line(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b]), Mines),
        ("framing: 300 KiB", LongLine(300 * 1024), Tells("262144 bytes")),
        ("framing: endless", Endless, Tells("262144 bytes")),
        ("framing: not UTF-8", Line(vec![0xff, 0xfe, 0x00]), Mines),
        ("framing: nesting", Line(deep.into_bytes()), Mines),
        ("framing: garbage", Line(bytes("{]")), Mines),
        ("link: ends in a share", EofInShare, Mines),
        ("link: resets in a share", ResetInShare, Mines),
        ("policy: drops who is idle", DropsIdle(Duration::from_millis(300)), Mines),
        ("hostile: a challenge", Line(bytes(CHALLENGE)), Leaves("another family")),
        ("hostile: reconnect", Line(bytes(reconnect)), Tells("never followed")),
        ("hostile: escapes", Line(bytes(escapes)), Tells("\\u{1b}[2J")),
        ("hostile: a long message", Line(megabyte.into_bytes()), Mines),
        ("hostile: a flood of questions", AsksVersion(100_000), Mines),
    ];
    block_on(async {
        for (name, fault, then) in cases {
            println!("{name}");
            // What is refused at login is refused whichever way it is said.
            let script = match &then {
                Leaves(_) => vec![vec![fault.clone()], vec![fault]],
                _ => vec![vec![fault]],
            };
            let first = TestPool::start(script);
            let mut session = Session::start(vec![pool(&first)]);
            let settles = if let Settles(outcome) = &then { Settles(*outcome) } else { Mines };
            match then {
                Settles(_) => {}
                Mines => session.credit().await,
                Tells(text) => {
                    // Jobs that are none are followed by none for half a minute: the connection is ended from here.
                    if name.starts_with("jobs:") {
                        session.until(name, |session| session.told(text)).await;
                        session.jobs.clear();
                        first.drop_all();
                    }
                    session.credit().await;
                    session.until(name, |session| session.told(text)).await;
                }
                Credits(text) => {
                    session.credit().await;
                    session.until(name, |session| session.told(text)).await;
                    assert_eq!(first.connections(), 1, "{name}: {:?}", first.events());
                }
                Leaves(text) => {
                    if name.starts_with("replies:") {
                        session.until("a job", |session| !session.jobs.is_empty()).await;
                        session.share().await;
                    }
                    session.until(name, |session| session.told(text)).await;
                    assert!(first.connections() <= 2, "{name}: {:?}", first.events());
                }
            }
            if let Settles(outcome) = settles {
                session.until("a job", |session| !session.jobs.is_empty()).await;
                let id = session.share().await;
                session.until(name, |session| session.state(&id).is_some_and(ProofState::is_final)).await;
                let ledger = session.ledger();
                assert_eq!(ledger.of(outcome).shares, 1, "{name}: {ledger:?}");
                assert_eq!(first.connections(), 1, "{name}: {:?}", first.events());
            }
            assert!(session.ledger().adds_up(), "{name}");
            assert!(first.connections() < 12, "{name}: a busy loop: {:?}", first.events());
            let status = session.handle.status.borrow().clone();
            let text = format!("{status:?}{:?}", session.notes);
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{name}: {text}");
            session.handle.stop().await;
        }
    });
}

/// Every tile wins.
const EASY: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
const CHALLENGE: &str = r#"{"id":null,"method":"pearl.challenge","params":{"difficulty":64,"seed":"00"}}"#;

/// Those of which the reason shows only after a while: all of them at once.
#[test]
fn a_pool_that_keeps_us_waiting_is_left_for_the_next_connection_and_the_reason_is_told() {
    block_on(async {
        let wait = |name: &'static str, fault: Fault, text: &'static str| async move {
            let first = TestPool::start(vec![vec![fault]]);
            let mut session = Session::start(vec![pool(&first)]);
            if !text.is_empty() {
                session.until(name, |session| session.told(text)).await;
            }
            session.credit().await;
            assert!(session.ledger().adds_up() && first.connections() < 6, "{name}: {:?}", first.events());
            session.handle.stop().await;
        };
        tokio::join!(
            // The other form of login is tried then, which is an answer of its own.
            wait("connect: says nothing", Fault::Silent, ""),
            wait("authorize: never answers", Fault::NoAck, ""),
            wait("authorize: says nothing to an object", Fault::HangsOnObject, ""),
            wait("jobs: none", Fault::NoJobs, "sends no work"),
        );
    });
}

/// Whoever finds such a share has found a block that the pool would throw away. It is mined for all the same.
#[test]
fn a_target_that_is_harder_than_a_block_is_said() {
    const HARD: &str = "0000000000000000ffff00000000000000000000000000000000000000000000";
    block_on(async {
        let first = TestPool::start(vec![vec![Fault::JobMember("target", HARD)]]);
        let mut session = Session::start(vec![pool(&first)]);
        session.until("the reason", |session| session.told("harder than the network's")).await;
        session.until("its job", |session| !session.jobs.is_empty()).await;
        assert_eq!(first.connections(), 1, "{:?}", first.events());
        session.handle.stop().await;
    });
}

#[test]
fn replies_in_reverse_order_find_their_shares() {
    block_on(async {
        let first = TestPool::start(vec![vec![Fault::Reversed]]);
        let mut session = Session::start(vec![pool(&first)]);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        let shares = [session.share().await, session.share().await];
        let settled = |session: &Session| {
            shares.iter().all(|id| session.state(id).is_some_and(|state| *state == ProofState::Credited))
        };
        session.until("both credited", settled).await;
        assert_eq!(first.ledger().shares.get(&Fate::Accepted), Some(&2));
        assert_eq!(session.ledger().of(Outcome::Accepted).shares, 2);
        session.handle.stop().await;
    });
}

/// The last word of a pool counts, and a pool that calls everything stale is neither left nor connected to anew.
#[test]
fn a_yes_that_is_taken_back_is_counted_by_its_last_word_and_a_hundred_percent_stale_by_the_pool() {
    block_on(async {
        let stale = Fault::RefuseShares(r#"[21,"Job not found",null]"#);
        let first = TestPool::start(vec![vec![Fault::YesFirst, stale]]);
        let mut session = Session::start(vec![pool(&first)]);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        for count in 1..=6 {
            session.share().await;
            session
                .until("its last word", |session| session.ledger().of(Outcome::Stale).shares == count)
                .await;
        }
        let ledger = session.ledger();
        assert!(ledger.adds_up() && ledger.of(Outcome::Accepted).shares == 0, "{ledger:?}");
        assert_eq!((ledger.of(Outcome::Accepted).work, ledger.all_sent().shares), (0.0, 6), "{ledger:?}");
        assert_eq!(first.connections(), 1, "{:?}", first.events());
        session.handle.stop().await;
    });
}

/// What a ban looks like to the one who is banned: the reason is told, the backup paid, the pool not asked again.
async fn banned(first: &TestPool, mut session: Session, backup: &TestPool, reason: &str) {
    session.until("the reason", |session| session.told(reason)).await;
    // What comes from now on is the backup's.
    session.jobs.clear();
    session.until("the backup", |_| backup.workers() == 1).await;
    session.credit().await;
    assert_eq!((first.connections(), backup.ledger().shares.get(&Fate::Accepted)), (1, Some(&1)));
    let status = session.handle.status.borrow().pool.clone().unwrap();
    assert_eq!(status.current, Some(1));
    assert!(status.pools[0].barred_until.is_some(), "{status:?}");
    assert!(status.why_not_first.as_ref().is_some_and(|why| why.contains(reason)), "{status:?}");
    assert!(session.ledger().adds_up());
    session.handle.stop().await;
}

#[test]
fn a_pool_that_bans_above_thirty_percent_of_stale_shares_is_left_alone_and_its_backup_paid() {
    block_on(async {
        let first = TestPool::start(vec![vec![Fault::BansStale(6)]]);
        let backup = TestPool::honest();
        let mut session = Session::start(vec![pool(&first), pool(&backup)]);
        for _ in 0..5 {
            session.credit().await;
        }
        // 1 of 6 and 2 of 7 are borne, 3 of 8 are not.
        first.new_tip_unseen();
        for _ in 0..3 {
            let id = session.share().await;
            session.until("a fate", |session| session.state(&id).is_some_and(ProofState::is_final)).await;
            assert!(matches!(session.state(&id), Some(ProofState::Stale { .. })), "{:?}", session.states);
        }
        assert_eq!(first.connections(), 1, "{:?}", first.events());
        session.share().await;
        banned(&first, session, &backup, "37 % stale shares").await;
    });
}

#[test]
fn a_pool_that_bans_after_invalid_shares_is_left_alone_and_its_backup_paid() {
    block_on(async {
        let ban = r#"[24,"banned for 600 seconds: too many invalid shares",null]"#;
        let invalid = Fault::RefuseShares(r#"[20,"Invalid share",null]"#);
        let first = TestPool::start(vec![vec![Fault::BansAfter(3, ban), invalid]]);
        let backup = TestPool::honest();
        let mut session = Session::start(vec![pool(&first), pool(&backup)]);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        for count in 1..=3 {
            session.share().await;
            session.until("its no", |session| session.ledger().of(Outcome::Invalid).shares == count).await;
        }
        session.share().await;
        banned(&first, session, &backup, "too many invalid shares").await;
    });
}

/// Case 21, over a real socket: what was given to a pool that reads nothing does not keep the program from ending.
#[test]
fn a_stop_waits_for_no_pool_that_reads_nothing() {
    block_on(async {
        let deaf = TestPool::start(vec![vec![Fault::ReadNothing]]);
        let mut session = Session::start(vec![pool(&deaf)]);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        session.share().await;
        session.until("it is on its way", |session| session.ledger().in_flight().shares == 1).await;
        let stopped = tokio::time::timeout(Duration::from_secs(30), session.handle.stop()).await;
        assert!(stopped.is_ok(), "it waits for a reply that never comes");
        assert!(deaf.ledger().shares.is_empty(), "{:?}", deaf.events());
    });
}

#[test]
fn a_target_that_jumps_by_64_and_back_is_followed_and_each_share_is_worth_its_own() {
    block_on(async {
        let first = TestPool::start(vec![vec![Fault::Jumps]]);
        let mut session = Session::start(vec![pool(&first)]);
        session.credit().await;
        let work = |session: &Session| {
            let status = session.handle.status.borrow();
            status.pool.as_ref().and_then(|pool| pool.share).map_or(0.0, |share| share.work)
        };
        let easy = work(&session);
        let job = session.jobs.last().unwrap().target;
        first.new_tip();
        session.until("the jump", |session| (work(session) / easy / 64.0 - 1.0).abs() < 0.01).await;
        // The status may be ahead of the jobs.
        session.until("its job", |session| session.jobs.last().unwrap().target != job).await;
        first.new_tip();
        session.until("the way back", |session| (work(session) / easy - 1.0).abs() < 0.01).await;
        session.until("its job", |session| session.jobs.last().unwrap().target == job).await;
        session.credit().await;
        let (ours, theirs) = (session.ledger(), first.ledger());
        assert_eq!((ours.of(Outcome::Accepted).shares, first.connections()), (2, 1));
        assert!((ours.of(Outcome::Accepted).work / theirs.credited - 1.0).abs() < 1e-6);
        session.handle.stop().await;
    });
}
